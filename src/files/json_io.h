/* JSON texts read and written through jansson, with no failed allocation lost.
 *
 * jansson passes over some of its own: a string that could not grow loses a byte, a key is left out of a text, and an
 * assertion may end the process. So its allocator is wrapped, for the whole process and once, by functions that pass on
 * to those that were set before and count failures. A program that sets functions of its own with
 * json_set_alloc_funcs() does so before it first calls this library; set later, they hide failures from it. A shared
 * library that holds this must stay loaded. */
#ifndef QDQ_FILES_JSON_IO_H
#define QDQ_FILES_JSON_IO_H

#include <jansson.h>

#include "qdq.h"

/* How many of jansson's allocations have failed on this thread so far. What this thread builds between two equal counts
 * is whole; the first call comes before anything is built. */
uint64_t qdq_json_failures(void);
/* Duplicate keys are refused. path: for the message of QDQ_OUT_OF_MEMORY. QDQ_BAD_DATA: *error says what and where, and
 * the message is the caller's. */
qdq_status qdq_json_parse(const char *path, const void *text, uint64_t length, json_t **root, json_error_t *error);
/* A text from a file or a path; what is no UTF-8 is escaped. NULL: no memory. */
json_t *qdq_json_escaped(const char *text);
/* The text, to be freed with free(); NULL: no memory, also for root NULL. flags: jansson's. */
char *qdq_json_print(const json_t *root, size_t flags);

#endif
