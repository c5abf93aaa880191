/* The plots of a run: the first open, the others folded, and no page over 3 MB. */
#include "report/gallery.h"

#include <saelab/report.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { OPEN_PLOTS = 6, KINDS = 10, MOST_PICTURES = 2600000 }; /* bytes of SVG on a page: with tables and text it stays below 3 MB */

typedef struct album {
    sl_html *h;
    const sl_facts *f;
    size_t bytes;
} album;

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Stems of plots/?*.svg, sorted; each and the list sl_free. */
static sl_status list_plots(sl_ctx *ctx, const char *dir, char ***out, size_t *n, sl_err *err)
{
    enum { MOST = 200 };
    *n = 0;
    *out = sl_alloc(ctx, MOST * sizeof **out);
    if (!*out)
        return sl_fail(err, SL_MEM, dir, NULL, "no memory");
    DIR *folder = opendir(dir);
    for (struct dirent *e; folder && *n < MOST && (e = readdir(folder));) {
        size_t len = strlen(e->d_name);
        if (len <= 4 || len > 200 || strcmp(e->d_name + len - 4, ".svg") != 0)
            continue;
        char *stem = sl_strdup(ctx, e->d_name);
        if (!stem)
            break;
        stem[len - 4] = 0;
        (*out)[(*n)++] = stem;
    }
    if (folder)
        closedir(folder);
    qsort(*out, *n, sizeof **out, by_name);
    return SL_OK;
}

/* The title of a plot: the first line of its script, or of its graph. */
static void title_of(sl_ctx *ctx, const char *dir, const char *stem, char *out, size_t size)
{
    static const char *const SCRIPTS[][2] = { { "gp", "# " }, { "dot", "// " } };
    snprintf(out, size, "%s", stem);
    for (int i = 0; i < 2; i++) {
        char path[1400], *text = NULL;
        size_t n, skip = strlen(SCRIPTS[i][1]);
        snprintf(path, sizeof path, "%s/%s.%s", dir, stem, SCRIPTS[i][0]);
        if (sl_file_read(ctx, path, &text, &n, NULL) == SL_OK && strncmp(text, SCRIPTS[i][1], skip) == 0)
            snprintf(out, size, "%.*s", (int)strcspn(text + skip, "\n"), text + skip);
        sl_free(ctx, text);
    }
}

static void plot(album *p, const char *dir, const char *stem, int number_of)
{
    char path[1400], title[300], prefix[32], *svg = NULL;
    size_t n;
    sl_err why = { 0 };
    snprintf(path, sizeof path, "%s/%s.svg", dir, stem);
    snprintf(prefix, sizeof prefix, "plot%d-", number_of);
    title_of(p->f->ctx, dir, stem, title, sizeof title);
    sl_h(p->h, "<figure>");
    sl_status st = sl_file_read(p->f->ctx, path, &svg, &n, &why);
    if (st == SL_OK && p->bytes + n > MOST_PICTURES)
        st = sl_fail(&why, SL_UNAVAILABLE, path, NULL, "the page would pass 3 MB; its picture is linked here");
    if (st == SL_OK)
        p->bytes += n;
    if (st == SL_OK)
        st = sl_h_svg(p->h, path, svg, prefix, title, "Its numbers and the script that drew it are linked below.", &why);
    if (st != SL_OK) {
        sl_h(p->h, "<p class=\"none\">");
        sl_h_textf(p->h, "%s.svg is not shown: %s", stem, why.what);
        sl_h(p->h, "</p>");
    }
    sl_free(p->f->ctx, svg);
    sl_h(p->h, "<figcaption>");
    static const char *const ENDINGS[][2] = { { "png", "picture" }, { "dat", "numbers" }, { "gp", "script" }, { "dot", "graph" } };
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s.%s", dir, stem, ENDINGS[i][0]);
        if (!sl_path_exists(path))
            continue;
        sl_h(p->h, i ? " · <a href=\"plots/" : "<a href=\"plots/");
        sl_h_textf(p->h, "%s.%s", stem, ENDINGS[i][0]);
        sl_h(p->h, "\">");
        sl_h(p->h, ENDINGS[i][1]);
        sl_h(p->h, "</a>");
    }
    sl_h(p->h, "</figcaption></figure>\n");
}

/* The first plots of a page, by how their names begin, in the order in which a run is thought about; then all others by name. */
static const char *const FIRST[] = { "lm_loss", "equal_", "robustness", "attention_patterns", "feature_reuse", "arms_", "sae_fvu", "sae_l0", "firing_rates", NULL };

static int place(const char *stem)
{
    int i = 0;
    while (FIRST[i] && strncmp(stem, FIRST[i], strlen(FIRST[i])) != 0)
        i++;
    return i;
}

/* The next one: the first of the list's earliest kind. One of a kind on each round, so that many of one kind do not fill the first page. */
static size_t next_of(char *const *stem, size_t n, bool seen[])
{
    size_t best = n;
    for (int again = 0; again < 2 && best == n; again++) {
        for (size_t i = 0; i < n; i++)
            if (stem[i] && (again || !seen[place(stem[i])]) && (best == n || place(stem[i]) < place(stem[best])))
                best = i;
        if (best == n)
            memset(seen, 0, KINDS * sizeof *seen);
    }
    if (best < n)
        seen[place(stem[best])] = true;
    return best;
}

sl_status sl_gallery(sl_html *h, const sl_facts *f, sl_err *err)
{
    char dir[1100], **stem;
    size_t n, i;
    bool seen[KINDS] = { false };
    album p = { .h = h, .f = f };
    snprintf(dir, sizeof dir, "%s/plots", f->dir);
    SL_TRY(list_plots(f->ctx, dir, &stem, &n, err));
    sl_h(h, n ? "<h2>Plots</h2>\n<div class=\"plots\">\n" : "<h2>Plots</h2>\n<p class=\"none\">There are none: plots/ holds no SVG picture (is gnuplot installed?).</p>\n<div>");
    for (int shown = 0; (i = next_of(stem, n, seen)) < n; shown++) {
        if (shown == OPEN_PLOTS) {
            sl_h(h, "</div>\n<details><summary>");
            sl_h_textf(h, "All other plots (%zu)", n - OPEN_PLOTS);
            sl_h(h, "</summary><div class=\"plots\">\n");
        }
        plot(&p, dir, stem[i], shown);
        sl_free(f->ctx, stem[i]);
        stem[i] = NULL;
    }
    sl_h(h, n > OPEN_PLOTS ? "</div></details>\n" : "</div>\n");
    sl_free(f->ctx, stem);
    return SL_OK;
}
