/* What the compositional variant and its reader share. */
#ifndef SL_SAE_COMPOSITIONAL_H
#define SL_SAE_COMPOSITIONAL_H

#include "sae/variant.h"

enum { SL_COMP_NONE, SL_COMP_RISING, SL_COMP_FALLING };                                              /* curriculum */
enum { SL_COMP_LINEAR, SL_COMP_HADAMARD };                                                           /* value */
enum { SL_COMP_LEARNED, SL_COMP_UNIFORM, SL_COMP_FROZEN_QK, SL_COMP_DEEP_SETS, SL_COMP_LENGTH_ONE }; /* attention */
enum { SL_COMP_IN_Z, SL_COMP_IN_X };

/* s->extra: those of each block, then the rest. NULL: not in this configuration. */
enum { SL_COMP_QK, SL_COMP_V, SL_COMP_O, SL_COMP_GATE, SL_COMP_GATE_U, SL_COMP_GATE_B, SL_COMP_PER_BLOCK };
enum { SL_COMP_E = 2 * SL_COMP_PER_BLOCK, SL_COMP_B_V, SL_COMP_X, SL_COMP_IN, SL_COMP_THETA, SL_COMP_OUT, SL_COMP_RHO, SL_COMP_IDLE };

/* One block on the tape. */
typedef struct sl_comp_block { sl_pairs P; sl_var V, gate, w, U; } sl_comp_block; /* U [B, d_c]: sum_i g_i U_i */

/* The composition network on the tape. */
typedef struct sl_comp {
    bool on;                    /* false: the linear SAE alone */
    int64_t order;              /* entries of a list; 0: all */
    sl_comp_block block[2];
    sl_var h, minus_theta, branch; /* [B, d_c], [m_c], [B, d_in] */
    sl_code c;
} sl_comp;

/* Fills c from c->on and c->order; without x (id 0) where comp_in is x: off. */
void sl_comp_forward(sl_tape *t, const sl_sae *s, sl_var x, sl_code z, sl_comp *c);
/* As outside of training. */
sl_comp sl_comp_settled(const sl_sae *s);
double sl_comp_unit(const sl_sae *s); /* 1 / sigma_z */

#endif
