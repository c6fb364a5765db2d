/* Files, directories and paths of POSIX. */
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
#include "base/platform_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(NAME_MAX == QDQ_NAME_BYTES, "platform_files.h: the longest name");

/* ---- Paths ------------------------------------------------------------------------------------------------------ */

bool qdq_path_is_separator(char c) { return c == '/'; }
bool qdq_path_is_absolute(const char *path) { return path[0] == '/'; }

const char *qdq_path_last(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

size_t qdq_path_directory(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
}

/* ---- What there is ---------------------------------------------------------------------------------------------- */

static bool is_null_device(const struct stat *st) {
    struct stat null;
    return S_ISCHR(st->st_mode) && stat("/dev/null", &null) == 0 && S_ISCHR(null.st_mode) &&
           st->st_rdev == null.st_rdev;
}

static void describe(const struct stat *st, qdq_file_info *info) {
#ifdef __APPLE__
    struct timespec changed = st->st_mtimespec;
#else
    struct timespec changed = st->st_mtim;
#endif
    *info = (qdq_file_info){
        .kind = S_ISREG(st->st_mode)   ? QDQ_FILE_REGULAR
                : S_ISDIR(st->st_mode) ? QDQ_FILE_DIRECTORY
                : is_null_device(st)   ? QDQ_FILE_NULL_DEVICE
                                       : QDQ_FILE_OTHER,
        .bytes = (uint64_t)st->st_size,
        .id = {.volume = (uint64_t)st->st_dev, .low = (uint64_t)st->st_ino},
        .changed = changed.tv_sec,
        .changed_ns = changed.tv_nsec,
        .mode = st->st_mode & 0777,
    };
}

bool qdq_same_file(const qdq_file_id *a, const qdq_file_id *b) { return a->volume == b->volume && a->low == b->low; }

bool qdq_path_info(const char *path, qdq_file_info *info) {
    struct stat st;
    if (stat(path, &st) != 0) return false;
    describe(&st, info);
    return true;
}

bool qdq_path_may_replace(const char *path) { return access(path, W_OK) == 0; }

qdq_directory *qdq_directory_open(const char *path) { return (qdq_directory *)opendir(path); }

const char *qdq_directory_next(qdq_directory *directory) {
    errno = 0;
    const struct dirent *entry = readdir((DIR *)directory);
    return entry != NULL ? entry->d_name : NULL;
}

void qdq_directory_close(qdq_directory *directory) { closedir((DIR *)directory); }

bool qdq_directory_make(const char *path) { return mkdir(path, 0700) == 0 || errno == EEXIST; }

bool qdq_directory_remove(const char *path) { return rmdir(path) == 0; }

#ifdef __APPLE__
static const char cache_below_home[] = "Library/Caches";
#else
static const char cache_below_home[] = ".cache";
#endif

bool qdq_cache_directory(char path[QDQ_PATH_ROOM]) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (cache && qdq_path_is_absolute(cache))
        n = snprintf(path, QDQ_PATH_ROOM, "%s", cache);
    else if (home && qdq_path_is_absolute(home))
        n = snprintf(path, QDQ_PATH_ROOM, "%s/%s", home, cache_below_home);
    return n > 0 && n < QDQ_PATH_ROOM;
}

/* ---- Files ------------------------------------------------------------------------------------------------------ */

qdq_file qdq_file_open(const char *path) { return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); }

void qdq_file_close(qdq_file file) { close((int)file); }

bool qdq_file_info_of(qdq_file file, qdq_file_info *info) {
    struct stat st;
    if (fstat((int)file, &st) != 0) return false;
    describe(&st, info);
    return true;
}

enum { LARGEST_STEP = 1 << 30 }; /* Linux moves at most 2 GiB a call, macOS refuses more */

int64_t qdq_file_read(qdq_file file, void *to, size_t bytes, uint64_t offset) {
    ssize_t n;
    do n = pread((int)file, to, bytes < LARGEST_STEP ? bytes : LARGEST_STEP, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n;
}

/* MAP_PRIVATE, PROT_READ: nothing here can change an input. */
void *qdq_file_map(qdq_file file, size_t bytes) {
    void *map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, (int)file, 0);
    if (map == MAP_FAILED) return NULL;
    madvise(map, bytes, MADV_SEQUENTIAL); /* read ahead far, and let go of what lies behind: advice only */
    return map;
}

void qdq_file_unmap(void *map, size_t bytes) { munmap(map, bytes); }

void qdq_file_map_scattered(const void *map, size_t bytes, bool scattered) {
    madvise((void *)(uintptr_t)map, bytes, scattered ? MADV_RANDOM : MADV_SEQUENTIAL);
}

void qdq_file_map_read(const void *at, size_t bytes) {
    uintptr_t within = (uintptr_t)at % (uintptr_t)sysconf(_SC_PAGESIZE);
    char *first = (char *)(uintptr_t)at - within;
#ifdef MADV_POPULATE_READ /* Linux 5.14 */
    if (madvise(first, within + bytes, MADV_POPULATE_READ) == 0) return;
#endif
    madvise(first, within + bytes, MADV_WILLNEED); /* begins, and does not wait */
}

/* ---- Outputs ---------------------------------------------------------------------------------------------------- */

qdq_file qdq_file_create(const char *path, unsigned mode) {
    return open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, (mode_t)mode);
}

qdq_file qdq_file_open_shared(const char *path, unsigned mode) {
    return open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, (mode_t)mode);
}

qdq_file qdq_null_open(const char *path) { return open(path, O_WRONLY | O_CLOEXEC); }

void qdq_file_set_mode(qdq_file file, unsigned mode) { fchmod((int)file, (mode_t)mode); }

bool qdq_file_set_length(qdq_file file, uint64_t bytes) { return ftruncate((int)file, (off_t)bytes) == 0; }

int64_t qdq_file_write(qdq_file file, const void *data, size_t bytes, uint64_t offset) {
    ssize_t n;
    do n = pwrite((int)file, data, bytes < LARGEST_STEP ? bytes : LARGEST_STEP, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n > 0 || bytes == 0) return n;
    if (n == 0) errno = ENOSPC;
    return -1;
}

/* So that the name survives a power cut. Some file systems cannot; the file is whole all the same. */
void qdq_directory_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

bool qdq_disk_is_full(void) { return errno == ENOSPC || errno == EDQUOT; }
bool qdq_file_replace(const char *from, const char *to) { return rename(from, to) == 0; }
bool qdq_file_remove(const char *path) { return unlink(path) == 0; }
long qdq_process_id(void) { return (long)getpid(); }
