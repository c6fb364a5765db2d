/* The index of a sharded safetensors model: {"metadata": {…}, "weight_map": {tensor: file, …}}. */
#include "internal.h"
#include "json_io.h"

#include <string.h>

#define INDEX_LIMIT 100000000u

/* A file of the index must lie beside it or below: an index from a stranger may not make us open /etc/… . */
static const char *bad_file(const char *file) {
    size_t length = strlen(file);
    if (file[0] == '/') return "is an absolute path";
    for (const char *part = file; part != NULL; part = strchr(part, '/')) {
        if (*part == '/') part++;
        size_t n = strcspn(part, "/");
        if (n == 2 && part[0] == '.' && part[1] == '.') return "leaves the directory of the index";
    }
    if (length < 13 || strcmp(file + length - 12, ".safetensors") != 0) return "is no .safetensors file";
    return NULL;
}

static qdq_status read_map(qdq_index *index, json_t *map, const char *path) {
    uint64_t room = (uint64_t)json_object_size(map) * sizeof(char *);
    index->names = qdq_arena_alloc(&index->arena, room);
    index->files = qdq_arena_alloc(&index->arena, room);
    if (index->names == NULL || index->files == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for the index", SHOWN(path));
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value) {
        const char *file = json_string_value(value);
        if (file == NULL)
            return qdq_fail(QDQ_BAD_DATA, "%s: weight_map \"%s\" is no file name", SHOWN(path), SHOWN(name));
        const char *why = bad_file(file);
        if (why != NULL)
            return qdq_fail(QDQ_BAD_DATA, "%s: weight_map \"%s\": file \"%s\" %s", SHOWN(path), SHOWN(name),
                            SHOWN(file), why);
        char *name_copy = qdq_arena_text(&index->arena, name, strlen(name));
        char *file_copy = qdq_arena_text(&index->arena, file, strlen(file));
        if (name_copy == NULL || file_copy == NULL)
            return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for the index", SHOWN(path));
        index->names[index->n] = name_copy;
        index->files[index->n++] = file_copy;
    }
    return QDQ_OK;
}

qdq_status qdq_index_parse(const void *bytes, uint64_t length, const char *path, qdq_index *index) {
    *index = (qdq_index){0};
    if (length > INDEX_LIMIT)
        return qdq_fail(QDQ_BAD_DATA, "%s: %llu bytes are too many for an index (limit %u)", SHOWN(path),
                        (unsigned long long)length, INDEX_LIMIT);
    json_error_t error;
    json_t *root;
    qdq_status status = qdq_json_parse(path, bytes, length, &root, &error);
    if (status == QDQ_BAD_DATA)
        return qdq_fail(QDQ_BAD_DATA, "%s: the index is not JSON at offset %d: %s", SHOWN(path), error.position,
                        SHOWN(error.text));
    if (status != QDQ_OK) return status;
    json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map))
        status =
            qdq_fail(QDQ_BAD_DATA, "%s: has no \"weight_map\" object: not the index of a sharded model", SHOWN(path));
    else if (json_object_size(map) == 0)
        status = qdq_fail(QDQ_BAD_DATA, "%s: \"weight_map\" is empty: the index names no tensor", SHOWN(path));
    else
        status = read_map(index, map, path);
    json_decref(root);
    if (status != QDQ_OK) qdq_index_free(index);
    return status;
}

void qdq_index_free(qdq_index *index) {
    qdq_arena_free(&index->arena);
    *index = (qdq_index){0};
}
