/* Operations in Metal's command buffers. A submission is some of them, one after another, so that none runs long; the
 * tiles' sums lie in memory that the host sees, and waiting adds them up in order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/metal/metal_device.h"
#include "base/error.h"
#include "base/format.h"

enum {
    SUMS_FIRST = 1 << 20,    /* bytes of a piece of memory for sums, at least, */
    SUMS_WAVE = 16 << 20,    /* and for those of a wave at most */
    SUMS_MOST = 64 << 20,    /* of a submission at once: further ones wait until those before them have been added up */
    SCRATCH_TILES = 8 << 10, /* 8 Mi elements: what a round trip into scratch memory makes at once */
    STEP_TILES = 16 << 10,   /* 16 Mi elements: a step's. A long kernel keeps the screen from its own work. */
    COMMAND_TILES = 64 << 10 /* of a command buffer; then the next one begins */
};

static const qdq_limits limits = {.tiles = STEP_TILES,
                                  .sum_bytes = SUMS_WAVE,
                                  .shared_tiles = UINT64_MAX,
                                  .scratch_tiles = SCRATCH_TILES,
                                  .row_tiles = UINT64_MAX,
                                  .row_elements = (uint64_t)STEP_TILES * QDQ_TILE,
                                  .rows_first = true,
                                  .several = QDQ_MAX_OP_FORMATS,
                                  .several_pairs = QDQ_MAX_OP_FORMATS,
                                  .weighs_several = true};

/* A step's sums, at `offset` in a piece of memory. */
typedef struct sum_note {
    qdq_step step;
    size_t memory, offset;
} sum_note;

typedef struct sum_memory {
    objc_id buffer;
    uint64_t bytes, used;
} sum_memory;

typedef struct metal_ticket {
    objc_id *commands; /* committed, retained */
    size_t n_commands, commands_room;
    sum_memory *memories;
    size_t n_memories, memories_room;
    uint64_t sum_bytes; /* of all memories */
    sum_note *notes;
    size_t n_notes, notes_room;
    const qdq_op *ops;
    size_t n_ops;
} metal_ticket;

/* What is being recorded. */
typedef struct recording {
    qdq_metal_device *device;
    metal_ticket *ticket;
    objc_id command, encoder; /* retained, open; NULL: none */
    uint64_t tiles;           /* that the command buffer has */
    bool discard;             /* sums: the operations are only timed */
    size_t wave;              /* where the wave's sums begin in the last of the ticket's memories */
} recording;

/* Room for one more; false without memory. */
static bool grow(void *array, size_t n, size_t *room, size_t size) {
    if (n < *room) return true;
    size_t more = *room ? 2 * *room : 8;
    void *old, *bigger;
    memcpy(&old, array, sizeof old);
    bigger = realloc(old, more * size);
    if (!bigger) return false;
    memcpy(array, &bigger, sizeof bigger);
    *room = more;
    return true;
}

/* ---- Command buffers ---- */

static void commit(recording *r) {
    const qdq_objc *objc = r->device->objc;
    if (!r->command) return;
    qdq_objc_tell(objc, r->encoder, objc->selectors.end_encoding);
    qdq_objc_tell(objc, r->command, objc->selectors.commit);
    qdq_metal_release(r->device, r->encoder);
    r->command = r->encoder = NULL; /* the ticket has the command buffer */
}

/* A command buffer that takes so many tiles more, and its encoder. */
static qdq_status begin(recording *r, uint64_t tiles) {
    const qdq_objc *objc = r->device->objc;
    metal_ticket *t = r->ticket;
    if (r->command && r->tiles + tiles > COMMAND_TILES) commit(r);
    if (!r->command) {
        if (!grow(&t->commands, t->n_commands, &t->commands_room, sizeof *t->commands))
            return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to record an operation");
        objc_id command = qdq_objc_ask(objc, r->device->queue, objc->selectors.command_buffer);
        objc_id encoder = qdq_objc_ask(objc, command, objc->selectors.compute_encoder);
        if (!encoder) return qdq_fail(QDQ_DEVICE_ERROR, "Metal gives no command buffer");
        r->command = qdq_objc_ask(objc, command, objc->selectors.retain);
        r->encoder = qdq_objc_ask(objc, encoder, objc->selectors.retain);
        t->commands[t->n_commands++] = r->command;
        r->tiles = 0;
    }
    r->tiles += tiles;
    return QDQ_OK;
}

static qdq_status wait_for(const qdq_metal_device *device, objc_id command) {
    const qdq_objc *objc = device->objc;
    qdq_objc_tell(objc, command, objc->selectors.wait);
    if (qdq_objc_number(objc, command, objc->selectors.status) == MTL_STATUS_COMPLETED) return QDQ_OK;
    objc_id error = qdq_objc_ask(objc, command, objc->selectors.error);
    return qdq_fail(QDQ_DEVICE_ERROR, "operations on a Metal device: %.800s", qdq_objc_error_text(objc, error));
}

/* Waits for all command buffers, which must be committed, and forgets them; the first error. */
static qdq_status wait_for_all(const qdq_metal_device *device, metal_ticket *t) {
    qdq_status status = QDQ_OK;
    for (size_t i = 0; i < t->n_commands; i++) {
        if (status == QDQ_OK)
            status = wait_for(device, t->commands[i]);
        else
            qdq_objc_tell(device->objc, t->commands[i], device->objc->selectors.wait);
        qdq_metal_release(device, t->commands[i]);
    }
    t->n_commands = 0;
    return status;
}

static void free_sums(const qdq_metal_device *device, metal_ticket *t) {
    for (size_t i = 0; i < t->n_memories; i++) qdq_metal_release(device, t->memories[i].buffer);
    t->n_memories = t->n_notes = 0;
    t->sum_bytes = 0;
}

static void add_sums(const qdq_metal_device *device, const metal_ticket *t) {
    for (size_t i = 0; i < t->n_notes; i++) {
        const sum_note *note = &t->notes[i];
        const unsigned char *bytes = (const unsigned char *)qdq_objc_ask(device->objc, t->memories[note->memory].buffer,
                                                                         device->objc->selectors.contents);
        qdq_add_step_sums(&note->step, bytes + note->offset);
    }
}

/* Everything is waited for first. */
static void free_ticket(const qdq_metal_device *device, metal_ticket *t) {
    free_sums(device, t);
    free(t->commands);
    free(t->memories);
    free(t->notes);
    free(t);
}

/* ---- Dispatches ---- */

typedef struct binding {
    unsigned index;
    objc_id buffer;
} binding;

/* As many threads, which together do the work of so many tiles. Buffers that a kernel does not want are the first of
 * those that it does: none may be missing. */
static qdq_status dispatch(recording *r, const qdq_metal_kernel *kernel, qdq_metal_work *work, uint64_t threads,
                           uint64_t tiles, const binding *bindings, size_t n) {
    const qdq_objc *objc = r->device->objc;
    qdq_status status = begin(r, tiles);
    if (status != QDQ_OK) return status;
    objc_id buffers[QDQ_METAL_BUFFERS];
    for (int i = 0; i < QDQ_METAL_BUFFERS; i++) buffers[i] = bindings[0].buffer;
    for (size_t i = 0; i < n; i++)
        if (bindings[i].buffer) buffers[bindings[i].index] = bindings[i].buffer;
    work->simdgroups = kernel->simdgroups;
    SEND(objc, void, (objc_id, objc_sel, objc_id))(r->encoder, objc->selectors.set_pipeline, kernel->state);
    SEND(objc, void, (objc_id, objc_sel, const void *, ns_uint, ns_uint))
    (r->encoder, objc->selectors.set_bytes, work, sizeof *work, QDQ_METAL_WORK);
    for (ns_uint i = QDQ_METAL_WORK + 1; i < QDQ_METAL_BUFFERS; i++)
        SEND(objc, void, (objc_id, objc_sel, objc_id, ns_uint, ns_uint))
    (r->encoder, objc->selectors.set_buffer, buffers[i], 0, i);
    ns_uint shared = kernel->simdgroups * kernel->shared_bytes;
    SEND(objc, void, (objc_id, objc_sel, ns_uint, ns_uint))
    (r->encoder, objc->selectors.set_threadgroup_memory, shared > 0 ? shared : 16, 0);
    uint64_t group = kernel->simdgroups * 32;
    SEND(objc, void, (objc_id, objc_sel, mtl_size, mtl_size))
    (r->encoder, objc->selectors.dispatch, (mtl_size){(ns_uint)((threads + group - 1) / group), 1, 1},
     (mtl_size){(ns_uint)group, 1, 1});
    return QDQ_OK;
}

static objc_id buffer_of(const qdq_span *span) {
    return span->memory ? ((const qdq_metal_memory *)span->memory)->buffer : NULL;
}

/* Of the span's elements from number `first` on; of blocks, their bytes. */
static qdq_metal_array array_of(const qdq_span *span, uint64_t first) {
    qdq_metal_array a = {.at = span->offset, .dtype = (uint32_t)span->dtype};
    if (span->pitch) {
        a.first = first;
        a.columns = span->columns;
        a.pitch = span->pitch;
    } else {
        a.at += first * qdq_dtype_size(span->dtype);
    }
    return a;
}

static void set_importance(qdq_metal_work *work, const qdq_step *step) {
    const qdq_op *op = step->op;
    if (!step->weighted) return;
    work->importance_at = op->importance.offset;
    work->row = op->row;
    work->column = step->first % op->row;
    work->row_sums = step->first / op->row - step->first_row;
}

static qdq_status need_buffer(qdq_metal_device *device, objc_id *buffer, uint64_t bytes) {
    return *buffer ? QDQ_OK : qdq_metal_new_buffer(device, bytes, buffer);
}

/* All rows' sums of an operation. What was recorded before keeps the buffer that it was given. */
static qdq_status need_row_sums(qdq_metal_device *device, uint64_t rows) {
    if (device->row_sums && device->row_sums_bytes >= 4 * rows) return QDQ_OK;
    qdq_metal_release(device, device->row_sums);
    device->row_sums = NULL;
    device->row_sums_bytes = 4 * rows;
    return qdq_metal_new_buffer(device, device->row_sums_bytes, &device->row_sums);
}

static qdq_status record_rows(recording *r, const qdq_step *step) {
    const qdq_op *op = step->op;
    qdq_status status = need_row_sums(r->device, op->count / op->row);
    if (status != QDQ_OK) return status;
    qdq_metal_work work = {.count = step->rows, .row = op->row, .output.at = 4 * step->place};
    /* A pitched input's rows are the operation's. */
    uint64_t pitch = op->input.pitch ? op->input.pitch : op->row;
    work.input = (qdq_metal_array){.at = op->input.offset + step->row * pitch * qdq_dtype_size(op->input.dtype),
                                   .pitch = pitch,
                                   .dtype = (uint32_t)op->input.dtype};
    const binding bindings[] = {{QDQ_METAL_INPUT, buffer_of(&op->input)}, {QDQ_METAL_OUTPUT, r->device->row_sums}};
    return dispatch(r, &r->device->row_squares, &work, step->rows, step->rows * op->row / QDQ_TILE, bindings, 2);
}

/* Round trip, quantize, dequantize. */
static qdq_status record_array(recording *r, const qdq_step *step) {
    const qdq_op *op = step->op;
    qdq_format format = qdq_step_format(step, 0);
    const qdq_metal_format_kernels *kernels = &r->device->formats[format];
    uint64_t block = qdq_format_bytes(format, step->first);
    qdq_metal_work work = {.count = step->count};
    objc_id output = buffer_of(&op->output);
    if (step->output != QDQ_NO_SLOT) {
        objc_id *slot = &r->device->scratch[step->output];
        qdq_status status = need_buffer(r->device, slot, (uint64_t)SCRATCH_TILES * QDQ_TILE * 4);
        if (status != QDQ_OK) return status;
        output = *slot;
        work.output.dtype = QDQ_F32;
    } else {
        work.output = array_of(&op->output, step->kind == QDQ_STEP_QUANTIZE ? block : step->first);
    }
    work.input = array_of(&op->input, step->kind == QDQ_STEP_DEQUANTIZE ? block : step->first);
    set_importance(&work, step);
    const binding bindings[] = {{QDQ_METAL_INPUT, buffer_of(&op->input)},
                                {QDQ_METAL_OUTPUT, output},
                                {QDQ_METAL_IMPORTANCE, buffer_of(&op->importance)},
                                {QDQ_METAL_ROW_SUMS, step->row_sums ? r->device->row_sums : NULL},
                                {QDQ_METAL_WORDS, kernels->words}};
    const qdq_metal_kernel *kernel = step->kind == QDQ_STEP_DEQUANTIZE
                                         ? &kernels->dequantize
                                         : &kernels->quantizer[step->kind == QDQ_STEP_QUANTIZE][step->weighted];
    return dispatch(r, kernel, &work, 32 * qdq_step_tiles(step), qdq_step_tiles(step), bindings,
                    sizeof bindings / sizeof bindings[0]);
}

/* Where the step's sums go, and a note of it. If a submission has too many, those that there are are added up first. */
static qdq_status place_sums(recording *r, const qdq_step *step, uint64_t *offset, objc_id *buffer) {
    metal_ticket *t = r->ticket;
    sum_memory *last = t->n_memories > 0 ? &t->memories[t->n_memories - 1] : NULL;
    if (r->discard && last) last->used = 0;
    if (step->sums == 0 && (!last || last->bytes - last->used < step->wave_sums)) {
        uint64_t bytes = step->wave_sums > SUMS_FIRST ? step->wave_sums : SUMS_FIRST;
        if (t->sum_bytes + bytes > SUMS_MOST) {
            commit(r);
            qdq_status status = wait_for_all(r->device, t);
            if (status != QDQ_OK) return status;
            add_sums(r->device, t);
            free_sums(r->device, t);
        }
        if (!grow(&t->memories, t->n_memories, &t->memories_room, sizeof *t->memories))
            return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to record an operation");
        last = &t->memories[t->n_memories];
        *last = (sum_memory){.bytes = bytes};
        qdq_status status = qdq_metal_new_buffer(r->device, bytes, &last->buffer);
        if (status != QDQ_OK) return status;
        t->n_memories++;
        t->sum_bytes += bytes;
    }
    if (step->sums == 0) {
        r->wave = (size_t)last->used;
        last->used += step->wave_sums;
    }
    *offset = r->wave + step->sums;
    *buffer = last->buffer;
    if (r->discard) return QDQ_OK;
    if (!grow(&t->notes, t->n_notes, &t->notes_room, sizeof *t->notes))
        return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to record an operation");
    t->notes[t->n_notes++] = (sum_note){*step, t->n_memories - 1, (size_t)*offset};
    return QDQ_OK;
}

static qdq_status record_sums(recording *r, const qdq_step *step) {
    const qdq_op *op = step->op;
    bool pairs = step->kind == QDQ_STEP_SENSITIVITY;
    qdq_metal_work work = {.count = step->count, .n_formats = step->n_formats};
    work.input = array_of(&op->input, step->first);
    if (pairs) work.gradient = array_of(&op->gradient, step->first);
    set_importance(&work, step);
    for (uint32_t k = 0; k < step->n_formats; k++) {
        work.format[0][k] = (uint8_t)qdq_step_format(step, k);
        if (!pairs) continue;
        qdq_format high = qdq_step_high(step, k);
        work.format[1][k] = high == QDQ_FORMAT_SOURCE ? QDQ_METAL_UNCHANGED : (uint8_t)high;
    }
    objc_id given[2] = {NULL, NULL}, output = NULL;
    for (int i = 0; i < 2; i++) {
        if (step->given[i] == QDQ_NO_SLOT) continue;
        given[i] = r->device->scratch[step->given[i]];
        work.format[i][0] = QDQ_METAL_GIVEN;
    }
    qdq_status status = place_sums(r, step, &work.output.at, &output);
    if (status != QDQ_OK) return status;
    const binding bindings[] = {{QDQ_METAL_INPUT, buffer_of(&op->input)},
                                {QDQ_METAL_OUTPUT, output},
                                {QDQ_METAL_GRADIENT, buffer_of(&op->gradient)},
                                {QDQ_METAL_LOW, given[0]},
                                {QDQ_METAL_HIGH, given[1]},
                                {QDQ_METAL_IMPORTANCE, buffer_of(&op->importance)}};
    const qdq_metal_kernel *kernel = pairs ? &r->device->sensitivity : &r->device->error[step->weighted];
    return dispatch(r, kernel, &work, 32 * qdq_step_tiles(step), qdq_step_tiles(step), bindings,
                    sizeof bindings / sizeof bindings[0]);
}

static qdq_status record(void *recording_, const qdq_step *step) {
    recording *r = recording_;
    qdq_status status = qdq_metal_load(r->device, step);
    if (status != QDQ_OK) return status;
    switch (step->kind) {
    case QDQ_STEP_ROW_SQUARES: return record_rows(r, step);
    case QDQ_STEP_ERROR:
    case QDQ_STEP_SENSITIVITY: return record_sums(r, step);
    case QDQ_STEP_ROUNDTRIP:
    case QDQ_STEP_QUANTIZE:
    case QDQ_STEP_DEQUANTIZE: break;
    }
    return record_array(r, step);
}

/* ---- The backend's calls ---- */

static qdq_status load(void *device, const qdq_step *step) { return qdq_metal_load(device, step); }

qdq_status qdq_metal_build(void *state, const qdq_op *op) {
    qdq_metal_device *device = state;
    void *pool = device->objc->push();
    qdq_mutex_lock(&device->mutex);
    qdq_status status = qdq_lower_kernels(op, &limits, load, device);
    qdq_mutex_unlock(&device->mutex);
    device->objc->pop(pool);
    return status;
}

/* The ticket is the caller's. Where this fails, it is waited for. */
static qdq_status record_all(qdq_metal_device *device, const qdq_op *ops, size_t n, bool discard, metal_ticket *t) {
    qdq_mutex_lock(&device->mutex);
    recording r = {.device = device, .ticket = t, .discard = discard};
    qdq_status status = QDQ_OK;
    for (size_t i = 0; i < n && status == QDQ_OK; i++) status = qdq_lower(&ops[i], &limits, record, &r);
    commit(&r);
    if (status != QDQ_OK)
        for (size_t i = 0; i < t->n_commands; i++) {
            qdq_objc_tell(device->objc, t->commands[i], device->objc->selectors.wait);
            qdq_metal_release(device, t->commands[i]);
        }
    qdq_mutex_unlock(&device->mutex);
    return status;
}

qdq_status qdq_metal_submit(void *state, qdq_queue queue, const qdq_op *ops, size_t n, void **ticket) {
    (void)queue;
    qdq_metal_device *device = state;
    metal_ticket *t = calloc(1, sizeof *t);
    *ticket = NULL;
    if (!t) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to submit operations");
    t->ops = ops;
    t->n_ops = n;
    void *pool = device->objc->push();
    qdq_status status = record_all(device, ops, n, false, t);
    if (status == QDQ_OK)
        *ticket = t;
    else
        free_ticket(device, t);
    device->objc->pop(pool);
    return status;
}

bool qdq_metal_is_done(void *state, void *ticket) {
    const qdq_metal_device *device = state;
    const metal_ticket *t = ticket;
    for (size_t i = 0; i < t->n_commands; i++)
        if (qdq_objc_number(device->objc, t->commands[i], device->objc->selectors.status) < MTL_STATUS_COMPLETED)
            return false;
    return true;
}

qdq_status qdq_metal_wait(void *state, void *ticket) {
    const qdq_metal_device *device = state;
    metal_ticket *t = ticket;
    void *pool = device->objc->push();
    qdq_status status = wait_for_all(device, t);
    if (status == QDQ_OK) {
        add_sums(device, t);
        for (size_t i = 0; i < t->n_ops; i++) qdq_finish_sums(&t->ops[i]);
    }
    free_ticket(device, t);
    device->objc->pop(pool);
    return status;
}

/* ---- Measurements ---- */

/* What the command buffers took by the device's clock, the time between them left out. */
static double seconds_of(const qdq_metal_device *device, const metal_ticket *t) {
    const qdq_objc *objc = device->objc;
    double sum = 0;
    for (size_t i = 0; i < t->n_commands; i++) {
        qdq_objc_tell(objc, t->commands[i], objc->selectors.wait);
        sum += SEND(objc, double, (objc_id, objc_sel))(t->commands[i], objc->selectors.gpu_end) -
               SEND(objc, double, (objc_id, objc_sel))(t->commands[i], objc->selectors.gpu_start);
    }
    return sum;
}

qdq_status qdq_metal_time_ops(void *state, const qdq_op *ops, size_t n, uint32_t repeats, double *seconds) {
    qdq_metal_device *device = state;
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i <= repeats && status == QDQ_OK; i++) {
        metal_ticket *t = calloc(1, sizeof *t);
        if (!t) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to submit operations");
        void *pool = device->objc->push();
        status = record_all(device, ops, n, true, t);
        if (status == QDQ_OK) {
            double taken = seconds_of(device, t);
            status = wait_for_all(device, t);
            if (i > 0) seconds[i - 1] = taken;
        }
        free_ticket(device, t);
        device->objc->pop(pool);
    }
    return status;
}

qdq_status qdq_metal_time_copy(void *state, void *to, void *from, uint64_t bytes, uint32_t repeats, double *seconds) {
    const qdq_metal_device *device = state;
    const qdq_objc *objc = device->objc;
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i <= repeats && status == QDQ_OK; i++) {
        void *pool = objc->push();
        objc_id command = qdq_objc_ask(objc, device->queue, objc->selectors.command_buffer);
        objc_id encoder = qdq_objc_ask(objc, command, objc->selectors.blit_encoder);
        SEND(objc, void, (objc_id, objc_sel, objc_id, ns_uint, objc_id, ns_uint, ns_uint))
        (encoder, objc->selectors.copy_buffer, ((qdq_metal_memory *)from)->buffer, 0, ((qdq_metal_memory *)to)->buffer,
         0, (ns_uint)bytes);
        qdq_objc_tell(objc, encoder, objc->selectors.end_encoding);
        qdq_objc_tell(objc, command, objc->selectors.commit);
        status = encoder ? wait_for(device, command) : qdq_fail(QDQ_DEVICE_ERROR, "Metal gives no command buffer");
        if (i > 0)
            seconds[i - 1] = SEND(objc, double, (objc_id, objc_sel))(command, objc->selectors.gpu_end) -
                             SEND(objc, double, (objc_id, objc_sel))(command, objc->selectors.gpu_start);
        objc->pop(pool);
    }
    return status;
}

/* ---- The dialect's operations one by one ---- */

qdq_status qdq_metal_dialect(void *state, qdq_dialect_operation operation, const uint32_t *a, const uint32_t *b,
                             uint32_t *out, size_t n) {
    if (n == 0 || n > (size_t)1 << 24) return qdq_fail(QDQ_INVALID_ARGUMENT, "%zu elements; from 1 to 2^24", n);
    qdq_metal_device *device = state;
    const qdq_objc *objc = device->objc;
    metal_ticket *t = calloc(1, sizeof *t);
    if (!t) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory to submit operations");
    void *pool = objc->push();
    objc_id buffers[3] = {NULL, NULL, NULL};
    qdq_status status = QDQ_OK;
    for (int i = 0; i < 3 && status == QDQ_OK; i++) status = qdq_metal_new_buffer(device, 4 * n, &buffers[i]);
    if (status == QDQ_OK) {
        memcpy(qdq_objc_ask(objc, buffers[0], objc->selectors.contents), a, 4 * n);
        memcpy(qdq_objc_ask(objc, buffers[1], objc->selectors.contents), b, 4 * n);
        qdq_mutex_lock(&device->mutex);
        recording r = {.device = device, .ticket = t};
        qdq_metal_work work = {.count = n, .operation = (uint32_t)operation};
        const binding bindings[] = {
            {QDQ_METAL_INPUT, buffers[0]}, {QDQ_METAL_GRADIENT, buffers[1]}, {QDQ_METAL_OUTPUT, buffers[2]}};
        status = qdq_metal_load_proof(device);
        if (status == QDQ_OK) status = dispatch(&r, &device->dialect, &work, n, n / QDQ_TILE, bindings, 3);
        commit(&r);
        qdq_mutex_unlock(&device->mutex);
    }
    if (status == QDQ_OK) status = wait_for_all(device, t);
    if (status == QDQ_OK) memcpy(out, qdq_objc_ask(objc, buffers[2], objc->selectors.contents), 4 * n);
    for (int i = 0; i < 3; i++) qdq_metal_release(device, buffers[i]);
    free_ticket(device, t);
    objc->pop(pool);
    return status;
}
