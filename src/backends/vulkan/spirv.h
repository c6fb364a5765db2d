/* Embedded modules, and the float controls that they ask for. */
#ifndef QDQ_BACKENDS_VULKAN_SPIRV_H
#define QDQ_BACKENDS_VULKAN_SPIRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of the SPIR-V specification. */
enum {
    SPIRV_MAGIC = 0x07230203,
    SPIRV_HEADER_WORDS = 5,
    SPIRV_EXTENSION = 10,
    SPIRV_EXECUTION_MODE = 16,
    SPIRV_CAPABILITY = 17,
    SPIRV_NO_CONTRACTION = 42, /* a decoration */
    SPIRV_DECORATE = 71,
    SPIRV_LOOP_MERGE = 246,
    SPIRV_UNROLL = 1, /* a loop control */
    SPIRV_DENORM_PRESERVE = 4459,
    SPIRV_SIGNED_ZERO_INF_NAN_PRESERVE = 4461,
    SPIRV_ROUNDING_RTE = 4462,
    SPIRV_DENORM_PRESERVE_CAPABILITY = 4464,
    SPIRV_SIGNED_ZERO_INF_NAN_CAPABILITY = 4466,
    SPIRV_ROUNDING_RTE_CAPABILITY = 4467
};
#define SPIRV_FLOAT_CONTROLS "SPV_KHR_float_controls"
enum { SPIRV_FLOAT_CONTROLS_WORDS = (sizeof SPIRV_FLOAT_CONTROLS + 3) / 4 };

typedef struct qdq_spirv {
    const uint32_t *code;
    size_t words;
} qdq_spirv;

/* What a device can be asked for, of binary32. */
typedef struct qdq_float_controls {
    bool known; /* the extension is there */
    bool denorm_preserve, signed_zero_inf_nan_preserve, rounding_rte;
} qdq_float_controls;

/* Copies the module to code, room for module->words, without the modes that the device lacks. Returns the words. */
size_t qdq_spirv_for_device(const qdq_spirv *module, const qdq_float_controls *controls, uint32_t *code);

#endif
