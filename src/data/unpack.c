/* gzip through zlib, zip through libzip, from memory to memory. */
#include "data/unpack.h"

#include <string.h>
#include <zip.h>
#include <zlib.h>

bool sl_is_gzip(const void *data, size_t size)
{
    const unsigned char *u = data;
    return size >= 18 && u[0] == 0x1F && u[1] == 0x8B && u[2] == 8;
}

/* Inflates all members of a gzip file into out[0..cap); *n becomes the total even when it does not fit (then only counted). */
static int inflate_all(const unsigned char *data, size_t size, char *out, size_t cap, size_t *n)
{
    unsigned char spill[16384];
    z_stream z = { .next_in = (unsigned char *)data };
    size_t fed = 0;
    int code = inflateInit2(&z, 16 + MAX_WBITS);
    *n = 0;
    while (code == Z_OK) {
        if (z.avail_in == 0) {
            size_t part = size - fed < (1u << 30) ? size - fed : 1u << 30;
            z.avail_in = (unsigned)part;
            fed += part;
        }
        size_t room = *n < cap ? cap - *n : 0;
        unsigned piece = room > 0 ? (unsigned)(room < (1u << 30) ? room : 1u << 30) : (unsigned)sizeof spill;
        z.next_out = room > 0 ? (unsigned char *)out + *n : spill;
        z.avail_out = piece;
        code = inflate(&z, Z_NO_FLUSH);
        *n += piece - z.avail_out;
        if (code == Z_STREAM_END && z.avail_in > 0)
            code = inflateReset(&z);
        else if (code == Z_BUF_ERROR && fed < size)
            code = Z_OK;
    }
    inflateEnd(&z);
    return code;
}

sl_status sl_gunzip(sl_ctx *ctx, const char *where, const void *data, size_t size, size_t max_bytes, char **out, size_t *n,
                    sl_err *err)
{
    *out = NULL;
    if (!sl_is_gzip(data, size))
        return sl_fail(err, SL_DATA, where, "a gzip file", "the first bytes are of something else");
    if (inflate_all(data, size, NULL, 0, n) != Z_STREAM_END)
        return sl_fail(err, SL_DATA, where, "a whole gzip file", "cut off or corrupt after %zu unpacked bytes", *n);
    if (*n > max_bytes)
        return sl_fail(err, SL_DATA, where, NULL, "unpacks to %zu bytes, more than %zu", *n, max_bytes);
    *out = sl_alloc(ctx, *n + 1);
    if (!*out)
        return sl_fail(err, SL_MEM, where, NULL, "no memory for %zu bytes", *n);
    size_t again = 0;
    (void)inflate_all(data, size, *out, *n, &again); /* the same bytes gave Z_STREAM_END above */
    (*out)[*n] = 0;
    return SL_OK;
}

static sl_status zip_member(sl_ctx *ctx, zip_t *z, const char *where, size_t max_bytes, char **out, size_t *n, sl_err *err)
{
    zip_stat_t s;
    if (zip_stat_index(z, 0, 0, &s) != 0 || !(s.valid & ZIP_STAT_SIZE))
        return sl_fail(err, SL_DATA, where, "a zip file with one member", "it has none");
    if (s.size > max_bytes)
        return sl_fail(err, SL_DATA, where, NULL, "unpacks to %llu bytes, more than %zu", (unsigned long long)s.size, max_bytes);
    *out = sl_alloc(ctx, (size_t)s.size + 1);
    if (!*out)
        return sl_fail(err, SL_MEM, where, NULL, "no memory for %llu bytes", (unsigned long long)s.size);
    zip_file_t *f = zip_fopen_index(z, 0, 0);
    zip_int64_t got = f ? zip_fread(f, *out, s.size) : -1;
    /* the checksum is compared when the end is reached, by reading past it */
    char past;
    bool whole = got == (zip_int64_t)s.size && zip_fread(f, &past, 1) == 0;
    if (f)
        zip_fclose(f);
    if (!whole) {
        sl_free(ctx, *out);
        *out = NULL;
        return sl_fail(err, SL_DATA, where, "a whole zip file", "cut off or corrupt");
    }
    (*out)[s.size] = 0;
    *n = (size_t)s.size;
    return SL_OK;
}

sl_status sl_unzip_first(sl_ctx *ctx, const char *where, const void *data, size_t size, size_t max_bytes, char **out,
                         size_t *n, sl_err *err)
{
    *out = NULL;
    *n = 0;
    zip_error_t ze;
    zip_error_init(&ze);
    zip_source_t *src = zip_source_buffer_create(data, size, 0, &ze);
    zip_t *z = src ? zip_open_from_source(src, ZIP_RDONLY, &ze) : NULL;
    sl_status st;
    if (z) {
        st = zip_member(ctx, z, where, max_bytes, out, n, err);
        zip_discard(z);
    } else {
        st = sl_fail(err, SL_DATA, where, "a zip file", "%s", zip_error_strerror(&ze));
        zip_source_free(src);
    }
    zip_error_fini(&ze);
    return st;
}
