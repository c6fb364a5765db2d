#include "files/checksum.h"

#include <string.h>

/* Four words of 64 bits side by side, each with a state of its own, so that the processor multiplies all at once. A
 * step is a bijection of the state for every word and of the word for every state: one changed word always shows. */
enum { LANES = QDQ_CHECKSUM_BLOCK / 8 };

static const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / the golden ratio */

static uint64_t step(uint64_t state, uint64_t word) {
    state = (state ^ word) * odd;
    return state ^ state >> 29;
}

static uint64_t little_endian(const unsigned char *p) {
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) word |= (uint64_t)p[i] << (8 * i);
    return word;
}

static void add_block(uint64_t lanes[LANES], const unsigned char *block) {
    for (int i = 0; i < LANES; i++) lanes[i] = step(lanes[i], little_endian(block + 8 * i));
}

void qdq_checksum_begin(qdq_checksum *sum) {
    *sum = (qdq_checksum){0};
    for (int i = 0; i < LANES; i++) sum->lanes[i] = odd * (uint64_t)(i + 1);
}

void qdq_checksum_add(qdq_checksum *sum, const void *bytes, size_t n) {
    const unsigned char *at = bytes;
    size_t held = (size_t)(sum->bytes % QDQ_CHECKSUM_BLOCK);
    sum->bytes += n;
    if (held > 0) {
        size_t missing = QDQ_CHECKSUM_BLOCK - held, taken = n < missing ? n : missing;
        memcpy(sum->rest + held, at, taken);
        if (held + taken < QDQ_CHECKSUM_BLOCK) return;
        add_block(sum->lanes, sum->rest);
        at += taken;
        n -= taken;
    }
    for (; n >= QDQ_CHECKSUM_BLOCK; n -= QDQ_CHECKSUM_BLOCK, at += QDQ_CHECKSUM_BLOCK) add_block(sum->lanes, at);
    if (n > 0) memcpy(sum->rest, at, n);
}

void qdq_checksum_text(qdq_checksum *sum, const char *text) { qdq_checksum_add(sum, text, strlen(text) + 1); }

void qdq_checksum_number(qdq_checksum *sum, uint64_t number) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(number >> (8 * i));
    qdq_checksum_add(sum, bytes, sizeof bytes);
}

uint64_t qdq_checksum_value(const qdq_checksum *sum) {
    uint64_t lanes[LANES], value = sum->bytes;
    unsigned char last[QDQ_CHECKSUM_BLOCK] = {0};
    size_t held = (size_t)(sum->bytes % QDQ_CHECKSUM_BLOCK);
    memcpy(lanes, sum->lanes, sizeof lanes);
    if (held > 0) memcpy(last, sum->rest, held);
    add_block(lanes, last);
    for (int i = 0; i < LANES; i++) value = step(value, lanes[i]);
    return value;
}
