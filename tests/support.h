/* What the tests share. */
#ifndef QDQ_TESTS_SUPPORT_H
#define QDQ_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qdq.h"

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != QDQ_OK) fail_msg("%s: %s", #call, qdq_error_message());                                          \
    } while (0)
/* The call fails with that status, and its message has that text in it. */
#define assert_refused(call, status, text)                                                                             \
    do {                                                                                                               \
        assert_int_equal(call, status);                                                                                \
        if (!strstr(qdq_error_message(), text)) fail_msg("message: %s", qdq_error_message());                          \
    } while (0)

/* A file of tests/data; NULL when there is none. The caller frees it. */
static inline void *read_data(const char *name, size_t *size) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", QDQ_TEST_DATA, name);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    void *bytes = malloc(*size ? *size : 1);
    if (!bytes || fread(bytes, 1, *size, file) != *size) abort();
    fclose(file);
    return bytes;
}

/* FNV-1a, 64 bits. */
static inline uint64_t hash_bytes(const void *bytes, size_t size) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return h;
}

/* xorshift64*, seeded by the test, so that a failure can be had again. */
static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}
/* Uniform in -1 … 1, 24 bits. */
static inline float random_float(uint64_t *state) {
    return (float)(int32_t)(next_random(state) >> 39) / 16777216.0f - (next_random(state) & 1 ? 1.0f : 0.0f);
}

static inline uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
static inline float float_of(uint32_t u) {
    float x;
    memcpy(&x, &u, 4);
    return x;
}

/* Says where two float arrays first differ. */
static inline void assert_same_floats(const float *a, const float *b, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++)
        if (bits_of(a[i]) != bits_of(b[i]))
            fail_msg("%s: element %zu is %a (%08x), expected %a (%08x)", what, i, (double)a[i], bits_of(a[i]),
                     (double)b[i], bits_of(b[i]));
}

#endif
