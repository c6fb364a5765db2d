/* The kernels' texts, which the build makes (embed.cmake): Metal's compiler gets them at run time. */
#ifndef QDQ_BACKENDS_METAL_METAL_TEXTS_H
#define QDQ_BACKENDS_METAL_METAL_TEXTS_H

extern const char qdq_metal_tile_text[], qdq_metal_format_text[], qdq_metal_sums_text[], qdq_metal_operations_text[];
/* By qdq_format. */
extern const char *const qdq_metal_format_texts[];

#endif
