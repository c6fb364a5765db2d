#include "base/lock.h"

#include "base/platform.h"

static qdq_mutex locks[QDQ_LOCKS];
static qdq_once once = QDQ_ONCE_INIT;

static void take_all(void) {
    for (int i = 0; i < QDQ_LOCKS; i++) qdq_mutex_lock(&locks[i]);
}

static void give_all(void) {
    for (int i = QDQ_LOCKS; i-- > 0;) qdq_mutex_unlock(&locks[i]);
}

static void make_all(void) {
    for (int i = 0; i < QDQ_LOCKS; i++) qdq_mutex_init(&locks[i]);
}

static void start(void) {
    make_all();
    qdq_at_fork(take_all, give_all, make_all);
}

void qdq_lock(qdq_lock_name name) {
    qdq_run_once(&once, start);
    qdq_mutex_lock(&locks[name]);
}

void qdq_unlock(qdq_lock_name name) { qdq_mutex_unlock(&locks[name]); }
