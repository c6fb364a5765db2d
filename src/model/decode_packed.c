/* Whole numbers packed in words of 32 bits, as compressed-tensors has them: a float's value is exact, the product is
 * rounded once. */
#include "model/layouts.h"
#include "model/packed_words.h"

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
    for (uint32_t i = 0; i < n;) {
        uint64_t group = c->group_of != NULL ? qdq_word(c->group_of, column) : column / c->group;
        uint64_t left = c->group_of != NULL ? 1 : c->group - column % c->group;
        uint32_t run = left < n - i ? (uint32_t)left : n - i;
        if (group >= c->groups) group = 0; /* it was in range when the file was opened */
        float scale = qdq_scale(&c->scales, c->one_scale ? 0 : row * c->groups + group);
        int32_t zero = c->zeros != NULL ? qdq_code(c->zeros, group, c->groups, c->bits, row) : 1 << (c->bits - 1);
        if (c->bits == 4 && column % 2 == 0 && run % 2 == 0)
            decode_pairs(codes + column / 2, zero, scale, run, values + i);
        else
            for (uint32_t k = 0; k < run; k++)
                values[i + k] = (float)(qdq_code(codes, 0, 1, c->bits, column + k) - zero) * scale;
        i += run;
        column += run;
    }
}
