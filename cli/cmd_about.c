/* version, help, man, completion: what the program says about itself. */
#include "cmd.h"

#include <stdlib.h>
#include <string.h>

static sl_status version(cli *c, sl_err *err)
{
    (void)err;
    c->result = json_pack("{s:s, s:s}", "version", sl_version(), "compiler", __VERSION__);
    say(c, "saelab %s\n", sl_version());
    return SL_OK;
}

static const command *find(const cli *c, const char **group)
{
    char name[64] = "";
    *group = NULL;
    for (int i = 0; i < c->n_args; i++)
        snprintf(name + strlen(name), sizeof name - strlen(name), "%s%s", i ? " " : "", c->args[i]);
    for (int i = 0; COMMANDS[i]; i++) {
        if (strcmp(COMMANDS[i]->name, name) == 0)
            return COMMANDS[i];
        if (strncmp(COMMANDS[i]->name, name, strlen(name)) == 0 && COMMANDS[i]->name[strlen(name)] == ' ')
            *group = c->args[0];
    }
    return NULL;
}

/* Where to write text that is the whole result: stdout, or memory for --json. */
typedef struct page { FILE *f; char *text; size_t n; } page;

static sl_status page_open(const cli *c, page *p, sl_err *err)
{
    *p = (page){ .f = stdout };
    if (c->com.json)
        p->f = open_memstream(&p->text, &p->n);
    return p->f ? SL_OK : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the text");
}

static void page_close(cli *c, page *p)
{
    if (p->f == stdout)
        return;
    fclose(p->f);
    c->result = json_pack("{s:s%}", "text", p->text, p->n);
    free(p->text);
}

static sl_status help_on(cli *c, FILE *f, sl_err *err)
{
    _Alignas(max_align_t) char cfg[4096];
    const char *group;
    const command *k = find(c, &group);
    if (c->n_args == 0) {
        help_overview(f);
        return SL_OK;
    }
    if (group) {
        help_group(f, group);
        return SL_OK;
    }
    if (!k || k->cfg_size > sizeof cfg)
        return sl_fail(err, SL_ARG, c->args[0], "a command of `saelab help`", "unknown command");
    cli of = { .cmd = k, .cfg = cfg };
    SL_TRY(args_defaults(&of, NULL, NULL, err));
    help_command(f, &of);
    return SL_OK;
}

static sl_status help(cli *c, sl_err *err)
{
    page p;
    SL_TRY(page_open(c, &p, err));
    sl_status st = help_on(c, p.f, err);
    page_close(c, &p);
    return st;
}

static sl_status man(cli *c, sl_err *err)
{
    page p;
    SL_TRY(page_open(c, &p, err));
    man_page(p.f);
    page_close(c, &p);
    return SL_OK;
}

static sl_status completion(cli *c, sl_err *err)
{
    page p;
    if (strcmp(c->args[0], "bash") != 0)
        return sl_fail(err, SL_ARG, c->args[0], "bash", "no completion for this shell");
    SL_TRY(page_open(c, &p, err));
    completion_bash(p.f);
    page_close(c, &p);
    return SL_OK;
}

const command CMD_VERSION = { .name = "version", .args = "", .what = "Print the version.", .run = version };
const command CMD_HELP = { .name = "help", .args = "[COMMAND]", .max_args = 2, .what = "Describe a command.", .run = help };
const command CMD_MAN = { .name = "man", .args = "", .what = "Print the manual page: saelab man | man -l -", .run = man };
const command CMD_COMPLETION = { .name = "completion", .args = "bash", .min_args = 1, .max_args = 1,
                                 .what = "Print shell completion: source <(saelab completion bash)", .run = completion };
