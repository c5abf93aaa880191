/* The inside of the perturbation layer. */
#ifndef SL_SAE_PERTURB_H
#define SL_SAE_PERTURB_H

#include "sae/variant.h"
#include <saelab/perturb.h>

#endif
