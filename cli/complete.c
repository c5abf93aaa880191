/* Completion for bash: `source <(saelab completion bash)`. Words, flags and choices come from the tables; files otherwise. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static bool first_with_word(int i, char word[32])
{
    snprintf(word, 32, "%.*s", (int)strcspn(COMMANDS[i]->name, " "), COMMANDS[i]->name);
    for (int j = 0; j < i; j++)
        if (strncmp(COMMANDS[j]->name, word, strlen(word)) == 0 && strchr(" ", COMMANDS[j]->name[strlen(word)]))
            return false;
    return true;
}

static void second_words(FILE *f)
{
    char word[32];
    for (int i = 0; COMMANDS[i]; i++) {
        if (!first_with_word(i, word) || !strchr(COMMANDS[i]->name, ' '))
            continue;
        fprintf(f, "        %s) words=\"", word);
        for (int j = i; COMMANDS[j]; j++)
            if (strncmp(COMMANDS[j]->name, word, strlen(word)) == 0 && COMMANDS[j]->name[strlen(word)] == ' ')
                fprintf(f, "%s%s", j > i ? " " : "", COMMANDS[j]->name + strlen(word) + 1);
        fputs("\" ;;\n", f);
    }
}

static void flags_of(FILE *f, const cli *c, bool choices)
{
    char name[64];
    for (const live_group *g = c->group; g->table; g++)
        for (const sl_opt *o = g->table; o->type != SL_T_END; o++) {
            bool on = o->type == SL_T_BOOL && *(const bool *)((const char *)g->base + o->offset);
            (on ? flag_negative : flag_name)(g, o, name);
            if (!choices)
                fprintf(f, " --%s", name);
            if (choices && o->type == SL_T_CHOICE) {
                fprintf(f, "        '%s --%s') words=\"", c->cmd->name, name);
                for (int i = 0; o->choices[i]; i++)
                    fprintf(f, "%s%s", i ? " " : "", o->choices[i]);
                fputs("\" ;;\n", f);
            }
        }
}

static void each_command(FILE *f, bool choices)
{
    for (int i = 0; COMMANDS[i]; i++) {
        sl_err err;
        cli c = { .cmd = COMMANDS[i], .cfg = calloc(1, COMMANDS[i]->cfg_size + 1) };
        if (c.cfg && args_defaults(&c, NULL, NULL, &err) == SL_OK) {
            if (!choices)
                fprintf(f, "        '%s') words=\"", c.cmd->name);
            flags_of(f, &c, choices);
            if (!choices)
                fputs("\" ;;\n", f);
        }
        free(c.cfg);
    }
}

void completion_bash(FILE *f)
{
    char word[32];
    fputs("# bash completion for saelab: source <(saelab completion bash)\n_saelab() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} first=${COMP_WORDS[1]:-} cmd words=\"\"\n"
          "    COMPREPLY=()\n    case $first in\n", f);
    for (int i = 0; COMMANDS[i]; i++)
        if (first_with_word(i, word) && strchr(COMMANDS[i]->name, ' '))
            fprintf(f, "        %s) cmd=\"$first ${COMP_WORDS[2]:-}\" ;;\n", word);
    fputs("        *) cmd=$first ;;\n    esac\n    if [ \"$COMP_CWORD\" = 1 ]; then words=\"", f);
    for (int i = 0; COMMANDS[i]; i++)
        if (first_with_word(i, word))
            fprintf(f, "%s%s", i ? " " : "", word);
    fputs("\"\n    elif [ \"$COMP_CWORD\" = 2 ] && [ \"$cmd\" != \"$first\" ]; then case $first in\n", f);
    second_words(f);
    fputs("    esac\n    elif [[ $cur == -* ]]; then case $cmd in\n", f);
    each_command(f, false);
    fputs("    esac\n    else case \"$cmd $prev\" in\n", f);
    each_command(f, true);
    fputs("    esac; fi\n    if [ -n \"$words\" ]; then COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
          "    else compopt -o default 2>/dev/null; fi\n}\ncomplete -F _saelab saelab\n", f);
}
