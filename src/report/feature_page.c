/* Features as one page that needs nothing else: statistics, histogram, neighbours and contexts aligned on the token in question. A token that fires is
 * underlined, thicker and on a deeper ground the stronger it is; what is silent is folded. */
#include "report/feature_text.h"
#include "report/html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LEFT = 40, RIGHT = 24 /* tokens shown on either side, at most */, STEPS = 5 };

static const char HEAD[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<style>\n"
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1a1a1a;--dim:#595959;--line:#d0d0d0;--hit:#0b5cad;--g1:#eef5fc;--g2:#d9eafa;--g3:#bcdaf5;--g4:#98c6ef;--g5:#74b2e8}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e8e8e8;--dim:#a8b0b8;--line:#3a4046;--hit:#7ab8f5;--g1:#16222e;--g2:#182c40;--g3:#1b3853;--g4:#1e4567;"
    "--g5:#20527c}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;max-width:72rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;background:var(--bg);color:var(--fg)}\n"
    "h1{font-size:1.4rem}h2{font-size:1.15rem;margin:2.5rem 0 .3rem;border-top:1px solid var(--line);padding-top:1rem}p{margin:.3rem 0}.d{color:var(--dim)}\n"
    "a{color:var(--hit)}:focus-visible{outline:3px solid var(--hit);outline-offset:2px}table{border-collapse:collapse;width:100%}\n"
    "th{text-align:left;font-weight:600;border-bottom:1px solid var(--line)}td,th{padding:.15rem .5rem;vertical-align:top}.n{text-align:right;font-variant-numeric:tabular-nums}\n"
    ".c{font-family:ui-monospace,monospace;font-size:.85rem;table-layout:fixed}.c td{white-space:pre;overflow:hidden;padding:.1rem 0}.c .v{width:5.5rem;padding-right:.8rem}\n"
    ".c .l{text-align:right;width:46%}.c .l span{float:right}.c b{font-weight:700;outline:1px solid var(--hit)}\n"
    "u{text-decoration:underline;text-underline-offset:3px;text-decoration-color:var(--hit)}\n"
    ".s1{background:var(--g1);text-decoration-thickness:1px}.s2{background:var(--g2);text-decoration-thickness:1.5px}.s3{background:var(--g3);text-decoration-thickness:2px}\n"
    ".s4{background:var(--g4);text-decoration-thickness:3px}.s5{background:var(--g5);text-decoration-thickness:4px}\n"
    "code{font-family:ui-monospace,monospace;font-size:.9em;white-space:pre;border:1px solid var(--line);padding:0 .2em}summary{cursor:pointer}\n"
    "svg{width:100%;max-width:30rem;height:5rem;display:block}svg rect{fill:var(--hit)}\n"
    "@media(max-width:40rem){.c,.c tbody,.c tr,.c td{display:block;width:auto!important}.c td{display:inline;white-space:pre-wrap}.c .v{display:block}.c .l span{float:none}"
    ".c tr{border-bottom:1px solid var(--line);padding:.3rem 0}}\n"
    "@media print{details{display:block}h2{break-inside:avoid}}\n"
    "</style>\n";

/* ---- parts ---- */

static void string(sl_html *h, const sl_features *f, int32_t id)
{
    char text[SL_FEATURE_TEXT];
    sl_feature_visible(f, id, text);
    sl_h_text(h, text);
}

/* A token by itself: framed, its spaces visible. */
static void word(sl_html *h, const sl_features *f, int32_t id)
{
    char text[SL_FEATURE_TEXT];
    sl_feature_visible(f, id, text);
    sl_h(h, "<code>");
    for (char *s = text, *end; *s; s = end) {
        end = s + strcspn(s, " ");
        char space = *end;
        *end = 0;
        sl_h_text(h, s);
        sl_h(h, space ? "\xe2\x90\xa3" : "");
        end += space != 0;
    }
    sl_h(h, "</code>");
}

static void word_list(sl_html *h, const sl_features *f, const char *title, int n, const int32_t *id, const float *value)
{
    if (n == 0)
        return;
    sl_h(h, "<p><span class=\"d\">");
    sl_h(h, title);
    sl_h(h, "</span>");
    for (int i = 0; i < n; i++) {
        sl_h(h, " ");
        word(h, f, id[i]);
        sl_h(h, "&nbsp;");
        sl_h_textf(h, "%.3g", (double)value[i]);
    }
    sl_h(h, "</p>\n");
}

static void feature_list(sl_html *h, const char *title, int n, const int32_t *id, const float *value)
{
    if (n == 0)
        return;
    sl_h(h, "<p><span class=\"d\">");
    sl_h(h, title);
    sl_h(h, "</span>");
    for (int i = 0; i < n; i++)
        sl_h_textf(h, " #%d (%.2f)", (int)id[i], (double)value[i]);
    sl_h(h, "</p>\n");
}

/* Bars of log(1 + count). */
static void histogram(sl_html *h, const sl_feature *j)
{
    double most = 0;
    for (int i = 0; i < SL_FEATURE_BINS; i++)
        most = fmax(most, log1p(j->hist[i]));
    sl_h(h, "<svg viewBox=\"0 0 500 80\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"");
    sl_h_textf(h, "Active rows by activation, 0 to %.4g, logarithmic counts", (double)j->max);
    sl_h(h, "\">");
    for (int i = 0; i < SL_FEATURE_BINS; i++) {
        double height = 78 * log1p(j->hist[i]) / most;
        char bar[128];
        snprintf(bar, sizeof bar, "<rect x=\"%d\" y=\"%.1f\" width=\"9\" height=\"%.1f\"/>", i * 10, 80 - height, height);
        if (j->hist[i])
            sl_h(h, bar);
    }
    sl_h(h, "</svg>\n");
}

/* ---- contexts ---- */

/* Tokens [from, end) of a context; those that fire are marked, the token in question stands out. */
static void tokens(sl_html *h, const sl_features *f, const sl_context *x, int from, int end)
{
    for (int i = from; i < end; i++) {
        int step = (x->level[i] * STEPS + 254) / 255;
        char tag[64];
        snprintf(tag, sizeof tag, "<u class=\"s%d\">", step);
        sl_h(h, step ? tag : "");
        string(h, f, x->string[i]);
        sl_h(h, step ? "</u>" : "");
    }
}

static void context(sl_html *h, const sl_features *f, const sl_context *x)
{
    int from = x->focus > LEFT ? x->focus - LEFT : 0, end = x->focus + 1 + RIGHT < x->n ? x->focus + 1 + RIGHT : x->n;
    sl_h(h, "<tr><td class=\"n v\">");
    sl_h_textf(h, "%.3f", (double)x->value);
    if (x->same > 0)
        sl_h_textf(h, " \xc3\x97%d", x->same + 1);
    sl_h(h, "</td><td class=\"l\"><span>");
    tokens(h, f, x, from, x->focus);
    sl_h(h, "</span></td><td><b>");
    tokens(h, f, x, x->focus, x->focus + 1);
    if (x->string[x->focus] < 0)
        sl_h_textf(h, "row %lld", (long long)x->at);
    sl_h(h, "</b>");
    tokens(h, f, x, x->focus + 1, end);
    sl_h(h, "</td></tr>\n");
}

/* The contexts of one kind, if there are any; of the quantiles those of one. */
static void contexts(sl_html *h, const sl_features *f, const sl_feature *j, sl_context_kind kind, const char *title, bool folded)
{
    sl_context x;
    int n = 0;
    for (int i = 0; i < j->n_contexts; i++) {
        sl_features_context(f, j->first_context + i, &x);
        n += x.kind == kind;
    }
    if (n == 0)
        return;
    sl_h(h, folded ? "<details><summary>" : "<h3>");
    sl_h(h, title);
    sl_h(h, folded ? "</summary>\n" : "</h3>\n");
    sl_h(h, "<table class=\"c\"><thead><tr><th class=\"n v\" scope=\"col\">value</th><th class=\"n l\" scope=\"col\">before</th><th scope=\"col\">token and after</th></tr></thead><tbody>\n");
    for (int i = 0; i < j->n_contexts; i++) {
        sl_features_context(f, j->first_context + i, &x);
        if (x.kind == kind)
            context(h, f, &x);
    }
    sl_h(h, "</tbody></table>\n");
    sl_h(h, folded ? "</details>\n" : "");
}

/* ---- a feature ---- */

static void columns(sl_html *h, const sl_features *f, int64_t id)
{
    int n;
    const sl_features_column *c = sl_features_columns(f, &n);
    sl_h(h, "<p>");
    for (int i = 0; i < n; i++) {
        double v = sl_features_value(&c[i], id);
        if (v != v)
            continue;
        sl_h(h, "<span class=\"d\">");
        sl_h_text(h, c[i].title);
        sl_h(h, "</span> ");
        if (c[i].type == SL_COLUMN_STRING)
            word(h, f, (int32_t)v);
        else
            sl_h_textf(h, "%.4g", v);
        sl_h(h, " &ensp; ");
    }
    sl_h(h, "</p>\n");
}

static void title(sl_html *h, const sl_feature_list *which, int64_t id)
{
    const char *label = sl_feature_list_label(which, id);
    sl_h_textf(h, "#%lld ", (long long)id);
    sl_h_text(h, label);
}

static void feature(sl_html *h, const sl_features *f, const sl_feature_list *which, const sl_feature *j)
{
    char anchor[64];
    snprintf(anchor, sizeof anchor, "<section id=\"f%lld\"><h2>", (long long)j->id);
    sl_h(h, anchor);
    title(h, which, j->id);
    sl_h(h, "</h2>\n");
    columns(h, f, j->id);
    if (j->fired > 0)
        histogram(h, j);
    word_list(h, f, "tokens that it fires on", j->n_tokens, j->token, j->token_share);
    word_list(h, f, "raises the logits of", j->n_lens, j->up, j->up_logit);
    word_list(h, f, "lowers the logits of", j->n_lens, j->down, j->down_logit);
    feature_list(h, "nearest by cosine", j->n_cosine, j->cosine_id, j->cosine);
    feature_list(h, "fires together with", j->n_cofire, j->cofire_id, j->cofire);
    contexts(h, f, j, SL_CONTEXT_TOP, "Strongest", false);
    contexts(h, f, j, SL_CONTEXT_QUANTILE, "From all strengths, the strongest part first", false);
    contexts(h, f, j, SL_CONTEXT_NEAR, "Same token, silent", true);
    contexts(h, f, j, SL_CONTEXT_SILENT, "Silent, at random", true);
    sl_h(h, "</section>\n");
}

/* ---- the page ---- */

static void opening(sl_html *h, const sl_features *f)
{
    const sl_features_info *i = sl_features_about(f);
    sl_h(h, HEAD);
    sl_h(h, "<title>Features of ");
    sl_h_text(h, i->name);
    sl_h(h, "</title></head><body>\n<header><h1>Features of ");
    sl_h_text(h, i->name);
    sl_h(h, "</h1><p class=\"d\">");
    sl_h_textf(h, "%s at %s of %s, %lld features over %lld rows of %s.", i->variant, i->hook, i->model, (long long)i->n_features, (long long)i->n_rows, i->dataset);
    sl_h(h, " Underlined: where the feature fires, thicker where stronger. Framed: the token in question.</p></header>\n<main>\n");
}

static sl_status overview(sl_html *h, const sl_features *f, const sl_feature_list *which)
{
    sl_h(h, "<table><caption class=\"d\">Features on this page</caption><thead><tr><th scope=\"col\">feature</th><th scope=\"col\" class=\"n\">density</th>"
            "<th scope=\"col\" class=\"n\">max</th><th scope=\"col\">top token</th></tr></thead><tbody>\n");
    for (int64_t i = 0; i < sl_feature_list_n(f, which); i++) {
        sl_feature j;
        char link[64];
        SL_TRY(sl_features_get(f, sl_feature_list_at(which, i), &j, h->err));
        snprintf(link, sizeof link, "<tr><td><a href=\"#f%lld\">", (long long)j.id);
        sl_h(h, link);
        title(h, which, j.id);
        sl_h(h, "</a></td><td class=\"n\">");
        sl_h_textf(h, "%.2e", j.density);
        sl_h(h, "</td><td class=\"n\">");
        sl_h_textf(h, "%.3g", (double)j.max);
        sl_h(h, "</td><td>");
        if (j.n_tokens > 0)
            word(h, f, j.token[0]);
        sl_h(h, "</td></tr>\n");
    }
    sl_h(h, "</tbody></table>\n");
    return h->st;
}

static sl_status page(sl_html *h, sl_ctx *ctx, const sl_features *f, const sl_feature_list *which)
{
    opening(h, f);
    SL_TRY(overview(h, f, which));
    for (int64_t i = 0; i < sl_feature_list_n(f, which); i++) {
        sl_feature j;
        SL_TRY(sl_features_get(f, sl_feature_list_at(which, i), &j, h->err));
        feature(h, f, which, &j);
        if (sl_cancelled(ctx))
            return sl_fail(h->err, SL_CANCELLED, "features", NULL, "stopped");
    }
    sl_h(h, "</main></body></html>\n");
    return h->st;
}

sl_status sl_features_html(sl_ctx *ctx, const sl_features *f, const sl_feature_list *which, const char *path, sl_err *err)
{
    sl_html h = { .err = err };
    SL_TRY(sl_atomic_open(ctx, path, &h.f, err));
    sl_status st = page(&h, ctx, f, which);
    if (st == SL_OK)
        return sl_atomic_commit(h.f, err);
    sl_atomic_abort(h.f);
    return st;
}
