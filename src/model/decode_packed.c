/* Whole numbers packed in words of 32 bits, as compressed-tensors has them: a float's value is exact, the product is
 * rounded once. */
#include "model/layouts.h"

static uint32_t word_at(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

void qdq_decode_packed(const qdq_decoding *d, uint64_t first, uint32_t n, float *values) {
    const qdq_packed_codes *c = d->layout;
    uint64_t row = first / d->row, column = first % d->row, last = UINT64_MAX;
    const uint8_t *words = d->codes + row * c->words * 4;
    uint32_t a_word = 32 / c->bits, mask = (uint32_t)((UINT64_C(1) << c->bits) - 1);
    int32_t zero = 1 << (c->bits - 1);
    float scale = 0;
    for (uint32_t i = 0; i < n; i++, column++) {
        uint64_t group = c->group_of != NULL ? word_at(c->group_of + column * 4) : column / c->group;
        if (group >= c->groups) group = 0; /* it was in range when the file was opened */
        if (group != last) {
            scale = qdq_scale(&c->scales, c->one_scale ? 0 : row * c->groups + group);
            if (c->zeros != NULL)
                zero = (int32_t)(word_at(c->zeros + (row / a_word * c->groups + group) * 4) >> row % a_word * c->bits &
                                 mask);
            last = group;
        }
        uint32_t code = word_at(words + column / a_word * 4) >> column % a_word * c->bits & mask;
        values[i] = (float)((int32_t)code - zero) * scale;
    }
}
