#include "files/unfinished.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files/journal.h"
#include "files/record.h"
#include "internal.h"
#include "base/platform_files.h"

struct qdq_unfinished {
    char *folder;
    const qdq_making *making;
    qdq_journal journal;
    uint32_t file; /* the one that is open */
    char *data_name;
    qdq_file data;
};

static qdq_status check_outputs(const char *path, const qdq_making *making) {
    qdq_status status = QDQ_OK;
    for (uint32_t i = 0; i < making->n_files && status == QDQ_OK; i++) {
        char *name = qdq_record_final(path, making->split, i, making->n_files);
        if (name == NULL)
            status = qdq_journal_no_memory(path);
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
    if (u == NULL) return qdq_journal_no_memory(path);
    u->journal.file = u->data = QDQ_NO_FILE;
    u->making = making;
    u->folder = qdq_record_folder(path);
    if (u->folder == NULL) status = qdq_journal_no_memory(path);
    if (status == QDQ_OK) status = qdq_journal_agree(u->folder, making);
    if (status == QDQ_OK) status = qdq_journal_open(u->folder, making, who, &u->journal);
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
        if (!qdq_file_sync(u->data)) status = qdq_journal_failed(u->data_name, "cannot be brought to the disk");
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
    if (u->data_name == NULL) return qdq_journal_no_memory(u->folder);
    u->data = qdq_file_open_shared(u->data_name, 0666);
    if (u->data == QDQ_NO_FILE) return qdq_journal_failed(u->data_name, "cannot be opened");
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
    return qdq_journal_failed(u->data_name, "no room can be set aside");
}

qdq_status qdq_unfinished_write(qdq_unfinished *u, uint32_t file, uint64_t offset, const void *data, uint64_t bytes) {
    qdq_status status = open_data(u, file);
    return status == QDQ_OK ? qdq_journal_write_at(u->data, u->data_name, data, bytes, offset) : status;
}

qdq_status qdq_unfinished_note(qdq_unfinished *u, uint32_t file, qdq_range range, uint64_t checksum) {
    char line[QDQ_JOURNAL_LINE];
    return qdq_journal_write(&u->journal, line, qdq_journal_line(&(qdq_noted){file, range, checksum}, line));
}

qdq_status qdq_unfinished_close(qdq_unfinished *u) {
    qdq_status status = close_data(u);
    qdq_status noted = qdq_journal_sync(&u->journal);
    if (status == QDQ_OK) status = noted;
    qdq_unfinished_abandon(u);
    return status;
}

void qdq_unfinished_abandon(qdq_unfinished *u) {
    if (u == NULL) return;
    if (u->data != QDQ_NO_FILE) qdq_file_close(u->data);
    free(u->data_name);
    qdq_journal_close(&u->journal);
    free(u->folder);
    free(u);
}
