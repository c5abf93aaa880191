/* Downloads with libcurl, or the line that says that there is none. */
#include "data/fetch.h"
#include "io/io.h"

#if SL_HAVE_CURL

#include <curl/curl.h>
#include <string.h>

enum { CONNECT_S = 5, STALL_S = 30, STALL_BYTES_PER_S = 1024 };

typedef struct download {
    sl_ctx *ctx;
    const char *task;
    size_t max, n, cap;     /* of what comes in this transfer */
    char *data;
    bool too_big, no_memory;
    sl_partial *file;       /* where it goes instead of into memory, behind `have` bytes of an earlier start */
    int64_t have, total;    /* total: of the whole file */
    sl_status st;           /* of writing to it */
    sl_err *err;
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

static size_t receive_file(char *part, size_t size, size_t count, void *user)
{
    download *d = user;
    size_t n = size * count;
    if (n > d->max - d->n) {
        d->too_big = true;
        return 0;
    }
    d->st = sl_partial_write(d->file, part, n, d->err);
    d->n += n;
    return d->st == SL_OK ? n : 0;
}

/* Non-zero stops the transfer. */
static int progress(void *user, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now)
{
    (void)up_total, (void)up_now;
    download *d = user;
    if (now > 0)
        sl_progress(d->ctx, d->task, (double)(d->have + now), (double)(d->file ? d->total : total), "bytes", NULL);
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
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, d->file ? receive_file : receive);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, d);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, d);
}

static sl_status failure(const download *d, CURL *c, CURLcode code, const char *url, const char *message, sl_err *err)
{
    long answer = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &answer);
    if (d->st != SL_OK)
        return d->st;
    if (d->no_memory)
        return sl_fail(err, SL_MEM, url, NULL, "no memory for the download");
    if (d->too_big)
        return sl_fail(err, SL_DATA, url, NULL, "larger than the %zu bytes that were expected", d->max);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return sl_fail(err, SL_CANCELLED, url, NULL, "download stopped");
    if (answer == 404)
        return sl_fail(err, SL_MISSING, url, NULL, "is not there (404)");
    if (answer == 401 || answer == 403)
        return sl_fail(err, SL_UNAVAILABLE, url, "a public file, or a copy in the hub's own cache", "needs an account (%ld)", answer);
    return sl_fail(err, SL_IO, url, NULL, "download failed: %s", message[0] ? message : curl_easy_strerror(code));
}

static sl_status start(const char *url, CURL **c, sl_err *err)
{
    *c = NULL;
    if (sl_offline())
        return sl_fail(err, SL_UNAVAILABLE, url, NULL, "not downloaded: SAELAB_OFFLINE is set");
    *c = curl_easy_init();
    return *c ? SL_OK : sl_fail(err, SL_MEM, url, NULL, "libcurl does not start");
}

sl_status sl_fetch(sl_ctx *ctx, const char *url, const char *task, size_t max_bytes, char **out, size_t *n, sl_err *err)
{
    CURL *c;
    *out = NULL;
    *n = 0;
    SL_TRY(start(url, &c, err));
    char message[CURL_ERROR_SIZE] = "";
    download d = { .ctx = ctx, .task = task, .max = max_bytes };
    configure(c, url, &d, message);
    CURLcode code = curl_easy_perform(c);
    sl_status st = code == CURLE_OK ? SL_OK : failure(&d, c, code, url, message, err);
    curl_easy_cleanup(c);
    if (st == SL_OK && d.n == 0)
        st = sl_fail(err, SL_IO, url, NULL, "download failed: the answer is empty");
    if (st != SL_OK) {
        sl_free(ctx, d.data);
        return st;
    }
    sl_progress(ctx, task, (double)d.n, (double)d.n, "bytes", NULL);
    *out = d.data;
    *n = d.n;
    return SL_OK;
}

/* One transfer of what is missing. *again: the server will not go on from there, so that all has to come anew. */
static sl_status transfer(download *d, const char *url, bool *again, sl_err *err)
{
    CURL *c;
    char message[CURL_ERROR_SIZE] = "";
    SL_TRY(start(url, &c, err));
    d->max = (size_t)(d->total - d->have);
    d->n = 0;
    configure(c, url, d, message);
    curl_easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)d->have);
    CURLcode code = curl_easy_perform(c);
    long answer = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &answer);
    *again = d->have > 0 && (code == CURLE_RANGE_ERROR || answer == 416);
    sl_status st = code == CURLE_OK || *again ? SL_OK : failure(d, c, code, url, message, err);
    curl_easy_cleanup(c);
    return st;
}

sl_status sl_fetch_file(sl_ctx *ctx, const char *url, const char *task, int64_t size, sl_partial *file, int64_t have, sl_err *err)
{
    download d = { .ctx = ctx, .task = task, .file = file, .have = have, .total = size, .err = err };
    bool again = have > size;
    if (!again && have < size)
        SL_TRY(transfer(&d, url, &again, err));
    if (again) {
        SL_TRY(sl_partial_restart(file, err));
        d.have = 0;
        SL_TRY(transfer(&d, url, &again, err));
    }
    if (d.have + (int64_t)d.n != size)
        return sl_fail(err, SL_IO, url, NULL, "download failed: %lld of %lld bytes came", (long long)(d.have + (int64_t)d.n), (long long)size);
    sl_progress(ctx, task, (double)size, (double)size, "bytes", NULL);
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

sl_status sl_fetch_file(sl_ctx *ctx, const char *url, const char *task, int64_t size, sl_partial *file, int64_t have, sl_err *err)
{
    char *none;
    size_t n;
    (void)size, (void)file, (void)have;
    return sl_fetch(ctx, url, task, 0, &none, &n, err);
}

#endif
