#include "cli/session.h"

#include <stdlib.h>
#include <string.h>

/* ---- Sessions --------------------------------------------------------------------------------------------------- */

static qdq_status select_tensors(qdq_session *s) {
    qdq_selection_options options = {.size = sizeof options,
                                     .n_include = s->common->n_include,
                                     .n_exclude = s->common->n_exclude,
                                     .include = s->common->include,
                                     .exclude = s->common->exclude,
                                     .imatrix = s->imatrix,
                                     .architecture = s->common->architecture,
                                     .map = s->common->map};
    return qdq_selection_create(s->model, &options, &s->selection);
}

static qdq_status open_devices(qdq_session *s) {
    /* Where an earlier revision is asked for, one device has it: the CPU. */
    bool pinned = s->common->reference != NULL && strcmp(s->common->reference, QDQ_REFERENCE) != 0;
    qdq_status status =
        pinned ? qdq_common_open_device(s->common, &s->devices[0])
               : qdq_devices_open(s->common->device, s->common->threads, QDQ_MAX_DEVICES, s->devices, &s->n_devices);
    if (pinned && status == QDQ_OK) s->n_devices = 1;
    size_t used = 0;
    for (uint32_t i = 0; i < s->n_devices && status == QDQ_OK && used < sizeof s->device_names; i++) {
        qdq_device_info info = {.size = sizeof info};
        status = qdq_device_describe(s->devices[i], &info);
        used += (size_t)snprintf(s->device_names + used, sizeof s->device_names - used, "%s%s", i > 0 ? "," : "",
                                 info.name);
        memcpy(s->reference, info.reference, sizeof s->reference);
    }
    return status;
}

static qdq_status open_pass(qdq_session *s) {
    qdq_pass_options options = {.size = sizeof options,
                                .threads = s->common->threads,
                                .allow_non_finite = s->common->allow_non_finite,
                                .progress = qdq_progress_took};
    return qdq_pass_create(s->n_devices, s->devices, &options, &s->pass);
}

static qdq_status open_imatrix(qdq_session *s, const qdq_session_imatrix *imatrix) {
    if (imatrix->path == NULL) return QDQ_OK;
    qdq_status status = qdq_imatrix_open(imatrix->path, &s->imatrix);
    if (status != QDQ_OK || imatrix->n_include + imatrix->n_exclude == 0) return status;
    status = qdq_imatrix_filter(s->imatrix, imatrix->include, imatrix->n_include, imatrix->exclude, imatrix->n_exclude);
    if (status != QDQ_OK || qdq_imatrix_count(s->imatrix) > 0) return status;
    qdq_imatrix_close(s->imatrix);
    s->imatrix = NULL;
    return QDQ_OK;
}

qdq_status qdq_session_open(qdq_session *session, const qdq_common *common, const char *input, const char *imatrix) {
    return qdq_session_open_filtered(session, common, input, &(qdq_session_imatrix){.path = imatrix});
}

/* ---- --like ----------------------------------------------------------------------------------------------------- */

static qdq_status note_like(void *context, qdq_like_event event, const char *name) {
    qdq_session *s = context;
    json_array_append_new(event == QDQ_LIKE_COPIED ? s->like_copied : s->like_unused, qdq_json_text(name));
    return QDQ_OK;
}

/* The model so far gives its weights to one like the template. */
static qdq_status open_like(qdq_session *s) {
    if (s->common->like == NULL) return QDQ_OK;
    qdq_like_options options = {.size = sizeof options,
                                .map = s->common->map,
                                .other_weights = s->common->other_weights,
                                .told = note_like,
                                .context = s};
    s->like.size = sizeof s->like;
    s->like_copied = json_array();
    s->like_unused = json_array();
    if (s->like_copied == NULL || s->like_unused == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the results");
    s->checkpoint = s->model;
    s->model = NULL;
    return qdq_model_open_like(s->common->like, s->checkpoint, &options, &s->like, &s->model);
}

json_t *qdq_session_like(const qdq_session *s) {
    if (s->common->like == NULL) return NULL;
    return json_pack("{s:o, s:I, s:I, s:I, s:O, s:O}", "template", qdq_json_text(s->common->like), "tensors",
                     (json_int_t)s->like.taken, "verified", (json_int_t)s->like.verified, "moved",
                     (json_int_t)s->like.moved, "copied", s->like_copied, "unused", s->like_unused);
}

static void print_names(const char *what, const json_t *names) {
    size_t n = json_array_size(names);
    if (n == 0) return;
    printf("%zu %s: ", n, what);
    for (size_t i = 0; i < n && i < 4; i++)
        printf("%s%s", i > 0 ? ", " : "", QDQ_SHOWN(json_string_value(json_array_get(names, i))));
    puts(n > 4 ? ", ..." : "");
}

static void print_like(const qdq_session *s) {
    if (s->common->like == NULL) return;
    const qdq_like_report *r = &s->like;
    printf("Like %s: %llu tensors, ", QDQ_SHOWN(s->common->like), (unsigned long long)r->taken);
    if (s->common->other_weights)
        fputs("of other weights", stdout);
    else if (r->verified == r->taken)
        fputs("all found in it", stdout);
    else
        printf("%llu found in it, the others by the architecture's rules", (unsigned long long)r->verified);
    if (r->moved > 0) printf("; rows moved in %llu", (unsigned long long)r->moved);
    putchar('\n');
    print_names("copied from the template", s->like_copied);
    print_names("of the checkpoint not in it", s->like_unused);
}

/* ---- Opening and closing ---------------------------------------------------------------------------------------- */

qdq_status qdq_session_open_filtered(qdq_session *session, const qdq_common *common, const char *input,
                                     const qdq_session_imatrix *imatrix) {
    *session = (qdq_session){.common = common};
    qdq_decode_options decode = {.size = sizeof decode,
                                 .via = common->via,
                                 .requantize = common->allow_requantize,
                                 .keep_codes = common->keep_codes && common->like == NULL};
    qdq_status status = qdq_model_open(input, &session->model);
    if (status == QDQ_OK) status = qdq_model_decode(session->model, &decode);
    if (status == QDQ_OK) status = open_like(session);
    if (status == QDQ_OK) status = open_imatrix(session, imatrix);
    if (status == QDQ_OK) status = select_tensors(session);
    if (status == QDQ_OK) status = open_devices(session);
    if (status == QDQ_OK) status = open_pass(session);
    if (status == QDQ_OK) status = qdq_json_open(common->json, &session->json);
    if (status == QDQ_OK) {
        session->tensors = json_array();
        session->skipped = json_array();
        if (session->tensors == NULL || session->skipped == NULL)
            status = qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the results");
        if (qdq_common_tables(common) && common->list_skipped)
            session->skipped_table = qdq_table_create("tensor|shape|type|reason");
    }
    if (status != QDQ_OK) qdq_session_close(session);
    return status;
}

void qdq_session_close(qdq_session *session) {
    qdq_progress_end();
    qdq_pass_free(session->pass);
    for (uint32_t i = 0; i < session->n_devices; i++) qdq_device_close(session->devices[i]);
    qdq_json_abort(&session->json);
    json_decref(session->tensors);
    json_decref(session->skipped);
    qdq_table_free(session->skipped_table);
    qdq_selection_free(session->selection);
    qdq_imatrix_close(session->imatrix);
    qdq_model_close(session->model);
    qdq_model_close(session->checkpoint);
    json_decref(session->like_copied);
    json_decref(session->like_unused);
    *session = (qdq_session){0};
}

/* ---- Results --------------------------------------------------------------------------------------------------- */

static void count_reason(qdq_session *session, const char *reason) {
    for (size_t i = 0; i < sizeof session->why / sizeof session->why[0]; i++) {
        if (session->why[i].n == 0) snprintf(session->why[i].reason, QDQ_REASON, "%s", reason);
        if (strcmp(session->why[i].reason, reason) != 0) continue;
        session->why[i].n++;
        return;
    }
    session->other_reasons++;
}

void qdq_session_skip(qdq_session *session, const char *name, const char *reason) {
    if (session->common->json != NULL)
        json_array_append_new(session->skipped,
                              json_pack("{s:o, s:o}", "name", qdq_json_text(name), "reason", qdq_json_text(reason)));
    qdq_table *table = session->skipped_table;
    const qdq_tensor *tensor = qdq_model_find(session->model, name);
    if (session->last_skipped == NULL || strcmp(session->last_skipped, name) != 0) {
        session->n_skipped++;
        session->n_packed += tensor != NULL && qdq_tensor_not_source(tensor) != NULL;
    }
    session->last_skipped = name;
    count_reason(session, reason);
    qdq_table_name(table, name);
    qdq_table_name(table, tensor != NULL ? QDQ_EXTENTS(tensor) : "-");
    qdq_table_name(table, tensor != NULL ? tensor->type_name : "-");
    qdq_table_name(table, reason);
}

qdq_status qdq_session_nothing(const qdq_session *session, const char *wanted) {
    char why[1024] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof session->why / sizeof session->why[0] && session->why[i].n > 0; i++) {
        size_t before = used;
        used += (size_t)snprintf(why + used, sizeof why - used, "%s%lu x \"%s\"", i > 0 ? ", " : "", session->why[i].n,
                                 QDQ_SHOWN(session->why[i].reason));
        if (used < sizeof why) continue;
        why[before] = '\0';
        break;
    }
    const char *path = QDQ_SHOWN(qdq_model_path(session->model));
    if (session->n_skipped == 0) return qdq_fail(QDQ_UNSUPPORTED, "%s: %s: it has no tensors", path, wanted);
    return qdq_fail(QDQ_UNSUPPORTED, "%s: %s in its %lu tensor%s (%s)%s", path, wanted, session->n_skipped,
                    session->n_skipped == 1 ? "" : "s", why,
                    session->n_packed == 0 ? ""
                    : session->common->allow_requantize || qdq_model_layout(session->model) != QDQ_LAYOUT_GGUF
                        ? ": give the F32, F16 or BF16 model that it was made from"
                        : ": give the F32, F16 or BF16 model that it was made from, or say --allow-requantize");
}

const char *qdq_session_reason(const qdq_fit *fit) {
    return fit->reason == QDQ_FIT_NOT_INCLUDED ? "not matched by --include"
           : fit->reason == QDQ_FIT_EXCLUDED   ? "matched by --exclude"
                                               : fit->text;
}

qdq_status qdq_session_decided(void *context, uint64_t index, const char *name, const qdq_choice *choice,
                               const char *type) {
    qdq_session *session = context;
    const qdq_tensor *t = qdq_model_tensor(session->model, index);
    if (choice->format == QDQ_FORMAT_NONE) {
        qdq_fit fit = {.size = sizeof fit}; /* tells a pattern of the command line from a chooser's own reason */
        qdq_status status = qdq_selection_fit(session->selection, index, QDQ_FORMAT_NONE, &fit);
        if (status != QDQ_OK) return status;
        if (fit.reason == QDQ_FIT_TAKEN) snprintf(fit.text, sizeof fit.text, "%s", choice->text);
        qdq_session_skip(session, t->name, qdq_session_reason(&fit));
        return QDQ_OK;
    }
    if (session->common->json == NULL) return QDQ_OK;
    json_array_append_new(session->tensors,
                          json_pack("{s:o, s:o, s:s, s:I}", "name", qdq_json_text(name), "shape", qdq_json_shape(t),
                                    "dtype", type, "elements", (json_int_t)t->elements));
    return QDQ_OK;
}

json_t *qdq_session_codes(const qdq_session *session) {
    json_t *list = json_array();
    uint64_t tensors;
    qdq_dtype via;
    const char *name;
    for (uint64_t i = 0; (name = qdq_model_decoded(session->model, i, &tensors, &via)) != NULL; i++)
        json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "type", name, "tensors", (json_int_t)tensors, "via",
                                              qdq_dtype_name(via)));
    return list;
}

static void print_codes(const qdq_session *session) {
    uint64_t tensors;
    qdq_dtype via;
    const char *name;
    for (uint64_t i = 0; (name = qdq_model_decoded(session->model, i, &tensors, &via)) != NULL; i++)
        printf("%llu tensor%s of the source %s %s codes, taken as weights via %s\n", (unsigned long long)tensors,
               tensors == 1 ? "" : "s", tensors == 1 ? "is" : "are", name, qdq_dtype_name(via));
}

void qdq_session_print_importance(const qdq_session *session, uint64_t made, uint64_t weighted) {
    if (session->imatrix == NULL || made == 0) return;
    if (weighted > 0)
        printf("The importance matrix has entries for %llu of the %llu tensors.\n", (unsigned long long)weighted,
               (unsigned long long)made);
    else
        puts("The importance matrix has an entry for none of the tensors: was it made for another model?");
}

qdq_status qdq_session_check(const qdq_session *session, const qdq_table *table) {
    qdq_status status = qdq_table_check(table);
    return status == QDQ_OK ? qdq_table_check(session->skipped_table) : status;
}

/* How many tensors were skipped for which reason: their names are wanted less often. */
static qdq_status print_reasons(const qdq_session *session) {
    for (size_t i = 0; i < sizeof session->why / sizeof session->why[0] && session->why[i].n > 0; i++)
        printf("%8lu  %s\n", session->why[i].n, QDQ_SHOWN(session->why[i].reason));
    if (session->other_reasons > 0) printf("%8lu  for other reasons\n", session->other_reasons);
    puts("--list-skipped names them.");
    return qdq_flush_output();
}

qdq_status qdq_session_print(qdq_session *session, qdq_table *table, const char *heading) {
    if (!qdq_common_tables(session->common)) {
        qdq_table_free(table);
        return QDQ_OK;
    }
    unsigned long skipped = session->n_skipped;
    bool any = qdq_table_rows(table) > 0;
    qdq_status status = any ? qdq_table_print(table) : (qdq_table_free(table), QDQ_OK);
    if (status == QDQ_OK) print_like(session);
    if (status == QDQ_OK) print_codes(session);
    if (status != QDQ_OK || skipped == 0) return status == QDQ_OK ? qdq_flush_output() : status;
    printf("%s%lu tensor%s %s:\n", any ? "\n" : "", skipped, skipped == 1 ? "" : "s", heading);
    if (!session->common->list_skipped) return print_reasons(session);
    table = session->skipped_table;
    session->skipped_table = NULL;
    return qdq_table_print(table);
}
