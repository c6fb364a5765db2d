/* The mixtures of llama-quantize's presets: which type each tensor of a model gets, by what the tensor is, where its
 * layer stands, and a few facts of the model.
 *
 * From llama.cpp's src/llama-quant.cpp. Its rules change apart from the bytes that ggml makes, so they have revisions
 * of their own; the newest is that of llama.cpp 0c1e57098. */
#ifndef QDQ_MODEL_MIXTURES_H
#define QDQ_MODEL_MIXTURES_H

#include "model/llama_rules.h"
#include "model/rules_model.h"

#define QDQ_NO_TYPE UINT32_MAX

/* What a command line asks for. */
typedef struct qdq_mixture_wish {
    const qdq_preset *preset;
    qdq_rules_revision revision;
    bool pure;                /* no mixture: the base type for all */
    bool leave_output;        /* output.weight stays as it is */
    bool has_imatrix;         /* an importance matrix is given, whatever it has entries for */
    uint32_t output_type;     /* of output.weight, or of the embedding where it serves as output; QDQ_NO_TYPE: none */
    uint32_t embedding_type;  /* of the token embedding; QDQ_NO_TYPE: none */
    qdq_type_file *overrides; /* --tensor-type; may be NULL */
    /* Where it is not llama-quantize's own command that is obeyed: */
    bool any_name;     /* names are not GGUF's: every tensor of two dimensions or more is quantized */
    bool keep_misfits; /* a tensor whose rows fit no type to fall back to stays as it is, and nothing stops */
} qdq_mixture_wish;

typedef struct qdq_mixture_choice {
    uint32_t type;
    qdq_rule rule;
    size_t entry;     /* of the overrides, for QDQ_RULE_PATTERN */
    uint32_t wanted;  /* the type before the row's length was looked at */
    char reason[128]; /* what the rule goes by: "the first or last eighth of the layers or every third"; "" */
} qdq_mixture_choice;

/* The types of all tensors, which must be in llama-quantize's order (qdq_rules_order), since its rules count them, and
 * under the names that they get. choices: one a tensor. A tensor of QDQ_RULE_COPIED keeps its type.
 * model may be NULL where wish->pure. QDQ_UNSUPPORTED: llama-quantize stops at a tensor; the message says which and
 * why.
 */
qdq_status qdq_mixture_types(const qdq_mixture_wish *wish, const qdq_rules_model *model, const qdq_ggml_tensor *tensors,
                             size_t n, qdq_mixture_choice *choices);

/* Why it copies a tensor as it is, whatever is asked for, in a model of that architecture ("": any): what it goes by;
 * NULL: it quantizes it. */
const char *qdq_mixture_keeps(qdq_rules_revision revision, const char *architecture, const qdq_ggml_tensor *tensor);

/* Less than, equal to or greater than 0, as llama-quantize puts the first tensor before, or after, the second: by the
 * number of its layer (`blk.N.`; the others come first), then by the bytes of its name. */
int qdq_rules_compare(const char *a, const char *b);

#endif
