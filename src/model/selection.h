/* Which tensors of a model a format takes, with which importance, and why it does not take the others. */
#ifndef QDQ_MODEL_SELECTION_H
#define QDQ_MODEL_SELECTION_H

#include <stdbool.h>

#include "model/gguf_names.h"
#include "model/pattern.h"
#include "files/files.h"

typedef struct qdq_selection {
    const qdq_model *model;
    const qdq_imatrix *imatrix; /* NULL: none was given */
    qdq_gguf_names *names;      /* NULL: the architecture is not known */
    /* A tensor of the model: what llama-imatrix has under GGUF's name for a tensor under Hugging Face's; of experts
     * that the model holds one by one, each its part. name NULL: none. */
    qdq_imatrix_entry *renamed;
    qdq_pattern **include, **exclude;
    uint32_t n_include, n_exclude;
} qdq_selection;

typedef struct qdq_selection_options {
    size_t size; /* sizeof(qdq_selection_options), set by the caller */
    uint32_t n_include, n_exclude;
    const char *const *include, *const *exclude; /* regular expressions, as pattern.h has them */
    const qdq_imatrix *imatrix;                  /* or NULL; must outlive the selection */
    const char *architecture, *map;              /* as qdq_naming_open() takes them */
} qdq_selection_options;

/* model must outlive it. QDQ_INVALID_ARGUMENT: a broken regular expression; QDQ_BAD_DATA: an entry of the importance
 * matrix has another size than the tensor. */
qdq_status qdq_selection_create(const qdq_model *model, const qdq_selection_options *options,
                                qdq_selection **selection);
void qdq_selection_free(qdq_selection *selection); /* NULL is allowed */

/* QDQ_INVALID_ARGUMENT: a broken regular expression, with it and what is wrong. */
qdq_status qdq_check_pattern(const char *text);

/* Formats that need an importance matrix have one; imatrix: the path, or NULL. QDQ_INVALID_ARGUMENT: say --imatrix. */
qdq_status qdq_check_importance(const qdq_format *formats, uint32_t n, const char *imatrix);

enum { QDQ_REASON = 256 };

/* Whether any format could take the tensor: weights, not left out by --include and --exclude, of two dimensions or
 * more. If not, reason says why. The failures are those of qdq_pattern_find(). */
qdq_status qdq_selection_takes(const qdq_selection *selection, const qdq_tensor *tensor, bool *takes,
                               char reason[QDQ_REASON]);
/* Whether the format takes a tensor that some format can: whole blocks, importance if it needs it. *importance: the
 * tensor's entry, or NULL. QDQ_BAD_DATA: the entry has another size than the tensor. */
qdq_status qdq_selection_fits(const qdq_selection *selection, const qdq_tensor *tensor, qdq_format format,
                              const qdq_imatrix_entry **importance, bool *fits, char reason[QDQ_REASON]);

#endif
