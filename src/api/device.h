/* The handles' insides. */
#ifndef QDQ_API_DEVICE_H
#define QDQ_API_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "backends/backend.h"
#include "base/platform.h"

typedef struct qdq_parcel qdq_parcel;

struct qdq_device {
    const qdq_backend *backend;
    void *state;
    uint32_t index;
    bool earlier;               /* it chooses codes as ggml did up to 2026-08 */
    _Atomic int64_t references; /* handles, buffers and encoders */
    atomic_bool closed;         /* by the caller; what is left keeps it alive */

    qdq_mutex waiting;   /* held by who waits for parcels; before the other */
    qdq_mutex mutex;     /* for what follows */
    qdq_parcel *parcels; /* submitted and not known to be done, the oldest first */
    qdq_parcel **last;
    qdq_status failure; /* the first of theirs that nobody was told yet, and what there is to say */
    char failure_message[256];
};

/* Memory that a buffer and its slices share. */
typedef struct qdq_storage {
    qdq_device *device;
    void *memory;
    bool wrapped, read_only;
    void (*release)(void *context); /* of wrapped memory, or NULL: called when nobody uses it any more */
    void *context;
    _Atomic int64_t references;
} qdq_storage;

struct qdq_buffer {
    qdq_storage *storage;
    qdq_dtype dtype;
    uint64_t offset; /* bytes into the storage */
    uint64_t count;  /* elements */
    uint64_t row;    /* the last extent */
    uint64_t pitch;  /* elements from one row to the next; 0: they lie side by side */
};

/* Bytes from the buffer's first to its last. */
uint64_t qdq_buffer_extent(const qdq_buffer *buffer);

/* Can the device fill buffers from a reader, which it calls from several threads at once? */
bool qdq_device_fills(const qdq_device *device);
/* As qdq_buffer_write, of what read brings. The device must fill. Its errors, or read's. */
qdq_status qdq_buffer_fill(qdq_buffer *buffer, uint64_t offset, uint64_t bytes, qdq_reader *read, void *context);

/* From now on qdq_encoder_wait() keeps the sums of the encoder's tiles, which qdq_encoder_add_sums() then adds to where
 * they go; it comes before anything else is encoded. So sums of several encoders are added in the caller's order. */
void qdq_encoder_keep_sums(qdq_encoder *encoder);
void qdq_encoder_add_sums(qdq_encoder *encoder);

void qdq_device_retain(qdq_device *device);
/* Ends one use. The last one closes the device. */
void qdq_device_release(qdq_device *device);
void qdq_storage_retain(qdq_storage *storage);
void qdq_storage_release(qdq_storage *storage);

/* Operations, and the storages that they use, on their way. */
struct qdq_parcel {
    qdq_parcel *next;
    void *ticket;
    qdq_op *ops;
    qdq_storage **held;
    size_t n_held;
};
/* Lets go of the parcel's storages, and of itself. No lock is held: the storages may call their owners. */
void qdq_parcel_free(qdq_parcel *parcel);
/* Keeps a parcel whose work has begun until it is done. */
void qdq_parcel_keep(qdq_device *device, qdq_parcel *parcel);
/* Frees those that are done. */
void qdq_parcels_reap(qdq_device *device);

#endif
