/* Models written: header from what was declared, then the data, tensor after tensor. */
#include "builder.h"
#include "internal.h"
#include "json_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

#define GGML_NAME_LIMIT 63 /* GGML_MAX_NAME less its NUL */

typedef struct entry {
    const char *name;
    qdq_type type;
    const uint64_t *shape;
    uint64_t bytes, offset; /* offset: in the data, once laid out */
    uint32_t n_dims;
} entry;

struct qdq_writer {
    qdq_layout layout;
    qdq_arena arena;
    qdq_kvs kvs;
    entry *entries;
    uint64_t n, capacity;
    qdq_out *out;    /* NULL: only sizes are asked for */
    bool begun;      /* the header is written */
    uint64_t data;   /* where the data begin, once laid out */
    uint64_t total;  /* bytes of the file, once begun */
    uint64_t due;    /* index of the tensor whose data come next */
    uint64_t within; /* bytes of it that are written */
};

static qdq_status no_memory(void) { return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the output's header"); }

qdq_status qdq_writer_create(qdq_layout layout, const char *path, qdq_writer **result) {
    if (result == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_writer_create: an argument is NULL");
    qdq_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL) return no_memory();
    writer->layout = layout;
    qdq_status status = path != NULL ? qdq_out_create(path, &writer->out) : QDQ_OK;
    if (status != QDQ_OK)
        qdq_writer_abort(writer);
    else
        *result = writer;
    return status;
}

static void free_writer(qdq_writer *writer) {
    qdq_arena_free(&writer->arena);
    qdq_kvs_free(&writer->kvs);
    free(writer->entries);
    free(writer);
}

void qdq_writer_abort(qdq_writer *writer) {
    if (writer == NULL) return;
    qdq_out_abort(writer->out);
    free_writer(writer);
}

/* ---- What the file will hold --------------------------------------------------------------------------------------
 */

static qdq_status set(qdq_writer *writer, const qdq_kv *kv) {
    if (writer->begun) return qdq_fail(QDQ_INVALID_ARGUMENT, "metadata \"%s\" comes after the data", SHOWN(kv->key));
    if (writer->layout == QDQ_LAYOUT_SAFETENSORS && kv->type != QDQ_KV_STRING)
        return qdq_fail(QDQ_UNSUPPORTED, "metadata \"%s\": safetensors knows strings only", SHOWN(kv->key));
    /* A few dozen keys: no index is worth it. */
    for (uint64_t i = 0; i < writer->kvs.n; i++) {
        if (strcmp(writer->kvs.items[i].key, kv->key) != 0) continue;
        qdq_kv *found = &writer->kvs.items[i];
        memmove(found, found + 1, (size_t)(writer->kvs.n - i - 1) * sizeof *found);
        writer->kvs.items[writer->kvs.n - 1] = *kv;
        return QDQ_OK;
    }
    return qdq_kvs_add(&writer->kvs, *kv);
}

qdq_status qdq_writer_set(qdq_writer *writer, const qdq_kv *kv) { return set(writer, kv); }

static bool is_about_splits(const char *key) {
    return strcmp(key, "split.no") == 0 || strcmp(key, "split.count") == 0 || strcmp(key, "split.tensors.count") == 0;
}

qdq_status qdq_writer_copy_metadata(qdq_writer *writer, const qdq_model *model) {
    if (model->layout != writer->layout)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: its metadata are of the other layout", SHOWN(model->path));
    if (writer->kvs.n != 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "a model's metadata must be copied before others are set");
    for (uint64_t i = 0; i < model->kvs.n; i++) {
        const qdq_kv *kv = &model->kvs.items[i];
        if (writer->layout == QDQ_LAYOUT_GGUF && is_about_splits(kv->key)) continue;
        qdq_status status = qdq_kvs_add(&writer->kvs, *kv); /* no key is twice in a model */
        if (status != QDQ_OK) return status;
    }
    return QDQ_OK;
}

qdq_status qdq_writer_set_string(qdq_writer *writer, const char *key, const char *value) {
    qdq_kv kv = {.type = QDQ_KV_STRING};
    if (!qdq_is_text(value, strlen(value)) || !qdq_is_text(key, strlen(key)) || key[0] == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "metadata \"%s\": key and value must be UTF-8, the key not empty",
                        SHOWN(key));
    kv.key = qdq_arena_text(&writer->arena, key, strlen(key));
    kv.value = qdq_kv_encode_string(&writer->arena, value, strlen(value), &kv.bytes);
    return kv.key != NULL && kv.value != NULL ? set(writer, &kv) : no_memory();
}

static qdq_status set_number(qdq_writer *writer, const char *key, uint32_t type, uint32_t value) {
    qdq_kv kv = {.type = type, .bytes = qdq_kv_type_size(type)};
    uint8_t *bytes = qdq_arena_alloc(&writer->arena, kv.bytes);
    kv.key = qdq_arena_text(&writer->arena, key, strlen(key));
    if (bytes == NULL || kv.key == NULL) return no_memory();
    for (uint64_t i = 0; i < kv.bytes; i++) bytes[i] = (uint8_t)(value >> (8 * i));
    kv.value = bytes;
    return set(writer, &kv);
}

qdq_status qdq_writer_set_u32(qdq_writer *writer, const char *key, uint32_t value) {
    return set_number(writer, key, QDQ_KV_U32, value);
}

qdq_status qdq_writer_set_split(qdq_writer *writer, uint16_t shard, uint16_t shards, uint32_t tensors) {
    qdq_status status = set_number(writer, "split.no", QDQ_KV_U16, shard);
    if (status == QDQ_OK) status = set_number(writer, "split.count", QDQ_KV_U16, shards);
    return status == QDQ_OK ? set_number(writer, "split.tensors.count", QDQ_KV_I32, tensors) : status;
}

static qdq_status check_gguf(const char *name, uint32_t n_dims) {
    if (strlen(name) > GGML_NAME_LIMIT)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "tensor \"%s\": its name has %zu bytes; ggml reads at most %d from a GGUF file", SHOWN(name),
                        strlen(name), GGML_NAME_LIMIT);
    if (n_dims > 4)
        return qdq_fail(QDQ_UNSUPPORTED, "tensor \"%s\" has %u dimensions; GGUF has at most 4", SHOWN(name), n_dims);
    return QDQ_OK;
}

qdq_status qdq_writer_add_tensor(qdq_writer *writer, const char *name, const char *type_name, uint32_t n_dims,
                                 const uint64_t *shape) {
    if (writer->begun) return qdq_fail(QDQ_INVALID_ARGUMENT, "tensor \"%s\" comes after the data", SHOWN(name));
    bool gguf = writer->layout == QDQ_LAYOUT_GGUF;
    qdq_type type;
    if (!qdq_type_by_name(type_name, &type) || (gguf ? type.ggml : type.safetensors) == NULL)
        return qdq_fail(QDQ_UNSUPPORTED, "tensor \"%s\": %s has no type %s", SHOWN(name), gguf ? "GGUF" : "safetensors",
                        SHOWN(type_name));
    /* As ggml writes it: an extent of 1 in front of others says nothing there. */
    for (; gguf && n_dims > 1 && shape[0] == 1; n_dims--) shape++;
    qdq_status status = gguf ? check_gguf(name, n_dims) : QDQ_OK;
    if (status != QDQ_OK) return status;
    if (!qdq_is_text(name, strlen(name)) || (!gguf && strcmp(name, "__metadata__") == 0))
        return qdq_fail(QDQ_UNSUPPORTED, "tensor \"%s\": no name for a tensor", SHOWN(name));
    entry e = {.type = type, .n_dims = n_dims};
    uint64_t elements, row = n_dims > 0 ? shape[n_dims - 1] : 1;
    if (!qdq_shape_elements(n_dims, shape, &elements) || row % type.block != 0 ||
        !qdq_type_bytes(&type, elements, &e.bytes))
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "tensor \"%s\": shape %s cannot be of type %s, whose block has %u elements", SHOWN(name),
                        SHAPE(n_dims, shape), type_name, type.block);
    uint64_t *copy = qdq_arena_alloc(&writer->arena, (uint64_t)n_dims * sizeof *copy);
    e.name = qdq_arena_text(&writer->arena, name, strlen(name));
    if (copy == NULL || e.name == NULL ||
        !qdq_grow((void **)&writer->entries, writer->n, &writer->capacity, sizeof *writer->entries))
        return no_memory();
    if (n_dims > 0) memcpy(copy, shape, n_dims * sizeof *copy);
    e.shape = copy;
    writer->entries[writer->n++] = e;
    return QDQ_OK;
}

uint64_t qdq_writer_tensor_bytes(const qdq_writer *writer, uint64_t index) { return writer->entries[index].bytes; }

static qdq_status check_names(const qdq_writer *writer) {
    qdq_status status = QDQ_OK;
    qdq_name *names = malloc((size_t)(writer->n + 1) * sizeof *names);
    if (names == NULL) return no_memory();
    for (uint64_t i = 0; i < writer->n; i++) names[i] = (qdq_name){writer->entries[i].name, i};
    qdq_sorted_sort(names, writer->n);
    for (uint64_t i = 1; i < writer->n && status == QDQ_OK; i++)
        if (strcmp(names[i - 1].text, names[i].text) == 0)
            status = qdq_fail(QDQ_INVALID_ARGUMENT, "tensor \"%s\" is added twice", SHOWN(names[i].text));
    free(names);
    return status;
}

/* ---- Layout: offsets and header ------------------------------------------------------------------------------------
 */

static void put_integer(qdq_builder *b, uint64_t value, int bytes) {
    uint8_t little[8];
    for (int i = 0; i < bytes; i++) little[i] = (uint8_t)(value >> (8 * i));
    qdq_builder_add(b, little, (uint64_t)bytes);
}

static void put_string(qdq_builder *b, const char *text) {
    put_integer(b, strlen(text), 8);
    qdq_builder_add(b, text, strlen(text));
}

static bool round_up(uint64_t value, uint64_t alignment, uint64_t *result) {
    if (__builtin_add_overflow(value, alignment - 1, result)) return false;
    *result &= ~(alignment - 1);
    return true;
}

static qdq_status too_large(void) {
    return qdq_fail(QDQ_INVALID_ARGUMENT, "the tensors together take more bytes than a file can have");
}

static qdq_status gguf_alignment(const qdq_writer *writer, uint64_t *alignment) {
    *alignment = 32;
    for (uint64_t i = 0; i < writer->kvs.n; i++) {
        const qdq_kv *kv = &writer->kvs.items[i];
        if (strcmp(kv->key, "general.alignment") != 0) continue;
        *alignment = kv->type == QDQ_KV_U32 ? qdq_le32(kv->value) : 0;
        if (*alignment == 0 || (*alignment & (*alignment - 1)) != 0)
            return qdq_fail(QDQ_INVALID_ARGUMENT, "general.alignment must be a u32 and a power of two");
    }
    return QDQ_OK;
}

/* Header into b, offsets into the entries; *start is where the data begin, *data their bytes. */
static qdq_status lay_out_gguf(const qdq_writer *writer, qdq_builder *b, uint64_t *start, uint64_t *data) {
    uint64_t alignment, at = 0, padded;
    qdq_status status = gguf_alignment(writer, &alignment);
    if (status != QDQ_OK) return status;
    qdq_builder_add(b, "GGUF", 4);
    put_integer(b, 3, 4);
    put_integer(b, writer->n, 8);
    put_integer(b, writer->kvs.n, 8);
    for (uint64_t i = 0; i < writer->kvs.n; i++) {
        put_string(b, writer->kvs.items[i].key);
        put_integer(b, writer->kvs.items[i].type, 4);
        qdq_builder_add(b, writer->kvs.items[i].value, writer->kvs.items[i].bytes);
    }
    for (uint64_t i = 0; i < writer->n; i++) {
        entry *e = &writer->entries[i];
        e->offset = at;
        if (!round_up(e->bytes, alignment, &padded) || __builtin_add_overflow(at, padded, &at)) return too_large();
        put_string(b, e->name);
        /* A scalar has one dimension of 1: some readers stumble over none. */
        put_integer(b, e->n_dims > 0 ? e->n_dims : 1, 4);
        if (e->n_dims == 0) put_integer(b, 1, 8);
        for (uint32_t d = e->n_dims; d-- > 0;) put_integer(b, e->shape[d], 8);
        put_integer(b, e->type.ggml_id, 4);
        put_integer(b, e->offset, 8);
    }
    if (!round_up(b->n, alignment, start)) return too_large();
    *data = at;
    return QDQ_OK;
}

/* Wide elements first, so that each tensor begins at a multiple of its element's size; else in order. */
static void place_by_width(const qdq_writer *writer, uint64_t *data, bool *overflow) {
    static const uint32_t bits[] = {64, 32, 16, 0};
    *data = 0;
    *overflow = false;
    for (size_t pass = 0; pass < sizeof bits / sizeof *bits; pass++) {
        for (uint64_t i = 0; i < writer->n; i++) {
            entry *e = &writer->entries[i];
            bool narrow = e->type.bits != 64 && e->type.bits != 32 && e->type.bits != 16;
            if (bits[pass] == 0 ? !narrow : e->type.bits != bits[pass]) continue;
            e->offset = *data;
            *overflow |= __builtin_add_overflow(*data, e->bytes, data) || *data > INT64_MAX;
        }
    }
}

static void put_metadata(qdq_json_writer *w, const qdq_writer *writer) {
    qdq_json_put_open(w, "__metadata__", '{');
    for (uint64_t i = 0; i < writer->kvs.n; i++) {
        const char *text;
        uint64_t length;
        if (qdq_kv_string(&writer->kvs.items[i], &text, &length))
            qdq_json_put_bytes(w, writer->kvs.items[i].key, text, length);
    }
    qdq_json_put_close(w);
}

static void put_tensor(qdq_json_writer *w, const entry *e) {
    qdq_json_put_open(w, e->name, '{');
    qdq_json_put_text(w, "dtype", e->type.safetensors);
    qdq_json_put_open(w, "shape", '[');
    for (uint32_t d = 0; d < e->n_dims; d++) qdq_json_put_whole(w, NULL, e->shape[d]);
    qdq_json_put_close(w);
    qdq_json_put_open(w, "data_offsets", '[');
    qdq_json_put_whole(w, NULL, e->offset);
    qdq_json_put_whole(w, NULL, e->offset + e->bytes);
    qdq_json_put_close(w);
    qdq_json_put_close(w);
}

static qdq_status lay_out_safetensors(const qdq_writer *writer, qdq_builder *b, uint64_t *start, uint64_t *data) {
    bool overflow;
    place_by_width(writer, data, &overflow);
    if (overflow) return too_large();
    uint64_t at = b->n, length, padded;
    put_integer(b, 0, 8);
    qdq_json_writer w = {.out = b};
    qdq_json_put_open(&w, NULL, '{');
    if (writer->kvs.n > 0) put_metadata(&w, writer);
    for (uint64_t i = 0; i < writer->n; i++) put_tensor(&w, &writer->entries[i]);
    qdq_json_put_close(&w);
    if (b->failed) return no_memory();
    length = b->n - at - 8;
    padded = (length + 7) & ~(uint64_t)7;
    qdq_builder_add(b, "        ", padded - length);
    if (b->failed) return no_memory();
    for (int i = 0; i < 8; i++) b->bytes[at + (uint64_t)i] = (char)(padded >> 8 * i);
    *start = b->n;
    if (padded > 100000000)
        return qdq_fail(QDQ_UNSUPPORTED, "the header has %llu bytes; safetensors allows 100000000", (ull)padded);
    return QDQ_OK;
}

static qdq_status lay_out(const qdq_writer *writer, qdq_builder *b, uint64_t *start, uint64_t *total) {
    uint64_t data = 0;
    qdq_status status = check_names(writer);
    if (status == QDQ_OK && writer->layout == QDQ_LAYOUT_GGUF) status = lay_out_gguf(writer, b, start, &data);
    if (status == QDQ_OK && writer->layout != QDQ_LAYOUT_GGUF) status = lay_out_safetensors(writer, b, start, &data);
    if (status == QDQ_OK && b->failed) status = no_memory();
    if (status == QDQ_OK && (__builtin_add_overflow(*start, data, total) || *total > INT64_MAX)) status = too_large();
    return status;
}

qdq_status qdq_writer_size(const qdq_writer *writer, uint64_t *bytes) {
    qdq_builder header = {0};
    uint64_t start;
    qdq_status status = lay_out(writer, &header, &start, bytes);
    qdq_builder_free(&header);
    return status;
}

qdq_status qdq_writer_lay_out(qdq_writer *writer, uint8_t **header, uint64_t *header_bytes, uint64_t *file_bytes) {
    qdq_builder built = {0};
    qdq_status status = lay_out(writer, &built, &writer->data, file_bytes);
    *header_bytes = built.n;
    *header = status == QDQ_OK ? (uint8_t *)qdq_builder_take(&built) : NULL;
    qdq_builder_free(&built);
    return status == QDQ_OK && *header == NULL ? no_memory() : status;
}

uint64_t qdq_writer_tensor_offset(const qdq_writer *writer, uint64_t index) {
    return writer->data + writer->entries[index].offset;
}

char *qdq_split_name(const char *path, uint32_t file, uint32_t files) {
    size_t length = strlen(path), room = length + 32;
    char *name = malloc(room);
    if (name == NULL) return NULL;
    if (length > 5 && strcmp(path + length - 5, ".gguf") == 0) length -= 5;
    snprintf(name, room, "%.*s-%05u-of-%05u.gguf", (int)length, path, file + 1, files);
    return name;
}

/* ---- Data ----------------------------------------------------------------------------------------------------------
 */

static qdq_status begin(qdq_writer *writer) {
    qdq_builder header = {0};
    if (writer->out == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "the writer has no file: it was made to ask for sizes");
    qdq_status status = lay_out(writer, &header, &writer->data, &writer->total);
    if (status == QDQ_OK) status = qdq_out_reserve(writer->out, writer->total);
    if (status == QDQ_OK) status = qdq_out_write_at(writer->out, 0, header.bytes, header.n);
    writer->begun = status == QDQ_OK;
    qdq_builder_free(&header);
    return status;
}

static void skip_complete(qdq_writer *writer) {
    while (writer->due < writer->n && writer->within == writer->entries[writer->due].bytes) {
        writer->due++;
        writer->within = 0;
    }
}

qdq_status qdq_writer_write(qdq_writer *writer, const void *data, uint64_t bytes) {
    qdq_status status = writer->begun ? QDQ_OK : begin(writer);
    if (status != QDQ_OK || bytes == 0) return status;
    skip_complete(writer);
    if (writer->due == writer->n)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%llu bytes come after the last tensor's data", (ull)bytes);
    const entry *e = &writer->entries[writer->due];
    if (bytes > e->bytes - writer->within)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "tensor \"%s\": %llu bytes come where %llu of its %llu are missing",
                        SHOWN(e->name), (ull)bytes, (ull)(e->bytes - writer->within), (ull)e->bytes);
    /* Below writer->total, which fits: no sum here overflows. Padding is never written: the file was made of zeros. */
    status = qdq_out_write_at(writer->out, writer->data + e->offset + writer->within, data, bytes);
    if (status == QDQ_OK) writer->within += bytes;
    return status;
}

qdq_status qdq_writer_finish(qdq_writer *writer) {
    qdq_status status = writer->begun ? QDQ_OK : begin(writer);
    if (status == QDQ_OK) {
        skip_complete(writer);
        if (writer->due < writer->n) {
            const entry *e = &writer->entries[writer->due];
            status = qdq_fail(QDQ_INVALID_ARGUMENT, "tensor \"%s\": %llu of its %llu bytes were not written",
                              SHOWN(e->name), (ull)(e->bytes - writer->within), (ull)e->bytes);
        }
    }
    if (status != QDQ_OK) {
        qdq_writer_abort(writer);
        return status;
    }
    status = qdq_out_commit(writer->out);
    free_writer(writer);
    return status;
}
