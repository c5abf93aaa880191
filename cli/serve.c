/* saelab serve: the feature browser. */
#include "cmd.h"

static const opt_group SERVE_GROUPS[] = { { "Options", NULL, sl_serve_opts, 0 }, { NULL, NULL, NULL, 0 } };

static sl_status serve(cli *c, sl_err *err)
{
    sl_server *s;
    SL_TRY(sl_serve_open(c->ctx, c->n_args, c->args, c->cfg, &s, err));
    const char *tunnel = sl_serve_tunnel(s);
    say(c, "%s  (%d SAE%s)\n", sl_serve_url(s), sl_serve_sets(s), sl_serve_sets(s) == 1 ? "" : "s");
    if (*tunnel)
        say(c, "on your own machine, first:  %s\n", tunnel);
    fflush(stdout); /* programs wait for the line */
    sl_log(c->ctx, SL_LOG_INFO, "Ctrl-C stops it");
    c->result = json_pack("{s:s, s:i}", "url", sl_serve_url(s), "port", sl_serve_port(s));
    sl_serve_wait(s);
    sl_serve_close(s);
    return SL_OK;
}

const command CMD_SERVE = {
    .name = "serve", .args = "[RUN | SAE...]", .max_args = -1, .what = "Browse features in a web browser.",
    .text = "Opens the indices that `saelab features build` made: of an SAE, of several, or of all SAEs of a run; without an argument those in the current "
            "folder. Everything stays on this machine; stars, tags, notes and labels are kept in marks.sqlite beside each index.",
    .examples = "  saelab serve my_sae\n  saelab serve run_1 --port 9000\n",
    .groups = SERVE_GROUPS, .cfg_size = sizeof(sl_serve_config), .run = serve,
};
