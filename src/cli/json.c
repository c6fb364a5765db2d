/* Results as JSON. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

qdq_status qdq_json_open(const char *path, qdq_json_file *file) {
    *file = (qdq_json_file){.path = path, .failures = qdq_json_failures()};
    return path != NULL && strcmp(path, "-") != 0 ? qdq_out_create(path, &file->out) : QDQ_OK;
}

void qdq_json_abort(qdq_json_file *file) {
    qdq_out_abort(file->out);
    free(file->text);
    *file = (qdq_json_file){0};
}

static const char *end_of(const char *text) {
    size_t length = strlen(text);
    return length > 0 && text[length - 1] == '\n' ? "" : "\n";
}

qdq_status qdq_json_prepare_text(qdq_json_file *file, char *text) {
    if (text == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the JSON");
    free(file->text);
    file->text = text;
    if (file->out == NULL) return QDQ_OK;
    qdq_status status = qdq_out_write(file->out, text, strlen(text));
    return status == QDQ_OK ? qdq_out_write(file->out, end_of(text), strlen(end_of(text))) : status;
}

qdq_status qdq_json_prepare(qdq_json_file *file, json_t *root) {
    bool wanted = file->path != NULL, lost = qdq_json_failures() != file->failures;
    char *text = wanted && !lost ? qdq_json_print(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    bool odd = root == NULL && !lost;
    json_decref(root);
    if (!wanted) return QDQ_OK;
    if (odd) return qdq_fail(QDQ_BAD_DATA, "the JSON would hold a text that is no UTF-8");
    return qdq_json_prepare_text(file, text);
}

qdq_status qdq_json_finish(qdq_json_file *file) {
    qdq_status status = QDQ_OK;
    qdq_out *out = file->out;
    file->out = NULL;
    if (out != NULL) {
        status = qdq_out_commit(out);
    } else if (file->text != NULL) {
        qdq_json_show(file->text, stdout);
        fputs(end_of(file->text), stdout);
        status = qdq_flush_output();
    }
    qdq_json_abort(file);
    return status;
}

qdq_status qdq_json_write(qdq_json_file *file, json_t *root) {
    qdq_status status = qdq_json_prepare(file, root);
    if (status == QDQ_OK) return qdq_json_finish(file);
    qdq_json_abort(file);
    return status;
}

json_t *qdq_json_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

json_t *qdq_json_shape(const qdq_tensor *tensor) {
    json_t *shape = json_array();
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[d]));
    return shape;
}
