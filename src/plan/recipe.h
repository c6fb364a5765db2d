/* A plan as llama-quantize takes it: the text of a --tensor-type-file, and the command to run.
 *
 * The file has one line for each tensor that llama-quantize quantizes, anchored at both ends, so that no mixture and no
 * other line decides about it:
 *
 *     ^blk\.0\.attn_q\.weight$=q4_K
 *
 * llama-quantize lower-cases patterns, cuts the file at white space and a word at its first "=": capital letters,
 * white space, "=", control characters and bytes over 127 are written \xHH. */
#ifndef QDQ_PLAN_RECIPE_H
#define QDQ_PLAN_RECIPE_H

#include "model/llama_rules.h"

typedef struct qdq_recipe_tensor {
    qdq_ggml_tensor tensor; /* as in the GGUF that is to be quantized */
    uint32_t wanted;        /* the ggml type that the plan gives it; its own to leave it */
} qdq_recipe_tensor;

typedef struct qdq_recipe_job {
    size_t n_tensors; /* all of the file's */
    const qdq_recipe_tensor *tensors;
    const char *input, *output; /* GGUF files, for the command */
    const char *recipe;         /* where the text will stand, for the command and messages */
    const char *imatrix;        /* NULL: none */
} qdq_recipe_job;

typedef struct qdq_recipe {
    char *text;               /* the file */
    char *command;            /* one line for a POSIX shell, without its end */
    const qdq_preset *preset; /* the base: of the quantized types the one with the most elements */
    size_t n_lines;
} qdq_recipe;

/* Makes both and reads the text back by the rules: each tensor gets the type that it was to get. Refused with
 * QDQ_UNSUPPORTED, naming the tensor: a type for a tensor that llama-quantize copies; a row that is no multiple of the
 * type's block; a type that it cannot write; one that needs an importance matrix and can have none. */
qdq_status qdq_recipe_make(const qdq_recipe_job *job, qdq_recipe *recipe);
void qdq_recipe_free(qdq_recipe *recipe); /* its strings */

#endif
