/* Codes of matrices that stand as columns, GPTQ's and AWQ's: (code - zero) x scale of the column's group. A product of
 * an F16 and a few bits is exact. */
#include "model/layouts.h"
#include "model/packed_words.h"

/* Where in AWQ's words the code of the n-th of eight is. */
static const uint8_t awq_place[8] = {0, 4, 1, 5, 2, 6, 3, 7};

void qdq_decode_columns(const qdq_decoding *d, uint64_t first, uint32_t n, float *values) {
    const qdq_column_codes *c = d->layout;
    uint64_t row = first / d->row, at = first % d->row, last = UINT64_MAX;
    uint64_t across = c->rows * c->bits / 32, place = c->awq ? row - row % 8 + awq_place[row % 8] : row;
    int32_t zero = 0;
    float scale = 0;
    for (uint32_t i = 0; i < n; i++, at++) {
        uint64_t group = c->group_of != NULL ? qdq_word(c->group_of, at) : at / c->group;
        if (group >= c->groups) group = 0; /* it was in range when the file was opened */
        if (group != last) {
            scale = qdq_scale(&c->scales, group * c->rows + row);
            zero = qdq_code(c->zeros, group * across, 1, c->bits, place) + c->zero_lacks;
            last = group;
        }
        int32_t code =
            c->awq ? qdq_code(d->codes, at * across, 1, c->bits, place) : qdq_code(d->codes, row, c->rows, c->bits, at);
        values[i] = (float)(code - zero) * scale;
    }
}
