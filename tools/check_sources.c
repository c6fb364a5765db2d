/* A build tool: holds what each source's file says of itself against what its functions do. Prints one line for the
 * first thing that disagrees, and ends with 1. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "dialect/scalar.h"
#include "every_source.h"
#include "base/source_asserts.h"

typedef struct source {
    const char *name;
    uint32_t bytes, exponent;
    float (*load)(uint32_t bits);
    uint32_t (*store)(float x);
} source;

__attribute__((format(printf, 2, 3), noreturn)) static void disagree(const source *s, const char *text, ...) {
    va_list list;
    va_start(list, text);
    fprintf(stderr, "check_sources: %s: ", s->name);
    vfprintf(stderr, text, list);
    fputc('\n', stderr);
    va_end(list);
    exit(1);
}

/* Upper bits must be 0. */
static uint32_t stored(const source *s, float x) {
    uint32_t bits = s->store(x);
    if (s->bytes < 4 && bits >> 8 * s->bytes != 0)
        disagree(s, "%s_store of %a is 0x%x, but %s_BYTES is %u", s->name, (double)x, bits, s->name, s->bytes);
    return bits;
}

static bool has_exponent(const source *s, uint32_t bits) { return (bits & s->exponent) == s->exponent; }

static void check_element(const source *s, uint32_t bits) {
    float x = s->load(bits);
    if (!isfinite(x) != has_exponent(s, bits))
        disagree(s, "%s_load of 0x%x is %g, but its bits of %s_EXPONENT, 0x%x, are %sall set", s->name, bits, (double)x,
                 s->name, s->exponent, has_exponent(s, bits) ? "" : "not ");
    if (!isnan(x) && stored(s, x) != bits)
        disagree(s, "element 0x%x of its %s_BYTES, %u, has %s_load %a, and %s_store makes 0x%x of that", bits, s->name,
                 s->bytes, s->name, (double)x, s->name, stored(s, x));
    if (isnan(x) && !isnan(s->load(stored(s, x)))) disagree(s, "%s_store makes a number of a NaN", s->name);
}

static void check_nearest(const source *s, float x, uint32_t nearest) {
    if (stored(s, x) != nearest)
        disagree(s, "%s_store of %a is 0x%x, but the nearest, ties to even, is 0x%x", s->name, (double)x, stored(s, x),
                 nearest);
}

/* Of two elements that are neighbours: their middle, and what is next to it. */
static void check_neighbours(const source *s, uint32_t low, uint32_t high) {
    float a = s->load(low), b = s->load(high);
    if (!isfinite(a) || !isfinite(b)) return;
    float middle = (float)(((double)a + (double)b) / 2); /* exact: two bytes leave bits to spare */
    check_nearest(s, middle, low & 1 ? high : low);
    check_nearest(s, nextafterf(middle, a), low);
    check_nearest(s, nextafterf(middle, b), high);
}

static void check(const source *s) {
    if (s->bytes == 4) { /* a sample */
        for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 65521) check_element(s, (uint32_t)bits);
        return;
    }
    uint32_t n = 1u << 8 * s->bytes;
    for (uint32_t bits = 0; bits < n; bits++) check_element(s, bits);
    /* Signs are the highest bit, and magnitudes go up with the others. */
    for (uint32_t bits = 0; bits + 1 < n / 2; bits++) {
        check_neighbours(s, bits, bits + 1);
        check_neighbours(s, n / 2 + bits, n / 2 + bits + 1);
    }
}

#define SOURCE(name, ...)                                                                                              \
    static float load_##name(uint32_t bits) { return name##_load(bits); }                                              \
    static uint32_t store_##name(float x) { return name##_store(x); }
#include "sources/sources.def"
#undef SOURCE

int main(void) {
    static const source sources[] = {
#define SOURCE(name, ...) {#name, name##_BYTES, name##_EXPONENT, load_##name, store_##name},
#include "sources/sources.def"
#undef SOURCE
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) check(&sources[i]);
    return 0;
}
