/* Reading Python pickles without running anything: a machine that knows the opcodes that plain values and PyTorch's tensors need
 * (protocols 2 to 5), and the names on its list; any other opcode or name is refused. Its values are plain data in one arena. */
#ifndef SL_IO_PICKLE_H
#define SL_IO_PICKLE_H

#include <saelab/tensor.h>

typedef enum sl_pk_kind {
    SL_PK_MARK, SL_PK_NONE, SL_PK_BOOL, SL_PK_INT, SL_PK_REAL, SL_PK_TEXT, SL_PK_TUPLE, SL_PK_LIST, SL_PK_DICT, SL_PK_NAME, SL_PK_STORAGE, SL_PK_TENSOR
} sl_pk_kind;

/* What a name on the list stands for. */
typedef enum sl_pk_name { SL_PK_DTYPE, SL_PK_ORDERED_DICT, SL_PK_REBUILD_TENSOR, SL_PK_REBUILD_PARAMETER } sl_pk_name;

typedef struct sl_pk sl_pk;
typedef struct sl_pk_item { sl_pk *key, *value; struct sl_pk_item *next; } sl_pk_item; /* key: of a dictionary, else NULL */
struct sl_pk {
    sl_pk_kind kind;
    int64_t i;              /* BOOL, INT; STORAGE: elements; TENSOR: first element of its storage */
    double r;               /* REAL */
    const char *text;       /* TEXT: 0-terminated, without other zeros; STORAGE: its key */
    sl_pk_item *first, *last; /* TUPLE, LIST, DICT */
    int64_t n;              /* items */
    sl_pk_name name;        /* NAME */
    sl_dtype dtype;         /* NAME of a storage type, STORAGE */
    const sl_pk *storage, *shape, *stride; /* TENSOR: STORAGE, and two TUPLEs of INT */
};

/* Parses data[0..n). The value lives in the arena. `file` opens error lines.
 * SL_DATA names the byte offset: cut off, an opcode or a name that is not on the list ("wants to call 'os.system'"), operands of the wrong
 * kind, more than 8 MB. SL_MEM. */
sl_status sl_pickle_parse(const char *file, const uint8_t *data, size_t n, sl_arena *a, const sl_pk **out, sl_err *err) SL_USE_RESULT;

#endif
