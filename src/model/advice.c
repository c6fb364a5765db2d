#include "model/advice.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Of the last failure that had advice: it counts while its sentence is still this thread's last. */
static _Thread_local struct {
    qdq_advice advice;
    char message[1024];
} last;

qdq_status qdq_fail_advising(qdq_advice advice, qdq_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last.message, sizeof last.message, format, arguments);
    va_end(arguments);
    last.advice = advice;
    status = qdq_fail(status, "%s", last.message);
    snprintf(last.message, sizeof last.message, "%s", qdq_error_message()); /* as it was kept */
    return status;
}

qdq_advice qdq_error_advice(void) {
    return strcmp(last.message, qdq_error_message()) == 0 ? last.advice : QDQ_ADVICE_NONE;
}
