/* Names of tensors: Hugging Face's (safetensors) and GGUF's, both ways, and whose rows a conversion moves.
 *
 * A map is a list of pairs of patterns. In a pattern {n} stands for the layer's number, {e} for an expert's, {s} for
 * "weight" or "bias", {*} for any end; everything else stands for itself. The first pair that fits counts. Experts that
 * a safetensors file holds one by one are slices of one GGUF tensor, so {e} is on the Hugging Face side only.
 *
 * A map file (--map FILE) has a pair a line, Hugging Face's pattern first, and its pairs go before the built-in ones:
 *
 *     # comment
 *     transformer.h.{n}.attn.q.{s}      blk.{n}.attn_q.{s}    permute-q
 *     transformer.h.{n}.moe.{e}.up.{s}  blk.{n}.ffn_up_exps.{s}
 *     transformer.rope.inv_freq         -
 *
 * A "-" says that the conversion drops the tensor ({*} is for such lines); "permute-q" and "permute-k" that it moves
 * rows as llama's does (rows.h). */
#ifndef QDQ_MODEL_GGUF_NAMES_H
#define QDQ_MODEL_GGUF_NAMES_H

#include "qdq.h"

typedef struct qdq_gguf_names qdq_gguf_names;

/* architecture: GGUF's general.architecture, or model_type or architectures[0] of config.json: llama (mistral and
 * mixtral with it), qwen2, qwen3, qwen2moe, qwen3moe, gemma2, gemma3, phi3, bert, in the spellings of either side.
 * NULL: no built-in pairs. QDQ_UNSUPPORTED: no map for that architecture (the message lists those there are). */
qdq_status qdq_gguf_names_create(const char *architecture, qdq_gguf_names **names);
void qdq_gguf_names_free(qdq_gguf_names *names);
/* llama.cpp's name of the architecture; NULL: there are no built-in pairs. */
const char *qdq_gguf_names_architecture(const qdq_gguf_names *names);
/* Puts the pairs of a map file first. path: for messages. QDQ_BAD_DATA, with the line's number: a line that is not
 * two or three words, an unknown {…} or third word, {e} on GGUF's side, a placeholder on one side only. */
qdq_status qdq_gguf_names_add(qdq_gguf_names *names, const char *path, const char *text, size_t length);

typedef enum qdq_permute { QDQ_PERMUTE_NONE, QDQ_PERMUTE_Q, QDQ_PERMUTE_K } qdq_permute;

#define QDQ_NAME_MAX  256
#define QDQ_NO_EXPERT (-1)

typedef struct qdq_gguf_name {
    char name[QDQ_NAME_MAX]; /* "" when the conversion drops the tensor */
    int64_t expert;          /* which slice of the GGUF tensor; QDQ_NO_EXPERT: the whole */
    qdq_permute permute;     /* whose heads' rows the conversion moves */
} qdq_gguf_name;

/* QDQ_UNSUPPORTED: no pair fits; the message has the name and says what to do. */
qdq_status qdq_gguf_names_to_gguf(const qdq_gguf_names *names, const char *hf, qdq_gguf_name *gguf);
/* expert: which one, for a GGUF tensor that stacks experts; QDQ_NO_EXPERT otherwise. QDQ_UNSUPPORTED: no pair fits;
 * QDQ_INVALID_ARGUMENT: an expert for a tensor without, or none for a stack. */
qdq_status qdq_gguf_names_to_hf(const qdq_gguf_names *names, const char *gguf, int64_t expert, char hf[QDQ_NAME_MAX]);

/* What is known of a GGUF name: "blk.7.attn_q.weight" is kind "attn_q" of layer 7. layer: -1 when it has none. kind:
 * the name without the layer and the last ".weight" or ".bias". */
void qdq_name_parts(const char *gguf, int64_t *layer, char kind[QDQ_NAME_MAX]);

/* What mlx-lm calls the module that a Hugging Face weight is of: without ".weight", and experts as the one stack that
 * it makes of them, "mlp.switch_mlp.gate_proj". 0: it is no weight, or too long. */
int qdq_name_in_mlx(const char *hf, char path[QDQ_NAME_MAX]);

/* Tensors that usually share a format, by GGUF name: sets label to what those of one group have in common and returns
 * 1, or returns 0. QDQ_GROUP_QKV: attn_q, attn_k, attn_v of a layer; QDQ_GROUP_GATE_UP: ffn_gate and ffn_up of a
 * layer, its experts' and its shared expert's among themselves; QDQ_GROUP_EXPERTS: all experts' tensors of a layer. */
typedef enum qdq_group_preset { QDQ_GROUP_QKV, QDQ_GROUP_GATE_UP, QDQ_GROUP_EXPERTS } qdq_group_preset;
int qdq_name_group(qdq_group_preset preset, const char *gguf, char label[QDQ_NAME_MAX]);

#endif
