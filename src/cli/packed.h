/* A file of packed weights: its metadata, and how large it gets. */
#ifndef QDQ_CLI_PACKED_H
#define QDQ_CLI_PACKED_H

#include "plan/plan_file.h"
#include "cli/session.h"

/* A source that is GGUF has its metadata copied; file_type is general.file_type. imatrix: the path of the session's
 * importance matrix, or NULL. Whatever the formats, the metadata have the same size. */
qdq_status qdq_packed_metadata(qdq_writer *writer, const qdq_session *session, uint32_t file_type, const char *imatrix);
/* general.file_type of a plan: that of the format which most of the weights get. */
uint32_t qdq_packed_file_type(const qdq_plan *plan);
/* What tensors of the file begin at multiples of. */
uint64_t qdq_packed_alignment(const qdq_model *model);

#endif
