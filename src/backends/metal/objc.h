/* Metal, through the Objective-C runtime, opened when first asked for: neither Apple's headers nor its compiler are
 * needed. What it is asked is declared here, as far as it is used. Names and numbers: Apple, Metal and Objective-C
 * Runtime references.
 *
 * A message is a call of objc_msgSend by the method's own type. What "new…", "Copy…" and "Create…" give is ours to
 * release; all else belongs to the pool that the calling thread has open (qdq_objc_enter). */
#ifndef QDQ_BACKENDS_METAL_OBJC_H
#define QDQ_BACKENDS_METAL_OBJC_H

#include <stdbool.h>
#include <stdint.h>

#include "qdq.h"

typedef struct objc_object *objc_id;
typedef struct objc_selector *objc_sel;
typedef unsigned long ns_uint;
#if defined(__x86_64__) && defined(__APPLE__)
typedef signed char objc_bool;
#else
typedef bool objc_bool;
#endif
typedef struct mtl_size {
    ns_uint width, height, depth;
} mtl_size; /* by value: the compiler knows how */

enum { MTL_STORAGE_SHARED = 0, MTL_MATH_SAFE = 0, MTL_FUNCTIONS_PRECISE = 1 };
enum { MTL_STATUS_COMPLETED = 4, MTL_STATUS_ERROR = 5 }; /* of a command buffer; before that it is on its way */

/* X(name here, the method's name) */
#define QDQ_OBJC_SELECTORS(X)                                                                                          \
    X(blit_encoder, "blitCommandEncoder")                                                                              \
    X(buffer_of_length, "newBufferWithLength:options:")                                                                \
    X(buffer_of_pages, "newBufferWithBytesNoCopy:length:options:deallocator:")                                         \
    X(command_buffer, "commandBuffer")                                                                                 \
    X(commit, "commit")                                                                                                \
    X(compute_encoder, "computeCommandEncoder")                                                                        \
    X(contents, "contents")                                                                                            \
    X(copy_buffer, "copyFromBuffer:sourceOffset:toBuffer:destinationOffset:size:")                                     \
    X(count, "count")                                                                                                  \
    X(dispatch, "dispatchThreadgroups:threadsPerThreadgroup:")                                                         \
    X(end_encoding, "endEncoding")                                                                                     \
    X(error, "error")                                                                                                  \
    X(function_named, "newFunctionWithName:")                                                                          \
    X(gpu_end, "GPUEndTime")                                                                                           \
    X(gpu_start, "GPUStartTime")                                                                                       \
    X(has_unified_memory, "hasUnifiedMemory")                                                                          \
    X(library_of_source, "newLibraryWithSource:options:error:")                                                        \
    X(localized_description, "localizedDescription")                                                                   \
    X(max_buffer_length, "maxBufferLength")                                                                            \
    X(max_threads, "maxTotalThreadsPerThreadgroup")                                                                    \
    X(name, "name")                                                                                                    \
    X(new_object, "new")                                                                                               \
    X(new_queue, "newCommandQueue")                                                                                    \
    X(object_at, "objectAtIndex:")                                                                                     \
    X(pipeline_of, "newComputePipelineStateWithFunction:error:")                                                       \
    X(release, "release")                                                                                              \
    X(responds_to, "respondsToSelector:")                                                                              \
    X(retain, "retain")                                                                                                \
    X(set_buffer, "setBuffer:offset:atIndex:")                                                                         \
    X(set_bytes, "setBytes:length:atIndex:")                                                                           \
    X(set_fast_math, "setFastMathEnabled:")                                                                            \
    X(set_functions, "setMathFloatingPointFunctions:")                                                                 \
    X(set_math_mode, "setMathMode:")                                                                                   \
    X(set_pipeline, "setComputePipelineState:")                                                                        \
    X(set_threadgroup_memory, "setThreadgroupMemoryLength:atIndex:")                                                   \
    X(simdgroup_threads, "threadExecutionWidth")                                                                       \
    X(status, "status")                                                                                                \
    X(string_of, "stringWithUTF8String:")                                                                              \
    X(utf8, "UTF8String")                                                                                              \
    X(wait, "waitUntilCompleted")                                                                                      \
    X(working_set, "recommendedMaxWorkingSetSize")

typedef struct qdq_objc {
    void (*send)(void); /* objc_msgSend: never called by this type */
    objc_id (*class_named)(const char *name);
    void *(*push)(void);
    void (*pop)(void *pool);
#define X(name, method) objc_sel name;
    struct {
        QDQ_OBJC_SELECTORS(X)
    } selectors;
#undef X
    objc_id *devices; /* for as long as the process lives */
    uint32_t n_devices;
} qdq_objc;

/* SEND(objc, result, (parameters)) is objc_msgSend for a method of that type: objc_id and objc_sel, then its own. */
#define SEND(objc, result, parameters) ((result(*) parameters)(objc)->send)

/* Metal, opened; NULL where there is none, or no device, and *why says what is missing. Thread-safe. */
const qdq_objc *qdq_objc_get(const char **why);

/* Messages of the commonest types. To NULL they do nothing, and give 0. */
objc_id qdq_objc_ask(const qdq_objc *objc, objc_id object, objc_sel method);    /* an object */
ns_uint qdq_objc_number(const qdq_objc *objc, objc_id object, objc_sel method); /* a number */
void qdq_objc_tell(const qdq_objc *objc, objc_id object, objc_sel method);      /* nothing */
bool qdq_objc_responds(const qdq_objc *objc, objc_id object, objc_sel method);  /* has it such a method? */
objc_id qdq_objc_string(const qdq_objc *objc, const char *text);                /* NULL without memory */
const char *qdq_objc_text(const qdq_objc *objc, objc_id string);                /* "?" of NULL; the pool's */
const char *qdq_objc_error_text(const qdq_objc *objc, objc_id error);           /* likewise, of an NSError */

#endif
