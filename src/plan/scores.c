/* The file is JSON, and so is what is kept in memory:
 *
 *     {"schema": "qdq.scores/1", "version": "0.1.0",
 *      "inputs": {"weights": "…", "gradients": null, "importance": null},
 *      "formats": {"q4_0": [2, 32, 18]},                       ggml type, block, bytes
 *      "energy": {"blk.0.attn_q.weight": sum w^2},             only with an importance matrix
 *      "sources": {"blk.0.attn_q.weight": {"gradient": "…", "importance": "…"}},   what was taken for the tensor's
 *      "tensors": {"blk.0.attn_q.weight": {"q4_0": {"error": [err2, ww], "gradient": [signed, absolute, squared]}}},
 *      "checksum": "0123456789abcdef"}                         of all the bytes before its comma
 */
#include "plan/scores.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "files/json_io.h"

static const char schema[] = "qdq.scores/1";

struct qdq_scores {
    json_t *root, *formats, *tensors, *energy, *sources; /* all but the first are root's */
};

static qdq_status no_memory(void) { return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the scores"); }

static json_t *text_or_null(const char *text) { return text ? json_string(text) : json_null(); }

qdq_status qdq_scores_create(const qdq_scores_inputs *inputs, qdq_scores **result) {
    if (!inputs || !inputs->weights || !result) return qdq_fail(QDQ_INVALID_ARGUMENT, "scores: a NULL argument");
    qdq_scores *scores = calloc(1, sizeof *scores);
    if (!scores) return no_memory();
    scores->root =
        json_pack("{s:s, s:s, s:{s:s, s:o, s:o}, s:{}, s:{}, s:{}, s:{}}", "schema", schema, "version", qdq_version(),
                  "inputs", "weights", inputs->weights, "gradients", text_or_null(inputs->gradients), "importance",
                  text_or_null(inputs->importance), "formats", "energy", "sources", "tensors");
    if (!scores->root) {
        qdq_scores_free(scores);
        return no_memory();
    }
    scores->formats = json_object_get(scores->root, "formats");
    scores->tensors = json_object_get(scores->root, "tensors");
    scores->energy = json_object_get(scores->root, "energy");
    scores->sources = json_object_get(scores->root, "sources");
    *result = scores;
    return QDQ_OK;
}

void qdq_scores_free(qdq_scores *scores) {
    if (!scores) return;
    json_decref(scores->root);
    free(scores);
}

/* ---- Reading ---- */

static bool same_text(const json_t *value, const char *text) {
    return text ? json_is_string(value) && strcmp(json_string_value(value), text) == 0 : !json_is_string(value);
}

static qdq_status stale(const char *path, const char *what) {
    return qdq_fail(QDQ_BAD_DATA, "%s: stale: %s since it was written; remove the file to measure anew", path, what);
}

static qdq_status check_inputs(const char *path, json_t *root, const qdq_scores_inputs *inputs) {
    json_t *stored = json_object_get(root, "inputs");
    if (!json_is_object(stored)) return qdq_fail(QDQ_BAD_DATA, "%s: has no \"inputs\"", path);
    if (!same_text(json_object_get(stored, "weights"), inputs->weights))
        return stale(path, "the weights' files have changed");
    if (!same_text(json_object_get(stored, "importance"), inputs->importance))
        return stale(path, "the importance matrix has changed");
    json_t *gradients = json_object_get(stored, "gradients");
    if (!inputs->gradients) return QDQ_OK;
    if (json_is_string(gradients))
        return same_text(gradients, inputs->gradients) ? QDQ_OK : stale(path, "the gradients' files have changed");
    return json_object_set_new(stored, "gradients", json_string(inputs->gradients)) == 0 ? QDQ_OK : no_memory();
}

static bool is_format(const char *name, qdq_format_info *info) {
    *info = (qdq_format_info){.size = sizeof *info};
    return qdq_format_describe(qdq_format_by_name(name), info) == QDQ_OK && strcmp(info->name, name) == 0;
}

/* NULL: no memory. */
static json_t *describe(const qdq_format_info *info) {
    return json_pack("[i, i, i]", (int)info->ggml_type, (int)info->block_elements, (int)info->block_bytes);
}

/* Are those the formats of today? Ones that this build lacks are, since nobody will ask for them. */
static qdq_status check_formats(const char *path, json_t *formats) {
    const char *name;
    json_t *value;
    json_object_foreach(formats, name, value) {
        qdq_format_info info;
        if (!is_format(name, &info)) continue;
        json_t *now = describe(&info);
        if (!now) return no_memory();
        bool changed = !json_equal(now, value);
        json_decref(now);
        char what[128];
        snprintf(what, sizeof what, "format %.32s has changed", name);
        if (changed) return stale(path, what);
    }
    return QDQ_OK;
}

static bool is_sum(const json_t *value, bool negative) {
    return json_is_number(value) && isfinite(json_number_value(value)) && (negative || json_number_value(value) >= 0);
}

/* n sums, the first of which may be negative if `negative`. */
static bool is_sums(const json_t *array, size_t n, bool negative) {
    if (!json_is_array(array) || json_array_size(array) != n) return false;
    for (size_t i = 0; i < n; i++)
        if (!is_sum(json_array_get(array, i), negative && i == 0)) return false;
    return true;
}

static qdq_status check_energy(const char *path, json_t *energy) {
    const char *tensor;
    json_t *value;
    json_object_foreach(energy, tensor, value) {
        if (!is_sum(value, false))
            return qdq_fail(QDQ_BAD_DATA, "%s: the energy of \"%.200s\" is no finite number >= 0", path, tensor);
    }
    return QDQ_OK;
}

static qdq_status check_sources(const char *path, json_t *sources) {
    const char *tensor;
    json_t *row;
    json_object_foreach(sources, tensor, row) {
        if (!json_is_object(row))
            return qdq_fail(QDQ_BAD_DATA, "%s: the sources of \"%.200s\" are no object", path, tensor);
    }
    return QDQ_OK;
}

static qdq_status check_tensors(const char *path, const json_t *formats, json_t *tensors) {
    const char *tensor, *format;
    json_t *row, *cell;
    json_object_foreach(tensors, tensor, row) {
        if (!json_is_object(row)) return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%.200s\" is no object", path, tensor);
        json_object_foreach(row, format, cell) {
            json_t *error = json_object_get(cell, "error"), *gradient = json_object_get(cell, "gradient");
            if (!json_object_get(formats, format) || (error && !is_sums(error, 2, false)) ||
                (gradient && !is_sums(gradient, 3, true)))
                return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%.200s\", format \"%.32s\": not what this program writes",
                                path, tensor, format);
        }
    }
    return QDQ_OK;
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

static qdq_status check(const char *path, const char *text, size_t length, json_t *root,
                        const qdq_scores_inputs *inputs) {
    const char *named = json_string_value(json_object_get(root, "schema"));
    const char *version = json_string_value(json_object_get(root, "version"));
    json_t *formats = json_object_get(root, "formats"), *tensors = json_object_get(root, "tensors");
    json_t *energy = json_object_get(root, "energy"), *sources = json_object_get(root, "sources");
    if (!named || strcmp(named, schema) != 0)
        return qdq_fail(QDQ_BAD_DATA, "%s: no file of scores: its \"schema\" is not \"%s\"", path, schema);
    if (!json_is_object(formats) || !json_is_object(tensors) || !json_is_object(energy) || !json_is_object(sources))
        return qdq_fail(QDQ_BAD_DATA, "%s: has no \"formats\", \"energy\", \"sources\" and \"tensors\"", path);
    if (!version || strcmp(version, qdq_version()) != 0) return stale(path, "this program's version has changed");
    qdq_status status = check_checksum(path, text, length);
    if (status == QDQ_OK) status = check_inputs(path, root, inputs);
    if (status == QDQ_OK) status = check_formats(path, formats);
    if (status == QDQ_OK) status = check_sources(path, sources);
    if (status == QDQ_OK) status = check_energy(path, energy);
    return status == QDQ_OK ? check_tensors(path, formats, tensors) : status;
}

qdq_status qdq_scores_read(const char *path, const char *text, size_t length, const qdq_scores_inputs *inputs,
                           qdq_scores **result) {
    if (!path || !text || !inputs || !inputs->weights || !result)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "scores: a NULL argument");
    json_error_t error;
    json_t *root;
    qdq_status status = qdq_json_parse(path, text, length, &root, &error);
    if (status == QDQ_BAD_DATA) return qdq_fail(QDQ_BAD_DATA, "%s: no JSON: line %d: %s", path, error.line, error.text);
    if (status != QDQ_OK) return status;
    status = check(path, text, length, root, inputs);
    json_object_del(root, "checksum"); /* what is measured from here on is not in it */
    qdq_scores *scores = status == QDQ_OK ? calloc(1, sizeof *scores) : NULL;
    if (!scores) {
        json_decref(root);
        return status == QDQ_OK ? no_memory() : status;
    }
    *scores = (qdq_scores){root, json_object_get(root, "formats"), json_object_get(root, "tensors"),
                           json_object_get(root, "energy"), json_object_get(root, "sources")};
    *result = scores;
    return QDQ_OK;
}

/* ---- Sources ---- */

/* Has anything been measured that depends on it? Every sum does on importance. */
static bool measured(const qdq_scores *scores, const char *tensor, const char *kind) {
    json_t *row = json_object_get(scores->tensors, tensor), *cell;
    const char *format;
    json_object_foreach(row, format, cell) {
        if (strcmp(kind, "gradient") != 0 || json_object_get(cell, "gradient")) return true;
    }
    return false;
}

static qdq_status match_source(qdq_scores *scores, const char *path, const char *tensor, const char *kind,
                               const char *source) {
    json_t *row = json_object_get(scores->sources, tensor);
    if (!row && json_object_set_new(scores->sources, tensor, row = json_object()) != 0) return no_memory();
    const json_t *known = json_object_get(row, kind);
    if (same_text(known, source) && known) return QDQ_OK;
    if (measured(scores, tensor, kind)) {
        char what[512];
        snprintf(what, sizeof what, "the %s that goes with \"%.200s\" is another", kind, tensor);
        return stale(path, what);
    }
    return json_object_set_new(row, kind, json_string(source)) == 0 ? QDQ_OK : no_memory();
}

qdq_status qdq_scores_match(qdq_scores *scores, const char *path, const char *tensor, const char *gradient,
                            const char *importance) {
    qdq_status status = match_source(scores, path, tensor, "importance", importance ? importance : "");
    if (status != QDQ_OK || !gradient) return status;
    return match_source(scores, path, tensor, "gradient", gradient);
}

/* ---- Cells ---- */

static json_t *find(const qdq_scores *scores, const char *tensor, const char *format, const char *what) {
    return json_object_get(json_object_get(json_object_get(scores->tensors, tensor), format), what);
}

static double at(const json_t *array, size_t index) { return json_number_value(json_array_get(array, index)); }

bool qdq_scores_get_error(const qdq_scores *scores, const char *tensor, const char *format, qdq_scores_error *sums) {
    const json_t *a = find(scores, tensor, format, "error");
    if (a) *sums = (qdq_scores_error){at(a, 0), at(a, 1)};
    return a != NULL;
}

bool qdq_scores_get_gradient(const qdq_scores *scores, const char *tensor, const char *format,
                             qdq_sensitivity_sums *sums) {
    const json_t *a = find(scores, tensor, format, "gradient");
    if (a) *sums = (qdq_sensitivity_sums){.signed_sum = at(a, 0), .absolute = at(a, 1), .squared = at(a, 2)};
    return a != NULL;
}

bool qdq_scores_get_energy(const qdq_scores *scores, const char *tensor, double *energy) {
    const json_t *value = json_object_get(scores->energy, tensor);
    if (json_is_number(value)) *energy = json_number_value(value);
    return json_is_number(value);
}

/* The member of that name, made if there is none; NULL: no memory. */
static json_t *member(json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    if (value) return value;
    return json_object_set_new(object, key, json_object()) == 0 ? json_object_get(object, key) : NULL;
}

static qdq_status set(qdq_scores *scores, const char *tensor, const char *format, const char *what, json_t *value) {
    if (!json_object_get(scores->formats, format)) {
        qdq_format_info info;
        bool known = is_format(format, &info);
        if (!known || json_object_set_new(scores->formats, format, describe(&info)) != 0) {
            json_decref(value);
            return known ? no_memory() : qdq_fail(QDQ_INVALID_ARGUMENT, "scores: there is no format %s", format);
        }
    }
    json_t *row = member(scores->tensors, tensor), *cell = row ? member(row, format) : NULL;
    if (!cell) json_decref(value);
    return cell && json_object_set_new(cell, what, value) == 0 ? QDQ_OK : no_memory();
}

static qdq_status not_finite(const char *tensor, const char *format) {
    return qdq_fail(QDQ_BAD_DATA, "tensor \"%.200s\" in %s: its damage is no finite number: the values are too large",
                    tensor, format);
}

qdq_status qdq_scores_set_error(qdq_scores *scores, const char *tensor, const char *format,
                                const qdq_scores_error *sums) {
    if (!isfinite(sums->err2) || !isfinite(sums->ww)) return not_finite(tensor, format);
    return set(scores, tensor, format, "error", json_pack("[f, f]", sums->err2, sums->ww));
}

qdq_status qdq_scores_set_gradient(qdq_scores *scores, const char *tensor, const char *format,
                                   const qdq_sensitivity_sums *sums) {
    if (!isfinite(sums->signed_sum) || !isfinite(sums->absolute) || !isfinite(sums->squared))
        return not_finite(tensor, format);
    return set(scores, tensor, format, "gradient",
               json_pack("[f, f, f]", sums->signed_sum, sums->absolute, sums->squared));
}

qdq_status qdq_scores_set_energy(qdq_scores *scores, const char *tensor, double energy) {
    if (!isfinite(energy)) return not_finite(tensor, "any format");
    return json_object_set_new(scores->energy, tensor, json_real(energy)) == 0 ? QDQ_OK : no_memory();
}

qdq_status qdq_scores_take(qdq_scores *scores, const qdq_scores *other, const char *tensor) {
    json_t *row = json_object_get(other->tensors, tensor), *cell;
    const char *format;
    double energy, ours;
    qdq_status status = QDQ_OK;
    if (qdq_scores_get_energy(other, tensor, &energy) && !qdq_scores_get_energy(scores, tensor, &ours))
        status = qdq_scores_set_energy(scores, tensor, energy);
    json_object_foreach(row, format, cell) {
        qdq_scores_error error, known;
        qdq_sensitivity_sums sums, known_sums;
        if (status == QDQ_OK && qdq_scores_get_error(other, tensor, format, &error) &&
            !qdq_scores_get_error(scores, tensor, format, &known))
            status = qdq_scores_set_error(scores, tensor, format, &error);
        if (status == QDQ_OK && qdq_scores_get_gradient(other, tensor, format, &sums) &&
            !qdq_scores_get_gradient(scores, tensor, format, &known_sums))
            status = qdq_scores_set_gradient(scores, tensor, format, &sums);
    }
    return status;
}

char *qdq_scores_text(const qdq_scores *scores) {
    char *text = qdq_json_print(scores->root, JSON_INDENT(1) | JSON_REAL_PRECISION(17)), tail[TAIL];
    if (!text) return NULL;
    size_t length = strlen(text) - strlen("\n}"), n = tail_of(text, length, tail);
    char *sealed = realloc(text, length + n + 1);
    if (!sealed) {
        free(text);
        return NULL;
    }
    memcpy(sealed + length, tail, n + 1);
    return sealed;
}
