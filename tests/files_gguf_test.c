/* GGUF: versions, metadata, split sets; and every way in which they can be wrong. */
#include "files_support.h"

#define F32  0
#define F16  1
#define Q4_0 2
#define BF16 30

/* Two tensors of every kind of care: shape [3, 32] f32 and [64] q4_0, behind some metadata. */
static bytes sample(uint32_t version, uint32_t alignment) {
    bytes b = {0};
    put_gguf(&b, version, 2, alignment != 32 ? 4 : 3);
    put_kv_string(&b, "general.architecture", "llama");
    put_kv_int(&b, "llama.block_count", QDQ_KV_U32, 7, 4);
    if (alignment != 32) put_kv_int(&b, "general.alignment", QDQ_KV_U32, alignment, 4);
    put_string(&b, "tokens");
    put_int(&b, QDQ_KV_ARRAY, 4);
    put_int(&b, QDQ_KV_STRING, 4);
    put_int(&b, 3, 8);
    put_string(&b, "one");
    put_string(&b, "");
    put_string(&b, "three");
    put_info(&b, "a.weight", 2, (uint64_t[]){32, 3}, F32, 0);
    uint64_t second = (3 * 32 * 4 + alignment - 1) / alignment * alignment;
    put_info(&b, "b.weight", 1, (uint64_t[]){64}, Q4_0, second);
    pad_to(&b, alignment);
    for (int i = 0; i < 3 * 32; i++) put_float(&b, (float)i);
    put_zeros(&b, second - 3 * 32 * 4);
    for (int i = 0; i < 36; i++) put_int(&b, (uint64_t)i, 1);
    return b;
}

static void reads_both_versions_at_any_alignment(void **state) {
    static const uint32_t alignments[] = {1, 8, 32, 64, 4096};
    for (size_t i = 0; i < 10; i++) {
        bytes b = sample(2 + (uint32_t)i % 2, alignments[i / 2]);
        qdq_model *model;
        assert_ok(qdq_model_parse(QDQ_LAYOUT_GGUF, b.data, b.n, "x", &model));
        assert_int_equal(qdq_model_tensor_count(model), 2);
        const qdq_tensor *t = qdq_model_tensor(model, 0);
        assert_string_equal(t->name, "a.weight");
        assert_string_equal(t->type_name, "f32");
        assert_true(t->source);
        assert_int_equal(t->dtype, QDQ_F32);
        assert_int_equal(t->n_dims, 2);
        assert_int_equal(t->shape[0], 3);
        assert_int_equal(t->shape[1], 32);
        assert_int_equal(t->offset % alignments[i / 2], 0);
        float value;
        memcpy(&value, (const uint8_t *)t->data + 95 * 4, 4);
        assert_true(value == 95.0f);
        t = qdq_model_find(model, "b.weight");
        assert_string_equal(t->type_name, "q4_0");
        assert_false(t->source);
        assert_string_equal(qdq_tensor_not_source(t), "is already quantized");
        assert_int_equal(t->bytes, 36);
        assert_ptr_equal((const uint8_t *)t->data + 36, b.data + b.n);
        qdq_model_close(model);
        release(&b);
    }
}

static void reads_metadata_by_type(void **state) {
    bytes b = {0};
    put_gguf(&b, 3, 0, 16);
    put_kv_int(&b, "u8", QDQ_KV_U8, 200, 1);
    put_kv_int(&b, "i8", QDQ_KV_I8, 0xff, 1);
    put_kv_int(&b, "u16", QDQ_KV_U16, 65535, 2);
    put_kv_int(&b, "i16", QDQ_KV_I16, 32767, 2);
    put_kv_int(&b, "u32", QDQ_KV_U32, UINT32_MAX, 4);
    put_kv_int(&b, "i32", QDQ_KV_I32, 1u << 31, 4);
    put_kv_int(&b, "u64", QDQ_KV_U64, UINT64_MAX, 8);
    put_kv_int(&b, "i64", QDQ_KV_I64, INT64_MAX, 8);
    put_kv_int(&b, "f32", QDQ_KV_F32, 0x3f800000, 4);
    put_kv_int(&b, "f64", QDQ_KV_F64, 0, 8);
    put_kv_int(&b, "bool", QDQ_KV_BOOL, 1, 1);
    put_kv_string(&b, "string", "text");
    put_kv_string(&b, "empty", "");
    put_string(&b, "strings");
    put_int(&b, QDQ_KV_ARRAY, 4);
    put_int(&b, QDQ_KV_STRING, 4);
    put_int(&b, 2, 8);
    put_string(&b, "first");
    put_string(&b, "2");
    put_string(&b, "numbers");
    put_int(&b, QDQ_KV_ARRAY, 4);
    put_int(&b, QDQ_KV_U16, 4);
    put_int(&b, 3, 8);
    put_int(&b, 0x000300020001, 6);
    put_string(&b, "nested");
    put_int(&b, QDQ_KV_ARRAY, 4);
    put_int(&b, QDQ_KV_ARRAY, 4);
    put_int(&b, 2, 8);
    for (int i = 0; i < 2; i++) {
        put_int(&b, QDQ_KV_U8, 4);
        put_int(&b, 1, 8);
        put_int(&b, 5, 1);
    }
    qdq_model *model;
    assert_ok(qdq_model_parse(QDQ_LAYOUT_GGUF, b.data, b.n, "x", &model));
    static const struct {
        const char *key;
        uint64_t value;
    } integers[] = {{"u8", 200},         {"u16", 65535},      {"i16", 32767},
                    {"u32", UINT32_MAX}, {"u64", UINT64_MAX}, {"i64", INT64_MAX}};
    for (size_t i = 0; i < 6; i++) {
        uint64_t value = 0;
        assert_true(qdq_kv_u64(qdq_model_find_kv(model, integers[i].key), &value));
        assert_true(value == integers[i].value);
    }
    static const char *const none[] = {"i8", "i32", "f32", "f64", "bool", "string", "numbers"};
    for (size_t i = 0; i < 7; i++) {
        uint64_t value = 77;
        assert_false(qdq_kv_u64(qdq_model_find_kv(model, none[i]), &value));
        assert_int_equal(value, 77);
    }
    const char *text;
    const uint8_t *elements;
    uint64_t length;
    uint32_t type;
    assert_true(qdq_kv_string(qdq_model_find_kv(model, "string"), &text, &length));
    assert_int_equal(length, 4);
    assert_memory_equal(text, "text", 4);
    assert_true(qdq_kv_string(qdq_model_find_kv(model, "empty"), &text, &length));
    assert_int_equal(length, 0);
    assert_false(qdq_kv_string(qdq_model_find_kv(model, "u8"), &text, &length));
    assert_true(qdq_kv_array_string(qdq_model_find_kv(model, "strings"), 1, &text, &length));
    assert_int_equal(length, 1);
    assert_memory_equal(text, "2", 1);
    assert_false(qdq_kv_array_string(qdq_model_find_kv(model, "strings"), 2, &text, &length));
    assert_false(qdq_kv_array_string(qdq_model_find_kv(model, "numbers"), 0, &text, &length));
    assert_true(qdq_kv_array(qdq_model_find_kv(model, "numbers"), &type, &length, &elements));
    assert_int_equal(type, QDQ_KV_U16);
    assert_int_equal(length, 3);
    assert_memory_equal(elements, "\1\0\2\0\3", 6);
    /* In the order of the file. */
    assert_string_equal(qdq_model_kv(model, 0)->key, "u8");
    assert_string_equal(qdq_model_kv(model, 15)->key, "nested");
    assert_int_equal(qdq_model_kv(model, 15)->bytes, 12 + 2 * 13);
    qdq_model_close(model);
    release(&b);
}

static void refuses_a_file_cut_anywhere(void **state) {
    bytes b = sample(3, 32);
    for (size_t n = 0; n < b.n; n++) assert_refused(parse_copy(QDQ_LAYOUT_GGUF, b.data, n), QDQ_BAD_DATA, "x: ");
    assert_ok(parse_copy(QDQ_LAYOUT_GGUF, b.data, b.n));
    release(&b);
}

static void survives_any_changed_byte(void **state) {
    bytes b = sample(3, 32);
    for (size_t i = 0; i < b.n - 36 - 384; i++) {
        uint8_t was = b.data[i];
        for (int value = 0; value < 256; value += 3) {
            b.data[i] = (uint8_t)value;
            qdq_status status = parse_copy(QDQ_LAYOUT_GGUF, b.data, b.n);
            assert_true(status == QDQ_OK || status == QDQ_BAD_DATA);
        }
        b.data[i] = was;
    }
    release(&b);
}

static qdq_status parse_and_release(bytes *b) {
    qdq_status status = parse_copy(QDQ_LAYOUT_GGUF, b->data, b->n);
    release(b);
    return status;
}

static void refuses_bad_heads(void **state) {
    static const struct {
        uint32_t version;
        const char *message;
    } versions[] = {{0, "version 0"},
                    {1, "version 1"},
                    {4, "version 4"},
                    {0x02000000, "big-endian GGUF file (version 2"},
                    {0x03000000, "big-endian GGUF file (version 3"},
                    {UINT32_MAX, "version 4294967295"}};
    bytes b = {0};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        put_gguf(&b, versions[i].version, 0, 0);
        assert_refused(parse_and_release(&b), QDQ_BAD_DATA, versions[i].message);
    }
    put(&b, "GGML and more than that", 24);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "not a GGUF file");
    static const uint64_t counts[] = {1, 1000000, (uint64_t)1 << 40, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < 5; i++) {
        put_gguf(&b, 3, counts[i], 0);
        put_zeros(&b, 23);
        assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "tensors, but the 23 bytes from offset 24 hold at most 0");
        put_gguf(&b, 3, 0, counts[i]);
        put_zeros(&b, 13);
        assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "keys, but the 13 bytes from offset 24 hold at most 0");
    }
}

static bytes one_key(void) {
    bytes b = {0};
    put_gguf(&b, 3, 0, 1);
    return b;
}

static void refuses_bad_metadata(void **state) {
    bytes b = one_key();
    put_int(&b, 70000, 8);
    put_zeros(&b, 80000);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "a key at offset 24 claims a length of 70000");
    b = one_key();
    put_int(&b, UINT64_MAX, 8);
    put_zeros(&b, 80);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "18446744073709551615");
    b = one_key();
    put_kv_int(&b, "", QDQ_KV_U64, 0, 8);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "key 0 at offset 24 is empty");
    b = one_key();
    put_kv_int(&b, "bad\xff", QDQ_KV_U64, 0, 8);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "not UTF-8");
    b = one_key();
    put_int(&b, 3, 8);
    put(&b, "a\0b", 3);
    put_int(&b, QDQ_KV_U64, 4);
    put_int(&b, 0, 8);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "not UTF-8");
    b = one_key();
    put_kv_int(&b, "k", 13, 0, 8);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "\"k\" has a value of type 13");
    b = one_key();
    put_kv_int(&b, "k", QDQ_KV_STRING, (uint64_t)1 << 31, 8);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "\"k\": the string", "2147483648 bytes");
    b = one_key();
    put_kv_int(&b, "k", QDQ_KV_STRING, 6, 8);
    put_zeros(&b, 5);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "needs 6 bytes", "ends at 50");

    static const struct {
        uint32_t type;
        uint64_t count;
        const char *message;
    } arrays[] = {{QDQ_KV_U8, (uint64_t)1 << 31, "claims 2147483648 elements"},
                  {QDQ_KV_U64, UINT64_MAX, "claims 18446744073709551615 elements"},
                  {QDQ_KV_F64, 1u << 30, "needs 8589934592 bytes"},
                  {QDQ_KV_STRING, 1u << 30, "a string's length"},
                  {QDQ_KV_ARRAY, 1u << 30, "an array's type"},
                  {13, 0, "elements of type 13"}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        b = one_key();
        put_kv_int(&b, "k", QDQ_KV_ARRAY, arrays[i].type, 4);
        put_int(&b, arrays[i].count, 8);
        assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "x: ", arrays[i].message);
    }
    /* An array in an array in an array … */
    b = one_key();
    put_kv_int(&b, "bomb", QDQ_KV_ARRAY, QDQ_KV_ARRAY, 4);
    for (int i = 0; i < 10000; i++) {
        put_int(&b, 1, 8);
        put_int(&b, QDQ_KV_ARRAY, 4);
    }
    put_int(&b, 0, 8);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "\"bomb\": arrays are nested deeper than 8");

    put_gguf(&b, 3, 0, 3);
    put_kv_int(&b, "twice", QDQ_KV_U64, 0, 8);
    put_kv_int(&b, "other", QDQ_KV_U64, 0, 8);
    put_kv_string(&b, "twice", "");
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "\"twice\" is there twice", "offset 91");

    static const uint32_t alignments[] = {0, 3, 48, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        b = one_key();
        put_kv_int(&b, "general.alignment", QDQ_KV_U32, alignments[i], 4);
        assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "general.alignment is", "power of two");
    }
    b = one_key();
    put_kv_int(&b, "general.alignment", QDQ_KV_U64, 32, 8);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "general.alignment is of value type 10");
}

static bytes one_tensor(const char *name, uint32_t n_dims, const uint64_t *ne, uint32_t type, uint64_t offset,
                        size_t data) {
    bytes b = {0};
    put_gguf(&b, 3, 1, 0);
    put_info(&b, name, n_dims, ne, type, offset);
    pad_to(&b, 32);
    put_zeros(&b, data);
    return b;
}

static void refuses_bad_tensors(void **state) {
    const uint64_t huge = (uint64_t)1 << 32;
    bytes b = one_tensor("w", 5, (uint64_t[]){1, 1, 1, 1, 1}, F32, 0, 4);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "\"w\" claims 5 dimensions");
    b = one_tensor("w", 1, (uint64_t[]){UINT64_MAX}, F32, 0, 4);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "\"w\"", "over 63 bits");
    b = one_tensor("w", 2, (uint64_t[]){huge, huge}, F32, 0, 4);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "shape [4294967296, 4294967296]", "63 bits");
    b = one_tensor("w", 1, (uint64_t[]){(uint64_t)1 << 62}, F32, 0, 4);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "more bytes than 64 bits");
    b = one_tensor("w", 1, (uint64_t[]){(uint64_t)1 << 40}, F32, 0, 4);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "\"w\" (f32 [1099511627776]) claims 4398046511104 bytes");
    b = one_tensor("w", 1, (uint64_t[]){33}, Q4_0, 0, 64);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "rows of 33 elements, no multiple of q4_0's block of 32");
    b = one_tensor("w", 0, NULL, Q4_0, 0, 64);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "rows of 1 elements");
    b = one_tensor("w", 1, (uint64_t[]){8}, F32, 32, 64);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "data offset is 32", "end at 0");
    b = one_tensor("w", 1, (uint64_t[]){8}, F32, 0, 31);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "claims 32 bytes", "cut short");
    b = one_tensor("bad\xff", 1, (uint64_t[]){8}, F32, 0, 32);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "a tensor's name at offset 24 is not UTF-8");

    /* 2 * 2^62 bytes: the sum, not the parts, is too large. */
    put_gguf(&b, 3, 5, 0);
    for (uint64_t i = 0; i < 5; i++)
        put_info(&b, (char[]){(char)('a' + i), 0}, 1, (uint64_t[]){(uint64_t)1 << 60}, F32, i << 62);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "up to \"d\"", "64 bits");

    put_gguf(&b, 3, 2, 0);
    put_info(&b, "same", 1, (uint64_t[]){8}, F32, 0);
    put_info(&b, "same", 1, (uint64_t[]){8}, F32, 32);
    pad_to(&b, 32);
    put_zeros(&b, 64);
    assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "\"same\" is there twice", "offset 96", "offset 128");

    static const uint64_t offsets[] = {0, 31, 33, 64, UINT64_MAX};
    for (size_t i = 0; i < 5; i++) {
        put_gguf(&b, 3, 2, 0);
        put_info(&b, "a", 1, (uint64_t[]){7}, F32, 0);
        put_info(&b, "b", 1, (uint64_t[]){8}, F32, offsets[i]);
        pad_to(&b, 32);
        put_zeros(&b, 128);
        assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "\"b\": its data offset is", "end at 32");
    }
}

static void names_types_of_others(void **state) {
    static const struct {
        uint32_t id;
        const char *message;
    } types[] = {{4, "Q4_2, removed"},           {5, "Q4_3, removed"},
                 {31, "Q4_0_4_4, removed"},      {33, "Q4_0_8_8, removed"},
                 {36, "I2_S of ik_llama.cpp"},   {38, "IQ4_NL_8_8, removed"},
                 {139, "IQ4_K of ik_llama.cpp"}, {158, "IQ1_KT of ik_llama.cpp"},
                 {202, "row-interleaved type"},  {399, "row-interleaved type"},
                 {43, "no type of ggml"},        {400, "no type of ggml"},
                 {UINT32_MAX, "no type of ggml"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        bytes b = one_tensor("w", 1, (uint64_t[]){256}, types[i].id, 0, 1024);
        assert_refused(parse_and_release(&b), QDQ_BAD_DATA, "\"w\" is of ggml type", types[i].message);
    }
}

/* Every type's size, from ggml's block structs: one row of 256. */
static void knows_every_type(void **state) {
    static const struct {
        uint32_t id;
        const char *name;
        uint64_t bytes;
    } types[] = {{0, "f32", 1024},   {1, "f16", 512},     {2, "q4_0", 144},   {3, "q4_1", 160},    {6, "q5_0", 176},
                 {7, "q5_1", 192},   {8, "q8_0", 272},    {9, "q8_1", 288},   {10, "q2_K", 84},    {11, "q3_K", 110},
                 {12, "q4_K", 144},  {13, "q5_K", 176},   {14, "q6_K", 210},  {15, "q8_K", 292},   {16, "iq2_xxs", 66},
                 {17, "iq2_xs", 74}, {18, "iq3_xxs", 98}, {19, "iq1_s", 50},  {20, "iq4_nl", 144}, {21, "iq3_s", 110},
                 {22, "iq2_s", 82},  {23, "iq4_xs", 136}, {24, "i8", 256},    {25, "i16", 512},    {26, "i32", 1024},
                 {27, "i64", 2048},  {28, "f64", 2048},   {29, "iq1_m", 56},  {30, "bf16", 512},   {34, "tq1_0", 54},
                 {35, "tq2_0", 66},  {39, "mxfp4", 136},  {40, "nvfp4", 144}, {41, "q1_0", 36},    {42, "q2_0", 72}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        bytes b = one_tensor("w", 1, (uint64_t[]){256}, types[i].id, 0, 2048);
        qdq_model *model;
        assert_ok(qdq_model_parse(QDQ_LAYOUT_GGUF, b.data, b.n, "x", &model));
        assert_string_equal(qdq_model_tensor(model, 0)->type_name, types[i].name);
        assert_int_equal(qdq_model_tensor(model, 0)->bytes, types[i].bytes);
        assert_int_equal(qdq_model_tensor(model, 0)->ggml_type, types[i].id);
        qdq_model_close(model);
        release(&b);
    }
}

static void accepts_scalars_empty_tensors_and_no_tensors(void **state) {
    bytes b = {0};
    put_gguf(&b, 3, 3, 0);
    put_info(&b, "scalar", 0, NULL, F32, 0);
    put_info(&b, "empty", 2, (uint64_t[]){32, 0}, Q4_0, 32);
    put_info(&b, "last", 1, (uint64_t[]){1}, F16, 32);
    pad_to(&b, 32);
    put_zeros(&b, 34);
    qdq_model *model;
    assert_ok(qdq_model_parse(QDQ_LAYOUT_GGUF, b.data, b.n, "x", &model));
    assert_int_equal(qdq_model_find(model, "scalar")->elements, 1);
    assert_int_equal(qdq_model_find(model, "empty")->bytes, 0);
    assert_int_equal(qdq_model_find(model, "last")->offset + 2, b.n);
    qdq_model_close(model);
    release(&b);
    put_gguf(&b, 3, 0, 0);
    assert_ok(parse_and_release(&b));
}

/* ---- Split sets -------------------------------------------------------------------------------------------------- */

static void save_split(const char *name, uint64_t no, uint64_t count, uint64_t tensors, const char *tensor) {
    bytes b = {0};
    put_gguf(&b, 3, 1, no == 0 ? 4 : 3);
    if (no == 0) put_kv_string(&b, "general.architecture", "llama");
    put_kv_int(&b, "split.no", QDQ_KV_U16, no, 2);
    put_kv_int(&b, "split.count", QDQ_KV_U16, count, 2);
    put_kv_int(&b, "split.tensors.count", QDQ_KV_I32, tensors, 4);
    put_info(&b, tensor, 1, (uint64_t[]){8}, F32, 0);
    pad_to(&b, 32);
    put_zeros(&b, 32);
    save(name, b);
    release(&b);
}

static void opens_a_split_set_by_any_shard(void **state) {
    static const char *const names[] = {"s-00001-of-00003.gguf", "s-00002-of-00003.gguf", "s-00003-of-00003.gguf"};
    save_split(names[0], 0, 3, 3, "c");
    save_split(names[1], 1, 3, 3, "b");
    save_split(names[2], 2, 3, 3, "a");
    for (int i = 0; i < 3; i++) {
        qdq_model *model;
        assert_ok(qdq_model_open(at(names[i]), &model));
        assert_int_equal(qdq_model_file_count(model), 3);
        assert_int_equal(qdq_model_tensor_count(model), 3);
        assert_string_equal(qdq_model_tensor(model, 0)->name, "c");
        assert_string_equal(qdq_model_tensor(model, 2)->name, "a");
        assert_string_equal(qdq_model_find(model, "b")->path, at(names[1]));
        assert_non_null(qdq_model_find_kv(model, "general.architecture"));
        assert_string_equal(qdq_model_path(model), at(names[i]));
        qdq_model_close(model);
    }
}

/* An output is padded to the input's alignment. */
static void refuses_a_vast_alignment(void **state) {
    for (uint32_t alignment = 1u << 20; alignment != 0; alignment <<= 1) {
        bytes b = {0};
        put_gguf(&b, 3, 0, 1);
        put_kv_int(&b, "general.alignment", QDQ_KV_U32, alignment, 4);
        qdq_model *model = NULL;
        qdq_status status = qdq_model_parse(QDQ_LAYOUT_GGUF, b.data, b.n, "x", &model);
        assert_int_equal(status, alignment == 1u << 20 ? QDQ_OK : QDQ_BAD_DATA);
        if (status != QDQ_OK) assert_non_null(strstr(qdq_error_message(), "at most 1048576 is allowed"));
        qdq_model_close(model);
        release(&b);
    }
}

static void refuses_broken_split_sets(void **state) {
    qdq_model *model;
    save_split("m-00001-of-00002.gguf", 0, 2, 2, "a");
    assert_refused(qdq_model_open(at("m-00001-of-00002.gguf"), &model), QDQ_IO_ERROR, "shard 2 of 2 is missing",
                   "m-00002-of-00002.gguf");
    save_split("m-00002-of-00002.gguf", 1, 2, 2, "a");
    assert_refused(qdq_model_open(at("m-00001-of-00002.gguf"), &model), QDQ_BAD_DATA, "\"a\" is there twice");
    save_split("m-00002-of-00002.gguf", 1, 2, 3, "b");
    assert_ok(qdq_model_open(at("m-00001-of-00002.gguf"), &model)); /* the first shard's count is what holds */
    qdq_model_close(model);
    save_split("m-00001-of-00002.gguf", 0, 2, 5, "a");
    assert_refused(qdq_model_open(at("m-00002-of-00002.gguf"), &model), QDQ_BAD_DATA, "split.tensors.count is 5",
                   "have 2 tensors");
    save_split("m-00001-of-00002.gguf", 0, 2, 2, "a");
    save_split("m-00002-of-00002.gguf", 0, 2, 2, "b");
    assert_refused(qdq_model_open(at("m-00001-of-00002.gguf"), &model), QDQ_BAD_DATA, "its name says shard 2 of 2",
                   "split.no 0");
    save_split("m-00002-of-00002.gguf", 1, 3, 2, "b");
    assert_refused(qdq_model_open(at("m-00001-of-00002.gguf"), &model), QDQ_BAD_DATA, "split.count 3");
    unlink(at("m-00001-of-00002.gguf"));
    save_split("m-00002-of-00002.gguf", 1, 2, 2, "b");
    assert_refused(qdq_model_open(at("m-00002-of-00002.gguf"), &model), QDQ_IO_ERROR, "shard 1 of 2 is missing");
    save_split("renamed.gguf", 0, 2, 2, "a");
    assert_refused(qdq_model_open(at("renamed.gguf"), &model), QDQ_BAD_DATA, "one of 2 shards", "rename it");
    /* A number that wraps: the named file's own tensors would be left out. */
    save_split("w-00000-of-00002.gguf", UINT32_MAX, 2, 2, "a");
    save_split("w-00001-of-00002.gguf", 0, 2, 2, "b");
    save_split("w-00002-of-00002.gguf", 1, 2, 2, "c");
    assert_refused(qdq_model_open(at("w-00000-of-00002.gguf"), &model), QDQ_BAD_DATA, "its name says shard 0 of 2");
    /* A name like a shard's means nothing without the keys. */
    bytes b = sample(3, 32);
    save("single-00001-of-00002.gguf", b);
    assert_ok(qdq_model_open(at("single-00001-of-00002.gguf"), &model));
    assert_int_equal(qdq_model_file_count(model), 1);
    qdq_model_close(model);
    release(&b);
}

static void opens_a_file_over_4_gib(void **state) {
    const uint64_t rows = 1310721; /* of 4,096 bytes: just over 5 GiB */
    bytes b = {0};
    put_gguf(&b, 3, 2, 0);
    put_info(&b, "big", 2, (uint64_t[]){1024, rows}, F32, 0);
    put_info(&b, "w", 1, (uint64_t[]){2}, BF16, rows * 4096);
    pad_to(&b, 32);
    save("big.gguf", b);
    int fd = open(at("big.gguf"), O_WRONLY);
    const uint64_t offset = b.n + rows * 4096;
    if (ftruncate(fd, (off_t)(offset + 4)) != 0) {
        close(fd);
        release(&b);
        skip();
    }
    assert_int_equal(pwrite(fd, "\1\2\3\4", 4, (off_t)offset), 4);
    close(fd);
    qdq_model *model;
    assert_ok(qdq_model_open(at("big.gguf"), &model));
    assert_int_equal(qdq_model_find(model, "w")->offset, offset);
    assert_memory_equal(qdq_model_find(model, "w")->data, "\1\2\3\4", 4);
    qdq_model_close(model);
    unlink(at("big.gguf"));
    release(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_both_versions_at_any_alignment),
        cmocka_unit_test(reads_metadata_by_type),
        cmocka_unit_test(refuses_a_file_cut_anywhere),
        cmocka_unit_test(survives_any_changed_byte),
        cmocka_unit_test(refuses_bad_heads),
        cmocka_unit_test(refuses_bad_metadata),
        cmocka_unit_test(refuses_bad_tensors),
        cmocka_unit_test(names_types_of_others),
        cmocka_unit_test(knows_every_type),
        cmocka_unit_test(accepts_scalars_empty_tensors_and_no_tensors),
        cmocka_unit_test(opens_a_split_set_by_any_shard),
        cmocka_unit_test(refuses_a_vast_alignment),
        cmocka_unit_test(refuses_broken_split_sets),
        cmocka_unit_test(opens_a_file_over_4_gib),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
