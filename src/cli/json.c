/* Results as JSON. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* jansson passes over allocations that fail, and leaves out what it had no memory for: they are counted. */
static _Thread_local uint64_t failures;

static void *count_failures(size_t bytes) {
    void *memory = malloc(bytes);
    failures += memory == NULL;
    return memory;
}

void qdq_json_begin(void) { json_set_alloc_funcs(count_failures, free); }

qdq_status qdq_json_open(const char *path, qdq_json_file *file) {
    *file = (qdq_json_file){.path = path, .failures = failures};
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
    bool wanted = file->path != NULL, odd = root == NULL && failures == file->failures;
    char *text = wanted ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(root);
    if (!wanted) return QDQ_OK;
    if (odd) return qdq_fail(QDQ_BAD_DATA, "the JSON would hold a text that is no UTF-8");
    if (failures == file->failures) return qdq_json_prepare_text(file, text);
    free(text);
    return qdq_json_prepare_text(file, NULL);
}

/* What would disturb a terminal stands in strings alone, where JSON has another spelling of it. */
static void show(const char *text) {
    size_t n;
    for (const char *from = text; *text != '\0'; text += n > 0 ? n : 1) {
        const unsigned char *p = (const unsigned char *)text;
        n = *p < 0x7f ? 0 : qdq_disturbance(text);
        if (n > 0) {
            unsigned code = n == 1   ? p[0]
                            : n == 2 ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu)
                                     : (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
            printf("%.*s\\u%04x", (int)(text - from), from, code);
            from = text + n;
        } else if (text[1] == '\0' || text - from == 1 << 20) {
            printf("%.*s", (int)(text + 1 - from), from);
            from = text + 1;
        }
    }
}

qdq_status qdq_json_finish(qdq_json_file *file) {
    qdq_status status = QDQ_OK;
    qdq_out *out = file->out;
    file->out = NULL;
    if (out != NULL) {
        status = qdq_out_commit(out);
    } else if (file->text != NULL) {
        show(file->text);
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

json_t *qdq_json_text(const char *text) {
    char safe[4096];
    json_t *made = json_string(text);
    return made != NULL ? made : json_string(qdq_printable(text, safe, sizeof safe));
}

json_t *qdq_json_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

json_t *qdq_json_shape(const qdq_tensor *tensor) {
    json_t *shape = json_array();
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[d]));
    return shape;
}

int qdq_print_list(const qdq_common *common, qdq_table *(*make_table)(void), json_t *(*make_json)(void)) {
    qdq_json_file json;
    qdq_table *table = qdq_common_tables(common) ? make_table() : NULL;
    qdq_status status = qdq_table_check(table);
    if (status == QDQ_OK) status = qdq_json_open(common->json, &json);
    if (status == QDQ_OK && common->json != NULL) status = qdq_json_write(&json, make_json());
    if (status == QDQ_OK)
        status = qdq_table_print(table);
    else
        qdq_table_free(table);
    return status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
}
