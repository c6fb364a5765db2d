/* The Vulkan backend of a build that lacked what it takes. */
#include <stdio.h>

#include "backends/vulkan/vulkan_proof.h"
#include "backends/backend.h"
#include "base/error.h"

static uint32_t count(void) { return 0; }

static void describe(uint32_t index, qdq_device_info *info) {
    (void)index;
    snprintf(info->name, sizeof info->name, "vulkan");
    snprintf(info->description, sizeof info->description, "built without Vulkan; %s", QDQ_VULKAN_ABSENT);
}

const qdq_backend qdq_vulkan_backend = {.name = "vulkan", .count = count, .describe = describe};

qdq_status qdq_vulkan_dialect(void *device, qdq_dialect_operation operation, const uint32_t *a, const uint32_t *b,
                              uint32_t *out, size_t n) {
    (void)device, (void)operation, (void)a, (void)b, (void)out, (void)n;
    return qdq_fail(QDQ_UNSUPPORTED, "built without Vulkan");
}

uint32_t qdq_vulkan_messages(const char **first) {
    if (first) *first = "";
    return 0;
}

bool qdq_vulkan_validates(void) { return false; }
