#include "plan/plan_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "files/files.h"
#include "files/json_fields.h"
#include "files/json_writer.h"
#include "model/format_list.h"
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

static void put_tensor(qdq_json_writer *w, const qdq_plan_tensor *t, bool per_token) {
    qdq_json_put_open(w, NULL, '{');
    qdq_json_put_text(w, "name", t->name);
    qdq_json_put_text(w, "gguf", t->gguf);
    qdq_json_put_text(w, "dtype", t->dtype);
    qdq_json_put_open(w, "shape", '[');
    for (uint32_t d = 0; d < t->n_dims; d++) qdq_json_put_whole(w, NULL, t->shape[d]);
    qdq_json_put_close(w);
    qdq_json_put_text(w, "group", t->group);
    qdq_json_put_text(w, "reason", t->reason);
    qdq_json_put_text(w, "format", t->reason ? QDQ_PLAN_SOURCE : t->choices[t->chosen].format);
    qdq_json_put_whole(w, "bytes", t->bytes);
    if (t->token_bytes > 0) qdq_json_put_whole(w, "token_bytes", t->token_bytes);
    qdq_json_put_open(w, "choices", '[');
    for (uint32_t c = 0; c < t->n_choices; c++) {
        qdq_json_put_open(w, NULL, '{');
        qdq_json_put_text(w, "format", t->choices[c].format);
        qdq_json_put_whole(w, "bytes", t->choices[c].bytes);
        qdq_json_put_real(w, "damage", t->choices[c].damage);
        if (per_token) qdq_json_put_whole(w, "token_bytes", t->choices[c].token_bytes);
        qdq_json_put_close(w);
    }
    qdq_json_put_close(w);
    qdq_json_put_close(w);
}

static void put_forecast(qdq_json_writer *w, const qdq_plan *p) {
    qdq_forecast f = qdq_forecast_of(p->score, p->damage, p->tokens);
    qdq_json_put_real(w, "tokens_per_sample", p->tokens >= 1 ? p->tokens : (double)NAN);
    qdq_json_put_open(w, "forecast", '{');
    qdq_json_put_real(w, "kl", f.kl);
    qdq_json_put_real(w, "least", f.least);
    qdq_json_put_real(w, "most", f.most);
    qdq_json_put_text(w, "text", f.text);
    qdq_json_put_close(w);
}

static void put_baselines(qdq_json_writer *w, const qdq_plan *p) {
    qdq_json_put_open(w, "baselines", '[');
    for (size_t i = 0; i < p->n_baselines; i++) {
        const qdq_plan_baseline *b = &p->baselines[i];
        qdq_json_put_open(w, NULL, '{');
        qdq_json_put_text(w, "name", b->name);
        qdq_json_put_bool(w, "preset", b->preset);
        qdq_json_put_bool(w, "allowed", b->allowed);
        qdq_json_put_whole(w, "bytes", b->bytes);
        if (b->token_bytes > 0) qdq_json_put_whole(w, "token_bytes", b->token_bytes);
        qdq_json_put_real(w, "damage", b->damage);
        qdq_json_put_real(w, "plan_damage", b->plan_damage);
        if (b->n_formats > 0) {
            qdq_json_put_open(w, "formats", '[');
            for (uint64_t t = 0; t < b->n_formats; t++) qdq_json_put_text(w, NULL, b->formats[t]);
            qdq_json_put_close(w);
        }
        qdq_json_put_close(w);
    }
    qdq_json_put_close(w);
}

void qdq_plan_put(const qdq_plan *p, unsigned indent, qdq_builder *out) {
    qdq_json_writer w = {.out = out, .indent = indent};
    qdq_json_put_open(&w, NULL, '{');
    qdq_json_put_text(&w, "schema", schema);
    qdq_json_put_text(&w, "version", qdq_version());
    qdq_json_put_text(&w, "model", p->model);
    qdq_json_put_text(&w, "imatrix", p->imatrix);
    qdq_json_put_text(&w, "via", p->via);
    qdq_json_put_text(&w, "reference", p->reference);
    qdq_json_put_bool(&w, "keep_codes", p->keep_codes);
    qdq_json_put_text(&w, "score", p->score);
    qdq_json_put_text(&w, "target", p->target);
    qdq_json_put_text(&w, "cost", p->cost);
    if (p->slow != NULL) qdq_json_put_text(&w, "slow", p->slow);
    qdq_json_put_whole(&w, "budget", p->budget);
    qdq_json_put_whole(&w, "bytes", p->bytes);
    if (p->token_bytes > 0) qdq_json_put_whole(&w, "token_bytes", p->token_bytes);
    qdq_json_put_whole(&w, "floor", p->floor);
    qdq_json_put_whole(&w, "ceiling", p->ceiling);
    qdq_json_put_whole(&w, "overhead", p->overhead);
    qdq_json_put_whole(&w, "elements", p->elements);
    qdq_json_put_real(&w, "damage", p->damage);
    qdq_json_put_real(&w, "lower_bound", p->lower_bound);
    qdq_json_put_bool(&w, "proven", p->proven);
    if (p->yardstick != NULL) qdq_json_put_real(&w, "caution", p->caution);
    if (p->yardstick != NULL) qdq_json_put_text(&w, "yardstick", p->yardstick);
    put_forecast(&w, p);
    if (p->rules != NULL) qdq_json_put_text(&w, "rules", p->rules);
    put_baselines(&w, p);
    qdq_json_put_open(&w, "tensors", '[');
    for (size_t i = 0; i < p->n_tensors; i++) put_tensor(&w, &p->tensors[i], qdq_plan_is_per_token(p));
    qdq_json_put_close(&w);
    qdq_json_put_close(&w);
}

/* ---- Reading ---- */

enum { DIMS_LIMIT = 64, CHOICES_LIMIT = 1024, BASELINES_LIMIT = 256 };

/* What is read, and where it goes. */
typedef struct reading {
    qdq_json_reader json;
    const char *path;
    qdq_plan *plan;
} reading;

static qdq_status no_memory(const reading *r) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for a plan", r->path);
}

static bool copy(reading *r, const void *items, size_t bytes, void *to) {
    void *kept = qdq_arena_alloc(&r->plan->arena, bytes + 1);
    r->json.memory |= kept == NULL;
    if (kept != NULL) memcpy(kept, items, bytes);
    memcpy(to, &kept, sizeof kept);
    return kept != NULL;
}

static bool read_shape(reading *r, qdq_plan_tensor *t) {
    uint64_t extents[DIMS_LIMIT];
    t->elements = 1;
    if (t->shape != NULL || !qdq_json_enter(&r->json, '[')) return false;
    while (qdq_json_item(&r->json)) {
        if (t->n_dims == DIMS_LIMIT || !qdq_json_whole(&r->json, &extents[t->n_dims])) return false;
        if (__builtin_mul_overflow(t->elements, extents[t->n_dims++], &t->elements)) return false;
    }
    return copy(r, extents, t->n_dims * sizeof *extents, &t->shape);
}

static bool read_choice(reading *r, qdq_plan_choice *choice) {
    const qdq_json_field fields[] = {{"format", QDQ_JSON_TEXT, &choice->format},
                                     {"bytes", QDQ_JSON_WHOLE, &choice->bytes},
                                     {"damage", QDQ_JSON_MAGNITUDE, &choice->damage},
                                     {"token_bytes", QDQ_JSON_OPTIONAL_WHOLE, &choice->token_bytes}};
    enum { N = sizeof fields / sizeof *fields };
    uint64_t seen = 0;
    const char *key;
    choice->token_bytes = 0;
    if (!qdq_json_enter(&r->json, '{')) return false;
    while (qdq_json_key(&r->json, &key))
        if (!qdq_json_field_read(&r->json, &r->plan->arena, key, fields, N, &seen)) return false;
    return qdq_json_fields_all(fields, N, seen);
}

static bool read_choices(reading *r, qdq_plan_tensor *t) {
    qdq_plan_choice choices[CHOICES_LIMIT];
    if (t->choices != NULL || !qdq_json_enter(&r->json, '[')) return false;
    while (qdq_json_item(&r->json))
        if (t->n_choices == CHOICES_LIMIT || !read_choice(r, &choices[t->n_choices++])) return false;
    return copy(r, choices, t->n_choices * sizeof *choices, &t->choices);
}

/* Do the parts of a tensor that was read fit together? */
static qdq_status check_tensor(const char *path, qdq_plan_tensor *t, const char *format) {
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

static qdq_status read_tensor(reading *r, size_t index, qdq_plan_tensor *t) {
    const char *format = NULL, *key;
    const qdq_json_field fields[] = {{"name", QDQ_JSON_TEXT, &t->name},
                                     {"dtype", QDQ_JSON_TEXT, &t->dtype},
                                     {"gguf", QDQ_JSON_OPTIONAL, &t->gguf},
                                     {"group", QDQ_JSON_OPTIONAL, &t->group},
                                     {"reason", QDQ_JSON_OPTIONAL, &t->reason},
                                     {"bytes", QDQ_JSON_WHOLE, &t->bytes},
                                     {"token_bytes", QDQ_JSON_OPTIONAL_WHOLE, &t->token_bytes},
                                     {"format", QDQ_JSON_TEXT, &format}};
    enum { N = sizeof fields / sizeof *fields };
    uint64_t seen = 0;
    bool good = qdq_json_enter(&r->json, '{'), tables = true;
    while (good && tables && qdq_json_key(&r->json, &key)) {
        if (strcmp(key, "shape") == 0)
            tables = read_shape(r, t);
        else if (strcmp(key, "choices") == 0)
            tables = read_choices(r, t);
        else
            good = qdq_json_field_read(&r->json, &r->plan->arena, key, fields, N, &seen);
    }
    if (r->json.memory) return no_memory(r);
    if (r->json.why != NULL) return qdq_json_failure(r->path, &r->json);
    if (t->name == NULL) return qdq_fail(QDQ_BAD_DATA, "%s: tensor %zu has no \"name\"", r->path, index);
    if (!tables || (good && (t->shape == NULL || t->choices == NULL)))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%.200s\": \"shape\" or \"choices\" is not what a plan has", r->path,
                        t->name);
    if (!good || !qdq_json_fields_all(fields, N, seen))
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: tensor \"%.200s\": \"dtype\", \"gguf\", \"group\", \"reason\", \"bytes\" or \"format\" is "
                        "missing or of another type",
                        r->path, t->name);
    return check_tensor(r->path, t, format);
}

static qdq_status read_tensors(reading *r) {
    qdq_plan *p = r->plan;
    uint64_t room = 0;
    while (qdq_json_item(&r->json)) {
        if (!qdq_grow((void **)&p->tensors, p->n_tensors, &room, sizeof *p->tensors)) return no_memory(r);
        qdq_plan_tensor *t = (qdq_plan_tensor *)&p->tensors[p->n_tensors];
        *t = (qdq_plan_tensor){0};
        qdq_status status = read_tensor(r, p->n_tensors++, t);
        if (status != QDQ_OK) return status;
    }
    return QDQ_OK;
}

/* Names of formats that are here, none of which is copied; NULL: none of these. */
static const char *format_name(const char *name) {
    if (strcmp(name, QDQ_PLAN_SOURCE) == 0) return QDQ_PLAN_SOURCE;
    qdq_format format = qdq_format_by_name(name);
    return format != QDQ_FORMAT_NONE ? qdq_describe_format(format).name : NULL;
}

static bool read_formats(reading *r, qdq_plan_baseline *b) {
    const char **names = NULL, *read = NULL;
    uint64_t room = 0;
    size_t length;
    bool good = b->formats == NULL && qdq_json_enter(&r->json, '[');
    while (good && qdq_json_item(&r->json)) {
        good = qdq_json_string(&r->json, &read, &length);
        if (good && !qdq_grow((void **)&names, b->n_formats, &room, sizeof *names)) {
            r->json.memory = true;
            good = false;
        }
        const char *name = good ? format_name(read) : NULL;
        good = name != NULL;
        if (good) names[b->n_formats++] = name;
    }
    good = good && b->n_formats > 0 && copy(r, names, b->n_formats * sizeof *names, &b->formats);
    free(names);
    return good;
}

static bool read_baseline(reading *r, qdq_plan_baseline *b) {
    const qdq_json_field fields[] = {{"name", QDQ_JSON_TEXT, &b->name},
                                     {"preset", QDQ_JSON_BOOL, &b->preset},
                                     {"allowed", QDQ_JSON_BOOL, &b->allowed},
                                     {"bytes", QDQ_JSON_WHOLE, &b->bytes},
                                     {"token_bytes", QDQ_JSON_OPTIONAL_WHOLE, &b->token_bytes},
                                     {"damage", QDQ_JSON_MAGNITUDE, &b->damage},
                                     {"plan_damage", QDQ_JSON_OPTIONAL_MAGNITUDE, &b->plan_damage}};
    enum { N = sizeof fields / sizeof *fields };
    uint64_t seen = 0;
    const char *key;
    *b = (qdq_plan_baseline){.plan_damage = (double)NAN};
    if (!qdq_json_enter(&r->json, '{')) return false;
    while (qdq_json_key(&r->json, &key)) {
        bool good = strcmp(key, "formats") == 0 ? read_formats(r, b)
                                                : qdq_json_field_read(&r->json, &r->plan->arena, key, fields, N, &seen);
        if (!good) return false;
    }
    return qdq_json_fields_all(fields, N, seen);
}

static bool read_baselines(reading *r) {
    qdq_plan_baseline baselines[BASELINES_LIMIT];
    qdq_plan *p = r->plan;
    if (p->baselines != NULL || !qdq_json_enter(&r->json, '[')) return false;
    while (qdq_json_item(&r->json))
        if (p->n_baselines == BASELINES_LIMIT || !read_baseline(r, &baselines[p->n_baselines++])) return false;
    return copy(r, baselines, p->n_baselines * sizeof *baselines, &p->baselines);
}

/* A plan of what a token reads has that of every choice. */
static qdq_status check_reads(const reading *r) {
    const qdq_plan *p = r->plan;
    uint64_t sum = 0;
    for (size_t i = 0; i < p->n_tensors; i++) {
        const qdq_plan_tensor *t = &p->tensors[i];
        if (__builtin_add_overflow(sum, t->token_bytes, &sum)) sum = UINT64_MAX;
        if (t->reason == NULL && qdq_plan_is_per_token(p) && t->choices[t->chosen].token_bytes != t->token_bytes)
            return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%.200s\": its \"token_bytes\" are not those of its choice",
                            r->path, t->name);
    }
    if (sum == p->token_bytes) return QDQ_OK;
    return qdq_fail(QDQ_BAD_DATA, "%s: \"token_bytes\" is %" PRIu64 ", but tensors have %" PRIu64, r->path,
                    p->token_bytes, sum);
}

/* A baseline that tells formats tells one of each tensor that was planned. */
static qdq_status check_baselines(const reading *r) {
    const qdq_plan *p = r->plan;
    uint64_t planned = 0;
    for (size_t i = 0; i < p->n_tensors; i++) planned += p->tensors[i].reason == NULL;
    for (size_t i = 0; i < p->n_baselines; i++)
        if (p->baselines[i].formats != NULL && p->baselines[i].n_formats != planned)
            return qdq_fail(QDQ_BAD_DATA,
                            "%s: \"baselines\": \"%.200s\" has %" PRIu64 " formats, and %" PRIu64
                            " tensors are planned",
                            r->path, p->baselines[i].name, p->baselines[i].n_formats, planned);
    return QDQ_OK;
}

static qdq_status check_sum(const reading *r) {
    const qdq_plan *p = r->plan;
    uint64_t sum = p->overhead;
    for (size_t i = 0; i < p->n_tensors; i++)
        if (__builtin_add_overflow(sum, p->tensors[i].bytes, &sum)) sum = UINT64_MAX;
    if (sum == p->bytes) return check_reads(r);
    return qdq_fail(QDQ_BAD_DATA, "%s: \"bytes\" is %" PRIu64 ", but overhead and tensors have %" PRIu64, r->path,
                    p->bytes, sum);
}

bool qdq_plan_is_per_token(const qdq_plan *p) { return strcmp(p->cost, QDQ_PLAN_TOKEN) == 0; }

static qdq_status read_plan(reading *r) {
    qdq_plan *p = r->plan;
    p->cost = QDQ_PLAN_SIZE;
    p->caution = 1;
    const qdq_json_field fields[] = {{"model", QDQ_JSON_TEXT, &p->model},
                                     {"score", QDQ_JSON_TEXT, &p->score},
                                     {"target", QDQ_JSON_TEXT, &p->target},
                                     {"imatrix", QDQ_JSON_OPTIONAL, &p->imatrix},
                                     {"via", QDQ_JSON_OPTIONAL, &p->via},
                                     {"reference", QDQ_JSON_OPTIONAL, &p->reference},
                                     {"keep_codes", QDQ_JSON_BOOL, &p->keep_codes},
                                     {"budget", QDQ_JSON_WHOLE, &p->budget},
                                     {"bytes", QDQ_JSON_WHOLE, &p->bytes},
                                     {"floor", QDQ_JSON_WHOLE, &p->floor},
                                     {"ceiling", QDQ_JSON_WHOLE, &p->ceiling},
                                     {"overhead", QDQ_JSON_WHOLE, &p->overhead},
                                     {"elements", QDQ_JSON_WHOLE, &p->elements},
                                     {"damage", QDQ_JSON_MAGNITUDE, &p->damage},
                                     {"lower_bound", QDQ_JSON_MAGNITUDE, &p->lower_bound},
                                     {"proven", QDQ_JSON_BOOL, &p->proven},
                                     {"caution", QDQ_JSON_OPTIONAL_MAGNITUDE, &p->caution},
                                     {"yardstick", QDQ_JSON_OPTIONAL, &p->yardstick},
                                     {"cost", QDQ_JSON_OPTIONAL, &p->cost},
                                     {"slow", QDQ_JSON_OPTIONAL, &p->slow},
                                     {"rules", QDQ_JSON_OPTIONAL, &p->rules},
                                     {"token_bytes", QDQ_JSON_OPTIONAL_WHOLE, &p->token_bytes},
                                     {"tokens_per_sample", QDQ_JSON_OPTIONAL_MAGNITUDE, &p->tokens}};
    enum { N = sizeof fields / sizeof *fields };
    uint64_t seen = 0;
    const char *key;
    bool good = qdq_json_enter(&r->json, '{'), tensors = false;
    while (good && qdq_json_key(&r->json, &key)) {
        if (strcmp(key, "baselines") == 0) {
            good = read_baselines(r);
            continue;
        }
        if (strcmp(key, "tensors") != 0) {
            good = qdq_json_field_read(&r->json, &p->arena, key, fields, N, &seen);
            continue;
        }
        good = !tensors && qdq_json_enter(&r->json, '[');
        tensors = true;
        qdq_status status = good ? read_tensors(r) : QDQ_OK;
        if (status != QDQ_OK) return status;
    }
    if (good) qdq_json_end(&r->json);
    if (r->json.memory) return no_memory(r);
    if (r->json.why != NULL) return qdq_json_failure(r->path, &r->json);
    good = good && (qdq_plan_is_per_token(p) || (strcmp(p->cost, QDQ_PLAN_SIZE) == 0 && p->slow == NULL));
    if (good && tensors && qdq_json_fields_all(fields, N, seen)) {
        qdq_status status = check_baselines(r);
        return status == QDQ_OK ? check_sum(r) : status;
    }
    return qdq_fail(QDQ_BAD_DATA, "%s: a figure of the plan is missing, or of another type", r->path);
}

qdq_status qdq_plan_read(const char *path, const char *text, size_t length, qdq_plan *plan) {
    *plan = (qdq_plan){.path = strdup(path)};
    reading r = {.json = {.bytes = (const uint8_t *)text, .length = length}, .path = path, .plan = plan};
    qdq_status status = plan->path ? qdq_json_check_schema(path, text, length, schema, "plan") : no_memory(&r);
    if (status == QDQ_OK) status = read_plan(&r);
    qdq_json_free(&r.json);
    if (status == QDQ_OK)
        plan->forecast = qdq_forecast_of(plan->score, plan->damage, plan->tokens);
    else
        qdq_plan_clear(plan);
    return status;
}

void qdq_plan_clear(qdq_plan *plan) {
    qdq_arena_free(&plan->arena);
    free((void *)plan->tensors);
    free(plan->path);
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
    qdq_builder made = {0};
    qdq_plan_put(plan, 2, &made);
    qdq_builder_character(&made, '\n');
    *length = made.n;
    *text = qdq_builder_take(&made);
    return *text ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the text of a plan");
}

qdq_status qdq_plan_write(const qdq_plan *plan, const char *path) {
    char *text;
    size_t length;
    if (!path) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_plan_write: a NULL argument");
    qdq_status status = qdq_plan_text(plan, &text, &length);
    if (status != QDQ_OK) return status;
    status = qdq_out_write_file(path, text, length);
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
                         .reference = p->reference,
                         .budget = p->budget,
                         .bytes = p->bytes,
                         .floor = p->floor,
                         .ceiling = p->ceiling,
                         .overhead = p->overhead,
                         .elements = p->elements,
                         .damage = p->damage,
                         .lower_bound = p->lower_bound,
                         .proven = p->proven,
                         .n_tensors = p->n_tensors,
                         .cost = p->cost,
                         .slow = p->slow,
                         .rules = p->rules,
                         .token_bytes = p->token_bytes,
                         .forecast = p->forecast.text,
                         .kl = p->forecast.kl,
                         .kl_least = p->forecast.least,
                         .kl_most = p->forecast.most,
                         .caution = p->caution,
                         .yardstick = p->yardstick};
    memcpy(info, &all, info->size < sizeof all ? info->size : sizeof all);
    return QDQ_OK;
}

const qdq_plan_tensor *qdq_plan_tensor_at(const qdq_plan *plan, uint64_t index) {
    return index < plan->n_tensors ? &plan->tensors[index] : NULL;
}

const qdq_plan_baseline *qdq_plan_baseline_at(const qdq_plan *plan, uint64_t index) {
    return index < plan->n_baselines ? &plan->baselines[index] : NULL;
}

/* ---- Formats ---- */

qdq_format qdq_plan_format(const qdq_plan_tensor *tensor) {
    if (tensor->reason || strcmp(tensor->choices[tensor->chosen].format, QDQ_PLAN_SOURCE) == 0) return QDQ_FORMAT_NONE;
    return qdq_format_by_name(tensor->choices[tensor->chosen].format);
}
