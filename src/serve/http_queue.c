/* The one thread that computes. A connection whose request waits here is suspended, so that no thread of the server waits with it. */
#include "base/threads.h"
#include "serve/http_internal.h"

#include <string.h>

static void finish(sl__exchange *x)
{
    x->finished = true;
    MHD_resume_connection(x->connection); /* from here on x may be gone */
}

static void *work(void *arg)
{
    sl__queue *q = arg;
    sl_thread_begin();
    pthread_mutex_lock(&q->lock);
    for (;;) {
        while (!q->first && !q->stop)
            pthread_cond_wait(&q->more, &q->lock);
        sl__exchange *x = q->first;
        if (!x)
            break;
        q->first = x->next;
        q->n--;
        bool stop = q->stop;
        pthread_mutex_unlock(&q->lock);
        if (stop)
            x->st = sl_fail(&x->err, SL_CANCELLED, NULL, NULL, "the server is stopping");
        else
            sl__http_run(x);
        finish(x);
        pthread_mutex_lock(&q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

sl_status sl__queue_start(sl__queue *q, sl_err *err)
{
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->more, NULL);
    q->running = pthread_create(&q->thread, NULL, work, q) == 0;
    return q->running ? SL_OK : sl_fail(err, SL_MEM, NULL, NULL, "no thread to compute in");
}

bool sl__queue_push(sl__queue *q, sl__exchange *x)
{
    pthread_mutex_lock(&q->lock);
    bool room = !q->stop && q->n < SL_HTTP_QUEUE;
    if (room) {
        MHD_suspend_connection(x->connection);
        x->next = NULL;
        if (q->first)
            q->last->next = x;
        else
            q->first = x;
        q->last = x;
        q->n++;
        pthread_cond_signal(&q->more);
    }
    pthread_mutex_unlock(&q->lock);
    return room;
}

void sl__queue_stop(sl__queue *q)
{
    if (!q->running)
        return;
    pthread_mutex_lock(&q->lock);
    q->stop = true;
    pthread_cond_signal(&q->more);
    pthread_mutex_unlock(&q->lock);
    pthread_join(q->thread, NULL);
    pthread_cond_destroy(&q->more);
    pthread_mutex_destroy(&q->lock);
    q->running = false;
}
