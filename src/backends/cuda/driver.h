/* NVIDIA's driver, opened when first asked for. Its interface is declared here, as far as it is used, so that neither
 * CUDA's headers nor its libraries are needed. Names and numbers: NVIDIA, CUDA Driver API reference. */
#ifndef QDQ_BACKENDS_CUDA_DRIVER_H
#define QDQ_BACKENDS_CUDA_DRIVER_H

#include <stdint.h>

#include "qdq.h"

typedef int CUresult; /* 0: success */
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;

enum { CUDA_ERROR_OUT_OF_MEMORY = 2, CUDA_ERROR_NOT_READY = 600 };
enum {
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76
};
enum { CU_STREAM_NON_BLOCKING = 1, CU_EVENT_DEFAULT = 0, CU_EVENT_BLOCKING_SYNC = 1, CU_EVENT_DISABLE_TIMING = 2 };
enum { CU_POINTER_ATTRIBUTE_MEMORY_TYPE = 2, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9 };
enum { CU_MEMORYTYPE_HOST = 1, CU_MEMORYTYPE_DEVICE = 2 };
enum { CU_JIT_ERROR_LOG_BUFFER = 5, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6 };

/* X(name here, symbol in the library, parameters) */
#define QDQ_CUDA_CALLS(X)                                                                                              \
    X(init, "cuInit", (unsigned flags))                                                                                \
    X(driver_version, "cuDriverGetVersion", (int *version))                                                            \
    X(error_name, "cuGetErrorName", (CUresult error, const char **name))                                               \
    X(error_string, "cuGetErrorString", (CUresult error, const char **text))                                           \
    X(device_count, "cuDeviceGetCount", (int *count))                                                                  \
    X(device_get, "cuDeviceGet", (CUdevice * device, int ordinal))                                                     \
    X(device_name, "cuDeviceGetName", (char *name, int size, CUdevice device))                                         \
    X(device_pci, "cuDeviceGetPCIBusId", (char *name, int size, CUdevice device))                                      \
    X(device_memory, "cuDeviceTotalMem_v2", (size_t * bytes, CUdevice device))                                         \
    X(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, CUdevice device))                          \
    X(context_retain, "cuDevicePrimaryCtxRetain", (CUcontext * context, CUdevice device))                              \
    X(context_release, "cuDevicePrimaryCtxRelease_v2", (CUdevice device))                                              \
    X(context_push, "cuCtxPushCurrent_v2", (CUcontext context))                                                        \
    X(context_pop, "cuCtxPopCurrent_v2", (CUcontext * context))                                                        \
    X(context_device, "cuCtxGetDevice", (CUdevice * device))                                                           \
    X(module_load, "cuModuleLoadDataEx",                                                                               \
      (CUmodule * module, const void *image, unsigned n, int *options, void **values))                                 \
    X(module_unload, "cuModuleUnload", (CUmodule module))                                                              \
    X(module_function, "cuModuleGetFunction", (CUfunction * function, CUmodule module, const char *name))              \
    X(module_global, "cuModuleGetGlobal_v2",                                                                           \
      (CUdeviceptr * address, size_t * bytes, CUmodule module, const char *name))                                      \
    X(memory_alloc, "cuMemAlloc_v2", (CUdeviceptr * address, size_t bytes))                                            \
    X(memory_free, "cuMemFree_v2", (CUdeviceptr address))                                                              \
    X(memory_info, "cuMemGetInfo_v2", (size_t * free_bytes, size_t * total))                                           \
    X(host_alloc, "cuMemHostAlloc", (void **memory, size_t bytes, unsigned flags))                                     \
    X(host_free, "cuMemFreeHost", (void *memory))                                                                      \
    X(pointer_attributes, "cuPointerGetAttributes", (unsigned n, int *attributes, void **values, CUdeviceptr address)) \
    X(fill, "cuMemsetD8Async", (CUdeviceptr address, unsigned char value, size_t bytes, CUstream stream))              \
    X(copy_in, "cuMemcpyHtoDAsync_v2", (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))              \
    X(copy_out, "cuMemcpyDtoHAsync_v2", (void *to, CUdeviceptr from, size_t bytes, CUstream stream))                   \
    X(copy, "cuMemcpyDtoDAsync_v2", (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))                 \
    X(stream_create, "cuStreamCreate", (CUstream * stream, unsigned flags))                                            \
    X(stream_destroy, "cuStreamDestroy_v2", (CUstream stream))                                                         \
    X(stream_wait, "cuStreamSynchronize", (CUstream stream))                                                           \
    X(stream_wait_event, "cuStreamWaitEvent", (CUstream stream, CUevent event, unsigned flags))                        \
    X(stream_context, "cuStreamGetCtx", (CUstream stream, CUcontext * context))                                        \
    X(event_create, "cuEventCreate", (CUevent * event, unsigned flags))                                                \
    X(event_destroy, "cuEventDestroy_v2", (CUevent event))                                                             \
    X(event_record, "cuEventRecord", (CUevent event, CUstream stream))                                                 \
    X(event_query, "cuEventQuery", (CUevent event))                                                                    \
    X(event_wait, "cuEventSynchronize", (CUevent event))                                                               \
    X(event_elapsed, "cuEventElapsedTime", (float *milliseconds, CUevent start, CUevent end))                          \
    X(launch, "cuLaunchKernel",                                                                                        \
      (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,     \
       unsigned block_z, unsigned shared_bytes, CUstream stream, void **parameters, void **extra))

typedef struct qdq_cuda_driver {
#define X(name, symbol, parameters) CUresult(*name) parameters;
    QDQ_CUDA_CALLS(X)
#undef X
    int version; /* 12040: CUDA 12.4 */
    int devices;
} qdq_cuda_driver;

/* The driver, opened and initialised; NULL where there is none, and *why says what is missing. Thread-safe. */
const qdq_cuda_driver *qdq_cuda_get_driver(const char **why);

/* The status for a failed call, with a message: "what: CUDA_ERROR_…, what the driver calls it". */
qdq_status qdq_cuda_fail(const qdq_cuda_driver *cuda, CUresult error, const char *what);

/* CU_MEMORYTYPE_HOST (pinned), CU_MEMORYTYPE_DEVICE, or 0: memory that the driver does not know. */
unsigned qdq_cuda_pointer_type(const qdq_cuda_driver *cuda, CUdeviceptr address, int *ordinal);

#endif
