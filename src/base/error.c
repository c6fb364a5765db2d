#include "base/error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static _Thread_local char message[1024];

/* Makes UTF-8 of it, and no longer: bytes that are none become question marks; a character that the end cuts goes. */
static void mend(char *text) {
    uint8_t *p = (uint8_t *)text;
    size_t left = strlen(text);
    for (size_t step; left > 0; p += step, left -= step) {
        step = qdq_utf8_step(p, left);
        if (step > 0) continue;
        bool is_cut = left < 4 && p[0] >= 0xc2 && p[0] < 0xf5;
        for (size_t i = 1; i < left && is_cut; i++) is_cut = (p[i] & 0xc0) == 0x80;
        if (is_cut) {
            *p = '\0';
            return;
        }
        *p = '?';
        step = 1;
    }
}

qdq_status qdq_fail(qdq_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    mend(message);
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
    case QDQ_CANCELLED: return "cancelled";
    }
    return "unknown status";
}
