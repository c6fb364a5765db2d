/* A plan beside what somebody has published: the formats of a GGUF of the same model, scored as the plan's are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/planner.h"
#include "plan/token_reads.h"
#include "model/format_list.h"
#include "model/gguf_names.h"
#include "files/shown.h"
#include "base/error.h"

qdq_status qdq_planner_beside(qdq_planner *p, const qdq_model *published) {
    if (p == NULL || published == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_planner_beside: a NULL argument");
    if (qdq_model_layout(published) != QDQ_LAYOUT_GGUF)
        return qdq_fail(QDQ_BAD_DATA, "%s: is no GGUF", SHOWN(qdq_model_path(published)));
    p->published = published;
    p->prepared = p->measured = p->solved = false;
    return qdq_planner_check_formats(p);
}

/* Its format of blocks; QDQ_FORMAT_SOURCE: it is stored as floats; QDQ_FORMAT_NONE: as something else. */
static qdq_format format_of(const qdq_tensor *t) {
    qdq_format format = qdq_format_by_ggml_type(t->ggml_type);
    if (format == QDQ_FORMAT_NONE) return QDQ_FORMAT_NONE;
    return qdq_describe_format(format).block_elements > 1 ? format : QDQ_FORMAT_SOURCE;
}

qdq_status qdq_planner_add_published(qdq_planner *p, qdq_status (*add)(qdq_planner *p, const char *format)) {
    qdq_status status = add(p, QDQ_PLAN_SOURCE);
    for (uint64_t i = 0; i < qdq_model_tensor_count(p->published) && status == QDQ_OK; i++) {
        qdq_format format = format_of(qdq_model_tensor(p->published, i));
        if (format >= 0) status = add(p, qdq_describe_format(format).name);
    }
    return status;
}

qdq_status qdq_planner_find_published(const qdq_planner *p, qdq_item *it) {
    const char *name = it->gguf.name[0] != '\0' ? it->gguf.name : it->tensor->name;
    const qdq_tensor *t = qdq_model_find(p->published, name);
    if (t == NULL) t = qdq_model_find(p->published, it->tensor->name); /* as `quantize` leaves those of safetensors */
    bool row = t != NULL && t->n_dims > 0 && it->tensor->n_dims > 0 &&
               t->shape[t->n_dims - 1] == it->tensor->shape[it->tensor->n_dims - 1];
    if (!row || t->elements % it->tensor->elements != 0 ||
        (t->elements != it->tensor->elements && !qdq_item_is_expert(it)))
        return qdq_fail(QDQ_BAD_DATA, "%s: is not this model: it has no \"%s\" of %s",
                        SHOWN(qdq_model_path(p->published)), SHOWN(name), QDQ_EXTENTS(it->tensor));
    it->published = format_of(t);
    if (it->published != QDQ_FORMAT_NONE) return QDQ_OK;
    return qdq_fail(QDQ_UNSUPPORTED, "%s: \"%s\" is %s, which is no format here", SHOWN(qdq_model_path(p->published)),
                    SHOWN(name), t->type_name);
}

/* Its format is among the planner's, qdq_planner_add_published() has seen to that. */
const qdq_candidate *qdq_planner_published(const qdq_planner *p, const qdq_item *it) {
    uint32_t c = 0;
    while (p->formats[c].format != it->published) c++;
    return &it->candidates[c];
}

const char *qdq_planner_published_target(const qdq_planner *p, char text[32]) {
    uint64_t bytes = p->fixed;
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_item *it = &p->items[i];
        if (!qdq_item_planned(it)) continue;
        bytes += qdq_planner_cost(p, it, (uint32_t)(qdq_planner_published(p, it) - it->candidates));
    }
    snprintf(text, 32, "%lluB", (unsigned long long)bytes);
    return text;
}

/* ---- The comparison --------------------------------------------------------------------------------------------- */

static void add_item(const qdq_planner *p, const qdq_item *it, qdq_beside_kind *to) {
    const qdq_candidate *ours = &it->candidates[it->chosen], *theirs = qdq_planner_published(p, it);
    to->tensors++;
    to->elements += it->tensor->elements;
    to->bytes += ours->bytes;
    to->damage += ours->damage;
    to->published_bytes += theirs->bytes;
    to->published_damage += theirs->damage;
}

static int larger_first(const void *a, const void *b) {
    const qdq_beside_kind *x = a, *y = b;
    if (x->elements != y->elements) return x->elements < y->elements ? 1 : -1;
    return strcmp(x->kind, y->kind);
}

qdq_status qdq_planner_compare(const qdq_planner *p, qdq_beside_kind *kinds, uint32_t room, uint32_t *n,
                               qdq_beside_kind *all) {
    if (p == NULL || (kinds == NULL && room > 0) || n == NULL || all == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_planner_compare: a NULL argument");
    if (p->published == NULL || !p->solved)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_planner_compare: no plan was made beside a published model");
    *all = (qdq_beside_kind){.kind = "all"};
    *n = 0;
    qdq_beside_kind *found = calloc((size_t)p->n_items + 1, sizeof *found);
    if (found == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a comparison");
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_item *it = &p->items[i];
        if (!qdq_item_planned(it)) continue;
        int64_t layer;
        char kind[QDQ_NAME_MAX];
        qdq_name_parts(it->gguf.name[0] != '\0' ? it->gguf.name : it->tensor->name, &layer, kind);
        uint32_t k = 0;
        while (k < *n && strncmp(found[k].kind, kind, sizeof found[k].kind - 1) != 0) k++;
        if (k == *n) snprintf(found[(*n)++].kind, sizeof found->kind, "%.*s", (int)sizeof found->kind - 1, kind);
        add_item(p, it, &found[k]);
        add_item(p, it, all);
    }
    qsort(found, *n, sizeof *found, larger_first);
    for (uint32_t k = 0; k < *n && k < room; k++) kinds[k] = found[k];
    free(found);
    return QDQ_OK;
}
