/* Codes of a byte, E4M3 or I8 (less a zero), each times the scale of its block: a block is some rows by some columns,
 * the whole matrix at most; those at the ends may be smaller. Of several matrices each has blocks of its own. */
#include "model/layouts.h"

void qdq_decode_bytes(const qdq_decoding *d, uint64_t first, uint32_t n, float *values) {
    const qdq_byte_codes *c = d->layout;
    uint64_t line = first / d->row, column = first % d->row;
    uint64_t matrix = line / c->rows, scale_row = line % c->rows / c->block_rows;
    uint64_t scales = (matrix * c->scale_rows + scale_row) * c->scale_columns;
    const uint8_t *codes = d->codes + first;
    for (uint32_t i = 0; i < n;) {
        uint64_t left = c->block_columns - column % c->block_columns;
        uint32_t end = left < n - i ? i + (uint32_t)left : n;
        uint64_t block = scales + column / c->block_columns;
        float scale = qdq_scale(&c->scales, block);
        int32_t zero = c->zeros != NULL ? c->zeros[block] : 0;
        column += end - i;
        if (c->integers)
            for (; i < end; i++) values[i] = (float)((int8_t)codes[i] - zero) * scale;
        else
            for (; i < end; i++) values[i] = qdq_e4m3_values[codes[i]] * scale;
    }
}
