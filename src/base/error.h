/* Failures: a status to return and, for this thread, a sentence that says what was wrong. */
#ifndef QDQ_BASE_ERROR_H
#define QDQ_BASE_ERROR_H

#include "qdq.h"

/* Keeps the message for qdq_error_message() and returns status, so that a check reads
 * `if (bad) return qdq_fail(QDQ_BAD_DATA, "%s: …", path);`. Messages over 1,023 bytes are cut, between characters; what
 * is no UTF-8 becomes question marks. In qdq_model.h too. */
__attribute__((format(printf, 2, 3))) qdq_status qdq_fail(qdq_status status, const char *format, ...);

#endif
