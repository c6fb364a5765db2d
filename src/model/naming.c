#include "model/naming.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"

enum { ARCHITECTURE = 128 };

static bool from_metadata(const qdq_model *model, char text[ARCHITECTURE]) {
    const qdq_kv *kv = qdq_model_find_kv(model, "general.architecture");
    const char *value;
    uint64_t length;
    if (kv == NULL || !qdq_kv_string(kv, &value, &length) || length >= ARCHITECTURE) return false;
    memcpy(text, value, (size_t)length);
    text[length] = '\0';
    return true;
}

/* config.json beside the files: architectures[0], which is more exact than model_type. */
static bool from_config(const qdq_model *model, char text[ARCHITECTURE]) {
    const char *path = qdq_model_path(model), *slash = strrchr(path, '/');
    struct stat info;
    char config[4096];
    bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    int before = (int)(folder ? strlen(path) : slash != NULL ? (size_t)(slash - path + 1) : 0);
    if ((size_t)before > sizeof config - sizeof "/config.json") return false;
    snprintf(config, sizeof config, "%.*s%sconfig.json", before, path, folder ? "/" : "");
    json_t *root = json_load_file(config, 0, NULL);
    const char *value = json_string_value(json_array_get(json_object_get(root, "architectures"), 0));
    if (value == NULL) value = json_string_value(json_object_get(root, "model_type"));
    bool found = value != NULL && strlen(value) < ARCHITECTURE;
    if (found) strcpy(text, value);
    json_decref(root);
    return found;
}

static bool find_architecture(const qdq_model *model, char text[ARCHITECTURE]) {
    return qdq_model_layout(model) == QDQ_LAYOUT_GGUF ? from_metadata(model, text) : from_config(model, text);
}

static qdq_status add_map(qdq_gguf_names *names, const char *path) {
    char *text;
    size_t length;
    qdq_status status = qdq_read_text(path, &text, &length);
    if (status != QDQ_OK) return status;
    status = qdq_gguf_names_add(names, path, text, length);
    free(text);
    return status;
}

qdq_status qdq_naming_open(const qdq_model *model, const char *architecture, const char *map, qdq_gguf_names **names) {
    char found[ARCHITECTURE];
    const char *name = architecture != NULL ? architecture : find_architecture(model, found) ? found : NULL;
    *names = NULL;
    qdq_status status = name != NULL ? qdq_gguf_names_create(name, names) : QDQ_OK;
    if (status == QDQ_UNSUPPORTED && architecture == NULL) status = QDQ_OK;
    if (status == QDQ_OK && map != NULL && *names == NULL) status = qdq_gguf_names_create(NULL, names);
    if (status == QDQ_OK && map != NULL) status = add_map(*names, map);
    if (status != QDQ_OK) {
        qdq_gguf_names_free(*names);
        *names = NULL;
    }
    return status;
}

qdq_status qdq_naming_missing(const qdq_model *model, const char *what) {
    char found[ARCHITECTURE], path[256];
    qdq_printable(qdq_model_path(model), path, sizeof path);
    if (!find_architecture(model, found))
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: %s needs GGUF's names of the tensors, and neither metadata nor a config.json tell the "
                        "architecture: give --arch NAME or --map FILE",
                        path, what);
    return qdq_fail(QDQ_UNSUPPORTED,
                    "%s: %s needs GGUF's names of the tensors, and those of architecture %s are not known: give --map "
                    "FILE",
                    path, what, found);
}
