/* SHA-256 (nettle) for identities, XXH3 for corruption. */
#include "io/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/nettle-meta.h>
#include <nettle/sha2.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static void finish_hex(struct sha256_ctx *h, char hex[65])
{
    uint8_t d[SHA256_DIGEST_SIZE];
    sha256_digest(h, sizeof d, d);
    for (size_t i = 0; i < sizeof d; i++)
        snprintf(hex + 2 * i, 3, "%02x", d[i]);
}

void sl_sha256_hex(const void *data, size_t n, char hex[65])
{
    struct sha256_ctx h;
    sha256_init(&h);
    sha256_update(&h, n, data);
    finish_hex(&h, hex);
}

/* The hash of `first` and then of the file's bytes, in hexadecimal. */
static sl_status hash_file(sl_ctx *ctx, const char *path, const struct nettle_hash *kind, const char *first, size_t n_first, char *hex, sl_err *err)
{
    enum { CHUNK = 1 << 20 };
    uint8_t digest[SHA256_DIGEST_SIZE];
    sl_status st = SL_OK;
    hex[0] = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sl__fail_errno(err, path, "open");
    uint8_t *buf = sl_alloc(ctx, CHUNK + kind->context_size);
    void *h = buf ? buf + CHUNK : NULL;
    if (!buf) {
        close(fd);
        return sl_fail(err, SL_MEM, path, NULL, "no memory to read it");
    }
    kind->init(h);
    kind->update(h, n_first, (const uint8_t *)first);
    while (st == SL_OK) {
        ssize_t k = read(fd, buf, CHUNK);
        if (k == 0)
            break;
        if (k > 0)
            kind->update(h, (size_t)k, buf);
        else if (errno != EINTR)
            st = sl__fail_errno(err, path, "read");
    }
    kind->digest(h, kind->digest_size, digest);
    for (size_t i = 0; st == SL_OK && i < kind->digest_size; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    sl_free(ctx, buf);
    close(fd);
    return st;
}

sl_status sl_file_sha256(sl_ctx *ctx, const char *path, char hex[65], sl_err *err)
{
    return hash_file(ctx, path, &nettle_sha256, "", 0, hex, err);
}

sl_status sl_file_git_blob(sl_ctx *ctx, const char *path, char hex[41], sl_err *err)
{
    struct stat s;
    char first[48];
    if (stat(path, &s) != 0)
        return sl__fail_errno(err, path, "open");
    int n = snprintf(first, sizeof first, "blob %lld", (long long)s.st_size) + 1; /* with its 0 */
    return hash_file(ctx, path, &nettle_sha1, first, (size_t)n, hex, err);
}

uint64_t sl_xxh64(const void *data, size_t n) { return XXH3_64bits(data, n); }
