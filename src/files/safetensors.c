/* safetensors: u64 length of the header, the header (JSON), the data.
 *
 *     {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
 *
 * Offsets count from the end of the header. The tensors' ranges cover the data exactly: no hole, no overlap, nothing
 * behind. Source: github.com/huggingface/safetensors, README and safetensors/src/tensor.rs. */
#include "internal.h"
#include "json_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_LIMIT 100000000u
#define MAX_DIMS     64 /* PyTorch's */

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
    qdq_json_reader reader;
    bool metadata; /* was read */
} parser;

static qdq_status no_memory(const char *path) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for the header", SHOWN(path));
}

/* What the JSON has wrong, and where. */
static qdq_status bad_json(const parser *p) {
    const qdq_json_reader *r = &p->reader;
    if (r->memory) return no_memory(p->path);
    return qdq_fail(QDQ_BAD_DATA, "%s: the header is not JSON at offset %llu: %s", SHOWN(p->path), 8 + (ull)r->at,
                    r->why);
}

static qdq_status add_metadata(parser *p, qdq_kvs *kvs, const char *key) {
    const char *text;
    size_t length;
    if (!qdq_json_string(&p->reader, &text, &length))
        return p->reader.memory
                   ? no_memory(p->path)
                   : qdq_fail(QDQ_BAD_DATA, "%s: __metadata__ \"%s\" is no string; safetensors allows nothing else",
                              SHOWN(p->path), SHOWN(key));
    qdq_kv kv = {.type = QDQ_KV_STRING};
    kv.key = qdq_arena_text(&p->model->arena, key, strlen(key));
    kv.value = qdq_kv_encode_string(&p->model->arena, text, length, &kv.bytes);
    return kv.key != NULL && kv.value != NULL ? qdq_kvs_add(kvs, kv) : no_memory(p->path);
}

static qdq_status read_metadata(parser *p) {
    const char *key;
    qdq_kvs kvs = {0};
    uint64_t duplicate;
    qdq_status status = QDQ_OK;
    if (p->metadata) return qdq_fail(QDQ_BAD_DATA, "%s: __metadata__ is there twice", SHOWN(p->path));
    p->metadata = true;
    if (!qdq_json_enter(&p->reader, '{'))
        return qdq_fail(QDQ_BAD_DATA, "%s: __metadata__ is no object", SHOWN(p->path));
    while (status == QDQ_OK && qdq_json_key(&p->reader, &key)) status = add_metadata(p, &kvs, key);
    if (status == QDQ_OK) status = qdq_kvs_index(&kvs, &duplicate);
    if (status == QDQ_OK && duplicate != UINT64_MAX)
        status = qdq_fail(QDQ_BAD_DATA, "%s: __metadata__ has \"%s\" twice", SHOWN(p->path),
                          SHOWN(kvs.items[duplicate].key));
    for (uint64_t i = 0; i < kvs.n && status == QDQ_OK; i++) status = qdq_kvs_add(&p->model->kvs, kvs.items[i]);
    qdq_kvs_free(&kvs);
    return status;
}

/* What a tensor's object says, before it is judged. */
typedef struct info {
    bool dtype, shape, offsets; /* they are there, and a string, an array, an array */
    const char *twice;          /* a member that is there twice, or NULL */
    char type[64];              /* cut where it is longer: then there is no such type */
    uint64_t extents[MAX_DIMS], place[2];
    uint64_t n_dims, n_places;
    uint64_t bad_extent; /* the first that is no whole number; n_dims: none */
    bool bad_place;
} info;

static void read_dtype(qdq_json_reader *r, info *i) {
    const char *text;
    if (i->dtype) i->twice = "dtype";
    i->dtype = qdq_json_string(r, &text, NULL);
    if (i->dtype)
        snprintf(i->type, sizeof i->type, "%s", text);
    else
        qdq_json_skip(r);
}

/* *n values, of which the first `room` are kept; *bad: the first that is no whole number, or *n. */
static bool read_wholes(qdq_json_reader *r, uint64_t *values, uint64_t room, uint64_t *n, uint64_t *bad) {
    *n = 0;
    *bad = UINT64_MAX;
    if (!qdq_json_enter(r, '[')) {
        qdq_json_skip(r);
        return false;
    }
    for (; qdq_json_item(r); ++*n) {
        uint64_t value = 0;
        if (!qdq_json_whole(r, &value)) {
            qdq_json_skip(r);
            if (*bad > *n) *bad = *n;
        }
        if (*n < room) values[*n] = value;
    }
    if (*bad > *n) *bad = *n;
    return true;
}

static void read_info(qdq_json_reader *r, info *i) {
    const char *key;
    uint64_t bad;
    while (qdq_json_key(r, &key)) {
        if (strcmp(key, "dtype") == 0) {
            read_dtype(r, i);
        } else if (strcmp(key, "shape") == 0) {
            if (i->shape) i->twice = "shape";
            i->shape = read_wholes(r, i->extents, MAX_DIMS, &i->n_dims, &i->bad_extent);
        } else if (strcmp(key, "data_offsets") == 0) {
            if (i->offsets) i->twice = "data_offsets";
            i->offsets = read_wholes(r, i->place, 2, &i->n_places, &bad);
            i->bad_place = bad != i->n_places;
        } else {
            qdq_json_skip(r);
        }
    }
}

static qdq_status set_shape(parser *p, const char *name, const info *i, qdq_tensor *t) {
    if (!i->shape)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" has no \"shape\" array", SHOWN(p->path), SHOWN(name));
    if (i->n_dims > MAX_DIMS)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" claims %llu dimensions; at most %d are allowed",
                        SHOWN(p->path), SHOWN(name), (ull)i->n_dims, MAX_DIMS);
    if (i->bad_extent < i->n_dims)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": extent %llu of its shape is no whole number >= 0",
                        SHOWN(p->path), SHOWN(name), (ull)i->bad_extent);
    uint64_t *shape = qdq_arena_alloc(&p->model->arena, i->n_dims * sizeof *shape);
    if (shape == NULL) return no_memory(p->path);
    memcpy(shape, i->extents, (size_t)i->n_dims * sizeof *shape);
    t->n_dims = (uint32_t)i->n_dims;
    t->shape = shape;
    if (!qdq_shape_elements(t->n_dims, shape, &t->elements))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": shape %s has more elements than 63 bits can count",
                        SHOWN(p->path), SHOWN(name), SHAPE(t->n_dims, shape));
    return QDQ_OK;
}

static qdq_status read_tensor(parser *p, const char *key, qdq_tensor *t, range *r) {
    info i = {0};
    const char *name = t->name = qdq_arena_text(&p->model->arena, key, strlen(key));
    if (name == NULL) return no_memory(p->path);
    if (!qdq_json_enter(&p->reader, '{'))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" is described by no object", SHOWN(p->path), SHOWN(name));
    read_info(&p->reader, &i);
    if (p->reader.why != NULL) return bad_json(p);
    if (i.twice != NULL)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" has \"%s\" twice", SHOWN(p->path), SHOWN(name), i.twice);
    if (!i.dtype)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" has no \"dtype\" string", SHOWN(p->path), SHOWN(name));
    qdq_type type;
    if (!qdq_type_by_safetensors(i.type, &type))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" has dtype \"%s\", which this version does not know",
                        SHOWN(p->path), SHOWN(name), SHOWN(i.type));
    qdq_status status = set_shape(p, name, &i, t);
    if (status != QDQ_OK) return status;
    if (!i.offsets || i.n_places != 2 || i.bad_place || i.place[1] < i.place[0])
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": \"data_offsets\" is not [begin, end] with 0 <= begin <= end",
                        SHOWN(p->path), SHOWN(name));
    r->begin = i.place[0];
    r->end = i.place[1];
    if (!qdq_type_bytes(&type, t->elements, &t->bytes))
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\": %s of shape %s is no whole number of bytes under 2^64",
                        SHOWN(p->path), SHOWN(name), type.safetensors, SHAPE(t->n_dims, t->shape));
    if (t->bytes != r->end - r->begin)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: tensor \"%s\": %s of shape %s takes %llu bytes, but its offsets [%llu, %llu] hold %llu",
                        SHOWN(p->path), SHOWN(name), type.safetensors, SHAPE(t->n_dims, t->shape), (ull)t->bytes,
                        (ull)r->begin, (ull)r->end, (ull)(r->end - r->begin));
    if (r->end > p->data_length)
        return qdq_fail(
            QDQ_BAD_DATA,
            "%s: tensor \"%s\" ends at byte %llu of the data, which are %llu bytes (from offset %llu of the "
            "file): the file is cut short or damaged",
            SHOWN(p->path), SHOWN(name), (ull)r->end, (ull)p->data_length, (ull)p->data);
    t->type_name = type.safetensors;
    t->ggml_type = type.ggml_id;
    t->source = type.not_source == NULL;
    t->dtype = qdq_type_dtype(&type);
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

/* The whole header is JSON, and has so many members. */
static qdq_status count_members(parser *p, uint64_t *n) {
    qdq_json_reader *r = &p->reader;
    const char *key;
    *n = 0;
    qdq_json_enter(r, '{');
    for (; qdq_json_key(r, &key); ++*n) qdq_json_skip(r);
    qdq_json_end(r);
    qdq_status status = r->why == NULL ? QDQ_OK : bad_json(p);
    r->at = 0;
    return status;
}

static qdq_status read_members(parser *p, qdq_tensor *tensors, range *ranges) {
    const char *key;
    uint64_t n = 0;
    qdq_status status = QDQ_OK;
    qdq_json_enter(&p->reader, '{');
    while (status == QDQ_OK && qdq_json_key(&p->reader, &key)) {
        if (strcmp(key, "__metadata__") == 0) {
            status = read_metadata(p);
        } else {
            ranges[n].index = n;
            status = read_tensor(p, key, &tensors[n], &ranges[n]);
            n++;
        }
    }
    if (status == QDQ_OK && p->reader.why != NULL) status = bad_json(p);
    return status == QDQ_OK ? add_in_order(p, tensors, ranges, n) : status;
}

static qdq_status read_header(parser *p) {
    uint64_t room = 0;
    qdq_status status = count_members(p, &room);
    if (status == QDQ_OK && room > QDQ_TENSOR_LIMIT)
        status = qdq_fail(QDQ_BAD_DATA, "%s: has %llu tensors; at most %u are allowed", SHOWN(p->path), (ull)room,
                          QDQ_TENSOR_LIMIT);
    if (status != QDQ_OK) return status;
    qdq_tensor *tensors = calloc((size_t)room + 1, sizeof *tensors);
    range *ranges = calloc((size_t)room + 1, sizeof *ranges);
    status = tensors != NULL && ranges != NULL ? read_members(p, tensors, ranges) : no_memory(p->path);
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
    parser p = {.model = model, .bytes = bytes, .path = path, .data = 8 + header, .data_length = length - 8 - header};
    p.reader = (qdq_json_reader){.bytes = bytes + 8, .length = header};
    qdq_status status = read_header(&p);
    qdq_json_free(&p.reader);
    return status;
}
