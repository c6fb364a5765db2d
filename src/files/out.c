/* Output files that appear whole or not at all.
 *
 * On Linux the file has no name until it is complete (O_TMPFILE, then linkat): whatever ends the process, nothing is
 * left. Where that cannot be had, and for the moment in which an existing file is replaced, it is `.NAME.tmp.PID.N` in
 * the same directory. rename() is what puts it in its place; file and directory are synced around it. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct qdq_out {
    char *path;
    char *directory;
    char *temporary;  /* the temporary name; "" while the file has none */
    size_t room;      /* bytes of temporary */
    uint64_t written; /* where qdq_out_write goes on */
    size_t slot;      /* in `named` */
    int fd;
    bool discards; /* the null device: nothing is kept */
};

/* Temporary names that exist, for the signal handler. Whoever swaps a name out owns it: the handler keeps it forever,
 * so that it never reads memory that another thread has freed. */
#define SLOTS 64
static char *_Atomic named[SLOTS];
static const char reserved[] = "";

static qdq_status failed(const qdq_out *out, const char *what) {
    int error = errno;
    const char *advice = error == ENOSPC || error == EDQUOT ? ": free some room or write elsewhere"
                         : error == EFBIG                   ? ": a size limit of the file system or of `ulimit -f`"
                                                            : "";
    return qdq_fail(QDQ_IO_ERROR, "%s: %s: %s%s; no output was left", SHOWN(out->path), what, strerror(error), advice);
}

/* ---- Temporary names --------------------------------------------------------------------------------------------- */

static bool claim_slot(qdq_out *out) {
    for (size_t i = 0; i < SLOTS; i++) {
        char *none = NULL;
        if (!atomic_compare_exchange_strong(&named[i], &none, (char *)(uintptr_t)reserved)) continue;
        out->slot = i;
        return true;
    }
    return false;
}

static void next_name(qdq_out *out) {
    static atomic_uint counter;
    const char *slash = strrchr(out->path, '/');
    const char *base = slash != NULL ? slash + 1 : out->path;
    /* The whole must not be longer than a name may be. */
    snprintf(out->temporary, out->room, "%s/.%.*s.tmp.%ld.%u", out->directory, NAME_MAX - 48, base, (long)getpid(),
             atomic_fetch_add(&counter, 1));
}

static void show_name(qdq_out *out) { atomic_store(&named[out->slot], out->temporary); }

static void unlink_name(qdq_out *out) {
    if (atomic_load(&named[out->slot]) == out->temporary) unlink(out->temporary);
}

void qdq_out_abort_all(void) {
    for (size_t i = 0; i < SLOTS; i++) {
        char *name = atomic_exchange(&named[i], NULL);
        if (name != NULL && name[0] != 0) unlink(name);
    }
}

static void free_out(qdq_out *out) {
    if (out->fd >= 0) close(out->fd);
    /* A handler that took the name away may still be reading it: then it is not ours to free. */
    char *name = atomic_exchange(&named[out->slot], NULL);
    if (name == out->temporary || name == reserved) free(out->temporary);
    free(out->path);
    free(out->directory);
    free(out);
}

/* ---- Opening ----------------------------------------------------------------------------------------------------- */

static bool is_null_device(const struct stat *st) {
    struct stat null;
    return S_ISCHR(st->st_mode) && stat("/dev/null", &null) == 0 && S_ISCHR(null.st_mode) &&
           st->st_rdev == null.st_rdev;
}

bool qdq_out_discards(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && is_null_device(&st);
}

static qdq_status check_target(const char *path) {
    struct stat st;
    char input[512];
    size_t length = strlen(path);
    if (length == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "the output has an empty name");
    if (path[length - 1] == '/') return qdq_fail(QDQ_IO_ERROR, "%s: is a directory, not a file to write", SHOWN(path));
    if (stat(path, &st) != 0) {
        if (errno == ENOENT) return QDQ_OK; /* the directory is looked at next */
        return qdq_fail(QDQ_IO_ERROR, "%s: cannot be written: %s", SHOWN(path), strerror(errno));
    }
    if (is_null_device(&st)) return QDQ_OK;
    if (!S_ISREG(st.st_mode))
        return qdq_fail(QDQ_IO_ERROR, "%s: is a directory or device; the output must be a regular file", SHOWN(path));
    if (qdq_map_has(st.st_dev, st.st_ino, input, sizeof input))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: is the input %s; choose another output", SHOWN(path), input);
    if (access(path, W_OK) != 0)
        return qdq_fail(QDQ_IO_ERROR, "%s: is there and cannot be replaced: %s", SHOWN(path), strerror(errno));
    return QDQ_OK;
}

qdq_status qdq_out_check(const qdq_out *out) { return check_target(out->path); }

static char *directory_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL) return strdup(".");
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* "/proc/self/fd/N", by which linkat() names a file that has no name. */
static void proc_name(int fd, char name[32]) { snprintf(name, 32, "/proc/self/fd/%d", fd); }

static int open_unnamed(const char *directory, mode_t mode) {
#ifdef O_TMPFILE
    char name[32];
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    if (fd < 0) return -1;
    proc_name(fd, name);
    if (access(name, F_OK) == 0) return fd;
    close(fd); /* no /proc: it could never be named */
#else
    (void)directory;
#endif
    return -1;
}

static int open_named(qdq_out *out, mode_t mode) {
    for (int tries = 0; tries < 100; tries++) {
        next_name(out);
        int fd = open(out->temporary, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode);
        if (fd >= 0) show_name(out);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

qdq_status qdq_out_create(const char *path, qdq_out **result) {
    if (path == NULL || result == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_out_create: an argument is NULL");
    qdq_status status = check_target(path);
    if (status != QDQ_OK) return status;
    qdq_out *out = calloc(1, sizeof *out);
    if (out == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to write the file", SHOWN(path));
    if (!claim_slot(out)) {
        free(out);
        return qdq_fail(QDQ_IO_ERROR, "%s: %d outputs are open already", SHOWN(path), SLOTS);
    }
    out->fd = -1;
    out->path = strdup(path);
    out->directory = directory_of(path);
    out->room = strlen(path) + NAME_MAX + 8;
    out->temporary = calloc(1, out->room);
    if (out->path == NULL || out->directory == NULL || out->temporary == NULL) {
        free_out(out);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to write the file", SHOWN(path));
    }
    out->discards = qdq_out_discards(path);
    /* Who could not read the file before cannot read the one in its place. */
    struct stat st;
    bool replaced = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    mode_t mode = replaced ? st.st_mode & 0777 : 0666;
    out->fd = out->discards ? open(path, O_WRONLY | O_CLOEXEC) : open_unnamed(out->directory, mode);
    if (out->fd < 0 && !out->discards) out->fd = open_named(out, mode);
    if (out->fd >= 0 && replaced && !out->discards) fchmod(out->fd, mode); /* what the umask took */
    if (out->fd < 0) {
        status = failed(out, "cannot be created");
        free_out(out);
        return status;
    }
    *result = out;
    return QDQ_OK;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

qdq_status qdq_out_reserve(qdq_out *out, uint64_t bytes) {
    if (bytes > INT64_MAX)
        return qdq_fail(QDQ_IO_ERROR, "%s: %llu bytes are more than a file can have", SHOWN(out->path),
                        (unsigned long long)bytes);
    if (out->discards) return QDQ_OK;
    if (bytes > 0) {
#ifdef __linux__
        if (fallocate(out->fd, 0, 0, (off_t)bytes) == 0) return QDQ_OK;
        if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINTR) return failed(out, "no room can be set aside");
#endif
    }
    return ftruncate(out->fd, (off_t)bytes) == 0 ? QDQ_OK : failed(out, "cannot be made as long as it must be");
}

qdq_status qdq_out_write_at(qdq_out *out, uint64_t offset, const void *data, uint64_t bytes) {
    uint64_t end;
    if (__builtin_add_overflow(offset, bytes, &end) || end > INT64_MAX)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: a write of %llu bytes at %llu is past what a file can have",
                        SHOWN(out->path), (unsigned long long)bytes, (unsigned long long)offset);
    const uint8_t *p = data;
    while (bytes > 0) {
        size_t step = bytes < (1u << 30) ? (size_t)bytes : 1u << 30; /* Linux writes at most 2 GiB a call */
        ssize_t n = pwrite(out->fd, p, step, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = ENOSPC;
        if (n <= 0) return failed(out, "cannot be written");
        p += n;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return QDQ_OK;
}

qdq_status qdq_out_write(qdq_out *out, const void *data, uint64_t bytes) {
    qdq_status status = qdq_out_write_at(out, out->written, data, bytes);
    if (status == QDQ_OK) out->written += bytes;
    return status;
}

/* ---- The end ----------------------------------------------------------------------------------------------------- */

/* Gives the unnamed file a name: at once its own if that is free, else a temporary one. *in_place says which. */
static bool name_file(qdq_out *out, bool *in_place) {
    char unnamed[32];
    proc_name(out->fd, unnamed);
    *in_place = linkat(AT_FDCWD, unnamed, AT_FDCWD, out->path, AT_SYMLINK_FOLLOW) == 0;
    if (*in_place) return true;
    for (int tries = 0; tries < 100 && errno == EEXIST; tries++) {
        next_name(out);
        show_name(out);
        if (linkat(AT_FDCWD, unnamed, AT_FDCWD, out->temporary, AT_SYMLINK_FOLLOW) == 0) return true;
        int error = errno;
        atomic_store(&named[out->slot], (char *)(uintptr_t)reserved); /* that name is somebody else's */
        errno = error;
    }
    return false;
}

/* So that the name survives a power cut. Some file systems cannot; the file is whole all the same. */
static void sync_directory(const qdq_out *out) {
    int fd = open(out->directory, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

qdq_status qdq_out_commit(qdq_out *out) {
    bool in_place = false;
    if (out->discards) {
        free_out(out);
        return QDQ_OK;
    }
    qdq_status status = check_target(out->path);
    if (status == QDQ_OK && fsync(out->fd) != 0) status = failed(out, "cannot be brought to the disk");
    if (status == QDQ_OK && out->temporary[0] == 0 && !name_file(out, &in_place))
        status = failed(out, "cannot be named");
    if (status == QDQ_OK && !in_place && rename(out->temporary, out->path) != 0)
        status = failed(out, "cannot be put in its place");
    if (status == QDQ_OK)
        sync_directory(out);
    else
        unlink_name(out);
    free_out(out);
    return status;
}

void qdq_out_abort(qdq_out *out) {
    if (out == NULL) return;
    unlink_name(out);
    free_out(out);
}
