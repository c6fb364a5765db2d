/* Failures that the caller can do something about: what it is stands beside the sentence, as a code, so that the
 * sentence names no option of the command and no argument of a binding, and each can name its own. */
#ifndef QDQ_MODEL_ADVICE_H
#define QDQ_MODEL_ADVICE_H

#include "qdq_model.h"

/* qdq_fail(), with what qdq_error_advice() then returns. */
__attribute__((format(printf, 3, 4))) qdq_status qdq_fail_advising(qdq_advice advice, qdq_status status,
                                                                   const char *format, ...);

#endif
