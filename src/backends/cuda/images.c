#include "backends/cuda/images.h"

#include <stddef.h>

#include "base/format.h"

#ifdef QDQ_CUDA_KERNELS

#define FORMAT(name, ...) extern const qdq_cuda_image qdq_cuda_##name##_image;
#include "formats/formats.def"
#undef FORMAT
extern const qdq_cuda_image qdq_cuda_sums, qdq_cuda_operations;

#define FORMAT(name, ...) &qdq_cuda_##name##_image,
static const qdq_cuda_image *const images[] = {
#include "formats/formats.def"
};
#undef FORMAT

bool qdq_cuda_has_images(void) { return true; }
const qdq_cuda_image *qdq_cuda_format_image(qdq_format format) {
    return qdq_format_get(format) ? images[format] : NULL;
}
const unsigned char *qdq_cuda_sums_image(void) { return qdq_cuda_sums.code; }
const unsigned char *qdq_cuda_operations_image(void) { return qdq_cuda_operations.code; }

#else

bool qdq_cuda_has_images(void) { return false; }
const qdq_cuda_image *qdq_cuda_format_image(qdq_format format) {
    (void)format;
    return NULL;
}
const unsigned char *qdq_cuda_sums_image(void) { return NULL; }
const unsigned char *qdq_cuda_operations_image(void) { return NULL; }

#endif
