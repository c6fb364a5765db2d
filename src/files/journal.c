#include "files/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files/record.h"
#include "internal.h"

qdq_status qdq_journal_failed(const char *name, const char *what) {
    int error = errno;
    const char *advice = qdq_disk_is_full() ? ": free some room"
                         : error == EFBIG   ? ": a size limit of the file system or of `ulimit -f`"
                                            : "";
    return qdq_fail(QDQ_IO_ERROR, "%s: %s: %s%s; what is done already stays, and can be gone on with", SHOWN(name),
                    what, strerror(error), advice);
}

qdq_status qdq_journal_no_memory(const char *path) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for an output in parts", SHOWN(path));
}

qdq_status qdq_journal_write_at(qdq_file file, const char *name, const void *data, uint64_t bytes, uint64_t offset) {
    const uint8_t *p = data;
    while (bytes > 0) {
        int64_t n = qdq_file_write(file, p, (size_t)bytes, offset);
        if (n < 0) return qdq_journal_failed(name, "cannot be written");
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
    if (temporary == NULL) return qdq_journal_no_memory(name);
    snprintf(temporary, room, "%s.tmp.%ld", name, qdq_process_id());
    qdq_file_remove(
        temporary); /* of a process of that number: gone, or on another machine, and then one of both fails */
    qdq_file file = qdq_file_create(temporary, 0666);
    bool made = file != QDQ_NO_FILE;
    qdq_status status = made ? qdq_journal_write_at(file, temporary, text, length, 0)
                             : qdq_journal_failed(temporary, "cannot be created");
    if (status == QDQ_OK && !qdq_file_sync(file))
        status = qdq_journal_failed(temporary, "cannot be brought to the disk");
    bool named = status == QDQ_OK && (qdq_file_name(file, name) || errno == EEXIST);
    if (made) qdq_file_close(file);
    /* Not every file system knows links. Who comes second then writes the same, or finds that it differs. */
    if (status == QDQ_OK && !named && !qdq_file_replace(temporary, name))
        status = qdq_journal_failed(name, "cannot be named");
    if (made) qdq_file_remove(temporary);
    free(temporary);
    return status;
}

static qdq_status make_folder(const char *folder) {
    qdq_file_info info;
    if (!qdq_directory_make(folder)) return qdq_journal_failed(folder, "cannot be created");
    if (qdq_path_info(folder, &info) && info.kind == QDQ_FILE_DIRECTORY) return QDQ_OK;
    return qdq_fail(QDQ_IO_ERROR, "%s: is there and no folder, but parts go there", SHOWN(folder));
}

qdq_status qdq_journal_agree(const char *folder, const qdq_making *making) {
    char *text = NULL, *name = qdq_record_name(folder, QDQ_MANIFEST);
    size_t length;
    qdq_file_info info;
    qdq_making there = {0};
    qdq_status status = name != NULL ? make_folder(folder) : qdq_journal_no_memory(folder);
    if (status == QDQ_OK) status = qdq_manifest_print(making, &text, &length);
    if (status == QDQ_OK && !qdq_path_info(name, &info)) status = publish(name, text, length);
    if (status == QDQ_OK) status = qdq_manifest_read(folder, &there);
    if (status == QDQ_OK) status = qdq_making_compare(folder, &there, making);
    free(there.bytes);
    free(text);
    free(name);
    return status;
}

qdq_status qdq_journal_write(qdq_journal *j, const char *line, size_t n) {
    qdq_status status = qdq_journal_write_at(j->file, j->name, line, n, j->bytes);
    j->bytes += n;
    return status;
}

qdq_status qdq_journal_sync(qdq_journal *j) {
    return qdq_file_sync(j->file) ? QDQ_OK : qdq_journal_failed(j->name, "cannot be written");
}

void qdq_journal_close(qdq_journal *j) {
    if (j->file != QDQ_NO_FILE) qdq_file_close(j->file);
    free(j->name);
    *j = (qdq_journal){.file = QDQ_NO_FILE};
}

/* A journal of its own for each process: none waits for another, and none writes into another's lines. */
static qdq_status create(qdq_journal *j, const char *folder, const char *who) {
    size_t room = strlen(folder) + strlen(who) + 64;
    j->name = malloc(room);
    if (j->name == NULL) return qdq_journal_no_memory(folder);
    for (unsigned n = 1; j->file == QDQ_NO_FILE; n++) {
        snprintf(j->name, room, "%s/%s.%u%s", folder, who, n, QDQ_JOURNAL);
        j->file = qdq_file_create(j->name, 0666);
        if (j->file == QDQ_NO_FILE && (errno != EEXIST || n == 1000000))
            return qdq_journal_failed(j->name, "cannot be created");
    }
    return QDQ_OK;
}

qdq_status qdq_journal_open(const char *folder, const qdq_making *making, const char *who, qdq_journal *j) {
    char line[QDQ_JOURNAL_LINE];
    *j = (qdq_journal){.file = QDQ_NO_FILE};
    qdq_status status = create(j, folder, who);
    if (status == QDQ_OK) status = qdq_journal_write(j, line, qdq_journal_begin(qdq_making_identity(making), line));
    if (status != QDQ_OK) qdq_journal_close(j);
    return status;
}
