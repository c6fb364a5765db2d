/* Formats that a runtime computes slowly: how many bytes one that a token reads of them counts as. */
#ifndef QDQ_PLAN_SLOW_FORMATS_H
#define QDQ_PLAN_SLOW_FORMATS_H

#include "base/limits.h"
#include "qdq_model.h"

typedef struct qdq_slow_formats {
    uint32_t millionths[QDQ_MAX_FORMATS], source; /* 1,000,000: a byte counts once */
} qdq_slow_formats;

/* "iq3_s=1.8,source=1.2"; NULL: all count once. QDQ_INVALID_ARGUMENT: no such format, one named twice, a factor that is
 * none, or not from 0.01 to 100. */
qdq_status qdq_slow_formats_parse(const char *text, qdq_slow_formats *slow);
/* What so many bytes of a format, or of QDQ_FORMAT_SOURCE, count as: rounded up. */
uint64_t qdq_slow_formats_count(const qdq_slow_formats *slow, qdq_format format, uint64_t bytes);

#endif
