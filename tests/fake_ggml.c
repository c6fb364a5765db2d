/* A library that looks like ggml's and has three of its formats, by plain C (proof/reference.h). QDQ_FAKE_GGML says how
 * it was compiled or written: "fused" rounds q4_0's x * id + 8.5 once, "other" has another scale in q8_0, "ends" ends
 * the process where q8_0 meets a number above 1e30. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proof/reference.h"

static const struct {
    int type;
    const char *name;
    size_t bytes;
} types[] = {{2, "q4_0", 18}, {6, "q5_0", 22}, {8, "q8_0", 34}};

static int find(int type) {
    for (int i = 0; i < 3; i++)
        if (types[i].type == type) return i;
    return -1;
}

static bool is(const char *what) {
    const char *how = getenv("QDQ_FAKE_GGML");
    return how && strcmp(how, what) == 0;
}

const char *ggml_type_name(int type);
size_t ggml_type_size(int type);
int64_t ggml_blck_size(int type);
bool ggml_quantize_requires_imatrix(int type);
void ggml_quantize_init(int type);
void ggml_quantize_free(void);
size_t ggml_quantize_chunk(int type, const float *src, void *dst, int64_t start, int64_t rows, int64_t row,
                           const float *imatrix);
void dequantize_row_q4_0(const void *blocks, float *y, int64_t n);
void dequantize_row_q5_0(const void *blocks, float *y, int64_t n);
void dequantize_row_q8_0(const void *blocks, float *y, int64_t n);

const char *ggml_type_name(int type) { return find(type) < 0 ? NULL : types[find(type)].name; }
size_t ggml_type_size(int type) { return find(type) < 0 ? 1 : types[find(type)].bytes; }
int64_t ggml_blck_size(int type) { return find(type) < 0 ? 1 : 32; }
/* Plain C has no fit with importance. */
bool ggml_quantize_requires_imatrix(int type) {
    (void)type;
    return false;
}
void ggml_quantize_init(int type) { (void)type; }
void ggml_quantize_free(void) {}

static void quantize_block(const char *name, const float *x, uint8_t *block) {
    float wider[32];
    bool wide = strcmp(name, "q8_0") == 0 && is("other");
    for (int i = 0; i < 32; i++) {
        if (strcmp(name, "q8_0") == 0 && is("ends") && fabsf(x[i]) > 1e30f) abort();
        wider[i] = wide ? x[i] * 0.96875f : x[i];
    }
    if (strcmp(name, "q4_0") == 0 && is("fused"))
        qdq_reference_q4_0_fused(x, block);
    else
        qdq_reference_of(name)->quantize(wider, block);
}

size_t ggml_quantize_chunk(int type, const float *src, void *dst, int64_t start, int64_t rows, int64_t row,
                           const float *imatrix) {
    (void)imatrix;
    size_t bytes = ggml_type_size(type);
    for (int64_t i = 0; i < rows * row / 32; i++)
        quantize_block(ggml_type_name(type), src + start + 32 * i, (uint8_t *)dst + (size_t)i * bytes);
    return (size_t)(rows * row / 32) * bytes;
}

static void dequantize(int type, const uint8_t *blocks, float *y, int64_t n) {
    for (int64_t i = 0; i < n / 32; i++)
        qdq_reference_of(ggml_type_name(type))->dequantize(blocks + (size_t)i * ggml_type_size(type), y + 32 * i);
}

void dequantize_row_q4_0(const void *blocks, float *y, int64_t n) { dequantize(2, blocks, y, n); }
void dequantize_row_q5_0(const void *blocks, float *y, int64_t n) { dequantize(6, blocks, y, n); }
void dequantize_row_q8_0(const void *blocks, float *y, int64_t n) { dequantize(8, blocks, y, n); }
