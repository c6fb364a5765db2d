#include "backends/cuda/driver.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/platform.h"

static qdq_once once = QDQ_ONCE_INIT;
static qdq_cuda_driver driver;
static char missing[200]; /* "" when the driver is open */

static const struct {
    const char *symbol;
    size_t slot;
} calls[] = {
#define X(name, symbol, parameters) {symbol, offsetof(qdq_cuda_driver, name)},
    QDQ_CUDA_CALLS(X)
#undef X
};

/* The library stays open: a driver must not be unloaded while its threads run. */
static void open_driver(void) {
    const char *library_name = qdq_cuda_drivers[0];
    qdq_library *library = qdq_library_open(library_name);
    if (!library) {
        snprintf(missing, sizeof missing, "no CUDA driver: %s cannot be opened; install NVIDIA's driver", library_name);
        return;
    }
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        void *address = qdq_library_symbol(library, calls[i].symbol);
        if (!address) {
            snprintf(missing, sizeof missing, "the CUDA driver is too old: %s has no %s", library_name,
                     calls[i].symbol);
            return;
        }
        memcpy((char *)&driver + calls[i].slot, &address, sizeof address);
    }
    CUresult error = driver.init(0);
    if (error == 0) error = driver.device_count(&driver.devices);
    if (error == 0) error = driver.driver_version(&driver.version);
    if (error != 0) {
        const char *name = NULL, *text = NULL;
        driver.error_name(error, &name);
        driver.error_string(error, &text);
        snprintf(missing, sizeof missing, "the CUDA driver does not start: %s, %s", name ? name : "unknown error",
                 text ? text : "?");
    } else if (driver.devices == 0) {
        snprintf(missing, sizeof missing, "the CUDA driver finds no device");
    }
}

const qdq_cuda_driver *qdq_cuda_get_driver(const char **why) {
    qdq_run_once(&once, open_driver);
    if (why) *why = missing;
    return missing[0] ? NULL : &driver;
}

qdq_status qdq_cuda_fail(const qdq_cuda_driver *cuda, CUresult error, const char *what) {
    const char *name = NULL, *text = NULL;
    cuda->error_name(error, &name);
    cuda->error_string(error, &text);
    return qdq_fail(error == CUDA_ERROR_OUT_OF_MEMORY ? QDQ_OUT_OF_MEMORY : QDQ_DEVICE_ERROR, "%s: %s, %s", what,
                    name ? name : "an unknown CUDA error", text ? text : "?");
}

unsigned qdq_cuda_pointer_type(const qdq_cuda_driver *cuda, CUdeviceptr address, int *ordinal) {
    unsigned type = 0;
    *ordinal = -1;
    int attributes[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
    void *values[] = {&type, ordinal};
    return cuda->pointer_attributes(2, attributes, values, address) == 0 ? type : 0;
}
