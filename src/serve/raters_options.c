/* Options of human studies; and, in a build without SQLite or libmicrohttpd, what to install. */
#include <saelab/raters.h>

const sl_opt sl_raters_init_opts[] = {
    SL_OPT_INT(sl_raters_opts, features, 50, 1, 1000, "features", "of each method"),
    SL_OPT_INT(sl_raters_opts, raters, 3, 1, 1000, "people", "each gets a link"),
    SL_OPT_INT(sl_raters_opts, per_feature, 0, 0, 1000, "people", "who judge each feature; 0: three, or all where there are fewer"),
    SL_OPT_INT(sl_raters_opts, session, 11, 1, 1000, "features", "of a session; one takes about 110 seconds"),
    SL_OPT_INT(sl_raters_opts, catches, 5, 0, 100, "", "catch trials of a session; with fewer than 80 % right a rater is left out"),
    SL_OPT_INT(sl_raters_opts, seed, 0, 0, 9e15, "", "of what is drawn: features, contexts, order"),
    SL_OPT_BOOL(sl_raters_opts, simulated, 0, "answers come from simulated raters, and all that comes of them is marked"),
    SL_OPT_STRS(sl_raters_opts, skill, "simulated: probability of knowing, from 0 to 1; once, or once for each method"),
    SL_OPT_INT(sl_raters_opts, careless, 0, 0, 1000, "people", "simulated: so many guess everything"),
    SL_OPT_END
};

const sl_opt sl_raters_analyse_opts[] = {
    SL_OPT_STR(sl_raters_analysis_opts, seal, NULL, "the file that opens the key, where it was kept elsewhere; none: seal.key of the study"),
    SL_OPT_INT(sl_raters_analysis_opts, draws, 2000, 100, 1e6, "", "of the bootstraps"),
    SL_OPT_INT(sl_raters_analysis_opts, seed, 0, 0, 9e15, "", "of the bootstraps"),
    SL_OPT_END
};

#if !SL_HAVE_RATERS
static sl_status absent(sl_err *err)
{
    return sl_fail(err, SL_UNAVAILABLE, "raters", "libmicrohttpd-dev and libsqlite3-dev, and a new build", "human studies are not built in");
}

sl_status sl_raters_init(sl_ctx *ctx, const char *dir, const sl_raters_method *methods, int n_methods, const sl_raters_opts *o, sl_raters_made *out, sl_err *err)
{
    (void)ctx, (void)dir, (void)methods, (void)n_methods, (void)o, (void)out;
    return absent(err);
}

sl_status sl_raters_open(sl_ctx *ctx, const char *dir, sl_raters **out, sl_err *err)
{
    (void)ctx, (void)dir;
    *out = NULL;
    return absent(err);
}

void sl_raters_close(sl_raters *r) { (void)r; }

sl_status sl_raters_tell(sl_raters *r, sl_raters_state *out, sl_err *err)
{
    (void)r, (void)out;
    return absent(err);
}

sl_status sl_raters_serve(sl_raters *r, const sl_serve_config *c, void (*ready)(void *, const char *), void *user, sl_err *err)
{
    (void)r, (void)c, (void)ready, (void)user;
    return absent(err);
}

sl_status sl_raters_freeze(sl_raters *r, sl_err *err)
{
    (void)r;
    return absent(err);
}

sl_status sl_raters_analyse(sl_raters *r, const sl_raters_analysis_opts *o, void (*put)(void *, const char *), void *user, sl_err *err)
{
    (void)r, (void)o, (void)put, (void)user;
    return absent(err);
}

sl_status sl_raters_export(sl_raters *r, bool open_key, const char *seal, sl_err *err)
{
    (void)r, (void)open_key, (void)seal;
    return absent(err);
}
#endif
