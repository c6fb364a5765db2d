/* A program of somebody else's: the sample of the README. */
#include <qdq.h>
#include <stdio.h>

int main(void) {
    float x[64], y[64];
    for (int i = 0; i < 64; i++) x[i] = (float)(i - 31) * 0.01f;
    qdq_error_sums sums = {0};
    qdq_error_stats stats = {.size = sizeof stats};
    if (qdq_roundtrip(qdq_format_by_name("q4_0"), x, y, 64) != QDQ_OK ||
        qdq_error(qdq_format_by_name("q4_0"), x, 64, &sums) != QDQ_OK ||
        qdq_error_statistics(&sums, &stats) != QDQ_OK) {
        puts(qdq_error_message());
        return 1;
    }
    printf("qdq %s: x[5] = %g, round trip %g, RMSE %g\n", qdq_version(), (double)x[5], (double)y[5], stats.rmse);
    return !(stats.rmse > 0 && stats.rmse < 0.02);
}
