/* Codes of matrices that stand as columns, GPTQ's and AWQ's: (code - zero) x scale of the column's group. A product of
 * an F16 and a few bits is exact. */
#include "model/layouts.h"

static uint32_t word_at(const uint8_t *words, uint64_t index) {
    const uint8_t *at = words + index * 4;
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Where in AWQ's words the code of the n-th of eight is. */
static const uint8_t awq_place[8] = {0, 4, 1, 5, 2, 6, 3, 7};

void qdq_decode_columns(const qdq_decoding *d, uint64_t first, uint32_t n, float *values) {
    const qdq_column_codes *c = d->layout;
    uint64_t row = first / d->row, at = first % d->row, last = UINT64_MAX;
    uint32_t a_word = 32 / c->bits, mask = (uint32_t)((UINT64_C(1) << c->bits) - 1);
    uint64_t place = row % a_word, across = c->rows / a_word;
    if (c->awq) place = awq_place[place];
    int32_t zero = 0;
    float scale = 0;
    for (uint32_t i = 0; i < n; i++, at++) {
        uint64_t group = c->group_of != NULL ? word_at(c->group_of, at) : at / c->group;
        if (group >= c->groups) group = 0; /* it was in range when the file was opened */
        if (group != last) {
            scale = qdq_scale(&c->scales, group * c->rows + row);
            zero =
                (int32_t)(word_at(c->zeros, group * across + row / a_word) >> place * c->bits & mask) + c->zero_lacks;
            last = group;
        }
        uint32_t code = c->awq ? word_at(d->codes, at * across + row / a_word) >> place * c->bits
                               : word_at(d->codes, at / a_word * c->rows + row) >> at % a_word * c->bits;
        values[i] = (float)((int32_t)(code & mask) - zero) * scale;
    }
}
