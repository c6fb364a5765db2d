/* A pool of threads for loops whose turns are independent. */
#ifndef QDQ_BASE_POOL_H
#define QDQ_BASE_POOL_H

#include "qdq.h"

typedef struct qdq_pool qdq_pool;

/* threads: how many run a loop, the caller included; 0 for one a core that this process may use. */
qdq_status qdq_pool_create(int threads, qdq_pool **pool);
void qdq_pool_free(qdq_pool *pool);
int qdq_pool_threads(const qdq_pool *pool);

/* Runs turn(context, i) for i = 0 … count - 1, each once, in any order, and returns when all are done. Every thread
 * computes with round to nearest even and subnormals kept, whatever the caller has set. Loops of several callers run
 * one after another. In a child of fork the pool is as new, loops that ran at the time forgotten. */
void qdq_pool_run(qdq_pool *pool, uint64_t count, void (*turn)(void *context, uint64_t i), void *context);

#endif
