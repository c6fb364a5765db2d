#include "model/decoding.h"

#include <string.h>

#include "model/format_list.h"
#include "base/error.h"
#include "base/source.h"

enum { TURN = 1 << 16 }; /* elements of a thread's turn */

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* ---- Elements --------------------------------------------------------------------------------------------------- */

/* Pieces end with rows, and begin where the decoder can: what it makes before `first` is dropped. */
static void decode(const qdq_decoding *d, const qdq_source *source, uint64_t first, uint64_t count, char *to) {
    _Alignas(64) float values[QDQ_DECODED_PIECE];
    for (uint64_t at = first, end = first + count; at < end;) {
        uint64_t column = at % d->row, dropped = column % d->unit;
        uint64_t n = least(QDQ_DECODED_PIECE, d->row - (column - dropped)), kept = least(n - dropped, end - at);
        d->decode(d, at - dropped, (uint32_t)n, values);
        qdq_source_store(source, values + dropped, to, kept);
        to += kept * source->bytes;
        at += kept;
    }
}

typedef struct job {
    const qdq_tensor *tensor;
    const qdq_source *source;
    uint64_t first, count;
    char *to;
} job;

static void decode_turn(void *context, uint64_t turn) {
    const job *j = context;
    uint64_t at = turn * TURN;
    decode(j->tensor->decoding, j->source, j->tensor->first + j->first + at, least(TURN, j->count - at),
           j->to + at * j->source->bytes);
}

void qdq_decode(qdq_pool *pool, const qdq_tensor *tensor, uint64_t first, uint64_t count, void *to) {
    const qdq_source *source = qdq_source_get(tensor->dtype);
    if (tensor->decoding == NULL) {
        memcpy(to, (const char *)tensor->data + first * source->bytes, count * source->bytes);
        return;
    }
    job j = {tensor, source, first, count, to};
    uint64_t turns = count / TURN + (count % TURN != 0);
    if (pool != NULL)
        qdq_pool_run(pool, turns, decode_turn, &j);
    else
        for (uint64_t turn = 0; turn < turns; turn++) decode_turn(&j, turn);
}

qdq_status qdq_tensor_read(const qdq_tensor *tensor, uint64_t first, uint64_t count, void *to) {
    if (tensor == NULL || (to == NULL && count > 0))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_tensor_read: a NULL argument");
    if (!tensor->source || first > tensor->elements || count > tensor->elements - first)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_tensor_read: %llu elements from %llu of a tensor of %llu%s",
                        (unsigned long long)count, (unsigned long long)first, (unsigned long long)tensor->elements,
                        tensor->source ? "" : ", which is no source");
    if (count > 0) qdq_decode(NULL, tensor, first, count, to);
    return QDQ_OK;
}

/* ---- Parts ------------------------------------------------------------------------------------------------------ */

/* What share of `whole` so many of all elements have; a tensor's bytes are under 2^63. */
static uint64_t share(uint64_t whole, uint64_t count, uint64_t elements) {
    return (uint64_t)((unsigned __int128)whole * count / elements);
}

bool qdq_tensor_is_raw(const qdq_tensor *tensor) { return tensor->data != NULL; }

bool qdq_tensor_is_in(const qdq_tensor *tensor, qdq_format format) {
    return tensor->decoding != NULL && format >= 0 && qdq_describe_format(format).ggml_type == tensor->ggml_type;
}

uint64_t qdq_element_offset(const qdq_tensor *tensor, uint64_t index) {
    const qdq_decoding *d = tensor->decoding;
    if (d == NULL) return tensor->offset + index * qdq_dtype_size(tensor->dtype);
    return d->offset + share(d->code_bytes, tensor->first + index, d->elements);
}

qdq_tensor qdq_tensor_part(const qdq_tensor *tensor, uint64_t first, uint64_t count) {
    qdq_tensor part = *tensor;
    uint64_t before = share(tensor->bytes, first, tensor->elements);
    part.elements = count;
    part.bytes = share(tensor->bytes, first + count, tensor->elements) - before;
    part.offset += before;
    if (qdq_tensor_is_raw(tensor)) part.data = (const char *)tensor->data + before;
    if (tensor->decoding != NULL) part.first += first;
    return part;
}

const void *qdq_tensor_stretch(const qdq_tensor *t, uint64_t first, uint64_t count, uint64_t *bytes) {
    const qdq_decoding *d = t->decoding;
    bool raw = qdq_tensor_is_raw(t);
    const char *from = raw ? t->data : d != NULL ? (const char *)d->codes : NULL;
    if (from == NULL) return NULL;
    uint64_t all = raw ? t->bytes : d->code_bytes, of = raw ? t->elements : d->elements, skip = raw ? 0 : t->first;
    uint64_t before = share(all, skip + first, of);
    *bytes = share(all, skip + first + count, of) - before;
    return from + before;
}
