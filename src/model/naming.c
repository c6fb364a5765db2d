#include "model/naming.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/advice.h"
#include "model/architecture.h"
#include "model/beside.h"
#include "base/error.h"
#include "files/json_reader.h"

enum { ARCHITECTURE = 2 * QDQ_ARCHITECTURE }; /* Hugging Face's names are longer than GGUF's */

/* The first of "architectures", which is more exact than "model_type". text "": it says neither. */
static qdq_status read_config(const char *path, const char *config, size_t length, char text[ARCHITECTURE]) {
    qdq_json_reader r = {.bytes = (const uint8_t *)config, .length = length};
    const char *key, *value;
    bool architecture = false, type = false;
    qdq_json_enter(&r, '{');
    while (r.depth > 0 && qdq_json_key(&r, &key)) {
        bool list = strcmp(key, "architectures") == 0, wanted = list || strcmp(key, "model_type") == 0;
        if (wanted && list && qdq_json_enter(&r, '[')) {
            for (bool first = true; qdq_json_item(&r); first = false) {
                if (!first || !qdq_json_string(&r, &value, NULL)) {
                    qdq_json_skip(&r);
                    continue;
                }
                architecture = strlen(value) < ARCHITECTURE;
                if (architecture) strcpy(text, value);
            }
        } else if (wanted && !list && !architecture && qdq_json_string(&r, &value, NULL)) {
            type = strlen(value) < ARCHITECTURE;
            if (type) strcpy(text, value);
        } else {
            qdq_json_skip(&r);
        }
    }
    qdq_json_end(&r);
    bool whole = r.why == NULL, memory = r.memory;
    qdq_json_free(&r);
    if (memory) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to read it", path);
    if (!whole || !(architecture || type)) text[0] = '\0';
    return QDQ_OK;
}

/* By the config.json beside the files. QDQ_OK and no text: there is none, or it does not say. */
static qdq_status from_config(const qdq_model *model, char text[ARCHITECTURE]) {
    char config[QDQ_BESIDE_PATH], *content;
    size_t length;
    qdq_status status = qdq_read_beside(model, "config.json", config, &content, &length);
    if (status != QDQ_OK || content == NULL) return status;
    status = read_config(config, content, length, text);
    free(content);
    return status;
}

/* text "": it cannot be told. */
static qdq_status find_architecture(const qdq_model *model, char text[ARCHITECTURE]) {
    text[0] = '\0';
    if (qdq_model_layout(model) != QDQ_LAYOUT_GGUF) return from_config(model, text);
    qdq_architecture_read(model, NULL, text);
    return QDQ_OK;
}

static qdq_status add_map(qdq_gguf_names *names, const char *path) {
    char *text;
    size_t length;
    qdq_status status = qdq_read_text(path, QDQ_WORDS_LIMIT, &text, &length);
    if (status != QDQ_OK) return status;
    status = qdq_gguf_names_add(names, path, text, length);
    free(text);
    return status;
}

qdq_status qdq_naming_open(const qdq_model *model, const char *architecture, const char *map, qdq_gguf_names **names) {
    char found[ARCHITECTURE];
    const char *name = architecture;
    *names = NULL;
    qdq_status status = architecture == NULL ? find_architecture(model, found) : QDQ_OK;
    if (status == QDQ_OK && architecture == NULL && found[0] != '\0') name = found;
    if (status == QDQ_OK && name != NULL) status = qdq_gguf_names_create(name, names);
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
    qdq_status status = find_architecture(model, found);
    if (status != QDQ_OK) return status;
    if (found[0] == '\0')
        return qdq_fail_advising(
            QDQ_ADVICE_NAMES, QDQ_UNSUPPORTED,
            "%s: %s needs GGUF's names of the tensors, and neither metadata nor a config.json tell "
            "the architecture",
            path, what);
    return qdq_fail_advising(QDQ_ADVICE_MAP, QDQ_UNSUPPORTED,
                             "%s: %s needs GGUF's names of the tensors, and those of architecture %s are not known",
                             path, what, found);
}
