/* What processes that share a work must agree about, as checksums. */
#ifndef QDQ_MODEL_IDENTITY_H
#define QDQ_MODEL_IDENTITY_H

#include "files/unfinished.h"

/* The version, the formats' revision, and the source. */
void qdq_identity_begin(qdq_making *making, const qdq_model *model);
/* All that a source's headers say, and a sample of its weights, evenly over all of them. Reading all would cost as much
 * as the work; where a folder lies, and when it was copied there, does not matter. */
uint64_t qdq_identity_of_source(const qdq_model *model);
void qdq_identity_add_importance(qdq_checksum *sum, const qdq_imatrix_entry *entry);

#endif
