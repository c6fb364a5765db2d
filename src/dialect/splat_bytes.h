/* A packed block as lanes that run side by side see it who all read the same one: what a format reads of it is the same
 * in every lane. Codes are not packed here. Include after simd.h or scalar.h. */
#ifndef QDQ_DIALECT_SPLAT_BYTES_H
#define QDQ_DIALECT_SPLAT_BYTES_H

#define BYTES_IN(b) const uint8_t *restrict b
#define GET8(b, k)  splat_u((b)[k])
#define GET16(b, k) splat_u((b)[k] | (uint32_t)(b)[(k) + 1] << 8)
#define GET32(b, k) (GET16(b, k) | GET16(b, (k) + 2) << 16)

#define PACK_ARGS(c, h, b) const uint8_t *restrict c, const uint32_t *restrict h, uint8_t *restrict b
#define CODE(c, i)         splat_u((c)[i])
#define HEAD(h, k, j)      splat_u((h)[(k)*32 + (j)])
#define PUT8(b, k, v)      ((void)(b), (void)(v))
#define PUT16(b, k, v)     PUT8(b, k, v)
#define PUT32(b, k, v)     PUT8(b, k, v)
#define PARALLEL(i, n)     for (int i = 0; i < (n); i++)
#define ONCE

#endif
