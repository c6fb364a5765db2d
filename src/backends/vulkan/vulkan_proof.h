/* What tests and proofs ask of the Vulkan backend besides its table. All of it is there in a build without Vulkan. */
#ifndef QDQ_BACKENDS_VULKAN_VULKAN_PROOF_H
#define QDQ_BACKENDS_VULKAN_VULKAN_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dialect/operations.h"
#include "qdq.h"

/* out[i] = the operation on a[i] and b[i], as bits, on the open device (a backend's). n <= 2^24. */
qdq_status qdq_vulkan_dialect(void *device, qdq_dialect_operation operation, const uint32_t *a, const uint32_t *b,
                              uint32_t *out, size_t n);
/* The validation layer's warnings and errors in this process, if QDQ_VULKAN_VALIDATION=1 asked for them: how many, and
 * the first. */
uint32_t qdq_vulkan_messages(const char **first);
/* Whether the layer is in force. */
bool qdq_vulkan_validates(void);

#endif
