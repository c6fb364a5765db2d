/* The builder of src/plan/problem.h: groups, pins, minimum and allowed formats. */
#include "plan/problem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const qdq_problem_format formats[] = {{"q2_K", 256, 84}, {"q4_0", 32, 18}, {"q4_K", 256, 144}, {"q8_0", 32, 34}};
enum { Q2_K, Q4_0, Q4_K, Q8_0, FORMATS };

/* Two layers of q, k, v and one tensor that K-quants do not fit. Damage falls with the bits, k's is ten times q's. */
static qdq_problem *make(void) {
    static const struct {
        const char *name;
        uint64_t elements;
        double scale;
        int odd;
    } tensors[] = {{"blk.0.attn_q.weight", 1024, 1, 0},
                   {"blk.0.attn_k.weight", 512, 10, 0},
                   {"blk.0.attn_v.weight", 512, 5, 0},
                   {"blk.1.attn_q.weight", 1024, 2, 0},
                   {"blk.1.attn_k.weight", 512, 20, 0},
                   {"blk.1.attn_v.weight", 512, 10, 0},
                   {"odd.weight", 96, 1, 1}};
    qdq_problem *p;
    assert_int_equal(qdq_problem_create(FORMATS, formats, &p), QDQ_OK);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        qdq_candidate c[FORMATS];
        static const double damage[] = {8, 4, 2, 1};
        for (uint32_t f = 0; f < FORMATS; f++) {
            c[f].damage = damage[f] * tensors[i].scale;
            c[f].bytes = tensors[i].odd && formats[f].block_elements == 256
                             ? QDQ_NO_CANDIDATE
                             : tensors[i].elements / formats[f].block_elements * formats[f].block_bytes;
        }
        assert_int_equal(qdq_problem_add(p, tensors[i].name, c), QDQ_OK);
    }
    return p;
}

static void solve(qdq_problem *p, uint64_t over_floor, uint32_t *chosen) {
    uint64_t floor, ceiling;
    assert_int_equal(qdq_problem_range(p, &floor, &ceiling), QDQ_OK);
    uint64_t budget = over_floor > ceiling - floor ? ceiling : floor + over_floor;
    qdq_choose_result r;
    if (qdq_problem_solve(p, budget, chosen, &r) != QDQ_OK) fail_msg("%s", qdq_error_message());
    assert_true(r.proven && r.bytes <= budget);
}

static void groups_share_a_format(void **unused) {
    (void)unused;
    for (uint64_t over = 0; over < 6000; over += 97) {
        uint32_t c[7];
        qdq_problem *p = make();
        assert_int_equal(qdq_problem_same(p, "blk\\.([0-9]+)\\.attn_[qkv]"), QDQ_OK);
        solve(p, over, c);
        assert_true(c[0] == c[1] && c[1] == c[2] && c[3] == c[4] && c[4] == c[5]);
        assert_true(qdq_problem_group(p, 0) == 0 && qdq_problem_group(p, 2) == 0 && qdq_problem_group(p, 3) == 1 &&
                    qdq_problem_group(p, 5) == 1 && qdq_problem_group(p, 6) == 2);
        /* a label across the two groups joins them */
        assert_int_equal(qdq_problem_label(p, 2, "x"), QDQ_OK);
        assert_int_equal(qdq_problem_label(p, 4, "x"), QDQ_OK);
        solve(p, over, c);
        for (int i = 1; i < 6; i++) assert_int_equal(c[i], c[0]);
        qdq_problem_free(p);

        p = make(); /* no parentheses: all that match */
        assert_int_equal(qdq_problem_same(p, "attn_k"), QDQ_OK);
        solve(p, over, c);
        assert_int_equal(c[1], c[4]);
        assert_int_equal(qdq_problem_group(p, 1), qdq_problem_group(p, 4));
        assert_int_equal(qdq_problem_group(p, 6), 5);
        qdq_problem_free(p);
    }
}

/* A merged group's choice is that of the whole problem under the constraint, tried out. */
static void a_merged_group_is_chosen_best(void **unused) {
    (void)unused;
    qdq_problem *p = make();
    assert_int_equal(qdq_problem_same(p, "blk.([01])"), QDQ_OK);
    uint64_t floor, ceiling;
    assert_int_equal(qdq_problem_range(p, &floor, &ceiling), QDQ_OK);
    assert_int_equal(floor, 8 * 84 * 2 + 3 * 18);
    assert_int_equal(ceiling, (2048 + 2048 + 96) / 32 * 34);
    static const double damage[] = {8, 4, 2, 1};
    for (uint64_t budget = floor; budget <= ceiling; budget += 13) {
        double best = INFINITY;
        for (uint32_t a = 0; a < FORMATS; a++)
            for (uint32_t b = 0; b < FORMATS; b++)
                for (uint32_t c = Q4_0; c < FORMATS; c += 2) {
                    uint64_t bytes = UINT64_C(2048) / formats[a].block_elements * formats[a].block_bytes +
                                     UINT64_C(2048) / formats[b].block_elements * formats[b].block_bytes +
                                     UINT64_C(96) / formats[c].block_elements * formats[c].block_bytes;
                    double d = 16 * damage[a] + 32 * damage[b] + damage[c];
                    if (bytes <= budget && d < best) best = d;
                }
        uint32_t chosen[7];
        qdq_choose_result r;
        assert_int_equal(qdq_problem_solve(p, budget, chosen, &r), QDQ_OK);
        assert_true(r.damage == best);
    }
    qdq_problem_free(p);
}

static void rules_are_kept(void **unused) {
    (void)unused;
    for (uint64_t over = 0; over < 6000; over += 211) {
        uint32_t c[7];
        qdq_problem *p = make();
        assert_int_equal(qdq_problem_pin(p, "attn_v", "q8_0"), QDQ_OK);
        assert_int_equal(qdq_problem_minimum(p, "attn_k", "q4_K"), QDQ_OK); /* q4_0 has as many bits: allowed */
        const char *some[] = {"q2_K", "q4_0"};
        assert_int_equal(qdq_problem_allow(p, "attn_q|odd", 2, some), QDQ_OK);
        solve(p, over, c);
        assert_true(c[2] == Q8_0 && c[5] == Q8_0);
        assert_true(c[1] != Q2_K && c[4] != Q2_K);
        assert_true(c[0] <= Q4_0 && c[3] <= Q4_0 && c[6] == Q4_0);
        qdq_problem_free(p);
    }
}

static void expect_failure(qdq_status status, const char *words) {
    assert_int_equal(status, QDQ_INVALID_ARGUMENT);
    if (!strstr(qdq_error_message(), words)) fail_msg("\"%s\" lacks \"%s\"", qdq_error_message(), words);
}

static void refuses_rules_that_cannot_hold(void **unused) {
    (void)unused;
    qdq_problem *p = make();
    uint32_t before[7], after[7];
    solve(p, 1500, before);
    expect_failure(qdq_problem_pin(p, "nothing", "q8_0"), "no tensor's name matches \"nothing\"");
    expect_failure(qdq_problem_pin(p, "attn_v", "q9_0"), "q9_0 is not among the formats");
    expect_failure(qdq_problem_pin(p, NULL, "q4_K"), "leaves no format for odd.weight");
    expect_failure(qdq_problem_pin(p, "a(", "q4_K"), "regular expression \"a(\"");
    expect_failure(qdq_problem_same(p, "nothing"), "no tensor's name matches");
    expect_failure(qdq_problem_same(p, "((((((((((a))))))))))"), "parentheses");
    expect_failure(qdq_problem_label(p, 7, "x"), "tensor 7 of 7");
    expect_failure(qdq_problem_allow(p, NULL, 0, NULL), "leaves no format");
    solve(p, 1500, after); /* none of these changed anything */
    assert_memory_equal(before, after, sizeof before);
    /* a group without a common format */
    const char *k_quants[] = {"q2_K", "q4_K"};
    assert_int_equal(qdq_problem_allow(p, "blk.0.attn_q", 2, k_quants), QDQ_OK);
    assert_int_equal(qdq_problem_same(p, "odd|blk.0.attn_q"), QDQ_OK);
    uint64_t floor, ceiling;
    expect_failure(qdq_problem_range(p, &floor, &ceiling), "blk.0.attn_q.weight and the 1 tensors");
    qdq_problem_free(p);

    p = make();
    qdq_candidate c[FORMATS] = {{1, 1}, {1, 1}, {1, NAN}, {1, 1}};
    expect_failure(qdq_problem_add(p, "bad", c), "bad in q4_K: damage");
    for (int f = 0; f < FORMATS; f++) c[f].bytes = QDQ_NO_CANDIDATE;
    expect_failure(qdq_problem_add(p, "none", c), "none can have none of the formats");
    for (int f = 0; f < FORMATS; f++) c[f] = (qdq_candidate){UINT64_MAX - 1, 0};
    assert_int_equal(qdq_problem_add(p, "huge", c), QDQ_OK);
    expect_failure(qdq_problem_range(p, &floor, &ceiling), "2^63");
    assert_int_equal(qdq_problem_same(p, "huge|attn_q"), QDQ_OK);
    expect_failure(qdq_problem_range(p, &floor, &ceiling), "too large");
    qdq_problem_free(p);
    expect_failure(qdq_problem_create(0, formats, &p), "no formats");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_share_a_format),
        cmocka_unit_test(a_merged_group_is_chosen_best),
        cmocka_unit_test(rules_are_kept),
        cmocka_unit_test(refuses_rules_that_cannot_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
