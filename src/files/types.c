/* Element types of both layouts: names, ids, sizes. */
#define _POSIX_C_SOURCE 200809L
#include "internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char packed[] = "is already quantized";
static const char working[] = "is a working format of the matrix kernels, not of weights";
static const char integer[] = "holds integers";
static const char small_float[] = "holds codes whose scales are in other tensors: convert the model to BF16 first";
static const char wide_float[] = "is wider than F32: convert the model to F32 first";

#define GGML(name, id, block, bytes)                                                                                   \
    { name, NULL, packed, id, block, (bytes)*8 }
#define NO QDQ_NO_GGML_TYPE

/* ggml's ids as of version 0.9 (2026-08); safetensors' dtypes as of 0.8. */
static const qdq_type types[] = {
    {"f32", "F32", NULL, 0, 1, 32},
    {"f16", "F16", NULL, 1, 1, 16},
    {"bf16", "BF16", NULL, 30, 1, 16},
    {"i8", "I8", integer, 24, 1, 8},
    {"i16", "I16", integer, 25, 1, 16},
    {"i32", "I32", integer, 26, 1, 32},
    {"i64", "I64", integer, 27, 1, 64},
    {"f64", "F64", wide_float, 28, 1, 64},
    GGML("q4_0", 2, 32, 18),
    GGML("q4_1", 3, 32, 20),
    GGML("q5_0", 6, 32, 22),
    GGML("q5_1", 7, 32, 24),
    GGML("q8_0", 8, 32, 34),
    {"q8_1", NULL, working, 9, 32, 36 * 8},
    GGML("q2_K", 10, 256, 84),
    GGML("q3_K", 11, 256, 110),
    GGML("q4_K", 12, 256, 144),
    GGML("q5_K", 13, 256, 176),
    GGML("q6_K", 14, 256, 210),
    {"q8_K", NULL, working, 15, 256, 292 * 8},
    GGML("iq2_xxs", 16, 256, 66),
    GGML("iq2_xs", 17, 256, 74),
    GGML("iq3_xxs", 18, 256, 98),
    GGML("iq1_s", 19, 256, 50),
    GGML("iq4_nl", 20, 32, 18),
    GGML("iq3_s", 21, 256, 110),
    GGML("iq2_s", 22, 256, 82),
    GGML("iq4_xs", 23, 256, 136),
    GGML("iq1_m", 29, 256, 56),
    GGML("tq1_0", 34, 256, 54),
    GGML("tq2_0", 35, 256, 66),
    GGML("mxfp4", 39, 32, 17),
    GGML("nvfp4", 40, 64, 36),
    GGML("q1_0", 41, 128, 18),
    GGML("q2_0", 42, 64, 18),
    {NULL, "BOOL", "holds truth values", NO, 1, 8},
    {NULL, "U8", integer, NO, 1, 8},
    {NULL, "U16", integer, NO, 1, 16},
    {NULL, "U32", integer, NO, 1, 32},
    {NULL, "U64", integer, NO, 1, 64},
    {NULL, "C64", "holds complex numbers", NO, 1, 64},
    {NULL, "F4", small_float, NO, 1, 4},
    {NULL, "F6_E2M3", small_float, NO, 1, 6},
    {NULL, "F6_E3M2", small_float, NO, 1, 6},
    {NULL, "F8_E4M3", small_float, NO, 1, 8},
    {NULL, "F8_E5M2", small_float, NO, 1, 8},
    {NULL, "F8_E8M0", small_float, NO, 1, 8},
    {NULL, "F8_E4M3FNUZ", small_float, NO, 1, 8},
    {NULL, "F8_E5M2FNUZ", small_float, NO, 1, 8},
};

#define N_TYPES (sizeof types / sizeof *types)

const qdq_type *qdq_type_by_ggml(uint32_t id) {
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].ggml != NULL && types[i].ggml_id == id) return &types[i];
    return NULL;
}

const qdq_type *qdq_type_by_safetensors(const char *name) {
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].safetensors != NULL && strcmp(types[i].safetensors, name) == 0) return &types[i];
    return NULL;
}

const qdq_type *qdq_type_by_name(const char *name) {
    for (size_t i = 0; i < N_TYPES; i++) {
        if (types[i].ggml != NULL && strcasecmp(types[i].ggml, name) == 0) return &types[i];
        if (types[i].safetensors != NULL && strcasecmp(types[i].safetensors, name) == 0) return &types[i];
    }
    return NULL;
}

/* Ids that ggml has given up and ids that the fork ik_llama.cpp gives out by itself: such a file is not damaged, and
 * the user should learn who can read it. */
static const struct {
    uint32_t id;
    const char *what;
} strangers[] = {
    {4, "Q4_2, removed from ggml in 2023"},
    {5, "Q4_3, removed from ggml in 2023"},
    {31, "Q4_0_4_4, removed from ggml: quantize to Q4_0 instead"},
    {32, "Q4_0_4_8, removed from ggml: quantize to Q4_0 instead"},
    {33, "Q4_0_8_8, removed from ggml: quantize to Q4_0 instead"},
    {36, "IQ4_NL_4_4, removed from ggml, or I2_S of ik_llama.cpp and bitnet.cpp"},
    {37, "IQ4_NL_4_8, removed from ggml: quantize to IQ4_NL instead"},
    {38, "IQ4_NL_8_8, removed from ggml: quantize to IQ4_NL instead"},
    {133, "Q6_0 of ik_llama.cpp"},
    {134, "IQ1_BN of ik_llama.cpp"},
    {135, "IQ2_BN of ik_llama.cpp"},
    {137, "IQ2_K of ik_llama.cpp"},
    {138, "IQ3_K of ik_llama.cpp"},
    {139, "IQ4_K of ik_llama.cpp"},
    {140, "IQ5_K of ik_llama.cpp"},
    {141, "IQ6_K of ik_llama.cpp"},
    {144, "IQ4_KS of ik_llama.cpp"},
    {145, "IQ2_KS of ik_llama.cpp"},
    {146, "IQ4_KSS of ik_llama.cpp"},
    {152, "IQ5_KS of ik_llama.cpp"},
    {153, "IQ2_KT of ik_llama.cpp"},
    {154, "IQ3_KT of ik_llama.cpp"},
    {155, "IQ4_KT of ik_llama.cpp"},
    {156, "IQ3_KS of ik_llama.cpp"},
    {157, "IQ2_KL of ik_llama.cpp"},
    {158, "IQ1_KT of ik_llama.cpp"},
};

const char *qdq_type_unknown_ggml(uint32_t id) {
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
        if (strangers[i].id == id) return strangers[i].what;
    if (id >= 200 && id < 400) return "a row-interleaved type (_R4, _R8, _R16) of ik_llama.cpp";
    if (id >= 97 && id < 200) return "a type of ik_llama.cpp";
    return "no type of ggml that this version knows";
}

bool qdq_type_bytes(const qdq_type *type, uint64_t elements, uint64_t *bytes) {
    uint64_t bits;
    if (elements % type->block != 0) return false;
    if (type->bits % 8 == 0) return !__builtin_mul_overflow(elements / type->block, (uint64_t)(type->bits / 8), bytes);
    if (__builtin_mul_overflow(elements / type->block, (uint64_t)type->bits, &bits) || bits % 8 != 0) return false;
    *bytes = bits / 8;
    return true;
}

qdq_dtype qdq_type_dtype(const qdq_type *type) {
    switch (type->ggml_id) {
    case 0: return QDQ_F32;
    case 1: return QDQ_F16;
    case 30: return QDQ_BF16;
    default: return QDQ_U8;
    }
}

const char *qdq_tensor_not_source(const qdq_tensor *tensor) {
    if (tensor->source) return NULL;
    const qdq_type *type = qdq_type_by_name(tensor->type_name);
    return type != NULL ? type->not_source : "is of a type that is not known";
}

bool qdq_shape_elements(uint32_t n_dims, const uint64_t *shape, uint64_t *elements) {
    uint64_t product = 1;
    bool empty = false, overflow = false;
    for (uint32_t i = 0; i < n_dims; i++) {
        if (shape[i] == 0) empty = true;
        if (!empty) overflow |= __builtin_mul_overflow(product, shape[i], &product) || product > INT64_MAX;
    }
    /* A 0 behind factors that overflow would hide them: such a shape is nonsense too. */
    *elements = empty ? 0 : product;
    return !overflow;
}

const char *qdq_shape_text(uint32_t n_dims, const uint64_t *shape, char *buffer, size_t size) {
    size_t used = (size_t)snprintf(buffer, size, "[");
    for (uint32_t i = 0; i < n_dims; i++) {
        if (used + 32 > size) {
            snprintf(buffer + used, size - used, ", …]");
            return buffer;
        }
        used +=
            (size_t)snprintf(buffer + used, size - used, "%s%llu", i == 0 ? "" : ", ", (unsigned long long)shape[i]);
    }
    snprintf(buffer + used, size - used, "]");
    return buffer;
}
