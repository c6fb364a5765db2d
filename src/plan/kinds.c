/* The shares were measured, not fitted to plans: of three language models (SmolLM2 135M and Gemma 3 270M, healed after
 * their lattice was taken off; the example) one tensor at a time was quantized to q4_0, and the KL divergence over the
 * relative squared error was taken. Added up over the layers, kinds have about the same share in each model
 * (docs/planner.md has the figures), while the sum differs with the model: so a plan can go by the shares, and its
 * damage is in units that differ from model to model. */
#include "plan/kinds.h"

#include <string.h>

#include "model/gguf_names.h"

typedef struct kind {
    const char *name;
    double share; /* of all layers together; of what stands outside of layers, its own */
} kind;

static const kind kinds_of_layers[] = {
    {"attn_q", 0.05},
    {"attn_k", 0.045},
    {"attn_v", 0.25},
    {"attn_output", 0.08},
    {"ffn_gate", 0.10},
    {"ffn_up", 0.16},
    {"ffn_down", 0.30},

    /* Several of these in one matrix, or one of these in several: what they have together. */
    {"attn_qkv", 0.345},
    {"attn_q_a", 0.05},
    {"attn_q_b", 0.05},
    {"attn_kv_a_mqa", 0.295},
    {"attn_kv_b", 0.295},
    {"attn_k_b", 0.045},
    {"attn_v_b", 0.25},
    {"ffn_gate_exps", 0.10},
    {"ffn_up_exps", 0.16},
    {"ffn_down_exps", 0.30},
    {"ffn_gate_up_exps", 0.26},
    {"ffn_gate_shexp", 0.10},
    {"ffn_up_shexp", 0.16},
    {"ffn_down_shexp", 0.30},
};
static const double unknown_share = 0.1; /* of a layer's tensor of another kind: about the mean of the others */
static const double output_share = 0.20, embedding_share = 0.12, tied_share = 0.20;

/* The feed-forward matrices of the first layer cost twice, of the last three times what those between do; where a layer
 * writes more than all before it together, activations are massive, and that matrix's errors cost six times as much.
 * All of it shows in models that have a middle; of one with few layers only the kinds are known. */
static const double first_layer = 2, last_layer = 3, massive = 6;
enum { FEW_LAYERS = 4 };

void qdq_kinds_see(qdq_kinds *kinds, const char *gguf) {
    int64_t layer;
    char name[QDQ_NAME_MAX];
    qdq_name_parts(gguf, &layer, name);
    if (layer >= 0 && (uint64_t)layer + 1 > kinds->layers && layer < UINT32_MAX) kinds->layers = (uint32_t)layer + 1;
    if (strcmp(name, "output") == 0) kinds->has_output = true;
    if (strcmp(name, "token_types") == 0) kinds->is_encoder = true;
}

double qdq_kinds_weight(const qdq_kinds *kinds, const char *gguf) {
    int64_t layer;
    char name[QDQ_NAME_MAX];
    if (gguf[0] == '\0') return 0;
    qdq_name_parts(gguf, &layer, name);
    if (layer < 0) {
        if (strcmp(name, "output") == 0) return output_share;
        if (strcmp(name, "token_embd") == 0 && !kinds->has_output) return tied_share;
        return embedding_share;
    }
    double share = unknown_share;
    for (size_t i = 0; i < sizeof kinds_of_layers / sizeof kinds_of_layers[0]; i++)
        if (strcmp(name, kinds_of_layers[i].name) == 0) share = kinds_of_layers[i].share;
    if (strncmp(name, "ffn_", 4) == 0 && kinds->layers >= FEW_LAYERS) {
        if (layer == 0) share *= first_layer;
        if (layer + 1 == kinds->layers) share *= last_layer;
    }
    return share / (kinds->layers > 0 ? kinds->layers : 1);
}

bool qdq_kinds_writes(const char *gguf, int64_t *layer) {
    char name[QDQ_NAME_MAX];
    *layer = -1;
    if (gguf[0] == '\0') return false;
    qdq_name_parts(gguf, layer, name);
    return *layer >= 0 && strncmp(name, "ffn_down", 8) == 0;
}

double qdq_kinds_outburst(const qdq_kinds *kinds, double energy, double before) {
    return kinds->layers >= FEW_LAYERS && before > 0 && energy > before ? massive : 1;
}
