/* One format's packed blocks in one tier: the scalar dialect, which the compiler vectorizes with the tier's
 * instructions. Compiled as format_lanes.c is. */
#include "backends/cpu/format_kernels.h"
#include "dialect/scalar.h"
#include "dialect/bytes.h"
#include "dialect/peers.h"
#include FORMAT_FILE
#include "backends/cpu/tier_names.h"

static void pack(const uint8_t *codes, const uint32_t *heads, uint8_t *blocks, size_t n) {
    for (size_t i = 0; i < n; i++) F(pack)(codes + 32 * F(LANES) * i, heads + F(LANES) * i, blocks + F(BYTES) * i);
}

static void codes_of(const uint8_t *blocks, int8_t *codes, size_t n) {
    for (size_t i = 0; i < n; i++, blocks += F(BYTES))
        for (int lane = 0; lane < F(LANES); lane++, codes += 32) {
            INT c[32];
            F(codes)(blocks, lane, c);
            for (int e = 0; e < 32; e++) codes[e] = (int8_t)c[e];
        }
}

const qdq_cpu_format_bytes KERNELS(bytes) = {pack, codes_of};
