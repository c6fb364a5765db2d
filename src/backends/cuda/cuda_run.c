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

/* Sums of consecutive tiles, at `offset` in the ticket's memory. */
typedef struct piece {
    const qdq_op *op;
    uint32_t format; /* its number among the operation's */
    size_t offset;
    uint64_t tiles;
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
    /* What row_sums holds: the rows of elements rows_first … rows_end - 1 of an operation's input. */
    const qdq_op *rows_of;
    uint64_t rows_first, rows_end;
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
    if (blocks > 0x7fffffffu)
        return qdq_fail(QDQ_UNSUPPORTED, "%llu elements are more than one operation takes on a CUDA device",
                        (unsigned long long)count);
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
    for (size_t i = 0; i < t->n_pieces; i++) {
        const piece *p = &t->pieces[i];
        const void *tiles = t->host + p->offset;
        if (p->op->kind == QDQ_OP_ERROR)
            qdq_add_tile_errors(p->op, p->format, tiles, p->tiles);
        else
            qdq_add_tile_sensitivities(p->op, p->format, tiles, p->tiles);
    }
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

static qdq_status note_sums(recording *r, const qdq_op *op, uint32_t format, size_t offset, uint64_t tiles) {
    qdq_cuda_ticket *t = r->ticket;
    if (r->discard) return QDQ_OK;
    if (t->n_pieces == t->room) {
        size_t more = t->room ? 2 * t->room : 64;
        piece *bigger = realloc(t->pieces, more * sizeof *bigger);
        if (!bigger) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to record an operation");
        t->pieces = bigger;
        t->room = more;
    }
    t->pieces[t->n_pieces++] = (piece){op, format, offset, tiles};
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

/* The sums of the rows that elements first … first + count - 1 belong to. A row that began before them is summed from
 * its own beginning, unless its sum is there from the elements before. */
static qdq_status make_row_sums(recording *r, const qdq_op *op, uint64_t first, uint64_t count) {
    qdq_cuda_device *device = r->device;
    if (r->rows_of == op && r->rows_first == first && r->rows_end == first + count) return QDQ_OK;
    qdq_status status = take_scratch(r);
    if (status == QDQ_OK) status = need_memory(device, &r->scratch->row_sums, ROWS_BYTES);
    if (status != QDQ_OK) return status;
    CUdeviceptr sums = r->scratch->row_sums;
    uint64_t row = first / op->row, rows = (first + count - 1) / op->row - row + 1;
    qdq_cuda_rows_args args = {.row = op->row, .rows = rows, .sums = sums};
    if (first % op->row != 0 && r->rows_of == op && r->rows_end == first) {
        uint64_t last = (first - 1) / op->row - r->rows_first / op->row;
        CUresult error = last == 0 ? 0 : device->cuda->copy(sums, sums + 4 * last, 4, r->stream);
        if (error != 0) return qdq_cuda_fail(device->cuda, error, "a CUDA device's row sums");
        row++;
        args.rows--;
        args.sums += 4;
    }
    r->rows_of = op;
    r->rows_first = first;
    r->rows_end = first + count;
    /* A pitched input's rows are the operation's. */
    args.pitch = op->input.pitch ? op->input.pitch : op->row;
    args.input = (qdq_cuda_array){.address = address(&op->input) + row * args.pitch * qdq_dtype_size(op->input.dtype),
                                  .dtype = (uint32_t)op->input.dtype};
    /* A warp takes 32 rows as it takes 1,024 elements elsewhere. */
    return args.rows == 0 ? QDQ_OK : launch(r, device->row_squares, args.rows * 32, &args);
}

/* The round trip, or the blocks, of elements first … first + count - 1 of an operation's input. */
static qdq_status run_quantizer(recording *r, const qdq_op *op, qdq_format format, bool blocks, uint64_t first,
                                uint64_t count, qdq_cuda_array output) {
    const qdq_format_row *row = qdq_format_get(format);
    bool weighted = op->importance.memory && row->importance > 0;
    qdq_cuda_format_args args = {.input = array(&op->input, first), .output = output, .count = count};
    if (weighted) args.importance = columns(op, first);
    if (weighted && row->row_sums) {
        qdq_status status = make_row_sums(r, op, first, count);
        if (status != QDQ_OK) return status;
        args.importance.sums = r->scratch->row_sums;
    }
    return launch(r, r->device->formats[format].quantizer[blocks][weighted], count, &args);
}

/* Round trip, quantize and dequantize: in one piece, but for what the sums of rows have room for. */
static qdq_status run_format(recording *r, const qdq_op *op) {
    qdq_format format = op->format[0];
    if (op->kind == QDQ_OP_DEQUANTIZE) {
        qdq_cuda_format_args args = {
            .input = array(&op->input, 0), .output = array(&op->output, 0), .count = op->count};
        return launch(r, r->device->formats[format].dequantize, op->count, &args);
    }
    bool rows = op->importance.memory && qdq_format_get(format)->row_sums;
    uint64_t wave = rows ? (uint64_t)ROWS_TILES * QDQ_TILE : op->count;
    qdq_status status = QDQ_OK;
    for (uint64_t first = 0; first < op->count && status == QDQ_OK; first += wave) {
        uint64_t count = op->count - first < wave ? op->count - first : wave;
        bool blocks = op->kind == QDQ_OP_QUANTIZE;
        qdq_cuda_array output = array(&op->output, blocks ? qdq_format_bytes(format, first) : first);
        status = run_quantizer(r, op, format, blocks, first, count, output);
    }
    return status;
}

static qdq_status run_scratch(recording *r, const qdq_op *op, qdq_format format, uint64_t first, uint64_t count,
                              int which) {
    qdq_status status = take_scratch(r);
    if (status == QDQ_OK) status = need_memory(r->device, &r->scratch->values[which], SCRATCH_BYTES);
    if (status != QDQ_OK) return status;
    return run_quantizer(r, op, format, false, first, count, (qdq_cuda_array){.address = r->scratch->values[which]});
}

static qdq_status launch_error(recording *r, const qdq_op *op, qdq_cuda_error_args *args) {
    CUfunction kernel = op->importance.memory ? r->device->error_weighted : r->device->error;
    return launch(r, kernel, args->count, args);
}

/* Elements first … first + count - 1 of an error operation: one kernel for all light formats, then two for each other.
 */
static qdq_status run_error(recording *r, const qdq_op *op, uint64_t first, uint64_t count) {
    uint64_t tiles = (count + QDQ_TILE - 1) / QDQ_TILE;
    size_t bytes = (size_t)tiles * sizeof(qdq_tile_error), offset;
    qdq_status status = reserve_sums(r, bytes * op->n_formats, &offset);
    qdq_cuda_error_args args = {.input = array(&op->input, first), .importance = columns(op, first), .count = count};
    if (status == QDQ_OK) args.sums = r->ticket->sums + offset;
    for (uint32_t f = 0; f < op->n_formats && status == QDQ_OK; f++) {
        if (!qdq_cuda_is_light(op, op->format[f])) continue;
        args.format[args.n_formats++] = (uint8_t)op->format[f];
        status = note_sums(r, op, f, offset, tiles);
        offset += bytes;
    }
    if (status == QDQ_OK && args.n_formats > 0) status = launch_error(r, op, &args);
    for (uint32_t f = 0; f < op->n_formats && status == QDQ_OK; f++) {
        if (qdq_cuda_is_light(op, op->format[f])) continue;
        status = run_scratch(r, op, op->format[f], first, count, 0);
        if (status != QDQ_OK) return status;
        args.given = r->scratch->values[0];
        args.n_formats = 1;
        args.format[0] = QDQ_CUDA_GIVEN;
        args.sums = r->ticket->sums + offset;
        status = launch_error(r, op, &args);
        if (status == QDQ_OK) status = note_sums(r, op, f, offset, tiles);
        offset += bytes;
    }
    return status;
}

static bool is_light_pair(const qdq_op *op, uint32_t pair) {
    return qdq_cuda_is_light(op, op->format[pair]) && qdq_cuda_is_light(op, op->high[pair]);
}

static qdq_status launch_pairs(const recording *r, qdq_cuda_sensitivity_args *args) {
    CUfunction kernel = args->n_pairs > 1 ? r->device->sensitivities : r->device->sensitivity;
    return launch(r, kernel, args->count, args);
}

/* One format of a pair for the kernel: itself, or its round trip in scratch memory. */
static qdq_status give_format(recording *r, const qdq_op *op, qdq_format format, uint64_t first, uint64_t count,
                              int which, qdq_cuda_sensitivity_args *args) {
    uint8_t *to = &args->format[args->n_pairs][which];
    *to = format == QDQ_FORMAT_SOURCE ? QDQ_CUDA_UNCHANGED : (uint8_t)format;
    if (qdq_cuda_is_light(op, format)) return QDQ_OK;
    *to = QDQ_CUDA_GIVEN;
    qdq_status status = run_scratch(r, op, format, first, count, which);
    if (status == QDQ_OK) args->given[which] = r->scratch->values[which];
    return status;
}

/* Elements first … first + count - 1 of a sensitivity: one kernel for all pairs of light formats, then one for each
 * other. */
static qdq_status run_sensitivity(recording *r, const qdq_op *op, uint64_t first, uint64_t count) {
    uint64_t tiles = (count + QDQ_TILE - 1) / QDQ_TILE;
    size_t bytes = (size_t)tiles * sizeof(qdq_tile_sensitivity), offset;
    qdq_status status = reserve_sums(r, bytes * op->n_formats, &offset);
    qdq_cuda_sensitivity_args args = {
        .input = array(&op->input, first), .gradient = array(&op->gradient, first), .count = count};
    bool light = true;
    for (int turn = 0; turn < 2 && status == QDQ_OK; turn++, light = false) {
        args.n_pairs = 0;
        for (uint32_t p = 0; p < op->n_formats && status == QDQ_OK; p++) {
            if (is_light_pair(op, p) != light) continue;
            if (args.n_pairs == 0) args.sums = r->ticket->sums + offset;
            status = give_format(r, op, op->format[p], first, count, 0, &args);
            if (status == QDQ_OK) status = give_format(r, op, op->high[p], first, count, 1, &args);
            if (status == QDQ_OK) status = note_sums(r, op, p, offset, tiles);
            offset += bytes;
            args.n_pairs++;
            if (light || status != QDQ_OK) continue;
            status = launch_pairs(r, &args);
            args.n_pairs = 0;
        }
        if (args.n_pairs > 0 && status == QDQ_OK) status = launch_pairs(r, &args);
    }
    return status;
}

/* In waves: as many tiles as the sums, and scratch memory where it is used, have room for. */
static qdq_status run_sums(recording *r, const qdq_op *op) {
    size_t each = op->kind == QDQ_OP_ERROR ? sizeof(qdq_tile_error) : sizeof(qdq_tile_sensitivity);
    uint64_t wave = SUMS_MOST / (each * op->n_formats);
    for (uint32_t f = 0; f < op->n_formats; f++) {
        bool light = op->kind == QDQ_OP_ERROR ? qdq_cuda_is_light(op, op->format[f]) : is_light_pair(op, f);
        if (!light && wave > SCRATCH_TILES) wave = SCRATCH_TILES;
    }
    wave *= QDQ_TILE;
    qdq_status status = QDQ_OK;
    for (uint64_t first = 0; first < op->count && status == QDQ_OK; first += wave) {
        uint64_t count = op->count - first < wave ? op->count - first : wave;
        status = op->kind == QDQ_OP_ERROR ? run_error(r, op, first, count) : run_sensitivity(r, op, first, count);
    }
    return status;
}

static qdq_status check_alignment(const qdq_span *span) {
    if (address(span) % (span->memory ? qdq_dtype_size(span->dtype) : 1) == 0) return QDQ_OK;
    return qdq_fail(QDQ_INVALID_ARGUMENT, "elements of %s at the device address 0x%llx: it must be divisible by %u",
                    qdq_dtype_name(span->dtype), (unsigned long long)address(span),
                    (unsigned)qdq_dtype_size(span->dtype));
}

static qdq_status run(recording *r, const qdq_op *op) {
    qdq_status status = qdq_cuda_load(r->device, op);
    const qdq_span *spans[] = {&op->input, &op->output, &op->gradient, &op->importance};
    for (int i = 0; i < 4 && status == QDQ_OK; i++) status = check_alignment(spans[i]);
    if (status != QDQ_OK) return status;
    return op->kind == QDQ_OP_ERROR || op->kind == QDQ_OP_SENSITIVITY ? run_sums(r, op) : run_format(r, op);
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
    pthread_mutex_lock(&device->mutex);
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
    pthread_mutex_unlock(&device->mutex);
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
    pthread_mutex_lock(&device->mutex);
    give_ticket(device, t);
    pthread_mutex_unlock(&device->mutex);
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
    pthread_mutex_lock(&device->mutex);
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
    pthread_mutex_unlock(&device->mutex);
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
