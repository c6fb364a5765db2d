/* The HTML report: well formed whatever the names hold, complete without JavaScript.
 *
 * `report_test --write FILE` writes the page of a made-up plan, for tests/report_browser.sh. */
#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "plan/report.h"

/* ---- A made-up plan: a small llama ---- */

enum { LAYERS = 22, KINDS = 7, TENSORS = LAYERS * KINDS + 2, FORMATS = 6, CURVE = 40 };

typedef struct sample {
    qdq_report report;
    qdq_report_tensor tensors[TENSORS];
    qdq_report_choice choices[TENSORS][FORMATS];
    uint64_t shapes[TENSORS][2];
    char names[TENSORS][64], groups[TENSORS][32];
    qdq_report_baseline uniform[FORMATS];
    qdq_report_point curve[CURVE];
} sample;

static const char *const formats[FORMATS] = {"q2_K", "q3_K", "q4_K", "q5_K", "q6_K", "q8_0"};
static const double bits[FORMATS] = {2.625, 3.4375, 4.5, 5.5, 6.5625, 8.5};

static void add_tensor(sample *s, size_t i, const char *name, const char *kind, int64_t layer, uint64_t rows,
                       uint64_t columns, double scale) {
    snprintf(s->names[i], sizeof s->names[i], "%s", name);
    s->shapes[i][0] = rows;
    s->shapes[i][1] = columns;
    for (int f = 0; f < FORMATS; f++)
        s->choices[i][f] = (qdq_report_choice){formats[f], (uint64_t)((double)(rows * columns) * bits[f] / 8),
                                               scale * (double)(rows * columns) * exp2(-2 * bits[f]), 0};
    uint32_t chosen = scale > 30 ? 4 : scale > 6 ? 3 : scale > 2 ? 2 : 1;
    s->tensors[i] = (qdq_report_tensor){s->names[i],  s->shapes[i],  2,       kind,  layer, "bf16",
                                        s->groups[i], s->choices[i], FORMATS, chosen};
}

static sample *make_sample(void) {
    static const struct {
        const char *kind;
        uint64_t rows, columns;
        double scale;
    } kinds[KINDS] = {{"attn_q", 2048, 2048, 2},      {"attn_k", 256, 2048, 9},    {"attn_v", 256, 2048, 20},
                      {"attn_output", 2048, 2048, 3}, {"ffn_gate", 5632, 2048, 1}, {"ffn_up", 5632, 2048, 1.5},
                      {"ffn_down", 2048, 5632, 4}};
    sample *s = calloc(1, sizeof *s);
    if (!s) abort();
    size_t n = 0;
    add_tensor(s, n++, "token_embd.weight", "token_embd", -1, 32000, 2048, 1);
    add_tensor(s, n++, "output.weight", "output", -1, 32000, 2048, 40);
    for (int l = 0; l < LAYERS; l++)
        for (int k = 0; k < KINDS; k++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", l, kinds[k].kind);
            double depth = 1 + 3 * exp(-l) + exp(l - LAYERS);
            if (k < 3) snprintf(s->groups[n], sizeof s->groups[n], "blk.%d.attn_qkv", l);
            add_tensor(s, n++, name, kinds[k].kind, l, kinds[k].rows, kinds[k].columns, kinds[k].scale * depth);
        }
    uint64_t floor = 0, ceiling = 0, chosen = 0;
    double damage = 0;
    for (int f = 0; f < FORMATS; f++) {
        s->uniform[f] = (qdq_report_baseline){.label = formats[f], .allowed = true, .plan_damage = NAN};
        for (size_t i = 0; i < TENSORS; i++) {
            s->uniform[f].bytes += s->choices[i][f].bytes;
            s->uniform[f].damage += s->choices[i][f].damage;
        }
    }
    for (size_t i = 0; i < TENSORS; i++) {
        chosen += s->choices[i][s->tensors[i].chosen].bytes;
        damage += s->choices[i][s->tensors[i].chosen].damage;
    }
    floor = s->uniform[0].bytes;
    ceiling = s->uniform[FORMATS - 1].bytes;
    for (int k = 0; k < CURVE; k++) {
        double at = (double)k / (CURVE - 1);
        s->curve[k].bytes = floor + (uint64_t)(at * (double)(ceiling - floor));
        s->curve[k].damage =
            0.6 * s->uniform[0].damage * pow(s->uniform[FORMATS - 1].damage / s->uniform[0].damage, at);
    }
    static const char *const notes[] = {"blk.0.attn_norm.weight is copied: it has fewer than two dimensions."};
    s->report = (qdq_report){.title = "TinyLlama <1.1B> & \"friends\"",
                             .score = "squared error, weighted by the importance matrix",
                             .generator = "qdq 0.1.0",
                             .budget = chosen + chosen / 50,
                             .bits = 4.25,
                             .other_bytes = 123456,
                             .lower_bound = damage,
                             .n_tensors = TENSORS,
                             .tensors = s->tensors,
                             .n_curve = CURVE,
                             .curve = s->curve,
                             .n_baselines = FORMATS,
                             .baselines = s->uniform,
                             .n_notes = 1,
                             .notes = notes};
    return s;
}

static double damage_of(const sample *s) {
    double damage = 0;
    for (size_t i = 0; i < TENSORS; i++) damage += s->choices[i][s->tensors[i].chosen].damage;
    return damage;
}

static char *page_of(const qdq_report *r) {
    qdq_builder page = {0};
    if (qdq_report_write(r, &page) != QDQ_OK) fail_msg("%s", qdq_error_message());
    assert_int_equal(strlen(page.bytes), page.n);
    return qdq_builder_take(&page);
}

/* ---- A reader of XML that knows what the page may hold ---- */

static const char *read_entity(const char *at) { /* after & */
    if (*at++ != '#') fail_msg("a bare & at \"%.30s\"", at - 2);
    if (*at == 'x') at++;
    assert_true(isxdigit((unsigned char)*at));
    while (isxdigit((unsigned char)*at)) at++;
    assert_true(*at == ';');
    return at + 1;
}

static const char *read_text(const char *at) {
    while (*at && *at != '<') {
        unsigned char c = (unsigned char)*at;
        if (c < 0x20 && c != '\n') fail_msg("a control character at \"%.30s\"", at);
        at = c == '&' ? read_entity(at + 1) : at + 1;
    }
    return at;
}

static const char *read_attributes(const char *at) {
    for (;;) {
        while (*at == ' ' || *at == '\n') at++;
        if (*at == '>' || *at == '/') return at;
        while (isalnum((unsigned char)*at) || *at == '-') at++;
        if (at[0] != '=' || at[1] != '"') fail_msg("an attribute without a value at \"%.40s\"", at);
        for (at += 2; *at != '"'; at++)
            if (*at == '\0' || *at == '<' || *at == '&') fail_msg("an attribute's value at \"%.40s\"", at);
        at++;
    }
}

static void expect_well_formed(const char *page) {
    static const char start[] = "<!DOCTYPE html>\n";
    assert_memory_equal(page, start, strlen(start));
    char open[32][16];
    size_t depth = 0;
    const char *at = page + strlen(start);
    while (*at) {
        at = read_text(at);
        if (*at == '\0') break;
        bool closes = at[1] == '/';
        at += closes ? 2 : 1;
        size_t n = 0;
        char name[16];
        while (isalnum((unsigned char)at[n])) n++;
        assert_true(n > 0 && n < sizeof name);
        memcpy(name, at, n);
        name[n] = '\0';
        at += n;
        if (closes) {
            if (depth == 0 || strcmp(open[depth - 1], name) != 0) fail_msg("</%s> closes nothing", name);
            depth--;
            assert_true(*at++ == '>');
            continue;
        }
        at = read_attributes(at);
        if (*at == '/') {
            at += 2;
            continue;
        }
        at++;
        assert_true(depth < 32);
        strcpy(open[depth++], name);
        if (strcmp(name, "script") == 0 || strcmp(name, "style") == 0) {
            const char *end = strchr(at, '<'); /* which neither may hold */
            assert_non_null(end);
            assert_null(memchr(at, '&', (size_t)(end - at)));
            at = end;
        }
    }
    assert_int_equal(depth, 0);
}

static void expect(const char *page, const char *words) {
    if (!strstr(page, words)) fail_msg("the page lacks %s", words);
}

static size_t count(const char *page, const char *words) {
    size_t n = 0;
    for (const char *at = page; (at = strstr(at, words)); at += strlen(words)) n++;
    return n;
}

/* ---- Tests ---- */

static void all_that_the_plan_says(void **unused) {
    (void)unused;
    sample *s = make_sample();
    char *page = page_of(&s->report);
    expect_well_formed(page);
    expect(page, "<title>TinyLlama &#60;1.1B&#62; &#38; &#34;friends&#34; - quantization plan</title>");
    expect(page, "Proven: no other choice");
    for (size_t i = 0; i < TENSORS; i++) expect(page, s->names[i]);
    assert_int_equal(count(page, "<circle "), FORMATS);
    assert_int_equal(count(page, "<polyline "), 1);
    assert_int_equal(count(page, "<path "), 1);
    assert_int_equal(count(page, "<td class=\"s"), LAYERS * KINDS);
    assert_int_equal(count(page, "bits per weight\">"), LAYERS * KINDS);
    assert_int_equal(count(page, "<details><summary>6</summary>"), TENSORS);
    expect(page, "2048 \u00d7 5632");
    expect(page, "<b>output.weight</b> q6_K");
    expect(page, "blk.0.attn_norm.weight is copied");
    /* nothing from elsewhere */
    assert_null(strstr(page, "src="));
    assert_null(strstr(page, "href="));
    assert_null(strstr(page, "url("));
    assert_null(strstr(page, "@import"));
    assert_int_equal(count(page, "://"), 1); /* the SVG name space */
    assert_null(strstr(page, "KL divergence"));
    free(page);

    s->report.lower_bound = 0.9 * s->report.lower_bound;
    s->report.forecast = "A < B & so on.";
    s->report.kl_unit = 0.0123 / damage_of(s);
    page = page_of(&s->report);
    expect_well_formed(page);
    expect(page, "at most 10 % below this plan");
    expect(page, "<dt>expected KL divergence, nats a token</dt><dd>0.0123</dd>");
    expect(page, "<p>A &#60; B &#38; so on.</p>");
    free(page);
    s->report.kl_unit = 0; /* no unit: only the sentence */
    page = page_of(&s->report);
    assert_null(strstr(page, "KL divergence"));
    expect(page, "<p>A &#60; B &#38; so on.</p>");
    free(page);
    free(s);
}

/* Presets are squares, formats circles, each beside the plan of its size; what the rules forbid is said to be. */
static void what_the_plan_is_held_against(void **unused) {
    (void)unused;
    sample *s = make_sample();
    s->uniform[1] = (qdq_report_baseline){"Q3_K_M", s->uniform[1].bytes, 8, 6, true, true, 0};
    s->uniform[2] = (qdq_report_baseline){"Q4_K_M", s->uniform[2].bytes, 4, 5, true, false, 0};
    s->report.kl_unit = 0.25;
    char *page = page_of(&s->report);
    expect_well_formed(page);
    assert_int_equal(count(page, "<circle "), FORMATS - 2);
    assert_int_equal(count(page, "<rect "), 2);
    expect(page, "Squares: llama-quantize's presets");
    expect(page, "<tr><td>Q3_K_M</td><td>preset</td>");
    expect(page, "<td class=\"n\">8</td><td class=\"n\">6</td><td class=\"n\">0.75</td><td class=\"n\">2</td><td "
                 "class=\"n\">1.5</td></tr>");
    expect(page, "<tr><td>Q4_K_M</td><td>preset, which the rules forbid</td>");
    expect(page, "<td class=\"n\"></td>"); /* no plan of q2_K's size */
    free(page);
    s->uniform[1].plan_damage = -1;
    qdq_builder out = {0};
    assert_int_equal(qdq_report_write(&s->report, &out), QDQ_INVALID_ARGUMENT);
    qdq_builder_free(&out);
    free(s);
}

static void names_that_would_break_out(void **unused) {
    (void)unused;
    static const char *const nasty[] = {"</td><script>alert(1)</script>",
                                        "\"onmouseover='x'",
                                        "&amp;&lt;",
                                        "]]>-->",
                                        "\x01\x1b[31m\x7f",
                                        "\xff\xfe\xc3",
                                        "\xed\xa0\x80",
                                        "\xef\xbf\xbf",
                                        "\xc0\xaf",
                                        "\xf4\x90\x80\x80",
                                        "\xc2\x85",
                                        "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
                                        ""};
    enum { N = sizeof nasty / sizeof *nasty };
    static const uint64_t shape[] = {4, 8};
    qdq_report_tensor t[N];
    qdq_report_choice c[N];
    qdq_report_baseline p[N];
    for (size_t i = 0; i < N; i++) {
        c[i] = (qdq_report_choice){nasty[i], 100 + i, (double)i, 0};
        t[i] = (qdq_report_tensor){nasty[i], shape, 2, nasty[i], (int64_t)i - 1, nasty[i], nasty[i], &c[i], 1, 0};
        p[i] = (qdq_report_baseline){nasty[i], 100 * i, (double)i, NAN, i % 2 > 0, i % 3 > 0, 0};
    }
    qdq_report r = {.title = nasty[0],
                    .score = nasty[1],
                    .generator = nasty[2],
                    .lower_bound = NAN,
                    .n_tensors = N,
                    .tensors = t,
                    .n_baselines = N,
                    .baselines = p,
                    .n_notes = N,
                    .notes = nasty};
    char *page = page_of(&r);
    expect_well_formed(page);
    assert_int_equal(count(page, "<script"), 1);
    assert_null(strstr(page, "alert(1)</script>"));
    expect(page, "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    assert_null(strchr(page, '\x1b'));
    assert_null(strchr(page, '\xff'));
    assert_null(strstr(page, "\xed\xa0"));
    free(page);
}

static void plans_at_the_edges(void **unused) {
    (void)unused;
    qdq_report r = {.title = "t", .score = "s", .generator = "g", .lower_bound = NAN};
    char *page = page_of(&r); /* no tensor */
    expect_well_formed(page);
    assert_null(strstr(page, "nan"));
    assert_null(strstr(page, "inf"));
    free(page);
    /* no damage, no elements, huge figures, several tensors in a cell */
    qdq_report_choice c[] = {{"f16", UINT64_MAX, 1e300, 0}, {"q8_0", 1, 0, 0}};
    qdq_report_tensor t[] = {{"a", (const uint64_t[]){0}, 1, "k", 3, "f32", NULL, c, 2, 1},
                             {"b", (const uint64_t[]){UINT64_MAX, 2}, 2, "k", 3, "f32", NULL, c, 2, 0},
                             {"c", NULL, 0, "k", INT64_MAX, "f32", NULL, c, 2, 1}};
    qdq_report_point line[] = {{UINT64_MAX, 1e300}, {0, 0}};
    qdq_report_baseline p[] = {{"f16", UINT64_MAX, 1e300, 0, true, true, 0}, {"q8_0", 0, 0, 0, false, true, 0}};
    for (size_t n = 1; n <= 3; n++) {
        r.tensors = t;
        r.n_tensors = n;
        r.n_baselines = n == 3 ? 2 : 0;
        r.baselines = p;
        r.curve = line;
        r.n_curve = n == 2 ? 2 : 0;
        page = page_of(&r);
        expect_well_formed(page);
        assert_null(strstr(page, "nan"));
        assert_null(strstr(page, ">inf"));
        if (n > 1) expect(page, ">2 mixed<");
        free(page);
    }
}

static void refuses_what_is_no_figure(void **unused) {
    (void)unused;
    sample *s = make_sample();
    qdq_builder page = {0}, *out = &page;
    s->tensors[3].chosen = FORMATS;
    assert_int_equal(qdq_report_write(&s->report, out), QDQ_INVALID_ARGUMENT);
    assert_non_null(strstr(qdq_error_message(), "blk.0.attn_k.weight: choice 6 of 6"));
    s->tensors[3].chosen = 0;
    s->choices[3][2].damage = NAN;
    assert_int_equal(qdq_report_write(&s->report, out), QDQ_INVALID_ARGUMENT);
    s->choices[3][2].damage = 0;
    s->curve[1].damage = -1;
    assert_int_equal(qdq_report_write(&s->report, out), QDQ_INVALID_ARGUMENT);
    s->curve[1].damage = 1;
    s->report.title = NULL;
    assert_int_equal(qdq_report_write(&s->report, out), QDQ_INVALID_ARGUMENT);
    s->report.title = "t";
    assert_int_equal(qdq_report_write(&s->report, out), QDQ_OK);
    page.failed = true; /* a piece got lost before */
    assert_int_equal(qdq_report_write(&s->report, out), QDQ_OUT_OF_MEMORY);
    qdq_builder_free(out);
    free(s);
}

static int write_sample(const char *path) {
    sample *s = make_sample();
    qdq_builder page = {0};
    FILE *out = fopen(path, "w");
    int failed = !out || qdq_report_write(&s->report, &page) != QDQ_OK || fwrite(page.bytes, 1, page.n, out) != page.n;
    if (out && fclose(out) != 0) failed = 1;
    qdq_builder_free(&page);
    free(s);
    return failed;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--write") == 0) return write_sample(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_the_plan_says),     cmocka_unit_test(what_the_plan_is_held_against),
        cmocka_unit_test(names_that_would_break_out), cmocka_unit_test(plans_at_the_edges),
        cmocka_unit_test(refuses_what_is_no_figure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
