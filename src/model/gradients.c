#include "model/gradients.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/advice.h"
#include "model/architecture.h"
#include "model/decoding.h"
#include "model/row_order.h"
#include "base/error.h"
#include "base/source.h"
#include "files/shown.h"

typedef unsigned long long ull;
struct qdq_gradients {
    const qdq_model *model;
    const qdq_gguf_names *names;
    qdq_model *gradients, *hf;
};

qdq_status qdq_gradients_open(const char *path, const qdq_selection *selection, const qdq_gradients_options *options,
                              qdq_gradients **result) {
    if (result == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_gradients_open: a NULL argument");
    *result = NULL;
    if (path == NULL || selection == NULL || (options != NULL && options->size == 0))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_gradients_open: a NULL argument, or options->size is 0");
    qdq_gradients *g = calloc(1, sizeof *g);
    if (g == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for gradients");
    *g = (qdq_gradients){.model = selection->model, .names = selection->names};
    qdq_status status = qdq_model_open(path, &g->gradients);
    if (status == QDQ_OK && options != NULL && options->hf != NULL) status = qdq_model_open(options->hf, &g->hf);
    if (status == QDQ_OK && g->hf != NULL) status = qdq_model_decode(g->hf, NULL);
    if (status != QDQ_OK) {
        qdq_gradients_close(g);
        return status;
    }
    *result = g;
    return QDQ_OK;
}

void qdq_gradients_close(qdq_gradients *g) {
    if (g == NULL) return;
    qdq_model_close(g->gradients);
    qdq_model_close(g->hf);
    free(g);
}

const qdq_model *qdq_gradients_model(const qdq_gradients *g) { return g->gradients; }

bool qdq_gradients_are_rms(const qdq_gradients *g) {
    static const char rms[] = "root mean square";
    const char *text;
    uint64_t length;
    const qdq_kv *kv = qdq_model_find_kv(g->gradients, "reduction");
    return kv != NULL && qdq_kv_string(kv, &text, &length) && length >= sizeof rms - 1 &&
           memcmp(text, rms, sizeof rms - 1) == 0;
}

double qdq_gradients_tokens(const qdq_gradients *g) {
    const char *text;
    char number[32], *end;
    uint64_t length;
    const qdq_kv *kv = qdq_model_find_kv(g->gradients, "tokens_per_sample");
    if (kv == NULL || !qdq_kv_string(kv, &text, &length) || length == 0 || length >= sizeof number) return 0;
    memcpy(number, text, (size_t)length);
    number[length] = '\0';
    double tokens = strtod(number, &end);
    bool whole = strspn(number, "0123456789.") == length && end == number + length;
    return whole && tokens >= 1 ? tokens : 0;
}

/* ---- Shapes and rows ------------------------------------------------------------------------------------------- */

/* Matrix `index` of a tensor of at least three dimensions. */
static qdq_tensor matrix_of(const qdq_tensor *t, uint64_t index) {
    uint64_t elements = t->shape[t->n_dims - 1] * t->shape[t->n_dims - 2];
    qdq_tensor matrix = qdq_tensor_part(t, index * elements, elements);
    matrix.shape = t->shape + t->n_dims - 2;
    matrix.n_dims = 2;
    return matrix;
}

static qdq_status check_shape(const qdq_tensor *t, const qdq_tensor *g) {
    if (!g->source)
        return qdq_fail(QDQ_BAD_DATA, "%s: the gradient \"%s\" is of type %s; F32, F16 or BF16 is needed",
                        SHOWN(g->path), SHOWN(g->name), g->type_name);
    if (g->n_dims == t->n_dims && memcmp(g->shape, t->shape, t->n_dims * sizeof *t->shape) == 0) return QDQ_OK;
    return qdq_fail(QDQ_BAD_DATA, "tensor \"%s\" is %s in %s, but its gradient \"%s\" is %s in %s", SHOWN(t->name),
                    QDQ_EXTENTS(t), SHOWN(t->path), SHOWN(g->name), QDQ_EXTENTS(g), SHOWN(g->path));
}

static qdq_status read_row(void *context, uint64_t row, float *values) {
    const qdq_tensor *t = context;
    uint64_t n = t->shape[t->n_dims - 1];
    const qdq_source *source = qdq_source_get(t->dtype);
    if (t->decoding == NULL) {
        qdq_source_load(source, (const char *)t->data + row * n * source->bytes, values, n);
        return QDQ_OK;
    }
    enum { PIECE = 1024 };
    for (uint64_t at = 0; at < n; at += PIECE) {
        uint32_t elements[PIECE];
        uint64_t count = n - at < PIECE ? n - at : PIECE;
        qdq_decode(NULL, t, row * n + at, count, elements);
        qdq_source_load(source, elements, values + at, count);
    }
    return QDQ_OK;
}

/* How many heads' rows the conversion to GGUF moves, by the architecture's rule. */
static qdq_status heads_of(const qdq_gradients *g, const qdq_tensor *t, qdq_permute permute, uint64_t *heads) {
    *heads = 0;
    if (permute == QDQ_PERMUTE_NONE) return QDQ_OK;
    static const char key[] = "attention.head_count";
    char architecture[QDQ_ARCHITECTURE];
    uint32_t n_head = 0;
    qdq_architecture_read(g->model, NULL, architecture);
    if (!qdq_architecture_number(g->model, NULL, architecture, key, &n_head))
        return qdq_fail(
            QDQ_BAD_DATA,
            "%s: has no number %s.%s, so the order of the rows of \"%s\" cannot be told from its gradient's",
            SHOWN(t->path), SHOWN(architecture), key, SHOWN(t->name));
    uint32_t n_head_kv = n_head;
    qdq_architecture_number(g->model, NULL, architecture, "attention.head_count_kv", &n_head_kv);
    return qdq_permute_heads(permute, t->name, t->shape[t->n_dims - 2], n_head, n_head_kv, heads);
}

/* Compares the weights (of GGUF) with those that the gradient was taken of: the order of the rows is what the values
 * say, whatever the architecture's rule would have. */
static qdq_status settle_rows(const qdq_gradients *g, const qdq_tensor *t, const char *hf_name, qdq_permute permute,
                              uint64_t *heads) {
    *heads = 0;
    if (g->hf == NULL && permute == QDQ_PERMUTE_NONE) return QDQ_OK;
    if (g->hf == NULL)
        return qdq_fail_advising(
            QDQ_ADVICE_HF, QDQ_BAD_DATA,
            "\"%s\": conversions to GGUF move the rows of such tensors, and gradients of \"%s\" may stand in "
            "the other order, which no gradient shows",
            SHOWN(t->name), SHOWN(hf_name));
    const qdq_tensor *hf = qdq_model_find(g->hf, hf_name);
    if (hf == NULL || !hf->source || hf->elements != t->elements ||
        hf->shape[hf->n_dims - 1] != t->shape[t->n_dims - 1])
        return qdq_fail(QDQ_BAD_DATA, "%s: has no weights \"%s\" of the shape of \"%s\" in %s",
                        SHOWN(qdq_model_path(g->hf)), SHOWN(hf_name), SHOWN(t->name), SHOWN(t->path));
    uint64_t row, moved, columns = t->shape[t->n_dims - 1];
    qdq_rows_order order;
    qdq_status status = heads_of(g, t, permute, &moved);
    if (status == QDQ_OK)
        status = qdq_rows_permuted(t->elements / columns, columns, moved, read_row, (void *)(uintptr_t)hf, read_row,
                                   (void *)(uintptr_t)t, t->dtype, &order, &row);
    if (status != QDQ_OK) return status;
    if (order == QDQ_ROWS_DIFFERENT)
        return qdq_fail(
            QDQ_BAD_DATA,
            "\"%s\" of %s is not \"%s\" of %s: row %llu differs, also in the order that conversions to GGUF "
            "give; the gradients are those of other weights",
            SHOWN(t->name), SHOWN(t->path), SHOWN(hf_name), SHOWN(hf->path), (ull)row);
    if (order == QDQ_ROWS_PERMUTED) *heads = moved;
    return QDQ_OK;
}

/* ---- Finding --------------------------------------------------------------------------------------------------- */

/* The gradient of one matrix, or of a whole tensor (expert QDQ_NO_EXPERT), under Hugging Face's name. */
static qdq_status find_part(const qdq_gradients *g, const qdq_tensor *t, int64_t expert, qdq_gradient_part *part) {
    char name[QDQ_NAME_MAX];
    qdq_gguf_name back;
    *part = (qdq_gradient_part){NULL, 0};
    if (qdq_gguf_names_to_hf(g->names, t->name, expert, name) != QDQ_OK) return QDQ_OK;
    part->gradient = qdq_model_find(g->gradients, name);
    if (part->gradient == NULL) return QDQ_OK;
    qdq_status status = check_shape(t, part->gradient);
    if (status == QDQ_OK) status = qdq_gguf_names_to_gguf(g->names, name, &back);
    return status == QDQ_OK ? settle_rows(g, t, name, back.permute, &part->heads) : status;
}

/* Experts that Hugging Face has one by one. All or none have gradients: else a score would miss some. */
static qdq_status find_experts(const qdq_gradients *g, const qdq_tensor *t, qdq_gradient *gradient) {
    uint64_t n = t->elements / (t->shape[t->n_dims - 1] * t->shape[t->n_dims - 2]), found = 0;
    free(gradient->parts);
    gradient->parts = calloc((size_t)n, sizeof *gradient->parts);
    if (gradient->parts == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu gradients", (ull)n);
    for (uint64_t e = 0; e < n; e++) {
        qdq_tensor matrix = matrix_of(t, e);
        qdq_status status = find_part(g, &matrix, (int64_t)e, &gradient->parts[e]);
        if (status != QDQ_OK) return status;
        found += gradient->parts[e].gradient != NULL;
    }
    if (found != 0 && found != n)
        return qdq_fail(QDQ_BAD_DATA, "%s: has gradients for %llu of the %llu experts of \"%s\"",
                        SHOWN(qdq_model_path(g->gradients)), (ull)found, (ull)n, SHOWN(t->name));
    gradient->n_parts = found;
    return QDQ_OK;
}

qdq_status qdq_gradients_of(const qdq_gradients *g, const qdq_tensor *t, qdq_gradient *gradient) {
    *gradient = (qdq_gradient){.parts = calloc(1, sizeof *gradient->parts)};
    if (gradient->parts == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a gradient");
    qdq_gradient_part *whole = gradient->parts;
    whole->gradient = qdq_model_find(g->gradients, t->name);
    qdq_status status = QDQ_OK;
    if (whole->gradient != NULL)
        status = check_shape(t, whole->gradient);
    else if (g->names != NULL && qdq_model_layout(g->model) == QDQ_LAYOUT_GGUF)
        status = find_part(g, t, QDQ_NO_EXPERT, whole);
    gradient->n_parts = whole->gradient != NULL;
    if (status == QDQ_OK && gradient->n_parts == 0 && t->n_dims == 3 && g->names != NULL &&
        qdq_model_layout(g->model) == QDQ_LAYOUT_GGUF)
        status = find_experts(g, t, gradient);
    if (status != QDQ_OK) {
        free(gradient->parts);
        *gradient = (qdq_gradient){0};
    }
    return status;
}

void qdq_gradient_free(qdq_gradient *gradient) {
    free(gradient->parts);
    *gradient = (qdq_gradient){0};
}

qdq_status qdq_gradients_find(const qdq_gradients *g, uint64_t index, uint64_t *bytes) {
    if (g == NULL || bytes == NULL || index >= qdq_model_tensor_count(g->model))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_gradients_find: no such tensor, or a NULL argument");
    qdq_gradient gradient;
    qdq_status status = qdq_gradients_of(g, qdq_model_tensor(g->model, index), &gradient);
    if (status != QDQ_OK) return status;
    *bytes = 0;
    for (uint64_t i = 0; i < gradient.n_parts; i++) *bytes += gradient.parts[i].gradient->bytes;
    qdq_gradient_free(&gradient);
    return QDQ_OK;
}

/* ---- Scoring --------------------------------------------------------------------------------------------------- */

/* n_formats: with the high one, which stands last. */
static qdq_status put(qdq_pass *pass, const qdq_tensor *t, const qdq_tensor *g, const qdq_imatrix_entry *importance,
                      uint32_t n_formats, const qdq_format *formats, qdq_sensitivity_sums *sums) {
    qdq_work work = {.kind = QDQ_WORK_SENSITIVITY,
                     .tensor = t,
                     .gradient = g,
                     .n_formats = n_formats,
                     .formats = formats,
                     .importance = importance,
                     .sensitivity = sums};
    return qdq_pass_put(pass, &work);
}

/* The gradient's rows in the order of the weights', some rows at a time. */
static qdq_status put_permuted(qdq_pass *pass, const qdq_tensor *t, const qdq_gradient_part *part,
                               const qdq_imatrix_entry *importance, uint32_t n_formats, const qdq_format *formats,
                               qdq_sensitivity_sums *sums) {
    enum { ELEMENTS = 1 << 21 };
    uint64_t columns = t->shape[t->n_dims - 1], rows = t->elements / columns, unit = 1, step;
    while (unit * columns % QDQ_TILE != 0) unit *= 2; /* pieces of whole tiles: sums are as of the tensor in one */
    step = ELEMENTS / columns / unit * unit;
    if (step == 0) step = unit;
    if (step > rows) step = rows;
    size_t size = columns * qdq_dtype_size(part->gradient->dtype);
    char *gathered = malloc((size_t)step * size);
    if (gathered == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu rows of gradients", (ull)step);
    qdq_status status = QDQ_OK;
    for (uint64_t row = 0; row < rows && status == QDQ_OK; row += step) {
        uint64_t n = rows - row < step ? rows - row : step, shape[2] = {n, columns};
        for (uint64_t r = 0; r < n; r++)
            memcpy(gathered + r * size,
                   (const char *)part->gradient->data + qdq_row_in_hf(rows, part->heads, row + r) * size, size);
        qdq_tensor weights = qdq_tensor_part(t, row * columns, n * columns), gradient = *part->gradient;
        weights.shape = gradient.shape = shape;
        weights.n_dims = gradient.n_dims = 2;
        gradient.elements = n * columns;
        gradient.bytes = n * size;
        gradient.data = gathered;
        status = put(pass, &weights, &gradient, importance, n_formats, formats, sums);
        if (status == QDQ_OK) status = qdq_pass_flush(pass); /* before the rows go */
    }
    free(gathered);
    return status;
}

qdq_status qdq_gradients_score(qdq_pass *pass, const qdq_tensor *tensor, const qdq_gradient *gradient,
                               const qdq_imatrix_entry *importance, uint32_t n_formats, const qdq_format *formats,
                               qdq_format high, qdq_sensitivity_sums *sums) {
    qdq_format pairs[QDQ_MAX_FORMATS];
    if (n_formats >= QDQ_MAX_FORMATS) return qdq_fail(QDQ_INVALID_ARGUMENT, "%u formats", n_formats);
    memcpy(pairs, formats, n_formats * sizeof *formats);
    pairs[n_formats++] = high;
    qdq_status status = QDQ_OK;
    if (gradient->n_parts == 1 && gradient->parts->heads == 0)
        return put(pass, tensor, gradient->parts->gradient, importance, n_formats, pairs, sums);
    for (uint64_t i = 0; i < gradient->n_parts && status == QDQ_OK; i++) {
        qdq_tensor weights = gradient->n_parts > 1 ? matrix_of(tensor, i) : *tensor;
        qdq_imatrix_entry slice;
        if (importance != NULL && gradient->n_parts > 1)
            slice = qdq_imatrix_slice(importance, tensor->shape[tensor->n_dims - 1], i);
        const qdq_imatrix_entry *entry = importance != NULL && gradient->n_parts > 1 ? &slice : importance;
        const qdq_gradient_part *part = &gradient->parts[i];
        status = part->heads > 0 ? put_permuted(pass, &weights, part, entry, n_formats, pairs, sums)
                                 : put(pass, &weights, part->gradient, entry, n_formats, pairs, sums);
        if (status == QDQ_OK) status = qdq_pass_flush(pass); /* before the parts go */
    }
    return status;
}
