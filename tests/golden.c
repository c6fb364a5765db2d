/* Prints a hash of what every operation of every format gives for fixed pseudo-random inputs, with and without an
 * importance matrix: wild ones, whose bits are any finite number's, and hostile ones, with NaNs, infinities, subnormals
 * and extremes beside plain numbers. The lines are the same for every compiler, processor and tier:
 * tests/data/golden.txt. After a change that is meant, write it anew: build/tests/golden >tests/data/golden.txt, and
 * say in the commit why the bits moved. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qdq.h"

enum { N = 1024 * 61 + 256, ROW = 1024, M = ROW * 64 };

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
static void fill(float *x, int n, bool wild) {
    for (int i = 0; i < n; i += 64) {
        uint64_t kind = next();
        int shift = wild ? (int)(kind >> 8 & 31) : 8 + (int)(kind >> 8 & 15);
        for (int k = 0; k < 64 && i + k < n; k++) {
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

/* Stretches of 32: plain numbers of any magnitude, some of them with specials strewn in, some of nothing else, ties,
 * and numbers about a row's own magnitude, so that plain stretches and odd ones share a block and the lanes beside it.
 */
static void fill_hostile(float *x) {
    static const uint32_t specials[] = {
        0x7fc00000, 0xffc00000, 0x7f800001, 0xff812345, 0x7fffffff, 0x7f800000, 0xff800000, 0x00000000, 0x80000000,
        0x00000001, 0x80000001, 0x007fffff, 0x80800000, 0x00ffffff, 0x33000000, 0x33000001, 0x387fc000, 0x477fefff,
        0x477ff000, 0x5f000000, 0xdf000000, 0x7e967699, 0x7f7fffff, 0xff7fffff, 0x3effffff, 0x3f000000};
    uint32_t exponent = 0;
    for (int i = 0; i < M; i += 32) {
        uint64_t kind = next();
        if (i / QDQ_TILE % 3 == 2) kind &= ~(uint64_t)3;
        if (i % 256 == 0) exponent = (uint32_t)(kind >> 32) % 255 << 23;
        uint32_t own = kind >> 8 & 1 ? exponent : ((uint32_t)(kind >> 9 & 15) + 120) << 23;
        for (int k = 0; k < 32; k++) {
            uint64_t r = next();
            uint32_t u = own | (uint32_t)(r & 0x807fffff), special = specials[(r >> 32) % (sizeof specials / 4)];
            if (kind % 8 == 1 || kind % 8 == 2) u = r >> 60 == 0 ? special : u;
            if (kind % 8 == 3) u = special;
            if (kind % 8 == 4) u = (u & 0x80000000u) | (own | 0x199999u);
            if (kind % 8 == 5) u = (u & 0x807fffffu) | ((own >> 23) + (uint32_t)(r >> 40 & 15)) % 255 << 23;
            memcpy(&x[i + k], &u, 4);
        }
    }
}

/* An importance matrix's row: plain, wide, with zeros and a stretch of nothing else. */
static void fill_weights(float *w) {
    for (int i = 0; i < ROW; i++) {
        uint64_t r = next();
        float v = (float)(r & 0xffffff) / 16777216.0f;
        if (r >> 56 < 32) v = 0.0f;
        if (i / 64 % 4 == 2) v = v * v * v * 4096.0f;
        if (i / 64 == 5) v = 0.0f;
        if (i / 64 == 7) v *= 0x1p-100f;
        w[i] = v;
    }
}

static void print_double(double v) {
    uint64_t u;
    memcpy(&u, &v, 8);
    printf(" %016llx", (unsigned long long)u);
}

static void print_hash(const char *what, const void *bytes, uint64_t size) {
    printf(" %s %016llx", what, (unsigned long long)hash(bytes, size));
}

/* Wild and tame arrays through the plain calls. */
static bool print_plain(qdq_format f, const char *name, const float *wild, const float *tame, const float *g) {
    static float y[N];
    static unsigned char blocks[N * 4];
    qdq_error_sums e = {0};
    qdq_sensitivity_sums s = {0};
    if (qdq_roundtrip(f, wild, y, N) || qdq_quantize(f, wild, blocks, N) || qdq_error(f, tame, N, &e) ||
        qdq_sensitivity(f, QDQ_FORMAT_SOURCE, tame, g, N, &s))
        return false;
    printf("%-8s", name);
    print_hash("roundtrip", y, N * 4);
    print_hash("quantize", blocks, qdq_format_bytes(f, N));
    printf("\n%-8s error      ", name);
    print_double(e.err2);
    print_double(e.ww);
    print_double(e.qq);
    print_double((double)e.max_abs);
    printf("\n%-8s sensitivity", name);
    print_double(s.signed_sum);
    print_double(s.absolute);
    print_double(s.squared);
    printf("\n");
    return true;
}

static bool print_decoded(qdq_format f, const qdq_format_info *info) {
    static float y[N];
    static unsigned char blocks[N * 4];
    uint64_t bytes = qdq_format_bytes(f, N);
    seed = 1234567 + (uint64_t)info->ggml_type;
    for (uint64_t i = 0; i < bytes; i++) blocks[i] = (unsigned char)(next() >> 32);
    if (qdq_dequantize(f, blocks, y, N)) return false;
    printf("%-8s", info->name);
    print_hash("dequantize", y, N * 4);
    printf("\n");
    return true;
}

/* A hostile array and its tame gradient, in rows, through an encoder. Sums are taken tile by tile: one NaN hides a
 * whole. */
static bool print_rows(qdq_encoder *encoder, qdq_format f, const char *name, const char *what, qdq_buffer *x,
                       qdq_buffer *g, const qdq_buffer *weights, qdq_buffer *y, qdq_buffer *bytes) {
    static qdq_error_sums errors[M / QDQ_TILE];
    static qdq_sensitivity_sums scores[M / QDQ_TILE];
    memset(errors, 0, sizeof errors);
    memset(scores, 0, sizeof scores);
    qdq_buffer *blocks = NULL, *tile = NULL, *slope = NULL;
    qdq_options options = {.size = sizeof options, .importance = weights, .row = ROW};
    bool good = !qdq_buffer_slice(bytes, 0, qdq_format_bytes(f, M), &blocks) &&
                !qdq_encode_roundtrip(encoder, f, x, y, &options) &&
                !qdq_encode_quantize(encoder, f, x, blocks, &options);
    for (int t = 0; t < M / QDQ_TILE && good; t++) {
        good = !qdq_buffer_slice(x, (uint64_t)t * QDQ_TILE, QDQ_TILE, &tile) &&
               !qdq_buffer_slice(g, (uint64_t)t * QDQ_TILE, QDQ_TILE, &slope) &&
               !qdq_encode_error(encoder, 1, &f, tile, &errors[t], &options) &&
               !qdq_encode_sensitivity(encoder, f, QDQ_FORMAT_SOURCE, tile, slope, &scores[t], &options);
        qdq_buffer_free(tile);
        qdq_buffer_free(slope);
        tile = slope = NULL;
    }
    if (good) good = !qdq_encoder_commit_and_wait(encoder);
    if (good) {
        printf("%-8s %s:", name, what);
        print_hash("roundtrip", qdq_buffer_host(y), M * 4);
        print_hash("quantize", qdq_buffer_host(blocks), qdq_buffer_bytes(blocks));
        print_hash("error", errors, sizeof errors);
        print_hash("sensitivity", scores, sizeof scores);
        printf("\n");
    }
    qdq_buffer_free(blocks);
    return good;
}

static qdq_buffer *floats(qdq_device *device, uint64_t n) {
    qdq_buffer *buffer = NULL;
    qdq_buffer_create(device, QDQ_F32, 1, &n, &buffer);
    return buffer;
}

int main(void) {
    static float wild[N], tame[N], g[N];
    fill(wild, N, true);
    fill(tame, N, false);
    fill(g, N, false);
    qdq_device *device = NULL;
    qdq_encoder *encoder = NULL;
    qdq_buffer *bytes = NULL;
    uint64_t room = M * 4;
    bool good = !qdq_device_open("cpu", &device) && !qdq_encoder_create(device, &encoder) &&
                !qdq_buffer_create(device, QDQ_U8, 1, &room, &bytes);
    qdq_buffer *x = floats(device, M), *slopes = floats(device, M), *y = floats(device, M);
    qdq_buffer *weights = floats(device, ROW);
    good = good && x && slopes && y && weights;
    if (good) {
        fill_hostile(qdq_buffer_host(x));
        fill(qdq_buffer_host(slopes), M, false);
        fill_weights(qdq_buffer_host(weights));
    }
    for (qdq_format f = 0; f < qdq_format_count() && good; f++) {
        qdq_format_info info = {.size = sizeof info};
        qdq_format_describe(f, &info);
        if (info.block_elements == 1) continue;
        if (info.importance != 2)
            good = print_plain(f, info.name, wild, tame, g) &&
                   print_rows(encoder, f, info.name, "hostile", x, slopes, NULL, y, bytes);
        if (good && info.importance != 0)
            good = print_rows(encoder, f, info.name, "hostile, weighted", x, slopes, weights, y, bytes);
        good = good && print_decoded(f, &info);
    }
    if (!good) fprintf(stderr, "%s\n", qdq_error_message());
    qdq_buffer *const all[] = {bytes, x, slopes, y, weights};
    for (int i = 0; i < 5; i++) qdq_buffer_free(all[i]);
    qdq_encoder_free(encoder);
    qdq_device_close(device);
    return good ? 0 : 1;
}
