#include "model/pairing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/source.h"
#include "model/layouts.h"
#include "model/quantization_config.h"

typedef unsigned long long ull;
#define SHOWN(text) qdq_printable((text), (char[256]){0}, 256)
#define BOTH(t, s)  SHOWN((t)->path), SHOWN((t)->name), SHOWN((s)->name)

enum { NAME = 512 };

typedef struct pairing {
    qdq_model *model;
    qdq_quantization config;
    qdq_dtype via;
    bool keep_codes;
    bool *taken; /* of each tensor: it belongs to codes, or is for activations */
    qdq_tensor *made;
    uint64_t n_made, n_decoded;
} pairing;

static qdq_status no_memory(const pairing *p) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for its codes", SHOWN(qdq_model_path(p->model)));
}

/* ---- Names ------------------------------------------------------------------------------------------------------ */

static bool is_type(const qdq_tensor *t, const char *type) { return strcmp(t->type_name, type) == 0; }

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* The name without so many bytes at its end, and with another end; false: too long. */
static bool rename_end(const char *name, size_t cut, const char *end, char to[NAME]) {
    int n = snprintf(to, NAME, "%.*s%s", (int)(strlen(name) - cut), name, end);
    return n > 0 && n < NAME;
}

/* The tensor of that name; NULL: there is none. */
static const qdq_tensor *beside(const pairing *p, const qdq_tensor *t, size_t cut, const char *end) {
    char name[NAME];
    return rename_end(t->name, cut, end, name) ? qdq_model_find(p->model, name) : NULL;
}

/* The same, which then belongs to t. */
static const qdq_tensor *take(pairing *p, const qdq_tensor *t, size_t cut, const char *end) {
    const qdq_tensor *found = beside(p, t, cut, end);
    if (found != NULL) p->taken[found - qdq_model_tensor(p->model, 0)] = true;
    return found;
}

/* ---- Shapes ----------------------------------------------------------------------------------------------------- */

static uint64_t columns_of(const qdq_tensor *t) { return t->n_dims > 0 ? t->shape[t->n_dims - 1] : 1; }
static uint64_t rows_of(const qdq_tensor *t) { return t->n_dims > 1 ? t->shape[t->n_dims - 2] : 1; }
static uint64_t up(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }
static uint64_t words_of(uint64_t codes, uint32_t bits) { return codes / 32 * bits + up(codes % 32 * bits, 32); }

/* t has `columns` columns and otherwise the shape of codes. */
static bool has_rows_of(const qdq_tensor *t, const qdq_tensor *codes, uint64_t columns) {
    return codes->n_dims > 0 && t->n_dims == codes->n_dims && columns_of(t) == columns &&
           memcmp(t->shape, codes->shape, (codes->n_dims - 1) * sizeof *t->shape) == 0;
}

static qdq_status wrong_shape(const qdq_tensor *t, const qdq_tensor *s, const char *wanted) {
    return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" is %s, and its \"%s\" %s: %s", SHOWN(t->path), SHOWN(t->name),
                    QDQ_EXTENTS(t), SHOWN(s->name), QDQ_EXTENTS(s), wanted);
}

static qdq_status take_scales(const qdq_tensor *t, const qdq_tensor *s, qdq_scales *scales) {
    if (qdq_scales_of(s, scales)) return QDQ_OK;
    return qdq_fail(QDQ_UNSUPPORTED, "%s: tensor \"%s\" has scales \"%s\" of type %s, which are not read", BOTH(t, s),
                    s->type_name);
}

static qdq_status lacks(const qdq_tensor *t, const char *what) {
    return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" holds %s codes, and there is no %s for it", SHOWN(t->path),
                    SHOWN(t->name), t->type_name, what);
}

/* ---- Made tensors ----------------------------------------------------------------------------------------------- */

/* Adds the tensor that codes mean. layout: copied, `size` bytes of it. columns: a row's. */
static qdq_status add(pairing *p, const qdq_tensor *codes, const char *name, const char *what, uint64_t columns,
                      qdq_decoding decoding, const void *layout, size_t size) {
    qdq_tensor *t = &p->made[p->n_made];
    *t = *codes;
    uint64_t *shape = qdq_model_room(p->model, codes->n_dims * sizeof *shape);
    qdq_decoding *d = qdq_model_room(p->model, sizeof *d);
    void *kept = qdq_model_room(p->model, size);
    char *texts = qdq_model_room(p->model, strlen(name) + strlen(what) + 2);
    if (shape == NULL || d == NULL || kept == NULL || texts == NULL) return no_memory(p);
    memcpy(shape, codes->shape, codes->n_dims * sizeof *shape);
    shape[codes->n_dims - 1] = columns;
    memcpy(kept, layout, size);
    strcpy(texts, name);
    strcpy(texts + strlen(name) + 1, what);
    uint64_t lines = codes->elements / columns_of(codes);
    const qdq_source *source = qdq_source_get(p->via);
    if (__builtin_mul_overflow(lines, columns, &t->elements) ||
        __builtin_mul_overflow(t->elements, (uint64_t)source->bytes, &t->bytes) || t->bytes > INT64_MAX)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" means more weights than 63 bits can count", SHOWN(codes->path),
                        SHOWN(codes->name));
    *d = decoding;
    d->layout = kept;
    d->unit = 1;
    d->row = columns;
    d->codes = codes->data;
    d->code_bytes = codes->bytes;
    d->elements = t->elements;
    d->offset = codes->offset;
    d->name = texts + strlen(name) + 1;
    t->name = texts;
    t->shape = shape;
    t->type_name = source->safetensors;
    t->ggml_type = source->ggml_type;
    t->source = true;
    t->dtype = p->via;
    t->data = NULL;
    t->decoding = d;
    p->n_made++;
    p->n_decoded++;
    return QDQ_OK;
}

/* ---- Bytes: E4M3 and I8 ----------------------------------------------------------------------------------------- */

/* Tensor-parallel ranks one upon another, each with blocks of its own, look like one matrix with too many scales. */
static uint64_t stacked_ranks(uint64_t rows, uint64_t block, uint64_t scale_rows) {
    for (uint64_t ranks = 2; ranks <= 64; ranks++)
        if (rows % ranks == 0 && ranks * up(rows / ranks, block) == scale_rows) return ranks;
    return 0;
}

/* Finds the block that gives so many scales: the one that the configuration says, or one that is usual. */
static bool find_block(const pairing *p, const qdq_tensor *t, const qdq_tensor *s, qdq_byte_codes *c) {
    static const uint64_t usual[][2] = {{128, 128}, {32, 32}, {1, 32}, {1, 128}};
    if (s->n_dims != t->n_dims || memcmp(s->shape, t->shape, (t->n_dims - 2) * sizeof *t->shape) != 0) return false;
    c->scale_rows = rows_of(s);
    c->scale_columns = columns_of(s);
    uint64_t rows = p->config.block_rows, columns = p->config.block_columns;
    for (size_t i = 0; i <= sizeof usual / sizeof *usual; i++) {
        if (rows > 0 && up(c->rows, rows) == c->scale_rows && up(columns_of(t), columns) == c->scale_columns) {
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

static qdq_status find_scale_of_bytes(const pairing *p, const qdq_tensor *t, const qdq_tensor *s, qdq_byte_codes *c,
                                      char *text, size_t size) {
    uint64_t matrices = t->elements / (c->rows * columns_of(t));
    c->block_rows = c->rows;
    c->block_columns = columns_of(t);
    c->scale_rows = c->scale_columns = 1;
    snprintf(text, size, "a tensor");
    if (s->elements == matrices && (matrices == 1 || s->shape[0] == matrices)) return QDQ_OK;
    if (s->elements == 1) {
        c->rows = t->elements / columns_of(t); /* one for all matrices */
        c->block_rows = c->rows;
        return QDQ_OK;
    }
    bool of_rows = (s->n_dims == 1 && s->shape[0] == c->rows && matrices == 1) || has_rows_of(s, t, 1);
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
    uint64_t ranks = s->n_dims == t->n_dims ? stacked_ranks(c->rows, block, rows_of(s)) : 0;
    if (ranks > 0)
        return qdq_fail(
            QDQ_UNSUPPORTED,
            "%s: tensor \"%s\" has as many rows of scales in \"%s\" as %llu tensor-parallel ranks that were "
            "stacked: which of its rows belong where is not known; regroup and convert it first",
            BOTH(t, s), (ull)ranks);
    return wrong_shape(t, s, "these are neither blocks of that many codes, nor rows, nor one scale");
}

static qdq_status add_bytes(pairing *p, const qdq_tensor *t, const qdq_tensor *s) {
    char per[64], what[128];
    qdq_byte_codes c = {.integers = is_type(t, "I8"), .rows = rows_of(t)};
    if (t->elements == 0 || t->n_dims == 0)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" has no codes for the scales \"%s\"", BOTH(t, s));
    const qdq_tensor *zeros = c.integers ? take(p, t, 0, "_zero_point") : NULL;
    qdq_status status = take_scales(t, s, &c.scales);
    if (status == QDQ_OK) status = find_scale_of_bytes(p, t, s, &c, per, sizeof per);
    if (status != QDQ_OK) return status;
    if (zeros != NULL && (!is_type(zeros, "I8") || zeros->elements != s->elements))
        return wrong_shape(t, zeros, "a zero of type I8 is wanted for each scale");
    if (zeros != NULL) c.zeros = zeros->data;
    snprintf(what, sizeof what, "%s with %s scales%s of %s", t->type_name, is_type(s, "U8") ? "F8_E8M0" : s->type_name,
             zeros != NULL ? " and zeros" : "", per);
    return add(p, t, t->name, what, columns_of(t), (qdq_decoding){.decode = qdq_decode_bytes}, &c, sizeof c);
}

/* ---- FP4 -------------------------------------------------------------------------------------------------------- */

/* A scale beside scales: one, or one a matrix, finite and over 0; the other way round it would be over 1, or below. */
static qdq_status take_outer(const qdq_tensor *t, const qdq_tensor *outer, bool divides, qdq_fp4_codes *c) {
    uint64_t matrices = t->elements / (c->rows * columns_of(t));
    if (!is_type(outer, "F32"))
        return qdq_fail(QDQ_UNSUPPORTED, "%s: tensor \"%s\" has its outer scale \"%s\" as %s, not F32", BOTH(t, outer),
                        outer->type_name);
    if (outer->elements != 1 && (outer->elements != matrices || outer->shape[0] != matrices))
        return wrong_shape(t, outer, "one number is wanted, or one a matrix");
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
static qdq_status add_outer(pairing *p, const qdq_tensor *t, const qdq_tensor *outer, bool divides, const char *name) {
    static const char weight[] = ".weight";
    size_t cut = ends_with(name, weight) ? sizeof weight - 1 : 0, length = strlen(name) - cut + sizeof ".scale";
    char *own = qdq_model_room(p->model, length);
    float *values = qdq_model_room(p->model, outer->elements * sizeof *values);
    uint64_t *shape = qdq_model_room(p->model, sizeof *shape);
    if (own == NULL || values == NULL || shape == NULL) return no_memory(p);
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

/* outer: NULL for MXFP4. name: of what the codes mean. */
static qdq_status add_fp4(pairing *p, const qdq_tensor *t, const qdq_tensor *s, const qdq_tensor *outer, bool divides,
                          const char *name) {
    qdq_fp4_codes c = {.group = outer != NULL ? 16 : 32, .rows = rows_of(t)};
    uint64_t bytes = columns_of(t);
    qdq_status status = take_scales(t, s, &c.scales);
    if (status != QDQ_OK) return status;
    if ((c.scales.type == QDQ_SCALE_E4M3) != (outer != NULL))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": scales \"%s\" of type %s %s", BOTH(t, s), s->type_name,
                        outer != NULL ? "do not go with an outer scale" : "want an outer scale, and there is none");
    if (t->n_dims < 2 || t->elements == 0 || bytes % (c.group / 2) != 0 || !has_rows_of(s, t, bytes / (c.group / 2)))
        return wrong_shape(t, s,
                           outer != NULL ? "NVFP4 has a scale for 16 codes, which are 8 bytes"
                                         : "MXFP4 has a scale for 32 codes, which are 16 bytes");
    if (outer != NULL) status = take_outer(t, outer, divides, &c);
    if (status == QDQ_OK && outer != NULL && p->keep_codes && bytes % 32 == 0) {
        status = add_outer(p, t, outer, divides, name);
        c.outer = NULL;
    }
    if (status != QDQ_OK) return status;
    return add(p, t, name, outer != NULL ? "NVFP4" : "MXFP4", bytes * 2, (qdq_decoding){.decode = qdq_decode_fp4}, &c,
               sizeof c);
}

/* ---- Whole numbers in words -------------------------------------------------------------------------------------- */

/* The columns that [rows, columns] says, which the words do not: the last may not be full. */
static bool read_columns(const qdq_tensor *t, const qdq_tensor *shape, uint64_t *columns) {
    bool wide = is_type(shape, "I64");
    if ((!wide && !is_type(shape, "I32")) || shape->elements != 2) return false;
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
    return extents[0] == rows_of(t) && extents[1] / 32 <= columns_of(t);
}

/* The bits of codes of which so many stand in so many words; of a few codes it may be several, and is the likeliest. */
static uint32_t find_bits(uint64_t columns, uint64_t words) {
    static const uint32_t likely[] = {4, 8, 2, 3, 6, 5, 7, 1};
    for (size_t i = 0; i < sizeof likely / sizeof *likely; i++)
        if (words_of(columns, likely[i]) == words) return likely[i];
    return 0;
}

/* i32, one a column: its group. Where all are -1, groups follow one another. */
static qdq_status take_group_of(const qdq_tensor *t, const qdq_tensor *order, uint64_t columns, uint64_t groups,
                                const uint8_t **group_of) {
    if (!is_type(order, "I32") || order->elements != columns)
        return wrong_shape(t, order, "a number of type I32 is wanted for each column");
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
    if (!is_type(zeros, "I32") || zeros->n_dims != 2 || columns_of(zeros) != c->groups ||
        rows_of(zeros) != words_of(rows_of(t), c->bits))
        return wrong_shape(t, zeros, "zeros are wanted packed in words of type I32 down the rows, for each group");
    c->zeros = zeros->data;
    return QDQ_OK;
}

static qdq_status add_packed(pairing *p, const qdq_tensor *t, const qdq_tensor *s, const char *name) {
    const size_t cut = sizeof "_packed" - 1;
    const qdq_tensor *shape = take(p, t, cut, "_shape"), *zeros = take(p, t, cut, "_zero_point"),
                     *order = take(p, t, cut, "_g_idx");
    uint64_t columns = 0;
    if (shape == NULL) return lacks(t, "\"_shape\"");
    qdq_packed_codes c = {.words = columns_of(t)};
    if (t->n_dims != 2 || t->elements == 0 || !read_columns(t, shape, &columns))
        return wrong_shape(t, shape, "two numbers are wanted, the rows, which the codes have, and the columns");
    c.bits = find_bits(columns, c.words);
    if (c.bits == 0)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: tensor \"%s\" has %llu columns in %llu words a row: these are not codes of 1 to 8 bits",
                        SHOWN(t->path), SHOWN(t->name), (ull)columns, (ull)c.words);
    qdq_status status = take_scales(t, s, &c.scales);
    if (status != QDQ_OK) return status;
    c.one_scale = s->elements == 1;
    bool of_rows = s->n_dims == 1 && s->shape[0] == rows_of(t);
    c.groups = c.one_scale || of_rows ? 1 : columns_of(s);
    if (c.groups == 0 || columns % c.groups != 0 || (!c.one_scale && !of_rows && !has_rows_of(s, t, c.groups)))
        return wrong_shape(t, s, "a scale is wanted for each group of a row, each row, or all");
    c.group = columns / c.groups;
    if (zeros != NULL) status = take_zeros(t, zeros, &c);
    if (status == QDQ_OK && order != NULL) status = take_group_of(t, order, columns, c.groups, &c.group_of);
    if (status != QDQ_OK) return status;
    char what[128], group[32] = "a row";
    if (c.groups > 1) snprintf(group, sizeof group, "%llu", (ull)c.group);
    snprintf(what, sizeof what, "INT%u with %s scales%s of %s", (unsigned)c.bits, s->type_name,
             zeros != NULL ? " and zeros" : "", c.one_scale ? "a tensor" : group);
    return add(p, t, name, what, columns, (qdq_decoding){.decode = qdq_decode_packed}, &c, sizeof c);
}

/* ---- Columns: GPTQ and AWQ --------------------------------------------------------------------------------------- */

/* X.qweight with X.qzeros, X.scales, maybe X.g_idx: X.weight, [rows, columns]. */
static qdq_status pair_columns(pairing *p, const qdq_tensor *t) {
    const size_t cut = sizeof "qweight" - 1;
    const qdq_tensor *zeros = take(p, t, cut, "qzeros"), *s = take(p, t, cut, "scales"),
                     *order = take(p, t, cut, "g_idx");
    bool gptq = strcmp(p->config.method, "gptq") == 0, awq = strcmp(p->config.method, "awq") == 0;
    char name[NAME], what[128];
    if (!gptq && !awq)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: tensor \"%s\" may be GPTQ's or AWQ's, and no config.json beside it has a "
                        "\"quantization_config\" that says which",
                        SHOWN(t->path), SHOWN(t->name));
    if (zeros == NULL || s == NULL || !rename_end(t->name, cut, "weight", name))
        return lacks(t, zeros == NULL ? "\"qzeros\"" : "\"scales\"");
    if (t->n_dims != 2 || s->n_dims != 2 || zeros->n_dims != 2 || t->elements == 0 || s->elements == 0 ||
        !is_type(zeros, "I32") || rows_of(zeros) != rows_of(s))
        return wrong_shape(t, s,
                           "matrices of words, with zeros of type I32 and scales for the same groups, are wanted");
    qdq_column_codes c = {.awq = awq, .rows = columns_of(s), .groups = rows_of(s), .zeros = zeros->data};
    c.zero_lacks = gptq && !p->config.zeros_as_they_are;
    c.bits = find_bits(c.rows, columns_of(zeros));
    if (c.bits < 2 || c.rows % 32 * c.bits % 32 != 0 || (awq && c.bits != 4))
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: tensor \"%s\" has zeros for %llu rows in %llu words: these are not codes of %s bits",
                        SHOWN(t->path), SHOWN(t->name), (ull)c.rows, (ull)columns_of(zeros), awq ? "4" : "2 to 8");
    uint64_t columns = awq ? rows_of(t) : rows_of(t) * 32 / c.bits; /* no more than a file has bits */
    if (columns_of(t) != (awq ? c.rows / 8 : c.rows) || columns % c.groups != 0 ||
        (!awq && words_of(columns, c.bits) != rows_of(t)))
        return wrong_shape(t, s,
                           awq ? "words of AWQ's have codes of eight rows" : "words of GPTQ's have codes of one row");
    c.group = columns / c.groups;
    qdq_status status = take_scales(t, s, &c.scales);
    if (status == QDQ_OK && order != NULL) status = take_group_of(t, order, columns, c.groups, &c.group_of);
    if (status != QDQ_OK) return status;
    uint64_t shape[2] = {c.rows, columns};
    qdq_tensor turned = *t;
    turned.shape = shape;
    turned.elements = c.rows * columns;
    snprintf(what, sizeof what, "%s INT%u with %s scales of %llu", awq ? "AWQ" : "GPTQ", (unsigned)c.bits, s->type_name,
             (ull)c.group);
    return add(p, &turned, name, what, columns, (qdq_decoding){.decode = qdq_decode_columns}, &c, sizeof c);
}

/* ---- Which codes a tensor has ------------------------------------------------------------------------------------ */

/* X, with X_scale and the like beside it, or, where X is Y.weight, Y.scale. */
static qdq_status pair_plain(pairing *p, const qdq_tensor *t, bool *paired) {
    bool fp8 = is_type(t, "F8_E4M3"), bytes = fp8 || is_type(t, "I8"), nibbles = is_type(t, "U8") || is_type(t, "I8");
    const qdq_tensor *s = NULL;
    *paired = false;
    if (!bytes && !nibbles) return QDQ_OK;
    static const char *const own[] = {"_scale_inv", "_scale"}, *const other[] = {".scale", ".qscale_weight"};
    for (int i = 0; i < 2 && s == NULL; i++) s = take(p, t, 0, own[i]);
    for (int i = 0; i < 2 && s == NULL && ends_with(t->name, ".weight"); i++)
        s = take(p, t, sizeof ".weight" - 1, other[i]);
    if (s == NULL) return QDQ_OK;
    *paired = true;
    const qdq_tensor *outer = take(p, t, 0, "_scale_2");
    if (beside(p, t, 0, "_global_scale") != NULL)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: tensor \"%s\" has a \"_global_scale\" beside \"%s\", which only packed codes have",
                        BOTH(t, s));
    bool exponents = is_type(s, "F8_E8M0") || is_type(s, "U8");
    if (nibbles && (outer != NULL || (exponents && has_rows_of(s, t, columns_of(t) / 16))))
        return add_fp4(p, t, s, outer, false, t->name);
    if (outer != NULL || !bytes)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: tensor \"%s\" of type %s with \"%s\" of type %s is of no layout that is read",
                        SHOWN(t->path), SHOWN(t->name), t->type_name, SHOWN(s->name), s->type_name);
    return add_bytes(p, t, s);
}

/* gpt-oss: X_blocks, [experts, rows, groups, 16] bytes, and X_scales. */
static qdq_status pair_blocks(pairing *p, const qdq_tensor *t) {
    char name[NAME];
    const qdq_tensor *s = take(p, t, sizeof "_blocks" - 1, "_scales");
    if (s == NULL || !rename_end(t->name, sizeof "_blocks" - 1, "", name)) return lacks(t, "\"_scales\"");
    if (t->n_dims < 3 || columns_of(t) != 16 || s->n_dims != t->n_dims - 1 ||
        memcmp(s->shape, t->shape, s->n_dims * sizeof *s->shape) != 0)
        return wrong_shape(t, s, "a scale is wanted for each 16 bytes");
    uint64_t *shape = qdq_model_room(p->model, s->n_dims * sizeof *shape);
    if (shape == NULL) return no_memory(p);
    memcpy(shape, s->shape, s->n_dims * sizeof *shape);
    shape[s->n_dims - 1] *= 16; /* no more than the elements */
    qdq_tensor flat = *t;
    flat.shape = shape;
    flat.n_dims = s->n_dims;
    return add_fp4(p, &flat, s, NULL, false, name);
}

/* compressed-tensors: X_packed, with X_scale and more. */
static qdq_status pair_packed(pairing *p, const qdq_tensor *t) {
    const size_t cut = sizeof "_packed" - 1;
    char name[NAME];
    const qdq_tensor *s = take(p, t, cut, "_scale");
    if (s == NULL || !rename_end(t->name, cut, "", name)) return lacks(t, "\"_scale\"");
    if (qdq_model_find(p->model, name) != NULL)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" stands for \"%s\", which is there as well", SHOWN(t->path),
                        SHOWN(t->name), SHOWN(name));
    if (is_type(t, "I32")) return add_packed(p, t, s, name);
    return add_fp4(p, t, s, take(p, t, cut, "_global_scale"), true, name);
}

static qdq_status pair(pairing *p, const qdq_tensor *t, bool *paired) {
    *paired = true;
    if ((is_type(t, "I32") || is_type(t, "U8")) && ends_with(t->name, "_packed")) return pair_packed(p, t);
    if (is_type(t, "U8") && ends_with(t->name, "_blocks")) return pair_blocks(p, t);
    if (is_type(t, "I32") && ends_with(t->name, ".qweight")) return pair_columns(p, t);
    return pair_plain(p, t, paired);
}

/* ---- What is left ------------------------------------------------------------------------------------------------ */

/* Scales of activations and caches, which no weight has a use for. */
static bool is_for_activations(const char *name) {
    static const char *const ends[] = {
        ".input_scale", ".activation_scale", "_activation_scale", ".qscale_act", ".input_global_scale", ".output_scale",
        ".k_scale",     ".v_scale",          ".q_scale",          ".kv_scale",   ".prob_output_scale"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(name, ends[i])) return true;
    return false;
}

static bool is_companion(const qdq_tensor *t) {
    static const char *const ends[] = {
        "_scale_inv",         ".weight_scale", ".weight_scale_2", "_global_scale", ".weight_shape",
        ".weight_zero_point", ".weight_g_idx", ".qscale_weight",  ".qzeros",       ".g_idx"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(t->name, ends[i])) return true;
    return is_type(t, "U8") && ends_with(t->name, "_scales");
}

/* Codes before what belongs to them: which may stand on either side of them in the file. */
static qdq_status pair_all(pairing *p) {
    uint64_t n = qdq_model_tensor_count(p->model);
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) {
        const qdq_tensor *t = qdq_model_tensor(p->model, i);
        bool paired;
        status = pair(p, t, &paired);
        if (status == QDQ_OK && !paired) p->made[p->n_made++] = *t;
    }
    return status;
}

static qdq_status check_rest(pairing *p) {
    uint64_t kept = 0;
    for (uint64_t i = 0; i < p->n_made; i++) {
        const qdq_tensor *t = &p->made[i], *own = qdq_model_find(p->model, t->name);
        bool made = t->decoding != NULL;
        if (own == NULL) made = true; /* an outer scale */
        if (!made && (p->taken[own - qdq_model_tensor(p->model, 0)] || is_for_activations(t->name))) continue;
        if (!made && is_type(t, "F8_E4M3")) return lacks(t, "scale");
        if (!made && is_companion(t))
            return qdq_fail(QDQ_BAD_DATA, "%s: \"%s\" belongs to codes, and there are none under such a name",
                            SHOWN(t->path), SHOWN(t->name));
        p->made[kept++] = *t;
    }
    p->n_made = kept;
    return QDQ_OK;
}

qdq_status qdq_pairing_decode(qdq_model *model, qdq_dtype via, bool keep_codes) {
    uint64_t n = qdq_model_tensor_count(model);
    pairing p = {.model = model, .via = via, .keep_codes = keep_codes};
    qdq_status status = qdq_quantization_read(model, &p.config);
    if (status != QDQ_OK || n == 0) return status;
    p.taken = calloc((size_t)n, sizeof *p.taken);
    p.made = calloc(2 * (size_t)n, sizeof *p.made); /* with outer scales */
    if (p.taken == NULL || p.made == NULL) status = no_memory(&p);
    if (status == QDQ_OK) status = pair_all(&p);
    bool coded = p.n_decoded > 0 || p.config.method[0] != '\0';
    if (status == QDQ_OK && coded) status = check_rest(&p);
    if (status == QDQ_OK && coded) status = qdq_model_put_tensors(model, p.made, p.n_made);
    free(p.taken);
    free(p.made);
    return status;
}
