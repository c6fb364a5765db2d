/* The file is JSON:
 *
 *     {"schema": "qdq.scores/1", "version": "0.1.0",
 *      "inputs": {"weights": "…", "gradients": null, "importance": null, "reference": "2026-09"},
 *      "formats": {"q4_0": [2, 32, 18]},                       ggml type, block, bytes
 *      "energy": {"blk.0.attn_q.weight": sum w^2},             only with an importance matrix
 *      "sources": {"blk.0.attn_q.weight": {"gradient": "…", "importance": "…"}},   what was taken for the tensor's
 *      "tensors": {"blk.0.attn_q.weight": {"q4_0": {"error": [err2, ww], "gradient": [signed, absolute, squared]}}},
 *      "checksum": "0123456789abcdef"}                         of all the bytes before its comma
 *
 * in that order. In memory it is a table: tensors by formats. */
#include "plan/scores.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "files/arena.h"
#include "files/json_fields.h"
#include "files/json_writer.h"

static const char schema[] = "qdq.scores/1";

enum { NAME = 32, FORMATS_LIMIT = 1024 };

typedef struct column {
    char name[NAME];
    uint64_t facts[3]; /* as in the file */
} column;

typedef struct cell {
    bool has_error, has_gradient;
    double error[2], gradient[3]; /* as in the file */
} cell;

typedef struct row {
    const char *tensor;
    const char *gradient, *importance; /* what was taken for the tensor's; NULL: not known */
    cell *cells;                       /* of the first n_cells formats */
    size_t n_cells;
    double energy;
    bool has_energy;
} row;

struct qdq_scores {
    qdq_arena arena; /* the texts */
    const char *weights, *gradients, *importance, *reference;
    column *columns;
    row *rows;       /* in the order in which they came */
    uint64_t *slots; /* a hash table of them: a row's number + 1, or 0; n_slots is 0 or a power of two */
    uint64_t n_columns, columns_room, n_rows, rows_room, n_slots;
};

static qdq_status no_memory(void) { return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the scores"); }

static bool keep_text(qdq_scores *scores, const char *text, const char **kept) {
    *kept = text != NULL ? qdq_arena_text(&scores->arena, text, strlen(text)) : NULL;
    return text == NULL || *kept != NULL;
}

qdq_status qdq_scores_create(const qdq_scores_inputs *inputs, qdq_scores **result) {
    if (!inputs || !inputs->weights || !result) return qdq_fail(QDQ_INVALID_ARGUMENT, "scores: a NULL argument");
    qdq_scores *scores = calloc(1, sizeof *scores);
    if (scores == NULL) return no_memory();
    if (!keep_text(scores, inputs->weights, &scores->weights) ||
        !keep_text(scores, inputs->gradients, &scores->gradients) ||
        !keep_text(scores, inputs->importance, &scores->importance) ||
        !keep_text(scores, inputs->reference, &scores->reference)) {
        qdq_scores_free(scores);
        return no_memory();
    }
    *result = scores;
    return QDQ_OK;
}

void qdq_scores_free(qdq_scores *scores) {
    if (scores == NULL) return;
    for (uint64_t i = 0; i < scores->n_rows; i++) free(scores->rows[i].cells);
    free(scores->rows);
    free(scores->slots);
    free(scores->columns);
    qdq_arena_free(&scores->arena);
    free(scores);
}

/* ---- The table -------------------------------------------------------------------------------------------------- */

/* Where a name is looked for. It begins at another value in each process, so that no file can choose names that meet.
 */
static uint64_t hash_of(const qdq_scores *scores, const char *tensor) {
    uint64_t hash = qdq_hash((uint64_t)(uintptr_t)scores, tensor, strlen(tensor));
    return hash ^ hash >> 32;
}

/* The slot that has the tensor's row, or a free one where it would go; there are free ones. */
static uint64_t *find_slot(const qdq_scores *scores, const char *tensor) {
    uint64_t mask = scores->n_slots - 1, at = hash_of(scores, tensor) & mask;
    while (scores->slots[at] != 0 && strcmp(scores->rows[scores->slots[at] - 1].tensor, tensor) != 0)
        at = (at + 1) & mask;
    return &scores->slots[at];
}

static row *find_row(const qdq_scores *scores, const char *tensor) {
    uint64_t slot = scores->n_slots > 0 ? *find_slot(scores, tensor) : 0;
    return slot > 0 ? &scores->rows[slot - 1] : NULL;
}

/* At least twice as many slots as rows. */
static bool grow_slots(qdq_scores *scores) {
    if (2 * (scores->n_rows + 1) <= scores->n_slots) return true;
    uint64_t n = scores->n_slots > 0 ? 2 * scores->n_slots : 256;
    uint64_t *slots = calloc((size_t)n, sizeof *slots);
    if (slots == NULL) return false;
    free(scores->slots);
    scores->slots = slots;
    scores->n_slots = n;
    for (uint64_t i = 0; i < scores->n_rows; i++) *find_slot(scores, scores->rows[i].tensor) = i + 1;
    return true;
}

/* The tensor's, made if there is none; NULL: no memory. */
static row *take_row(qdq_scores *scores, const char *tensor) {
    row *found = find_row(scores, tensor), made = {0};
    if (found != NULL) return found;
    if (!grow_slots(scores) || !keep_text(scores, tensor, &made.tensor) ||
        !qdq_grow((void **)&scores->rows, scores->n_rows, &scores->rows_room, sizeof made))
        return NULL;
    *find_slot(scores, tensor) = scores->n_rows + 1;
    scores->rows[scores->n_rows] = made;
    return &scores->rows[scores->n_rows++];
}

static uint64_t find_column(const qdq_scores *scores, const char *format) {
    uint64_t c = 0;
    while (c < scores->n_columns && strcmp(scores->columns[c].name, format) != 0) c++;
    return c;
}

static bool is_format(const char *name, column *made) {
    qdq_format_info info = {.size = sizeof info};
    if (qdq_format_describe(qdq_format_by_name(name), &info) != QDQ_OK || strcmp(info.name, name) != 0) return false;
    *made = (column){.facts = {(uint64_t)info.ggml_type, info.block_elements, info.block_bytes}};
    strncpy(made->name, name, NAME - 1);
    return true;
}

static bool add_column(qdq_scores *scores, const column *made) {
    if (!qdq_grow((void **)&scores->columns, scores->n_columns, &scores->columns_room, sizeof *made)) return false;
    scores->columns[scores->n_columns++] = *made;
    return true;
}

static cell *find_cell(const qdq_scores *scores, const char *tensor, const char *format) {
    const row *r = find_row(scores, tensor);
    uint64_t c = find_column(scores, format);
    return r != NULL && c < r->n_cells ? &r->cells[c] : NULL;
}

/* NULL: no memory. */
static cell *cell_at(const qdq_scores *scores, row *r, uint64_t c) {
    if (c < r->n_cells) return &r->cells[c];
    cell *cells = realloc(r->cells, (size_t)scores->n_columns * sizeof *cells);
    if (cells == NULL) return NULL;
    memset(cells + r->n_cells, 0, ((size_t)scores->n_columns - r->n_cells) * sizeof *cells);
    r->cells = cells;
    r->n_cells = (size_t)scores->n_columns;
    return &cells[c];
}

/* ---- Reading ---------------------------------------------------------------------------------------------------- */

static qdq_status stale(const char *path, const char *what) {
    return qdq_fail(QDQ_BAD_DATA, "%s: stale: %s since it was written; remove the file to measure anew", path, what);
}

static bool same_text(const char *a, const char *b) { return a && b ? strcmp(a, b) == 0 : a == b; }

typedef struct reading {
    qdq_json_reader json;
    const char *path;
    qdq_scores *scores;
} reading;

/* What is not as this program writes it, in a file whose checksum is right. */
static qdq_status odd(const reading *r, const char *what) {
    if (r->json.memory) return no_memory();
    if (r->json.why != NULL) return qdq_json_failure(r->path, &r->json);
    return qdq_fail(QDQ_BAD_DATA, "%s: %s: not what this program writes", r->path, what);
}

static qdq_status read_inputs(reading *r, const qdq_scores_inputs *inputs) {
    qdq_scores *s = r->scores;
    const qdq_json_field fields[] = {{"weights", QDQ_JSON_TEXT, &s->weights},
                                     {"gradients", QDQ_JSON_OPTIONAL, &s->gradients},
                                     {"importance", QDQ_JSON_OPTIONAL, &s->importance},
                                     {"reference", QDQ_JSON_OPTIONAL, &s->reference}};
    uint64_t seen = 0;
    const char *key;
    if (s->weights != NULL || !qdq_json_enter(&r->json, '{')) return odd(r, "\"inputs\"");
    while (qdq_json_key(&r->json, &key))
        if (!qdq_json_field_read(&r->json, &s->arena, key, fields, 4, &seen)) return odd(r, "\"inputs\"");
    if (!same_text(s->weights, inputs->weights)) return stale(r->path, "the weights' files have changed");
    if (!same_text(s->importance, inputs->importance)) return stale(r->path, "the importance matrix has changed");
    if (s->reference != NULL && inputs->reference != NULL && !same_text(s->reference, inputs->reference))
        return stale(r->path, "the revision by which codes are chosen has changed");
    if (s->reference == NULL && !keep_text(s, inputs->reference, &s->reference)) return no_memory();
    if (inputs->gradients == NULL) return QDQ_OK;
    if (s->gradients != NULL)
        return same_text(s->gradients, inputs->gradients) ? QDQ_OK
                                                          : stale(r->path, "the gradients' files have changed");
    return keep_text(s, inputs->gradients, &s->gradients) ? QDQ_OK : no_memory();
}

/* Are those the formats of today? Ones that this build lacks are, since nobody will ask for them. */
static qdq_status read_format(reading *r, const char *name) {
    column read = {0}, now;
    size_t n = 0;
    if (strlen(name) >= NAME || r->scores->n_columns == FORMATS_LIMIT ||
        find_column(r->scores, name) < r->scores->n_columns || !qdq_json_enter(&r->json, '['))
        return odd(r, "\"formats\"");
    strcpy(read.name, name);
    while (qdq_json_item(&r->json))
        if (n == 3 || !qdq_json_whole(&r->json, &read.facts[n++])) return odd(r, "\"formats\"");
    if (is_format(name, &now) && (n != 3 || memcmp(now.facts, read.facts, sizeof now.facts) != 0)) {
        char what[128];
        snprintf(what, sizeof what, "format %.32s has changed", name);
        return stale(r->path, what);
    }
    return add_column(r->scores, &read) ? QDQ_OK : no_memory();
}

static qdq_status read_energy(reading *r, const char *tensor) {
    row *to = take_row(r->scores, tensor);
    if (to == NULL) return no_memory();
    if (!to->has_energy && qdq_json_real(&r->json, &to->energy) && isfinite(to->energy) && to->energy >= 0) {
        to->has_energy = true;
        return QDQ_OK;
    }
    char what[256];
    snprintf(what, sizeof what, "the energy of \"%.200s\" is no finite number >= 0", tensor);
    return odd(r, what);
}

static qdq_status read_source(reading *r, const char *tensor) {
    row *to = take_row(r->scores, tensor);
    if (to == NULL) return no_memory();
    const qdq_json_field fields[] = {{"gradient", QDQ_JSON_OPTIONAL, &to->gradient},
                                     {"importance", QDQ_JSON_OPTIONAL, &to->importance}};
    uint64_t seen = 0;
    bool good = to->gradient == NULL && to->importance == NULL && qdq_json_enter(&r->json, '{');
    const char *key;
    while (good && qdq_json_key(&r->json, &key))
        good = qdq_json_field_read(&r->json, &r->scores->arena, key, fields, 2, &seen);
    return good && r->json.why == NULL ? QDQ_OK : odd(r, "\"sources\"");
}

/* n sums, the first of which may be negative if `negative`. */
static bool read_sums(reading *r, size_t n, bool negative, double *sums, bool *has) {
    size_t at = 0;
    if (*has || !qdq_json_enter(&r->json, '[')) return false;
    while (qdq_json_item(&r->json)) {
        if (at == n || !qdq_json_real(&r->json, &sums[at]) || !isfinite(sums[at])) return false;
        if (sums[at] < 0 && !(negative && at == 0)) return false;
        at++;
    }
    *has = at == n;
    return *has;
}

static bool read_cell(reading *r, cell *to) {
    const char *key;
    bool good = qdq_json_enter(&r->json, '{');
    while (good && qdq_json_key(&r->json, &key)) {
        if (strcmp(key, "error") == 0)
            good = read_sums(r, 2, false, to->error, &to->has_error);
        else if (strcmp(key, "gradient") == 0)
            good = read_sums(r, 3, true, to->gradient, &to->has_gradient);
        else
            qdq_json_skip(&r->json);
    }
    return good && r->json.why == NULL;
}

static qdq_status read_tensor(reading *r, const char *tensor) {
    row *to = take_row(r->scores, tensor);
    if (to == NULL) return no_memory();
    if (to->cells != NULL || !qdq_json_enter(&r->json, '{')) return odd(r, "\"tensors\"");
    const char *format;
    while (qdq_json_key(&r->json, &format)) {
        char name[NAME], what[320];
        snprintf(name, sizeof name, "%s", format);
        uint64_t c = find_column(r->scores, format);
        cell *at = c < r->scores->n_columns ? cell_at(r->scores, to, c) : NULL;
        if (at == NULL && c < r->scores->n_columns) return no_memory();
        if (at != NULL && read_cell(r, at)) continue;
        snprintf(what, sizeof what, "tensor \"%.200s\", format \"%s\"", to->tensor, name);
        return odd(r, what);
    }
    return QDQ_OK;
}

static const struct {
    const char *key;
    qdq_status (*read)(reading *r, const char *key); /* of each member */
} parts[] = {{"formats", read_format}, {"energy", read_energy}, {"sources", read_source}, {"tensors", read_tensor}};

enum { N_PARTS = sizeof parts / sizeof *parts };

static qdq_status read_part(reading *r, size_t part) {
    const char *key;
    if (!qdq_json_enter(&r->json, '{')) return odd(r, parts[part].key);
    while (qdq_json_key(&r->json, &key)) {
        char *name = strdup(key); /* the reader's own lives up to the next */
        qdq_status status = name != NULL ? parts[part].read(r, name) : no_memory();
        free(name);
        if (status != QDQ_OK) return status;
    }
    return QDQ_OK;
}

static qdq_status read_member(reading *r, const char *key, const qdq_scores_inputs *inputs, unsigned *seen) {
    size_t part = 0;
    while (part < N_PARTS && strcmp(parts[part].key, key) != 0) part++;
    if (part < N_PARTS) {
        if (*seen & 1u << part) return odd(r, key);
        *seen |= 1u << part;
        return read_part(r, part);
    }
    if (strcmp(key, "inputs") == 0) return read_inputs(r, inputs);
    if (strcmp(key, "version") != 0) {
        qdq_json_skip(&r->json);
        return QDQ_OK;
    }
    const char *version;
    if (qdq_json_string(&r->json, &version, NULL) && strcmp(version, qdq_version()) == 0) return QDQ_OK;
    return stale(r->path, "this program's version has changed");
}

static qdq_status read_scores(reading *r, const qdq_scores_inputs *inputs) {
    unsigned seen = 0;
    const char *key;
    qdq_status status = qdq_json_enter(&r->json, '{') ? QDQ_OK : odd(r, "no object");
    while (status == QDQ_OK && qdq_json_key(&r->json, &key)) status = read_member(r, key, inputs, &seen);
    if (status == QDQ_OK) qdq_json_end(&r->json);
    if (status != QDQ_OK || r->json.why != NULL) return status != QDQ_OK ? status : odd(r, "");
    if (seen == (1u << N_PARTS) - 1 && r->scores->weights != NULL) return QDQ_OK;
    return odd(r, "\"inputs\", \"formats\", \"energy\", \"sources\" or \"tensors\" is missing");
}

/* ---- The checksum: a digit that changes would be another plan, and nobody would see it ---- */

enum { TAIL = 64 };

/* What ends the file, after the text's first `length` bytes: a checksum of them. */
static size_t tail_of(const char *text, size_t length, char tail[TAIL]) {
    uint64_t hash = qdq_hash(QDQ_HASH_OF_NOTHING, text, length);
    return (size_t)snprintf(tail, TAIL, ",\n \"checksum\": \"%016" PRIx64 "\"\n}", hash);
}

static qdq_status check_checksum(const char *path, const char *text, size_t length) {
    char tail[TAIL];
    if (length > 0 && text[length - 1] == '\n') length--;
    size_t n = tail_of("", 0, tail); /* it is always as long */
    if (length > n) tail_of(text, length - n, tail);
    if (length > n && memcmp(text + length - n, tail, n) == 0) return QDQ_OK;
    return qdq_fail(
        QDQ_BAD_DATA,
        "%s: damaged, or changed by hand: its \"checksum\" is not that of what it holds; remove the file to "
        "measure anew",
        path);
}

qdq_status qdq_scores_read(const char *path, const char *text, size_t length, const qdq_scores_inputs *inputs,
                           qdq_scores **result) {
    if (!path || !text || !inputs || !inputs->weights || !result)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "scores: a NULL argument");
    qdq_status status = qdq_json_check_schema(path, text, length, schema, "file of scores");
    if (status == QDQ_OK) status = check_checksum(path, text, length);
    if (status != QDQ_OK) return status;
    qdq_scores *scores = calloc(1, sizeof *scores);
    if (scores == NULL) return no_memory();
    reading r = {.json = {.bytes = (const uint8_t *)text, .length = length}, .path = path, .scores = scores};
    status = read_scores(&r, inputs);
    qdq_json_free(&r.json);
    if (status == QDQ_OK)
        *result = scores;
    else
        qdq_scores_free(scores);
    return status;
}

/* ---- Sources ---------------------------------------------------------------------------------------------------- */

/* Has anything been measured that depends on it? Every sum does on importance. */
static bool measured(const row *r, bool gradients) {
    for (size_t c = 0; c < r->n_cells; c++)
        if (r->cells[c].has_gradient || (!gradients && r->cells[c].has_error)) return true;
    return false;
}

static qdq_status match_source(qdq_scores *scores, const char *path, const char *tensor, bool gradients,
                               const char *source) {
    row *r = take_row(scores, tensor);
    if (r == NULL) return no_memory();
    const char **known = gradients ? &r->gradient : &r->importance;
    if (*known != NULL && strcmp(*known, source) == 0) return QDQ_OK;
    if (!measured(r, gradients)) return keep_text(scores, source, known) ? QDQ_OK : no_memory();
    char what[512];
    snprintf(what, sizeof what, "the %s that goes with \"%.200s\" is another", gradients ? "gradient" : "importance",
             tensor);
    return stale(path, what);
}

qdq_status qdq_scores_match(qdq_scores *scores, const char *path, const char *tensor, const char *gradient,
                            const char *importance) {
    qdq_status status = match_source(scores, path, tensor, false, importance ? importance : "");
    if (status != QDQ_OK || !gradient) return status;
    return match_source(scores, path, tensor, true, gradient);
}

const char *qdq_scores_gradients(const qdq_scores *scores) { return scores->gradients; }

/* ---- Cells ------------------------------------------------------------------------------------------------------ */

bool qdq_scores_get_error(const qdq_scores *scores, const char *tensor, const char *format, qdq_scores_error *sums) {
    const cell *c = find_cell(scores, tensor, format);
    bool has = c != NULL && c->has_error;
    if (has) *sums = (qdq_scores_error){c->error[0], c->error[1]};
    return has;
}

bool qdq_scores_get_gradient(const qdq_scores *scores, const char *tensor, const char *format,
                             qdq_sensitivity_sums *sums) {
    const cell *c = find_cell(scores, tensor, format);
    bool has = c != NULL && c->has_gradient;
    if (has)
        *sums =
            (qdq_sensitivity_sums){.signed_sum = c->gradient[0], .absolute = c->gradient[1], .squared = c->gradient[2]};
    return has;
}

bool qdq_scores_get_energy(const qdq_scores *scores, const char *tensor, double *energy) {
    const row *r = find_row(scores, tensor);
    bool has = r != NULL && r->has_energy;
    if (has) *energy = r->energy;
    return has;
}

/* The cell to set; NULL: *status says why. */
static cell *set(qdq_scores *scores, const char *tensor, const char *format, qdq_status *status) {
    uint64_t c = find_column(scores, format);
    column made;
    if (c == scores->n_columns && !is_format(format, &made)) {
        *status = qdq_fail(QDQ_INVALID_ARGUMENT, "scores: there is no format %s", format);
        return NULL;
    }
    bool known = c < scores->n_columns || add_column(scores, &made);
    row *r = known ? take_row(scores, tensor) : NULL;
    cell *at = r != NULL ? cell_at(scores, r, c) : NULL;
    *status = at != NULL ? QDQ_OK : no_memory();
    return at;
}

static qdq_status not_finite(const char *tensor, const char *format) {
    return qdq_fail(QDQ_BAD_DATA, "tensor \"%.200s\" in %s: its damage is no finite number: the values are too large",
                    tensor, format);
}

qdq_status qdq_scores_set_error(qdq_scores *scores, const char *tensor, const char *format,
                                const qdq_scores_error *sums) {
    qdq_status status;
    if (!isfinite(sums->err2) || !isfinite(sums->ww)) return not_finite(tensor, format);
    cell *at = set(scores, tensor, format, &status);
    if (at == NULL) return status;
    at->has_error = true;
    at->error[0] = sums->err2;
    at->error[1] = sums->ww;
    return QDQ_OK;
}

qdq_status qdq_scores_set_gradient(qdq_scores *scores, const char *tensor, const char *format,
                                   const qdq_sensitivity_sums *sums) {
    qdq_status status;
    if (!isfinite(sums->signed_sum) || !isfinite(sums->absolute) || !isfinite(sums->squared))
        return not_finite(tensor, format);
    cell *at = set(scores, tensor, format, &status);
    if (at == NULL) return status;
    at->has_gradient = true;
    at->gradient[0] = sums->signed_sum;
    at->gradient[1] = sums->absolute;
    at->gradient[2] = sums->squared;
    return QDQ_OK;
}

qdq_status qdq_scores_set_energy(qdq_scores *scores, const char *tensor, double energy) {
    if (!isfinite(energy)) return not_finite(tensor, "any format");
    row *r = take_row(scores, tensor);
    if (r == NULL) return no_memory();
    r->has_energy = true;
    r->energy = energy;
    return QDQ_OK;
}

qdq_status qdq_scores_take(qdq_scores *scores, const qdq_scores *other, const char *tensor) {
    const row *from = find_row(other, tensor);
    row *to = from != NULL ? take_row(scores, tensor) : NULL;
    if (from == NULL) return QDQ_OK;
    if (to == NULL) return no_memory();
    if (from->has_energy && !to->has_energy) {
        to->has_energy = true;
        to->energy = from->energy;
    }
    for (size_t c = 0; c < from->n_cells; c++) {
        const cell *known = &from->cells[c];
        if (!known->has_error && !known->has_gradient) continue;
        qdq_status status;
        cell *at = set(scores, tensor, other->columns[c].name, &status);
        if (at == NULL) return status;
        cell merged = at->has_error ? *at : *known;
        merged.has_gradient = at->has_gradient || known->has_gradient;
        memcpy(merged.gradient, (at->has_gradient ? at : known)->gradient, sizeof merged.gradient);
        *at = merged;
    }
    return QDQ_OK;
}

/* ---- Writing ---------------------------------------------------------------------------------------------------- */

static void put_sums(qdq_json_writer *w, const char *key, bool has, const double *sums, size_t n) {
    if (!has) return;
    qdq_json_put_open(w, key, '[');
    for (size_t i = 0; i < n; i++) qdq_json_put_real(w, NULL, sums[i]);
    qdq_json_put_close(w);
}

static void put_row(qdq_json_writer *w, const qdq_scores *scores, const row *r) {
    if (!measured(r, false)) return;
    qdq_json_put_open(w, r->tensor, '{');
    for (size_t c = 0; c < r->n_cells; c++) {
        const cell *at = &r->cells[c];
        if (!at->has_error && !at->has_gradient) continue;
        qdq_json_put_open(w, scores->columns[c].name, '{');
        put_sums(w, "error", at->has_error, at->error, 2);
        put_sums(w, "gradient", at->has_gradient, at->gradient, 3);
        qdq_json_put_close(w);
    }
    qdq_json_put_close(w);
}

static void put_source(qdq_json_writer *w, const row *r) {
    if (r->gradient == NULL && r->importance == NULL) return;
    qdq_json_put_open(w, r->tensor, '{');
    if (r->importance != NULL) qdq_json_put_text(w, "importance", r->importance);
    if (r->gradient != NULL) qdq_json_put_text(w, "gradient", r->gradient);
    qdq_json_put_close(w);
}

char *qdq_scores_text(const qdq_scores *scores) {
    qdq_builder text = {0};
    qdq_json_writer w = {.out = &text, .indent = 1};
    qdq_json_put_open(&w, NULL, '{');
    qdq_json_put_text(&w, "schema", schema);
    qdq_json_put_text(&w, "version", qdq_version());
    qdq_json_put_open(&w, "inputs", '{');
    qdq_json_put_text(&w, "weights", scores->weights);
    qdq_json_put_text(&w, "gradients", scores->gradients);
    qdq_json_put_text(&w, "importance", scores->importance);
    qdq_json_put_text(&w, "reference", scores->reference);
    qdq_json_put_close(&w);
    qdq_json_put_open(&w, "formats", '{');
    for (uint64_t c = 0; c < scores->n_columns; c++) {
        qdq_json_put_open(&w, scores->columns[c].name, '[');
        for (int i = 0; i < 3; i++) qdq_json_put_whole(&w, NULL, scores->columns[c].facts[i]);
        qdq_json_put_close(&w);
    }
    qdq_json_put_close(&w);
    qdq_json_put_open(&w, "energy", '{');
    for (uint64_t i = 0; i < scores->n_rows; i++)
        if (scores->rows[i].has_energy) qdq_json_put_real(&w, scores->rows[i].tensor, scores->rows[i].energy);
    qdq_json_put_close(&w);
    qdq_json_put_open(&w, "sources", '{');
    for (uint64_t i = 0; i < scores->n_rows; i++) put_source(&w, &scores->rows[i]);
    qdq_json_put_close(&w);
    qdq_json_put_open(&w, "tensors", '{');
    for (uint64_t i = 0; i < scores->n_rows; i++) put_row(&w, scores, &scores->rows[i]);
    qdq_json_put_close(&w);
    char tail[TAIL];
    if (!text.failed) qdq_builder_add(&text, tail, tail_of(text.bytes, text.n, tail));
    return qdq_builder_take(&text);
}
