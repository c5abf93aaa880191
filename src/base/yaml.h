/* The parsed document behind sl_ynode. */
#ifndef SL_YAML_H
#define SL_YAML_H

#include <saelab/opt.h>
#include <yaml.h>

struct sl_yaml {
    sl_ctx *ctx;
    char *name;            /* opens every error line */
    yaml_document_t tree;  /* node ids from 1; the root is 1 */
    bool loaded;
};

#endif
