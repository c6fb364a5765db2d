/* Which tensors of a model a format takes, with which importance, and why it does not take the others. */
#ifndef QDQ_MODEL_SELECTION_H
#define QDQ_MODEL_SELECTION_H

#include "model/gguf_names.h"
#include "files/files.h"

struct qdq_selection {
    const qdq_model *model;
    const qdq_imatrix *imatrix; /* NULL: none was given */
    qdq_gguf_names *names;      /* NULL: the architecture is not known */
    /* A tensor of the model: what llama-imatrix has under GGUF's name for a tensor under Hugging Face's; of experts
     * that the model holds one by one, each its part. name NULL: none. */
    qdq_imatrix_entry *renamed;
    /* Of each tensor: what the patterns say of its name; NULL: there are none. */
    unsigned char *left_out;
};

/* qdq_selection_fit(), of a tensor of the model, into a fit of this version. *importance: the tensor's entry, or
 * NULL. */
qdq_status qdq_selection_check(const qdq_selection *selection, const qdq_tensor *tensor, qdq_format format,
                               qdq_fit *fit, const qdq_imatrix_entry **importance);
/* The tensor's name in GGUF; name "": none is known, or the conversion drops it (dropped, which may be NULL). */
qdq_gguf_name qdq_selection_name(const qdq_selection *selection, const qdq_tensor *tensor, bool *dropped);

/* Formats that need an importance matrix have one. QDQ_INVALID_ARGUMENT: the first that has not. */
qdq_status qdq_check_importance(const qdq_format *formats, uint32_t n, bool given);

enum { QDQ_REASON = 256 };

/* qdq_selection_check(), in pieces: whether any format could take the tensor, and whether that one does. */
qdq_status qdq_selection_takes(const qdq_selection *selection, const qdq_tensor *tensor, bool *takes,
                               char reason[QDQ_REASON]);
qdq_status qdq_selection_fits(const qdq_selection *selection, const qdq_tensor *tensor, qdq_format format,
                              const qdq_imatrix_entry **importance, bool *fits, char reason[QDQ_REASON]);

#endif
