/* What stands in the folder of an unfinished output (files/unfinished.h): names, manifest, journals. */
#ifndef QDQ_FILES_RECORD_H
#define QDQ_FILES_RECORD_H

#include "base/platform_files.h"
#include "files/unfinished.h"

#define QDQ_MANIFEST "manifest.json"
#define QDQ_JOURNAL  ".journal"

/* Names, to be freed; NULL: no memory. */
char *qdq_record_folder(const char *path);                                             /* PATH.parts */
char *qdq_record_name(const char *folder, const char *name);                           /* FOLDER/NAME */
char *qdq_record_data(const char *folder, uint32_t file);                              /* FOLDER/N.data */
char *qdq_record_final(const char *path, bool split, uint32_t file, uint32_t n_files); /* the output's own name */

/* A checksum of all that it says. */
uint64_t qdq_making_identity(const qdq_making *making);
/* The manifest's text, ended by a newline; free() it. */
qdq_status qdq_manifest_print(const qdq_making *making, char **text, size_t *length);
/* Reads one; bytes are for free(). QDQ_IO_ERROR: there is none; QDQ_BAD_DATA: it is not what this library writes. */
qdq_status qdq_manifest_read(const char *folder, qdq_making *making);
/* Of its text; name: for messages. */
qdq_status qdq_manifest_parse(const char *name, const void *text, size_t length, qdq_making *making);
/* Is what is under way in the folder the same? QDQ_BAD_DATA: it is not, with what differs. */
qdq_status qdq_making_compare(const char *folder, const qdq_making *there, const qdq_making *ours);

typedef struct qdq_noted {
    uint32_t file;
    qdq_range range;
    uint64_t checksum;
} qdq_noted;

/* A journal's first line, and the line of a range; returns the length. */
enum { QDQ_JOURNAL_LINE = 160 };
/* Ends a line of `length` bytes in a checksum of them: of a line that was cut short nothing is believed. */
size_t qdq_journal_seal(char line[QDQ_JOURNAL_LINE], int length);
size_t qdq_journal_begin(uint64_t identity, char line[QDQ_JOURNAL_LINE]);
size_t qdq_journal_line(const qdq_noted *noted, char line[QDQ_JOURNAL_LINE]);
typedef struct qdq_noted_list { /* of zeros: empty */
    qdq_noted *items;           /* for free() */
    uint64_t n, capacity;
} qdq_noted_list;

/* Adds the ranges of a journal's text. Lines that were cut short, or could not stand there, are passed over, and so is
 * a journal of another identity. */
qdq_status qdq_journal_parse(const char *name, const char *text, size_t length, const qdq_making *making,
                             qdq_noted_list *list);
/* Calls visit with each line, its newline among it, if there is one, behind the first of a journal's text, or of all
 * journals of a folder, that have that identity; until it is not QDQ_OK. */
typedef qdq_status qdq_journal_visit(void *context, const char *line, size_t length);
qdq_status qdq_journal_visit_text(const char *text, size_t length, const qdq_making *making, qdq_journal_visit *visit,
                                  void *context);
qdq_status qdq_journals_visit(const char *folder, const qdq_making *making, qdq_journal_visit *visit, void *context);
/* All ranges of all journals of that identity, sorted by file and place; free() them. Lines that were cut short, or
 * could not stand there, are passed over. */
qdq_status qdq_journals_read(const char *folder, const qdq_making *making, qdq_noted **noted, uint64_t *n);
/* Ranges of one file (n > 0 of `noted`), ascending and apart, whose bytes the file really has; free() them.
 * within: only those that touch it. read: may be NULL, told of every range that was read; false: QDQ_CANCELLED.
 */
typedef bool qdq_noted_read(void *context, uint64_t bytes);
qdq_status qdq_noted_check(qdq_file file, const char *name, const qdq_noted *noted, uint64_t n, qdq_range within,
                           qdq_noted_read *told, void *context, qdq_range **done, uint64_t *n_done);
/* Those of one file. */
void qdq_noted_of(const qdq_noted *noted, uint64_t n, uint32_t file, const qdq_noted **first, uint64_t *count);

#endif
