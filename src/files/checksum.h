/* A checksum of 64 bits over bytes that come in pieces: against disks, copies and kills, not against people. */
#ifndef QDQ_FILES_CHECKSUM_H
#define QDQ_FILES_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

enum { QDQ_CHECKSUM_BLOCK = 32 };

typedef struct qdq_checksum {
    uint64_t lanes[QDQ_CHECKSUM_BLOCK / 8];
    uint64_t bytes; /* so far */
    unsigned char rest[QDQ_CHECKSUM_BLOCK];
} qdq_checksum;

void qdq_checksum_begin(qdq_checksum *sum);
void qdq_checksum_add(qdq_checksum *sum, const void *bytes, size_t n);
/* A text with its NUL, so that two texts are told from one. */
void qdq_checksum_text(qdq_checksum *sum, const char *text);
void qdq_checksum_number(qdq_checksum *sum, uint64_t number);
uint64_t qdq_checksum_value(const qdq_checksum *sum); /* more may be added after it */

#endif
