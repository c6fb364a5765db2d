/* Threads, memory, the clock, libraries and children of POSIX. */
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
#include "base/platform.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- Threads ---------------------------------------------------------------------------------------------------- */

void qdq_mutex_init(qdq_mutex *mutex) { pthread_mutex_init(mutex, NULL); }
void qdq_mutex_destroy(qdq_mutex *mutex) { pthread_mutex_destroy(mutex); }
void qdq_mutex_lock(qdq_mutex *mutex) { pthread_mutex_lock(mutex); }
bool qdq_mutex_trylock(qdq_mutex *mutex) { return pthread_mutex_trylock(mutex) == 0; }
void qdq_mutex_unlock(qdq_mutex *mutex) { pthread_mutex_unlock(mutex); }

void qdq_condition_init(qdq_condition *condition) { pthread_cond_init(condition, NULL); }
void qdq_condition_destroy(qdq_condition *condition) { pthread_cond_destroy(condition); }
void qdq_condition_wait(qdq_condition *condition, qdq_mutex *mutex) { pthread_cond_wait(condition, mutex); }
void qdq_condition_signal(qdq_condition *condition) { pthread_cond_signal(condition); }
void qdq_condition_broadcast(qdq_condition *condition) { pthread_cond_broadcast(condition); }

void qdq_run_once(qdq_once *once, void (*make)(void)) { pthread_once(once, make); }

bool qdq_thread_start(qdq_thread *thread, void *(*run)(void *), void *context) {
    return pthread_create(thread, NULL, run, context) == 0;
}

bool qdq_thread_start_quiet(qdq_thread *thread, void *(*run)(void *), void *context) {
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    bool started = qdq_thread_start(thread, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

void qdq_thread_join(qdq_thread thread) { pthread_join(thread, NULL); }

void qdq_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void)) {
    pthread_atfork(before, in_parent, in_child);
}

/* ---- Processors, memory, the clock ------------------------------------------------------------------------------- */

int qdq_online_cores(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

uint64_t qdq_machine_memory(void) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

void *qdq_aligned_alloc(size_t alignment, size_t bytes) {
    void *memory = NULL;
    return posix_memalign(&memory, alignment, bytes) == 0 ? memory : NULL;
}

void qdq_aligned_free(void *memory) { free(memory); }

double qdq_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void qdq_sleep(double seconds) {
    struct timespec span = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&span, NULL);
}

/* ---- Libraries -----------------------------------------------------------------------------------------------------
 */

qdq_library *qdq_library_open(const char *name) { return dlopen(name, RTLD_NOW | RTLD_LOCAL); }
void *qdq_library_symbol(qdq_library *library, const char *name) { return dlsym(library, name); }
void qdq_library_close(qdq_library *library) { dlclose(library); }

const char *qdq_library_error(void) {
    const char *error = dlerror();
    return error != NULL ? error : "it cannot be opened";
}

void qdq_set_environment(const char *name, const char *value) { setenv(name, value, 1); }

/* ---- Apart ------------------------------------------------------------------------------------------------------- */

const bool qdq_runs_apart = true;

static void be_silent(void) {
    int nowhere = open("/dev/null", O_WRONLY);
    if (nowhere < 0) return;
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
}

qdq_end qdq_run_apart(void (*run)(void *), void *context, int *number) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        be_silent();
        run(context);
        _exit(0);
    }
    if (child < 0) return QDQ_END_FAILED;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return QDQ_END_FAILED;
    *number = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    if (WIFSIGNALED(status)) return *number == SIGABRT ? QDQ_END_ABORT : QDQ_END_SIGNAL;
    return *number == 0 ? QDQ_END_WELL : QDQ_END_EXIT;
}

void *qdq_shared_alloc(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

void qdq_shared_free(void *memory, size_t bytes) { munmap(memory, bytes); }
