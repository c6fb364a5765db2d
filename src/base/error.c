#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[1024];

qdq_status qdq_fail(qdq_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return status;
}

const char *qdq_error_message(void) { return message; }

const char *qdq_status_name(qdq_status status) {
    switch (status) {
    case QDQ_OK: return "ok";
    case QDQ_INVALID_ARGUMENT: return "invalid argument";
    case QDQ_UNSUPPORTED: return "unsupported";
    case QDQ_OUT_OF_MEMORY: return "out of memory";
    case QDQ_DEVICE_ERROR: return "device error";
    case QDQ_IO_ERROR: return "input/output error";
    case QDQ_BAD_DATA: return "bad data";
    }
    return "unknown status";
}
