/* UTF-8, as Unicode defines it: no overlong forms, no surrogates, nothing over U+10FFFF. */
#ifndef QDQ_BASE_UTF8_H
#define QDQ_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length of the sequence at p, of at most n bytes; 0 if it is none (overlong, surrogate, cut). */
size_t qdq_utf8_step(const uint8_t *p, uint64_t n);

#endif
