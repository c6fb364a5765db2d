/* The index of a sharded safetensors model: {"metadata": {…}, "weight_map": {tensor: file, …}}. */
#include "internal.h"
#include "json_reader.h"

#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

#define INDEX_LIMIT 100000000u

/* A file of the index must lie beside it or below: an index from a stranger may not make us open /etc/… . */
static const char *bad_file(const char *file) {
    size_t length = strlen(file);
    if (qdq_path_is_absolute(file)) return "is an absolute path";
    for (const char *part = file, *end = file; *end != '\0'; part = end + 1) {
        for (end = part; *end != '\0' && !qdq_path_is_separator(*end);) end++;
        if (end - part == 2 && part[0] == '.' && part[1] == '.') return "leaves the directory of the index";
    }
    if (length < 13 || strcmp(file + length - 12, ".safetensors") != 0) return "is no .safetensors file";
    return NULL;
}

static qdq_status no_memory(const char *path) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for the index", SHOWN(path));
}

/* The whole text is JSON, and `weight_map` has so many members; UINT64_MAX: there is none, or it is no object. */
static qdq_status count_members(qdq_json_reader *r, const char *path, uint64_t *n) {
    const char *key;
    unsigned maps = 0;
    *n = UINT64_MAX;
    if (!qdq_json_enter(r, '{')) qdq_json_skip(r);
    while (r->depth > 0 && qdq_json_key(r, &key)) {
        bool map = strcmp(key, "weight_map") == 0;
        maps += map;
        if (!map || !qdq_json_enter(r, '{')) {
            qdq_json_skip(r);
            continue;
        }
        for (*n = 0; qdq_json_key(r, &key); ++*n) qdq_json_skip(r);
    }
    qdq_json_end(r);
    if (r->memory) return no_memory(path);
    if (r->why != NULL)
        return qdq_fail(QDQ_BAD_DATA, "%s: the index is not JSON at offset %llu: %s", SHOWN(path), (ull)r->at, r->why);
    if (maps > 1) return qdq_fail(QDQ_BAD_DATA, "%s: has \"weight_map\" twice", SHOWN(path));
    r->at = 0;
    return QDQ_OK;
}

static qdq_status add(qdq_index *index, qdq_json_reader *r, const char *name, const char *path) {
    const char *file;
    if (!qdq_json_string(r, &file, NULL))
        return r->memory ? no_memory(path)
                         : qdq_fail(QDQ_BAD_DATA, "%s: weight_map \"%s\" is no file name", SHOWN(path), SHOWN(name));
    const char *why = bad_file(file);
    if (why != NULL)
        return qdq_fail(QDQ_BAD_DATA, "%s: weight_map \"%s\": file \"%s\" %s", SHOWN(path), SHOWN(name), SHOWN(file),
                        why);
    const char *last = index->n > 0 ? index->files[index->n - 1] : "";
    index->names[index->n] = qdq_arena_text(&index->arena, name, strlen(name));
    index->files[index->n] =
        strcmp(file, last) == 0 ? last : qdq_arena_text(&index->arena, file, strlen(file)); /* a shard has many */
    if (index->names[index->n] == NULL || index->files[index->n] == NULL) return no_memory(path);
    index->n++;
    return QDQ_OK;
}

static qdq_status read_map(qdq_index *index, qdq_json_reader *r, uint64_t room, const char *path) {
    const char *key;
    qdq_status status = QDQ_OK;
    index->names = qdq_arena_alloc(&index->arena, room * sizeof *index->names);
    index->files = qdq_arena_alloc(&index->arena, room * sizeof *index->files);
    if (index->names == NULL || index->files == NULL) return no_memory(path);
    qdq_json_enter(r, '{');
    while (status == QDQ_OK && qdq_json_key(r, &key)) {
        if (strcmp(key, "weight_map") != 0 || !qdq_json_enter(r, '{')) {
            qdq_json_skip(r);
            continue;
        }
        while (status == QDQ_OK && qdq_json_key(r, &key)) status = add(index, r, key, path);
    }
    return status == QDQ_OK && r->memory ? no_memory(path) : status;
}

static qdq_status check_twice(const qdq_index *index, const char *path) {
    qdq_name *names = malloc((size_t)index->n * sizeof *names);
    if (names == NULL) return no_memory(path);
    for (uint64_t i = 0; i < index->n; i++) names[i] = (qdq_name){index->names[i], i};
    qdq_sorted_sort(names, index->n);
    const char *twice = NULL;
    for (uint64_t i = 1; i < index->n && twice == NULL; i++)
        if (strcmp(names[i - 1].text, names[i].text) == 0) twice = names[i].text;
    free(names);
    if (twice == NULL) return QDQ_OK;
    return qdq_fail(QDQ_BAD_DATA, "%s: weight_map has \"%s\" twice", SHOWN(path), SHOWN(twice));
}

qdq_status qdq_index_parse(const void *bytes, uint64_t length, const char *path, qdq_index *index) {
    qdq_json_reader r = {.bytes = bytes, .length = length};
    uint64_t n;
    *index = (qdq_index){0};
    if (length > INDEX_LIMIT)
        return qdq_fail(QDQ_BAD_DATA, "%s: %llu bytes are too many for an index (limit %u)", SHOWN(path), (ull)length,
                        INDEX_LIMIT);
    qdq_status status = count_members(&r, path, &n);
    if (status == QDQ_OK && n == UINT64_MAX)
        status =
            qdq_fail(QDQ_BAD_DATA, "%s: has no \"weight_map\" object: not the index of a sharded model", SHOWN(path));
    else if (status == QDQ_OK && n == 0)
        status = qdq_fail(QDQ_BAD_DATA, "%s: \"weight_map\" is empty: the index names no tensor", SHOWN(path));
    else if (status == QDQ_OK && n > QDQ_TENSOR_LIMIT)
        status = qdq_fail(QDQ_BAD_DATA, "%s: \"weight_map\" has %llu tensors; at most %u are allowed", SHOWN(path),
                          (ull)n, QDQ_TENSOR_LIMIT);
    if (status == QDQ_OK) status = read_map(index, &r, n, path);
    if (status == QDQ_OK) status = check_twice(index, path);
    qdq_json_free(&r);
    if (status != QDQ_OK) qdq_index_free(index);
    return status;
}

void qdq_index_free(qdq_index *index) {
    qdq_arena_free(&index->arena);
    *index = (qdq_index){0};
}
