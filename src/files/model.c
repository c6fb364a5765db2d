/* A model: one file or the shards of one, behind one list of tensors. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

static qdq_status no_memory(const char *path) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to open the model", SHOWN(path));
}

/* ---- Filling --------------------------------------------------------------------------------------------------- */

qdq_status qdq_model_add(qdq_model *model, const qdq_tensor *tensor) {
    if (model->n_tensors == QDQ_TENSOR_LIMIT)
        return qdq_fail(QDQ_BAD_DATA, "%s: has over %u tensors", SHOWN(model->path), QDQ_TENSOR_LIMIT);
    if (!qdq_grow((void **)&model->tensors, model->n_tensors, &model->tensors_capacity, sizeof *model->tensors))
        return no_memory(model->path);
    qdq_tensor *added = &model->tensors[model->n_tensors++];
    *added = *tensor;
    added->size = sizeof *added;
    return QDQ_OK;
}

/* Look-up by name, and no name twice. */
static qdq_status index_tensors(qdq_model *model) {
    if (model->n_tensors == 0) return QDQ_OK;
    model->by_name = malloc((size_t)model->n_tensors * sizeof *model->by_name); /* smaller than tensors, which fit */
    if (model->by_name == NULL) return no_memory(model->path);
    for (uint64_t i = 0; i < model->n_tensors; i++) model->by_name[i] = (qdq_name){model->tensors[i].name, i};
    qdq_sorted_sort(model->by_name, model->n_tensors);
    for (uint64_t i = 1; i < model->n_tensors; i++) {
        if (strcmp(model->by_name[i - 1].text, model->by_name[i].text) != 0) continue;
        const qdq_tensor *a = &model->tensors[model->by_name[i - 1].index],
                         *b = &model->tensors[model->by_name[i].index];
        bool listed = model->layout == QDQ_LAYOUT_SAFETENSORS && model->index == NULL && strcmp(a->path, b->path) != 0;
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" is there twice: at offset %llu, and in %s at offset %llu%s",
                        SHOWN(a->path), SHOWN(a->name), (ull)a->offset, SHOWN(b->path), (ull)b->offset,
                        listed ? "; name the file that is meant, not its directory" : "");
    }
    return QDQ_OK;
}

/* The metadata of several safetensors files: each key once, from the first file that has it. */
static qdq_status merge_kvs(qdq_kvs *kvs) {
    uint64_t duplicate, kept = 0;
    qdq_status status = qdq_kvs_index(kvs, &duplicate);
    if (status != QDQ_OK || duplicate == UINT64_MAX) return status;
    for (uint64_t i = 0; i < kvs->n; i++)
        if (qdq_kvs_find(kvs, kvs->items[i].key) != &kvs->items[i]) kvs->items[i].key = NULL;
    for (uint64_t i = 0; i < kvs->n; i++)
        if (kvs->items[i].key != NULL) kvs->items[kept++] = kvs->items[i];
    kvs->n = kept;
    return qdq_kvs_index(kvs, &duplicate);
}

static qdq_status finish(qdq_model *model) {
    qdq_status status = model->layout == QDQ_LAYOUT_SAFETENSORS ? merge_kvs(&model->kvs) : QDQ_OK;
    return status == QDQ_OK ? index_tensors(model) : status;
}

static qdq_status create(const char *path, qdq_model **model) {
    *model = calloc(1, sizeof **model);
    if (*model != NULL) (*model)->path = strdup(path);
    if (*model != NULL && (*model)->path != NULL) return QDQ_OK;
    free(*model);
    *model = NULL;
    return no_memory(path);
}

/* Forgets all files, so that the model may be opened from another one. */
static void empty(qdq_model *model) {
    free(model->tensors);
    free(model->by_name);
    qdq_kvs_free(&model->kvs);
    qdq_arena_free(&model->arena);
    for (uint64_t i = 0; i < model->n_maps; i++) qdq_map_close(model->maps[i]);
    free(model->maps);
    qdq_map_close(model->index);
    char *path = model->path;
    *model = (qdq_model){.path = path};
}

void qdq_model_close(qdq_model *model) {
    if (model == NULL) return;
    empty(model);
    free(model->path);
    free(model);
}

qdq_status qdq_model_parse(qdq_layout layout, const void *bytes, uint64_t length, const char *name,
                           qdq_model **result) {
    qdq_model *model;
    if (bytes == NULL || name == NULL || result == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_model_parse: an argument is NULL");
    qdq_status status = create(name, &model);
    if (status != QDQ_OK) return status;
    model->layout = layout;
    if (layout == QDQ_LAYOUT_GGUF)
        status = qdq_gguf_parse(model, &model->kvs, bytes, length, model->path);
    else
        status = qdq_safetensors_parse(model, bytes, length, model->path);
    if (status == QDQ_OK) status = finish(model);
    if (status != QDQ_OK) {
        qdq_model_close(model);
        return status;
    }
    *result = model;
    return QDQ_OK;
}

static qdq_status add_map(qdq_model *model, const char *path, const qdq_map **map) {
    if (!qdq_grow((void **)&model->maps, model->n_maps, &model->maps_capacity, sizeof *model->maps))
        return no_memory(path);
    qdq_status status = qdq_map_open(path, &model->maps[model->n_maps]);
    if (status == QDQ_OK) *map = model->maps[model->n_maps++];
    return status;
}

/* What people hand over by mistake, named before a parser calls it damaged. */
void qdq_model_scattered(const qdq_model *model, bool scattered) {
    for (uint64_t i = 0; i < model->n_maps; i++)
        qdq_file_map_scattered(model->maps[i]->bytes, (size_t)model->maps[i]->length, scattered);
}

static qdq_status check_kind(const qdq_map *map) {
    static const char lfs[] = "version https://git-lfs";
    if (map->length >= sizeof lfs && memcmp(map->bytes, lfs, sizeof lfs - 1) == 0)
        return qdq_fail(QDQ_BAD_DATA, "%s: is a Git LFS pointer, not the file itself: run `git lfs pull`",
                        SHOWN(map->path));
    if (map->length >= 4 && memcmp(map->bytes, "PK\3\4", 4) == 0)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: is a zip archive, as PyTorch and NumPy write: convert it to safetensors first",
                        SHOWN(map->path));
    return QDQ_OK;
}

static bool is_gguf(const qdq_map *map) { return map->length >= 4 && memcmp(map->bytes, "GGUF", 4) == 0; }

/* ---- Safetensors: one file, an index, a directory --------------------------------------------------------------- */

static qdq_status add_safetensors(qdq_model *model, const char *path) {
    const qdq_map *map = NULL;
    qdq_status status = add_map(model, path, &map);
    if (status == QDQ_OK) status = check_kind(map);
    if (status == QDQ_OK && is_gguf(map))
        status = qdq_fail(QDQ_BAD_DATA, "%s: is a GGUF file where a safetensors file is wanted", SHOWN(path));
    return status == QDQ_OK ? qdq_safetensors_parse(model, map->bytes, map->length, map->path) : status;
}

/* "dir/" + name; free it. */
static char *join(const char *directory, size_t length, const char *name) {
    size_t size = length + strlen(name) + 2;
    char *path = malloc(size);
    if (path != NULL) snprintf(path, size, "%.*s%s%s", (int)length, directory, length > 0 ? "/" : "", name);
    return path;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The shards in order of name, each once. */
static qdq_status open_shards(qdq_model *model, const qdq_index *index, const char *index_path) {
    size_t directory = qdq_path_directory(index_path);
    const char **files = malloc((size_t)index->n * sizeof *files);
    if (files == NULL) return no_memory(index_path);
    memcpy(files, index->files, (size_t)index->n * sizeof *files);
    qsort(files, (size_t)index->n, sizeof *files, by_text);
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < index->n && status == QDQ_OK; i++) {
        if (i > 0 && strcmp(files[i - 1], files[i]) == 0) continue;
        char *path = join(index_path, directory, files[i]);
        qdq_file_info info;
        if (path == NULL)
            status = no_memory(index_path);
        else if (!qdq_path_info(path, &info) && errno == ENOENT)
            status = qdq_fail(QDQ_IO_ERROR, "%s: shard \"%s\" is missing: looked for %s", SHOWN(index_path),
                              SHOWN(files[i]), SHOWN(path));
        else
            status = add_safetensors(model, path);
        free(path);
    }
    free(files);
    return status;
}

/* Index and shards must agree on what is where: every tensor of one is in the other. */
static qdq_status check_index(const qdq_model *model, const qdq_index *index, const char *index_path) {
    size_t directory = qdq_path_directory(index_path), skip = directory > 0 ? directory + 1 : 0;
    for (uint64_t i = 0; i < index->n; i++) {
        const qdq_tensor *t = qdq_model_find(model, index->names[i]);
        if (t == NULL)
            return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" should be in \"%s\", but no shard has it",
                            SHOWN(index_path), SHOWN(index->names[i]), SHOWN(index->files[i]));
        if (strcmp(t->path + skip, index->files[i]) != 0)
            return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" should be in \"%s\", but it is in %s at offset %llu",
                            SHOWN(index_path), SHOWN(t->name), SHOWN(index->files[i]), SHOWN(t->path), (ull)t->offset);
    }
    if (index->n == model->n_tensors) return QDQ_OK;
    qdq_name *names = malloc((size_t)index->n * sizeof *names);
    if (names == NULL) return no_memory(index_path);
    for (uint64_t i = 0; i < index->n; i++) names[i] = (qdq_name){index->names[i], i};
    qdq_sorted_sort(names, index->n);
    const qdq_tensor *extra = NULL;
    for (uint64_t i = 0; i < model->n_tensors && extra == NULL; i++)
        if (qdq_sorted_find(names, index->n, model->tensors[i].name) == NULL) extra = &model->tensors[i];
    free(names);
    return qdq_fail(QDQ_BAD_DATA, "%s: %s has tensor \"%s\", which the index does not list: mend or remove the index",
                    SHOWN(index_path), SHOWN(extra->path), SHOWN(extra->name));
}

static qdq_status open_index(qdq_model *model, const char *path) {
    qdq_map *map;
    qdq_index index;
    qdq_status status = qdq_map_open(path, &map);
    if (status != QDQ_OK) return status;
    model->index = map;
    status = check_kind(map);
    if (status == QDQ_OK) status = qdq_index_parse(map->bytes, map->length, path, &index);
    if (status != QDQ_OK) return status;
    status = open_shards(model, &index, path);
    if (status == QDQ_OK) status = finish(model);
    if (status == QDQ_OK) status = check_index(model, &index, path);
    qdq_index_free(&index);
    return status;
}

typedef struct listing {
    char **names; /* of *.safetensors */
    uint64_t n, capacity;
    char *index; /* a *.safetensors.index.json; model.safetensors.index.json if it is there */
    unsigned n_indexes, n_gguf;
    bool whole; /* there is a model.safetensors: of one file, whatever stands beside it */
} listing;

static const char usual_index[] = "model.safetensors.index.json", usual_file[] = "model.safetensors";

static bool list_entry(listing *list, const char *name) {
    if (qdq_ends_with(name, ".gguf")) list->n_gguf++;
    if (qdq_ends_with(name, ".safetensors.index.json")) {
        list->n_indexes++;
        if (list->index != NULL && strcmp(name, usual_index) != 0) return true;
        free(list->index);
        list->index = strdup(name);
        return list->index != NULL;
    }
    if (!qdq_ends_with(name, ".safetensors")) return true;
    list->whole |= strcmp(name, usual_file) == 0;
    if (!qdq_grow((void **)&list->names, list->n, &list->capacity, sizeof *list->names)) return false;
    char *copy = strdup(name);
    if (copy != NULL) list->names[list->n++] = copy;
    return copy != NULL;
}

static qdq_status list_directory(const char *path, listing *list) {
    qdq_directory *directory = qdq_directory_open(path);
    if (directory == NULL && errno == ENOMEM) return no_memory(path);
    if (directory == NULL)
        return qdq_fail(QDQ_IO_ERROR, "%s: the directory cannot be read: %s", SHOWN(path), strerror(errno));
    bool memory = true;
    const char *name;
    while (memory && (name = qdq_directory_next(directory)) != NULL)
        if (name[0] != '.') memory = list_entry(list, name); /* "._x.safetensors" is no model */
    int error = errno;
    qdq_directory_close(directory);
    if (!memory) return no_memory(path);
    return error == 0 ? QDQ_OK
                      : qdq_fail(QDQ_IO_ERROR, "%s: the directory cannot be read: %s", SHOWN(path), strerror(error));
}

static qdq_status open_listed(qdq_model *model, const char *path, size_t length, const listing *list) {
    qsort(list->names, (size_t)list->n, sizeof *list->names, by_text);
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < list->n && status == QDQ_OK; i++) {
        if (list->whole && strcmp(list->names[i], usual_file) != 0) continue;
        char *file = join(path, length, list->names[i]);
        status = file != NULL ? add_safetensors(model, file) : no_memory(path);
        free(file);
    }
    return status == QDQ_OK ? finish(model) : status;
}

static qdq_status open_directory(qdq_model *model, const char *path) {
    size_t length = strlen(path);
    while (length > 1 && qdq_path_is_separator(path[length - 1])) length--;
    listing list = {0};
    qdq_status status = list_directory(path, &list);
    if (status == QDQ_OK && list.n_indexes > 1 && strcmp(list.index, usual_index) != 0) {
        status = qdq_fail(QDQ_BAD_DATA, "%s: has %u files *.safetensors.index.json: name the one that is meant",
                          SHOWN(path), list.n_indexes);
    } else if (status == QDQ_OK && list.index != NULL) {
        char *index = join(path, length, list.index);
        status = index != NULL ? open_index(model, index) : no_memory(path);
        free(index);
    } else if (status == QDQ_OK && list.n > 0) {
        status = open_listed(model, path, length, &list);
    } else if (status == QDQ_OK) {
        status = qdq_fail(QDQ_IO_ERROR, "%s: the directory has no .safetensors file%s", SHOWN(path),
                          list.n_gguf > 0 ? "; name the .gguf file itself" : "");
    }
    for (uint64_t i = 0; i < list.n; i++) free(list.names[i]);
    free(list.names);
    free(list.index);
    return status;
}

/* ---- GGUF: one file, or a split set ------------------------------------------------------------------------------ */

#define SPLIT_TAIL (sizeof "-00001-of-00002.gguf" - 1)

/* The parts of "PREFIX-00001-of-00002.gguf". */
static bool parse_split_name(const char *path, size_t *prefix, unsigned *number, unsigned *count) {
    size_t length = strlen(path);
    if (length < SPLIT_TAIL) return false;
    const char *tail = path + length - SPLIT_TAIL;
    for (size_t i = 0; i < SPLIT_TAIL; i++) {
        bool digit = (i >= 1 && i <= 5) || (i >= 10 && i <= 14);
        if (digit ? tail[i] < '0' || tail[i] > '9' : tail[i] != "-00000-of-00000.gguf"[i]) return false;
    }
    *prefix = length - SPLIT_TAIL;
    *number = (unsigned)strtoul(tail + 1, NULL, 10);
    *count = (unsigned)strtoul(tail + 10, NULL, 10);
    return true;
}

static uint64_t kv_or(const qdq_kvs *kvs, const char *key, uint64_t otherwise) {
    const qdq_kv *kv = qdq_kvs_find(kvs, key);
    uint64_t value;
    return kv != NULL && qdq_kv_u64(kv, &value) ? value : otherwise;
}

static qdq_status add_gguf(qdq_model *model, const char *path, qdq_kvs *kvs) {
    const qdq_map *map = NULL;
    qdq_status status = add_map(model, path, &map);
    return status == QDQ_OK ? qdq_gguf_parse(model, kvs, map->bytes, map->length, map->path) : status;
}

static qdq_status check_split(const qdq_kvs *kvs, const char *path, unsigned number, unsigned count) {
    uint64_t no = kv_or(kvs, "split.no", UINT64_MAX), of = kv_or(kvs, "split.count", 0);
    if (number > 0 && no == number - 1 && of == count) return QDQ_OK;
    return qdq_fail(QDQ_BAD_DATA,
                    "%s: its name says shard %u of %u, its split.no %lld (from 0) and split.count %llu: files of "
                    "different sets, or renamed?",
                    SHOWN(path), number, count, no == UINT64_MAX ? -1 : (long long)no, (ull)of);
}

static qdq_status add_split(qdq_model *model, const char *any_path, size_t prefix, unsigned number, unsigned count) {
    size_t size = prefix + SPLIT_TAIL + 16;
    char *path = malloc(size);
    if (path == NULL) return no_memory(any_path);
    snprintf(path, size, "%.*s-%05u-of-%05u.gguf", (int)prefix, any_path, number, count);
    qdq_file_info info;
    qdq_kvs others = {0};
    qdq_kvs *kvs = number == 1 ? &model->kvs : &others; /* the first shard's count */
    qdq_status status = QDQ_OK;
    if (!qdq_path_info(path, &info) && errno == ENOENT)
        status = qdq_fail(QDQ_IO_ERROR, "%s: shard %u of %u is missing: looked for %s", SHOWN(any_path), number, count,
                          SHOWN(path));
    if (status == QDQ_OK) status = add_gguf(model, path, kvs);
    if (status == QDQ_OK) status = check_split(kvs, path, number, count);
    qdq_kvs_free(&others);
    free(path);
    return status;
}

static qdq_status open_split(qdq_model *model, const char *path) {
    size_t prefix;
    unsigned number, count;
    if (!parse_split_name(path, &prefix, &number, &count))
        return qdq_fail(
            QDQ_BAD_DATA,
            "%s: is one of %llu shards (split.count), but its name does not end in -00001-of-%05llu.gguf or "
            "the like, so the others cannot be found: rename it as it was",
            SHOWN(path), (ull)kv_or(&model->kvs, "split.count", 0), (ull)kv_or(&model->kvs, "split.count", 0));
    qdq_status status = check_split(&model->kvs, path, number, count);
    if (status != QDQ_OK) return status;
    empty(model);
    model->layout = QDQ_LAYOUT_GGUF;
    for (unsigned i = 1; i <= count && status == QDQ_OK; i++) status = add_split(model, path, prefix, i, count);
    if (status != QDQ_OK) return status;
    uint64_t claimed = kv_or(&model->kvs, "split.tensors.count", model->n_tensors);
    if (claimed != model->n_tensors)
        return qdq_fail(QDQ_BAD_DATA, "%s: split.tensors.count is %llu, but the %u shards have %llu tensors",
                        SHOWN(path), (ull)claimed, count, (ull)model->n_tensors);
    return QDQ_OK;
}

/* ---- Opening ----------------------------------------------------------------------------------------------------- */

static qdq_status open_file(qdq_model *model, const char *path) {
    const qdq_map *map = NULL;
    qdq_status status = add_map(model, path, &map);
    if (status == QDQ_OK) status = check_kind(map);
    if (status != QDQ_OK) return status;
    if (is_gguf(map) || qdq_ends_with(path, ".gguf")) {
        model->layout = QDQ_LAYOUT_GGUF;
        status = qdq_gguf_parse(model, &model->kvs, map->bytes, map->length, map->path);
        if (status == QDQ_OK && kv_or(&model->kvs, "split.count", 0) > 1) status = open_split(model, path);
    } else {
        status = qdq_safetensors_parse(model, map->bytes, map->length, map->path);
    }
    return status == QDQ_OK ? finish(model) : status;
}

qdq_status qdq_model_open(const char *path, qdq_model **result) {
    qdq_model *model;
    qdq_file_info info;
    if (path == NULL || result == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_model_open: an argument is NULL");
    if (!qdq_path_info(path, &info))
        return qdq_fail(QDQ_IO_ERROR, "%s: cannot be opened: %s", SHOWN(path), strerror(errno));
    qdq_status status = create(path, &model);
    if (status != QDQ_OK) return status;
    if (info.kind == QDQ_FILE_DIRECTORY)
        status = open_directory(model, path);
    else if (qdq_ends_with(path, ".json"))
        status = open_index(model, path);
    else
        status = open_file(model, path);
    if (status != QDQ_OK) {
        qdq_model_close(model);
        return status;
    }
    *result = model;
    return QDQ_OK;
}

/* The first part has the metadata. */
qdq_status qdq_model_open_part(const char *path, qdq_model **result, bool *part) {
    qdq_model *model;
    *part = false;
    const qdq_map *map = NULL;
    qdq_status status = create(path, &model);
    if (status != QDQ_OK) return status;
    status = add_map(model, path, &map);
    if (status == QDQ_OK) status = check_kind(map);
    model->layout = QDQ_LAYOUT_GGUF;
    if (status == QDQ_OK) status = qdq_gguf_parse(model, &model->kvs, map->bytes, map->length, map->path);
    *part = status == QDQ_OK && kv_or(&model->kvs, "split.count", 0) > 1;
    if (*part && kv_or(&model->kvs, "split.no", UINT64_MAX) != 0)
        status =
            qdq_fail(QDQ_IO_ERROR, "%s: is not the first part of its split set, which has the metadata", SHOWN(path));
    if (status == QDQ_OK) status = finish(model);
    if (status != QDQ_OK) {
        qdq_model_close(model);
        return status;
    }
    *result = model;
    return QDQ_OK;
}

/* ---- Tensors anew ----------------------------------------------------------------------------------------------- */

void *qdq_model_room(qdq_model *model, uint64_t bytes) { return qdq_arena_alloc(&model->arena, bytes); }

qdq_status qdq_model_forget_kvs(qdq_model *model, const char *prefix) {
    uint64_t kept = 0, duplicate;
    for (uint64_t i = 0; i < model->kvs.n; i++)
        if (strncmp(model->kvs.items[i].key, prefix, strlen(prefix)) != 0)
            model->kvs.items[kept++] = model->kvs.items[i];
    if (kept == model->kvs.n) return QDQ_OK;
    model->kvs.n = kept;
    free(model->kvs.sorted);
    model->kvs.sorted = NULL;
    return qdq_kvs_index(&model->kvs, &duplicate);
}

qdq_status qdq_model_put_tensors(qdq_model *model, const qdq_tensor *tensors, uint64_t n) {
    model->n_tensors = 0;
    free(model->by_name);
    model->by_name = NULL;
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) status = qdq_model_add(model, &tensors[i]);
    return status == QDQ_OK ? index_tensors(model) : status;
}

/* ---- Asking ------------------------------------------------------------------------------------------------------ */

qdq_layout qdq_model_layout(const qdq_model *model) { return model->layout; }
const char *qdq_model_path(const qdq_model *model) { return model->path; }
uint64_t qdq_model_file_count(const qdq_model *model) { return model->n_maps; }
uint64_t qdq_model_tensor_count(const qdq_model *model) { return model->n_tensors; }
const qdq_tensor *qdq_model_tensor(const qdq_model *model, uint64_t index) { return &model->tensors[index]; }

const qdq_tensor *qdq_model_find(const qdq_model *model, const char *name) {
    const qdq_name *found = qdq_sorted_find(model->by_name, model->n_tensors, name);
    return found != NULL ? &model->tensors[found->index] : NULL;
}

uint64_t qdq_model_kv_count(const qdq_model *model) { return model->kvs.n; }
const qdq_kv *qdq_model_kv(const qdq_model *model, uint64_t index) { return &model->kvs.items[index]; }
const qdq_kv *qdq_model_find_kv(const qdq_model *model, const char *key) { return qdq_kvs_find(&model->kvs, key); }
