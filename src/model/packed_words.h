/* Whole numbers of a few bits in words of 32, little-endian: one after another, from the lowest bits of the first word
 * on. Where their bits do not divide 32 they run over the ends of words. */
#ifndef QDQ_MODEL_PACKED_WORDS_H
#define QDQ_MODEL_PACKED_WORDS_H

#include <stdint.h>

static inline uint32_t qdq_word(const uint8_t *words, uint64_t index) {
    const uint8_t *at = words + index * 4;
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* The index-th code of `bits`, 1 to 8, in the words first, first + stride, ... */
static inline int32_t qdq_code(const uint8_t *words, uint64_t first, uint64_t stride, uint32_t bits, uint64_t index) {
    uint64_t word = index / 32 * bits + index % 32 * bits / 32;
    uint32_t shift = (uint32_t)(index % 32 * bits % 32);
    uint32_t code = qdq_word(words, first + word * stride) >> shift;
    if (shift + bits > 32) code |= qdq_word(words, first + (word + 1) * stride) << (32 - shift);
    return (int32_t)(code & ((UINT32_C(1) << bits) - 1));
}

#endif
