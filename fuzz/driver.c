/* usage: fuzz_NAME N FILE...: each file as it is, then N mutations of them, the same ones every time. Stands in for libFuzzer where the
 * compiler has none, and under ctest; a failure is a crash, a sanitizer's report or an abort of the target. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_INPUT = 1 << 16, MAX_FILES = 64 };

typedef struct input { uint8_t *data; size_t n; } input;

static uint64_t next(uint64_t *state) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(uint64_t *s, size_t n) { return n ? (size_t)(next(s) % n) : 0; }

/* Numbers that break careless arithmetic, in 1, 2, 4 or 8 bytes. */
static void put_number(uint64_t *s, uint8_t *data, size_t n)
{
    static const uint64_t edge[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, UINT64_MAX };
    uint64_t v = edge[below(s, sizeof edge / sizeof *edge)];
    size_t width = (size_t)1 << below(s, 4), at = below(s, n);
    for (size_t i = 0; i < width && at + i < n; i++)
        data[at + i] = (uint8_t)(v >> (8 * i));
}

static void insert(uint64_t *s, uint8_t *data, size_t *n, const input *from)
{
    size_t len = 1 + below(s, 16), src = below(s, from->n), at = below(s, *n + 1);
    len = len > from->n - src ? from->n - src : len;
    if (*n + len > MAX_INPUT)
        return;
    memmove(data + at + len, data + at, *n - at);
    memcpy(data + at, from->data + src, len);
    *n += len;
}

static void cut_out(uint64_t *s, uint8_t *data, size_t *n)
{
    size_t at = below(s, *n), len = 1 + below(s, 16);
    len = len > *n - at ? *n - at : len;
    memmove(data + at, data + at + len, *n - at - len);
    *n -= len;
}

static void mutate(uint64_t *s, uint8_t *data, size_t *n, const input *other)
{
    switch (*n > 0 ? below(s, 8) : 6) {
    case 0: data[below(s, *n)] ^= (uint8_t)(1u << below(s, 8)); break;
    case 1: data[below(s, *n)] = (uint8_t)next(s); break;
    case 2: data[below(s, *n)] = (uint8_t)("0123456789-.,:[]{}\"'()eE"[below(s, 24)]); break;
    case 3: put_number(s, data, *n); break;
    case 4: cut_out(s, data, n); break;
    case 5: *n = below(s, *n); break;
    default: insert(s, data, n, other); break;
    }
}

static bool read_input(const char *path, input *out)
{
    FILE *f = fopen(path, "rb");
    out->data = malloc(MAX_INPUT);
    if (!f || !out->data)
        return false;
    out->n = fread(out->data, 1, MAX_INPUT, f);
    return fclose(f) == 0;
}

int main(int argc, char **argv)
{
    input file[MAX_FILES], work = { malloc(MAX_INPUT), 0 };
    int n_files = argc - 2;
    uint64_t state = 1;
    char *end = NULL;
    long rounds = argc > 2 ? strtol(argv[1], &end, 10) : 0;
    if (n_files < 1 || n_files > MAX_FILES || *end || rounds < 0 || !work.data)
        return fprintf(stderr, "usage: %s N FILE...\n", argv[0]), 2;
    for (int i = 0; i < n_files; i++) {
        if (!read_input(argv[i + 2], &file[i]))
            return fprintf(stderr, "%s: cannot be read\n", argv[i + 2]), 2;
        (void)LLVMFuzzerTestOneInput(file[i].data, file[i].n);
    }
    for (long r = 0; r < rounds; r++) {
        const input *from = &file[below(&state, (size_t)n_files)];
        memcpy(work.data, from->data, from->n);
        work.n = from->n;
        for (size_t k = 1 + below(&state, 6); k > 0; k--)
            mutate(&state, work.data, &work.n, &file[below(&state, (size_t)n_files)]);
        uint8_t *exact = malloc(work.n + !work.n); /* so that a sanitizer sees reads behind the end */
        if (!exact)
            return 2;
        memcpy(exact, work.data, work.n);
        (void)LLVMFuzzerTestOneInput(exact, work.n);
        free(exact);
    }
    for (int i = 0; i < n_files; i++)
        free(file[i].data);
    free(work.data);
    return 0;
}
