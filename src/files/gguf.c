/* GGUF, versions 2 and 3 (their bytes are laid out alike), little-endian:
 *
 *     "GGUF"  u32 version  u64 n_tensors  u64 n_kv
 *     n_kv times       string key, u32 type, value
 *     n_tensors times  string name, u32 n_dims, n_dims times u64 (fastest first), u32 ggml type, u64 offset
 *     zeros up to a multiple of general.alignment (32), then the data, each tensor's padded to the alignment
 *
 * A string is u64 length and bytes; an array is u32 element type, u64 count, elements. Offsets count from the first
 * byte of the data. As ggml's reader (src/gguf.cpp) we demand that each is the sum of the padded sizes before it, so
 * there is no room for overlap. Source: ggml, docs/gguf.md. */
#include "internal.h"

#include <string.h>

#define LENGTH_LIMIT    (1u << 30) /* ggml's, of strings and arrays */
#define KEY_LIMIT       65535u     /* the specification's */
#define NAME_LIMIT      65535u     /* ggml reads 63; other programs write longer ones */
#define NESTING_LIMIT   8
#define ALIGNMENT_LIMIT (1u << 20) /* writers use 32, a page at most; outputs are padded to it */
#define SMALLEST_KV     14         /* bytes: a key of one, a value of one */
#define SMALLEST_INFO   24         /* bytes: a name of none, no dimension */

typedef unsigned long long ull;

typedef struct cursor {
    qdq_model *model;
    const uint8_t *bytes;
    const char *path;
    uint64_t length, at;
} cursor;

static qdq_status cut_short(const cursor *c, const char *what, uint64_t bytes) {
    return qdq_fail(QDQ_BAD_DATA,
                    "%s: %s at offset %llu needs %llu bytes, but the file ends at %llu: cut short or damaged",
                    SHOWN(c->path), what, (ull)c->at, (ull)bytes, (ull)c->length);
}

static qdq_status no_memory(const cursor *c) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for the header", SHOWN(c->path));
}

/* The next n bytes, or NULL when the file ends before. */
static const uint8_t *take(cursor *c, uint64_t n) {
    if (n > c->length - c->at) return NULL;
    const uint8_t *p = c->bytes + c->at;
    c->at += n;
    return p;
}

static qdq_status take_u32(cursor *c, const char *what, uint32_t *value) {
    const uint8_t *p = take(c, 4);
    if (p == NULL) return cut_short(c, what, 4);
    *value = qdq_le32(p);
    return QDQ_OK;
}

static qdq_status take_u64(cursor *c, const char *what, uint64_t *value) {
    const uint8_t *p = take(c, 8);
    if (p == NULL) return cut_short(c, what, 8);
    *value = qdq_le64(p);
    return QDQ_OK;
}

/* A key or a name, as text of its own with a NUL behind. */
static qdq_status take_name(cursor *c, const char *what, uint64_t limit, const char **name) {
    uint64_t start = c->at, length = 0;
    qdq_status status = take_u64(c, what, &length);
    if (status != QDQ_OK) return status;
    if (length > limit)
        return qdq_fail(QDQ_BAD_DATA, "%s: %s at offset %llu claims a length of %llu bytes; at most %llu are allowed",
                        SHOWN(c->path), what, (ull)start, (ull)length, (ull)limit);
    const uint8_t *p = take(c, length);
    if (p == NULL) return cut_short(c, what, length);
    if (!qdq_is_text(p, length))
        return qdq_fail(QDQ_BAD_DATA, "%s: %s at offset %llu is not UTF-8 text", SHOWN(c->path), what, (ull)start);
    *name = qdq_arena_text(&c->model->arena, p, length);
    return *name != NULL ? QDQ_OK : no_memory(c);
}

static qdq_status skip_string(cursor *c, const char *key) {
    uint64_t start = c->at, length = 0;
    qdq_status status = take_u64(c, "a string's length", &length);
    if (status != QDQ_OK) return status;
    if (length > LENGTH_LIMIT)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: key \"%s\": the string at offset %llu claims %llu bytes; at most %u are allowed",
                        SHOWN(c->path), SHOWN(key), (ull)start, (ull)length, LENGTH_LIMIT);
    return take(c, length) != NULL ? QDQ_OK : cut_short(c, "a string", length);
}

static qdq_status skip_value(cursor *c, const char *key, uint32_t type, int depth);

static qdq_status skip_array(cursor *c, const char *key, int depth) {
    uint64_t start = c->at, count = 0, bytes;
    uint32_t type = 0;
    if (depth == NESTING_LIMIT)
        return qdq_fail(QDQ_BAD_DATA, "%s: key \"%s\": arrays are nested deeper than %d at offset %llu", SHOWN(c->path),
                        SHOWN(key), NESTING_LIMIT, (ull)start);
    qdq_status status = take_u32(c, "an array's type", &type);
    if (status == QDQ_OK) status = take_u64(c, "an array's length", &count);
    if (status != QDQ_OK) return status;
    if (count > LENGTH_LIMIT)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: key \"%s\": the array at offset %llu claims %llu elements; at most %u are allowed",
                        SHOWN(c->path), SHOWN(key), (ull)start, (ull)count, LENGTH_LIMIT);
    uint64_t size = qdq_kv_type_size(type);
    if (size != 0) {
        bytes = count * size; /* < 2^34 */
        return take(c, bytes) != NULL ? QDQ_OK : cut_short(c, "an array", bytes);
    }
    if (type != QDQ_KV_STRING && type != QDQ_KV_ARRAY)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: key \"%s\": the array at offset %llu has elements of type %u; GGUF has 0 to 12",
                        SHOWN(c->path), SHOWN(key), (ull)start, type);
    for (uint64_t i = 0; i < count && status == QDQ_OK; i++) status = skip_value(c, key, type, depth + 1);
    return status;
}

static qdq_status skip_value(cursor *c, const char *key, uint32_t type, int depth) {
    if (type == QDQ_KV_STRING) return skip_string(c, key);
    if (type == QDQ_KV_ARRAY) return skip_array(c, key, depth);
    uint64_t size = qdq_kv_type_size(type);
    if (size == 0)
        return qdq_fail(QDQ_BAD_DATA, "%s: key \"%s\" has a value of type %u (before offset %llu); GGUF has 0 to 12",
                        SHOWN(c->path), SHOWN(key), type, (ull)c->at);
    return take(c, size) != NULL ? QDQ_OK : cut_short(c, "a value", size);
}

static qdq_status read_kvs(cursor *c, uint64_t n, qdq_kvs *kvs) {
    for (uint64_t i = 0; i < n; i++) {
        qdq_kv kv = {0};
        uint64_t start = c->at;
        qdq_status status = take_name(c, "a key", KEY_LIMIT, &kv.key);
        if (status == QDQ_OK && kv.key[0] == 0)
            status = qdq_fail(QDQ_BAD_DATA, "%s: key %llu at offset %llu is empty", SHOWN(c->path), (ull)i, (ull)start);
        if (status == QDQ_OK) status = take_u32(c, "a value's type", &kv.type);
        uint64_t value = c->at;
        if (status == QDQ_OK) status = skip_value(c, kv.key, kv.type, 0);
        kv.value = c->bytes + value;
        kv.bytes = c->at - value;
        if (status == QDQ_OK) status = qdq_kvs_add(kvs, kv);
        if (status != QDQ_OK) return status;
    }
    uint64_t duplicate;
    qdq_status status = qdq_kvs_index(kvs, &duplicate);
    if (status == QDQ_OK && duplicate != UINT64_MAX)
        status =
            qdq_fail(QDQ_BAD_DATA, "%s: key \"%s\" is there twice (its second value is at offset %llu)", SHOWN(c->path),
                     SHOWN(kvs->items[duplicate].key), (ull)(kvs->items[duplicate].value - c->bytes));
    return status;
}

static qdq_status read_alignment(const cursor *c, const qdq_kvs *kvs, uint64_t *alignment) {
    const qdq_kv *kv = qdq_kvs_find(kvs, "general.alignment");
    *alignment = 32;
    if (kv == NULL) return QDQ_OK;
    if (kv->type != QDQ_KV_U32)
        return qdq_fail(QDQ_BAD_DATA, "%s: general.alignment is of value type %u; it must be 4 (u32)", SHOWN(c->path),
                        kv->type);
    *alignment = qdq_le32(kv->value);
    if (*alignment == 0 || (*alignment & (*alignment - 1)) != 0)
        return qdq_fail(QDQ_BAD_DATA, "%s: general.alignment is %llu (at offset %llu); it must be a power of two",
                        SHOWN(c->path), (ull)*alignment, (ull)(kv->value - c->bytes));
    if (*alignment > ALIGNMENT_LIMIT)
        return qdq_fail(QDQ_BAD_DATA, "%s: general.alignment is %llu (at offset %llu); at most %u is allowed",
                        SHOWN(c->path), (ull)*alignment, (ull)(kv->value - c->bytes), ALIGNMENT_LIMIT);
    return QDQ_OK;
}

static qdq_status read_shape(cursor *c, qdq_tensor *t) {
    uint64_t start = c->at;
    qdq_status status = take_u32(c, "a tensor's number of dimensions", &t->n_dims);
    if (status != QDQ_OK) return status;
    if (t->n_dims > 4)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" claims %u dimensions at offset %llu; GGUF has at most 4",
                        SHOWN(c->path), SHOWN(t->name), t->n_dims, (ull)start);
    uint64_t *shape = qdq_arena_alloc(&c->model->arena, 4 * sizeof *shape);
    if (shape == NULL) return no_memory(c);
    for (uint32_t i = t->n_dims; i-- > 0 && status == QDQ_OK;) {
        status = take_u64(c, "a tensor's extent", &shape[i]);
        if (status == QDQ_OK && shape[i] > INT64_MAX)
            status = qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": the extent at offset %llu is %llu, over 63 bits",
                              SHOWN(c->path), SHOWN(t->name), (ull)c->at - 8, (ull)shape[i]);
    }
    t->shape = shape;
    if (status == QDQ_OK && !qdq_shape_elements(t->n_dims, shape, &t->elements))
        status = qdq_fail(QDQ_BAD_DATA,
                          "%s: tensor \"%s\": shape %s at offset %llu has more elements than 63 bits can count",
                          SHOWN(c->path), SHOWN(t->name), SHAPE(t->n_dims, shape), (ull)start);
    return status;
}

static qdq_status read_type(cursor *c, qdq_tensor *t) {
    uint64_t start = c->at;
    uint32_t id = 0;
    qdq_status status = take_u32(c, "a tensor's type", &id);
    if (status != QDQ_OK) return status;
    qdq_type type;
    if (!qdq_type_by_ggml(id, &type))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" is of ggml type %u at offset %llu: %s", SHOWN(c->path),
                        SHOWN(t->name), id, (ull)start, qdq_type_unknown_ggml(id));
    uint64_t row = t->n_dims > 0 ? t->shape[t->n_dims - 1] : 1;
    if (row % type.block != 0)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: tensor \"%s\" has rows of %llu elements, no multiple of %s's block of %u (type at "
                        "offset %llu)",
                        SHOWN(c->path), SHOWN(t->name), (ull)row, type.ggml, type.block, (ull)start);
    if (!qdq_type_bytes(&type, t->elements, &t->bytes))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": %s of shape %s takes more bytes than 64 bits can count",
                        SHOWN(c->path), SHOWN(t->name), type.ggml, SHAPE(t->n_dims, t->shape));
    t->type_name = type.ggml;
    t->ggml_type = id;
    t->source = type.not_source == NULL;
    t->dtype = qdq_type_dtype(&type);
    return QDQ_OK;
}

/* t->offset is left as the file has it: relative to the data, whose place is known only after the last tensor. */
static qdq_status read_info(cursor *c, uint64_t alignment, uint64_t *expected, qdq_tensor *t) {
    qdq_status status = take_name(c, "a tensor's name", NAME_LIMIT, &t->name);
    if (status == QDQ_OK) status = read_shape(c, t);
    if (status == QDQ_OK) status = read_type(c, t);
    if (status == QDQ_OK) status = take_u64(c, "a tensor's offset", &t->offset);
    if (status != QDQ_OK) return status;
    if (t->offset != *expected)
        return qdq_fail(
            QDQ_BAD_DATA,
            "%s: tensor \"%s\": its data offset is %llu (at offset %llu of the file), but the tensors before it "
            "end at %llu; they must follow each other",
            SHOWN(c->path), SHOWN(t->name), (ull)t->offset, (ull)c->at - 8, (ull)*expected);
    uint64_t padded;
    if (__builtin_add_overflow(t->bytes, alignment - 1, &padded) ||
        __builtin_add_overflow(*expected, padded & ~(alignment - 1), expected))
        return qdq_fail(QDQ_BAD_DATA, "%s: the tensors up to \"%s\" take more bytes than 64 bits can count",
                        SHOWN(c->path), SHOWN(t->name));
    return QDQ_OK;
}

/* Turns the tensors' offsets into places in the file. */
static qdq_status place(const cursor *c, uint64_t first, uint64_t alignment) {
    uint64_t data = (c->at + alignment - 1) & ~(alignment - 1); /* a file's length is under 2^63 */
    for (uint64_t i = first; i < c->model->n_tensors; i++) {
        qdq_tensor *t = &c->model->tensors[i];
        uint64_t start, end;
        if (__builtin_add_overflow(data, t->offset, &start) || __builtin_add_overflow(start, t->bytes, &end) ||
            end > c->length)
            return qdq_fail(
                QDQ_BAD_DATA,
                "%s: tensor \"%s\" (%s %s) claims %llu bytes at %llu past offset %llu, but the file ends at "
                "%llu: cut short or damaged",
                SHOWN(c->path), SHOWN(t->name), t->type_name, SHAPE(t->n_dims, t->shape), (ull)t->bytes, (ull)t->offset,
                (ull)data, (ull)c->length);
        t->offset = start;
        t->data = c->bytes + start;
        t->path = c->path;
    }
    return QDQ_OK;
}

static qdq_status read_version(cursor *c) {
    uint32_t version = 0;
    const uint8_t *magic = take(c, 4);
    if (magic == NULL) return cut_short(c, "the magic \"GGUF\"", 4);
    if (memcmp(magic, "GGUF", 4) != 0)
        return qdq_fail(QDQ_BAD_DATA, "%s: does not begin with \"GGUF\": not a GGUF file", SHOWN(c->path));
    qdq_status status = take_u32(c, "the version", &version);
    if (status != QDQ_OK) return status;
    if (version == 2 || version == 3) return QDQ_OK;
    if (version == 1)
        return qdq_fail(QDQ_BAD_DATA, "%s: GGUF version 1, which llama.cpp gave up in 2023: convert the model anew",
                        SHOWN(c->path));
    if (version != 0 && (version & 0xffff) == 0)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: a big-endian GGUF file (version %u read backwards): convert it with "
                        "gguf_convert_endian.py of llama.cpp",
                        SHOWN(c->path), __builtin_bswap32(version));
    return qdq_fail(QDQ_BAD_DATA, "%s: GGUF version %u at offset 4; versions 2 and 3 are known", SHOWN(c->path),
                    version);
}

static qdq_status check_count(const cursor *c, const char *what, uint64_t n, uint64_t smallest, uint64_t limit) {
    if (n > (c->length - c->at) / smallest)
        return qdq_fail(QDQ_BAD_DATA, "%s: claims %llu %s, but the %llu bytes from offset %llu hold at most %llu",
                        SHOWN(c->path), (ull)n, what, (ull)(c->length - c->at), (ull)c->at,
                        (ull)((c->length - c->at) / smallest));
    if (n > limit)
        return qdq_fail(QDQ_BAD_DATA, "%s: claims %llu %s; at most %llu are allowed", SHOWN(c->path), (ull)n, what,
                        (ull)limit);
    return QDQ_OK;
}

qdq_status qdq_gguf_parse(qdq_model *model, qdq_kvs *kvs, const uint8_t *bytes, uint64_t length, const char *path) {
    cursor c = {.model = model, .bytes = bytes, .path = path, .length = length};
    uint64_t n_tensors = 0, n_kv = 0, alignment = 32, expected = 0, first = model->n_tensors;
    qdq_status status = read_version(&c);
    if (status == QDQ_OK) status = take_u64(&c, "the number of tensors", &n_tensors);
    if (status == QDQ_OK) status = take_u64(&c, "the number of keys", &n_kv);
    if (status == QDQ_OK) status = check_count(&c, "keys", n_kv, SMALLEST_KV, QDQ_KV_LIMIT);
    if (status == QDQ_OK) status = check_count(&c, "tensors", n_tensors, SMALLEST_INFO, QDQ_TENSOR_LIMIT);
    if (status == QDQ_OK) status = read_kvs(&c, n_kv, kvs);
    if (status == QDQ_OK) status = read_alignment(&c, kvs, &alignment);
    for (uint64_t i = 0; i < n_tensors && status == QDQ_OK; i++) {
        qdq_tensor tensor = {0};
        status = read_info(&c, alignment, &expected, &tensor);
        if (status == QDQ_OK) status = qdq_model_add(model, &tensor);
    }
    return status == QDQ_OK ? place(&c, first, alignment) : status;
}
