#include "model/identity.h"

#include <stdio.h>
#include <string.h>

#include "model/decoding.h"
#include "base/platform_files.h"

/* What stands at that byte of a tensor; where its codes do not lie in one place, elements of a row. */
static void add_sample(qdq_checksum *sum, qdq_mapped_file *file, const qdq_tensor *t, uint64_t at) {
    enum { SAMPLE = 4096, ELEMENTS = SAMPLE / sizeof(float) };
    uint64_t row = t->n_dims > 0 ? t->shape[t->n_dims - 1] : 1;
    if (qdq_tensor_is_raw(t)) {
        uint64_t within = (t->offset + at) % SAMPLE; /* of a page: one is read, and not two */
        at -= within < at ? within : at;
        uint64_t left = t->bytes - at;
        unsigned char bytes[SAMPLE]; /* read: to map a page for it would map those around it, too */
        size_t n = left < SAMPLE ? (size_t)left : SAMPLE;
        const void *from = (const char *)t->data + at;
        qdq_checksum_add(sum, qdq_mapped_read_kept(file, from, bytes, n) == QDQ_OK ? bytes : from, n);
        return;
    }
    float elements[ELEMENTS];
    uint64_t rows = t->elements / row, which = (uint64_t)((double)at / (double)t->bytes * (double)rows);
    if (which >= rows) which = rows - 1;
    uint64_t n = row < ELEMENTS ? row : ELEMENTS;
    qdq_decode(NULL, t, which * row, n, elements);
    qdq_checksum_add(sum, elements, (size_t)n * qdq_dtype_size(t->dtype));
}

uint64_t qdq_identity_of_source(const qdq_model *model) {
    enum { SAMPLES = 256 };
    qdq_checksum sum;
    uint64_t n = qdq_model_tensor_count(model), all = 0, before = 0;
    qdq_checksum_begin(&sum);
    for (uint64_t i = 0; i < n; i++) {
        const qdq_tensor *t = qdq_model_tensor(model, i);
        qdq_checksum_text(&sum, t->name);
        qdq_checksum_text(&sum, t->type_name);
        qdq_checksum_text(&sum, qdq_path_last(t->path));
        qdq_checksum_number(&sum, t->offset);
        for (uint32_t d = 0; d < t->n_dims; d++) qdq_checksum_number(&sum, t->shape[d]);
        all += t->bytes;
    }
    uint64_t apart = all / SAMPLES + 1, next = 0;
    qdq_mapped_file file = {0};
    for (uint64_t i = 0; i < n; i++) {
        const qdq_tensor *t = qdq_model_tensor(model, i);
        for (; next < before + t->bytes; next += apart) add_sample(&sum, &file, t, next - before);
        before += t->bytes;
    }
    qdq_mapped_file_close(&file);
    return qdq_checksum_value(&sum);
}

void qdq_identity_add_importance(qdq_checksum *sum, const qdq_imatrix_entry *entry) {
    enum { AT_ONCE = 1024 };
    float weights[AT_ONCE];
    for (uint64_t at = 0; at < entry->count; at += AT_ONCE) {
        uint64_t left = entry->count - at, n = left < AT_ONCE ? left : AT_ONCE;
        qdq_imatrix_weights(entry, at, n, weights);
        qdq_checksum_add(sum, weights, (size_t)n * sizeof *weights);
    }
}

void qdq_identity_begin(qdq_making *making, const qdq_model *model) {
    snprintf(making->version, sizeof making->version, "%s", qdq_version());
    snprintf(making->formats, sizeof making->formats, "%s", QDQ_REFERENCE);
    making->source = qdq_identity_of_source(model);
}
