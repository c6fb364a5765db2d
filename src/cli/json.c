/* Results as JSON. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

qdq_status qdq_json_open(const char *path, qdq_json_file *file) {
    *file = (qdq_json_file){.path = path};
    return path != NULL && strcmp(path, "-") != 0 ? qdq_out_create(path, &file->out) : QDQ_OK;
}

void qdq_json_abort(qdq_json_file *file) {
    qdq_out_abort(file->out);
    *file = (qdq_json_file){0};
}

qdq_status qdq_json_write_text(qdq_json_file *file, char *text) {
    qdq_status status = text != NULL ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the JSON");
    size_t length = text != NULL ? strlen(text) : 0;
    const char *end = length > 0 && text[length - 1] == '\n' ? "" : "\n";
    qdq_out *out = file->out;
    file->out = NULL;
    if (status == QDQ_OK && out == NULL) {
        qdq_json_show(text, stdout);
        fputs(end, stdout);
    } else if (status == QDQ_OK) {
        status = qdq_out_write(out, text, length);
    }
    if (status == QDQ_OK && out != NULL) status = qdq_out_write(out, end, strlen(end));
    free(text);
    if (out == NULL) return status == QDQ_OK ? qdq_flush_output() : status;
    if (status == QDQ_OK) return qdq_out_commit(out);
    qdq_out_abort(out);
    return status;
}

qdq_status qdq_json_write(qdq_json_file *file, json_t *root) {
    if (file->path == NULL) {
        json_decref(root);
        return QDQ_OK;
    }
    char *text = qdq_json_print(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(root);
    return qdq_json_write_text(file, text);
}

json_t *qdq_json_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

json_t *qdq_json_shape(const qdq_tensor *tensor) {
    json_t *shape = json_array();
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[d]));
    return shape;
}
