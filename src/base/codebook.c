#include "base/codebook.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/shared.h"
#include "base/lock.h"
#include "formats/iq_points.h"

enum { MAX_POINTS = 2048, MAX_HALVES = 81, MAX_DISTANCE = 196 };

#define GRID(name, ...) const uint32_t *qdq_words_##name;
#include "formats/codebooks.def"
#undef GRID

static struct grid {
    const char *format;
    const uint32_t *bits; /* a cell each */
    uint32_t points, elements, levels, rings;
    const uint32_t **words; /* what they were made into, n of them */
    size_t n;
} grids[] = {
#define GRID(name, bits, points, elements, levels, rings)                                                              \
    {#name, bits, points, elements, levels, rings, &qdq_words_##name, 0},
#include "formats/codebooks.def"
#undef GRID
};

/* A cell is a pair of halves, and the distance of two cells the sum of their halves' distances. */
typedef struct maker {
    uint32_t halves;
    uint8_t distance[MAX_HALVES][MAX_HALVES];
    uint16_t low[MAX_POINTS], high[MAX_POINTS]; /* the points' halves */
    uint32_t *words;
    size_t n, room;
} maker;

static bool put(maker *m, uint32_t word) {
    if (m->n == m->room) {
        size_t room = m->room ? m->room * 2 : 1 << 15;
        uint32_t *words = realloc(m->words, room * sizeof *words);
        if (!words) return false;
        m->words = words;
        m->room = room;
    }
    m->words[m->n++] = word;
    return true;
}

static uint32_t levels_of(const struct grid *g, uint32_t cell) {
    uint32_t levels = 0;
    for (uint32_t k = 0; k < g->elements; k++, cell /= g->levels) levels |= cell % g->levels << 16 / g->elements * k;
    return levels;
}

static void measure_halves(const struct grid *g, maker *m) {
    m->halves = 1;
    for (uint32_t k = 0; k < g->elements / 2; k++) m->halves *= g->levels;
    for (uint32_t a = 0; a < m->halves; a++)
        for (uint32_t b = 0; b < m->halves; b++) {
            int sum = 0;
            for (uint32_t k = 0, x = a, y = b; k < g->elements / 2; k++, x /= g->levels, y /= g->levels)
                sum += ((int)(x % g->levels) - (int)(y % g->levels)) * ((int)(x % g->levels) - (int)(y % g->levels));
            m->distance[a][b] = (uint8_t)sum;
        }
}

/* The list of a cell that is no point. */
static bool put_neighbours(const struct grid *g, maker *m, uint32_t cell) {
    uint16_t distance[MAX_POINTS];
    uint32_t count[MAX_DISTANCE + 1] = {0};
    const uint8_t *low = m->distance[cell % m->halves], *high = m->distance[cell / m->halves];
    for (uint32_t p = 0; p < g->points; p++) {
        distance[p] = (uint16_t)(low[m->low[p]] + high[m->high[p]]);
        count[distance[p]]++;
    }
    size_t first = m->n;
    uint32_t half = 0, length = 0;
    for (uint32_t d = 0, ring = 0; ring < g->rings && d <= MAX_DISTANCE; d++) {
        if (count[d] == 0) continue;
        ring++;
        for (uint32_t p = 0; p < g->points; p++) {
            if (distance[p] != d) continue;
            uint32_t levels = m->words[p] & 0xffffu;
            if (length++ % 2 == 0)
                half = levels;
            else if (!put(m, half | levels << 16))
                return false;
        }
    }
    if (length % 2 == 1 && !put(m, half | half << 16)) return false;
    m->words[g->points + cell] = (uint32_t)first | (uint32_t)(m->n - first - 1) << 18;
    return true;
}

static bool make(struct grid *g, maker *m) {
    measure_halves(g, m);
    uint32_t cells = m->halves * m->halves, point = 0;
    for (uint32_t c = 0; c < cells; c++) {
        if ((g->bits[c / 32] >> c % 32 & 1u) == 0) continue;
        m->low[point] = (uint16_t)(c % m->halves);
        m->high[point++] = (uint16_t)(c / m->halves);
        if (!put(m, levels_of(g, c) * 0x10001u)) return false;
    }
    for (uint32_t c = 0; c < cells; c++)
        if (!put(m, 0)) return false;
    for (uint32_t p = 0; p < g->points; p++) m->words[g->points + m->low[p] + m->halves * m->high[p]] = p;
    for (uint32_t c = 0; c < cells; c++)
        if ((g->bits[c / 32] >> c % 32 & 1u) == 0 && !put_neighbours(g, m, c)) return false;
    for (int i = 0; i < 8; i++)
        if (!put(m, 0)) return false;
    return true;
}

QDQ_SHARED qdq_status qdq_format_words(const char *format, const uint32_t **words, size_t *n) {
    *words = NULL;
    *n = 0;
    for (size_t i = 0; i < sizeof grids / sizeof grids[0]; i++) {
        struct grid *g = &grids[i];
        if (strcmp(g->format, format) != 0) continue;
        qdq_lock(QDQ_LOCK_CODEBOOKS);
        if (g->n == 0) {
            maker m = {0};
            if (make(g, &m)) {
                *g->words = m.words;
                g->n = m.n;
            } else {
                free(m.words);
            }
        }
        *words = *g->words;
        *n = g->n;
        qdq_unlock(QDQ_LOCK_CODEBOOKS);
        return *words ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the codebook of %s", format);
    }
    return QDQ_OK;
}
