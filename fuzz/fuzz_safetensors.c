#include "walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_model(QDQ_LAYOUT_SAFETENSORS, data, size);
    return 0;
}
