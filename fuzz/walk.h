/* What every accepted model must stand: each promise of files.h is called in, and a broken one traps. */
#ifndef QDQ_FUZZ_WALK_H
#define QDQ_FUZZ_WALK_H

#include "files/files.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) __builtin_trap();                                                                            \
    } while (0)

static inline void walk_kv(const qdq_model *model, const qdq_kv *kv) {
    uint64_t number, length;
    uint32_t type;
    const char *text;
    const uint8_t *elements;
    MUST(qdq_model_find_kv(model, kv->key) == kv);
    qdq_kv_u64(kv, &number);
    if (qdq_kv_string(kv, &text, &length)) MUST(length + 8 == kv->bytes);
    if (!qdq_kv_array(kv, &type, &number, &elements)) return;
    if (number > 0 && qdq_kv_array_string(kv, number - 1, &text, &length))
        MUST((const uint8_t *)text + length == kv->value + kv->bytes);
}

static inline void walk_tensor(const qdq_model *model, const qdq_tensor *t, const uint8_t *data, size_t size) {
    uint64_t elements = 1;
    MUST(qdq_model_find(model, t->name) == t);
    MUST(t->offset <= size && t->bytes <= size - t->offset && t->data == data + t->offset);
    for (uint32_t i = 0; i < t->n_dims; i++) elements *= t->shape[i];
    MUST(elements == t->elements);
    MUST(t->source == (qdq_tensor_not_source(t) == NULL));
    volatile uint8_t touched = 0;
    for (uint64_t i = 0; i < t->bytes; i += 61) touched ^= ((const uint8_t *)t->data)[i];
    if (t->bytes > 0) touched ^= ((const uint8_t *)t->data)[t->bytes - 1];
    (void)touched;
}

/* The header of a file with the same tensors and metadata. */
static inline void write_again(const qdq_model *model) {
    qdq_writer *writer;
    uint64_t bytes, sum = 0;
    if (qdq_writer_create(qdq_model_layout(model), NULL, &writer) != QDQ_OK) return;
    bool ok = qdq_writer_copy_metadata(writer, model) == QDQ_OK;
    for (uint64_t i = 0; i < qdq_model_tensor_count(model) && ok; i++) {
        const qdq_tensor *t = qdq_model_tensor(model, i);
        ok = qdq_writer_add_tensor(writer, t->name, t->type_name, t->n_dims, t->shape) == QDQ_OK;
        if (ok) MUST(qdq_writer_tensor_bytes(writer, i) == t->bytes);
        sum += t->bytes;
    }
    if (ok && qdq_writer_size(writer, &bytes) == QDQ_OK) MUST(bytes > sum);
    qdq_writer_abort(writer);
}

static inline void fuzz_model(qdq_layout layout, const uint8_t *data, size_t size) {
    qdq_model *model;
    if (qdq_model_parse(layout, data, size, "fuzz", &model) != QDQ_OK) {
        MUST(qdq_error_message()[0] != 0);
        return;
    }
    for (uint64_t i = 0; i < qdq_model_tensor_count(model); i++)
        walk_tensor(model, qdq_model_tensor(model, i), data, size);
    for (uint64_t i = 0; i < qdq_model_kv_count(model); i++) walk_kv(model, qdq_model_kv(model, i));
    write_again(model);
    qdq_model_close(model);
}

#endif
