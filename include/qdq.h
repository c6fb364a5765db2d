/* qdq: what quantization to GGUF formats does to a model's weights, bit for bit.
 *
 * The library turns arrays of floats into quantized blocks and back, on CPUs and GPUs, with the bytes that ggml's
 * reference code gives when it is evaluated as IEEE-754 binary32 without contraction (docs/exactness.md).
 *
 * Plain calls, on host arrays, on the CPU:
 *
 *     float x[64] = {...}, y[64];
 *     if (qdq_roundtrip(qdq_format_by_name("q4_0"), x, y, 64) != QDQ_OK) puts(qdq_error_message());
 *
 * Devices, buffers and encoders, for many dispatches on any device:
 *
 *     qdq_device *dev; qdq_buffer *in, *out; qdq_encoder *enc;
 *     qdq_device_open("auto", &dev);
 *     qdq_buffer_create(dev, QDQ_F32, 1, (uint64_t[]){n}, &in);
 *     qdq_buffer_create(dev, QDQ_F32, 1, (uint64_t[]){n}, &out);
 *     qdq_buffer_write(in, 0, x, n * 4);
 *     qdq_encoder_create(dev, &enc);
 *     qdq_encode_roundtrip(enc, qdq_format_by_name("q4_0"), in, out, NULL);
 *     qdq_encoder_commit(enc); qdq_encoder_wait(enc);
 *     qdq_buffer_read(out, 0, y, n * 4);
 *
 * Conventions. Every call that can fail returns a qdq_status; no call aborts, exits or prints. After a failure
 * qdq_error_message() tells this thread what was wrong, with the numbers. A NULL that no line allows is
 * QDQ_INVALID_ARGUMENT, and a call that fails sets the handle it would have given to NULL. Counts are in elements and
 * sizes in bytes, both 64-bit; sizes that do not fit 64 bits are refused. Structs that may grow begin with their size:
 * set it to sizeof the struct; only that many bytes are read or written, so that programs and libraries of different
 * ages fit together. Handles are opaque.
 *
 * Threads. Every call may be made from any thread. Devices may be used from several threads at once; a buffer or an
 * encoder by one thread at a time, except that any number of encoders may read one buffer. What is freed must not be in
 * use elsewhere.
 *
 * Processes. A child of fork may use the plain calls and CPU devices, its parent's too, whatever other threads of the
 * parent were doing: what they had under way is not done in the child. GPUs' drivers do not live through a fork: open
 * GPU devices in the child, in a process that has opened none before.
 *
 * Algorithms. Each format's is ggml's, at the revision that tests/data/README.md names: ggml_quantize_chunk and
 * dequantize_row_* of ggml-quants.c; src/formats/NAME.h cites the function that it follows. The sensitivity is the
 * gradient-Taylor score of mlx-lm's dynamic_quant.py.
 */
#ifndef QDQ_H
#define QDQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define QDQ_API
#else
#define QDQ_API __attribute__((visibility("default")))
#endif

#define QDQ_VERSION_MAJOR 0
#define QDQ_VERSION_MINOR 1
#define QDQ_VERSION_PATCH 0

/* "0.1.0": the version of the library that is running, which may be newer than this header. */
QDQ_API const char *qdq_version(void);

/* ---- Errors ---------------------------------------------------------------------------------------------------- */

typedef enum qdq_status {
    QDQ_OK = 0,
    QDQ_INVALID_ARGUMENT = 1, /* the call is wrong: a count, a dtype, a handle */
    QDQ_UNSUPPORTED = 2,      /* a right call that this build or device has no kernel for */
    QDQ_OUT_OF_MEMORY = 3,    /* host or device memory */
    QDQ_DEVICE_ERROR = 4,     /* no such device, a driver's failure, a lost device */
    QDQ_IO_ERROR = 5,         /* a file could not be read or written */
    QDQ_BAD_DATA = 6,         /* a file was read but is not what it claims to be */
    QDQ_CANCELLED = 7         /* a callback of the caller's wanted no more */
} qdq_status;

/* "invalid argument", "out of memory", …; "unknown status" for values outside the enum. Never NULL, never freed. */
QDQ_API const char *qdq_status_name(qdq_status status);

/* What the last failed call of this thread found wrong, at most 1,023 bytes of UTF-8; "" before the first failure.
 * Valid until this thread's next failure; calls that succeed leave it alone. */
QDQ_API const char *qdq_error_message(void);

/* Sets this thread's message, as printf does, and returns status: for callbacks that fail, and for programs that tell
 * their own failures in the same way. Cut to 1,023 bytes, between characters; what is no UTF-8 becomes question marks.
 */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
QDQ_API qdq_status
qdq_fail(qdq_status status, const char *format, ...);

/* ---- Element types --------------------------------------------------------------------------------------------- */

typedef enum qdq_dtype {
    QDQ_F32 = 0,
    QDQ_F16 = 1,  /* IEEE binary16 */
    QDQ_BF16 = 2, /* the upper half of a binary32 */
    QDQ_U8 = 3    /* packed blocks, as bytes */
} qdq_dtype;

QDQ_API const char *qdq_dtype_name(qdq_dtype dtype); /* "f32"; "?" for values outside the enum */
QDQ_API size_t qdq_dtype_size(qdq_dtype dtype);      /* bytes an element; 0 for values outside the enum */

/* ---- Formats --------------------------------------------------------------------------------------------------- */

/* A format is a small number, valid for this process and not to be stored: a name or ggml type is. Formats are
 * 0 … qdq_format_count() - 1. Those whose blocks have one element (f32, f16, bf16) are conversions, to nearest, ties to
 * even; only CPU devices take them. */
typedef int32_t qdq_format;
#define QDQ_FORMAT_NONE   (-1)
/* Where a `high` format is asked for: the weights themselves, unquantized. */
#define QDQ_FORMAT_SOURCE (-2)

/* What an importance matrix is to a format. */
typedef enum qdq_importance_use {
    QDQ_IMPORTANCE_UNUSED = 0, /* it changes nothing */
    QDQ_IMPORTANCE_USED = 1,   /* the fit takes it where it is given */
    QDQ_IMPORTANCE_NEEDED = 2  /* there is no fit without one */
} qdq_importance_use;

typedef struct qdq_format_info {
    size_t size;             /* sizeof(qdq_format_info), set by the caller */
    const char *name;        /* ggml's: "q4_0", "q4_K" */
    uint32_t ggml_type;      /* the id in a GGUF tensor header */
    uint32_t block_elements; /* elements a block; a row's length must be a multiple of it */
    uint32_t block_bytes;    /* bytes a packed block */
    uint32_t importance;     /* a qdq_importance_use */
    uint32_t ggml_file_type; /* general.file_type of a file that is mostly this format */
} qdq_format_info;

QDQ_API int32_t qdq_format_count(void);
/* The format of that name, in any case; QDQ_FORMAT_NONE when there is none, or name is NULL. */
QDQ_API qdq_format qdq_format_by_name(const char *name);
/* The format with that ggml type id; QDQ_FORMAT_NONE when there is none. */
QDQ_API qdq_format qdq_format_by_ggml_type(uint32_t ggml_type);
/* Fills the first info->size bytes; info->name lives as long as the library. QDQ_INVALID_ARGUMENT: no such format, a
 * NULL, or info->size is 0. */
QDQ_API qdq_status qdq_format_describe(qdq_format format, qdq_format_info *info);
/* Bytes of `elements` packed elements; 0 when elements is no multiple of the block, the format does not exist or the
 * size does not fit 64 bits. */
QDQ_API uint64_t qdq_format_bytes(qdq_format format, uint64_t elements);

/* ---- Statistics ------------------------------------------------------------------------------------------------ */

/* Sums are taken over tiles of 1,024 consecutive elements, counted from the tensor's first: a fixed tree in binary32
 * inside a tile, the tiles in order in binary64. They come out bit for bit the same on every device, at any number of
 * threads and however a tensor is cut into calls, if every cut is at a multiple of QDQ_TILE elements. */
#define QDQ_TILE 1024

/* What one format does to a tensor. `w` is the weight, `q` its round trip, `m` the column's importance (1 without). */
typedef struct qdq_error_sums {
    double err2;     /* sum m (w - q)^2 */
    double ww;       /* sum m w^2 */
    double qq;       /* sum m q^2 */
    float max_abs;   /* max |w - q|, unweighted */
    uint32_t unused; /* 0 */
    uint64_t count;  /* elements summed */
} qdq_error_sums;

/* The gradient-Taylor scores of one tensor. D = low - high, g the gradient. */
typedef struct qdq_sensitivity_sums {
    double signed_sum; /* sum g D, mlx-lm's score (before it is divided by a million parameters) */
    double absolute;   /* sum |g D| */
    double squared;    /* sum (g D)^2 */
    uint64_t count;    /* elements summed */
} qdq_sensitivity_sums;

/* qdq_error_sums, and what has come since: the header's way of growing. In an array the first one's size is all's, and
 * how far apart they lie. */
typedef struct qdq_error_totals {
    size_t size; /* sizeof(qdq_error_totals), set by the caller; the rest is zeroed before the first use */
    qdq_error_sums sums;
    uint64_t tiles;            /* tiles summed; they are numbered from 0 over all calls */
    uint64_t non_finite_tiles; /* of these, where err2, ww or qq is NaN or infinite */
    uint64_t worst_tile;       /* the number of the tile with the largest finite err2, the first of equals */
    double worst_err2;         /* that err2; 0: the round trip is exact wherever it is finite */
} qdq_error_totals;

typedef struct qdq_error_stats {
    size_t size;          /* sizeof(qdq_error_stats), set by the caller */
    double rmse;          /* sqrt(err2 / count); with weights, divided by their number all the same */
    double relative_rmse; /* sqrt(err2 / ww); 0 for 0 / 0 */
    double max_abs;
    double snr_db; /* 10 log10(ww / err2); +inf for an exact round trip */
    double cosine; /* of w and q: (ww + qq - err2) / (2 sqrt(ww qq)); 1 when both are 0, 0 when one is */
} qdq_error_stats;

/* The usual figures of accumulated sums, into the first stats->size bytes; of no elements 0, 0, 0, +inf and 1.
 * QDQ_INVALID_ARGUMENT: a NULL, or stats->size is 0. */
QDQ_API qdq_status qdq_error_statistics(const qdq_error_sums *sums, qdq_error_stats *stats);

/* ---- Plain calls on host arrays, on the CPU -------------------------------------------------------------------- */

/* All of them: arrays may have any alignment; n is a positive multiple of the format's block; all the machine's cores
 * are used for large arrays; the whole of n is one row. QDQ_INVALID_ARGUMENT: no such format, a NULL, n = 0 ("input
 * must have at least one element"), n no multiple ("must be divisible by block size"), a size over 64 bits, arrays that
 * overlap. QDQ_UNSUPPORTED: the format needs an importance matrix (use an encoder). QDQ_OUT_OF_MEMORY: none is left for
 * a format's codebook or a thread. A refused call writes nothing. */

/* y[i] = the value that x[i] has after quantize and dequantize. x and y: n floats; x == y is allowed, any other
 * overlap is refused. NaN and infinite elements: docs/exactness.md. */
QDQ_API qdq_status qdq_roundtrip(qdq_format format, const float *x, float *y, uint64_t n);
/* x: n floats. blocks: qdq_format_bytes(format, n) bytes, the bytes of a GGUF tensor's data. */
QDQ_API qdq_status qdq_quantize(qdq_format format, const float *x, void *blocks, uint64_t n);
/* blocks: qdq_format_bytes(format, n) bytes; y: n floats. Any bytes are decoded as ggml decodes them, NaN scales
 * included. */
QDQ_API qdq_status qdq_dequantize(qdq_format format, const void *blocks, float *y, uint64_t n);
/* Adds to *sums (zero it first) what the round trip of x, n floats, does. */
QDQ_API qdq_status qdq_error(qdq_format format, const float *x, uint64_t n, qdq_error_sums *sums);
/* Adds to *sums (zero it first) the scores of x with the gradient g, n floats each. high may be QDQ_FORMAT_SOURCE. */
QDQ_API qdq_status qdq_sensitivity(qdq_format low, qdq_format high, const float *x, const float *g, uint64_t n,
                                   qdq_sensitivity_sums *sums);

/* ---- Devices --------------------------------------------------------------------------------------------------- */

typedef struct qdq_device qdq_device;

/* name: "auto" (the first of qdq_device_list() that opens and gives the right bits), "cpu", "cuda", "cuda:N", "metal",
 * "metal:N", "vulkan", "vulkan:N"; NULL is "auto". Each open gives a handle of its own, which wants one close.
 * QDQ_INVALID_ARGUMENT: no such name; QDQ_DEVICE_ERROR: not on this machine, or the driver failed; QDQ_OUT_OF_MEMORY.
 */
QDQ_API qdq_status qdq_device_open(const char *name, qdq_device **device);

/* Revisions of the reference, ggml, by which codes are chosen. They differ in iq1_m's search alone (docs/exactness.md);
 * what blocks mean is the same. */
#define QDQ_REFERENCE         "2026-09" /* the newest */
#define QDQ_REFERENCE_EARLIER "2026-08"

typedef struct qdq_device_options {
    size_t size;        /* sizeof(qdq_device_options), set by the caller */
    int32_t threads;    /* that a CPU device uses, from 1 to 4,096; 0: one a core. Other devices ignore it */
    uint32_t on_stream; /* 1: the device puts its work on `stream` */
    /* For "cuda" and "cuda:N": a CUstream or cudaStream_t that the caller owns and keeps, NULL being the default
     * stream. Work comes in order with the caller's own there; commits do not wait, and waits are for the encoder's
     * work only. */
    void *stream;
    const char *reference; /* NULL: the newest. The earlier one is for the CPU, which "auto" takes then */
} qdq_device_options;

/* As qdq_device_open; options may be NULL. QDQ_INVALID_ARGUMENT: options->size is 0, threads out of range, the stream
 * belongs to another device, no such revision; QDQ_UNSUPPORTED: on_stream, and the device has no streams; a revision
 * that it has not. */
QDQ_API qdq_status qdq_device_open_with(const char *name, const qdq_device_options *options, qdq_device **device);
/* qdq_device_open_with, of threads alone. */
QDQ_API qdq_status qdq_device_open_threads(const char *name, int threads, qdq_device **device);
/* qdq_device_open_with, of on_stream = 1 and a stream alone. */
QDQ_API qdq_status qdq_device_open_stream(const char *name, void *stream, qdq_device **device);
/* Waits until all that qdq_encoder_submit gave to the device is done. The first failure of that work since the last
 * call, told once: QDQ_DEVICE_ERROR, QDQ_OUT_OF_MEMORY. QDQ_INVALID_ARGUMENT: a NULL. */
QDQ_API qdq_status qdq_device_synchronize(qdq_device *device);
/* NULL is allowed. Waits for what was submitted. Buffers and encoders of the device keep it alive, so they may be freed
 * after it is closed. */
QDQ_API void qdq_device_close(qdq_device *device);

typedef struct qdq_device_info {
    size_t size;           /* sizeof(qdq_device_info), set by the caller */
    char name[32];         /* "cpu", "cuda:0", "vulkan:1": opens the same device */
    char description[128]; /* "AMD EPYC 9654, 8 threads, avx512" */
    char driver[128];      /* the driver and its version; "" on a CPU */
    uint64_t memory;       /* bytes of the device's own or, if shared, of the machine's memory */
    uint32_t shared;       /* 1: host-visible without a copy */
    uint32_t available;    /* 0: description says what is missing */
    char reference[16];    /* of an open device: the reference's revision */
} qdq_device_info;

/* Fills the first info->size bytes. QDQ_INVALID_ARGUMENT: a NULL, or info->size is 0. */
QDQ_API qdq_status qdq_device_describe(const qdq_device *device, qdq_device_info *info);
/* Every device there is, backends that are absent included (available = 0), in the order in which "auto" tries them.
 * index from 0. QDQ_INVALID_ARGUMENT: past the last, a NULL, or info->size is 0. */
QDQ_API qdq_status qdq_device_list(uint32_t index, qdq_device_info *info);

/* Which CPU kernels may be used: bit 0 portable C (always on), 1 the 128-bit lanes (SSE2, NEON), 2 AVX2, 3 AVX-512;
 * the strongest that is allowed and present is taken by devices opened after the call, and by the plain calls. The
 * environment variable QDQ_CPU_MASK, a number as C writes it, sets the same before the first call; what is no number is
 * ignored. Returns the mask in force. */
QDQ_API uint32_t qdq_cpu_mask(uint32_t mask);
/* The mask in force, left as it is. */
QDQ_API uint32_t qdq_cpu_mask_in_force(void);
/* The CPU tier in force: "c", "simd128", "avx2", "avx512". */
QDQ_API const char *qdq_cpu_tier(void);

/* ---- Buffers --------------------------------------------------------------------------------------------------- */

typedef struct qdq_buffer qdq_buffer;

/* A zeroed array of the device. shape: n_dims (1 to 8) extents, slowest first; the last is the row. For packed blocks:
 * QDQ_U8 and bytes. QDQ_INVALID_ARGUMENT: no such dtype, another number of extents, an extent of 0, a size over 64
 * bits; QDQ_OUT_OF_MEMORY: the device has too little; QDQ_DEVICE_ERROR: the driver failed. */
QDQ_API qdq_status qdq_buffer_create(qdq_device *device, qdq_dtype dtype, uint32_t n_dims, const uint64_t *shape,
                                     qdq_buffer **buffer);
/* The same over memory that the caller owns and keeps alive: host memory for "cpu", a device pointer for "cuda", host
 * memory that begins a page for "metal". bytes: how much there is. QDQ_INVALID_ARGUMENT: it is too little, or begins
 * elsewhere; QDQ_UNSUPPORTED: not on this device. */
QDQ_API qdq_status qdq_buffer_wrap(qdq_device *device, qdq_dtype dtype, uint32_t n_dims, const uint64_t *shape,
                                   void *memory, uint64_t bytes, qdq_buffer **buffer);
/* As qdq_buffer_wrap, of memory that is only read, such as a file's pages: the buffer is refused as an output and by
 * qdq_buffer_write, with QDQ_INVALID_ARGUMENT. Do not write through qdq_buffer_host either. */
QDQ_API qdq_status qdq_buffer_wrap_const(qdq_device *device, qdq_dtype dtype, uint32_t n_dims, const uint64_t *shape,
                                         const void *memory, uint64_t bytes, qdq_buffer **buffer);
/* Has release(context) called, once, when nothing uses the wrapped memory any more: no buffer, no slice, no encoder.
 * The call comes from whichever thread was the last, out of the call that ended its use, and may use the library.
 * QDQ_INVALID_ARGUMENT: a NULL but for context, memory that the device made, or that has a release call already. */
QDQ_API qdq_status qdq_buffer_on_release(qdq_buffer *buffer, void (*release)(void *context), void *context);
/* `count` elements of `buffer` from element `first`, as a buffer of one dimension that shares its memory and keeps it
 * alive. Any first is allowed. QDQ_INVALID_ARGUMENT: no elements, or some past the end. */
QDQ_API qdq_status qdq_buffer_slice(qdq_buffer *buffer, uint64_t first, uint64_t count, qdq_buffer **slice);
/* `rows` rows of `columns` elements of `buffer`, the first begun at element `first` and each `pitch` elements after the
 * one before, as a buffer of two dimensions that shares its memory and keeps it alive: a part of a matrix's columns,
 * one rank's weights. Operations take it as input, gradient and output where rows are whole blocks; importance and
 * blocks lie side by side, as do what is copied or cut. Two such views that interleave count as overlapping.
 * QDQ_INVALID_ARGUMENT: no rows or columns, a pitch below columns, elements past the end, blocks, a buffer that is such
 * a view itself. */
QDQ_API qdq_status qdq_buffer_rows(qdq_buffer *buffer, uint64_t first, uint64_t rows, uint64_t columns, uint64_t pitch,
                                   qdq_buffer **view);
/* NULL is allowed. A buffer that a committed encoder still uses is freed when the encoder is done. */
QDQ_API void qdq_buffer_free(qdq_buffer *buffer);
QDQ_API qdq_dtype qdq_buffer_dtype(const qdq_buffer *buffer); /* of NULL, a value outside the enum */
QDQ_API uint64_t qdq_buffer_count(const qdq_buffer *buffer);  /* elements; of NULL, 0 */
QDQ_API uint64_t qdq_buffer_bytes(const qdq_buffer *buffer);  /* of NULL, 0 */
/* The buffer's memory as the host sees it, without a copy, valid until the buffer is freed; NULL where the device keeps
 * it to itself. */
QDQ_API void *qdq_buffer_host(qdq_buffer *buffer);
/* Copies, complete at return. They do not wait for encoders: wait for those that use the buffer first. offset and
 * bytes in bytes; no bytes are allowed, and then a NULL too. QDQ_INVALID_ARGUMENT: outside the buffer;
 * QDQ_DEVICE_ERROR: the driver failed. */
QDQ_API qdq_status qdq_buffer_write(qdq_buffer *buffer, uint64_t offset, const void *from, uint64_t bytes);
QDQ_API qdq_status qdq_buffer_read(qdq_buffer *buffer, uint64_t offset, void *to, uint64_t bytes);

/* ---- Encoders -------------------------------------------------------------------------------------------------- */

/* An encoder records dispatches; commit hands them all to the device at once; wait returns when they are done and
 * their results are in place. Between commit and wait the buffers belong to the device. After wait the encoder is
 * empty and may record again. Dispatches run in the order recorded: each sees what those before it wrote. */
typedef struct qdq_encoder qdq_encoder;

/* An empty encoder. QDQ_OUT_OF_MEMORY. */
QDQ_API qdq_status qdq_encoder_create(qdq_device *device, qdq_encoder **encoder);
/* The same, whose work goes to `stream` in place of the device's own: on "cuda", a CUstream or cudaStream_t of the
 * device's context that the caller owns and keeps, NULL being the default stream; in order with the caller's own work
 * there. Kernels are shared by all streams of a device, and up to four sets of scratch memory. Elsewhere NULL is as
 * qdq_encoder_create, and another stream QDQ_UNSUPPORTED. QDQ_INVALID_ARGUMENT: the stream belongs to another context;
 * QDQ_OUT_OF_MEMORY, QDQ_DEVICE_ERROR. */
QDQ_API qdq_status qdq_encoder_create_on(qdq_device *device, void *stream, qdq_encoder **encoder);
/* Waits first if something is committed; drops what is not. NULL is allowed. */
QDQ_API void qdq_encoder_free(qdq_encoder *encoder);
/* No dispatches are allowed. QDQ_INVALID_ARGUMENT: already committed and not waited for; otherwise what the device says
 * (QDQ_OUT_OF_MEMORY, QDQ_DEVICE_ERROR): the encoder is committed all the same, and a wait, which returns it again,
 * empties it. */
QDQ_API qdq_status qdq_encoder_commit(qdq_encoder *encoder);
/* The first failure among the dispatches: QDQ_DEVICE_ERROR, QDQ_OUT_OF_MEMORY. QDQ_INVALID_ARGUMENT: not committed. */
QDQ_API qdq_status qdq_encoder_wait(qdq_encoder *encoder);
/* Both, one after the other. */
QDQ_API qdq_status qdq_encoder_commit_and_wait(qdq_encoder *encoder);
/* qdq_encoder_wait for each of n encoders, after a failure for the others too. The first failure. n = 0 is allowed. */
QDQ_API qdq_status qdq_encoders_wait(uint32_t n, qdq_encoder *const *encoders);
/* Hands the dispatches over for good: the encoder is empty at return, and nobody waits for them but
 * qdq_device_synchronize, which also tells their failures. They run in order with all that the encoder's stream gets;
 * where a device has no streams, with all that is submitted to it. The buffers belong to the device until they are
 * done, and are kept alive: a later submit, wait or synchronize that finds the work done lets them go.
 * QDQ_INVALID_ARGUMENT: committed and not waited for, or a dispatch adds to sums, which are the host's: then the
 * encoder is as it was. Otherwise what the device says at once (QDQ_OUT_OF_MEMORY, QDQ_DEVICE_ERROR), and the encoder
 * is empty. */
QDQ_API qdq_status qdq_encoder_submit(qdq_encoder *encoder);

typedef struct qdq_options {
    size_t size; /* sizeof(qdq_options), set by the caller */
    /* One weight a column, f32: as many elements as a row has, finite and not negative; or NULL. Formats that can use
     * it (qdq_importance_use) fit with it, and error sums weigh elements by it. */
    const qdq_buffer *importance;
    /* Elements a row; 0: the input's last extent. Must be a multiple of the block and divide the element count. */
    uint64_t row;
} qdq_options;

/* Encode calls check everything that the host can know, name the kernel in the message
 * ("qdq_q4_0_f32: output element count 64 != input element count 32"), and return QDQ_INVALID_ARGUMENT for: no such
 * format; no elements; a count no multiple of the block; another device's buffer; a wrong dtype or count; an output
 * that is read-only, or whose memory something that is read shares, be it by another wrap; options->size of 0; an
 * encoder that is committed. QDQ_UNSUPPORTED: no such kernel on this device, or the format needs an importance matrix.
 * QDQ_OUT_OF_MEMORY, QDQ_DEVICE_ERROR: while a kernel was built. A call that fails records nothing. options may be
 * NULL. Inputs may be f32, f16 or bf16. The encoder keeps the buffers alive: they may be freed at once. */

/* output: f32, f16 or bf16, as many elements as input. In f32 it has ggml's values; in f16 and bf16 these, rounded once
 * more, to nearest, ties to even (docs/exactness.md). Where input and output have one dtype, both may be the same
 * memory; any other overlap is refused. */
QDQ_API qdq_status qdq_encode_roundtrip(qdq_encoder *encoder, qdq_format format, const qdq_buffer *input,
                                        qdq_buffer *output, const qdq_options *options);
/* blocks: QDQ_U8, qdq_format_bytes(format, elements) bytes. */
QDQ_API qdq_status qdq_encode_quantize(qdq_encoder *encoder, qdq_format format, const qdq_buffer *input,
                                       qdq_buffer *blocks, const qdq_options *options);
/* blocks: QDQ_U8; output: as qdq_encode_roundtrip's, as many elements as the blocks hold. */
QDQ_API qdq_status qdq_encode_dequantize(qdq_encoder *encoder, qdq_format format, const qdq_buffer *blocks,
                                         qdq_buffer *output);
/* Adds, when waited for, to sums[k] what formats[k] does to input: n_formats formats, from 1 to 64, one reading of
 * input. sums must live until then; formats is copied. */
QDQ_API qdq_status qdq_encode_error(qdq_encoder *encoder, uint32_t n_formats, const qdq_format *formats,
                                    const qdq_buffer *input, qdq_error_sums *sums, const qdq_options *options);
/* The same into totals[k], all of totals[0].size. QDQ_INVALID_ARGUMENT also: that size holds no qdq_error_sums, or is
 * no multiple of 8. */
QDQ_API qdq_status qdq_encode_errors(qdq_encoder *encoder, uint32_t n_formats, const qdq_format *formats,
                                     const qdq_buffer *input, qdq_error_totals *totals, const qdq_options *options);
/* Adds, when waited for, to *sums the scores of `input` between low and high (which may be QDQ_FORMAT_SOURCE) with
 * `gradient`, which has as many elements, f32, f16 or bf16. sums must live until then. */
QDQ_API qdq_status qdq_encode_sensitivity(qdq_encoder *encoder, qdq_format low, qdq_format high,
                                          const qdq_buffer *input, const qdq_buffer *gradient,
                                          qdq_sensitivity_sums *sums, const qdq_options *options);
/* The same to sums[k] between low[k] and high[k]: n_pairs of them, from 1 to 64, of one gradient. Formats that need no
 * search share one reading of input and gradient. */
QDQ_API qdq_status qdq_encode_sensitivities(qdq_encoder *encoder, uint32_t n_pairs, const qdq_format *low,
                                            const qdq_format *high, const qdq_buffer *input, const qdq_buffer *gradient,
                                            qdq_sensitivity_sums *sums, const qdq_options *options);

/* ---- One operation in one call --------------------------------------------------------------------------------- */

typedef enum qdq_operation {
    QDQ_OPERATION_ROUNDTRIP = 0,
    QDQ_OPERATION_QUANTIZE = 1,
    QDQ_OPERATION_DEQUANTIZE = 2,
    QDQ_OPERATION_ERROR = 3,
    QDQ_OPERATION_SENSITIVITY = 4
} qdq_operation;

/* An operation from array to array, for callers whose arrays have addresses and to whom the time of a call counts, as
 * bindings to other languages: what wraps of both, an encoder and its submit are, in one call. */
typedef struct qdq_dispatch {
    size_t size;             /* sizeof(qdq_dispatch), set by the caller */
    qdq_operation operation; /* a round trip, quantize or dequantize */
    qdq_format format;
    qdq_dtype input_dtype, output_dtype; /* packed blocks are QDQ_U8 */
    const void *input;                   /* the caller's, as qdq_buffer_wrap() takes memory; it is only read */
    void *output;
    uint64_t elements;      /* weights, not bytes of blocks */
    uint64_t row;           /* weights a row; 0: all are one */
    const void *importance; /* f32, one a column, memory like the others; NULL: none */
    void *stream;           /* as qdq_encoder_create_on() takes it */
    /* 0: the results are in place at return. 1: as qdq_encoder_submit() has it; the caller keeps the arrays until the
     * work is done. */
    uint32_t submit;
} qdq_dispatch;

/* What qdq_buffer_wrap(), qdq_encoder_create_on(), the operation's encode call and qdq_encoder_submit() return.
 * QDQ_INVALID_ARGUMENT also: dispatch->size is 0, no elements, an operation that has sums. */
QDQ_API qdq_status qdq_device_dispatch(qdq_device *device, const qdq_dispatch *dispatch);

/* ---- Kernels --------------------------------------------------------------------------------------------------- */

/* Kernels are named OP_FORMAT_DTYPE: "qdq_q4_0_f32" (round trip of an f32 input to f32), "qdq_q4_0_bf16_bf16" (of bf16
 * to bf16), "quantize_q4_0_bf16", "dequantize_q4_0_f32" (to f32), "dequantize_q4_0_bf16", "error_q4_0_f16",
 * "sensitivity_q4_0_f32" (the low format against the weights themselves, and their dtype), "sensitivity_q4_0_q8_0_f32"
 * (low, high). A device builds one on first use and keeps it. This builds it now, with and without an importance matrix
 * where the format can use one. QDQ_INVALID_ARGUMENT: no such name; QDQ_UNSUPPORTED: not on this device;
 * QDQ_OUT_OF_MEMORY, QDQ_DEVICE_ERROR: the driver failed. */
QDQ_API qdq_status qdq_device_build_kernel(qdq_device *device, const char *name);

/* ---- Proofs ---------------------------------------------------------------------------------------------------- */

/* Does a device, or code of one's own, give the reference's bits on this machine? Blocks, the values that they stand
 * for, decoding and sums are held against plain C that shares nothing with the kernels (q4_0, q4_1, q5_0, q5_1, q8_0)
 * and against the scalar lane (all formats), bit for bit.
 *
 *     qdq_proof_options options = {.size = sizeof options, .device = "cuda"};
 *     qdq_proof_report report = {.size = sizeof report};
 *     if (qdq_prove(&options, &report) != QDQ_OK || report.failed > 0) puts("not the reference's bits");
 */

typedef enum qdq_proof_kind {
    QDQ_PROOF_OPERATION = 0, /* one of the kernels' operations (division, square root, binary16, …), on pairs */
    QDQ_PROOF_PACKING = 1,   /* blocks, and the values that they stand for, of floats */
    QDQ_PROOF_DECODING = 2,  /* values of blocks */
    QDQ_PROOF_SUMS = 3       /* errors and sensitivities of tensors */
} qdq_proof_kind;

/* What was compared, or passed over. Made by the library, and as old as it; all that it points at is valid during the
 * call that is told of it. */
typedef struct qdq_proof {
    size_t size;
    qdq_proof_kind kind;
    qdq_format format;       /* QDQ_FORMAT_NONE: of no one format */
    const char *inputs;      /* in words: "random weights"; of operations the name */
    const char *against;     /* "plain C", "the scalar lane", "this ggml" */
    const char *passed_over; /* why nothing was compared; NULL where it was */
    uint32_t weighted;       /* 1: with an importance matrix */
    uint64_t compared;       /* pairs, blocks or sums */
    uint64_t elements;       /* of the blocks */
    uint64_t differing;      /* of what was compared. Against a device, comparing ends soon after the first */
    uint64_t undefined;      /* beside a ggml, blocks on which its C is undefined: not among the above */
    uint64_t undefined_differing;
    const char *undefined_failure; /* what ended the ggml on these; NULL: nothing */
    /* The first that differs: of operations and sums in words, of blocks its number among the inputs, what came out and
     * what should have. `input` of packing; of decoding `packed` is the input. NULL and 0 where nothing differs. */
    const char *difference;
    uint64_t block;
    uint32_t block_elements, block_bytes;
    const float *input, *values, *expected_values;
    const uint8_t *packed, *expected_packed;
} qdq_proof;

/* Code of the caller's. Either function may be NULL; QDQ_UNSUPPORTED passes over a format. Called by several threads at
 * once unless qdq_proof_options.threads is 1. */
typedef struct qdq_codec {
    size_t size;      /* sizeof(qdq_codec), set by the caller */
    const char *name; /* "this engine" */
    void *context;
    /* x: n floats, in rows of `row`, whole blocks each. weights: importance, one a column; NULL: none. */
    qdq_status (*quantize)(void *context, qdq_format format, const float *x, uint64_t n, const float *weights,
                           uint64_t row, void *blocks);
    qdq_status (*dequantize)(void *context, qdq_format format, const void *blocks, uint64_t n, float *values);
} qdq_codec;

typedef struct qdq_proof_options {
    size_t size;               /* sizeof(qdq_proof_options), set by the caller */
    const char *device;        /* as qdq_device_open() has it */
    const qdq_codec *codec;    /* in the device's place; NULL: the device */
    const qdq_format *formats; /* n_formats of them, none of blocks of one element; 0: all others */
    uint32_t n_formats;
    int32_t threads; /* that compare, from 1 to 4,096; 0: one a core */
    /* 0: samples, a minute of one core for all formats. 1: each of the 2^32 numbers as a block's extreme and as an
     * element, twelve minutes of one core for a format that has plain C. */
    uint32_t full;
    /* About how long a proof may take whose reference is the scalar lane or a ggml; its inputs are thinned out to fit.
     * 0: a twentieth of a second, beside a ggml 0.3; of full ones as long as they take, which may be hours. */
    double seconds;
    uint64_t seed;     /* of random and adversarial inputs */
    uint64_t elements; /* beside a ggml: that many random and as many adversarial weights; 0: as `seconds` has it */
    /* Told of each proof when it is done. Other than QDQ_OK ends the call with that status. NULL: nobody is told. */
    qdq_status (*proved)(void *context, const qdq_proof *proof);
    /* Told now and then, by one of several threads at a time, how many numbers of the proof under way are compared, of
     * how many. false: the call returns QDQ_CANCELLED. NULL: nobody is told. */
    bool (*progress)(void *context, const char *proof, uint64_t done, uint64_t total);
    void *context; /* of both */
} qdq_proof_options;

typedef struct qdq_proof_report {
    size_t size;          /* sizeof(qdq_proof_report), set by the caller */
    uint64_t proofs;      /* done */
    uint64_t failed;      /* of these, with a difference */
    uint64_t passed_over; /* not done */
    uint64_t blocks;      /* compared */
} qdq_proof_report;

/* Proves what the options say; options NULL: the device of "auto", all formats, by samples. report may be NULL. A
 * difference is no failure of the call. QDQ_INVALID_ARGUMENT: a size of 0, no such device or format, threads out of
 * range; QDQ_CANCELLED; QDQ_OUT_OF_MEMORY, QDQ_DEVICE_ERROR; what callbacks return. */
QDQ_API qdq_status qdq_prove(const qdq_proof_options *options, qdq_proof_report *report);

/* Does ggml's code, as somebody has compiled it, round twice where it says so? */
typedef enum qdq_ggml_fusion {
    QDQ_GGML_FUSION_UNKNOWN = 0, /* no q4_0, or neither */
    QDQ_GGML_FUSION_NONE = 1,    /* q4_0 rounds x * id and then + 8.5 */
    QDQ_GGML_FUSION_FUSED = 2    /* it rounds once: compiled with fused multiply-add */
} qdq_ggml_fusion;

typedef struct qdq_ggml_info {
    size_t size;          /* sizeof(qdq_ggml_info), set by the caller */
    const char *revision; /* QDQ_REFERENCE or _EARLIER; NULL: neither, or it has no iq1_m to tell by */
    qdq_ggml_fusion fusion;
} qdq_ggml_info;

/* What a ggml shared library is: libggml-base.so, or one that brings it along. The library is loaded here, and its
 * functions run in a child process, where the system has such: what ends it is an error and no end. QDQ_IO_ERROR: it
 * cannot be loaded; QDQ_UNSUPPORTED: it is no ggml. */
QDQ_API qdq_status qdq_ggml_describe(const char *path, qdq_ggml_info *info);
/* Holds the device, or the codec, against the library: packing without and with importance, and decoding. As
 * qdq_prove() and qdq_ggml_describe(). */
QDQ_API qdq_status qdq_prove_ggml(const char *path, const qdq_proof_options *options, qdq_proof_report *report);

/* ---- Timing ---------------------------------------------------------------------------------------------------- */

/* An operation to be timed, and how long it took. In an array the first one's size is all's, and how far apart they
 * lie. */
typedef struct qdq_timing {
    size_t size; /* sizeof(qdq_timing), set by the caller, as the following are */
    qdq_operation operation;
    qdq_format format;   /* of a sensitivity the low one */
    qdq_format high;     /* of a sensitivity */
    uint32_t importance; /* 1: with an importance matrix */
    /* Set by the library. */
    uint64_t elements; /* that were timed: slow formats take fewer than are asked for */
    double bytes;      /* read and written */
    double seconds;    /* the best of several turns; 0: the device has no such kernel */
    double ggml;       /* a ggml's best seconds for as many elements on one core; 0: it was not asked, or has it not */
} qdq_timing;

typedef struct qdq_timing_options {
    size_t size;        /* sizeof(qdq_timing_options), set by the caller */
    const char *device; /* as qdq_device_open() has it */
    int32_t threads;    /* of a CPU device; 0: one a core */
    qdq_dtype dtype;    /* of the weights */
    uint64_t elements;  /* of the arrays, a multiple of QDQ_TILE */
    double seconds;     /* about how long each operation may take in all; 0: one */
    const char *ggml;   /* the path of a ggml library, to be timed beside; NULL: none. Its code runs in this process */
} qdq_timing_options;

/* How long the same number of bytes takes to copy: what memory allows. */
typedef struct qdq_copy_timing {
    size_t size;      /* sizeof(qdq_copy_timing), set by the caller */
    double bytes;     /* read and written */
    double seconds;   /* the better of the following */
    double plain;     /* memcpy's, or a GPU's own copy */
    double streaming; /* past the cache; 0 where there is none */
} qdq_copy_timing;

/* Times n operations, which take turns with each other, the copy and the ggml library, so that their ratios hold on a
 * machine that does other things too. copy may be NULL. QDQ_INVALID_ARGUMENT: a size of 0, no such device, format,
 * operation or dtype, elements that are 0 or no multiple; QDQ_IO_ERROR, QDQ_UNSUPPORTED: the ggml library;
 * QDQ_OUT_OF_MEMORY, QDQ_DEVICE_ERROR. */
QDQ_API qdq_status qdq_time(const qdq_timing_options *options, uint32_t n, qdq_timing *timings, qdq_copy_timing *copy);

#ifdef __cplusplus
}
#endif
#endif
