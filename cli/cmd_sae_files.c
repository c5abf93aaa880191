/* saelab sae info | convert | get | encode: SAEs in files. */
#include "cmd.h"

#include <dirent.h>
#include <string.h>

/* ---- info ---- */

enum { INFO_ROWS = 40 };
typedef struct sheet { const char *cells[2 * INFO_ROWS]; char text[INFO_ROWS][224]; int n; } sheet;

static void row(sheet *s, const char *name, const char *fmt, ...) SL_PRINTF(3, 4);
static void row(sheet *s, const char *name, const char *fmt, ...)
{
    va_list ap;
    if (s->n == INFO_ROWS)
        return;
    va_start(ap, fmt);
    vsnprintf(s->text[s->n], sizeof s->text[0], fmt, ap);
    va_end(ap);
    s->cells[2 * s->n] = name;
    s->cells[2 * s->n + 1] = s->text[s->n];
    s->n++;
}

static void info_rows(sheet *s, const sl_sae *sae, const sl_sae_info *i, const sl_sae_print *print)
{
    char b[32];
    row(s, "variant", "%s", i->variant);
    row(s, "format", "%s", i->format);
    row(s, "d_in", "%s", text_count(b, i->d_in));
    if (i->d_out != i->d_in)
        row(s, "d_out", "%s", text_count(b, i->d_out));
    row(s, "d_sae", "%s", text_count(b, i->d_sae));
    row(s, "hook", "%s", i->hook);
    if (i->hook_out[0])
        row(s, "predicts", "%s", i->hook_out);
    row(s, "model", "%s", i->model);
    row(s, "dataset", "%s", i->dataset);
    row(s, "encoder", "%s", i->center_input ? "of x - b_dec" : "of x");
    row(s, "normalised", "%s", strcmp(i->row_norm, "none") != 0 ? i->row_norm : i->has_mean ? "mean and scale, folded into the weights" : "no");
    row(s, "scale", "%.6g", i->scale);
    row(s, "fingerprint", "%s", print->text);
    const sl_variant_info *v = sl_variant_find(i->variant);
    for (const sl_opt *o = v ? v->opts : NULL; o && o->type != SL_T_END; o++) {
        char value[200];
        sl_opts_text(o, sl_sae_options(sae), value, sizeof value);
        row(s, o->name, "%s", value);
    }
    for (int k = 0; sl_sae_note(sae, k); k++)
        row(s, "ambiguous", "%s", sl_sae_note(sae, k));
}

static json_t *info_json(cli *c, const sl_sae *sae, const sl_sae_info *i, const sl_sae_print *print)
{
    json_t *options = json_object(), *notes = json_array();
    const sl_variant_info *v = sl_variant_find(i->variant);
    for (const sl_opt *o = v ? v->opts : NULL; o && o->type != SL_T_END; o++)
        json_object_set_new(options, o->name, option_json(o, sl_sae_options(sae)));
    for (int k = 0; sl_sae_note(sae, k); k++)
        json_array_append_new(notes, json_string(sl_sae_note(sae, k)));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:b, s:s, s:b, s:o, s:I, s:{s:I, s:o, s:o}, s:o, s:o}", "sae", c->args[0], "variant", i->variant,
                     "format", i->format, "d_in", (json_int_t)i->d_in, "d_out", (json_int_t)i->d_out, "d_sae", (json_int_t)i->d_sae, "hook", i->hook, "hook_out", i->hook_out, "model", i->model,
                     "dataset", i->dataset, "center_input", (int)i->center_input, "row_norm", i->row_norm, "has_mean", (int)i->has_mean, "scale",
                     json_real_or_null(i->scale), "max_active", (json_int_t)i->max_active, "fingerprint", "l0", (json_int_t)print->l0, "norm",
                     json_real_or_null(print->norm), "dot", json_real_or_null(print->dot), "options", options, "ambiguous", notes);
}

static sl_status info(cli *c, sl_err *err)
{
    sl_sae *s;
    sl_sae_print print;
    sheet page = { .n = 0 };
    SL_TRY(sl_sae_load(c->ctx, c->args[0], &s, err));
    sl_status st = sl_sae_fingerprint(s, &print, err);
    if (st == SL_OK) {
        sl_sae_info i = sl_sae_about(s);
        info_rows(&page, s, &i, &print);
        say_table(c, false, page.n, 2, page.cells);
        c->result = info_json(c, s, &i, &print);
        next_step(c, "saelab sae eval %s --acts HELD_OUT_STORE", c->args[0]);
    }
    sl_sae_free(s);
    return st;
}

const command CMD_SAE_INFO = {
    .name = "sae info", .args = "SAE", .min_args = 1, .max_args = 1, .what = "Shape, variant, origin and ambiguities of an SAE.",
    .text = "SAE is a folder of SAELens (6.x and before), sparsify, dictionary_learning (ae.pt) or Gemma Scope (params.npz), or hf:OWNER/REPO/FOLDER. The "
            "fingerprint is what it makes of a fixed row, x_j = sqrt(2) sin(j + 1): the same SAE in another file or program gives the same.",
    .run = info,
};

/* ---- convert ---- */

enum { TO_SAELENS, TO_SPARSIFY, TO_NPZ };
static const char *const FORMATS[] = { "saelens", "sparsify", "npz", NULL };

typedef struct convert_cfg { const char *out_dir; int to; } convert_cfg;
static const sl_opt CONVERT_OPTS[] = {
    OUT_DIR(convert_cfg, "new folder for the SAE (required)"),
    SL_OPT_CHOICE(convert_cfg, to, TO_SAELENS, FORMATS, "whose files to write; npz: Gemma Scope's params.npz"),
    SL_OPT_END
};
static const opt_group CONVERT_GROUPS[] = { { "Options", NULL, CONVERT_OPTS, 0 }, { NULL, NULL, NULL, 0 } };

static bool has_files(const char *dir)
{
    DIR *d = opendir(dir);
    bool found = false;
    for (struct dirent *e = d ? readdir(d) : NULL; e && !found; e = readdir(d))
        found = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d)
        closedir(d);
    return found;
}

/* Writes, reads again, and compares what both make of the probe. */
static sl_status convert_and_compare(cli *c, sl_sae *s, const convert_cfg *t, sl_err *err)
{
    sl_sae *back = NULL;
    sl_sae_print a, b;
    sl_status st;
    SL_GO(sl_sae_convert(s, FORMATS[t->to], t->out_dir, err));
    SL_GO(sl_sae_load(c->ctx, t->out_dir, &back, err));
    SL_GO(sl_sae_fingerprint(s, &a, err));
    SL_GO(sl_sae_fingerprint(back, &b, err));
    say(c, "%s\nbefore  %s\nafter   %s\n", t->out_dir, a.text, b.text);
    c->result = json_pack("{s:s, s:s, s:s, s:s}", "sae", t->out_dir, "format", FORMATS[t->to], "fingerprint_before", a.text, "fingerprint", b.text);
    next_step(c, "saelab sae info %s", t->out_dir);
done:
    sl_sae_free(back);
    return st;
}

static sl_status convert(cli *c, sl_err *err)
{
    const convert_cfg *t = c->cfg;
    sl_sae *s;
    if (!t->out_dir)
        return sl_fail(err, SL_ARG, "-o", "-o FOLDER", "where does the SAE go?");
    if (has_files(t->out_dir))
        return sl_fail(err, SL_EXISTS, t->out_dir, "a new or empty folder", "there are files in it");
    SL_TRY(sl_sae_load(c->ctx, c->args[0], &s, err));
    sl_status st = convert_and_compare(c, s, t, err);
    sl_sae_free(s);
    return st;
}

const command CMD_SAE_CONVERT = {
    .name = "sae convert", .args = "SAE", .min_args = 1, .max_args = 1, .what = "Write an SAE in another program's files.",
    .text = "Reads what `saelab sae info` reads. What a format cannot say is refused. The result is read again, and both fingerprints are printed.",
    .examples = "  saelab sae convert ae.pt --to saelens -o my_sae\n", .groups = CONVERT_GROUPS, .cfg_size = sizeof(convert_cfg), .run = convert,
};

/* ---- get ---- */

static sl_status get(cli *c, sl_err *err)
{
    char path[1024];
    if (strncmp(c->args[0], "hf:", 3) != 0)
        return sl_fail(err, SL_ARG, c->args[0], "hf:OWNER/REPO[/FOLDER][@REVISION]", "is no reference to the hub");
    sl_status st = sl_ref_get(c->ctx, c->args[0], true, path, err);
    if (st == SL_UNAVAILABLE) { /* offline: a copy that is here will do */
        sl_err none;
        st = sl_ref_get(c->ctx, c->args[0], false, path, &none) == SL_OK ? SL_OK : st;
    }
    SL_TRY(st);
    say(c, "%s\n", path);
    c->result = json_pack("{s:s, s:s}", "ref", c->args[0], "path", path);
    next_step(c, "saelab sae info %s", c->args[0]);
    return SL_OK;
}

const command CMD_SAE_GET = {
    .name = "sae get", .args = "REF", .min_args = 1, .max_args = 1, .what = "Fetch an SAE from the Hugging Face hub.",
    .text = "REF is hf:OWNER/REPO[/FOLDER][@REVISION]. Only safetensors, npz, json and text are fetched, checked by size and hash; a download that was cut "
            "off goes on. Such a reference stands wherever a path to a model, an SAE or a text does; a copy in the hub's own cache is used.",
    .examples = "  saelab sae get hf:OWNER/REPO/layer_20/width_16k\n", .run = get,
};

/* ---- encode ---- */

typedef struct encode_cfg { const char *acts, *out; } encode_cfg;
static const sl_opt ENCODE_OPTS[] = {
    { .name = "out", .short_name = 'o', .type = SL_T_STR, .offset = offsetof(encode_cfg, out), .help = "file of the codes, .safetensors (required)" },
    SL_OPT_STR(encode_cfg, acts, NULL, "store to encode: a folder of `saelab acts` (required)"),
    SL_OPT_END
};
static const opt_group ENCODE_GROUPS[] = { { "Options", NULL, ENCODE_OPTS, 0 }, { NULL, NULL, NULL, 0 } };

static sl_status encode_store(cli *c, sl_sae *s, const encode_cfg *t, sl_err *err)
{
    sl_act_source *acts;
    sl_sae_encoded r;
    char b[4][32];
    SL_TRY(sl_acts_open(c->ctx, t->acts, false, &acts, err));
    sl_status st = sl_sae_encode_store(s, acts, t->out, &r, err);
    sl_act_source_free(acts);
    SL_TRY(st);
    double l0 = (double)r.nnz / (double)r.rows, per_s = r.seconds > 0 ? (double)r.rows / r.seconds : 0;
    say(c, "%s: %s rows, l0 %.2f, %s, %s rows/s\n", t->out, text_count(b[0], r.rows), l0, text_bytes(b[1], r.bytes), text_count(b[2], (int64_t)per_s));
    c->result = json_pack("{s:s, s:I, s:I, s:I, s:o, s:o, s:o}", "codes", t->out, "rows", (json_int_t)r.rows, "nnz", (json_int_t)r.nnz, "bytes", (json_int_t)r.bytes,
                          "l0", json_real_or_null(l0), "seconds", json_real_or_null(r.seconds), "rows_per_second", json_real_or_null(per_s));
    next_step(c, "python: scipy.sparse.csr_matrix((val, idx, indptr)) of safetensors.numpy.load_file('%s')", t->out);
    return SL_OK;
}

static sl_status encode(cli *c, sl_err *err)
{
    const encode_cfg *t = c->cfg;
    sl_sae *s;
    if (!t->acts)
        return sl_fail(err, SL_ARG, "--acts", "--acts FOLDER", "which activations?");
    if (!t->out)
        return sl_fail(err, SL_ARG, "-o", "-o FILE", "where do the codes go?");
    SL_TRY(sl_sae_load(c->ctx, c->args[0], &s, err));
    sl_status st = encode_store(c, s, t, err);
    sl_sae_free(s);
    return st;
}

const command CMD_SAE_ENCODE = {
    .name = "sae encode", .args = "SAE", .min_args = 1, .max_args = 1, .what = "Write the codes of stored activations.",
    .text = "A safetensors file of the sparse codes of all rows, in the order of the store, as CSR: row r has val[indptr[r]:indptr[r+1]] at the latents "
            "idx[indptr[r]:indptr[r+1]]. Memory does not grow with rows, and the file appears when it is whole.",
    .examples = "  saelab sae encode my_sae --acts my_acts -o codes.safetensors\n",
    .groups = ENCODE_GROUPS, .cfg_size = sizeof(encode_cfg), .run = encode,
};
