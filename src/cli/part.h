/* --part K/N and --resume, of the commands that write models, and what they say in the end. */
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
/* What is wrong with both options together, or NULL. */
const char *qdq_part_check(qdq_part *part, qdq_common *common, bool dry_run);
void qdq_part_options(const qdq_part *part, qdq_file_options *options);
/* What the making has come to; output: as above. */
qdq_status qdq_part_finish(const qdq_part *part, qdq_status status, const char *output);
/* The line about a part that was made; output: where the whole will be. */
void qdq_part_print(const qdq_part *part, const qdq_file_report *report, const char *output);

/* --sums FOLDER, beside --part: of the commands that measure and write no model. */
typedef struct qdq_part_sums {
    qdq_part part;
    qdq_shared_sums shared;
} qdq_part_sums;

/* What is wrong with both options together, or NULL. written: the command is to write results. */
const char *qdq_part_sums_check(qdq_part_sums *sums, bool written);
/* For the library; NULL: the command measures by itself. */
qdq_shared_sums *qdq_part_sums_shared(qdq_part_sums *sums);
/* A part measures, and has no results: says what it did instead. */
qdq_status qdq_part_sums_print(const qdq_part_sums *sums, const qdq_common *common);

#define QDQ_SUMS_PART_HELP                                                                                             \
    "measure only part K of N, counted from 1, whole tensors that cost about the same, into --sums FOLDER, beside "    \
    "other processes or before them, on this machine or on others; it has no results yet"
#define QDQ_SUMS_HELP                                                                                                  \
    "keep each tensor's sums in that folder, and measure only what it lacks: what other parts have measured, or a "    \
    "process that was killed; without --part all results follow, as of one process"

/* For a program whose processes share the parts (src/mpi): they are made by whoever asks `next` for one, and `finish`,
 * told of the outcome here, says what it is for all. silent: this process prints failures alone. */
typedef struct qdq_sharing {
    uint32_t parts;
    bool silent;
    uint32_t (*next)(void *context);
    qdq_status (*finish)(qdq_status status, const char *output);
} qdq_sharing;
void qdq_part_share(const qdq_sharing *sharing);

#define QDQ_PART_HELP                                                                                                  \
    "make part K of N, counted from 1, in the folder OUT.parts, beside other processes or before them, on this "       \
    "machine "                                                                                                         \
    "or on others; qdq join then makes OUT of it"
#define QDQ_RESUME_HELP                                                                                                \
    "with --part: do not make again what is in OUT.parts and intact, in however many parts it was made"

#endif
