#include "model/piece.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "model/advice.h"
#include "model/decoding.h"
#include "model/finite.h"
#include "model/format_list.h"
#include "model/keep_codes.h"
#include "api/device.h"
#include "base/error.h"
#include "base/source.h"

/* Elements of the smallest buffer on a device. */
enum { LEAST_ROOM = 1 << 22 };

qdq_status qdq_slot_open(qdq_slot *s, const qdq_piece_setting *setting, qdq_device *device) {
    qdq_device_info info = {.size = sizeof info};
    qdq_status status = qdq_device_describe(device, &info);
    if (status != QDQ_OK) return status;
    s->setting = setting;
    s->device = device;
    s->on_cpu = strcmp(info.name, "cpu") == 0;
    s->fills = qdq_device_fills(device);
    status = qdq_encoder_create(device, &s->encoder);
    if (status == QDQ_OK) qdq_encoder_keep_sums(s->encoder);
    return status;
}

void qdq_slot_close(qdq_slot *s) {
    if (s->beside != NULL) qdq_slot_close(s->beside);
    free(s->beside);
    qdq_encoder_free(s->encoder); /* first: it waits for what uses the buffers */
    for (int d = 0; d < QDQ_SLOT_DTYPES; d++) {
        qdq_buffer_free(s->input[d]);
        qdq_buffer_free(s->gradient[d]);
        qdq_buffer_free(s->output[d]);
    }
    qdq_buffer_free(s->importance);
    qdq_buffer_free(s->result);
    free(s->weights);
    free(s->host);
    free(s->decoded);
}

/* ---- Elements on the host -------------------------------------------------------------------------------------- */

static qdq_status no_room(uint64_t bytes) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu bytes of results", (unsigned long long)bytes);
}

/* A chunk of the tensor: the map itself, or what its codes are, which the slot keeps up to the next chunk. Of a slot's
 * two tensors only the weights are codes. */
static qdq_status elements(qdq_slot *s, const qdq_tensor *tensor, uint64_t first, uint64_t count,
                           const unsigned char **at) {
    size_t size = qdq_dtype_size(tensor->dtype);
    if (tensor->decoding == NULL) {
        *at = (const unsigned char *)tensor->data + first * size;
        return QDQ_OK;
    }
    *at = s->decoded;
    if (s->decoded_count == count) return QDQ_OK;
    if (s->decoded_room < count * size) {
        free(s->decoded);
        s->decoded = malloc((size_t)count * size);
        s->decoded_room = s->decoded != NULL ? count * size : 0;
        if (s->decoded == NULL) return no_room(count * size);
    }
    qdq_decode(s->setting->pool, tensor, first, count, s->decoded);
    s->decoded_count = count;
    *at = s->decoded;
    return QDQ_OK;
}

/* ---- NaN and infinities ---------------------------------------------------------------------------------------- */

/* Round trips of some formats hide what was not finite, so weights are scanned first. */
static bool scans(const qdq_work *work) {
    return work->kind != QDQ_WORK_ERROR && work->kind != QDQ_WORK_KEEP; /* what is kept was looked at before */
}

static qdq_status check_finite(qdq_slot *s, const qdq_tensor *tensor, const char *what, uint64_t first,
                               uint64_t count) {
    size_t size = qdq_dtype_size(tensor->dtype);
    const unsigned char *at;
    qdq_status status = elements(s, tensor, first, count, &at);
    if (status != QDQ_OK) return status;
    uint64_t found = qdq_first_non_finite(s->setting->pool, tensor->dtype, at, count);
    if (found == count) return QDQ_OK;
    uint64_t index = first + found, row = tensor->n_dims > 0 ? tensor->shape[tensor->n_dims - 1] : 1;
    char name[256], path[512];
    float value;
    qdq_source_load(qdq_source_get(tensor->dtype), at + found * size, &value, 1);
    return qdq_fail_advising(QDQ_ADVICE_ALLOW_NON_FINITE, QDQ_BAD_DATA,
                             "%s: tensor \"%s\": %s %llu (row %llu, column %llu; file offset %llu) is %s",
                             qdq_printable(tensor->path, path, sizeof path),
                             qdq_printable(tensor->name, name, sizeof name), what, (unsigned long long)index,
                             (unsigned long long)(index / row), (unsigned long long)(index % row),
                             (unsigned long long)qdq_element_offset(tensor, index), isnan(value) ? "NaN" : "infinite");
}

/* Sums hide nothing: sum w^2 is not finite if a weight is not, sum g D if a gradient is not. (Either can also overflow;
 * then nothing is found.) So these are looked for only when there is reason to. */
static qdq_status check_sums(qdq_slot *s) {
    const qdq_work *work = &s->piece.work;
    if (s->setting->allow_non_finite) return QDQ_OK;
    if (work->kind == QDQ_WORK_ERROR && !isfinite(work->error[0].ww))
        return check_finite(s, work->tensor, "weight", s->piece.first, s->piece.count);
    bool finite = true;
    for (uint32_t f = 0; work->kind == QDQ_WORK_SENSITIVITY && f + 1 < work->n_formats; f++)
        finite = finite && isfinite(work->sensitivity[f].signed_sum);
    return finite ? QDQ_OK : check_finite(s, work->gradient, "gradient", s->piece.first, s->piece.count);
}

static bool host_room(qdq_slot *s, uint64_t bytes) {
    if (s->host_room >= bytes) return true;
    free(s->host);
    s->host = malloc((size_t)bytes);
    s->host_room = s->host != NULL ? bytes : 0;
    return s->host != NULL;
}

/* ---- The beginning ----------------------------------------------------------------------------------------------- */

/* A buffer of at least `count` elements, kept from chunk to chunk. */
static qdq_status grow(qdq_slot *s, qdq_buffer **kept, uint64_t *room, qdq_dtype dtype, uint64_t count) {
    if (*room >= count) return QDQ_OK;
    qdq_buffer_free(*kept);
    *kept = NULL;
    *room = 0;
    qdq_status status = qdq_buffer_create(s->device, dtype, 1, &count, kept);
    if (status == QDQ_OK) *room = count;
    return status;
}

/* Elements on their way from the file to a device. */
typedef struct reading {
    const qdq_tensor *tensor;
    uint64_t first;
    bool scan;
    atomic_bool odd; /* some are not finite */
} reading;

static qdq_status read_elements(void *context, uint64_t at, void *to, size_t bytes) {
    reading *r = context;
    const qdq_tensor *t = r->tensor;
    uint64_t size = qdq_dtype_size(t->dtype), n = bytes / size;
    qdq_status status = QDQ_OK;
    if (t->decoding != NULL)
        qdq_decode(NULL, t, r->first + at / size, n, to);
    else
        status = qdq_mapped_read((const unsigned char *)t->data + r->first * size + at, to, bytes);
    if (status == QDQ_OK && r->scan && qdq_first_non_finite(NULL, t->dtype, to, n) < n) atomic_store(&r->odd, true);
    return status;
}

/* The tensor's elements from `first` on to the buffer's; scan: those that are not finite are refused. */
static qdq_status fill(qdq_slot *s, const qdq_tensor *tensor, uint64_t first, uint64_t count, bool scan,
                       qdq_buffer *buffer) {
    size_t size = qdq_dtype_size(tensor->dtype);
    const unsigned char *from;
    qdq_status status = QDQ_OK;
    if (!s->fills) {
        status = elements(s, tensor, first, count, &from);
        return status == QDQ_OK ? qdq_buffer_write(buffer, 0, from, count * size) : status;
    }
    reading r = {.tensor = tensor, .first = first, .scan = scan};
    atomic_init(&r.odd, false);
    status = qdq_buffer_fill(buffer, 0, count * size, read_elements, &r);
    if (status != QDQ_OK || !atomic_load(&r.odd)) return status;
    return check_finite(s, tensor, "weight", first, count);
}

/* Elements of a mapped tensor as a buffer, to be freed: the map itself, or a copy on the device. */
static qdq_status bring(qdq_slot *s, const qdq_tensor *tensor, uint64_t first, uint64_t count, bool scan,
                        qdq_buffer *kept[QDQ_SLOT_DTYPES], uint64_t room[QDQ_SLOT_DTYPES], qdq_buffer **buffer) {
    size_t size = qdq_dtype_size(tensor->dtype);
    qdq_status status = QDQ_OK;
    if (s->on_cpu) {
        const unsigned char *at;
        status = elements(s, tensor, first, count, &at);
        if (status != QDQ_OK) return status;
        /* Inputs are only read; the interface wraps memory for either use. */
        void *memory = (void *)(uintptr_t)at;
        return qdq_buffer_wrap(s->device, tensor->dtype, 1, &count, memory, count * size, buffer);
    }
    int d = (int)tensor->dtype;
    uint64_t wanted = LEAST_ROOM;
    while (wanted < count) wanted *= 2;
    status = grow(s, &kept[d], &room[d], tensor->dtype, wanted);
    if (status == QDQ_OK) status = fill(s, tensor, first, count, scan, kept[d]);
    return status == QDQ_OK ? qdq_buffer_slice(kept[d], 0, count, buffer) : status;
}

static qdq_status bring_importance(qdq_slot *s, const qdq_imatrix_entry *entry, uint64_t first, uint64_t row) {
    if (s->weights_room != row) {
        qdq_buffer_free(s->importance);
        free(s->weights);
        s->importance = NULL;
        s->weights_room = 0;
        s->weights = malloc((size_t)row * sizeof *s->weights);
        if (s->weights == NULL)
            return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu importances", (unsigned long long)row);
        qdq_status status = qdq_buffer_create(s->device, QDQ_F32, 1, &row, &s->importance);
        if (status != QDQ_OK) return status;
        s->weights_room = row;
    }
    qdq_imatrix_weights(entry, first, row, s->weights);
    return qdq_buffer_write(s->importance, 0, s->weights, row * sizeof *s->weights);
}

static qdq_status encode_sensitivities(qdq_slot *s, qdq_buffer *input, qdq_buffer *gradient,
                                       const qdq_options *options) {
    const qdq_work *work = &s->piece.work;
    uint32_t lows = work->n_formats - 1;
    qdq_status status = QDQ_OK;
    for (uint32_t f = 0; f < lows && status == QDQ_OK; f++)
        status = qdq_encode_sensitivity(s->encoder, work->formats[f], work->formats[lows], input, gradient,
                                        &work->sensitivity[f], options);
    return status;
}

static qdq_status encode(qdq_slot *s, qdq_buffer *input, qdq_buffer *gradient, const qdq_options *options) {
    const qdq_work *work = &s->piece.work;
    uint64_t count = qdq_buffer_count(input);
    if (work->kind == QDQ_WORK_ERROR)
        return qdq_encode_error(s->encoder, work->n_formats, work->formats, input, work->error, options);
    if (work->kind == QDQ_WORK_SENSITIVITY) return encode_sensitivities(s, input, gradient, options);
    bool quantize = work->kind == QDQ_WORK_QUANTIZE;
    qdq_dtype dtype = quantize ? QDQ_U8 : QDQ_F32;
    uint64_t n = quantize ? qdq_format_bytes(work->formats[0], count) : count;
    qdq_status status = grow(s, &s->output[dtype], &s->output_room[dtype], dtype, n);
    if (status == QDQ_OK) status = qdq_buffer_slice(s->output[dtype], 0, n, &s->result);
    if (status != QDQ_OK) return status;
    return quantize ? qdq_encode_quantize(s->encoder, work->formats[0], input, s->result, options)
                    : qdq_encode_roundtrip(s->encoder, work->formats[0], input, s->result, options);
}

/* ---- What is no work of the device ------------------------------------------------------------------------------- */

/* Formats of a piece are all sources, or none is. */
static bool device_takes(const qdq_slot *s, const qdq_piece *piece) {
    return s->on_cpu || piece->work.kind == QDQ_WORK_KEEP || !qdq_format_is_source(piece->formats[0]);
}

static qdq_status begin_beside(qdq_slot *s, const qdq_piece *piece) {
    if (s->beside == NULL) {
        qdq_slot *beside = calloc(1, sizeof *beside);
        if (beside == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a pass over a model");
        qdq_status status = qdq_slot_open(beside, s->setting, s->setting->cpu);
        if (status != QDQ_OK) {
            free(beside);
            return status;
        }
        s->beside = beside;
    }
    return qdq_piece_begin(s->beside, piece);
}

static qdq_status keep(qdq_slot *s) {
    const qdq_work *work = &s->piece.work;
    uint64_t bytes = qdq_format_bytes(work->formats[0], s->piece.count);
    if (!host_room(s, bytes)) return no_room(bytes);
    qdq_keep_codes(s->setting->pool, work->tensor, s->piece.first, s->piece.count, s->host);
    s->data = s->host;
    s->data_bytes = bytes;
    return QDQ_OK;
}

/* ---- A piece ---------------------------------------------------------------------------------------------------- */

qdq_status qdq_piece_begin(qdq_slot *s, const qdq_piece *piece) {
    s->piece = *piece;
    s->piece.work.formats = s->piece.formats;
    s->decoded_count = 0;
    s->data = NULL;
    const qdq_work *work = &s->piece.work;
    uint64_t first = piece->first, count = piece->count;
    bool keeps = work->kind == QDQ_WORK_KEEP, scan = scans(work) && !s->setting->allow_non_finite;
    qdq_status status = QDQ_OK;
    s->goes_beside = !device_takes(s, piece);
    if (s->goes_beside) return begin_beside(s, piece);
    if (scan && !s->fills) status = check_finite(s, work->tensor, "weight", first, count);
    if (status == QDQ_OK && keeps) return keep(s);
    qdq_buffer *input = NULL, *gradient = NULL;
    qdq_options options = {.size = sizeof options, .row = piece->row};
    if (status == QDQ_OK) status = bring(s, work->tensor, first, count, scan, s->input, s->input_room, &input);
    if (status == QDQ_OK && work->gradient != NULL)
        status = bring(s, work->gradient, first, count, false, s->gradient, s->gradient_room, &gradient);
    if (status == QDQ_OK && piece->row > 0) {
        status = bring_importance(s, work->importance, piece->weights, piece->row);
        options.importance = s->importance;
    }
    if (status == QDQ_OK) status = encode(s, input, gradient, &options);
    if (status == QDQ_OK) status = qdq_encoder_commit(s->encoder);
    s->committed = status == QDQ_OK;
    qdq_buffer_free(input);
    qdq_buffer_free(gradient);
    return status;
}

qdq_status qdq_piece_finish(qdq_slot *s) {
    if (s->goes_beside) return qdq_piece_finish(s->beside);
    if (!s->committed) return QDQ_OK; /* it was done on the host */
    s->committed = false;
    qdq_status status = qdq_encoder_wait(s->encoder);
    if (status != QDQ_OK || s->result == NULL) return status;
    s->data_bytes = qdq_buffer_bytes(s->result);
    s->data = qdq_buffer_host(s->result);
    if (s->data != NULL) return QDQ_OK;
    if (!host_room(s, s->data_bytes)) return no_room(s->data_bytes);
    s->data = s->host;
    return qdq_buffer_read(s->result, 0, s->host, s->data_bytes);
}

qdq_status qdq_piece_deliver(qdq_slot *s) {
    const qdq_work *work = &s->piece.work;
    if (s->goes_beside) return qdq_piece_deliver(s->beside);
    qdq_encoder_add_sums(s->encoder);
    qdq_status status = check_sums(s);
    if (status == QDQ_OK && s->data != NULL) status = work->sink(work->context, s->data, s->data_bytes);
    qdq_buffer_free(s->result);
    s->result = NULL;
    return status;
}
