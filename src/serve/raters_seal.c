/* Secrets of a study: links of raters, names of questions, and the sealed key. */
#include "serve/raters.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/chacha-poly1305.h>
#include <nettle/hmac.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { KEY = CHACHA_POLY1305_KEY_SIZE, NONCE = CHACHA_POLY1305_NONCE_SIZE, TAG = CHACHA_POLY1305_DIGEST_SIZE, HEAD = 8 + NONCE + TAG };
static const char MAGIC[9] = "SLSEAL01";

/* From the system. */
static sl_status random_bytes(void *out, size_t n, sl_err *err)
{
    for (size_t have = 0; have < n;) {
        ssize_t k = getrandom((char *)out + have, n - have, 0);
        if (k < 0 && errno != EINTR)
            return sl_fail(err, SL_IO, "getrandom", NULL, "%s", strerror(errno));
        have += k > 0 ? (size_t)k : 0;
    }
    return SL_OK;
}

static void hex_of(const uint8_t *v, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", v[i]);
}

sl_status sl__random_hex(char *out, size_t digits, sl_err *err)
{
    uint8_t v[64];
    SL_TRY(random_bytes(v, digits / 2, err));
    hex_of(v, digits / 2, out);
    return SL_OK;
}

void sl__hmac_hex(const char *secret, const char *label, const char *text, char hex[65])
{
    struct hmac_sha256_ctx h;
    uint8_t digest[SHA256_DIGEST_SIZE];
    hmac_sha256_set_key(&h, strlen(secret), (const uint8_t *)secret);
    hmac_sha256_update(&h, strlen(label) + 1, (const uint8_t *)label);
    hmac_sha256_update(&h, strlen(text), (const uint8_t *)text);
    hmac_sha256_digest(&h, sizeof digest, digest);
    hex_of(digest, sizeof digest, hex);
}

sl_status sl__file_private(const char *path, const char *text, sl_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t n = strlen(text);
    bool ok = fd >= 0 && write(fd, text, n) == (ssize_t)n && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0)
        close(fd);
    return ok ? SL_OK : sl_fail(err, SL_IO, path, NULL, "%s", strerror(why));
}

/* ---- the sealed key: "SLSEAL01", nonce, tag, ciphertext ---- */

sl_status sl__seal(sl_ctx *ctx, const char *dir, const json_t *key, sl_err *err)
{
    struct chacha_poly1305_ctx c;
    char path[RATERS_PATH], hex[2 * KEY + 2];
    uint8_t secret[KEY], *out = NULL;
    char *text = json_dumps(key, JSON_COMPACT);
    size_t n = text ? strlen(text) : 0;
    sl_status st;
    SL_GO(random_bytes(secret, sizeof secret, err));
    hex_of(secret, sizeof secret, hex);
    strcat(hex, "\n");
    SL_GO(sl_path_join(path, sizeof path, dir, "seal.key", err));
    SL_GO(sl__file_private(path, hex, err));
    out = sl_alloc(ctx, HEAD + n);
    if (!out || !text)
        SL_GO(sl_fail(err, SL_MEM, "key", NULL, "no memory to seal it"));
    memcpy(out, MAGIC, 8);
    SL_GO(random_bytes(out + 8, NONCE, err));
    chacha_poly1305_set_key(&c, secret);
    chacha_poly1305_set_nonce(&c, out + 8);
    chacha_poly1305_encrypt(&c, n, out + HEAD, (const uint8_t *)text);
    chacha_poly1305_digest(&c, TAG, out + 8 + NONCE);
    SL_GO(sl_path_join(path, sizeof path, dir, "key.sealed", err));
    st = sl_file_write(ctx, path, out, HEAD + n, err);
done:
    free(text);
    sl_free(ctx, out);
    return st;
}

static sl_status read_secret(sl_ctx *ctx, const char *path, uint8_t secret[KEY], sl_err *err)
{
    char *text;
    size_t n;
    unsigned byte;
    bool ok;
    SL_TRY(sl_file_read(ctx, path, &text, &n, err));
    ok = n >= 2 * KEY && strspn(text, "0123456789abcdef") == 2 * KEY;
    for (int i = 0; ok && i < KEY; i++) {
        ok = sscanf(text + 2 * i, "%2x", &byte) == 1;
        secret[i] = (uint8_t)byte;
    }
    sl_free(ctx, text);
    return ok ? SL_OK : sl_fail(err, SL_DATA, path, "64 hexadecimal digits", "this opens no key");
}

/* Opens data [n] in place: the text behind the head, ended by a 0. */
static bool decrypt(uint8_t *data, size_t n, const uint8_t *secret)
{
    struct chacha_poly1305_ctx c;
    uint8_t tag[TAG], differ = 0;
    if (n <= HEAD || memcmp(data, MAGIC, 8) != 0)
        return false;
    chacha_poly1305_set_key(&c, secret);
    chacha_poly1305_set_nonce(&c, data + 8);
    chacha_poly1305_decrypt(&c, n - HEAD, data + HEAD, data + HEAD);
    chacha_poly1305_digest(&c, TAG, tag);
    for (int i = 0; i < TAG; i++)
        differ |= tag[i] ^ data[8 + NONCE + i];
    return differ == 0;
}

/* What sl__seal wrote. SL_MISSING: no such file; SL_DATA: the seal opens another key, or key.sealed was changed. */
static sl_status open_sealed(sl_ctx *ctx, const char *dir, const char *seal, json_t **key, sl_err *err)
{
    char path[RATERS_PATH], own[RATERS_PATH], *data;
    uint8_t secret[KEY];
    size_t n;
    *key = NULL;
    SL_TRY(sl_path_join(own, sizeof own, dir, "seal.key", err));
    SL_TRY(sl_path_join(path, sizeof path, dir, "key.sealed", err));
    SL_TRY(read_secret(ctx, seal ? seal : own, secret, err));
    SL_TRY(sl_file_read(ctx, path, &data, &n, err));
    if (decrypt((uint8_t *)data, n, secret))
        *key = json_loadb(data + HEAD, n - HEAD, JSON_REJECT_DUPLICATES, NULL);
    sl_free(ctx, data);
    return *key ? SL_OK : sl_fail(err, SL_DATA, path, "the seal.key of this study", "it was changed, or sealed with another key");
}

/* ---- the key of a study ---- */

/* Is the record of an item what the store has kept of it since the beginning? */
static sl_status check_record(sl_raters *r, const char *secret, const json_t *record, sl_err *err)
{
    const char *id = json_string_value(json_object_get(record, "item"));
    char *text = json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS), hash[65];
    int64_t same = 0;
    if (!text || !id) {
        free(text);
        return sl_fail(err, SL_DATA, "key.sealed", NULL, "a record without its item");
    }
    sl__hmac_hex(secret, "key", text, hash);
    free(text);
    SL_TRY(sl__sql_int(r, &same, err, "SELECT count(*) FROM item WHERE id = ? AND key_hash = ?", "tt", id, hash));
    return same ? SL_OK : sl_fail(err, SL_DATA, "key.sealed", NULL, "the record of item %s is not the one of the beginning", id);
}

sl_status sl__key_open(sl_raters *r, const char *seal, json_t **key, sl_err *err)
{
    size_t i;
    json_t *record;
    int64_t n = 0;
    SL_TRY(open_sealed(r->ctx, r->dir, seal, key, err));
    const char *secret = json_string_value(json_object_get(*key, "secret"));
    const json_t *items = json_object_get(*key, "items");
    sl_status st = secret ? sl__raters_note(r, "key opened", "", err) : sl_fail(err, SL_DATA, "key.sealed", NULL, "it has no secret");
    if (st == SL_OK)
        st = sl__sql_int(r, &n, err, "SELECT count(*) FROM item", "");
    if (st == SL_OK && (size_t)n != json_array_size(items))
        st = sl_fail(err, SL_DATA, "key.sealed", NULL, "it has %zu records, the study %lld items", json_array_size(items), (long long)n);
    json_array_foreach(items, i, record)
        if (st == SL_OK)
            st = check_record(r, secret, record, err);
    if (st != SL_OK) {
        json_decref(*key);
        *key = NULL;
    }
    return st;
}
