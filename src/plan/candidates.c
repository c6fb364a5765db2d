/* The candidates of a plan: the formats to choose from, and what each tensor can have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "plan/planner.h"
#include "plan/token_reads.h"
#include "model/advice.h"
#include "model/decoding.h"
#include "model/format_list.h"
#include "model/keep_codes.h"
#include "model/metadata.h"
#include "files/shown.h"
#include "base/error.h"

typedef unsigned long long ull;

enum { SMALL_BLOCK = 32 }; /* of the formats that stand in for those with blocks of 256 */

/* ---- Formats ---------------------------------------------------------------------------------------------------- */

/* Made for models that were trained in them: on others they only ever win where nothing is measured well. */
static bool only_by_name(const char *name) {
    static const char *const names[] = {"q1_0", "q2_0", "tq1_0", "tq2_0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

static qdq_status add_format(qdq_planner *p, const char *name, size_t length, bool listed) {
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)(length < sizeof text ? length : sizeof text - 1), name);
    bool source = strcasecmp(text, QDQ_PLAN_SOURCE) == 0;
    qdq_format formats[QDQ_MAX_FORMATS];
    uint32_t n;
    qdq_status status = source ? QDQ_OK : qdq_parse_block_formats(text, formats, &n);
    if (status != QDQ_OK) return status;
    qdq_format_choice c = {source ? QDQ_PLAN_SOURCE : NULL, source ? QDQ_FORMAT_SOURCE : formats[0], listed};
    for (uint32_t i = 0; i < p->n_formats; i++) {
        if (p->formats[i].format != c.format) continue;
        if (listed) return qdq_fail(QDQ_INVALID_ARGUMENT, "format %s is named twice", text);
        return QDQ_OK;
    }
    if (!source) {
        qdq_format_info info = qdq_describe_format(c.format);
        c.name = info.name;
        status = qdq_check_importance(&c.format, 1, p->selection->imatrix != NULL);
    }
    if (status == QDQ_OK) p->formats[p->n_formats++] = c;
    return status;
}

/* The words of a list parted by commas. */
static qdq_status add_formats(qdq_planner *p, const char *list, bool listed) {
    qdq_status status = QDQ_OK;
    for (const char *at = list; status == QDQ_OK; at++) {
        size_t length = strcspn(at, ",");
        status = add_format(p, at, length, listed);
        at += length;
        if (*at == '\0') break;
    }
    return status;
}

/* The format of blocks that llama-quantize writes in place of one whose block does not divide a row; else
 * QDQ_FORMAT_NONE. */
static qdq_format stand_in(qdq_format format, uint64_t row) {
    qdq_format other;
    if (format < 0 || qdq_llama_fallback(format, row, &other) != QDQ_OK || other == format) return QDQ_FORMAT_NONE;
    return qdq_describe_format(other).block_elements > 1 ? other : QDQ_FORMAT_NONE;
}

/* Of formats that were named, those that stand in for them, for the tensors whose rows want it. */
static qdq_status add_stand_ins(qdq_planner *p) {
    qdq_status status = QDQ_OK;
    uint32_t named = p->n_formats;
    for (uint32_t i = 0; i < named && status == QDQ_OK; i++) {
        qdq_format other = stand_in(p->formats[i].format, SMALL_BLOCK);
        if (other == QDQ_FORMAT_NONE) continue;
        qdq_format_info info = qdq_describe_format(other);
        status = add_format(p, info.name, strlen(info.name), false);
    }
    return status;
}

static qdq_status add_unlisted(qdq_planner *p, const char *format) {
    return add_format(p, format, strlen(format), false);
}

/* Formats of rules are known as well, for the tensors that the rules are about. */
qdq_status qdq_planner_check_formats(qdq_planner *p) {
    qdq_status status = QDQ_OK;
    p->n_formats = 0;
    if (p->wanted != NULL) {
        status = add_formats(p, p->wanted, true);
        if (status == QDQ_OK) status = add_stand_ins(p);
    } else {
        for (qdq_format f = 0; f < qdq_format_count() && status == QDQ_OK; f++) {
            qdq_format_info info = qdq_describe_format(f);
            if (info.block_elements == 1 || only_by_name(info.name) ||
                (info.importance == 2 && p->selection->imatrix == NULL))
                continue;
            status = add_format(p, info.name, strlen(info.name), true);
        }
    }
    for (uint32_t i = 0; i < p->n_rules && status == QDQ_OK; i++)
        if (qdq_plan_rule_gives(&p->rules[i])) status = add_formats(p, p->rules[i].formats, false);
    if (status == QDQ_OK && p->keep_codes) status = add_formats(p, "q4_0,mxfp4,nvfp4", false);
    if (status == QDQ_OK && p->published != NULL) status = qdq_planner_add_published(p, add_unlisted);
    return status;
}

/* Marks the formats that are listed, and those that stand in for a listed one whose block does not divide the rows. */
static void mark_listed(const qdq_planner *p, uint64_t row, bool *listed) {
    for (uint32_t i = 0; i < p->n_formats; i++) listed[i] = p->formats[i].listed;
    for (uint32_t i = 0; i < p->n_formats; i++) {
        qdq_format other = p->formats[i].listed ? stand_in(p->formats[i].format, row) : QDQ_FORMAT_NONE;
        for (uint32_t k = 0; k < p->n_formats && other != QDQ_FORMAT_NONE; k++)
            if (p->formats[k].format == other) listed[k] = true;
    }
}

/* A format that is not listed is for the tensors that it is pinned to. */
static qdq_status rule_gives(const qdq_planner *p, const qdq_item *it, const qdq_format_choice *c, bool *gives) {
    qdq_status status = QDQ_OK;
    for (uint32_t i = 0; i < p->n_rules && status == QDQ_OK && !*gives; i++) {
        const qdq_plan_rule *r = &p->rules[i];
        if (!qdq_plan_rule_gives(r) || strcasecmp(r->formats, c->name) != 0) continue;
        *gives = true;
        if (r->regex != NULL) status = qdq_pattern_find(r->pattern, it->tensor->name, NULL, gives);
    }
    return status;
}

/* ---- Tensors ---------------------------------------------------------------------------------------------------- */

uint64_t qdq_planner_padded(const qdq_planner *p, uint64_t bytes) {
    uint64_t up;
    return __builtin_add_overflow(bytes, p->alignment - 1, &up) ? UINT64_MAX : up / p->alignment * p->alignment;
}

static void keep(qdq_item *it, const char *reason) { snprintf(it->reason, QDQ_REASON, "%s", reason); }

/* Its name in GGUF, and whether llama-quantize would leave it alone. */
static void name_item(qdq_planner *p, qdq_item *it) {
    bool dropped;
    it->gguf = qdq_selection_name(p->selection, it->tensor, &dropped);
    it->dropped = dropped;
    if (it->reason[0] == '\0' && dropped) keep(it, "GGUF does not have it");
    const char *why = NULL;
    qdq_ggml_tensor t = qdq_rules_tensor(it->tensor, it->gguf.name);
    if (it->gguf.name[0] != '\0' && it->reason[0] == '\0')
        why = qdq_mixture_keeps(p->revision, p->facts.rules.architecture, &t);
    if (why != NULL) snprintf(it->reason, QDQ_REASON, "llama-quantize keeps it (%s)", why);
}

/* llama-quantize stops at some formats for a tensor without importance, though ggml can make them. Those are no
 * candidates where it is to run the plan, nor where formats were not named. */
static bool refused(const qdq_planner *p, const qdq_item *it, const qdq_format_choice *c) {
    bool minded = p->for_llama_quantize || (p->wanted == NULL && c->listed);
    if (!minded || it->importance != NULL) return false;
    const char *name = it->gguf.name[0] != '\0' ? it->gguf.name : it->tensor->name;
    return qdq_rules_needs_imatrix(name, (uint32_t)qdq_describe_format(c->format).ggml_type, 0);
}

static qdq_status add_candidates(qdq_planner *p, qdq_item *it) {
    it->candidates = calloc(p->n_formats + 1, sizeof *it->candidates);
    it->formats = calloc(p->n_formats + 1, sizeof *it->formats);
    if (it->candidates == NULL || it->formats == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for candidates");
    char reason[QDQ_REASON] = "";
    bool any = false, given[QDQ_MAX_FORMATS + 1];
    if (p->keep_codes && qdq_keeps_codes(it->tensor) != QDQ_FORMAT_NONE && qdq_kept_changes(it->tensor) == 0)
        it->keeps = qdq_keeps_codes(it->tensor);
    mark_listed(p, it->tensor->shape[it->tensor->n_dims - 1], given);
    for (uint32_t c = 0; c < p->n_formats; c++) {
        const qdq_format_choice *ch = &p->formats[c];
        it->candidates[c].bytes = QDQ_NO_CANDIDATE;
        qdq_status status = given[c] ? QDQ_OK : rule_gives(p, it, ch, &given[c]);
        if (status != QDQ_OK) return status;
        bool keeps = ch->format == it->keeps && it->keeps != QDQ_FORMAT_NONE;
        bool published = p->published != NULL && ch->format == it->published;
        if (!given[c] && !keeps && !published) continue;
        if (ch->format == QDQ_FORMAT_SOURCE) {
            it->candidates[c].bytes = qdq_planner_padded(p, it->tensor->bytes);
            continue; /* does not make it worth planning by itself */
        }
        qdq_fit fit;
        const qdq_imatrix_entry *importance;
        status = qdq_selection_check(p->selection, it->tensor, ch->format, &fit, &importance);
        if (status != QDQ_OK) return status;
        if (fit.reason != QDQ_FIT_TAKEN) {
            memcpy(reason, fit.text, sizeof reason);
            continue;
        }
        it->importance = importance;
        if (keeps || qdq_tensor_is_in(it->tensor, ch->format)) { /* as it is, so nothing is to be measured */
            any = true;
            it->candidates[c].bytes = qdq_planner_padded(p, qdq_format_bytes(ch->format, it->tensor->elements));
            continue;
        }
        if (refused(p, it, ch)) {
            snprintf(reason, sizeof reason, "llama-quantize refuses %s without an importance matrix", ch->name);
            continue;
        }
        any = true;
        it->candidates[c].bytes = qdq_planner_padded(p, qdq_format_bytes(ch->format, it->tensor->elements));
        it->formats[it->n_formats++] = ch->format;
    }
    if (!any) keep(it, reason[0] != '\0' ? reason : "none of the formats is for it");
    if (p->published != NULL && any && qdq_planner_published(p, it)->bytes == QDQ_NO_CANDIDATE)
        return qdq_fail(QDQ_UNSUPPORTED, "%s: has \"%s\" in %s, which is no choice here: %s",
                        SHOWN(qdq_model_path(p->published)), SHOWN(it->tensor->name),
                        qdq_describe_format(it->published).name, reason);
    return QDQ_OK;
}

static qdq_status add_item(qdq_planner *p, qdq_item *it, const qdq_tensor *t) {
    it->tensor = t;
    it->scale = -1;
    it->keeps = it->published = QDQ_FORMAT_NONE;
    it->reads = (qdq_share){1, 1};
    p->elements += t->elements;
    p->source_bytes += t->bytes;
    qdq_fit fit;
    const qdq_imatrix_entry *importance;
    qdq_status status = qdq_selection_check(p->selection, t, QDQ_FORMAT_NONE, &fit, &importance);
    if (status != QDQ_OK) return status;
    memcpy(it->reason, fit.text, sizeof it->reason);
    name_item(p, it);
    if (it->reason[0] != '\0') return QDQ_OK;
    if (p->published != NULL) status = qdq_planner_find_published(p, it);
    if (status == QDQ_OK) status = add_candidates(p, it);
    if (status != QDQ_OK || it->reason[0] != '\0' || p->gradients == NULL) return status;
    return qdq_gradients_of(p->gradients, t, &it->gradient);
}

/* Bytes of the file that are no tensor's. */
static qdq_status measure_overhead(qdq_planner *p) {
    qdq_writer *writer = NULL;
    qdq_packed_facts facts = {0};
    uint64_t size = 0, tensors = 0;
    qdq_status status = qdq_writer_create(QDQ_LAYOUT_GGUF, NULL, &writer);
    if (status == QDQ_OK) status = qdq_packed_metadata(writer, p->selection, &facts);
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        const qdq_tensor *t = p->items[i].tensor;
        status = qdq_writer_add_tensor(writer, t->name, t->type_name, t->n_dims, t->shape);
        tensors += qdq_planner_padded(p, t->bytes);
    }
    if (status == QDQ_OK) status = qdq_writer_size(writer, &size);
    qdq_writer_abort(writer);
    p->overhead = size - tensors;
    return status;
}

/* An importance matrix of another model, or under names that are not known, would go unnoticed. */
static qdq_status check_importance(const qdq_planner *p) {
    bool any = false, planned = false;
    for (uint64_t i = 0; i < p->n_items; i++) {
        any = any || p->items[i].importance != NULL;
        planned = planned || qdq_item_planned(&p->items[i]);
    }
    if (any || !planned || p->selection->imatrix == NULL) return QDQ_OK;
    return qdq_fail_advising(QDQ_ADVICE_NAMES, QDQ_BAD_DATA,
                             "%s: has no entry for any tensor that is planned of %s: it is another model's, or the "
                             "names of this architecture are not known",
                             SHOWN(qdq_imatrix_path(p->selection->imatrix)),
                             SHOWN(qdq_model_path(p->selection->model)));
}

void qdq_planner_drop_candidates(qdq_planner *p) {
    for (uint64_t i = 0; p->items != NULL && i < p->n_items; i++) {
        qdq_gradient_free(&p->items[i].gradient);
        free(p->items[i].formats);
        free(p->items[i].candidates);
    }
    free(p->items);
    p->items = NULL;
    p->n_items = 0;
    p->elements = p->source_bytes = 0;
}

qdq_status qdq_planner_candidates(qdq_planner *p) {
    qdq_status status = qdq_planner_check_formats(p);
    if (status != QDQ_OK) return status;
    uint64_t n = qdq_model_tensor_count(p->selection->model);
    p->items = calloc((size_t)n + 1, sizeof *p->items);
    if (p->items == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu tensors", (ull)n);
    p->n_items = n;
    p->alignment = qdq_packed_alignment(p->selection->model);
    status = qdq_hyperparameters_read(p->selection, &p->facts);
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++)
        status = add_item(p, &p->items[i], qdq_model_tensor(p->selection->model, i));
    if (status == QDQ_OK) status = check_importance(p);
    if (status == QDQ_OK) qdq_planner_find_reads(p);
    if (status == QDQ_OK && p->cost == QDQ_COST_TOKEN && p->reads_reason[0] != '\0')
        status = qdq_fail(QDQ_INVALID_ARGUMENT, "%s: what a token reads is not known: %s",
                          SHOWN(qdq_model_path(p->selection->model)), p->reads_reason);
    return status == QDQ_OK ? measure_overhead(p) : status;
}
