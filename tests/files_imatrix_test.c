/* Importance matrices in both layouts, and every way in which they can be wrong. */
#include "files_support.h"

#include <math.h>

static void put_keys(bytes *b, bool datasets) {
    put_kv_string(b, "general.type", "imatrix");
    put_kv_int(b, "imatrix.chunk_count", QDQ_KV_U32, 12, 4);
    put_kv_int(b, "imatrix.chunk_size", QDQ_KV_U32, 512, 4);
    if (!datasets) return;
    put_string(b, "imatrix.datasets");
    put_int(b, QDQ_KV_ARRAY, 4);
    put_int(b, QDQ_KV_STRING, 4);
    put_int(b, 2, 8);
    put_string(b, "wiki.txt");
    put_string(b, "other.txt");
}

typedef struct part {
    const char *name;
    uint32_t n_dims;
    uint64_t ne[2];
    const float *values;
} part;

static bytes gguf(const part *parts, size_t n) {
    bytes b = {0};
    uint64_t offset = 0;
    put_gguf(&b, 3, n, 4);
    put_keys(&b, true);
    for (size_t i = 0; i < n; i++) {
        uint64_t count = parts[i].ne[0] * (parts[i].n_dims > 1 ? parts[i].ne[1] : 1);
        put_info(&b, parts[i].name, parts[i].n_dims, parts[i].ne, 0, offset);
        offset += (count * 4 + 31) / 32 * 32;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t count = parts[i].ne[0] * (parts[i].n_dims > 1 ? parts[i].ne[1] : 1);
        pad_to(&b, 32);
        for (uint64_t k = 0; k < count; k++) put_float(&b, parts[i].values[k]);
    }
    return b;
}

static qdq_status parse_imatrix(const bytes *b, size_t n, qdq_imatrix **imatrix) {
    uint8_t *copy = malloc(n > 0 ? n : 1);
    if (n > 0) memcpy(copy, b->data, n);
    qdq_imatrix *im = NULL;
    qdq_status status = qdq_imatrix_parse(copy, n, "x", &im);
    if (status == QDQ_OK) qdq_imatrix_close(im);
    free(copy);
    if (imatrix != NULL && status == QDQ_OK) status = qdq_imatrix_parse(b->data, b->n, "x", imatrix);
    return status;
}

static const float sums[8] = {1, 2, 3, 4, 10, 20, 30, 40}, counts[2] = {3, 0}, one_count[1] = {7};

static void reads_the_gguf_layout(void **state) {
    const part parts[] = {{"blk.0.up.weight.in_sum2", 2, {4, 2}, sums},
                          {"blk.0.up.weight.in_sum", 2, {4, 2}, sums}, /* newer branches: passed over */
                          {"blk.0.up.weight.counts", 2, {1, 2}, counts},
                          {"out.weight.counts", 1, {1}, one_count},
                          {"out.weight.in_sum2", 1, {8}, sums},
                          {"nextn", 1, {1}, one_count}};
    bytes b = gguf(parts, 6);
    qdq_imatrix *im;
    assert_ok(parse_imatrix(&b, b.n, &im));
    assert_int_equal(qdq_imatrix_count(im), 2);
    assert_string_equal(qdq_imatrix_dataset(im), "wiki.txt");
    assert_int_equal(qdq_imatrix_chunks(im), 12);
    const qdq_imatrix_entry *e = qdq_imatrix_find(im, "blk.0.up.weight");
    assert_non_null(e);
    assert_int_equal(e->count, 8);
    assert_int_equal(e->columns, 4);
    /* The second matrix was never reached: all ones. */
    const float wanted[8] = {1.0f / 3.0f, 2.0f / 3.0f, 3.0f / 3.0f, 4.0f / 3.0f, 1, 1, 1, 1};
    float got[8];
    qdq_imatrix_weights(e, 0, 8, got);
    assert_memory_equal(got, wanted, sizeof wanted);
    qdq_imatrix_weights(e, 3, 2, got);
    assert_memory_equal(got, wanted + 3, 8);
    qdq_imatrix_weights(e, 8, 0, got);
    e = qdq_imatrix_find(im, "out.weight");
    qdq_imatrix_weights(e, 0, 8, got);
    for (int i = 0; i < 8; i++) assert_true(got[i] == sums[i] / 7.0f);
    assert_null(qdq_imatrix_find(im, "out.weigh"));

    /* Sizes against tensors. */
    const qdq_imatrix_entry *matched;
    qdq_tensor t = {.name = "blk.0.up.weight", .path = "m", .n_dims = 3, .shape = (uint64_t[]){2, 5, 4}};
    assert_ok(qdq_imatrix_match(im, &t, &matched));
    assert_ptr_equal(matched, qdq_imatrix_find(im, "blk.0.up.weight"));
    t.shape = (uint64_t[]){4, 5, 2};
    assert_refused(qdq_imatrix_match(im, &t, &matched), QDQ_BAD_DATA, "has 8 values", "[4, 5, 2]", "needs 2 x 4");
    t.n_dims = 2;
    t.shape = (uint64_t[]){5, 8};
    assert_refused(qdq_imatrix_match(im, &t, &matched), QDQ_BAD_DATA, "needs 8 x 1"); /* 4 columns, not 8 */
    t.name = "out.weight";
    assert_ok(qdq_imatrix_match(im, &t, &matched));
    t.name = "token_embd.weight";
    assert_ok(qdq_imatrix_match(im, &t, &matched));
    assert_null(matched);

    /* Experts that the model holds one by one. */
    qdq_imatrix_entry slice;
    t.name = "expert.1";
    t.shape = (uint64_t[]){5, 4};
    assert_ok(qdq_imatrix_match_expert(im, "blk.0.up.weight", 1, &t, &slice));
    assert_int_equal(slice.count, 4);
    qdq_imatrix_weights(&slice, 0, 4, got);
    assert_memory_equal(got, wanted + 4, 16);
    assert_refused(qdq_imatrix_match_expert(im, "blk.0.up.weight", 2, &t, &slice), QDQ_BAD_DATA, "x: ", "expert 2");
    t.shape = (uint64_t[]){5, 2}; /* 8 values are four rows of 2, but the file's rows are of 4 */
    assert_refused(qdq_imatrix_match_expert(im, "blk.0.up.weight", 1, &t, &slice), QDQ_BAD_DATA, "rows of 4");
    assert_ok(qdq_imatrix_match_expert(im, "blk.1.up.weight", 1, &t, &slice));
    assert_null(slice.name);
    qdq_imatrix_close(im);
    release(&b);
}

/* All experts counted as one matrix, as of a legacy file that was converted. */
static void one_count_for_a_stack(void **state) {
    const part parts[] = {{"x.in_sum2", 1, {8}, sums}, {"x.counts", 1, {1}, one_count}};
    bytes b = gguf(parts, 2);
    qdq_imatrix *im;
    assert_ok(parse_imatrix(&b, b.n, &im));
    const qdq_imatrix_entry *matched;
    qdq_tensor t = {.name = "x", .path = "m", .n_dims = 3, .shape = (uint64_t[]){2, 5, 4}};
    assert_ok(qdq_imatrix_match(im, &t, &matched));
    float got[4];
    qdq_imatrix_entry slice = qdq_imatrix_slice(matched, 4, 1);
    qdq_imatrix_weights(&slice, 0, 4, got);
    for (int i = 0; i < 4; i++) assert_true(got[i] == sums[4 + i] / 7.0f);
    t.n_dims = 2;
    t.shape = (uint64_t[]){5, 4};
    assert_ok(qdq_imatrix_match_expert(im, "x", 1, &t, &slice));
    qdq_imatrix_weights(&slice, 1, 3, got);
    for (int i = 0; i < 3; i++) assert_true(got[i] == sums[5 + i] / 7.0f);
    assert_refused(qdq_imatrix_match_expert(im, "x", 2, &t, &slice), QDQ_BAD_DATA, "expert 2");
    qdq_imatrix_close(im);
    release(&b);
}

static void what_a_program_may_ask(void **state) {
    const part parts[] = {{"x.in_sum2", 2, {4, 2}, sums}, {"x.counts", 2, {1, 2}, counts}};
    bytes b = gguf(parts, 2);
    qdq_imatrix *im;
    assert_ok(parse_imatrix(&b, b.n, &im));
    assert_int_equal(qdq_imatrix_layout_of(im), QDQ_IMATRIX_GGUF);
    assert_int_equal(qdq_imatrix_chunk_size(im), 512);
    assert_string_equal(qdq_imatrix_dataset_at(im, 1), "other.txt");
    assert_null(qdq_imatrix_dataset_at(im, 2));
    qdq_imatrix_statistics s = {.size = offsetof(qdq_imatrix_statistics, sum), .sum = -5};
    assert_ok(qdq_imatrix_entry_describe(qdq_imatrix_find(im, "x"), &s));
    assert_true(s.columns == 4 && s.matrices == 2 && s.unreached == 1 && s.most_count == 3 && s.sum == -5);
    s.size = 0;
    assert_refused(qdq_imatrix_entry_describe(qdq_imatrix_find(im, "x"), &s), QDQ_INVALID_ARGUMENT, "size is 0");
    const qdq_imatrix *one[] = {im};
    qdq_imatrix_write_options options = {.size = sizeof options, .layout = (qdq_imatrix_layout)2};
    assert_refused(qdq_imatrix_write(0, one, NULL, "/dev/null", NULL), QDQ_INVALID_ARGUMENT, "no matrix");
    assert_refused(qdq_imatrix_write(1, one, &options, "/dev/null", NULL), QDQ_INVALID_ARGUMENT, "no layout 2");
    options.layout = QDQ_IMATRIX_DAT;
    qdq_imatrix_report report = {.size = sizeof report};
    assert_ok(qdq_imatrix_write(1, one, &options, "/dev/null", &report));
    assert_true(report.entries == 1 && report.partial == 0 && report.dropped == 0 && report.chunk_size == 512);
    assert_refused(qdq_imatrix_write(1, one, NULL, "/none/x", NULL), QDQ_IO_ERROR, "/none/x");
    qdq_imatrix_close(im);
    release(&b);
}

/* ggml keeps 63 bytes of a tensor's name, suffix included. */
static void finds_names_that_ggml_cut(void **state) {
    for (size_t length = 50; length <= 66; length++) {
        char name[80], sum_name[96], count_name[96];
        memset(name, 'n', length);
        name[length] = 0;
        snprintf(sum_name, sizeof sum_name, "%s.in_sum2", name);
        snprintf(count_name, sizeof count_name, "%s.counts", name);
        sum_name[63] = count_name[63] = 0;
        const part parts[] = {{sum_name, 1, {8}, sums}, {count_name, 1, {1}, one_count}};
        bytes b = gguf(parts, 2);
        qdq_imatrix *im;
        qdq_status status = parse_imatrix(&b, b.n, &im);
        if (length > 61) { /* the two names are one */
            assert_refused(status, QDQ_BAD_DATA, "is there twice");
        } else {
            assert_ok(status);
            assert_non_null(qdq_imatrix_find(im, name));
            qdq_imatrix_close(im);
        }
        release(&b);
    }
    /* A weight whose own name was longer than what a legacy file kept of it. */
    bytes b = {0};
    char longer[80];
    memset(longer, 'n', 70);
    longer[70] = 0;
    put_int(&b, 1, 4);
    put_int(&b, 63, 4);
    put(&b, longer, 63);
    put_int(&b, 1, 4);
    put_int(&b, 1, 4);
    put_float(&b, 2.0f);
    qdq_imatrix *im;
    assert_ok(parse_imatrix(&b, b.n, &im));
    assert_non_null(qdq_imatrix_find(im, longer));
    longer[62] = 0;
    assert_null(qdq_imatrix_find(im, longer));
    qdq_imatrix_close(im);
    release(&b);
}

static void refuses_bad_gguf_by_name(void **state) {
    const float nan_sum[8] = {1, 2, 3, NAN, 5, 6, 7, 8}, inf_sum[8] = {INFINITY, 1, 1, 1, 1, 1, 1, 1};
    const float negative[8] = {1, 1, 1, 1, 1, -1, 1, 1}, huge[8] = {3e38f, 1, 1, 1, 1, 1, 1, 1};
    const float tiny[1] = {0.001f}, minus[2] = {1, -1}, nan_count[2] = {NAN, 1}, inf_count[2] = {1, INFINITY};
    const struct {
        part sums, counts;
        const char *message;
    } cases[] = {
        {{"w.in_sum2", 2, {4, 2}, sums}, {"v.counts", 2, {1, 2}, counts}, "lacks its"},
        {{"w.in_sum2", 2, {4, 2}, sums}, {"w.count", 2, {1, 2}, counts}, "\"w.in_sum2\" (at offset"},
        {{"w.in_sum", 2, {4, 2}, sums}, {"w.counts", 2, {1, 2}, counts}, "\"w.counts\""},
        {{"w.in_sum2", 2, {4, 2}, sums}, {"w.counts", 1, {1}, counts}, "sums of 2 matrices ([2, 4]) and counts of 1"},
        {{"w.in_sum2", 2, {4, 0}, sums}, {"w.counts", 1, {1}, counts}, "\"w.in_sum2\" is empty"},
        {{"w.in_sum2", 1, {8}, nan_sum}, {"w.counts", 1, {1}, one_count}, "\"w\": value 3 (at offset"},
        {{"w.in_sum2", 1, {8}, inf_sum}, {"w.counts", 1, {1}, one_count}, "\"w\": value 0"},
        {{"w.in_sum2", 1, {8}, negative}, {"w.counts", 1, {1}, one_count}, "value 5 (at offset"},
        {{"w.in_sum2", 1, {8}, huge}, {"w.counts", 1, {1}, tiny}, "value 0"},
        {{"w.in_sum2", 2, {4, 2}, sums}, {"w.counts", 1, {2}, minus}, "count of matrix 1 is -1"},
        {{"w.in_sum2", 2, {4, 2}, sums}, {"w.counts", 1, {2}, nan_count}, "count of matrix 0 is"},
        {{"w.in_sum2", 2, {4, 2}, sums}, {"w.counts", 1, {2}, inf_count}, "count of matrix 1 is inf"},
        {{"x", 1, {8}, sums}, {"y", 1, {1}, one_count}, "no entry"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b = gguf(&cases[i].sums, 2);
        assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, "x: ", cases[i].message);
        release(&b);
    }
    bytes b = {0};
    put_gguf(&b, 3, 0, 1);
    put_kv_string(&b, "general.type", "model");
    assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, "a model, not an importance matrix");
    release(&b);
    put_gguf(&b, 3, 0, 3);
    put_keys(&b, false);
    assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, "no key imatrix.datasets");
    release(&b);
    static const char *const keys[] = {"imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"};
    static const char *const messages[] = {"imatrix.datasets is no array", "chunk_count is no u32",
                                           "chunk_size is no u32"};
    for (int bad = 0; bad < 3; bad++) {
        put_gguf(&b, 3, 0, 3);
        for (int i = 0; i < 3; i++) {
            if (i == 0 && bad != 0) {
                put_string(&b, keys[0]);
                put_int(&b, QDQ_KV_ARRAY, 4);
                put_int(&b, QDQ_KV_STRING, 4);
                put_int(&b, 0, 8);
            } else {
                put_kv_int(&b, keys[i], i == bad ? QDQ_KV_F32 : QDQ_KV_U32, 1, 4);
            }
        }
        assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, messages[bad]);
        release(&b);
    }
    /* Of another type than f32. */
    put_gguf(&b, 3, 2, 4);
    put_keys(&b, true);
    put_info(&b, "w.counts", 1, (uint64_t[]){1}, 0, 0);
    put_info(&b, "w.in_sum2", 1, (uint64_t[]){8}, 1, 32);
    pad_to(&b, 32);
    put_zeros(&b, 64);
    assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, "\"w.in_sum2\" is f16");
    release(&b);
}

static void cut_gguf_is_refused(void **state) {
    const part parts[] = {{"w.in_sum2", 2, {4, 2}, sums}, {"w.counts", 2, {1, 2}, counts}};
    bytes b = gguf(parts, 2);
    for (size_t n = 0; n < b.n; n++) assert_refused(parse_imatrix(&b, n, NULL), QDQ_BAD_DATA, "x: ");
    assert_ok(parse_imatrix(&b, b.n, NULL));
    release(&b);
}

/* ---- Legacy ------------------------------------------------------------------------------------------------------ */

static void put_entry(bytes *b, const char *name, int calls, const float *values, size_t n) {
    put_int(b, strlen(name), 4);
    put(b, name, strlen(name));
    put_int(b, (uint32_t)calls, 4);
    put_int(b, n, 4);
    for (size_t i = 0; i < n; i++) put_float(b, values[i]);
}

static bytes legacy(void) {
    bytes b = {0};
    put_int(&b, 2, 4);
    put_entry(&b, "blk.0.w", 3, sums, 8);
    put_entry(&b, "blk.1.w", 0, sums, 4);
    return b;
}

static void reads_the_legacy_layout(void **state) {
    bytes b = legacy();
    for (int tail = 0; tail < 2; tail++) {
        if (tail == 1) {
            put_int(&b, 100, 4);
            put_string(&b, "wiki.raw");
            /* Its length has 4 bytes here, not 8. */
            memmove(b.data + b.n - 12, b.data + b.n - 8, 8);
            b.n -= 4;
        }
        save("old.dat", b);
        qdq_imatrix *im;
        assert_ok(qdq_imatrix_open(at("old.dat"), &im));
        assert_int_equal(qdq_imatrix_count(im), 2);
        assert_string_equal(qdq_imatrix_entry_at(im, 1)->name, "blk.1.w");
        assert_string_equal(qdq_imatrix_dataset(im), tail == 1 ? "wiki.raw" : "");
        assert_int_equal(qdq_imatrix_chunks(im), tail == 1 ? 100 : 0);
        float got[8];
        qdq_imatrix_weights(qdq_imatrix_find(im, "blk.0.w"), 0, 8, got);
        for (int i = 0; i < 8; i++) assert_true(got[i] == sums[i] / 3.0f);
        qdq_imatrix_weights(qdq_imatrix_find(im, "blk.0.w"), 5, 3, got);
        for (int i = 0; i < 3; i++) assert_true(got[i] == sums[5 + i] / 3.0f);
        /* Nothing was counted: the values as they are. */
        qdq_imatrix_weights(qdq_imatrix_find(im, "blk.1.w"), 0, 4, got);
        assert_memory_equal(got, sums, 16);
        const qdq_imatrix_entry *matched;
        qdq_tensor t = {.name = "blk.0.w", .path = "m", .n_dims = 3, .shape = (uint64_t[]){2, 9, 4}};
        assert_ok(qdq_imatrix_match(im, &t, &matched));
        t.n_dims = 2;
        assert_refused(qdq_imatrix_match(im, &t, &matched), QDQ_BAD_DATA, "\"blk.0.w\" has 8 values", "needs 9 x 1");
        qdq_imatrix_close(im);
    }
    release(&b);
}

static void cut_legacy_is_refused(void **state) {
    bytes b = legacy();
    size_t whole = b.n;
    put_int(&b, 100, 4);
    put_int(&b, 4, 4);
    put(&b, "wiki", 4);
    for (size_t n = 0; n < b.n; n++) {
        if (n == whole)
            assert_ok(parse_imatrix(&b, n, NULL));
        else
            assert_refused(parse_imatrix(&b, n, NULL), QDQ_BAD_DATA, "x: ");
    }
    assert_ok(parse_imatrix(&b, b.n, NULL));
    put_zeros(&b, 1);
    assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, "behind the end");
    release(&b);
}

static void refuses_bad_legacy_by_name(void **state) {
    const float bad[2] = {1, NAN};
    bytes b = {0};
    static const uint32_t numbers[] = {0, 3, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        b = legacy();
        b.data[0] = (uint8_t)numbers[i];
        b.data[3] = (uint8_t)(numbers[i] >> 24);
        assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, "x: ");
        release(&b);
    }
    put_int(&b, 1, 4);
    put_entry(&b, "", 1, sums, 8);
    assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, "bad length of a name at offset 4");
    release(&b);
    put_int(&b, 1, 4);
    put_entry(&b, "\xff", 1, sums, 8);
    assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, "not UTF-8");
    release(&b);
    put_int(&b, 1, 4);
    put_entry(&b, "w", -1, sums, 8);
    assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, "negative number of calls");
    release(&b);
    put_int(&b, 1, 4);
    put_entry(&b, "www", 1, sums, 0);
    put_zeros(&b, 4);
    assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, "bad number of values");
    release(&b);
    put_int(&b, 1, 4);
    put_entry(&b, "www", 1, bad, 2);
    assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, "\"www\": value 1 (at offset 23)");
    release(&b);
    put_int(&b, 2, 4);
    put_entry(&b, "w", 1, sums, 8);
    put_entry(&b, "w", 1, sums, 8);
    assert_refused(parse_imatrix(&b, b.n, NULL), QDQ_BAD_DATA, "\"w\" is there twice");
    release(&b);
    qdq_imatrix *im;
    assert_refused(qdq_imatrix_open(at("nowhere.dat"), &im), QDQ_IO_ERROR, "nowhere.dat");
}

static void survives_any_changed_byte(void **state) {
    const part parts[] = {{"w.in_sum2", 2, {4, 2}, sums}, {"w.counts", 2, {1, 2}, counts}};
    bytes files[] = {gguf(parts, 2), legacy()};
    for (int f = 0; f < 2; f++) {
        for (size_t i = 0; i < files[f].n; i++) {
            uint8_t was = files[f].data[i];
            for (int value = 0; value < 256; value += 5) {
                files[f].data[i] = (uint8_t)value;
                qdq_status status = parse_imatrix(&files[f], files[f].n, NULL);
                assert_true(status == QDQ_OK || status == QDQ_BAD_DATA);
            }
            files[f].data[i] = was;
        }
        release(&files[f]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_count_for_a_stack),      cmocka_unit_test(what_a_program_may_ask),
        cmocka_unit_test(reads_the_gguf_layout),      cmocka_unit_test(finds_names_that_ggml_cut),
        cmocka_unit_test(refuses_bad_gguf_by_name),   cmocka_unit_test(cut_gguf_is_refused),
        cmocka_unit_test(reads_the_legacy_layout),    cmocka_unit_test(cut_legacy_is_refused),
        cmocka_unit_test(refuses_bad_legacy_by_name), cmocka_unit_test(survives_any_changed_byte),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
