/* safetensors: u64 length of the header, the header (JSON), the data.
 *
 *     {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
 *
 * Offsets count from the end of the header. The tensors' ranges cover the data exactly: no hole, no overlap, nothing
 * behind. Source: github.com/huggingface/safetensors, README and safetensors/src/tensor.rs. */
#include "internal.h"
#include "json_io.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_LIMIT 100000000u

typedef unsigned long long ull;

typedef struct range {
    uint64_t begin, end, index; /* of the data; index into the order of the header */
} range;

typedef struct parser {
    qdq_model *model;
    const uint8_t *bytes;
    const char *path;
    uint64_t data; /* offset of the data in the file */
    uint64_t data_length;
} parser;

static qdq_status no_memory(const char *path) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for the header", SHOWN(path));
}

static qdq_status read_metadata(parser *p, json_t *object) {
    const char *key;
    json_t *value;
    if (!json_is_object(object)) return qdq_fail(QDQ_BAD_DATA, "%s: __metadata__ is no object", SHOWN(p->path));
    json_object_foreach(object, key, value) {
        if (!json_is_string(value))
            return qdq_fail(QDQ_BAD_DATA, "%s: __metadata__ \"%s\" is no string; safetensors allows nothing else",
                            SHOWN(p->path), SHOWN(key));
        qdq_kv kv = {.type = QDQ_KV_STRING};
        kv.key = qdq_arena_text(&p->model->arena, key, strlen(key));
        kv.value =
            qdq_kv_encode_string(&p->model->arena, json_string_value(value), json_string_length(value), &kv.bytes);
        if (kv.key == NULL || kv.value == NULL) return no_memory(p->path);
        qdq_status status = qdq_kvs_add(&p->model->kvs, kv);
        if (status != QDQ_OK) return status;
    }
    return QDQ_OK;
}

static qdq_status read_shape(parser *p, const char *name, json_t *array, qdq_tensor *t) {
    if (!json_is_array(array) || json_array_size(array) > UINT32_MAX)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" has no \"shape\" array", SHOWN(p->path), SHOWN(name));
    t->n_dims = (uint32_t)json_array_size(array);
    uint64_t *shape = qdq_arena_alloc(&p->model->arena, (uint64_t)t->n_dims * sizeof *shape);
    if (shape == NULL) return no_memory(p->path);
    for (uint32_t i = 0; i < t->n_dims; i++) {
        json_t *extent = json_array_get(array, i);
        if (!json_is_integer(extent) || json_integer_value(extent) < 0)
            return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": extent %u of its shape is no whole number >= 0",
                            SHOWN(p->path), SHOWN(name), (unsigned)i);
        shape[i] = (uint64_t)json_integer_value(extent);
    }
    t->shape = shape;
    if (!qdq_shape_elements(t->n_dims, shape, &t->elements))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": shape %s has more elements than 63 bits can count",
                        SHOWN(p->path), SHOWN(name), SHAPE(t->n_dims, shape));
    return QDQ_OK;
}

static bool read_offsets(json_t *array, range *r) {
    json_t *begin = json_array_get(array, 0), *end = json_array_get(array, 1);
    if (json_array_size(array) != 2 || !json_is_integer(begin) || !json_is_integer(end)) return false;
    if (json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin)) return false;
    r->begin = (uint64_t)json_integer_value(begin);
    r->end = (uint64_t)json_integer_value(end);
    return true;
}

static qdq_status read_tensor(parser *p, const char *name, json_t *info, qdq_tensor *t, range *r) {
    if (!json_is_object(info))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" is described by no object", SHOWN(p->path), SHOWN(name));
    const char *dtype = json_string_value(json_object_get(info, "dtype"));
    if (dtype == NULL)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" has no \"dtype\" string", SHOWN(p->path), SHOWN(name));
    const qdq_type *type = qdq_type_by_safetensors(dtype);
    if (type == NULL)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" has dtype \"%s\", which this version does not know",
                        SHOWN(p->path), SHOWN(name), SHOWN(dtype));
    qdq_status status = read_shape(p, name, json_object_get(info, "shape"), t);
    if (status != QDQ_OK) return status;
    if (!read_offsets(json_object_get(info, "data_offsets"), r))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": \"data_offsets\" is not [begin, end] with 0 <= begin <= end",
                        SHOWN(p->path), SHOWN(name));
    if (!qdq_type_bytes(type, t->elements, &t->bytes))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": %s of shape %s is no whole number of bytes under 2^64",
                        SHOWN(p->path), SHOWN(name), dtype, SHAPE(t->n_dims, t->shape));
    if (t->bytes != r->end - r->begin)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: tensor \"%s\": %s of shape %s takes %llu bytes, but its offsets [%llu, %llu] hold %llu",
                        SHOWN(p->path), SHOWN(name), dtype, SHAPE(t->n_dims, t->shape), (ull)t->bytes, (ull)r->begin,
                        (ull)r->end, (ull)(r->end - r->begin));
    if (r->end > p->data_length)
        return qdq_fail(
            QDQ_BAD_DATA,
            "%s: tensor \"%s\" ends at byte %llu of the data, which are %llu bytes (from offset %llu of the "
            "file): the file is cut short or damaged",
            SHOWN(p->path), SHOWN(name), (ull)r->end, (ull)p->data_length, (ull)p->data);
    t->name = qdq_arena_text(&p->model->arena, name, strlen(name));
    if (t->name == NULL) return no_memory(p->path);
    t->type_name = type->safetensors;
    t->ggml_type = type->ggml_id;
    t->source = type->not_source == NULL;
    t->dtype = qdq_type_dtype(type);
    t->offset = p->data + r->begin;
    t->data = p->bytes + t->offset;
    t->path = p->path;
    return QDQ_OK;
}

/* By place; tensors without bytes before the one that begins there. */
static int by_place(const void *a, const void *b) {
    const range *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static qdq_status add_in_order(parser *p, qdq_tensor *tensors, range *ranges, uint64_t n) {
    qsort(ranges, (size_t)n, sizeof *ranges, by_place);
    uint64_t at = 0;
    for (uint64_t i = 0; i < n; i++) {
        const qdq_tensor *t = &tensors[ranges[i].index];
        if (ranges[i].begin < at)
            return qdq_fail(QDQ_BAD_DATA,
                            "%s: tensors \"%s\" and \"%s\" overlap: the second begins at %llu, %llu bytes "
                            "before the first ends",
                            SHOWN(p->path), SHOWN(tensors[ranges[i - 1].index].name), SHOWN(t->name),
                            (ull)ranges[i].begin, (ull)(at - ranges[i].begin));
        if (ranges[i].begin > at)
            return qdq_fail(QDQ_BAD_DATA,
                            "%s: %llu bytes before tensor \"%s\" (at %llu of the data) belong to no tensor; "
                            "safetensors allows no holes",
                            SHOWN(p->path), (ull)(ranges[i].begin - at), SHOWN(t->name), (ull)ranges[i].begin);
        at = ranges[i].end;
        qdq_status status = qdq_model_add(p->model, t);
        if (status != QDQ_OK) return status;
    }
    if (at != p->data_length)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: the tensors cover %llu bytes of data, the file has %llu after its header (offset %llu)",
                        SHOWN(p->path), (ull)at, (ull)p->data_length, (ull)p->data);
    return QDQ_OK;
}

static qdq_status read_header(parser *p, json_t *root) {
    uint64_t n = 0;
    size_t room = json_object_size(root);
    qdq_tensor *tensors = calloc(room + 1, sizeof *tensors);
    range *ranges = calloc(room + 1, sizeof *ranges);
    qdq_status status = tensors == NULL || ranges == NULL ? no_memory(p->path) : QDQ_OK;
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value) {
        if (status != QDQ_OK) break;
        if (strcmp(name, "__metadata__") == 0) {
            status = read_metadata(p, value);
        } else {
            ranges[n].index = n;
            status = read_tensor(p, name, value, &tensors[n], &ranges[n]);
            n++;
        }
    }
    if (status == QDQ_OK) status = add_in_order(p, tensors, ranges, n);
    free(tensors);
    free(ranges);
    return status;
}

qdq_status qdq_safetensors_parse(qdq_model *model, const uint8_t *bytes, uint64_t length, const char *path) {
    if (length < 8)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: %llu bytes are too few for a safetensors file, which begins with 8 bytes "
                        "of header length",
                        SHOWN(path), (ull)length);
    uint64_t header = qdq_le64(bytes);
    if (header > HEADER_LIMIT)
        return qdq_fail(
            QDQ_BAD_DATA,
            "%s: header length %llu at offset 0 is over %u, the limit of safetensors: not a safetensors file?",
            SHOWN(path), (ull)header, HEADER_LIMIT);
    if (header > length - 8)
        return qdq_fail(QDQ_BAD_DATA, "%s: the header should end at offset %llu, but the file ends at %llu: cut short",
                        SHOWN(path), (ull)header + 8, (ull)length);
    if (header == 0 || bytes[8] != '{')
        return qdq_fail(QDQ_BAD_DATA, "%s: the header at offset 8 does not begin with '{': not a safetensors file",
                        SHOWN(path));
    json_error_t error;
    json_t *root;
    qdq_status status = qdq_json_parse(path, bytes + 8, header, &root, &error);
    if (status == QDQ_BAD_DATA)
        return qdq_fail(QDQ_BAD_DATA, "%s: the header is not JSON at offset %llu: %s", SHOWN(path),
                        8 + (ull)(error.position < 0 ? 0 : error.position), SHOWN(error.text));
    if (status != QDQ_OK) return status;
    parser p = {.model = model, .bytes = bytes, .path = path, .data = 8 + header, .data_length = length - 8 - header};
    status = read_header(&p, root);
    json_decref(root);
    return status;
}
