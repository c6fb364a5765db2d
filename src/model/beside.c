#include "model/beside.h"

#include <stdio.h>
#include <string.h>

#include "base/platform_files.h"
#include "files/files.h"

qdq_status qdq_read_beside(const qdq_model *model, const char *name, char path[QDQ_BESIDE_PATH], char **text,
                           size_t *length) {
    const char *own = qdq_model_path(model);
    qdq_file_info info;
    bool folder = qdq_path_info(own, &info) && info.kind == QDQ_FILE_DIRECTORY;
    size_t before = folder ? strlen(own) : (size_t)(qdq_path_last(own) - own);
    *text = NULL;
    if (before + strlen(name) + 2 > QDQ_BESIDE_PATH) return QDQ_OK;
    snprintf(path, QDQ_BESIDE_PATH, "%.*s%s%s", (int)before, own, folder ? "/" : "", name);
    return qdq_path_info(path, &info) ? qdq_read_text(path, QDQ_WORDS_LIMIT, text, length) : QDQ_OK;
}
