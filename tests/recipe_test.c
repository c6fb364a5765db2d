/* Recipes for llama-quantize, read back by the rules and, independently, with std::istream and std::regex. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "plan/recipe.h"
#include "std_regex.h"

enum { F32 = 0, F16 = 1, Q4_0 = 2, Q8_0 = 8, Q4_K = 12, Q6_K = 14, IQ2_XXS = 16, IQ2_S = 22, BF16 = 30, NVFP4 = 40 };

static void expect_failure(qdq_status got, qdq_status expected, const char *words) {
    if (got != expected || !strstr(qdq_error_message(), words))
        fail_msg("status %d: \"%s\"; expected %d: \"%s\"", (int)got, qdq_error_message(), (int)expected, words);
}

static qdq_recipe_job job_of(size_t n, const qdq_recipe_tensor *tensors) {
    return (qdq_recipe_job){n, tensors, "in.gguf", "out.gguf", "recipe.txt", NULL};
}

static void text_and_command(void **unused) {
    (void)unused;
    qdq_recipe_tensor t[] = {{{"token_embd.weight", {512, 1000, 1, 1}, BF16}, Q6_K},
                             {{"blk.0.attn_q.weight", {512, 512, 1, 1}, BF16}, Q4_K},
                             {{"blk.0.attn_norm.weight", {512, 1, 1, 1}, F32}, F32},
                             {{"blk.0.ffn_down_exps.weight", {512, 512, 8, 1}, BF16}, Q4_K},
                             {{"blk.0.ffn_up.weight", {512, 512, 1, 1}, BF16}, BF16}};
    qdq_recipe_job job = job_of(5, t);
    qdq_recipe r;
    assert_int_equal(qdq_recipe_make(&job, &r), QDQ_OK);
    assert_string_equal(r.text, "^token_embd\\.weight$=q6_K\n"
                                "^blk\\.0\\.attn_q\\.weight$=q4_K\n"
                                "^blk\\.0\\.ffn_down_exps\\.weight$=q4_K\n"
                                "^blk\\.0\\.ffn_up\\.weight$=bf16\n");
    assert_int_equal(r.n_lines, 4);
    assert_string_equal(r.command, "llama-quantize --tensor-type-file recipe.txt in.gguf out.gguf Q4_K_S");
    qdq_recipe_free(&r);

    job.imatrix = "my im.gguf";
    job.input = "-in.gguf";
    job.output = "it's.gguf";
    t[0].tensor.type = Q8_0; /* already quantized */
    assert_int_equal(qdq_recipe_make(&job, &r), QDQ_OK);
    assert_string_equal(r.command,
                        "llama-quantize --allow-requantize --imatrix 'my im.gguf' --tensor-type-file recipe.txt "
                        "./-in.gguf 'it'\\''s.gguf' Q4_K_S");
    qdq_recipe_free(&r);
}

/* The command's words arrive as they were. */
static void command_for_a_shell(void **unused) {
    (void)unused;
    qdq_recipe_tensor t[] = {{{"a.weight", {512, 4, 1, 1}, F16}, Q4_K}};
    qdq_recipe_job job = job_of(1, t);
    job.input = "a b;$(echo x)`'\"\\\n*?~#&|<>(){}[]!.gguf";
    job.output = "";
    qdq_recipe r;
    assert_int_equal(qdq_recipe_make(&job, &r), QDQ_OK);
    char script[1024], out[1024];
    const char *words = strchr(r.command, ' ');
    snprintf(script, sizeof script, "printf '%%s\\036'%s", words);
    FILE *shell = popen(script, "r");
    assert_non_null(shell);
    size_t n = fread(out, 1, sizeof out - 1, shell);
    out[n] = '\0';
    pclose(shell);
    char expected[512];
    snprintf(expected, sizeof expected, "--tensor-type-file\036recipe.txt\036%s\036%s\036Q4_K_S\036", job.input,
             job.output);
    assert_string_equal(out, expected);
    qdq_recipe_free(&r);
}

static const qdq_preset *base_of(size_t n, const qdq_recipe_tensor *t) {
    qdq_recipe_job job = job_of(n, t);
    job.imatrix = "im";
    qdq_recipe r;
    if (qdq_recipe_make(&job, &r) != QDQ_OK) fail_msg("%s", qdq_error_message());
    const qdq_preset *p = r.preset;
    qdq_recipe_free(&r);
    return p;
}

static void the_base_is_quantized_whenever_lines_count(void **unused) {
    (void)unused;
    qdq_recipe_tensor t[] = {{{"a.weight", {512, 4, 1, 1}, F32}, Q4_K},
                             {{"b.weight", {512, 8, 1, 1}, F32}, F16},
                             {{"c.weight", {512, 3, 1, 1}, F32}, Q8_0},
                             {{"d.weight", {512, 3, 1, 1}, F32}, BF16}};
    assert_string_equal(base_of(4, t)->name, "Q4_K_S");
    t[2].tensor.ne[1] = 4; /* a tie: the lower id */
    assert_string_equal(base_of(4, t)->name, "Q8_0");
    t[0].wanted = IQ2_S;
    t[0].tensor.ne[1] = 5;
    assert_string_equal(base_of(4, t)->name, "IQ2_M");
    t[0].wanted = NVFP4; /* no preset: the next */
    assert_string_equal(base_of(4, t)->name, "Q8_0");
    t[2].wanted = F16;
    assert_string_equal(base_of(4, t)->name, "Q8_0"); /* none at all, but lines are needed */
    t[0].wanted = F16;
    assert_string_equal(base_of(4, t)->name, "Q8_0"); /* f16 and bf16 */
    t[3].wanted = F16;
    assert_string_equal(base_of(4, t)->name, "F16");
    assert_string_equal(base_of(0, NULL)->name, "Q8_0");
}

static void what_llama_quantize_would_not_do(void **unused) {
    (void)unused;
    qdq_recipe_tensor t = {{"blk.0.attn_q.weight", {512, 4, 1, 1}, F32}, IQ2_XXS};
    qdq_recipe_job job = job_of(1, &t);
    qdq_recipe r;
    expect_failure(qdq_recipe_make(&job, &r), QDQ_UNSUPPORTED,
                   "blk.0.attn_q.weight cannot become iq2_xxs in llama-quantize: that needs an importance matrix");
    job.imatrix = "im";
    assert_int_equal(qdq_recipe_make(&job, &r), QDQ_OK);
    qdq_recipe_free(&r);
    t.tensor.name = "token_embd.weight";
    expect_failure(qdq_recipe_make(&job, &r), QDQ_UNSUPPORTED, "which the embedding never has");
    t.wanted = Q4_K;
    t.tensor.ne[0] = 96;
    expect_failure(qdq_recipe_make(&job, &r), QDQ_UNSUPPORTED, "rows of 96 elements are no multiple of 256");
    t.wanted = 9;
    expect_failure(qdq_recipe_make(&job, &r), QDQ_UNSUPPORTED, "it cannot write that");
    t.wanted = 1234;
    expect_failure(qdq_recipe_make(&job, &r), QDQ_UNSUPPORTED, "it cannot write that");
    t.tensor.name = "blk.0.ffn_gate_inp.weight";
    t.wanted = Q8_0;
    expect_failure(qdq_recipe_make(&job, &r), QDQ_UNSUPPORTED, "it copies this tensor (ffn_gate_inp.weight)");
    t.wanted = F32;
    assert_int_equal(qdq_recipe_make(&job, &r), QDQ_OK);
    assert_string_equal(r.text, "");
    qdq_recipe_free(&r);
    job.input = NULL;
    expect_failure(qdq_recipe_make(&job, &r), QDQ_INVALID_ARGUMENT, "NULL");
}

#ifndef QDQ_NO_CXX
static uint64_t seed = 9;

static unsigned draw(unsigned below) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(seed >> 33) % below;
}
#endif

/* Names full of what regular expressions, words and shells are made of: each line must mean its tensor alone. */
static void hostile_names(void **unused) {
    (void)unused;
#ifdef QDQ_NO_CXX
    skip();
#else
    enum { N = 60 };
    static const char bytes[] =
        ".*+?()[]{}|^$\\=/-_ #'\"\t\n\r\v\f\x01\x7f\x80\xc3\xa9\xff<>&!@~`,;:%AaBbDdSsWwZz0129xX";
    static const uint32_t wanted[] = {F32, F16, BF16, Q4_0, Q8_0, Q4_K, Q6_K, NVFP4};
    for (int round = 0; round < 40; round++) {
        char names[N][48];
        qdq_recipe_tensor t[N];
        for (int i = 0; i < N; i++) {
            unsigned n = 1 + draw(12), used = 0;
            if (i % 3 == 2) { /* an earlier name with one byte changed, or more in front */
                used = (unsigned)strlen(names[i - 1]) - 7;
                memcpy(names[i], names[i - 1], used);
                if (used && draw(2)) names[i][draw(used)] = bytes[draw(sizeof bytes - 1)];
                n = draw(2);
            }
            for (unsigned k = 0; k < n; k++) names[i][used++] = bytes[draw(sizeof bytes - 1)];
            strcpy(&names[i][used], ".weight");
            for (int k = 0; k < i; k++)
                if (strcmp(names[k], names[i]) == 0) { /* names are unique in a file */
                    names[i][0] = '\0';
                    i--;
                    break;
                }
        }
        for (int i = 0; i < N; i++)
            t[i] = (qdq_recipe_tensor){{names[i], {512, 4, 1, 1}, F32}, wanted[draw(sizeof wanted / sizeof *wanted)]};
        qdq_recipe_job job = job_of(N, t);
        qdq_recipe r;
        if (qdq_recipe_make(&job, &r) != QDQ_OK) fail_msg("%s", qdq_error_message());
        int line = 0;
        for (int i = 0; i < N; i++) {
            char type[32] = "";
            int entry = std_type_file_entry(r.text, names[i], type, sizeof type);
            if (!qdq_rules_quantizes(&t[i].tensor, NULL)) {
                if (entry != -1) fail_msg("\"%s\", which is copied, is found by line %d", names[i], entry);
                continue;
            }
            const char *expected = qdq_ggml_type_by_id(t[i].wanted)->name;
            if (entry != line || strcmp(type, expected) != 0)
                fail_msg("\"%s\": line %d (%s); expected %d (%s) of\n%s", names[i], entry, type, line, expected,
                         r.text);
            line++;
        }
        assert_int_equal(line, r.n_lines);
        qdq_recipe_free(&r);
    }
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_command),
        cmocka_unit_test(command_for_a_shell),
        cmocka_unit_test(the_base_is_quantized_whenever_lines_count),
        cmocka_unit_test(what_llama_quantize_would_not_do),
        cmocka_unit_test(hostile_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
