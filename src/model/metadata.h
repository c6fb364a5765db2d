/* A file of packed weights: its metadata, and how large it gets. */
#ifndef QDQ_MODEL_METADATA_H
#define QDQ_MODEL_METADATA_H

#include "model/selection.h"

/* A source that is GGUF has its metadata copied; file_type is general.file_type. imatrix: the path of the selection's
 * importance matrix, or NULL. Whatever the formats, the metadata have the same size. */
qdq_status qdq_packed_metadata(qdq_writer *writer, const qdq_selection *selection, uint32_t file_type,
                               const char *imatrix);
/* What tensors of the file begin at multiples of. */
uint64_t qdq_packed_alignment(const qdq_model *model);

#endif
