#include "model/quantization_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "model/beside.h"
#include "files/files.h"
#include "files/json_io.h"
#include "files/json_reader.h"

#define SHOWN(text) qdq_printable((text), (char[256]){0}, 256)

static bool is_one_of(const char *text, const char *const *list) {
    for (; *list != NULL; list++)
        if (strcmp(*list, text) == 0) return true;
    return false;
}

/* A text of an object; "" where there is none. */
static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static qdq_status refuse(const char *path, const char *what, const char *name) {
    return qdq_fail(QDQ_UNSUPPORTED,
                    "%s: the model is quantized with %s \"%s\", whose codes are not read: give the BF16 model that it "
                    "was made from",
                    SHOWN(path), what, SHOWN(name));
}

/* weight_block_size: [128, 128], or null. */
static qdq_status read_block(const char *path, const json_t *list, qdq_quantization *q) {
    if (list == NULL || json_is_null(list)) return QDQ_OK;
    json_int_t rows = json_integer_value(json_array_get(list, 0)),
               columns = json_integer_value(json_array_get(list, 1));
    if (json_array_size(list) != 2 || rows <= 0 || columns <= 0)
        return qdq_fail(QDQ_BAD_DATA, "%s: the block of its scales is no [rows, columns]", SHOWN(path));
    q->block_rows = (uint64_t)rows;
    q->block_columns = (uint64_t)columns;
    return QDQ_OK;
}

static qdq_status check_compressed(const char *path, const json_t *object, qdq_quantization *q) {
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
    const char *format = text_of(object, "format");
    if (!is_one_of(format, formats)) return refuse(path, "compressed-tensors' format", format);
    const char *sparse = text_of(json_object_get(object, "sparsity_config"), "format");
    if (sparse[0] != '\0' && strcmp(sparse, "dense") != 0) return refuse(path, "compressed-tensors' sparsity", sparse);
    const char *key;
    json_t *group;
    json_object_foreach(json_object_get(object, "config_groups"), key, group) {
        format = text_of(group, "format");
        if (!is_one_of(format, formats)) return refuse(path, "compressed-tensors' format", format);
        const json_t *block = json_object_get(json_object_get(group, "weights"), "block_structure");
        qdq_status status = json_is_array(block) ? read_block(path, block, q) : QDQ_OK;
        if (status != QDQ_OK) return status;
    }
    return QDQ_OK;
}

static qdq_status check_modelopt(const char *path, const json_t *object) {
    static const char *const algorithms[] = {
        "", "FP8", "NVFP4", "W4A16_NVFP4", "FP8_PB_WO", "FP8_PER_CHANNEL_PER_TOKEN", "MXFP8", "MIXED_PRECISION", NULL};
    const char *algorithm = text_of(object, "quant_algo"), *key;
    if (!is_one_of(algorithm, algorithms)) return refuse(path, "ModelOpt's", algorithm);
    json_t *layer;
    json_object_foreach(json_object_get(object, "quantized_layers"), key, layer) {
        algorithm = text_of(layer, "quant_algo");
        if (!is_one_of(algorithm, algorithms)) return refuse(path, "ModelOpt's", algorithm);
    }
    return QDQ_OK;
}

static qdq_status check_gptq(const char *path, const json_t *object, qdq_quantization *q) {
    const char *format = text_of(object, "checkpoint_format");
    q->zeros_as_they_are = strcmp(format, "gptq_v2") == 0;
    if (format[0] != '\0' && strcmp(format, "gptq") != 0 && !q->zeros_as_they_are)
        return refuse(path, "GPTQ of the format", format);
    return QDQ_OK;
}

static qdq_status check(const char *path, const json_t *object, qdq_quantization *q) {
    static const char *const methods[] = {"fp8", "fbgemm_fp8", "mxfp4", "mxfp8", NULL};
    const char *method = text_of(object, "quant_method");
    if (strlen(method) >= sizeof q->method) return refuse(path, "the method", method);
    strcpy(q->method, method);
    if (strcmp(method, "compressed-tensors") == 0) return check_compressed(path, object, q);
    if (strncmp(method, "modelopt", 8) == 0) return check_modelopt(path, object);
    if (strcmp(method, "gptq") == 0) return check_gptq(path, object, q);
    if (strcmp(method, "awq") == 0) {
        const char *version = text_of(object, "version");
        return version[0] == '\0' || strcasecmp(version, "gemm") == 0 ? QDQ_OK
                                                                      : refuse(path, "AWQ of the version", version);
    }
    if (!is_one_of(method, methods)) return refuse(path, "the method", method);
    const char *format = text_of(object, "fmt");
    if (format[0] != '\0' && strcmp(format, "e4m3") != 0 && strcmp(format, "float8_e4m3fn") != 0)
        return refuse(path, "FP8 of the kind", format);
    return read_block(path, json_object_get(object, "weight_block_size"), q);
}

/* Of the object that comes next, the members that say how weights are quantized: what else a config.json has, or
 * claims, takes no memory. */
static qdq_status take_members(qdq_json_reader *r, const char *path, json_t *into, bool outermost) {
    static const char *const wanted[] = {"quantization_config", "compression_config", "quantization", NULL};
    const char *key;
    qdq_status status = QDQ_OK;
    if (!qdq_json_enter(r, '{')) {
        qdq_json_skip(r);
        return QDQ_OK;
    }
    while (status == QDQ_OK && qdq_json_key(r, &key)) {
        char name[32];
        json_error_t error;
        json_t *value = NULL;
        uint64_t from = r->at;
        bool taken = is_one_of(key, wanted) && r->bytes[from] == '{';
        snprintf(name, sizeof name, "%s", key);
        if (outermost && strcmp(name, "text_config") == 0) {
            value = json_object();
            status = take_members(r, path, value, false);
        } else {
            qdq_json_skip(r);
        }
        if (taken && r->why == NULL) status = qdq_json_parse(path, r->bytes + from, r->at - from, &value, &error);
        if (status == QDQ_BAD_DATA) qdq_fail(status, "%s: not JSON: %s", SHOWN(path), SHOWN(error.text));
        if (value != NULL) json_object_set_new(into, name, value);
    }
    return status;
}

/* Those members of NAME beside the model's files; *root NULL: there is no such file. */
static qdq_status read_json(const qdq_model *model, const char *name, char path[QDQ_BESIDE_PATH], json_t **root) {
    char *text;
    size_t length;
    *root = NULL;
    qdq_status status = qdq_read_beside(model, name, path, &text, &length);
    if (status != QDQ_OK || text == NULL) return status;
    uint64_t before = qdq_json_failures();
    qdq_json_reader reader = {.bytes = (const uint8_t *)text, .length = length};
    *root = json_object();
    status = take_members(&reader, path, *root, true);
    qdq_json_end(&reader);
    if (status == QDQ_OK && (reader.memory || qdq_json_failures() != before))
        status = qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for its JSON", SHOWN(path));
    else if (status == QDQ_OK && reader.why != NULL)
        status = qdq_fail(QDQ_BAD_DATA, "%s: not JSON: %s at byte %llu", SHOWN(path), reader.why,
                          (unsigned long long)reader.at);
    if (status != QDQ_OK) {
        json_decref(*root);
        *root = NULL;
    }
    qdq_json_free(&reader);
    free(text);
    return status;
}

qdq_status qdq_quantization_read(const qdq_model *model, qdq_quantization *q) {
    char path[QDQ_BESIDE_PATH];
    json_t *root;
    *q = (qdq_quantization){.method = ""};
    qdq_status status = read_json(model, "config.json", path, &root);
    if (status != QDQ_OK) return status;
    const json_t *object = json_object_get(root, "quantization_config");
    if (object == NULL) object = json_object_get(root, "compression_config");
    if (object == NULL) object = json_object_get(json_object_get(root, "text_config"), "quantization_config");
    bool said = json_is_object(object);
    if (said) status = check(path, object, q);
    json_decref(root);
    if (status != QDQ_OK || said) return status;
    status = read_json(model, "hf_quant_config.json", path, &root);
    if (status != QDQ_OK) return status;
    object = json_object_get(root, "quantization");
    if (json_is_object(object)) {
        strcpy(q->method, "modelopt");
        status = check_modelopt(path, object);
    }
    json_decref(root);
    return status;
}
