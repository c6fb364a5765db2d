/* A file of packed weights: its metadata, and how large it gets. */
#ifndef QDQ_MODEL_METADATA_H
#define QDQ_MODEL_METADATA_H

#include "model/arrangement.h"
#include "model/kv_override.h"
#include "model/selection.h"

typedef struct qdq_packed_facts {
    uint32_t file_type;                 /* general.file_type */
    const qdq_kv_list *kv;              /* may be NULL */
    const qdq_arrangement *arrangement; /* may be NULL */
} qdq_packed_facts;

/* A source that is GGUF has its metadata copied; what is set stands behind them, in llama-quantize's order. Whatever
 * the formats, the metadata have the same size. The facts must outlive the writer. */
qdq_status qdq_packed_metadata(qdq_writer *writer, const qdq_selection *selection, const qdq_packed_facts *facts);
/* What tensors of the file begin at multiples of. */
uint64_t qdq_packed_alignment(const qdq_model *model);

#endif
