/* Importance matrices written: several added up, or one in the other layout (imatrix.c has both).
 *
 * llama-imatrix keeps sums of squares as floats and counts as integers, in tokens. The legacy layout has means times
 * calls, and calls are chunks: they count for chunk_size tokens each, for every expert alike. Written, calls are the
 * most reached expert's chunks, rounded up. Its order of operations is kept, so that files are equal.
 *
 * Source: llama.cpp, tools/imatrix (load_imatrix, save_imatrix, save_imatrix_legacy). */
#define _POSIX_C_SOURCE 200809L
#include "builder.h"
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

enum { NAME_LIMIT = 63, SUFFIX_LEAST = 2, CHUNK_SIZE = 512 };
static const int64_t LARGEST_COUNT = (int64_t)1 << 53; /* far more tokens than there are */

/* An entry of the sum. */
typedef struct total {
    const char *name;
    uint64_t values, matrices;
    float *sums; /* of the entry that is being added up, else NULL */
    int64_t *counts;
} total;

typedef struct job {
    uint32_t n;
    const qdq_imatrix *const *from;
    qdq_imatrix_write_options wish;
    const char *path;
    total *totals; /* in order of name */
    uint64_t n_totals;
    int64_t most; /* the largest count of all */
    qdq_imatrix_report report;
    qdq_arena arena;
} job;

static qdq_status no_memory(const job *j) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for the importance matrix", SHOWN(j->path));
}

/* ---- What there will be -------------------------------------------------------------------------------------------
 */

static uint64_t matrices_of(const qdq_imatrix_entry *e) { return e->columns != 0 ? e->count / e->columns : 1; }

/* The entry joins those of its name. */
static qdq_status join(total *t, const qdq_imatrix *from, const qdq_imatrix_entry *e) {
    uint64_t matrices = matrices_of(e);
    if (t->values == 0) t->values = e->count;
    if (t->matrices <= 1) t->matrices = matrices; /* what was counted as one is so for each */
    if (t->values == e->count && (matrices == 1 || matrices == t->matrices)) return QDQ_OK;
    return qdq_fail(QDQ_BAD_DATA,
                    "%s: weight \"%s\" has %llu values of %llu matrices, but %llu of %llu in a matrix before it: made "
                    "for another model?",
                    SHOWN(qdq_imatrix_path(from)), SHOWN(e->name), (ull)e->count, (ull)matrices, (ull)t->values,
                    (ull)t->matrices);
}

/* All names, sorted, each once, with the sizes of what they stand for. */
static qdq_status gather(job *j) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < j->n; i++) n += qdq_imatrix_count(j->from[i]);
    qdq_name *names = malloc((size_t)(n + 1) * sizeof *names);
    j->totals = calloc((size_t)n + 1, sizeof *j->totals);
    if (names == NULL || j->totals == NULL) {
        free(names);
        return no_memory(j);
    }
    uint64_t used = 0;
    for (uint32_t i = 0; i < j->n; i++)
        for (uint64_t k = 0; k < qdq_imatrix_count(j->from[i]); k++)
            names[used++] = (qdq_name){qdq_imatrix_entry_at(j->from[i], k)->name, 0};
    qdq_sorted_sort(names, n);
    for (uint64_t k = 0; k < n; k++)
        if (k == 0 || strcmp(names[k].text, names[k - 1].text) != 0) j->totals[j->n_totals++].name = names[k].text;
    free(names);
    qdq_status status = QDQ_OK;
    for (uint64_t k = 0; k < j->n_totals; k++) {
        bool partial = false;
        for (uint32_t i = 0; i < j->n && status == QDQ_OK; i++) {
            const qdq_imatrix_entry *e = qdq_imatrix_exactly(j->from[i], j->totals[k].name);
            partial |= e == NULL;
            if (e != NULL) status = join(&j->totals[k], j->from[i], e);
        }
        j->report.partial += partial;
    }
    return status;
}

/* ---- Adding up ----------------------------------------------------------------------------------------------------
 */

static qdq_status add_counts(const job *j, total *t, const qdq_imatrix *from, const qdq_imatrix_entry *e) {
    bool legacy = e->calls == NULL;
    uint64_t matrices = matrices_of(e);
    for (uint64_t m = 0; m < t->matrices; m++) {
        float count = legacy ? e->legacy_calls : qdq_le_float(e->calls + 4 * (matrices > 1 ? m : 0));
        /* Values that were never counted are weights as they stand: those of one call. */
        if (legacy && count == 0.0f) count = 1.0f;
        int64_t tokens = count > (float)LARGEST_COUNT ? INT64_MAX : (int64_t)llroundf(count);
        if (legacy) tokens *= j->wish.chunk_size; /* below 2^31 each */
        if (tokens > LARGEST_COUNT - t->counts[m])
            return qdq_fail(QDQ_BAD_DATA, "%s: weight \"%s\": with its count of %g there are more than 2^53 tokens",
                            SHOWN(qdq_imatrix_path(from)), SHOWN(e->name), (double)count);
        t->counts[m] += tokens;
    }
    return QDQ_OK;
}

static qdq_status add_entry(const job *j, total *t, const qdq_imatrix *from, const qdq_imatrix_entry *e) {
    qdq_status status = add_counts(j, t, from, e);
    float scale = e->calls != NULL ? 1.0f : (float)j->wish.chunk_size;
    for (uint64_t i = 0; i < t->values && status == QDQ_OK; i++) {
        t->sums[i] += qdq_le_float(e->sums + 4 * i) * scale;
        if (!isfinite(t->sums[i]))
            status = qdq_fail(QDQ_BAD_DATA, "%s: weight \"%s\": the sum of value %llu is more than a float holds",
                              SHOWN(qdq_imatrix_path(from)), SHOWN(e->name), (ull)i);
    }
    return status;
}

static void forget(total *t) {
    free(t->sums);
    free(t->counts);
    t->sums = NULL;
    t->counts = NULL;
}

static qdq_status add_up(job *j, total *t, bool counts_only) {
    t->counts = calloc((size_t)t->matrices, sizeof *t->counts);
    if (!counts_only) t->sums = calloc((size_t)t->values, sizeof *t->sums);
    if (t->counts == NULL || (t->sums == NULL && !counts_only)) return no_memory(j);
    qdq_status status = QDQ_OK;
    for (uint32_t i = 0; i < j->n && status == QDQ_OK; i++) {
        const qdq_imatrix_entry *e = qdq_imatrix_exactly(j->from[i], t->name);
        if (e != NULL) status = counts_only ? add_counts(j, t, j->from[i], e) : add_entry(j, t, j->from[i], e);
    }
    return status;
}

static int64_t most_of(const total *t) {
    int64_t most = 0;
    for (uint64_t m = 0; m < t->matrices; m++)
        if (t->counts[m] > most) most = t->counts[m];
    return most;
}

/* The largest count; in the legacy layout, entries without any are dropped. */
static qdq_status count_all(job *j) {
    uint64_t kept = 0;
    qdq_status status = QDQ_OK;
    for (uint64_t k = 0; k < j->n_totals && status == QDQ_OK; k++) {
        total *t = &j->totals[k];
        status = add_up(j, t, true);
        int64_t most = status == QDQ_OK ? most_of(t) : 0;
        forget(t);
        if (most > j->most) j->most = most;
        if (most > 0 || j->wish.layout == QDQ_IMATRIX_GGUF) j->totals[kept++] = *t;
    }
    j->report.dropped = j->n_totals - kept;
    j->n_totals = kept;
    if (status == QDQ_OK && kept == 0)
        status =
            qdq_fail(QDQ_UNSUPPORTED, "%s: no token has reached any weight: there is nothing to write", SHOWN(j->path));
    if (status == QDQ_OK && j->most / j->wish.chunk_size >= INT32_MAX)
        status = qdq_fail(QDQ_UNSUPPORTED, "%s: %lld chunks are more than the layout can count", SHOWN(j->path),
                          (long long)(j->most / j->wish.chunk_size));
    return status;
}

/* ---- GGUF ---------------------------------------------------------------------------------------------------------
 */

static void put_little(qdq_builder *b, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) qdq_builder_character(b, (char)(uint8_t)(value >> (8 * i)));
}

/* The array of all matrices' datasets, as GGUF encodes it. */
static qdq_status set_datasets(job *j, qdq_writer *writer) {
    uint64_t n = 0;
    qdq_builder strings = {0}, array = {0};
    const char *name;
    for (uint32_t i = 0; i < j->n; i++) {
        for (uint64_t k = 0; (name = qdq_imatrix_dataset_at(j->from[i], k)) != NULL; k++, n++) {
            put_little(&strings, strlen(name), 8);
            qdq_builder_text(&strings, name);
        }
    }
    put_little(&array, QDQ_KV_STRING, 4);
    put_little(&array, n, 8);
    qdq_builder_add(&array, strings.bytes, strings.n);
    qdq_kv kv = {.key = "imatrix.datasets", .type = QDQ_KV_ARRAY, .bytes = array.n};
    bool failed = strings.failed || array.failed;
    kv.value = failed ? NULL : (const uint8_t *)qdq_arena_text(&j->arena, array.bytes, array.n);
    qdq_builder_free(&strings);
    qdq_builder_free(&array);
    return kv.value != NULL ? qdq_writer_set(writer, &kv) : no_memory(j);
}

/* As ggml names a tensor: cut at 63 bytes. What is left of the suffix must tell the two apart. */
static qdq_status add_tensor(const job *j, qdq_writer *writer, const total *t, const char *suffix, uint64_t columns) {
    char name[NAME_LIMIT + 16];
    size_t length = strlen(t->name);
    if (length > NAME_LIMIT - SUFFIX_LEAST)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: weight \"%s\": its name has %zu bytes; of what is longer than %d ggml's GGUF cannot tell "
                        "sums and counts apart: write the legacy layout",
                        SHOWN(j->path), SHOWN(t->name), length, NAME_LIMIT - SUFFIX_LEAST);
    snprintf(name, sizeof name, "%s%s", t->name, suffix);
    name[NAME_LIMIT] = '\0';
    uint64_t shape[2] = {t->matrices, columns};
    /* ggml drops an extent of 1 at the slow end. */
    return t->matrices > 1 ? qdq_writer_add_tensor(writer, name, "f32", 2, shape)
                           : qdq_writer_add_tensor(writer, name, "f32", 1, shape + 1);
}

static qdq_status declare(job *j, qdq_writer *writer) {
    qdq_status status = qdq_writer_set_string(writer, "general.type", "imatrix");
    if (status == QDQ_OK) status = set_datasets(j, writer);
    if (status == QDQ_OK)
        status = qdq_writer_set_u32(writer, "imatrix.chunk_count", (uint32_t)(j->most / j->wish.chunk_size));
    if (status == QDQ_OK) status = qdq_writer_set_u32(writer, "imatrix.chunk_size", j->wish.chunk_size);
    for (uint64_t k = 0; k < j->n_totals && status == QDQ_OK; k++) {
        const total *t = &j->totals[k];
        status = add_tensor(j, writer, t, ".in_sum2", t->values / t->matrices);
        if (status == QDQ_OK) status = add_tensor(j, writer, t, ".counts", 1);
    }
    return status;
}

/* Little-endian floats, in place. */
static void to_little(float *values, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        uint8_t bytes[4];
        uint32_t bits;
        memcpy(&bits, &values[i], 4);
        for (int k = 0; k < 4; k++) bytes[k] = (uint8_t)(bits >> (8 * k));
        memcpy(&values[i], bytes, 4);
    }
}

static qdq_status write_gguf_entry(qdq_writer *writer, total *t) {
    to_little(t->sums, t->values);
    qdq_status status = qdq_writer_write(writer, t->sums, t->values * 4);
    for (uint64_t m = 0; m < t->matrices && status == QDQ_OK; m++) {
        float count = (float)t->counts[m];
        to_little(&count, 1);
        status = qdq_writer_write(writer, &count, 4);
    }
    return status;
}

static qdq_status write_gguf(job *j) {
    qdq_writer *writer = NULL;
    qdq_status status = qdq_writer_create(QDQ_LAYOUT_GGUF, j->path, &writer);
    if (status == QDQ_OK) status = declare(j, writer);
    for (uint64_t k = 0; k < j->n_totals && status == QDQ_OK; k++) {
        status = add_up(j, &j->totals[k], false);
        if (status == QDQ_OK) status = write_gguf_entry(writer, &j->totals[k]);
        forget(&j->totals[k]);
    }
    if (status == QDQ_OK) return qdq_writer_finish(writer);
    qdq_writer_abort(writer);
    return status;
}

/* ---- Legacy -------------------------------------------------------------------------------------------------------
 */

static void put_legacy_entry(const job *j, qdq_builder *b, total *t) {
    int64_t most = most_of(t);
    int32_t calls = (int32_t)((most + j->wish.chunk_size - 1) / j->wish.chunk_size);
    uint64_t columns = t->values / t->matrices;
    for (uint64_t i = 0; i < t->values; i++) {
        float count = (float)t->counts[i / columns], sum = t->sums[i];
        t->sums[i] = (count == 0.0f ? 1.0f : sum / count) * (float)calls;
    }
    to_little(t->sums, t->values);
    put_little(b, strlen(t->name), 4);
    qdq_builder_text(b, t->name);
    put_little(b, (uint32_t)calls, 4);
    put_little(b, t->values, 4);
    qdq_builder_add(b, t->sums, t->values * 4);
}

/* The last dataset is the one that the layout has room for. */
static void put_legacy_end(const job *j, qdq_builder *b) {
    const char *last = "", *name;
    for (uint32_t i = 0; i < j->n; i++)
        for (uint64_t k = 0; (name = qdq_imatrix_dataset_at(j->from[i], k)) != NULL; k++) last = name;
    put_little(b, (uint64_t)(j->most / j->wish.chunk_size), 4);
    put_little(b, strlen(last), 4);
    qdq_builder_text(b, last);
}

/* Hands on what was put together, and empties it. */
static qdq_status pass_on(const job *j, qdq_out *out, qdq_builder *b) {
    qdq_status status = b->failed ? no_memory(j) : qdq_out_write(out, b->bytes, b->n);
    b->n = 0;
    return status;
}

static qdq_status write_legacy(job *j) {
    qdq_out *out = NULL;
    qdq_builder b = {0};
    qdq_status status = qdq_out_create(j->path, &out);
    put_little(&b, j->n_totals, 4);
    for (uint64_t k = 0; k < j->n_totals && status == QDQ_OK; k++) {
        total *t = &j->totals[k];
        if (t->values > INT32_MAX)
            status = qdq_fail(QDQ_UNSUPPORTED, "%s: weight \"%s\" has %llu values, more than the legacy layout counts",
                              SHOWN(j->path), SHOWN(t->name), (ull)t->values);
        if (status == QDQ_OK) status = add_up(j, t, false);
        if (status == QDQ_OK) put_legacy_entry(j, &b, t);
        if (status == QDQ_OK) status = pass_on(j, out, &b);
        forget(t);
    }
    if (status == QDQ_OK) put_legacy_end(j, &b);
    if (status == QDQ_OK) status = pass_on(j, out, &b);
    qdq_builder_free(&b);
    if (status == QDQ_OK) return qdq_out_commit(out);
    qdq_out_abort(out);
    return status;
}

/* ---- The call ------------------------------------------------------------------------------------------------------
 */

static uint32_t chunk_size_of(const job *j) {
    for (uint32_t i = 0; i < j->n; i++)
        if (qdq_imatrix_chunk_size(j->from[i]) != 0) return qdq_imatrix_chunk_size(j->from[i]);
    return CHUNK_SIZE;
}

qdq_status qdq_imatrix_write(uint32_t n, const qdq_imatrix *const *matrices, const qdq_imatrix_write_options *options,
                             const char *path, qdq_imatrix_report *report) {
    bool no_size = (options != NULL && options->size == 0) || (report != NULL && report->size == 0);
    if (n == 0 || matrices == NULL || path == NULL || no_size)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_imatrix_write: no matrix, a NULL argument, or a size of 0");
    job j = {.n = n, .from = matrices, .path = path};
    if (options != NULL) memcpy(&j.wish, options, options->size < sizeof j.wish ? options->size : sizeof j.wish);
    if (j.wish.layout != QDQ_IMATRIX_GGUF && j.wish.layout != QDQ_IMATRIX_DAT)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_imatrix_write: no layout %d", (int)j.wish.layout);
    if (j.wish.chunk_size == 0) j.wish.chunk_size = chunk_size_of(&j);
    qdq_status status = QDQ_OK;
    if (j.wish.chunk_size > INT32_MAX)
        status = qdq_fail(QDQ_UNSUPPORTED, "%s: %u tokens a chunk are more than the layouts can count", SHOWN(path),
                          (unsigned)j.wish.chunk_size);
    if (status == QDQ_OK) status = gather(&j);
    if (status == QDQ_OK) status = count_all(&j);
    if (status == QDQ_OK) status = j.wish.layout == QDQ_IMATRIX_GGUF ? write_gguf(&j) : write_legacy(&j);
    for (uint64_t k = 0; k < j.n_totals; k++) forget(&j.totals[k]);
    free(j.totals);
    if (status == QDQ_OK && report != NULL) {
        j.report.size = report->size;
        j.report.entries = j.n_totals;
        j.report.chunks = (uint32_t)(j.most / j.wish.chunk_size);
        j.report.chunk_size = j.wish.chunk_size;
        memcpy(report, &j.report, report->size < sizeof j.report ? report->size : sizeof j.report);
    }
    qdq_arena_free(&j.arena);
    return status;
}
