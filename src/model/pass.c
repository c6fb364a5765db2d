/* The order of a pass: tensors are cut into pieces, which wait in one queue; a thread a device takes the next one
 * whenever it has room, so that unlike devices get what they can do; and the thread that owns the pass delivers results
 * in the order of pieces: sums have the same bits, and outputs the same bytes, as with one device.
 *
 * So reading, computing and writing run side by side with one device, too. A CPU reads the mapped file, and would wait
 * for each page of it: for CPUs a thread of its own goes ahead and has the pages brought. */
#include "model/pass.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/advice.h"
#include "model/decoding.h"
#include "model/format_list.h"
#include "model/piece.h"
#include "base/error.h"
#include "base/platform.h"
#include "base/platform_files.h"

/* Elements a piece, multiples of QDQ_TILE. What the CPU scans or decodes before it computes should stay in the cache
 * between; the rest may be larger, and a GPU's transfers large: each piece costs some waking and waiting. So many
 * threads, which have a cache each, have larger pieces. Of several devices each has more pieces, so that one may be
 * ahead of another, and they are smaller. */
enum { SCANNED = 1 << 20, OF_A_THREAD = 1 << 17, ON_CPU = 1 << 22, ON_DEVICE = 1 << 24, ON_DEVICES = 1 << 23 };
enum { SLOTS = 2, SLOTS_OF_SEVERAL = 4 };
/* Pieces that are read before a CPU has room for them. */
enum { AHEAD = 8 };
/* Elements that are not worth waking a thread for. */
enum { SMALL = 1 << 16 };

typedef enum state { WAITING, TAKEN, DONE } state;

typedef struct entry {
    qdq_piece piece;
    state state;
    qdq_slot *slot; /* once taken */
    qdq_status status;
    qdq_advice advice;
    char message[1024];
} entry;

typedef struct feeder {
    qdq_pass *pass;
    char device[32]; /* "cuda:1" */
    qdq_slot *slots; /* n_slots */
    qdq_thread thread;
} feeder;

struct qdq_pass {
    qdq_piece_setting setting;
    qdq_pass_options options;
    uint64_t done, total; /* bytes read */
    uint32_t n_feeders, n_slots, n_started;
    feeder *feeders;
    bool on_cpu; /* all of the devices are CPUs */
    /* The queue: pieces delivered … put, numbered on and on; `taken` is the next that a feeder takes, below `ready`. */
    entry *entries;
    uint64_t capacity, delivered, taken, ready, put;
    qdq_thread reader; /* on_cpu */
    bool reader_started;
    bool leaving; /* feeders take no more */
    long process; /* whose feeders they are: a child of fork has none */
    qdq_mutex mutex;
    qdq_condition work, results;
};

static entry *entry_of(qdq_pass *pass, uint64_t number) { return &pass->entries[number % pass->capacity]; }

/* ---- Feeders ---------------------------------------------------------------------------------------------------- */

/* Keeps the failure of this thread for the one that delivers; of several devices it says which. */
static void keep_failure(const feeder *f, entry *e, qdq_status status) {
    bool device = f->pass->n_feeders > 1 && (status == QDQ_DEVICE_ERROR || status == QDQ_OUT_OF_MEMORY);
    e->status = status;
    e->advice = status != QDQ_OK ? qdq_error_advice() : QDQ_ADVICE_NONE;
    e->message[0] = '\0';
    if (status != QDQ_OK)
        snprintf(e->message, sizeof e->message, "%s%s%s", device ? f->device : "", device ? ": " : "",
                 qdq_error_message());
}

static qdq_slot *free_slot(feeder *f) {
    for (uint32_t i = 0; i < f->pass->n_slots; i++)
        if (!f->slots[i].taken) return &f->slots[i];
    return NULL;
}

/* With the lock. */
static entry *take_next(feeder *f) {
    qdq_pass *pass = f->pass;
    qdq_slot *slot = pass->leaving || pass->taken == pass->ready ? NULL : free_slot(f);
    if (slot == NULL) return NULL;
    entry *e = entry_of(pass, pass->taken++);
    e->state = TAKEN;
    e->slot = slot;
    slot->taken = true;
    return e;
}

static void finish(feeder *f, entry *e, qdq_status status) {
    if (status == QDQ_OK) status = qdq_piece_finish(e->slot);
    keep_failure(f, e, status);
    qdq_mutex_lock(&f->pass->mutex);
    e->state = DONE;
    qdq_condition_signal(&f->pass->results);
    qdq_mutex_unlock(&f->pass->mutex);
}

/* While the device computes one piece, the next is read. */
static void *feed(void *context) {
    feeder *f = context;
    qdq_pass *pass = f->pass;
    entry *under_way = NULL;
    for (;;) {
        qdq_mutex_lock(&pass->mutex);
        entry *e = take_next(f);
        while (e == NULL && under_way == NULL && !pass->leaving) {
            qdq_condition_wait(&pass->work, &pass->mutex);
            e = take_next(f);
        }
        qdq_mutex_unlock(&pass->mutex);
        if (e == NULL && under_way == NULL) return NULL;
        qdq_status status = e != NULL ? qdq_piece_begin(e->slot, &e->piece) : QDQ_OK;
        if (e != NULL && (status != QDQ_OK || e->slot->on_cpu)) { /* a CPU has done it already */
            finish(f, e, status);
            e = NULL;
        }
        if (under_way != NULL) finish(f, under_way, QDQ_OK);
        under_way = e;
    }
}

static void read_tensor(const qdq_tensor *tensor, uint64_t first, uint64_t count) {
    uint64_t bytes;
    const void *at = tensor != NULL ? qdq_tensor_stretch(tensor, first, count, &bytes) : NULL;
    if (at != NULL && bytes > 0) qdq_file_map_read(at, (size_t)bytes);
}

/* Pieces are ready when their pages are there. */
static void *read_ahead(void *context) {
    qdq_pass *pass = context;
    qdq_mutex_lock(&pass->mutex);
    for (;;) {
        while (!pass->leaving && pass->ready == pass->put) qdq_condition_wait(&pass->work, &pass->mutex);
        if (pass->leaving) break;
        const qdq_piece *piece = &entry_of(pass, pass->ready)->piece; /* nobody else's until it is ready */
        qdq_mutex_unlock(&pass->mutex);
        read_tensor(piece->work.tensor, piece->first, piece->count);
        read_tensor(piece->work.gradient, piece->first, piece->count);
        qdq_mutex_lock(&pass->mutex);
        pass->ready++;
        qdq_condition_broadcast(&pass->work);
    }
    qdq_mutex_unlock(&pass->mutex);
    return NULL;
}

static qdq_status start_feeders(qdq_pass *pass) {
    long process = qdq_process_id();
    if (pass->n_started > 0 && pass->process == process) return QDQ_OK;
    pass->n_started = 0;
    pass->reader_started = false;
    pass->process = process;
    qdq_mutex_init(&pass->mutex);
    qdq_condition_init(&pass->work);
    qdq_condition_init(&pass->results);
    for (; pass->n_started < pass->n_feeders; pass->n_started++)
        if (!qdq_thread_start_quiet(&pass->feeders[pass->n_started].thread, feed, &pass->feeders[pass->n_started]))
            break;
    /* Fewer devices than were asked for would be a surprise. */
    bool all = pass->n_started == pass->n_feeders;
    pass->reader_started = all && pass->on_cpu && qdq_thread_start_quiet(&pass->reader, read_ahead, pass);
    return all && pass->reader_started == pass->on_cpu ? QDQ_OK
                                                       : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a thread");
}

static void stop_feeders(qdq_pass *pass) {
    if (pass->n_started == 0 || pass->process != qdq_process_id()) return;
    qdq_mutex_lock(&pass->mutex);
    pass->leaving = true;
    qdq_condition_broadcast(&pass->work);
    qdq_mutex_unlock(&pass->mutex);
    for (uint32_t i = 0; i < pass->n_started; i++) qdq_thread_join(pass->feeders[i].thread);
    if (pass->reader_started) qdq_thread_join(pass->reader);
    pass->n_started = 0;
    pass->reader_started = false;
    qdq_mutex_destroy(&pass->mutex);
    qdq_condition_destroy(&pass->work);
    qdq_condition_destroy(&pass->results);
}

/* ---- Making one ------------------------------------------------------------------------------------------------- */

static qdq_status open_feeder(qdq_pass *pass, feeder *f, qdq_device *device) {
    qdq_device_info info = {.size = sizeof info};
    f->pass = pass;
    f->slots = calloc(pass->n_slots, sizeof *f->slots);
    if (f->slots == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a pass over a model");
    qdq_status status = qdq_device_describe(device, &info);
    snprintf(f->device, sizeof f->device, "%s", info.name);
    for (uint32_t i = 0; i < pass->n_slots && status == QDQ_OK; i++)
        status = qdq_slot_open(&f->slots[i], &pass->setting, device);
    return status;
}

static qdq_status open_all(qdq_pass *pass, qdq_device *const *devices) {
    pass->n_slots = pass->n_feeders > 1 ? SLOTS_OF_SEVERAL : SLOTS;
    pass->capacity = (uint64_t)pass->n_feeders * pass->n_slots + AHEAD;
    pass->feeders = calloc(pass->n_feeders, sizeof *pass->feeders);
    pass->entries = calloc(pass->capacity, sizeof *pass->entries);
    if (pass->feeders == NULL || pass->entries == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a pass over a model");
    qdq_status status = qdq_pool_create(pass->options.threads, &pass->setting.pool);
    pass->setting.allow_non_finite = pass->options.allow_non_finite;
    pass->on_cpu = true;
    for (uint32_t i = 0; i < pass->n_feeders && status == QDQ_OK; i++) {
        status = open_feeder(pass, &pass->feeders[i], devices[i]);
        pass->on_cpu = pass->on_cpu && status == QDQ_OK && pass->feeders[i].slots[0].on_cpu;
    }
    return status;
}

enum { MAX_DEVICES = 1024 };

qdq_status qdq_pass_create(uint32_t n_devices, qdq_device *const *devices, const qdq_pass_options *options,
                           qdq_pass **result) {
    if (result == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_create: a NULL argument");
    *result = NULL;
    if (n_devices == 0 || devices == NULL || n_devices > MAX_DEVICES)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_create: %u devices", (unsigned)n_devices);
    for (uint32_t i = 0; i < n_devices; i++)
        if (devices[i] == NULL)
            return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_create: device %u is NULL", (unsigned)i);
    if (options != NULL && (options->size == 0 || options->threads < 0 || options->threads > 4096))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_create: options of size %zu, with %d threads", options->size,
                        options->threads);
    qdq_pass *pass = calloc(1, sizeof *pass);
    if (pass == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a pass over a model");
    if (options != NULL)
        memcpy(&pass->options, options, options->size < sizeof *options ? options->size : sizeof *options);
    pass->n_feeders = n_devices;
    qdq_status status = open_all(pass, devices);
    if (status != QDQ_OK) {
        qdq_pass_free(pass);
        return status;
    }
    *result = pass;
    return QDQ_OK;
}

void qdq_pass_free(qdq_pass *pass) {
    if (pass == NULL) return;
    stop_feeders(pass);
    for (uint32_t i = 0; pass->feeders != NULL && i < pass->n_feeders; i++) {
        feeder *f = &pass->feeders[i];
        for (uint32_t k = 0; f->slots != NULL && k < pass->n_slots; k++) qdq_slot_close(&f->slots[k]);
        free(f->slots);
    }
    qdq_device_close(pass->setting.cpu);
    if (pass->setting.pool != NULL) qdq_pool_free(pass->setting.pool);
    free(pass->feeders);
    free(pass->entries);
    free(pass);
}

void qdq_pass_reference(const qdq_pass *pass, char revision[16]) {
    qdq_device_info info = {.size = sizeof info};
    qdq_device_describe(pass->feeders[0].slots[0].device, &info);
    memcpy(revision, info.reference, sizeof info.reference);
}

void qdq_pass_expect(qdq_pass *pass, uint64_t bytes) {
    pass->done = 0;
    pass->total = bytes;
}

bool qdq_pass_allows_non_finite(const qdq_pass *pass) { return pass->options.allow_non_finite; }

qdq_pool *qdq_pass_pool(const qdq_pass *pass) { return pass->setting.pool; }

qdq_status qdq_pass_advance(qdq_pass *pass, uint64_t bytes) {
    pass->done += bytes;
    if (pass->options.progress == NULL || pass->options.progress(pass->options.context, pass->done, pass->total))
        return QDQ_OK;
    return qdq_fail(QDQ_CANCELLED, "cancelled after %llu bytes", (unsigned long long)pass->done);
}

/* ---- Delivering ------------------------------------------------------------------------------------------------- */

/* The oldest piece, once it is done. */
static qdq_status deliver(qdq_pass *pass) {
    entry *e = entry_of(pass, pass->delivered);
    qdq_mutex_lock(&pass->mutex);
    while (e->state != DONE) qdq_condition_wait(&pass->results, &pass->mutex);
    qdq_mutex_unlock(&pass->mutex);
    if (e->status != QDQ_OK) return qdq_fail_advising(e->advice, e->status, "%s", e->message);
    qdq_status status = qdq_piece_deliver(e->slot);
    if (status == QDQ_OK) status = qdq_pass_advance(pass, e->piece.bytes);
    qdq_mutex_lock(&pass->mutex);
    e->slot->taken = false;
    pass->delivered++;
    qdq_condition_broadcast(&pass->work);
    qdq_mutex_unlock(&pass->mutex);
    return status;
}

/* After a failure nothing that was put may be touched any more: what waits is dropped, what is under way awaited. */
static qdq_status give_up(qdq_pass *pass, qdq_status status) {
    qdq_advice advice = qdq_error_advice();
    char message[1024];
    snprintf(message, sizeof message, "%s", qdq_error_message());
    stop_feeders(pass);
    return qdq_fail_advising(advice, status, "%s", message);
}

qdq_status qdq_pass_flush(qdq_pass *pass) {
    qdq_status status = QDQ_OK;
    if (pass->leaving && pass->delivered < pass->put)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "the pass has failed, and can only be freed");
    while (status == QDQ_OK && pass->delivered < pass->put) status = deliver(pass);
    return status == QDQ_OK ? QDQ_OK : give_up(pass, status);
}

/* ---- Putting ---------------------------------------------------------------------------------------------------- */

/* On the thread that calls: what is small, and whose turn it is. */
static qdq_status do_it_here(qdq_pass *pass, const qdq_piece *piece) {
    qdq_slot *slot = &pass->feeders[0].slots[0];
    qdq_status status = qdq_piece_begin(slot, piece);
    if (status == QDQ_OK) status = qdq_piece_finish(slot);
    if (status == QDQ_OK) status = qdq_piece_deliver(slot);
    return status == QDQ_OK ? qdq_pass_advance(pass, piece->bytes) : status;
}

static bool belongs_here(const qdq_pass *pass, const qdq_piece *piece) {
    if (!pass->on_cpu || pass->n_feeders > 1 || pass->delivered < pass->put) return false;
    return piece->count <= SMALL;
}

/* Elements first … first + count - 1 of the tensor; weights: the first of its importances; row: 0 without. */
static qdq_status put_piece(qdq_pass *pass, const qdq_work *work, uint64_t first, uint64_t count, uint64_t weights,
                            uint64_t row) {
    qdq_piece piece = {.work = *work, .first = first, .count = count, .weights = weights, .row = row};
    memcpy(piece.formats, work->formats, work->n_formats * sizeof *work->formats);
    piece.bytes = qdq_tensor_part(work->tensor, first, count).bytes;
    if (work->gradient != NULL) piece.bytes += count * qdq_dtype_size(work->gradient->dtype);
    if (work->again) piece.bytes = 0;
    if (belongs_here(pass, &piece)) return do_it_here(pass, &piece);
    qdq_status status = start_feeders(pass);
    if (status == QDQ_OK && pass->put - pass->delivered == pass->capacity) status = deliver(pass);
    if (status != QDQ_OK) return give_up(pass, status);
    qdq_mutex_lock(&pass->mutex);
    entry *e = entry_of(pass, pass->put++);
    e->piece = piece;
    e->state = WAITING;
    if (!pass->on_cpu) pass->ready = pass->put;
    qdq_condition_broadcast(&pass->work);
    qdq_mutex_unlock(&pass->mutex);
    return QDQ_OK;
}

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b) {
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static uint64_t elements_on_cpu(const qdq_pass *pass, const qdq_work *work) {
    bool passes_twice = work->kind != QDQ_WORK_ERROR || work->tensor->decoding != NULL;
    uint64_t least = passes_twice ? SCANNED : ON_CPU;
    uint64_t of_all = (uint64_t)OF_A_THREAD * (uint64_t)qdq_pool_threads(pass->setting.pool);
    if (of_all < least) return least;
    return of_all < ON_DEVICE ? of_all : ON_DEVICE;
}

/* Elements a piece: with an importance matrix whole rows, and tiles where sums are taken. */
static uint64_t piece_elements(const qdq_pass *pass, const qdq_work *work, uint64_t row) {
    uint64_t wanted = pass->n_feeders > 1 ? ON_DEVICES : ON_DEVICE, unit = row;
    if (pass->on_cpu) wanted = elements_on_cpu(pass, work);
    if (work->importance == NULL) return wanted;
    if (work->kind == QDQ_WORK_ERROR || work->kind == QDQ_WORK_SENSITIVITY)
        unit *= QDQ_TILE / greatest_common_divisor(row, QDQ_TILE);
    return unit < wanted ? wanted / unit * unit : unit;
}

static qdq_status put_tensor(qdq_pass *pass, const qdq_work *work) {
    const qdq_tensor *t = work->tensor;
    uint64_t row = t->shape[t->n_dims - 1], matrix = t->elements, experts = 1;
    if (work->importance != NULL) {
        /* Each expert's matrix has weights of its own. */
        if (t->n_dims >= 3) experts = t->shape[t->n_dims - 3];
        matrix = row * t->shape[t->n_dims - 2];
    }
    uint64_t most = piece_elements(pass, work, row);
    uint64_t at = work->first, end = work->count > 0 ? work->first + work->count : t->elements;
    qdq_status status = QDQ_OK;
    while (at < end && status == QDQ_OK) {
        uint64_t m = at / matrix, last = (m + 1) * matrix < end ? (m + 1) * matrix : end;
        uint64_t count = last - at < most ? last - at : most;
        status = put_piece(pass, work, at, count, m % experts * row, work->importance != NULL ? row : 0);
        at += count;
    }
    return status;
}

/* The device for sources as formats, which only CPUs take. */
static qdq_status open_cpu(qdq_pass *pass) {
    if (pass->setting.cpu != NULL) return QDQ_OK;
    return qdq_device_open_threads("cpu", pass->options.threads, &pass->setting.cpu);
}

/* Where not every device takes sources as formats, errors of these and of others are works of their own. */
qdq_status qdq_pass_put(qdq_pass *pass, const qdq_work *work) {
    if (pass->leaving) return qdq_fail(QDQ_INVALID_ARGUMENT, "the pass has failed, and can only be freed");
    if (pass->on_cpu) return put_tensor(pass, work);
    bool parts = work->kind == QDQ_WORK_ERROR;
    qdq_work part = *work;
    qdq_status status = QDQ_OK;
    for (uint32_t f = 0, end; f < work->n_formats && status == QDQ_OK; f = end) {
        bool sources = qdq_format_is_source(work->formats[f]);
        end = parts ? f + 1 : work->n_formats;
        while (end < work->n_formats && qdq_format_is_source(work->formats[end]) == sources) end++;
        if (parts) {
            part.n_formats = end - f;
            part.formats = work->formats + f;
            part.error = work->error + f;
            part.again = f > 0;
        }
        if (sources) status = open_cpu(pass);
        if (status == QDQ_OK) status = put_tensor(pass, &part);
    }
    return status;
}
