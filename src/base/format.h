/* What the formats' files and formats.def say, as a table; and after them the sources, as formats of blocks of one
 * element: to the nearest, ties to even. */
#ifndef QDQ_BASE_FORMAT_H
#define QDQ_BASE_FORMAT_H

#include <stdbool.h>

#include "base/limits.h"
#include "qdq.h"

typedef struct qdq_format_row {
    const char *name;
    uint32_t ggml_type, ggml_file_type;
    uint32_t block_elements, block_bytes;
    uint32_t lanes;      /* a block's, of 32 elements each */
    uint32_t heads;      /* words that a lane hands to the packer */
    uint32_t shared;     /* values that a lane shows to its block's others */
    uint32_t importance; /* 0: changes nothing, 1: a second fit, 2: the only fit */
    bool row_sums;       /* the weighted fit wants the mean square of the lane's row */
    bool light;          /* kernels hold several such formats at once */
    bool unrolled;       /* Vulkan builds it with loops unrolled, too */
    bool is_source;      /* of these there are no kernels: lanes and what follows from there are 0 */
    qdq_dtype dtype;     /* then, what is stored */
} qdq_format_row;

/* NULL when there is no such format. */
const qdq_format_row *qdq_format_get(qdq_format format);
/* Those that have kernels are the first, 0 … qdq_block_format_count() - 1. */
qdq_format qdq_block_format_count(void);

#endif
