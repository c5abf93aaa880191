/* Replaced by the layer's first file. */
typedef int sl_study_empty;
