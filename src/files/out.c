/* Output files that appear whole or not at all.
 *
 * Where the system can do that, the file goes with the process until it is complete: whatever ends it, nothing is left.
 * Where that cannot be had, and for the moment in which an existing file is replaced, it is `.NAME.tmp.PID.N` in the
 * same directory. Naming it anew is what puts it in its place; file and directory are synced around it. */
#include "internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qdq_out {
    char *path;
    char *directory;
    char *temporary;  /* the temporary name; "" while the file has none */
    size_t room;      /* bytes of temporary */
    uint64_t written; /* where qdq_out_write goes on */
    size_t slot;      /* in `named` */
    qdq_file file;
    bool discards; /* the null device: nothing is kept */
};

/* Temporary names that exist, for the signal handler. Whoever swaps a name out owns it: the handler keeps it forever,
 * so that it never reads memory that another thread has freed. */
#define SLOTS 64
static char *_Atomic named[SLOTS];
static const char reserved[] = "";

static qdq_status failed(const qdq_out *out, const char *what) {
    int error = errno;
    qdq_file_info info;
    const char *advice = qdq_disk_is_full() ? ": free some room or write elsewhere"
                         : error == EFBIG   ? ": a size limit of the file system or of `ulimit -f`"
                         : error == ENOENT && !qdq_path_info(out->directory, &info) ? ": make its directory first"
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
    /* The whole must not be longer than a name may be. */
    snprintf(out->temporary, out->room, "%s/.%.*s.tmp.%ld.%u", out->directory, QDQ_NAME_BYTES - 48,
             qdq_path_last(out->path), qdq_process_id(), atomic_fetch_add(&counter, 1));
}

static void show_name(qdq_out *out) { atomic_store(&named[out->slot], out->temporary); }

static void unlink_name(qdq_out *out) {
    if (atomic_load(&named[out->slot]) == out->temporary) qdq_file_remove(out->temporary);
}

void qdq_out_abort_all(void) {
    for (size_t i = 0; i < SLOTS; i++) {
        char *name = atomic_exchange(&named[i], NULL);
        if (name != NULL && name[0] != 0) qdq_file_remove(name);
    }
}

static void free_out(qdq_out *out) {
    if (out->file != QDQ_NO_FILE) qdq_file_close(out->file);
    /* A handler that took the name away may still be reading it: then it is not ours to free. */
    char *name = atomic_exchange(&named[out->slot], NULL);
    if (name == out->temporary || name == reserved) free(out->temporary);
    free(out->path);
    free(out->directory);
    free(out);
}

/* ---- Opening ----------------------------------------------------------------------------------------------------- */

bool qdq_out_discards(const char *path) {
    qdq_file_info info;
    return qdq_path_info(path, &info) && info.kind == QDQ_FILE_NULL_DEVICE;
}

qdq_status qdq_out_check_path(const char *path) {
    qdq_file_info info;
    char input[512];
    size_t length = strlen(path);
    if (length == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "the output has an empty name");
    if (qdq_path_is_separator(path[length - 1]))
        return qdq_fail(QDQ_IO_ERROR, "%s: is a directory, not a file to write", SHOWN(path));
    if (!qdq_path_info(path, &info)) {
        if (errno == ENOENT) return QDQ_OK; /* the directory is looked at next */
        return qdq_fail(QDQ_IO_ERROR, "%s: cannot be written: %s", SHOWN(path), strerror(errno));
    }
    if (info.kind == QDQ_FILE_NULL_DEVICE) return QDQ_OK;
    if (info.kind != QDQ_FILE_REGULAR)
        return qdq_fail(QDQ_IO_ERROR, "%s: is a %s; the output must be a regular file", SHOWN(path),
                        info.kind == QDQ_FILE_DIRECTORY ? "directory" : "device or pipe");
    if (qdq_map_has(&info.id, input, sizeof input))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: is the input %s; choose another output", SHOWN(path), input);
    if (!qdq_path_may_replace(path))
        return qdq_fail(QDQ_IO_ERROR, "%s: is there and cannot be replaced: %s", SHOWN(path), strerror(errno));
    return QDQ_OK;
}

qdq_status qdq_out_check(const qdq_out *out) { return qdq_out_check_path(out->path); }

static char *directory_of(const char *path) {
    size_t length = qdq_path_directory(path);
    char *directory = malloc(length + 2);
    if (directory != NULL)
        snprintf(directory, length + 2, "%.*s", length > 0 ? (int)length : 1, length > 0 ? path : ".");
    return directory;
}

static qdq_file open_named(qdq_out *out, unsigned mode) {
    for (int tries = 0; tries < 100; tries++) {
        next_name(out);
        qdq_file file = qdq_file_create(out->temporary, mode);
        if (file != QDQ_NO_FILE) show_name(out);
        if (file != QDQ_NO_FILE || errno != EEXIST) return file;
    }
    return QDQ_NO_FILE;
}

qdq_status qdq_out_create(const char *path, qdq_out **result) {
    if (path == NULL || result == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_out_create: an argument is NULL");
    qdq_status status = qdq_out_check_path(path);
    if (status != QDQ_OK) return status;
    qdq_out *out = calloc(1, sizeof *out);
    if (out == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to write the file", SHOWN(path));
    if (!claim_slot(out)) {
        free(out);
        return qdq_fail(QDQ_IO_ERROR, "%s: %d outputs are open already", SHOWN(path), SLOTS);
    }
    out->file = QDQ_NO_FILE;
    out->path = strdup(path);
    out->directory = directory_of(path);
    out->room = strlen(path) + QDQ_NAME_BYTES + 8;
    out->temporary = calloc(1, out->room);
    if (out->path == NULL || out->directory == NULL || out->temporary == NULL) {
        free_out(out);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to write the file", SHOWN(path));
    }
    out->discards = qdq_out_discards(path);
    /* Who could not read the file before cannot read the one in its place. */
    qdq_file_info info;
    bool replaced = qdq_path_info(path, &info) && info.kind == QDQ_FILE_REGULAR;
    unsigned mode = replaced ? info.mode : 0666;
    out->file = out->discards ? qdq_null_open(path) : qdq_file_create_unnamed(out->directory, mode);
    if (out->file == QDQ_NO_FILE && !out->discards) out->file = open_named(out, mode);
    if (out->file != QDQ_NO_FILE && replaced && !out->discards)
        qdq_file_set_mode(out->file, mode); /* what the umask took */
    if (out->file == QDQ_NO_FILE) {
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
    return qdq_file_reserve(out->file, bytes) ? QDQ_OK : failed(out, "no room can be set aside");
}

qdq_status qdq_out_write_at(qdq_out *out, uint64_t offset, const void *data, uint64_t bytes) {
    uint64_t end;
    if (__builtin_add_overflow(offset, bytes, &end) || end > INT64_MAX)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: a write of %llu bytes at %llu is past what a file can have",
                        SHOWN(out->path), (unsigned long long)bytes, (unsigned long long)offset);
    const uint8_t *p = data;
    while (bytes > 0) {
        int64_t n = qdq_file_write(out->file, p, bytes < SIZE_MAX ? (size_t)bytes : SIZE_MAX, offset);
        if (n < 0) return failed(out, "cannot be written");
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
    *in_place = qdq_file_name(out->file, out->path);
    if (*in_place) return true;
    for (int tries = 0; tries < 100 && errno == EEXIST; tries++) {
        next_name(out);
        show_name(out);
        if (qdq_file_name(out->file, out->temporary)) return true;
        int error = errno;
        atomic_store(&named[out->slot], (char *)(uintptr_t)reserved); /* that name is somebody else's */
        errno = error;
    }
    return false;
}

qdq_status qdq_out_commit(qdq_out *out) {
    bool in_place = false;
    if (out->discards) {
        free_out(out);
        return QDQ_OK;
    }
    qdq_status status = qdq_out_check_path(out->path);
    if (status == QDQ_OK && !qdq_file_sync(out->file)) status = failed(out, "cannot be brought to the disk");
    if (status == QDQ_OK && out->temporary[0] == 0 && !name_file(out, &in_place))
        status = failed(out, "cannot be named");
    if (status == QDQ_OK && !in_place && !qdq_file_replace(out->temporary, out->path))
        status = failed(out, "cannot be put in its place");
    if (status == QDQ_OK)
        qdq_directory_sync(out->directory);
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

qdq_status qdq_out_write_file(const char *path, const void *bytes, uint64_t n) {
    qdq_out *out = NULL;
    qdq_status status = qdq_out_create(path, &out);
    if (status == QDQ_OK) status = qdq_out_write(out, bytes, n);
    if (status == QDQ_OK) return qdq_out_commit(out);
    qdq_out_abort(out);
    return status;
}
