/* What people say about features: stars, tags, notes and labels, in an SQLite file beside the index. Several threads and processes may use one. */
#ifndef SAELAB_MARKS_H
#define SAELAB_MARKS_H

#include <saelab/ctx.h>

typedef struct sl_marks sl_marks;
typedef struct sl_label { char text[512], source[64]; /* source: "me", or who or what explained it */ double score; bool has_score; } sl_label;
enum { SL_MARK_LABELS = 16, SL_MARK_TAGS = 512, SL_MARK_NOTE = 4096 };
typedef struct sl_mark {
    bool star;
    char tags[SL_MARK_TAGS];    /* words joined by spaces */
    char note[SL_MARK_NOTE];
    sl_label label[SL_MARK_LABELS]; /* people's own ("me") first, then by score */
    int n_labels;
} sl_mark;

/* dir/marks.sqlite, made when the first mark is made; until then reading finds nothing. SL_IO names the file: it cannot be written, or is something else;
 * SL_BUSY: another process writes for longer than 5 s; SL_UNAVAILABLE: built without SQLite; SL_MEM. All of this may come from any call. */
sl_status sl_marks_open(sl_ctx *ctx, const char *dir, sl_marks **out, sl_err *err) SL_USE_RESULT;
void sl_marks_close(sl_marks *m); /* NULL is legal */
sl_status sl_marks_get(sl_marks *m, int64_t id, sl_mark *out, sl_err *err) SL_USE_RESULT;
sl_status sl_marks_star(sl_marks *m, int64_t id, bool star, sl_err *err) SL_USE_RESULT;
sl_status sl_marks_tags(sl_marks *m, int64_t id, const char *tags, sl_err *err) SL_USE_RESULT;
sl_status sl_marks_note(sl_marks *m, int64_t id, const char *note, sl_err *err) SL_USE_RESULT;
/* text "" (which removes it) to 511 bytes of UTF-8, source "" ("me") to 63: SL_ARG. score: of the explanation, NaN: none. A feature has one label a source. */
sl_status sl_marks_label(sl_marks *m, int64_t id, const char *text, const char *source, double score, sl_err *err) SL_USE_RESULT;
/* Every feature that has a star, a tag or a label: `best` is the label to show, "" without one. */
sl_status sl_marks_each(sl_marks *m, void (*each)(void *user, int64_t id, bool star, const char *tags, const char *best), void *user, sl_err *err) SL_USE_RESULT;

/* Every label, by feature and then as in sl_mark: for export. */
sl_status sl_marks_labels(sl_marks *m, void (*each)(void *user, int64_t id, const sl_label *label), void *user, sl_err *err) SL_USE_RESULT;
/* Several calls as one: much faster, and all or nothing (keep false: nothing). */
sl_status sl_marks_begin(sl_marks *m, sl_err *err) SL_USE_RESULT;
sl_status sl_marks_end(sl_marks *m, bool keep, sl_err *err) SL_USE_RESULT;

#endif
