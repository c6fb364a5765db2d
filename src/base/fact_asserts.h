/* What can be wrong with the facts of formats and a compiler can see, by their names. Include after every_format.h. */
#ifndef QDQ_BASE_FACT_ASSERTS_H
#define QDQ_BASE_FACT_ASSERTS_H

#include "base/limits.h"

#define FORMAT(format, type, file_type)                                                                                \
    _Static_assert(format##_LANES > 0 && format##_LANES <= 32 && (format##_LANES & (format##_LANES - 1)) == 0,         \
                   #format "_LANES: a tile's 32 lanes are no whole number of blocks");                                 \
    _Static_assert(format##_HEADS > 0 && format##_HEADS <= QDQ_MAX_HEADS, #format "_HEADS: not 1 to QDQ_MAX_HEADS");   \
    _Static_assert(format##_BYTES > 0 && format##_BYTES <= 128 * format##_LANES,                                       \
                   #format "_BYTES: none, or more than the elements have as floats");                                  \
    _Static_assert(format##_SHARED >= 0 && format##_SHARED <= 128, #format "_SHARED: not 0 to 128");                   \
    _Static_assert(format##_SHARED == 0 || format##_LANES > 1,                                                         \
                   #format "_SHARED: a block of one lane has none to share with");                                     \
    _Static_assert(format##_IMPORTANCE >= 0 && format##_IMPORTANCE <= 2, #format "_IMPORTANCE: not 0, 1 or 2");        \
    _Static_assert(format##_SUM >= SUM_NONE && format##_SUM <= SUM_SQUARES,                                            \
                   #format "_SUM: not SUM_NONE, SUM_MAGNITUDES or SUM_SQUARES");                                       \
    _Static_assert(format##_IMPORTANCE < 2 || format##_SUM == SUM_NONE,                                                \
                   #format "_SUM: there is no fit to be given it");                                                    \
    _Static_assert(format##_WEIGHTED_SUM >= SUM_NONE && format##_WEIGHTED_SUM <= SUM_ROW,                              \
                   #format "_WEIGHTED_SUM: not SUM_NONE, SUM_MAGNITUDES, SUM_SQUARES or SUM_ROW");                     \
    _Static_assert(format##_IMPORTANCE > 0 || format##_WEIGHTED_SUM == SUM_NONE,                                       \
                   #format "_WEIGHTED_SUM: there is no weighted fit to be given it");                                  \
    _Static_assert(format##_LIGHT == 0 || (format##_LIGHT == 1 && format##_LANES == 1 && format##_SUM == SUM_NONE &&   \
                                           format##_IMPORTANCE < 2),                                                   \
                   #format "_LIGHT: only for blocks of one lane, without a sum, with a plain fit");                    \
    _Static_assert(format##_UNROLLED == 0 || format##_UNROLLED == 1, #format "_UNROLLED: not 0 or 1");
#include "formats/formats.def"
#undef FORMAT

#endif
