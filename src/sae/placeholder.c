/* Replaced by the layer's first file. */
typedef int sl_sae_empty;
