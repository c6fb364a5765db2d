#include "qdq.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "backends/cpu/cpu_kernels.h"

/* Bit 32: the mask was set or read from the environment. */
static _Atomic uint64_t state;
#define KNOWN ((uint64_t)1 << 32)

uint32_t qdq_cpu_mask_in_force(void) {
    uint64_t now = atomic_load(&state);
    if (now & KNOWN) return (uint32_t)now;
    uint32_t mask = UINT32_MAX;
    const char *text = getenv("QDQ_CPU_MASK");
    if (text && *text) {
        char *end;
        unsigned long value = strtoul(text, &end, 0);
        if (*end == '\0') mask = (uint32_t)value | 1;
    }
    uint64_t unknown = 0;
    atomic_compare_exchange_strong(&state, &unknown, KNOWN | mask);
    return (uint32_t)atomic_load(&state);
}

uint32_t qdq_cpu_mask(uint32_t mask) {
    atomic_store(&state, KNOWN | mask | 1);
    return mask | 1;
}

const char *qdq_cpu_tier(void) { return qdq_cpu_best_tier(qdq_cpu_mask_in_force())->name; }
