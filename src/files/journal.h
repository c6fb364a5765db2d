/* A folder in which several processes note what they have done: the manifest (files/record.h) about which all of them
 * must agree, and a journal of each, which grows by lines. What it says is believed line by line, so a process that is
 * killed loses what it had not noted, and nothing else. */
#ifndef QDQ_FILES_JOURNAL_H
#define QDQ_FILES_JOURNAL_H

#include "base/platform_files.h"
#include "files/unfinished.h"

typedef struct qdq_journal {
    char *name;
    qdq_file file;
    uint64_t bytes;
} qdq_journal;

/* Makes the folder and its manifest, unless they are there. QDQ_IO_ERROR; QDQ_BAD_DATA: something else is under way
 * there, with what differs. */
qdq_status qdq_journal_agree(const char *folder, const qdq_making *making);
/* A new journal in such a folder. who: begins its name; letters, digits, hyphens. What failed wants no close. */
qdq_status qdq_journal_open(const char *folder, const qdq_making *making, const char *who, qdq_journal *journal);
qdq_status qdq_journal_write(qdq_journal *journal, const char *line, size_t n);
/* What was written is on the disk: a failure that the system has put off is told here. */
qdq_status qdq_journal_sync(qdq_journal *journal);
void qdq_journal_close(qdq_journal *journal);

/* The failure of a call of the system, errno's, where others go on with what is done. */
qdq_status qdq_journal_failed(const char *name, const char *what);
qdq_status qdq_journal_no_memory(const char *path);
/* All of the data at their place in a file. */
qdq_status qdq_journal_write_at(qdq_file file, const char *name, const void *data, uint64_t bytes, uint64_t offset);

#endif
