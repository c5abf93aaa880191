/* The options of the stability metrics. */
#include <saelab/opt.h>
#include <saelab/stability.h>

const sl_opt sl_stability_opts[] = {
    SL_OPT_INT(sl_stability_options, rows, 4096, 2, 1e9, "rows", "held-out rows, at most"),
    SL_OPT_FLOAT(sl_stability_options, eps, .2, 1e-6, 10, "of |x|", "magnitude of the Gaussian noise behind the plain scores"),
    SL_OPT_STR(sl_stability_options, noise, "gauss", "kinds of noise to draw curves of, commas between them; all"),
    SL_OPT_INT(sl_stability_options, draws, 1000, 0, 1e6, "resamples", "for intervals over documents; 0: none"),
    SL_OPT_INT(sl_stability_options, seed, 0, 0, 9e15, "", "of noise, pairings and resamples"),
    SL_OPT_END
};
