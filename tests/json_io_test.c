/* JSON under failing allocations: whole or "out of memory", never a part, a complaint about the text, or an end of the
 * process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "files/json_io.h"

/* An allocator of the program's own, which the library passes on to. */
static long allocated, fail_at, held;
static bool sticky;

static void *failing_malloc(size_t bytes) {
    long n = ++allocated;
    if (fail_at > 0 && (sticky ? n >= fail_at : n == fail_at)) return NULL;
    held++;
    return malloc(bytes);
}

static void failing_free(void *memory) {
    held -= memory != NULL;
    free(memory);
}

static void fail_from(long at, bool from_then_on) {
    allocated = 0;
    fail_at = at;
    sticky = from_then_on;
}

/* Numbers that fill the lexer's buffer just so, keys and strings past it, escapes, nesting. */
static const char text[] =
    "{\"a\": 0.0123456789012, \"b\": [1234567890123456, -0.000000000000001e-10, true, null, \"\\u00fc\\\\\\\"ü\"],"
    "\"a key that is longer than thirty-two bytes\": {\"c\": \"a string longer than sixty-four bytes, so that it grows "
    "more than once while it is read\", \"d\": {}, \"e\": [[], {\"f\": \"\"}]}}";

static void a_parse_is_whole_or_out_of_memory(void **unused) {
    (void)unused;
    json_error_t error;
    json_t *whole, *root;
    assert_int_equal(qdq_json_parse("x", text, strlen(text), &whole, &error), QDQ_OK);
    for (int s = 0; s < 2; s++) {
        bool reached = true;
        for (long n = 1; reached; n++) {
            long before = held;
            fail_from(n, s == 1);
            qdq_status status = qdq_json_parse("x", text, strlen(text), &root, &error);
            reached = allocated >= n;
            fail_from(0, false);
            assert_int_equal(status, reached ? QDQ_OUT_OF_MEMORY : QDQ_OK);
            if (!reached) assert_true(json_equal(root, whole));
            if (!reached) json_decref(root);
            assert_int_equal(held, before);
        }
    }
    json_decref(whole);
}

static void a_text_is_whole_or_none(void **unused) {
    (void)unused;
    json_error_t error;
    json_t *root;
    assert_int_equal(qdq_json_parse("x", text, strlen(text), &root, &error), QDQ_OK);
    char *whole = qdq_json_print(root, JSON_INDENT(2));
    assert_non_null(whole);
    bool reached = true;
    for (long n = 1; reached; n++) {
        fail_from(n, false);
        char *printed = qdq_json_print(root, JSON_INDENT(2));
        reached = allocated >= n;
        fail_from(0, false);
        if (printed != NULL) assert_string_equal(printed, whole);
        if (!reached) assert_non_null(printed);
        free(printed);
    }
    assert_null(qdq_json_print(NULL, 0));
    free(whole);
    json_decref(root);
}

static void damage_is_told_from_want_of_memory(void **unused) {
    (void)unused;
    json_error_t error;
    json_t *root;
    char digits[3000];
    memset(digits, '1', sizeof digits);
    digits[0] = '[';
    digits[sizeof digits - 1] = ']';
    static const char *const broken[] = {"", "{", "[1", "[1,]", "{\"a\": 1, \"a\": 2}", "[\"\xff\"]", "nul", "[1] x"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_int_equal(qdq_json_parse("x", broken[i], strlen(broken[i]), &root, &error), QDQ_BAD_DATA);
    assert_int_equal(qdq_json_parse("x", digits, sizeof digits, &root, &error), QDQ_BAD_DATA);
    digits[1] = digits[sizeof digits - 2] = '"'; /* a string may be as long as it likes */
    assert_int_equal(qdq_json_parse("x", digits, sizeof digits, &root, &error), QDQ_OK);
    json_decref(root);
}

static void names_that_are_no_text_are_escaped(void **unused) {
    (void)unused;
    json_t *plain = qdq_json_escaped("ü"), *odd = qdq_json_escaped("a\xff");
    assert_string_equal(json_string_value(plain), "ü");
    assert_string_equal(json_string_value(odd), "a\\xff");
    json_decref(plain);
    json_decref(odd);
}

int main(void) {
    json_set_alloc_funcs(failing_malloc, failing_free);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_parse_is_whole_or_out_of_memory),
        cmocka_unit_test(a_text_is_whole_or_none),
        cmocka_unit_test(damage_is_told_from_want_of_memory),
        cmocka_unit_test(names_that_are_no_text_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
