/* A piece of a tensor, and the slot in which a device computes it: begun and finished by a thread that feeds the
 * device, delivered by the thread that owns the pass, piece after piece in order. */
#ifndef QDQ_MODEL_PIECE_H
#define QDQ_MODEL_PIECE_H

#include "base/pool.h"
#include "base/source.h"
#include "model/pass.h"

typedef struct qdq_piece {
    qdq_work work;
    qdq_format formats[QDQ_MAX_FORMATS]; /* the work's */
    uint64_t first, count;               /* elements of the tensor */
    uint64_t weights, row;               /* the first of its importances, and how many a row has; 0: none */
    uint64_t bytes;                      /* read for it */
} qdq_piece;

/* What all slots of a pass share. */
typedef struct qdq_piece_setting {
    qdq_pool *pool;  /* of the host's own work */
    qdq_device *cpu; /* NULL, or for what other devices do not take: sources as formats */
    bool allow_non_finite;
} qdq_piece_setting;

enum { QDQ_SLOT_DTYPES = QDQ_MAX_DTYPES };

typedef struct qdq_slot {
    const qdq_piece_setting *setting;
    qdq_device *device;
    bool on_cpu, fills, taken, committed;
    qdq_encoder *encoder;
    /* On a device: by dtype, made when first needed, and their elements. */
    qdq_buffer *input[QDQ_SLOT_DTYPES], *gradient[QDQ_SLOT_DTYPES], *output[QDQ_SLOT_DTYPES];
    uint64_t input_room[QDQ_SLOT_DTYPES], gradient_room[QDQ_SLOT_DTYPES], output_room[QDQ_SLOT_DTYPES];
    float *weights; /* importance of a row */
    qdq_buffer *importance;
    uint64_t weights_room;
    void *host; /* results brought from a device, or made on the host */
    uint64_t host_room;
    void *decoded; /* elements made of codes: those of the piece, where decoded_count is not 0 */
    uint64_t decoded_room, decoded_count;
    qdq_buffer *result; /* the part of output that the piece fills */
    const void *data;   /* what the sink gets, or NULL */
    uint64_t data_bytes;
    qdq_piece piece;
    struct qdq_slot *beside; /* on setting->cpu, made when first needed */
    bool goes_beside;        /* the piece is that one's */
} qdq_slot;

qdq_status qdq_slot_open(qdq_slot *slot, const qdq_piece_setting *setting, qdq_device *device);
void qdq_slot_close(qdq_slot *slot); /* waits */

/* Reads the piece and puts it on the device's way. A failed slot can only be closed. */
qdq_status qdq_piece_begin(qdq_slot *slot, const qdq_piece *piece);
/* Its results are here. */
qdq_status qdq_piece_finish(qdq_slot *slot);
/* Its sums are added, the sink has its results. */
qdq_status qdq_piece_deliver(qdq_slot *slot);

#endif
