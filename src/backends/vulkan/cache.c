/* The pipeline cache's file, $XDG_CACHE_HOME/qdq/vulkan-….bin or ~/.cache/qdq/…, one a device and driver. Nothing here
 * can fail a call: without the file, kernels are built again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/vulkan/vulkan_device.h"

enum { PATH_ROOM = 4096 };

/* Before the driver's bytes: drivers are not made for damaged ones. */
typedef struct header {
    char magic[8];
    uint64_t bytes, checksum;
} header;
static const char MAGIC[8] = "qdqvk01";
static const size_t MAX_BYTES = (size_t)64 << 20;

/* FNV-1a, 64 bits. */
static uint64_t checksum(const unsigned char *data, size_t bytes) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++) h = (h ^ data[i]) * 0x100000001b3u;
    return h;
}

static bool is_usable(const char *folder) { return folder && folder[0] == '/'; }

/* The file's path; with make, its folders are made. */
static bool file_path(const qdq_vk_physical *physical, bool make, char path[PATH_ROOM]) {
    char folder[PATH_ROOM];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n;
    if (is_usable(cache))
        n = snprintf(folder, sizeof folder, "%s", cache);
    else if (is_usable(home))
        n = snprintf(folder, sizeof folder, "%s/.cache", home);
    else
        return false;
    if (n < 0 || n >= PATH_ROOM) return false;
    if (make && mkdir(folder, 0700) != 0 && errno != EEXIST) return false;
    char identity[2 * VK_UUID_SIZE + 1];
    for (size_t i = 0; i < VK_UUID_SIZE; i++)
        snprintf(identity + 2 * i, 3, "%02x", (unsigned)physical->properties.pipelineCacheUUID[i]);
    n = snprintf(path, PATH_ROOM, "%s/qdq", folder);
    if (n < 0 || n >= PATH_ROOM) return false;
    if (make && mkdir(path, 0700) != 0 && errno != EEXIST) return false;
    n = snprintf(path, PATH_ROOM, "%s/qdq/vulkan-%04x-%04x-%08x-%s.bin", folder,
                 (unsigned)physical->properties.vendorID, (unsigned)physical->properties.deviceID,
                 (unsigned)physical->properties.driverVersion, identity);
    return n > 0 && n < PATH_ROOM;
}

void *qdq_vk_cache_load(const qdq_vk_physical *physical, size_t *bytes) {
    char path[PATH_ROOM];
    *bytes = 0;
    FILE *file = file_path(physical, false, path) ? fopen(path, "rb") : NULL;
    if (!file) return NULL;
    header h;
    unsigned char *data = NULL;
    if (fread(&h, sizeof h, 1, file) == 1 && memcmp(h.magic, MAGIC, sizeof MAGIC) == 0 && h.bytes > 0 &&
        h.bytes <= MAX_BYTES)
        data = malloc((size_t)h.bytes);
    if (data && (fread(data, 1, (size_t)h.bytes, file) != h.bytes || checksum(data, (size_t)h.bytes) != h.checksum)) {
        free(data);
        data = NULL;
    }
    fclose(file);
    if (data) *bytes = (size_t)h.bytes;
    return data;
}

void qdq_vk_cache_save(const qdq_vk_physical *physical, const void *data, size_t bytes) {
    char path[PATH_ROOM], temporary[PATH_ROOM];
    if (bytes > MAX_BYTES || !file_path(physical, true, path)) return;
    int n = snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    if (n < 0 || n >= PATH_ROOM) return;
    int descriptor = mkstemp(temporary);
    if (descriptor < 0) return;
    FILE *file = fdopen(descriptor, "wb");
    if (!file) {
        close(descriptor);
        unlink(temporary);
        return;
    }
    header h = {.bytes = bytes, .checksum = checksum(data, bytes)};
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    bool good = fwrite(&h, sizeof h, 1, file) == 1 && fwrite(data, 1, bytes, file) == bytes;
    good = fclose(file) == 0 && good;
    if (!good || rename(temporary, path) != 0) unlink(temporary);
}
