/* --part K/N, with --resume of the commands that write models, with --sums of those that measure them; and processes of
 * one job that share the parts. */
#ifndef QDQ_CLI_PART_H
#define QDQ_CLI_PART_H

#include "cli/cli.h"

typedef struct qdq_part {
    uint32_t part, parts; /* parts 0: the whole file */
    bool resume;
} qdq_part;

enum { QDQ_MAX_PARTS = 1 << 20 };

/* "K/N"; what is wrong with it, or NULL. */
const char *qdq_part_parse(qdq_part *part, const char *text);
/* What is wrong with both options together, or NULL. In a job the part is set, and what only its first process prints
 * or writes is taken out of common. */
const char *qdq_part_check(qdq_part *part, qdq_common *common, bool dry_run);
void qdq_part_options(const qdq_part *part, qdq_file_options *options);
/* What the making has come to, of all processes of a job: the first of them then joins the output. */
qdq_status qdq_part_finish(const qdq_part *part, qdq_status status, const char *output);
/* The line about a part that was made; output: where the whole will be. */
void qdq_part_print(const qdq_part *part, const qdq_file_report *report, const char *output);

/* --sums FOLDER, beside --part: of the commands that measure and write no model. */
typedef struct qdq_part_sums {
    qdq_part part;
    qdq_shared_sums shared;
} qdq_part_sums;

/* What is wrong with both options together, or NULL; of jobs as above. written: the command is to write results. */
const char *qdq_part_sums_check(qdq_part_sums *sums, qdq_common *common, bool written);
/* For the library; NULL: the command measures by itself. */
qdq_shared_sums *qdq_part_sums_shared(qdq_part_sums *sums);
/* Comes after each measuring, which had that status: true: it is to be done again. So the first process of a job, when
 * all have done their parts, takes over what they have measured; the others have no results. */
bool qdq_part_sums_again(qdq_part_sums *sums, qdq_status *status);
/* A part measures, and has no results: says what it did instead. */
qdq_status qdq_part_sums_print(const qdq_part_sums *sums, const qdq_common *common);

#define QDQ_SUMS_PART_HELP                                                                                             \
    "measure only part K of N, counted from 1, whole tensors that cost about the same, into --sums FOLDER, beside "    \
    "other processes or before them, on this machine or on others; it has no results yet"
#define QDQ_SUMS_HELP                                                                                                  \
    "keep each tensor's sums in that folder, and measure only what it lacks: what other parts have measured, or a "    \
    "process that was killed; without --part all results follow, as of one process"

/* A job whose processes share all parts of what one command makes or measures (src/mpi). */
typedef struct qdq_sharing {
    uint32_t parts;
    bool first;                      /* this process prints, and writes results; the others fail at most */
    const char *folder;              /* of sums, where the command line names none */
    uint32_t (*next)(void *context); /* gives out the parts, each to one process; 0: no more */
    /* Comes once, when there are no more parts or this process has failed, and waits for the others. QDQ_OK: all have
     * gone well; else the failure, of this process or another. */
    qdq_status (*meet)(qdq_status status);
} qdq_sharing;
void qdq_part_share(const qdq_sharing *sharing);
/* Are there results for this process to write? Not of a part, nor in a job's other processes. */
bool qdq_part_has_results(const qdq_part *part);

#define QDQ_PART_HELP                                                                                                  \
    "make part K of N, counted from 1, in the folder OUT.parts, beside other processes or before them, on this "       \
    "machine "                                                                                                         \
    "or on others; qdq join then makes OUT of it"
#define QDQ_RESUME_HELP                                                                                                \
    "with --part: do not make again what is in OUT.parts and intact, in however many parts it was made"

#endif
