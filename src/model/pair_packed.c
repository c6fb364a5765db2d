/* Whole numbers in words of 32 bits, as compressed-tensors packs them. */
#include "model/paired.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "files/shown.h"

typedef unsigned long long ull;
/* The columns that [rows, columns] says, which the words do not: the last may not be full. */
static bool read_columns(const qdq_tensor *t, const qdq_tensor *shape, uint64_t *columns) {
    bool wide = qdq_is_type(shape, "I64");
    if ((!wide && !qdq_is_type(shape, "I32")) || shape->elements != 2) return false;
    uint64_t extents[2] = {0};
    for (int i = 0; i < 2; i++) {
        int64_t whole = 0;
        int32_t half = 0;
        memcpy(wide ? (void *)&whole : (void *)&half, (const char *)shape->data + i * (wide ? 8 : 4), wide ? 8 : 4);
        if (!wide) whole = half;
        if (whole <= 0) return false;
        extents[i] = (uint64_t)whole;
    }
    *columns = extents[1];
    return extents[0] == qdq_rows_of(t) && extents[1] / 32 <= qdq_columns_of(t);
}

uint32_t qdq_packed_bits(uint64_t columns, uint64_t words) {
    static const uint32_t likely[] = {4, 8, 2, 3, 6, 5, 7, 1};
    for (size_t i = 0; i < sizeof likely / sizeof *likely; i++)
        if (qdq_words_of(columns, likely[i]) == words) return likely[i];
    return 0;
}

qdq_status qdq_packed_order(const qdq_tensor *t, const qdq_tensor *order, uint64_t columns, uint64_t groups,
                            const uint8_t **group_of) {
    if (!qdq_is_type(order, "I32") || order->elements != columns)
        return qdq_pairing_misfit(t, order, "a number of type I32 is wanted for each column");
    bool any = false;
    for (uint64_t i = 0; i < columns; i++) {
        int32_t group;
        memcpy(&group, (const char *)order->data + i * sizeof group, sizeof group);
        if (group == -1 && !any) continue;
        if (group < 0 || (uint64_t)group >= groups || (!any && i > 0))
            return qdq_fail(QDQ_BAD_DATA,
                            "%s: tensor \"%s\": column %llu is of group %d in \"%s\"; there are %llu groups",
                            SHOWN(t->path), SHOWN(t->name), (ull)i, group, SHOWN(order->name), (ull)groups);
        any = true;
    }
    if (any) *group_of = order->data;
    return QDQ_OK;
}

static qdq_status take_zeros(const qdq_tensor *t, const qdq_tensor *zeros, qdq_packed_codes *c) {
    if (!qdq_is_type(zeros, "I32") || zeros->n_dims != 2 || qdq_columns_of(zeros) != c->groups ||
        qdq_rows_of(zeros) != qdq_words_of(qdq_rows_of(t), c->bits))
        return qdq_pairing_misfit(t, zeros,
                                  "zeros are wanted packed in words of type I32 down the rows, for each group");
    c->zeros = zeros->data;
    return QDQ_OK;
}

qdq_status qdq_pair_packed(qdq_pairing *p, const qdq_tensor *t, const qdq_tensor *s, const char *name) {
    const size_t cut = sizeof "_packed" - 1;
    const qdq_tensor *shape = qdq_pairing_take(p, t, cut, "_shape"),
                     *zeros = qdq_pairing_take(p, t, cut, "_zero_point"),
                     *order = qdq_pairing_take(p, t, cut, "_g_idx");
    uint64_t columns = 0;
    if (shape == NULL) return qdq_pairing_lacks(t, "\"_shape\"");
    qdq_packed_codes c = {.words = qdq_columns_of(t)};
    if (t->n_dims != 2 || t->elements == 0 || !read_columns(t, shape, &columns))
        return qdq_pairing_misfit(t, shape, "two numbers are wanted, the rows, which the codes have, and the columns");
    c.bits = qdq_packed_bits(columns, c.words);
    if (c.bits == 0)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: tensor \"%s\" has %llu columns in %llu words a row: these are not codes of 1 to 8 bits",
                        SHOWN(t->path), SHOWN(t->name), (ull)columns, (ull)c.words);
    qdq_status status = qdq_pairing_scales(t, s, &c.scales);
    if (status != QDQ_OK) return status;
    c.one_scale = s->elements == 1;
    bool of_rows = s->n_dims == 1 && s->shape[0] == qdq_rows_of(t);
    c.groups = c.one_scale || of_rows ? 1 : qdq_columns_of(s);
    if (c.groups == 0 || columns % c.groups != 0 || (!c.one_scale && !of_rows && !qdq_has_rows_of(s, t, c.groups)))
        return qdq_pairing_misfit(t, s, "a scale is wanted for each group of a row, each row, or all");
    c.group = columns / c.groups;
    if (zeros != NULL) status = take_zeros(t, zeros, &c);
    if (status == QDQ_OK && order != NULL) status = qdq_packed_order(t, order, columns, c.groups, &c.group_of);
    if (status != QDQ_OK) return status;
    char what[128], group[32] = "a row";
    if (c.groups > 1) snprintf(group, sizeof group, "%llu", (ull)c.group);
    snprintf(what, sizeof what, "INT%u with %s scales%s of %s", (unsigned)c.bits, s->type_name,
             zeros != NULL ? " and zeros" : "", c.one_scale ? "a tensor" : group);
    return qdq_pairing_add(p, t, name, what, columns, (qdq_decoding){.decode = qdq_decode_packed}, &c, sizeof c);
}
