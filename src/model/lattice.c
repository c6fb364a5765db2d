#include "model/lattice.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/source.h"
#include "model/decoding.h"
#include "model/pass.h"

/* From few levels to many: each group that is on a grid of integers is on the next of these. */
static const struct {
    const char *name, *meaning;
    uint32_t group;
    uint32_t most; /* integers: 1 … most, and no less than -most; 0: floats */
    bool power;    /* the scale is a power of two */
    bool bytes;    /* E4M3; else E2M1 */
} lattices[] = {
    {"binary", "one magnitude, as q1_0 has it", 32, 1, false, false},
    {"ternary", "-1, 0 and 1 times a scale, as tq1_0 and tq2_0 have it", 32, 1, false, false},
    {"int2", "-2 to 1 times a scale", 32, 2, false, false},
    {"int3", "-4 to 3 times a scale", 32, 4, false, false},
    {"mxfp4", "E2M1 times a power of two, as mxfp4 has it", 32, 0, true, false},
    {"int4", "-8 to 7 times a scale, as q4_0 has it", 32, 8, false, false},
    {"nvfp4", "E2M1 times a scale, as nvfp4 has it", 16, 0, false, false},
    {"fp8", "E4M3 times a scale, as FP8 checkpoints have it", 128, 0, false, true},
};
enum { N_LATTICES = sizeof lattices / sizeof *lattices, BINARY = 0, TURN_ROWS = 16 };
_Static_assert((int)N_LATTICES <= (int)QDQ_LATTICES, "the public struct has room for all");

const char *qdq_lattice_name(uint32_t lattice, const char **meaning, uint32_t *group) {
    if (lattice >= N_LATTICES) return NULL;
    if (meaning != NULL) *meaning = lattices[lattice].meaning;
    if (group != NULL) *group = lattices[lattice].group;
    return lattices[lattice].name;
}

/* ---- One group --------------------------------------------------------------------------------------------------- */

/* Numbers here are floats and their ratios: as doubles they are normal, and their exponents stand in their bits. */
static int exponent_of(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (int)(bits >> 52 & 0x7ff) - 1023;
}

static double power_of_two(int exponent) {
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* To the nearest whole number, of two the even one: what is added leaves no bit for more. */
static double whole(double x) { return x + 0x1.8p52 - 0x1.8p52; }

/* Half the distance between neighbours where x > 0 is, in that type: what rounding may have moved it by. */
static double half_step(double x, qdq_dtype dtype) {
    int digits = dtype == QDQ_F32 ? 24 : dtype == QDQ_F16 ? 11 : 8, smallest = dtype == QDQ_F16 ? -24 : -149;
    int step = exponent_of(x) + 1 - digits;
    return power_of_two((step > smallest ? step : smallest) - 1);
}

/* The level next to x > 0: of whole numbers, of E2M1, of E4M3 with 480 as what its largest exponent has. */
static double nearest_level(uint32_t lattice, double x) {
    if (lattices[lattice].most > 0) return x < lattices[lattice].most ? whole(x) : lattices[lattice].most;
    int digits = lattices[lattice].bytes ? 4 : 2, smallest = lattices[lattice].bytes ? -9 : -1;
    int step = exponent_of(x) + 1 - digits;
    if (step < smallest) step = smallest;
    return whole(x * power_of_two(-step)) * power_of_two(step);
}

/* Levels that the largest weight may be: with those, all of the grid's others are within reach. Of E4M3 a scale that is
 * half as large has every level of this one, so only the largest exponent counts. */
static uint32_t tops_of(uint32_t lattice, double tops[8]) {
    static const double fours[] = {6, 4, 3, 2, 1.5, 1, 0.5};
    uint32_t n = 0, most = lattices[lattice].most;
    if (most > 0)
        for (; n < most; n++) tops[n] = most - n;
    else if (lattices[lattice].bytes)
        for (; n < 8; n++) tops[n] = n < 7 ? 256 + 32 * n : 240;
    else
        for (; n < 7; n++) tops[n] = fours[n];
    return n;
}

static bool fits(uint32_t lattice, const float *w, uint32_t n, qdq_dtype dtype, double largest, double top) {
    double step = largest / top, low = 0, high = INFINITY;
    bool above = false, below = false;
    for (uint32_t i = 0; i < n; i++) {
        double x = fabs((double)w[i]), level = x == 0 ? 0 : nearest_level(lattice, x / step);
        if (level == 0) {
            if (x != 0 || lattice == BINARY) return false;
            continue;
        }
        double half = half_step(x, dtype);
        if ((x - half) / level > low) low = (x - half) / level;
        if ((x + half) / level < high) high = (x + half) / level;
        if (low > high) return false;
        above |= level == lattices[lattice].most && w[i] > 0;
        below |= level == lattices[lattice].most && w[i] < 0;
    }
    if (lattices[lattice].power) return step == power_of_two(exponent_of(step));
    return lattices[lattice].most < 2 || !above || !below; /* whole numbers reach one further on one side */
}

bool qdq_lattice_has(uint32_t lattice, const float *w, uint32_t n, qdq_dtype dtype) {
    double largest = 0, tops[8];
    for (uint32_t i = 0; i < n; i++) {
        if (!isfinite(w[i])) return false;
        if (fabs((double)w[i]) > largest) largest = fabs((double)w[i]);
    }
    if (largest == 0) return true;
    uint32_t n_tops = tops_of(lattice, tops);
    for (uint32_t i = 0; i < n_tops; i++)
        if (fits(lattice, w, n, dtype, largest, tops[i])) return true;
    return false;
}

/* ---- Tensors ----------------------------------------------------------------------------------------------------- */

typedef struct search {
    const qdq_tensor *tensor;
    uint64_t row, rows;
    _Atomic uint64_t on[N_LATTICES], groups[N_LATTICES];
    atomic_bool no_memory;
} search;

/* The groups of a row on a grid. */
static void look(search *s, uint32_t lattice, const float *w) {
    uint32_t group = lattices[lattice].group;
    uint64_t on = 0, groups = 0;
    for (uint64_t at = 0; at < s->row; at += group, groups++) {
        uint32_t n = s->row - at < group ? (uint32_t)(s->row - at) : group;
        on += qdq_lattice_has(lattice, w + at, n, s->tensor->dtype);
    }
    atomic_fetch_add(&s->groups[lattice], groups);
    atomic_fetch_add(&s->on[lattice], on);
}

static void look_turn(void *context, uint64_t turn) {
    search *s = context;
    const qdq_source *source = qdq_source_get(s->tensor->dtype);
    unsigned char *elements = malloc((size_t)s->row * source->bytes);
    float *w = malloc((size_t)s->row * sizeof *w);
    if (elements == NULL || w == NULL) atomic_store(&s->no_memory, true);
    uint64_t end = (turn + 1) * TURN_ROWS < s->rows ? (turn + 1) * TURN_ROWS : s->rows;
    for (uint64_t row = turn * TURN_ROWS; row < end && elements != NULL && w != NULL; row++) {
        qdq_decode(NULL, s->tensor, row * s->row, s->row, elements);
        qdq_source_load(source, elements, w, s->row);
        for (uint32_t l = 0; l < N_LATTICES; l++) look(s, l, w);
    }
    free(elements);
    free(w);
}

qdq_status qdq_pass_lattice(qdq_pass *pass, const qdq_selection *selection, uint64_t index,
                            qdq_lattice_counts *counts) {
    qdq_fit fit = {.size = sizeof fit};
    if (pass == NULL || counts == NULL || counts->size == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_pass_lattice: a NULL argument, or counts->size is 0");
    qdq_status status = qdq_selection_fit(selection, index, QDQ_FORMAT_NONE, &fit);
    if (status != QDQ_OK) return status;
    const qdq_tensor *t = qdq_model_tensor(qdq_selection_model(selection), index);
    if (fit.reason != QDQ_FIT_TAKEN)
        return qdq_fail(QDQ_UNSUPPORTED, "tensor \"%s\": %s", qdq_printable(t->name, (char[256]){0}, 256), fit.text);
    search s = {.tensor = t, .row = t->shape[t->n_dims - 1]};
    s.rows = t->elements / s.row;
    qdq_pool_run(qdq_pass_pool(pass), s.rows / TURN_ROWS + (s.rows % TURN_ROWS != 0), look_turn, &s);
    if (atomic_load(&s.no_memory))
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for rows of %llu weights", (unsigned long long)s.row);
    qdq_lattice_counts all = {.size = counts->size, .lattice = UINT32_MAX};
    for (uint32_t l = N_LATTICES; l-- > 0;) {
        all.groups[l] = atomic_load(&s.groups[l]);
        all.on[l] = atomic_load(&s.on[l]);
        if (all.on[l] == all.groups[l]) all.lattice = l;
    }
    memcpy(counts, &all, all.size < sizeof all ? all.size : sizeof all);
    return qdq_pass_advance(pass, t->bytes);
}
