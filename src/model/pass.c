#include "model/pass.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "model/advice.h"
#include "model/decoding.h"
#include "model/finite.h"
#include "model/floats.h"
#include "model/format_list.h"
#include "model/keep_codes.h"
#include "api/device.h"
#include "base/error.h"
#include "base/source.h"

/* Elements a chunk, multiples of QDQ_TILE. What the CPU scans or decodes before it computes should stay in the cache
 * between; the rest may be larger, and a GPU's transfers large: each chunk costs some waking and waiting. */
enum { SCANNED_CHUNK = 1 << 20, CHUNK = 1 << 22, DEVICE_CHUNK = 1 << 24, DEVICE_SLOTS = 2 };

enum { N_DTYPES = QDQ_MAX_DTYPES };

/* A chunk under way. */
typedef struct slot {
    qdq_device *device;
    bool on_cpu, fills;
    qdq_encoder *encoder;
    qdq_buffer *input[N_DTYPES], *gradient[N_DTYPES]; /* on a device: by dtype, made when first needed */
    qdq_buffer *output[N_DTYPES];
    uint64_t input_room[N_DTYPES], gradient_room[N_DTYPES], output_room[N_DTYPES]; /* elements */
    float *weights;                                                                /* importance of a row */
    qdq_buffer *importance;
    uint64_t weights_room;
    void *host; /* results brought from a device */
    uint64_t host_room;
    void *decoded; /* elements made of codes: those of the chunk, where decoded_count is not 0 */
    uint64_t decoded_room, decoded_count;
    bool busy;
    qdq_work work;
    qdq_buffer *result;           /* the part of output that the chunk fills */
    uint64_t first, count, bytes; /* elements of the tensor, and the bytes read for them */
} slot;

struct qdq_pass {
    qdq_pool *pool;
    qdq_pass_options options;
    uint64_t done, total;   /* bytes read */
    uint32_t n_slots, next; /* the slot that is used next: the one that has been under way longest */
    slot *slots;
};

static qdq_status open_slot(slot *s, qdq_device *device) {
    qdq_device_info info = {.size = sizeof info};
    qdq_status status = qdq_device_describe(device, &info);
    if (status != QDQ_OK) return status;
    s->device = device;
    s->on_cpu = strcmp(info.name, "cpu") == 0;
    s->fills = qdq_device_fills(device);
    return qdq_encoder_create(device, &s->encoder);
}

qdq_status qdq_pass_create(uint32_t n_devices, qdq_device *const *devices, const qdq_pass_options *options,
                           qdq_pass **result) {
    if (result == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_create: a NULL argument");
    *result = NULL;
    if (n_devices == 0 || devices == NULL || n_devices > UINT32_MAX / DEVICE_SLOTS)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_create: %u devices", (unsigned)n_devices);
    for (uint32_t i = 0; i < n_devices; i++)
        if (devices[i] == NULL)
            return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_create: device %u is NULL", (unsigned)i);
    if (options != NULL && (options->size == 0 || options->threads < 0 || options->threads > 4096))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_create: options of size %zu, with %d threads", options->size,
                        options->threads);
    qdq_pass *pass = calloc(1, sizeof *pass);
    slot *slots = calloc((size_t)n_devices * DEVICE_SLOTS, sizeof *slots);
    if (pass == NULL || slots == NULL) {
        free(pass);
        free(slots);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a pass over a model");
    }
    if (options != NULL)
        memcpy(&pass->options, options, options->size < sizeof *options ? options->size : sizeof *options);
    pass->slots = slots;
    pass->n_slots = n_devices * DEVICE_SLOTS;
    qdq_status status = qdq_pool_create(pass->options.threads, &pass->pool);
    for (uint32_t i = 0; i < pass->n_slots && status == QDQ_OK; i++)
        status = open_slot(&slots[i], devices[i % n_devices]);
    if (status != QDQ_OK) {
        qdq_pass_free(pass);
        return status;
    }
    *result = pass;
    return QDQ_OK;
}

void qdq_pass_free(qdq_pass *pass) {
    if (pass == NULL) return;
    for (uint32_t i = 0; i < pass->n_slots; i++) {
        slot *s = &pass->slots[i];
        qdq_encoder_free(s->encoder); /* first: it waits for what uses the buffers */
        for (int d = 0; d < N_DTYPES; d++) {
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
    if (pass->pool != NULL) qdq_pool_free(pass->pool);
    free(pass->slots);
    free(pass);
}

void qdq_pass_expect(qdq_pass *pass, uint64_t bytes) {
    pass->done = 0;
    pass->total = bytes;
}

qdq_status qdq_pass_advance(qdq_pass *pass, uint64_t bytes) {
    pass->done += bytes;
    if (pass->options.progress == NULL || pass->options.progress(pass->options.context, pass->done, pass->total))
        return QDQ_OK;
    return qdq_fail(QDQ_CANCELLED, "cancelled after %llu bytes", (unsigned long long)pass->done);
}

/* ---- Elements on the host -------------------------------------------------------------------------------------- */

static qdq_status no_room(uint64_t bytes) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu bytes of results", (unsigned long long)bytes);
}

/* A chunk of the tensor: the map itself, or what its codes are, which the slot keeps up to the next chunk. Of a slot's
 * two tensors only the weights are codes. */
static qdq_status elements(qdq_pass *pass, slot *s, const qdq_tensor *tensor, uint64_t first, uint64_t count,
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
    qdq_decode(pass->pool, tensor, first, count, s->decoded);
    s->decoded_count = count;
    *at = s->decoded;
    return QDQ_OK;
}

/* ---- NaN and infinities ---------------------------------------------------------------------------------------- */

/* Round trips of some formats hide what was not finite, so weights are scanned first. */
static bool scans(const qdq_work *work) {
    return work->kind != QDQ_WORK_ERROR && work->kind != QDQ_WORK_KEEP; /* what is kept was looked at before */
}

static qdq_status check_finite(qdq_pass *pass, slot *s, const qdq_tensor *tensor, const char *what, uint64_t first,
                               uint64_t count) {
    size_t size = qdq_dtype_size(tensor->dtype);
    const unsigned char *at;
    qdq_status status = elements(pass, s, tensor, first, count, &at);
    if (status != QDQ_OK) return status;
    uint64_t found = qdq_first_non_finite(pass->pool, tensor->dtype, at, count);
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
static qdq_status check_sums(qdq_pass *pass, slot *s) {
    const qdq_work *work = &s->work;
    if (pass->options.allow_non_finite) return QDQ_OK;
    if (work->kind == QDQ_WORK_ERROR && !isfinite(work->error[0].ww))
        return check_finite(pass, s, work->tensor, "weight", s->first, s->count);
    bool finite = true;
    for (uint32_t f = 0; work->kind == QDQ_WORK_SENSITIVITY && f + 1 < work->n_formats; f++)
        finite = finite && isfinite(work->sensitivity[f].signed_sum);
    return finite ? QDQ_OK : check_finite(pass, s, work->gradient, "gradient", s->first, s->count);
}

/* ---- The end of a chunk ---------------------------------------------------------------------------------------- */

static bool host_room(slot *s, uint64_t bytes) {
    if (s->host_room >= bytes) return true;
    free(s->host);
    s->host = malloc((size_t)bytes);
    s->host_room = s->host != NULL ? bytes : 0;
    return s->host != NULL;
}

static qdq_status deliver(slot *s) {
    uint64_t bytes = qdq_buffer_bytes(s->result);
    const void *data = qdq_buffer_host(s->result);
    if (data == NULL) {
        if (!host_room(s, bytes)) return no_room(bytes);
        qdq_status status = qdq_buffer_read(s->result, 0, s->host, bytes);
        if (status != QDQ_OK) return status;
        data = s->host;
    }
    return s->work.sink(s->work.context, data, bytes);
}

static qdq_status drain(qdq_pass *pass, slot *s) {
    if (!s->busy) return QDQ_OK;
    s->busy = false;
    qdq_status status = qdq_encoder_wait(s->encoder);
    if (status == QDQ_OK) status = check_sums(pass, s);
    if (status == QDQ_OK && s->result != NULL) status = deliver(s);
    qdq_buffer_free(s->result);
    s->result = NULL;
    return status == QDQ_OK ? qdq_pass_advance(pass, s->bytes) : status;
}

qdq_status qdq_pass_flush(qdq_pass *pass) {
    qdq_status status = QDQ_OK;
    for (uint32_t i = 0; i < pass->n_slots && status == QDQ_OK; i++)
        status = drain(pass, &pass->slots[(pass->next + i) % pass->n_slots]);
    return status;
}

/* ---- The beginning of a chunk ---------------------------------------------------------------------------------- */

/* A buffer of at least `count` elements, kept from chunk to chunk. */
static qdq_status grow(slot *s, qdq_buffer **kept, uint64_t *room, qdq_dtype dtype, uint64_t count) {
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
static qdq_status fill(qdq_pass *pass, slot *s, const qdq_tensor *tensor, uint64_t first, uint64_t count, bool scan,
                       qdq_buffer *buffer) {
    size_t size = qdq_dtype_size(tensor->dtype);
    const unsigned char *from;
    qdq_status status = QDQ_OK;
    if (!s->fills) {
        status = elements(pass, s, tensor, first, count, &from);
        return status == QDQ_OK ? qdq_buffer_write(buffer, 0, from, count * size) : status;
    }
    reading r = {.tensor = tensor, .first = first, .scan = scan};
    atomic_init(&r.odd, false);
    status = qdq_buffer_fill(buffer, 0, count * size, read_elements, &r);
    if (status != QDQ_OK || !atomic_load(&r.odd)) return status;
    return check_finite(pass, s, tensor, "weight", first, count);
}

/* Elements of a mapped tensor as a buffer, to be freed: the map itself, or a copy on the device. */
static qdq_status bring(qdq_pass *pass, slot *s, const qdq_tensor *tensor, uint64_t first, uint64_t count, bool scan,
                        qdq_buffer *kept[N_DTYPES], uint64_t room[N_DTYPES], qdq_buffer **buffer) {
    size_t size = qdq_dtype_size(tensor->dtype);
    qdq_status status = QDQ_OK;
    if (s->on_cpu) {
        const unsigned char *at;
        status = elements(pass, s, tensor, first, count, &at);
        if (status != QDQ_OK) return status;
        /* Inputs are only read; the interface wraps memory for either use. */
        void *memory = (void *)(uintptr_t)at;
        return qdq_buffer_wrap(s->device, tensor->dtype, 1, &count, memory, count * size, buffer);
    }
    int d = (int)tensor->dtype;
    uint64_t wanted = CHUNK;
    while (wanted < count) wanted *= 2;
    status = grow(s, &kept[d], &room[d], tensor->dtype, wanted);
    if (status == QDQ_OK) status = fill(pass, s, tensor, first, count, scan, kept[d]);
    return status == QDQ_OK ? qdq_buffer_slice(kept[d], 0, count, buffer) : status;
}

static qdq_status bring_importance(slot *s, const qdq_imatrix_entry *entry, uint64_t first, uint64_t row) {
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

/* Errors of the formats that the device has kernels for; floats among them part the list into runs. */
static qdq_status encode_errors(slot *s, qdq_buffer *input, const qdq_options *options) {
    const qdq_work *work = &s->work;
    qdq_status status = QDQ_OK;
    for (uint32_t f = 0, end; f < work->n_formats && status == QDQ_OK; f = end + 1) {
        for (end = f; end < work->n_formats && !qdq_format_is_float(work->formats[end], NULL);) end++;
        if (end > f) status = qdq_encode_error(s->encoder, end - f, work->formats + f, input, work->error + f, options);
    }
    return status;
}

static qdq_status encode_sensitivities(slot *s, qdq_buffer *input, qdq_buffer *gradient, const qdq_options *options) {
    const qdq_work *work = &s->work;
    uint32_t lows = work->n_formats - 1;
    qdq_status status = QDQ_OK;
    for (uint32_t f = 0; f < lows && status == QDQ_OK; f++)
        status = qdq_encode_sensitivity(s->encoder, work->formats[f], work->formats[lows], input, gradient,
                                        &work->sensitivity[f], options);
    return status;
}

static qdq_status encode(slot *s, qdq_buffer *input, qdq_buffer *gradient, const qdq_options *options) {
    const qdq_work *work = &s->work;
    uint64_t count = qdq_buffer_count(input);
    if (work->kind == QDQ_WORK_ERROR) return encode_errors(s, input, options);
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

/* ---- Floats as targets: on the host ---------------------------------------------------------------------------- */

/* While the device has the chunk's other formats, or after it. */
static qdq_status add_float_errors(qdq_pass *pass, slot *s, uint64_t row) {
    const qdq_work *work = &s->work;
    const unsigned char *from;
    qdq_status status = QDQ_OK;
    for (uint32_t f = 0; f < work->n_formats && status == QDQ_OK; f++) {
        qdq_dtype target;
        if (!qdq_format_is_float(work->formats[f], &target)) continue;
        status = elements(pass, s, work->tensor, s->first, s->count, &from);
        if (status == QDQ_OK)
            status = qdq_floats_error(pass->pool, work->tensor->dtype, from, target, s->count,
                                      row > 0 ? s->weights : NULL, row, &work->error[f]);
    }
    return status;
}

/* The chunk's round trip or conversion, handed to the sink at once. */
static qdq_status convert(qdq_pass *pass, slot *s, qdq_dtype target) {
    const qdq_work *work = &s->work;
    bool store = work->kind == QDQ_WORK_QUANTIZE;
    uint64_t bytes = s->count * (store ? qdq_dtype_size(target) : sizeof(float));
    if (!host_room(s, bytes)) return no_room(bytes);
    const unsigned char *from;
    qdq_status status = elements(pass, s, work->tensor, s->first, s->count, &from);
    if (status != QDQ_OK) return status;
    if (store)
        qdq_floats_store(pass->pool, work->tensor->dtype, from, target, s->host, s->count);
    else
        qdq_floats_roundtrip(pass->pool, work->tensor->dtype, from, target, s->host, s->count);
    status = work->sink(work->context, s->host, bytes);
    return status == QDQ_OK ? qdq_pass_advance(pass, s->bytes) : status;
}

static qdq_status keep(qdq_pass *pass, slot *s) {
    const qdq_work *work = &s->work;
    uint64_t bytes = qdq_format_bytes(work->formats[0], s->count);
    if (!host_room(s, bytes)) return no_room(bytes);
    qdq_keep_codes(pass->pool, work->tensor, s->first, s->count, s->host);
    qdq_status status = work->sink(work->context, s->host, bytes);
    return status == QDQ_OK ? qdq_pass_advance(pass, s->bytes) : status;
}

/* ---- Chunks ---------------------------------------------------------------------------------------------------- */

/* Elements first … first + count - 1 of the tensor; weights: the first of its importances; row: 0 without. */
static qdq_status put_chunk(qdq_pass *pass, const qdq_work *work, uint64_t first, uint64_t count, uint64_t weights,
                            uint64_t row) {
    slot *s = &pass->slots[pass->next];
    pass->next = (pass->next + 1) % pass->n_slots;
    qdq_status status = drain(pass, s);
    s->work = *work;
    s->first = first;
    s->count = count;
    s->decoded_count = 0;
    s->bytes = qdq_tensor_part(work->tensor, first, count).bytes;
    if (work->gradient != NULL) s->bytes += count * qdq_dtype_size(work->gradient->dtype);
    qdq_dtype target;
    bool stores = work->kind == QDQ_WORK_QUANTIZE || work->kind == QDQ_WORK_ROUNDTRIP;
    bool keeps = work->kind == QDQ_WORK_KEEP;
    bool on_host = keeps || (stores && qdq_format_is_float(work->formats[0], &target));
    bool scan = scans(work) && !pass->options.allow_non_finite, before = on_host || !s->fills;
    if (status == QDQ_OK && scan && before) status = check_finite(pass, s, work->tensor, "weight", first, count);
    if (status == QDQ_OK && on_host) {
        status = qdq_pass_flush(pass); /* the sink takes chunks in order */
        return status != QDQ_OK ? status : keeps ? keep(pass, s) : convert(pass, s, target);
    }
    qdq_buffer *input = NULL, *gradient = NULL;
    qdq_options options = {.size = sizeof options, .row = row};
    if (status == QDQ_OK) status = bring(pass, s, work->tensor, first, count, scan, s->input, s->input_room, &input);
    if (status == QDQ_OK && work->gradient != NULL)
        status = bring(pass, s, work->gradient, first, count, false, s->gradient, s->gradient_room, &gradient);
    if (status == QDQ_OK && row > 0) {
        status = bring_importance(s, work->importance, weights, row);
        options.importance = s->importance;
    }
    if (status == QDQ_OK) status = encode(s, input, gradient, &options);
    if (status == QDQ_OK) status = qdq_encoder_commit(s->encoder);
    s->busy = status == QDQ_OK;
    if (status == QDQ_OK && work->kind == QDQ_WORK_ERROR) status = add_float_errors(pass, s, row);
    qdq_buffer_free(input);
    qdq_buffer_free(gradient);
    /* A CPU alone has done it already; its results are still in the cache. */
    return status == QDQ_OK && s->on_cpu && pass->n_slots == DEVICE_SLOTS ? drain(pass, s) : status;
}

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b) {
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Elements a chunk: with an importance matrix whole rows, and tiles where sums are taken. */
static uint64_t chunk_elements(const qdq_pass *pass, const qdq_work *work, uint64_t row) {
    bool passes_twice = scans(work) || work->tensor->decoding != NULL;
    uint64_t wanted = !pass->slots[pass->next].on_cpu ? DEVICE_CHUNK : passes_twice ? SCANNED_CHUNK : CHUNK, unit = row;
    if (work->importance == NULL) return wanted;
    if (work->kind == QDQ_WORK_ERROR || work->kind == QDQ_WORK_SENSITIVITY)
        unit *= QDQ_TILE / greatest_common_divisor(row, QDQ_TILE);
    return unit < wanted ? wanted / unit * unit : unit;
}

qdq_status qdq_pass_put(qdq_pass *pass, const qdq_work *work) {
    const qdq_tensor *t = work->tensor;
    uint64_t row = t->shape[t->n_dims - 1], matrix = t->elements, experts = 1;
    if (work->importance != NULL) {
        /* Each expert's matrix has weights of its own. */
        if (t->n_dims >= 3) experts = t->shape[t->n_dims - 3];
        matrix = row * t->shape[t->n_dims - 2];
    }
    uint64_t chunk = chunk_elements(pass, work, row);
    uint64_t at = work->first, end = work->count > 0 ? work->first + work->count : t->elements;
    qdq_status status = QDQ_OK;
    while (at < end && status == QDQ_OK) {
        uint64_t m = at / matrix, last = (m + 1) * matrix < end ? (m + 1) * matrix : end;
        uint64_t count = last - at < chunk ? last - at : chunk;
        status = put_chunk(pass, work, at, count, m % experts * row, work->importance != NULL ? row : 0);
        at += count;
    }
    return status;
}
