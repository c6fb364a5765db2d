#include "walk.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qdq_imatrix *imatrix;
    if (qdq_imatrix_parse(data, size, "fuzz", &imatrix) != QDQ_OK) {
        MUST(qdq_error_message()[0] != 0);
        return 0;
    }
    MUST(qdq_imatrix_count(imatrix) > 0);
    for (uint64_t i = 0; i < qdq_imatrix_count(imatrix); i++) {
        const qdq_imatrix_entry *e = qdq_imatrix_entry_at(imatrix, i);
        MUST(qdq_imatrix_find(imatrix, e->name) == e);
        MUST(e->count <= size / 4);
        float *weights = malloc((size_t)e->count * sizeof *weights);
        MUST(weights != NULL);
        qdq_imatrix_weights(e, 0, e->count, weights);
        for (uint64_t k = 0; k < e->count; k++) MUST(isfinite(weights[k]) && weights[k] >= 0);
        free(weights);
        qdq_imatrix_statistics s = {.size = sizeof s};
        MUST(qdq_imatrix_entry_describe(e, &s) == QDQ_OK && s.unreached <= s.matrices && s.least <= s.most);
    }
    const qdq_imatrix *two[] = {imatrix, imatrix};
    for (int layout = QDQ_IMATRIX_GGUF; layout <= QDQ_IMATRIX_DAT; layout++) {
        qdq_imatrix_write_options options = {.size = sizeof options, .layout = (qdq_imatrix_layout)layout};
        if (qdq_imatrix_write(2, two, &options, "/dev/null", NULL) != QDQ_OK) MUST(qdq_error_message()[0] != 0);
    }
    qdq_imatrix_close(imatrix);
    return 0;
}
