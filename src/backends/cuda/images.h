/* The kernels' machine code and PTX, as nvcc made them at build time. */
#ifndef QDQ_BACKENDS_CUDA_IMAGES_H
#define QDQ_BACKENDS_CUDA_IMAGES_H

#include <stdbool.h>

#include "qdq.h"

typedef struct qdq_cuda_image {
    const unsigned char *code;
} qdq_cuda_image;

/* True if this library was built with CUDA's compiler; the rest is for that case only. */
bool qdq_cuda_has_images(void);
/* NULL: no such format. */
const qdq_cuda_image *qdq_cuda_format_image(qdq_format format);
const unsigned char *qdq_cuda_sums_image(void);
const unsigned char *qdq_cuda_operations_image(void);

#endif
