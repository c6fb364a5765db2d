/* The end of an output in parts: all that was made is read and compared with what was noted, and gets its name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files/record.h"
#include "internal.h"
#include "base/platform_files.h"

typedef struct joining {
    const char *path;
    char *folder;
    qdq_making making;
    qdq_noted *noted;
    uint64_t n_noted;
    qdq_join_options options;
    qdq_join_report report;
    uint64_t checked;
    uint64_t missing, first_missing; /* bytes; the first, in file missing_file */
    uint32_t missing_file;
} joining;

static qdq_status no_memory(const char *path) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to join its parts", SHOWN(path));
}

static qdq_status failed(const char *name, const char *what) {
    return qdq_fail(QDQ_IO_ERROR, "%s: %s: %s; nothing that the parts have made is lost", SHOWN(name), what,
                    strerror(errno));
}

static bool count(void *context, uint64_t bytes) {
    joining *j = context;
    j->checked += bytes;
    return j->options.progress == NULL || j->options.progress(j->options.context, j->checked, j->report.bytes);
}

/* ---- Copying what is missing here ------------------------------------------------------------------------------- */

static qdq_status copy_range(joining *j, qdq_unfinished *to, uint32_t file, qdq_file from, const char *name,
                             qdq_range range, void *buffer) {
    qdq_checksum sum;
    qdq_status status = QDQ_OK;
    qdq_checksum_begin(&sum);
    for (uint64_t at = range.begin; at < range.end && status == QDQ_OK;) {
        uint64_t left = range.end - at;
        int64_t n = qdq_file_read(from, buffer, left < QDQ_PIECE ? (size_t)left : QDQ_PIECE, at);
        if (n <= 0) return failed(name, n < 0 ? "cannot be read" : "has become shorter");
        qdq_checksum_add(&sum, buffer, (size_t)n);
        status = qdq_unfinished_write(to, file, at, buffer, (uint64_t)n);
        at += (uint64_t)n;
    }
    if (status != QDQ_OK) return status;
    j->report.copied += range.end - range.begin;
    return qdq_unfinished_note(to, file, range, qdq_checksum_value(&sum));
}

/* What that folder has of the file and `done` has not. Both lists ascend, and their ranges are apart. */
static qdq_status copy_file(joining *j, qdq_unfinished *to, uint32_t file, const char *name, const qdq_noted *noted,
                            uint64_t n, const qdq_range *done, uint64_t n_done) {
    qdq_range *there = NULL, whole = {0, j->making.bytes[file]};
    uint64_t n_there = 0, d = 0;
    void *buffer = malloc(QDQ_PIECE);
    qdq_file from = qdq_file_open(name);
    qdq_status status = buffer == NULL        ? no_memory(name)
                        : from == QDQ_NO_FILE ? failed(name, "cannot be opened")
                                              : QDQ_OK;
    if (status == QDQ_OK) status = qdq_noted_check(from, name, noted, n, whole, NULL, NULL, &there, &n_there);
    for (uint64_t i = 0; i < n_there && status == QDQ_OK; i++) {
        qdq_range left = there[i];
        while (left.begin < left.end && status == QDQ_OK) {
            while (d < n_done && done[d].end <= left.begin) d++;
            qdq_range next = {left.begin, d < n_done && done[d].begin < left.end ? done[d].begin : left.end};
            if (next.begin < next.end) status = copy_range(j, to, file, from, name, next, buffer);
            left.begin = next.end < left.end ? done[d].end : left.end;
        }
    }
    free(there);
    free(buffer);
    if (from != QDQ_NO_FILE) qdq_file_close(from);
    return status;
}

static qdq_status copy_folder(joining *j, qdq_unfinished *to, const char *from) {
    qdq_making making;
    qdq_noted *noted = NULL;
    uint64_t n = 0;
    qdq_status status = qdq_manifest_read(from, &making);
    if (status != QDQ_OK) return status;
    status = qdq_making_compare(from, &making, &j->making);
    if (status == QDQ_OK) status = qdq_journals_read(from, &j->making, &noted, &n);
    for (uint32_t f = 0; f < j->making.n_files && status == QDQ_OK; f++) {
        const qdq_noted *first;
        qdq_range *done = NULL;
        uint64_t of_file, n_done = 0;
        qdq_noted_of(noted, n, f, &first, &of_file);
        if (of_file == 0) continue;
        char *name = qdq_record_data(from, f);
        status = name == NULL ? no_memory(from)
                              : qdq_unfinished_done(to, f, (qdq_range){0, j->making.bytes[f]}, &done, &n_done);
        if (status == QDQ_OK) status = copy_file(j, to, f, name, first, of_file, done, n_done);
        free(done);
        free(name);
    }
    free(noted);
    free(making.bytes);
    return status;
}

/* The folder that is joined need not be there yet: it begins as the first of the others. */
static qdq_status copy_all(joining *j) {
    qdq_unfinished *to;
    qdq_status status = qdq_manifest_read(j->options.from[0], &j->making);
    if (status != QDQ_OK) return status;
    status = qdq_unfinished_open(j->path, &j->making, "join", &to);
    if (status == QDQ_OK) {
        for (uint32_t i = 0; i < j->options.n_from && status == QDQ_OK; i++)
            status = copy_folder(j, to, j->options.from[i]);
        if (status == QDQ_OK)
            status = qdq_unfinished_close(to);
        else
            qdq_unfinished_abandon(to);
    }
    free(j->making.bytes);
    j->making.bytes = NULL;
    return status;
}

/* ---- Checking --------------------------------------------------------------------------------------------------- */

static void note_missing(joining *j, uint32_t file, uint64_t begin, uint64_t end) {
    if (begin >= end) return;
    if (j->missing == 0) {
        j->missing_file = file;
        j->first_missing = begin;
    }
    j->missing += end - begin;
}

/* Has the file every byte, and nothing behind them? Then it is brought to the disk, with the mode of what it replaces.
 */
static qdq_status check_data(joining *j, uint32_t file, qdq_file data, const char *name, const char *final) {
    const qdq_noted *first;
    qdq_range *done;
    uint64_t n, n_done, at = 0, bytes = j->making.bytes[file], missing = j->missing;
    qdq_file_info info;
    qdq_noted_of(j->noted, j->n_noted, file, &first, &n);
    qdq_status status = qdq_noted_check(data, name, first, n, (qdq_range){0, bytes}, count, j, &done, &n_done);
    if (status != QDQ_OK) return status;
    for (uint64_t i = 0; i < n_done; at = done[i++].end) note_missing(j, file, at, done[i].begin);
    note_missing(j, file, at, bytes);
    free(done);
    if (j->missing > missing) return QDQ_OK;
    if (!qdq_file_info_of(data, &info)) return failed(name, "cannot be examined");
    if (info.bytes > bytes && !qdq_file_set_length(data, bytes)) return failed(name, "cannot be cut");
    if (qdq_path_info(final, &info) && info.kind == QDQ_FILE_REGULAR) qdq_file_set_mode(data, info.mode);
    return qdq_file_sync(data) ? QDQ_OK : failed(name, "cannot be brought to the disk");
}

static qdq_status open_and_check(joining *j, uint32_t file, const char *name, const char *final) {
    qdq_file data = qdq_file_open_shared(name, 0666);
    if (data == QDQ_NO_FILE) return failed(name, "cannot be opened");
    qdq_status status = check_data(j, file, data, name, final);
    qdq_file_close(data);
    return status;
}

/* A file that an earlier call has named already, and was then interrupted, is checked where it is. */
static qdq_status check_file(joining *j, uint32_t file) {
    char *name = qdq_record_data(j->folder, file);
    char *final = qdq_record_final(j->path, j->making.split, file, j->making.n_files);
    qdq_status status = name == NULL || final == NULL ? no_memory(j->path) : qdq_out_check_path(final);
    if (status == QDQ_OK) {
        qdq_file_info info;
        const char *used = qdq_path_info(name, &info) ? name : final;
        if (!qdq_path_info(used, &info))
            note_missing(j, file, 0, j->making.bytes[file]);
        else if (info.kind != QDQ_FILE_REGULAR)
            status = qdq_fail(QDQ_IO_ERROR, "%s: is no regular file", SHOWN(used));
        else
            status = open_and_check(j, file, used, final);
    }
    free(name);
    free(final);
    return status;
}

static qdq_status check_all(joining *j) {
    qdq_status status = qdq_manifest_read(j->folder, &j->making);
    if (status == QDQ_OK) status = qdq_journals_read(j->folder, &j->making, &j->noted, &j->n_noted);
    if (status != QDQ_OK) return status;
    j->report.files = j->making.n_files;
    for (uint32_t f = 0; f < j->making.n_files; f++)
        if (__builtin_add_overflow(j->report.bytes, j->making.bytes[f], &j->report.bytes))
            return qdq_fail(QDQ_BAD_DATA, "%s: its manifest has files that no disk can hold", SHOWN(j->folder));
    for (uint32_t f = 0; f < j->making.n_files && status == QDQ_OK; f++) status = check_file(j, f);
    if (status != QDQ_OK || j->missing == 0) return status;
    return qdq_fail(
        QDQ_UNSUPPORTED,
        "%s: %llu of %llu bytes are missing or were damaged, the first in file %u of %u at byte %llu: run the "
        "parts that are missing, or all once more so that they resume, and join again",
        SHOWN(j->folder), (unsigned long long)j->missing, (unsigned long long)j->report.bytes, j->missing_file + 1,
        j->making.n_files, (unsigned long long)j->first_missing);
}

/* ---- Names ------------------------------------------------------------------------------------------------------ */

static qdq_status name_file(joining *j, uint32_t file) {
    char *name = qdq_record_data(j->folder, file);
    char *final = qdq_record_final(j->path, j->making.split, file, j->making.n_files);
    qdq_status status = QDQ_OK;
    if (name == NULL || final == NULL)
        status = no_memory(j->path);
    else if (!qdq_file_replace(name, final) && errno != ENOENT) /* ENOENT: it has its name, see check_file() */
        status = failed(final, "cannot be put in its place");
    free(name);
    free(final);
    return status;
}

static bool is_ours(const char *name) {
    size_t n = strlen(name), digits = strspn(name, "0123456789");
    return strncmp(name, QDQ_MANIFEST, strlen(QDQ_MANIFEST)) == 0 ||
           (n > strlen(QDQ_JOURNAL) && strcmp(name + n - strlen(QDQ_JOURNAL), QDQ_JOURNAL) == 0) ||
           (digits > 0 && strcmp(name + digits, ".data") == 0);
}

/* A folder that will be removed: what that takes is there before the outputs have their names. */
typedef struct leaving {
    const char *folder;
    qdq_directory *entries;
    char *name; /* room for any in it */
    size_t room;
} leaving;

static void forget(leaving *l) {
    if (l->entries != NULL) qdq_directory_close(l->entries);
    free(l->name);
}

static qdq_status prepare_to_leave(const char *folder, leaving *l) {
    *l = (leaving){.folder = folder, .room = strlen(folder) + QDQ_NAME_BYTES + 2};
    l->name = malloc(l->room);
    if (l->name == NULL) return no_memory(folder);
    l->entries = qdq_directory_open(folder);
    if (l->entries != NULL) return QDQ_OK;
    qdq_status status = errno == ENOMEM
                            ? no_memory(folder)
                            : qdq_fail(QDQ_IO_ERROR, "%s: cannot be read: %s", SHOWN(folder), strerror(errno));
    forget(l);
    return status;
}

static qdq_status drop(leaving *l, const char *entry) {
    snprintf(l->name, l->room, "%s/%s", l->folder, entry);
    if (qdq_file_remove(l->name) || errno == ENOENT) return QDQ_OK;
    return qdq_fail(QDQ_IO_ERROR, "%s: cannot be removed: %s", SHOWN(l->name), strerror(errno));
}

/* Removes what this library makes in such a folder, the manifest last, and the folder, if it then is empty. */
static qdq_status leave(leaving *l) {
    qdq_status status = QDQ_OK;
    for (const char *entry; status == QDQ_OK && (entry = qdq_directory_next(l->entries)) != NULL;)
        if (is_ours(entry) && strcmp(entry, QDQ_MANIFEST) != 0) status = drop(l, entry);
    if (status == QDQ_OK) status = drop(l, QDQ_MANIFEST);
    if (status == QDQ_OK && !qdq_directory_remove(l->folder))
        status = qdq_fail(QDQ_IO_ERROR, "%s: cannot be removed: %s", SHOWN(l->folder), strerror(errno));
    forget(l);
    return status;
}

static qdq_status finish(joining *j) {
    leaving l;
    size_t length = qdq_path_directory(j->path);
    char *place = strdup(length > 0 ? j->path : ".");
    if (place != NULL && length > 0) place[length] = '\0';
    qdq_status status = place != NULL ? prepare_to_leave(j->folder, &l) : no_memory(j->path);
    if (status != QDQ_OK) {
        free(place);
        return status;
    }
    for (uint32_t f = j->making.n_files; f-- > 0 && status == QDQ_OK;) status = name_file(j, f);
    if (status == QDQ_OK)
        qdq_directory_sync(place);
    else
        forget(&l);
    free(place);
    return status == QDQ_OK ? leave(&l) : status;
}

qdq_status qdq_join(const char *path, const qdq_join_options *options, qdq_join_report *report) {
    joining j = {.path = path, .report = {.size = sizeof j.report}};
    if (path == NULL || (options != NULL && options->size == 0) || (report != NULL && report->size == 0))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_join: a NULL argument, or a struct of size 0");
    if (options != NULL)
        memcpy(&j.options, options, options->size < sizeof j.options ? options->size : sizeof j.options);
    j.folder = qdq_record_folder(path);
    qdq_status status = j.folder == NULL ? no_memory(path) : QDQ_OK;
    if (status == QDQ_OK && j.options.n_from > 0) status = copy_all(&j);
    if (status == QDQ_OK) status = check_all(&j);
    if (status == QDQ_OK) status = finish(&j);
    if (status == QDQ_OK && report != NULL) {
        size_t size = report->size;
        memcpy(report, &j.report, size < sizeof j.report ? size : sizeof j.report);
        report->size = size;
    }
    free(j.making.bytes);
    free(j.noted);
    free(j.folder);
    return status;
}

qdq_status qdq_discard_parts(const char *path) {
    if (path == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_discard_parts: path is NULL");
    char *folder = qdq_record_folder(path);
    if (folder == NULL) return no_memory(path);
    qdq_making making;
    leaving l;
    qdq_status status = qdq_manifest_read(folder, &making); /* else it may be somebody else's */
    if (status == QDQ_OK) {
        free(making.bytes);
        status = prepare_to_leave(folder, &l);
        if (status == QDQ_OK) status = leave(&l);
    }
    free(folder);
    return status;
}
