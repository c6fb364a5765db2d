#include "model/keep_codes.h"

#include <math.h>
#include <string.h>

#include "base/source.h"
#include "model/layouts.h"
#include "model/like.h"

enum { TURN = 1 << 16, Q4_0 = 32, MXFP4 = 32, NVFP4 = 64, NVFP4_GROUP = 16 };

/* ---- Which ------------------------------------------------------------------------------------------------------- */

typedef enum kept { NOTHING, INTEGERS, EXPONENTS, SMALL_FLOATS } kept;

/* Scales belong to whole blocks; what has zeros, or groups in another order, is no Q4_0. */
static kept what_one_keeps(const qdq_decoding *d) {
    if (d == NULL) return NOTHING;
    if (d->decode == qdq_decode_packed) {
        const qdq_packed_codes *c = d->layout;
        bool plain = c->zeros == NULL && c->group_of == NULL && c->bits == 4;
        return plain && d->row % Q4_0 == 0 && c->group % Q4_0 == 0 ? INTEGERS : NOTHING;
    }
    if (d->decode != qdq_decode_fp4) return NOTHING;
    const qdq_fp4_codes *c = d->layout;
    if (c->scales.type == QDQ_SCALE_E8M0) return c->outer == NULL ? EXPONENTS : NOTHING;
    return c->outer == NULL && d->row % NVFP4 == 0 ? SMALL_FLOATS : NOTHING;
}

/* Rows that were put together keep what all of them do: blocks lie inside a row. */
static const qdq_gathered *gathered(const qdq_decoding *d) {
    return d != NULL && d->decode == qdq_decode_gathered ? d->layout : NULL;
}

static kept what_is_kept(const qdq_decoding *d) {
    const qdq_gathered *g = gathered(d);
    if (g == NULL) return what_one_keeps(d);
    kept all = g->added == 0 ? what_one_keeps(g->parts[0]->decoding) : NOTHING;
    for (uint64_t i = 1; i < g->n_parts && all != NOTHING; i++)
        if (what_one_keeps(g->parts[i]->decoding) != all) all = NOTHING;
    return all;
}

qdq_format qdq_keeps_codes(const qdq_tensor *tensor) {
    switch (what_is_kept(tensor->decoding)) {
    case INTEGERS: return qdq_format_by_name("q4_0");
    case EXPONENTS: return qdq_format_by_name("mxfp4");
    case SMALL_FLOATS: return qdq_format_by_name("nvfp4");
    case NOTHING: break;
    }
    return QDQ_FORMAT_NONE;
}

bool qdq_kept_apart(const qdq_tensor *tensor) { return what_is_kept(tensor->decoding) == SMALL_FLOATS; }

/* ---- What would change ------------------------------------------------------------------------------------------- */

static uint32_t nibble(const uint8_t *codes, uint64_t index) { return codes[index / 2] >> index % 2 * 4 & 15; }

/* Q4_0's scale is an F16. A code of 8 is 0 whatever the scale. */
static uint64_t changes_of_integers(const qdq_decoding *d) {
    const qdq_packed_codes *c = d->layout;
    const qdq_source *half = qdq_source_get(QDQ_F16);
    uint64_t changed = 0;
    for (uint64_t at = 0; at < d->elements; at += c->group) {
        float scale = qdq_scale(&c->scales, c->one_scale ? 0 : at / c->group), stored;
        uint16_t bits;
        qdq_source_store(half, &scale, &bits, 1);
        qdq_source_load(half, &bits, &stored, 1);
        if (stored == scale) continue;
        for (uint64_t i = at; i < at + c->group; i++) changed += nibble(d->codes, i) != 8;
    }
    return changed;
}

/* MXFP4 has every exponent; but 255 is none, and the largest overflow. */
static uint64_t changes_of_exponents(const qdq_decoding *d) {
    const qdq_fp4_codes *c = d->layout;
    uint64_t changed = 0;
    for (uint64_t at = 0; at < d->elements; at += c->group) {
        float scale = qdq_scale(&c->scales, at / c->group);
        for (uint64_t i = at; !(scale < 0x1p125f) && i < at + c->group; i++)
            changed += !isfinite(qdq_e2m1_values[nibble(d->codes, i)] * scale);
    }
    return changed;
}

/* NVFP4's scales have no sign, and none is not a number. */
static uint64_t changes_of_small_floats(const qdq_decoding *d) {
    const qdq_fp4_codes *c = d->layout;
    uint64_t changed = 0;
    for (uint64_t at = 0; at < d->elements; at += c->group) {
        float scale = qdq_scale(&c->scales, at / c->group);
        for (uint64_t i = at; !(scale >= 0) && i < at + c->group; i++)
            changed += isnan(scale) || nibble(d->codes, i) % 8 != 0;
    }
    return changed;
}

uint64_t qdq_kept_changes(const qdq_tensor *tensor) {
    const qdq_gathered *g = gathered(tensor->decoding);
    uint64_t changed = 0;
    for (uint64_t i = 0; g != NULL && i < g->n_parts; i++) changed += qdq_kept_changes(g->parts[i]);
    if (g != NULL) return changed;
    switch (what_one_keeps(tensor->decoding)) {
    case INTEGERS: return changes_of_integers(tensor->decoding);
    case EXPONENTS: return changes_of_exponents(tensor->decoding);
    case SMALL_FLOATS: return changes_of_small_floats(tensor->decoding);
    case NOTHING: break;
    }
    return tensor->elements;
}

/* ---- Blocks ------------------------------------------------------------------------------------------------------ */

/* 2 n codes, the first in a low half, as ggml has them: the first n in the low halves. */
static void part_halves(const uint8_t *codes, uint8_t *halves, uint32_t n) {
    for (uint32_t j = 0; j < n; j++) halves[j] = (uint8_t)(nibble(codes, j) | nibble(codes, n + j) << 4);
}

static void pack_q4_0(const qdq_decoding *d, uint64_t at, uint8_t *block) {
    const qdq_packed_codes *c = d->layout;
    float scale = qdq_scale(&c->scales, c->one_scale ? 0 : at / c->group);
    qdq_source_store(qdq_source_get(QDQ_F16), &scale, block, 1);
    part_halves(d->codes + at / 2, block + 2, Q4_0 / 2);
}

static void pack_mxfp4(const qdq_decoding *d, uint64_t at, uint8_t *block) {
    block[0] = ((const qdq_fp4_codes *)d->layout)->scales.data[at / MXFP4];
    part_halves(d->codes + at / 2, block + 1, MXFP4 / 2);
}

static void pack_nvfp4(const qdq_decoding *d, uint64_t at, uint8_t *block) {
    memcpy(block, ((const qdq_fp4_codes *)d->layout)->scales.data + at / NVFP4_GROUP, NVFP4 / NVFP4_GROUP);
    for (int s = 0; s < NVFP4 / NVFP4_GROUP; s++) {
        block[s] &= 0x7f;
        part_halves(d->codes + at / 2 + 8 * s, block + 4 + 8 * s, NVFP4_GROUP / 2);
    }
}

typedef struct job {
    const qdq_decoding *decoding;
    const qdq_gathered *gathered; /* NULL: it is not */
    void (*pack)(const qdq_decoding *d, uint64_t at, uint8_t *block);
    uint64_t first, count, elements, bytes; /* elements and bytes of a block */
    uint8_t *blocks;
} job;

static void pack_turn(void *context, uint64_t turn) {
    const job *j = context;
    uint64_t at = turn * TURN, end = at + TURN < j->count ? at + TURN : j->count;
    for (; at < end; at += j->elements) {
        uint64_t from = j->first + at;
        const qdq_decoding *d = j->decoding;
        if (j->gathered != NULL) d = qdq_gathered_at(j->gathered, &from)->decoding;
        j->pack(d, from, j->blocks + at / j->elements * j->bytes);
    }
}

void qdq_keep_codes(qdq_pool *pool, const qdq_tensor *tensor, uint64_t first, uint64_t count, uint8_t *blocks) {
    kept kind = what_is_kept(tensor->decoding);
    uint64_t elements = kind == SMALL_FLOATS ? NVFP4 : Q4_0;
    job j = {.decoding = tensor->decoding,
             .gathered = gathered(tensor->decoding),
             .pack = kind == INTEGERS    ? pack_q4_0
                     : kind == EXPONENTS ? pack_mxfp4
                                         : pack_nvfp4,
             .first = tensor->first + first,
             .count = count,
             .elements = elements,
             .bytes = qdq_format_bytes(qdq_keeps_codes(tensor), elements),
             .blocks = blocks};
    qdq_pool_run(pool, count / TURN + (count % TURN != 0), pack_turn, &j);
}
