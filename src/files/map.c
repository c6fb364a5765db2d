/* Files mapped read-only, and the list of them that knows which file an address or an inode belongs to.
 *
 * A map of a file that somebody truncates raises SIGBUS when the lost part is read. Length and kind are checked when
 * the file is opened; what happens afterwards no check can rule out, so the command catches SIGBUS and names the file
 * with qdq_mapped_path(). MAP_PRIVATE, PROT_READ: nothing here can change an input. */
#define _DEFAULT_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Changed under the lock; read by a signal handler without it, hence atomic links. */
static qdq_map *_Atomic first;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void list_add(qdq_map *map) {
    pthread_mutex_lock(&lock);
    atomic_store(&map->next, atomic_load(&first));
    atomic_store(&first, map);
    pthread_mutex_unlock(&lock);
}

static void list_remove(qdq_map *map) {
    pthread_mutex_lock(&lock);
    qdq_map *_Atomic *link = &first;
    while (atomic_load(link) != map) link = &atomic_load(link)->next;
    atomic_store(link, atomic_load(&map->next));
    pthread_mutex_unlock(&lock);
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

/* The mapped file once more; -1 if its path leads to another by now, or to none. */
static int reopen(const qdq_map *map) {
    struct stat st;
    int fd = open(map->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || (fstat(fd, &st) == 0 && st.st_dev == map->device && st.st_ino == map->inode)) return fd;
    close(fd);
    return -1;
}

static qdq_status read_all(const qdq_map *map, int fd, uint64_t offset, unsigned char *to, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = pread(fd, to, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
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

qdq_status qdq_mapped_read(const void *address, void *to, size_t bytes) {
    pthread_mutex_lock(&lock); /* the map stays; its neighbours in the list may be closed meanwhile */
    const qdq_map *map = map_of(address);
    pthread_mutex_unlock(&lock);
    if (map == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_mapped_read: no file is mapped there");
    int fd = reopen(map);
    if (fd < 0) {
        memcpy(to, address, bytes);
        return QDQ_OK;
    }
    qdq_status status = read_all(map, fd, (uint64_t)((const uint8_t *)address - map->bytes), to, bytes);
    close(fd);
    return status;
}

bool qdq_map_has(dev_t device, ino_t inode, char *buffer, size_t size) {
    bool found = false;
    pthread_mutex_lock(&lock);
    for (qdq_map *map = atomic_load(&first); map != NULL && !found; map = atomic_load(&map->next)) {
        found = map->device == device && map->inode == inode;
        if (found) qdq_printable(map->path, buffer, size);
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static qdq_status check(const char *path, int fd, struct stat *st) {
    if (fstat(fd, st) != 0) return qdq_fail(QDQ_IO_ERROR, "%s: cannot be examined: %s", SHOWN(path), strerror(errno));
    if (S_ISDIR(st->st_mode)) return qdq_fail(QDQ_IO_ERROR, "%s: is a directory where a file is wanted", SHOWN(path));
    if (!S_ISREG(st->st_mode))
        return qdq_fail(QDQ_IO_ERROR, "%s: is not a regular file, so it cannot be mapped: copy it to a file first",
                        SHOWN(path));
    if (st->st_size == 0) return qdq_fail(QDQ_BAD_DATA, "%s: the file is empty", SHOWN(path));
    if ((uint64_t)st->st_size > SIZE_MAX)
        return qdq_fail(QDQ_UNSUPPORTED, "%s: too large to be mapped on this machine", SHOWN(path));
    return QDQ_OK;
}

qdq_status qdq_map_open(const char *path, qdq_map **result) {
    /* Without O_NONBLOCK, opening a pipe would wait for a writer before it could be refused. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return qdq_fail(QDQ_IO_ERROR, "%s: cannot be opened: %s", SHOWN(path), strerror(errno));
    struct stat st;
    qdq_status status = check(path, fd, &st);
    qdq_map *map = status == QDQ_OK ? calloc(1, sizeof *map) : NULL;
    char *copy = map != NULL ? strdup(path) : NULL;
    if (status == QDQ_OK && copy == NULL)
        status = qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to map the file", SHOWN(path));
    if (status == QDQ_OK) {
        void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED && errno == ENOMEM)
            status =
                qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to map %lld bytes", SHOWN(path), (long long)st.st_size);
        else if (bytes == MAP_FAILED)
            status = qdq_fail(QDQ_IO_ERROR, "%s: %lld bytes cannot be mapped: %s", SHOWN(path), (long long)st.st_size,
                              strerror(errno));
        else
            map->bytes = bytes;
    }
    close(fd);
    if (status != QDQ_OK) {
        free(copy);
        free(map);
        return status;
    }
    map->length = (uint64_t)st.st_size;
    map->path = copy;
    map->device = st.st_dev;
    map->inode = st.st_ino;
    /* Weights are read once, front to back: read ahead far, and let go of what lies behind. Advice only. */
    madvise((void *)(uintptr_t)map->bytes, (size_t)map->length, MADV_SEQUENTIAL);
    list_add(map);
    *result = map;
    return QDQ_OK;
}

void qdq_map_close(qdq_map *map) {
    if (map == NULL) return;
    list_remove(map);
    munmap((void *)(uintptr_t)map->bytes, (size_t)map->length);
    free(map->path);
    free(map);
}
