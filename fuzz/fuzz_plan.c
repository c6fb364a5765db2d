/* The planner's own files: a plan that is read is written and read again; so are scores. */
#include "walk.h"

#include "plan/plan_file.h"
#include "plan/scores.h"

static void try_plan(const char *text, size_t size) {
    qdq_plan plan, again;
    if (qdq_plan_read("fuzz", text, size, &plan) != QDQ_OK) {
        MUST(qdq_error_message()[0] != 0);
        return;
    }
    uint64_t bytes = plan.overhead;
    for (size_t i = 0; i < plan.n_tensors; i++) {
        bytes += plan.tensors[i].bytes;
        MUST(plan.tensors[i].reason != NULL || plan.tensors[i].chosen < plan.tensors[i].n_choices);
        qdq_plan_format(&plan.tensors[i]);
    }
    MUST(bytes == plan.bytes);
    json_t *root = qdq_plan_json(&plan);
    char *written = json_dumps(root, JSON_REAL_PRECISION(17));
    MUST(written != NULL && qdq_plan_read("again", written, strlen(written), &again) == QDQ_OK);
    MUST(again.n_tensors == plan.n_tensors && again.bytes == plan.bytes && again.damage == plan.damage);
    qdq_plan_free(&again);
    free(written);
    json_decref(root);
    qdq_plan_free(&plan);
}

static void try_scores(const char *text, size_t size) {
    static const qdq_scores_inputs inputs = {.weights = "w", .gradients = "g"};
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
    try_plan((const char *)data, size);
    try_scores((const char *)data, size);
    return 0;
}
