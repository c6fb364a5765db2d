/* llama-quantize's rules: types, tensors, fall-backs, and patterns against std::regex itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model/llama_rules.h"
#include "std_regex.h"

static void expect_failure(qdq_status got, qdq_status expected, const char *words) {
    if (got != expected || !strstr(qdq_error_message(), words))
        fail_msg("status %d: \"%s\"; expected %d: \"%s\"", (int)got, qdq_error_message(), (int)expected, words);
}

static uint32_t type_of(const char *name) {
    const qdq_ggml_type *t = qdq_ggml_type_by_name(name, strlen(name));
    if (!t) fail_msg("no type %s", name);
    return t->id;
}

static void types_agree_with_the_formats(void **unused) {
    (void)unused;
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        qdq_format_info info = {.size = sizeof info};
        assert_int_equal(qdq_format_describe(f, &info), QDQ_OK);
        const qdq_ggml_type *t = qdq_ggml_type_by_id(info.ggml_type);
        assert_non_null(t);
        assert_string_equal(t->name, info.name);
        assert_int_equal(t->block_elements, info.block_elements);
        assert_int_equal(t->block_bytes, info.block_bytes);
        assert_true(qdq_ggml_type_is_quantized(t) == (info.block_elements > 1) && qdq_rules_writes(t));
        const qdq_preset *p = qdq_preset_by_type(info.ggml_type);
        if (p) assert_int_equal(p->file_type, info.ggml_file_type);
    }
}

static void presets(void **unused) {
    (void)unused;
    static const struct {
        const char *type, *preset;
        uint32_t file_type;
    } plain[] = {{"q4_0", "Q4_0", 2},        {"q4_K", "Q4_K_S", 14}, {"q5_K", "Q5_K_S", 16}, {"q3_K", "Q3_K_S", 11},
                 {"q2_K", "Q2_K", 10},       {"q6_K", "Q6_K", 18},   {"iq2_s", "IQ2_M", 29}, {"iq2_xs", "IQ2_XS", 20},
                 {"iq3_s", "IQ3_S", 26},     {"bf16", "BF16", 32},   {"f32", "F32", 0},      {"q1_0", "Q1_0", 40},
                 {"mxfp4", "MXFP4_MOE", 38}, {"tq2_0", "TQ2_0", 37}, {"q2_0", "Q2_0", 41},   {"iq4_xs", "IQ4_XS", 30}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        const qdq_preset *p = qdq_preset_by_type(type_of(plain[i].type));
        assert_non_null(p);
        assert_string_equal(p->name, plain[i].preset);
        assert_int_equal(p->file_type, plain[i].file_type);
        assert_ptr_equal(qdq_preset_by_name(p->name), p);
    }
    assert_null(qdq_preset_by_type(type_of("nvfp4")));
    assert_null(qdq_preset_by_type(type_of("q8_1")));
    assert_int_equal(qdq_preset_by_name("q4_k")->file_type, 15);
    assert_int_equal(qdq_preset_by_name("Q3_K")->file_type, 12);
    assert_null(qdq_preset_by_name("Q9"));
    assert_null(qdq_ggml_type_by_id(4)); /* removed */
    assert_null(qdq_ggml_type_by_name("q4_", 3));
    assert_int_equal(type_of("Q4_k"), 12);
}

static bool quantizes(const char *name, uint64_t a, uint64_t b, uint64_t c) {
    const char *why = "unset";
    bool yes = qdq_rules_quantizes(&(qdq_ggml_tensor){name, {a, b, c, 1}, 0}, &why);
    assert_true(yes == (why == NULL));
    return yes;
}

static void which_tensors(void **unused) {
    (void)unused;
    static const char *const yes[] = {"blk.0.attn_q.weight",
                                      "token_embd.weight",
                                      "output.weight",
                                      "weight",
                                      "blk.0.ffn_gate.weight",
                                      "blk.0.ffn_gate_exps.weight",
                                      "per_layer_token_embd.weight",
                                      "abcde" /* 5 bytes: llama-quantize's arithmetic takes it */};
    static const char *const no[] = {"blk.0.attn_q.bias",
                                     "blk.0.attn_norm.weight",
                                     "blk.0.attn_q_norm.weight",
                                     "blk.0.ffn_gate_inp.weight",
                                     "position_embd.weight",
                                     "token_types.weight",
                                     "blk.0.ssm_conv1d.weight",
                                     "blk.0.shortconv.conv.weight",
                                     "blk.0.attn_rel_b.weight",
                                     "blk.0.time_mix_w1.weight",
                                     "blk.0.altup_proj.weight",
                                     "blk.0.laurel_l.weight",
                                     "per_layer_model_proj.weight",
                                     "v.position_embd.weight",
                                     "v.patch_embd.weight",
                                     "blk.0.attn_q.weight2",
                                     "abcdef",
                                     "abcd",
                                     "",
                                     "a.weights",
                                     "blk.0.ffn_gate_tid2eid.weight",
                                     "blk.0.indexer.k_proj.weight"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!quantizes(yes[i], 256, 4, 1)) fail_msg("%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (quantizes(no[i], 256, 4, 1)) fail_msg("%s", no[i]);
    assert_false(quantizes("blk.0.attn_q.weight", 256, 1, 1));
    assert_true(quantizes("blk.0.attn_q.weight", 256, 1, 4)); /* its highest dimension is the third */
}

static void fallbacks(void **unused) {
    (void)unused;
    static const struct {
        const char *type, *by_32, *odd;
    } rules[] = {{"iq1_s", "iq4_nl", "f16"},  {"iq1_m", "iq4_nl", "f16"},  {"iq2_xxs", "iq4_nl", "f16"},
                 {"iq2_xs", "iq4_nl", "f16"}, {"iq2_s", "iq4_nl", "f16"},  {"iq3_xxs", "iq4_nl", "f16"},
                 {"iq3_s", "iq4_nl", "f16"},  {"iq4_xs", "iq4_nl", "f16"}, {"q2_K", "q4_0", "f16"},
                 {"q3_K", "q4_0", "f16"},     {"tq1_0", "q4_0", "f16"},    {"tq2_0", "q4_0", "f16"},
                 {"q2_0", "q4_0", "f16"},     {"q4_K", "q5_0", "f16"},     {"q5_K", "q5_1", "f16"},
                 {"q6_K", "q8_0", "f16"},     {"q4_0", "q4_0", NULL},      {"q8_0", "q8_0", NULL},
                 {"iq4_nl", "iq4_nl", NULL},  {"mxfp4", "mxfp4", NULL},    {"q1_0", NULL, NULL},
                 {"nvfp4", NULL, NULL},       {"f16", "f16", "f16"},       {"f32", "f32", "f32"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        uint32_t type = type_of(rules[i].type), written = 999;
        assert_int_equal(qdq_rules_fallback(QDQ_RULES_2026_08, type, 768, &written), QDQ_OK);
        assert_int_equal(written, type);
        const char *expected[] = {rules[i].by_32, rules[i].odd};
        const uint64_t rows[] = {96, 100};
        for (int k = 0; k < 2; k++) {
            if (expected[k]) {
                assert_int_equal(qdq_rules_fallback(QDQ_RULES_2026_08, type, rows[k], &written), QDQ_OK);
                assert_int_equal(written, type_of(expected[k]));
            } else {
                expect_failure(qdq_rules_fallback(QDQ_RULES_2026_08, type, rows[k], &written), QDQ_UNSUPPORTED,
                               "it stops");
            }
        }
    }
    uint32_t written;
    expect_failure(qdq_rules_fallback(QDQ_RULES_NEWEST, 4, 32, &written), QDQ_INVALID_ARGUMENT, "no type 4");
}

static void importance_matrices(void **unused) {
    (void)unused;
    static const char *const needy[] = {"iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs"};
    for (size_t i = 0; i < 6; i++) {
        assert_true(qdq_rules_needs_imatrix("blk.0.ffn_up.weight", type_of(needy[i]), 15));
        assert_false(qdq_rules_needs_imatrix("output.weight", type_of(needy[i]), 15));
        assert_false(qdq_rules_needs_imatrix("token_embd.weight", type_of(needy[i]), 15));
    }
    assert_false(qdq_rules_needs_imatrix("blk.0.ffn_up.weight", type_of("iq3_s"), 15));
    assert_false(qdq_rules_needs_imatrix("blk.0.ffn_up.weight", type_of("q2_K"), 10));
    assert_true(qdq_rules_needs_imatrix("blk.0.ffn_up.weight", type_of("q2_K"), 21));
}

/* ---- Files ---- */

static qdq_type_file *read_file(const char *text) {
    qdq_type_file *f;
    if (qdq_type_file_read("types.txt", text, strlen(text), &f) != QDQ_OK) fail_msg("%s", qdq_error_message());
    return f;
}

static void first_match_counts(void **unused) {
    (void)unused;
    qdq_type_file *f = read_file("ATTN_[QK]=Q8_0\n\tblk\\.0\\.=q4_K \v ffn=F16\f^output\\.weight$=q6_k\r\n.=iq4_nl");
    assert_int_equal(qdq_type_file_count(f), 5);
    static const struct {
        const char *name;
        size_t entry;
        const char *type;
    } cases[] = {{"blk.0.attn_q.weight", 0, "q8_0"}, {"blk.0.attn_v.weight", 1, "q4_K"},
                 {"blk.10.ffn_up.weight", 2, "f16"}, {"output.weight", 3, "q6_K"},
                 {"output.weights", 4, "iq4_nl"},    {"BLK.0.ATTN_Q.weight", 4, "iq4_nl"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t entry;
        uint32_t type;
        assert_int_equal(qdq_type_file_match(f, cases[i].name, &entry, &type), QDQ_OK);
        assert_int_equal(entry, cases[i].entry);
        assert_int_equal(type, type_of(cases[i].type));
    }
    qdq_type_file_free(f);
    f = read_file(" \n ");
    size_t entry = 9;
    uint32_t type;
    assert_int_equal(qdq_type_file_match(f, "a", &entry, &type), QDQ_OK);
    assert_int_equal(entry, 0);
    qdq_type_file_free(f);
}

/* Options and files in the order in which they were given. */
static void entries_from_everywhere(void **unused) {
    (void)unused;
    qdq_type_file *f;
    assert_int_equal(qdq_type_file_create(&f), QDQ_OK);
    assert_int_equal(qdq_type_file_add(f, "--tensor-type", "Attn_Q=Q8_0"), QDQ_OK);
    static const char text[] = "attn=q6_K ffn=q5_K";
    assert_int_equal(qdq_type_file_add_text(f, "types.txt", text, sizeof text - 1), QDQ_OK);
    assert_int_equal(qdq_type_file_add(f, "--tensor-type", "a b=f16"), QDQ_OK); /* a shell's word may have spaces */
    expect_failure(qdq_type_file_add(f, "--tensor-type", "attn_q"), QDQ_BAD_DATA, "--tensor-type: \"attn_q\" is not");
    expect_failure(qdq_type_file_add_text(f, "more.txt", "x=q4_0 y", 8), QDQ_BAD_DATA,
                   "more.txt: word 2: \"y\" is not");
    static const char *const entries[] = {"Attn_Q=Q8_0", "attn=q6_K", "ffn=q5_K", "a b=f16", "x=q4_0"};
    assert_int_equal(qdq_type_file_count(f), 5);
    for (size_t i = 0; i < 5; i++) assert_string_equal(qdq_type_file_entry(f, i), entries[i]);
    size_t entry;
    uint32_t type;
    assert_int_equal(qdq_type_file_match(f, "blk.0.attn_q.weight", &entry, &type), QDQ_OK);
    assert_int_equal(entry, 0);
    assert_int_equal(type, type_of("q8_0"));
    assert_int_equal(qdq_type_file_match(f, "blk.0.attn_k.weight", &entry, &type), QDQ_OK);
    assert_int_equal(entry, 1);
    qdq_type_file_free(f);
}

static void expect_refusal(const char *text, qdq_status status, const char *words) {
    qdq_type_file *f;
    expect_failure(qdq_type_file_read("types.txt", text, strlen(text), &f), status, words);
}

static void broken_files(void **unused) {
    (void)unused;
    expect_refusal("a=q8_0 # comment", QDQ_BAD_DATA, "types.txt: word 2: \"#\" is not PATTERN=TYPE");
    expect_refusal("=q8_0", QDQ_BAD_DATA, "nothing before");
    expect_refusal("a=", QDQ_BAD_DATA, "no type \"\"");
    expect_refusal("a=b=q8_0", QDQ_BAD_DATA, "no type \"b=q8_0\"");
    expect_refusal("a=q9_0", QDQ_BAD_DATA, "no type \"q9_0\"");
    expect_refusal("a=q8_1", QDQ_BAD_DATA, "cannot write q8_1");
    expect_refusal("a=i8", QDQ_BAD_DATA, "cannot write i8");
    expect_refusal("a=Q4_K_M", QDQ_BAD_DATA, "no type");
    static const char *const patterns[] = {
        "(a)\\1",     "\\u0041", "\\ca",    "\\v",     "\\0",     "\\a",   "\\q",     "\\qab\\e", "\\z",
        "a++",        "a**",     "a*+",     "*a",      "(*utf)a", "a{2",   "a{,2}",   "a{3,2}",   "a{2}{3}",
        "a{1001}",    "{",       "}",       "]",       "[]",      "[]a]",  "[^]",     "[a",       "[[.a.]]",
        "[[:word:]]", "[a-\\d]", "[\\d-z]", "[a-c-e]", "[--a]",   "[\\b]", "(?<n>a)", "(?p<n>a)", "(?i)a",
        "(?<!a)b",    "(?>a)",   "(?#c)a",  "(?!a)*",  "^*",      "\\b+",  "a)",      "(a",       "a\\",
        "\\x1",       "\\x00",   "\\xgg",   "$?",      "|*",      "(?|a)"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s=q8_0", patterns[i]);
        expect_refusal(text, QDQ_UNSUPPORTED, "which std::regex and this program may read differently");
    }
    expect_refusal("[z-a]=q8_0", QDQ_BAD_DATA, "the pattern \"[z-a]\": range out of order");
    qdq_type_file *f;
    expect_failure(qdq_type_file_read("t", "a=q8_0\0", 7, &f), QDQ_BAD_DATA, "NUL");
    /* a search without end is given up, not waited for */
    f = read_file("^(a|aa)+$=q8_0");
    size_t entry;
    uint32_t type;
    expect_failure(
        qdq_type_file_match(f, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", &entry, &type),
        QDQ_UNSUPPORTED, "given up");
    qdq_type_file_free(f);
}

static void types_of_tensors(void **unused) {
    (void)unused;
    qdq_type_file *f = read_file("attn_q=q6_K attn_k=f16");
    const qdq_preset *q4 = qdq_preset_by_name("Q4_K_S"), *f16 = qdq_preset_by_name("F16");
    static const struct {
        const char *name;
        uint64_t ne0;
        bool pure;
        const char *type;
        qdq_rule rule;
    } cases[] = {{"blk.0.attn_q.weight", 256, false, "q6_K", QDQ_RULE_PATTERN},
                 {"blk.0.attn_q.weight", 96, false, "q8_0", QDQ_RULE_PATTERN}, /* falls back after a pattern too */
                 {"blk.0.attn_k.weight", 96, false, "f16", QDQ_RULE_PATTERN},
                 {"blk.0.attn_v.weight", 256, false, "q4_K", QDQ_RULE_MIXTURE},
                 {"blk.0.attn_v.weight", 96, true, "q5_0", QDQ_RULE_BASE},
                 {"blk.0.attn_q_norm.weight", 256, false, "f32", QDQ_RULE_COPIED}};
    uint32_t type;
    qdq_rule rule;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qdq_ggml_tensor t = {cases[i].name, {cases[i].ne0, 4, 1, 1}, 0};
        assert_int_equal(qdq_rules_type(q4, cases[i].pure, f, &t, &type, &rule), QDQ_OK);
        assert_int_equal(type, type_of(cases[i].type));
        assert_int_equal(rule, cases[i].rule);
        if (cases[i].rule == QDQ_RULE_COPIED) continue;
        assert_int_equal(qdq_rules_type(f16, false, f, &t, &type, &rule), QDQ_OK); /* the file is ignored */
        assert_int_equal(type, type_of("f16"));
        assert_int_equal(rule, QDQ_RULE_BASE);
    }
    qdq_ggml_tensor odd = {"blk.0.attn_v.weight", {97, 4, 1, 1}, 0};
    expect_failure(qdq_rules_type(qdq_preset_by_name("Q1_0"), true, f, &odd, &type, &rule), QDQ_UNSUPPORTED,
                   "blk.0.attn_v.weight: rows of 97 elements");
    qdq_type_file_free(f);
}

/* ---- Patterns against std::regex ---- */

#ifndef QDQ_NO_CXX
static uint64_t seed = 1;

static unsigned draw(unsigned below) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(seed >> 33) % below;
}

static void make_pattern(char *out, unsigned pieces) {
    static const char *const parts[] = {
        "a",    "b",    "c",      "0",     "1",           ".",     "\\.", "_",   "-",   "^",   "$",     "|",
        "(",    ")",    "(?:",    "(?!",   "*",           "+",     "?",   "*?",  "+?",  "{2}", "{0,1}", "{1,}",
        "[ab]", "[^a]", "[a-c]",  "[0-9]", "[[:alpha:]]", "[a_-]", "\\d", "\\w", "\\s", "\\b", "\\x61", "\\x2e",
        "\\(",  "\\+",  "\\[",    "ab",    "[",           "]",     "{",   "}",   "\\",  "-z",  ":",     ",",
        "\xc3", "[-a]", "[\\d_]", "[\\]]", "[.]",         "\\D",   "\\-", "/"};
    size_t used = 0;
    for (unsigned i = 0; i < pieces; i++) {
        const char *p = parts[draw(sizeof parts / sizeof *parts)];
        memcpy(out + used, p, strlen(p));
        used += strlen(p);
    }
    out[used] = '\0';
    for (char *c = out; *c; c++)
        if (*c == 'D') *c = 'd';
}

static void make_name(char *out) {
    static const char bytes[] = "aaabbbccc001.._-()[]+ \xc3z\nA";
    unsigned n = draw(9);
    for (unsigned i = 0; i < n; i++) out[i] = bytes[draw(sizeof bytes - 1)];
    out[n] = '\0';
}
#endif

static void patterns_mean_what_std_regex_says(void **unused) {
    (void)unused;
#ifdef QDQ_NO_CXX
    skip();
#else
    unsigned taken = 0, found = 0;
    for (unsigned round = 0; round < 12000; round++) {
        char pattern[256], text[300];
        make_pattern(pattern, 1 + draw(7));
        snprintf(text, sizeof text, "%s=q8_0", pattern);
        qdq_type_file *f;
        if (qdq_type_file_read("t", text, strlen(text), &f) != QDQ_OK) continue;
        taken++;
        for (int k = 0; k < 6; k++) {
            char name[16];
            make_name(name);
            size_t entry;
            uint32_t type;
            assert_int_equal(qdq_type_file_match(f, name, &entry, &type), QDQ_OK);
            int ours = entry == 0, theirs = std_regex_finds(pattern, name);
            if (ours != theirs) fail_msg("\"%s\" in \"%s\": %d, std::regex says %d", pattern, name, ours, theirs);
            found += (unsigned)ours;
        }
        qdq_type_file_free(f);
    }
    print_message("%u patterns taken, %u of %u searches found\n", taken, found, 6 * taken);
    assert_true(taken > 4000 && found > 4000);
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_agree_with_the_formats),
        cmocka_unit_test(presets),
        cmocka_unit_test(which_tensors),
        cmocka_unit_test(fallbacks),
        cmocka_unit_test(importance_matrices),
        cmocka_unit_test(first_match_counts),
        cmocka_unit_test(entries_from_everywhere),
        cmocka_unit_test(broken_files),
        cmocka_unit_test(types_of_tensors),
        cmocka_unit_test(patterns_mean_what_std_regex_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
