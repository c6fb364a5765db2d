/* The figures made of sums. */
#include <math.h>
#include <string.h>

#include "base/error.h"

/* 2 w q is w w + q q - (w - q)(w - q); so near 1, where it matters, little is lost. */
static double cosine(const qdq_error_sums *s) {
    if (s->ww == 0 && s->qq == 0) return 1;
    if (s->ww == 0 || s->qq == 0) return 0;
    double c = (s->ww + s->qq - s->err2) / (2 * sqrt(s->ww) * sqrt(s->qq));
    return c > 1 ? 1 : c;
}

qdq_status qdq_error_statistics(const qdq_error_sums *sums, qdq_error_stats *stats) {
    if (!sums || !stats || stats->size == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_error_statistics: a NULL, or stats->size is not set");
    qdq_error_stats full = {.size = stats->size,
                            .rmse = sums->count ? sqrt(sums->err2 / (double)sums->count) : 0,
                            .relative_rmse = sums->err2 == 0 ? 0 : sqrt(sums->err2 / sums->ww),
                            .max_abs = (double)sums->max_abs,
                            .snr_db = sums->err2 == 0 ? (double)INFINITY : 10 * log10(sums->ww / sums->err2),
                            .cosine = cosine(sums)};
    memcpy(stats, &full, stats->size < sizeof full ? stats->size : sizeof full);
    return QDQ_OK;
}
