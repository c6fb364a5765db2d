/* Who decides what becomes of a tensor, for programs. */
#include "model/choosers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "model/format_list.h"
#include "model/targets.h"
#include "base/error.h"

/* A choice of this version into one of the caller's. */
static void hand_over(const qdq_choice *made, qdq_choice *choice) {
    size_t size = choice->size;
    memcpy(choice, made, size < sizeof *made ? size : sizeof *made);
    choice->size = size;
}

void qdq_target_choice_show(const qdq_target_choice *made, qdq_choice *choice) {
    qdq_choice c = {.format = made->format,
                    .reason = made->format == QDQ_FORMAT_NONE ? QDQ_FIT_RULE : QDQ_FIT_TAKEN,
                    .exception = made->exception,
                    .already = made->already,
                    .keeps_codes = made->keeps_codes,
                    .lacks_importance = made->lacks_importance};
    snprintf(c.text, sizeof c.text, "%s", made->reason);
    hand_over(&c, choice);
}

/* ---- One format ------------------------------------------------------------------------------------------------- */

qdq_status qdq_uniform_choose(void *context, uint64_t index, qdq_choice *choice) {
    const qdq_uniform *u = context;
    if (u == NULL || choice == NULL || u->format == QDQ_FORMAT_NONE)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_uniform_choose: no format, or a NULL argument");
    qdq_fit fit = {.size = sizeof fit};
    qdq_status status = qdq_selection_fit(u->selection, index, u->format, &fit);
    if (status != QDQ_OK) return status;
    qdq_choice c = {.format = fit.reason == QDQ_FIT_TAKEN ? u->format : QDQ_FORMAT_NONE, .reason = fit.reason};
    memcpy(c.text, fit.text, sizeof c.text);
    hand_over(&c, choice);
    return QDQ_OK;
}

/* ---- llama-quantize's rules ------------------------------------------------------------------------------------- */

struct qdq_llama {
    const qdq_selection *selection; /* once it is settled; else NULL */
    qdq_targets targets;
    bool keep_split;
    uint32_t *prune;
    uint32_t n_prune;
    qdq_kv_list kv;
    qdq_arrangement arrangement;
    uint64_t room; /* counts in targets.used */
};

qdq_status qdq_llama_fallback(qdq_format format, uint64_t row, qdq_format *written) {
    qdq_format_info info = {.size = sizeof info};
    uint32_t type = 0;
    if (written == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_llama_fallback: a NULL argument");
    *written = QDQ_FORMAT_NONE;
    qdq_status status = qdq_format_describe(format, &info);
    if (status == QDQ_OK) status = qdq_rules_fallback(QDQ_RULES_NEWEST, info.ggml_type, row, &type);
    if (status != QDQ_OK) return status;
    *written = qdq_format_by_ggml_type(type);
    if (*written != QDQ_FORMAT_NONE) return QDQ_OK;
    return qdq_fail(QDQ_UNSUPPORTED, "llama-quantize writes %s there, which this version cannot make",
                    qdq_ggml_type_by_id(type)->name);
}

bool qdq_llama_needs_importance(qdq_format format) {
    qdq_format_info info = {.size = sizeof info};
    return qdq_format_describe(format, &info) == QDQ_OK &&
           (info.importance == QDQ_IMPORTANCE_NEEDED ||
            qdq_rules_needs_imatrix("", info.ggml_type, info.ggml_file_type));
}

static qdq_status find_type(const char *name, uint32_t *type) {
    const qdq_ggml_type *found = name != NULL ? qdq_ggml_type_by_name(name, strlen(name)) : NULL;
    if (name == NULL) return QDQ_OK;
    if (found == NULL || !qdq_rules_writes(found))
        return qdq_fail(
            QDQ_INVALID_ARGUMENT,
            "output and token embedding want a type of ggml's that can be made (q6_K, f16, ...), not '%.40s'", name);
    *type = found->id;
    return QDQ_OK;
}

static qdq_status find_preset(const char *name, qdq_targets *t) {
    char list[768] = "";
    size_t used = 0;
    t->preset = qdq_preset_by_name(name);
    t->copy = strcasecmp(name, "COPY") == 0;
    if (t->preset != NULL || t->copy) return QDQ_OK;
    for (size_t i = 0; i < qdq_preset_count(); i++)
        if (qdq_word_means(name, qdq_preset_at(i)->name))
            return qdq_fail(QDQ_INVALID_ARGUMENT, "llama-quantize has no type '%.40s'; did you mean %s?", name,
                            qdq_preset_at(i)->name);
    for (size_t i = 0; i < qdq_preset_count() && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, " %s", qdq_preset_at(i)->name);
    return qdq_fail(QDQ_INVALID_ARGUMENT, "llama-quantize has no type '%.40s'; there are:%s COPY", name, list);
}

static qdq_status take_options(qdq_llama *l, const qdq_llama_options *o) {
    qdq_targets *t = &l->targets;
    t->pure = o->pure;
    t->leave_output = o->leave_output;
    l->keep_split = o->keep_split;
    qdq_status status = QDQ_OK;
    if (o->preset != NULL)
        status = find_preset(o->preset, t);
    else if (o->format >= 0 && o->format < qdq_format_count())
        t->format = o->format;
    else
        status = qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_llama_create: no format %d", (int)o->format);
    if (status == QDQ_OK) status = find_type(o->output_type, &t->output_type);
    if (status == QDQ_OK) status = find_type(o->embedding_type, &t->embedding_type);
    if (status == QDQ_OK) status = qdq_rules_find(o->rules, &t->rules);
    bool mixed = t->pure || t->leave_output || o->output_type != NULL || o->embedding_type != NULL;
    if (status == QDQ_OK && t->copy && mixed)
        status = qdq_fail(QDQ_INVALID_ARGUMENT, "COPY changes no tensor's type: leave out what chooses types");
    for (uint32_t i = 0; i < o->n_overrides && status == QDQ_OK; i++)
        status = qdq_kv_list_add(&l->kv, "the override", o->overrides[i]);
    if (status != QDQ_OK || o->n_prune == 0) return status;
    l->prune = malloc(o->n_prune * sizeof *l->prune);
    if (l->prune == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %u layers", (unsigned)o->n_prune);
    memcpy(l->prune, o->prune, o->n_prune * sizeof *l->prune);
    l->n_prune = o->n_prune;
    return QDQ_OK;
}

qdq_status qdq_llama_create(const qdq_llama_options *options, qdq_llama **result) {
    if (result == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_llama_create: a NULL argument");
    *result = NULL;
    if (options == NULL || options->size == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_llama_create: a NULL argument, or options->size is 0");
    qdq_llama_options o = {.format = QDQ_FORMAT_NONE};
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    qdq_llama *l = calloc(1, sizeof *l);
    if (l == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for llama-quantize's rules");
    l->targets = (qdq_targets)QDQ_TARGETS_NONE;
    qdq_status status = take_options(l, &o);
    if (status != QDQ_OK) {
        qdq_llama_free(l);
        return status;
    }
    *result = l;
    return QDQ_OK;
}

void qdq_llama_free(qdq_llama *l) {
    if (l == NULL) return;
    qdq_targets_free(&l->targets);
    qdq_kv_list_free(&l->kv);
    qdq_arrangement_free(&l->arrangement);
    free(l->prune);
    free(l);
}

const qdq_arrangement *qdq_llama_arrangement(const qdq_llama *l) { return &l->arrangement; }

const qdq_kv_list *qdq_llama_kv(const qdq_llama *l) { return &l->kv; }

uint32_t qdq_llama_file_type(const qdq_llama *l) { return qdq_targets_file_type(&l->targets, l->selection->model); }

const char *qdq_llama_describe(const qdq_llama *l, const char **preset) {
    const qdq_targets *t = &l->targets;
    if (preset != NULL) *preset = t->preset != NULL ? t->preset->name : NULL;
    if (t->copy) return "copies";
    return t->preset != NULL ? qdq_ggml_type_by_id(t->preset->type)->name : qdq_describe_format(t->format).name;
}

const char *qdq_llama_preset(uint32_t index, const char **type) {
    if (index >= qdq_preset_count()) return NULL;
    if (type != NULL) *type = qdq_ggml_type_by_id(qdq_preset_at(index)->type)->name;
    return qdq_preset_at(index)->name;
}

const char *qdq_llama_find_preset(const char *text) {
    const qdq_preset *preset = text != NULL ? qdq_preset_by_name(text) : NULL;
    return preset != NULL ? preset->name : NULL;
}

/* ---- Exceptions ------------------------------------------------------------------------------------------------- */

static uint64_t count(const qdq_llama *l) {
    return l->targets.overrides != NULL ? qdq_type_file_count(l->targets.overrides) : 0;
}

/* As many counts as entries. */
static qdq_status grow_counts(qdq_llama *l) {
    uint64_t n = count(l);
    if (n <= l->room) return QDQ_OK;
    uint64_t *used = realloc(l->targets.used, (size_t)n * sizeof *used);
    if (used == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for exceptions");
    memset(used + l->room, 0, (size_t)(n - l->room) * sizeof *used);
    l->targets.used = used;
    l->room = n;
    return QDQ_OK;
}

static bool makes_floats(const qdq_targets *t) {
    return t->preset != NULL ? !qdq_ggml_type_is_quantized(qdq_ggml_type_by_id(t->preset->type))
                             : qdq_format_is_source(t->format);
}

static qdq_status begin_exceptions(qdq_llama *l, const void *argument) {
    if (l == NULL || argument == NULL || l->selection != NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "an exception to llama-quantize's rules: a NULL argument, or it comes late");
    if (l->targets.copy)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "COPY changes no tensor's type: leave out what chooses types");
    if (makes_floats(&l->targets))
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "llama-quantize passes over exceptions where all is to be f32, f16 or bf16: ask for the most "
                        "common of the quantized formats, and name the tensors that are to be floats");
    return l->targets.overrides == NULL ? qdq_type_file_create(&l->targets.overrides) : QDQ_OK;
}

qdq_status qdq_llama_add(qdq_llama *l, const char *where, const char *exception) {
    qdq_status status = begin_exceptions(l, exception);
    if (status == QDQ_OK)
        status = qdq_type_file_add(l->targets.overrides, where != NULL ? where : "an exception", exception);
    return status == QDQ_OK ? grow_counts(l) : status;
}

qdq_status qdq_llama_add_file(qdq_llama *l, const char *path) {
    char *text;
    size_t length;
    qdq_status status = begin_exceptions(l, path);
    if (status == QDQ_OK) status = qdq_read_text(path, QDQ_WORDS_LIMIT, &text, &length);
    if (status != QDQ_OK) return status;
    status = qdq_type_file_add_text(l->targets.overrides, path, text, length);
    free(text);
    return status == QDQ_OK ? grow_counts(l) : status;
}

const char *qdq_llama_exception(const qdq_llama *l, uint64_t index, uint64_t *tensors) {
    if (l == NULL || index >= count(l)) return NULL;
    if (tensors != NULL) *tensors = l->targets.used[index];
    return qdq_type_file_entry(l->targets.overrides, index);
}

/* ---- Choosing --------------------------------------------------------------------------------------------------- */

qdq_status qdq_llama_settle(const qdq_llama_chooser *c) {
    if (c == NULL || c->llama == NULL || c->selection == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "llama-quantize's rules or a selection is NULL");
    qdq_llama *l = c->llama;
    if (l->selection != NULL && l->selection != c->selection)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "llama-quantize's rules are settled for another selection");
    if (l->selection != NULL) return QDQ_OK;
    qdq_status status = qdq_targets_check_importance(&l->targets, c->selection->imatrix != NULL);
    if (status == QDQ_OK) status = qdq_arrange(c->selection->model, l->prune, l->n_prune, &l->arrangement);
    if (status == QDQ_OK && l->keep_split) status = qdq_arrange_by_shards(c->selection->model, &l->arrangement);
    if (status == QDQ_OK) status = qdq_targets_prepare(&l->targets, c->selection, &l->arrangement, &l->kv);
    if (status == QDQ_OK) l->selection = c->selection;
    return status;
}

qdq_status qdq_llama_choose(void *context, uint64_t index, qdq_choice *choice) {
    const qdq_llama_chooser *c = context;
    qdq_target_choice made;
    qdq_status status = qdq_llama_settle(c);
    if (status == QDQ_OK && (choice == NULL || index >= qdq_model_tensor_count(c->selection->model)))
        status = qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_llama_choose: no such tensor, or a NULL argument");
    if (status == QDQ_OK) status = qdq_targets_choose(&c->llama->targets, c->selection, index, &made);
    if (status == QDQ_OK) qdq_target_choice_show(&made, choice);
    return status;
}
