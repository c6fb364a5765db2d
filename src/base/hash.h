/* FNV-1a, 64 bits: tells apart what nobody forges. A change of a single byte always changes it. */
#ifndef QDQ_BASE_HASH_H
#define QDQ_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Of no bytes. */
#define QDQ_HASH_OF_NOTHING UINT64_C(0xcbf29ce484222325)

/* Of what `hash` is of, with n more bytes. */
static inline uint64_t qdq_hash(uint64_t hash, const void *bytes, size_t n) {
    for (const unsigned char *at = bytes; n-- > 0;) hash = (hash ^ *at++) * UINT64_C(0x100000001b3);
    return hash;
}

#endif
