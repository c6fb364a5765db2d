/* Files mapped read-only, and the list of them that knows which file an address or an inode belongs to.
 *
 * A map of a file that somebody truncates raises SIGBUS when the lost part is read. Length and kind are checked when
 * the file is opened; what happens afterwards no check can rule out, so the command catches SIGBUS and names the file
 * with qdq_mapped_path(). */
#include "internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../base/platform.h"

/* Changed under the lock; read by a signal handler without it, hence atomic links. */
static qdq_map *_Atomic first;
static qdq_mutex lock = QDQ_MUTEX_INIT;

static void list_add(qdq_map *map) {
    qdq_mutex_lock(&lock);
    atomic_store(&map->next, atomic_load(&first));
    atomic_store(&first, map);
    qdq_mutex_unlock(&lock);
}

static void list_remove(qdq_map *map) {
    qdq_mutex_lock(&lock);
    qdq_map *_Atomic *link = &first;
    while (atomic_load(link) != map) link = &atomic_load(link)->next;
    atomic_store(link, atomic_load(&map->next));
    qdq_mutex_unlock(&lock);
}

static const qdq_map *map_of(const void *address) {
    uintptr_t at = (uintptr_t)address;
    for (qdq_map *map = atomic_load(&first); map != NULL; map = atomic_load(&map->next))
        if (at >= (uintptr_t)map->bytes && at - (uintptr_t)map->bytes < map->length) return map;
    return NULL;
}

const char *qdq_mapped_path(const void *address) {
    const qdq_map *map = map_of(address);
    return map != NULL ? map->path : NULL;
}

/* The mapped file once more; QDQ_NO_FILE if its path leads to another by now, or to none. */
static qdq_file reopen(const qdq_map *map) {
    qdq_file_info info;
    qdq_file file = qdq_file_open(map->path);
    if (file == QDQ_NO_FILE || (qdq_file_info_of(file, &info) && qdq_same_file(&info.id, &map->id))) return file;
    qdq_file_close(file);
    return QDQ_NO_FILE;
}

static qdq_status read_all(const qdq_map *map, qdq_file file, uint64_t offset, unsigned char *to, size_t bytes) {
    while (bytes > 0) {
        int64_t n = qdq_file_read(file, to, bytes, offset);
        if (n <= 0)
            return qdq_fail(QDQ_IO_ERROR, "%s: byte %llu cannot be read: %s", SHOWN(map->path),
                            (unsigned long long)offset,
                            n < 0 ? strerror(errno) : "the file has become shorter since it was opened");
        to += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return QDQ_OK;
}

void qdq_mapped_file_close(qdq_mapped_file *kept) {
    if (kept->map != NULL && kept->file != QDQ_NO_FILE) qdq_file_close(kept->file);
    kept->map = NULL;
}

qdq_status qdq_mapped_read_kept(qdq_mapped_file *kept, const void *address, void *to, size_t bytes) {
    qdq_mutex_lock(&lock); /* the map stays; its neighbours in the list may be closed meanwhile */
    const qdq_map *map = map_of(address);
    qdq_mutex_unlock(&lock);
    if (map == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_mapped_read: no file is mapped there");
    if (kept->map != map) {
        qdq_mapped_file_close(kept);
        *kept = (qdq_mapped_file){map, reopen(map)};
    }
    if (kept->file != QDQ_NO_FILE)
        return read_all(map, kept->file, (uint64_t)((const uint8_t *)address - map->bytes), to, bytes);
    memcpy(to, address, bytes);
    return QDQ_OK;
}

qdq_status qdq_mapped_read(const void *address, void *to, size_t bytes) {
    qdq_mapped_file file = {0};
    qdq_status status = qdq_mapped_read_kept(&file, address, to, bytes);
    qdq_mapped_file_close(&file);
    return status;
}

bool qdq_map_has(const qdq_file_id *id, char *buffer, size_t size) {
    bool found = false;
    qdq_mutex_lock(&lock);
    for (qdq_map *map = atomic_load(&first); map != NULL && !found; map = atomic_load(&map->next)) {
        found = qdq_same_file(&map->id, id);
        if (found) qdq_printable(map->path, buffer, size);
    }
    qdq_mutex_unlock(&lock);
    return found;
}

static qdq_status check(const char *path, qdq_file file, qdq_file_info *info) {
    if (!qdq_file_info_of(file, info))
        return qdq_fail(QDQ_IO_ERROR, "%s: cannot be examined: %s", SHOWN(path), strerror(errno));
    if (info->kind == QDQ_FILE_DIRECTORY)
        return qdq_fail(QDQ_IO_ERROR, "%s: is a directory where a file is wanted", SHOWN(path));
    if (info->kind != QDQ_FILE_REGULAR)
        return qdq_fail(QDQ_IO_ERROR, "%s: is not a regular file, so it cannot be mapped: copy it to a file first",
                        SHOWN(path));
    if (info->bytes == 0) return qdq_fail(QDQ_BAD_DATA, "%s: the file is empty", SHOWN(path));
    if (info->bytes > SIZE_MAX)
        return qdq_fail(QDQ_UNSUPPORTED, "%s: too large to be mapped on this machine", SHOWN(path));
    return QDQ_OK;
}

qdq_status qdq_map_open(const char *path, qdq_map **result) {
    qdq_file file = qdq_file_open(path);
    if (file == QDQ_NO_FILE) return qdq_fail(QDQ_IO_ERROR, "%s: cannot be opened: %s", SHOWN(path), strerror(errno));
    qdq_file_info info;
    qdq_status status = check(path, file, &info);
    qdq_map *map = status == QDQ_OK ? calloc(1, sizeof *map) : NULL;
    char *copy = map != NULL ? strdup(path) : NULL;
    if (status == QDQ_OK && copy == NULL)
        status = qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to map the file", SHOWN(path));
    if (status == QDQ_OK) {
        map->bytes = qdq_file_map(file, (size_t)info.bytes);
        if (map->bytes == NULL && errno == ENOMEM)
            status = qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to map %llu bytes", SHOWN(path),
                              (unsigned long long)info.bytes);
        else if (map->bytes == NULL)
            status = qdq_fail(QDQ_IO_ERROR, "%s: %llu bytes cannot be mapped: %s", SHOWN(path),
                              (unsigned long long)info.bytes, strerror(errno));
    }
    qdq_file_close(file);
    if (status != QDQ_OK) {
        free(copy);
        free(map);
        return status;
    }
    map->length = info.bytes;
    map->path = copy;
    map->id = info.id;
    list_add(map);
    *result = map;
    return QDQ_OK;
}

void qdq_map_close(qdq_map *map) {
    if (map == NULL) return;
    list_remove(map);
    qdq_file_unmap((void *)(uintptr_t)map->bytes, (size_t)map->length);
    free(map->path);
    free(map);
}
