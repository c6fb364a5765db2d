/* The files that a command line names: none that is read is overwritten, none is written twice. */
#ifndef QDQ_CLI_PATHS_H
#define QDQ_CLI_PATHS_H

#include <stdbool.h>

#include "qdq.h"

enum { QDQ_MAX_PATHS = 128 };

typedef struct qdq_paths {
    struct {
        const char *path, *option; /* "plan" of --plan; NULL: an operand */
        bool output;
    } named[QDQ_MAX_PATHS];
    unsigned n;
} qdq_paths;

/* Notes a path, which must outlive it; an output takes the place of an earlier one of the option. "-" and the null
 * device are nobody's. false: there are too many. */
bool qdq_paths_add(qdq_paths *paths, const char *path, const char *option, bool output);
/* QDQ_INVALID_ARGUMENT: an output is a file that is read, by whatever name or link, or the config.json beside an
 * operand; or two outputs are one name of one directory. A model's own files are looked at when outputs are made
 * (qdq_out_create). */
qdq_status qdq_paths_check(const qdq_paths *paths);
bool qdq_path_ends(const char *path, const char *end);
/* What is wrong with an output whose name ends as one of another layout's does, or NULL. layout: what it is to be. */
const char *qdq_path_misnamed(const char *output, const char *layout, const char *end);

#endif
