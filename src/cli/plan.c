/* qdq plan: which tensor gets which format, for the least damage within a size. */
#include "analysis/plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "analysis/problem.h"
#include "analysis/recipe.h"
#include "cli/measure.h"
#include "cli/naming.h"
#include "cli/packed.h"
#include "core/error.h"

typedef unsigned long long ull;
#define SHOWN(text) qdq_printable((text), (char[256]){0}, 256)

enum {
    TARGET = QDQ_LONG_OPTION,
    FORMATS,
    GRAD,
    HF,
    IMATRIX,
    SCORE,
    PIN,
    SAME,
    MINIMUM,
    ALLOW,
    SCORES,
    RECIPE,
    MLX_JSON,
    ARCH,
    MAP
};

/* ---- What is asked for ------------------------------------------------------------------------------------------ */

typedef enum score { ERROR, RELATIVE, SIGNED, ABSOLUTE, SQUARED, AUTO } score;

static const struct {
    const char *name, *meaning;
} score_names[] = {
    [ERROR] = {"error", "squared error"},
    [RELATIVE] = {"relative", "squared error relative to the tensor's squared weights"},
    [SIGNED] = {"signed", "first-order change of the loss, sum(g D), 0 where negative"},
    [ABSOLUTE] = {"absolute", "sum|g D| of the gradients"},
    [SQUARED] = {"squared", "sum((g D)^2) of the gradients"},
    [AUTO] = {"auto", ""},
};

/* --pin, --same, --min, --allow, in the order in which they were given. */
typedef struct rule {
    int option;
    char *regex, *formats; /* NULL: every tensor; none */
} rule;

enum { MAX_RULES = 256 };

typedef struct request {
    const char *target_text, *formats, *gradients, *hf, *imatrix, *scores, *recipe, *mlx, *architecture, *map, *output;
    qdq_target target;
    score score;
    rule rules[MAX_RULES];
    unsigned n_rules;
} request;

/* ---- What is made of it ----------------------------------------------------------------------------------------- */

/* A format to choose from: the last may be the source itself. */
typedef struct choice {
    const char *name;
    qdq_format format;
    bool listed; /* of --formats; else only for tensors that a rule gives it to */
} choice;

typedef struct item {
    const qdq_tensor *tensor;
    const qdq_imatrix_entry *importance;
    qdq_gradient gradient;
    qdq_gguf_name gguf;      /* name "": not known */
    char reason[QDQ_REASON]; /* why it is kept; "": it is planned */
    qdq_format *formats;     /* of its candidates, those that are measured */
    uint32_t n_formats;
    qdq_candidate *candidates; /* one a choice */
    double scale;              /* of relative damage: the squared weights that its own are part of */
    uint32_t chosen;
    size_t index; /* in the problem */
} item;

typedef struct planner {
    qdq_session session;
    request *request;
    qdq_names *names;
    qdq_gradients *gradients;
    qdq_scores *scores;
    qdq_json_file output, mlx;
    qdq_out *recipe;
    choice choices[QDQ_MAX_FORMATS + 1];
    uint32_t n_choices;
    item *items;
    uint64_t n_items;
    uint64_t overhead, elements, source_bytes, kept, alignment; /* bytes of the file; of the source's tensors */
    uint64_t floor, ceiling, budget;                            /* of files */
    qdq_choose_result result;
    qdq_problem *problem;
    qdq_plan plan;
} planner;

/* ---- Choices ---------------------------------------------------------------------------------------------------- */

/* Made for models that were trained in them: on others they only ever win where nothing is measured well. */
static bool only_by_name(const char *name) {
    static const char *const names[] = {"q1_0", "q2_0", "tq1_0", "tq2_0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

static qdq_status add_choice(planner *p, const char *name, size_t length, bool listed) {
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)(length < sizeof text ? length : sizeof text - 1), name);
    bool source = strcasecmp(text, QDQ_PLAN_SOURCE) == 0;
    qdq_format formats[QDQ_MAX_FORMATS];
    uint32_t n;
    qdq_status status = source ? QDQ_OK : qdq_parse_formats(text, formats, &n);
    if (status != QDQ_OK) return status;
    choice c = {source ? QDQ_PLAN_SOURCE : NULL, source ? QDQ_FORMAT_SOURCE : formats[0], listed};
    for (uint32_t i = 0; i < p->n_choices; i++) {
        if (p->choices[i].format != c.format) continue;
        if (listed) return qdq_fail(QDQ_INVALID_ARGUMENT, "format %s is named twice", text);
        return QDQ_OK;
    }
    if (!source) {
        qdq_format_info info = qdq_describe_format(c.format);
        c.name = info.name;
        status = qdq_check_importance(&c.format, 1, p->request->imatrix);
    }
    if (status == QDQ_OK) p->choices[p->n_choices++] = c;
    return status;
}

/* The words of a list parted by commas. */
static qdq_status add_choices(planner *p, const char *list, bool listed) {
    qdq_status status = QDQ_OK;
    for (const char *at = list; status == QDQ_OK; at++) {
        size_t length = strcspn(at, ",");
        status = add_choice(p, at, length, listed);
        at += length;
        if (*at == '\0') break;
    }
    return status;
}

/* Formats of rules are known as well, for the tensors that the rules are about. */
static qdq_status make_choices(planner *p) {
    const request *r = p->request;
    qdq_status status = QDQ_OK;
    if (r->formats != NULL) {
        status = add_choices(p, r->formats, true);
    } else {
        for (qdq_format f = 0; f < qdq_format_count() && status == QDQ_OK; f++) {
            qdq_format_info info = qdq_describe_format(f);
            if (only_by_name(info.name) || (info.importance == 2 && r->imatrix == NULL)) continue;
            status = add_choice(p, info.name, strlen(info.name), true);
        }
    }
    for (unsigned i = 0; i < r->n_rules && status == QDQ_OK; i++)
        if (r->rules[i].option == PIN || r->rules[i].option == MINIMUM)
            status = add_choices(p, r->rules[i].formats, false);
    return status;
}

static const char *canonical(const planner *p, const char *name) {
    for (uint32_t c = 0; c < p->n_choices; c++)
        if (strcasecmp(p->choices[c].name, name) == 0) return p->choices[c].name;
    return name;
}

/* A format that is not listed is for the tensors that it is pinned to. */
static bool rule_gives(const planner *p, const item *it, const choice *c) {
    for (unsigned i = 0; i < p->request->n_rules; i++) {
        const rule *r = &p->request->rules[i];
        if ((r->option != PIN && r->option != MINIMUM) || strcasecmp(r->formats, c->name) != 0) continue;
        regex_t compiled;
        if (r->regex == NULL) return true;
        if (regcomp(&compiled, r->regex, REG_EXTENDED | REG_NOSUB) != 0) return false; /* reported by the problem */
        bool found = regexec(&compiled, it->tensor->name, 0, NULL, 0) == 0;
        regfree(&compiled);
        if (found) return true;
    }
    return false;
}

/* ---- Tensors ---------------------------------------------------------------------------------------------------- */

static uint64_t padded(const planner *p, uint64_t bytes) {
    uint64_t up;
    return __builtin_add_overflow(bytes, p->alignment - 1, &up) ? UINT64_MAX : up / p->alignment * p->alignment;
}

/* As llama-quantize sees it. */
static qdq_ggml_tensor ggml_tensor(const item *it) {
    qdq_ggml_tensor t = {.name = it->gguf.name, .ne = {1, 1, 1, 1}, .type = it->tensor->ggml_type};
    for (uint32_t d = 0; d < it->tensor->n_dims && d < 4; d++) t.ne[d] = it->tensor->shape[it->tensor->n_dims - 1 - d];
    return t;
}

static void keep(item *it, const char *reason) { snprintf(it->reason, QDQ_REASON, "%s", reason); }

/* Its name in GGUF, and whether llama-quantize would leave it alone. */
static void name_item(planner *p, item *it) {
    if (qdq_model_layout(p->session.model) == QDQ_LAYOUT_GGUF) {
        if (strlen(it->tensor->name) < sizeof it->gguf.name) strcpy(it->gguf.name, it->tensor->name);
        it->gguf.expert = QDQ_NO_EXPERT;
    } else {
        if (p->names == NULL || qdq_names_to_gguf(p->names, it->tensor->name, &it->gguf) != QDQ_OK)
            it->gguf = (qdq_gguf_name){.expert = QDQ_NO_EXPERT};
        else if (it->gguf.name[0] == '\0' && it->reason[0] == '\0')
            keep(it, "GGUF does not have it");
    }
    const char *why = NULL;
    qdq_ggml_tensor t = ggml_tensor(it);
    if (it->gguf.name[0] != '\0' && it->reason[0] == '\0' && !qdq_rules_quantizes(&t, &why))
        snprintf(it->reason, QDQ_REASON, "llama-quantize keeps it (%s)", why);
}

static qdq_status add_candidates(planner *p, item *it) {
    it->candidates = calloc(p->n_choices + 1, sizeof *it->candidates);
    it->formats = calloc(p->n_choices + 1, sizeof *it->formats);
    if (it->candidates == NULL || it->formats == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for candidates");
    char reason[QDQ_REASON] = "";
    bool any = false;
    for (uint32_t c = 0; c < p->n_choices; c++) {
        const choice *ch = &p->choices[c];
        it->candidates[c].bytes = QDQ_NO_CANDIDATE;
        if (!ch->listed && !rule_gives(p, it, ch)) continue;
        if (ch->format == QDQ_FORMAT_SOURCE) {
            it->candidates[c].bytes = padded(p, it->tensor->bytes);
            continue; /* does not make it worth planning by itself */
        }
        bool fits;
        qdq_status status = qdq_session_fits(&p->session, it->tensor, ch->format, &it->importance, &fits, reason);
        if (status != QDQ_OK) return status;
        if (!fits) continue;
        any = true;
        it->candidates[c].bytes = padded(p, qdq_format_bytes(ch->format, it->tensor->elements));
        it->formats[it->n_formats++] = ch->format;
    }
    if (!any) keep(it, reason[0] != '\0' ? reason : "none of the formats is for it");
    return QDQ_OK;
}

static qdq_status add_item(planner *p, item *it, const qdq_tensor *t) {
    it->tensor = t;
    it->scale = -1;
    p->elements += t->elements;
    p->source_bytes += t->bytes;
    if (qdq_session_takes(&p->session, t, it->reason)) it->reason[0] = '\0';
    name_item(p, it);
    if (it->reason[0] != '\0') return QDQ_OK;
    qdq_status status = add_candidates(p, it);
    if (status != QDQ_OK || it->reason[0] != '\0' || p->gradients == NULL) return status;
    return qdq_gradients_find(p->gradients, t, &it->gradient);
}

/* Bytes of the file that are no tensor's. */
static qdq_status measure_overhead(planner *p) {
    qdq_writer *writer = NULL;
    uint64_t size = 0, tensors = 0;
    qdq_status status = qdq_writer_create(QDQ_LAYOUT_GGUF, NULL, &writer);
    if (status == QDQ_OK) status = qdq_packed_metadata(writer, &p->session, 0, p->request->imatrix);
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        const qdq_tensor *t = p->items[i].tensor;
        status = qdq_writer_add_tensor(writer, t->name, t->type_name, t->n_dims, t->shape);
        tensors += padded(p, t->bytes);
    }
    if (status == QDQ_OK) status = qdq_writer_size(writer, &size);
    qdq_writer_abort(writer);
    p->overhead = size - tensors;
    return status;
}

static qdq_status add_items(planner *p) {
    p->n_items = qdq_model_tensor_count(p->session.model);
    p->items = calloc((size_t)p->n_items + 1, sizeof *p->items);
    if (p->items == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for %llu tensors", (ull)p->n_items);
    p->alignment = qdq_packed_alignment(p->session.model);
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++)
        status = add_item(p, &p->items[i], qdq_model_tensor(p->session.model, i));
    return status == QDQ_OK ? measure_overhead(p) : status;
}

/* ---- Rules ------------------------------------------------------------------------------------------------------ */

/* Formats that llama.cpp multiplies by on the device (ggml d99724f2). */
static bool runs_on(const char *device, const char *format) {
    static const struct {
        const char *device, *lacks;
    } table[] = {{"cpu", " "}, {"cuda", " tq1_0 tq2_0 "}, {"metal", " nvfp4 tq1_0 "}};
    char word[40];
    snprintf(word, sizeof word, " %.32s ", format);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].device, device) == 0) return strstr(table[i].lacks, word) == NULL;
    return false;
}

static qdq_status allow(planner *p, const rule *r) {
    const char *names[QDQ_MAX_FORMATS + 1];
    uint32_t n = 0;
    bool device = r->regex == NULL && (strcmp(r->formats, "cpu") == 0 || strcmp(r->formats, "cuda") == 0 ||
                                       strcmp(r->formats, "metal") == 0);
    if (device) {
        for (uint32_t c = 0; c < p->n_choices; c++)
            if (runs_on(r->formats, p->choices[c].name)) names[n++] = p->choices[c].name;
        return qdq_problem_allow(p->problem, NULL, n, names);
    }
    char *list = strdup(r->formats), *rest = list;
    if (list == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a list of formats");
    for (char *word; (word = strsep(&rest, ",")) != NULL && n < QDQ_MAX_FORMATS;) names[n++] = canonical(p, word);
    qdq_status status = qdq_problem_allow(p->problem, r->regex, n, names);
    free(list);
    return status;
}

static qdq_status share_preset(planner *p, qdq_group_preset preset, const char *name) {
    bool any = false, known = false;
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        const item *it = &p->items[i];
        char label[QDQ_NAME_MAX];
        known = known || it->gguf.name[0] != '\0';
        if (it->reason[0] != '\0' || it->gguf.name[0] == '\0' || !qdq_name_group(preset, it->gguf.name, label))
            continue;
        any = true;
        status = qdq_problem_label(p->problem, it->index, label);
    }
    if (status == QDQ_OK && !known) return qdq_naming_missing(p->session.model, name);
    return status == QDQ_OK && !any ? qdq_fail(QDQ_INVALID_ARGUMENT, "%s: there are no such tensors", name) : status;
}

static qdq_status share(planner *p, const char *what) {
    if (strcmp(what, "qkv") == 0) return share_preset(p, QDQ_GROUP_QKV, "--same qkv");
    if (strcmp(what, "gate-up") == 0) return share_preset(p, QDQ_GROUP_GATE_UP, "--same gate-up");
    if (strcmp(what, "experts") == 0) return share_preset(p, QDQ_GROUP_EXPERTS, "--same experts");
    return qdq_problem_same(p->problem, what);
}

static qdq_status apply_rule(planner *p, const rule *r) {
    switch (r->option) {
    case PIN: return qdq_problem_pin(p->problem, r->regex, canonical(p, r->formats));
    case MINIMUM: return qdq_problem_minimum(p->problem, r->regex, canonical(p, r->formats));
    case SAME: return share(p, r->regex);
    default: return allow(p, r);
    }
}

/* ---- The problem ------------------------------------------------------------------------------------------------ */

static bool is_expert(const item *it) { return it->gguf.expert != QDQ_NO_EXPERT && it->gguf.name[0] != '\0'; }

static qdq_status make_problem(planner *p) {
    qdq_problem_format formats[QDQ_MAX_FORMATS + 1];
    for (uint32_t c = 0; c < p->n_choices; c++) {
        /* The source counts as what has most bits. */
        formats[c] = (qdq_problem_format){p->choices[c].name, 1, 4};
        if (p->choices[c].format == QDQ_FORMAT_SOURCE) continue;
        qdq_format_info info = qdq_describe_format(p->choices[c].format);
        formats[c].block_elements = info.block_elements;
        formats[c].block_bytes = info.block_bytes;
    }
    qdq_problem_free(p->problem);
    p->problem = NULL;
    qdq_status status = qdq_problem_create(p->n_choices, formats, &p->problem);
    size_t n = 0;
    p->kept = 0;
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        item *it = &p->items[i];
        if (it->reason[0] != '\0') {
            p->kept += padded(p, it->tensor->bytes);
            continue;
        }
        it->index = n++;
        status = qdq_problem_add(p->problem, it->tensor->name, it->candidates);
        /* Slices of one tensor of GGUF, which has one type. */
        if (status == QDQ_OK && is_expert(it)) status = qdq_problem_label(p->problem, it->index, it->gguf.name);
    }
    if (status == QDQ_OK && n == 0)
        status = qdq_fail(QDQ_BAD_DATA, "%s: has no tensor that any of the formats takes",
                          SHOWN(qdq_model_path(p->session.model)));
    for (unsigned r = 0; r < p->request->n_rules && status == QDQ_OK; r++)
        status = apply_rule(p, &p->request->rules[r]);
    return status;
}

/* Tensors without a gradient have no damage to weigh: they get the one format that the rules leave, or stay. */
static qdq_status settle_unscored(planner *p) {
    bool any = false;
    for (uint64_t i = 0; i < p->n_items && p->gradients != NULL; i++) {
        item *it = &p->items[i];
        if (it->reason[0] != '\0' || it->gradient.n_parts > 0) continue;
        uint32_t open = 0;
        for (uint32_t c = 0; c < p->n_choices; c++) open += qdq_problem_open(p->problem, it->index, c) != 0;
        if (open == 1) continue;
        keep(it, "no gradient, so no damage to weigh; --pin gives it a format");
        any = true;
    }
    return any ? make_problem(p) : QDQ_OK;
}

static double bits(const planner *p, uint64_t file) {
    return p->elements > 0 ? 8 * (double)(file - p->overhead) / (double)p->elements : 0;
}

static qdq_status check_target(planner *p) {
    qdq_status status = qdq_problem_range(p->problem, &p->floor, &p->ceiling);
    if (status != QDQ_OK) return status;
    p->floor += p->kept + p->overhead;
    p->ceiling += p->kept + p->overhead;
    p->budget = qdq_target_bytes(&p->request->target, p->overhead, p->elements, p->source_bytes);
    if (p->budget >= p->floor && p->budget <= p->ceiling) return QDQ_OK;
    bool below = p->budget < p->floor;
    return qdq_fail(QDQ_INVALID_ARGUMENT,
                    "a target of %s is %llu bytes, %s: with these formats and rules files have %llu bytes (%.4f bits a "
                    "weight) to %llu bytes (%.4f)",
                    p->request->target_text, (ull)p->budget,
                    below ? "less than the smallest plan has" : "more than the largest plan has", (ull)p->floor,
                    bits(p, p->floor), (ull)p->ceiling, bits(p, p->ceiling));
}

/* ---- Damage ----------------------------------------------------------------------------------------------------- */

static bool from_gradients(score s) { return s == SIGNED || s == ABSOLUTE || s == SQUARED; }

static qdq_status measure(planner *p, size_t *passes) {
    qdq_measured_tensor *tensors = calloc((size_t)p->n_items + 1, sizeof *tensors);
    if (tensors == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for %llu tensors", (ull)p->n_items);
    size_t n = 0;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const item *it = &p->items[i];
        bool gradients = p->gradients != NULL;
        if (it->reason[0] != '\0' || (gradients && it->gradient.n_parts == 0)) continue;
        tensors[n++] = (qdq_measured_tensor){it->tensor, it->importance, gradients ? &it->gradient : NULL, it->formats,
                                             it->n_formats};
    }
    qdq_status status = qdq_measure(&p->session, p->request->scores, n, tensors, p->scores, passes);
    free(tensors);
    return status;
}

/* The mean of a tensor's importances. */
static qdq_status mean_importance(const qdq_imatrix_entry *entry, double *mean) {
    float *weights = malloc((size_t)entry->count * sizeof *weights);
    if (weights == NULL && entry->count > 0) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for an importance matrix");
    qdq_imatrix_weights(entry, 0, entry->count, weights);
    double sum = 0;
    for (uint64_t i = 0; i < entry->count; i++) sum += weights[i];
    *mean = entry->count > 0 ? sum / (double)entry->count : 0;
    free(weights);
    return QDQ_OK;
}

/* What a tensor's error is relative to: its squared weights, times the mean importance. (Weighted column by column they
 * would be ruled by a few columns with large inputs, whose own errors matter less: docs/planner.md.) */
static qdq_status find_scale(const planner *p, const item *it, double *scale) {
    qdq_scores_error sums;
    double mean = 0;
    *scale = 0;
    if (it->n_formats == 0 || it->reason[0] != '\0') return QDQ_OK;
    if (it->importance != NULL && qdq_scores_get_energy(p->scores, it->tensor->name, scale)) {
        qdq_status status = mean_importance(it->importance, &mean);
        *scale *= mean;
        return status;
    }
    if (qdq_scores_get_error(p->scores, it->tensor->name, qdq_describe_format(it->formats[0]).name, &sums))
        *scale = sums.ww;
    return QDQ_OK;
}

/* An expert's damage is relative to all of the tensor that it is a slice of in GGUF. */
static qdq_status set_scales(planner *p) {
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        item *it = &p->items[i];
        if (it->scale >= 0) continue; /* a slice of an earlier one */
        status = find_scale(p, it, &it->scale);
        for (uint64_t k = i + 1; is_expert(it) && k < p->n_items && status == QDQ_OK; k++) {
            double scale = 0;
            if (!is_expert(&p->items[k]) || strcmp(p->items[k].gguf.name, it->gguf.name) != 0) continue;
            status = find_scale(p, &p->items[k], &scale);
            it->scale += scale;
            p->items[k].scale = 0;
        }
        for (uint64_t k = i + 1; is_expert(it) && k < p->n_items; k++)
            if (is_expert(&p->items[k]) && strcmp(p->items[k].gguf.name, it->gguf.name) == 0)
                p->items[k].scale = it->scale;
    }
    return status;
}

static double damage_of(const planner *p, const item *it, const char *format) {
    qdq_scores_error error = {0, 0};
    qdq_sensitivity_sums sums = {0};
    if (from_gradients(p->request->score)) {
        if (!qdq_scores_get_gradient(p->scores, it->tensor->name, format, &sums)) return 0; /* pinned, not scored */
        return p->request->score == ABSOLUTE  ? sums.absolute
               : p->request->score == SQUARED ? sums.squared
                                              : fmax(sums.signed_sum, 0);
    }
    qdq_scores_get_error(p->scores, it->tensor->name, format, &error);
    if (p->request->score == ERROR) return error.err2;
    return it->scale > 0 ? error.err2 / it->scale : 0;
}

static qdq_status set_damage(planner *p) {
    qdq_status status = p->request->score == RELATIVE ? set_scales(p) : QDQ_OK;
    for (uint64_t i = 0; i < p->n_items; i++)
        for (uint32_t c = 0; c < p->n_choices && p->items[i].reason[0] == '\0'; c++)
            if (p->items[i].candidates[c].bytes != QDQ_NO_CANDIDATE && p->choices[c].format != QDQ_FORMAT_SOURCE)
                p->items[i].candidates[c].damage = damage_of(p, &p->items[i], p->choices[c].name);
    return status;
}

static qdq_status solve(planner *p) {
    qdq_status status = make_problem(p);
    uint32_t *chosen = calloc((size_t)p->n_items + 1, sizeof *chosen);
    if (status == QDQ_OK && chosen == NULL) status = qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the choice");
    if (status == QDQ_OK) status = qdq_problem_solve(p->problem, p->budget - p->overhead - p->kept, chosen, &p->result);
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++)
        if (p->items[i].reason[0] == '\0') p->items[i].chosen = chosen[p->items[i].index];
    free(chosen);
    return status;
}

/* ---- The plan --------------------------------------------------------------------------------------------------- */

/* The first tensor of the group, if there are others. */
static const char *group_of(const planner *p, const item *it, const size_t *sizes, const char *const *firsts) {
    size_t group = qdq_problem_group(p->problem, it->index);
    return sizes[group] > 1 ? firsts[group] : NULL;
}

static void fill_tensor(planner *p, const item *it, const char *group, qdq_plan_tensor *t) {
    *t = (qdq_plan_tensor){.name = it->tensor->name,
                           .dtype = it->tensor->type_name,
                           .gguf = it->gguf.name[0] != '\0' ? it->gguf.name : NULL,
                           .group = group,
                           .reason = it->reason[0] != '\0' ? it->reason : NULL,
                           .shape = it->tensor->shape,
                           .n_dims = it->tensor->n_dims,
                           .elements = it->tensor->elements,
                           .bytes = padded(p, it->tensor->bytes)};
    if (t->reason != NULL) return;
    qdq_plan_choice *choices = calloc(p->n_choices, sizeof *choices);
    t->choices = choices;
    for (uint32_t c = 0; c < p->n_choices && choices != NULL; c++) {
        if (!qdq_problem_open(p->problem, it->index, c)) continue;
        if (c == it->chosen) t->chosen = t->n_choices;
        choices[t->n_choices++] =
            (qdq_plan_choice){p->choices[c].name, it->candidates[c].bytes, it->candidates[c].damage};
    }
    if (choices != NULL) t->bytes = choices[t->chosen].bytes;
}

static qdq_status make_plan(planner *p) {
    const request *r = p->request;
    qdq_plan_tensor *tensors = calloc((size_t)p->n_items + 1, sizeof *tensors);
    size_t *sizes = calloc((size_t)p->n_items + 1, sizeof *sizes);
    const char **firsts = calloc((size_t)p->n_items + 1, sizeof *firsts);
    p->plan = (qdq_plan){.model = qdq_model_path(p->session.model),
                         .score = score_names[r->score].name,
                         .target = r->target_text,
                         .imatrix = r->imatrix,
                         .budget = p->budget,
                         .bytes = p->overhead,
                         .floor = p->floor,
                         .ceiling = p->ceiling,
                         .overhead = p->overhead,
                         .elements = p->elements,
                         .damage = p->result.damage,
                         .lower_bound = fmax(p->result.lower_bound, 0),
                         .proven = p->result.proven != 0,
                         .n_tensors = tensors != NULL ? (size_t)p->n_items : 0,
                         .tensors = tensors};
    qdq_status status = QDQ_OK;
    if (tensors == NULL || sizes == NULL || firsts == NULL)
        status = qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the plan");
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        if (p->items[i].reason[0] != '\0') continue;
        size_t group = qdq_problem_group(p->problem, p->items[i].index);
        if (sizes[group]++ == 0) firsts[group] = p->items[i].tensor->name;
    }
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        const item *it = &p->items[i];
        fill_tensor(p, it, it->reason[0] == '\0' ? group_of(p, it, sizes, firsts) : NULL, &tensors[i]);
        if (tensors[i].reason == NULL && tensors[i].choices == NULL)
            status = qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the plan");
        p->plan.bytes += tensors[i].bytes;
    }
    free(sizes);
    free(firsts);
    return status;
}

/* ---- The recipe ------------------------------------------------------------------------------------------------- */

/* As the converter to GGUF has them: experts are one tensor. */
static qdq_status recipe_tensors(const planner *p, qdq_recipe_tensor *tensors, size_t *n) {
    *n = 0;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const item *it = &p->items[i];
        qdq_recipe_tensor t = {.tensor = ggml_tensor(it)};
        if (it->gguf.name[0] == '\0') {
            qdq_gguf_name name;
            if (p->names == NULL) return qdq_naming_missing(p->session.model, "--recipe");
            qdq_status status = qdq_names_to_gguf(p->names, it->tensor->name, &name);
            if (status != QDQ_OK) return status;
            continue; /* dropped */
        }
        qdq_format format = qdq_plan_format(&p->plan.tensors[i]);
        t.wanted = format != QDQ_FORMAT_NONE ? qdq_describe_format(format).ggml_type : it->tensor->ggml_type;
        size_t k = 0;
        while (is_expert(it) && k < *n && strcmp(tensors[k].tensor.name, t.tensor.name) != 0) k++;
        if (is_expert(it) && k < *n)
            tensors[k].tensor.ne[2]++;
        else
            tensors[(*n)++] = t;
    }
    return QDQ_OK;
}

static qdq_status write_recipe(planner *p) {
    const request *r = p->request;
    bool gguf = qdq_model_layout(p->session.model) == QDQ_LAYOUT_GGUF;
    qdq_recipe_tensor *tensors = calloc((size_t)p->n_items + 1, sizeof *tensors);
    if (tensors == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the recipe");
    qdq_recipe_job job = {.tensors = tensors,
                          .input = gguf ? qdq_model_path(p->session.model) : "MODEL.gguf",
                          .output = "OUT.gguf",
                          .recipe = r->recipe,
                          .imatrix = r->imatrix};
    qdq_recipe recipe = {0};
    qdq_status status = recipe_tensors(p, tensors, &job.n_tensors);
    if (status == QDQ_OK) status = qdq_recipe_make(&job, &recipe);
    free(tensors);
    if (status != QDQ_OK) return status;
    status = qdq_out_write(p->recipe, recipe.text, strlen(recipe.text));
    qdq_out *out = p->recipe;
    p->recipe = NULL;
    if (status == QDQ_OK)
        status = qdq_out_commit(out);
    else
        qdq_out_abort(out);
    if (status == QDQ_OK && qdq_common_tables(p->session.common))
        printf("%s: %zu lines; to run:\n  %s\n", SHOWN(r->recipe), recipe.n_lines, recipe.command);
    qdq_recipe_free(&recipe);
    return status;
}

/* mlx-lm's [[path, score], …]: what the smallest format costs more than the largest, per million parameters. */
static json_t *mlx_scores(const planner *p) {
    static const char suffix[] = ".weight";
    json_t *list = json_array();
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_plan_tensor *t = &p->plan.tensors[i];
        if (t->n_choices == 0) continue;
        const qdq_plan_choice *least = &t->choices[0], *most = least;
        for (uint32_t c = 1; c < t->n_choices; c++) {
            if (t->choices[c].bytes < least->bytes) least = &t->choices[c];
            if (t->choices[c].bytes > most->bytes) most = &t->choices[c];
        }
        char hf[QDQ_NAME_MAX];
        const char *name = t->name;
        if (qdq_model_layout(p->session.model) == QDQ_LAYOUT_GGUF && p->names != NULL &&
            qdq_names_to_hf(p->names, t->name, QDQ_NO_EXPERT, hf) == QDQ_OK)
            name = hf;
        size_t length = strlen(name), end = sizeof suffix - 1;
        if (length > end && strcmp(name + length - end, suffix) == 0) length -= end;
        json_array_append_new(list, json_pack("[o, f]", json_stringn(name, length),
                                              (least->damage - most->damage) / ((double)t->elements / 1e6)));
    }
    return list;
}

/* ---- Running ---------------------------------------------------------------------------------------------------- */

static qdq_status print(planner *p, size_t passes) {
    if (!qdq_common_tables(p->session.common)) return QDQ_OK;
    const qdq_plan *plan = &p->plan;
    qdq_table *table = qdq_table_create("tensor|shape|format|>bits|>damage");
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_plan_tensor *t = &plan->tensors[i];
        if (t->reason != NULL) continue;
        qdq_table_name(table, t->name);
        qdq_table_cell(table, "%s", QDQ_EXTENTS(p->items[i].tensor));
        qdq_table_cell(table, "%s", t->choices[t->chosen].format);
        qdq_table_cell(table, "%.4g", 8 * (double)t->bytes / (double)t->elements);
        qdq_table_number(table, t->choices[t->chosen].damage);
    }
    qdq_status status = qdq_session_print(&p->session, table, "kept as they are");
    if (status != QDQ_OK) return status;
    printf("\n%llu bytes (%s), %.4f bits a weight, of %llu allowed; damage %.6g (%s)\n", (ull)plan->bytes,
           QDQ_SIZE(plan->bytes), bits(p, plan->bytes), (ull)plan->budget, plan->damage,
           score_names[p->request->score].meaning);
    if (plan->proven)
        puts("No other choice within these bytes has less.");
    else
        printf("No choice within these bytes has less than %.6g.\n", plan->lower_bound);
    if (p->request->scores != NULL && passes == 0) puts("The damage was known; nothing was measured.");
    return qdq_flush_output();
}

/* Of those that the inputs allow, the score that did best in docs/planner.md. The gradients' file says whether they are
 * root mean squares. */
static score best_score(const planner *p) {
    const char *text;
    uint64_t length;
    if (p->gradients == NULL) return RELATIVE;
    const qdq_kv *kv = qdq_model_find_kv(qdq_gradients_model(p->gradients), "reduction");
    static const char rms[] = "root mean square";
    return kv != NULL && qdq_kv_string(kv, &text, &length) && length >= sizeof rms - 1 &&
                   memcmp(text, rms, sizeof rms - 1) == 0
               ? SQUARED
               : ABSOLUTE;
}

static qdq_status open_outputs(planner *p) {
    const request *r = p->request;
    qdq_status status = qdq_json_open(r->output, &p->output);
    if (status == QDQ_OK) status = qdq_json_open(r->mlx, &p->mlx);
    return status == QDQ_OK && r->recipe != NULL ? qdq_out_create(r->recipe, &p->recipe) : status;
}

static qdq_status run(planner *p) {
    request *r = p->request;
    size_t passes = 0;
    qdq_status status = qdq_naming_open(p->session.model, r->architecture, r->map, &p->names);
    if (status == QDQ_OK && r->gradients != NULL)
        status = qdq_gradients_open(r->gradients, r->hf, p->session.model, p->names, &p->gradients);
    if (r->score == AUTO) r->score = best_score(p);
    if (status == QDQ_OK) status = open_outputs(p);
    if (status == QDQ_OK) status = make_choices(p);
    if (status == QDQ_OK) status = add_items(p);
    if (status == QDQ_OK) status = make_problem(p);
    if (status == QDQ_OK) status = settle_unscored(p);
    if (status == QDQ_OK) status = check_target(p);
    if (status == QDQ_OK) status = qdq_measure_open(r->scores, p->session.model, p->gradients, r->imatrix, &p->scores);
    if (status == QDQ_OK) status = measure(p, &passes);
    if (status == QDQ_OK) status = set_damage(p);
    if (status == QDQ_OK) status = solve(p);
    if (status == QDQ_OK) status = make_plan(p);
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++)
        if (p->items[i].reason[0] != '\0') qdq_session_skip(&p->session, p->items[i].tensor->name, p->items[i].reason);
    if (status == QDQ_OK) status = print(p, passes);
    if (status == QDQ_OK && r->recipe != NULL) status = write_recipe(p);
    if (status == QDQ_OK && r->mlx != NULL) status = qdq_json_write(&p->mlx, mlx_scores(p));
    return status == QDQ_OK ? qdq_json_write(&p->output, qdq_plan_json(&p->plan)) : status;
}

static void close_planner(planner *p) {
    qdq_session_close(&p->session);
    qdq_json_abort(&p->output);
    qdq_json_abort(&p->mlx);
    qdq_out_abort(p->recipe);
    for (uint64_t i = 0; i < p->n_items; i++) {
        free(p->items[i].gradient.parts);
        free(p->items[i].formats);
        free(p->items[i].candidates);
        if (p->plan.tensors != NULL) free((void *)p->plan.tensors[i].choices);
    }
    free((void *)p->plan.tensors);
    free(p->items);
    qdq_problem_free(p->problem);
    qdq_scores_free(p->scores);
    qdq_gradients_close(p->gradients);
    qdq_names_free(p->names);
}

/* ---- The command line ------------------------------------------------------------------------------------------- */

/* REGEX=FORMATS, or, where that makes sense, FORMATS alone. */
static bool add_rule(request *r, int option, const char *text) {
    if (r->n_rules == MAX_RULES) return false;
    rule *made = &r->rules[r->n_rules];
    const char *equals = option == SAME ? NULL : strrchr(text, '=');
    *made = (rule){option, NULL, NULL};
    if (option == SAME)
        made->regex = strdup(text);
    else if (equals != NULL)
        made->regex = strndup(text, (size_t)(equals - text));
    made->formats = strdup(equals != NULL ? equals + 1 : text);
    r->n_rules++;
    return made->formats != NULL && (option != PIN || equals != NULL);
}

static void free_rules(request *r) {
    for (unsigned i = 0; i < r->n_rules; i++) {
        free(r->rules[i].regex);
        free(r->rules[i].formats);
    }
}

static bool parse_score(const char *text, score *s) {
    for (int i = 0; i <= AUTO; i++)
        if (strcmp(score_names[i].name, text) == 0) *s = (score)i;
    return strcmp(score_names[*s].name, text) == 0;
}

static const char *complaint(request *r, int option) {
    switch (option) {
    case PIN: return "--pin takes REGEX=FORMAT";
    case MINIMUM: return "--min takes FORMAT or REGEX=FORMAT";
    default: return "too many rules";
    }
}

/* What is wrong with the whole, or NULL. */
static const char *check_request(request *r, int n_operands) {
    if (n_operands != 1) return "one input is wanted";
    if (r->target_text == NULL) return "no target: say --target 4.5bpw, 6.2GiB or 30%";
    if (r->output == NULL) return "no output: say -o plan.json";
    if (from_gradients(r->score) && r->gradients == NULL) return "that score is made of gradients: say --grad FILE";
    if (!from_gradients(r->score) && r->score != AUTO && r->gradients != NULL)
        return "that score does not use the gradients: leave out --grad";
    if (r->hf != NULL && r->gradients == NULL) return "--hf goes with --grad";
    if (strcmp(r->output, "-") == 0 && r->mlx != NULL && strcmp(r->mlx, "-") == 0)
        return "-o and --mlx-json cannot both be standard output";
    return qdq_target_parse(r->target_text, &r->target) == QDQ_OK ? NULL : qdq_error_message();
}

static int run_request(request *r, qdq_common *common, const char *input) {
    planner p = {.request = r};
    if (strcmp(r->output, "-") == 0 || (r->mlx != NULL && strcmp(r->mlx, "-") == 0)) common->quiet = true;
    qdq_status status = qdq_session_open(&p.session, common, input, r->imatrix);
    if (status == QDQ_OK) status = run(&p);
    int exit_status = status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
    close_planner(&p);
    return exit_status;
}

int qdq_command_plan(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    request *r = calloc(1, sizeof *r);
    if (r == NULL) return qdq_exit_failure(qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a plan"));
    r->score = AUTO;
    const char *wrong = NULL;
    qdq_parse_begin(&parser, &qdq_cli_plan, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        const char *value = parser.value;
        switch (o) {
        case QDQ_PARSE_EXIT:
            free_rules(r);
            free(r);
            return parser.status;
        case 'o': r->output = value; break;
        case TARGET: r->target_text = value; break;
        case FORMATS: r->formats = value; break;
        case GRAD: r->gradients = value; break;
        case HF: r->hf = value; break;
        case IMATRIX: r->imatrix = value; break;
        case SCORE:
            if (!parse_score(value, &r->score)) wrong = "--score is auto, error, relative, signed, absolute or squared";
            break;
        case SCORES: r->scores = value; break;
        case RECIPE: r->recipe = value; break;
        case MLX_JSON: r->mlx = value; break;
        case ARCH: r->architecture = value; break;
        case MAP: r->map = value; break;
        default:
            if (!add_rule(r, o, value)) wrong = complaint(r, o);
        }
    }
    if (wrong == NULL) wrong = check_request(r, parser.n_operands);
    int status;
    if (wrong != NULL) {
        status = qdq_usage_error(&parser, "%s", wrong);
    } else {
        status = run_request(r, &common, parser.operands[0]);
        qdq_common_free(&common);
    }
    free_rules(r);
    free(r);
    return status;
}

static const qdq_cli_option options[] = {
    {TARGET, "target", "SIZE", QDQ_ARG_TEXT, NULL,
     "what may not be passed: bits a weight over all tensors (4.5bpw), the file's size (6.2GiB), or percent of the "
     "source's tensors (30%)"},
    {'o', "output", "FILE", QDQ_ARG_FILE, NULL, "the plan, JSON; - for standard output"},
    {FORMATS, "formats", "F[,F...]", QDQ_ARG_FORMAT, NULL,
     "the formats to choose from; source is to leave a tensor as it is. Without this all but q1_0, q2_0, tq1_0 and "
     "tq2_0, and with an importance matrix also those that need one"},
    {GRAD, "grad", "FILE", QDQ_ARG_FILE, NULL, "gradients, to score damage by; names may be Hugging Face's"},
    {HF, "hf", "MODEL", QDQ_ARG_FILE, NULL,
     "for IN of GGUF: the model that the gradients were taken of; tells whose rows the conversion has moved"},
    {IMATRIX, "imatrix", "FILE", QDQ_ARG_FILE, NULL, "an importance matrix of llama-imatrix, which weighs errors"},
    {SCORE, "score", "SCORE", QDQ_ARG_CHOICE, "auto error relative signed absolute squared",
     "what damage is: error or relative, of the weights; signed, absolute or squared, of the gradients. auto is "
     "relative "
     "without --grad, and with it absolute, or squared if the file's metadata say that they are root mean squares"},
    {PIN, "pin", "REGEX=F", QDQ_ARG_TEXT, NULL, "tensors whose names match get that format; may be repeated"},
    {SAME, "same", "REGEX", QDQ_ARG_TEXT, NULL,
     "tensors that match, with the same text in the regex's parentheses, share a format; or qkv, gate-up, experts, of "
     "each layer; may be repeated"},
    {MINIMUM, "min", "[REGEX=]F", QDQ_ARG_TEXT, NULL, "no format with fewer bits than that; may be repeated"},
    {ALLOW, "allow", "[REGEX=]F,...", QDQ_ARG_TEXT, NULL,
     "only those formats; or cpu, cuda, metal: those that llama.cpp can compute with there; may be repeated"},
    {SCORES, "scores", "FILE", QDQ_ARG_FILE, NULL,
     "keep what was measured in that file, and measure only what it lacks; refused when its inputs have changed"},
    {RECIPE, "recipe", "FILE", QDQ_ARG_FILE, NULL,
     "also write the plan as llama-quantize's --tensor-type-file, and print the command"},
    {MLX_JSON, "mlx-json", "FILE", QDQ_ARG_FILE, NULL,
     "also write, as mlx-lm has sensitivities, what the smallest format costs per million parameters"},
    {ARCH, "arch", "NAME", QDQ_ARG_TEXT, NULL, "the architecture, where neither metadata nor config.json tell it"},
    {MAP, "map", "FILE", QDQ_ARG_FILE, NULL, "pairs of names, Hugging Face's and GGUF's, that go before the built-in"},
    {0},
};

static const qdq_cli_example examples[] = {
    {"4.5 bits a weight, errors weighed by an importance matrix, as a recipe for llama-quantize",
     "qdq plan --target 4.5bpw --imatrix imatrix.gguf --recipe types.txt model-f16.gguf -o plan.json"},
    {"6.2 GiB by gradients, q, k and v alike, the output in Q6_K at least",
     "qdq plan --target 6.2GiB --grad gradients.safetensors --same qkv --min '^lm_head=q6_K' model/ -o plan.json"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_plan = {
    .name = "plan",
    .summary = "choose a format for each tensor: the least damage within a size",
    .operands = "--target SIZE IN -o plan.json",
    .text =
        "Measures what each format does to each tensor, and chooses one for each so that the damage, summed over the "
        "tensors, is least within the size. The choice is proven to be the best, or its distance from a bound is "
        "stated. The size is that of the file which qdq quantize --plan writes, to the byte.\n\n"
        "Damage is, without gradients, the squared error relative to the tensor's squared weights, weighted by an "
        "importance matrix if there is one. With gradients g it is sum|g D|, D being the difference between the "
        "format's values and the weights; with root mean square gradients, taken at the weights themselves, it is "
        "sum((g D)^2), the diagonal Fisher estimate of the loss. docs/planner.md has what each score has been measured "
        "to be worth, and how to get the gradients.\n\n"
        "Tensors that llama-quantize leaves alone are kept, and so are those that lack a gradient. A size that no "
        "choice can meet, or that is larger than all of them, is refused, with the smallest and the largest that can "
        "be met.",
    .options = options,
    .takes = QDQ_TAKES_DEVICE | QDQ_TAKES_THREADS | QDQ_TAKES_FILTER | QDQ_TAKES_FINITE | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_plan,
};
