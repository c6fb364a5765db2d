#include "plan/plan_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "files/files.h"
#include "files/json_io.h"
#include "base/error.h"

static const char schema[] = "qdq.plan/1";

/* ---- Targets ---- */

static const struct {
    const char *name;
    qdq_target_kind kind;
    double factor;
} units[] = {
    {"bpw", QDQ_TARGET_BITS, 1},       {"%", QDQ_TARGET_PERCENT, 1},      {"B", QDQ_TARGET_BYTES, 1},
    {"kB", QDQ_TARGET_BYTES, 1e3},     {"MB", QDQ_TARGET_BYTES, 1e6},     {"GB", QDQ_TARGET_BYTES, 1e9},
    {"TB", QDQ_TARGET_BYTES, 1e12},    {"KiB", QDQ_TARGET_BYTES, 0x1p10}, {"MiB", QDQ_TARGET_BYTES, 0x1p20},
    {"GiB", QDQ_TARGET_BYTES, 0x1p30}, {"TiB", QDQ_TARGET_BYTES, 0x1p40},
};

qdq_status qdq_target_parse(const char *text, qdq_target *target) {
    size_t digits = strspn(text, "0123456789."), blanks = strspn(text + digits, " ");
    char *end;
    double value = strtod(text, &end);
    for (size_t i = 0; digits > 0 && end == text + digits && i < sizeof units / sizeof *units; i++) {
        if (strcasecmp(text + digits + blanks, units[i].name) != 0) continue;
        *target = (qdq_target){units[i].kind, value * units[i].factor};
        if (target->value > 0 && target->value < 0x1p62) return QDQ_OK;
    }
    return qdq_fail(QDQ_INVALID_ARGUMENT,
                    "a target is bits a weight (4.5bpw), bytes of the file (6.2GiB, 6.2GB, …) or percent of the source "
                    "(30%%), not '%.80s'",
                    text);
}

uint64_t qdq_target_bytes(const qdq_target *target, uint64_t overhead, uint64_t elements, uint64_t source_bytes) {
    if (target->kind == QDQ_TARGET_BYTES) return (uint64_t)target->value;
    double of = target->kind == QDQ_TARGET_BITS ? (double)elements / 8 : (double)source_bytes / 100;
    double bytes = floor(target->value * of);
    return bytes < 0x1p62 ? overhead + (uint64_t)bytes : UINT64_C(1) << 62;
}

/* ---- Writing ---- */

static json_t *text_or_null(const char *text) { return text ? qdq_json_escaped(text) : json_null(); }

static json_t *tensor_json(const qdq_plan_tensor *t) {
    json_t *shape = json_array(), *choices = json_array();
    bool whole = true;
    for (uint32_t d = 0; d < t->n_dims; d++)
        whole &= json_array_append_new(shape, json_integer((json_int_t)t->shape[d])) == 0;
    for (uint32_t c = 0; c < t->n_choices; c++)
        whole &= json_array_append_new(choices,
                                       json_pack("{s:s, s:I, s:f}", "format", t->choices[c].format, "bytes",
                                                 (json_int_t)t->choices[c].bytes, "damage", t->choices[c].damage)) == 0;
    if (!whole) {
        json_decref(shape);
        json_decref(choices);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:s, s:o, s:o, s:o, s:s, s:I, s:o}", "name", t->name, "gguf", text_or_null(t->gguf),
                     "dtype", t->dtype, "shape", shape, "group", text_or_null(t->group), "reason",
                     text_or_null(t->reason), "format", t->reason ? QDQ_PLAN_SOURCE : t->choices[t->chosen].format,
                     "bytes", (json_int_t)t->bytes, "choices", choices);
}

json_t *qdq_plan_json(const qdq_plan *p) {
    uint64_t before = qdq_json_failures();
    json_t *tensors = json_array();
    for (size_t i = 0; i < p->n_tensors; i++) {
        json_t *tensor = tensor_json(&p->tensors[i]);
        if (!tensor || json_array_append_new(tensors, tensor) != 0) {
            json_decref(tensors);
            return NULL;
        }
    }
    json_t *plan = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:b, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:b, s:o}", "schema", schema,
        "version", qdq_version(), "model", qdq_json_escaped(p->model), "imatrix", text_or_null(p->imatrix), "via",
        text_or_null(p->via), "keep_codes", (int)p->keep_codes, "score", p->score, "target", p->target, "budget",
        (json_int_t)p->budget, "bytes", (json_int_t)p->bytes, "floor", (json_int_t)p->floor, "ceiling",
        (json_int_t)p->ceiling, "overhead", (json_int_t)p->overhead, "elements", (json_int_t)p->elements, "damage",
        p->damage, "lower_bound", p->lower_bound, "proven", (int)p->proven, "tensors", tensors);
    if (plan && qdq_json_failures() == before) return plan;
    json_decref(plan);
    return NULL;
}

/* ---- Reading ---- */

static bool get_text(const json_t *object, const char *key, const char **text) {
    *text = json_string_value(json_object_get(object, key));
    return *text != NULL;
}

/* A text, or null or nothing: NULL. */
static bool get_optional(const json_t *object, const char *key, const char **text) {
    const json_t *value = json_object_get(object, key);
    *text = json_string_value(value);
    return *text != NULL || !value || json_is_null(value);
}

static bool get_count(const json_t *object, const char *key, uint64_t *count) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *count = (uint64_t)json_integer_value(value);
    return true;
}

static bool get_damage(const json_t *object, const char *key, double *damage) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) return false;
    *damage = json_number_value(value);
    return isfinite(*damage) && *damage >= 0;
}

static bool read_shape(const json_t *object, qdq_plan_tensor *t) {
    const json_t *shape = json_object_get(object, "shape");
    size_t n = json_array_size(shape);
    uint64_t *extents = calloc(n + 1, sizeof *extents);
    t->shape = extents;
    if (!json_is_array(shape) || n > 64 || !extents) return false;
    t->n_dims = (uint32_t)n;
    t->elements = 1;
    for (size_t d = 0; d < n; d++) {
        const json_t *extent = json_array_get(shape, d);
        if (!json_is_integer(extent) || json_integer_value(extent) < 0) return false;
        extents[d] = (uint64_t)json_integer_value(extent);
        if (__builtin_mul_overflow(t->elements, extents[d], &t->elements)) return false;
    }
    return true;
}

static bool read_choices(const json_t *object, qdq_plan_tensor *t) {
    const json_t *choices = json_object_get(object, "choices");
    size_t n = json_array_size(choices);
    qdq_plan_choice *table = calloc(n + 1, sizeof *table);
    t->choices = table;
    if (!json_is_array(choices) || n > 1024 || !table) return false;
    t->n_choices = (uint32_t)n;
    for (size_t c = 0; c < n; c++) {
        const json_t *choice = json_array_get(choices, c);
        if (!get_text(choice, "format", &table[c].format) || !get_count(choice, "bytes", &table[c].bytes) ||
            !get_damage(choice, "damage", &table[c].damage))
            return false;
    }
    return true;
}

static qdq_status read_tensor(const char *path, const json_t *object, size_t index, qdq_plan_tensor *t) {
    const char *format;
    if (!get_text(object, "name", &t->name))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor %zu has no \"name\"", path, index);
    if (!get_text(object, "dtype", &t->dtype) || !get_optional(object, "gguf", &t->gguf) ||
        !get_optional(object, "group", &t->group) || !get_optional(object, "reason", &t->reason) ||
        !get_count(object, "bytes", &t->bytes) || !get_text(object, "format", &format))
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: tensor \"%.200s\": \"dtype\", \"gguf\", \"group\", \"reason\", \"bytes\" or \"format\" is "
                        "missing or of another type",
                        path, t->name);
    bool shape = read_shape(object, t), choices = shape && read_choices(object, t);
    if (!t->shape || (shape && !t->choices))
        return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for tensor \"%.200s\"", path, t->name);
    if (!choices)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%.200s\": \"shape\" or \"choices\" is not what a plan has", path,
                        t->name);
    if (t->reason) {
        if (strcmp(format, QDQ_PLAN_SOURCE) == 0 && t->n_choices == 0) return QDQ_OK;
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%.200s\" is kept, and yet has a format or choices", path, t->name);
    }
    while (t->chosen < t->n_choices && strcmp(t->choices[t->chosen].format, format) != 0) t->chosen++;
    if (t->chosen == t->n_choices || t->choices[t->chosen].bytes != t->bytes)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: tensor \"%.200s\": its \"format\" (%.32s) and \"bytes\" are none of its \"choices\"", path,
                        t->name, format);
    if (strcmp(format, QDQ_PLAN_SOURCE) != 0 && qdq_format_by_name(format) == QDQ_FORMAT_NONE)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%.200s\": this build has no format %.32s", path, t->name, format);
    return QDQ_OK;
}

static qdq_status read_plan(const char *path, qdq_plan *p) {
    const json_t *root = p->root, *tensors = json_object_get(root, "tensors");
    const char *named = json_string_value(json_object_get(root, "schema"));
    if (!named || strcmp(named, schema) != 0)
        return qdq_fail(QDQ_BAD_DATA, "%s: no plan: its \"schema\" is not \"%s\"", path, schema);
    if (!get_text(root, "model", &p->model) || !get_text(root, "score", &p->score) ||
        !get_text(root, "target", &p->target) || !get_optional(root, "imatrix", &p->imatrix) ||
        !get_optional(root, "via", &p->via) || !get_count(root, "budget", &p->budget) ||
        !get_count(root, "bytes", &p->bytes) || !get_count(root, "floor", &p->floor) ||
        !get_count(root, "ceiling", &p->ceiling) || !get_count(root, "overhead", &p->overhead) ||
        !get_count(root, "elements", &p->elements) || !get_damage(root, "damage", &p->damage) ||
        !get_damage(root, "lower_bound", &p->lower_bound) || !json_is_array(tensors))
        return qdq_fail(QDQ_BAD_DATA, "%s: a figure of the plan is missing, or of another type", path);
    p->proven = json_is_true(json_object_get(root, "proven"));
    p->keep_codes = json_is_true(json_object_get(root, "keep_codes"));
    size_t n = json_array_size(tensors);
    qdq_plan_tensor *table = calloc(n + 1, sizeof *table);
    if (!table) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for %zu tensors", path, n);
    p->tensors = table;
    p->n_tensors = n;
    uint64_t sum = p->overhead;
    for (size_t i = 0; i < n; i++) {
        qdq_status status = read_tensor(path, json_array_get(tensors, i), i, &table[i]);
        if (status != QDQ_OK) return status;
        if (__builtin_add_overflow(sum, table[i].bytes, &sum)) sum = UINT64_MAX;
    }
    if (sum != p->bytes)
        return qdq_fail(QDQ_BAD_DATA, "%s: \"bytes\" is %" PRIu64 ", but overhead and tensors have %" PRIu64, path,
                        p->bytes, sum);
    return QDQ_OK;
}

qdq_status qdq_plan_from_json(const char *path, json_t *root, qdq_plan *plan) {
    *plan = (qdq_plan){.root = root, .path = strdup(path)};
    qdq_status status = root && plan->path ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for a plan", path);
    if (status == QDQ_OK) status = read_plan(path, plan);
    if (status != QDQ_OK) qdq_plan_clear(plan);
    return status;
}

qdq_status qdq_plan_read(const char *path, const char *text, size_t length, qdq_plan *plan) {
    json_error_t error;
    json_t *root;
    *plan = (qdq_plan){0};
    qdq_status status = qdq_json_parse(path, text, length, &root, &error);
    if (status == QDQ_BAD_DATA) return qdq_fail(QDQ_BAD_DATA, "%s: no JSON: line %d: %s", path, error.line, error.text);
    return status == QDQ_OK ? qdq_plan_from_json(path, root, plan) : status;
}

void qdq_plan_clear(qdq_plan *plan) {
    for (size_t i = 0; i < plan->n_tensors; i++) {
        free((void *)plan->tensors[i].shape);
        free((void *)plan->tensors[i].choices);
    }
    free((void *)plan->tensors);
    free(plan->path);
    json_decref(plan->root);
    *plan = (qdq_plan){0};
}

/* ---- For programs ---- */

qdq_status qdq_plan_parse(const char *name, const char *text, size_t length, qdq_plan **plan) {
    if (!plan) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_parse: a NULL argument");
    *plan = NULL;
    if (!name || !text) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_parse: a NULL argument");
    qdq_plan *p = calloc(1, sizeof *p);
    if (!p) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for a plan", name);
    qdq_status status = qdq_plan_read(name, text, length, p);
    if (status == QDQ_OK)
        *plan = p;
    else
        free(p);
    return status;
}

qdq_status qdq_plan_open(const char *path, qdq_plan **plan) {
    char *text;
    size_t length;
    if (!plan) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_open: a NULL argument");
    *plan = NULL;
    if (!path) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_open: a NULL argument");
    qdq_status status = qdq_read_text(path, QDQ_RESULTS_LIMIT, &text, &length);
    if (status != QDQ_OK) return status;
    status = qdq_plan_parse(path, text, length, plan);
    free(text);
    return status;
}

void qdq_plan_free(qdq_plan *plan) {
    if (!plan) return;
    qdq_plan_clear(plan);
    free(plan);
}

qdq_status qdq_plan_text(const qdq_plan *plan, char **text, size_t *length) {
    if (!plan || !text || !length) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_text: a NULL argument");
    json_t *root = qdq_plan_json(plan);
    char *made = qdq_json_print(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(root);
    size_t n = made ? strlen(made) : 0;
    *text = made ? realloc(made, n + 2) : NULL;
    *length = n + 1;
    if (!*text) {
        free(made);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the text of a plan");
    }
    memcpy(*text + n, "\n", 2);
    return QDQ_OK;
}

qdq_status qdq_plan_write(const qdq_plan *plan, const char *path) {
    char *text;
    size_t length;
    qdq_out *out;
    if (!path) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_write: a NULL argument");
    qdq_status status = qdq_plan_text(plan, &text, &length);
    if (status != QDQ_OK) return status;
    status = qdq_out_create(path, &out);
    if (status == QDQ_OK && (status = qdq_out_write(out, text, length)) != QDQ_OK)
        qdq_out_abort(out);
    else if (status == QDQ_OK)
        status = qdq_out_commit(out);
    free(text);
    return status;
}

qdq_status qdq_plan_describe(const qdq_plan *p, qdq_plan_info *info) {
    if (!p || !info || info->size == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_describe: a NULL argument, or info->size is 0");
    qdq_plan_info all = {.size = info->size,
                         .model = p->model,
                         .score = p->score,
                         .target = p->target,
                         .imatrix = p->imatrix,
                         .budget = p->budget,
                         .bytes = p->bytes,
                         .floor = p->floor,
                         .ceiling = p->ceiling,
                         .overhead = p->overhead,
                         .elements = p->elements,
                         .damage = p->damage,
                         .lower_bound = p->lower_bound,
                         .proven = p->proven,
                         .n_tensors = p->n_tensors};
    memcpy(info, &all, info->size < sizeof all ? info->size : sizeof all);
    return QDQ_OK;
}

const qdq_plan_tensor *qdq_plan_tensor_at(const qdq_plan *plan, uint64_t index) {
    return index < plan->n_tensors ? &plan->tensors[index] : NULL;
}

/* ---- Formats ---- */

qdq_format qdq_plan_format(const qdq_plan_tensor *tensor) {
    if (tensor->reason || strcmp(tensor->choices[tensor->chosen].format, QDQ_PLAN_SOURCE) == 0) return QDQ_FORMAT_NONE;
    return qdq_format_by_name(tensor->choices[tensor->chosen].format);
}
