/* What is kept of an output in parts: checksums, manifests, journals. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "files/record.h"
#include "model/shared_sums.h"

static uint64_t checksum(const void *bytes, size_t n, size_t piece) {
    qdq_checksum sum;
    qdq_checksum_begin(&sum);
    for (size_t at = 0; at < n; at += piece)
        qdq_checksum_add(&sum, (const char *)bytes + at, n - at < piece ? n - at : piece);
    return qdq_checksum_value(&sum);
}

/* The same on every machine and for all time: journals go from one to another. */
static void checksums(void **state) {
    (void)state;
    unsigned char bytes[300];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 7);
    assert_int_equal(checksum(bytes, 0, 1), UINT64_C(0x7392ab190e2bbbcd));
    assert_int_equal(checksum(bytes, 300, 300), UINT64_C(0x95a4af4429fe3acf));
    for (size_t n = 0; n <= sizeof bytes; n++) {
        uint64_t whole = checksum(bytes, n, sizeof bytes);
        for (size_t piece = 1; piece < 70; piece++) assert_int_equal(checksum(bytes, n, piece), whole);
        assert_true(n == 0 || checksum(bytes, n - 1, n) != whole);
    }
    uint64_t whole = checksum(bytes, sizeof bytes, 50);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_true(checksum(bytes, sizeof bytes, sizeof bytes) != whole);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    memset(bytes, 0, sizeof bytes); /* zeros count */
    for (size_t n = 1; n < sizeof bytes; n++) assert_true(checksum(bytes, n, 300) != checksum(bytes, n - 1, 300));
}

static qdq_making example(uint64_t *bytes, uint32_t n) {
    return (qdq_making){.version = "1.2.3", .formats = "2026-09", .source = 5, .plan = 6, .n_files = n, .bytes = bytes};
}

/* What was written is read as it was; cut anywhere it is refused. */
static void manifests(void **state) {
    (void)state;
    uint64_t bytes[] = {1, 3 << 20, INT64_MAX};
    qdq_making making = example(bytes, 3), read;
    char *text;
    size_t length;
    assert_int_equal(qdq_manifest_print(&making, &text, &length), QDQ_OK);
    assert_int_equal(qdq_manifest_parse("m", text, length, &read), QDQ_OK);
    assert_int_equal(qdq_making_identity(&read), qdq_making_identity(&making));
    assert_int_equal(qdq_making_compare("m", &read, &making), QDQ_OK);
    read.bytes[1]++;
    assert_int_equal(qdq_making_compare("m", &read, &making), QDQ_BAD_DATA);
    assert_true(qdq_making_identity(&read) != qdq_making_identity(&making));
    free(read.bytes);
    for (size_t n = 0; n + 1 < length; n++) assert_int_equal(qdq_manifest_parse("m", text, n, &read), QDQ_BAD_DATA);
    free(text);
}

/* Lines that are whole and possible count, whatever stands between them. */
static void journals(void **state) {
    (void)state;
    uint64_t bytes[] = {10 << 20, (5 << 20) + 3};
    qdq_making making = example(bytes, 2);
    const struct {
        qdq_noted noted;
        bool counts;
    } cases[] = {
        {{0, {0, 1 << 20}, 1}, true},        {{1, {4 << 20, (5 << 20) + 3}, 2}, true},
        {{0, {0, 10 << 20}, 3}, true},       {{2, {0, 1 << 20}, 4}, false},
        {{0, {0, 11 << 20}, 5}, false},      {{0, {1 << 20, 1 << 20}, 6}, false},
        {{0, {5, 1 << 20}, 7}, false},       {{1, {0, (5 << 20) + 2}, 8}, false},
        {{0, {2 << 20, 1 << 20}, 9}, false}, {{0, {0, UINT64_MAX}, 10}, false},
    };
    char text[4096], line[QDQ_JOURNAL_LINE];
    size_t length = qdq_journal_begin(qdq_making_identity(&making), text);
    uint64_t wanted = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = qdq_journal_line(&cases[i].noted, line);
        qdq_noted_list one = {0};
        size_t first = qdq_journal_begin(qdq_making_identity(&making), text + 2048);
        for (size_t cut = 0; cut < n; cut++) { /* of a line that is cut nothing counts */
            memcpy(text + 2048 + first, line, cut);
            assert_int_equal(qdq_journal_parse("j", text + 2048, first + cut, &making, &one), QDQ_OK);
            assert_int_equal(one.n, 0);
        }
        memcpy(text + length, line, n);
        length += n;
        memcpy(text + length, line, n / 2);
        text[length + n / 2] = '\n';
        length += n / 2 + 1;
        wanted += cases[i].counts;
    }
    qdq_noted_list list = {0};
    assert_int_equal(qdq_journal_parse("j", text, length, &making, &list), QDQ_OK);
    assert_int_equal(list.n, wanted);
    for (uint64_t i = 0; i < list.n; i++) assert_int_equal(list.items[i].checksum, i + 1);
    making.plan++; /* another job's */
    assert_int_equal(qdq_journal_parse("j", text, length, &making, &list), QDQ_OK);
    assert_int_equal(list.n, wanted);
    free(list.items);
}

/* Every bit of a sum comes back; a line that is cut or has another bit is none. */
static void sums(void **state) {
    (void)state;
    qdq_sum_line read, sum = {.index = UINT64_MAX,
                              .key = UINT64_C(0xfedcba9876543210),
                              .words = {0, UINT64_MAX, UINT64_C(0x7ff8000000000001), UINT64_C(1) << 63, 5}};
    char line[QDQ_JOURNAL_LINE + 1];
    size_t length = qdq_sum_line_print(&sum, line);
    assert_true(length < QDQ_JOURNAL_LINE && line[length - 1] == '\n');
    assert_true(qdq_sum_line_parse(line, length, &read));
    assert_true(read.index == sum.index && read.key == sum.key);
    assert_memory_equal(read.words, sum.words, sizeof sum.words);
    for (size_t n = 0; n < length; n++) assert_false(qdq_sum_line_parse(line, n, &read));
    for (size_t bit = 0; bit < 8 * length; bit++) {
        line[bit / 8] ^= (char)(1u << bit % 8);
        assert_false(qdq_sum_line_parse(line, length, &read));
        line[bit / 8] ^= (char)(1u << bit % 8);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(checksums), cmocka_unit_test(manifests),
                                       cmocka_unit_test(journals), cmocka_unit_test(sums)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
