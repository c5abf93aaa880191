/* The trainer's options and what follows from them: which weights are trained, how they are constrained, the schedules. */
#include "sae/train.h"

#include <math.h>

static const char *const schedules[] = { "linear", "cosine", "constant", NULL };
static const char *const decoders[] = { "recipe", "unit", "free", NULL };
static const char *const switches[] = { "recipe", "on", "off", NULL };
static const char *const encoders[] = { "recipe", "tied", "random", NULL };
static const char *const biases[] = { "recipe", "zero", "mean", "median", NULL };
static const char *const controls[] = { "none", "frozen_decoder", "soft_frozen_decoder", "random_encoder", NULL };

enum { CURVE_POINTS = 200, BY_RECIPE = 0, UNIT = 1, ON = 1 };

const sl_opt sl_sae_train_opts[] = {
    SL_OPT_STR(sl_sae_train_config, variant, "topk", "kind of SAE: see `saelab sae variants`"),
    SL_OPT_CHOICE(sl_sae_train_config, recipe, 0, sl_recipe_names, "whose loss units, first weights and constraints"),
    SL_OPT_INT(sl_sae_train_config, d_sae, 0, 0, 1 << 24, "latents", "width; 0: expansion * d_in"),
    SL_OPT_INT(sl_sae_train_config, expansion, 8, 1, 1024, "", "width in units of d_in"),
    SL_OPT_INT(sl_sae_train_config, steps, 10000, 1, 1000000000, "steps", "length of the run"),
    SL_OPT_INT(sl_sae_train_config, batch, 1024, 1, 1 << 20, "rows", "rows a step"),
    SL_OPT_INT(sl_sae_train_config, seed, 0, 0, 1e15, "", "of the first weights"),
    SL_OPT_INT(sl_sae_train_config, warmup, 500, 0, 1000000000, "steps", "linear rise of the learning rate; at most a tenth of the run"),
    SL_OPT_FLOAT(sl_sae_train_config, lr, 1e-3, 0, 10, "", "peak learning rate of Adam"),
    SL_OPT_CHOICE(sl_sae_train_config, schedule, SL_SAE_LINEAR, schedules, "fall of the learning rate: linear over decay_fraction, cosine over the run, or none"),
    SL_OPT_FLOAT(sl_sae_train_config, decay_fraction, .2, 0, 1, "of the steps", "linear decay of the learning rate at the end"),
    SL_OPT_FLOAT(sl_sae_train_config, lr_end, 0, 0, 1, "of lr", "the learning rate that linear and cosine end at"),
    SL_OPT_FLOAT(sl_sae_train_config, beta1, .9, 0, .99999, "", "Adam"),
    SL_OPT_FLOAT(sl_sae_train_config, beta2, .999, 0, .9999999, "", "Adam"),
    SL_OPT_FLOAT(sl_sae_train_config, clip, 1, 0, 1e9, "", "largest norm of the whole gradient; 0: no limit"),
    SL_OPT_FLOAT(sl_sae_train_config, weight_decay, 0, 0, 100, "", "decoupled, of W_enc and W_dec; rows kept at norm 1 do not feel it"),
    SL_OPT_INT(sl_sae_train_config, k_start, 0, 0, 65536, "latents", "first k of variants that have one, moving linearly to it; 0: k from the start"),
    SL_OPT_FLOAT(sl_sae_train_config, k_anneal, .2, 0, 1, "of the steps", "share of the run over which k moves from k_start"),
    SL_OPT_CHOICE(sl_sae_train_config, decoder, BY_RECIPE, decoders, "rows of W_dec renormalised to 1 after each step, or free"),
    SL_OPT_CHOICE(sl_sae_train_config, project, BY_RECIPE, switches, "remove the gradient along unit rows before each step"),
    SL_OPT_CHOICE(sl_sae_train_config, encoder, BY_RECIPE, encoders, "first W_enc: W_dec, or random rows of its own"),
    SL_OPT_CHOICE(sl_sae_train_config, b_dec, BY_RECIPE, biases, "first b_dec: 0, or the mean or geometric median of the first rows"),
    SL_OPT_CHOICE(sl_sae_train_config, control, SL_SAE_NO_CONTROL, controls, "train less, to compare with: W_dec fixed, W_dec near its random start, or W_enc fixed"),
    SL_OPT_INT(sl_sae_train_config, dead_window, 0, 0, 1e15, "rows", "without firing, then dead; 0: a tenth of the run, at most 1e7"),
    SL_OPT_INT(sl_sae_train_config, resample_every, 0, 0, 1000000000, "steps", "start dead latents anew from badly reconstructed rows; 0: never"),
    SL_OPT_FLOAT(sl_sae_train_config, ema, 0, 0, .9999999, "", "decay of a running mean of the weights, which is what the SAE ends with; 0: off"),
    SL_OPT_BOOL(sl_sae_train_config, normalize, true, "subtract the mean, scale to mean square norm d_in (folded into the weights at the end)"),
    SL_OPT_INT(sl_sae_train_config, checkpoint_seconds, 60, 0, 1000000, "s", "between checkpoints; 0: only when stopped"),
    SL_OPT_END
};

sl_status sl_sae_trainer_check(const sl_sae *s, const sl_act_source *acts, const sl_sae_train_config *c, sl_err *err)
{
    if (s->stage == SL_SAE_READY)
        return sl_fail(err, SL_ARG, "sae", "a new one", "it was trained or loaded before");
    if (!s->W_dec->m.data)
        return sl_fail(err, SL_ARG, "sae", "one from sl_sae_new", "it was made without room for training");
    SL_TRY(sl_sae_check_options(sl_sae_train_opts, c, err));
    if (!s->W_enc && (c->control == SL_SAE_RANDOM_ENCODER || c->resample_every > 0))
        return sl_fail(err, SL_ARG, c->resample_every > 0 ? "resample_every" : "control", "a variant with an encoder", "%s has none", s->ops->info.name);
    if (s->ops->d_out && c->resample_every > 0)
        return sl_fail(err, SL_ARG, "resample_every", "a variant whose target is its input", "%s has targets of its own", s->ops->info.name);
    if (acts->info.d_in != s->d_in)
        return sl_fail(err, SL_SHAPE, "activations", "rows as wide as the SAE's d_in", "rows of %lld for an SAE of d_in %lld",
                       (long long)acts->info.d_in, (long long)s->d_in);
    if (s->ops->d_out && acts->info.d_out != s->d_out)
        return sl_fail(err, SL_SHAPE, "activations", "rows with targets as wide as the SAE's d_out", "targets of %lld for a d_out of %lld",
                       (long long)acts->info.d_out, (long long)s->d_out);
    if (acts->info.n_rows >= 0 && acts->info.n_rows < 2)
        return sl_fail(err, SL_DATA, "activations", "at least 2 rows", "there are %lld", (long long)acts->info.n_rows);
    return SL_OK;
}

void sl_sae_trainer_plan(sl_sae_trainer *t)
{
    const sl_sae_train_config *c = t->c;
    int64_t n_rows = t->src->info.n_rows, tenth = c->steps / 10;
    t->batch = n_rows > 0 && n_rows < c->batch ? n_rows : c->batch;
    t->log_every = c->steps > CURVE_POINTS ? c->steps / CURVE_POINTS : 1;
    double run = (double)c->steps * (double)t->batch;
    t->window = c->dead_window > 0 ? c->dead_window : (int64_t)ceil(fmin(1e7, run / 10));
    t->optim = (sl_optim){ .kind = SL_OPTIM_ADAMW, .beta1 = c->beta1, .beta2 = c->beta2, .eps = 1e-8, .clip = c->clip, .weight_decay = c->weight_decay };
    t->sched = (sl_schedule){ .kind = SL_SCHED_LINEAR_DECAY, .lr = c->lr, .min_lr = c->lr_end * c->lr, .warmup = c->warmup < tenth ? c->warmup : tenth,
                              .decay_start = c->steps - (int64_t)(c->decay_fraction * (double)c->steps), .steps = c->steps };
    if (c->schedule != SL_SAE_LINEAR)
        t->sched.kind = c->schedule == SL_SAE_COSINE ? SL_SCHED_COSINE : SL_SCHED_CONSTANT;
}

static void set_flag(sl_param *p, unsigned flag, bool on)
{
    if (p)
        p->flags = on ? p->flags | flag : p->flags & ~flag;
}

sl_bias_init sl_sae_trainer_bias(const sl_sae_trainer *t)
{
    return t->c->b_dec == BY_RECIPE ? t->s->recipe->b_dec : (sl_bias_init)(t->c->b_dec - 1);
}

sl_status sl_sae_trainer_first_weights(sl_sae_trainer *t, sl_err *err)
{
    sl_sae *s = t->s;
    const sl_sae_train_config *c = t->c;
    s->recipe = sl_recipe_at(c->recipe);
    bool unit = c->decoder == BY_RECIPE ? s->ops->unit_decoder(s->opts) && s->recipe->unit_decoder : c->decoder == UNIT;
    bool project = c->project == BY_RECIPE ? s->recipe->project : c->project == ON;
    set_flag(s->W_dec, SL_PARAM_UNIT_ROWS, unit);
    set_flag(s->W_dec, SL_PARAM_NO_PROJECT, !project);
    set_flag(s->W_dec, SL_PARAM_DECAY, c->weight_decay > 0);
    set_flag(s->W_enc, SL_PARAM_DECAY, c->weight_decay > 0);
    set_flag(s->W_dec, SL_PARAM_FROZEN, c->control == SL_SAE_FROZEN_DECODER);
    set_flag(s->W_enc, SL_PARAM_FROZEN, c->control == SL_SAE_RANDOM_ENCODER);
    set_flag(s->b_enc, SL_PARAM_FROZEN, c->control == SL_SAE_RANDOM_ENCODER);
    SL_TRY(sl_sae_init(s, err));
    if (s->W_enc && c->encoder == SL_SAE_TIED && s->d_in == s->d_out)
        t->k->copy(t->k, &s->W_dec->value, &s->W_enc->value);
    if (s->W_enc && c->encoder == SL_SAE_RANDOM) {
        sl_param_normal(s->params, s->W_enc, s->seed, 1);
        t->k->row_normalize(t->k, &s->W_enc->value);
    }
    if (s->W_enc)
        sl_param_touch(s->W_enc);
    return SL_OK;
}
