#include "backends/cpu/row_squares.h"

void qdq_cpu_add_squares(const float *const rows[QDQ_ROWS], size_t n, float sums[QDQ_ROWS]) {
    float sum[QDQ_ROWS];
    for (int r = 0; r < QDQ_ROWS; r++) sum[r] = sums[r];
    for (size_t i = 0; i < n; i++)
        for (int r = 0; r < QDQ_ROWS; r++) sum[r] += rows[r][i] * rows[r][i];
    for (int r = 0; r < QDQ_ROWS; r++) sums[r] = sum[r];
}
