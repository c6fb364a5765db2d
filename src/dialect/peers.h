/* How a lane of a SIMD or scalar CPU sees the values that its block's lanes share: they lie in memory, value k of a
 * tile's lane l at 32 k + l. A block with more lanes than a vector is read by broadcast, one with fewer by a shuffle.
 */
#ifndef QDQ_DIALECT_PEERS_H
#define QDQ_DIALECT_PEERS_H

#include <string.h>

typedef struct peer_view {
    const float *values; /* value 0 of the first lane of this vector */
    int first;           /* that lane's place in its block */
    int lanes;           /* a block's */
} peer_view;

#define PEERS(s)      peer_view s
#define PEER(s, k, j) peer_value((s).values + 32 * (k), (s).first, (s).lanes, j)
#define PEER_INDEX(s) peer_index((s).first, (s).lanes)

FN INT peer_index(int first, int lanes) {
#if WIDTH == 1
    (void)lanes;
    return first;
#else
    INT own;
    for (int l = 0; l < WIDTH; l++) own[l] = (first + l) % lanes;
    return own;
#endif
}

FN REAL peer_value(const float *row, int first, int lanes, int j) {
#if WIDTH == 1
    (void)lanes;
    return row[j - first];
#else
    if (lanes >= WIDTH) {
        uint32_t bits; /* any: no arithmetic */
        memcpy(&bits, row + j - first, sizeof bits);
        return as_real(splat_u(bits));
    }
    REAL all;
    memcpy(&all, row, sizeof all);
#if WIDTH == 16
    INT own = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return (REAL)_mm512_permutexvar_ps((__m512i)((own & -lanes) + j), (__m512)all);
#elif WIDTH == 8
    INT own = {0, 1, 2, 3, 4, 5, 6, 7};
    return (REAL)_mm256_permutevar8x32_ps((__m256)all, (__m256i)((own & -lanes) + j));
#else
    REAL r;
    for (int l = 0; l < WIDTH; l++) r[l] = row[(l & -lanes) + j];
    return r;
#endif
#endif
}

#endif
