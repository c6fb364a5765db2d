/* MXFP4 and NVFP4 as checkpoints have them: E2M1 and scales. A product has at most 2 + 24 bits, and is rounded once. */
#include "model/layouts.h"

#include <string.h>

static float outer_scale(const qdq_fp4_codes *c, uint64_t matrix) {
    float value;
    memcpy(&value, c->outer + (c->outer_is_one ? 0 : matrix) * sizeof value, sizeof value);
    return value;
}

void qdq_decode_fp4(const qdq_decoding *d, uint64_t first, uint32_t n, float *values) {
    const qdq_fp4_codes *c = d->layout;
    float outer = c->outer != NULL ? outer_scale(c, first / d->row / c->rows) : 1;
    for (uint32_t i = 0; i < n;) {
        uint64_t at = first + i, left = c->group - at % c->group; /* a row is a multiple of the group */
        uint32_t end = left < n - i ? i + (uint32_t)left : n;
        float scale = qdq_scale(&c->scales, at / c->group);
        if (c->outer != NULL) scale = c->outer_divides ? scale / outer : scale * outer;
        if (at % 2 == 1) values[i++] = qdq_e2m1_values[d->codes[at++ / 2] >> 4] * scale;
        const uint8_t *codes = d->codes + at / 2;
        for (; i + 1 < end; i += 2, codes++) {
            values[i] = qdq_e2m1_values[*codes & 15] * scale;
            values[i + 1] = qdq_e2m1_values[*codes >> 4] * scale;
        }
        if (i < end) values[i++] = qdq_e2m1_values[*codes & 15] * scale;
    }
}
