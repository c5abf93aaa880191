/* SAEDashboard's batch files for Neuronpedia: keys, order and types as in a file of theirs (gpt2-small res-jb). */
#include "io/io.h"
#include "report/feature_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PER_FILE = 128, ALIGNED = 3, FIFTHS = 5 };

typedef struct job {
    sl_ctx *ctx;
    const sl_features *f;
    const float *W_dec;     /* [d_sae, d], or NULL */
    int64_t d;
} job;

static double rounded(double v, double unit) { return round(v / unit) * unit; }
static json_t *real3(double v) { return json_real(rounded(v, 1e-3)); }

static json_t *string_json(const sl_features *f, int32_t id)
{
    char text[SL_FEATURE_TEXT];
    sl_feature_plain(f, id, text);
    return json_string(text);
}

/* ---- lists ---- */

static json_t *reals(int n, const float *v)
{
    json_t *a = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(a, real3((double)v[i]));
    return a;
}

static json_t *strings(const job *b, int n, const int32_t *id)
{
    json_t *a = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(a, string_json(b->f, id[i]));
    return a;
}

/* Middles and heights of equal bins from lo to hi. */
static void put_histogram(json_t *o, const char *name, const int32_t *count, double lo, double hi)
{
    char key[64];
    json_t *values = json_array(), *heights = json_array();
    for (int i = 0; count && i < SL_FEATURE_BINS; i++) {
        json_array_append_new(values, real3(lo + (i + .5) * (hi - lo) / SL_FEATURE_BINS));
        json_array_append_new(heights, json_integer(count[i]));
    }
    snprintf(key, sizeof key, "%s_bar_values", name);
    json_object_set_new(o, key, values);
    snprintf(key, sizeof key, "%s_bar_heights", name);
    json_object_set_new(o, key, heights);
}

static void put_alignment(const job *b, json_t *o, int64_t id)
{
    json_t *index = json_array(), *value = json_array(), *share = json_array();
    const float *w = b->W_dec ? b->W_dec + id * b->d : NULL;
    int64_t taken[ALIGNED];
    double sum = 0;
    for (int64_t i = 0; w && i < b->d; i++)
        sum += fabs((double)w[i]);
    for (int k = 0; w && k < ALIGNED && k < b->d; k++) {
        int64_t best = -1;
        for (int64_t i = 0; i < b->d; i++) {
            bool free = !(k > 0 && taken[0] == i) && !(k > 1 && taken[1] == i);
            if (free && (best < 0 || fabsf(w[i]) > fabsf(w[best])))
                best = i;
        }
        taken[k] = best;
        json_array_append_new(index, json_integer(best));
        json_array_append_new(value, real3((double)w[best]));
        json_array_append_new(share, real3(sum > 0 ? fabs((double)w[best]) / sum : 0));
    }
    json_object_set_new(o, "neuron_alignment_indices", index);
    json_object_set_new(o, "neuron_alignment_values", value);
    json_object_set_new(o, "neuron_alignment_l1", share);
}

static void put_correlated(json_t *o, const sl_feature *j)
{
    json_t *index = json_array(), *cosine = json_array(), *phi = json_array();
    for (int i = 0; i < j->n_cofire && i < ALIGNED; i++) {
        double c = 0;
        for (int k = 0; k < j->n_cosine; k++)
            c = j->cosine_id[k] == j->cofire_id[i] ? (double)j->cosine[k] : c;
        json_array_append_new(index, json_integer(j->cofire_id[i]));
        json_array_append_new(cosine, real3(c));
        json_array_append_new(phi, real3((double)j->cofire[i]));
    }
    json_object_set_new(o, "correlated_neurons_indices", json_array());
    json_object_set_new(o, "correlated_neurons_l1", json_array());
    json_object_set_new(o, "correlated_neurons_pearson", json_array());
    json_object_set_new(o, "correlated_features_indices", index);
    json_object_set_new(o, "correlated_features_l1", cosine);
    json_object_set_new(o, "correlated_features_pearson", phi);
}

/* ---- contexts ---- */

static json_t *context_json(const job *b, const sl_context *x, json_t *bin_min, json_t *bin_max, json_t *contains)
{
    json_t *tokens = json_array(), *values = json_array();
    for (int i = 0; i < x->n; i++) {
        json_array_append_new(tokens, string_json(b->f, x->string[i]));
        json_array_append_new(values, real3(i == x->focus ? (double)x->value : (double)x->level[i] * (double)x->unit));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:i, s:[], s:i, s:i}", "bin_min", bin_min, "bin_max", bin_max, "bin_contains", contains, "tokens", tokens, "values",
                     values, "qualifying_token_index", x->focus, "dfa_values", "dfa_maxValue", 0, "dfa_targetIndex", -1);
}

static int fifth_of(const sl_feature *j, float value)
{
    int k = (int)((double)value / (double)j->max * FIFTHS);
    return k < FIFTHS ? k : FIFTHS - 1;
}

/* The strongest, then those at random by the fifth of the range that they lie in, the highest first. */
static json_t *contexts_json(const job *b, const sl_feature *j)
{
    json_t *list = json_array();
    sl_context x;
    for (int i = 0; i < j->n_contexts; i++) {
        sl_features_context(b->f, j->first_context + i, &x);
        if (x.kind == SL_CONTEXT_TOP)
            json_array_append_new(list, context_json(b, &x, json_integer(-1), real3((double)j->max), json_integer(-1)));
    }
    for (int k = FIFTHS - 1; k >= 0; k--) {
        int64_t inside = 0;
        for (int h = 0; h < SL_FEATURE_BINS / FIFTHS; h++)
            inside += j->hist[k * (SL_FEATURE_BINS / FIFTHS) + h];
        for (int i = 0; i < j->n_contexts; i++) {
            sl_features_context(b->f, j->first_context + i, &x);
            if (x.kind == SL_CONTEXT_QUANTILE && fifth_of(j, x.value) == k)
                json_array_append_new(list, context_json(b, &x, real3((double)j->max * k / FIFTHS), real3((double)j->max * (k + 1) / FIFTHS),
                                                         json_real(rounded((double)inside / (double)j->fired, 1e-4))));
        }
    }
    return list;
}

/* ---- a feature, a file ---- */

static json_t *feature_json(const job *b, const sl_feature *j)
{
    const sl_features_info *i = sl_features_about(b->f);
    int64_t window = i->before + 1 + i->after;
    json_t *o = json_object();
    json_object_set_new(o, "feature_index", json_integer(j->id));
    put_alignment(b, o, j->id);
    put_correlated(o, j);
    json_object_set_new(o, "neg_str", strings(b, j->n_lens, j->down));
    json_object_set_new(o, "neg_values", reals(j->n_lens, j->down_logit));
    json_object_set_new(o, "pos_str", strings(b, j->n_lens, j->up));
    json_object_set_new(o, "pos_values", reals(j->n_lens, j->up_logit));
    json_object_set_new(o, "frac_nonzero", json_real(rounded(j->density, 1e-7)));
    put_histogram(o, "freq_hist_data", j->hist, 0, (double)j->max);
    put_histogram(o, "logits_hist_data", j->logit_hist, (double)j->logit_min, (double)j->logit_max);
    json_object_set_new(o, "n_prompts_total", json_integer(i->n_rows / window));
    json_object_set_new(o, "n_tokens_in_prompt", json_integer(window));
    json_object_set_new(o, "dataset", json_string(i->dataset));
    json_object_set_new(o, "decoder_weights_dist", json_array());
    json_object_set_new(o, "activations", contexts_json(b, j));
    return o;
}

/* blocks.3.hook_resid_pre -> 3 */
static int64_t layer_of(const char *hook)
{
    const char *s = strchr(hook, '.');
    return strncmp(hook, "blocks.", 7) == 0 && s ? strtoll(s + 1, NULL, 10) : 0;
}

static sl_status write_file(sl_ctx *ctx, const json_t *o, const char *path, sl_err *err)
{
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9)) : NULL;
    sl_status st = text ? sl_file_write(ctx, path, text, strlen(text), err) : sl_fail(err, SL_MEM, path, NULL, "no memory for the file");
    free(text);
    return st;
}

/* Features first .. end - 1 of the list. */
static sl_status write_batch(const job *b, const sl_feature_list *which, int64_t first, int64_t end, const sl_neuronpedia_opts *o, const char *path, sl_err *err)
{
    json_t *list = json_array();
    sl_status st = SL_OK;
    for (int64_t i = first; st == SL_OK && i < end; i++) {
        sl_feature j;
        st = sl_features_get(b->f, sl_feature_list_at(which, i), &j, err);
        if (st == SL_OK)
            json_array_append_new(list, feature_json(b, &j));
    }
    json_t *file = json_pack("{s:s, s:I, s:s, s:O}", "model_id", o->model_id, "layer", (json_int_t)(o->layer >= 0 ? o->layer : layer_of(sl_features_about(b->f)->hook)),
                             "sae_set", o->sae_set, "features", list);
    if (st == SL_OK)
        st = write_file(b->ctx, file, path, err);
    json_decref(file);
    json_decref(list);
    return st;
}

sl_status sl_features_neuronpedia(sl_ctx *ctx, const sl_features *f, const sl_sae *sae, const sl_feature_list *which, const sl_neuronpedia_opts *o, const char *dir,
                                  int64_t *n_files, sl_err *err)
{
    job b = { .ctx = ctx, .f = f };
    int64_t n = sl_feature_list_n(f, which), per_file = o->per_file > 0 ? o->per_file : PER_FILE, files = 0;
    sl_tensor W;
    if (sae) {
        SL_TRY(sl_sae_weight(sae, "W_dec", &W, err));
        if (W.dim[0] != sl_features_about(f)->n_features)
            return sl_fail(err, SL_SHAPE, "the SAE", NULL, "has %lld features, and the index %lld", (long long)W.dim[0], (long long)sl_features_about(f)->n_features);
        b.W_dec = W.data;
        b.d = W.dim[1];
    }
    SL_TRY(sl_dir_make(dir, err));
    for (int64_t first = 0; first < n; first += per_file, files++) {
        char path[1100];
        snprintf(path, sizeof path, "%.1000s/batch-%lld.json", dir, (long long)files);
        SL_TRY(write_batch(&b, which, first, first + per_file < n ? first + per_file : n, o, path, err));
        sl_progress(ctx, "export", (double)(first + per_file < n ? first + per_file : n), (double)n, "features", NULL);
        if (sl_cancelled(ctx))
            return sl_fail(err, SL_CANCELLED, dir, NULL, "stopped");
    }
    if (n_files)
        *n_files = files;
    return SL_OK;
}
