#include "backends/metal/objc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/platform.h"

/* These are in no folder since macOS 11, but in the loader's cache: they are opened, never looked for. Without Core
 * Graphics a program of the command line has no default device. */
static const char runtime_path[] = "/usr/lib/libobjc.A.dylib";
static const char metal_path[] = "/System/Library/Frameworks/Metal.framework/Metal";
static const char graphics_path[] = "/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics";

static qdq_once once = QDQ_ONCE_INIT;
static qdq_objc runtime;
static char missing[200]; /* "" when there is a device */

static bool find(qdq_library *library, const char *name, void *to) {
    void *address = qdq_library_symbol(library, name);
    if (!address) snprintf(missing, sizeof missing, "Metal is not as expected: there is no %s", name);
    memcpy(to, &address, sizeof address);
    return address != NULL;
}

/* All devices where the system lists them, else its default one. */
static void find_devices(qdq_library *metal) {
    objc_id (*all)(void) = NULL, (*one)(void) = NULL;
    void *address = qdq_library_symbol(metal, "MTLCopyAllDevices");
    memcpy(&all, &address, sizeof address);
    if (!find(metal, "MTLCreateSystemDefaultDevice", &one)) return;
    objc_id list = all ? all() : NULL;
    ns_uint n = qdq_objc_number(&runtime, list, runtime.selectors.count);
    objc_id first = n == 0 ? one() : NULL;
    if (first) n = 1;
    if (n > 0) runtime.devices = calloc(n, sizeof *runtime.devices);
    for (ns_uint i = 0; i < n && runtime.devices; i++) {
        objc_id device = first;
        if (!first)
            device = SEND(&runtime, objc_id, (objc_id, objc_sel, ns_uint))(list, runtime.selectors.object_at, i);
        if (!first) qdq_objc_ask(&runtime, device, runtime.selectors.retain);
        runtime.devices[runtime.n_devices++] = device;
    }
    qdq_objc_tell(&runtime, list, runtime.selectors.release);
    if (runtime.n_devices == 0) snprintf(missing, sizeof missing, "Metal finds no device");
}

/* Libraries stay open, as Metal's threads may run. A library that QDQ_METAL_LIBRARY names is all of them, for tests. */
static void open_runtime(void) {
    const char *given = getenv("QDQ_METAL_LIBRARY");
    qdq_library *objc = qdq_library_open(given ? given : runtime_path);
    qdq_library *metal = given ? objc : qdq_library_open(metal_path);
    if (!given) qdq_library_open(graphics_path);
    if (!objc || !metal) {
        snprintf(missing, sizeof missing, "no Metal: %.120s cannot be opened; it is part of macOS",
                 given  ? given
                 : objc ? metal_path
                        : runtime_path);
        return;
    }
    objc_sel (*selector)(const char *name) = NULL;
    if (!find(objc, "objc_msgSend", &runtime.send) || !find(objc, "objc_getClass", &runtime.class_named) ||
        !find(objc, "objc_autoreleasePoolPush", &runtime.push) ||
        !find(objc, "objc_autoreleasePoolPop", &runtime.pop) || !find(objc, "sel_registerName", &selector))
        return;
#define X(name, method) runtime.selectors.name = selector(method);
    QDQ_OBJC_SELECTORS(X)
#undef X
    void *pool = runtime.push();
    find_devices(metal);
    runtime.pop(pool);
}

const qdq_objc *qdq_objc_get(const char **why) {
    qdq_run_once(&once, open_runtime);
    if (why) *why = missing;
    return missing[0] ? NULL : &runtime;
}

objc_id qdq_objc_ask(const qdq_objc *objc, objc_id object, objc_sel method) {
    return SEND(objc, objc_id, (objc_id, objc_sel))(object, method);
}

ns_uint qdq_objc_number(const qdq_objc *objc, objc_id object, objc_sel method) {
    return SEND(objc, ns_uint, (objc_id, objc_sel))(object, method);
}

void qdq_objc_tell(const qdq_objc *objc, objc_id object, objc_sel method) {
    SEND(objc, void, (objc_id, objc_sel))(object, method);
}

bool qdq_objc_responds(const qdq_objc *objc, objc_id object, objc_sel method) {
    return SEND(objc, objc_bool, (objc_id, objc_sel, objc_sel))(object, objc->selectors.responds_to, method);
}

objc_id qdq_objc_string(const qdq_objc *objc, const char *text) {
    objc_id strings = objc->class_named("NSString");
    return SEND(objc, objc_id, (objc_id, objc_sel, const char *))(strings, objc->selectors.string_of, text);
}

const char *qdq_objc_text(const qdq_objc *objc, objc_id string) {
    const char *text = SEND(objc, const char *, (objc_id, objc_sel))(string, objc->selectors.utf8);
    return text ? text : "?";
}

const char *qdq_objc_error_text(const qdq_objc *objc, objc_id error) {
    return qdq_objc_text(objc, qdq_objc_ask(objc, error, objc->selectors.localized_description));
}
