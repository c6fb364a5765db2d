/* Lists of devices by their names. */
#include <stdio.h>
#include <string.h>

#include "qdq_model.h"
#include "base/error.h"

typedef struct opening {
    int threads;
    uint32_t most, n;
    qdq_device **devices;
} opening;

static qdq_status open_one(opening *o, const char *name) {
    if (o->n == o->most) return qdq_fail(QDQ_INVALID_ARGUMENT, "more than %u devices are named", (unsigned)o->most);
    qdq_status status = qdq_device_open_threads(name, o->threads, &o->devices[o->n]);
    o->n += status == QDQ_OK;
    return status;
}

/* Every device of the backend that the machine has. */
static qdq_status open_all(opening *o, const char *backend, size_t length) {
    uint32_t before = o->n;
    qdq_status status = QDQ_OK;
    qdq_device_info info = {.size = sizeof info};
    for (uint32_t i = 0; status == QDQ_OK && qdq_device_list(i, &info) == QDQ_OK; i++) {
        bool is_of_it =
            strncmp(info.name, backend, length) == 0 && (info.name[length] == ':' || info.name[length] == 0);
        if (is_of_it && info.available) status = open_one(o, info.name);
    }
    if (status != QDQ_OK || o->n > before) return status;
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)length, backend);
    return open_one(o, name); /* which says what is missing, or that there is no such backend */
}

static qdq_status open_named(opening *o, const char *name, size_t length) {
    static const char all[] = ":all";
    char copy[80];
    if (length == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "a device without a name is in the list");
    size_t tail = sizeof all - 1;
    if (length > tail && length < 32 && memcmp(name + length - tail, all, tail) == 0)
        return open_all(o, name, length - tail);
    snprintf(copy, sizeof copy, "%.*s", length < sizeof copy ? (int)length : (int)sizeof copy - 1, name);
    return open_one(o, copy);
}

qdq_status qdq_devices_open(const char *names, int threads, uint32_t most, qdq_device **devices, uint32_t *n) {
    if (names == NULL || devices == NULL || n == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_devices_open: a NULL argument");
    opening o = {.threads = threads, .most = most, .devices = devices};
    qdq_status status = QDQ_OK;
    for (const char *at = names; status == QDQ_OK; at++) {
        size_t length = strcspn(at, ",");
        status = open_named(&o, at, length);
        at += length;
        if (*at == '\0') break;
    }
    if (status != QDQ_OK)
        while (o.n > 0) {
            qdq_device_close(devices[--o.n]);
            devices[o.n] = NULL;
        }
    *n = o.n;
    return status;
}
