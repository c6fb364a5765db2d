#include "files/unfinished.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files/record.h"
#include "internal.h"
#include "base/platform_files.h"

struct qdq_unfinished {
    char *folder;
    const qdq_making *making;
    char *journal_name;
    qdq_file journal;
    uint64_t journal_bytes;
    uint32_t file; /* the one that is open */
    char *data_name;
    qdq_file data;
};

static qdq_status failed(const char *name, const char *what) {
    int error = errno;
    const char *advice = qdq_disk_is_full() ? ": free some room"
                         : error == EFBIG   ? ": a size limit of the file system or of `ulimit -f`"
                                            : "";
    return qdq_fail(QDQ_IO_ERROR, "%s: %s: %s%s; what is done already stays, and can be gone on with", SHOWN(name),
                    what, strerror(error), advice);
}

static qdq_status no_memory(const char *path) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for an output in parts", SHOWN(path));
}

static qdq_status write_all(qdq_file file, const char *name, const void *data, uint64_t bytes, uint64_t offset) {
    const uint8_t *p = data;
    while (bytes > 0) {
        int64_t n = qdq_file_write(file, p, (size_t)bytes, offset);
        if (n < 0) return failed(name, "cannot be written");
        p += n;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return QDQ_OK;
}

/* ---- Opening ---------------------------------------------------------------------------------------------------- */

/* Gives the text that name, unless somebody has taken it: a manifest is there whole or not at all. */
static qdq_status publish(const char *name, const char *text, size_t length) {
    size_t room = strlen(name) + 64;
    char *temporary = malloc(room);
    if (temporary == NULL) return no_memory(name);
    snprintf(temporary, room, "%s.tmp.%ld", name, qdq_process_id());
    qdq_file_remove(
        temporary); /* of a process of that number: gone, or on another machine, and then one of both fails */
    qdq_file file = qdq_file_create(temporary, 0666);
    bool made = file != QDQ_NO_FILE;
    qdq_status status = made ? write_all(file, temporary, text, length, 0) : failed(temporary, "cannot be created");
    if (status == QDQ_OK && !qdq_file_sync(file)) status = failed(temporary, "cannot be brought to the disk");
    bool named = status == QDQ_OK && (qdq_file_name(file, name) || errno == EEXIST);
    if (made) qdq_file_close(file);
    /* Not every file system knows links. Who comes second then writes the same, or finds that it differs. */
    if (status == QDQ_OK && !named && !qdq_file_replace(temporary, name)) status = failed(name, "cannot be named");
    if (made) qdq_file_remove(temporary);
    free(temporary);
    return status;
}

static qdq_status make_folder(const char *folder) {
    qdq_file_info info;
    if (!qdq_directory_make(folder)) return failed(folder, "cannot be created");
    if (qdq_path_info(folder, &info) && info.kind == QDQ_FILE_DIRECTORY) return QDQ_OK;
    return qdq_fail(QDQ_IO_ERROR, "%s: is there and no folder, but the parts of an output go there", SHOWN(folder));
}

static qdq_status agree(const char *folder, const qdq_making *making) {
    char *text = NULL, *name = qdq_record_name(folder, QDQ_MANIFEST);
    size_t length;
    qdq_file_info info;
    qdq_making there = {0};
    qdq_status status = name != NULL ? qdq_manifest_print(making, &text, &length) : no_memory(folder);
    if (status == QDQ_OK && !qdq_path_info(name, &info)) status = publish(name, text, length);
    if (status == QDQ_OK) status = qdq_manifest_read(folder, &there);
    if (status == QDQ_OK) status = qdq_making_compare(folder, &there, making);
    free(there.bytes);
    free(text);
    free(name);
    return status;
}

static qdq_status write_line(qdq_unfinished *u, const char *line, size_t n) {
    qdq_status status = write_all(u->journal, u->journal_name, line, n, u->journal_bytes);
    u->journal_bytes += n;
    return status;
}

/* A journal of its own for each process: none waits for another, and none writes into another's lines. */
static qdq_status open_journal(qdq_unfinished *u, const char *who) {
    size_t room = strlen(u->folder) + strlen(who) + 64;
    u->journal_name = malloc(room);
    if (u->journal_name == NULL) return no_memory(u->folder);
    for (unsigned n = 1; u->journal == QDQ_NO_FILE; n++) {
        snprintf(u->journal_name, room, "%s/%s.%u%s", u->folder, who, n, QDQ_JOURNAL);
        u->journal = qdq_file_create(u->journal_name, 0666);
        if (u->journal == QDQ_NO_FILE && (errno != EEXIST || n == 1000000))
            return failed(u->journal_name, "cannot be created");
    }
    char line[QDQ_JOURNAL_LINE];
    return write_line(u, line, qdq_journal_begin(qdq_making_identity(u->making), line));
}

static qdq_status check_outputs(const char *path, const qdq_making *making) {
    qdq_status status = QDQ_OK;
    for (uint32_t i = 0; i < making->n_files && status == QDQ_OK; i++) {
        char *name = qdq_record_final(path, making->split, i, making->n_files);
        if (name == NULL)
            status = no_memory(path);
        else if (qdq_out_discards(name))
            status = qdq_fail(QDQ_INVALID_ARGUMENT, "%s: parts need an output that is kept", SHOWN(name));
        else
            status = qdq_out_check_path(name);
        free(name);
    }
    return status;
}

qdq_status qdq_unfinished_open(const char *path, const qdq_making *making, const char *who, qdq_unfinished **result) {
    *result = NULL;
    qdq_status status = check_outputs(path, making);
    if (status != QDQ_OK) return status;
    qdq_unfinished *u = calloc(1, sizeof *u);
    if (u == NULL) return no_memory(path);
    u->journal = u->data = QDQ_NO_FILE;
    u->making = making;
    u->folder = qdq_record_folder(path);
    if (u->folder == NULL) status = no_memory(path);
    if (status == QDQ_OK) status = make_folder(u->folder);
    if (status == QDQ_OK) status = agree(u->folder, making);
    if (status == QDQ_OK) status = open_journal(u, who);
    if (status != QDQ_OK) {
        qdq_unfinished_abandon(u);
        return status;
    }
    *result = u;
    return QDQ_OK;
}

/* ---- Files ------------------------------------------------------------------------------------------------------ */

static qdq_status close_data(qdq_unfinished *u) {
    qdq_status status = QDQ_OK;
    if (u->data != QDQ_NO_FILE) {
        if (!qdq_file_sync(u->data)) status = failed(u->data_name, "cannot be brought to the disk");
        qdq_file_close(u->data);
    }
    u->data = QDQ_NO_FILE;
    free(u->data_name);
    u->data_name = NULL;
    return status;
}

static qdq_status open_data(qdq_unfinished *u, uint32_t file) {
    qdq_file_info info;
    if (u->data != QDQ_NO_FILE && u->file == file) return QDQ_OK;
    qdq_status status = close_data(u);
    if (status != QDQ_OK) return status;
    u->file = file;
    u->data_name = qdq_record_data(u->folder, file);
    if (u->data_name == NULL) return no_memory(u->folder);
    u->data = qdq_file_open_shared(u->data_name, 0666);
    if (u->data == QDQ_NO_FILE) return failed(u->data_name, "cannot be opened");
    if (!qdq_file_info_of(u->data, &info) || info.kind != QDQ_FILE_REGULAR)
        return qdq_fail(QDQ_IO_ERROR, "%s: is no regular file", SHOWN(u->data_name));
    return QDQ_OK;
}

qdq_status qdq_unfinished_done(qdq_unfinished *u, uint32_t file, qdq_range within, qdq_range **done, uint64_t *n) {
    qdq_noted *noted;
    const qdq_noted *first;
    uint64_t all, count;
    *done = NULL;
    *n = 0;
    qdq_status status = open_data(u, file);
    if (status == QDQ_OK) status = qdq_journals_read(u->folder, u->making, &noted, &all);
    if (status != QDQ_OK) return status;
    qdq_noted_of(noted, all, file, &first, &count);
    status = qdq_noted_check(u->data, u->data_name, first, count, within, NULL, NULL, done, n);
    free(noted);
    return status;
}

qdq_status qdq_unfinished_reserve(qdq_unfinished *u, uint32_t file, qdq_range range) {
    qdq_status status = open_data(u, file);
    if (status != QDQ_OK || qdq_file_reserve_range(u->data, range.begin, range.end - range.begin)) return status;
    return failed(u->data_name, "no room can be set aside");
}

qdq_status qdq_unfinished_write(qdq_unfinished *u, uint32_t file, uint64_t offset, const void *data, uint64_t bytes) {
    qdq_status status = open_data(u, file);
    return status == QDQ_OK ? write_all(u->data, u->data_name, data, bytes, offset) : status;
}

qdq_status qdq_unfinished_note(qdq_unfinished *u, uint32_t file, qdq_range range, uint64_t checksum) {
    char line[QDQ_JOURNAL_LINE];
    return write_line(u, line, qdq_journal_line(&(qdq_noted){file, range, checksum}, line));
}

qdq_status qdq_unfinished_close(qdq_unfinished *u) {
    qdq_status status = close_data(u);
    if (!qdq_file_sync(u->journal) && status == QDQ_OK) status = failed(u->journal_name, "cannot be written");
    qdq_unfinished_abandon(u);
    return status;
}

void qdq_unfinished_abandon(qdq_unfinished *u) {
    if (u == NULL) return;
    if (u->data != QDQ_NO_FILE) qdq_file_close(u->data);
    if (u->journal != QDQ_NO_FILE) qdq_file_close(u->journal);
    free(u->data_name);
    free(u->journal_name);
    free(u->folder);
    free(u);
}
