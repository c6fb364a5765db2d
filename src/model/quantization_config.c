#include "model/quantization_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "model/beside.h"
#include "files/files.h"
#include "files/json_fields.h"
#include "files/shown.h"

static bool is_one_of(const char *text, const char *const *list) {
    for (; *list != NULL; list++)
        if (strcmp(*list, text) == 0) return true;
    return false;
}

/* A file's text that is JSON, and a value in it. What such a file claims beside it takes no memory. */
typedef struct config {
    char path[QDQ_BESIDE_PATH];
    char *text;
    size_t length;
    bool memory; /* there was none */
} config;

typedef struct value {
    size_t from, to; /* empty: there is none */
} value;

static qdq_json_reader reader_of(const config *c, value v) {
    return (qdq_json_reader){.bytes = (const uint8_t *)c->text + v.from, .length = v.to - v.from};
}

static void close_reader(config *c, qdq_json_reader *r) {
    c->memory |= r->memory;
    qdq_json_free(r);
}

/* The next member of an object: its value, and whether its name is `key`. false: there is none. */
static bool next_member(qdq_json_reader *r, value object, const char *key, value *member, bool *named) {
    const char *name;
    if (!qdq_json_key(r, &name)) return false;
    *named = key != NULL && strcmp(name, key) == 0;
    member->from = object.from + (size_t)r->at;
    qdq_json_skip(r);
    member->to = object.from + (size_t)r->at;
    return r->why == NULL;
}

static value member_of(config *c, value object, const char *key) {
    qdq_json_reader r = reader_of(c, object);
    value member, found = {0};
    bool named = false;
    if (object.to > object.from && qdq_json_enter(&r, '{'))
        while (!named && next_member(&r, object, key, &member, &named))
            if (named) found = member;
    close_reader(c, &r);
    return found;
}

static bool is_kind(const config *c, value v, char kind) { return v.to > v.from && c->text[v.from] == kind; }

enum { TEXT = 64 }; /* every word that is known is shorter */

/* A text of an object, cut where it is long; "" where there is none. */
static const char *text_of(config *c, value object, const char *key, char text[TEXT]) {
    value v = member_of(c, object, key);
    qdq_json_reader r = reader_of(c, v);
    const char *read = "";
    if (v.to > v.from) qdq_json_string(&r, &read, NULL);
    snprintf(text, TEXT, "%s", read);
    close_reader(c, &r);
    return text;
}

static qdq_status refuse(const config *c, const char *what, const char *name) {
    return qdq_fail(QDQ_UNSUPPORTED,
                    "%s: the model is quantized with %s \"%s\", whose codes are not read: give the BF16 model that it "
                    "was made from",
                    SHOWN(c->path), what, SHOWN(name));
}

/* weight_block_size: [128, 128], or null. */
static qdq_status read_block(config *c, value list, qdq_quantization *q) {
    qdq_json_reader r = reader_of(c, list);
    uint64_t extents[2] = {0};
    size_t n = 0;
    if (list.to == list.from || qdq_json_null(&r)) return QDQ_OK;
    bool good = qdq_json_enter(&r, '[');
    while (good && qdq_json_item(&r)) good = n < 2 && qdq_json_whole(&r, &extents[n++]) && extents[n - 1] > 0;
    close_reader(c, &r);
    if (!good || n != 2)
        return qdq_fail(QDQ_BAD_DATA, "%s: the block of its scales is no [rows, columns]", SHOWN(c->path));
    q->block_rows = extents[0];
    q->block_columns = extents[1];
    return QDQ_OK;
}

/* Of each member of an object, what `check` says. */
static qdq_status check_members(config *c, value object, qdq_quantization *q,
                                qdq_status (*check)(config *c, value member, qdq_quantization *q)) {
    qdq_json_reader r = reader_of(c, object);
    qdq_status status = QDQ_OK;
    value member;
    bool named;
    if (object.to > object.from && qdq_json_enter(&r, '{'))
        while (status == QDQ_OK && next_member(&r, object, NULL, &member, &named)) status = check(c, member, q);
    close_reader(c, &r);
    return status;
}

static qdq_status check_format(config *c, value object) {
    static const char *const formats[] = {"",
                                          "dense",
                                          "float-quantized",
                                          "naive-quantized",
                                          "int-quantized",
                                          "pack-quantized",
                                          "nvfp4-pack-quantized",
                                          "mxfp4-pack-quantized",
                                          "mxfp8-quantized",
                                          "mixed-precision",
                                          NULL};
    char text[TEXT];
    const char *format = text_of(c, object, "format", text);
    return is_one_of(format, formats) ? QDQ_OK : refuse(c, "compressed-tensors' format", format);
}

static qdq_status check_group(config *c, value group, qdq_quantization *q) {
    value block = member_of(c, member_of(c, group, "weights"), "block_structure");
    qdq_status status = check_format(c, group);
    return status == QDQ_OK && is_kind(c, block, '[') ? read_block(c, block, q) : status;
}

static qdq_status check_compressed(config *c, value object, qdq_quantization *q) {
    char text[TEXT];
    qdq_status status = check_format(c, object);
    if (status != QDQ_OK) return status;
    const char *sparse = text_of(c, member_of(c, object, "sparsity_config"), "format", text);
    if (sparse[0] != '\0' && strcmp(sparse, "dense") != 0) return refuse(c, "compressed-tensors' sparsity", sparse);
    return check_members(c, member_of(c, object, "config_groups"), q, check_group);
}

static qdq_status check_algorithm(config *c, value object, qdq_quantization *q) {
    static const char *const algorithms[] = {
        "", "FP8", "NVFP4", "W4A16_NVFP4", "FP8_PB_WO", "FP8_PER_CHANNEL_PER_TOKEN", "MXFP8", "MIXED_PRECISION", NULL};
    char text[TEXT];
    const char *algorithm = text_of(c, object, "quant_algo", text);
    return is_one_of(algorithm, algorithms) ? QDQ_OK : refuse(c, "ModelOpt's", algorithm);
}

static qdq_status check_modelopt(config *c, value object, qdq_quantization *q) {
    qdq_status status = check_algorithm(c, object, q);
    return status == QDQ_OK ? check_members(c, member_of(c, object, "quantized_layers"), q, check_algorithm) : status;
}

static qdq_status check_gptq(config *c, value object, qdq_quantization *q) {
    char text[TEXT];
    const char *format = text_of(c, object, "checkpoint_format", text);
    q->zeros_as_they_are = strcmp(format, "gptq_v2") == 0;
    if (format[0] != '\0' && strcmp(format, "gptq") != 0 && !q->zeros_as_they_are)
        return refuse(c, "GPTQ of the format", format);
    return QDQ_OK;
}

static qdq_status check_awq(config *c, value object) {
    char text[TEXT];
    const char *version = text_of(c, object, "version", text);
    return version[0] == '\0' || strcasecmp(version, "gemm") == 0 ? QDQ_OK : refuse(c, "AWQ of the version", version);
}

static qdq_status check(config *c, value object, qdq_quantization *q) {
    static const char *const methods[] = {"fp8", "fbgemm_fp8", "mxfp4", "mxfp8", NULL};
    char text[TEXT];
    const char *method = text_of(c, object, "quant_method", text);
    if (strlen(method) >= sizeof q->method) return refuse(c, "the method", method);
    strcpy(q->method, method);
    if (strcmp(method, "compressed-tensors") == 0) return check_compressed(c, object, q);
    if (strncmp(method, "modelopt", 8) == 0) return check_modelopt(c, object, q);
    if (strcmp(method, "gptq") == 0) return check_gptq(c, object, q);
    if (strcmp(method, "awq") == 0) return check_awq(c, object);
    if (!is_one_of(method, methods)) return refuse(c, "the method", method);
    const char *format = text_of(c, object, "fmt", text);
    if (format[0] != '\0' && strcmp(format, "e4m3") != 0 && strcmp(format, "float8_e4m3fn") != 0)
        return refuse(c, "FP8 of the kind", format);
    return read_block(c, member_of(c, object, "weight_block_size"), q);
}

/* NAME beside the model's files, all of it JSON. Without a text: there is no such file. */
static qdq_status open_config(const qdq_model *model, const char *name, config *c) {
    *c = (config){.text = NULL};
    qdq_status status = qdq_read_beside(model, name, c->path, &c->text, &c->length);
    if (status != QDQ_OK || c->text == NULL) return status;
    qdq_json_reader r = reader_of(c, (value){0, c->length});
    qdq_json_skip(&r);
    qdq_json_end(&r);
    if (r.why != NULL) status = qdq_json_failure(c->path, &r);
    qdq_json_free(&r);
    return status;
}

static qdq_status close_config(config *c, qdq_status status) {
    if (c->memory) status = qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for its JSON", SHOWN(c->path));
    free(c->text);
    return status;
}

qdq_status qdq_quantization_read(const qdq_model *model, qdq_quantization *q) {
    config c;
    *q = (qdq_quantization){.method = ""};
    qdq_status status = open_config(model, "config.json", &c);
    value root = {0, status == QDQ_OK && c.text != NULL ? c.length : 0};
    value object = member_of(&c, root, "quantization_config");
    if (object.to == 0) object = member_of(&c, root, "compression_config");
    if (object.to == 0) object = member_of(&c, member_of(&c, root, "text_config"), "quantization_config");
    bool said = is_kind(&c, object, '{');
    if (said) status = check(&c, object, q);
    status = close_config(&c, status);
    if (status != QDQ_OK || said) return status;
    status = open_config(model, "hf_quant_config.json", &c);
    root.to = status == QDQ_OK && c.text != NULL ? c.length : 0;
    object = member_of(&c, root, "quantization");
    if (is_kind(&c, object, '{')) {
        strcpy(q->method, "modelopt");
        status = check_modelopt(&c, object, q);
    }
    return close_config(&c, status);
}
