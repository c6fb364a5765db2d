#include "model/metadata.h"

#include <stdio.h>
#include <string.h>

#include "model/architecture.h"

/* llama-quantize cuts these texts at 127 bytes; so does this, at a whole character. */
static qdq_status set_text(qdq_writer *writer, const char *key, const char *text) {
    char cut[128], safe[256];
    if (!qdq_is_utf8(text)) text = qdq_printable(text, safe, sizeof safe); /* a path may be any bytes */
    size_t n = strlen(text);
    if (n > sizeof cut - 1) {
        n = sizeof cut - 1;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) n--;
    }
    memcpy(cut, text, n);
    cut[n] = '\0';
    return qdq_writer_set_string(writer, key, cut);
}

static qdq_status set_importance(qdq_writer *writer, const qdq_imatrix *imatrix) {
    qdq_status status = set_text(writer, "quantize.imatrix.file", qdq_imatrix_path(imatrix));
    if (status == QDQ_OK && qdq_imatrix_dataset(imatrix)[0] != '\0')
        status = set_text(writer, "quantize.imatrix.dataset", qdq_imatrix_dataset(imatrix));
    if (status == QDQ_OK)
        status = qdq_writer_set_u32(writer, "quantize.imatrix.entries_count", (uint32_t)qdq_imatrix_count(imatrix));
    if (status == QDQ_OK && qdq_imatrix_chunks(imatrix) > 0)
        status = qdq_writer_set_u32(writer, "quantize.imatrix.chunks_count", qdq_imatrix_chunks(imatrix));
    return status;
}

/* After layers were left out. */
static qdq_status set_blocks(qdq_writer *writer, const qdq_selection *selection, uint32_t blocks) {
    char architecture[QDQ_ARCHITECTURE], key[2 * QDQ_ARCHITECTURE];
    if (!qdq_architecture_read(selection->model, NULL, architecture)) return QDQ_OK;
    snprintf(key, sizeof key, "%s.block_count", architecture);
    return qdq_writer_set_u32(writer, key, blocks);
}

qdq_status qdq_packed_metadata(qdq_writer *writer, const qdq_selection *selection, const qdq_packed_facts *facts) {
    qdq_status status;
    bool gguf = qdq_model_layout(selection->model) == QDQ_LAYOUT_GGUF;
    if (gguf)
        status = qdq_writer_copy_metadata(writer, selection->model);
    else
        status =
            qdq_writer_set_string(writer, "general.description",
                                  "tensors alone, quantized from safetensors: no architecture, no hyper-parameters, "
                                  "no tokenizer, so no engine can run it");
    if (status == QDQ_OK) status = qdq_writer_set_u32(writer, "general.quantization_version", 2);
    if (status == QDQ_OK) status = qdq_writer_set_u32(writer, "general.file_type", facts->file_type);
    for (size_t i = 0; facts->kv != NULL && i < facts->kv->n && status == QDQ_OK; i++)
        status = qdq_writer_set(writer, &facts->kv->items[i]);
    if (status == QDQ_OK && selection->imatrix != NULL) status = set_importance(writer, selection->imatrix);
    if (status == QDQ_OK && gguf && facts->arrangement != NULL && facts->arrangement->pruned)
        status = set_blocks(writer, selection, facts->arrangement->blocks);
    return status;
}

uint64_t qdq_packed_alignment(const qdq_model *model) {
    uint64_t alignment = 32; /* GGUF's, unless the file says otherwise */
    if (qdq_model_layout(model) != QDQ_LAYOUT_GGUF) return alignment;
    const qdq_kv *kv = qdq_model_find_kv(model, "general.alignment");
    if (kv != NULL) qdq_kv_u64(kv, &alignment);
    return alignment;
}
