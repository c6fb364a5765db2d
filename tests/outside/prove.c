#include <qdq.h>
#include <stdio.h>

static qdq_status decode(void *context, qdq_format format, const void *blocks, uint64_t n, float *values) {
    (void)context;
    return qdq_dequantize(format, blocks, values, n); /* your kernel here */
}

int main(void) {
    qdq_format q4_K = qdq_format_by_name("q4_K");
    qdq_codec engine = {.size = sizeof engine, .name = "my engine", .dequantize = decode};
    qdq_proof_options options = {.size = sizeof options, .codec = &engine, .formats = &q4_K, .n_formats = 1};
    qdq_proof_report report = {.size = sizeof report};
    qdq_status status = qdq_prove(&options, &report);
    if (status != QDQ_OK) puts(qdq_error_message());
    printf("%llu of %llu proofs failed\n", (unsigned long long)report.failed, (unsigned long long)report.proofs);
    return status != QDQ_OK || report.failed > 0 || report.proofs == 0;
}
