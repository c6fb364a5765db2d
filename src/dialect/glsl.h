/* The dialect for GLSL 4.50 (Vulkan): a lane is an invocation.
 *
 * Vulkan promises correctly rounded `+ - *` and little else; exact.h makes the rest of it. Every arithmetic instruction
 * is decorated NoContraction after the compiler (spirv_embed.c), which also keeps a driver from simplifying it; and the
 * modules ask for subnormals and for signed zeros, infinities and NaNs to be kept, where the device has those modes. A
 * device that has the modes neither by request nor by nature fails its proof (quick_proof.c).
 *
 * What a block's lanes share lies in shared memory, which the driver declares after it has seen the format; the
 * format reaches it through the five functions declared here, by index. */
#ifndef QDQ_DIALECT_GLSL_H
#define QDQ_DIALECT_GLSL_H

#extension GL_EXT_control_flow_attributes : require

#include "glsl_constants.h"

#define FN
#define LARGE
#define ROLLED [[dont_unroll]]
#define UNROLL [[unroll]]

#define REAL float
#define INT  int
#define UINT uint
#define MASK bool

#define STRUCT(name)         struct name
#define BLOCK_IN(x)          in float x[32]
#define BLOCK_OUT(x)         out float x[32]
#define CODES_IN(c)          in int c[32]
#define CODES_OUT(c)         out int c[32]
#define CODES_INOUT(c)       inout int c[32]
#define ARRAY_IN(type, x, n) in type x[n]
#define OUT(type, x)         out type x

/* Names that GLSL keeps for itself. */
#define half   half_
#define input  input_
#define output output_
#define sample sample_
#define filter filter_
#define active active_
#define common common_

#define splat(f)   float(f)
#define splat_i(i) int(i)
#define splat_u(u) uint(u)
#define INT_OF(u)  int(u)
#define UINT_OF(i) uint(i)
#define as_uint(x) floatBitsToUint(x)
#define as_real(u) uintBitsToFloat(u)

#define gt_i(a, b)        (int(a) > int(b))
#define lt_i(a, b)        (int(a) < int(b))
#define eq_i(a, b)        (int(a) == int(b))
#define and_m(a, b)       both(a, b)
#define or_m(a, b)        either(a, b)
#define not_m(a)          (!(a))
#define any(m)            (m)
#define select_r(m, a, b) ((m) ? (a) : (b))
#define select_i(m, a, b) ((m) ? (a) : (b))
#define select_u(m, a, b) ((m) ? (a) : (b))

FN MASK both(MASK a, MASK b) { return a && b; } /* no branches */
FN MASK either(MASK a, MASK b) { return a || b; }
FN INT max_i(INT a, INT b) { return max(a, b); }
FN INT min_i(INT a, INT b) { return min(a, b); }
FN UINT max_u(UINT a, UINT b) { return max(a, b); }
FN MASK lt_loose(REAL a, REAL b) { return a < b; }
FN REAL max_loose(REAL a, REAL b) { return max(a, b); }
FN REAL min_loose(REAL a, REAL b) { return min(a, b); }

/* What the host has found out about the device (vulkan_proof.c). */
layout(constant_id = QDQ_VK_ID_KEEPS_SUBNORMALS) const bool KEEPS_SUBNORMALS = false;
layout(constant_id = QDQ_VK_ID_FUSES) const bool FUSES = false;
#define highest_bit(u) findMSB(u)
#define SELDOM         [[dont_flatten]]
#include "exact.h"

FN REAL max_r(REAL a, REAL b) { return gt(a, b) ? a : b; }
FN REAL min_r(REAL a, REAL b) { return lt(a, b) ? a : b; }
FN REAL abs_(REAL x) { return as_real(as_uint(x) & 0x7fffffffu); }
FN INT to_int(REAL x) { return int(x); }
FN REAL to_real(INT i) { return float(i); }
FN REAL trunc_r(REAL x) { return trunc(x); }
FN REAL nearest(REAL x) { return (x + 12582912.0f) - 12582912.0f; }
FN REAL positive_zero(REAL x) { return as_real((as_uint(x) << 1) == 0u ? 0u : as_uint(x)); }

/* Loops over elements put off what is rare and long: kernels run them for tame parameters first, and again without that
 * where one asked for it. */
bool in_doubt;
FN bool at_once(bool rare, bool tame) {
    bool later = both(rare, tame);
    in_doubt = either(in_doubt, later);
    return tame ? false : rare;
}

#define TABLE4(name, a, b, c, d)             const float name[4] = {a, b, c, d};
#define TABLE8(name, a, b, c, d, e, f, g, h) const float name[8] = {a, b, c, d, e, f, g, h};
#define TABLE16(name, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                                                  \
    const float name[16] = {a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
/* Lanes look up different places: choosing is quicker than a divergent load. */
FN REAL lookup_4(REAL a, REAL b, REAL c, REAL d, INT i) {
    bool odd = (i & 1) != 0;
    REAL low = odd ? b : a, high = odd ? d : c;
    return (i & 2) != 0 ? high : low;
}
#define FOUR_OF(name, k, i) lookup_4((name)[k], (name)[(k) + 1], (name)[(k) + 2], (name)[(k) + 3], i)
FN REAL either_of(bool second, REAL a, REAL b) { return second ? b : a; }
#define EIGHT_OF(name, k, i) either_of(((i)&4) != 0, FOUR_OF(name, k, i), FOUR_OF(name, (k) + 4, i))
#define LOOKUP4(name, i)     FOUR_OF(name, 0, i)
#define LOOKUP8(name, i)     EIGHT_OF(name, 0, i)
#define LOOKUP16(name, i)    either_of(((i)&8) != 0, EIGHT_OF(name, 0, i), EIGHT_OF(name, 8, i))

#include "common.h"

/* What lanes share. Blocks and what is packed are indices into the driver's shared memory. */
REAL peer_value(UINT at);           /* a value that the block's lanes show to each other */
UINT code_value(UINT codes, INT i); /* the code of the block's element i */
UINT head_word(UINT heads, INT k, INT j);
UINT packed_byte(UINT at);
UINT word_value(UINT at); /* of the format's table of words */
void put_byte(UINT at, UINT value);
INT pack_lane, pack_lanes; /* this lane's place in its block, and how many there are */

#define PEERS(s)      uint s
#define PEER(s, k, j) peer_value((s) + uint(32 * (k) + (j)))
#define PEER_INDEX(s) pack_lane

#define WORDS(name)
#define WORDS_OF(name) 0u
#define WORDS_IN(t)    uint t
#define WORD(t, i)     word_value((t) + uint(i))

#define BYTES_IN(b) uint b
#define GET8(b, k)  packed_byte((b) + uint(k))
#define GET16(b, k) (GET8(b, k) | GET8(b, (k) + 1) << 8)
#define GET32(b, k) (GET16(b, k) | GET16(b, (k) + 2) << 16)

#define PACK_ARGS(c, h, b) uint c, uint h, uint b
#define CODE(c, i)         code_value(c, i)
#define HEAD(h, k, j)      head_word(h, k, j)
#define PUT8(b, k, v)      put_byte((b) + uint(k), v)
FN void put_16(UINT at, UINT v) {
    put_byte(at, v);
    put_byte(at + 1u, v >> 8);
}
FN void put_32(UINT at, UINT v) {
    put_16(at, v);
    put_16(at + 2u, v >> 16);
}
#define PUT16(b, k, v) put_16((b) + uint(k), v)
#define PUT32(b, k, v) put_32((b) + uint(k), v)
#define PARALLEL(i, n) for (int i = pack_lane; i < (n); i += pack_lanes)
#define ONCE           if (pack_lane == 0)

#endif
