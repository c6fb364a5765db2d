/* Matrices that stand as columns: GPTQ and AWQ. */
#include "model/paired.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "files/shown.h"

typedef unsigned long long ull;
qdq_status qdq_pair_columns(qdq_pairing *p, const qdq_tensor *t) {
    const size_t cut = sizeof "qweight" - 1;
    const qdq_tensor *zeros = qdq_pairing_take(p, t, cut, "qzeros"), *s = qdq_pairing_take(p, t, cut, "scales"),
                     *order = qdq_pairing_take(p, t, cut, "g_idx");
    bool gptq = strcmp(p->config.method, "gptq") == 0, awq = strcmp(p->config.method, "awq") == 0;
    char name[QDQ_PAIRED_NAME], what[128];
    if (!gptq && !awq)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: tensor \"%s\" may be GPTQ's or AWQ's, and no config.json beside it has a "
                        "\"quantization_config\" that says which",
                        SHOWN(t->path), SHOWN(t->name));
    if (zeros == NULL || s == NULL || !qdq_name_renamed(t->name, cut, "weight", name))
        return qdq_pairing_lacks(t, zeros == NULL ? "\"qzeros\"" : "\"scales\"");
    if (t->n_dims != 2 || s->n_dims != 2 || zeros->n_dims != 2 || t->elements == 0 || s->elements == 0 ||
        !qdq_is_type(zeros, "I32") || qdq_rows_of(zeros) != qdq_rows_of(s))
        return qdq_pairing_misfit(
            t, s, "matrices of words, with zeros of type I32 and scales for the same groups, are wanted");
    qdq_column_codes c = {.awq = awq, .rows = qdq_columns_of(s), .groups = qdq_rows_of(s), .zeros = zeros->data};
    c.zero_lacks = gptq && !p->config.zeros_as_they_are;
    c.bits = qdq_packed_bits(c.rows, qdq_columns_of(zeros));
    if (c.bits < 2 || c.rows % 32 * c.bits % 32 != 0 || (awq && c.bits != 4))
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: tensor \"%s\" has zeros for %llu rows in %llu words: these are not codes of %s bits",
                        SHOWN(t->path), SHOWN(t->name), (ull)c.rows, (ull)qdq_columns_of(zeros), awq ? "4" : "2 to 8");
    uint64_t columns = awq ? qdq_rows_of(t) : qdq_rows_of(t) * 32 / c.bits; /* no more than a file has bits */
    if (qdq_columns_of(t) != (awq ? c.rows / 8 : c.rows) || columns % c.groups != 0 ||
        (!awq && qdq_words_of(columns, c.bits) != qdq_rows_of(t)))
        return qdq_pairing_misfit(
            t, s, awq ? "words of AWQ's have codes of eight rows" : "words of GPTQ's have codes of one row");
    c.group = columns / c.groups;
    qdq_status status = qdq_pairing_scales(t, s, &c.scales);
    if (status == QDQ_OK && order != NULL) status = qdq_packed_order(t, order, columns, c.groups, &c.group_of);
    if (status != QDQ_OK) return status;
    uint64_t shape[2] = {c.rows, columns};
    qdq_tensor turned = *t;
    turned.shape = shape;
    turned.elements = c.rows * columns;
    snprintf(what, sizeof what, "%s INT%u with %s scales of %llu", awq ? "AWQ" : "GPTQ", (unsigned)c.bits, s->type_name,
             (ull)c.group);
    return qdq_pairing_add(p, &turned, name, what, columns, (qdq_decoding){.decode = qdq_decode_columns}, &c, sizeof c);
}
