/* What Linux has beyond POSIX, and what it calls things. Other systems with POSIX do without the former. */
#define _GNU_SOURCE
#include "base/platform.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/platform_files.h"

/* ---- Processors -------------------------------------------------------------------------------------------------- */

int qdq_usable_cores(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    return qdq_online_cores();
}

#ifdef __linux__
/* The processors of a list, "0-15,64-79"; false: none. */
static bool read_processors(const char *path, cpu_set_t *set) {
    unsigned first, last;
    char after = ',';
    FILE *file = fopen(path, "r");
    if (!file) return false;
    CPU_ZERO(set);
    while (after == ',' && fscanf(file, "%u", &first) == 1) {
        last = first;
        if (fscanf(file, "-%u", &last) == EOF) after = 0;
        for (unsigned i = first; i <= last && i < CPU_SETSIZE; i++) CPU_SET(i, set);
        if (fscanf(file, "%c", &after) != 1) after = 0;
    }
    fclose(file);
    return CPU_COUNT(set) > 0;
}
#endif

void qdq_run_near(const char *pci_device, int least, void (*run)(void *), void *context) {
#ifdef __linux__
    char path[128];
    cpu_set_t ours, near;
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%.32s/local_cpulist", pci_device);
    for (char *c = path; *c; c++) *c = (char)tolower((unsigned char)*c);
    bool moves = sched_getaffinity(0, sizeof ours, &ours) == 0 && read_processors(path, &near);
    if (moves) CPU_AND(&near, &near, &ours);
    moves = moves && CPU_COUNT(&near) >= least && sched_setaffinity(0, sizeof near, &near) == 0;
    run(context);
    if (moves) sched_setaffinity(0, sizeof ours, &ours);
#else
    (void)pci_device;
    (void)least;
    run(context);
#endif
}

uint64_t qdq_last_cache(void) {
    long last = -1;
#ifdef _SC_LEVEL3_CACHE_SIZE
    last = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
    return last > 0 ? (uint64_t)last : 0;
}

void qdq_processor_name(char *name, size_t size) {
    snprintf(name, size, "CPU");
#ifdef __linux__
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file) return;
    char line[256];
    while (fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !value) continue;
        value += strspn(value, ": \t");
        value[strcspn(value, "\n")] = '\0';
        snprintf(name, size, "%s", value);
        break;
    }
    fclose(file);
#endif
}

/* ---- Libraries --------------------------------------------------------------------------------------------------- */

const char *const qdq_vulkan_loaders[] = {"libvulkan.so.1", NULL};
const char *const qdq_cuda_drivers[] = {"libcuda.so.1", NULL};
const char qdq_ggml_name[] = "libggml-base.so";

/* ---- Files ------------------------------------------------------------------------------------------------------ */

#ifdef O_TMPFILE
/* "/proc/self/fd/N", by which linkat() names a file that has no name. */
static void proc_name(qdq_file file, char name[32]) { snprintf(name, 32, "/proc/self/fd/%d", (int)file); }

qdq_file qdq_file_create_unnamed(const char *directory, unsigned mode) {
    char name[32];
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, (mode_t)mode);
    if (fd < 0) return QDQ_NO_FILE;
    proc_name(fd, name);
    if (access(name, F_OK) == 0) return fd;
    close(fd); /* no /proc: it could never be named */
    return QDQ_NO_FILE;
}

bool qdq_file_name(qdq_file file, const char *path) {
    char unnamed[32];
    proc_name(file, unnamed);
    return linkat(AT_FDCWD, unnamed, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0;
}
#else
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
#endif

bool qdq_file_reserve(qdq_file file, uint64_t bytes) {
#ifdef __linux__
    if (bytes > 0 && fallocate((int)file, 0, 0, (off_t)bytes) == 0) return true;
    if (bytes > 0 && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINTR) return false;
#endif
    return qdq_file_set_length(file, bytes);
}

bool qdq_file_reserve_range(qdq_file file, uint64_t offset, uint64_t bytes) {
#ifdef __linux__
    if (bytes > 0 && fallocate((int)file, 0, (off_t)offset, (off_t)bytes) != 0)
        return errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR;
#else
    (void)file;
    (void)offset;
    (void)bytes;
#endif
    return true;
}

bool qdq_file_sync(qdq_file file) { return fsync((int)file) == 0; }
