/* The pipeline cache's file, qdq/vulkan-….bin where the system keeps caches, one a device and driver. Nothing here can
 * fail a call: without the file, kernels are built again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/vulkan_device.h"
#include "base/hash.h"
#include "base/platform_files.h"

/* Before the driver's bytes: drivers are not made for damaged ones. */
typedef struct header {
    char magic[8];
    uint64_t bytes, checksum;
} header;
static const char MAGIC[8] = "qdqvk01";
static const size_t MAX_BYTES = (size_t)64 << 20;

/* The file's path; with make, its folders are made. */
static bool file_path(const qdq_vk_physical *physical, bool make, char path[QDQ_PATH_ROOM]) {
    char folder[QDQ_PATH_ROOM];
    if (!qdq_cache_directory(folder) || (make && !qdq_directory_make(folder))) return false;
    char identity[2 * VK_UUID_SIZE + 1];
    for (size_t i = 0; i < VK_UUID_SIZE; i++)
        snprintf(identity + 2 * i, 3, "%02x", (unsigned)physical->properties.pipelineCacheUUID[i]);
    int n = snprintf(path, QDQ_PATH_ROOM, "%s/qdq", folder);
    if (n < 0 || n >= QDQ_PATH_ROOM || (make && !qdq_directory_make(path))) return false;
    n = snprintf(path, QDQ_PATH_ROOM, "%s/qdq/vulkan-%04x-%04x-%08x-%s.bin", folder,
                 (unsigned)physical->properties.vendorID, (unsigned)physical->properties.deviceID,
                 (unsigned)physical->properties.driverVersion, identity);
    return n > 0 && n < QDQ_PATH_ROOM;
}

void *qdq_vk_cache_load(const qdq_vk_physical *physical, size_t *bytes) {
    char path[QDQ_PATH_ROOM];
    *bytes = 0;
    qdq_file file = file_path(physical, false, path) ? qdq_file_open(path) : QDQ_NO_FILE;
    if (file == QDQ_NO_FILE) return NULL;
    header h;
    unsigned char *data = NULL;
    if (qdq_file_read(file, &h, sizeof h, 0) == sizeof h && memcmp(h.magic, MAGIC, sizeof MAGIC) == 0 && h.bytes > 0 &&
        h.bytes <= MAX_BYTES)
        data = malloc((size_t)h.bytes);
    if (data && (qdq_file_read(file, data, (size_t)h.bytes, sizeof h) != (int64_t)h.bytes ||
                 qdq_hash(QDQ_HASH_OF_NOTHING, data, (size_t)h.bytes) != h.checksum)) {
        free(data);
        data = NULL;
    }
    qdq_file_close(file);
    if (data) *bytes = (size_t)h.bytes;
    return data;
}

void qdq_vk_cache_save(const qdq_vk_physical *physical, const void *data, size_t bytes) {
    char path[QDQ_PATH_ROOM], temporary[QDQ_PATH_ROOM];
    if (bytes > MAX_BYTES || !file_path(physical, true, path)) return;
    int n = snprintf(temporary, sizeof temporary, "%s.%ld", path, qdq_process_id());
    if (n < 0 || n >= QDQ_PATH_ROOM) return;
    qdq_file file = qdq_file_create(temporary, 0600);
    if (file == QDQ_NO_FILE) return;
    header h = {.bytes = bytes, .checksum = qdq_hash(QDQ_HASH_OF_NOTHING, data, bytes)};
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    bool good = qdq_file_write(file, &h, sizeof h, 0) == sizeof h &&
                qdq_file_write(file, data, bytes, sizeof h) == (int64_t)bytes;
    qdq_file_close(file);
    if (!good || !qdq_file_replace(temporary, path)) qdq_file_remove(temporary);
}
