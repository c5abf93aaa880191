/* A graph: NAME.dot, which `dot -Tsvg NAME.dot` draws again, NAME.svg and NAME.png. */
#include "report/picture.h"
#include "report/text.h"

#include <saelab/report.h>

typedef struct graph { const char *title, *dot; } graph;

static sl_status put(sl_atomic *f, const void *what, sl_err *err)
{
    const graph *g = what;
    char title[512];
    return sl_atomic_printf(f, err, "// %s\n%s", sl_one_line(g->title, title, sizeof title), g->dot);
}

sl_status sl_graph_write(sl_ctx *ctx, const char *dir, const char *name, const char *title, const char *dot, sl_err *err)
{
    SL_TRY(sl_picture_name(name, err));
    SL_TRY(sl_dir_make(dir, err));
    SL_TRY(sl_picture_file(ctx, dir, name, "dot", put, &(graph){ title, dot }, err));
    return sl_graphviz_run(ctx, dir, name, err);
}
