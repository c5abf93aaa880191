/* Cards of compositions: the text that stands beside the pictures. */
#include "report/cards.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64, PATH = 1400 };

static void text_of(sl_html *h, json_t *o, const char *key) { sl_h_text(h, json_string_value(json_object_get(o, key))); }

static void participants(sl_html *h, json_t *unit)
{
    json_t *p;
    size_t i;
    sl_h(h, "<p>");
    json_array_foreach(json_object_get(unit, "participants"), i, p) {
        sl_h(h, i ? ", " : "latents: ");
        text_of(h, p, "name");
        sl_h_textf(h, " (%.0f%%)", 100 * json_number_value(json_object_get(p, "share")));
    }
    sl_h(h, "</p>\n");
}

static void pairs(sl_html *h, json_t *unit)
{
    json_t *p;
    size_t i;
    sl_h(h, "<ul>\n");
    json_array_foreach(json_object_get(unit, "pairs"), i, p) {
        json_t *index = json_object_get(p, "index");
        sl_h(h, "<li>");
        text_of(h, p, "i");
        sl_h(h, " with ");
        text_of(h, p, "j");
        sl_h_textf(h, ": attribution %.3g", json_number_value(json_object_get(p, "attribution")));
        if (json_is_number(index))
            sl_h_textf(h, ", by ablation %.3g", json_number_value(index));
        sl_h(h, "</li>\n");
    }
    sl_h(h, "</ul>\n");
}

static void contexts(sl_html *h, json_t *unit)
{
    json_t *row;
    size_t i;
    sl_h(h, "<ol>\n");
    json_array_foreach(json_object_get(unit, "rows"), i, row) {
        sl_h(h, "<li><code>");
        text_of(h, row, "text");
        sl_h(h, "</code>");
        sl_h_textf(h, " %.2f", json_number_value(json_object_get(row, "value")));
        sl_h(h, "</li>\n");
    }
    sl_h(h, "</ol>\n");
}

static void card(sl_html *h, json_t *unit)
{
    const char *relation = json_string_value(json_object_get(unit, "relation"));
    sl_h(h, "<div class=\"card\"><h4>");
    sl_h_textf(h, "composition %d", (int)json_integer_value(json_object_get(unit, "q")));
    if (relation) {
        sl_h(h, ": ");
        sl_h_text(h, relation);
        sl_h_textf(h, " (phi %.2f)", json_number_value(json_object_get(unit, "phi")));
    }
    sl_h_textf(h, ", active in %lld rows", (long long)json_integer_value(json_object_get(unit, "fired")));
    sl_h(h, "</h4>\n");
    participants(h, unit);
    pairs(h, unit);
    contexts(h, unit);
    sl_h(h, "</div>\n");
}

/* ---- which SAEs ---- */

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* Folders of first replicates, in the order of their names; returns how many. */
static int list(const char *dir, char name[MOST][160])
{
    DIR *folder = opendir(dir);
    int n = 0;
    for (struct dirent *e; folder && n < MOST && (e = readdir(folder));) {
        size_t len = strlen(e->d_name);
        if (strncmp(e->d_name, "sae-", 4) == 0 && len < 160 && len > 6 && strcmp(e->d_name + len - 6, "-seed0") == 0)
            memcpy(name[n++], e->d_name, len + 1);
    }
    if (folder)
        closedir(folder);
    qsort(name, (size_t)n, sizeof *name, by_name);
    return n;
}

/* The data set that a folder sae-DATASET-ARM-seed0 is of; NULL: the text. */
static const char *dataset_of(const sl_facts *f, const char *name)
{
    for (int i = 1; i < f->n_datasets; i++) {
        size_t n = strlen(f->name[i]);
        if (strncmp(name + 4, f->name[i], n) == 0 && name[4 + n] == '-')
            return f->name[i];
    }
    return NULL;
}

/* Of the ablations only the first arm of the records is shown; it is the whole one. */
static bool is_first(const sl_facts *f, const char *dataset, const char *folder)
{
    json_t *r;
    size_t i;
    json_array_foreach(f->records, i, r) {
        const char *arm = json_string_value(json_object_get(r, "arm")), *set = json_string_value(json_object_get(r, "dataset"));
        const char *variant = json_string_value(json_object_get(r, "variant"));
        char expected[400];
        if (!arm || !set || !variant || strcmp(variant, "compositional") != 0 || strcmp(set, dataset ? dataset : f->name[0]) != 0)
            continue;
        snprintf(expected, sizeof expected, "sae-%s%s%s-seed0", dataset ? dataset : "", dataset ? "-" : "", arm);
        return strcmp(expected, folder) == 0;
    }
    return false;
}

static void cards_of(sl_html *h, const sl_facts *f, const char *folder, bool *any)
{
    char path[PATH];
    json_t *j = NULL, *unit;
    size_t i;
    snprintf(path, sizeof path, "%s/%s/composition.json", f->dir, folder);
    if (!sl_path_exists(path) || sl_json_load_file(f->ctx, path, &j, NULL) != SL_OK)
        return;
    if (json_array_size(json_object_get(j, "units")) > 0) {
        sl_h(h, *any ? "" : "<h2>Compositions</h2>\n");
        sl_h(h, "<details><summary>");
        sl_h_textf(h, "%s: %zu compositions", folder, json_array_size(json_object_get(j, "units")));
        sl_h(h, "</summary><p class=\"key\">Latents are named by the true feature, or the token, that they fire on; their share of the composition's attribution. "
                "Pairs: mean attribution, and what remains of the composition when one, the other and both are taken away. Then the rows on which it is strongest.</p><div class=\"cards\">\n");
        json_array_foreach(json_object_get(j, "units"), i, unit)
            card(h, unit);
        sl_h(h, "</div></details>\n");
        *any = true;
    }
    json_decref(j);
}

sl_status sl_cards(sl_html *h, const sl_facts *f, sl_err *err)
{
    char (*name)[160] = sl_alloc(f->ctx, MOST * sizeof *name);
    bool any = false;
    if (!name)
        return sl_fail(err, SL_MEM, f->dir, NULL, "no memory");
    int n = list(f->dir, name);
    for (int i = 0; i < n && f->n_datasets > 0; i++)
        if (is_first(f, dataset_of(f, name[i]), name[i]))
            cards_of(h, f, name[i], &any);
    sl_free(f->ctx, name);
    return SL_OK;
}
