#include "model/paired.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/source.h"
#include "files/shown.h"

#define BOTH(t, s) SHOWN((t)->path), SHOWN((t)->name), SHOWN((s)->name)

qdq_status qdq_pairing_no_memory(const qdq_pairing *p) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for its codes", SHOWN(qdq_model_path(p->model)));
}

/* ---- Names ------------------------------------------------------------------------------------------------------ */

bool qdq_is_type(const qdq_tensor *t, const char *type) { return strcmp(t->type_name, type) == 0; }

bool qdq_name_ends(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

bool qdq_name_renamed(const char *name, size_t cut, const char *end, char to[QDQ_PAIRED_NAME]) {
    int n = snprintf(to, QDQ_PAIRED_NAME, "%.*s%s", (int)(strlen(name) - cut), name, end);
    return n > 0 && n < QDQ_PAIRED_NAME;
}

const qdq_tensor *qdq_pairing_beside(const qdq_pairing *p, const qdq_tensor *t, size_t cut, const char *end) {
    char name[QDQ_PAIRED_NAME];
    return qdq_name_renamed(t->name, cut, end, name) ? qdq_model_find(p->model, name) : NULL;
}

const qdq_tensor *qdq_pairing_take(qdq_pairing *p, const qdq_tensor *t, size_t cut, const char *end) {
    const qdq_tensor *found = qdq_pairing_beside(p, t, cut, end);
    if (found != NULL) p->taken[found - qdq_model_tensor(p->model, 0)] = true;
    return found;
}

/* ---- Shapes ----------------------------------------------------------------------------------------------------- */

uint64_t qdq_columns_of(const qdq_tensor *t) { return t->n_dims > 0 ? t->shape[t->n_dims - 1] : 1; }
uint64_t qdq_rows_of(const qdq_tensor *t) { return t->n_dims > 1 ? t->shape[t->n_dims - 2] : 1; }
uint64_t qdq_blocks_of(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }
uint64_t qdq_words_of(uint64_t codes, uint32_t bits) {
    return codes / 32 * bits + qdq_blocks_of(codes % 32 * bits, 32);
}

bool qdq_has_rows_of(const qdq_tensor *t, const qdq_tensor *codes, uint64_t columns) {
    return codes->n_dims > 0 && t->n_dims == codes->n_dims && qdq_columns_of(t) == columns &&
           memcmp(t->shape, codes->shape, (codes->n_dims - 1) * sizeof *t->shape) == 0;
}

qdq_status qdq_pairing_misfit(const qdq_tensor *t, const qdq_tensor *s, const char *wanted) {
    return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" is %s, and its \"%s\" %s: %s", SHOWN(t->path), SHOWN(t->name),
                    QDQ_EXTENTS(t), SHOWN(s->name), QDQ_EXTENTS(s), wanted);
}

qdq_status qdq_pairing_scales(const qdq_tensor *t, const qdq_tensor *s, qdq_scales *scales) {
    if (qdq_scales_of(s, scales)) return QDQ_OK;
    return qdq_fail(QDQ_UNSUPPORTED, "%s: tensor \"%s\" has scales \"%s\" of type %s, which are not read", BOTH(t, s),
                    s->type_name);
}

qdq_status qdq_pairing_lacks(const qdq_tensor *t, const char *what) {
    return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" holds %s codes, and there is no %s for it", SHOWN(t->path),
                    SHOWN(t->name), t->type_name, what);
}

/* ---- Made tensors ----------------------------------------------------------------------------------------------- */

qdq_status qdq_pairing_add(qdq_pairing *p, const qdq_tensor *codes, const char *name, const char *what,
                           uint64_t columns, qdq_decoding decoding, const void *layout, size_t size) {
    qdq_tensor *t = &p->made[p->n_made];
    *t = *codes;
    uint64_t *shape = qdq_model_room(p->model, codes->n_dims * sizeof *shape);
    qdq_decoding *d = qdq_model_room(p->model, sizeof *d);
    void *kept = qdq_model_room(p->model, size);
    char *texts = qdq_model_room(p->model, strlen(name) + strlen(what) + 2);
    if (shape == NULL || d == NULL || kept == NULL || texts == NULL) return qdq_pairing_no_memory(p);
    memcpy(shape, codes->shape, codes->n_dims * sizeof *shape);
    shape[codes->n_dims - 1] = columns;
    memcpy(kept, layout, size);
    strcpy(texts, name);
    strcpy(texts + strlen(name) + 1, what);
    uint64_t lines = codes->elements / qdq_columns_of(codes);
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
