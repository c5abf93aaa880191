/* Exact assignment by shortest augmenting paths. Rows start at their best column where that is still free; every other row then looks for the
 * cheapest path of alternating edges to a free column (Dijkstra over reduced costs), and the potentials are moved along it. Columns that
 * nobody holds keep potential 0, which makes the rectangular case exact. */
#include <saelab/match.h>

#include <math.h>
#include <string.h>

typedef struct work {
    const float *score;     /* [n, m], n <= m; the cost is -score */
    int64_t n, m;
    double *u, *v;          /* [n], [m] potentials */
    double *dist;           /* [m] length of the shortest path found to each column */
    int32_t *from;          /* [m] row before that column on it */
    int32_t *row_of;        /* [m] row that holds the column, -1: free */
    int32_t *col_of;        /* [n] */
    int32_t *todo;          /* [m] columns not yet reached, those first in `n_todo` */
    int32_t *reached;       /* [m] in the order they were reached */
} work;

static sl_status allocate(sl_ctx *ctx, work *w, sl_err *err)
{
    size_t n = (size_t)w->n, m = (size_t)w->m;
    w->u = sl_alloc(ctx, n * sizeof *w->u);
    w->v = sl_alloc(ctx, m * sizeof *w->v);
    w->dist = sl_alloc(ctx, m * sizeof *w->dist);
    w->from = sl_alloc(ctx, m * sizeof *w->from);
    w->row_of = sl_alloc(ctx, m * sizeof *w->row_of);
    w->col_of = sl_alloc(ctx, n * sizeof *w->col_of);
    w->todo = sl_alloc(ctx, m * sizeof *w->todo);
    w->reached = sl_alloc(ctx, m * sizeof *w->reached);
    if (!w->u || !w->v || !w->dist || !w->from || !w->row_of || !w->col_of || !w->todo || !w->reached)
        return sl_fail(err, SL_MEM, "matching", NULL, "no memory for %zu x %zu", n, m);
    return SL_OK;
}

static void release(sl_ctx *ctx, work *w)
{
    void *all[] = { w->u, w->v, w->dist, w->from, w->row_of, w->col_of, w->todo, w->reached };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(ctx, all[i]);
}

static void start(work *w)
{
    for (int64_t j = 0; j < w->m; j++)
        w->row_of[j] = -1;
    for (int64_t i = 0; i < w->n; i++) {
        const float *s = w->score + i * w->m;
        int64_t best = 0;
        for (int64_t j = 1; j < w->m; j++)
            if (s[j] > s[best])
                best = j;
        w->u[i] = -(double)s[best];
        w->col_of[i] = -1;
        if (w->row_of[best] < 0) {
            w->row_of[best] = (int32_t)i;
            w->col_of[i] = (int32_t)best;
        }
    }
}

/* Shortens the paths to the columns in todo by going on from `row`, reached at length `at`; returns the place in todo of the nearest. */
static int64_t relax(work *w, int64_t row, double at, int64_t n_todo)
{
    const float *s = w->score + row * w->m;
    double base = at - w->u[row];
    int64_t best = 0;
    for (int64_t t = 0; t < n_todo; t++) {
        int32_t j = w->todo[t];
        double d = base - (double)s[j] - w->v[j];
        if (d < w->dist[j]) {
            w->dist[j] = d;
            w->from[j] = (int32_t)row;
        }
        double now = w->dist[j], least = w->dist[w->todo[best]];
        /* among equals a free column, which ends the search */
        if (now < least || (now == least && w->row_of[j] < 0 && w->row_of[w->todo[best]] >= 0))
            best = t;
    }
    return best;
}

/* Finds a free column for row `first` and turns the path around. */
static void augment(work *w, int64_t first)
{
    int64_t n_todo = w->m, n_reached = 0, row = first;
    double at = 0;
    for (int64_t j = 0; j < w->m; j++) {
        w->todo[j] = (int32_t)j;
        w->dist[j] = INFINITY;
    }
    int32_t end;
    for (;;) {
        int64_t t = relax(w, row, at, n_todo);
        int32_t j = w->todo[t];
        at = w->dist[j];
        w->todo[t] = w->todo[--n_todo];
        if (w->row_of[j] < 0) {
            end = j;
            break;
        }
        w->reached[n_reached++] = j;
        row = w->row_of[j];
    }
    w->u[first] += at;
    for (int64_t r = 0; r < n_reached; r++) {
        int32_t j = w->reached[r];
        w->u[w->row_of[j]] += at - w->dist[j];
        w->v[j] -= at - w->dist[j];
    }
    for (int64_t i = -1; i != first;) {
        i = w->from[end];
        int32_t before = w->col_of[i];
        w->row_of[end] = (int32_t)i;
        w->col_of[i] = end;
        end = before;
    }
}

static sl_status solve(sl_ctx *ctx, const float *score, int64_t n, int64_t m, int32_t *col_of, sl_err *err)
{
    work w = { .score = score, .n = n, .m = m };
    sl_status st;
    SL_GO(allocate(ctx, &w, err));
    start(&w);
    for (int64_t i = 0; i < n; i++) {
        if (sl_cancelled(ctx))
            SL_GO(sl_fail(err, SL_CANCELLED, "matching", NULL, "stopped"));
        if (w.col_of[i] < 0)
            augment(&w, i);
    }
    memcpy(col_of, w.col_of, (size_t)n * sizeof *col_of);
done:
    release(ctx, &w);
    return st;
}

/* More rows than columns: the transposed problem. */
static sl_status solve_tall(sl_ctx *ctx, const float *score, int64_t n, int64_t m, int32_t *match, sl_err *err)
{
    float *turned = sl_alloc(ctx, (size_t)(n * m) * sizeof *turned);
    int32_t *row_of = sl_alloc(ctx, (size_t)m * sizeof *row_of);
    sl_status st = SL_OK;
    if (!turned || !row_of)
        SL_GO(sl_fail(err, SL_MEM, "matching", NULL, "no memory for %lld x %lld", (long long)n, (long long)m));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++)
            turned[j * n + i] = score[i * m + j];
    SL_GO(solve(ctx, turned, m, n, row_of, err));
    for (int64_t i = 0; i < n; i++)
        match[i] = -1;
    for (int64_t j = 0; j < m; j++)
        match[row_of[j]] = (int32_t)j;
done:
    sl_free(ctx, row_of);
    sl_free(ctx, turned);
    return st;
}

sl_status sl_assign(sl_ctx *ctx, const float *score, int64_t n, int64_t m, int32_t *match, double *total, sl_err *err)
{
    if (n < 1 || m < 1)
        return sl_fail(err, SL_DATA, "matching", "at least one row and one column", "%lld x %lld", (long long)n, (long long)m);
    SL_TRY(n <= m ? solve(ctx, score, n, m, match, err) : solve_tall(ctx, score, n, m, match, err));
    *total = 0;
    for (int64_t i = 0; i < n; i++)
        if (match[i] >= 0)
            *total += (double)score[i * m + match[i]];
    return SL_OK;
}
