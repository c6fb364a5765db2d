/* Blocks of GGUF's quantized types, as ggml's dequantize_row_*() decodes them: the CPU's own kernels. */
#include "model/decoding.h"

#include "backends/cpu/cpu_kernels.h"

_Static_assert((int)QDQ_DECODED_PIECE == QDQ_TILE, "a piece is a tile of the kernels");

void qdq_decode_blocks(const qdq_decoding *d, uint64_t first, uint32_t n, float *values) {
    const qdq_cpu_format_kernels *kernels = &qdq_cpu_best_tier(qdq_cpu_mask_in_force())->formats[d->format];
    const uint8_t *blocks = d->codes + qdq_format_bytes(d->format, first);
    _Alignas(64) int8_t codes[QDQ_DECODED_PIECE];
    size_t n_blocks = n / d->unit;
    kernels->bytes->codes(blocks, codes, n_blocks);
    kernels->lanes->decode(blocks, codes, values, n_blocks);
}
