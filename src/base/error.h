/* Failures: a status to return and, for this thread, a sentence that says what was wrong. A check reads
 * `if (bad) return qdq_fail(QDQ_BAD_DATA, "%s: …", path);`. qdq.h has the function, since callbacks fail so, too. */
#ifndef QDQ_BASE_ERROR_H
#define QDQ_BASE_ERROR_H

#include "qdq.h"

#endif
