/* The mask of qdq_cpu_mask() and QDQ_CPU_MASK. */
#ifndef QDQ_BACKENDS_CPU_CPU_MASK_H
#define QDQ_BACKENDS_CPU_CPU_MASK_H
#include <stdint.h>
uint32_t qdq_cpu_mask_in_force(void);
#endif
