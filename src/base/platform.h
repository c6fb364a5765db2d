/* What the operating system gives: threads, processors, memory, a clock, libraries opened by name. Files are in
 * platform_files.h, streams, signals and the terminal in platform_command.h. Nothing else in src/ asks the system.
 *
 *   platform_posix*.c    what POSIX has, with platform_linux.c or platform_macos.c for the rest
 *   platform_windows*.c  Windows
 *
 * What fails says so by its result and, where it says so, by errno, on every system. strings.h and getopt.h are no part
 * of this: every system that we build for has them. */
#ifndef QDQ_BASE_PLATFORM_H
#define QDQ_BASE_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Threads ---------------------------------------------------------------------------------------------------- */

#ifdef _WIN32
/* SRWLOCK, CONDITION_VARIABLE and INIT_ONCE, each a pointer that begins as NULL: windows.h stays out of headers, since
 * its names collide with the dialect's. */
typedef struct qdq_mutex {
    void *word;
} qdq_mutex;
typedef struct qdq_condition {
    void *word;
} qdq_condition;
typedef struct qdq_once {
    void *word;
} qdq_once;
typedef void *qdq_thread;
/* clang-format off */
#define QDQ_MUTEX_INIT {NULL}
#define QDQ_ONCE_INIT {NULL}
/* clang-format on */
#else
#include <pthread.h>
typedef pthread_mutex_t qdq_mutex;
typedef pthread_cond_t qdq_condition;
typedef pthread_once_t qdq_once;
typedef pthread_t qdq_thread;
#define QDQ_MUTEX_INIT PTHREAD_MUTEX_INITIALIZER
#define QDQ_ONCE_INIT  PTHREAD_ONCE_INIT
#endif

void qdq_mutex_init(qdq_mutex *mutex);
void qdq_mutex_destroy(qdq_mutex *mutex);
void qdq_mutex_lock(qdq_mutex *mutex);
bool qdq_mutex_trylock(qdq_mutex *mutex);
void qdq_mutex_unlock(qdq_mutex *mutex);

void qdq_condition_init(qdq_condition *condition);
void qdq_condition_destroy(qdq_condition *condition);
void qdq_condition_wait(qdq_condition *condition, qdq_mutex *mutex);
void qdq_condition_signal(qdq_condition *condition);
void qdq_condition_broadcast(qdq_condition *condition);

void qdq_run_once(qdq_once *once, void (*make)(void));

/* false: the system refuses another. */
bool qdq_thread_start(qdq_thread *thread, void *(*run)(void *), void *context);
/* Likewise; and signals that the process gets are for the program's own threads, while a fault is this one's. */
bool qdq_thread_start_quiet(qdq_thread *thread, void *(*run)(void *), void *context);
void qdq_thread_join(qdq_thread thread);

/* Calls around each fork, where there is such a thing; NULL for none. */
void qdq_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void));

/* ---- Processors, memory, the clock ------------------------------------------------------------------------------- */

int qdq_usable_cores(void);        /* that this process may use, at least 1 */
int qdq_online_cores(void);        /* that there are, at least 1 */
uint64_t qdq_last_cache(void);     /* bytes of the largest cache; 0: not known */
uint64_t qdq_machine_memory(void); /* bytes; 0: not known */
/* Runs it on this thread, which meanwhile, and with it threads and memory that are made then, stays on the processors
 * that are near a device on the PCI bus, "0000:c1:00.0". Where that is not known, or fewer than `least` of them are
 * ours, it just runs. */
void qdq_run_near(const char *pci_device, int least, void (*run)(void *context), void *context);
/* As people know it, or "CPU". */
void qdq_processor_name(char *name, size_t size);

/* NULL: no memory. alignment: a power of two, of at least sizeof(void *). */
void *qdq_aligned_alloc(size_t alignment, size_t bytes);
void qdq_aligned_free(void *memory);

/* Of a clock that never goes back. */
double qdq_seconds(void);
void qdq_sleep(double seconds); /* about so long */

/* ---- Libraries -----------------------------------------------------------------------------------------------------
 */

typedef struct qdq_library qdq_library;

/* NULL: qdq_library_error() says why. */
qdq_library *qdq_library_open(const char *name);
void *qdq_library_symbol(qdq_library *library, const char *name);
void qdq_library_close(qdq_library *library);
const char *qdq_library_error(void);

/* What the system calls them; lists end with NULL. */
extern const char *const qdq_vulkan_loaders[];
extern const char *const qdq_cuda_drivers[];
extern const char qdq_ggml_name[];

/* For this process and its children. */
void qdq_set_environment(const char *name, const char *value);

/* ---- Apart ------------------------------------------------------------------------------------------------------- */

typedef enum qdq_end {
    QDQ_END_WELL,
    QDQ_END_EXIT,   /* *number: its exit status */
    QDQ_END_SIGNAL, /* *number: the signal */
    QDQ_END_ABORT,  /* it has called abort() */
    QDQ_END_FAILED, /* it was not begun, or not waited for: errno */
} qdq_end;

/* Runs what may end its process in a child whose output goes nowhere. Only what lies in shared memory comes back. Where
 * there is no fork it runs here, and what ends it ends us. */
qdq_end qdq_run_apart(void (*run)(void *), void *context, int *number);
extern const bool qdq_runs_apart; /* in a child */
/* Memory that a child of qdq_run_apart shares, zeroed; NULL: none. */
void *qdq_shared_alloc(size_t bytes);
void qdq_shared_free(void *memory, size_t bytes);

#endif
