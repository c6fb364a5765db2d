/* What llama-quantize does: which tensors it quantizes, to which type, and how it reads a --tensor-type-file.
 *
 * From llama.cpp's src/llama-quant.cpp and tools/quantize/quantize.cpp as of August 2026 (ggml d99724f2). The mixtures
 * of its presets (more bits for some layers) are not here: a recipe that names every tensor never meets them. */
#ifndef QDQ_MODEL_LLAMA_RULES_H
#define QDQ_MODEL_LLAMA_RULES_H

#include <stdbool.h>

#include "base/ggml_type.h"
#include "qdq.h"

/* ---- Types and presets ---- */

/* Can llama-quantize make it? */
bool qdq_rules_writes(const qdq_ggml_type *type);

typedef struct qdq_preset {
    const char *name;   /* as the command line has it: "Q4_K_S" */
    uint32_t file_type; /* general.file_type */
    uint32_t type;      /* the base type */
} qdq_preset;

/* The preset to name for a file that is mostly of that type; where several have it, the plainest (Q4_K_S for q4_K).
 * NULL: llama-quantize has none (nvfp4). */
const qdq_preset *qdq_preset_by_type(uint32_t type);
const qdq_preset *qdq_preset_by_name(const char *name); /* in any case; aliases (Q4_K) included */

/* ---- Tensors ---- */

typedef struct qdq_ggml_tensor {
    const char *name;
    uint64_t ne[4]; /* the row's length first; 1 past the last dimension */
    uint32_t type;
} qdq_ggml_tensor;

/* Does it quantize such a tensor at all? If not, *why (may be NULL) says what it goes by; it is then copied as it is.
 * Only names and dimensions count. */
bool qdq_rules_quantizes(const qdq_ggml_tensor *tensor, const char **why);

/* What it writes instead of `type` when a row of ne0 elements is no multiple of the block. QDQ_UNSUPPORTED: it stops
 * with an error. */
qdq_status qdq_rules_fallback(uint32_t type, uint64_t ne0, uint32_t *written);

/* Does it refuse to write that type without an importance matrix for the tensor? file_type: the preset's. */
bool qdq_rules_needs_imatrix(const char *name, uint32_t type, uint32_t file_type);

/* ---- --tensor-type and --tensor-type-file ---- */

/* Words PATTERN=TYPE, split at the first "="; the pattern is lower-cased and searched in the tensor's name, which is
 * not; the first that is found counts. There are no comments.
 *
 * llama-quantize searches with std::regex (ECMAScript), this library with PCRE2. Patterns are read only if both agree
 * on them: letters, digits and other plain bytes, ., ^, $, |, groups ( ) (?: ) (?! ), quantifiers * + ? {n,m} and
 * their lazy forms, classes with ranges and [:names:], \d \w \s \b \f \n \r \t, \xHH, and \ before punctuation. Others
 * are refused by name: backreferences, \u, \c, \v, \0, further escapes of letters, possessive quantifiers, named and
 * inline-option groups, look-behind, empty classes, [. .], a bare ] or }. (Lower-casing turns \D, \S, \W and
 * \B into \d, \s, \w and \b before that: it happens to llama-quantize too.) */
typedef struct qdq_type_file qdq_type_file;

/* path: for messages. QDQ_BAD_DATA, with the word's number: a word without "=", an unknown type, one that cannot be
 * written, a broken pattern, a NUL byte. QDQ_UNSUPPORTED: a pattern outside of the above. */
qdq_status qdq_type_file_read(const char *path, const char *text, size_t length, qdq_type_file **file);
/* The same, entry by entry: an empty list, to which the command line's --tensor-type (`option` is for messages) and the
 * words of files are added in their order. */
qdq_status qdq_type_file_create(qdq_type_file **file);
qdq_status qdq_type_file_add(qdq_type_file *file, const char *option, const char *word);
qdq_status qdq_type_file_add_text(qdq_type_file *file, const char *path, const char *text, size_t length);
void qdq_type_file_free(qdq_type_file *file);
size_t qdq_type_file_count(const qdq_type_file *file);
const char *qdq_type_file_entry(const qdq_type_file *file, size_t index); /* as it was given */
/* The first entry whose pattern is found in the name; *entry is the count when there is none. By one thread at a time.
 * QDQ_UNSUPPORTED: the search was given up (a pattern that backtracks without end). */
qdq_status qdq_type_file_match(const qdq_type_file *file, const char *name, size_t *entry, uint32_t *type);

/* ---- All of it ---- */

typedef enum qdq_rule {
    QDQ_RULE_COPIED,  /* not quantized: keeps its type */
    QDQ_RULE_BASE,    /* the base type (a preset that is not quantized, or --pure) */
    QDQ_RULE_PATTERN, /* an entry of the file */
    QDQ_RULE_MIXTURE  /* no entry is found: the preset's mixture decides; *type is the base */
} qdq_rule;

/* The type that llama-quantize gives the tensor. file may be NULL. *type is after the fallback for the row's length. */
qdq_status qdq_rules_type(const qdq_preset *preset, bool pure, const qdq_type_file *file, const qdq_ggml_tensor *tensor,
                          uint32_t *type, qdq_rule *rule);

#endif
