/* Files that a model's maker puts beside its tensors. */
#ifndef QDQ_MODEL_BESIDE_H
#define QDQ_MODEL_BESIDE_H

#include <stddef.h>

#include "qdq_model.h"

enum { QDQ_BESIDE_PATH = 4096 };

/* The text of the file NAME beside the model's, for free(); NULL and QDQ_OK: there is none. path: as it was opened. */
qdq_status qdq_read_beside(const qdq_model *model, const char *name, char path[QDQ_BESIDE_PATH], char **text,
                           size_t *length);

#endif
