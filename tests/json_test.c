/* JSON written and read, and the builder of texts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "files/builder.h"
#include "files/json_fields.h"
#include "files/json_writer.h"

static char *sample(unsigned indent) {
    qdq_builder b = {0};
    qdq_json_writer w = {.out = &b, .indent = indent};
    qdq_json_put_open(&w, NULL, '{');
    qdq_json_put_text(&w, "a\"b", "ü\\\n\t\x01");
    qdq_json_put_text(&w, "none", NULL);
    qdq_json_put_text(&w, "odd", "a\xff");
    qdq_json_put_bytes(&w, "nul", "a\0b", 3);
    qdq_json_put_open(&w, "list", '[');
    qdq_json_put_whole(&w, NULL, INT64_MAX);
    qdq_json_put_real(&w, NULL, -1.0 / 3);
    qdq_json_put_real(&w, NULL, 2);
    qdq_json_put_real(&w, NULL, 5e-324);
    qdq_json_put_real(&w, NULL, INFINITY);
    qdq_json_put_close(&w);
    qdq_json_put_open(&w, "empty", '[');
    qdq_json_put_close(&w);
    qdq_json_put_bool(&w, "yes", true);
    qdq_json_put_close(&w);
    return qdq_builder_take(&b);
}

static void writes_what_json_is(void **unused) {
    (void)unused;
    char *text = sample(0);
    assert_string_equal(text, "{\"a\\\"b\":\"ü\\\\\\u000a\\u0009\\u0001\",\"none\":null,\"odd\":\"a\\\\xff\","
                              "\"nul\":\"a\\u0000b\",\"list\":[9223372036854775807,-0.33333333333333331,2.0,"
                              "4.9406564584124654e-324,null],\"empty\":[],\"yes\":true}");
    free(text);
    text = sample(2);
    assert_non_null(strstr(text, "{\n  \"a\\\"b\": \"ü"));
    assert_non_null(strstr(text, "  \"list\": [\n    9223372036854775807,\n    -0.3"));
    assert_non_null(strstr(text, "\n    null\n  ],\n  \"empty\": [],\n  \"yes\": true\n}"));
    free(text);
}

static void reads_what_it_writes(void **unused) {
    (void)unused;
    char *text = sample(2), *nul = strstr(text, "\\u0000");
    memcpy(nul, "      ", 6); /* a text of C has none */
    const char *name = NULL, *none = "x", *key;
    uint64_t whole;
    double real[3];
    bool yes = false;
    qdq_arena arena = {0};
    qdq_json_reader r = {.bytes = (const uint8_t *)text, .length = strlen(text)};
    uint64_t seen = 0;
    const qdq_json_field fields[] = {{"a\"b", QDQ_JSON_TEXT, &name},
                                     {"none", QDQ_JSON_OPTIONAL, &none},
                                     {"yes", QDQ_JSON_BOOL, &yes},
                                     {"missing", QDQ_JSON_OPTIONAL, &none}};
    assert_true(qdq_json_enter(&r, '{'));
    while (qdq_json_key(&r, &key)) {
        if (strcmp(key, "list") != 0) {
            assert_true(qdq_json_field_read(&r, &arena, key, fields, 4, &seen));
            continue;
        }
        assert_true(qdq_json_enter(&r, '['));
        assert_true(qdq_json_item(&r) && qdq_json_whole(&r, &whole));
        for (int i = 0; i < 3; i++) assert_true(qdq_json_item(&r) && qdq_json_real(&r, &real[i]));
        assert_true(qdq_json_item(&r) && !qdq_json_real(&r, real) && qdq_json_null(&r));
        assert_false(qdq_json_item(&r));
    }
    qdq_json_end(&r);
    assert_null(r.why);
    assert_string_equal(name, "ü\\\n\t\x01");
    assert_string_equal(none, "x");
    assert_true(yes && whole == INT64_MAX && real[0] == -1.0 / 3 && real[1] == 2 && real[2] == 5e-324);
    assert_true(qdq_json_fields_all(fields, 4, seen));
    qdq_json_free(&r);
    qdq_arena_free(&arena);
    free(text);
}

static bool field_is_read(const char *text, qdq_json_kind kind, void *to) {
    const char *key;
    qdq_arena arena = {0};
    qdq_json_reader r = {.bytes = (const uint8_t *)text, .length = strlen(text)};
    uint64_t seen = 0;
    const qdq_json_field field = {"a", kind, to};
    bool read = qdq_json_enter(&r, '{');
    while (read && qdq_json_key(&r, &key)) read = qdq_json_field_read(&r, &arena, key, &field, 1, &seen);
    if (read) qdq_json_end(&r);
    read = read && r.why == NULL && qdq_json_fields_all(&field, 1, seen);
    qdq_json_free(&r);
    qdq_arena_free(&arena);
    return read;
}

static void fields_are_of_their_kind_and_come_once(void **unused) {
    (void)unused;
    const char *text;
    uint64_t whole;
    double damage;
    char digits[700] = "{\"a\": 1.";
    memset(digits + 8, '1', sizeof digits - 10);
    digits[sizeof digits - 2] = '}';
    assert_true(field_is_read("{\"b\": [{\"a\": 1}], \"a\": \"x\"}", QDQ_JSON_TEXT, &text));
    assert_true(field_is_read("{\"a\": 1e-5}", QDQ_JSON_MAGNITUDE, &damage) && damage == 1e-5);
    static const struct {
        const char *text;
        qdq_json_kind kind;
    } bad[] = {{"{\"a\": null}", QDQ_JSON_TEXT},
               {"{\"a\": 1}", QDQ_JSON_TEXT},
               {"{\"a\": 1}", QDQ_JSON_OPTIONAL},
               {"{\"a\": -1}", QDQ_JSON_WHOLE},
               {"{\"a\": 1.5}", QDQ_JSON_WHOLE},
               {"{\"a\": 9223372036854775808}", QDQ_JSON_WHOLE},
               {"{\"a\": -1e-300}", QDQ_JSON_MAGNITUDE},
               {"{\"a\": 1e999}", QDQ_JSON_MAGNITUDE},
               {"{\"a\": nan}", QDQ_JSON_MAGNITUDE},
               {"{\"a\": \"true\"}", QDQ_JSON_BOOL},
               {"{\"a\": truth}", QDQ_JSON_BOOL},
               {"{\"a\": 1, \"a\": 1}", QDQ_JSON_WHOLE},
               {"{\"b\": 1}", QDQ_JSON_WHOLE},
               {"{\"a\": 1", QDQ_JSON_WHOLE},
               {"{\"a\": 1} x", QDQ_JSON_WHOLE},
               {"[1]", QDQ_JSON_WHOLE},
               {"{\"a\": 1, \"b\": nul}", QDQ_JSON_WHOLE},
               {"{\"a\": \"\xff\"}", QDQ_JSON_TEXT}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        union {
            const char *text;
            uint64_t whole;
            double damage;
            bool flag;
        } to;
        if (field_is_read(bad[i].text, bad[i].kind, &to)) fail_msg("%s was taken", bad[i].text);
    }
    assert_false(field_is_read(digits, QDQ_JSON_MAGNITUDE, &damage));
    assert_true(field_is_read("{\"a\": 12}", QDQ_JSON_WHOLE, &whole) && whole == 12);
}

static void schemas_are_found(void **unused) {
    (void)unused;
    static const char first[] = "{\"schema\": \"x/1\", \"b\": 2",
                      later[] = "{\"b\": {\"schema\": \"y\"}, \"schema\": \"x/1\"}";
    assert_int_equal(qdq_json_check_schema("p", first, sizeof first - 1, "x/1", "plan"), QDQ_OK);
    assert_int_equal(qdq_json_check_schema("p", later, sizeof later - 1, "x/1", "plan"), QDQ_OK);
    assert_int_equal(qdq_json_check_schema("p", later, sizeof later - 1, "y", "plan"), QDQ_BAD_DATA);
    assert_string_equal(qdq_error_message(), "p: no plan: its \"schema\" is not \"y\"");
    assert_int_equal(qdq_json_check_schema("p", "[]", 2, "x/1", "plan"), QDQ_BAD_DATA);
    assert_int_equal(qdq_json_check_schema("p", "{\"a\": ]", 7, "x/1", "plan"), QDQ_BAD_DATA);
    assert_string_equal(qdq_error_message(), "p: not JSON: byte 6: a value is wanted");
    assert_int_equal(qdq_json_check_schema("p", "", 0, "x/1", "plan"), QDQ_BAD_DATA);
}

static void a_builder_keeps_its_pieces(void **unused) {
    (void)unused;
    qdq_builder b = {0};
    char expected[20001] = "";
    for (int i = 0; i < 1000; i++) {
        qdq_builder_format(&b, "%s%04d%s", "ab", i, "cdef");
        qdq_builder_text(&b, "0123456");
        qdq_builder_character(&b, 'x');
        qdq_builder_add(&b, "yz", 2);
        snprintf(expected + 20 * i, 21, "ab%04dcdef0123456xyz", i);
    }
    assert_int_equal(b.n, 20000);
    char *made = qdq_builder_take(&b);
    assert_string_equal(made, expected);
    free(made);
    qdq_builder_format(&b, "%9000d", 7); /* more than its room */
    assert_int_equal(b.n, 9000);
    b.failed = true;
    qdq_builder_text(&b, "lost");
    assert_int_equal(b.n, 9000);
    assert_null(qdq_builder_take(&b));
    made = qdq_builder_take(&b);
    assert_string_equal(made, "");
    free(made);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_json_is),
        cmocka_unit_test(reads_what_it_writes),
        cmocka_unit_test(fields_are_of_their_kind_and_come_once),
        cmocka_unit_test(schemas_are_found),
        cmocka_unit_test(a_builder_keeps_its_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
