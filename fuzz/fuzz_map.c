/* Texts that the planner and quantize read: a map of names, and a --tensor-type-file. */
#include "walk.h"

#include "model/gguf_names.h"
#include "model/llama_rules.h"

static const char *const samples[] = {"blk.3.attn_q.weight", "model.layers.3.mlp.experts.7.up_proj.weight",
                                      "token_embd.weight", "transformer.h.3.attn.q.bias"};
enum { N_SAMPLES = sizeof samples / sizeof *samples };

static void try_map(const char *text, size_t size) {
    qdq_gguf_names *names;
    MUST(qdq_gguf_names_create("llama", &names) == QDQ_OK);
    if (qdq_gguf_names_add(names, "fuzz", text, size) != QDQ_OK) MUST(qdq_error_message()[0] != 0);
    for (int i = 0; i < N_SAMPLES; i++) {
        qdq_gguf_name gguf;
        char hf[QDQ_NAME_MAX];
        if (qdq_gguf_names_to_gguf(names, samples[i], &gguf) == QDQ_OK) MUST(strlen(gguf.name) < 64);
        if (qdq_gguf_names_to_hf(names, samples[i], QDQ_NO_EXPERT, hf) == QDQ_OK) MUST(strlen(hf) < QDQ_NAME_MAX);
        if (qdq_gguf_names_to_hf(names, samples[i], 7, hf) == QDQ_OK) MUST(strlen(hf) < QDQ_NAME_MAX);
    }
    qdq_gguf_names_free(names);
}

static void try_types(const char *text, size_t size) {
    qdq_type_file *file;
    if (qdq_type_file_read("fuzz", text, size, &file) != QDQ_OK) {
        MUST(qdq_error_message()[0] != 0);
        return;
    }
    for (int i = 0; i < N_SAMPLES; i++) {
        size_t entry;
        uint32_t type;
        if (qdq_type_file_match(file, samples[i], &entry, &type) == QDQ_OK) MUST(entry <= qdq_type_file_count(file));
    }
    qdq_type_file_free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    try_map((const char *)data, size);
    try_types((const char *)data, size);
    return 0;
}
