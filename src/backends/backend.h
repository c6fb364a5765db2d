/* What a backend gives the core: devices, memory, and a way to run recorded operations. The core has checked every
 * argument before a backend sees it. */
#ifndef QDQ_BACKENDS_BACKEND_H
#define QDQ_BACKENDS_BACKEND_H

#include <stdbool.h>

#include "base/limits.h"
#include "dialect/operations.h"
#include "qdq.h"

typedef enum qdq_op_kind {
    QDQ_OP_ROUNDTRIP,
    QDQ_OP_QUANTIZE,
    QDQ_OP_DEQUANTIZE,
    QDQ_OP_ERROR,
    QDQ_OP_SENSITIVITY
} qdq_op_kind;

/* Part of a backend's memory: `memory` is what alloc or wrap gave, offset in bytes (any). NULL memory: not given. */
typedef struct qdq_span {
    void *memory;
    uint64_t offset;
    qdq_dtype dtype;
    uint64_t columns, pitch; /* rows of so many elements, one begun every `pitch`; 0, 0: all lie side by side */
} qdq_span;

enum { QDQ_MAX_OP_FORMATS = QDQ_MAX_FORMATS };

typedef struct qdq_op {
    qdq_op_kind kind;
    uint64_t count; /* elements */
    uint64_t row;   /* elements a row; divides count */
    uint32_t n_formats;
    qdq_format format[QDQ_MAX_OP_FORMATS];
    qdq_format high[QDQ_MAX_OP_FORMATS]; /* sensitivity: what each format is held against, or QDQ_FORMAT_SOURCE */
    qdq_span input;                      /* of dequantize: the blocks */
    qdq_span output;                     /* of quantize: the blocks */
    qdq_span gradient;
    qdq_span importance; /* f32, row elements */
    /* Where the sums of an error go, when the operation is waited for: n_formats of these, or else of those, which lie
     * totals_size bytes apart. */
    qdq_error_sums *error;
    qdq_error_totals *totals;
    size_t totals_size;
    qdq_sensitivity_sums *sensitivity; /* likewise */
    /* Where sums of tiles are kept, not added: of each format those of all tiles, in order. NULL: nowhere. */
    void *kept;
} qdq_op;

/* Where work is put: the device's own queue, or a stream that the caller owns. */
typedef struct qdq_queue {
    bool is_callers;
    void *stream;
} qdq_queue;

/* Brings n bytes, from byte `at` on of what is read. */
typedef qdq_status qdq_reader(void *context, uint64_t at, void *to, size_t n);

typedef struct qdq_backend {
    const char *name;
    bool takes_sources;                  /* as formats */
    uint32_t (*count)(void);             /* devices; 0 when the backend is absent */
    bool (*recommended)(uint32_t index); /* may "auto" take it? NULL: yes */
    /* Fills info for device index; for index 0 of an absent backend, says what is missing (available = 0). */
    void (*describe)(uint32_t index, qdq_device_info *info);
    qdq_status (*open)(uint32_t index, int threads, void **device);
    void (*close)(void *device);
    void (*describe_open)(const void *device, qdq_device_info *info);
    qdq_status (*alloc)(void *device, uint64_t bytes, void **memory); /* zeroed */
    qdq_status (*wrap)(void *device, void *owned_by_caller, uint64_t bytes, void **memory);
    void (*free)(void *device, void *memory);
    void *(*host)(void *memory); /* NULL where the host cannot see it */
    /* Where the memory begins among all that the device sees, so that two that share bytes can be told. NULL: none can.
     */
    uint64_t (*address)(const void *memory);
    qdq_status (*write)(void *device, void *memory, uint64_t offset, const void *from, uint64_t bytes);
    qdq_status (*read)(void *device, void *memory, uint64_t offset, void *to, uint64_t bytes);
    /* Builds the kernels that the operation needs. Counts may be unset, and spans but for their dtypes;
     * importance.memory is not NULL if there is an importance matrix. QDQ_UNSUPPORTED where there is none. */
    qdq_status (*build)(void *device, const qdq_op *op);
    /* Runs the operations in order. ops live until wait. A failed submit is not waited for. Operations without sums are
     * all in the queue at return. */
    qdq_status (*submit)(void *device, qdq_queue queue, const qdq_op *ops, size_t n, void **ticket);
    qdq_status (*wait)(void *device, void *ticket);

    /* What only some backends have; NULL where not. */

    /* From now on codes are chosen by ggml's searches of 2026-08 (formats/earlier.def). Before any work. */
    qdq_status (*search_as_earlier)(void *device);

    /* Would wait return at once? NULL: work is done at submission. */
    bool (*is_done)(void *device, void *ticket);
    /* Whether operations can be put on this stream of the caller's. */
    qdq_status (*check_stream)(void *device, void *stream);
    /* As write, of what read brings, piece by piece, from several threads at once. */
    qdq_status (*fill)(void *device, void *memory, uint64_t offset, uint64_t bytes, qdq_reader *read, void *context);
    /* As open, but the work is put on a stream that the caller owns. */
    qdq_status (*open_stream)(uint32_t index, void *stream, void **device);
    /* Runs the operations in order, once and then `repeats` times, one time after another, and gives the seconds that
     * each of these took by the device's own clock. Kernels are built before; sums are not added to. */
    qdq_status (*time_ops)(void *device, const qdq_op *ops, size_t n, uint32_t repeats, double *seconds);
    /* The same of copying bytes between two of the device's memories. */
    qdq_status (*time_copy)(void *device, void *to, void *from, uint64_t bytes, uint32_t repeats, double *seconds);
    /* out[i] = the operation on a[i] and b[i], as bits, on the device, for proofs. n from 1 to 2^24. */
    qdq_status (*dialect)(void *device, qdq_dialect_operation operation, const uint32_t *a, const uint32_t *b,
                          uint32_t *out, size_t n);
} qdq_backend;

extern const qdq_backend qdq_cpu_backend, qdq_cuda_backend, qdq_metal_backend, qdq_vulkan_backend;

/* In order: the tile's sums added in binary64. A NaN sum becomes the one quiet NaN, whatever the device made of it. */
typedef struct qdq_tile_error {
    float err2, ww, qq, max_abs;
} qdq_tile_error;
typedef struct qdq_tile_sensitivity {
    float signed_sum, absolute, squared;
} qdq_tile_sensitivity;
/* To the sums of the operation's format number f. */
void qdq_add_tile_errors(const qdq_op *op, uint32_t f, const qdq_tile_error *tiles, uint64_t n);
void qdq_add_tile_sensitivities(const qdq_op *op, uint32_t f, const qdq_tile_sensitivity *tiles, uint64_t n);
/* Once all tiles are added: the elements are counted. */
void qdq_finish_sums(const qdq_op *op);
/* Bytes that `kept` needs; 0: the operation has no sums. And what was kept is added now; not for op->kept NULL. */
uint64_t qdq_kept_bytes(const qdq_op *op);
void qdq_add_kept_sums(const qdq_op *op);

#endif
