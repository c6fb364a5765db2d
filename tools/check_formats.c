/* A build tool: holds what each format's file says of itself against what its functions do. The dialect here is the
 * scalar one, but for packed blocks and for what lanes share: there each access is held against the facts. Prints one
 * line for the first thing that disagrees, and ends with 1. */
#include <stdio.h>
#include <stdlib.h>

#include "base/codebook.h"
#include "base/error.h"
#include "base/limits.h"
#include "dialect/scalar.h"

enum { MOST_LANES = 32, MOST_BYTES = 128 * MOST_LANES, MOST_SHARED = 128, TRIALS = 64 };

/* The format that is looked at. */
static const char *name;
static int lanes, heads, bytes, shared;

static int this_lane;
static uint8_t codes[32 * MOST_LANES], block[MOST_BYTES];
static bool written[MOST_BYTES];
static uint32_t head[QDQ_MAX_HEADS][MOST_LANES];
static float shown[MOST_SHARED][MOST_LANES];

static int within(int at, int end, const char *does, const char *fact) {
    if (at >= 0 && at < end) return at;
    fprintf(stderr, "check_formats: %s: %s number %d, but %s_%s is %d\n", name, does, at, name, fact, end);
    exit(1);
}

static void put8(int k, UINT value) {
    block[within(k, bytes, "packing writes byte", "BYTES")] = (uint8_t)value;
    written[k] = true;
}

#define BYTES_IN(b) int b
#define GET8(b, k)  ((void)(b), (UINT)block[within(k, bytes, "reading a block takes byte", "BYTES")])
#define GET16(b, k) (GET8(b, k) | GET8(b, (k) + 1) << 8)
#define GET32(b, k) (GET16(b, k) | GET16(b, (k) + 2) << 16)

#define PACK_ARGS(c, h, b) int c, int h, int b
#define CODE(c, i)         ((void)(c), (UINT)codes[within(i, 32 * lanes, "packing takes code", "LANES times 32")])
#define HEAD(h, k, j)                                                                                                  \
    ((void)(h), head[within(k, heads, "packing takes head", "HEADS")]                                                  \
                    [within(j, lanes, "packing takes the head of lane", "LANES")])
#define PUT8(b, k, v)  ((void)(b), put8(k, v))
#define PUT16(b, k, v) (PUT8(b, k, v), PUT8(b, (k) + 1, (v) >> 8))
#define PUT32(b, k, v) (PUT16(b, k, v), PUT16(b, (k) + 2, (v) >> 16))
#define PARALLEL(i, n) for (int i = 0; i < (n); i++)
#define ONCE

#define PEERS(s) int s
#define PEER(s, k, j)                                                                                                  \
    ((void)(s),                                                                                                        \
     shown[within(k, shared, "a lane looks at value", "SHARED")][within(j, lanes, "it looks at lane", "LANES")])
#define PEER_INDEX(s) ((void)(s), (INT)this_lane)

#include "every_format.h"
#include "base/fact_asserts.h"

static uint64_t seed = 88172645463325252u;

static uint64_t next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Of one magnitude; a few far from it. */
static float number(void) {
    uint64_t r = next();
    float v = (float)(int32_t)(r & 0xffffff) * 0x1p-24f - 0.5f;
    return r >> 59 == 0 ? v * 64.0f : v;
}

static void begin(const char *format, int its_lanes, int its_heads, int its_bytes, int its_shared) {
    name = format;
    lanes = its_lanes;
    heads = its_heads;
    bytes = its_bytes;
    shared = its_shared;
    memset(written, 0, sizeof written);
    memset(shown, 0, sizeof shown);
}

static void check_written(void) {
    for (int k = 0; k < bytes; k++)
        if (!written[k]) {
            fprintf(stderr, "check_formats: %s: packing leaves byte number %d as it was, but %s_BYTES is %d\n", name, k,
                    name, bytes);
            exit(1);
        }
}

static void check_code(float code, const char *what) {
    if (code >= -128.0f && code <= 127.0f && code == (float)(int)code) return;
    fprintf(stderr, "check_formats: %s: %s gives the code %g, which is no whole number of -128 … 127\n", name, what,
            (double)code);
    exit(1);
}

#define JOIN2(a, b) a##_##b
#define JOIN(a, b)  JOIN2(a, b)
#define F(name)     JOIN(FORMAT, name)
#define TEXT2(a)    #a
#define TEXT(a)     TEXT2(a)

#include "check_each_format.h" /* check_format.h for each, which the build lists */

/* Ids that stand for two formats would make files that cannot be read. */
static void check_ids(void) {
    static const struct {
        const char *name;
        long type, file_type;
    } rows[] = {
#define FORMAT(name, type, file_type) {#name, type, file_type},
#include "formats/formats.def"
#undef FORMAT
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t k = 0; k < i; k++) {
            bool types = rows[i].type == rows[k].type;
            if (!types && rows[i].file_type != rows[k].file_type) continue;
            fprintf(stderr, "check_formats: formats.def: %s and %s have the same %s\n", rows[k].name, rows[i].name,
                    types ? "ggml type" : "ggml file type");
            exit(1);
        }
}

int main(void) {
    check_ids();
#define FORMAT(name, ...) check_##name();
#include "formats/formats.def"
#undef FORMAT
    return 0;
}
