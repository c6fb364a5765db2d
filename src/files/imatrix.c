/* Importance matrices, in both layouts that llama-imatrix has written.
 *
 * GGUF: for each weight NAME a tensor NAME.in_sum2, f32 [columns, matrices], the sums of squared activations, and
 * NAME.counts, f32 [1, matrices]; keys imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size. ggml cuts tensor
 * names at 63 bytes, and with them the suffix.
 *
 * Legacy (.dat), little-endian, no magic: i32 n; n times {i32 length, name, i32 calls, i32 values, f32[values]}; then,
 * in later files, i32 last chunk, i32 length, the dataset's name. Values are means times calls.
 *
 * Source: llama.cpp, tools/imatrix and tools/quantize (load_imatrix, load_legacy_imatrix). */
#define _POSIX_C_SOURCE 200809L
#include "internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

#define GGML_NAME_LIMIT 63

struct qdq_imatrix {
    qdq_map *map;     /* NULL: the caller's memory */
    qdq_model *model; /* of the GGUF layout */
    qdq_arena arena;
    char *path;
    qdq_imatrix_entry *entries;
    uint64_t n, capacity;
    qdq_name *by_name;
    const char **datasets;
    uint64_t n_datasets;
    uint32_t chunks, chunk_size; /* 0: not known */
};

static qdq_status no_memory(const char *path) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for the importance matrix", SHOWN(path));
}

static qdq_status add(qdq_imatrix *im, const qdq_imatrix_entry *e) {
    if (!qdq_grow((void **)&im->entries, im->n, &im->capacity, sizeof *im->entries)) return no_memory(im->path);
    im->entries[im->n++] = *e;
    return QDQ_OK;
}

static qdq_status index_entries(qdq_imatrix *im) {
    im->by_name = malloc((size_t)(im->n + 1) * sizeof *im->by_name);
    if (im->by_name == NULL) return no_memory(im->path);
    for (uint64_t i = 0; i < im->n; i++) im->by_name[i] = (qdq_name){im->entries[i].name, i};
    qdq_sorted_sort(im->by_name, im->n);
    for (uint64_t i = 1; i < im->n; i++)
        if (strcmp(im->by_name[i - 1].text, im->by_name[i].text) == 0)
            return qdq_fail(QDQ_BAD_DATA, "%s: weight \"%s\" is there twice", SHOWN(im->path),
                            SHOWN(im->by_name[i].text));
    return QDQ_OK;
}

/* One count for all values: of the only matrix there is, or, of experts, what the legacy layout knows of them. */
static bool has_one_count(const qdq_imatrix_entry *e) { return e->columns == 0 || e->columns == e->count; }

/* ---- Weights -------------------------------------------------------------------------------------------------------
 */

static float weight(float sum, float count) { return count > 0.0f ? sum / count : 1.0f; }

static float calls_of(const qdq_imatrix_entry *e, uint64_t index) {
    return e->calls != NULL ? qdq_le_float(e->calls + 4 * (index / e->columns)) : e->legacy_calls;
}

void qdq_imatrix_weights(const qdq_imatrix_entry *entry, uint64_t first, uint64_t n, float *out) {
    while (n > 0) {
        /* One matrix at a time: its count is the same for all columns. */
        uint64_t run = entry->calls != NULL ? entry->columns - first % entry->columns : n;
        if (run > n) run = n;
        float calls = calls_of(entry, first);
        const uint8_t *sums = entry->sums + 4 * first;
        /* The legacy layout keeps values as they are where nothing was counted. */
        bool raw = entry->calls == NULL && !(calls > 0.0f);
        for (uint64_t i = 0; i < run; i++) {
            float sum = qdq_le_float(sums + 4 * i);
            out[i] = raw ? sum : weight(sum, calls);
        }
        out += run;
        first += run;
        n -= run;
    }
}

qdq_imatrix_entry qdq_imatrix_slice(const qdq_imatrix_entry *entry, uint64_t row, uint64_t index) {
    assert((has_one_count(entry) || entry->columns == row) && index < entry->count / row);
    qdq_imatrix_entry slice = *entry;
    slice.count = row;
    slice.sums += index * row * sizeof(float);
    if (slice.calls != NULL && !has_one_count(entry)) slice.calls += index * sizeof(float);
    if (slice.columns != 0) slice.columns = row;
    return slice;
}

/* Finds what would poison every block it touches, before hours of work. */
static qdq_status check_values(const qdq_imatrix *im, const qdq_imatrix_entry *e, uint64_t offset) {
    uint64_t columns = e->calls != NULL ? e->columns : e->count;
    for (uint64_t first = 0; first < e->count; first += columns) {
        float calls = calls_of(e, first);
        if (!(calls >= 0.0f) || isinf(calls))
            return qdq_fail(QDQ_BAD_DATA, "%s: weight \"%s\": the count of matrix %llu is %g", SHOWN(im->path),
                            SHOWN(e->name), (ull)(first / columns), (double)calls);
        for (uint64_t i = first; i < first + columns; i++) {
            float sum = qdq_le_float(e->sums + 4 * i);
            if (sum >= 0.0f && !isinf(sum) && !isinf(weight(sum, calls))) continue;
            return qdq_fail(
                QDQ_BAD_DATA,
                "%s: weight \"%s\": value %llu (at offset %llu) is %g with a count of %g; sums of squares are "
                "finite and not negative: make the importance matrix anew",
                SHOWN(im->path), SHOWN(e->name), (ull)i, (ull)(offset + 4 * i), (double)sum, (double)calls);
        }
    }
    return QDQ_OK;
}

/* ---- GGUF ----------------------------------------------------------------------------------------------------------
 */

typedef enum kind { OTHER, SUMS, COUNTS } kind;

/* Which tensor of a weight this is, and how long the weight's name. In a name of 63 bytes the suffix may be cut, down
 * to two bytes, below which the two look alike. `.in_sum` in full is another tensor, the sums of x, to be passed over.
 */
static kind kind_of(const char *name, size_t *base) {
    static const char sums[] = ".in_sum2", counts[] = ".counts";
    size_t length = strlen(name), least = length == GGML_NAME_LIMIT ? 2 : 7;
    for (size_t cut = 8; cut >= least; cut--) {
        if (cut > length) continue;
        *base = length - cut;
        if ((cut == 8 || least == 2) && memcmp(name + *base, sums, cut) == 0) return SUMS;
        if (cut <= 7 && memcmp(name + *base, counts, cut) == 0) return COUNTS;
    }
    return OTHER;
}

static qdq_status check_f32(const qdq_imatrix *im, const qdq_tensor *t) {
    if (!t->source || t->dtype != QDQ_F32)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" is %s; an importance matrix holds f32", SHOWN(im->path),
                        SHOWN(t->name), t->type_name);
    if (t->elements == 0) return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" is empty", SHOWN(im->path), SHOWN(t->name));
    return QDQ_OK;
}

static qdq_status add_pair(qdq_imatrix *im, const qdq_tensor *sums, const qdq_tensor *counts, size_t base) {
    qdq_imatrix_entry e = {.name = qdq_arena_text(&im->arena, sums->name, base), .sums = sums->data};
    if (e.name == NULL) return no_memory(im->path);
    qdq_status status = check_f32(im, sums);
    if (status == QDQ_OK) status = check_f32(im, counts);
    if (status != QDQ_OK) return status;
    e.count = sums->elements;
    e.columns = sums->n_dims > 0 ? sums->shape[sums->n_dims - 1] : 1;
    e.calls = counts->data;
    if (counts->elements != e.count / e.columns)
        return qdq_fail(QDQ_BAD_DATA, "%s: weight \"%s\" has sums of %llu matrices (%s) and counts of %llu",
                        SHOWN(im->path), SHOWN(e.name), (ull)(e.count / e.columns), SHAPE(sums->n_dims, sums->shape),
                        (ull)counts->elements);
    status = check_values(im, &e, sums->offset);
    return status == QDQ_OK ? add(im, &e) : status;
}

/* Pairs the tensors: sums and counts of one weight sort side by side under its name. */
static qdq_status pair_up(qdq_imatrix *im) {
    uint64_t n = qdq_model_tensor_count(im->model), used = 0;
    qdq_name *bases = malloc((size_t)(n + 1) * sizeof *bases);
    if (bases == NULL) return no_memory(im->path);
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) {
        size_t base;
        const char *name = qdq_model_tensor(im->model, i)->name;
        if (kind_of(name, &base) == OTHER) continue;
        bases[used] = (qdq_name){qdq_arena_text(&im->arena, name, base), i};
        if (bases[used++].text == NULL) status = no_memory(im->path);
    }
    if (status == QDQ_OK) qdq_sorted_sort(bases, used);
    for (uint64_t i = 0; i < used && status == QDQ_OK; i += 2) {
        const qdq_tensor *a = qdq_model_tensor(im->model, bases[i].index), *b = NULL;
        size_t base;
        kind first = kind_of(a->name, &base);
        if (i + 1 < used && strcmp(bases[i].text, bases[i + 1].text) == 0)
            b = qdq_model_tensor(im->model, bases[i + 1].index);
        if (b == NULL || kind_of(b->name, &base) == first)
            status = qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" (at offset %llu) lacks its %s", SHOWN(im->path),
                              SHOWN(a->name), (ull)a->offset, first == SUMS ? ".counts" : ".in_sum2");
        else
            status = add_pair(im, first == SUMS ? a : b, first == SUMS ? b : a, base);
    }
    free(bases);
    return status;
}

/* The array's strings follow one another, and lie in the file: that was checked when it was parsed. */
static qdq_status read_datasets(qdq_imatrix *im, const uint8_t *at, uint64_t n) {
    im->datasets = qdq_arena_alloc(&im->arena, (n + 1) * sizeof *im->datasets);
    if (im->datasets == NULL) return no_memory(im->path);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t length = qdq_le64(at);
        if (!qdq_is_text(at + 8, length))
            return qdq_fail(QDQ_BAD_DATA, "%s: name %llu in imatrix.datasets is not UTF-8", SHOWN(im->path), (ull)i);
        im->datasets[i] = qdq_arena_text(&im->arena, at + 8, length);
        if (im->datasets[i] == NULL) return no_memory(im->path);
        im->n_datasets = i + 1;
        at += 8 + length;
    }
    return QDQ_OK;
}

static qdq_status read_keys(qdq_imatrix *im) {
    static const char *const needed[] = {"imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"};
    const qdq_kv *type = qdq_model_find_kv(im->model, "general.type");
    const char *text;
    uint64_t length, number;
    if (type != NULL && (!qdq_kv_string(type, &text, &length) || length != 7 || memcmp(text, "imatrix", 7) != 0))
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: is a GGUF file, but general.type is not \"imatrix\": a model, not an importance "
                        "matrix?",
                        SHOWN(im->path));
    for (size_t i = 0; i < 3; i++)
        if (qdq_model_find_kv(im->model, needed[i]) == NULL)
            return qdq_fail(QDQ_BAD_DATA, "%s: has no key %s: not an importance matrix, or a damaged one",
                            SHOWN(im->path), needed[i]);
    for (size_t i = 1; i < 3; i++)
        if (!qdq_kv_u64(qdq_model_find_kv(im->model, needed[i]), &number) || number > UINT32_MAX)
            return qdq_fail(QDQ_BAD_DATA, "%s: key %s is no u32", SHOWN(im->path), needed[i]);
    qdq_kv_u64(qdq_model_find_kv(im->model, needed[1]), &number);
    im->chunks = (uint32_t)number;
    qdq_kv_u64(qdq_model_find_kv(im->model, needed[2]), &number);
    im->chunk_size = (uint32_t)number;
    const qdq_kv *datasets = qdq_model_find_kv(im->model, needed[0]);
    uint32_t element_type;
    const uint8_t *elements;
    if (!qdq_kv_array(datasets, &element_type, &number, &elements) || element_type != QDQ_KV_STRING)
        return qdq_fail(QDQ_BAD_DATA, "%s: key imatrix.datasets is no array of strings", SHOWN(im->path));
    return read_datasets(im, elements, number);
}

/* ---- Legacy --------------------------------------------------------------------------------------------------------
 */

typedef struct cursor {
    const qdq_imatrix *im;
    const uint8_t *bytes;
    uint64_t length, at;
} cursor;

static qdq_status damaged(const cursor *c, const char *what) {
    return qdq_fail(QDQ_BAD_DATA, "%s: %s at offset %llu: damaged, cut short (%llu bytes) or not an importance matrix",
                    SHOWN(c->im->path), what, (ull)c->at, (ull)c->length);
}

/* A count of at least `least` things of `size` bytes each, which the rest of the file can hold. */
static qdq_status take_count(cursor *c, const char *what, uint32_t least, uint32_t size, uint32_t *value) {
    if (c->length - c->at < 4) return damaged(c, what);
    *value = qdq_le32(c->bytes + c->at);
    if (*value > INT32_MAX || *value < least || *value > (c->length - c->at - 4) / size) return damaged(c, what);
    c->at += 4;
    return QDQ_OK;
}

static qdq_status take_text(cursor *c, qdq_arena *arena, uint32_t length, const char *what, const char **text) {
    if (!qdq_is_text(c->bytes + c->at, length)) return damaged(c, what);
    *text = qdq_arena_text(arena, c->bytes + c->at, length);
    c->at += length;
    return *text != NULL ? QDQ_OK : no_memory(c->im->path);
}

static qdq_status read_legacy_entry(cursor *c, qdq_imatrix *im) {
    qdq_imatrix_entry e = {0};
    uint32_t length = 0, calls = 0, values = 0;
    qdq_status status = take_count(c, "bad length of a name", 1, 1, &length);
    if (status == QDQ_OK) status = take_text(c, &im->arena, length, "a name that is not UTF-8", &e.name);
    if (status != QDQ_OK) return status;
    if (c->length - c->at < 4) return damaged(c, "no number of calls");
    calls = qdq_le32(c->bytes + c->at);
    if (calls > INT32_MAX) return damaged(c, "a negative number of calls");
    c->at += 4;
    status = take_count(c, "bad number of values", 1, 4, &values);
    if (status != QDQ_OK) return status;
    e.count = values;
    e.legacy_calls = (float)(int32_t)calls;
    e.sums = c->bytes + c->at;
    status = check_values(im, &e, c->at);
    c->at += 4 * (uint64_t)values;
    return status == QDQ_OK ? add(im, &e) : status;
}

static qdq_status read_legacy(qdq_imatrix *im, const uint8_t *bytes, uint64_t length) {
    cursor c = {.im = im, .bytes = bytes, .length = length};
    uint32_t n = 0, last = 0, name = 0;
    /* The shortest entry: a name of one byte and one value. */
    qdq_status status = take_count(&c, "bad number of weights", 1, 17, &n);
    for (uint32_t i = 0; i < n && status == QDQ_OK; i++) status = read_legacy_entry(&c, im);
    if (status != QDQ_OK || c.at == length) return status;
    if (length - c.at < 8) return damaged(&c, "a broken end");
    last = qdq_le32(bytes + c.at);
    if (last > INT32_MAX) return damaged(&c, "a negative number of chunks");
    im->chunks = last;
    c.at += 4;
    status = take_count(&c, "bad length of the dataset's name", 0, 1, &name);
    im->datasets = qdq_arena_alloc(&im->arena, sizeof *im->datasets);
    if (status == QDQ_OK && im->datasets == NULL) status = no_memory(im->path);
    if (status == QDQ_OK)
        status = take_text(&c, &im->arena, name, "a dataset's name that is not UTF-8", &im->datasets[0]);
    if (status == QDQ_OK) im->n_datasets = name > 0;
    if (status == QDQ_OK && c.at != length) status = damaged(&c, "bytes behind the end");
    return status;
}

/* ---- Opening and asking --------------------------------------------------------------------------------------------
 */

static qdq_status parse(qdq_imatrix *im, const uint8_t *bytes, uint64_t length) {
    qdq_status status;
    if (length >= 4 && memcmp(bytes, "GGUF", 4) == 0) {
        status = qdq_model_parse(QDQ_LAYOUT_GGUF, bytes, length, im->path, &im->model);
        if (status == QDQ_OK) status = read_keys(im);
        if (status == QDQ_OK) status = pair_up(im);
        if (status == QDQ_OK && im->n == 0)
            status = qdq_fail(QDQ_BAD_DATA, "%s: the importance matrix has no entry", SHOWN(im->path));
    } else {
        status = read_legacy(im, bytes, length);
    }
    return status == QDQ_OK ? index_entries(im) : status;
}

static qdq_status create(const char *path, qdq_imatrix **im) {
    *im = calloc(1, sizeof **im);
    if (*im != NULL) (*im)->path = strdup(path);
    if (*im != NULL && (*im)->path != NULL) return QDQ_OK;
    free(*im);
    *im = NULL;
    return no_memory(path);
}

qdq_status qdq_imatrix_parse(const void *bytes, uint64_t length, const char *name, qdq_imatrix **result) {
    qdq_imatrix *im;
    if (bytes == NULL || name == NULL || result == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_imatrix_parse: an argument is NULL");
    qdq_status status = create(name, &im);
    if (status != QDQ_OK) return status;
    status = parse(im, bytes, length);
    if (status != QDQ_OK)
        qdq_imatrix_close(im);
    else
        *result = im;
    return status;
}

qdq_status qdq_imatrix_open(const char *path, qdq_imatrix **result) {
    qdq_map *map;
    if (path == NULL || result == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_imatrix_open: an argument is NULL");
    qdq_status status = qdq_map_open(path, &map);
    if (status != QDQ_OK) return status;
    status = qdq_imatrix_parse(map->bytes, map->length, path, result);
    if (status != QDQ_OK)
        qdq_map_close(map);
    else
        (*result)->map = map;
    return status;
}

void qdq_imatrix_close(qdq_imatrix *im) {
    if (im == NULL) return;
    qdq_model_close(im->model);
    qdq_map_close(im->map);
    qdq_arena_free(&im->arena);
    free(im->entries);
    free(im->by_name);
    free(im->path);
    free(im);
}

static bool has_any(const char *name, const char *const *parts, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strstr(name, parts[i]) != NULL) return true;
    return false;
}

qdq_status qdq_imatrix_filter(qdq_imatrix *im, const char *const *include, size_t n_include, const char *const *exclude,
                              size_t n_exclude) {
    uint64_t kept = 0;
    for (uint64_t i = 0; i < im->n; i++) {
        const char *name = im->entries[i].name;
        if (has_any(name, exclude, n_exclude) || (n_include > 0 && !has_any(name, include, n_include))) continue;
        im->entries[kept++] = im->entries[i];
    }
    im->n = kept;
    free(im->by_name);
    im->by_name = NULL;
    return index_entries(im);
}

uint64_t qdq_imatrix_count(const qdq_imatrix *im) { return im->n; }
const qdq_imatrix_entry *qdq_imatrix_entry_at(const qdq_imatrix *im, uint64_t index) { return &im->entries[index]; }

const char *qdq_imatrix_path(const qdq_imatrix *im) { return im->path; }

const char *qdq_imatrix_entry_name(const qdq_imatrix_entry *entry) { return entry->name; }

uint64_t qdq_imatrix_entry_weights(const qdq_imatrix_entry *entry) { return entry->count; }
qdq_imatrix_layout qdq_imatrix_layout_of(const qdq_imatrix *im) {
    return im->model != NULL ? QDQ_IMATRIX_GGUF : QDQ_IMATRIX_DAT;
}

const char *qdq_imatrix_dataset_at(const qdq_imatrix *im, uint64_t index) {
    return index < im->n_datasets ? im->datasets[index] : NULL;
}

const char *qdq_imatrix_dataset(const qdq_imatrix *im) { return im->n_datasets > 0 ? im->datasets[0] : ""; }
uint32_t qdq_imatrix_chunks(const qdq_imatrix *im) { return im->chunks; }
uint32_t qdq_imatrix_chunk_size(const qdq_imatrix *im) { return im->chunk_size; }

/* ---- Statistics ----------------------------------------------------------------------------------------------------
 */

/* Weights are counted as active from here on; llama-imatrix draws the line there. */
static const float ACTIVE = 1e-5f;

/* Runs over the weights of the matrices that were reached, a piece at a time; passes: the sums first, then what needs
 * them. */
static void measure(const qdq_imatrix_entry *e, bool again, uint64_t *n, qdq_imatrix_statistics *s) {
    float piece[256];
    uint64_t columns = e->columns != 0 ? e->columns : e->count;
    for (uint64_t first = 0; first < e->count;) {
        uint64_t step = columns - first % columns;
        if (step > 256) step = 256;
        bool reached = calls_of(e, first) > 0.0f || e->calls == NULL;
        if (reached) qdq_imatrix_weights(e, first, step, piece);
        for (uint64_t i = 0; i < step && reached; i++) {
            double w = piece[i];
            if (again) {
                s->deviation += (w - s->mean) * (w - s->mean);
                s->active += piece[i] > ACTIVE;
                if (w > 0 && s->sum > 0) s->entropy -= w / s->sum * log2(w / s->sum);
            } else {
                s->sum += w;
                s->least = *n == 0 || w < s->least ? w : s->least;
                s->most = w > s->most ? w : s->most;
                (*n)++;
            }
        }
        first += step;
    }
}

qdq_status qdq_imatrix_entry_describe(const qdq_imatrix_entry *entry, qdq_imatrix_statistics *statistics) {
    if (entry == NULL || statistics == NULL || statistics->size == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_imatrix_entry_describe: a NULL argument, or statistics->size is 0");
    qdq_imatrix_statistics s = {.size = statistics->size, .columns = entry->columns, .matrices = 1};
    if (entry->columns != 0) s.matrices = entry->count / entry->columns;
    uint64_t n = 0;
    for (uint64_t m = 0; m < s.matrices; m++) {
        double calls = calls_of(entry, m * entry->columns);
        s.unreached += !(calls > 0) && entry->calls != NULL;
        s.least_count = m == 0 || calls < s.least_count ? calls : s.least_count;
        s.most_count = calls > s.most_count ? calls : s.most_count;
    }
    measure(entry, false, &n, &s);
    if (n > 0) {
        s.mean = s.sum / (double)n;
        measure(entry, true, &n, &s);
        s.deviation = sqrt(s.deviation / (double)n);
        s.active /= (double)n;
        s.entropy = n > 1 ? s.entropy / log2((double)n) : s.sum > 0;
    }
    memcpy(statistics, &s, s.size < sizeof s ? s.size : sizeof s);
    return QDQ_OK;
}

/* ---- Finding -------------------------------------------------------------------------------------------------------
 */

const qdq_imatrix_entry *qdq_imatrix_exactly(const qdq_imatrix *im, const char *name) {
    const qdq_name *found = qdq_sorted_find(im->by_name, im->n, name);
    return found != NULL ? &im->entries[found->index] : NULL;
}

const qdq_imatrix_entry *qdq_imatrix_find(const qdq_imatrix *im, const char *name) {
    const qdq_imatrix_entry *found = qdq_imatrix_exactly(im, name);
    if (found != NULL || strlen(name) <= GGML_NAME_LIMIT) return found;
    char cut[GGML_NAME_LIMIT + 1];
    memcpy(cut, name, GGML_NAME_LIMIT);
    cut[GGML_NAME_LIMIT] = 0;
    return qdq_imatrix_exactly(im, cut);
}

qdq_status qdq_imatrix_match(const qdq_imatrix *im, const qdq_tensor *tensor, const qdq_imatrix_entry **entry) {
    *entry = qdq_imatrix_find(im, tensor->name);
    if (*entry == NULL) return QDQ_OK;
    const qdq_imatrix_entry *e = *entry;
    uint64_t columns = tensor->n_dims > 0 ? tensor->shape[tensor->n_dims - 1] : 1;
    uint64_t experts = tensor->n_dims > 2 ? tensor->shape[tensor->n_dims - 3] : 1, wanted;
    if (__builtin_mul_overflow(columns, experts, &wanted) || e->count != wanted ||
        (!has_one_count(e) && e->columns != columns))
        return qdq_fail(
            QDQ_BAD_DATA,
            "%s: weight \"%s\" has %llu values, but tensor \"%s\" of %s, shape %s, needs %llu x %llu: made for "
            "another model?",
            SHOWN(im->path), SHOWN(e->name), (ull)e->count, SHOWN(tensor->name), SHOWN(tensor->path),
            SHAPE(tensor->n_dims, tensor->shape), (ull)columns, (ull)experts);
    return QDQ_OK;
}

qdq_status qdq_imatrix_match_expert(const qdq_imatrix *im, const char *stack, uint64_t expert, const qdq_tensor *tensor,
                                    qdq_imatrix_entry *slice) {
    *slice = (qdq_imatrix_entry){0};
    const qdq_imatrix_entry *e = qdq_imatrix_find(im, stack);
    if (e == NULL) return QDQ_OK;
    uint64_t row = tensor->n_dims == 2 ? tensor->shape[1] : 0;
    if (row == 0 || e->count % row != 0 || expert >= e->count / row || (!has_one_count(e) && e->columns != row))
        return qdq_fail(
            QDQ_BAD_DATA,
            "%s: weight \"%s\" has %llu values in rows of %llu, of which tensor \"%s\" of %s, shape %s, cannot be "
            "expert %llu: made for another model?",
            SHOWN(im->path), SHOWN(e->name), (ull)e->count, (ull)(has_one_count(e) ? row : e->columns),
            SHOWN(tensor->name), SHOWN(tensor->path), SHAPE(tensor->n_dims, tensor->shape), (ull)expert);
    *slice = qdq_imatrix_slice(e, row, expert);
    return QDQ_OK;
}
