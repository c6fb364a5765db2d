/* The library's own locks, which every fork finds free: in the child they are free too, whatever threads the parent
 * had. */
#ifndef QDQ_BASE_LOCK_H
#define QDQ_BASE_LOCK_H

/* In the order in which a thread may take them. */
typedef enum qdq_lock_name {
    QDQ_LOCK_SHARED_DEVICE, /* the plain calls' */
    QDQ_LOCK_POOLS,         /* the list of all pools */
    QDQ_LOCK_CODEBOOKS,
    QDQ_LOCKS /* so many */
} qdq_lock_name;

void qdq_lock(qdq_lock_name name);
void qdq_unlock(qdq_lock_name name);

#endif
