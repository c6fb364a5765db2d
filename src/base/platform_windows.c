/* Threads, processors, memory, the clock and libraries of Windows. */
#include "base/platform.h"

#include <errno.h>
#include <malloc.h>
#include <process.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/platform_files.h"
#include "base/platform_windows.h"

/* ---- Threads ---------------------------------------------------------------------------------------------------- */

_Static_assert(sizeof(qdq_mutex) == sizeof(SRWLOCK) && sizeof(qdq_condition) == sizeof(CONDITION_VARIABLE) &&
                   sizeof(qdq_once) == sizeof(INIT_ONCE),
               "platform.h: the words of locks");

void qdq_mutex_init(qdq_mutex *mutex) { InitializeSRWLock((PSRWLOCK)mutex); }
void qdq_mutex_destroy(qdq_mutex *mutex) { (void)mutex; }
void qdq_mutex_lock(qdq_mutex *mutex) { AcquireSRWLockExclusive((PSRWLOCK)mutex); }
bool qdq_mutex_trylock(qdq_mutex *mutex) { return TryAcquireSRWLockExclusive((PSRWLOCK)mutex); }
void qdq_mutex_unlock(qdq_mutex *mutex) { ReleaseSRWLockExclusive((PSRWLOCK)mutex); }

void qdq_condition_init(qdq_condition *condition) { InitializeConditionVariable((PCONDITION_VARIABLE)condition); }
void qdq_condition_destroy(qdq_condition *condition) { (void)condition; }
void qdq_condition_wait(qdq_condition *condition, qdq_mutex *mutex) {
    SleepConditionVariableSRW((PCONDITION_VARIABLE)condition, (PSRWLOCK)mutex, INFINITE, 0);
}
void qdq_condition_signal(qdq_condition *condition) { WakeConditionVariable((PCONDITION_VARIABLE)condition); }
void qdq_condition_broadcast(qdq_condition *condition) { WakeAllConditionVariable((PCONDITION_VARIABLE)condition); }

typedef struct making {
    void (*make)(void);
} making;

static BOOL CALLBACK make_once(PINIT_ONCE once, void *context, void **result) {
    (void)once;
    (void)result;
    ((making *)context)->make();
    return TRUE;
}

void qdq_run_once(qdq_once *once, void (*make)(void)) {
    making context = {make};
    InitOnceExecuteOnce((PINIT_ONCE)once, make_once, &context, NULL);
}

typedef struct beginning {
    void *(*run)(void *);
    void *context;
} beginning;

static unsigned __stdcall begin(void *context) {
    beginning b = *(beginning *)context;
    free(context);
    b.run(b.context);
    return 0;
}

bool qdq_thread_start(qdq_thread *thread, void *(*run)(void *), void *context) {
    enum { STACK = 8 << 20 }; /* as on the other systems: the usual megabyte is less than kernels may want */
    beginning *b = malloc(sizeof *b);
    if (!b) return false;
    *b = (beginning){run, context};
    *thread = (qdq_thread)_beginthreadex(NULL, STACK, begin, b, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (!*thread) free(b);
    return *thread != NULL;
}

/* There are no signals to be kept away. */
bool qdq_thread_start_quiet(qdq_thread *thread, void *(*run)(void *), void *context) {
    return qdq_thread_start(thread, run, context);
}

void qdq_thread_join(qdq_thread thread) {
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}

void qdq_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void)) {
    (void)before;
    (void)in_parent;
    (void)in_child;
}

/* ---- Processors, memory, the clock ------------------------------------------------------------------------------- */

int qdq_online_cores(void) {
    DWORD n = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
    return n > 0 ? (int)n : 1;
}

/* An affinity is of one group of at most 64; a process without one may use all groups. */
int qdq_usable_cores(void) {
    DWORD_PTR own, all;
    if (GetProcessAffinityMask(GetCurrentProcess(), &own, &all) && own != 0 && own != all)
        return __builtin_popcountll(own);
    return qdq_online_cores();
}

void qdq_run_near(const char *pci_device, int least, void (*run)(void *), void *context) {
    (void)pci_device;
    (void)least;
    run(context);
}

uint64_t qdq_last_cache(void) {
    DWORD bytes = 0;
    GetLogicalProcessorInformationEx(RelationCache, NULL, &bytes);
    char *list = malloc(bytes);
    uint64_t largest = 0;
    if (list && GetLogicalProcessorInformationEx(RelationCache, (void *)list, &bytes))
        for (DWORD at = 0; at < bytes;) {
            const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX *entry = (const void *)(list + at);
            if (entry->Cache.CacheSize > largest) largest = entry->Cache.CacheSize;
            at += entry->Size;
        }
    free(list);
    return largest;
}

uint64_t qdq_machine_memory(void) {
    MEMORYSTATUSEX status = {.dwLength = sizeof status};
    return GlobalMemoryStatusEx(&status) ? status.ullTotalPhys : 0;
}

void qdq_processor_name(char *name, size_t size) {
    DWORD bytes = (DWORD)size;
    if (RegGetValueA(HKEY_LOCAL_MACHINE, "HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0", "ProcessorNameString",
                     RRF_RT_REG_SZ, NULL, name, &bytes) != ERROR_SUCCESS ||
        name[0] == '\0')
        snprintf(name, size, "CPU");
}

void *qdq_aligned_alloc(size_t alignment, size_t bytes) { return _aligned_malloc(bytes, alignment); }
void qdq_aligned_free(void *memory) { _aligned_free(memory); }

double qdq_seconds(void) {
    LARGE_INTEGER ticks, rate;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&rate);
    return (double)ticks.QuadPart / (double)rate.QuadPart;
}

void qdq_sleep(double seconds) { Sleep((DWORD)(seconds * 1000 + 0.5)); }

/* ---- Libraries -----------------------------------------------------------------------------------------------------
 */

const char *const qdq_vulkan_loaders[] = {"vulkan-1.dll", NULL};
const char *const qdq_cuda_drivers[] = {"nvcuda.dll", NULL};
const char qdq_ggml_name[] = "ggml-base.dll";

static _Thread_local char library_error[512];

/* A name alone is looked for in the program's and the system's folders, never in the current one. What lies beside a
 * library that is named by its path is found for it. */
qdq_library *qdq_library_open(const char *name) {
    bool alone = qdq_path_directory(name) == 0;
    wchar_t short_name[64], *path = alone ? NULL : qdq_windows_path(name);
    size_t length = strlen(name);
    if (alone && length < sizeof short_name / sizeof *short_name)
        for (size_t i = 0; i <= length; i++) short_name[i] = (unsigned char)name[i];
    else if (!path)
        return NULL;
    HMODULE library = LoadLibraryExW(alone ? short_name : path, NULL,
                                     LOAD_LIBRARY_SEARCH_DEFAULT_DIRS | (alone ? 0 : LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR));
    if (!library) {
        qdq_windows_failed();
        snprintf(library_error, sizeof library_error, "%.400s: cannot be opened: %s", name, strerror(errno));
    }
    free(path);
    return (qdq_library *)(void *)library;
}

void *qdq_library_symbol(qdq_library *library, const char *name) {
    FARPROC function = GetProcAddress((HMODULE)(void *)library, name);
    void *symbol;
    memcpy(&symbol, &function, sizeof symbol);
    return symbol;
}

void qdq_library_close(qdq_library *library) { FreeLibrary((HMODULE)(void *)library); }

const char *qdq_library_error(void) { return library_error; }

void qdq_set_environment(const char *name, const char *value) { _putenv_s(name, value); }

/* ---- Apart ------------------------------------------------------------------------------------------------------- */

const bool qdq_runs_apart = false;

qdq_end qdq_run_apart(void (*run)(void *), void *context, int *number) {
    *number = 0;
    run(context);
    return QDQ_END_WELL;
}

void *qdq_shared_alloc(size_t bytes) { return VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE); }

void qdq_shared_free(void *memory, size_t bytes) {
    (void)bytes;
    VirtualFree(memory, 0, MEM_RELEASE);
}
