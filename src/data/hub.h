/* References to files of the Hugging Face hub, and the folders where copies of them lie. */
#ifndef SL_DATA_HUB_H
#define SL_DATA_HUB_H

#include <saelab/ctx.h>

/* hf:[datasets/]OWNER/REPO[/SUB][@REVISION], taken apart. */
typedef struct sl_hub_ref {
    bool dataset;
    char repo[200];         /* "owner/repo" */
    char sub[400];          /* "" for the whole repository; no slash at either end */
    char revision[100];     /* "main" when none is given */
    bool file;              /* sub names a file: it has an ending that is one of the kinds below */
} sl_hub_ref;

typedef enum sl_hub_kind { SL_HUB_OTHER, SL_HUB_WEIGHTS /* safetensors, npz */, SL_HUB_TEXT, SL_HUB_PICKLE } sl_hub_kind;
sl_hub_kind sl_hub_kind_of(const char *name); /* by its ending */

/* SL_ARG with the form that is expected. */
sl_status sl_hub_parse(const char *ref, sl_hub_ref *out, sl_err *err) SL_USE_RESULT;
/* Where a whole copy lies: below the hub's own cache (HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub),
 * then below saelab's (CACHE/hub). False: nowhere. */
bool sl_hub_find(sl_ctx *ctx, const sl_hub_ref *r, bool own_only, char path[1024]);
/* The folder of saelab's cache for a commit, and the file that maps the revision to it. SL_ARG: too long. */
sl_status sl_hub_folder(sl_ctx *ctx, const sl_hub_ref *r, const char *commit, char path[1024], sl_err *err) SL_USE_RESULT;
sl_status sl_hub_remember(sl_ctx *ctx, const sl_hub_ref *r, const char *commit, sl_err *err) SL_USE_RESULT;

/* A folder that was fetched whole holds a file of this name. */
#define SL_HUB_WHOLE ".saelab-whole"

#endif
