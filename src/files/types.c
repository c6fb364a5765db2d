/* Element types of both layouts: names, ids, sizes. */
#define _POSIX_C_SOURCE 200809L
#include "internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "../base/ggml_type.h"
#include "../base/source.h"

static const char packed[] = "is already quantized";
static const char working[] = "is a working format of the matrix kernels, not of weights";
static const char integer[] = "holds integers";
static const char small_float[] = "holds codes whose scales are in other tensors: convert the model to BF16 first";
static const char wide_float[] = "is wider than F32: convert the model to F32 first";

#define NO QDQ_NO_GGML_TYPE

/* safetensors' dtypes as of 0.8, with ggml's id where it has the type, which then has the size. */
static const struct {
    const char *name, *not_source;
    uint32_t ggml_id, bits;
} dtypes[] = {
#define SOURCE(source, number, type, file_type, name) {#name, NULL, type, 0},
#include "sources/sources.def"
#undef SOURCE
    {"I8", integer, 24, 8},
    {"I16", integer, 25, 16},
    {"I32", integer, 26, 32},
    {"I64", integer, 27, 64},
    {"F64", wide_float, 28, 64},
    {"BOOL", "holds truth values", NO, 8},
    {"U8", integer, NO, 8},
    {"U16", integer, NO, 16},
    {"U32", integer, NO, 32},
    {"U64", integer, NO, 64},
    {"C64", "holds complex numbers", NO, 64},
    {"F4", small_float, NO, 4},
    {"F6_E2M3", small_float, NO, 6},
    {"F6_E3M2", small_float, NO, 6},
    {"F8_E4M3", small_float, NO, 8},
    {"F8_E5M2", small_float, NO, 8},
    {"F8_E8M0", small_float, NO, 8},
    {"F8_E4M3FNUZ", small_float, NO, 8},
    {"F8_E5M2FNUZ", small_float, NO, 8},
};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes, Q8_1 = 9, Q8_K = 15 };

bool qdq_type_by_ggml(uint32_t id, qdq_type *type) {
    const qdq_ggml_type *t = qdq_ggml_type_by_id(id);
    if (t == NULL) return false;
    *type = (qdq_type){.ggml = t->name, .ggml_id = id, .block = t->block_elements, .bits = 8 * t->block_bytes};
    type->not_source = id == Q8_1 || id == Q8_K ? working : packed;
    for (int i = 0; i < N_DTYPES; i++) {
        if (dtypes[i].ggml_id != id) continue;
        type->safetensors = dtypes[i].name;
        type->not_source = dtypes[i].not_source;
    }
    return true;
}

static bool take_dtype(int i, qdq_type *type) {
    if (dtypes[i].ggml_id != NO) return qdq_type_by_ggml(dtypes[i].ggml_id, type);
    *type = (qdq_type){.safetensors = dtypes[i].name,
                       .not_source = dtypes[i].not_source,
                       .ggml_id = NO,
                       .block = 1,
                       .bits = dtypes[i].bits};
    return true;
}

bool qdq_type_by_safetensors(const char *name, qdq_type *type) {
    for (int i = 0; i < N_DTYPES; i++)
        if (strcmp(dtypes[i].name, name) == 0) return take_dtype(i, type);
    return false;
}

bool qdq_type_by_name(const char *name, qdq_type *type) {
    const qdq_ggml_type *t = qdq_ggml_type_by_name(name, strlen(name));
    if (t != NULL) return qdq_type_by_ggml(t->id, type);
    for (int i = 0; i < N_DTYPES; i++)
        if (strcasecmp(dtypes[i].name, name) == 0) return take_dtype(i, type);
    return false;
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
    const qdq_source *source = qdq_source_by_ggml_type(type->ggml_id);
    return source != NULL ? source->dtype : QDQ_U8;
}

const char *qdq_tensor_not_source(const qdq_tensor *tensor) {
    if (tensor->source) return NULL;
    qdq_type type;
    return qdq_type_by_name(tensor->type_name, &type) ? type.not_source : "is of a type that is not known";
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
