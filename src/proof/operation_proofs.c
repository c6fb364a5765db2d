#include "proof/operation_proofs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proof/reference.h"
#include "backends/quick_proof.h"
#include "base/bits.h"
#include "api/device.h"
#include "base/error.h"
#include "base/platform.h"

const char *qdq_operation_name(qdq_dialect_operation operation) {
    static const char *const names[] = {
#define X(number, upper, lower) #lower,
        QDQ_DIALECT_OPERATIONS(X)
#undef X
    };
    return operation < QDQ_DIALECT_OPERATION_COUNT ? names[operation] : "?";
}

/* ---- What is right ---- */

static bool is_nan(uint32_t u) { return (u & 0x7fffffffu) > 0x7f800000u; }

/* The NaN of an operation: the first operand that is one, quiet, else the negative one. */
static uint32_t nan_of(uint32_t a, uint32_t b) {
    return is_nan(a) ? a | 0x00400000u : is_nan(b) ? b | 0x00400000u : 0xffc00000u;
}

/* binary64 has more than twice binary32's precision and two bits, so that rounding first to the one and then to the
 * other is rounding once, for sums, products, quotients and square roots. */
static uint32_t rounded(double exact, uint32_t a, uint32_t b) {
    return isnan(exact) ? nan_of(a, b) : bits_of((float)exact);
}

static uint32_t compared(float a, float b) {
    return (uint32_t)(a > b) | (uint32_t)(a >= b) << 1 | (uint32_t)(a < b) << 2 | (uint32_t)(a <= b) << 3 |
           (uint32_t)(a == b) << 4 | (uint32_t)(a != b) << 5;
}

/* Half away from zero, for |a| < 2^22: a + 1/2 is exact in binary64. */
static uint32_t half_away(uint32_t u) {
    float a = float_of(u & 0x7fffffffu);
    if (!(a < 4194304.0f)) return u;
    return bits_of((float)(int32_t)((double)a + 0.5)) | (u & 0x80000000u);
}

/* The low 23 bits of x + 1.5 * 2^23, less 2^22. */
static uint32_t nearest(uint32_t u) {
    if (is_nan(u)) return 0;
    uint32_t sum = bits_of((float)((double)float_of(u) + 12582912.0));
    return (sum & 0x7fffffu) - 0x400000u;
}

uint32_t qdq_operation_expected(qdq_dialect_operation operation, uint32_t ua, uint32_t ub) {
    float fa = float_of(ua), fb = float_of(ub);
    double a = (double)fa, b = (double)fb;
    switch (operation) {
    case QDQ_DIV_RN: return rounded(a / b, ua, ub);
    case QDQ_SQRT_RN: return rounded(sqrt(a), ua, ua);
    case QDQ_PRODUCT:
    case QDQ_MUL_V: return rounded(a * b, ua, ub);
    case QDQ_SUM:
    case QDQ_ADD_V: return rounded(a + b, ua, ub);
    case QDQ_DIFFERENCE:
    case QDQ_SUB_V: return rounded(a - b, ua, ub);
    case QDQ_MAX_R: return fa > fb ? ua : ub;
    case QDQ_MIN_R: return fa < fb ? ua : ub;
    case QDQ_COMPARE: return compared(fa, fb);
    case QDQ_F16_ROUND: return is_nan(ua) ? 0xffc00000u : bits_of(qdq_reference_half_value(qdq_reference_half(fa)));
    case QDQ_F16_BITS: return is_nan(ua) ? 0xfe00u : qdq_reference_half(fa);
    case QDQ_F16_VALUE: return bits_of(qdq_reference_half_value((uint16_t)ua));
    case QDQ_ROUND_HALF_AWAY: return half_away(ua);
    case QDQ_NEAREST_INT: return nearest(ua);
    case QDQ_POSITIVE_ZERO: return ua == 0x80000000u ? 0 : ua;
    case QDQ_DIALECT_OPERATION_COUNT: break;
    }
    return 0;
}

bool qdq_operation_agrees(qdq_dialect_operation operation, uint32_t a, uint32_t b, uint32_t got) {
    return qdq_dialect_agrees(operation, a, b, qdq_operation_expected(operation, a, b), got);
}

/* ---- Sweeps ---- */

/* 1, -8, 15, 31, 63, 127, 1/3, -0, the smallest and the largest subnormal, the smallest and the largest number, an
 * infinity, a NaN. */
static const uint32_t others[] = {0x3f800000u, 0xc1000000u, 0x41700000u, 0x41f80000u, 0x427c0000u,
                                  0x42fe0000u, 0x3eaaaaabu, 0x80000000u, 0x00000001u, 0x807fffffu,
                                  0x00800000u, 0xff7fffffu, 0x7f800000u, 0x7fc12345u};
enum { OTHERS = sizeof others / sizeof others[0], BATCH = 1 << 16 };

static bool takes_two(qdq_dialect_operation operation) { return operation <= QDQ_COMPARE && operation != QDQ_SQRT_RN; }

/* Division is swept whole beside every other operand, since formats divide by some of them; the operations that
 * processors have of old, and that no dialect writes itself, one in 15 beside each of the 15. */
static uint64_t own_stride(qdq_dialect_operation operation, uint64_t stride) {
    if (operation == QDQ_F16_VALUE) return 1;
    return takes_two(operation) && operation != QDQ_DIV_RN ? stride * (OTHERS + 1) : stride;
}

static uint64_t patterns(qdq_dialect_operation operation, uint64_t stride) {
    uint64_t all = operation == QDQ_F16_VALUE ? (uint64_t)1 << 16 : (uint64_t)1 << 32;
    return (all + own_stride(operation, stride) - 1) / own_stride(operation, stride);
}

/* A binary operation's sweeps: a beside each of the others, then b beside 1. */
static uint64_t sweeps(qdq_dialect_operation operation) { return takes_two(operation) ? OTHERS + 1 : 1; }

uint64_t qdq_operation_pairs(qdq_dialect_operation operation, uint64_t stride) {
    return patterns(operation, stride) * sweeps(operation);
}

typedef struct sweep {
    qdq_device *device;
    qdq_dialect_operation operation;
    uint64_t stride, patterns, batches; /* batches of all sweeps */
    bool (*progress)(void *context, uint64_t elements);
    void *context;
    qdq_mutex mutex;      /* guards what follows */
    uint64_t next, first; /* batch; and that of the first difference so far */
    qdq_status status;
    char message[256];
    qdq_operation_verdict *verdict;
} sweep;

static void fill(const sweep *s, uint64_t batch, uint32_t *a, uint32_t *b, size_t *n) {
    uint64_t a_sweep = (s->patterns + BATCH - 1) / BATCH, turn = batch / a_sweep, first = batch % a_sweep * BATCH;
    *n = s->patterns - first < BATCH ? (size_t)(s->patterns - first) : BATCH;
    for (size_t i = 0; i < *n; i++) {
        uint32_t pattern = (uint32_t)((first + i) * s->stride);
        a[i] = turn < OTHERS ? pattern : 0x3f800000u;
        b[i] = turn < OTHERS ? others[turn] : pattern;
    }
}

static uint64_t compare_batch(sweep *s, uint64_t batch, const uint32_t *a, const uint32_t *b, const uint32_t *out,
                              size_t n) {
    uint64_t differing = 0;
    for (size_t i = 0; i < n; i++) {
        if (qdq_operation_agrees(s->operation, a[i], b[i], out[i]) || differing++ > 0) continue;
        qdq_mutex_lock(&s->mutex);
        if (batch < s->first) {
            s->first = batch;
            s->verdict->a = a[i];
            s->verdict->b = b[i];
            s->verdict->got = out[i];
            s->verdict->expected = qdq_operation_expected(s->operation, a[i], b[i]);
        }
        qdq_mutex_unlock(&s->mutex);
    }
    return differing;
}

static void *work(void *argument) {
    sweep *s = argument;
    uint32_t *arrays = malloc(3 * BATCH * sizeof *arrays), *a = arrays, *b = a + BATCH, *out = b + BATCH;
    qdq_status status = arrays ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a proof's batch");
    while (status == QDQ_OK) {
        qdq_mutex_lock(&s->mutex);
        uint64_t batch = s->status == QDQ_OK && s->verdict->differing == 0 ? s->next++ : s->batches;
        qdq_mutex_unlock(&s->mutex);
        if (batch >= s->batches) break;
        size_t n;
        fill(s, batch, a, b, &n);
        status = s->device->backend->dialect(s->device->state, s->operation, a, b, out, n);
        uint64_t differing = status == QDQ_OK ? compare_batch(s, batch, a, b, out, n) : 0;
        qdq_mutex_lock(&s->mutex);
        s->verdict->compared += n;
        s->verdict->differing += differing;
        if (s->progress && !s->progress(s->context, n)) status = qdq_fail(QDQ_CANCELLED, "cancelled");
        qdq_mutex_unlock(&s->mutex);
    }
    if (status != QDQ_OK) {
        qdq_mutex_lock(&s->mutex);
        s->status = status;
        strncpy(s->message, qdq_error_message(), sizeof s->message - 1);
        qdq_mutex_unlock(&s->mutex);
    }
    free(arrays);
    return NULL;
}

qdq_status qdq_prove_operation(qdq_device *device, qdq_dialect_operation operation, uint64_t stride, int threads,
                               bool (*progress)(void *context, uint64_t elements), void *context,
                               qdq_operation_verdict *verdict) {
    memset(verdict, 0, sizeof *verdict);
    if (!device->backend->dialect)
        return qdq_fail(QDQ_UNSUPPORTED, "%s does not offer the dialect's operations one by one",
                        device->backend->name);
    sweep s = {.device = device,
               .operation = operation,
               .stride = own_stride(operation, stride),
               .patterns = patterns(operation, stride),
               .progress = progress,
               .context = context,
               .first = UINT64_MAX,
               .verdict = verdict};
    s.batches = (s.patterns + BATCH - 1) / BATCH * sweeps(operation);
    qdq_mutex_init(&s.mutex);
    qdq_thread *thread = calloc((size_t)threads, sizeof *thread);
    int started = 0;
    for (; thread && started < threads - 1; started++)
        if (!qdq_thread_start(&thread[started], work, &s)) break;
    work(&s);
    for (int t = 0; t < started; t++) qdq_thread_join(thread[t]);
    free(thread);
    qdq_mutex_destroy(&s.mutex);
    return s.status == QDQ_OK ? QDQ_OK : qdq_fail(s.status, "%s", s.message);
}
