/* The files of plans and scores, and targets: what is written is read back, what is broken is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan/plan_file.h"
#include "plan/scores.h"
#include "plan/usual.h"

/* ---- Targets ---- */

static void test_targets(void **state) {
    (void)state;
    static const struct {
        const char *text;
        qdq_target_kind kind;
        double value;
    } good[] = {{"4.5bpw", QDQ_TARGET_BITS, 4.5},      {"6.25 GiB", QDQ_TARGET_BYTES, 6.25 * 0x1p30},
                {"6.25gb", QDQ_TARGET_BYTES, 6.25e9},  {"30%", QDQ_TARGET_PERCENT, 30},
                {"123456B", QDQ_TARGET_BYTES, 123456}, {".5MiB", QDQ_TARGET_BYTES, 0x1p19},
                {"7KB", QDQ_TARGET_BYTES, 7000}};
    static const char *const bad[] = {"",    "4.5",         "bpw",     "-3bpw", "0bpw",
                                      "0%",  "nan%",        "inf GiB", "1e3B",  "4..5bpw",
                                      "GiB", "4.5 bananas", "4.5bpw ", "0x10B", "99999999TiB"};
    qdq_target target;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (qdq_target_parse(good[i].text, &target) != QDQ_OK) fail_msg("%s: %s", good[i].text, qdq_error_message());
        assert_int_equal(target.kind, good[i].kind);
        assert_true(target.value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (qdq_target_parse(bad[i], &target) != QDQ_INVALID_ARGUMENT) fail_msg("'%s' was taken", bad[i]);
}

static void test_target_bytes(void **state) {
    (void)state;
    qdq_target bits = {QDQ_TARGET_BITS, 4.5}, bytes = {QDQ_TARGET_BYTES, 1000.9}, percent = {QDQ_TARGET_PERCENT, 25};
    assert_int_equal(qdq_target_bytes(&bits, 100, 1024, 4096), 100 + 576);
    assert_int_equal(qdq_target_bytes(&bytes, 100, 1024, 4096), 1000);
    assert_int_equal(qdq_target_bytes(&percent, 100, 1024, 4096), 100 + 1024);
}

/* ---- Plans ---- */

static const uint64_t shape[] = {2, 256}, vector[] = {7};
static const qdq_plan_choice choices[] = {{"q4_0", 288, 0.1, 0}, {"q8_0", 544, 0.3e-17, 0}, {"source", 2048, 0, 0}};

static const char *const of_planned[] = {"q4_0"};
static const qdq_plan_baseline baselines[] = {{"q4_0", false, true, 420, 0, 0.1, 0.1, of_planned, 1},
                                              {"Q8_0", true, true, 3000, 0, 0.3e-17, 0.3e-17, NULL, 0}};

static qdq_plan sample(qdq_plan_tensor tensors[2]) {
    tensors[0] =
        (qdq_plan_tensor){"a\"weight", "F32", "blk.0.a.weight", NULL, NULL, shape, 2, 512, choices, 3, 1, 544, 0};
    tensors[1] = (qdq_plan_tensor){"norm", "F32", NULL, NULL, "1 dimension", vector, 1, 7, NULL, 0, 0, 32, 0};
    return (qdq_plan){.model = "model.gguf",
                      .score = "relative",
                      .target = "5bpw",
                      .cost = QDQ_PLAN_SIZE,
                      .budget = 700,
                      .bytes = 100 + 544 + 32,
                      .floor = 420,
                      .ceiling = 2180,
                      .overhead = 100,
                      .elements = 519,
                      .damage = 0.3e-17,
                      .lower_bound = 0,
                      .proven = true,
                      .n_baselines = 2,
                      .baselines = baselines,
                      .n_tensors = 2,
                      .tensors = tensors};
}

static char *text_of(const qdq_plan *plan) {
    qdq_builder built = {0};
    qdq_plan_put(plan, 0, &built);
    char *text = qdq_builder_take(&built);
    assert_non_null(text);
    return text;
}

static void test_plan_is_read_back(void **state) {
    (void)state;
    qdq_plan_tensor tensors[2];
    qdq_plan plan = sample(tensors), back;
    char *text = text_of(&plan);
    assert_int_equal(qdq_plan_read("p", text, strlen(text), &back), QDQ_OK);
    char *again = text_of(&back);
    assert_string_equal(text, again);
    assert_int_equal(back.n_tensors, 2);
    assert_string_equal(back.tensors[0].name, "a\"weight");
    assert_int_equal(back.tensors[0].chosen, 1);
    assert_true(back.tensors[0].choices[1].damage == 0.3e-17);
    assert_int_equal(qdq_plan_format(&back.tensors[0]), qdq_format_by_name("q8_0"));
    assert_int_equal(qdq_plan_format(&back.tensors[1]), QDQ_FORMAT_NONE);
    assert_string_equal(back.tensors[1].reason, "1 dimension");
    assert_true(isnan(back.forecast.kl));
    assert_true(back.n_baselines == 2 && back.baselines[0].n_formats == 1 && back.baselines[1].formats == NULL);
    assert_string_equal(back.baselines[0].formats[0], "q4_0");
    free(text);
    free(again);
    qdq_plan_clear(&back);
    plan.score = "squared";
    plan.damage = 51.2;
    plan.tokens = 256;
    text = text_of(&plan);
    assert_int_equal(qdq_plan_read("p", text, strlen(text), &back), QDQ_OK);
    assert_true(back.tokens == 256 && back.forecast.kl == 0.1);
    again = text_of(&back);
    assert_string_equal(text, again);
    free(text);
    free(again);
    qdq_plan_clear(&back);
}

/* ---- Forecasts ---- */

static void test_forecast(void **state) {
    (void)state;
    qdq_forecast f = qdq_forecast_of("squared", 12.8, 64);
    assert_true(f.kl == 0.1 && f.least < f.kl && f.kl < f.most);
    assert_non_null(strstr(f.text, "Expected KL divergence: 0.1 nats a token"));
    f = qdq_forecast_of("squared", 0, 64);
    assert_true(f.kl == 0 && f.least == 0 && f.most == 0);
    f = qdq_forecast_of("squared", 1280, 64); /* beyond what the second order tells */
    assert_true(f.kl == 10 && isnan(f.least) && isnan(f.most));
    assert_non_null(strstr(f.text, "more than this estimate can tell"));
    static const struct {
        const char *score;
        double tokens;
        const char *why;
    } none[] = {{"squared", 0, "tokens_per_sample"},
                {"squared", 1e-300, "tokens_per_sample"},
                {"kinds", 64, "no unit"},
                {"absolute", 64, "no unit"},
                {"of another version", 64, "no unit"}};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        f = qdq_forecast_of(none[i].score, 12.8, none[i].tokens);
        assert_true(isnan(f.kl) && isnan(f.least) && isnan(f.most));
        assert_non_null(strstr(f.text, none[i].why));
    }
    /* The longest sentences are whole. */
    static const double damages[] = {1.23456789e-300, 1.23456789e+300};
    for (size_t i = 0; i < 2; i++) {
        f = qdq_forecast_of("squared", damages[i], 123.456);
        assert_true(f.text[strlen(f.text) - 1] == '.');
    }
}

/* The plan with one thing replaced. */
static void expect_refused(const char *from, const char *to) {
    qdq_plan_tensor tensors[2];
    qdq_plan plan = sample(tensors), back;
    char *text = text_of(&plan), changed[4096], *at = strstr(text, from);
    if (at == NULL) fail_msg("no %s in %s", from, text);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    if (qdq_plan_read("file.json", changed, strlen(changed), &back) != QDQ_BAD_DATA)
        fail_msg("%s for %s was taken", to, from);
    assert_non_null(strstr(qdq_error_message(), "file.json"));
    free(text);
}

static void test_broken_plans_are_refused(void **state) {
    (void)state;
    expect_refused("qdq.plan/1", "qdq.plan/2");
    expect_refused("\"model\":\"model.gguf\"", "\"model\":3");
    expect_refused("\"bytes\":676", "\"bytes\":677");
    expect_refused("\"bytes\":676", "\"bytes\":-1");
    expect_refused("\"damage\":0.0", "\"damage\":\"0\"");
    expect_refused("\"format\":\"q8_0\",\"bytes\":544,\"choices\"", "\"format\":\"q9_9\",\"bytes\":544,\"choices\"");
    expect_refused("\"shape\":[2,256]", "\"shape\":[2,-256]");
    expect_refused("\"shape\":[2,256]", "\"shape\":[9223372036854775807,256]");
    expect_refused("\"tensors\":[", "\"tensors\":[3, ");
    expect_refused("{", "");
    expect_refused("\"proven\"", "\"score\"");
    expect_refused("\"tokens_per_sample\":null", "\"tokens_per_sample\":-3");
    expect_refused("\"tokens_per_sample\":null", "\"tokens_per_sample\":\"12\"");
    static const char *const formats[] = {
        "[\"q4_0\",\"q4_0\"]", "[]", "[\"q9_9\"]", "[4]", "\"q4_0\"", "[\"q4_0\"", "[\"q4_0\"],\"formats\":[\"q4_0\"]"};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        char to[64];
        snprintf(to, sizeof to, "\"formats\":%s", formats[i]);
        expect_refused("\"formats\":[\"q4_0\"]", to);
    }
}

static void expect_refused_per_token(const char *from, const char *to) {
    static const qdq_plan_choice two[] = {{"q4_0", 288, 0.125, 100}, {"q8_0", 544, 0.0625, 200}};
    qdq_plan_tensor tensors[2];
    qdq_plan plan = sample(tensors), back;
    plan.cost = QDQ_PLAN_TOKEN;
    plan.token_bytes = 228;
    tensors[0].choices = two;
    tensors[0].n_choices = 2;
    tensors[0].token_bytes = 200;
    tensors[1].token_bytes = 28;
    char *text = text_of(&plan), changed[4096], *at = strstr(text, from);
    if (at == NULL) fail_msg("no %s in %s", from, text);
    assert_int_equal(qdq_plan_read("p", text, strlen(text), &back), QDQ_OK);
    assert_true(qdq_plan_is_per_token(&back) && back.token_bytes == 228 &&
                back.tensors[0].choices[0].token_bytes == 100);
    char *again = text_of(&back);
    assert_string_equal(text, again);
    free(again);
    qdq_plan_clear(&back);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    if (qdq_plan_read("file.json", changed, strlen(changed), &back) != QDQ_BAD_DATA)
        fail_msg("%s for %s was taken", to, from);
    assert_non_null(strstr(qdq_error_message(), "file.json"));
    free(text);
}

static void test_broken_plans_per_token_are_refused(void **state) {
    (void)state;
    expect_refused_per_token("\"cost\":\"token\"", "\"cost\":\"time\"");
    expect_refused_per_token("\"cost\":\"token\"", "\"cost\":\"size\",\"slow\":\"q4_0=2\"");
    expect_refused_per_token("\"cost\":\"token\"", "\"cost\":\"token\",\"slow\":2");
    expect_refused_per_token("\"token_bytes\":228", "\"token_bytes\":229");
    expect_refused_per_token("\"token_bytes\":28", "\"token_bytes\":18446744073709551600");
    expect_refused_per_token("\"damage\":0.0625,\"token_bytes\":200", "\"damage\":0.0625,\"token_bytes\":201");
    expect_refused_per_token("\"damage\":0.125,\"token_bytes\":100", "\"damage\":0.125,\"token_bytes\":-1");
}

/* ---- What is usual ---- */

/* Three tensors of levels 1, 100 and 1e-4, in formats of levels 1, 2, 4 and 8. */
enum { LEVELS = 3, COLUMNS = 4 };
static void fill_usual(double damage[LEVELS * COLUMNS]) {
    static const double levels[LEVELS] = {1, 100, 1e-4};
    for (int t = 0; t < LEVELS; t++)
        for (int f = 0; f < COLUMNS; f++) damage[t * COLUMNS + f] = levels[t] * (1 << f);
}

static void expect_usual_stays(size_t missing, double tolerance) {
    double damage[LEVELS * COLUMNS], before[LEVELS * COLUMNS];
    fill_usual(damage);
    fill_usual(before);
    if (missing < LEVELS * COLUMNS) before[missing] = damage[missing] = 0;
    assert_int_equal(qdq_raise_to_usual(LEVELS, COLUMNS, damage), QDQ_OK);
    for (int i = 0; i < LEVELS * COLUMNS; i++) assert_true(fabs(damage[i] - before[i]) <= tolerance * before[i]);
}

/* Also where a tensor cannot have a format, or keeps its codes in it: then levels only settle round by round. */
static void test_what_is_usual_stays(void **state) {
    (void)state;
    expect_usual_stays(SIZE_MAX, 1e-14);
    for (size_t i = 0; i < LEVELS * COLUMNS; i++) expect_usual_stays(i, 1e-6);
}

/* One that is a thousandth of what it should be is raised, to more than ten times itself and less than what is usual;
 * one that is more than usual stays, and none becomes less. */
static void test_what_is_better_than_usual_is_raised(void **state) {
    (void)state;
    double damage[LEVELS * COLUMNS], before[LEVELS * COLUMNS];
    fill_usual(before);
    before[2] /= 1000;
    before[11] *= 50;
    memcpy(damage, before, sizeof damage);
    assert_int_equal(qdq_raise_to_usual(LEVELS, COLUMNS, damage), QDQ_OK);
    for (int i = 0; i < LEVELS * COLUMNS; i++) assert_true(damage[i] >= before[i]);
    assert_true(damage[2] > 10 * before[2] && damage[2] < 1000 * before[2]);
    assert_true(damage[11] == before[11]);
    /* Whatever the unit. */
    double again[LEVELS * COLUMNS];
    for (int i = 0; i < LEVELS * COLUMNS; i++) again[i] = before[i] * 0x1p-40;
    assert_int_equal(qdq_raise_to_usual(LEVELS, COLUMNS, again), QDQ_OK);
    for (int i = 0; i < LEVELS * COLUMNS; i++) assert_true(fabs(again[i] * 0x1p40 - damage[i]) <= 1e-12 * damage[i]);
}

/* Nothing that is not finite comes of what is. */
static void test_usual_of_extremes(void **state) {
    (void)state;
    static const double extremes[] = {0, 5e-324, 1e-300, 1, 1e300, 1.7e308};
    enum { N = sizeof extremes / sizeof *extremes };
    for (unsigned seed = 0; seed < 500; seed++) {
        double damage[LEVELS * COLUMNS];
        unsigned x = seed * 2654435761u + 1;
        for (int i = 0; i < LEVELS * COLUMNS; i++) damage[i] = extremes[(x = x * 1664525u + 1013904223u) / 65536 % N];
        assert_int_equal(qdq_raise_to_usual(LEVELS, COLUMNS, damage), QDQ_OK);
        for (int i = 0; i < LEVELS * COLUMNS; i++) assert_true(damage[i] >= 0 && damage[i] < INFINITY);
    }
    assert_int_equal(qdq_raise_to_usual(0, 0, NULL), QDQ_OK);
}

/* ---- Scores ---- */

static const qdq_scores_inputs inputs = {.weights = "w1", .gradients = "g1"};

static char *sample_scores(void) {
    qdq_scores *scores;
    qdq_scores_error error = {0.1, 1e300};
    qdq_sensitivity_sums sums = {.signed_sum = -1.0 / 3, .absolute = 2, .squared = 5e-324};
    assert_int_equal(qdq_scores_create(&inputs, &scores), QDQ_OK);
    assert_int_equal(qdq_scores_set_error(scores, "t", "q4_0", &error), QDQ_OK);
    assert_int_equal(qdq_scores_set_gradient(scores, "t", "q8_0", &sums), QDQ_OK);
    assert_int_equal(qdq_scores_set_energy(scores, "t", 0.7), QDQ_OK);
    error.err2 = (double)INFINITY;
    assert_int_equal(qdq_scores_set_error(scores, "t", "q5_0", &error), QDQ_BAD_DATA);
    char *text = qdq_scores_text(scores);
    qdq_scores_free(scores);
    assert_non_null(text);
    return text;
}

static void test_scores_are_read_back(void **state) {
    (void)state;
    char *text = sample_scores();
    qdq_scores *scores;
    qdq_scores_error error;
    qdq_sensitivity_sums sums;
    assert_int_equal(qdq_scores_read("s", text, strlen(text), &inputs, &scores), QDQ_OK);
    assert_true(qdq_scores_get_error(scores, "t", "q4_0", &error));
    assert_true(error.err2 == 0.1 && error.ww == 1e300);
    assert_true(qdq_scores_get_gradient(scores, "t", "q8_0", &sums));
    assert_true(sums.signed_sum == -1.0 / 3 && sums.absolute == 2 && sums.squared == 5e-324);
    assert_true(qdq_scores_get_energy(scores, "t", &error.ww) && error.ww == 0.7);
    assert_false(qdq_scores_get_energy(scores, "other", &error.ww));
    assert_false(qdq_scores_get_error(scores, "t", "q8_0", &error));
    assert_false(qdq_scores_get_error(scores, "other", "q4_0", &error));
    assert_false(qdq_scores_get_error(scores, "t", "q5_0", &error));
    qdq_scores_free(scores);
    free(text);
}

static void expect_stale(const qdq_scores_inputs *now, const char *from, const char *to) {
    char *text = sample_scores(), changed[4096], *at = from != NULL ? strstr(text, from) : text;
    qdq_scores *scores;
    if (at == NULL) fail_msg("no %s in %s", from, text);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + (from != NULL ? strlen(from) : 0));
    if (qdq_scores_read("s.json", changed, strlen(changed), now, &scores) != QDQ_BAD_DATA)
        fail_msg("%s for %s was taken", to, from);
    assert_non_null(strstr(qdq_error_message(), "s.json"));
    free(text);
}

static void test_stale_scores_are_refused(void **state) {
    (void)state;
    expect_stale(&(qdq_scores_inputs){.weights = "w2", .gradients = "g1"}, NULL, "");
    expect_stale(&(qdq_scores_inputs){.weights = "w1", .gradients = "g2"}, NULL, "");
    expect_stale(&(qdq_scores_inputs){.weights = "w1", .gradients = "g1", .importance = "i"}, NULL, "");
    expect_stale(&inputs, "qdq.scores/1", "qdq.scores/0");
    expect_stale(&inputs, qdq_version(), "0.0.1");
    expect_stale(&inputs, "18\n", "19\n"); /* bytes a block of q4_0 */
    expect_stale(&inputs, "{", "[");
    expect_stale(&inputs, "0.1", "\"x\"");
    qdq_scores *scores;
    char *text = sample_scores();
    assert_int_equal(qdq_scores_read("s", text, strlen(text), &(qdq_scores_inputs){.weights = "w1"}, &scores), QDQ_OK);
    qdq_scores_free(scores);
    free(text);
}

/* Any byte of the file: no other plan comes of it. */
static void test_scores_with_a_changed_byte_are_refused(void **state) {
    (void)state;
    char *text = sample_scores();
    size_t length = strlen(text);
    for (size_t at = 0; at < length; at++)
        for (int bit = 0; bit < 8; bit++) {
            qdq_scores *scores;
            text[at] ^= (char)(1 << bit);
            if (qdq_scores_read("s.json", text, length, &inputs, &scores) != QDQ_BAD_DATA)
                fail_msg("byte %zu with bit %d flipped was taken: %s", at, bit, text);
            assert_non_null(strstr(qdq_error_message(), "s.json"));
            text[at] ^= (char)(1 << bit);
        }
    for (size_t at = 0; at + 1 < length; at++) {
        qdq_scores *scores;
        char *shorter = strdup(text);
        memmove(shorter + at, shorter + at + 1, length - at);
        assert_int_equal(qdq_scores_read("s.json", shorter, length - 1, &inputs, &scores), QDQ_BAD_DATA);
        free(shorter);
    }
    free(text);
}

/* The text with `from` become `to`, and the checksum of that. */
static void expect_bad_sum(const char *from, const char *to, const char *why) {
    char *text = sample_scores(), changed[4096], *at = strstr(text, from);
    assert_non_null(at);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    char *end = strstr(changed, ",\n \"checksum\": \"");
    for (char *c = changed; c < end; c++) hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    sprintf(strchr(end, ':'), ": \"%016llx\"\n}\n", (unsigned long long)hash);
    qdq_scores *scores;
    assert_int_equal(qdq_scores_read("s.json", changed, strlen(changed), &inputs, &scores), QDQ_BAD_DATA);
    if (strstr(qdq_error_message(), why) == NULL) fail_msg("%s", qdq_error_message());
    free(text);
}

static void test_sums_are_what_sums_can_be(void **state) {
    (void)state;
    expect_bad_sum("1.0000000000000001e+300", "-1.0", "s.json: tensor \"t\", format \"q4_0\"");
    expect_bad_sum("2.0", "-2.0", "s.json: tensor \"t\", format \"q8_0\"");
    expect_bad_sum("0.69999999999999996", "-0.5", "s.json: the energy of \"t\"");
    expect_bad_sum("0.69999999999999996", "\"x\"", "s.json: the energy of \"t\"");
}

/* A map of names that has changed: another gradient, or another entry of the importance matrix, goes with a tensor. */
static void test_scores_of_other_sources_are_refused(void **state) {
    (void)state;
    qdq_scores *scores;
    qdq_scores_error error = {1, 2};
    qdq_sensitivity_sums sums = {.absolute = 1};
    assert_int_equal(qdq_scores_create(&inputs, &scores), QDQ_OK);
    assert_int_equal(qdq_scores_match(scores, "s.json", "t", "g of t", NULL), QDQ_OK);
    assert_int_equal(qdq_scores_match(scores, "s.json", "t", "g of u", "i"), QDQ_OK); /* nothing is measured yet */
    assert_int_equal(qdq_scores_set_error(scores, "t", "q4_0", &error), QDQ_OK);
    assert_int_equal(qdq_scores_match(scores, "s.json", "t", "g of t", "i"), QDQ_OK); /* no gradient was used */
    assert_int_equal(qdq_scores_match(scores, "s.json", "t", NULL, NULL), QDQ_BAD_DATA);
    assert_int_equal(qdq_scores_set_gradient(scores, "t", "q4_0", &sums), QDQ_OK);
    char *text = qdq_scores_text(scores);
    qdq_scores_free(scores);
    assert_int_equal(qdq_scores_read("s.json", text, strlen(text), &inputs, &scores), QDQ_OK);
    free(text);
    assert_int_equal(qdq_scores_match(scores, "s.json", "t", "g of t", "i"), QDQ_OK);
    assert_int_equal(qdq_scores_match(scores, "s.json", "t", NULL, "i"), QDQ_OK);
    assert_int_equal(qdq_scores_match(scores, "s.json", "t", "g of u", "i"), QDQ_BAD_DATA);
    assert_non_null(strstr(qdq_error_message(), "s.json: stale: the gradient that goes with \"t\" is another"));
    assert_int_equal(qdq_scores_match(scores, "s.json", "t", "g of t", "j"), QDQ_BAD_DATA);
    qdq_scores_free(scores);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_target_bytes),
        cmocka_unit_test(test_plan_is_read_back),
        cmocka_unit_test(test_forecast),
        cmocka_unit_test(test_broken_plans_are_refused),
        cmocka_unit_test(test_broken_plans_per_token_are_refused),
        cmocka_unit_test(test_what_is_usual_stays),
        cmocka_unit_test(test_what_is_better_than_usual_is_raised),
        cmocka_unit_test(test_usual_of_extremes),
        cmocka_unit_test(test_scores_are_read_back),
        cmocka_unit_test(test_stale_scores_are_refused),
        cmocka_unit_test(test_scores_with_a_changed_byte_are_refused),
        cmocka_unit_test(test_sums_are_what_sums_can_be),
        cmocka_unit_test(test_scores_of_other_sources_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
