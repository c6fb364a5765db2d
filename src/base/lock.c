#include "base/lock.h"

#include <pthread.h>

static pthread_mutex_t locks[QDQ_LOCKS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void take_all(void) {
    for (int i = 0; i < QDQ_LOCKS; i++) pthread_mutex_lock(&locks[i]);
}

static void give_all(void) {
    for (int i = QDQ_LOCKS; i-- > 0;) pthread_mutex_unlock(&locks[i]);
}

static void make_all(void) {
    for (int i = 0; i < QDQ_LOCKS; i++) pthread_mutex_init(&locks[i], NULL);
}

static void start(void) {
    make_all();
    pthread_atfork(take_all, give_all, make_all);
}

void qdq_lock(qdq_lock_name name) {
    pthread_once(&once, start);
    pthread_mutex_lock(&locks[name]);
}

void qdq_unlock(qdq_lock_name name) { pthread_mutex_unlock(&locks[name]); }
