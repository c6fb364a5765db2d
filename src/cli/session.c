#include "cli/session.h"

#include <stdlib.h>
#include <string.h>

#include "cli/naming.h"
#include "base/error.h"

#define SHOWN(text) qdq_printable((text), (char[256]){0}, 256)

/* ---- Importance under other names ------------------------------------------------------------------------------- */

static qdq_status find_renamed(const qdq_session *s, const qdq_gguf_names *names, const qdq_tensor *t,
                               qdq_imatrix_entry *renamed) {
    qdq_gguf_name gguf;
    *renamed = (qdq_imatrix_entry){0};
    if (t->n_dims < 2 || qdq_gguf_names_to_gguf(names, t->name, &gguf) != QDQ_OK || gguf.name[0] == '\0') return QDQ_OK;
    const qdq_imatrix_entry *entry;
    if (gguf.expert == QDQ_NO_EXPERT) {
        qdq_tensor same = *t;
        same.name = gguf.name;
        qdq_status status = qdq_imatrix_match(s->imatrix, &same, &entry);
        if (status == QDQ_OK && entry != NULL) *renamed = *entry;
        return status;
    }
    return qdq_imatrix_match_expert(s->imatrix, gguf.name, (uint64_t)gguf.expert, t, renamed);
}

qdq_status qdq_session_name_importance(qdq_session *s, const qdq_gguf_names *names) {
    if (s->imatrix == NULL || names == NULL || qdq_model_layout(s->model) == QDQ_LAYOUT_GGUF) return QDQ_OK;
    uint64_t n = qdq_model_tensor_count(s->model);
    if (s->renamed == NULL) s->renamed = calloc((size_t)n + 1, sizeof *s->renamed);
    qdq_status status = s->renamed != NULL ? QDQ_OK
                                           : qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the importance of %llu tensors",
                                                      (unsigned long long)n);
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++)
        status = find_renamed(s, names, qdq_model_tensor(s->model, i), &s->renamed[i]);
    return status;
}

static qdq_status name_importance(qdq_session *s) {
    qdq_gguf_names *names = NULL;
    if (s->imatrix == NULL) return QDQ_OK;
    qdq_status status = qdq_naming_open(s->model, NULL, NULL, &names);
    if (status == QDQ_OK) status = qdq_session_name_importance(s, names);
    qdq_gguf_names_free(names);
    return status;
}

/* ---- Sessions --------------------------------------------------------------------------------------------------- */

qdq_status qdq_session_open(qdq_session *session, const qdq_common *common, const char *input, const char *imatrix) {
    *session = (qdq_session){.common = common, .info = {.size = sizeof session->info}};
    qdq_status status = qdq_model_open(input, &session->model);
    if (status == QDQ_OK && imatrix != NULL) status = qdq_imatrix_open(imatrix, &session->imatrix);
    if (status == QDQ_OK) status = name_importance(session);
    if (status == QDQ_OK) status = qdq_common_open_device(common, &session->device);
    if (status == QDQ_OK) status = qdq_device_describe(session->device, &session->info);
    if (status == QDQ_OK)
        status = qdq_stream_create(session->device, common->threads, common->allow_non_finite, &session->stream);
    if (status == QDQ_OK) status = qdq_json_open(common->json, &session->json);
    if (status == QDQ_OK) {
        session->tensors = json_array();
        session->skipped = json_array();
        if (session->tensors == NULL || session->skipped == NULL)
            status = qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the results");
        if (qdq_common_tables(common)) session->skipped_table = qdq_table_create("tensor|shape|type|reason");
    }
    if (status != QDQ_OK) qdq_session_close(session);
    return status;
}

void qdq_session_close(qdq_session *session) {
    qdq_progress_end();
    qdq_stream_free(session->stream);
    qdq_device_close(session->device);
    qdq_json_abort(&session->json);
    json_decref(session->tensors);
    json_decref(session->skipped);
    qdq_table_free(session->skipped_table);
    free(session->renamed);
    qdq_imatrix_close(session->imatrix);
    qdq_model_close(session->model);
    *session = (qdq_session){0};
}

qdq_status qdq_check_importance(const qdq_format *formats, uint32_t n, const char *imatrix) {
    for (uint32_t i = 0; i < n && imatrix == NULL; i++) {
        if (formats[i] == QDQ_FORMAT_SOURCE) continue;
        qdq_format_info info = qdq_describe_format(formats[i]);
        if (info.importance == 2)
            return qdq_fail(QDQ_INVALID_ARGUMENT, "%s needs an importance matrix: give --imatrix FILE", info.name);
    }
    return QDQ_OK;
}

/* ---- Eligibility ----------------------------------------------------------------------------------------------- */

static bool matches_any(const regex_t *patterns, unsigned n, const char *name) {
    for (unsigned i = 0; i < n; i++)
        if (regexec(&patterns[i], name, 0, NULL, 0) == 0) return true;
    return false;
}

bool qdq_session_takes(const qdq_session *session, const qdq_tensor *tensor, char reason[QDQ_REASON]) {
    const qdq_common *c = session->common;
    const char *not_source = qdq_tensor_not_source(tensor);
    if (not_source != NULL)
        snprintf(reason, QDQ_REASON, "%s", not_source);
    else if (c->n_include > 0 && !matches_any(c->include, c->n_include, tensor->name))
        snprintf(reason, QDQ_REASON, "not matched by --include");
    else if (matches_any(c->exclude, c->n_exclude, tensor->name))
        snprintf(reason, QDQ_REASON, "matched by --exclude");
    else if (tensor->n_dims < 2)
        snprintf(reason, QDQ_REASON, "%s; 2 are needed", tensor->n_dims == 0 ? "a scalar" : "1 dimension");
    else if (tensor->elements == 0)
        snprintf(reason, QDQ_REASON, "no elements");
    else
        return true;
    return false;
}

qdq_status qdq_session_fits(const qdq_session *session, const qdq_tensor *tensor, qdq_format format,
                            const qdq_imatrix_entry **importance, bool *fits, char reason[QDQ_REASON]) {
    qdq_format_info info = qdq_describe_format(format);
    uint64_t row = tensor->shape[tensor->n_dims - 1];
    *importance = NULL;
    *fits = row % info.block_elements == 0;
    if (!*fits) {
        snprintf(reason, QDQ_REASON, "rows of %llu elements are no multiple of the block of %s, %u",
                 (unsigned long long)row, info.name, (unsigned)info.block_elements);
        return QDQ_OK;
    }
    if (session->imatrix == NULL) return QDQ_OK;
    qdq_status status = qdq_imatrix_match(session->imatrix, tensor, importance);
    if (status == QDQ_OK && *importance == NULL && session->renamed != NULL) {
        const qdq_imatrix_entry *renamed = &session->renamed[tensor - qdq_model_tensor(session->model, 0)];
        if (renamed->name != NULL) *importance = renamed;
    }
    if (status == QDQ_OK && *importance == NULL && info.importance == 2) {
        *fits = false;
        snprintf(reason, QDQ_REASON, "%s needs an importance matrix, and the one given has no entry for it", info.name);
    }
    return status;
}

/* ---- Results --------------------------------------------------------------------------------------------------- */

static void count_reason(qdq_session *session, const char *reason) {
    for (size_t i = 0; i < sizeof session->why / sizeof session->why[0]; i++) {
        if (session->why[i].n == 0) snprintf(session->why[i].reason, QDQ_REASON, "%s", reason);
        if (strcmp(session->why[i].reason, reason) != 0) continue;
        session->why[i].n++;
        return;
    }
}

void qdq_session_skip(qdq_session *session, const char *name, const char *reason) {
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
                                 SHOWN(session->why[i].reason));
        if (used < sizeof why) continue;
        why[before] = '\0';
        break;
    }
    const char *path = SHOWN(qdq_model_path(session->model));
    if (session->n_skipped == 0) return qdq_fail(QDQ_UNSUPPORTED, "%s: %s: it has no tensors", path, wanted);
    return qdq_fail(QDQ_UNSUPPORTED, "%s: %s in its %lu tensor%s (%s)%s", path, wanted, session->n_skipped,
                    session->n_skipped == 1 ? "" : "s", why,
                    session->n_packed > 0 ? ": give the F32, F16 or BF16 model that it was made from" : "");
}

qdq_status qdq_session_print(qdq_session *session, qdq_table *table, const char *heading) {
    if (!qdq_common_tables(session->common)) {
        qdq_table_free(table);
        return QDQ_OK;
    }
    unsigned long skipped = session->n_skipped;
    bool any = qdq_table_rows(table) > 0;
    qdq_status status = any ? qdq_table_print(table) : (qdq_table_free(table), QDQ_OK);
    if (status != QDQ_OK || skipped == 0) return status;
    printf("%s%lu tensor%s %s:\n", any ? "\n" : "", skipped, skipped == 1 ? "" : "s", heading);
    table = session->skipped_table;
    session->skipped_table = NULL;
    return qdq_table_print(table);
}
