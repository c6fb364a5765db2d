/* qdq_model: model files and what quantization does to them: read, measured, planned, rewritten.
 *
 * libqdq (qdq.h) works on arrays; this library stands on it and works on files: safetensors and GGUF, llama-imatrix's
 * importance matrices, gradients, plans. All that the command `qdq` does is made of these calls. It needs PCRE2;
 * libqdq does not.
 *
 * A model in Q4_K, as llama-quantize --pure makes it:
 *
 *     qdq_device *device;  qdq_model *model;  qdq_selection *all;  qdq_pass *pass;  qdq_llama *rules;
 *     qdq_device_open("auto", &device);
 *     qdq_model_open("model-bf16.gguf", &model);
 *     qdq_selection_create(model, NULL, &all);
 *     qdq_pass_create(1, &device, NULL, &pass);
 *     qdq_llama_options options = {.size = sizeof options, .format = qdq_format_by_name("q4_K")};
 *     qdq_llama_create(&options, &rules);
 *     qdq_llama_chooser chooser = {rules, all};
 *     if (qdq_quantize_file(pass, all, "model-q4_K.gguf", qdq_llama_choose, &chooser, NULL, NULL) != QDQ_OK)
 *         puts(qdq_error_message());
 *
 * docs/model.md has whole programs for a converter, a trainer and an engine.
 *
 * Conventions are those of qdq.h: a qdq_status from every call that can fail, qdq_error_message() on the same thread,
 * handles set to NULL by a call that fails, structs that may grow begin with their size, which the caller sets where he
 * makes the struct and the library where it does. QDQ_OUT_OF_MEMORY is possible wherever a handle is made. No call
 * prints, aborts, exits or keeps state beside its handles, except that outputs and mapped files are listed, under a
 * lock, for qdq_out_abort_all() and qdq_mapped_path().
 *
 * Files are hostile: sizes are checked for overflow and against the file before use; a defect is QDQ_BAD_DATA with a
 * message that names file, tensor and offset. Names in messages are escaped. Outputs appear whole or not at all, and
 * replace no file that is open as an input.
 *
 * Threads. Every call may be made from any thread. A model, an importance matrix, a selection and gradients may be used
 * by several threads at once; a pass, a planner, llama-quantize's rules and a writer by one at a time. What is freed
 * must not be in use, and what a handle was made of outlives it: a selection its model and importance matrix, a planner
 * its selection and gradients, a pass its devices.
 */
#ifndef QDQ_MODEL_H
#define QDQ_MODEL_H

#include "qdq.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Failures -------------------------------------------------------------------------------------------------- */

/* What would let the call succeed, where that is something that the caller can give. */
typedef enum qdq_advice {
    QDQ_ADVICE_NONE = 0,
    QDQ_ADVICE_ALLOW_NON_FINITE = 1, /* qdq_pass_options.allow_non_finite */
    QDQ_ADVICE_IMATRIX = 2,          /* qdq_selection_options.imatrix */
    QDQ_ADVICE_NAMES = 3,            /* qdq_selection_options.architecture or .map */
    QDQ_ADVICE_MAP = 4,              /* qdq_selection_options.map */
    QDQ_ADVICE_HF = 5,               /* qdq_gradients_options.hf */
    QDQ_ADVICE_EXCEPTION = 6,        /* an importance matrix that has the tensor, or qdq_llama_add() */
    QDQ_ADVICE_WEIGHTS = 7,          /* a model or a selection that has weights for the format */
    QDQ_ADVICE_REQUANTIZE = 8,       /* qdq_decode_options.requantize */
    QDQ_ADVICE_OTHER_WEIGHTS = 9,    /* qdq_like_options.other_weights */
    QDQ_ADVICE_LIKE = 10             /* qdq_model_open_like(), or qdq_llama_options.format */
} qdq_advice;

/* Of the last failure of this thread. */
QDQ_API qdq_advice qdq_error_advice(void);

/* Frees texts that this library hands out; NULL is allowed. */
QDQ_API void qdq_free(void *memory);

/* `text` made safe for a terminal: control and invalid bytes as \xNN; of one that does not fit size (at least 16) the
 * first third and the end, where a path has its file, with … between them. Returns buffer. */
QDQ_API const char *qdq_printable(const char *text, char *buffer, size_t size);

/* Bytes of the first character of `text`, UTF-8, if a terminal should not see it: a control character, or a mark that
 * turns the direction of writing. 0: it may, or the text is at its end. For who has another spelling of such. */
QDQ_API size_t qdq_disturbance(const char *text);

/* ---- Formats by name ------------------------------------------------------------------------------------------- */

#define QDQ_MAX_FORMATS 64

/* Reads one format's name or several parted by commas, in any case, each once. formats: room for QDQ_MAX_FORMATS.
 * QDQ_INVALID_ARGUMENT, and *n = 0: an unknown name (the message lists those there are), a name twice. */
QDQ_API qdq_status qdq_parse_formats(const char *text, qdq_format *formats, uint32_t *n);
/* What a list of formats may have. */
enum {
    QDQ_LIST_FLOATS = 1,  /* those without blocks, too: f32, f16, bf16 */
    QDQ_LIST_WEIGHTED = 2 /* formats that need an importance matrix: there is one */
};
/* As qdq_parse_formats(), with these. NULL and "all" are every format of blocks, without QDQ_LIST_WEIGHTED those that
 * need no importance matrix. QDQ_INVALID_ARGUMENT also: a format that the flags leave out; where it needs an importance
 * matrix, with QDQ_ADVICE_IMATRIX. */
QDQ_API qdq_status qdq_list_formats(const char *text, uint32_t flags, qdq_format *formats, uint32_t *n);

/* ---- Models, read ---------------------------------------------------------------------------------------------- */

typedef enum qdq_layout { QDQ_LAYOUT_SAFETENSORS = 0, QDQ_LAYOUT_GGUF = 1 } qdq_layout;

#define QDQ_NO_GGML_TYPE UINT32_MAX

typedef struct qdq_decoding qdq_decoding;

/* Made by the library, and as old as it: size says how many bytes it has. */
typedef struct qdq_tensor {
    size_t size;
    const char *name;      /* UTF-8, no NUL inside */
    const char *type_name; /* as the file's layout spells it: "F32", "I64", "F8_E4M3"; "f32", "q4_K" */
    const uint64_t *shape; /* n_dims extents, slowest first (GGUF's ne reversed); the last is the row */
    uint32_t n_dims;       /* 0: a scalar, of one element */
    uint32_t ggml_type;    /* ggml's id of the type; QDQ_NO_GGML_TYPE when ggml has none (F8_E4M3, BOOL, …) */
    bool source;           /* its elements are F32, F16 or BF16, dtype says which: it may be quantized */
    qdq_dtype dtype;       /* QDQ_U8 when not a source */
    uint64_t elements;     /* the product of the shape; may be 0 */
    uint64_t bytes;
    const void *data; /* in the map, at any alignment; of codes that no copy could hold NULL */
    const char *path; /* the file that holds it */
    uint64_t offset;  /* of data in that file, in bytes */
    /* Of a source whose elements are made of codes when they are read, by qdq_model_decode(); else NULL. */
    const qdq_decoding *decoding;
    uint64_t first; /* of a part of such a tensor: the element where it begins; else 0 */
} qdq_tensor;

typedef struct qdq_model qdq_model;

/* path: a .safetensors file; a *.safetensors.index.json with its shards beside it; a directory that holds either (the
 * index is preferred, then model.safetensors; without both, every *.safetensors in order of name); a .gguf, version 2
 * or 3, or any one shard of a split set, which opens the whole set. Every header is read and checked; data are mapped,
 * not read.
 * QDQ_IO_ERROR: a file is missing or cannot be read; QDQ_BAD_DATA: a defect; QDQ_OUT_OF_MEMORY. */
QDQ_API qdq_status qdq_model_open(const char *path, qdq_model **model);
/* The same for one file's bytes in memory, which must outlive the model. name: for messages. */
QDQ_API qdq_status qdq_model_parse(qdq_layout layout, const void *bytes, uint64_t length, const char *name,
                                   qdq_model **model);
QDQ_API void qdq_model_close(qdq_model *model); /* NULL is allowed; tensors and metadata go with it */

QDQ_API qdq_layout qdq_model_layout(const qdq_model *model);
QDQ_API const char *qdq_model_path(const qdq_model *model); /* as it was given */
QDQ_API uint64_t qdq_model_file_count(const qdq_model *model);
/* Tensors in the order of the files: shards in order of number (GGUF) or name, and in each by offset. */
QDQ_API uint64_t qdq_model_tensor_count(const qdq_model *model);
QDQ_API const qdq_tensor *qdq_model_tensor(const qdq_model *model, uint64_t index); /* index < tensor_count */
QDQ_API const qdq_tensor *qdq_model_find(const qdq_model *model, const char *name); /* NULL: no such tensor */
/* Why a tensor cannot be a source of weights ("q4_K is already quantized"); NULL when it can. */
QDQ_API const char *qdq_tensor_not_source(const qdq_tensor *tensor);

/* ---- Weights that are codes ------------------------------------------------------------------------------------ */

typedef struct qdq_decode_options {
    size_t size;     /* sizeof(qdq_decode_options), set by the caller */
    const char *via; /* the elements that are made of codes: "f32", "f16", "bf16"; NULL: of GGUF "f32", else "bf16" */
    bool requantize; /* GGUF's quantized tensors are sources, too */
    /* For qdq_file_options.keep_codes: where NVFP4 has an outer scale, that stays a tensor, X.scale of X.weight, and
     * the weights are what they are without it. QDQ_UNSUPPORTED: it divides, and its reciprocal is no float. */
    bool keep_codes;
} qdq_decode_options;

/* Tensors whose codes are known become sources: `source`, `dtype` and `decoding` are set, and their elements are what
 * the codes mean, rounded to nearest, ties to even, to the elements of `via`. Before selections are made of the model,
 * and once. What a tensor's codes are called, and how many tensors have them, says qdq_model_decoded().
 *
 * Of safetensors: codes whose scales are in other tensors, in the layouts of docs/sources.md, as a config.json beside
 * them, names, types and shapes tell. They take the name of the weights that they stand for, and the type of `via`,
 * with the bytes that it has; data are NULL; scales are no tensors any more.
 *
 * Of GGUF, where requantize is set: every quantized type; the values are those of ggml's dequantize_row_*(). Such a
 * tensor stays what it was for copies: type_name, ggml_type, bytes and data are the file's.
 *
 * QDQ_INVALID_ARGUMENT: no such elements; QDQ_UNSUPPORTED: codes that are not read, with tensor and reason;
 * QDQ_BAD_DATA: codes without scales, scales without codes, shapes that do not fit; QDQ_OUT_OF_MEMORY. options may be
 * NULL. */
QDQ_API qdq_status qdq_model_decode(qdq_model *model, const qdq_decode_options *options);
/* The codes' name, as "q4_K"; *tensors have them, and *via is what their elements are. NULL: past the last. */
QDQ_API const char *qdq_model_decoded(const qdq_model *model, uint64_t index, uint64_t *tensors, qdq_dtype *via);
/* `count` elements of a source from element `first` on, as its dtype has them, to `to`, at any alignment.
 * QDQ_INVALID_ARGUMENT: it is no source, or has not so many. From any thread. */
QDQ_API qdq_status qdq_tensor_read(const qdq_tensor *tensor, uint64_t first, uint64_t count, void *to);
/* ---- Weights of one file under the names of another ------------------------------------------------------------- */

typedef enum qdq_like_event {
    QDQ_LIKE_COPIED = 0, /* a tensor of the template that none of the checkpoint becomes; it is no matrix of weights */
    QDQ_LIKE_UNUSED = 1  /* a tensor of the checkpoint that becomes none of the template */
} qdq_like_event;

typedef struct qdq_like_options {
    size_t size;     /* sizeof(qdq_like_options), set by the caller */
    const char *map; /* a file of pairs of names that go first (docs/planner.md), or NULL */
    /* The checkpoint's weights may be others than the template was made of, as of a model that was trained further:
     * nothing is verified but shapes, and where values do not tell how rows stand, the architecture's conversion does.
     */
    bool other_weights;
    /* Told of tensors that are not simply taken. Other than QDQ_OK ends the call with that status. NULL: nobody is. */
    qdq_status (*told)(void *context, qdq_like_event event, const char *name);
    void *context;
} qdq_like_options;

typedef struct qdq_like_report {
    size_t size;       /* sizeof(qdq_like_report), set by the caller */
    uint64_t taken;    /* tensors that are made of the checkpoint's */
    uint64_t verified; /* of these, those whose rows were found in the template */
    uint64_t moved;    /* of these, those whose rows a conversion moves */
    uint64_t copied, unused;
} qdq_like_report;

/* The template, a GGUF of the same model, with its metadata, names and shapes, but the checkpoint's weights, in the
 * elements that these have (tensors that llama-quantize leaves alone: in the template's). template: whatever its types;
 * a split set's first part is enough, and tensors of the others are made as the architecture's conversion makes them.
 *
 * Shapes are compared, and rows of each matrix: bit by bit where the template is in F32, F16 or BF16, else within what
 * its type may have lost. So it is found whether rows stand as in the checkpoint, or moved as llama's conversion moves
 * them, and whether 1 was added to norms, as gemma's does.
 *
 * The checkpoint is of safetensors, decoded if need be, and must outlive the model. options and report may be NULL.
 * QDQ_BAD_DATA: a template without architecture, a tensor of other shape or other weights, with the first difference,
 * or of no tensor of the checkpoint; QDQ_UNSUPPORTED: names are not known (QDQ_ADVICE_MAP), the checkpoint is GGUF;
 * what qdq_model_open() says. */
QDQ_API qdq_status qdq_model_open_like(const char *path, const qdq_model *checkpoint, const qdq_like_options *options,
                                       qdq_like_report *report, qdq_model **model);

/* "4096 x 11008", "scalar"; returns buffer, which has 192 bytes. */
QDQ_API const char *qdq_extents_text(const qdq_tensor *tensor, char *buffer);

/* ---- Metadata -------------------------------------------------------------------------------------------------- */

/* Value types of metadata, GGUF's ids. */
enum {
    QDQ_KV_U8 = 0,
    QDQ_KV_I8 = 1,
    QDQ_KV_U16 = 2,
    QDQ_KV_I16 = 3,
    QDQ_KV_U32 = 4,
    QDQ_KV_I32 = 5,
    QDQ_KV_F32 = 6,
    QDQ_KV_BOOL = 7,
    QDQ_KV_STRING = 8,
    QDQ_KV_ARRAY = 9,
    QDQ_KV_U64 = 10,
    QDQ_KV_I64 = 11,
    QDQ_KV_F64 = 12
};

/* One entry of metadata. The value is kept as GGUF encodes it, whatever the layout: little-endian; a string is u64
 * length and bytes; an array is u32 element type, u64 count and the elements. */
typedef struct qdq_kv {
    const char *key;
    const uint8_t *value;
    uint64_t bytes; /* of value */
    uint32_t type;
} qdq_kv;

/* Of GGUF the first shard's key-values in their order; of safetensors the `__metadata__` of all shards, the first
 * shard's value where several have the key. */
QDQ_API uint64_t qdq_model_kv_count(const qdq_model *model);
QDQ_API const qdq_kv *qdq_model_kv(const qdq_model *model, uint64_t index);       /* index < kv_count */
QDQ_API const qdq_kv *qdq_model_find_kv(const qdq_model *model, const char *key); /* NULL: no such key */

/* Each returns false, and leaves its results alone, when the value is of another type or (u64) negative. */
QDQ_API bool qdq_kv_u64(const qdq_kv *kv, uint64_t *value);                        /* of any integer type */
QDQ_API bool qdq_kv_string(const qdq_kv *kv, const char **text, uint64_t *length); /* no NUL at its end */
QDQ_API bool qdq_kv_array(const qdq_kv *kv, uint32_t *element_type, uint64_t *count, const uint8_t **elements);
/* Element `index` of an array of strings; walks the array. */
QDQ_API bool qdq_kv_array_string(const qdq_kv *kv, uint64_t index, const char **text, uint64_t *length);

/* ---- Importance matrices --------------------------------------------------------------------------------------- */

typedef struct qdq_imatrix qdq_imatrix;
typedef struct qdq_imatrix_entry qdq_imatrix_entry;

/* path: llama-imatrix's GGUF layout, or the legacy .dat (told apart by content). All values are checked: finite, not
 * negative. QDQ_IO_ERROR, QDQ_BAD_DATA, QDQ_OUT_OF_MEMORY. */
QDQ_API qdq_status qdq_imatrix_open(const char *path, qdq_imatrix **imatrix);
/* The same for bytes in memory, which must outlive it. name: for messages. */
QDQ_API qdq_status qdq_imatrix_parse(const void *bytes, uint64_t length, const char *name, qdq_imatrix **imatrix);
QDQ_API void qdq_imatrix_close(qdq_imatrix *imatrix); /* NULL is allowed */
/* Drops the entries whose name has one of `exclude` in it; then, if there are any of `include`, those that have none of
 * these. Entries that were found before are no more. QDQ_OUT_OF_MEMORY. */
QDQ_API qdq_status qdq_imatrix_filter(qdq_imatrix *imatrix, const char *const *include, size_t n_include,
                                      const char *const *exclude, size_t n_exclude);
QDQ_API const char *qdq_imatrix_path(const qdq_imatrix *imatrix); /* as it was given */
QDQ_API uint64_t qdq_imatrix_count(const qdq_imatrix *imatrix);   /* entries */
QDQ_API const qdq_imatrix_entry *qdq_imatrix_entry_at(const qdq_imatrix *imatrix, uint64_t index);
/* NULL: no entry. A name longer than 63 bytes also finds an entry of its first 63, as ggml cuts them. */
QDQ_API const qdq_imatrix_entry *qdq_imatrix_find(const qdq_imatrix *imatrix, const char *name);
QDQ_API const char *qdq_imatrix_entry_name(const qdq_imatrix_entry *entry);
/* Weights of the entry: columns x matrices (experts). */
QDQ_API uint64_t qdq_imatrix_entry_weights(const qdq_imatrix_entry *entry);
/* out[i] = weight first + i, for n weights: sum / count of its matrix; 1 where the count is 0. first + n <= weights.
 * Expert e of a tensor with rows of r: first = e * r, n = r. */
QDQ_API void qdq_imatrix_weights(const qdq_imatrix_entry *entry, uint64_t first, uint64_t n, float *out);
/* The first dataset's name ("" if none); each of them, NULL past the last. */
QDQ_API const char *qdq_imatrix_dataset(const qdq_imatrix *imatrix);
QDQ_API const char *qdq_imatrix_dataset_at(const qdq_imatrix *imatrix, uint64_t index);
/* The number of chunks of text, and the tokens of one; 0 if not known. The legacy layout does not say the second. */
QDQ_API uint32_t qdq_imatrix_chunks(const qdq_imatrix *imatrix);
QDQ_API uint32_t qdq_imatrix_chunk_size(const qdq_imatrix *imatrix);

typedef struct qdq_imatrix_statistics {
    size_t size;                              /* sizeof(qdq_imatrix_statistics), set by the caller */
    uint64_t columns;                         /* a matrix; 0: the legacy layout does not say */
    uint64_t matrices;                        /* that are counted apart: experts */
    uint64_t unreached;                       /* of these, with a count of 0: no part of what follows */
    double least_count, most_count;           /* of a matrix: tokens; in the legacy layout chunks */
    double sum, mean, deviation, least, most; /* of the weights */
    double active;                            /* share of the weights over 1e-5 */
    double entropy;                           /* of the weights as shares of their sum; 1: all alike */
} qdq_imatrix_statistics;

/* Fills the first statistics->size bytes. Of an entry that no token has reached all is 0. */
QDQ_API qdq_status qdq_imatrix_entry_describe(const qdq_imatrix_entry *entry, qdq_imatrix_statistics *statistics);

typedef enum qdq_imatrix_layout { QDQ_IMATRIX_GGUF = 0, QDQ_IMATRIX_DAT = 1 } qdq_imatrix_layout;

QDQ_API qdq_imatrix_layout qdq_imatrix_layout_of(const qdq_imatrix *imatrix); /* of the file that was read */

typedef struct qdq_imatrix_write_options {
    size_t size;               /* sizeof(qdq_imatrix_write_options), set by the caller */
    qdq_imatrix_layout layout; /* QDQ_IMATRIX_DAT: the legacy one */
    uint32_t chunk_size;       /* tokens a chunk; 0: what the first matrix that says it has, else 512 */
} qdq_imatrix_write_options;

typedef struct qdq_imatrix_report {
    size_t size;                 /* sizeof(qdq_imatrix_report), set by the caller */
    uint64_t entries;            /* that were written */
    uint64_t partial;            /* of these, entries that not every matrix has */
    uint64_t dropped;            /* left out of the legacy layout: no token has reached them */
    uint32_t chunks, chunk_size; /* as the file says, or as it counts */
} qdq_imatrix_report;

/* The sum of n matrices, 1 or more, as llama-imatrix --in-file makes it: sums and counts are added in the order of the
 * matrices, entries that only some have are taken as they are. One matrix is converted. In the legacy layout an expert
 * that no token reached has weights of 1, and an entry of which none is reached is left out; out of it all experts of a
 * stack are counted as one matrix. options and report may be NULL. QDQ_INVALID_ARGUMENT: no matrix; QDQ_BAD_DATA: an
 * entry has other sizes in two of them, or a sum that is not finite; QDQ_UNSUPPORTED: a name or a number that the
 * layout cannot hold; what qdq_out_create says. */
QDQ_API qdq_status qdq_imatrix_write(uint32_t n, const qdq_imatrix *const *matrices,
                                     const qdq_imatrix_write_options *options, const char *path,
                                     qdq_imatrix_report *report);

/* ---- Selections: which tensors, with which importance ----------------------------------------------------------- */

typedef struct qdq_selection qdq_selection;

typedef struct qdq_selection_options {
    size_t size; /* sizeof(qdq_selection_options), set by the caller */
    /* Regular expressions, searched in names, as PCRE2 reads them byte by byte: POSIX's extended ones mean what they
     * mean there. Without include, every tensor; exclude is stronger. */
    const char *const *include, *const *exclude;
    uint32_t n_include, n_exclude;
    const qdq_imatrix *imatrix; /* or NULL */
    /* NULL: the architecture is that of the metadata, or of the config.json beside safetensors. It tells GGUF's names
     * of Hugging Face's tensors. map: a file of pairs of names that go first (docs/planner.md), or NULL. */
    const char *architecture, *map;
} qdq_selection_options;

/* options NULL: every tensor, without importance. Importance under GGUF's names is found for Hugging Face's tensors
 * too. QDQ_INVALID_ARGUMENT: a broken regular expression, with it; QDQ_UNSUPPORTED: `architecture` is not known, with
 * those that are; QDQ_BAD_DATA: importance of another size than the tensor has, a broken map. */
QDQ_API qdq_status qdq_selection_create(const qdq_model *model, const qdq_selection_options *options,
                                        qdq_selection **selection);
QDQ_API void qdq_selection_free(qdq_selection *selection); /* NULL is allowed */
QDQ_API const qdq_model *qdq_selection_model(const qdq_selection *selection);
/* QDQ_INVALID_ARGUMENT: text is no regular expression that a selection takes, with what is wrong. */
QDQ_API qdq_status qdq_check_pattern(const char *text);

typedef enum qdq_fit_reason {
    QDQ_FIT_TAKEN = 0,
    QDQ_FIT_TYPE = 1,          /* no source of weights: integers, quantized already */
    QDQ_FIT_NOT_INCLUDED = 2,  /* no pattern of include matches */
    QDQ_FIT_EXCLUDED = 3,      /* one of exclude does */
    QDQ_FIT_DIMENSIONS = 4,    /* fewer than two */
    QDQ_FIT_EMPTY = 5,         /* no elements */
    QDQ_FIT_ROW = 6,           /* rows are no multiple of the format's block */
    QDQ_FIT_NO_IMPORTANCE = 7, /* the format needs an importance matrix, and there is no entry for the tensor */
    QDQ_FIT_RULE = 8           /* who chose has a reason of his own: llama-quantize's rules, a plan */
} qdq_fit_reason;

typedef struct qdq_fit {
    size_t size; /* sizeof(qdq_fit), set by the caller */
    qdq_fit_reason reason;
    uint32_t block; /* elements of the format's block */
    bool weighted;  /* the importance matrix has an entry for the tensor */
    char text[256]; /* the reason as a clause, lower case: "1 dimension; 2 are needed"; "" where it is taken */
} qdq_fit;

/* Does the format take tensor `index` of the model? QDQ_FORMAT_NONE: would any? QDQ_INVALID_ARGUMENT: no such tensor or
 * format; QDQ_BAD_DATA: importance of another size than the tensor has. */
QDQ_API qdq_status qdq_selection_fit(const qdq_selection *selection, uint64_t index, qdq_format format, qdq_fit *fit);

/* The importance matrix's entry for the tensor, under its name or GGUF's; of experts that are held one by one, that of
 * the stack. NULL: there is none. QDQ_BAD_DATA: it has another size than the tensor. */
QDQ_API qdq_status qdq_selection_importance(const qdq_selection *selection, uint64_t index,
                                            const qdq_imatrix_entry **entry);

/* The tensor's name in GGUF: name has 256 bytes; "" when a conversion drops the tensor. *expert: the matrix of the GGUF
 * tensor that it is, -1 for all of it. QDQ_UNSUPPORTED: the architecture or the name is not known. */
QDQ_API qdq_status qdq_selection_gguf_name(const qdq_selection *selection, uint64_t index, char *name, int64_t *expert);

/* Whose rows a conversion to GGUF moves: of each head, row i of the first half to 2i, of the second to 2i + 1. */
typedef enum qdq_moved_rows {
    QDQ_MOVED_NONE = 0,
    QDQ_MOVED_QUERIES = 1, /* of as many heads as the model has */
    QDQ_MOVED_KEYS = 2     /* of as many as it has for keys and values */
} qdq_moved_rows;

/* Of the tensor, by the names of its architecture; of a GGUF's tensor, what was moved to make it. QDQ_UNSUPPORTED: as
 * qdq_selection_gguf_name(). */
QDQ_API qdq_status qdq_selection_moved_rows(const qdq_selection *selection, uint64_t index, qdq_moved_rows *moved);

/* ---- Passes: tensors through devices, a piece at a time --------------------------------------------------------- */

/* Opens the devices of a list: names of qdq_device_open() parted by commas, or "cuda:all", "vulkan:all" for every one
 * that there is. devices: room for `most`; each is to be closed. As qdq_device_open(), and QDQ_INVALID_ARGUMENT: more
 * than `most`; on failure none is open. */
QDQ_API qdq_status qdq_devices_open(const char *names, int threads, uint32_t most, qdq_device **devices, uint32_t *n);

/* Memory does not grow with the model: a few pieces of some MiB a device are under way. On a CPU the kernels read the
 * mapped file itself. Results are the same bits whatever the devices, their number and the threads. A pass has a thread
 * a device, which reads for it; sinks and progress are called on the caller's. */
typedef struct qdq_pass qdq_pass;

typedef struct qdq_pass_options {
    size_t size; /* sizeof(qdq_pass_options), set by the caller */
    int threads; /* of the host's own work, from 0 to 4,096; 0: one a core */
    /* false: a weight or gradient that is NaN or infinite is QDQ_BAD_DATA, with tensor and index. */
    bool allow_non_finite;
    /* Told, on the thread that calls, how many bytes of files were read, of how many (0: not known), in this job.
     * false: the call returns QDQ_CANCELLED, and what it was writing is gone. NULL: nobody is told. */
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
} qdq_pass_options;

/* n_devices, 1 to 1,024: each takes pieces as it has room. A device that fails fails the call, whose message names it.
 * options may be NULL. QDQ_INVALID_ARGUMENT: no device, a wrong number
 * of threads. After a call on it has failed, a pass can only be freed. */
QDQ_API qdq_status qdq_pass_create(uint32_t n_devices, qdq_device *const *devices, const qdq_pass_options *options,
                                   qdq_pass **pass);
QDQ_API void qdq_pass_free(qdq_pass *pass); /* waits; NULL is allowed */
/* A new job, of so many bytes (0: not known), for progress. Calls for whole files and planners say it themselves. */
QDQ_API void qdq_pass_expect(qdq_pass *pass, uint64_t bytes);

/* Takes results in order: `bytes` more of a tensor's blocks or floats. data is valid during the call. Other than QDQ_OK
 * ends the pass with that status. */
typedef qdq_status qdq_sink(void *context, const void *data, uint64_t bytes);

/* All of these return when the tensor is under way; results are in place, and the sink has everything, after
 * qdq_pass_flush(), which sums, sink and its context must live to see. The tensor's importance goes with it.
 * QDQ_INVALID_ARGUMENT: no such tensor or format; QDQ_UNSUPPORTED: a format does not take the tensor, with the reason;
 * QDQ_BAD_DATA: numbers that are not finite; QDQ_IO_ERROR: a file cannot be read; QDQ_DEVICE_ERROR, QDQ_OUT_OF_MEMORY;
 * QDQ_CANCELLED. */

/* Adds to sums[k] what formats[k] does to the tensor: one reading for all, from 1 to QDQ_MAX_FORMATS. */
QDQ_API qdq_status qdq_pass_error(qdq_pass *pass, const qdq_selection *selection, uint64_t index, uint32_t n_formats,
                                  const qdq_format *formats, qdq_error_sums *sums);
/* A round trip: elements floats to the sink. */
QDQ_API qdq_status qdq_pass_roundtrip(qdq_pass *pass, const qdq_selection *selection, uint64_t index, qdq_format format,
                                      qdq_sink *sink, void *context);
/* Blocks, as GGUF has them: qdq_format_bytes(format, elements) bytes to the sink. */
QDQ_API qdq_status qdq_pass_quantize(qdq_pass *pass, const qdq_selection *selection, uint64_t index, qdq_format format,
                                     qdq_sink *sink, void *context);
QDQ_API qdq_status qdq_pass_flush(qdq_pass *pass);

/* ---- Sums that several processes measure --------------------------------------------------------------------------
 */

/* A folder keeps the sums of whole tensors, as far as they are measured: what is there and intact is taken over, what
 * is missing is measured and added, a few seconds' work at a time, so that little is lost with a process that is
 * killed. Whoever measures a tensor gets the same bits, so any number of processes may work in one folder, at once, or
 * in several whose files are then put into one. The calls that take it return, beside their own failures, QDQ_BAD_DATA:
 * the folder is another version's, or has sums of another model, or made otherwise, with what differs; QDQ_IO_ERROR;
 * QDQ_INVALID_ARGUMENT: no folder, no such part. */
typedef struct qdq_shared_sums {
    size_t size;        /* sizeof(qdq_shared_sums), set by the caller */
    const char *folder; /* made if it is not there */
    /* Measure, of what is missing, only part `part`, counted from 1, of `parts` (65,536 at most) of about equal cost.
     * 0 and 0: all that is missing. */
    uint32_t part, parts;
    /* Set by the call, in tensors: those that it measured, those that it would have had to and were known, and those
     * whose sums are not known yet and stay 0, which other parts measure. */
    uint64_t measured, known, missing;
    /* Instead of `part`, which is 0: asked for one part after another; 0: no more for this call. The first parts have
     * the dearest tensors. */
    uint32_t (*next_part)(void *context);
    void *context;
} qdq_shared_sums;

/* ---- What formats do to a model --------------------------------------------------------------------------------- */

/* The errors of several formats in each tensor that the selection takes, from one reading. Where a format's block does
 * not divide a tensor's rows, what qdq_llama_fallback() has for it is measured in its place, if that takes the tensor.
 */
typedef struct qdq_errors qdq_errors;

/* From 1 to QDQ_MAX_FORMATS formats. QDQ_INVALID_ARGUMENT: no such format. */
QDQ_API qdq_status qdq_errors_create(const qdq_selection *selection, uint32_t n_formats, const qdq_format *formats,
                                     qdq_errors **errors);
QDQ_API void qdq_errors_free(qdq_errors *errors); /* NULL is allowed */
/* Reads the tensors, as passes do. Again and again it gives the same. */
QDQ_API qdq_status qdq_errors_measure(qdq_errors *errors, qdq_pass *pass);
/* The same with other processes; shared may be NULL. */
QDQ_API qdq_status qdq_errors_measure_shared(qdq_errors *errors, qdq_pass *pass, qdq_shared_sums *shared);
/* Of the model's tensor `index`, where formats[format] was asked for: the format that it is measured in, and the sums,
 * 0 until they are measured, which live as long as errors. Either may be NULL. false: it is not measured for that
 * format, or there is no such tensor; qdq_selection_fit() tells why. */
QDQ_API bool qdq_errors_find(const qdq_errors *errors, uint64_t index, uint32_t format, qdq_format *written,
                             const qdq_error_sums **sums);
/* Are the tensor's squares weighted by importance? */
QDQ_API bool qdq_errors_weighted(const qdq_errors *errors, uint64_t index);
/* The sums of all tensors together that are measured where formats[format] was asked for, of those with or of those
 * without importance, whose squares are not of one kind; and their bits a weight (may be NULL). */
QDQ_API qdq_status qdq_errors_total(const qdq_errors *errors, uint32_t format, bool weighted, qdq_error_sums *sums,
                                    double *bits);

/* ---- Lattices: weights that were made of few codes --------------------------------------------------------------- */

enum { QDQ_LATTICES = 16 }; /* room; there are fewer */

typedef struct qdq_lattice_counts {
    size_t size;                                     /* sizeof(qdq_lattice_counts), set by the caller */
    uint32_t lattice;                                /* the first that has all groups; UINT32_MAX: none */
    uint64_t groups[QDQ_LATTICES], on[QDQ_LATTICES]; /* of a row, its last may be smaller; those on the lattice */
} qdq_lattice_counts;

/* Its name ("int4"), what it is in words, and the weights of a group, which have one scale; meaning and group may be
 * NULL. NULL: past the last. They are in order of how much they leave open. */
QDQ_API const char *qdq_lattice_name(uint32_t lattice, const char **meaning, uint32_t *group);
/* Which lattices a tensor's weights are on, up to the rounding of their own type: those of a model that was trained for
 * a format, or that was quantized once and then stored as floats. As other passes, but done at return. QDQ_UNSUPPORTED:
 * the selection does not take the tensor. */
QDQ_API qdq_status qdq_pass_lattice(qdq_pass *pass, const qdq_selection *selection, uint64_t index,
                                    qdq_lattice_counts *counts);

/* ---- Gradients -------------------------------------------------------------------------------------------------- */

/* A file of gradients, in any layout, F32, F16 or BF16, one a tensor, of the tensor's shape. Names may be Hugging
 * Face's where the model is GGUF: stacks of experts and rows that the conversion moves are put in order. */
typedef struct qdq_gradients qdq_gradients;

typedef struct qdq_gradients_options {
    size_t size; /* sizeof(qdq_gradients_options), set by the caller */
    /* The model, in Hugging Face's layout, that the gradients were taken of: comparing its weights with the selection's
     * tells whose rows the conversion has moved. NULL where names agree or nothing was moved. */
    const char *hf;
} qdq_gradients_options;

/* options may be NULL. QDQ_IO_ERROR, QDQ_BAD_DATA. */
QDQ_API qdq_status qdq_gradients_open(const char *path, const qdq_selection *selection,
                                      const qdq_gradients_options *options, qdq_gradients **gradients);
QDQ_API void qdq_gradients_close(qdq_gradients *gradients); /* NULL is allowed */
/* The file itself, for its metadata and names. */
QDQ_API const qdq_model *qdq_gradients_model(const qdq_gradients *gradients);
/* *bytes: of the gradient of tensor `index`; 0: there is none. QDQ_BAD_DATA: it has another shape or type, or its rows
 * stand in an order that cannot be told (QDQ_ADVICE_HF) or is none. */
QDQ_API qdq_status qdq_gradients_find(const qdq_gradients *gradients, uint64_t index, uint64_t *bytes);

/* Adds to sums[k] the scores of the tensor between low[k] and high, which may be QDQ_FORMAT_SOURCE: one reading for
 * all, from 1 to QDQ_MAX_FORMATS - 1. As other passes; and QDQ_UNSUPPORTED: the tensor has no gradient. */
QDQ_API qdq_status qdq_pass_sensitivity(qdq_pass *pass, const qdq_selection *selection, uint64_t index,
                                        const qdq_gradients *gradients, uint32_t n_low, const qdq_format *low,
                                        qdq_format high, qdq_sensitivity_sums *sums);

/* Sets sums[i] to the scores of tensor indexes[i], of n that ascend, between low and high, and waits for them. shared:
 * NULL, or other processes, as above. As qdq_pass_sensitivity(). */
QDQ_API qdq_status qdq_pass_sensitivities(qdq_pass *pass, const qdq_selection *selection,
                                          const qdq_gradients *gradients, uint64_t n, const uint64_t *indexes,
                                          qdq_format low, qdq_format high, qdq_sensitivity_sums *sums,
                                          qdq_shared_sums *shared);

/* ---- What becomes of each tensor --------------------------------------------------------------------------------- */

typedef struct qdq_choice {
    size_t size;       /* set by who made the struct */
    qdq_format format; /* QDQ_FORMAT_NONE: the tensor stays as it is */
    qdq_fit_reason reason;
    bool exception; /* another format than the one asked for, by a rule or since the row is no multiple of its block */
    bool already;   /* it stays because it has that type already */
    /* The format needs importance that the tensor has not: it cannot be made, but its size can be told. */
    bool lacks_importance;
    char text[256]; /* why it stays, or why it is an exception: a clause */
    /* The source's codes become the format's as they are; no weight may be another then. Of INT4 with scales of 32 or
     * more: q4_0; of MXFP4: mxfp4; of NVFP4 without an outer scale: nvfp4. */
    bool keeps_codes;
} qdq_choice;

/* Decides about tensor `index`: zeros come in, but for size and format, QDQ_FORMAT_NONE. */
typedef qdq_status qdq_chooser(void *context, uint64_t index, qdq_choice *choice);

/* Every tensor that the format takes, in that format; the others stay. */
typedef struct qdq_uniform {
    const qdq_selection *selection;
    qdq_format format;
} qdq_uniform;
QDQ_API qdq_status qdq_uniform_choose(void *uniform, uint64_t index, qdq_choice *choice);

/* llama-quantize's choice: which tensors it quantizes, one format for them, exceptions by name, and what it falls back
 * to where a row is no multiple of the block. */
typedef struct qdq_llama qdq_llama;

/* Revisions of its rules, which change apart from the bytes that ggml makes. */
#define QDQ_LLAMA_RULES         "2026-09" /* the newest */
#define QDQ_LLAMA_RULES_EARLIER "2026-08"

typedef struct qdq_llama_options {
    size_t size;       /* sizeof(qdq_llama_options), set by the caller */
    qdq_format format; /* of every tensor that is quantized, as --pure has it; passed over where there is a preset */
    /* A type of llama-quantize's, in any case: "Q4_K_M" and other mixtures, "F16", a file type's number, or "COPY",
     * which changes no type. NULL: the format. */
    const char *preset;
    bool pure;                                /* no mixture, but the preset's base format */
    bool leave_output;                        /* output.weight stays as it is */
    const char *output_type, *embedding_type; /* ggml's types for output.weight and the token embedding; or NULL */
    const char *rules;                        /* the revision of its rules; NULL: the newest */
    const uint32_t *prune;                    /* layers to leave out, ascending, each once */
    uint32_t n_prune, n_overrides;
    const char *const *overrides; /* of metadata, "KEY=TYPE:VALUE", TYPE int, float, bool or str */
    bool keep_split; /* of a split set a split set is made: PATH-00001-of-0000N.gguf, of PATH or PATH.gguf, and so on */
} qdq_llama_options;

/* QDQ_INVALID_ARGUMENT: no such format, preset, type or revision, an override that is none, options that do not go
 * together. */
QDQ_API qdq_status qdq_llama_create(const qdq_llama_options *options, qdq_llama **llama);
QDQ_API void qdq_llama_free(qdq_llama *llama); /* NULL is allowed */
/* An exception, "PATTERN=TYPE", as llama-quantize's --tensor-type has them and read as it reads them: the pattern is
 * lower-cased and searched; the first that is found counts. where: for messages. QDQ_BAD_DATA: no such type, a broken
 * pattern; QDQ_UNSUPPORTED: a pattern that std::regex and PCRE2 may read differently. */
QDQ_API qdq_status qdq_llama_add(qdq_llama *llama, const char *where, const char *exception);
/* A file of them, parted by white space, as qdq_plan_recipe() makes it. */
QDQ_API qdq_status qdq_llama_add_file(qdq_llama *llama, const char *path);
/* Exceptions in order, and for how many tensors each has decided so far. NULL: past the last. */
QDQ_API const char *qdq_llama_exception(const qdq_llama *llama, uint64_t index, uint64_t *tensors);
/* What most tensors are to be, as a ggml type ("q4_K"; "copies"), and the preset's name or NULL. */
QDQ_API const char *qdq_llama_describe(const qdq_llama *llama, const char **preset);
/* llama-quantize's types in order, with the ggml type that most tensors get; NULL: past the last. */
QDQ_API const char *qdq_llama_preset(uint32_t index, const char **type);
/* Its own name for a type given in any case, or as a number; NULL: there is none. */
QDQ_API const char *qdq_llama_find_preset(const char *text);
/* What it writes, by its newest rules, where `format` is asked for and rows have `row` elements: the format itself
 * where its block divides them, else another or F16. QDQ_UNSUPPORTED: it stops, or writes a type that this version
 * cannot make; QDQ_INVALID_ARGUMENT: no such format, a NULL. */
QDQ_API qdq_status qdq_llama_fallback(qdq_format format, uint64_t row, qdq_format *written);
/* Does it refuse to write the format where an importance matrix has nothing for the tensor? */
QDQ_API bool qdq_llama_needs_importance(qdq_format format);
/* The rules as qdq_quantize_file() takes them; chooser: a qdq_llama_chooser. The first choice settles all of them:
 * nothing is added to the rules any more, and they go with that selection. */
typedef struct qdq_llama_chooser {
    qdq_llama *llama;
    const qdq_selection *selection;
} qdq_llama_chooser;
/* QDQ_INVALID_ARGUMENT: a format needs an importance matrix, and there is none (QDQ_ADVICE_IMATRIX); QDQ_UNSUPPORTED: a
 * type that this version cannot make, a tensor at which llama-quantize stops, rules that do not apply to such a model.
 */
QDQ_API qdq_status qdq_llama_choose(void *chooser, uint64_t index, qdq_choice *choice);

/* ---- Whole files ------------------------------------------------------------------------------------------------- */

typedef struct qdq_file_report {
    size_t size;                           /* sizeof(qdq_file_report), set by the caller */
    uint64_t bytes;                        /* of the file */
    uint64_t tensors, elements;            /* all of them */
    uint64_t source_bytes;                 /* of the source's tensors */
    uint64_t weight_bytes;                 /* of the output's tensors, without padding and header */
    uint64_t made, weighted;               /* tensors that got a format; of these, with importance */
    uint64_t exceptions, already, lacking; /* as in qdq_choice */
    uint64_t kept;                         /* tensors that keep their codes */
    uint64_t part_bytes, part_made;        /* of the output: in the parts that were asked for; made by this call */
} qdq_file_report;

typedef struct qdq_file_options {
    size_t size; /* sizeof(qdq_file_options), set by the caller */
    /* general.file_type of GGUF. NULL: what llama-quantize writes, by its rules; of other choosers, that of the format
     * which most of the weights get. */
    const uint32_t *file_type;
    bool source_dtype; /* round trips are stored in each tensor's own type, rounded to nearest, else as F32 */
    /* Told of every tensor, in the output's order, before that is begun; name and type: the tensor's in the output.
     * Other than QDQ_OK ends the call with that status. NULL: nobody is told. */
    qdq_status (*decided)(void *context, uint64_t index, const char *name, const qdq_choice *choice, const char *type);
    /* Told once, after the last of these and before the file is begun, with the sizes: what a caller makes of it, and
     * may fail to, it can make while nothing has appeared. Other than QDQ_OK ends the call with that status. NULL:
     * nobody is told. */
    qdq_status (*ready)(void *context, const qdq_file_report *report);
    void *context; /* of both, and of next_part */
    /* parts > 0: the output is made by several calls, in this process or in others, on any machines, each of which
     * makes part `part`, counted from 1, of `parts` parts of equal cost, in the folder PATH.parts. What they make does
     * not depend on their number, and qdq_join() puts it in its place. resume: what is there and intact is not made
     * again, whoever has made it, in however many parts. */
    uint32_t part, parts;
    bool resume;
    /* Instead of `part`: asked for one part after another; 0: no more for this call. */
    uint32_t (*next_part)(void *context);
    /* Whatever is chosen, codes that a format of GGUF has, too, are kept in it. QDQ_UNSUPPORTED: weights would change,
     * with the tensor and how many. */
    bool keep_codes;
} qdq_file_options;

/* The model as GGUF, each tensor in the format that `choose` gives it, in llama-quantize's order. path NULL: nothing is
 * computed or written, but all is decided and the report made. Metadata of a GGUF source are kept; a
 * safetensors source has none, and the output holds the tensors alone. options and report may be NULL. QDQ_UNSUPPORTED:
 * no tensor would be in a format that it is not in already, or `choose` failed with it; otherwise as passes, and what
 * qdq_out_create and the chooser say. */
QDQ_API qdq_status qdq_quantize_file(qdq_pass *pass, const qdq_selection *selection, const char *path,
                                     qdq_chooser *choose, void *context, const qdq_file_options *options,
                                     qdq_file_report *report);
/* The model as safetensors, each tensor replaced by its round trip in the format that `choose` gives it. */
QDQ_API qdq_status qdq_roundtrip_file(qdq_pass *pass, const qdq_selection *selection, const char *path,
                                      qdq_chooser *choose, void *context, const qdq_file_options *options,
                                      qdq_file_report *report);

/* ---- Files made in parts ----------------------------------------------------------------------------------------- */

typedef struct qdq_join_options {
    size_t size; /* sizeof(qdq_join_options), set by the caller */
    /* Folders PATH.parts of the same job from elsewhere, as where machines share no disk: what is missing here is
     * copied from them. */
    const char *const *from;
    uint32_t n_from;
    /* Told how many bytes were checked, of how many. false: the call returns QDQ_CANCELLED; what was made stays. */
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
} qdq_join_options;

typedef struct qdq_join_report {
    size_t size;            /* sizeof(qdq_join_report), set by the caller */
    uint64_t bytes, copied; /* of the outputs; of these, from other folders */
    uint32_t files;
} qdq_join_report;

/* Reads all that the parts have made, and if every byte is there and is what its maker noted, the outputs appear under
 * their names, of a split set the first one last, and the folder is gone. options and report may be NULL.
 * QDQ_UNSUPPORTED: something is missing, with how much and where; QDQ_BAD_DATA: no manifest of parts, or another job's;
 * QDQ_IO_ERROR, QDQ_INVALID_ARGUMENT: as qdq_out_create() says. */
QDQ_API qdq_status qdq_join(const char *path, const qdq_join_options *options, qdq_join_report *report);
/* Removes PATH.parts with all that its parts have made. QDQ_IO_ERROR: there is none, or it cannot be removed. */
QDQ_API qdq_status qdq_discard_parts(const char *path);

/* ---- Plans ------------------------------------------------------------------------------------------------------- */

/* A plan: which tensor gets which format, and everything that it takes to see why (docs/planner.md). */
typedef struct qdq_plan qdq_plan;

#define QDQ_PLAN_SOURCE "source"

/* What a plan and a published model do with the tensors of one kind, "attn_q", or with all of them. */
typedef struct qdq_beside_kind {
    char kind[64];
    uint64_t tensors, elements;
    uint64_t bytes, published_bytes; /* in the file, padding included */
    double damage, published_damage;
} qdq_beside_kind;

typedef struct qdq_plan_choice {
    const char *format; /* or QDQ_PLAN_SOURCE: the tensor as it is */
    uint64_t bytes;     /* in the file, padding included */
    double damage;
    uint64_t token_bytes; /* what a token reads of it, where that is what the target bounds; else 0 */
} qdq_plan_choice;

typedef struct qdq_plan_tensor {
    const char *name, *dtype; /* as the model has them */
    const char *gguf;         /* the name that llama.cpp has for it; NULL: not known */
    const char *group;        /* the first of the tensors that share its format; NULL: it is alone */
    const char *reason;       /* why it is kept as it is; NULL: it was planned */
    const uint64_t *shape;    /* slowest first */
    uint32_t n_dims;
    uint64_t elements;
    const qdq_plan_choice *choices; /* what the rules left */
    uint32_t n_choices, chosen;
    uint64_t bytes;       /* of the chosen, or as it is */
    uint64_t token_bytes; /* what a token reads of it; 0: not known, or nothing */
} qdq_plan_tensor;

/* What a plan is held against, by its score: one format for all tensors, with llama-quantize's for rows that it does
 * not divide, or the mixture of one of llama-quantize's presets. Only those of which every tensor's format is measured.
 * Tensors that the plan keeps are kept here, too. */
typedef struct qdq_plan_baseline {
    const char *name;     /* "q4_K", "Q4_K_M" */
    bool preset;          /* llama-quantize's; else one format for all */
    bool allowed;         /* the rules leave all of it, so that the plan of its size has no more damage */
    uint64_t bytes;       /* of the file */
    uint64_t token_bytes; /* what a token reads; 0: not known */
    double damage;
    double plan_damage; /* of the plan of that size, or that reads as much; NAN: the rules leave none so small */
    /* If it is allowed and fits the target: the format of each tensor that was planned, in the model's order. */
    const char *const *formats; /* NULL: not told */
    uint64_t n_formats;
} qdq_plan_baseline;

typedef struct qdq_plan_info {
    size_t size; /* sizeof(qdq_plan_info), set by the caller */
    const char *model, *score, *target;
    const char *imatrix;                              /* NULL: none */
    uint64_t budget, bytes, floor, ceiling, overhead; /* of files: allowed, chosen, least, most; without tensors */
    uint64_t elements;                                /* of all tensors */
    double damage, lower_bound;                       /* sums over the planned tensors */
    bool proven;                                      /* no choice within the budget is better, caution counted */
    uint64_t n_tensors;                               /* all of the model's, in its order */
    const char *forecast;     /* what the damage foretells, in a sentence, or why it foretells nothing */
    double kl;                /* the expected KL divergence, nats a token; NAN: the damage has no unit */
    double kl_least, kl_most; /* what was measured where so much was expected; NAN: that cannot be relied on */
    const char *cost;         /* what budget, floor and ceiling are of: "size", or "token" */
    uint64_t token_bytes;     /* what a token reads of the weights; 0: not known */
    const char *reference;    /* the revision of ggml's searches that the damage is of: "2026-09"; NULL: nobody says */
    /* Scores without gradients guess what an error costs in a tensor. What a tensor loses beyond what it does in the
     * yardstick, the baseline of least damage that fits, counts `caution` times then: the plan has no more damage than
     * the yardstick, nor would it if costs were misjudged by up to sqrt(caution) either way. lower_bound is without. */
    double caution;        /* 1: none */
    const char *yardstick; /* a baseline's name, or the published model's path; NULL: none */
    const char *slow;      /* qdq_planner_options.slow, by which token_bytes are counted; NULL: each byte once */
    const char *rules;     /* the revision of llama-quantize's rules that presets are made by; NULL: nobody says */
} qdq_plan_info;

/* QDQ_IO_ERROR: it cannot be read; QDQ_BAD_DATA: no JSON, no plan, figures that do not add up. */
QDQ_API qdq_status qdq_plan_open(const char *path, qdq_plan **plan);
QDQ_API qdq_status qdq_plan_parse(const char *name, const char *text, size_t length, qdq_plan **plan);
QDQ_API void qdq_plan_free(qdq_plan *plan); /* NULL is allowed */
/* The plan's file, JSON ended by a newline; text is for qdq_free(). */
QDQ_API qdq_status qdq_plan_text(const qdq_plan *plan, char **text, size_t *length);
QDQ_API qdq_status qdq_plan_write(const qdq_plan *plan, const char *path);
/* Fills the first info->size bytes; texts live as long as the plan. */
QDQ_API qdq_status qdq_plan_describe(const qdq_plan *plan, qdq_plan_info *info);
QDQ_API const qdq_plan_tensor *qdq_plan_tensor_at(const qdq_plan *plan, uint64_t index); /* NULL: past the last */
/* In order of bytes, of what the target bounds; NULL: past the last. */
QDQ_API const qdq_plan_baseline *qdq_plan_baseline_at(const qdq_plan *plan, uint64_t index);
/* A page that needs nothing else: the damage of all budgets, a map of layers, the table. */
QDQ_API qdq_status qdq_plan_report(const qdq_plan *plan, const char *path);

/* The plan as qdq_quantize_file() takes it; chooser: a qdq_plan_chooser. */
typedef struct qdq_plan_chooser {
    const qdq_plan *plan;
    const qdq_selection *selection;
} qdq_plan_chooser;
QDQ_API qdq_status qdq_plan_choose(void *chooser, uint64_t index, qdq_choice *choice);
/* Is the plan one for this model, and has every format the importance that it needs? QDQ_BAD_DATA: for another, with
 * the first tensor that differs; QDQ_INVALID_ARGUMENT: a format lacks an importance matrix (QDQ_ADVICE_IMATRIX). */
QDQ_API qdq_status qdq_plan_check(const qdq_plan *plan, const qdq_selection *selection);

/* The plan as llama-quantize's --tensor-type-file, and a command line to run; texts are for qdq_free(), command may be
 * NULL. path: where the text will stand. QDQ_UNSUPPORTED: llama-quantize cannot make it, with tensor and reason. */
QDQ_API qdq_status qdq_plan_recipe(const qdq_plan *plan, const qdq_selection *selection, const char *path, char **text,
                                   char **command);
/* What the smallest format costs per million parameters, as mlx-lm has sensitivities: [[path, score], …]. */
QDQ_API qdq_status qdq_plan_mlx(const qdq_plan *plan, const qdq_selection *selection, char **text);

/* ---- Planners -----------------------------------------------------------------------------------------------------
 */

typedef struct qdq_planner qdq_planner;

/* What damage is. */
typedef enum qdq_score {
    QDQ_SCORE_AUTO = 0, /* of those that the inputs allow, the one that did best in docs/planner.md */
    QDQ_SCORE_ERROR = 1,
    QDQ_SCORE_RELATIVE = 2,
    QDQ_SCORE_SIZED = 3,
    QDQ_SCORE_SIGNED = 4, /* this and the two that follow are made of gradients */
    QDQ_SCORE_ABSOLUTE = 5,
    QDQ_SCORE_SQUARED = 6,
    QDQ_SCORE_KINDS = 7 /* made of weights: relative, times what errors cost in tensors of that kind */
    /* With an importance matrix, where a format does better in a tensor than is usual, half of that is believed by
     * QDQ_SCORE_SIZED, QDQ_SCORE_SQUARED and QDQ_SCORE_KINDS (docs/planner.md, Codes fitted to a matrix). */
} qdq_score;

/* "squared", and what it is in words; NULL for values outside the enum. */
QDQ_API const char *qdq_score_name(qdq_score score);
QDQ_API const char *qdq_score_meaning(qdq_score score);
/* false, and *score is left alone: there is none of that name. */
QDQ_API bool qdq_score_by_name(const char *name, qdq_score *score);
/* Is it made of gradients? */
QDQ_API bool qdq_score_takes_gradients(qdq_score score);

/* What a target bounds. */
typedef enum qdq_plan_cost {
    QDQ_COST_SIZE = 0, /* the file */
    QDQ_COST_TOKEN = 1 /* what is read of the weights for each token, where tokens come one at a time: of experts those
                          that a token uses, of an embedding that is only looked up a row, all else whole */
} qdq_plan_cost;

typedef struct qdq_planner_options {
    size_t size; /* sizeof(qdq_planner_options), set by the caller */
    /* Names parted by commas; "source" is to leave a tensor as it is. NULL: all that are not for models trained in
     * them, those that need importance where there is some. */
    const char *formats;
    qdq_score score;
    /* Of the same selection, or NULL. QDQ_SCORE_AUTO uses them if their file's metadata say that they are root mean
     * squares; others only a score that is named. */
    const qdq_gradients *gradients;
    /* A file that keeps what was measured: read when it is there, written now and then, and refused when its inputs
     * have changed. One of qdq_scores_write() stands for gradients. NULL: none. */
    const char *scores;
    bool for_llama_quantize; /* only formats that llama-quantize makes of each tensor: for qdq_plan_recipe() */
    /* Codes that a format has as they are (qdq_choice.keeps_codes) are a candidate without damage, where no weight
     * would be another. The plan says so, and qdq_plan_choose() has them kept. */
    bool keep_codes;
    qdq_plan_cost cost;
    /* With QDQ_COST_TOKEN: formats that a runtime computes slowly, each with how many bytes one that a token reads of
     * it counts as, from 0.01 to 100 with at most six decimals: "iq3_s=1.8,iq2_xs=2.2". "source" is what stays as it
     * is. Formats that no tensor can have may be named. All that is told of what a token reads, target, floor and
     * ceiling among it, is counted so, each tensor's rounded up; sizes of files are not. NULL: each byte counts once.
     */
    const char *slow;
    const char *rules; /* of which llama-quantize presets are made, as qdq_llama_options.rules; NULL: the newest */
} qdq_planner_options;

/* QDQ_INVALID_ARGUMENT: no such format, one named twice, one that needs an importance matrix, a score that wants
 * gradients, or that does not use those given; slow formats that are none, or without QDQ_COST_TOKEN; no such rules. */
QDQ_API qdq_status qdq_planner_create(const qdq_selection *selection, const qdq_planner_options *options,
                                      qdq_planner **planner);
QDQ_API void qdq_planner_free(qdq_planner *planner); /* NULL is allowed */
/* The score in force: QDQ_SCORE_AUTO only until the planner has measured. */
QDQ_API qdq_score qdq_planner_score(const qdq_planner *planner);
/* Is damage made of the gradients that were given? */
QDQ_API bool qdq_planner_uses_gradients(const qdq_planner *planner);

/* What quantizing a tensor does, measured by whoever has gradients, as hooks of a backward pass that keep none. */
typedef struct qdq_given_sums {
    const char *tensor; /* its name in the model */
    qdq_format format;
    /* Between the format and the weights, with the root mean square over samples as the gradient; count: elements. */
    qdq_sensitivity_sums sums;
} qdq_given_sums;

/* Writes a file of scores (qdq_planner_options.scores) of n sums: planners that find them there need no gradients, and
 * QDQ_SCORE_AUTO is QDQ_SCORE_SQUARED then. They were measured on the selection's model, with its importance matrix if
 * it has one. tokens: those of a sample whose loss was differentiated, on average; 0: not known. A file that is there
 * is replaced. QDQ_INVALID_ARGUMENT: nothing to write, no such tensor or format, one that does not fit the tensor,
 * another count; QDQ_BAD_DATA: a sum that is no finite number; what qdq_out_create() and qdq_out_commit() return. */
QDQ_API qdq_status qdq_scores_write(const char *path, const qdq_selection *selection, double tokens, uint64_t n,
                                    const qdq_given_sums *sums);

typedef enum qdq_plan_rule_kind {
    QDQ_PLAN_PIN = 0,     /* tensors that match get that format */
    QDQ_PLAN_SAME = 1,    /* tensors that match, with the same text in the parentheses, share a format; or the regex is
                             "qkv", "gate-up", "experts": those of each layer */
    QDQ_PLAN_MINIMUM = 2, /* no format with fewer bits than that */
    QDQ_PLAN_ALLOW = 3    /* only those; "cpu", "cuda", "metal": those that llama.cpp computes with there */
} qdq_plan_rule_kind;

/* Rules count in order, for all solutions that follow. regex: as a selection's, NULL for every tensor; formats: names
 * parted by commas, NULL for QDQ_PLAN_SAME. QDQ_INVALID_ARGUMENT: what is wrong by itself; a rule that matches nothing,
 * or leaves a tensor without a format, is told by the next qdq_planner_measure() or _solve(). */
QDQ_API qdq_status qdq_planner_rule(qdq_planner *planner, qdq_plan_rule_kind kind, const char *regex,
                                    const char *formats);
/* The plan is to be held against the formats of a published GGUF of the same model, which stays open as long as the
 * planner. Each tensor may then have the format that it has there, too, and a target may be NULL: the size of these
 * tensors there. To be said before anything is measured. QDQ_BAD_DATA: it is no GGUF; QDQ_INVALID_ARGUMENT: a format
 * needs an importance matrix. That it is another model, planning says. */
QDQ_API qdq_status qdq_planner_beside(qdq_planner *planner, const qdq_model *published);
/* The plan that was made last beside that model, kind by kind, the largest first, and in *all together: of the tensors
 * that were planned. *n: how many kinds there are; the first `room` of them are filled in. QDQ_INVALID_ARGUMENT: there
 * is no such plan yet, or no such model. */
QDQ_API qdq_status qdq_planner_compare(const qdq_planner *planner, qdq_beside_kind *kinds, uint32_t room, uint32_t *n,
                                       qdq_beside_kind *all);
/* Measures what is not known yet, all formats of a tensor in one reading. *tensors (may be NULL): how many were not
 * known. */
QDQ_API qdq_status qdq_planner_measure(qdq_planner *planner, qdq_pass *pass, uint64_t *tensors);
/* The same with other processes; shared may be NULL. After parts of it nothing can be solved, and no file of scores is
 * written. */
QDQ_API qdq_status qdq_planner_measure_shared(qdq_planner *planner, qdq_pass *pass, qdq_shared_sums *shared,
                                              uint64_t *tensors);
/* A file of scores whose sums the next qdq_planner_measure() takes over where it lacks them, as of other formats:
 * whoever has measured a tensor, the sums have the same bits, and a file of scores the same bytes. The file is read,
 * and refused if its inputs are others, by that call. QDQ_OUT_OF_MEMORY. */
QDQ_API qdq_status qdq_planner_add_scores(qdq_planner *planner, const char *path);
/* Bytes of the smallest and the largest file, and of the file without tensors; any may be NULL. With QDQ_COST_TOKEN, of
 * the least and the most that a token reads. Measures nothing. */
QDQ_API qdq_status qdq_planner_range(qdq_planner *planner, uint64_t *floor, uint64_t *ceiling, uint64_t *overhead);
/* QDQ_INVALID_ARGUMENT: the text is no target, with those that there are. */
QDQ_API qdq_status qdq_check_target(const char *target);
/* What qdq_planner_solve() would find wrong with the target, before anything is measured. */
QDQ_API qdq_status qdq_planner_check(qdq_planner *planner, const char *target);
/* The least damage within the target: "4.5bpw", "6.2GiB" (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB), "30%" of the source's
 * tensors; of the file or, with QDQ_COST_TOKEN, of what a token reads. May be called again and again.
 * QDQ_INVALID_ARGUMENT: no such target, one that no file meets or that every file does (the message has both ends),
 * nothing measured yet; with QDQ_COST_TOKEN, what a token reads cannot be told (the message says why). */
QDQ_API qdq_status qdq_planner_solve(qdq_planner *planner, const char *target, qdq_plan **plan);

/* ---- Files, written ------------------------------------------------------------------------------------------------
 */

/* A file that appears under its name when it is committed, complete and on disk, or not at all: written as an unnamed
 * file where the file system has them (O_TMPFILE), else under `.NAME.tmp.PID.N` beside its place. A kill leaves
 * nothing, or that one hidden file. */
typedef struct qdq_out qdq_out;

/* QDQ_IO_ERROR: the directory is missing or not writable, or path is there and is no regular file; the null device is
 * allowed, and discards. QDQ_INVALID_ARGUMENT: path is a file of a model or an importance matrix that is open. (Of what
 * was read and closed, nothing is known here.) A symbolic link is replaced. */
QDQ_API qdq_status qdq_out_create(const char *path, qdq_out **out);
/* Makes the file that long, zeros where nothing is written, and sets room aside where the file system can, so that a
 * full disk is known before the work. A limit of the process (RLIMIT_FSIZE) raises SIGXFSZ: ignore that signal. */
QDQ_API qdq_status qdq_out_reserve(qdq_out *out, uint64_t bytes);
/* Appends; or writes at an offset, which may be past the end. QDQ_IO_ERROR: the disk is full, a limit, a failing
 * device. */
QDQ_API qdq_status qdq_out_write(qdq_out *out, const void *data, uint64_t bytes);
QDQ_API qdq_status qdq_out_write_at(qdq_out *out, uint64_t offset, const void *data, uint64_t bytes);
/* Frees out in every case; on failure nothing is left. */
QDQ_API qdq_status qdq_out_commit(qdq_out *out);
QDQ_API void qdq_out_abort(qdq_out *out); /* NULL is allowed */
/* Is it the null device? */
QDQ_API bool qdq_out_discards(const char *path);
/* The refusals of qdq_out_create() once more, where inputs were opened after it. */
QDQ_API qdq_status qdq_out_check(const qdq_out *out);
/* Removes the temporary names of all outputs that are open. Async-signal-safe; for a handler that then ends the
 * process. */
QDQ_API void qdq_out_abort_all(void);
/* The file whose map holds the address, or NULL. Async-signal-safe: a file that shrinks while it is mapped raises
 * SIGBUS where it is read, and a handler can say which one it was. */
QDQ_API const char *qdq_mapped_path(const void *address);

/* A model's file. Order of calls: create; metadata and tensors; the tensors' data in the order in which they were
 * added, in pieces; finish. Nothing of the output is to be seen before finish returns QDQ_OK. */
typedef struct qdq_writer qdq_writer;

/* path NULL: no file; only qdq_writer_size() will be asked. */
QDQ_API qdq_status qdq_writer_create(qdq_layout layout, const char *path, qdq_writer **writer);
/* All metadata of a model of the same layout, those about a split set left out. The model must outlive the writer. */
QDQ_API qdq_status qdq_writer_copy_metadata(qdq_writer *writer, const qdq_model *model);
/* One entry more, after all others; what had the key is gone, as ggml has it. set_u32: GGUF only. */
QDQ_API qdq_status qdq_writer_set_string(qdq_writer *writer, const char *key, const char *value);
QDQ_API qdq_status qdq_writer_set_u32(qdq_writer *writer, const char *key, uint32_t value);
QDQ_API qdq_status qdq_writer_set(qdq_writer *writer, const qdq_kv *kv); /* key and value must outlive the writer */
/* type: a name of either layout in any case ("F32", "q4_K", a qdq_tensor's type_name). shape: slowest first.
 * QDQ_UNSUPPORTED: the layout has no such type, or its readers no such name or shape (GGUF: 63 bytes, 4 dimensions).
 * QDQ_INVALID_ARGUMENT: a name twice, a row that is no multiple of the type's block, a size over 64 bits. */
QDQ_API qdq_status qdq_writer_add_tensor(qdq_writer *writer, const char *name, const char *type, uint32_t n_dims,
                                         const uint64_t *shape);
/* Bytes that the file has with what was added so far. */
QDQ_API qdq_status qdq_writer_size(const qdq_writer *writer, uint64_t *bytes);
/* Bytes that tensor `index` needs, in the order of adding. */
QDQ_API uint64_t qdq_writer_tensor_bytes(const qdq_writer *writer, uint64_t index);
/* The next bytes of the tensor that is due; a piece may not reach into the next tensor. The first call writes the
 * header. */
QDQ_API qdq_status qdq_writer_write(qdq_writer *writer, const void *data, uint64_t bytes);
/* Frees writer in every case; on failure nothing is left. QDQ_INVALID_ARGUMENT: a tensor's data are not complete. */
QDQ_API qdq_status qdq_writer_finish(qdq_writer *writer);
QDQ_API void qdq_writer_abort(qdq_writer *writer); /* NULL is allowed */

#ifdef __cplusplus
}
#endif
#endif
