/* E4M3 and I8: a scale for a tensor, a row or a block. */
#include "model/paired.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "files/shown.h"

typedef unsigned long long ull;
#define BOTH(t, s) SHOWN((t)->path), SHOWN((t)->name), SHOWN((s)->name)

/* Tensor-parallel ranks one upon another, each with blocks of its own, look like one matrix with too many scales. */
static uint64_t stacked_ranks(uint64_t rows, uint64_t block, uint64_t scale_rows) {
    for (uint64_t ranks = 2; ranks <= 64; ranks++)
        if (rows % ranks == 0 && ranks * qdq_blocks_of(rows / ranks, block) == scale_rows) return ranks;
    return 0;
}

/* Finds the block that gives so many scales: the one that the configuration says, or one that is usual. */
static bool find_block(const qdq_pairing *p, const qdq_tensor *t, const qdq_tensor *s, qdq_byte_codes *c) {
    static const uint64_t usual[][2] = {{128, 128}, {32, 32}, {1, 32}, {1, 128}};
    if (s->n_dims != t->n_dims || memcmp(s->shape, t->shape, (t->n_dims - 2) * sizeof *t->shape) != 0) return false;
    c->scale_rows = qdq_rows_of(s);
    c->scale_columns = qdq_columns_of(s);
    uint64_t rows = p->config.block_rows, columns = p->config.block_columns;
    for (size_t i = 0; i <= sizeof usual / sizeof *usual; i++) {
        if (rows > 0 && qdq_blocks_of(c->rows, rows) == c->scale_rows &&
            qdq_blocks_of(qdq_columns_of(t), columns) == c->scale_columns) {
            c->block_rows = rows;
            c->block_columns = columns;
            return true;
        }
        if (i == sizeof usual / sizeof *usual) break;
        rows = usual[i][0];
        columns = usual[i][1];
    }
    return false;
}

static qdq_status find_scale_of_bytes(const qdq_pairing *p, const qdq_tensor *t, const qdq_tensor *s, qdq_byte_codes *c,
                                      char *text, size_t size) {
    uint64_t matrices = t->elements / (c->rows * qdq_columns_of(t));
    c->block_rows = c->rows;
    c->block_columns = qdq_columns_of(t);
    c->scale_rows = c->scale_columns = 1;
    snprintf(text, size, "a tensor");
    if (s->elements == matrices && (matrices == 1 || s->shape[0] == matrices)) return QDQ_OK;
    if (s->elements == 1) {
        c->rows = t->elements / qdq_columns_of(t); /* one for all matrices */
        c->block_rows = c->rows;
        return QDQ_OK;
    }
    bool of_rows = (s->n_dims == 1 && s->shape[0] == c->rows && matrices == 1) || qdq_has_rows_of(s, t, 1);
    if (of_rows) {
        snprintf(text, size, "a row");
        c->block_rows = 1;
        c->scale_rows = c->rows;
        return QDQ_OK;
    }
    if (t->n_dims >= 2 && find_block(p, t, s, c)) {
        snprintf(text, size, "%llu x %llu", (ull)c->block_rows, (ull)c->block_columns);
        return QDQ_OK;
    }
    uint64_t block = p->config.block_rows > 0 ? p->config.block_rows : 128;
    uint64_t ranks = s->n_dims == t->n_dims ? stacked_ranks(c->rows, block, qdq_rows_of(s)) : 0;
    if (ranks > 0)
        return qdq_fail(
            QDQ_UNSUPPORTED,
            "%s: tensor \"%s\" has as many rows of scales in \"%s\" as %llu tensor-parallel ranks that were "
            "stacked: which of its rows belong where is not known; regroup and convert it first",
            BOTH(t, s), (ull)ranks);
    return qdq_pairing_misfit(t, s, "these are neither blocks of that many codes, nor rows, nor one scale");
}

qdq_status qdq_pair_bytes(qdq_pairing *p, const qdq_tensor *t, const qdq_tensor *s) {
    char per[64], what[128];
    qdq_byte_codes c = {.integers = qdq_is_type(t, "I8"), .rows = qdq_rows_of(t)};
    if (t->elements == 0 || t->n_dims == 0)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" has no codes for the scales \"%s\"", BOTH(t, s));
    const qdq_tensor *zeros = c.integers ? qdq_pairing_take(p, t, 0, "_zero_point") : NULL;
    qdq_status status = qdq_pairing_scales(t, s, &c.scales);
    if (status == QDQ_OK) status = find_scale_of_bytes(p, t, s, &c, per, sizeof per);
    if (status != QDQ_OK) return status;
    if (zeros != NULL && (!qdq_is_type(zeros, "I8") || zeros->elements != s->elements))
        return qdq_pairing_misfit(t, zeros, "a zero of type I8 is wanted for each scale");
    if (zeros != NULL) c.zeros = zeros->data;
    snprintf(what, sizeof what, "%s with %s scales%s of %s", t->type_name,
             qdq_is_type(s, "U8") ? "F8_E8M0" : s->type_name, zeros != NULL ? " and zeros" : "", per);
    return qdq_pairing_add(p, t, t->name, what, qdq_columns_of(t), (qdq_decoding){.decode = qdq_decode_bytes}, &c,
                           sizeof c);
}
