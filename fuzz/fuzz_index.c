#include "walk.h"

#include "files/internal.h"

/* No accepted file name may lead out of the index's directory. */
static void check_inside(const char *file) {
    MUST(file[0] != '/' && strstr(file, "/../") == NULL && strncmp(file, "../", 3) != 0);
    size_t length = strlen(file);
    MUST(length > 12 && strcmp(file + length - 12, ".safetensors") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qdq_index index;
    if (qdq_index_parse(data, size, "fuzz", &index) != QDQ_OK) {
        MUST(qdq_error_message()[0] != 0);
        return 0;
    }
    MUST(index.n > 0);
    for (uint64_t i = 0; i < index.n; i++) check_inside(index.files[i]);
    qdq_index_free(&index);
    return 0;
}
