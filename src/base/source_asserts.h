/* What can be wrong with the facts of sources and a compiler can see, by their names. Include after every_source.h. */
#ifndef QDQ_BASE_SOURCE_ASSERTS_H
#define QDQ_BASE_SOURCE_ASSERTS_H

#include "base/source.h"

#define SOURCE(source, number, type, file_type, spelling)                                                              \
    _Static_assert(source##_BYTES == 1 || source##_BYTES == 2 || source##_BYTES == 4,                                  \
                   #source "_BYTES: not 1, 2 or 4");                                                                   \
    _Static_assert(source##_BYTES == 4 || source##_EXPONENT >> (8 * (source##_BYTES % 4)) == 0,                        \
                   #source "_EXPONENT: wider than the element");                                                       \
    _Static_assert(source##_EXPONENT != 0, #source "_EXPONENT: no bits, which every element has all of");              \
    _Static_assert(number >= 0 && number < QDQ_MAX_DTYPES && number != QDQ_U8,                                         \
                   #source ": its number in sources.def is that of QDQ_U8, or not below QDQ_MAX_DTYPES");
#include "sources/sources.def"
#undef SOURCE

#endif
