/* The planner's scores: those that are read are written and read again. An input is a file's text up to its checksum,
 * which is added here: no fuzzer would find it. */
#include "walk.h"

#include <inttypes.h>
#include <stdio.h>

#include "plan/scores.h"

static const qdq_scores_inputs inputs = {.weights = "w", .gradients = "g"};

static void try_scores(const char *text, size_t size) {
    qdq_scores *scores, *again;
    qdq_scores_error error = {1, 2};
    if (qdq_scores_read("fuzz", text, size, &inputs, &scores) != QDQ_OK) {
        MUST(qdq_error_message()[0] != 0);
        return;
    }
    qdq_scores_match(scores, "fuzz", "t", "g of t", NULL);
    MUST(qdq_scores_set_error(scores, "t", "q4_0", &error) == QDQ_OK);
    MUST(qdq_scores_get_error(scores, "t", "q4_0", &error) && error.err2 == 1 && error.ww == 2);
    char *written = qdq_scores_text(scores);
    MUST(written != NULL && qdq_scores_read("again", written, strlen(written), &inputs, &again) == QDQ_OK);
    qdq_scores_free(again);
    free(written);
    qdq_scores_free(scores);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++) hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    char *text = malloc(size + 64);
    MUST(text != NULL);
    memcpy(text, data, size);
    size_t tail = (size_t)sprintf(text + size, ",\n \"checksum\": \"%016" PRIx64 "\"\n}", hash);
    try_scores((const char *)data, size);
    try_scores(text, size + tail);
    free(text);
    return 0;
}
