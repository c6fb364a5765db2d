/* Packed blocks in the scalar dialect: a block is a byte array, its codes are bytes, its heads are words, HEADS of one
 * lane together. Include after scalar.h. */
#ifndef QDQ_DIALECT_BYTES_H
#define QDQ_DIALECT_BYTES_H

#define BYTES_IN(b) const uint8_t *restrict b
#define GET8(b, k)  ((UINT)(b)[k])
#define GET16(b, k) (GET8(b, k) | GET8(b, (k) + 1) << 8)
#define GET32(b, k) (GET16(b, k) | GET16(b, (k) + 2) << 16)

#define PACK_ARGS(c, h, b) const uint8_t *restrict c, const uint32_t *restrict h, uint8_t *restrict b
#define CODE(c, i)         ((UINT)(c)[i])
#define HEAD(h, k, j)      ((h)[(k)*32 + (j)])
#define PUT8(b, k, v)      ((b)[k] = (uint8_t)(v))
#define PUT16(b, k, v)     (PUT8(b, k, v), PUT8(b, (k) + 1, (v) >> 8))
#define PUT32(b, k, v)     (PUT16(b, k, v), PUT16(b, (k) + 2, (v) >> 16))
#define PARALLEL(i, n)     for (int i = 0; i < (n); i++)
#define ONCE

#endif
