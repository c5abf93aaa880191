/* The figures of the first screen; every other one is in the table that unfolds. Formulas: docs/METRICS.md. */
#include "report/rows.h"

#include <stddef.h>

const sl_report_row sl_rows_lm[] = {
    { "final_train_loss", "training loss at the end", "nats" },
    { "best_val_loss", "best validation loss", "nats" },
    { "total_train_time", "training time", "s" },
    { "avg_inference_tokens_per_second", "sampling speed", "tokens/s" },
    { NULL, NULL, NULL },
};
const sl_report_row sl_rows_sae[] = {
    { "l0", "active latents (L0)", "per token" },
    { "fvu", "unexplained variance (FVU)", "lower is better" },
    { "ce_loss_score", "loss recovered when spliced in", "1: all, 0: as zeros" },
    { "ce_orig", "loss of the model alone", "nats" },
    { "ce_sae", "loss with the SAE spliced in", "nats" },
    { "ce_zero", "loss with zeros instead", "nats" },
    { "dead", "latents that never fired", "share" },
    { "dense_gt10pct", "latents on over 10% of tokens", "share" },
    { NULL, NULL, NULL },
};

const sl_report_row sl_rows_world[] = {
    { "l0", "active latents (L0)", "per row" },
    { "fvu", "unexplained variance (FVU)", "lower is better" },
    { "mcc_dec_abs", "true directions found (MCC)", "1: all" },
    { "f1_h", "true features found (F1_h)", "1: all" },
    { "f1_sel", "F1 of the best latent", "1: all" },
    { "absorb", "absorption", "0: none" },
    { "fss", "stability under noise (FSS)", "1: unchanged" },
    { "ood_gap", "FVU on withheld combinations, more", "0: as elsewhere" },
    { "pwmcc", "agreement between seeds", "1: the same" },
    { "dead", "latents that never fired", "share" },
    { NULL, NULL, NULL },
};

const sl_report_row sl_rows_composition[] = {
    { "gain", "unexplained variance less than that of the reference arm", "FVU" },
    { "branch_energy", "energy of the nonlinear branch", "share of the variance" },
    { "comp_energy", "of it, beyond main effects", "share of the variance" },
    { "comp_f1", "relations found (F1)", "1: all" },
    { "comp_precision", "precision of its claims", "1: all right" },
    { "comp_f1_withheld", "withheld relations found (F1)", "1: all" },
    { "comp_gap", "F1 lost on withheld combinations", "0: none" },
    { "fvu_ood_ratio", "FVU on withheld combinations / FVU", "1: as elsewhere" },
    { "attribution_error", "attribution: error of its sum", "0: exact" },
    { "causal_pi", "attribution and ablation agree", "Spearman" },
    { "index_pi", "attribution and interaction index agree", "Spearman" },
    { "index_attention", "attention and interaction index agree", "Spearman" },
    { "index_mean", "interaction index", "mean, 0: none" },
    { "interaction_cooccurrence", "attributed interaction with co-occurrence", "Pearson; PolySAE reports .06" },
    { "decoder_cooccurrence", "interaction of the decoder with co-occurrence", "Pearson; PolySAE reports .06" },
    { "covariance_cooccurrence", "covariance of codes with co-occurrence", "Pearson; SAEs: .82" },
    { "reuse_mean", "compositions a latent takes part in", "mean" },
    { "reuse_gini", "inequality of that", "Gini" },
    { "reuse_entropy", "evenness of that", "entropy, 1: even" },
    { "mean_order", "latents of a composition", "mean" },
    { "l0_c", "active compositions", "per row" },
    { "dead_compositions", "compositions that never fired", "share" },
    { NULL, NULL, NULL },
};
