/* Outputs that several processes make together, one after another or at once, on one machine or on many: each writes
 * its own bytes at their places into files that have no final name yet. All of it lies in the folder PATH.parts:
 *
 *     manifest.json   what is made, of what, by which version, as checksums; whoever comes next must agree
 *     N.data          output N, counted from 1, as long as it will be
 *     WHO.journal     of each process: the ranges that it has written, each with a checksum of the bytes
 *
 * The bytes of an output depend on nothing but what the manifest holds, so two processes that write the same range
 * write the same, and no locks are needed. What a journal says counts only as far as the data agree with it, so nothing
 * need be synced before it is said. Ranges begin and end at multiples of QDQ_PIECE or at a file's end: no two processes
 * write into one page, which network file systems would not bear. */
#ifndef QDQ_FILES_UNFINISHED_H
#define QDQ_FILES_UNFINISHED_H

#include "files/checksum.h"
#include "files/files.h"

enum { QDQ_PIECE = 1 << 20, QDQ_MAKING_TEXT = 48, QDQ_MAKING_FILES = 65535 };

/* What all processes must agree about. */
typedef struct qdq_making {
    char version[QDQ_MAKING_TEXT]; /* of this library */
    char formats[QDQ_MAKING_TEXT]; /* the revision of the formats */
    uint64_t source, plan;         /* checksums: of what is read; of what becomes of it */
    bool split;                    /* the outputs are named as a split set */
    uint32_t n_files;
    uint64_t *bytes; /* of each file */
} qdq_making;

typedef struct qdq_range {
    uint64_t begin, end; /* bytes of a file */
} qdq_range;

typedef struct qdq_unfinished qdq_unfinished;

/* Opens the folder, or makes it. who: begins the journal's name; letters, digits, hyphens. QDQ_INVALID_ARGUMENT: the
 * output is an input; QDQ_IO_ERROR; QDQ_BAD_DATA: something else is under way there, with what differs. making outlives
 * it. */
qdq_status qdq_unfinished_open(const char *path, const qdq_making *making, const char *who,
                               qdq_unfinished **unfinished);
/* The ranges of a file that are done, ascending and apart, as far as they touch `within`; each was read and checked.
 * free() them. */
qdq_status qdq_unfinished_done(qdq_unfinished *unfinished, uint32_t file, qdq_range within, qdq_range **done,
                               uint64_t *n);
/* Room on the disk for that range, where the file system can tell. */
qdq_status qdq_unfinished_reserve(qdq_unfinished *unfinished, uint32_t file, qdq_range range);
qdq_status qdq_unfinished_write(qdq_unfinished *unfinished, uint32_t file, uint64_t offset, const void *data,
                                uint64_t bytes);
/* That range is written, and this is the checksum of its bytes. */
qdq_status qdq_unfinished_note(qdq_unfinished *unfinished, uint32_t file, qdq_range range, uint64_t checksum);
/* What was written is on the disk: a failure that the system has put off is told here. Frees in every case. */
qdq_status qdq_unfinished_close(qdq_unfinished *unfinished);
void qdq_unfinished_abandon(qdq_unfinished *unfinished); /* frees; what was noted stays; NULL is allowed */

#endif
