/* Work that was submitted and is nobody's to wait for: kept, with what it uses, until it is found done. */
#include <stdio.h>
#include <stdlib.h>

#include "api/device.h"
#include "base/error.h"

void qdq_parcel_free(qdq_parcel *parcel) {
    for (size_t i = 0; i < parcel->n_held; i++) qdq_storage_release(parcel->held[i]);
    free(parcel->held);
    free(parcel->ops);
    free(parcel);
}

void qdq_parcel_keep(qdq_device *device, qdq_parcel *parcel) {
    qdq_mutex_lock(&device->mutex);
    parcel->next = NULL;
    *(device->parcels ? device->last : &device->parcels) = parcel;
    device->last = &parcel->next;
    qdq_mutex_unlock(&device->mutex);
}

/* Ends the parcel's work, or waits for its end. */
static void finish(qdq_device *device, const qdq_parcel *parcel) {
    qdq_status status = device->backend->wait(device->state, parcel->ticket);
    if (status == QDQ_OK) return;
    qdq_mutex_lock(&device->mutex);
    if (device->failure == QDQ_OK)
        snprintf(device->failure_message, sizeof device->failure_message, "%s", qdq_error_message());
    if (device->failure == QDQ_OK) device->failure = status;
    qdq_mutex_unlock(&device->mutex);
}

static void free_list(qdq_parcel *list) {
    while (list) {
        qdq_parcel *next = list->next;
        qdq_parcel_free(list);
        list = next;
    }
}

void qdq_parcels_reap(qdq_device *device) {
    /* Whoever waits for them all tells their failures, which must have been noted by then. */
    if (!device->backend->is_done || !qdq_mutex_trylock(&device->waiting)) return;
    qdq_parcel *done = NULL, **end = &done;
    qdq_mutex_lock(&device->mutex);
    while (device->parcels && device->backend->is_done(device->state, device->parcels->ticket)) {
        *end = device->parcels;
        end = &device->parcels->next;
        device->parcels = device->parcels->next;
    }
    *end = NULL;
    qdq_mutex_unlock(&device->mutex);
    for (const qdq_parcel *p = done; p; p = p->next) finish(device, p);
    qdq_mutex_unlock(&device->waiting);
    free_list(done);
}

qdq_status qdq_device_synchronize(qdq_device *device) {
    if (!device) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_device_synchronize: a NULL");
    qdq_mutex_lock(&device->waiting);
    qdq_mutex_lock(&device->mutex);
    qdq_parcel *all = device->parcels;
    device->parcels = NULL;
    qdq_mutex_unlock(&device->mutex);
    for (const qdq_parcel *p = all; p; p = p->next) finish(device, p);
    qdq_mutex_lock(&device->mutex);
    qdq_status status = device->failure;
    char message[sizeof device->failure_message];
    snprintf(message, sizeof message, "%s", device->failure_message);
    device->failure = QDQ_OK;
    qdq_mutex_unlock(&device->mutex);
    qdq_mutex_unlock(&device->waiting);
    free_list(all);
    return status == QDQ_OK ? QDQ_OK : qdq_fail(status, "%s", message);
}
