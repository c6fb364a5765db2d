/* What macOS has beyond POSIX, and what it calls things. */
#define _DARWIN_C_SOURCE
#include "base/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysctl.h>
#include <unistd.h>

#include "base/platform_files.h"

/* ---- Processors -------------------------------------------------------------------------------------------------- */

/* A number that the kernel has under that name; 0: none. */
static uint64_t number_of(const char *name) {
    union {
        uint64_t wide;
        uint32_t narrow;
    } value = {0};
    size_t size = sizeof value;
    if (sysctlbyname(name, &value, &size, NULL, 0) != 0) return 0;
    return size == sizeof value.narrow ? value.narrow : value.wide;
}

/* Those of full speed, physical ones: a thread on a slow core, or on half of a fast one, makes all others wait. */
int qdq_usable_cores(void) {
    uint64_t n = number_of("hw.perflevel0.physicalcpu");
    if (n == 0) n = number_of("hw.physicalcpu");
    return n > 0 && n < 4096 ? (int)n : qdq_online_cores();
}

void qdq_run_near(const char *pci_device, int least, void (*run)(void *), void *context) {
    (void)pci_device;
    (void)least;
    run(context);
}

uint64_t qdq_last_cache(void) {
    static const char *const names[] = {"hw.l3cachesize", "hw.perflevel0.l2cachesize", "hw.l2cachesize"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        uint64_t bytes = number_of(names[i]);
        if (bytes > 0) return bytes;
    }
    return 0;
}

void qdq_processor_name(char *name, size_t size) {
    size_t length = size;
    if (sysctlbyname("machdep.cpu.brand_string", name, &length, NULL, 0) != 0 || length == 0)
        snprintf(name, size, "CPU");
}

/* ---- Libraries --------------------------------------------------------------------------------------------------- */

/* The loader; Homebrew's, which no search path has; and the driver that is nearly always behind it. */
const char *const qdq_vulkan_loaders[] = {
    "libvulkan.1.dylib", "/opt/homebrew/lib/libvulkan.1.dylib", "/usr/local/lib/libvulkan.1.dylib",
    "libMoltenVK.dylib", "/opt/homebrew/lib/libMoltenVK.dylib", NULL};
const char *const qdq_cuda_drivers[] = {NULL};
const char qdq_ggml_name[] = "libggml-base.dylib";

/* ---- Files ------------------------------------------------------------------------------------------------------ */

/* There is no file without a name. */
qdq_file qdq_file_create_unnamed(const char *directory, unsigned mode) {
    (void)directory;
    (void)mode;
    errno = ENOTSUP;
    return QDQ_NO_FILE;
}

bool qdq_file_name(qdq_file file, const char *path) {
    (void)file;
    (void)path;
    errno = ENOTSUP;
    return false;
}

bool qdq_file_reserve(qdq_file file, uint64_t bytes) {
    fstore_t room = {.fst_flags = F_ALLOCATEALL, .fst_posmode = F_PEOFPOSMODE, .fst_length = (off_t)bytes};
    if (bytes > 0 && fcntl((int)file, F_PREALLOCATE, &room) != 0 && errno == ENOSPC) return false;
    return qdq_file_set_length(file, bytes);
}

bool qdq_file_reserve_range(qdq_file file, uint64_t offset, uint64_t bytes) {
    (void)file;
    (void)offset;
    (void)bytes;
    return true; /* F_PREALLOCATE knows the end of a file alone */
}

/* fsync() alone leaves the data in the drive's own cache. Some file systems know no more than that. */
bool qdq_file_sync(qdq_file file) { return fcntl((int)file, F_FULLFSYNC) == 0 || fsync((int)file) == 0; }
