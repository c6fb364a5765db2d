/* Prints a hash of what every operation of every format gives for a fixed pseudo-random input. The lines are the same
 * for every compiler, processor and tier: tests/data/golden.txt. After a change that is meant, write it anew:
 * build/tests/golden >tests/data/golden.txt, and say in the commit why the bits moved. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qdq.h"

enum { N = 1024 * 61 + 256 };

static uint64_t seed = 88172645463325252u;

static uint64_t next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint64_t hash(const void *bytes, uint64_t size) {
    uint64_t h = 0xcbf29ce484222325u;
    for (uint64_t i = 0; i < size; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return h;
}

/* Sums of four uniform numbers; the exponent changes from stretch to stretch, some stretches have bf16 values, ties of
 * magnitude, or, where wild, any finite bits at all. Integers and exact float operations only. */
static void fill(float *x, bool wild) {
    for (int i = 0; i < N; i += 64) {
        uint64_t kind = next();
        int shift = wild ? (int)(kind >> 8 & 31) : 8 + (int)(kind >> 8 & 15);
        for (int k = 0; k < 64 && i + k < N; k++) {
            uint64_t r = next();
            int32_t sum = (int32_t)(r & 0xfffff) + (int32_t)(r >> 20 & 0xfffff) - (int32_t)(r >> 40 & 0x1fffff);
            float v = (float)sum / (float)(1u << shift);
            uint32_t u;
            memcpy(&u, &v, 4);
            if (kind % 8 == 1) u &= 0xffff0000u;
            if (kind % 8 == 2) u = (u & 0x80000000u) | 0x3e99999au;
            if (wild && kind % 16 == 3) u = (uint32_t)(r & 0xffffffffu) % 0xff000000u & 0xf7ffffffu;
            memcpy(&x[i + k], &u, 4);
        }
    }
}

static void print_double(double v) {
    uint64_t u;
    memcpy(&u, &v, 8);
    printf(" %016llx", (unsigned long long)u);
}

int main(void) {
    float *x = malloc(N * 4), *tame = malloc(N * 4), *g = malloc(N * 4), *y = malloc(N * 4);
    unsigned char *blocks = malloc(N * 4);
    if (!x || !tame || !g || !y || !blocks) return 1;
    fill(x, true);
    fill(tame, false);
    fill(g, false);
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        qdq_format_info info = {.size = sizeof info};
        qdq_format_describe(f, &info);
        uint64_t bytes = qdq_format_bytes(f, N);
        if (info.importance != 2) {
            qdq_error_sums e = {0};
            qdq_sensitivity_sums s = {0};
            if (qdq_roundtrip(f, x, y, N) || qdq_quantize(f, x, blocks, N) || qdq_error(f, tame, N, &e) ||
                qdq_sensitivity(f, QDQ_FORMAT_SOURCE, tame, g, N, &s)) {
                fprintf(stderr, "%s\n", qdq_error_message());
                return 1;
            }
            printf("%-8s roundtrip %016llx quantize %016llx\n", info.name, (unsigned long long)hash(y, N * 4),
                   (unsigned long long)hash(blocks, bytes));
            printf("%-8s error      ", info.name);
            print_double(e.err2);
            print_double(e.ww);
            print_double(e.qq);
            print_double(e.wq);
            print_double((double)e.max_abs);
            printf("\n%-8s sensitivity", info.name);
            print_double(s.signed_sum);
            print_double(s.absolute);
            print_double(s.squared);
            printf("\n");
        }
        seed = 1234567 + (uint64_t)info.ggml_type;
        for (uint64_t i = 0; i < bytes; i++) blocks[i] = (unsigned char)(next() >> 32);
        if (qdq_dequantize(f, blocks, y, N)) return 1;
        printf("%-8s dequantize %016llx\n", info.name, (unsigned long long)hash(y, N * 4));
    }
    free(x);
    free(tame);
    free(g);
    free(y);
    free(blocks);
    return 0;
}
