/* Regular expressions that are searched in tensors' names: read by PCRE2, byte by byte, so POSIX's extended ones mean
 * what they mean there. How long a search may take is limited: names come from files. */
#ifndef QDQ_MODEL_PATTERN_H
#define QDQ_MODEL_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "qdq.h"

typedef struct qdq_pattern qdq_pattern;

typedef struct qdq_catch {
    size_t begin, end; /* in the name; SIZE_MAX both: these parentheses have caught nothing */
} qdq_catch;

enum { QDQ_PATTERN_LIMIT = 4096, QDQ_MAX_CATCHES = 9 }; /* bytes of a pattern; pairs of parentheses that count */

/* QDQ_INVALID_ARGUMENT: text is no regular expression, or too long a one; QDQ_OUT_OF_MEMORY. */
qdq_status qdq_pattern_open(const char *text, qdq_pattern **pattern);
/* How many pairs of parentheses it has. */
unsigned qdq_pattern_catches(const qdq_pattern *pattern);
/* catches: of the first QDQ_MAX_CATCHES pairs of parentheses, or NULL. By one thread at a time. A search that is given
 * up is a failure, never "not found": QDQ_OUT_OF_MEMORY, or QDQ_UNSUPPORTED for one that would take too long. */
qdq_status qdq_pattern_find(const qdq_pattern *pattern, const char *name, qdq_catch *catches, bool *found);
void qdq_pattern_free(qdq_pattern *pattern); /* NULL is allowed */

#endif
