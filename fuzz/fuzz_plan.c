/* The planner's own file: a plan that is read is written and read again. */
#include "walk.h"

#include "plan/plan_file.h"

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
    qdq_builder made = {0};
    qdq_plan_put(&plan, 0, &made);
    char *written = qdq_builder_take(&made);
    MUST(written != NULL && qdq_plan_read("again", written, strlen(written), &again) == QDQ_OK);
    MUST(again.n_tensors == plan.n_tensors && again.bytes == plan.bytes && again.damage == plan.damage);
    qdq_plan_clear(&again);
    free(written);
    qdq_plan_clear(&plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    try_plan((const char *)data, size);
    return 0;
}
