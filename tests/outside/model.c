/* A program of somebody else's, over model files: makes a model, measures it, plans and quantizes by the plan. */
#include <qdq_model.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64, COLUMNS = 256, TENSORS = 4 };

static int failed(const char *what) {
    printf("%s: %s\n", what, qdq_error_message());
    return 1;
}

/* Weights whose size differs from tensor to tensor, so that formats do, too. */
static qdq_status make_model(const char *path) {
    static float weights[ROWS * COLUMNS];
    static const uint64_t shape[2] = {ROWS, COLUMNS};
    qdq_writer *writer;
    char name[64];
    uint32_t state = 1;
    qdq_status status = qdq_writer_create(QDQ_LAYOUT_GGUF, path, &writer);
    if (status != QDQ_OK) return status;
    status = qdq_writer_set_string(writer, "general.architecture", "llama");
    for (int t = 0; t < TENSORS && status == QDQ_OK; t++) {
        snprintf(name, sizeof name, "blk.%d.attn_q.weight", t);
        status = qdq_writer_add_tensor(writer, name, "F32", 2, shape);
    }
    for (int t = 0; t < TENSORS && status == QDQ_OK; t++) {
        for (int i = 0; i < ROWS * COLUMNS; i++) {
            state = state * 1664525u + 1013904223u;
            weights[i] = (float)((int32_t)state >> 8) / 8388608.0f * (float)(1 << 2 * t);
        }
        status = qdq_writer_write(writer, weights, sizeof weights);
    }
    if (status == QDQ_OK) return qdq_writer_finish(writer);
    qdq_writer_abort(writer);
    return status;
}

static bool count_calls(void *context, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    ++*(int *)context;
    return true;
}

static bool stop(void *context, uint64_t done, uint64_t total) {
    (void)context;
    (void)done;
    (void)total;
    return false;
}

/* A call that is cancelled leaves nothing. */
static int cancel(qdq_device *device, const qdq_selection *all, const char *path) {
    qdq_pass_options options = {.size = sizeof options, .progress = stop};
    qdq_uniform q8 = {all, qdq_format_by_name("q8_0")};
    qdq_pass *pass;
    if (qdq_pass_create(1, &device, &options, &pass) != QDQ_OK) return failed("qdq_pass_create");
    qdq_status status = qdq_quantize_file(pass, all, path, qdq_uniform_choose, &q8, NULL, NULL);
    qdq_pass_free(pass);
    FILE *left = fopen(path, "rb");
    if (left != NULL) fclose(left);
    return status != QDQ_CANCELLED || left != NULL;
}

static int use(qdq_device *device, const qdq_model *model, const char *planned) {
    int calls = 0;
    const char *q_only[] = {"attn_q"};
    qdq_selection_options chosen = {.size = sizeof chosen, .include = q_only, .n_include = 1};
    qdq_pass_options passing = {.size = sizeof passing, .progress = count_calls, .context = &calls};
    qdq_device *devices[2] = {device, device};
    qdq_selection *all = NULL;
    qdq_pass *pass = NULL;
    qdq_planner *planner = NULL;
    qdq_plan *plan = NULL, *larger = NULL;
    qdq_planner_options planning = {.size = sizeof planning, .formats = "q4_0,q5_0,q8_0"};
    qdq_plan_info info = {.size = sizeof info}, more = {.size = sizeof more};
    qdq_file_report report = {.size = sizeof report};
    int wrong = 1;
    if (qdq_selection_create(model, &chosen, &all) != QDQ_OK ||
        qdq_pass_create(2, devices, &passing, &pass) != QDQ_OK ||
        qdq_planner_create(all, &planning, &planner) != QDQ_OK ||
        qdq_planner_rule(planner, QDQ_PLAN_MINIMUM, "blk\\.0", "q5_0") != QDQ_OK ||
        qdq_planner_measure(planner, pass, NULL) != QDQ_OK || qdq_planner_solve(planner, "5.5bpw", &plan) != QDQ_OK ||
        qdq_planner_solve(planner, "7bpw", &larger) != QDQ_OK || qdq_plan_describe(plan, &info) != QDQ_OK ||
        qdq_plan_describe(larger, &more) != QDQ_OK)
        goto end;
    qdq_plan_chooser chooser = {plan, all};
    if (qdq_plan_check(plan, all) != QDQ_OK ||
        qdq_quantize_file(pass, all, planned, qdq_plan_choose, &chooser, NULL, &report) != QDQ_OK)
        goto end;
    printf("%s: %llu bytes, damage %g; with more bytes %g\n", info.score, (unsigned long long)info.bytes, info.damage,
           more.damage);
    wrong = report.bytes != info.bytes || report.made != TENSORS || more.damage > info.damage || calls == 0 ||
            strcmp(qdq_plan_tensor_at(plan, 0)->name, "blk.0.attn_q.weight") != 0;
    wrong |= cancel(device, all, "cancelled.gguf");
end:
    if (wrong) failed("use");
    qdq_plan_free(larger);
    qdq_plan_free(plan);
    qdq_planner_free(planner);
    qdq_pass_free(pass);
    qdq_selection_free(all);
    return wrong;
}

int main(int argc, char **argv) {
    char source[1024], planned[1024];
    qdq_device *device;
    qdq_model *model, *made;
    if (argc != 2) return 2;
    snprintf(source, sizeof source, "%s/outside-source.gguf", argv[1]);
    snprintf(planned, sizeof planned, "%s/outside-planned.gguf", argv[1]);
    if (make_model(source) != QDQ_OK) return failed(source);
    if (qdq_device_open("cpu", &device) != QDQ_OK) return failed("qdq_device_open");
    if (qdq_model_open(source, &model) != QDQ_OK) return failed(source);
    int wrong = use(device, model, planned);
    if (!wrong && qdq_model_open(planned, &made) == QDQ_OK) {
        wrong = qdq_model_tensor_count(made) != TENSORS;
        qdq_model_close(made);
    } else {
        wrong = 1;
    }
    qdq_model_close(model);
    qdq_device_close(device);
    return wrong;
}
