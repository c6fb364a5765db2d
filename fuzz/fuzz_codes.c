/* Models of either layout whose tensors are codes: what is accepted can be read, and in pieces is what it is as a
 * whole. */
#include "walk.h"

static void read_pieces(const qdq_tensor *t) {
    size_t size = qdq_dtype_size(t->dtype);
    if (t->elements > 1 << 16) return;
    uint8_t *whole = malloc(t->elements * size + 1), *pieces = malloc(t->elements * size + 1);
    if (whole != NULL && pieces != NULL) {
        MUST(qdq_tensor_read(t, 0, t->elements, whole) == QDQ_OK);
        for (uint64_t at = 0, step = 1; at < t->elements; at += step, step = step * 3 % 1237 + 1) {
            if (step > t->elements - at) step = t->elements - at;
            MUST(qdq_tensor_read(t, at, step, pieces + at * size) == QDQ_OK);
        }
        MUST(memcmp(whole, pieces, t->elements * size) == 0);
    }
    free(whole);
    free(pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qdq_layout layout = size >= 4 && memcmp(data, "GGUF", 4) == 0 ? QDQ_LAYOUT_GGUF : QDQ_LAYOUT_SAFETENSORS;
    qdq_decode_options options = {.size = sizeof options, .requantize = true};
    qdq_model *model;
    if (qdq_model_parse(layout, data, size, "no-such-folder/fuzz", &model) != QDQ_OK) return 0;
    if (qdq_model_decode(model, &options) == QDQ_OK)
        for (uint64_t i = 0; i < qdq_model_tensor_count(model); i++) {
            const qdq_tensor *t = qdq_model_tensor(model, i);
            MUST(qdq_model_find(model, t->name) == t);
            if (t->decoding != NULL) read_pieces(t);
        }
    qdq_model_close(model);
    return 0;
}
