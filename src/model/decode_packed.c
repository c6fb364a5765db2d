/* Whole numbers packed in words of 32 bits, as compressed-tensors has them: a float's value is exact, the product is
 * rounded once. Words are little-endian, and bits divides 8: so the codes of a row are those of its bytes, from the
 * lowest bits on. */
#include "model/layouts.h"

static uint32_t word_at(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static int32_t code_at(const uint8_t *codes, uint32_t bits, uint64_t column) {
    return codes[column * bits / 8] >> column * bits % 8 & ((1 << bits) - 1);
}

/* Two of four bits a byte, from an even column on. */
static void decode_pairs(const uint8_t *codes, int32_t zero, float scale, uint32_t n, float *values) {
    for (uint32_t i = 0; i < n / 2; i++) {
        values[2 * i] = (float)((codes[i] & 15) - zero) * scale;
        values[2 * i + 1] = (float)((codes[i] >> 4) - zero) * scale;
    }
}

void qdq_decode_packed(const qdq_decoding *d, uint64_t first, uint32_t n, float *values) {
    const qdq_packed_codes *c = d->layout;
    uint64_t row = first / d->row, column = first % d->row;
    const uint8_t *codes = d->codes + row * c->words * 4;
    uint32_t a_word = 32 / c->bits, mask = (uint32_t)((UINT64_C(1) << c->bits) - 1);
    for (uint32_t i = 0; i < n;) {
        uint64_t group = c->group_of != NULL ? word_at(c->group_of + column * 4) : column / c->group;
        uint64_t left = c->group_of != NULL ? 1 : c->group - column % c->group;
        uint32_t run = left < n - i ? (uint32_t)left : n - i;
        if (group >= c->groups) group = 0; /* it was in range when the file was opened */
        float scale = qdq_scale(&c->scales, c->one_scale ? 0 : row * c->groups + group);
        int32_t zero = 1 << (c->bits - 1);
        if (c->zeros != NULL)
            zero =
                (int32_t)(word_at(c->zeros + (row / a_word * c->groups + group) * 4) >> row % a_word * c->bits & mask);
        if (c->bits == 4 && column % 2 == 0 && run % 2 == 0)
            decode_pairs(codes + column / 2, zero, scale, run, values + i);
        else
            for (uint32_t k = 0; k < run; k++)
                values[i + k] = (float)(code_at(codes, c->bits, column + k) - zero) * scale;
        i += run;
        column += run;
    }
}
