/* Operations as steps: what a backend's kernels do, one after another, within the limits that the backend has. How an
 * operation is cut into waves, which formats one kernel takes, whose rows are summed, what goes through scratch memory
 * and where sums lie is decided here, for all backends; a backend records a step, and waits. */
#ifndef QDQ_BACKENDS_LOWER_H
#define QDQ_BACKENDS_LOWER_H

#include "backends/backend.h"

/* What a backend takes. Tiles are of QDQ_TILE elements; at least 1. UINT64_MAX: any number. */
typedef struct qdq_limits {
    uint64_t tiles;         /* of a step */
    uint64_t sum_bytes;     /* of what a wave's tiles sum: qdq_tile_error for each format, or qdq_tile_sensitivity */
    uint64_t shared_tiles;  /* of a wave that several kernels read in turn */
    uint64_t scratch_tiles; /* of a slot of scratch memory; there are two */
    uint64_t row_tiles;     /* of a wave whose rows' sums the backend holds, unless rows_first */
    uint64_t row_elements;  /* of the rows that one step sums, but for a longer row */
    bool rows_first;        /* all rows' sums are made before all else */
    uint32_t several;       /* formats of one kernel that sums errors, */
    uint32_t several_pairs; /* and pairs of one that sums sensitivities */
    bool any_format;     /* such kernels take all formats, and weigh; else only light ones whose fit is not weighted */
    bool weighs_several; /* … and weigh what they sum */
    /* A format that no kernel of several takes has one of its own that sums. Where not, its round trip is made in
     * scratch memory, and summed from there. */
    bool own_sums;
} qdq_limits;

typedef enum qdq_step_kind {
    QDQ_STEP_ROW_SQUARES, /* the mean squares of rows, into the backend's array of them */
    QDQ_STEP_ROUNDTRIP,   /* to the output, or to scratch memory */
    QDQ_STEP_QUANTIZE,
    QDQ_STEP_DEQUANTIZE,
    QDQ_STEP_ERROR,
    QDQ_STEP_SENSITIVITY
} qdq_step_kind;

enum { QDQ_NO_SLOT = -1 };

typedef struct qdq_step {
    qdq_step_kind kind;
    const qdq_op *op;
    uint64_t first, count; /* elements of the input; the first is a tile's first */
    /* Which of the operation's formats, or of its pairs: one; those that one kernel sums. */
    uint32_t n_formats;
    uint8_t format[QDQ_MAX_OP_FORMATS];
    bool high;          /* of ROUNDTRIP to scratch memory: of the second of a pair */
    bool weighted;      /* the kernel takes the importance, for a fit or for the sums of errors */
    bool row_sums;      /* and the rows' sums, */
    uint64_t first_row; /* of which the array begins with this row's */
    int output;         /* of ROUNDTRIP: the slot of scratch memory, or QDQ_NO_SLOT */
    int given[2];       /* of ERROR, and of SENSITIVITY for low and high: the slot that has the round trip, or none */
    /* Of ERROR and SENSITIVITY: where the step's sums lie among the wave's, and the bytes of all of these. 0: it is the
     * wave's first. Sums lie format by format. */
    uint64_t sums, wave_sums;
    /* Of ROW_SQUARES, whose elements are those of the wave: rows row … row + rows - 1, to the array's places from
     * `place` on. Before that, if it carries, place `carried` goes to place 0: that row began before the wave, and a
     * round trip in place has overwritten it since. rows may be 0 then. */
    uint64_t row, rows, place, carried;
    bool carries;
} qdq_step;

/* The format, or a pair's first; and a pair's second, which may be QDQ_FORMAT_SOURCE. */
static inline qdq_format qdq_step_format(const qdq_step *step, uint32_t i) {
    return (step->high ? step->op->high : step->op->format)[step->format[i]];
}
static inline qdq_format qdq_step_high(const qdq_step *step, uint32_t i) { return step->op->high[step->format[i]]; }

typedef qdq_status qdq_take_step(void *context, const qdq_step *step);

/* Gives take the operation's steps in order; a failure of it ends that. */
qdq_status qdq_lower(const qdq_op *op, const qdq_limits *limits, qdq_take_step *take, void *context);
/* Gives take, of any number of elements, steps that want each kernel that the operation wants: for building them. */
qdq_status qdq_lower_kernels(const qdq_op *op, const qdq_limits *limits, qdq_take_step *take, void *context);

/* 1,024 elements each, the last fewer. */
uint64_t qdq_step_tiles(const qdq_step *step);
/* Of the step's own sums; 0 where it makes none. */
uint64_t qdq_step_sum_bytes(const qdq_step *step);
/* Adds what a step has summed to the operation's sums, in the order of tiles. */
void qdq_add_step_sums(const qdq_step *step, const void *sums);

#endif
