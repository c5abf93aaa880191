/* SHA-256 (nettle) for identities, XXH3 for corruption. */
#include "io/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
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

sl_status sl_file_sha256(sl_ctx *ctx, const char *path, char hex[65], sl_err *err)
{
    enum { CHUNK = 1 << 20 };
    struct sha256_ctx h;
    sl_status st = SL_OK;
    hex[0] = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sl__fail_errno(err, path, "open");
    uint8_t *buf = sl_alloc(ctx, CHUNK);
    if (!buf)
        st = sl_fail(err, SL_MEM, path, NULL, "no memory to read it");
    sha256_init(&h);
    while (st == SL_OK) {
        ssize_t k = read(fd, buf, CHUNK);
        if (k == 0)
            break;
        if (k > 0)
            sha256_update(&h, (size_t)k, buf);
        else if (errno != EINTR)
            st = sl__fail_errno(err, path, "read");
    }
    if (st == SL_OK)
        finish_hex(&h, hex);
    sl_free(ctx, buf);
    close(fd);
    return st;
}

uint64_t sl_xxh64(const void *data, size_t n) { return XXH3_64bits(data, n); }
