/* Text from files: UTF-8 checked, and made fit for a terminal. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

float qdq_le_float(const uint8_t *p) {
    uint32_t bits = qdq_le32(p);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

bool qdq_is_text(const void *bytes, uint64_t n) {
    const uint8_t *p = bytes;
    while (n > 0) {
        size_t step = qdq_utf8_step(p, n);
        if (step == 0 || *p == 0) return false;
        p += step;
        n -= step;
    }
    return true;
}

/* Controls, and the marks that turn the direction of writing (U+061C, U+200E-200F, U+202A-202E, U+2066-2069). */
static bool disturbs_terminal(const uint8_t *p, size_t length) {
    if (length == 1) return p[0] < 0x20 || p[0] == 0x7f;
    if (length == 2) return (p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xd8 && p[1] == 0x9c);
    if (length != 3 || p[0] != 0xe2) return false;
    if (p[1] == 0x80) return p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xaa && p[2] <= 0xae);
    return p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9;
}

bool qdq_ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

bool qdq_is_utf8(const char *text) { return qdq_is_text(text, strlen(text)); }

size_t qdq_disturbance(const char *text) {
    size_t step = qdq_utf8_step((const uint8_t *)text, strnlen(text, 4));
    return step > 0 && disturbs_terminal((const uint8_t *)text, step) ? step : 0;
}

/* The text's first character as it may be shown; how many bytes that takes. */
static size_t show(const char *text, char piece[20], size_t *length) {
    const uint8_t *p = (const uint8_t *)text;
    size_t step = qdq_utf8_step(p, strnlen(text, 4));
    *length = step;
    if (step != 0 && !disturbs_terminal(p, step)) {
        memcpy(piece, p, step);
        return step;
    }
    if (step == 0) step = 1;
    for (size_t i = 0; i < step; i++) snprintf(piece + 4 * i, 5, "\\x%02x", p[i]);
    *length = 4 * step;
    return step;
}

const char *qdq_printable(const char *text, char *buffer, size_t size) {
    static const char ellipsis[] = "…";
    const size_t room = size - sizeof ellipsis;
    char piece[20];
    size_t whole = 0, used = 0, length;
    for (const char *at = text; *at != '\0'; whole += length) at += show(at, piece, &length);
    size_t left = whole, head = whole > room ? room / 3 : room; /* bytes to show; those that may stand before the cut */
    bool cut = false;
    for (const char *at = text; *at != '\0'; left -= length) {
        at += show(at, piece, &length);
        if (!cut && used + length > head) {
            memcpy(buffer + used, ellipsis, sizeof ellipsis - 1);
            used += sizeof ellipsis - 1;
            cut = true;
        }
        if (cut && left > room - head) continue;
        memcpy(buffer + used, piece, length);
        used += length;
    }
    buffer[used] = '\0';
    return buffer;
}

void qdq_free(void *memory) { free(memory); }

const char *qdq_extents_text(const qdq_tensor *tensor, char *buffer) {
    size_t used = 0;
    buffer[0] = '\0';
    for (uint32_t d = 0; d < tensor->n_dims && used < 160; d++)
        used += (size_t)snprintf(buffer + used, 192 - used, "%s%llu", d > 0 ? " x " : "",
                                 (unsigned long long)tensor->shape[d]);
    return tensor->n_dims > 0 ? buffer : strcpy(buffer, "scalar");
}

/* A pipe would be waited for, by a name in a folder that a stranger has made. */
static qdq_status open_regular(const char *path, qdq_file *file) {
    qdq_file_info info;
    *file = qdq_file_open(path);
    if (*file == QDQ_NO_FILE) return qdq_fail(QDQ_IO_ERROR, "%s: cannot be opened: %s", SHOWN(path), strerror(errno));
    if (qdq_file_info_of(*file, &info) && info.kind == QDQ_FILE_REGULAR) return QDQ_OK;
    qdq_file_close(*file);
    return qdq_fail(QDQ_IO_ERROR, "%s: is no regular file", SHOWN(path));
}

/* All that the file has, in room that grows. */
static qdq_status read_all(qdq_file file, const char *path, uint64_t limit, char **text, size_t *length) {
    enum { STEP = 1 << 16 };
    size_t room = 0;
    for (*length = 0;;) {
        if (*length > limit)
            return qdq_fail(QDQ_BAD_DATA, "%s: over %llu bytes, which are too many for such a file", SHOWN(path),
                            (unsigned long long)limit);
        if (room - *length < STEP) {
            room = room > 0 ? 2 * room : 2 * STEP;
            char *larger = realloc(*text, room);
            if (larger == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to read it", SHOWN(path));
            *text = larger;
        }
        int64_t n = qdq_file_read(file, *text + *length, STEP, *length);
        if (n == 0) return QDQ_OK;
        if (n < 0) return qdq_fail(QDQ_IO_ERROR, "%s: cannot be read: %s", SHOWN(path), strerror(errno));
        *length += (size_t)n;
    }
}

qdq_status qdq_read_text(const char *path, uint64_t limit, char **text, size_t *length) {
    qdq_file file;
    *text = NULL;
    qdq_status status = open_regular(path, &file);
    if (status != QDQ_OK) return status;
    status = read_all(file, path, limit, text, length);
    qdq_file_close(file);
    if (status == QDQ_OK) return QDQ_OK;
    free(*text);
    *text = NULL;
    return status;
}

qdq_status qdq_blame(qdq_status status, const char *path) {
    char why[1024];
    if (status != QDQ_INVALID_ARGUMENT) return status;
    snprintf(why, sizeof why, "%s", qdq_error_message());
    return qdq_fail(QDQ_BAD_DATA, "%s: %s", SHOWN(path), why);
}
