/* A model written anew, tensor by tensor: each quantized, or its round trip, or as it is. */
#ifndef QDQ_MODEL_REWRITE_H
#define QDQ_MODEL_REWRITE_H

#include "model/pass.h"
#include "model/selection.h"

typedef struct qdq_rewrite qdq_rewrite;

/* What becomes of a tensor. */
typedef struct qdq_rewritten {
    qdq_rewrite *rewrite;
    qdq_writer *writer;
    const qdq_tensor *tensor;
    qdq_format format; /* QDQ_FORMAT_NONE: it stays as it is */
    const qdq_imatrix_entry *importance;
    bool keeps_codes; /* the format has them as they are */
    /* What is computed for it: the format; the float that its codes become, where it stays and they cannot; else
     * QDQ_FORMAT_NONE. */
    qdq_format made;
} qdq_rewritten;

struct qdq_rewrite {
    const qdq_model *model;
    qdq_pass *pass;
    qdq_work_kind kind;   /* round trip or quantize */
    bool source_dtype;    /* round trips are stored in the tensor's own dtype, else as f32 */
    qdq_writer *writer;   /* made by the command, which sets the metadata; NULL once the output is finished */
    qdq_writer **earlier; /* those before qdq_rewrite_next_file() */
    uint32_t n_earlier;
    uint32_t n_finished; /* files that are in their places, the last ones */
    uint64_t first;      /* the number of the first tensor in `writer` */
    qdq_rewritten *tensors;
    uint64_t n;   /* tensors that were added */
    void *stored; /* a chunk in the source's elements */
    uint64_t stored_room;
    uint64_t bytes;                              /* to be read */
    uint64_t quantized, quantized_elements;      /* tensors and their elements that a format takes */
    uint64_t weighted;                           /* of these, tensors that the importance matrix has an entry for */
    uint64_t elements, written, quantized_bytes; /* of all tensors; bytes of all, and of those */
};

/* The model's tensor `index` becomes the output's next, under that name (NULL: its own): in that format, or, if it is
 * QDQ_FORMAT_NONE, as it is. Each once. */
qdq_status qdq_rewrite_add(qdq_rewrite *rewrite, uint64_t index, const char *name, qdq_format format,
                           const qdq_imatrix_entry *importance);
/* The tensor that was added last keeps its codes in that format. */
void qdq_rewrite_keep_codes(qdq_rewrite *rewrite);
/* Tensors that are added from now on go to another file. writer is taken in every case. */
qdq_status qdq_rewrite_next_file(qdq_rewrite *rewrite, qdq_writer *writer);
/* The name of the type in which an output of that kind has a tensor. */
const char *qdq_rewritten_type(const qdq_tensor *tensor, qdq_format format, qdq_work_kind kind, bool source_dtype);
/* The tensor as work, whose sink is left to the caller. false: nothing is computed, its bytes are copied. */
bool qdq_rewrite_work(const qdq_rewritten *tensor, qdq_work *work);
/* The pass's blocks or floats as the output has them: *stored, of *size bytes, lives up to the next call of this. */
qdq_status qdq_rewrite_store(qdq_rewrite *rewrite, const qdq_rewritten *tensor, const void *data, uint64_t bytes,
                             const void **stored, uint64_t *size);
/* Computes and writes all that was added, and finishes the output; of several files the first appears last. Where that
 * fails, n_finished of them are there. */
qdq_status qdq_rewrite_run(qdq_rewrite *rewrite);
/* An output that is not finished is gone. The pass, which may still use what is freed here, is closed before. */
void qdq_rewrite_close(qdq_rewrite *rewrite);

#endif
