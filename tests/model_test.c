/* The library over model files, as programs use it: what calls refuse, and that results do not depend on devices. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "qdq_model.h"

enum { ROWS = 1200, COLUMNS = 1024 }; /* more than a chunk of the CPU's */

static char folder[] = "/tmp/qdq-model-XXXXXX", source[64], output[64];

typedef struct world {
    qdq_device *device;
    qdq_model *model;
    qdq_selection *all;
} world;

static void make_source(void) {
    static float weights[COLUMNS];
    static const uint64_t shapes[3][2] = {{ROWS, COLUMNS}, {4, 48}, {COLUMNS, 0}};
    qdq_writer *w;
    uint32_t state = 7;
    assert_int_equal(qdq_writer_create(QDQ_LAYOUT_GGUF, source, &w), QDQ_OK);
    assert_int_equal(qdq_writer_set_string(w, "general.architecture", "llama"), QDQ_OK);
    assert_int_equal(qdq_writer_set_u32(w, "llama.block_count", 1), QDQ_OK);
    assert_int_equal(qdq_writer_add_tensor(w, "blk.0.attn_q.weight", "F32", 2, shapes[0]), QDQ_OK);
    assert_int_equal(qdq_writer_add_tensor(w, "blk.0.ffn_up.weight", "F32", 2, shapes[1]), QDQ_OK);
    assert_int_equal(qdq_writer_add_tensor(w, "output_norm.weight", "F32", 1, shapes[2]), QDQ_OK);
    for (int r = 0; r <= ROWS + 1; r++) {
        for (int i = 0; i < COLUMNS; i++) {
            state = state * 1664525u + 1013904223u;
            weights[i] = (float)((int32_t)state >> 8) / 8388608.0f;
        }
        uint64_t bytes = r == ROWS ? 4 * 48 * sizeof(float) : sizeof weights;
        assert_int_equal(qdq_writer_write(w, weights, bytes), QDQ_OK);
    }
    assert_int_equal(qdq_writer_finish(w), QDQ_OK);
}

static int open_world(void **state) {
    static world w;
    assert_non_null(mkdtemp(folder));
    snprintf(source, sizeof source, "%s/source.gguf", folder);
    snprintf(output, sizeof output, "%s/output.gguf", folder);
    make_source();
    assert_int_equal(qdq_device_open_threads("cpu", 2, &w.device), QDQ_OK);
    assert_int_equal(qdq_model_open(source, &w.model), QDQ_OK);
    assert_int_equal(qdq_selection_create(w.model, NULL, &w.all), QDQ_OK);
    *state = &w;
    return 0;
}

static int close_world(void **state) {
    world *w = *state;
    qdq_selection_free(w->all);
    qdq_model_close(w->model);
    qdq_device_close(w->device);
    unlink(source);
    unlink(output);
    return rmdir(folder);
}

static qdq_fit fit_of(const qdq_selection *selection, uint64_t index, const char *format) {
    qdq_fit fit = {.size = sizeof fit};
    qdq_format f = format != NULL ? qdq_format_by_name(format) : QDQ_FORMAT_NONE;
    assert_int_equal(qdq_selection_fit(selection, index, f, &fit), QDQ_OK);
    return fit;
}

static void test_fits(void **state) {
    const world *w = *state;
    const char *patterns[] = {"attn_q", "ffn"}, *broken[] = {"("};
    qdq_selection_options options = {.size = sizeof options, .include = patterns, .n_include = 1};
    qdq_selection *some;
    qdq_fit row = fit_of(w->all, 1, "q4_K");
    assert_int_equal(fit_of(w->all, 0, "q4_K").reason, QDQ_FIT_TAKEN);
    assert_int_equal(row.reason, QDQ_FIT_ROW);
    assert_int_equal(row.block, 256);
    assert_non_null(strstr(row.text, "48"));
    assert_int_equal(fit_of(w->all, 2, NULL).reason, QDQ_FIT_DIMENSIONS);
    assert_int_equal(fit_of(w->all, 0, "iq1_s").reason, QDQ_FIT_NO_IMPORTANCE);
    assert_int_equal(qdq_selection_create(w->model, &options, &some), QDQ_OK);
    assert_int_equal(fit_of(some, 1, NULL).reason, QDQ_FIT_NOT_INCLUDED);
    qdq_selection_free(some);
    options.include = NULL;
    options.n_include = 0;
    options.exclude = patterns;
    options.n_exclude = 2;
    assert_int_equal(qdq_selection_create(w->model, &options, &some), QDQ_OK);
    assert_int_equal(fit_of(some, 1, NULL).reason, QDQ_FIT_EXCLUDED);
    qdq_selection_free(some);
    options.exclude = broken;
    options.n_exclude = 1;
    assert_int_equal(qdq_selection_create(w->model, &options, &some), QDQ_INVALID_ARGUMENT);
    assert_null(some);
    qdq_fit fit = {.size = sizeof fit};
    assert_int_equal(qdq_selection_fit(w->all, 3, QDQ_FORMAT_NONE, &fit), QDQ_INVALID_ARGUMENT);
    assert_int_equal(qdq_selection_fit(w->all, 0, 999, &fit), QDQ_INVALID_ARGUMENT);
}

static qdq_error_sums error_on(const world *w, uint32_t n) {
    qdq_device *devices[3] = {w->device, w->device, w->device};
    qdq_format format = qdq_format_by_name("q4_0");
    qdq_error_sums sums = {0};
    qdq_pass *pass;
    assert_int_equal(qdq_pass_create(n, devices, NULL, &pass), QDQ_OK);
    assert_int_equal(qdq_pass_error(pass, w->all, 0, 1, &format, &sums), QDQ_OK);
    assert_int_equal(qdq_pass_flush(pass), QDQ_OK);
    qdq_pass_free(pass);
    return sums;
}

static void test_devices_change_nothing(void **state) {
    qdq_error_sums one = error_on(*state, 1), three = error_on(*state, 3);
    assert_int_equal(one.count, (uint64_t)ROWS * COLUMNS);
    assert_memory_equal(&one, &three, sizeof one);
}

static qdq_status full(void *context, const void *data, uint64_t bytes) {
    (void)data;
    (void)bytes;
    ++*(int *)context;
    return qdq_fail(QDQ_IO_ERROR, "the sink is full");
}

static bool stop(void *context, uint64_t done, uint64_t total) {
    assert_true(done <= total);
    ++*(int *)context;
    return false;
}

static void test_callbacks_end_passes(void **state) {
    const world *w = *state;
    int calls = 0;
    qdq_pass *pass;
    qdq_pass_options options = {.size = sizeof options, .progress = stop, .context = &calls};
    assert_int_equal(qdq_pass_create(1, &w->device, NULL, &pass), QDQ_OK);
    qdq_status status = qdq_pass_quantize(pass, w->all, 0, qdq_format_by_name("q8_0"), full, &calls);
    if (status == QDQ_OK) status = qdq_pass_flush(pass);
    assert_int_equal(status, QDQ_IO_ERROR);
    assert_string_equal(qdq_error_message(), "the sink is full");
    assert_int_equal(calls, 1);
    qdq_pass_free(pass);
    qdq_uniform q8 = {w->all, qdq_format_by_name("q8_0")};
    calls = 0;
    assert_int_equal(qdq_pass_create(1, &w->device, &options, &pass), QDQ_OK);
    assert_int_equal(qdq_quantize_file(pass, w->all, output, qdq_uniform_choose, &q8, NULL, NULL), QDQ_CANCELLED);
    assert_int_equal(calls, 1);
    assert_int_equal(access(output, F_OK), -1);
    qdq_pass_free(pass);
    assert_int_equal(qdq_pass_create(0, NULL, NULL, &pass), QDQ_INVALID_ARGUMENT);
    assert_null(pass);
}

static void test_presets(void **state) {
    const world *w = *state;
    qdq_llama_options options = {.size = sizeof options, .preset = "q4_k_m"};
    qdq_llama *rules;
    qdq_pass *pass;
    qdq_file_report dry = {.size = sizeof dry}, made = {.size = sizeof made};
    const char *preset;
    assert_int_equal(qdq_llama_create(&options, &rules), QDQ_OK);
    assert_string_equal(qdq_llama_describe(rules, &preset), "q4_K");
    assert_string_equal(preset, "Q4_K_M");
    qdq_llama_chooser chooser = {rules, w->all};
    assert_int_equal(qdq_pass_create(1, &w->device, NULL, &pass), QDQ_OK);
    assert_int_equal(qdq_quantize_file(NULL, w->all, NULL, qdq_llama_choose, &chooser, NULL, &dry), QDQ_OK);
    assert_int_equal(qdq_quantize_file(pass, w->all, output, qdq_llama_choose, &chooser, NULL, &made), QDQ_OK);
    assert_memory_equal(&dry, &made, sizeof made);
    assert_int_equal(qdq_llama_add(rules, NULL, "attn_q=q8_0"), QDQ_INVALID_ARGUMENT); /* too late */
    qdq_llama_free(rules);
    qdq_pass_free(pass);
    options.preset = "Q9";
    assert_int_equal(qdq_llama_create(&options, &rules), QDQ_INVALID_ARGUMENT);
    assert_null(rules);
}

static void test_what_llama_quantize_writes(void **state) {
    static const struct {
        const char *asked;
        uint64_t row;
        const char *written;
    } known[] = {{"q4_K", 256, "q4_K"}, {"q4_K", 96, "q5_0"},    {"q4_K", 100, "f16"},
                 {"q6_K", 32, "q8_0"},  {"iq2_s", 64, "iq4_nl"}, {"q4_0", 48, "f16"}};
    qdq_format format, written;
    qdq_format_info info = {.size = sizeof info};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_int_equal(qdq_llama_fallback(qdq_format_by_name(known[i].asked), known[i].row, &written), QDQ_OK);
        assert_int_equal(qdq_format_describe(written, &info), QDQ_OK);
        assert_string_equal(info.name, known[i].written);
    }
    assert_int_equal(qdq_llama_fallback(qdq_format_by_name("nvfp4"), 96, &written), QDQ_UNSUPPORTED);
    assert_non_null(strstr(qdq_error_message(), "it stops"));
    assert_int_equal(written, QDQ_FORMAT_NONE);
    assert_int_equal(qdq_llama_fallback(12345, 96, &written), QDQ_INVALID_ARGUMENT);
    assert_non_null(strstr(qdq_error_message(), "12345"));
    assert_int_equal(qdq_llama_fallback(0, 96, NULL), QDQ_INVALID_ARGUMENT);
    assert_non_null(strstr(qdq_error_message(), "NULL"));
    uint32_t n;
    assert_int_equal(qdq_parse_formats("f16", &format, &n), QDQ_OK);
    assert_int_equal(qdq_llama_fallback(format, 7, &written), QDQ_OK);
    assert_int_equal(written, format);
    assert_true(qdq_llama_needs_importance(qdq_format_by_name("iq1_s")));
    assert_true(qdq_llama_needs_importance(qdq_format_by_name("iq2_xxs")));
    assert_false(qdq_llama_needs_importance(qdq_format_by_name("q4_K")));
    assert_false(qdq_llama_needs_importance(format));
    assert_false(qdq_llama_needs_importance(12345));
}

/* A tensor's sums are those of a pass of its own; totals add up; rows that are no whole blocks have what stands in. */
static void test_errors(void **state) {
    const world *w = *state;
    const qdq_format formats[] = {qdq_format_by_name("q4_K"), qdq_format_by_name("q5_0"), qdq_format_by_name("q8_0")};
    qdq_format f16;
    uint32_t one;
    qdq_errors *errors;
    qdq_pass *pass;
    assert_int_equal(qdq_parse_formats("f16", &f16, &one), QDQ_OK); /* what stands in where rows have 48 */
    assert_int_equal(qdq_errors_create(w->all, 3, formats, &errors), QDQ_OK);
    assert_int_equal(qdq_pass_create(1, &w->device, NULL, &pass), QDQ_OK);
    assert_int_equal(qdq_errors_measure(errors, pass), QDQ_OK);
    uint64_t measured = 0, elements = 0, n = qdq_model_tensor_count(w->model);
    for (uint64_t i = 0; i < n; i++) {
        const qdq_tensor *t = qdq_model_tensor(w->model, i);
        qdq_format written;
        const qdq_error_sums *sums;
        for (uint32_t f = 0; f < 3; f++) {
            qdq_error_sums alone = {0};
            if (!qdq_errors_find(errors, i, f, &written, &sums)) continue;
            assert_int_equal(written, t->shape[t->n_dims - 1] == COLUMNS ? formats[f] : f16);
            assert_int_equal(qdq_pass_error(pass, w->all, i, 1, &written, &alone), QDQ_OK);
            assert_int_equal(qdq_pass_flush(pass), QDQ_OK);
            assert_memory_equal(&alone, sums, sizeof alone);
            if (f == 2) measured++, elements += t->elements;
        }
    }
    assert_int_equal(measured, 2); /* of 3: one is a vector */
    qdq_error_sums total, again;
    double bits;
    assert_int_equal(qdq_errors_total(errors, 2, false, &total, &bits), QDQ_OK);
    assert_int_equal(total.count, elements);
    assert_true(bits == (8.5 * ROWS * COLUMNS + 16 * 4 * 48) / (double)elements && total.err2 > 0);
    assert_int_equal(qdq_errors_total(errors, 2, true, &again, NULL), QDQ_OK); /* there is no importance */
    assert_int_equal(again.count, 0);
    /* What sharing asks for. That it gives the same sums is tested through the command. */
    qdq_shared_sums shared = {.size = sizeof shared};
    assert_int_equal(qdq_errors_measure_shared(errors, pass, &shared), QDQ_INVALID_ARGUMENT);
    shared.folder = "sums";
    shared.part = 1;
    assert_int_equal(qdq_errors_measure_shared(errors, pass, &shared), QDQ_INVALID_ARGUMENT);
    shared.parts = 65537;
    assert_int_equal(qdq_errors_measure_shared(errors, pass, &shared), QDQ_INVALID_ARGUMENT);
    assert_int_equal(qdq_errors_measure(errors, pass), QDQ_OK);
    assert_int_equal(qdq_errors_total(errors, 2, false, &again, NULL), QDQ_OK);
    assert_memory_equal(&total, &again, sizeof total);
    assert_false(qdq_errors_find(errors, n, 0, NULL, NULL));
    assert_false(qdq_errors_find(errors, 0, 3, NULL, NULL));
    assert_int_equal(qdq_errors_total(errors, 3, false, &total, NULL), QDQ_INVALID_ARGUMENT);
    qdq_pass_free(pass);
    qdq_errors_free(errors);
    qdq_format none = 12345;
    assert_int_equal(qdq_errors_create(w->all, 1, &none, &errors), QDQ_INVALID_ARGUMENT);
    assert_null(errors);
    assert_int_equal(qdq_errors_create(w->all, 0, formats, &errors), QDQ_INVALID_ARGUMENT);
}

static void test_lists_of_formats(void **state) {
    qdq_format formats[QDQ_MAX_FORMATS];
    qdq_format_info info = {.size = sizeof info};
    uint32_t n, all;
    assert_int_equal(qdq_list_formats("all", QDQ_LIST_WEIGHTED, formats, &all), QDQ_OK);
    uint32_t with_blocks = 0;
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        assert_int_equal(qdq_format_describe(f, &info), QDQ_OK);
        with_blocks += info.block_elements > 1;
    }
    assert_int_equal(all, with_blocks);
    assert_int_equal(qdq_list_formats(NULL, QDQ_LIST_FLOATS, formats, &n), QDQ_OK);
    assert_true(n > 10 && n < all);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(qdq_format_describe(formats[i], &info), QDQ_OK);
        assert_true(info.importance != QDQ_IMPORTANCE_NEEDED && info.block_elements > 1);
    }
    assert_int_equal(qdq_list_formats("Q4_k,bf16", QDQ_LIST_FLOATS, formats, &n), QDQ_OK);
    assert_int_equal(n, 2);
    assert_int_equal(qdq_list_formats("q4_K,bf16", QDQ_LIST_WEIGHTED, formats, &n), QDQ_INVALID_ARGUMENT);
    assert_non_null(strstr(qdq_error_message(), "bf16 has no blocks"));
    assert_int_equal(n, 0);
    assert_int_equal(qdq_list_formats("q4_0,iq1_s", 0, formats, &n), QDQ_INVALID_ARGUMENT);
    assert_int_equal(qdq_error_advice(), QDQ_ADVICE_IMATRIX);
    assert_int_equal(qdq_list_formats("q4_0,all", 0, formats, &n), QDQ_INVALID_ARGUMENT);
    assert_int_equal(qdq_list_formats("", 0, formats, &n), QDQ_INVALID_ARGUMENT);
    assert_int_equal(qdq_list_formats("q4_0", 0, NULL, &n), QDQ_INVALID_ARGUMENT);
}

static void test_what_disturbs_terminals(void **state) {
    static const struct {
        const char *text;
        size_t bytes;
    } known[] = {{"\x1b[", 1},    {"\n", 1},  {"\x7f", 1},     {"\xc2\x9b", 2}, {"\xe2\x80\xae.", 3},
                 {"\xd8\x9c", 2}, {"a\n", 0}, {"\xc3\xbc", 0}, {"\xff", 0},     {"", 0}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(qdq_disturbance(known[i].text), known[i].bytes);
}

static void test_scores_by_name(void **state) {
    qdq_score score = QDQ_SCORE_AUTO;
    for (int s = 0; qdq_score_name((qdq_score)s) != NULL; s++) {
        assert_true(qdq_score_by_name(qdq_score_name((qdq_score)s), &score));
        assert_int_equal(score, s);
        assert_int_equal(qdq_score_takes_gradients(score), s >= QDQ_SCORE_SIGNED && s <= QDQ_SCORE_SQUARED);
    }
    score = QDQ_SCORE_SIZED;
    assert_false(qdq_score_by_name("nonesuch", &score));
    assert_false(qdq_score_by_name(NULL, &score));
    assert_int_equal(score, QDQ_SCORE_SIZED);
}

static void test_what_would_help(void **state) {
    const world *w = *state;
    qdq_llama_options options = {.size = sizeof options, .format = qdq_format_by_name("iq1_s")};
    qdq_llama *rules;
    qdq_choice choice = {.size = sizeof choice};
    assert_int_equal(qdq_llama_create(&options, &rules), QDQ_OK);
    qdq_llama_chooser chooser = {rules, w->all};
    assert_int_equal(qdq_llama_choose(&chooser, 0, &choice), QDQ_INVALID_ARGUMENT);
    assert_int_equal(qdq_error_advice(), QDQ_ADVICE_IMATRIX);
    assert_null(strstr(qdq_error_message(), "--")); /* the command's options are the command's */
    assert_int_equal(qdq_check_target("much"), QDQ_INVALID_ARGUMENT);
    assert_int_equal(qdq_error_advice(), QDQ_ADVICE_NONE);
    qdq_llama_free(rules);
}

static void test_planners(void **state) {
    const world *w = *state;
    qdq_planner_options options = {.size = sizeof options, .formats = "q4_0,q8_0"};
    qdq_planner *planner;
    qdq_plan *plan, *again;
    qdq_pass *pass;
    char *text, target[32];
    size_t length;
    uint64_t measured, floor, ceiling;
    assert_int_equal(qdq_planner_create(w->all, &options, &planner), QDQ_OK);
    assert_int_equal(qdq_planner_score(planner), QDQ_SCORE_AUTO);
    assert_int_equal(qdq_planner_check(planner, "1bpw"), QDQ_INVALID_ARGUMENT);
    assert_int_equal(qdq_planner_solve(planner, "6bpw", &plan), QDQ_INVALID_ARGUMENT); /* nothing is measured */
    assert_null(plan);
    assert_int_equal(qdq_pass_create(1, &w->device, NULL, &pass), QDQ_OK);
    assert_int_equal(qdq_planner_measure(planner, pass, &measured), QDQ_OK);
    assert_int_equal(measured, 1);
    assert_int_equal(qdq_planner_score(planner), QDQ_SCORE_KINDS); /* docs/planner.md: of weights alone */
    assert_int_equal(qdq_planner_range(planner, &floor, &ceiling, NULL), QDQ_OK);
    snprintf(target, sizeof target, "%lluB", (unsigned long long)ceiling);
    for (int time = 0; time < 2; time++) { /* what plans are held against, no target changes */
        assert_int_equal(qdq_planner_solve(planner, target, &plan), QDQ_OK);
        const qdq_plan_baseline *b = qdq_plan_baseline_at(plan, 0);
        assert_string_equal(b->name, "Q4_0");
        assert_true(b->allowed && b->preset && b->bytes == floor && b->plan_damage == b->damage);
        assert_string_equal(qdq_plan_baseline_at(plan, 1)->name, "q4_0");
        assert_false(qdq_plan_baseline_at(plan, 1)->preset);
        assert_null(qdq_plan_baseline_at(plan, 5)); /* MXFP4_MOE, Q8_0 and q8_0 are alike, too */
        qdq_plan_free(plan);
        snprintf(target, sizeof target, "%lluB", (unsigned long long)floor);
    }
    assert_int_equal(qdq_planner_rule(planner, QDQ_PLAN_PIN, "attn_q", "q8_0"), QDQ_OK);
    assert_int_equal(qdq_planner_measure(planner, pass, &measured), QDQ_OK);
    assert_int_equal(measured, 0);
    assert_int_equal(qdq_planner_range(planner, &floor, &ceiling, NULL), QDQ_OK);
    assert_int_equal(floor, ceiling); /* the pin leaves one choice */
    snprintf(target, sizeof target, "%lluB", (unsigned long long)floor);
    assert_int_equal(qdq_planner_solve(planner, target, &plan), QDQ_OK);
    assert_false(qdq_plan_baseline_at(plan, 0)->allowed); /* a rule does */
    assert_true(isnan(qdq_plan_baseline_at(plan, 0)->plan_damage));
    assert_int_equal(qdq_plan_text(plan, &text, &length), QDQ_OK);
    assert_int_equal(qdq_plan_parse("plan.json", text, length, &again), QDQ_OK);
    assert_string_equal(qdq_plan_tensor_at(again, 0)->choices[0].format, "q8_0");
    assert_null(qdq_plan_tensor_at(again, 3));
    assert_int_equal(qdq_plan_check(again, w->all), QDQ_OK);
    qdq_free(text);
    qdq_plan_free(again);
    qdq_plan_free(plan);
    qdq_pass_free(pass);
    qdq_planner_free(planner);
    options.score = QDQ_SCORE_SQUARED;
    assert_int_equal(qdq_planner_create(w->all, &options, &planner), QDQ_INVALID_ARGUMENT); /* no gradients */
    assert_null(planner);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_devices_change_nothing),
        cmocka_unit_test(test_callbacks_end_passes),
        cmocka_unit_test(test_presets),
        cmocka_unit_test(test_what_llama_quantize_writes),
        cmocka_unit_test(test_scores_by_name),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_lists_of_formats),
        cmocka_unit_test(test_what_disturbs_terminals),
        cmocka_unit_test(test_what_would_help),
        cmocka_unit_test(test_planners),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
