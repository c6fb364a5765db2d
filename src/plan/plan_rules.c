/* The rules of a plan: what they leave, and the problem that this makes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "plan/planner.h"
#include "plan/token_reads.h"
#include "model/advice.h"
#include "model/format_list.h"
#include "model/naming.h"
#include "files/shown.h"
#include "base/error.h"

/* ---- Rules ------------------------------------------------------------------------------------------------------ */

static const char *canonical(const qdq_planner *p, const char *name) {
    for (uint32_t c = 0; c < p->n_formats; c++)
        if (strcasecmp(p->formats[c].name, name) == 0) return p->formats[c].name;
    return name;
}

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

static bool is_choice(const qdq_planner *p, const char *name) {
    for (uint32_t c = 0; c < p->n_formats; c++)
        if (strcmp(p->formats[c].name, name) == 0) return true;
    return false;
}

static qdq_status allow(qdq_planner *p, const qdq_plan_rule *r) {
    const char *names[QDQ_MAX_FORMATS + 1];
    uint32_t n = 0;
    bool device = r->regex == NULL && (strcmp(r->formats, "cpu") == 0 || strcmp(r->formats, "cuda") == 0 ||
                                       strcmp(r->formats, "metal") == 0);
    if (device) {
        for (uint32_t c = 0; c < p->n_formats; c++)
            if (runs_on(r->formats, p->formats[c].name)) names[n++] = p->formats[c].name;
        return qdq_problem_allow(p->problem, NULL, n, names);
    }
    char *list = strdup(r->formats);
    if (list == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a list of formats");
    for (char *word = list, *comma; word != NULL && n < QDQ_MAX_FORMATS; word = comma != NULL ? comma + 1 : NULL) {
        if ((comma = strchr(word, ',')) != NULL) *comma = '\0';
        names[n++] = canonical(p, word);
    }
    bool known = true;
    for (uint32_t k = 0; k < n && known; k++) known = is_choice(p, names[k]);
    qdq_status status = known ? qdq_problem_allow(p->problem, r->regex, n, names)
                              : qdq_fail(QDQ_INVALID_ARGUMENT,
                                         "\"%s\" is neither a list of formats to choose from nor cpu, cuda or metal",
                                         SHOWN(r->formats));
    free(list);
    return status;
}

static qdq_status share_preset(qdq_planner *p, qdq_group_preset preset, const char *name) {
    bool any = false, known = false;
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        const qdq_item *it = &p->items[i];
        char label[QDQ_NAME_MAX];
        known = known || it->gguf.name[0] != '\0';
        if (it->reason[0] != '\0' || it->gguf.name[0] == '\0' || !qdq_name_group(preset, it->gguf.name, label))
            continue;
        any = true;
        status = qdq_problem_label(p->problem, it->index, label);
    }
    if (status == QDQ_OK && !known) return qdq_naming_missing(p->selection->model, name);
    return status == QDQ_OK && !any ? qdq_fail(QDQ_INVALID_ARGUMENT, "%s: there are no such tensors", name) : status;
}

static qdq_status share(qdq_planner *p, const char *what) {
    if (strcmp(what, "qkv") == 0) return share_preset(p, QDQ_GROUP_QKV, "what \"qkv\" stands for");
    if (strcmp(what, "gate-up") == 0) return share_preset(p, QDQ_GROUP_GATE_UP, "what \"gate-up\" stands for");
    if (strcmp(what, "experts") == 0) return share_preset(p, QDQ_GROUP_EXPERTS, "what \"experts\" stands for");
    return qdq_problem_same(p->problem, what);
}

static qdq_status apply_rule(qdq_planner *p, const qdq_plan_rule *r) {
    switch (r->kind) {
    case QDQ_PLAN_PIN: return qdq_problem_pin(p->problem, r->regex, canonical(p, r->formats));
    case QDQ_PLAN_MINIMUM: return qdq_problem_minimum(p->problem, r->regex, canonical(p, r->formats));
    case QDQ_PLAN_SAME: return share(p, r->regex);
    default: return allow(p, r);
    }
}

/* ---- The problem ------------------------------------------------------------------------------------------------ */

static qdq_status make_problem(qdq_planner *p) {
    qdq_problem_format formats[QDQ_MAX_FORMATS + 1];
    for (uint32_t c = 0; c < p->n_formats; c++) {
        /* The source counts as what has most bits. */
        formats[c] = (qdq_problem_format){p->formats[c].name, 1, 4};
        if (p->formats[c].format == QDQ_FORMAT_SOURCE) continue;
        qdq_format_info info = qdq_describe_format(p->formats[c].format);
        formats[c].block_elements = info.block_elements;
        formats[c].block_bytes = info.block_bytes;
    }
    qdq_problem_free(p->problem);
    p->problem = NULL;
    qdq_status status = qdq_problem_create(p->n_formats, formats, &p->problem);
    qdq_candidate cells[QDQ_MAX_FORMATS + 1];
    size_t n = 0;
    uint64_t kept_reads = 0;
    p->kept = 0;
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        qdq_item *it = &p->items[i];
        if (it->reason[0] != '\0') {
            p->kept += qdq_planner_padded(p, it->tensor->bytes);
            kept_reads += qdq_planner_kept_reads(p, it);
            continue;
        }
        it->index = n++;
        for (uint32_t c = 0; c < p->n_formats; c++) {
            cells[c] = it->candidates[c];
            if (cells[c].bytes != QDQ_NO_CANDIDATE) cells[c].bytes = qdq_planner_cost(p, it, c);
        }
        status = qdq_problem_add(p->problem, it->tensor->name, cells);
        /* Slices of one tensor of GGUF, which has one type. */
        if (status == QDQ_OK && qdq_item_is_expert(it))
            status = qdq_problem_label(p->problem, it->index, it->gguf.name);
    }
    p->fixed = p->cost == QDQ_COST_TOKEN ? kept_reads : p->overhead + p->kept;
    if (status == QDQ_OK && n == 0)
        status = qdq_fail(QDQ_BAD_DATA, "%s: has no tensor that any of the formats takes",
                          SHOWN(qdq_model_path(p->selection->model)));
    for (uint32_t r = 0; r < p->n_rules && status == QDQ_OK; r++) status = apply_rule(p, &p->rules[r]);
    return status;
}

static qdq_status no_gradients(const qdq_planner *p, const char *planned) {
    const qdq_model *gradients = qdq_gradients_model(p->gradients);
    const char *theirs = qdq_model_tensor_count(gradients) > 0 ? qdq_model_tensor(gradients, 0)->name : "no tensor";
    bool gguf = qdq_model_layout(p->selection->model) == QDQ_LAYOUT_GGUF;
    return qdq_fail_advising(gguf ? QDQ_ADVICE_NAMES : QDQ_ADVICE_NONE, QDQ_BAD_DATA,
                             "%s: has no gradient for any tensor of %s: it has \"%s\", the model \"%s\"%s",
                             SHOWN(qdq_model_path(gradients)), SHOWN(qdq_model_path(p->selection->model)),
                             SHOWN(theirs), SHOWN(planned),
                             gguf ? "; if these are two names of one tensor, a map of names tells" : "");
}

/* Tensors without a gradient have no damage to weigh: they get the one format that the rules leave, or stay. */
static qdq_status settle_unscored(qdq_planner *p) {
    bool any = false, scored = p->gradients == NULL;
    const char *first = NULL;
    for (uint64_t i = 0; i < p->n_items && !scored; i++) {
        scored = p->items[i].gradient.n_parts > 0;
        if (first == NULL && qdq_item_planned(&p->items[i])) first = p->items[i].tensor->name;
    }
    if (!scored) return no_gradients(p, first);
    for (uint64_t i = 0; i < p->n_items && p->gradients != NULL; i++) {
        qdq_item *it = &p->items[i];
        if (it->reason[0] != '\0' || it->gradient.n_parts > 0) continue;
        uint32_t open = 0;
        for (uint32_t c = 0; c < p->n_formats; c++) open += qdq_problem_open(p->problem, it->index, c) != 0;
        if (open == 1) continue;
        snprintf(it->reason, QDQ_REASON, "no gradient, so no damage to weigh; it can only be pinned to a format");
        any = true;
    }
    return any ? make_problem(p) : QDQ_OK;
}

qdq_status qdq_planner_rules(qdq_planner *p) {
    qdq_status status = make_problem(p);
    if (status == QDQ_OK) status = settle_unscored(p);
    if (status == QDQ_OK) status = qdq_problem_range(p->problem, &p->floor, &p->ceiling);
    p->floor += p->fixed;
    p->ceiling += p->fixed;
    return status;
}
