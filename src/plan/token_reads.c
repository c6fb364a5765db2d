#include "plan/token_reads.h"

#include <stdio.h>
#include <string.h>

#include "model/decoding.h"
#include "model/format_list.h"
#include "base/error.h"

__extension__ typedef unsigned __int128 u128;

static bool has_output(const qdq_planner *p) {
    for (uint64_t i = 0; i < p->n_items; i++)
        if (strcmp(p->items[i].gguf.name, "output.weight") == 0) return true;
    return false;
}

/* A table of which a token needs its own row. The embedding serves as output, too, where there is no other. */
static bool is_looked_up(const char *kind, bool has_output) {
    static const char *const tables[] = {"per_layer_token_embd", "position_embd", "token_types"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (strcmp(kind, tables[i]) == 0) return true;
    return has_output && strcmp(kind, "token_embd") == 0;
}

/* Of an item whose share is 1. Where it cannot be told, p->reads_reason says why. */
static void find_share(qdq_planner *p, qdq_item *it, bool has_output) {
    const qdq_hyperparameters *h = &p->facts;
    const qdq_tensor *t = it->tensor;
    int64_t layer;
    char kind[QDQ_NAME_MAX];
    if (it->dropped) it->reads.part = 0;
    if (it->dropped || t->elements == 0) return;
    if (it->gguf.name[0] == '\0') {
        snprintf(p->reads_reason, QDQ_REASON, "what \"%.100s\" is cannot be told, since GGUF's name of it is not known",
                 t->name);
        return;
    }
    qdq_name_parts(it->gguf.name, &layer, kind);
    uint64_t slowest = t->n_dims > 0 ? t->shape[0] : 1;
    if (is_looked_up(kind, has_output)) {
        it->reads = (qdq_share){1, t->n_dims > 1 ? t->elements / t->shape[t->n_dims - 1] : 1};
    } else if (strstr(kind, "_exps") != NULL) {
        uint64_t experts = qdq_item_is_expert(it) ? h->experts : slowest;
        if (h->experts_used == 0 || h->experts_used > experts) {
            snprintf(p->reads_reason, QDQ_REASON,
                     "neither metadata (expert_used_count) nor config.json (num_experts_per_tok) say how many of the "
                     "experts of \"%.100s\" a token uses",
                     t->name);
            return;
        }
        it->reads = (qdq_share){h->experts_used, experts};
    }
}

void qdq_planner_find_reads(qdq_planner *p) {
    bool output = has_output(p);
    p->reads_reason[0] = '\0';
    for (uint64_t i = 0; i < p->n_items && p->reads_reason[0] == '\0'; i++) {
        if (strcmp(p->items[i].gguf.name, "token_types.weight") == 0)
            snprintf(p->reads_reason, QDQ_REASON, "an encoder takes a text's tokens at once");
        else
            find_share(p, &p->items[i], output);
    }
    double elements = 0;
    p->source_reads = 0;
    for (uint64_t i = 0; i < p->n_items && p->reads_reason[0] == '\0'; i++) {
        const qdq_item *it = &p->items[i];
        elements += (double)it->tensor->elements * (double)it->reads.part / (double)it->reads.whole;
        p->source_reads += qdq_planner_kept_reads(p, it);
    }
    p->read_elements = (uint64_t)elements;
}

static uint64_t reads_of(const qdq_planner *p, const qdq_item *it, qdq_format format, uint64_t bytes) {
    uint64_t reads = (uint64_t)(((u128)bytes * it->reads.part + it->reads.whole - 1) / it->reads.whole);
    return qdq_slow_formats_count(&p->slow, format, reads);
}

uint64_t qdq_planner_kept_reads(const qdq_planner *p, const qdq_item *it) {
    return reads_of(p, it, QDQ_FORMAT_SOURCE, it->tensor->bytes);
}

uint64_t qdq_planner_candidate_reads(const qdq_planner *p, const qdq_item *it, uint32_t candidate) {
    qdq_format format = p->formats[candidate].format;
    if (format == QDQ_FORMAT_SOURCE) return qdq_planner_kept_reads(p, it);
    return reads_of(p, it, format, qdq_format_bytes(format, it->tensor->elements));
}

uint64_t qdq_planner_cost(const qdq_planner *p, const qdq_item *it, uint32_t candidate) {
    return p->cost == QDQ_COST_TOKEN ? qdq_planner_candidate_reads(p, it, candidate) : it->candidates[candidate].bytes;
}
