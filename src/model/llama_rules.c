#include "model/llama_rules.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

/* ---- Types and presets ---- */

enum {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q8_1 = 9, /* this and Q8_K: for activations */
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    Q8_K = 15,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    IQ1_M = 29,
    BF16 = 30,
    TQ1_0 = 34,
    TQ2_0 = 35,
    MXFP4 = 39,
    Q1_0 = 41,
    Q2_0 = 42
};

bool qdq_rules_writes(const qdq_ggml_type *type) {
    if (!qdq_ggml_type_is_quantized(type)) return type->id == F32 || type->id == F16 || type->id == BF16;
    return type->id != Q8_1 && type->id != Q8_K && type->id < QDQ_GGML_TYPES_END;
}

/* Of several presets with one base type, the one with the plainest mixture comes first. Q2_K before Q2_K_S, which wants
 * an importance matrix. An alias comes after what it stands for. */
static const qdq_preset presets[] = {
    {"F32", QDQ_FILE_F32, F32},          {"F16", QDQ_FILE_F16, F16},
    {"BF16", QDQ_FILE_BF16, BF16},       {"Q1_0", QDQ_FILE_Q1_0, Q1_0},
    {"Q2_0", QDQ_FILE_Q2_0, Q2_0},       {"Q4_0", QDQ_FILE_Q4_0, Q4_0},
    {"Q4_1", QDQ_FILE_Q4_1, Q4_1},       {"Q5_0", QDQ_FILE_Q5_0, Q5_0},
    {"Q5_1", QDQ_FILE_Q5_1, Q5_1},       {"Q8_0", QDQ_FILE_Q8_0, Q8_0},
    {"Q2_K", QDQ_FILE_Q2_K, Q2_K},       {"Q2_K_S", QDQ_FILE_Q2_K_S, Q2_K},
    {"Q3_K_S", QDQ_FILE_Q3_K_S, Q3_K},   {"Q3_K_M", QDQ_FILE_Q3_K_M, Q3_K},
    {"Q3_K", QDQ_FILE_Q3_K_M, Q3_K},     {"Q3_K_L", QDQ_FILE_Q3_K_L, Q3_K},
    {"Q4_K_S", QDQ_FILE_Q4_K_S, Q4_K},   {"Q4_K_M", QDQ_FILE_Q4_K_M, Q4_K},
    {"Q4_K", QDQ_FILE_Q4_K_M, Q4_K},     {"Q5_K_S", QDQ_FILE_Q5_K_S, Q5_K},
    {"Q5_K_M", QDQ_FILE_Q5_K_M, Q5_K},   {"Q5_K", QDQ_FILE_Q5_K_M, Q5_K},
    {"Q6_K", QDQ_FILE_Q6_K, Q6_K},       {"IQ1_S", QDQ_FILE_IQ1_S, IQ1_S},
    {"IQ1_M", QDQ_FILE_IQ1_M, IQ1_M},    {"IQ2_XXS", QDQ_FILE_IQ2_XXS, IQ2_XXS},
    {"IQ2_XS", QDQ_FILE_IQ2_XS, IQ2_XS}, {"IQ2_S", QDQ_FILE_IQ2_S, IQ2_XS},
    {"IQ2_M", QDQ_FILE_IQ2_M, IQ2_S},    {"IQ3_XXS", QDQ_FILE_IQ3_XXS, IQ3_XXS},
    {"IQ3_S", QDQ_FILE_IQ3_S, IQ3_S},    {"IQ3_XS", QDQ_FILE_IQ3_XS, IQ3_S},
    {"IQ3_M", QDQ_FILE_IQ3_M, IQ3_S},    {"IQ4_NL", QDQ_FILE_IQ4_NL, IQ4_NL},
    {"IQ4_XS", QDQ_FILE_IQ4_XS, IQ4_XS}, {"TQ1_0", QDQ_FILE_TQ1_0, TQ1_0},
    {"TQ2_0", QDQ_FILE_TQ2_0, TQ2_0},    {"MXFP4_MOE", QDQ_FILE_MXFP4_MOE, MXFP4},
};
#define N_PRESETS (sizeof presets / sizeof *presets)

size_t qdq_preset_count(void) { return N_PRESETS; }
const qdq_preset *qdq_preset_at(size_t index) { return &presets[index]; }

const qdq_preset *qdq_preset_by_type(uint32_t type) {
    for (size_t i = 0; i < N_PRESETS; i++)
        if (presets[i].type == type) return &presets[i];
    return NULL;
}

const qdq_preset *qdq_preset_by_name(const char *name) {
    for (size_t i = 0; i < N_PRESETS; i++)
        if (strcasecmp(presets[i].name, name) == 0) return &presets[i];
    for (size_t i = 0; i < N_PRESETS; i++) {
        char number[12];
        snprintf(number, sizeof number, "%" PRIu32, presets[i].file_type);
        if (strcmp(number, name) == 0) return &presets[i];
    }
    return NULL;
}

/* ---- Tensors ---- */

/* "Ends with weight" as llama-quantize asks it, `rfind("weight") == size - 6` in unsigned numbers: a name of 5 bytes
 * passes, since "not found" and 5 - 6 are the same number. */
static bool ends_with_weight(const char *name) {
    size_t n = strlen(name);
    return n == 5 || (n >= 6 && strcmp(name + n - 6, "weight") == 0);
}

qdq_ggml_tensor qdq_rules_tensor(const qdq_tensor *t, const char *name) {
    qdq_ggml_tensor g = {.name = name, .ne = {1, 1, 1, 1}, .type = t->ggml_type};
    for (uint32_t d = 0; d < t->n_dims && d < 4; d++) g.ne[d] = t->shape[t->n_dims - 1 - d];
    return g;
}

bool qdq_rules_quantizes(const qdq_ggml_tensor *t, const char **why) {
    static const char *const parts[] = {"_norm.weight",
                                        "ffn_gate_inp.weight",
                                        "ffn_gate_tid2eid.weight", /* norms, routers */
                                        "altup",
                                        "laurel",
                                        "per_layer_model_proj", /* gemma 3n */
                                        "ssm_conv1d",
                                        "shortconv.conv.weight", /* mamba, lfm2 */
                                        "indexer.k_proj.weight",
                                        "indexer.q_proj.weight", /* minimax */
                                        "time_mix_first.weight",
                                        "time_mix_w0.weight",
                                        "time_mix_w1.weight",
                                        "time_mix_w2.weight",
                                        "time_mix_v0.weight",
                                        "time_mix_v1.weight",
                                        "time_mix_v2.weight",
                                        "time_mix_a0.weight",
                                        "time_mix_a1.weight",
                                        "time_mix_a2.weight",
                                        "time_mix_g1.weight",
                                        "time_mix_g2.weight",
                                        "time_mix_decay_w1.weight",
                                        "time_mix_decay_w2.weight",
                                        "time_mix_lerp_fused.weight", /* rwkv */
                                        "attn_rel_b.weight",          /* t5 */
                                        ".position_embd",
                                        "sam.pos_embd",
                                        "sam.neck.",
                                        "sam.net_",
                                        ".rel_pos",
                                        ".patch_embd",
                                        ".patch_merger",
                                        "a.rvq.codebook",
                                        "mm.a.code_embd"}; /* images and sound */
    const char *reason = NULL;
    if (t->ne[1] <= 1 && t->ne[2] <= 1 && t->ne[3] <= 1)
        reason = "it has fewer than two dimensions";
    else if (!ends_with_weight(t->name))
        reason = "its name does not end with \"weight\"";
    else if (strcmp(t->name, "position_embd.weight") == 0 || strcmp(t->name, "token_types.weight") == 0)
        reason = "it is an embedding of positions or token types";
    for (size_t i = 0; !reason && i < sizeof parts / sizeof *parts; i++)
        if (strstr(t->name, parts[i])) reason = parts[i];
    if (why) *why = reason;
    return !reason;
}

/* ---- Revisions ---- */

static const char *const names[QDQ_RULES_END] = {
    [QDQ_RULES_2026_08] = QDQ_LLAMA_RULES_EARLIER, [QDQ_RULES_2026_09] = QDQ_LLAMA_RULES};

/* The first revision that has the change. */
static const qdq_rules_revision since[QDQ_CHANGES] = {
    [QDQ_CHANGE_F16_ROWS] = QDQ_RULES_2026_09,
    [QDQ_CHANGE_NAMED_EMBEDDING] = QDQ_RULES_2026_09,
    [QDQ_CHANGE_GLM5_NEXT] = QDQ_RULES_2026_09,
    [QDQ_CHANGE_BAILINGMOE3] = QDQ_RULES_2026_09,
};

bool qdq_rules_have(qdq_rules_revision revision, qdq_rules_change change) { return revision >= since[change]; }
const char *qdq_rules_name(qdq_rules_revision revision) { return names[revision]; }

qdq_status qdq_rules_find(const char *name, qdq_rules_revision *revision) {
    *revision = QDQ_RULES_NEWEST;
    for (qdq_rules_revision r = 0; r < QDQ_RULES_END && name != NULL; r++) {
        if (strcmp(names[r], name) != 0) continue;
        *revision = r;
        return QDQ_OK;
    }
    if (name == NULL) return QDQ_OK;
    return qdq_fail(QDQ_INVALID_ARGUMENT, "llama-quantize's rules are of %s to %s, not of '%.40s'", names[0],
                    names[QDQ_RULES_NEWEST], name);
}

/* ---- Types of a tensor ---- */

qdq_status qdq_rules_fallback(qdq_rules_revision revision, uint32_t type, uint64_t ne0, uint32_t *written) {
    const qdq_ggml_type *t = qdq_ggml_type_by_id(type);
    if (!t) return qdq_fail(QDQ_INVALID_ARGUMENT, "ggml has no type %" PRIu32, type);
    *written = type;
    if (ne0 % t->block_elements == 0) return QDQ_OK;
    switch (type) {
    case IQ1_S:
    case IQ1_M:
    case IQ2_XXS:
    case IQ2_XS:
    case IQ2_S:
    case IQ3_XXS:
    case IQ3_S:
    case IQ4_XS: *written = IQ4_NL; break;
    case Q2_0:
    case Q2_K:
    case Q3_K:
    case TQ1_0:
    case TQ2_0: *written = Q4_0; break;
    case Q4_K: *written = Q5_0; break;
    case Q5_K: *written = Q5_1; break;
    case Q6_K: *written = Q8_0; break;
    default:
        if (qdq_rules_have(revision, QDQ_CHANGE_F16_ROWS) && t->block_elements <= 32)
            break; /* below: no multiple of 32 */
        return qdq_fail(QDQ_UNSUPPORTED,
                        "rows of %" PRIu64 " elements are no multiple of %s's block of %" PRIu32
                        ", and llama-quantize has no other type to fall back to: it stops",
                        ne0, t->name, t->block_elements);
    }
    if (ne0 % 32 != 0) *written = F16;
    return QDQ_OK;
}

bool qdq_rules_needs_imatrix(const char *name, uint32_t type, uint32_t file_type) {
    if (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0 ||
        strcmp(name, "output.weight") == 0)
        return false;
    switch (type) {
    case IQ3_XXS:
    case IQ2_XXS:
    case IQ2_XS:
    case IQ2_S:
    case IQ1_M:
    case IQ1_S: return true;
    case Q2_K: return file_type == QDQ_FILE_Q2_K_S;
    default: return false;
    }
}

/* ---- All of it ---- */

qdq_status qdq_rules_type(const qdq_preset *preset, bool pure, qdq_type_file *file, const qdq_ggml_tensor *tensor,
                          uint32_t *type, qdq_rule *rule) {
    if (!preset || !tensor || !type || !rule) return qdq_fail(QDQ_INVALID_ARGUMENT, "rules: a NULL argument");
    if (!qdq_rules_quantizes(tensor, NULL)) {
        *type = tensor->type;
        *rule = QDQ_RULE_COPIED;
        return QDQ_OK;
    }
    uint32_t wanted = preset->type;
    *rule = pure ? QDQ_RULE_BASE : QDQ_RULE_MIXTURE;
    if (!qdq_ggml_type_is_quantized(qdq_ggml_type_by_id(preset->type))) { /* the file is not even looked at */
        *rule = QDQ_RULE_BASE;
        *type = wanted;
        return QDQ_OK;
    }
    if (file) {
        size_t index;
        qdq_status status = qdq_type_file_match(file, tensor->name, &index, &wanted);
        if (status != QDQ_OK) return status;
        if (index < qdq_type_file_count(file)) *rule = QDQ_RULE_PATTERN;
    }
    qdq_status status = qdq_rules_fallback(QDQ_RULES_NEWEST, wanted, tensor->ne[0], type);
    if (status == QDQ_OK) return QDQ_OK;
    char why[512];
    snprintf(why, sizeof why, "%s", qdq_error_message());
    return qdq_fail(status, "%.120s: %s", tensor->name, why);
}
