/* Operations on a CUDA device's stream. A submission leaves the tiles' sums in its ticket's memory on the device; one
 * copy at the end brings them to pinned memory, and waiting adds them up in order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/args.h"
#include "backends/cuda/cuda_device.h"
#include "base/error.h"
#include "base/format.h"

enum {
    SUMS_FIRST = 1 << 20,    /* a ticket's room for sums at first */
    SUMS_MOST = 16 << 20,    /* and at most: further ones wait until those before them have been added up */
    SCRATCH_TILES = 8 << 10, /* 8 Mi elements: what a round trip into scratch memory makes at once */
    SCRATCH_BYTES = SCRATCH_TILES * QDQ_TILE * 4,
    ROWS_TILES = 64 << 10, /* 64 Mi elements, whose rows are at least 32 long: what qdq_row_squares sums at once */
    ROWS_BYTES = (ROWS_TILES * (QDQ_TILE / 32) + 2) * 4
};

static const qdq_limits limits = {.tiles = (uint64_t)0x7fffffff * QDQ_CUDA_WARPS, /* a grid's thread blocks */
                                  .sum_bytes = SUMS_MOST,
                                  .shared_tiles = UINT64_MAX,
                                  .scratch_tiles = SCRATCH_TILES,
                                  .row_tiles = ROWS_TILES,
                                  .row_elements = UINT64_MAX,
                                  .several = QDQ_MAX_OP_FORMATS,
                                  .several_pairs = QDQ_MAX_OP_FORMATS,
                                  .weighs_several = true};

/* A step's sums, at `offset` in the ticket's memory. */
typedef struct piece {
    qdq_step step;
    size_t offset;
} piece;

struct qdq_cuda_ticket {
    CUevent done;
    CUdeviceptr sums;    /* on the device */
    unsigned char *host; /* and, pinned, what they are copied to */
    size_t capacity, used;
    piece *pieces;
    size_t n_pieces, room;
    const qdq_op *ops;
    size_t n_ops;
    qdq_cuda_ticket *next;
};

/* What is being put on the stream. */
typedef struct recording {
    qdq_cuda_device *device;
    CUstream stream;
    qdq_cuda_scratch *scratch; /* NULL until needed */
    qdq_cuda_ticket *ticket;
    bool discard; /* sums: the operations are only timed */
    size_t wave;  /* where the wave's sums begin in the ticket's memory */
} recording;

static CUdeviceptr address(const qdq_span *span) {
    return span->memory ? ((const qdq_cuda_memory *)span->memory)->address + span->offset : 0;
}

static qdq_cuda_array array(const qdq_span *span, uint64_t first) {
    if (span->pitch)
        return (qdq_cuda_array){.address = address(span),
                                .dtype = (uint32_t)span->dtype,
                                .first = first,
                                .columns = span->columns,
                                .pitch = span->pitch};
    return (qdq_cuda_array){.address = address(span) + first * qdq_dtype_size(span->dtype),
                            .dtype = (uint32_t)span->dtype};
}

static qdq_cuda_columns columns(const qdq_op *op, uint64_t first) {
    if (!op->importance.memory) return (qdq_cuda_columns){0};
    return (qdq_cuda_columns){.address = address(&op->importance), .row = op->row, .first = first % op->row};
}

static qdq_status launch(const recording *r, CUfunction kernel, uint64_t count, void *args) {
    const qdq_cuda_driver *cuda = r->device->cuda;
    uint64_t per_block = (uint64_t)QDQ_TILE * QDQ_CUDA_WARPS, blocks = (count + per_block - 1) / per_block;
    CUresult error =
        cuda->launch(kernel, (unsigned)blocks, 1, 1, 32 * QDQ_CUDA_WARPS, 1, 1, 0, r->stream, (void *[]){args}, NULL);
    return error == 0 ? QDQ_OK : qdq_cuda_fail(cuda, error, "a CUDA kernel");
}

/* Brings the sums to the host. */
static qdq_status fetch_sums(recording *r) {
    qdq_cuda_ticket *t = r->ticket;
    if (t->used == 0 || r->discard) return QDQ_OK;
    CUresult error = r->device->cuda->copy_out(t->host, t->sums, t->used, r->stream);
    return error == 0 ? QDQ_OK : qdq_cuda_fail(r->device->cuda, error, "the sums' copy to the host");
}

static void add_sums(qdq_cuda_ticket *t) {
    for (size_t i = 0; i < t->n_pieces; i++) qdq_add_step_sums(&t->pieces[i].step, t->host + t->pieces[i].offset);
    t->n_pieces = 0;
    t->used = 0;
}

static void free_sums(const qdq_cuda_driver *cuda, qdq_cuda_ticket *t) {
    if (t->sums) cuda->memory_free(t->sums);
    if (t->host) cuda->host_free(t->host);
    t->sums = 0;
    t->host = NULL;
    t->capacity = 0;
}

static qdq_status make_sums(const qdq_cuda_driver *cuda, qdq_cuda_ticket *t, size_t bytes) {
    size_t capacity = SUMS_FIRST;
    while (capacity < bytes) capacity *= 2;
    free_sums(cuda, t);
    CUresult error = cuda->memory_alloc(&t->sums, capacity);
    if (error == 0) error = cuda->host_alloc((void **)&t->host, capacity, 0);
    if (error != 0) {
        qdq_status status = qdq_cuda_fail(cuda, error, "memory for the tiles' sums");
        free_sums(cuda, t);
        return status;
    }
    t->capacity = capacity;
    return QDQ_OK;
}

/* Room for up to SUMS_MOST bytes of sums. If there is none left, those there are are added up first. */
static qdq_status reserve_sums(recording *r, size_t bytes, size_t *offset) {
    qdq_cuda_ticket *t = r->ticket;
    const qdq_cuda_driver *cuda = r->device->cuda;
    if (t->used + bytes > t->capacity) {
        qdq_status status = fetch_sums(r);
        CUresult error = status == QDQ_OK && t->used > 0 ? cuda->stream_wait(r->stream) : 0;
        if (error != 0) status = qdq_cuda_fail(cuda, error, "operations on a CUDA device");
        if (status == QDQ_OK) {
            add_sums(t);
            if (bytes > t->capacity) status = make_sums(cuda, t, bytes);
        }
        if (status != QDQ_OK) return status;
    }
    *offset = t->used;
    t->used += bytes;
    return QDQ_OK;
}

/* Where on the device the step's sums go, and a note of it. */
static qdq_status place_sums(recording *r, const qdq_step *step, uint64_t *sums) {
    qdq_cuda_ticket *t = r->ticket;
    qdq_status status = step->sums == 0 ? reserve_sums(r, (size_t)step->wave_sums, &r->wave) : QDQ_OK;
    if (status != QDQ_OK) return status;
    size_t offset = r->wave + (size_t)step->sums;
    *sums = t->sums + offset;
    if (r->discard) return QDQ_OK;
    if (t->n_pieces == t->room) {
        size_t more = t->room ? 2 * t->room : 64;
        piece *bigger = realloc(t->pieces, more * sizeof *bigger);
        if (!bigger) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to record an operation");
        t->pieces = bigger;
        t->room = more;
    }
    t->pieces[t->n_pieces++] = (piece){*step, offset};
    return QDQ_OK;
}

/* ---- Scratch memory. A stream keeps to what it had, as long as there is enough for all. ---- */

static qdq_cuda_scratch *choose_scratch(const recording *r) {
    qdq_cuda_scratch *all = r->device->scratch, *best = &all[0];
    for (int i = 0; i < QDQ_CUDA_SCRATCHES; i++) {
        if (!all[i].done) return &all[i]; /* they are first used in order */
        if (all[i].stream == r->stream) return &all[i];
        if (all[i].turn < best->turn) best = &all[i];
    }
    return best;
}

static qdq_status take_scratch(recording *r) {
    if (r->scratch) return QDQ_OK;
    const qdq_cuda_driver *cuda = r->device->cuda;
    qdq_cuda_scratch *s = choose_scratch(r);
    /* A stream's handle may be a later stream's too, so this waits even where the handle is the same. */
    CUresult error = s->done ? cuda->stream_wait_event(r->stream, s->done, 0)
                             : cuda->event_create(&s->done, CU_EVENT_DISABLE_TIMING);
    if (error != 0) return qdq_cuda_fail(cuda, error, "scratch memory on a CUDA device");
    s->stream = r->stream;
    s->turn = ++r->device->turns;
    r->scratch = s;
    return QDQ_OK;
}

/* After all that was put on the stream. */
static CUresult leave_scratch(const recording *r) {
    return r->scratch ? r->device->cuda->event_record(r->scratch->done, r->stream) : 0;
}

void qdq_cuda_free_scratch(qdq_cuda_device *device) {
    for (int i = 0; i < QDQ_CUDA_SCRATCHES; i++) {
        const qdq_cuda_scratch *s = &device->scratch[i];
        const CUdeviceptr memories[] = {s->values[0], s->values[1], s->row_sums};
        for (int k = 0; k < 3; k++)
            if (memories[k]) device->cuda->memory_free(memories[k]);
        if (s->done) device->cuda->event_destroy(s->done);
    }
}

static qdq_status need_memory(qdq_cuda_device *device, CUdeviceptr *memory, size_t bytes) {
    if (*memory) return QDQ_OK;
    CUresult error = device->cuda->memory_alloc(memory, bytes);
    if (error == 0) return QDQ_OK;
    *memory = 0;
    return qdq_cuda_fail(device->cuda, error, "scratch memory on a CUDA device");
}

static qdq_status record_rows(recording *r, const qdq_step *step) {
    const qdq_cuda_driver *cuda = r->device->cuda;
    const qdq_op *op = step->op;
    qdq_status status = take_scratch(r);
    if (status == QDQ_OK) status = need_memory(r->device, &r->scratch->row_sums, ROWS_BYTES);
    if (status != QDQ_OK) return status;
    CUdeviceptr sums = r->scratch->row_sums;
    if (step->carried > 0) {
        CUresult error = cuda->copy(sums, sums + 4 * step->carried, 4, r->stream);
        if (error != 0) return qdq_cuda_fail(cuda, error, "a CUDA device's row sums");
    }
    if (step->rows == 0) return QDQ_OK;
    qdq_cuda_rows_args args = {.row = op->row, .rows = step->rows, .sums = sums + 4 * step->place};
    /* A pitched input's rows are the operation's. */
    args.pitch = op->input.pitch ? op->input.pitch : op->row;
    args.input =
        (qdq_cuda_array){.address = address(&op->input) + step->row * args.pitch * qdq_dtype_size(op->input.dtype),
                         .dtype = (uint32_t)op->input.dtype};
    /* A warp takes 32 rows as it takes 1,024 elements elsewhere. */
    return launch(r, r->device->row_squares, args.rows * 32, &args);
}

/* Round trip, quantize, dequantize. */
static qdq_status record_array(recording *r, const qdq_step *step) {
    const qdq_op *op = step->op;
    qdq_format format = qdq_step_format(step, 0);
    const qdq_cuda_format_kernels *kernels = &r->device->formats[format];
    uint64_t block = qdq_format_bytes(format, step->first);
    qdq_cuda_format_args args = {.count = step->count};
    if (step->output != QDQ_NO_SLOT) {
        qdq_status status = take_scratch(r);
        if (status == QDQ_OK) status = need_memory(r->device, &r->scratch->values[step->output], SCRATCH_BYTES);
        if (status != QDQ_OK) return status;
        args.output.address = r->scratch->values[step->output];
    } else {
        args.output = array(&op->output, step->kind == QDQ_STEP_QUANTIZE ? block : step->first);
    }
    args.input = array(&op->input, step->kind == QDQ_STEP_DEQUANTIZE ? block : step->first);
    if (step->kind == QDQ_STEP_DEQUANTIZE) return launch(r, kernels->dequantize, args.count, &args);
    if (step->weighted) args.importance = columns(op, step->first);
    if (step->row_sums) args.importance.sums = r->scratch->row_sums;
    return launch(r, kernels->quantizer[step->kind == QDQ_STEP_QUANTIZE][step->weighted], args.count, &args);
}

static qdq_status record_error(recording *r, const qdq_step *step) {
    const qdq_op *op = step->op;
    qdq_cuda_error_args args = {.input = array(&op->input, step->first),
                                .importance = columns(op, step->first),
                                .count = step->count,
                                .n_formats = step->n_formats};
    for (uint32_t f = 0; f < step->n_formats; f++) args.format[f] = (uint8_t)qdq_step_format(step, f);
    if (step->given[0] != QDQ_NO_SLOT) {
        args.given = r->scratch->values[step->given[0]];
        args.format[0] = QDQ_CUDA_GIVEN;
    }
    qdq_status status = place_sums(r, step, &args.sums);
    if (status != QDQ_OK) return status;
    return launch(r, step->weighted ? r->device->error_weighted : r->device->error, args.count, &args);
}

static qdq_status record_sensitivity(recording *r, const qdq_step *step) {
    const qdq_op *op = step->op;
    qdq_cuda_sensitivity_args args = {.input = array(&op->input, step->first),
                                      .gradient = array(&op->gradient, step->first),
                                      .count = step->count,
                                      .n_pairs = step->n_formats};
    for (uint32_t p = 0; p < step->n_formats; p++) {
        qdq_format high = qdq_step_high(step, p);
        args.format[p][0] = (uint8_t)qdq_step_format(step, p);
        args.format[p][1] = high == QDQ_FORMAT_SOURCE ? QDQ_CUDA_UNCHANGED : (uint8_t)high;
    }
    for (int i = 0; i < 2; i++) {
        if (step->given[i] == QDQ_NO_SLOT) continue;
        args.given[i] = r->scratch->values[step->given[i]];
        args.format[0][i] = QDQ_CUDA_GIVEN;
    }
    qdq_status status = place_sums(r, step, &args.sums);
    if (status != QDQ_OK) return status;
    return launch(r, args.n_pairs > 1 ? r->device->sensitivities : r->device->sensitivity, args.count, &args);
}

static qdq_status record(void *recording_, const qdq_step *step) {
    recording *r = recording_;
    qdq_status status = qdq_cuda_load(r->device, step);
    if (status != QDQ_OK) return status;
    switch (step->kind) {
    case QDQ_STEP_ROW_SQUARES: return record_rows(r, step);
    case QDQ_STEP_ERROR: return record_error(r, step);
    case QDQ_STEP_SENSITIVITY: return record_sensitivity(r, step);
    case QDQ_STEP_ROUNDTRIP:
    case QDQ_STEP_QUANTIZE:
    case QDQ_STEP_DEQUANTIZE: break;
    }
    return record_array(r, step);
}

static qdq_status check_alignment(const qdq_span *span) {
    if (address(span) % (span->memory ? qdq_dtype_size(span->dtype) : 1) == 0) return QDQ_OK;
    return qdq_fail(QDQ_INVALID_ARGUMENT, "elements of %s at the device address 0x%llx: it must be divisible by %u",
                    qdq_dtype_name(span->dtype), (unsigned long long)address(span),
                    (unsigned)qdq_dtype_size(span->dtype));
}

static qdq_status run(recording *r, const qdq_op *op) {
    qdq_status status = QDQ_OK;
    const qdq_span *spans[] = {&op->input, &op->output, &op->gradient, &op->importance};
    for (int i = 0; i < 4 && status == QDQ_OK; i++) status = check_alignment(spans[i]);
    return status == QDQ_OK ? qdq_lower(op, &limits, record, r) : status;
}

static qdq_status load(void *device, const qdq_step *step) { return qdq_cuda_load(device, step); }

qdq_status qdq_cuda_build(void *state, const qdq_op *op) {
    qdq_cuda_device *device = state;
    qdq_status status = qdq_cuda_enter(device);
    if (status != QDQ_OK) return status;
    qdq_mutex_lock(&device->mutex);
    status = qdq_lower_kernels(op, &limits, load, device);
    qdq_mutex_unlock(&device->mutex);
    qdq_cuda_leave(device);
    return status;
}

/* ---- Tickets. The device's mutex is held, and its context is the thread's. ---- */

static void free_ticket(qdq_cuda_device *device, qdq_cuda_ticket *t) {
    free_sums(device->cuda, t);
    if (t->done) device->cuda->event_destroy(t->done);
    free(t->pieces);
    free(t);
}

void qdq_cuda_free_tickets(qdq_cuda_device *device) {
    while (device->tickets) {
        qdq_cuda_ticket *t = device->tickets;
        device->tickets = t->next;
        free_ticket(device, t);
    }
}

static qdq_status take_ticket(qdq_cuda_device *device, const qdq_op *ops, size_t n, qdq_cuda_ticket **out) {
    qdq_cuda_ticket *t = device->tickets;
    if (t) {
        device->tickets = t->next;
    } else {
        t = calloc(1, sizeof *t);
        if (!t) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to submit operations");
        CUresult error = device->cuda->event_create(&t->done, CU_EVENT_DISABLE_TIMING);
        if (error != 0) {
            free(t);
            return qdq_cuda_fail(device->cuda, error, "an event of a CUDA device");
        }
    }
    t->ops = ops;
    t->n_ops = n;
    t->n_pieces = t->used = 0;
    *out = t;
    return QDQ_OK;
}

static void give_ticket(qdq_cuda_device *device, qdq_cuda_ticket *t) {
    t->next = device->tickets;
    device->tickets = t;
}

qdq_status qdq_cuda_submit(void *state, qdq_queue queue, const qdq_op *ops, size_t n, void **ticket) {
    qdq_cuda_device *device = state;
    qdq_status status = qdq_cuda_enter(device);
    if (status != QDQ_OK) return status;
    qdq_mutex_lock(&device->mutex);
    recording r = {.device = device, .stream = queue.is_callers ? queue.stream : device->stream};
    status = take_ticket(device, ops, n, &r.ticket);
    if (status == QDQ_OK) {
        status = qdq_cuda_after_writes(device, r.stream);
        for (size_t i = 0; i < n && status == QDQ_OK; i++) status = run(&r, &ops[i]);
        if (status == QDQ_OK) status = fetch_sums(&r);
        CUresult error = leave_scratch(&r);
        if (error == 0) error = device->cuda->event_record(r.ticket->done, r.stream);
        if (error != 0 && status == QDQ_OK) status = qdq_cuda_fail(device->cuda, error, "operations on a CUDA device");
        if (status != QDQ_OK) { /* nobody waits for what was put on the stream before */
            device->cuda->stream_wait(r.stream);
            give_ticket(device, r.ticket);
        }
    }
    qdq_mutex_unlock(&device->mutex);
    qdq_cuda_leave(device);
    *ticket = status == QDQ_OK ? r.ticket : NULL;
    return status;
}

bool qdq_cuda_is_done(void *state, void *ticket) {
    qdq_cuda_device *device = state;
    const qdq_cuda_ticket *t = ticket;
    if (qdq_cuda_enter(device) != QDQ_OK) return true; /* waiting tells */
    CUresult error = device->cuda->event_query(t->done);
    qdq_cuda_leave(device);
    return error != CUDA_ERROR_NOT_READY;
}

qdq_status qdq_cuda_wait(void *state, void *ticket) {
    qdq_cuda_device *device = state;
    qdq_cuda_ticket *t = ticket;
    qdq_status status = qdq_cuda_enter(device);
    if (status != QDQ_OK) return status;
    CUresult error = device->cuda->event_wait(t->done);
    if (error != 0) {
        status = qdq_cuda_fail(device->cuda, error, "operations on a CUDA device");
    } else {
        add_sums(t);
        for (size_t i = 0; i < t->n_ops; i++) qdq_finish_sums(&t->ops[i]);
    }
    qdq_mutex_lock(&device->mutex);
    give_ticket(device, t);
    qdq_mutex_unlock(&device->mutex);
    qdq_cuda_leave(device);
    return status;
}

/* ---- Measurements ---- */

typedef struct copy_job {
    CUdeviceptr to, from;
    size_t bytes;
} copy_job;

/* Puts the operations, or else the copy, on the stream `repeats` times after once, each between two events. */
static qdq_status time_all(qdq_cuda_device *device, const qdq_op *ops, size_t n, const copy_job *copy, uint32_t repeats,
                           double *seconds) {
    const qdq_cuda_driver *cuda = device->cuda;
    qdq_status status = qdq_cuda_enter(device);
    if (status != QDQ_OK) return status;
    qdq_mutex_lock(&device->mutex);
    CUevent start = NULL, end = NULL;
    recording r = {.device = device, .stream = device->stream, .discard = true};
    CUresult error = cuda->event_create(&start, CU_EVENT_DEFAULT);
    if (error == 0) error = cuda->event_create(&end, CU_EVENT_DEFAULT);
    if (error == 0) status = take_ticket(device, ops, n, &r.ticket);
    if (error == 0 && status == QDQ_OK) status = qdq_cuda_after_writes(device, device->stream);
    for (uint64_t i = 0; i <= repeats && error == 0 && status == QDQ_OK; i++) {
        float milliseconds = 0;
        r.ticket->used = 0;
        error = cuda->event_record(start, device->stream);
        if (error == 0 && copy) error = cuda->copy(copy->to, copy->from, copy->bytes, device->stream);
        for (size_t k = 0; k < n && error == 0 && status == QDQ_OK; k++) status = run(&r, &ops[k]);
        if (error == 0) error = cuda->event_record(end, device->stream);
        if (error == 0) error = cuda->event_wait(end);
        if (error == 0) error = cuda->event_elapsed(&milliseconds, start, end);
        if (i > 0) seconds[i - 1] = (double)milliseconds * 1e-3;
    }
    leave_scratch(&r);
    if (status == QDQ_OK && error != 0) status = qdq_cuda_fail(cuda, error, "a measurement on a CUDA device");
    if (start) cuda->event_destroy(start);
    if (end) cuda->event_destroy(end);
    if (r.ticket) give_ticket(device, r.ticket);
    qdq_mutex_unlock(&device->mutex);
    qdq_cuda_leave(device);
    return status;
}

qdq_status qdq_cuda_time_ops(void *device, const qdq_op *ops, size_t n, uint32_t repeats, double *seconds) {
    return time_all(device, ops, n, NULL, repeats, seconds);
}

qdq_status qdq_cuda_time_copy(void *device, void *to, void *from, uint64_t bytes, uint32_t repeats, double *seconds) {
    copy_job copy = {((qdq_cuda_memory *)to)->address, ((qdq_cuda_memory *)from)->address, (size_t)bytes};
    return time_all(device, NULL, 0, &copy, repeats, seconds);
}
