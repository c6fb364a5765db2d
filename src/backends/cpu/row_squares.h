/* Sums over whole rows, which some fits take where an importance matrix is given. */
#ifndef QDQ_BACKENDS_CPU_ROW_SQUARES_H
#define QDQ_BACKENDS_CPU_ROW_SQUARES_H

#include <stddef.h>

enum { QDQ_ROWS = 8 };

/* To each of QDQ_ROWS sums adds the squares of n elements of its row, one after another. The rows go side by side,
 * since one addition waits for the other. Rows may be the same. */
void qdq_cpu_add_squares(const float *const rows[QDQ_ROWS], size_t n, float sums[QDQ_ROWS]);

#endif
