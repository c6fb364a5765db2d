/* Preloaded into the command by faults_test.py: makes a call of the C library fail, and counts the calls that could.
 *
 *     QDQ_FAULT=KIND:N      the Nth call of that kind since the program began, from 1
 *     QDQ_FAULT=KIND:N+     that one and all after it
 *     QDQ_FAULT=A,B         A and B
 *     QDQ_FAULT_COUNTS=F    at the end, one line "KIND CALLS" a kind into F
 *
 * Allocations of every library are seen, jansson's, PCRE2's and the C library's own: glibc calls malloc() by its name.
 * For glibc alone, whose own functions do the work. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef enum kind { MEMORY, WRITE, READ, SYNC, NAME, OPEN, UNNAMED, MAP, TRUNCATE, ALLOCATE, THREAD, N_KINDS } kind;

/* What the call says when it fails. */
static const struct {
    const char *name;
    int error;
} kinds[N_KINDS] = {
    [MEMORY] = {"memory", ENOMEM},
    [WRITE] = {"write", ENOSPC},
    [READ] = {"read", EIO},
    [SYNC] = {"sync", EIO},
    [NAME] = {"name", EACCES},
    [OPEN] = {"open", EMFILE},
    [UNNAMED] = {"unnamed", EOPNOTSUPP},
    [MAP] = {"map", ENOMEM},
    [TRUNCATE] = {"truncate", EIO},
    [ALLOCATE] = {"allocate", ENOSPC},
    [THREAD] = {"thread", EAGAIN},
};

static atomic_ulong calls[N_KINDS];
static struct {
    unsigned long call; /* 0: none fails */
    bool sticky;
} faults[N_KINDS];
static bool begun;

static bool fails(kind k) {
    if (!begun) return false;
    unsigned long call = atomic_fetch_add(&calls[k], 1) + 1;
    if (faults[k].call == 0 || (faults[k].sticky ? call < faults[k].call : call != faults[k].call)) return false;
    errno = kinds[k].error;
    return true;
}

__attribute__((constructor)) static void begin(void) {
    for (const char *at = getenv("QDQ_FAULT"); at != NULL; at = strchr(at, ',') != NULL ? strchr(at, ',') + 1 : NULL) {
        size_t length = strcspn(at, ":");
        for (int k = 0; k < N_KINDS; k++) {
            if (strlen(kinds[k].name) != length || strncmp(kinds[k].name, at, length) != 0) continue;
            char *end;
            faults[k].call = strtoul(at + length + 1, &end, 10);
            faults[k].sticky = *end == '+';
        }
    }
    alarm(900); /* what hangs ends by a signal, which the test takes for a failure */
    begun = true;
}

__attribute__((destructor)) static void end(void) {
    begun = false;
    const char *path = getenv("QDQ_FAULT_COUNTS");
    FILE *file = path != NULL ? fopen(path, "w") : NULL;
    for (int k = 0; file != NULL && k < N_KINDS; k++) fprintf(file, "%s %lu\n", kinds[k].name, atomic_load(&calls[k]));
    if (file != NULL) fclose(file);
}

/* ---- Memory ----------------------------------------------------------------------------------------------------- */

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t bytes) { return fails(MEMORY) ? NULL : __libc_malloc(bytes); }
void *calloc(size_t n, size_t bytes) { return fails(MEMORY) ? NULL : __libc_calloc(n, bytes); }
void *realloc(void *old, size_t bytes) { return fails(MEMORY) ? NULL : __libc_realloc(old, bytes); }
void *aligned_alloc(size_t alignment, size_t bytes) { return fails(MEMORY) ? NULL : __libc_memalign(alignment, bytes); }
int posix_memalign(void **result, size_t alignment, size_t bytes) {
    if (fails(MEMORY)) return ENOMEM;
    *result = __libc_memalign(alignment, bytes);
    return *result != NULL ? 0 : ENOMEM;
}

/* ---- Files and threads ------------------------------------------------------------------------------------------ */

/* The function of that name behind this library's. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Standard output and error are the test's pipes; what fails there is tested by command_test.py. */
ssize_t write(int fd, const void *data, size_t n) { return fd > 2 && fails(WRITE) ? -1 : NEXT(write)(fd, data, n); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    return fails(WRITE) ? -1 : NEXT(pwrite)(fd, data, n, at);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    return fails(WRITE) ? -1 : NEXT(pwrite64)(fd, data, n, at);
}
ssize_t read(int fd, void *to, size_t n) { return fails(READ) ? -1 : NEXT(read)(fd, to, n); }
ssize_t pread(int fd, void *to, size_t n, off_t at) { return fails(READ) ? -1 : NEXT(pread)(fd, to, n, at); }
ssize_t pread64(int fd, void *to, size_t n, off64_t at) { return fails(READ) ? -1 : NEXT(pread64)(fd, to, n, at); }
struct dirent *readdir(DIR *directory) {
    return fails(READ) ? NULL : NEXT(readdir)(directory);
}
struct dirent64 *readdir64(DIR *directory) {
    return fails(READ) ? NULL : NEXT(readdir64)(directory);
}
int fsync(int fd) { return fails(SYNC) ? -1 : NEXT(fsync)(fd); }
int rename(const char *from, const char *to) { return fails(NAME) ? -1 : NEXT(rename)(from, to); }
int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    return fails(NAME) ? -1 : NEXT(linkat)(from_fd, from, to_fd, to, flags);
}

static bool open_fails(int flags) { return fails((flags & O_TMPFILE) == O_TMPFILE ? UNNAMED : OPEN); }

#define OPENING(name)                                                                                                  \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;                                 \
        va_end(rest);                                                                                                  \
        return open_fails(flags) ? -1 : NEXT(name)(path, flags, mode);                                                 \
    }
OPENING(open)
OPENING(open64)

FILE *fopen(const char *path, const char *mode) { return fails(OPEN) ? NULL : NEXT(fopen)(path, mode); }
FILE *fopen64(const char *path, const char *mode) { return fails(OPEN) ? NULL : NEXT(fopen64)(path, mode); }
void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    return fails(MAP) ? MAP_FAILED : NEXT(mmap)(at, n, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t n, int protection, int flags, int fd, off64_t offset) {
    return fails(MAP) ? MAP_FAILED : NEXT(mmap64)(at, n, protection, flags, fd, offset);
}
int ftruncate(int fd, off_t n) { return fails(TRUNCATE) ? -1 : NEXT(ftruncate)(fd, n); }
int ftruncate64(int fd, off64_t n) { return fails(TRUNCATE) ? -1 : NEXT(ftruncate64)(fd, n); }
int fallocate(int fd, int mode, off_t at, off_t n) { return fails(ALLOCATE) ? -1 : NEXT(fallocate)(fd, mode, at, n); }
int fallocate64(int fd, int mode, off64_t at, off64_t n) {
    return fails(ALLOCATE) ? -1 : NEXT(fallocate64)(fd, mode, at, n);
}

/* Drivers are never found: they are not the project's, nor proof against this (Mesa's compiler aborts). */
void *dlopen(const char *path, int flags) {
    (void)path;
    return NEXT(dlopen)("driver-of-no-system.so", flags);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    return fails(THREAD) ? EAGAIN : NEXT(pthread_create)(thread, attributes, run, argument);
}
