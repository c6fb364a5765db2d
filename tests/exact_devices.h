/* dialect/exact.h as three kinds of devices run it. */
#ifndef QDQ_TESTS_EXACT_DEVICES_H
#define QDQ_TESTS_EXACT_DEVICES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum exact_device {
    EXACT_GOOD,     /* all is as IEEE has it, and known to be */
    EXACT_WARY,     /* subnormals are compared as zeros, fma rounds twice, square roots are off */
    EXACT_FLUSHING, /* subnormals are zeros wherever they come from or go to; fma rounds once */
    EXACT_DEVICES
} exact_device;

typedef enum exact_operation { EXACT_DIVIDE, EXACT_ROOT, EXACT_COMPARE, EXACT_LARGER, EXACT_MULTIPLY } exact_operation;

/* Of the bits of a and b. COMPARE: > 1, >= 2, < 4, <= 8, == 16, != 32. */
uint32_t exact_operate(exact_device device, exact_operation operation, uint32_t a, uint32_t b);

#ifdef __cplusplus
}
#endif

#endif
