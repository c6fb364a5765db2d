/* Whole files, for programs: every tensor as a chooser will have it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/advice.h"
#include "model/choosers.h"
#include "model/format_list.h"
#include "model/keep_codes.h"
#include "model/metadata.h"
#include "model/parts.h"
#include "model/rewrite.h"
#include "model/selection.h"
#include "base/error.h"
#include "base/platform_files.h"
#include "base/source.h"
#include "files/shown.h"

typedef struct decision {
    qdq_format format; /* QDQ_FORMAT_NONE: it is copied */
    const qdq_imatrix_entry *importance;
    bool keeps_codes;
} decision;

typedef struct job {
    const qdq_selection *selection;
    qdq_pass *pass;
    qdq_chooser *choose;
    void *context;
    qdq_work_kind kind;
    qdq_file_options options;
    qdq_file_report report;
    const qdq_arrangement *arrangement; /* the output's tensors */
    decision *decisions;                /* one a tensor of it */
    const char *path;                   /* NULL: nothing is written */
} job;

static qdq_status check(const char *call, const job *j, const char *path, const qdq_file_options *options,
                        const qdq_file_report *report) {
    if ((j->pass == NULL && path != NULL) || j->selection == NULL || j->choose == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: a NULL argument", call);
    if ((options != NULL && options->size == 0) || (report != NULL && report->size == 0))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: a struct's size is 0", call);
    return QDQ_OK;
}

/* ---- Deciding --------------------------------------------------------------------------------------------------- */

/* Codes that are to be kept, where a format has them, and no weight changes. */
static qdq_status keep_codes(const job *j, const qdq_tensor *t, uint64_t index, qdq_choice *choice) {
    qdq_format format = j->options.keep_codes || choice->keeps_codes ? qdq_keeps_codes(t) : QDQ_FORMAT_NONE;
    if (format == QDQ_FORMAT_NONE) {
        choice->keeps_codes = false;
        return QDQ_OK;
    }
    qdq_fit fit = {.size = sizeof fit};
    qdq_status status = qdq_selection_fit(j->selection, index, QDQ_FORMAT_NONE, &fit);
    if (status != QDQ_OK) return status;
    if (fit.reason != QDQ_FIT_TAKEN) {
        if (!qdq_kept_apart(t)) return QDQ_OK;
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: tensor \"%s\" has an outer scale, which is a tensor now: only its codes go with "
                        "that, and they are not to be kept (%s)",
                        SHOWN(t->path), SHOWN(t->name), fit.text);
    }
    uint64_t changes = qdq_kept_changes(t);
    if (changes > 0)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: tensor \"%s\": %llu of its %llu weights would change if %s had its codes: some scales are "
                        "none of that format's",
                        SHOWN(t->path), SHOWN(t->name), (unsigned long long)changes, (unsigned long long)t->elements,
                        qdq_describe_format(format).name);
    if (choice->format != format) {
        choice->exception = true;
        snprintf(choice->text, sizeof choice->text, "its own codes");
    }
    choice->format = format;
    choice->keeps_codes = true;
    choice->lacks_importance = choice->already = false;
    return QDQ_OK;
}

/* The chooser's word, and the importance that goes with it. dry: nothing is to be made. */
static qdq_status decide(job *j, uint64_t at, bool dry) {
    const qdq_arranged *a = &j->arrangement->tensors[at];
    const qdq_tensor *t = qdq_model_tensor(j->selection->model, a->index);
    decision *d = &j->decisions[at];
    qdq_choice choice = {.size = sizeof choice, .format = QDQ_FORMAT_NONE};
    qdq_status status = j->choose(j->context, a->index, &choice);
    if (status == QDQ_OK) status = keep_codes(j, t, a->index, &choice);
    if (status != QDQ_OK) return status;
    d->format = choice.format;
    d->keeps_codes = choice.keeps_codes;
    if (choice.lacks_importance && !dry) return qdq_targets_lack(choice.format, j->selection, a->name);
    if (d->format != QDQ_FORMAT_NONE && !choice.lacks_importance && !choice.keeps_codes) {
        qdq_fit fit = {.size = sizeof fit};
        status = qdq_selection_fit(j->selection, a->index, d->format, &fit); /* checks that there is such a format */
        if (status == QDQ_OK) status = qdq_selection_check(j->selection, t, d->format, &fit, &d->importance);
        if (status == QDQ_OK && fit.reason != QDQ_FIT_TAKEN)
            status = qdq_fail(QDQ_UNSUPPORTED, "%s: tensor \"%s\" is to be %s: %s", SHOWN(t->path), SHOWN(t->name),
                              qdq_describe_format(d->format).name, fit.text);
        if (status != QDQ_OK) return status;
    }
    j->report.kept += choice.keeps_codes;
    j->report.made += d->format != QDQ_FORMAT_NONE;
    j->report.exceptions += d->format != QDQ_FORMAT_NONE && choice.exception;
    j->report.already += choice.already;
    j->report.lacking += choice.lacks_importance;
    if (j->options.decided == NULL) return QDQ_OK;
    return j->options.decided(j->options.context, a->index, a->name, &choice,
                              qdq_rewritten_type(t, d->format, j->kind, j->options.source_dtype));
}

static qdq_status decide_all(job *j, bool dry) {
    uint64_t n = j->report.tensors = j->arrangement->n;
    j->decisions = calloc((size_t)n + 1, sizeof *j->decisions);
    if (j->decisions == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu tensors", (unsigned long long)n);
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) status = decide(j, i, dry);
    return status;
}

/* general.file_type: what llama-quantize writes by its rules; else that of the format which most of the weights get,
 * and where there is none, of the type that they have. */
static uint32_t file_type(const job *j) {
    if (j->options.file_type != NULL) return *j->options.file_type;
    if (j->choose == qdq_llama_choose) return qdq_llama_file_type(((qdq_llama_chooser *)j->context)->llama);
    uint64_t elements[QDQ_MAX_FORMATS] = {0}, most = 0;
    uint32_t type = qdq_source_get(QDQ_F32)->ggml_file_type;
    for (uint64_t i = 0; i < j->report.tensors; i++) {
        const qdq_tensor *t = qdq_model_tensor(j->selection->model, j->arrangement->tensors[i].index);
        qdq_format f = j->decisions[i].format;
        if (f >= 0 && f < QDQ_MAX_FORMATS)
            elements[f] += t->elements;
        else if (t->n_dims > 1 && t->source && qdq_source_by_ggml_type(t->ggml_type) != NULL)
            type = qdq_source_by_ggml_type(t->ggml_type)->ggml_file_type;
    }
    for (qdq_format f = 0; f < QDQ_MAX_FORMATS; f++) {
        if (elements[f] <= most) continue;
        most = elements[f];
        type = qdq_describe_format(f).ggml_file_type;
    }
    return type;
}

/* ---- Writing ---------------------------------------------------------------------------------------------------- */

/* PATH, or its part of a split set: PATH-00001-of-00002.gguf. */
static qdq_status create_writer(const job *j, uint32_t shard, qdq_writer **writer) {
    if (j->options.parts > 0)
        return qdq_writer_create(QDQ_LAYOUT_GGUF, NULL, writer); /* it only says what goes where */
    if (j->path == NULL || !j->arrangement->by_shards) return qdq_writer_create(QDQ_LAYOUT_GGUF, j->path, writer);
    char *name = qdq_split_name(j->path, shard, j->arrangement->shards);
    if (name == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the output's name");
    qdq_status status = qdq_writer_create(QDQ_LAYOUT_GGUF, name, writer);
    free(name);
    return status;
}

static qdq_status add_size(job *j, const qdq_rewrite *r) {
    uint64_t bytes = 0;
    qdq_status status = qdq_writer_size(r->writer, &bytes);
    j->report.bytes += bytes;
    return status;
}

static qdq_status mark_shard(const job *j, qdq_writer *writer, uint32_t shard) {
    uint32_t shards = j->arrangement->shards;
    if (shards <= 1) return QDQ_OK;
    return qdq_writer_set_split(writer, (uint16_t)shard, (uint16_t)shards, (uint32_t)j->report.tensors);
}

static qdq_status next_file(job *j, qdq_rewrite *r, uint32_t shard) {
    qdq_writer *writer = NULL;
    qdq_status status = add_size(j, r);
    if (status == QDQ_OK) status = create_writer(j, shard, &writer);
    if (status == QDQ_OK) status = qdq_rewrite_next_file(r, writer);
    return status == QDQ_OK ? mark_shard(j, r->writer, shard) : status;
}

static void free_names(char **names, uint32_t n) {
    for (uint32_t i = 0; names != NULL && i < n; i++) free(names[i]);
    free(names);
}

/* The paths of a split set's shards; NULL: no memory. */
static char **shard_names(const job *j) {
    uint32_t shards = j->arrangement->shards;
    char **names = calloc(shards, sizeof *names);
    for (uint32_t i = 0; names != NULL && i < shards; i++) {
        names[i] = qdq_split_name(j->path, i, shards);
        if (names[i] != NULL) continue;
        free_names(names, i);
        return NULL;
    }
    return names;
}

/* Shards that are in their places already, the last ones, when one of the others cannot be put there. */
static qdq_status remove_finished(const qdq_rewrite *r, char **names, uint32_t shards, qdq_status status) {
    char why[512];
    snprintf(why, sizeof why, "%s", qdq_error_message());
    for (uint32_t i = 0; i < r->n_finished; i++)
        if (!qdq_file_remove(names[shards - 1 - i]))
            status = qdq_fail(status, "%s; but \"%s\" is in its place, and cannot be removed", why,
                              SHOWN(names[shards - 1 - i]));
    return status;
}

/* Names are made before the work: when something fails, there may be no memory for them. */
static qdq_status run_shards(const job *j, qdq_rewrite *r) {
    char **names = shard_names(j);
    if (names == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the outputs' names");
    qdq_status status = qdq_rewrite_run(r);
    if (status != QDQ_OK) status = remove_finished(r, names, j->arrangement->shards, status);
    free_names(names, j->arrangement->shards);
    return status;
}

static qdq_status run_rewrite(job *j, qdq_rewrite *r) {
    const qdq_file_options *o = &j->options;
    if (o->parts == 0) return j->arrangement->by_shards ? run_shards(j, r) : qdq_rewrite_run(r);
    qdq_part_wish wish = {.path = j->path,
                          .split = j->arrangement->by_shards,
                          .part = o->part,
                          .parts = o->parts,
                          .resume = o->resume,
                          .next = o->next_part,
                          .context = o->context};
    return qdq_parts_run(r, &wish, &j->report.part_bytes, &j->report.part_made);
}

/* Takes writer. dry: only sizes are told. */
static qdq_status write_all(job *j, qdq_writer *writer, bool dry) {
    qdq_rewrite r = {.model = j->selection->model,
                     .pass = j->pass,
                     .kind = j->kind,
                     .source_dtype = j->options.source_dtype,
                     .writer = writer};
    qdq_status status = mark_shard(j, writer, 0);
    uint32_t shard = 0;
    for (uint64_t i = 0; i < j->report.tensors && status == QDQ_OK; i++) {
        const qdq_arranged *a = &j->arrangement->tensors[i];
        if (a->shard != shard) status = next_file(j, &r, shard = a->shard);
        if (status == QDQ_OK)
            status = qdq_rewrite_add(&r, a->index, a->name, j->decisions[i].format, j->decisions[i].importance);
        if (status == QDQ_OK && j->decisions[i].keeps_codes) qdq_rewrite_keep_codes(&r);
    }
    /* Such a file would say that it is in the format, and is not. */
    if (status == QDQ_OK && j->report.made == 0 && j->report.already == 0)
        status = qdq_fail_advising(
            QDQ_ADVICE_WEIGHTS, QDQ_UNSUPPORTED, "%s: there is nothing to %s in its %llu tensors",
            SHOWN(qdq_model_path(j->selection->model)), j->kind == QDQ_WORK_QUANTIZE ? "quantize" : "round-trip",
            (unsigned long long)j->report.tensors);
    if (status == QDQ_OK) status = add_size(j, &r);
    j->report.elements = r.elements;
    j->report.source_bytes = r.bytes;
    j->report.weight_bytes = r.written;
    j->report.weighted = r.weighted;
    if (status == QDQ_OK && j->options.ready != NULL) status = j->options.ready(j->options.context, &j->report);
    if (status == QDQ_OK && !dry) status = run_rewrite(j, &r);
    qdq_rewrite_close(&r);
    return status;
}

/* The model's tensors in its own order. */
static qdq_status as_it_is(const qdq_model *model, qdq_arrangement *arrangement) {
    uint64_t n = qdq_model_tensor_count(model);
    arrangement->tensors = calloc((size_t)n + 1, sizeof *arrangement->tensors);
    if (arrangement->tensors == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu tensors", (unsigned long long)n);
    for (; arrangement->n < n; arrangement->n++)
        arrangement->tensors[arrangement->n] =
            (qdq_arranged){arrangement->n, qdq_model_tensor(model, arrangement->n)->name, 0};
    return QDQ_OK;
}

static qdq_status take_options(job *j, const qdq_file_options *options) {
    qdq_file_options *o = &j->options;
    if (options != NULL) memcpy(o, options, options->size < sizeof *o ? options->size : sizeof *o);
    if (o->parts == 0 || o->next_part != NULL || (o->part >= 1 && o->part <= o->parts)) return QDQ_OK;
    return qdq_fail(QDQ_INVALID_ARGUMENT, "part %u of %u parts is wanted", o->part, o->parts);
}

static void hand_over(const job *j, qdq_file_report *report) {
    if (report == NULL) return;
    size_t size = report->size;
    memcpy(report, &j->report, size < sizeof *report ? size : sizeof *report);
    report->size = size;
}

static qdq_status finish(job *j, qdq_status status, qdq_writer *writer, bool dry, qdq_file_report *report) {
    if (status == QDQ_OK)
        status = write_all(j, writer, dry);
    else
        qdq_writer_abort(writer);
    free(j->decisions);
    hand_over(j, report);
    return status;
}

qdq_status qdq_quantize_file(qdq_pass *pass, const qdq_selection *selection, const char *path, qdq_chooser *choose,
                             void *context, const qdq_file_options *options, qdq_file_report *report) {
    job j = {.selection = selection,
             .pass = pass,
             .choose = choose,
             .context = context,
             .kind = QDQ_WORK_QUANTIZE,
             .path = path,
             .report = {.size = sizeof j.report}};
    qdq_status status = check("qdq_quantize_file", &j, path, options, report);
    if (status != QDQ_OK) return status;
    status = take_options(&j, options);
    if (status != QDQ_OK) return status;
    const qdq_llama_chooser *rules = choose == qdq_llama_choose ? context : NULL;
    qdq_writer *writer = NULL;
    qdq_arrangement arrangement = {0};
    status = rules != NULL ? qdq_llama_settle(rules) : qdq_arrange(selection->model, NULL, 0, &arrangement);
    j.arrangement = rules != NULL && status == QDQ_OK ? qdq_llama_arrangement(rules->llama) : &arrangement;
    if (status == QDQ_OK) status = decide_all(&j, path == NULL);
    if (status == QDQ_OK) status = create_writer(&j, 0, &writer);
    if (status == QDQ_OK) {
        qdq_packed_facts facts = {.file_type = file_type(&j),
                                  .kv = rules != NULL ? qdq_llama_kv(rules->llama) : NULL,
                                  .arrangement = j.arrangement};
        status = qdq_packed_metadata(writer, selection, &facts);
    }
    status = finish(&j, status, writer, path == NULL, report);
    qdq_arrangement_free(&arrangement);
    return status;
}

qdq_status qdq_roundtrip_file(qdq_pass *pass, const qdq_selection *selection, const char *path, qdq_chooser *choose,
                              void *context, const qdq_file_options *options, qdq_file_report *report) {
    job j = {.selection = selection,
             .pass = pass,
             .choose = choose,
             .context = context,
             .kind = QDQ_WORK_ROUNDTRIP,
             .path = path,
             .report = {.size = sizeof j.report}};
    qdq_status status = check("qdq_roundtrip_file", &j, path, options, report);
    if (status == QDQ_OK && path == NULL) status = qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_roundtrip_file: path is NULL");
    if (status != QDQ_OK) return status;
    status = take_options(&j, options);
    if (status != QDQ_OK) return status;
    qdq_writer *writer = NULL;
    qdq_arrangement arrangement = {0};
    status = as_it_is(selection->model, &arrangement);
    j.arrangement = &arrangement;
    if (status == QDQ_OK) status = decide_all(&j, false);
    if (status == QDQ_OK)
        status = qdq_writer_create(QDQ_LAYOUT_SAFETENSORS, j.options.parts > 0 ? NULL : path, &writer);
    if (status == QDQ_OK && qdq_model_layout(selection->model) == QDQ_LAYOUT_SAFETENSORS)
        status = qdq_writer_copy_metadata(writer, selection->model);
    status = finish(&j, status, writer, false, report);
    qdq_arrangement_free(&arrangement);
    return status;
}
