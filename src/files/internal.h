/* What the parts of the files room share with each other and with nobody else. */
#ifndef QDQ_FILES_INTERNAL_H
#define QDQ_FILES_INTERNAL_H

#include "arena.h"
#include "files.h"
#include "shown.h"
#include "../base/error.h"
#include "../base/platform_files.h"
#include "../base/utf8.h"
#include "sorted.h"

/* ---- Bytes and text -------------------------------------------------------------------------------------------- */

static inline uint32_t qdq_le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t qdq_le64(const uint8_t *p) { return qdq_le32(p) | (uint64_t)qdq_le32(p + 4) << 32; }

float qdq_le_float(const uint8_t *p);

/* UTF-8 without NUL. */
bool qdq_is_text(const void *bytes, uint64_t n);

/* ---- Element types --------------------------------------------------------------------------------------------- */

typedef struct qdq_type {
    const char *ggml;        /* "q4_K"; NULL when GGUF has no such type */
    const char *safetensors; /* "F32"; NULL when safetensors has no such type */
    const char *not_source;  /* why it is no source of weights; NULL for F32, F16, BF16 */
    uint32_t ggml_id;        /* or QDQ_NO_GGML_TYPE */
    uint32_t block;          /* elements a block */
    uint32_t bits;           /* bits a block */
} qdq_type;

/* false: there is no such type. Names of safetensors exactly; those of either layout in any case. */
bool qdq_type_by_ggml(uint32_t id, qdq_type *type);
bool qdq_type_by_safetensors(const char *name, qdq_type *type);
bool qdq_type_by_name(const char *name, qdq_type *type);
const char *qdq_type_unknown_ggml(uint32_t id); /* what is known of an id that has no type */
/* Bytes of so many elements; false: no whole bytes, or over 64 bits. */
bool qdq_type_bytes(const qdq_type *type, uint64_t elements, uint64_t *bytes);
qdq_dtype qdq_type_dtype(const qdq_type *type);
/* The product of the extents; false: 2^63 or more. */
bool qdq_shape_elements(uint32_t n_dims, const uint64_t *shape, uint64_t *elements);
/* "[32, 4096]" */
const char *qdq_shape_text(uint32_t n_dims, const uint64_t *shape, char *buffer, size_t size);
#define SHAPE(n_dims, shape) qdq_shape_text((n_dims), (shape), (char[128]){0}, 128)

/* ---- Mapped files ---------------------------------------------------------------------------------------------- */

typedef struct qdq_map {
    const uint8_t *bytes;
    uint64_t length;
    char *path;
    qdq_file_id id;
    struct qdq_map *_Atomic next;
} qdq_map;

qdq_status qdq_map_open(const char *path, qdq_map **map);
void qdq_map_close(qdq_map *map);
/* The path under which that file is mapped at the moment, as a copy in buffer; false: it is not. */
bool qdq_map_has(const qdq_file_id *id, char *buffer, size_t size);

/* ---- Metadata -------------------------------------------------------------------------------------------------- */

typedef struct qdq_kvs {
    qdq_kv *items;
    uint64_t n, capacity;
    qdq_name *sorted; /* after qdq_kvs_index */
} qdq_kvs;

qdq_status qdq_kvs_add(qdq_kvs *kvs, qdq_kv kv);
/* Makes look-up possible. A key that is there twice: its second entry's index in *duplicate, else UINT64_MAX. */
qdq_status qdq_kvs_index(qdq_kvs *kvs, uint64_t *duplicate);
const qdq_kv *qdq_kvs_find(const qdq_kvs *kvs, const char *key);
void qdq_kvs_free(qdq_kvs *kvs);
/* A string as GGUF encodes it, in the arena; NULL: no memory. */
const uint8_t *qdq_kv_encode_string(qdq_arena *arena, const char *text, uint64_t length, uint64_t *bytes);
uint64_t qdq_kv_type_size(uint32_t type); /* bytes of a value of fixed size; 0 for strings, arrays, no type */

/* ---- Models ---------------------------------------------------------------------------------------------------- */

struct qdq_model {
    qdq_layout layout;
    char *path;
    qdq_arena arena;
    qdq_map **maps;
    uint64_t n_maps, maps_capacity;
    qdq_map *index; /* kept for its identity: an output may not replace it */
    qdq_tensor *tensors;
    uint64_t n_tensors, tensors_capacity;
    qdq_name *by_name;
    qdq_kvs kvs;
};

/* More than four times what the largest models have: a bound on memory, whatever a file claims. */
#define QDQ_TENSOR_LIMIT (1u << 19)
#define QDQ_KV_LIMIT     (1u << 19)

/* Appends a tensor; its strings must live as long as the model. QDQ_BAD_DATA: one too many. */
qdq_status qdq_model_add(qdq_model *model, const qdq_tensor *tensor);
/* Append one file's tensors and metadata. path must live as long as the model. */
qdq_status qdq_safetensors_parse(qdq_model *model, const uint8_t *bytes, uint64_t length, const char *path);
qdq_status qdq_gguf_parse(qdq_model *model, qdq_kvs *kvs, const uint8_t *bytes, uint64_t length, const char *path);

/* The weight_map of a *.safetensors.index.json. */
typedef struct qdq_index {
    qdq_arena arena;
    const char **names; /* n tensors, and for each the file it is in, relative to the index */
    const char **files;
    uint64_t n;
} qdq_index;

qdq_status qdq_index_parse(const void *bytes, uint64_t length, const char *path, qdq_index *index);
void qdq_index_free(qdq_index *index);

#endif
