/* Planners from within: what a search that is cut short may end with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "plan/caution.h"

enum { ROWS = 8, COLUMNS = 256, TENSORS = 2 };

static char folder[] = "/tmp/qdq-planner-XXXXXX", source[256], scores[256];

static void make_source(void) {
    static const uint64_t shape[2] = {ROWS, COLUMNS};
    static const char *const names[TENSORS] = {"a.weight", "b.weight"};
    static float weights[ROWS * COLUMNS];
    qdq_writer *w;
    for (int i = 0; i < ROWS * COLUMNS; i++) weights[i] = (float)(i % 17) - 8;
    assert_int_equal(qdq_writer_create(QDQ_LAYOUT_SAFETENSORS, source, &w), QDQ_OK);
    for (int t = 0; t < TENSORS; t++) assert_int_equal(qdq_writer_add_tensor(w, names[t], "F32", 2, shape), QDQ_OK);
    for (int t = 0; t < TENSORS; t++) assert_int_equal(qdq_writer_write(w, weights, sizeof weights), QDQ_OK);
    assert_int_equal(qdq_writer_finish(w), QDQ_OK);
}

/* Two tensors, of which q5_0 saves next to nothing of q4_0's damage and q8_0 all: at the size of q5_0 there is no room
 * for one of q8_0, and a search that has not begun knows no better than q4_0 for both. */
static void test_a_search_that_is_cut_is_no_worse_than_a_baseline(void **state) {
    (void)state;
    static const struct {
        const char *format;
        double damage;
    } given[] = {{"q4_0", 10}, {"q5_0", 9.5}, {"q8_0", 0}};
    qdq_given_sums sums[6];
    qdq_model *model;
    qdq_selection *all;
    qdq_device *device;
    qdq_pass *pass;
    qdq_planner *planner;
    qdq_plan *plan;
    assert_non_null(mkdtemp(folder));
    snprintf(source, sizeof source, "%s/s.safetensors", folder);
    snprintf(scores, sizeof scores, "%s/s.json", folder);
    make_source();
    for (int i = 0; i < 6; i++)
        sums[i] = (qdq_given_sums){
            .tensor = i < 3 ? "a.weight" : "b.weight",
            .format = qdq_format_by_name(given[i % 3].format),
            .sums = {.absolute = 1, .squared = given[i % 3].damage, .count = (uint64_t)ROWS * COLUMNS}};
    assert_int_equal(qdq_model_open(source, &model), QDQ_OK);
    assert_int_equal(qdq_selection_create(model, NULL, &all), QDQ_OK);
    if (qdq_scores_write(scores, all, 1, 6, sums) != QDQ_OK) fail_msg("%s", qdq_error_message());
    assert_int_equal(qdq_device_open_threads("cpu", 1, &device), QDQ_OK);
    assert_int_equal(qdq_pass_create(1, &device, NULL, &pass), QDQ_OK);
    qdq_planner_options options = {
        .size = sizeof options, .formats = "q4_0,q5_0,q8_0", .scores = scores, .score = QDQ_SCORE_SQUARED};
    assert_int_equal(qdq_planner_create(all, &options, &planner), QDQ_OK);
    if (qdq_planner_measure(planner, pass, NULL) != QDQ_OK) fail_msg("%s", qdq_error_message());
    if (qdq_planner_solve(planner, "8.5bpw", &plan) != QDQ_OK) fail_msg("%s", qdq_error_message());
    const qdq_plan_baseline *uniform = qdq_plan_baseline_at(plan, 1);
    assert_string_equal(uniform->name, "q5_0");
    assert_true(uniform->damage == 19 && uniform->plan_damage == 19);

    uint32_t chosen[TENSORS] = {9, 9};
    qdq_found found;
    assert_int_equal(qdq_planner_find(planner, uniform->bytes, 0, chosen, &found), QDQ_OK);
    assert_true(found.damage == 19 && !found.proven && found.lower_bound <= 19);
    assert_true(chosen[0] == 1 && chosen[1] == 1);
    assert_int_equal(qdq_planner_find(planner, uniform->bytes, QDQ_CHOOSE_STATES, chosen, &found), QDQ_OK);
    assert_true(found.damage == 19 && found.proven);

    qdq_plan_free(plan);
    qdq_pass_free(pass);
    qdq_planner_free(planner);
    qdq_device_close(device);
    qdq_selection_free(all);
    qdq_model_close(model);
    unlink(source);
    unlink(scores);
    assert_int_equal(rmdir(folder), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_search_that_is_cut_is_no_worse_than_a_baseline)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
