/* What the kernels are given: the same names, numbers and push constants for the C of the host and the GLSL of the
 * device. dialect/glsl_constants.h has the numbers of specialization constants. */
#ifndef QDQ_BACKENDS_VULKAN_KERNEL_ARGS_H
#define QDQ_BACKENDS_VULKAN_KERNEL_ARGS_H

#ifdef GL_core_profile
#define uint32_t uint
#else
#include <stdint.h>
#endif

/* What a format's kernels are specialized for. */
#define QDQ_VK_ROUNDTRIP        0
#define QDQ_VK_QUANTIZE         1
#define QDQ_VK_DEQUANTIZE       2
#define QDQ_VK_ERROR            3
#define QDQ_VK_SENSITIVITY_LOW  4 /* of this format against the source */
#define QDQ_VK_SENSITIVITY_HIGH 5 /* of low values, made before, against this format */
#define QDQ_VK_KERNEL_OPS       6 /* so many of each format */
#define QDQ_VK_SENSITIVITY_PAIR 6 /* of one format against another: several.glsl */

/* What operations.comp does besides the dialect's operations (dialect/operations.h), which come before. */
#define QDQ_VK_PRODUCT_ERROR 64 /* what a product is off, if fma rounds once */
#define QDQ_VK_PLAIN_COMPARE 65 /* by the device's own comparisons */
#define QDQ_VK_PLAIN_MAX     66

/* Formats of one kernel of several.glsl. */
#define QDQ_VK_SEVERAL 4

#define QDQ_VK_BIND_INPUT      0
#define QDQ_VK_BIND_OUTPUT     1
#define QDQ_VK_BIND_GRADIENT   2
#define QDQ_VK_BIND_LOW        3
#define QDQ_VK_BIND_IMPORTANCE 4
#define QDQ_VK_BIND_ROW_SUMS   5
#define QDQ_VK_BIND_WORDS      6
#define QDQ_VK_BINDINGS        7

/* The push constants. A byte position, `_at`, is that of the dispatch's first element in the bound range. */
#define QDQ_VK_WORK                                                                                                    \
    uint32_t count; /* elements */                                                                                     \
    uint32_t input_at, input_dtype;                                                                                    \
    uint32_t gradient_at, gradient_dtype;                                                                              \
    uint32_t low_at;                                                                                                   \
    uint32_t output_at, output_dtype;                                                                                  \
    uint32_t importance_at, row_sums_at;                                                                               \
    uint32_t row, column; /* elements a row; the column of the first element */                                        \
    float row_length;     /* row as a float */

#ifndef GL_core_profile
typedef struct qdq_vk_work {
    QDQ_VK_WORK
} qdq_vk_work;
#endif

#endif
