#include "cli/packed.h"

#include <strings.h>

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

qdq_status qdq_packed_metadata(qdq_writer *writer, const qdq_session *session, uint32_t file_type,
                               const char *imatrix) {
    qdq_status status;
    if (qdq_model_layout(session->model) == QDQ_LAYOUT_GGUF)
        status = qdq_writer_copy_metadata(writer, session->model);
    else
        status =
            qdq_writer_set_string(writer, "general.description",
                                  "tensors alone, quantized from safetensors: no architecture, no hyper-parameters, "
                                  "no tokenizer, so no engine can run it");
    if (status == QDQ_OK) status = qdq_writer_set_u32(writer, "general.file_type", file_type);
    if (status == QDQ_OK) status = qdq_writer_set_u32(writer, "general.quantization_version", 2);
    if (status == QDQ_OK && imatrix != NULL) status = set_importance(writer, session->imatrix, imatrix);
    return status;
}

uint32_t qdq_packed_file_type(const qdq_plan *plan) {
    enum { ALL_F32 = 0, MOSTLY_F16 = 1, MOSTLY_BF16 = 32 };
    uint64_t elements[QDQ_MAX_FORMATS] = {0}, most = 0;
    uint32_t type = ALL_F32;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const qdq_plan_tensor *t = &plan->tensors[i];
        qdq_format format = qdq_plan_format(t);
        if (format >= 0 && format < QDQ_MAX_FORMATS) elements[format] += t->elements;
        if (most == 0 && format < 0 && t->n_dims > 1)
            type = strcasecmp(t->dtype, "f16") == 0    ? MOSTLY_F16
                   : strcasecmp(t->dtype, "bf16") == 0 ? MOSTLY_BF16
                                                       : ALL_F32;
    }
    for (qdq_format f = 0; f < qdq_format_count() && f < QDQ_MAX_FORMATS; f++)
        if (elements[f] > most) {
            most = elements[f];
            type = qdq_describe_format(f).ggml_file_type;
        }
    return type;
}

uint64_t qdq_packed_alignment(const qdq_model *model) {
    uint64_t alignment = 32; /* GGUF's, unless the file says otherwise */
    if (qdq_model_layout(model) != QDQ_LAYOUT_GGUF) return alignment;
    const qdq_kv *kv = qdq_model_find_kv(model, "general.alignment");
    if (kv != NULL) qdq_kv_u64(kv, &alignment);
    return alignment;
}
