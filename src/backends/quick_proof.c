/* The quick proof that "auto" asks for: the dialect's operations on the numbers that devices get wrong, then whole
 * formats, bit for bit as the CPU has them. */
#include "backends/quick_proof.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/format.h"
#include "base/platform.h"
#include "dialect/scalar.h"

#include "dialect/operate.h" /* of the scalar dialect */

/* ---- The dialect ------------------------------------------------------------------------------------------------ */

uint32_t qdq_dialect_expected(qdq_dialect_operation operation, uint32_t ua, uint32_t ub) {
    return operate(operation, ua, ub);
}

static bool is_nan(uint32_t u) { return (u & 0x7fffffffu) > 0x7f800000u; }

bool qdq_dialect_agrees(qdq_dialect_operation operation, uint32_t a, uint32_t b, uint32_t expected, uint32_t got) {
    const uint32_t quiet = 0x00400000u;
    if (expected == got) return true;
    switch (operation) {
    case QDQ_PRODUCT:
    case QDQ_SUM:
    case QDQ_DIFFERENCE:
    case QDQ_DIV_RN:
    case QDQ_SQRT_RN:
    case QDQ_POSITIVE_ZERO: return is_nan(expected) && is_nan(got);
    case QDQ_MUL_V:
    case QDQ_ADD_V:
    case QDQ_SUB_V: return is_nan(a) && is_nan(b) && (got == (a | quiet) || got == (b | quiet));
    default: return false;
    }
}

enum { SPECIALS = 96, PAIRS = SPECIALS * SPECIALS, RANDOMS = 1 << 15, VALUES = PAIRS + RANDOMS };

static uint32_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* Zeros, the ends of the subnormals and of the normals, whole and half numbers, powers of two and their neighbours,
 * the edges of binary16, infinities and NaNs; of both signs. */
static void make_specials(uint32_t specials[SPECIALS]) {
    static const uint32_t positive[] = {
        0x00000000, 0x00000001, 0x00000002, 0x003fffff, 0x00400000, 0x007fffff, 0x00800000, 0x00800001,
        0x00ffffff, 0x01000000, 0x017fffff, 0x0c7fffff, 0x20000000, 0x32ffffff, 0x33000000, 0x33000001,
        0x33800000, 0x387fc000, 0x387fe000, 0x387fffff, 0x38800000, 0x38800fff, 0x38801000, 0x3eaaaaab,
        0x3effffff, 0x3f000000, 0x3f000001, 0x3f7fffff, 0x3f800000, 0x3f800001, 0x3fc00000, 0x40200000,
        0x40490fdb, 0x42fe0000, 0x42ff0000, 0x43000000, 0x477fdfff, 0x477fe000, 0x477fefff, 0x477ff000,
        0x4afffffe, 0x4b000000, 0x5f000000, 0x7e967699, 0x7f000000, 0x7f7fffff, 0x7f800000, 0x7fc00000};
    _Static_assert(sizeof positive / sizeof positive[0] * 2 == SPECIALS, "each with both signs");
    for (size_t i = 0; i < SPECIALS / 2; i++) {
        specials[2 * i] = positive[i];
        specials[2 * i + 1] = positive[i] | 0x80000000u;
    }
}

static bool prove_dialect(const qdq_backend *backend, void *device) {
    uint32_t specials[SPECIALS], *a = malloc(3 * VALUES * sizeof *a);
    if (!a) return false;
    uint32_t *b = a + VALUES, *out = b + VALUES;
    uint64_t seed = 1;
    make_specials(specials);
    for (size_t i = 0; i < VALUES; i++) {
        a[i] = i < PAIRS ? specials[i / SPECIALS] : next_random(&seed);
        b[i] = i < PAIRS ? specials[i % SPECIALS] : next_random(&seed);
    }
    bool good = true;
    for (int o = 0; o < QDQ_DIALECT_OPERATION_COUNT && good; o++) {
        good = backend->dialect(device, (qdq_dialect_operation)o, a, b, out, VALUES) == QDQ_OK;
        for (size_t i = 0; i < VALUES && good; i++)
            good = qdq_dialect_agrees((qdq_dialect_operation)o, a[i], b[i],
                                      qdq_dialect_expected((qdq_dialect_operation)o, a[i], b[i]), out[i]);
    }
    free(a);
    return good;
}

/* ---- Formats ----------------------------------------------------------------------------------------------------- */

enum { ELEMENTS = 32 * QDQ_TILE };

/* Blocks at every scale, subnormal and overflowing ones included, with ties, zeros of both signs and half-way cases. */
static void make_blocks(float *x) {
    uint64_t seed = 2;
    for (size_t i = 0; i < ELEMENTS; i++) {
        uint32_t r = next_random(&seed);
        int scale = (int)(i / 32 % 280) - 150;
        float v = (float)((int32_t)r >> 8) * 0x1p-23f;
        switch (i / QDQ_TILE % 4) {
        case 1: v = (float)((int32_t)(r >> 8) % 17 - 8) * 0.125f; break;
        case 2: v = (float)((int32_t)(r >> 8) % 255 - 127) * 0.5f; break;
        case 3: v = r % 8 ? v : (r & 8 ? 0.0f : -0.0f); break;
        }
        x[i] = ldexpf(v, scale);
    }
}

/* What one backend makes of x; quantized blocks, both ways to floats, and sums. */
typedef struct results {
    float roundtrip[ELEMENTS], dequantized[ELEMENTS];
    unsigned char blocks[ELEMENTS * 4];
    qdq_error_sums error;
    qdq_sensitivity_sums scores;
} results;

static bool run_backend(const qdq_backend *backend, void *device, qdq_format format, const float *x, results *r) {
    uint64_t bytes = qdq_format_bytes(format, ELEMENTS);
    void *memory[4] = {0};
    const uint64_t sizes[4] = {ELEMENTS * 4, bytes, ELEMENTS * 4, ELEMENTS * 4};
    memset(r, 0, sizeof *r);
    bool good = true;
    for (int i = 0; i < 4 && good; i++) good = backend->alloc(device, sizes[i], &memory[i]) == QDQ_OK;
    qdq_span in = {.memory = memory[0], .dtype = QDQ_F32}, blocks = {.memory = memory[1], .dtype = QDQ_U8},
             out = {.memory = memory[2], .dtype = QDQ_F32}, again = {.memory = memory[3], .dtype = QDQ_F32};
    const qdq_op ops[] = {
        {.kind = QDQ_OP_ROUNDTRIP, .n_formats = 1, .format = {format}, .input = in, .output = out},
        {.kind = QDQ_OP_QUANTIZE, .n_formats = 1, .format = {format}, .input = in, .output = blocks},
        {.kind = QDQ_OP_DEQUANTIZE, .n_formats = 1, .format = {format}, .input = blocks, .output = again},
        {.kind = QDQ_OP_ERROR, .n_formats = 1, .format = {format}, .input = in, .error = &r->error},
        {.kind = QDQ_OP_SENSITIVITY,
         .n_formats = 1,
         .format = {format},
         .high = {QDQ_FORMAT_SOURCE},
         .input = in,
         .gradient = in,
         .sensitivity = &r->scores}};
    enum { N_OPS = sizeof ops / sizeof ops[0] };
    qdq_op sized[N_OPS];
    for (int i = 0; i < N_OPS; i++) {
        sized[i] = ops[i];
        sized[i].count = sized[i].row = ELEMENTS;
    }
    void *ticket;
    good = good && backend->write(device, memory[0], 0, x, ELEMENTS * 4) == QDQ_OK &&
           backend->submit(device, (qdq_queue){0}, sized, N_OPS, &ticket) == QDQ_OK &&
           backend->wait(device, ticket) == QDQ_OK && backend->read(device, memory[1], 0, r->blocks, bytes) == QDQ_OK &&
           backend->read(device, memory[2], 0, r->roundtrip, ELEMENTS * 4) == QDQ_OK &&
           backend->read(device, memory[3], 0, r->dequantized, ELEMENTS * 4) == QDQ_OK;
    for (int i = 0; i < 4; i++)
        if (memory[i]) backend->free(device, memory[i]);
    return good;
}

static bool prove_formats(const qdq_backend *backend, void *device) {
    float *x = malloc(ELEMENTS * sizeof *x);
    results *here = malloc(sizeof *here), *there = malloc(sizeof *there);
    void *cpu = NULL;
    bool good = x && here && there && qdq_cpu_backend.open(0, 1, &cpu) == QDQ_OK;
    if (good) make_blocks(x);
    for (qdq_format f = 0; f < qdq_format_count() && good; f++)
        if (qdq_format_get(f)->light) /* quickly built, and with all operations that devices get wrong */
            good = run_backend(&qdq_cpu_backend, cpu, f, x, here) && run_backend(backend, device, f, x, there) &&
                   memcmp(here, there, sizeof *here) == 0;
    if (cpu) qdq_cpu_backend.close(cpu);
    free(x);
    free(here);
    free(there);
    return good;
}

static bool prove(const qdq_backend *backend, uint32_t index) {
    void *device;
    if (backend->open(index, 0, &device) != QDQ_OK) return false;
    bool good = prove_dialect(backend, device) && prove_formats(backend, device);
    backend->close(device);
    return good;
}

bool qdq_backend_proved(const qdq_backend *backend, uint32_t index) {
    enum { MOST = 64, UNKNOWN = 0, GOOD, BAD };
    static qdq_mutex mutex = QDQ_MUTEX_INIT;
    static struct {
        const qdq_backend *backend;
        uint32_t index;
        int proof;
    } known[MOST];
    qdq_mutex_lock(&mutex);
    int i = 0;
    while (i < MOST - 1 && known[i].backend && (known[i].backend != backend || known[i].index != index)) i++;
    if (known[i].backend != backend || known[i].index != index) known[i].proof = UNKNOWN;
    known[i].backend = backend;
    known[i].index = index;
    if (known[i].proof == UNKNOWN) known[i].proof = prove(backend, index) ? GOOD : BAD;
    bool good = known[i].proof == GOOD;
    qdq_mutex_unlock(&mutex);
    return good;
}
