#include "model/costs.h"

#include <string.h>

#include "model/format_list.h"

/* As `qdq bench --op quantize` measured them on one AVX-512 core, arrays far over the cache; on GPUs and other
 * processors they are others, but stand in like relation. Bytes never depend on them. */
static const struct {
    const char *name;
    float plain, weighted;
} costs[] = {
    {"q4_1", 1, 9},    {"q5_1", 1, 10},     {"q8_0", 1, 1},    {"q2_K", 7, 11},    {"q3_K", 3, 6},
    {"q4_K", 10, 10},  {"q5_K", 8, 12},     {"q6_K", 5, 5},    {"iq4_nl", 6, 6},   {"iq4_xs", 6, 6},
    {"iq3_s", 56, 56}, {"iq3_xxs", 90, 90}, {"iq2_s", 40, 40}, {"iq2_xs", 77, 77}, {"iq2_xxs", 50, 50},
    {"iq1_m", 29, 29}, {"iq1_s", 19, 19},   {"nvfp4", 2, 2},
};

enum { OTHERS = 1, OTHERS_WEIGHTED = 3 };
static const double copied_byte = 0.3;

double qdq_cost(qdq_format format, bool weighted) {
    if (format == QDQ_FORMAT_NONE) return copied_byte;
    const char *name = qdq_describe_format(format).name;
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++)
        if (strcmp(costs[i].name, name) == 0) return (double)(weighted ? costs[i].weighted : costs[i].plain);
    return weighted ? OTHERS_WEIGHTED : OTHERS;
}
