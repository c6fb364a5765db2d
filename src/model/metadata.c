#include "model/metadata.h"

static qdq_status set_importance(qdq_writer *writer, const qdq_imatrix *imatrix, const char *path) {
    qdq_status status = qdq_writer_set_string(writer, "quantize.imatrix.file", path);
    if (status == QDQ_OK)
        status = qdq_writer_set_string(writer, "quantize.imatrix.dataset", qdq_imatrix_dataset(imatrix));
    if (status == QDQ_OK)
        status = qdq_writer_set_u32(writer, "quantize.imatrix.entries_count", (uint32_t)qdq_imatrix_count(imatrix));
    if (status == QDQ_OK && qdq_imatrix_chunks(imatrix) > 0)
        status = qdq_writer_set_u32(writer, "quantize.imatrix.chunks_count", qdq_imatrix_chunks(imatrix));
    return status;
}

qdq_status qdq_packed_metadata(qdq_writer *writer, const qdq_selection *selection, uint32_t file_type,
                               const char *imatrix) {
    qdq_status status;
    if (qdq_model_layout(selection->model) == QDQ_LAYOUT_GGUF)
        status = qdq_writer_copy_metadata(writer, selection->model);
    else
        status =
            qdq_writer_set_string(writer, "general.description",
                                  "tensors alone, quantized from safetensors: no architecture, no hyper-parameters, "
                                  "no tokenizer, so no engine can run it");
    if (status == QDQ_OK) status = qdq_writer_set_u32(writer, "general.file_type", file_type);
    if (status == QDQ_OK) status = qdq_writer_set_u32(writer, "general.quantization_version", 2);
    if (status == QDQ_OK && imatrix != NULL) status = set_importance(writer, selection->imatrix, imatrix);
    return status;
}

uint64_t qdq_packed_alignment(const qdq_model *model) {
    uint64_t alignment = 32; /* GGUF's, unless the file says otherwise */
    if (qdq_model_layout(model) != QDQ_LAYOUT_GGUF) return alignment;
    const qdq_kv *kv = qdq_model_find_kv(model, "general.alignment");
    if (kv != NULL) qdq_kv_u64(kv, &alignment);
    return alignment;
}
