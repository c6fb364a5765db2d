/* What llama-quantize does: which tensors it quantizes, to which type, and how it reads a --tensor-type-file.
 *
 * From llama.cpp's src/llama-quant.cpp and tools/quantize/quantize.cpp as of September 2026 (0c1e57098) and
 * August (ggml d99724f2). The mixtures of its presets are in mixtures.h: a recipe that names every tensor never meets
 * them. */
#ifndef QDQ_MODEL_LLAMA_RULES_H
#define QDQ_MODEL_LLAMA_RULES_H

#include "base/ggml_type.h"
#include "model/type_file.h"
#include "qdq_model.h"

/* ---- Types and presets ---- */

/* Can llama-quantize make it? */
bool qdq_rules_writes(const qdq_ggml_type *type);

/* general.file_type: llama.cpp's enum llama_ftype. */
typedef enum qdq_file_type {
    QDQ_FILE_F32 = 0,
    QDQ_FILE_F16 = 1,
    QDQ_FILE_Q4_0 = 2,
    QDQ_FILE_Q4_1 = 3,
    QDQ_FILE_Q8_0 = 7,
    QDQ_FILE_Q5_0 = 8,
    QDQ_FILE_Q5_1 = 9,
    QDQ_FILE_Q2_K = 10,
    QDQ_FILE_Q3_K_S = 11,
    QDQ_FILE_Q3_K_M = 12,
    QDQ_FILE_Q3_K_L = 13,
    QDQ_FILE_Q4_K_S = 14,
    QDQ_FILE_Q4_K_M = 15,
    QDQ_FILE_Q5_K_S = 16,
    QDQ_FILE_Q5_K_M = 17,
    QDQ_FILE_Q6_K = 18,
    QDQ_FILE_IQ2_XXS = 19,
    QDQ_FILE_IQ2_XS = 20,
    QDQ_FILE_Q2_K_S = 21,
    QDQ_FILE_IQ3_XS = 22,
    QDQ_FILE_IQ3_XXS = 23,
    QDQ_FILE_IQ1_S = 24,
    QDQ_FILE_IQ4_NL = 25,
    QDQ_FILE_IQ3_S = 26,
    QDQ_FILE_IQ3_M = 27,
    QDQ_FILE_IQ2_S = 28,
    QDQ_FILE_IQ2_M = 29,
    QDQ_FILE_IQ4_XS = 30,
    QDQ_FILE_IQ1_M = 31,
    QDQ_FILE_BF16 = 32,
    QDQ_FILE_TQ1_0 = 36,
    QDQ_FILE_TQ2_0 = 37,
    QDQ_FILE_MXFP4_MOE = 38,
    QDQ_FILE_NVFP4 = 39,
    QDQ_FILE_Q1_0 = 40,
    QDQ_FILE_Q2_0 = 41
} qdq_file_type;

typedef struct qdq_preset {
    const char *name;   /* as the command line has it: "Q4_K_S" */
    uint32_t file_type; /* general.file_type */
    uint32_t type;      /* the base type */
} qdq_preset;

size_t qdq_preset_count(void);
const qdq_preset *qdq_preset_at(size_t index);
/* The preset to name for a file that is mostly of that type; where several have it, the plainest (Q4_K_S for q4_K).
 * NULL: llama-quantize has none (nvfp4). */
const qdq_preset *qdq_preset_by_type(uint32_t type);
const qdq_preset *qdq_preset_by_name(const char *name); /* in any case; aliases (Q4_K) and file types (15) included */

/* ---- Tensors ---- */

typedef struct qdq_ggml_tensor {
    const char *name;
    uint64_t ne[4]; /* the row's length first; 1 past the last dimension */
    uint32_t type;
} qdq_ggml_tensor;

/* A model's tensor as llama-quantize has it under that name. */
qdq_ggml_tensor qdq_rules_tensor(const qdq_tensor *tensor, const char *name);

/* Does it quantize such a tensor at all? If not, *why (may be NULL) says what it goes by; it is then copied as it is.
 * Only names and dimensions count. */
bool qdq_rules_quantizes(const qdq_ggml_tensor *tensor, const char **why);

/* The rules change with llama.cpp's versions, apart from the bytes that ggml makes. */
typedef enum qdq_rules_revision {
    QDQ_RULES_2026_08, /* ggml d99724f2 */
    QDQ_RULES_2026_09, /* llama.cpp 0c1e57098 */
    QDQ_RULES_END,
    QDQ_RULES_NEWEST = QDQ_RULES_END - 1
} qdq_rules_revision;

/* What has changed in them. */
typedef enum qdq_rules_change {
    QDQ_CHANGE_F16_ROWS,        /* rows that are no multiple of a block of 32 become f16; before, it stopped there */
    QDQ_CHANGE_NAMED_EMBEDDING, /* a pattern that per_layer_token_embd matches goes before --token-embedding-type */
    QDQ_CHANGE_GLM5_NEXT,       /* tensors of glm5-next that stay as they are, or at q8_0 */
    QDQ_CHANGE_BAILINGMOE3,     /* of bailingmoe3 not all stacks are experts */
    QDQ_CHANGES
} qdq_rules_change;

bool qdq_rules_have(qdq_rules_revision revision, qdq_rules_change change);
/* As "2026-09". */
const char *qdq_rules_name(qdq_rules_revision revision);
/* The revision of that name; NULL: the newest. QDQ_INVALID_ARGUMENT: there is none. */
qdq_status qdq_rules_find(const char *name, qdq_rules_revision *revision);

/* What it writes instead of `type` when a row of ne0 elements is no multiple of the block. QDQ_UNSUPPORTED: it stops
 * with an error. */
qdq_status qdq_rules_fallback(qdq_rules_revision revision, uint32_t type, uint64_t ne0, uint32_t *written);

/* Does it refuse to write that type without an importance matrix for the tensor? file_type: the preset's. */
bool qdq_rules_needs_imatrix(const char *name, uint32_t type, uint32_t file_type);

/* ---- All of it ---- */

typedef enum qdq_rule {
    QDQ_RULE_COPIED,  /* not quantized: keeps its type */
    QDQ_RULE_BASE,    /* the base type (a preset that is not quantized, or --pure) */
    QDQ_RULE_PATTERN, /* an entry of the file */
    QDQ_RULE_OPTION,  /* --output-tensor-type, --token-embedding-type */
    QDQ_RULE_MIXTURE  /* the preset's mixture */
} qdq_rule;

/* The type that llama-quantize gives the tensor where the mixture has no say: QDQ_RULE_MIXTURE says that it has, and
 * *type is the base (mixtures.h does the rest). file may be NULL. *type is after the fallback for the row's length, by
 * the newest rules. */
qdq_status qdq_rules_type(const qdq_preset *preset, bool pure, qdq_type_file *file, const qdq_ggml_tensor *tensor,
                          uint32_t *type, qdq_rule *rule);

#endif
