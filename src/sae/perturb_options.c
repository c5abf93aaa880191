/* The options of the perturbation layer and what does not go together. */
#include "sae/perturb.h"

static const char *const types[] = { "none", "gauss", "uniform", "shaped", "mask", "mask_rotated", "featdrop", "inject", "direct", "fgsm", "pgd", "quant", "latent", NULL };
static const char *const sites[] = { "by_type", "input", "latent_reencode", "token", NULL };
static const char *const selections[] = { "nn", "cofire", "leak", "fragile", "margin", "uniform", NULL };
static const char *const targets[] = { "equivariant", "invariant", NULL };
static const char *const quants[] = { "int8", "int6", "int4", "int3", "bf16", "fp16", NULL };
static const char *const modes[] = { "stopgrad_clean", "symmetric", "two_view", "denoise", "contractive", "enc_l2", NULL };
static const char *const goals[] = { "untargeted", "suppress", "activate", NULL };

const sl_opt sl_perturb_opts[] = {
    SL_OPT_CHOICE(sl_perturb_config, type, SL_PERTURB_NONE, types, "kind of noise"),
    SL_OPT_CHOICE(sl_perturb_config, site, SL_PERTURB_SITE_BY_TYPE, sites, "where it enters; by_type: latents for featdrop, inject, direct and latent, else the input"),
    SL_OPT_FLOAT(sl_perturb_config, p_tok, .05, 0, 1, "of the tokens", "site token: share that is changed before the model reads them"),
    SL_OPT_INT(sl_perturb_config, token_to, -1, -1, 1e9, "", "site token: what they become, a special token; -1: any other token"),
    SL_OPT_FLOAT(sl_perturb_config, eps, .2, 0, 10, "of |x|", "relative magnitude of the perturbation"),
    SL_OPT_FLOAT(sl_perturb_config, noise_std, -1, -1, 10, "of |x|", "another name of eps; negative: eps holds"),
    SL_OPT_FLOAT(sl_perturb_config, gamma, 1, 0, 1e6, "", "weight of the stability loss"),
    SL_OPT_FLOAT(sl_perturb_config, stability_coefficient, -1, -1, 1e6, "", "another name of gamma; negative: gamma holds"),
    SL_OPT_FLOAT(sl_perturb_config, gamma_warmup, .2, 0, 1, "of the steps", "linear rise of gamma"),
    SL_OPT_FLOAT(sl_perturb_config, rho, 0, 0, 1e6, "", "weight of reconstructing from the perturbed code"),
    SL_OPT_CHOICE(sl_perturb_config, mode, SL_STABILITY_STOPGRAD, modes, "what the stability loss compares"),
    SL_OPT_BOOL(sl_perturb_config, tied_weights, false, "one buffer for encoder and decoder while training"),
    SL_OPT_INT(sl_perturb_config, views, 1, 1, 16, "copies", "perturbed copies of a row, averaged"),
    SL_OPT_BOOL(sl_perturb_config, antithetic, false, "views in pairs of opposite noise"),
    SL_OPT_INT(sl_perturb_config, rank, 0, 0, 65536, "directions", "gauss: random directions a step; 0: all"),
    SL_OPT_INT(sl_perturb_config, q, 1, 1, 16, "latents", "inject, direct, featdrop: latents a row"),
    SL_OPT_FLOAT(sl_perturb_config, alpha, 1, 0, 100, "", "inject: strength in units of the latent's mean active value"),
    SL_OPT_FLOAT(sl_perturb_config, with_gauss, 0, 0, 10, "of |x|", "inject: Gaussian noise on top"),
    SL_OPT_CHOICE(sl_perturb_config, select, SL_SELECT_NN, selections, "inject, direct: which latents"),
    SL_OPT_FLOAT(sl_perturb_config, beta, 4, 0, 100, "", "sharpness of the selection"),
    SL_OPT_INT(sl_perturb_config, refresh, 200, 1, 1000000000, "steps", "between new neighbour lists"),
    SL_OPT_CHOICE(sl_perturb_config, target, SL_TARGET_EQUIVARIANT, targets, "inject: z + alpha, or z"),
    SL_OPT_INT(sl_perturb_config, components, 64, 1, 65536, "components", "shaped: principal components of the data"),
    SL_OPT_CHOICE(sl_perturb_config, quant, SL_QUANT_INT4, quants, "quant: what rows are rounded to"),
    SL_OPT_INT(sl_perturb_config, attack_steps, 1, 1, 1000, "steps", "pgd"),
    SL_OPT_INT(sl_perturb_config, restarts, 1, 1, 100, "starts", "pgd: the worst of so many starts"),
    SL_OPT_CHOICE(sl_perturb_config, goal, SL_ATTACK_UNTARGETED, goals, "fgsm, pgd: change the code, or turn one latent off or on"),
    SL_OPT_INT(sl_perturb_config, attack_latent, 0, 0, 1 << 24, "", "fgsm, pgd: the latent of suppress and activate"),
    SL_OPT_BOOL(sl_perturb_config, adaptive, false, "steer eps so that the stability score stays at target_fss"),
    SL_OPT_FLOAT(sl_perturb_config, target_fss, .9, 0, .9999, "", "adaptive: stability score aimed at"),
    SL_OPT_FLOAT(sl_perturb_config, eps_min, 1e-3, 1e-6, 10, "of |x|", "adaptive: smallest magnitude"),
    SL_OPT_FLOAT(sl_perturb_config, eps_max, 1, 1e-6, 10, "of |x|", "adaptive: largest magnitude"),
    SL_OPT_BOOL(sl_perturb_config, early_stop, false, "stop once stability and fidelity stand still"),
    SL_OPT_INT(sl_perturb_config, check_every, 0, 0, 1000000000, "steps", "early_stop: between checks; 0: a fortieth of the run"),
    SL_OPT_INT(sl_perturb_config, patience, 5, 1, 1000, "checks", "early_stop: checks in a row without change"),
    SL_OPT_INT(sl_perturb_config, seed, 0, 0, 1e15, "", "of the noise"),
    SL_OPT_END
};

double sl_perturb_eps(const sl_perturb_config *c)
{
    return c->noise_std >= 0 ? c->noise_std : c->eps;
}

double sl_perturb_gamma(const sl_perturb_config *c)
{
    return c->stability_coefficient >= 0 ? c->stability_coefficient : c->gamma;
}

bool sl_perturb_wanted(const sl_perturb_config *c)
{
    return c->type != SL_PERTURB_NONE || c->tied_weights || c->mode == SL_STABILITY_CONTRACTIVE || c->mode == SL_STABILITY_ENC_L2 || c->early_stop ||
           c->site == SL_PERTURB_SITE_TOKEN;
}
