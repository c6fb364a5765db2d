/* safetensors: single files, indexes, directories; and every way in which they can be wrong. */
#include "files_support.h"

#include <pthread.h>

#include <signal.h>
#include <sys/wait.h>

static const char two_tensors[] = "{\"__metadata__\":{\"format\":\"pt\",\"who\":\"J\\u00fcrgen\"},"
                                  "\"b\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[12,20]},"
                                  "\"a.weight\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]}}";

static void reads_tensors_in_order_of_place(void **state) {
    bytes b = safetensors(two_tensors, 20);
    qdq_model *model;
    assert_ok(qdq_model_parse(QDQ_LAYOUT_SAFETENSORS, b.data, b.n, "x", &model));
    assert_int_equal(qdq_model_tensor_count(model), 2);
    const qdq_tensor *t = qdq_model_tensor(model, 0);
    assert_string_equal(t->name, "a.weight");
    assert_string_equal(t->type_name, "BF16");
    assert_true(t->source);
    assert_int_equal(t->dtype, QDQ_BF16);
    assert_int_equal(t->ggml_type, 30);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(t->elements, 6);
    assert_int_equal(t->bytes, 12);
    assert_int_equal(t->offset, b.n - 20);
    assert_ptr_equal(t->data, b.data + b.n - 20);
    assert_null(qdq_tensor_not_source(t));
    t = qdq_model_find(model, "b");
    assert_ptr_equal(t, qdq_model_tensor(model, 1));
    assert_int_equal(t->n_dims, 0);
    assert_int_equal(t->elements, 1);
    assert_false(t->source);
    assert_string_equal(qdq_tensor_not_source(t), "holds integers");
    assert_null(qdq_model_find(model, "a"));
    assert_null(qdq_model_find(model, "a.weight2"));

    const char *text;
    uint64_t length;
    assert_int_equal(qdq_model_kv_count(model), 2);
    assert_true(qdq_kv_string(qdq_model_find_kv(model, "who"), &text, &length));
    assert_int_equal(length, 7);
    assert_memory_equal(text, "J\xc3\xbcrgen", 7);
    assert_null(qdq_model_find_kv(model, "whom"));
    qdq_model_close(model);
    release(&b);
}

static void accepts_what_the_format_allows(void **state) {
    static const struct {
        const char *header;
        size_t data;
    } files[] = {
        {"{}", 0},
        {"{}    \n", 0},
        {"{\"__metadata__\":{}}", 0},
        {"{\"e\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[0,0]}}", 0},
        /* Nothing, before and after something. */
        {"{\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]},\"y\":{\"dtype\":\"F32\",\"shape\":[0],"
         "\"data_offsets\":[0,0]},\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4},
        {"{\"n\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[0,3]}}", 3},
        {"{\"n\":{\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[0,3]}}", 3},
        {"{\"d9\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4},
        {"{\"\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2},
        {"{\"x\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2],\"extra\":null}}", 2},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        bytes b = safetensors(files[i].header, files[i].data);
        assert_ok(parse_copy(QDQ_LAYOUT_SAFETENSORS, b.data, b.n));
        release(&b);
    }
}

static void names_why_a_tensor_is_no_source(void **state) {
    static const char *const dtypes[] = {"F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"};
    for (size_t i = 0; i < 5; i++) {
        char header[128];
        snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":[32],\"data_offsets\":[0,32]}}", dtypes[i]);
        bytes b = safetensors(header, 32);
        qdq_model *model;
        assert_ok(qdq_model_parse(QDQ_LAYOUT_SAFETENSORS, b.data, b.n, "x", &model));
        const qdq_tensor *t = qdq_model_find(model, "w");
        assert_false(t->source);
        assert_string_equal(t->type_name, dtypes[i]);
        assert_int_equal(t->ggml_type, QDQ_NO_GGML_TYPE);
        assert_non_null(strstr(qdq_tensor_not_source(t), "scales are in other tensors"));
        qdq_model_close(model);
        release(&b);
    }
}

static void refuses_a_file_cut_anywhere(void **state) {
    bytes b = safetensors(two_tensors, 20);
    for (size_t n = 0; n < b.n; n++) {
        assert_refused(parse_copy(QDQ_LAYOUT_SAFETENSORS, b.data, n), QDQ_BAD_DATA, "x: ");
    }
    assert_ok(parse_copy(QDQ_LAYOUT_SAFETENSORS, b.data, b.n));
    put_zeros(&b, 1);
    assert_refused(parse_copy(QDQ_LAYOUT_SAFETENSORS, b.data, b.n), QDQ_BAD_DATA, "cover 20 bytes", "has 21");
    release(&b);
}

/* Any byte of the header changed to any other: accepted or refused, never a crash (the sanitizers watch). */
static void survives_any_changed_byte(void **state) {
    bytes b = safetensors(two_tensors, 20);
    for (size_t i = 0; i < b.n - 20; i++) {
        uint8_t was = b.data[i];
        for (int value = 0; value < 256; value += i < 8 ? 1 : 7) {
            b.data[i] = (uint8_t)value;
            qdq_status status = parse_copy(QDQ_LAYOUT_SAFETENSORS, b.data, b.n);
            assert_true(status == QDQ_OK || status == QDQ_BAD_DATA);
        }
        b.data[i] = was;
    }
    release(&b);
}

#define W(dtype, shape, offsets) "{\"w\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

#define NINE "1,1,1,1,1,1,1,1,1,"

static void refuses_bad_headers_by_name(void **state) {
    static const struct {
        const char *header;
        size_t data;
        const char *message;
    } files[] = {
        {"[]", 0, "does not begin with '{'"},
        {" {}", 0, "does not begin with '{'"},
        {"", 0, "does not begin with '{'"},
        {"{\"a\":1,}", 0, "not JSON at offset"},
        {"{} x", 0, "not JSON"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is no object"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "\"k\" is no string"},
        {"{\"__metadata__\":{\"k\":\"a\\u0000b\"}}", 0, "not JSON"},
        {"{\"w\":1}", 0, "\"w\" is described by no object"},
        {"{\"w\":{}}", 0, "\"w\" has no \"dtype\""},
        {W("7", "[1]", "[0,4]"), 4, "no \"dtype\" string"},
        {W("\"F99\"", "[1]", "[0,4]"), 4, "\"w\" has dtype \"F99\""},
        {W("\"f32\"", "[1]", "[0,4]"), 4, "dtype \"f32\""},
        {W("\"q4_0\"", "[32]", "[0,18]"), 18, "dtype \"q4_0\""},
        {W("\"F32\"", "4", "[0,4]"), 4, "no \"shape\" array"},
        {W("\"F32\"", "[-1]", "[0,4]"), 4, "extent 0"},
        {W("\"F32\"", "[1.0]", "[0,4]"), 4, "extent 0"},
        {W("\"F32\"", "[1,\"1\"]", "[0,4]"), 4, "extent 1"},
        {W("\"F32\"", "[1,99999999999999999999]", "[0,4]"), 4, "not JSON"},
        {W("\"F32\"", "[1]", "[0]"), 4, "data_offsets"},
        {W("\"F32\"", "[1]", "[0,4,8]"), 4, "data_offsets"},
        {W("\"F32\"", "[1]", "[4,0]"), 4, "data_offsets"},
        {W("\"F32\"", "[1]", "[-4,0]"), 4, "data_offsets"},
        {W("\"F32\"", "[1]", "[0,4.0]"), 4, "data_offsets"},
        {W("\"F32\"", "[2]", "[0,4]"), 4, "takes 8 bytes, but its offsets [0, 4] hold 4"},
        {W("\"F32\"", "[0]", "[0,4]"), 4, "takes 0 bytes"},
        {W("\"F4\"", "[3]", "[0,2]"), 2, "no whole number of bytes"},
        /* 2^40 elements claimed; 2^64 and more. */
        {W("\"F32\"", "[1099511627776]", "[0,4]"), 4, "takes 4398046511104 bytes"},
        {W("\"F32\"", "[1099511627776]", "[0,4398046511104]"), 4,
         "ends at byte 4398046511104 of the data, which are 4"},
        {W("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0, "more elements than 63 bits"},
        {W("\"F32\"", "[4611686018427387904]", "[0,0]"), 0, "under 2^64"},
        {W("\"F32\"", "[4294967296,4294967296,0]", "[0,0]"), 0, "more elements than 63 bits"},
        {W("\"F32\"", "[1]", "[4,8]"), 8, "4 bytes before tensor \"w\""},
        {W("\"F32\"", "[1]", "[0,4]"), 8, "cover 4 bytes of data, the file has 8"},
        {"{}", 1, "cover 0 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
         12, "\"a\" and \"b\" overlap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, "\"a\" and \"b\" overlap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, "\"a\" is there twice"},
        {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "__metadata__ has \"k\" twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is there twice"},
        {"{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
         "\"w\" has \"dtype\" twice"},
        {W("\"F32\"", "[" NINE NINE NINE NINE NINE NINE NINE "1,1]", "[0,4]"), 4, "claims 65 dimensions; at most 64"},
        {W("\"F32\"", "[01]", "[0,4]"), 4, "not JSON at offset 38: a number begins with 0"},
        {W("\"F32\"", "[1]", "[0,4]x"), 4, "not JSON"},
        {W("\"F32\"", "[1,]", "[0,4]"), 4, "a value is wanted"},
        {W("\"F32\"", "[1 1]", "[0,4]"), 4, "',' or ']' is wanted"},
        {"{\"w\":tru}", 0, "a value is wanted"},
        {"{\"w\":1.}", 0, "a digit is wanted"},
        {"{\"w\":-}", 0, "a digit is wanted"},
        {"{\"w\":1e+}", 0, "a digit is wanted"},
        {"{\"w\" 1}", 0, "':' is wanted"},
        {"{1:1}", 0, "a key is wanted"},
        {"{\"\\ud800\":1}", 0, "half of a surrogate pair"},
        {"{\"\\ud83dx\":1}", 0, "half of a surrogate pair"},
        {"{\"\\u12g4\":1}", 0, "four hexadecimal digits"},
        {"{\"\\x\":1}", 0, "no escape is written so"},
        {"{\"a\nb\":1}", 0, "a control character"},
        {"{\"a", 0, "a string does not end"},
        {"{\"a\\", 0, "a string does not end"},
        {"{\"a\":[[1],{\"b\":{}},[]", 0, "ends too early"},
        {"{\"\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "not JSON"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        bytes b = safetensors(files[i].header, files[i].data);
        assert_refused(parse_copy(QDQ_LAYOUT_SAFETENSORS, b.data, b.n), QDQ_BAD_DATA, "x: ", files[i].message);
        release(&b);
    }
}

/* Escapes, and what is passed over. */
static void reads_names_as_json_writes_them(void **state) {
    bytes b = safetensors("{ \"\\u0061\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00fc\\u20ac\\ud83d\\ude00\" : "
                          "{\"x\":[{\"y\":[-0.5e-3,true,false,null,\"\\\"\"]},"
                          "{}],\"data_offsets\":[0,4],\"shape\":[],\"dtype\":\"\\u0046\\u00332\"}\t}\r\n",
                          4);
    qdq_model *model;
    assert_ok(qdq_model_parse(QDQ_LAYOUT_SAFETENSORS, b.data, b.n, "x", &model));
    assert_string_equal(qdq_model_tensor(model, 0)->name, "a\"\\/\b\f\n\r\t\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80");
    qdq_model_close(model);
    release(&b);
}

/* More tensors, keys or bytes of a name than any model has, all of them well-formed. */
static void refuses_what_takes_too_much_memory(void **state) {
    enum { MANY = (1 << 19) + 1 };
    static const char *const members[] = {"\"\":{}", "\"\":\"\""}, *const messages[] = {"has 524289 tensors",
                                                                                        "over 524288"};
    for (size_t k = 0; k < 2; k++) {
        bytes b = {0};
        put_int(&b, 0, 8);
        put(&b, k == 0 ? "{" : "{\"__metadata__\":{", k == 0 ? 1 : 17);
        for (int i = 0; i < MANY; i++) {
            if (i > 0) put(&b, ",", 1);
            put(&b, members[k], strlen(members[k]));
        }
        put(&b, "}}", k == 0 ? 1 : 2);
        for (int i = 0; i < 8; i++) b.data[i] = (uint8_t)((uint64_t)(b.n - 8) >> (8 * i));
        assert_refused(parse_copy(QDQ_LAYOUT_SAFETENSORS, b.data, b.n), QDQ_BAD_DATA, messages[k]);
        release(&b);
    }
    bytes b = {0};
    put_int(&b, 70000 + 4, 8);
    put(&b, "{\"", 2);
    for (int i = 0; i < 70000; i++) put(&b, "a", 1);
    put(&b, "\":", 2);
    assert_refused(parse_copy(QDQ_LAYOUT_SAFETENSORS, b.data, b.n), QDQ_BAD_DATA, "a key of more than 65535 bytes");
    release(&b);
}

static void refuses_impossible_header_lengths(void **state) {
    static const uint64_t lengths[] = {100000001, UINT32_MAX, INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < 5; i++) {
        bytes b = {0};
        put_int(&b, lengths[i], 8);
        put(&b, "{}", 2);
        assert_refused(parse_copy(QDQ_LAYOUT_SAFETENSORS, b.data, b.n), QDQ_BAD_DATA, "over 100000000");
        release(&b);
    }
    bytes b = {0};
    put_int(&b, 100000000, 8);
    put(&b, "{}", 2);
    assert_refused(parse_copy(QDQ_LAYOUT_SAFETENSORS, b.data, b.n), QDQ_BAD_DATA, "end at offset 100000008",
                   "ends at 10");
    release(&b);
    /* Nested deeper than any parser's stack should be. */
    bytes deep = {0};
    put_int(&deep, 1 + 100000, 8);
    put(&deep, "{", 1);
    for (int i = 0; i < 100000; i++) put(&deep, "[", 1);
    assert_refused(parse_copy(QDQ_LAYOUT_SAFETENSORS, deep.data, deep.n), QDQ_BAD_DATA, "not JSON");
    release(&deep);
}

static void messages_cannot_drive_the_terminal(void **state) {
    bytes b = safetensors("{\"\\u001b[31m\\u202e\\u0085\":1}", 0);
    assert_refused(parse_copy(QDQ_LAYOUT_SAFETENSORS, b.data, b.n), QDQ_BAD_DATA, "\\x1b[31m\\xe2\\x80\\xae\\xc2\\x85");
    release(&b);
    char small[16];
    assert_string_equal(qdq_printable("J\xc3\xbcrgen", small, sizeof small), "J\xc3\xbcrgen");
    assert_string_equal(qdq_printable("\xc3(\xed\xa0", small, sizeof small), "\\xc3…\\xed\\xa0");
    assert_string_equal(qdq_printable("0123456789ab", small, sizeof small), "0123456789ab");
    assert_string_equal(qdq_printable("0123456789abc", small, sizeof small), "0123…56789abc");
    assert_string_equal(qdq_printable("/somewhere/far/away/x.gguf", small, sizeof small), "/som…y/x.gguf");
    assert_string_equal(qdq_printable("\xc3\xbc\xc3\xbc\xc3\xbcr\xc3\xa4\xc3\xa4\xc3\xa4r", small, sizeof small),
                        "\xc3\xbc\xc3\xbc…r\xc3\xa4\xc3\xa4\xc3\xa4r");
}

/* ---- Files on disk ----------------------------------------------------------------------------------------------- */

static void opens_a_file_at_any_alignment(void **state) {
    /* The header's length decides where the data begin: odd here. */
    char header[128];
    for (int pad = 0; pad < 8; pad++) {
        snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}%.*s", pad,
                 "        ");
        bytes b = safetensors(header, 8);
        save("m.safetensors", b);
        qdq_model *model;
        assert_ok(qdq_model_open(at("m.safetensors"), &model));
        const qdq_tensor *t = qdq_model_find(model, "w");
        assert_memory_equal(t->data, b.data + b.n - 8, 8);
        assert_string_equal(t->path, at("m.safetensors"));
        assert_int_equal(t->offset, b.n - 8);
        assert_string_equal(qdq_mapped_path((const uint8_t *)t->data + 3), at("m.safetensors"));
        const void *data = t->data;
        qdq_model_close(model);
        assert_null(qdq_mapped_path(data));
        release(&b);
    }
}

static void refuses_what_is_no_model_file(void **state) {
    qdq_model *model;
    bytes b = {0};
    assert_refused(qdq_model_open(at("nowhere"), &model), QDQ_IO_ERROR, "nowhere", "No such file");
    save("empty.safetensors", b);
    assert_refused(qdq_model_open(at("empty.safetensors"), &model), QDQ_BAD_DATA, "empty");
    assert_int_equal(mkfifo(at("pipe.safetensors"), 0600), 0);
    assert_refused(qdq_model_open(at("pipe.safetensors"), &model), QDQ_IO_ERROR, "not a regular file");
    assert_refused(qdq_model_open("/dev/zero", &model), QDQ_IO_ERROR, "not a regular file");
    put(&b, "version https://git-lfs.github.com/spec/v1\noid sha256:", 53);
    save("lfs.safetensors", b);
    assert_refused(qdq_model_open(at("lfs.safetensors"), &model), QDQ_BAD_DATA, "git lfs pull");
    release(&b);
    put(&b, "PK\3\4and so on and on", 20);
    save("torch.bin", b);
    assert_refused(qdq_model_open(at("torch.bin"), &model), QDQ_BAD_DATA, "zip archive");
    release(&b);
    assert_int_equal(mkdir(at("void"), 0700), 0);
    assert_refused(qdq_model_open(at("void"), &model), QDQ_IO_ERROR, "no .safetensors file");
    save("void/m.gguf", (bytes){.data = (uint8_t *)"x", .n = 1});
    assert_refused(qdq_model_open(at("void"), &model), QDQ_IO_ERROR, "name the .gguf file");
    assert_refused(qdq_model_open(NULL, &model), QDQ_INVALID_ARGUMENT, "NULL");
    if (geteuid() != 0) {
        save("secret.safetensors", (bytes){.data = (uint8_t *)"x", .n = 1});
        chmod(at("secret.safetensors"), 0);
        assert_refused(qdq_model_open(at("secret.safetensors"), &model), QDQ_IO_ERROR, "Permission denied");
    }
}

static void save_shard(const char *name, const char *tensor, const char *metadata) {
    char header[256];
    snprintf(header, sizeof header, "{%s\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", metadata,
             tensor);
    bytes b = safetensors(header, 4);
    save(name, b);
    release(&b);
}

static void opens_shards_by_index_and_directory(void **state) {
    qdq_model *model;
    mkdir(at("shards"), 0700);
    save_shard("shards/m-2.safetensors", "z", "\"__metadata__\":{\"format\":\"np\",\"two\":\"2\",\"\":\"e\"},");
    save_shard("shards/m-1.safetensors", "a", "\"__metadata__\":{\"format\":\"pt\",\"one\":\"1\",\"\":\"E\"},");
    for (int round = 0; round < 3; round++) {
        if (round == 2)
            save_text("shards/model.safetensors.index.json", "{\"metadata\":{\"total_size\":8.5},\"weight_map\":{\"z\":"
                                                             "\"m-2.safetensors\",\"a\":\"m-1.safetensors\"}}");
        /* Round 0 and 2: the directory, without and with an index. Round 1: with slashes behind. */
        assert_ok(qdq_model_open(at(round == 1 ? "shards//" : "shards"), &model));
        assert_int_equal(qdq_model_file_count(model), 2);
        assert_int_equal(qdq_model_tensor_count(model), 2);
        assert_string_equal(qdq_model_tensor(model, 0)->name, "a");
        assert_string_equal(qdq_model_tensor(model, 1)->name, "z");
        assert_int_equal(qdq_model_kv_count(model), 4);
        const char *text;
        uint64_t length;
        assert_true(qdq_kv_string(qdq_model_find_kv(model, "format"), &text, &length));
        assert_memory_equal(text, "pt", 2);
        assert_true(qdq_kv_string(qdq_model_find_kv(model, ""), &text, &length));
        assert_memory_equal(text, "E", 1);
        assert_non_null(qdq_model_find_kv(model, "two"));
        qdq_model_close(model);
    }
    assert_ok(qdq_model_open(at("shards/model.safetensors.index.json"), &model));
    assert_int_equal(qdq_model_tensor_count(model), 2);
    qdq_model_close(model);

    /* By a relative path without a directory. */
    int here = open(".", O_RDONLY | O_DIRECTORY);
    assert_int_equal(chdir(at("shards")), 0);
    assert_ok(qdq_model_open("model.safetensors.index.json", &model));
    assert_string_equal(qdq_model_tensor(model, 1)->path, "m-2.safetensors");
    qdq_model_close(model);
    assert_ok(qdq_model_open(".", &model));
    qdq_model_close(model);
    assert_int_equal(fchdir(here), 0);
    close(here);
}

static void prefers_the_index_in_a_directory(void **state) {
    qdq_model *model;
    mkdir(at("both"), 0700);
    save_shard("both/consolidated.safetensors", "a", "");
    save_shard("both/m-1.safetensors", "a", "");
    assert_refused(qdq_model_open(at("both"), &model), QDQ_BAD_DATA, "\"a\" is there twice", "consolidated", "m-1",
                   "name the file");
    save_text("both/x.safetensors.index.json", "{\"weight_map\":{\"a\":\"m-1.safetensors\"}}");
    assert_ok(qdq_model_open(at("both"), &model));
    assert_string_equal(qdq_model_tensor(model, 0)->path, at("both/m-1.safetensors"));
    qdq_model_close(model);
    save_text("both/y.safetensors.index.json", "{\"weight_map\":{\"a\":\"consolidated.safetensors\"}}");
    assert_refused(qdq_model_open(at("both"), &model), QDQ_BAD_DATA, "has 2 files");
    save_text("both/model.safetensors.index.json", "{\"weight_map\":{\"a\":\"consolidated.safetensors\"}}");
    assert_ok(qdq_model_open(at("both"), &model));
    assert_string_equal(qdq_model_tensor(model, 0)->path, at("both/consolidated.safetensors"));
    qdq_model_close(model);
    save_shard("both/._consolidated.safetensors", "a", "");
    unlink(at("both/model.safetensors.index.json"));
    unlink(at("both/x.safetensors.index.json"));
    unlink(at("both/y.safetensors.index.json"));
    unlink(at("both/m-1.safetensors"));
    assert_ok(qdq_model_open(at("both"), &model));
    assert_int_equal(qdq_model_file_count(model), 1);
    qdq_model_close(model);
}

/* Gradients, adapters, the same weights under other names lie beside it; nothing else is the model. */
static void prefers_the_usual_name_in_a_directory(void **state) {
    qdq_model *model;
    mkdir(at("usual"), 0700);
    save_shard("usual/model.safetensors", "a", "");
    save_shard("usual/consolidated.safetensors", "b", "");
    save_shard("usual/model.fp16.safetensors", "a", "");
    assert_ok(qdq_model_open(at("usual"), &model));
    assert_int_equal(qdq_model_file_count(model), 1);
    assert_string_equal(qdq_model_tensor(model, 0)->path, at("usual/model.safetensors"));
    qdq_model_close(model);
    save_text("usual/model.safetensors.index.json", "{\"weight_map\":{\"b\":\"consolidated.safetensors\"}}");
    assert_ok(qdq_model_open(at("usual"), &model));
    assert_string_equal(qdq_model_tensor(model, 0)->path, at("usual/consolidated.safetensors"));
    qdq_model_close(model);
}

static void refuses_bad_indexes_by_name(void **state) {
    static const struct {
        const char *index;
        qdq_status status;
        const char *messages[3];
    } cases[] = {
        {"", QDQ_BAD_DATA, {"is empty"}},
        {"{", QDQ_BAD_DATA, {"not JSON"}},
        {"[]", QDQ_BAD_DATA, {"weight_map"}},
        {"{}", QDQ_BAD_DATA, {"weight_map"}},
        {"{\"weight_map\":{}}", QDQ_BAD_DATA, {"names no tensor"}},
        {"{\"weight_map\":{\"a\":1}}", QDQ_BAD_DATA, {"\"a\" is no file name"}},
        {"{\"weight_map\":{\"a\":\"/etc/m.safetensors\"}}", QDQ_BAD_DATA, {"\"a\"", "absolute"}},
        {"{\"weight_map\":{\"a\":\"../m.safetensors\"}}", QDQ_BAD_DATA, {"\"a\"", "leaves the directory"}},
        {"{\"weight_map\":{\"a\":\"d/../../m.safetensors\"}}", QDQ_BAD_DATA, {"\"a\"", "leaves the directory"}},
        {"{\"weight_map\":{\"a\":\"d/..\"}}", QDQ_BAD_DATA, {"\"a\"", "leaves the directory"}},
        {"{\"weight_map\":{\"a\":\"\"}}", QDQ_BAD_DATA, {"no .safetensors file"}},
        {"{\"weight_map\":{\"a\":\"m.bin\"}}", QDQ_BAD_DATA, {"no .safetensors file"}},
        {"{\"weight_map\":{\"a\":\".safetensors\"}}", QDQ_BAD_DATA, {"no .safetensors file"}},
        {"{\"weight_map\":{\"a\":\"m-1.safetensors\",\"a\":\"m-2.safetensors\"}}", QDQ_BAD_DATA, {"\"a\" twice"}},
        {"{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-9.safetensors\"}}",
         QDQ_IO_ERROR,
         {"shard \"m-9.safetensors\" is missing", "looked for"}},
        {"{\"weight_map\":{\"a\":\"m-1.safetensors\",\"q\":\"m-2.safetensors\"}}",
         QDQ_BAD_DATA,
         {"\"q\" should be in \"m-2.safetensors\"", "no shard has it"}},
        {"{\"weight_map\":{\"a\":\"m-2.safetensors\",\"b\":\"m-1.safetensors\"}}",
         QDQ_BAD_DATA,
         {"\"a\" should be in \"m-2.safetensors\"", "m-1.safetensors at offset"}},
        {"{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"x\":\"dir.safetensors\"}}",
         QDQ_IO_ERROR,
         {"is a directory"}},
        {"{\"weight_map\":{\"b\":\"m-2.safetensors\",\"c\":\"three.safetensors\"}}",
         QDQ_BAD_DATA,
         {"three.safetensors has tensor \"d\"", "does not list"}},
        {"{\"weight_map\":{\"b\":\"m-2.safetensors\",\"c\":\"three.safetensors\",\"d\":\"e.safetensors\"}}",
         QDQ_BAD_DATA,
         {"\"d\" should be in \"e.safetensors\"", "three.safetensors"}},
    };
    qdq_model *model;
    mkdir(at("idx"), 0700);
    mkdir(at("idx/dir.safetensors"), 0700);
    save_shard("idx/m-1.safetensors", "a", "");
    save_shard("idx/m-2.safetensors", "b", "");
    save_shard("idx/e.safetensors", "e", "");
    bytes b = safetensors("{\"c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                          "\"d\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
                          8);
    save("idx/three.safetensors", b);
    release(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        save_text("idx/model.safetensors.index.json", cases[i].index);
        assert_refused(qdq_model_open(at("idx/model.safetensors.index.json"), &model), cases[i].status,
                       cases[i].messages[0], cases[i].messages[1], cases[i].messages[2]);
    }
}

static void opens_thousands_of_shards(void **state) {
    enum { N = 3000 };
    char name[64], tensor[32];
    mkdir(at("many"), 0700);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "many/m-%05d.safetensors", i);
        snprintf(tensor, sizeof tensor, "t%05d", (i * 7919) % N);
        save_shard(name, tensor, "");
    }
    qdq_model *model;
    assert_ok(qdq_model_open(at("many"), &model));
    assert_int_equal(qdq_model_file_count(model), N);
    for (int i = 0; i < N; i++) {
        snprintf(tensor, sizeof tensor, "t%05d", i);
        assert_string_equal(qdq_model_find(model, tensor)->name, tensor);
        snprintf(tensor, sizeof tensor, "t%05d", (i * 7919) % N);
        assert_string_equal(qdq_model_tensor(model, (uint64_t)i)->name, tensor);
    }
    qdq_model_close(model);
}

static const char *shrunk;

static void on_bus(int signal_number, siginfo_t *info, void *context) {
    const char *path = qdq_mapped_path(info->si_addr);
    _exit(path != NULL && strcmp(path, shrunk) == 0 ? 0 : 2);
}

/* A file that somebody cuts while it is mapped: the signal's address leads to its name. */
static void a_shrunken_file_can_be_named(void **state) {
    bytes b = safetensors("{\"w\":{\"dtype\":\"U8\",\"shape\":[20000],\"data_offsets\":[0,20000]}}", 20000);
    save("shrinks.safetensors", b);
    release(&b);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        qdq_model *model;
        shrunk = at("shrinks.safetensors");
        sigaction(SIGBUS, &(struct sigaction){.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO}, NULL);
        if (qdq_model_open(shrunk, &model) != QDQ_OK || truncate(shrunk, 100) != 0) _exit(3);
        volatile uint8_t lost = ((const uint8_t *)qdq_model_tensor(model, 0)->data)[19999];
        (void)lost;
        _exit(4);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* By reading instead, a cut is an error that names file and byte. */
static void mapped_files_can_be_read(void **state) {
    bytes b = safetensors("{\"w\":{\"dtype\":\"U8\",\"shape\":[20000],\"data_offsets\":[0,20000]}}", 20000);
    save("read.safetensors", b);
    qdq_model *model;
    assert_ok(qdq_model_open(at("read.safetensors"), &model));
    const qdq_tensor *t = qdq_model_tensor(model, 0);
    const uint8_t *data = t->data;
    uint8_t to[20000];
    assert_ok(qdq_mapped_read(data, to, sizeof to));
    assert_memory_equal(to, b.data + b.n - sizeof to, sizeof to);
    assert_ok(qdq_mapped_read(data + 17, to, 3));
    assert_memory_equal(to, b.data + b.n - sizeof to + 17, 3);
    assert_ok(qdq_mapped_read(data, to, 0));
    assert_int_equal(qdq_mapped_read(data + 1, to, sizeof to), QDQ_IO_ERROR);
    assert_int_equal(truncate(at("read.safetensors"), (off_t)t->offset + 100), 0);
    assert_ok(qdq_mapped_read(data, to, 100));
    assert_int_equal(qdq_mapped_read(data, to, 101), QDQ_IO_ERROR);
    char expected[4200];
    snprintf(expected, sizeof expected, "%s: byte %llu cannot be read: the file has become shorter since it was opened",
             at("read.safetensors"), (unsigned long long)t->offset + 100);
    assert_string_equal(qdq_error_message(), expected);
    qdq_model_close(model);
    assert_int_equal(qdq_mapped_read(data, to, 1), QDQ_INVALID_ARGUMENT);
    /* Another file has taken its name, or none: the map still has it. */
    save("read.safetensors", b);
    for (int other = 1; other >= 0; other--) {
        assert_ok(qdq_model_open(at("read.safetensors"), &model));
        data = qdq_model_tensor(model, 0)->data;
        assert_int_equal(unlink(at("read.safetensors")), 0);
        if (other) {
            bytes c = safetensors("{\"w\":{\"dtype\":\"U8\",\"shape\":[20],\"data_offsets\":[0,20]}}", 20);
            save("read.safetensors", c);
            release(&c);
        }
        assert_ok(qdq_mapped_read(data, to, sizeof to));
        assert_memory_equal(to, b.data + b.n - sizeof to, sizeof to);
        qdq_model_close(model);
        save("read.safetensors", b);
    }
    release(&b);
}

/* Over 4 GiB, most of it holes: nothing counts in 32 bits. */
static void opens_a_file_over_4_gib(void **state) {
    const uint64_t first = 5368709120u, total = first + 8;
    bytes b = safetensors("{\"big\":{\"dtype\":\"U8\",\"shape\":[5,1073741824],\"data_offsets\":[0,5368709120]},"
                          "\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[5368709120,5368709128]}}",
                          0);
    save("big.safetensors", b);
    int fd = open(at("big.safetensors"), O_WRONLY);
    const float values[2] = {1.5f, -2.5f};
    if (ftruncate(fd, (off_t)(b.n + total)) != 0) {
        close(fd);
        release(&b);
        skip();
    }
    assert_int_equal(pwrite(fd, values, 8, (off_t)(b.n + first)), 8);
    close(fd);
    qdq_model *model;
    assert_ok(qdq_model_open(at("big.safetensors"), &model));
    const qdq_tensor *t = qdq_model_find(model, "w");
    assert_int_equal(t->offset, b.n + first);
    assert_memory_equal(t->data, values, 8);
    assert_int_equal(qdq_model_find(model, "big")->bytes, first);
    qdq_model_close(model);
    /* One byte shorter. */
    assert_int_equal(truncate(at("big.safetensors"), (off_t)(b.n + total - 1)), 0);
    assert_refused(qdq_model_open(at("big.safetensors"), &model), QDQ_BAD_DATA, "\"w\"", "cut short");
    unlink(at("big.safetensors"));
    release(&b);
}

static void *read_often(void *data) {
    char to[4];
    for (int i = 0; i < 2000; i++)
        if (qdq_mapped_read(data, to, sizeof to) != QDQ_OK) return data;
    return NULL;
}

/* One file is read from while others are opened and closed; ThreadSanitizer watches the list of maps. */
static void reads_while_others_are_closed(void **state) {
    bytes b = safetensors(two_tensors, 20);
    save("kept.safetensors", b);
    save("closed.safetensors", b);
    release(&b);
    qdq_model *kept, *other;
    pthread_t thread;
    void *failed;
    assert_ok(qdq_model_open(at("kept.safetensors"), &kept));
    assert_int_equal(pthread_create(&thread, NULL, read_often, (void *)(uintptr_t)qdq_model_tensor(kept, 0)->data), 0);
    for (int i = 0; i < 500; i++) {
        assert_ok(qdq_model_open(at("closed.safetensors"), &other));
        qdq_model_close(other);
    }
    pthread_join(thread, &failed);
    assert_null(failed);
    qdq_model_close(kept);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors_in_order_of_place),
        cmocka_unit_test(accepts_what_the_format_allows),
        cmocka_unit_test(names_why_a_tensor_is_no_source),
        cmocka_unit_test(refuses_a_file_cut_anywhere),
        cmocka_unit_test(survives_any_changed_byte),
        cmocka_unit_test(refuses_bad_headers_by_name),
        cmocka_unit_test(reads_while_others_are_closed),
        cmocka_unit_test(reads_names_as_json_writes_them),
        cmocka_unit_test(refuses_what_takes_too_much_memory),
        cmocka_unit_test(refuses_impossible_header_lengths),
        cmocka_unit_test(messages_cannot_drive_the_terminal),
        cmocka_unit_test(opens_a_file_at_any_alignment),
        cmocka_unit_test(refuses_what_is_no_model_file),
        cmocka_unit_test(opens_shards_by_index_and_directory),
        cmocka_unit_test(prefers_the_index_in_a_directory),
        cmocka_unit_test(prefers_the_usual_name_in_a_directory),
        cmocka_unit_test(refuses_bad_indexes_by_name),
        cmocka_unit_test(opens_thousands_of_shards),
        cmocka_unit_test(a_shrunken_file_can_be_named),
        cmocka_unit_test(mapped_files_can_be_read),
        cmocka_unit_test(opens_a_file_over_4_gib),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
