/* MXFP4 and NVFP4. */
#include "model/paired.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "files/shown.h"

typedef unsigned long long ull;
#define BOTH(t, s) SHOWN((t)->path), SHOWN((t)->name), SHOWN((s)->name)

/* A scale beside scales: one, or one a matrix, finite and over 0; the other way round it would be over 1, or below. */
static qdq_status take_outer(const qdq_tensor *t, const qdq_tensor *outer, bool divides, qdq_fp4_codes *c) {
    uint64_t matrices = t->elements / (c->rows * qdq_columns_of(t));
    if (!qdq_is_type(outer, "F32"))
        return qdq_fail(QDQ_UNSUPPORTED, "%s: tensor \"%s\" has its outer scale \"%s\" as %s, not F32", BOTH(t, outer),
                        outer->type_name);
    if (outer->elements != 1 && (outer->elements != matrices || outer->shape[0] != matrices))
        return qdq_pairing_misfit(t, outer, "one number is wanted, or one a matrix");
    for (uint64_t i = 0; i < outer->elements; i++) {
        float value;
        memcpy(&value, (const char *)outer->data + i * sizeof value, sizeof value);
        if (!(value > 0) || isinf(value))
            return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": number %llu of \"%s\" is %g; an outer scale is over 0",
                            SHOWN(t->path), SHOWN(t->name), (ull)i, SHOWN(outer->name), (double)value);
        if (divides ? value < 1 : value > 1)
            return qdq_fail(QDQ_UNSUPPORTED,
                            "%s: tensor \"%s\": number %llu of \"%s\" is %g, %s than 1: it would make weights of over "
                            "2,688, so it seems to be the reciprocal of what it should be",
                            SHOWN(t->path), SHOWN(t->name), (ull)i, SHOWN(outer->name), (double)value,
                            divides ? "less" : "more");
    }
    c->outer = outer->data;
    c->outer_is_one = outer->elements == 1;
    c->outer_divides = divides;
    return QDQ_OK;
}

/* The outer scale as a tensor beside its codes, by which ggml multiplies. */
static qdq_status add_outer(qdq_pairing *p, const qdq_tensor *t, const qdq_tensor *outer, bool divides,
                            const char *name) {
    static const char weight[] = ".weight";
    size_t cut = qdq_name_ends(name, weight) ? sizeof weight - 1 : 0, length = strlen(name) - cut + sizeof ".scale";
    char *own = qdq_model_room(p->model, length);
    float *values = qdq_model_room(p->model, outer->elements * sizeof *values);
    uint64_t *shape = qdq_model_room(p->model, sizeof *shape);
    if (own == NULL || values == NULL || shape == NULL) return qdq_pairing_no_memory(p);
    snprintf(own, length, "%.*s.scale", (int)(strlen(name) - cut), name);
    if (qdq_model_find(p->model, own) != NULL)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" has an outer scale, which would be \"%s\", and that is there",
                        SHOWN(t->path), SHOWN(t->name), SHOWN(own));
    memcpy(values, outer->data, (size_t)outer->bytes);
    for (uint64_t i = 0; i < outer->elements && divides; i++) {
        float reciprocal = 1 / values[i];
        if ((double)reciprocal * (double)values[i] != 1)
            return qdq_fail(
                QDQ_UNSUPPORTED,
                "%s: tensor \"%s\": all its %llu weights could change in nvfp4, whose outer scale multiplies: 1 / "
                "%.9g, of \"%s\", is no float",
                SHOWN(t->path), SHOWN(t->name), (ull)t->elements * 2, (double)values[i], SHOWN(outer->name));
        values[i] = reciprocal;
    }
    *shape = outer->elements;
    qdq_tensor *made = &p->made[p->n_made++];
    *made = *outer;
    made->name = own;
    made->shape = shape;
    made->n_dims = 1;
    made->data = values;
    return QDQ_OK;
}

qdq_status qdq_pair_fp4(qdq_pairing *p, const qdq_tensor *t, const qdq_tensor *s, const qdq_tensor *outer, bool divides,
                        const char *name) {
    qdq_fp4_codes c = {.group = outer != NULL ? 16 : 32, .rows = qdq_rows_of(t)};
    uint64_t bytes = qdq_columns_of(t);
    qdq_status status = qdq_pairing_scales(t, s, &c.scales);
    if (status != QDQ_OK) return status;
    if ((c.scales.type == QDQ_SCALE_E4M3) != (outer != NULL))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": scales \"%s\" of type %s %s", BOTH(t, s), s->type_name,
                        outer != NULL ? "do not go with an outer scale" : "want an outer scale, and there is none");
    if (t->n_dims < 2 || t->elements == 0 || bytes % (c.group / 2) != 0 ||
        !qdq_has_rows_of(s, t, bytes / (c.group / 2)))
        return qdq_pairing_misfit(t, s,
                                  outer != NULL ? "NVFP4 has a scale for 16 codes, which are 8 bytes"
                                                : "MXFP4 has a scale for 32 codes, which are 16 bytes");
    if (outer != NULL) status = take_outer(t, outer, divides, &c);
    if (status == QDQ_OK && outer != NULL && p->keep_codes && bytes % 32 == 0) {
        status = add_outer(p, t, outer, divides, name);
        c.outer = NULL;
    }
    if (status != QDQ_OK) return status;
    return qdq_pairing_add(p, t, name, outer != NULL ? "NVFP4" : "MXFP4", bytes * 2,
                           (qdq_decoding){.decode = qdq_decode_fp4}, &c, sizeof c);
}
