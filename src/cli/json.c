/* Results as JSON. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

qdq_status qdq_json_open(const char *path, qdq_json_file *file) {
    *file = (qdq_json_file){.path = path};
    return path != NULL && strcmp(path, "-") != 0 ? qdq_out_create(path, &file->out) : QDQ_OK;
}

void qdq_json_abort(qdq_json_file *file) {
    qdq_out_abort(file->out);
    *file = (qdq_json_file){0};
}

qdq_status qdq_json_write(qdq_json_file *file, json_t *root) {
    qdq_status status = QDQ_OK;
    if (file->path != NULL) {
        char *text = root != NULL ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
        if (text == NULL)
            status = qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the JSON");
        else if (file->out == NULL)
            printf("%s\n", text);
        else
            status = qdq_out_write(file->out, text, strlen(text));
        if (status == QDQ_OK && file->out != NULL) status = qdq_out_write(file->out, "\n", 1);
        free(text);
    }
    json_decref(root);
    if (file->out == NULL) return status == QDQ_OK && file->path != NULL ? qdq_flush_output() : status;
    qdq_out *out = file->out;
    file->out = NULL;
    if (status == QDQ_OK) return qdq_out_commit(out);
    qdq_out_abort(out);
    return status;
}

json_t *qdq_json_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

json_t *qdq_json_shape(const qdq_tensor *tensor) {
    json_t *shape = json_array();
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[d]));
    return shape;
}
