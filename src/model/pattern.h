/* Regular expressions, POSIX's extended, that are searched in tensors' names. */
#ifndef QDQ_MODEL_PATTERN_H
#define QDQ_MODEL_PATTERN_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

#include "qdq.h"

typedef struct qdq_pattern {
    regex_t compiled;
    char *text;
} qdq_pattern;

/* QDQ_INVALID_ARGUMENT: text is no regular expression; QDQ_OUT_OF_MEMORY. On failure there is nothing to free. */
qdq_status qdq_pattern_open(const char *text, qdq_pattern *pattern);
/* n_catches: of catches, which may be NULL. A search that is given up is a failure, never "not found". */
qdq_status qdq_pattern_find(const qdq_pattern *pattern, const char *name, size_t n_catches, regmatch_t *catches,
                            bool *found);
void qdq_pattern_close(qdq_pattern *pattern); /* one of zeros is allowed */

#endif
