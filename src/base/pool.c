#include "base/pool.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/lock.h"
#include "base/platform.h"
#include "base/shared.h"

#ifdef __SSE2__
#include <xmmintrin.h>
/* MXCSR: all exceptions masked, round to nearest even, no flush to zero, no denormals are zero. */
typedef unsigned fp_state;
static fp_state fp_default(void) {
    fp_state old = _mm_getcsr();
    _mm_setcsr(0x1f80);
    return old;
}
static void fp_restore(fp_state old) { _mm_setcsr(old); }
#elif defined(__aarch64__)
typedef uint64_t fp_state;
static fp_state fp_default(void) {
    fp_state old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    __asm__ volatile("msr fpcr, %0" ::"r"((uint64_t)0));
    return old;
}
static void fp_restore(fp_state old) { __asm__ volatile("msr fpcr, %0" ::"r"(old)); }
#else
typedef int fp_state;
static fp_state fp_default(void) { return 0; }
static void fp_restore(fp_state old) { (void)old; }
#endif

struct qdq_pool {
    qdq_mutex caller; /* held by whose loop is running */
    qdq_mutex mutex;  /* guards what follows, but for next */
    qdq_condition start, done;
    uint64_t generation; /* counts loops */
    int running;         /* workers still in this loop */
    bool stop;
    void (*turn)(void *, uint64_t);
    void *context;
    uint64_t count;
    _Atomic uint64_t next;
    int threads;              /* that it was asked for, the caller included */
    int workers;              /* that there are */
    bool forked;              /* this process is a child of the one whose workers they were */
    qdq_pool *before, *after; /* in the list of all */
    qdq_thread thread[];
};

static qdq_pool *all_pools; /* QDQ_LOCK_POOLS guards it */
static qdq_once once = QDQ_ONCE_INIT;

static void run_turns(qdq_pool *pool) {
    fp_state old = fp_default();
    uint64_t i;
    while ((i = atomic_fetch_add(&pool->next, 1)) < pool->count) pool->turn(pool->context, i);
    fp_restore(old);
}

static void *work(void *argument) {
    qdq_pool *pool = argument;
    uint64_t seen = 0;
    qdq_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->stop && pool->generation == seen) qdq_condition_wait(&pool->start, &pool->mutex);
        if (pool->stop) break;
        seen = pool->generation;
        qdq_mutex_unlock(&pool->mutex);
        run_turns(pool);
        qdq_mutex_lock(&pool->mutex);
        if (--pool->running == 0) qdq_condition_signal(&pool->done);
    }
    qdq_mutex_unlock(&pool->mutex);
    return NULL;
}

static void make_locks(qdq_pool *pool) {
    qdq_mutex_init(&pool->caller);
    qdq_mutex_init(&pool->mutex);
    qdq_condition_init(&pool->start);
    qdq_condition_init(&pool->done);
}

/* In a child, right after the fork. No thread but this one is left, and whatever the others held is free: the pools
 * begin anew. Their workers are made when a loop wants them. */
static void begin_anew(void) {
    for (qdq_pool *pool = all_pools; pool; pool = pool->after) {
        make_locks(pool);
        pool->forked = pool->workers > 0 || pool->forked;
        pool->workers = pool->running = 0;
        pool->generation = 0;
    }
}

static void watch_forks(void) { qdq_at_fork(NULL, NULL, begin_anew); }

static void enlist(qdq_pool *pool) {
    qdq_lock(QDQ_LOCK_POOLS);
    pool->after = all_pools;
    if (all_pools) all_pools->before = pool;
    all_pools = pool;
    qdq_unlock(QDQ_LOCK_POOLS);
}

static void delist(qdq_pool *pool) {
    qdq_lock(QDQ_LOCK_POOLS);
    if (pool->after) pool->after->before = pool->before;
    *(pool->before ? &pool->before->after : &all_pools) = pool->after;
    qdq_unlock(QDQ_LOCK_POOLS);
}

/* False: the system has refused one. */
static bool make_workers(qdq_pool *pool) {
    for (; pool->workers < pool->threads - 1; pool->workers++)
        if (!qdq_thread_start_quiet(&pool->thread[pool->workers], work, pool)) return false;
    return true;
}

QDQ_SHARED qdq_status qdq_pool_create(int threads, qdq_pool **out) {
    if (threads < 0 || threads > 4096)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "%d threads: from 1 to 4096, or 0 for one a core", threads);
    if (threads == 0) threads = qdq_usable_cores();
    qdq_pool *pool = calloc(1, sizeof *pool + (size_t)threads * sizeof pool->thread[0]);
    if (!pool) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %d threads", threads);
    qdq_run_once(&once, watch_forks);
    make_locks(pool);
    pool->threads = threads;
    enlist(pool);
    if (!make_workers(pool)) {
        int refused = pool->workers + 2;
        qdq_pool_free(pool);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "the system refused thread %d of %d, out of memory or at a limit; try fewer",
                        refused, threads);
    }
    *out = pool;
    return QDQ_OK;
}

QDQ_SHARED void qdq_pool_free(qdq_pool *pool) {
    if (!pool) return;
    delist(pool);
    qdq_mutex_lock(&pool->mutex);
    pool->stop = true;
    qdq_condition_broadcast(&pool->start);
    qdq_mutex_unlock(&pool->mutex);
    for (int t = 0; t < pool->workers; t++) qdq_thread_join(pool->thread[t]);
    qdq_condition_destroy(&pool->done);
    qdq_condition_destroy(&pool->start);
    qdq_mutex_destroy(&pool->mutex);
    qdq_mutex_destroy(&pool->caller);
    free(pool);
}

QDQ_SHARED int qdq_pool_threads(const qdq_pool *pool) { return pool->threads; }

QDQ_SHARED void qdq_pool_run(qdq_pool *pool, uint64_t count, void (*turn)(void *, uint64_t), void *context) {
    qdq_mutex_lock(&pool->caller);
    if (pool->forked) make_workers(pool); /* if some are refused, the others do the work */
    pool->forked = false;
    pool->turn = turn;
    pool->context = context;
    pool->count = count;
    atomic_store(&pool->next, 0);
    bool alone = count <= 1 || pool->workers == 0;
    if (!alone) {
        qdq_mutex_lock(&pool->mutex);
        pool->running = pool->workers;
        pool->generation++;
        qdq_condition_broadcast(&pool->start);
        qdq_mutex_unlock(&pool->mutex);
    }
    run_turns(pool);
    if (!alone) {
        qdq_mutex_lock(&pool->mutex);
        while (pool->running > 0) qdq_condition_wait(&pool->done, &pool->mutex);
        qdq_mutex_unlock(&pool->mutex);
    }
    qdq_mutex_unlock(&pool->caller);
}
