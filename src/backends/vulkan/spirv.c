#include "backends/vulkan/spirv.h"

#include <string.h>

static bool is_kept(uint32_t op, const uint32_t *operands, const qdq_float_controls *c) {
    uint32_t mode = op == SPIRV_CAPABILITY ? operands[0] : op == SPIRV_EXECUTION_MODE ? operands[1] : 0;
    switch (mode) {
    case SPIRV_DENORM_PRESERVE:
    case SPIRV_DENORM_PRESERVE_CAPABILITY: return c->denorm_preserve;
    case SPIRV_SIGNED_ZERO_INF_NAN_PRESERVE:
    case SPIRV_SIGNED_ZERO_INF_NAN_CAPABILITY: return c->signed_zero_inf_nan_preserve;
    case SPIRV_ROUNDING_RTE:
    case SPIRV_ROUNDING_RTE_CAPABILITY: return c->rounding_rte;
    default: return op != SPIRV_EXTENSION || c->known;
    }
}

size_t qdq_spirv_for_device(const qdq_spirv *module, const qdq_float_controls *controls, uint32_t *code) {
    size_t n = SPIRV_HEADER_WORDS;
    memcpy(code, module->code, n * sizeof *code);
    for (size_t i = n, length; i < module->words; i += length) {
        length = module->code[i] >> 16;
        if (!is_kept(module->code[i] & 0xffff, &module->code[i + 1], controls)) continue;
        memcpy(code + n, &module->code[i], length * sizeof *code);
        n += length;
    }
    return n;
}
