/* Downloads with libcurl, or the line that says that there is none. */
#include "data/fetch.h"

#if SL_HAVE_CURL

#include <curl/curl.h>
#include <string.h>

enum { CONNECT_S = 5, STALL_S = 30, STALL_BYTES_PER_S = 1024 };

typedef struct download {
    sl_ctx *ctx;
    const char *task;
    size_t max, n, cap;
    char *data;
    bool too_big, no_memory;
} download;

static size_t receive(char *part, size_t size, size_t count, void *user)
{
    download *d = user;
    size_t n = size * count;
    if (n > d->max - d->n) {
        d->too_big = true;
        return 0;
    }
    if (d->n + n + 1 > d->cap) {
        size_t cap = 2 * (d->n + n + 1);
        char *data = sl_alloc(d->ctx, cap);
        if (!data) {
            d->no_memory = true;
            return 0;
        }
        if (d->n)
            memcpy(data, d->data, d->n);
        sl_free(d->ctx, d->data);
        d->data = data;
        d->cap = cap;
    }
    memcpy(d->data + d->n, part, n);
    d->n += n;
    d->data[d->n] = 0;
    return n;
}

/* Non-zero stops the transfer. */
static int progress(void *user, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now)
{
    (void)up_total, (void)up_now;
    download *d = user;
    if (now > 0)
        sl_progress(d->ctx, d->task, (double)now, (double)total, "bytes", NULL);
    return sl_cancelled(d->ctx) != 0;
}

static void configure(CURL *c, const char *url, download *d, char *message)
{
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L); /* the program's own signal handlers stay */
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES_PER_S);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "saelab/" SL_VERSION);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, message);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, d);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, d);
}

static sl_status failure(const download *d, CURLcode code, const char *url, const char *message, sl_err *err)
{
    if (d->no_memory)
        return sl_fail(err, SL_MEM, url, NULL, "no memory for the download");
    if (d->too_big)
        return sl_fail(err, SL_DATA, url, NULL, "larger than the %zu bytes that were expected", d->max);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return sl_fail(err, SL_CANCELLED, url, NULL, "download stopped");
    return sl_fail(err, SL_IO, url, NULL, "download failed: %s", message[0] ? message : curl_easy_strerror(code));
}

sl_status sl_fetch(sl_ctx *ctx, const char *url, const char *task, size_t max_bytes, char **out, size_t *n, sl_err *err)
{
    *out = NULL;
    *n = 0;
    if (sl_offline())
        return sl_fail(err, SL_UNAVAILABLE, url, NULL, "not downloaded: SAELAB_OFFLINE is set");
    CURL *c = curl_easy_init();
    if (!c)
        return sl_fail(err, SL_MEM, url, NULL, "libcurl does not start");
    char message[CURL_ERROR_SIZE] = "";
    download d = { .ctx = ctx, .task = task, .max = max_bytes };
    configure(c, url, &d, message);
    CURLcode code = curl_easy_perform(c);
    curl_easy_cleanup(c);
    if (code == CURLE_OK && d.n == 0)
        return sl_fail(err, SL_IO, url, NULL, "download failed: the answer is empty");
    if (code != CURLE_OK) {
        sl_free(ctx, d.data);
        return failure(&d, code, url, message, err);
    }
    sl_progress(ctx, task, (double)d.n, (double)d.n, "bytes", NULL);
    *out = d.data;
    *n = d.n;
    return SL_OK;
}

#else

sl_status sl_fetch(sl_ctx *ctx, const char *url, const char *task, size_t max_bytes, char **out, size_t *n, sl_err *err)
{
    (void)ctx, (void)task, (void)max_bytes;
    *out = NULL;
    *n = 0;
    return sl_fail(err, SL_UNAVAILABLE, url, NULL,
                   "this build has no downloads: install libcurl4-gnutls-dev and build again, or fetch the file by hand");
}

#endif
