/* The knapsack of src/plan/choose.h against trying everything. */
#include "plan/choose.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define MAX_GROUPS     8
#define MAX_CANDIDATES 12

static uint64_t seed;

static uint64_t draw(uint64_t below) { /* splitmix64 */
    uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return below ? z % below : z;
}

static double draw_unit(void) { return (double)(draw(0) >> 11) * 0x1p-53; }

typedef struct instance {
    size_t n;
    qdq_choose_group groups[MAX_GROUPS];
    qdq_candidate candidates[MAX_GROUPS][MAX_CANDIDATES];
} instance;

/* Kinds of instance: each another character. */
enum { SMALL, TIES, FALLING, LARGE, WIDE, ZEROS, EQUAL_SIZES, PROPORTIONAL, KINDS };

static void make(instance *x, int kind) {
    x->n = 1 + (size_t)draw(5);
    uint32_t most = x->n > 4 ? 5 : 7;
    for (size_t i = 0; i < x->n; i++) {
        uint32_t m = 1 + (uint32_t)draw(most);
        x->groups[i] = (qdq_choose_group){x->candidates[i], m};
        uint64_t size = 1 + draw(9);
        for (uint32_t c = 0; c < m; c++) {
            qdq_candidate *k = &x->candidates[i][c]; /* statements: initializers have no order */
            switch (kind) {
            case SMALL:
                k->bytes = draw(40);
                k->damage = (double)draw(100);
                break;
            case TIES:
                k->bytes = draw(4);
                k->damage = (double)draw(3);
                break;
            case FALLING: /* more bytes, less damage, as formats are */
                *k = (qdq_candidate){size * (2 + c), (double)(1000 >> c) + (double)draw(30) / 8};
                break;
            case LARGE: /* sums near 2^63 bytes and 2^52 damage */
                k->bytes = draw(UINT64_C(1) << 60);
                k->damage = (double)draw(UINT64_C(1) << 49);
                break;
            case WIDE:
                k->bytes = draw(1000);
                k->damage = (double)(1 + draw(7));
                k->damage = ldexp(k->damage, (int)draw(40) - 20);
                break;
            case ZEROS:
                k->bytes = draw(20);
                k->damage = draw(2) ? 0.0 : (double)draw(5);
                break;
            case EQUAL_SIZES: *k = (qdq_candidate){64 * (1 + c), (double)draw(50)}; break;
            default: k->bytes = 10 + draw(60), k->damage = (double)(100 - k->bytes); break;
            }
        }
    }
}

/* Least damage within the budget and, of those, fewest bytes. Returns 0 if nothing fits. */
static int try_everything(const instance *x, uint64_t budget, double *damage, uint64_t *bytes) {
    uint32_t at[MAX_GROUPS] = {0};
    int found = 0;
    for (;;) {
        uint64_t b = 0;
        double d = 0; /* exact: all kinds have damages whose sums fit 53 bits */
        for (size_t i = 0; i < x->n; i++) b += x->candidates[i][at[i]].bytes, d += x->candidates[i][at[i]].damage;
        if (b <= budget && (!found || d < *damage || (d == *damage && b < *bytes))) {
            found = 1;
            *damage = d;
            *bytes = b;
        }
        size_t i = 0;
        while (i < x->n && ++at[i] == x->groups[i].n_candidates) at[i++] = 0;
        if (i == x->n) return found;
    }
}

static void sum_chosen(const instance *x, const uint32_t *chosen, double *damage, uint64_t *bytes) {
    *damage = 0;
    *bytes = 0;
    for (size_t i = 0; i < x->n; i++) {
        assert_true(chosen[i] < x->groups[i].n_candidates);
        *damage += x->candidates[i][chosen[i]].damage;
        *bytes += x->candidates[i][chosen[i]].bytes;
    }
}

static void finds_what_trying_everything_finds(void **unused) {
    (void)unused;
    for (int kind = 0; kind < KINDS; kind++)
        for (int round = 0; round < 4000; round++) {
            seed = (uint64_t)kind * 1000003 + (uint64_t)round;
            instance x;
            make(&x, kind);
            uint64_t floor, ceiling;
            assert_int_equal(qdq_choose_range(x.n, x.groups, &floor, &ceiling), QDQ_OK);
            uint64_t budget = floor + (ceiling > floor ? draw(ceiling - floor + 1) : 0);
            if (round % 10 == 0) budget = floor;
            if (round % 10 == 1) budget = ceiling;

            uint32_t chosen[MAX_GROUPS];
            qdq_choose_result r;
            assert_int_equal(qdq_choose(x.n, x.groups, budget, chosen, &r), QDQ_OK);
            double damage = 0, best_damage = 0;
            uint64_t bytes = 0, best_bytes = 0;
            sum_chosen(&x, chosen, &damage, &bytes);
            assert_true(try_everything(&x, budget, &best_damage, &best_bytes));
            if (damage != best_damage || bytes != best_bytes || r.damage != damage || r.bytes != bytes || !r.proven ||
                r.lower_bound != damage || r.grid != 0) {
                fail_msg(
                    "kind %d round %d: damage %.17g, bytes %llu (reported %.17g, %llu, bound %.17g); best %.17g, %llu",
                    kind, round, damage, (unsigned long long)bytes, r.damage, (unsigned long long)r.bytes,
                    r.lower_bound, best_damage, (unsigned long long)best_bytes);
            }
        }
}

/* Damages with 53 random bits each: sums round, so equality holds within the stated grid and the sums' own rounding. */
static void finds_the_best_of_arbitrary_damages(void **unused) {
    (void)unused;
    for (int round = 0; round < 4000; round++) {
        seed = 77000000 + (uint64_t)round;
        instance x;
        make(&x, FALLING);
        for (size_t i = 0; i < x.n; i++)
            for (uint32_t c = 0; c < x.groups[i].n_candidates; c++)
                x.candidates[i][c].damage = draw_unit() * exp2((double)draw(20));
        uint64_t floor, ceiling;
        assert_int_equal(qdq_choose_range(x.n, x.groups, &floor, &ceiling), QDQ_OK);
        uint64_t budget = floor + draw(ceiling - floor + 1);
        uint32_t chosen[MAX_GROUPS];
        qdq_choose_result r;
        assert_int_equal(qdq_choose(x.n, x.groups, budget, chosen, &r), QDQ_OK);
        double damage, best_damage;
        uint64_t bytes, best_bytes;
        sum_chosen(&x, chosen, &damage, &bytes);
        assert_true(try_everything(&x, budget, &best_damage, &best_bytes));
        assert_true(r.proven);
        assert_true(damage <= best_damage * (1 + 8 * DBL_EPSILON) + r.grid);
        assert_true(fabs(r.damage - damage) <= 8 * DBL_EPSILON * damage + r.grid);
    }
}

static void a_larger_budget_never_has_more_damage(void **unused) {
    (void)unused;
    for (int kind = 0; kind < KINDS; kind++)
        for (int round = 0; round < 60; round++) {
            seed = 5000000 + (uint64_t)kind * 1000 + (uint64_t)round;
            instance x;
            make(&x, kind);
            for (size_t i = 0; i < x.n && round % 2; i++)
                for (uint32_t c = 0; c < x.groups[i].n_candidates; c++) x.candidates[i][c].damage *= draw_unit();
            uint64_t floor, ceiling;
            assert_int_equal(qdq_choose_range(x.n, x.groups, &floor, &ceiling), QDQ_OK);
            uint64_t stride = (ceiling - floor) / 50 + 1;
            double before = INFINITY;
            for (uint64_t budget = floor; budget <= ceiling && budget >= floor; budget += stride) {
                uint32_t chosen[MAX_GROUPS];
                qdq_choose_result r;
                assert_int_equal(qdq_choose(x.n, x.groups, budget, chosen, &r), QDQ_OK);
                assert_true(r.bytes <= budget);
                assert_true(r.damage <= before);
                before = r.damage;
            }
        }
}

/* Which of several best assignments is part of the contract: the indices, hashed, as they come on every machine. Kinds
 * with ties, and larger instances cut short, where the search decides what is found. */
static void ties_are_broken_alike_everywhere(void **unused) {
    (void)unused;
    enum { MANY = 300, WAYS = 6 };
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int kind = 0; kind < KINDS; kind++)
        for (int round = 0; round < 500; round++) {
            seed = 8000000 + (uint64_t)kind * 1000 + (uint64_t)round;
            instance x;
            make(&x, kind);
            uint64_t floor, ceiling;
            uint32_t chosen[MAX_GROUPS];
            qdq_choose_result r;
            assert_int_equal(qdq_choose_range(x.n, x.groups, &floor, &ceiling), QDQ_OK);
            uint64_t budget = floor + draw(ceiling - floor + 1);
            assert_int_equal(qdq_choose(x.n, x.groups, budget, chosen, &r), QDQ_OK);
            for (size_t i = 0; i < x.n; i++) hash = (hash ^ chosen[i]) * UINT64_C(0x100000001b3);
        }
    static qdq_candidate candidates[MANY][WAYS];
    static qdq_choose_group groups[MANY];
    for (int round = 0; round < 12; round++) {
        seed = 9000000 + (uint64_t)round;
        for (size_t i = 0; i < MANY; i++) {
            for (size_t c = 0; c < WAYS; c++) { /* few sizes, and damages in proportion or nearly so */
                candidates[i][c].bytes = (c + 2) * (1 + draw(3)) * 32;
                candidates[i][c].damage = (double)(4096 - candidates[i][c].bytes) + (round % 2 ? (double)draw(2) : 0);
            }
            groups[i] = (qdq_choose_group){candidates[i], WAYS};
        }
        uint64_t floor, ceiling;
        uint32_t chosen[MANY];
        qdq_choose_result r;
        assert_int_equal(qdq_choose_range(MANY, groups, &floor, &ceiling), QDQ_OK);
        uint64_t budget = floor + draw(ceiling - floor + 1);
        assert_int_equal(qdq_choose_limited(MANY, groups, budget, round < 6 ? 2000 : QDQ_CHOOSE_STATES, chosen, &r),
                         QDQ_OK);
        for (size_t i = 0; i < MANY; i++) hash = (hash ^ chosen[i]) * UINT64_C(0x100000001b3);
    }
    if (hash != UINT64_C(0x21da68022b5a7dca)) fail_msg("the choices hash to %016llx", (unsigned long long)hash);
}

static void damages_of_any_magnitude(void **unused) {
    (void)unused;
    /* a candidate far worse than the smallest assignment's whole damage does not cost the others their digits */
    qdq_candidate a[2] = {{1, 1e-12}, {2, 1e300}}, b[2] = {{10, 3e-12}, {12, 1e-12}};
    qdq_choose_group groups[2] = {{a, 2}, {b, 2}};
    uint32_t chosen[2];
    qdq_choose_result r;
    assert_int_equal(qdq_choose(2, groups, 13, chosen, &r), QDQ_OK);
    assert_int_equal(chosen[0], 0);
    assert_int_equal(chosen[1], 1);
    /* the smallest assignment has it: what is lost is said */
    qdq_candidate c[2] = {{1, DBL_MAX}, {2, 0x1p-1074}};
    groups[0] = (qdq_choose_group){c, 2};
    assert_int_equal(qdq_choose(2, groups, 14, chosen, &r), QDQ_OK);
    assert_int_equal(chosen[0], 1);
    assert_int_equal(qdq_choose(2, groups, 11, chosen, &r), QDQ_OK);
    assert_int_equal(chosen[0], 0);
    assert_true(r.grid > 0 && r.grid <= DBL_MAX * 0x1p-98);
    /* subnormal */
    qdq_candidate d[2] = {{1, 0x1p-1073}, {2, 0x1p-1074}}, e[2] = {{1, 0x1p-1074}, {2, 0}};
    groups[0] = (qdq_choose_group){d, 2};
    groups[1] = (qdq_choose_group){e, 2};
    assert_int_equal(qdq_choose(2, groups, 3, chosen, &r), QDQ_OK);
    assert_true(r.damage == 0x1p-1073 && r.proven);
}

static void refuses_what_cannot_be(void **unused) {
    (void)unused;
    qdq_candidate a[2] = {{100, 2}, {200, 1}}, b[1] = {{50, 0}};
    qdq_choose_group groups[2] = {{a, 2}, {b, 1}};
    uint32_t chosen[2];
    qdq_choose_result r;
    assert_int_equal(qdq_choose(2, groups, 149, chosen, &r), QDQ_INVALID_ARGUMENT);
    assert_string_equal(qdq_error_message(),
                        "the budget of 149 bytes is too small: the candidates take from 150 to 250 bytes");
    assert_int_equal(qdq_choose(2, groups, 251, chosen, &r), QDQ_INVALID_ARGUMENT);
    assert_string_equal(qdq_error_message(),
                        "the budget of 251 bytes is more than can be used: the candidates take from 150 to 250 bytes");
    double wrong[] = {-1, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        a[1].damage = wrong[i];
        assert_int_equal(qdq_choose(2, groups, 150, chosen, &r), QDQ_INVALID_ARGUMENT);
        assert_non_null(strstr(qdq_error_message(), "group 0, candidate 1: damage"));
    }
    a[1] = (qdq_candidate){INT64_MAX, 1};
    assert_int_equal(qdq_choose(2, groups, 150, chosen, &r), QDQ_INVALID_ARGUMENT);
    assert_non_null(strstr(qdq_error_message(), "2^63"));
    groups[1].n_candidates = 0;
    assert_int_equal(qdq_choose(2, groups, 150, chosen, &r), QDQ_INVALID_ARGUMENT);
    assert_int_equal(qdq_choose(2, NULL, 150, chosen, &r), QDQ_INVALID_ARGUMENT);
    assert_int_equal(qdq_choose(0, NULL, 0, NULL, &r), QDQ_OK);
    assert_int_equal(qdq_choose(0, NULL, 1, NULL, &r), QDQ_INVALID_ARGUMENT);
}

/* ---- The size of real models ---- */

#define TENSORS 2000
#define FORMATS 25

static const double bits_of[FORMATS] = {1.125, 1.5625, 1.6875, 1.75,   2.0625, 2.0625, 2.25, 2.3125, 2.5625,
                                        2.625, 3.0625, 3.4375, 3.4375, 4.25,   4.25,   4.5,  4.5,    4.5,
                                        4.5,   5.0,    5.5,    5.5,    6.0,    6.5625, 8.5};

/* kind 0: layers of seven shapes, as a model has; 1: every tensor another size; 2: sizes and damages at random;
 * 3: damage falls with the bytes in proportion, which leaves the relaxation nothing to tell formats apart. */
static void make_model(qdq_candidate *candidates, qdq_choose_group *groups, int kind) {
    static const uint64_t shapes[7] = {4096 * 4096,  4096 * 1024,  4096 * 1024, 4096 * 4096,
                                       4096 * 14336, 4096 * 14336, 14336 * 4096};
    for (size_t i = 0; i < TENSORS; i++) {
        uint64_t elements = kind == 0 ? shapes[i % 7] : 256 * (1 + draw(1u << 18));
        double sensitivity = exp(3 * draw_unit()) * (double)elements;
        for (size_t f = 0; f < FORMATS; f++) {
            qdq_candidate *c = &candidates[i * FORMATS + f];
            c->bytes = (uint64_t)((double)elements / 256 * bits_of[f] * 32);
            c->damage = sensitivity * exp2(-2 * bits_of[f]) * (0.7 + 0.6 * draw_unit());
            if (kind == 2) *c = (qdq_candidate){draw(UINT64_C(1) << 32), draw_unit()};
            if (kind == 3) c->damage = (double)(elements * 16 - c->bytes);
        }
        groups[i] = (qdq_choose_group){&candidates[i * FORMATS], FORMATS};
    }
}

static void two_thousand_tensors(void **unused) {
    (void)unused;
    qdq_candidate *candidates = malloc(TENSORS * FORMATS * sizeof *candidates);
    qdq_choose_group *groups = malloc(TENSORS * sizeof *groups);
    uint32_t *chosen = malloc(TENSORS * sizeof *chosen);
    assert_true(candidates && groups && chosen);
    for (int kind = 0; kind < 4; kind++) {
        seed = 42 + (uint64_t)kind;
        make_model(candidates, groups, kind);
        uint64_t floor, ceiling;
        assert_int_equal(qdq_choose_range(TENSORS, groups, &floor, &ceiling), QDQ_OK);
        double before = INFINITY, slowest = 0;
        for (int k = 0; k <= 20; k += kind == 3 ? 5 : 1) {
            uint64_t budget = floor + (ceiling - floor) / 20 * (uint64_t)k + (k ? 12345 : 0);
            if (budget > ceiling) budget = ceiling;
            qdq_choose_result r;
            clock_t start = clock();
            assert_int_equal(qdq_choose(TENSORS, groups, budget, chosen, &r), QDQ_OK);
            double ms = 1e3 * (double)(clock() - start) / CLOCKS_PER_SEC;
            if (ms > slowest) slowest = ms;
            uint64_t bytes = 0;
            for (size_t i = 0; i < TENSORS; i++) bytes += groups[i].candidates[chosen[i]].bytes;
            assert_true(bytes == r.bytes && bytes <= budget);
            assert_true(r.lower_bound <= r.damage);
            if (kind == 3) {
                assert_true(r.damage - r.lower_bound <= 1e-9 * r.damage);
            } else {
                assert_true(r.proven);
                assert_true(r.damage <= before);
            }
            before = r.damage;
        }
        print_message("kind %d: %.0f ms or less\n", kind, slowest);
    }
    free(candidates);
    free(groups);
    free(chosen);
}

/* A search that is cut says what it does not know. */
static void a_cut_search_states_its_gap(void **unused) {
    (void)unused;
    int cut = 0;
    for (int round = 0; round < 2000; round++) {
        seed = 900000 + (uint64_t)round;
        instance x;
        make(&x, round % 2 ? SMALL : WIDE);
        uint64_t floor, ceiling;
        assert_int_equal(qdq_choose_range(x.n, x.groups, &floor, &ceiling), QDQ_OK);
        uint64_t budget = floor + draw(ceiling - floor + 1);
        uint32_t chosen[MAX_GROUPS];
        qdq_choose_result r;
        assert_int_equal(qdq_choose_limited(x.n, x.groups, budget, 1 + draw(4), chosen, &r), QDQ_OK);
        double damage, best_damage;
        uint64_t bytes, best_bytes;
        sum_chosen(&x, chosen, &damage, &bytes);
        assert_true(try_everything(&x, budget, &best_damage, &best_bytes));
        assert_true(bytes <= budget && damage == r.damage && bytes == r.bytes);
        assert_true(damage >= best_damage);
        if (r.lower_bound > best_damage)
            fail_msg("round %d: bound %.17g, best %.17g", round, r.lower_bound, best_damage);
        if (r.proven) assert_true(damage == best_damage);
        cut += !r.proven;
    }
    assert_true(cut > 50);
}

/* One knapsack for many budgets, in any order, gives what each alone does. */
static void many_budgets_of_one_knapsack(void **unused) {
    (void)unused;
    for (int kind = 0; kind < 12 * KINDS; kind++) {
        instance x;
        uint64_t floor, ceiling;
        qdq_knapsack *knapsack;
        uint32_t alone[MAX_GROUPS], together[MAX_GROUPS];
        qdq_choose_result a, b;
        seed = 3000000 + (uint64_t)kind;
        make(&x, kind % KINDS);
        assert_int_equal(qdq_choose_range(x.n, x.groups, &floor, &ceiling), QDQ_OK);
        assert_int_equal(qdq_knapsack_create(x.n, x.groups, &knapsack), QDQ_OK);
        for (uint64_t k = 0; k < 12; k++) {
            uint64_t budget = floor + (ceiling - floor) / 11 * (k * 5 % 12);
            assert_int_equal(qdq_choose(x.n, x.groups, budget, alone, &a), QDQ_OK);
            assert_int_equal(qdq_knapsack_solve(knapsack, budget, QDQ_CHOOSE_STATES, together, &b), QDQ_OK);
            assert_memory_equal(alone, together, x.n * sizeof *alone);
            assert_true(a.bytes == b.bytes && a.damage == b.damage && a.lower_bound == b.lower_bound &&
                        a.grid == b.grid && a.proven == b.proven && a.states == b.states);
        }
        assert_int_equal(qdq_knapsack_solve(knapsack, ceiling + 1, 1, together, &b), QDQ_INVALID_ARGUMENT);
        qdq_knapsack_free(knapsack);
    }
    qdq_knapsack_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_trying_everything_finds),
        cmocka_unit_test(finds_the_best_of_arbitrary_damages),
        cmocka_unit_test(a_larger_budget_never_has_more_damage),
        cmocka_unit_test(ties_are_broken_alike_everywhere),
        cmocka_unit_test(damages_of_any_magnitude),
        cmocka_unit_test(refuses_what_cannot_be),
        cmocka_unit_test(many_budgets_of_one_knapsack),
        cmocka_unit_test(a_cut_search_states_its_gap),
        cmocka_unit_test(two_thousand_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
