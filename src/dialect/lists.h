/* How a SIMD CPU looks through lists of points (formats/iq_grid.h). Lists are short and of all lengths, so that lanes
 * side by side would wait for the one with the longest; here one lane after another has its list looked through, a
 * vector of points at a time. For that a lane's elements must lie side by side. */
#ifndef QDQ_DIALECT_LISTS_H
#define QDQ_DIALECT_LISTS_H

#include <string.h>

#define LIST_ROWS(x) list_rows x##_rows = list_rows_of(x);
#define LIST_OF(x)   (&x##_rows)
#define LIST_IN(x)   const list_rows *x

enum { LIST_COSTS = 32 };

typedef struct list_rows {
    float lane[WIDTH][32 + WIDTH]; /* a vector may be read from any of the 32 elements on */
} list_rows;

FN list_rows list_rows_of(BLOCK_IN(x)) {
    list_rows r;
    float lanes[32][WIDTH];
    memcpy(lanes, x, sizeof lanes);
    for (int l = 0; l < WIDTH; l++) {
        for (int i = 0; i < 32; i++) r.lane[l][i] = lanes[i][l];
        memset(r.lane[l] + 32, 0, sizeof(float[WIDTH]));
    }
    return r;
}

/* What each element of a lane's group costs at each level: w (scale value - x)^2, in that order of operations, at
 * cost[element * levels + level]. There are 4 levels for 8 elements, 8 for 4. */
FN void list_costs(const float *x, const float *w, int levels, float scale, const float *values, float *cost) {
    INT lane;
    for (int l = 0; l < WIDTH; l++) lane[l] = l;
    for (int c = 0; c < LIST_COSTS; c += WIDTH) {
        INT place = lane + c;
#if WIDTH == 16
#define LIST_SPREAD(row, i) LOOKUP16(row, i)
#else
#define LIST_SPREAD(row, i) LOOKUP8(row, i)
#endif
        INT element = levels == 4 ? place >> 2 : place >> 3;
        REAL value = levels == 4 ? LOOKUP4(values, place & 3) : LOOKUP8(values, place & 7);
        REAL off = splat(scale) * value - LIST_SPREAD(x, element);
        REAL costs = LIST_SPREAD(w, element) * off * off;
        memcpy(cost + c, &costs, sizeof costs);
    }
}

#if WIDTH == 16
typedef __m256i list_points;
FN UINT list_widen(list_points p) { return (UINT)_mm512_cvtepu16_epi32(p); }
FN uint32_t list_bits(MASK m) { return m; }
FN float list_least(REAL v) { return _mm512_reduce_min_ps((__m512)v); }
#else
typedef __m128i list_points;
FN UINT list_widen(list_points p) { return (UINT)_mm256_cvtepu16_epi32(p); }
FN uint32_t list_bits(MASK m) { return (uint32_t)_mm256_movemask_ps((__m256)m); }
FN float list_least(REAL v) {
    __m128 a = _mm_min_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    a = _mm_min_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_min_ss(a, _mm_shuffle_ps(a, a, 1)));
}
#endif

/* The sums of the costs of a vector of points' elements, added in order. */
FN REAL list_sums(const unsigned char *points, int levels, const float *cost) {
    list_points packed;
    memcpy(&packed, points, sizeof packed);
    UINT p = list_widen(packed);
    REAL sum = splat(0.0f);
    for (int k = 0; k < LIST_COSTS / levels; k++)
        sum = sum + (levels == 4 ? LOOKUP4(cost + 4 * k, (INT)(p >> 2 * k)) : LOOKUP8(cost + 8 * k, (INT)(p >> 4 * k)));
    return sum;
}

/* Of the n points from `points` on, the first of those whose sum is least; the first of all where no sum is below the
 * largest float. A vector more than n may be read. */
FN uint32_t list_search(const unsigned char *points, uint32_t n, int levels, const float *cost) {
    const REAL most = splat(3.40282346638528859812e+38f);
    INT place, best;
    for (int l = 0; l < WIDTH; l++) place[l] = l;
    REAL sum = list_sums(points, levels, cost);
    REAL least = select_r(and_m(lt(sum, most), lt_i(place, splat_i(n))), sum, most);
    best = place;
    for (uint32_t at = WIDTH; at < n; at += WIDTH) {
        sum = list_sums(points + 2 * at, levels, cost);
        MASK nearer = and_m(lt(sum, least), lt_i(place, splat_i(n - at)));
        least = select_r(nearer, sum, least);
        best = select_i(nearer, place + splat_i(at), best);
    }
    uint32_t equal = list_bits(eq(least, splat(list_least(least))));
    uint32_t which = (uint32_t)__builtin_ctz(equal); /* all are equal where none is below the largest float */
    if (n > WIDTH) {
        int32_t numbers[WIDTH];
        memcpy(numbers, &best, sizeof numbers);
        for (which = n; equal; equal &= equal - 1) {
            uint32_t other = (uint32_t)numbers[__builtin_ctz(equal)];
            which = other < which ? other : which;
        }
    }
    uint16_t point;
    memcpy(&point, points + 2 * which, sizeof point);
    return point;
}

/* For each lane the point of its list for whose levels scale value[level] is nearest to the group x[at …], by squares
 * that w multiplies; of equally near ones the first. A lane's values are those from values[which] on. */
FN UINT list_nearest(WORDS_IN(t), UINT list, LIST_IN(x), LIST_IN(w), int at, int levels, REAL scale,
                     const float *values, INT which) {
    uint32_t lists[WIDTH], found[WIDTH];
    int32_t first[WIDTH];
    float scales[WIDTH];
    memcpy(lists, &list, sizeof lists);
    memcpy(first, &which, sizeof first);
    memcpy(scales, &scale, sizeof scales);
    for (int l = 0; l < WIDTH; l++) {
        const uint32_t *words = t + (lists[l] & 0x3ffffu);
        _Alignas(64) float cost[LIST_COSTS];
        found[l] = *words & 0xffffu;
        if (lists[l] >> 18 == 0 && *words >> 16 == found[l]) continue; /* a list of one */
        list_costs(x->lane[l] + at, w->lane[l] + at, levels, scales[l], values + first[l], cost);
        found[l] = list_search((const unsigned char *)words, 2 * ((lists[l] >> 18) + 1), levels, cost);
    }
    UINT r;
    memcpy(&r, found, sizeof r);
    return r;
}

#endif
