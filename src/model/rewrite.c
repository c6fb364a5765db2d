#include "model/rewrite.h"

#include <stdlib.h>

#include "model/decoding.h"
#include "model/format_list.h"
#include "base/error.h"
#include "base/source.h"

/* A tensor that stays, but whose codes are not what the output can hold. */
static bool is_decoded(const qdq_tensor *t, qdq_work_kind kind) {
    return t->decoding != NULL && (kind == QDQ_WORK_ROUNDTRIP || !qdq_tensor_is_raw(t));
}

const char *qdq_rewritten_type(const qdq_tensor *t, qdq_format format, qdq_work_kind kind, bool source_dtype) {
    const char *own = t->decoding != NULL ? qdq_source_get(t->dtype)->safetensors : t->type_name;
    if (format == QDQ_FORMAT_NONE) return is_decoded(t, kind) ? own : t->type_name;
    if (kind == QDQ_WORK_QUANTIZE) return qdq_describe_format(format).name;
    return source_dtype ? own : "F32";
}

qdq_status qdq_rewrite_add(qdq_rewrite *rewrite, uint64_t index, const char *name, qdq_format format,
                           const qdq_imatrix_entry *importance) {
    if (rewrite->tensors == NULL) {
        uint64_t n = qdq_model_tensor_count(rewrite->model);
        rewrite->tensors = calloc((size_t)n, sizeof *rewrite->tensors);
        if (rewrite->tensors == NULL)
            return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu tensors", (unsigned long long)n);
    }
    const qdq_tensor *t = qdq_model_tensor(rewrite->model, index);
    qdq_rewritten *r = &rewrite->tensors[rewrite->n];
    *r = (qdq_rewritten){.rewrite = rewrite,
                         .writer = rewrite->writer,
                         .tensor = t,
                         .format = format,
                         .importance = importance,
                         .made = format};
    if (format == QDQ_FORMAT_NONE && is_decoded(t, rewrite->kind))
        r->made = qdq_format_by_ggml_type(qdq_source_get(t->dtype)->ggml_type);
    qdq_status status =
        qdq_writer_add_tensor(rewrite->writer, name != NULL ? name : t->name,
                              qdq_rewritten_type(t, format, rewrite->kind, rewrite->source_dtype), t->n_dims, t->shape);
    if (status != QDQ_OK) return status;
    uint64_t bytes = qdq_writer_tensor_bytes(rewrite->writer, rewrite->n++ - rewrite->first);
    rewrite->bytes += t->bytes;
    rewrite->elements += t->elements;
    rewrite->written += bytes;
    if (format == QDQ_FORMAT_NONE) return QDQ_OK;
    rewrite->quantized++;
    rewrite->weighted += importance != NULL;
    rewrite->quantized_elements += t->elements;
    rewrite->quantized_bytes += bytes;
    return QDQ_OK;
}

void qdq_rewrite_keep_codes(qdq_rewrite *rewrite) { rewrite->tensors[rewrite->n - 1].keeps_codes = true; }

qdq_status qdq_rewrite_store(qdq_rewrite *rewrite, const qdq_rewritten *r, const void *data, uint64_t bytes,
                             const void **stored, uint64_t *stored_bytes) {
    qdq_dtype dtype = r->tensor->dtype;
    *stored = data;
    *stored_bytes = bytes;
    bool as_it_is = r->format == QDQ_FORMAT_NONE || rewrite->kind == QDQ_WORK_QUANTIZE;
    if (as_it_is || !rewrite->source_dtype || dtype == QDQ_F32) return QDQ_OK;
    uint64_t n = bytes / sizeof(float);
    uint64_t size = n * qdq_dtype_size(dtype);
    if (rewrite->stored_room < size) {
        free(rewrite->stored);
        rewrite->stored = malloc((size_t)size);
        rewrite->stored_room = rewrite->stored != NULL ? size : 0;
        if (rewrite->stored == NULL)
            return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu elements", (unsigned long long)n);
    }
    qdq_source_store(qdq_source_get(dtype), data, rewrite->stored, n);
    *stored = rewrite->stored;
    *stored_bytes = size;
    return QDQ_OK;
}

/* Takes the pass's blocks or floats. */
static qdq_status take(void *context, const void *data, uint64_t bytes) {
    const qdq_rewritten *r = context;
    const void *stored;
    qdq_status status = qdq_rewrite_store(r->rewrite, r, data, bytes, &stored, &bytes);
    return status == QDQ_OK ? qdq_writer_write(r->writer, stored, bytes) : status;
}

static qdq_status copy(qdq_rewrite *rewrite, const qdq_rewritten *r) {
    enum { STEP = 8 << 20 };
    const qdq_tensor *t = r->tensor;
    qdq_status status = QDQ_OK;
    for (uint64_t at = 0; at < t->bytes && status == QDQ_OK; at += STEP) {
        uint64_t bytes = t->bytes - at < STEP ? t->bytes - at : STEP;
        status = qdq_writer_write(r->writer, (const char *)t->data + at, bytes);
        if (status == QDQ_OK) status = qdq_pass_advance(rewrite->pass, bytes);
    }
    return status;
}

bool qdq_rewrite_work(const qdq_rewritten *r, qdq_work *work) {
    *work = (qdq_work){.kind = r->keeps_codes                 ? QDQ_WORK_KEEP
                               : r->format != QDQ_FORMAT_NONE ? r->rewrite->kind
                                                              : QDQ_WORK_QUANTIZE,
                       .tensor = r->tensor,
                       .n_formats = 1,
                       .formats = &r->made,
                       .importance = r->importance};
    return r->made != QDQ_FORMAT_NONE;
}

static qdq_status write_tensor(qdq_rewrite *rewrite, qdq_rewritten *r) {
    qdq_work work;
    if (qdq_rewrite_work(r, &work)) {
        work.sink = take;
        work.context = r;
        return qdq_pass_put(rewrite->pass, &work);
    }
    qdq_status status = qdq_pass_flush(rewrite->pass); /* the writer takes tensors in order */
    return status == QDQ_OK ? copy(rewrite, r) : status;
}

qdq_status qdq_rewrite_next_file(qdq_rewrite *rewrite, qdq_writer *writer) {
    qdq_writer **earlier = realloc(rewrite->earlier, (rewrite->n_earlier + 1) * sizeof *earlier);
    if (earlier == NULL) {
        qdq_writer_abort(writer);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the output's files");
    }
    rewrite->earlier = earlier;
    rewrite->earlier[rewrite->n_earlier++] = rewrite->writer;
    rewrite->writer = writer;
    rewrite->first = rewrite->n;
    return QDQ_OK;
}

qdq_status qdq_rewrite_run(qdq_rewrite *rewrite) {
    qdq_status status = QDQ_OK;
    qdq_pass_expect(rewrite->pass, rewrite->bytes);
    for (uint64_t i = 0; i < rewrite->n && status == QDQ_OK; i++) status = write_tensor(rewrite, &rewrite->tensors[i]);
    if (status == QDQ_OK) status = qdq_pass_flush(rewrite->pass);
    if (status != QDQ_OK) return status;
    qdq_writer *writer = rewrite->writer;
    rewrite->writer = NULL;
    status = qdq_writer_finish(writer);
    rewrite->n_finished += status == QDQ_OK;
    while (status == QDQ_OK && rewrite->n_earlier > 0) {
        status = qdq_writer_finish(rewrite->earlier[--rewrite->n_earlier]);
        rewrite->n_finished += status == QDQ_OK;
    }
    return status;
}

void qdq_rewrite_close(qdq_rewrite *rewrite) {
    qdq_writer_abort(rewrite->writer);
    for (uint32_t i = 0; i < rewrite->n_earlier; i++) qdq_writer_abort(rewrite->earlier[i]);
    free(rewrite->earlier);
    free(rewrite->tensors);
    free(rewrite->stored);
}
