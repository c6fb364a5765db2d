/* Names of tensors there and back for each architecture, map files, and rows that a conversion moves. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model/gguf_names.h"
#include "model/row_order.h"

typedef struct known {
    const char *hf, *gguf; /* gguf "": dropped */
    int64_t expert;
    qdq_permute permute;
} known;

#define WHOLE QDQ_NO_EXPERT
#define L     "model.layers.31."
#define B     "blk.31."

#define DECODER                                                                                                        \
    {"model.embed_tokens.weight", "token_embd.weight", WHOLE, 0},                                                      \
        {"model.norm.weight", "output_norm.weight", WHOLE, 0},                                                         \
        {L "input_layernorm.weight", B "attn_norm.weight", WHOLE, 0},                                                  \
        {L "self_attn.v_proj.weight", B "attn_v.weight", WHOLE, 0}, {                                                  \
        L "self_attn.o_proj.weight", B "attn_output.weight", WHOLE, 0                                                  \
    }
#define HEAD                                                                                                           \
    { "lm_head.weight", "output.weight", WHOLE, 0 }
#define FFN                                                                                                            \
    {L "mlp.gate_proj.weight", B "ffn_gate.weight", WHOLE, 0}, {L "mlp.up_proj.weight", B "ffn_up.weight", WHOLE, 0},  \
    {                                                                                                                  \
        L "mlp.down_proj.weight", B "ffn_down.weight", WHOLE, 0                                                        \
    }
#define FFN_NORM                                                                                                       \
    { L "post_attention_layernorm.weight", B "ffn_norm.weight", WHOLE, 0 }
#define Q_K                                                                                                            \
    {L "self_attn.q_proj.weight", B "attn_q.weight", WHOLE, 0}, {                                                      \
        L "self_attn.k_proj.weight", B "attn_k.weight", WHOLE, 0                                                       \
    }
#define QK_NORM                                                                                                        \
    {L "self_attn.q_norm.weight", B "attn_q_norm.weight", WHOLE, 0}, {                                                 \
        L "self_attn.k_norm.weight", B "attn_k_norm.weight", WHOLE, 0                                                  \
    }
#define QWEN_EXPERTS                                                                                                   \
    {L "mlp.gate.weight", B "ffn_gate_inp.weight", WHOLE, 0},                                                          \
        {L "mlp.experts.0.gate_proj.weight", B "ffn_gate_exps.weight", 0, 0},                                          \
        {L "mlp.experts.127.up_proj.weight", B "ffn_up_exps.weight", 127, 0}, {                                        \
        L "mlp.experts.63.down_proj.weight", B "ffn_down_exps.weight", 63, 0                                           \
    }
#define BETWEEN                                                                                                        \
    {L "post_attention_layernorm.weight", B "post_attention_norm.weight", WHOLE, 0},                                   \
        {L "pre_feedforward_layernorm.weight", B "ffn_norm.weight", WHOLE, 0}, {                                       \
        L "post_feedforward_layernorm.weight", B "post_ffw_norm.weight", WHOLE, 0                                      \
    }

static const known llama[] = {DECODER,
                              HEAD,
                              FFN,
                              FFN_NORM,
                              {L "self_attn.q_proj.weight", B "attn_q.weight", WHOLE, QDQ_PERMUTE_Q},
                              {L "self_attn.k_proj.weight", B "attn_k.weight", WHOLE, QDQ_PERMUTE_K},
                              {L "self_attn.q_proj.bias", B "attn_q.bias", WHOLE, QDQ_PERMUTE_Q},
                              {L "block_sparse_moe.gate.weight", B "ffn_gate_inp.weight", WHOLE, 0},
                              {L "block_sparse_moe.experts.7.w1.weight", B "ffn_gate_exps.weight", 7, 0},
                              {L "block_sparse_moe.experts.7.w2.weight", B "ffn_down_exps.weight", 7, 0},
                              {L "block_sparse_moe.experts.7.w3.weight", B "ffn_up_exps.weight", 7, 0},
                              {L "self_attn.rotary_emb.inv_freq", "", WHOLE, 0},
                              {NULL, NULL, 0, 0}};
static const known qwen2[] = {DECODER,
                              HEAD,
                              FFN,
                              FFN_NORM,
                              Q_K,
                              {L "self_attn.q_proj.bias", B "attn_q.bias", WHOLE, 0},
                              {L "self_attn.v_proj.bias", B "attn_v.bias", WHOLE, 0},
                              {NULL, NULL, 0, 0}};
static const known qwen3[] = {DECODER, HEAD, FFN, FFN_NORM, Q_K, QK_NORM, {NULL, NULL, 0, 0}};
static const known qwen2moe[] = {DECODER,
                                 HEAD,
                                 FFN_NORM,
                                 Q_K,
                                 QWEN_EXPERTS,
                                 {L "mlp.shared_expert.gate_proj.weight", B "ffn_gate_shexp.weight", WHOLE, 0},
                                 {L "mlp.shared_expert.up_proj.weight", B "ffn_up_shexp.weight", WHOLE, 0},
                                 {L "mlp.shared_expert.down_proj.weight", B "ffn_down_shexp.weight", WHOLE, 0},
                                 {L "mlp.shared_expert_gate.weight", B "ffn_gate_inp_shexp.weight", WHOLE, 0},
                                 {NULL, NULL, 0, 0}};
static const known qwen3moe[] = {DECODER, HEAD, FFN_NORM, Q_K, QK_NORM, QWEN_EXPERTS, FFN, {NULL, NULL, 0, 0}};
static const known gemma2[] = {DECODER, FFN, BETWEEN, Q_K, {"lm_head.weight", "", WHOLE, 0}, {NULL, NULL, 0, 0}};
static const known gemma3[] = {DECODER,
                               HEAD,
                               FFN,
                               BETWEEN,
                               Q_K,
                               QK_NORM,
                               {"vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", "", WHOLE, 0},
                               {NULL, NULL, 0, 0}};
static const known phi3[] = {DECODER,
                             HEAD,
                             FFN_NORM,
                             {L "self_attn.qkv_proj.weight", B "attn_qkv.weight", WHOLE, 0},
                             {L "mlp.gate_up_proj.weight", B "ffn_up.weight", WHOLE, 0},
                             {L "mlp.down_proj.weight", B "ffn_down.weight", WHOLE, 0},
                             {NULL, NULL, 0, 0}};
#define E "encoder.layer.31."
static const known bert[] = {{"embeddings.word_embeddings.weight", "token_embd.weight", WHOLE, 0},
                             {"embeddings.token_type_embeddings.weight", "token_types.weight", WHOLE, 0},
                             {"embeddings.position_embeddings.weight", "position_embd.weight", WHOLE, 0},
                             {"embeddings.LayerNorm.bias", "token_embd_norm.bias", WHOLE, 0},
                             {E "attention.self.query.weight", B "attn_q.weight", WHOLE, 0},
                             {E "attention.self.key.bias", B "attn_k.bias", WHOLE, 0},
                             {E "attention.self.value.weight", B "attn_v.weight", WHOLE, 0},
                             {E "attention.output.dense.weight", B "attn_output.weight", WHOLE, 0},
                             {E "attention.output.LayerNorm.weight", B "attn_output_norm.weight", WHOLE, 0},
                             {E "intermediate.dense.weight", B "ffn_up.weight", WHOLE, 0},
                             {E "output.dense.weight", B "ffn_down.weight", WHOLE, 0},
                             {E "output.LayerNorm.weight", B "layer_output_norm.weight", WHOLE, 0},
                             {"pooler.dense.weight", "", WHOLE, 0},
                             {NULL, NULL, 0, 0}};

static const struct {
    const char *spellings[4];
    const known *names;
} architectures[] = {
    {{"llama", "mistral", "mixtral", "MixtralForCausalLM"}, llama},
    {{"qwen2", "Qwen2ForCausalLM"}, qwen2},
    {{"qwen3", "Qwen3ForCausalLM"}, qwen3},
    {{"qwen2moe", "qwen2_moe", "Qwen2MoeForCausalLM"}, qwen2moe},
    {{"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM"}, qwen3moe},
    {{"gemma2", "Gemma2ForCausalLM"}, gemma2},
    {{"gemma3", "gemma3_text", "Gemma3ForConditionalGeneration"}, gemma3},
    {{"phi3", "Phi3ForCausalLM"}, phi3},
    {{"bert", "BertModel"}, bert},
};

static void there_and_back(void **unused) {
    (void)unused;
    for (size_t a = 0; a < sizeof architectures / sizeof *architectures; a++)
        for (int s = 0; s < 4 && architectures[a].spellings[s]; s++) {
            qdq_gguf_names *names;
            assert_int_equal(qdq_gguf_names_create(architectures[a].spellings[s], &names), QDQ_OK);
            for (const known *k = architectures[a].names; k->hf; k++) {
                qdq_gguf_name g;
                char back[QDQ_NAME_MAX];
                if (qdq_gguf_names_to_gguf(names, k->hf, &g) != QDQ_OK) fail_msg("%s", qdq_error_message());
                assert_string_equal(g.name, k->gguf);
                assert_int_equal(g.expert, k->expert);
                assert_int_equal(g.permute, k->permute);
                if (!*k->gguf) continue;
                if (qdq_gguf_names_to_hf(names, k->gguf, k->expert, back) != QDQ_OK)
                    fail_msg("%s", qdq_error_message());
                assert_string_equal(back, k->hf);
            }
            qdq_gguf_names_free(names);
        }
}

static void expect_failure(qdq_status got, qdq_status expected, const char *words) {
    if (got != expected || !strstr(qdq_error_message(), words))
        fail_msg("status %d: \"%s\"; expected %d: \"%s\"", (int)got, qdq_error_message(), (int)expected, words);
}

static void what_is_not_known_is_refused_by_name(void **unused) {
    (void)unused;
    qdq_gguf_names *names;
    assert_int_equal(qdq_gguf_names_create("MixtralForCausalLM", &names), QDQ_OK);
    assert_string_equal(qdq_gguf_names_architecture(names), "llama");
    qdq_gguf_names_free(names);
    assert_int_equal(qdq_gguf_names_create(NULL, &names), QDQ_OK);
    assert_null(qdq_gguf_names_architecture(names));
    qdq_gguf_names_free(names);
    expect_failure(qdq_gguf_names_create("mamba", &names), QDQ_UNSUPPORTED, "\"mamba\"; there are llama");
    expect_failure(qdq_gguf_names_create("", &names), QDQ_UNSUPPORTED, "no map of names");
    expect_failure(qdq_gguf_names_create("llama mistral", &names), QDQ_UNSUPPORTED, "no map");
    assert_int_equal(qdq_gguf_names_create("llama", &names), QDQ_OK);
    static const char *const wrong[] = {"model.layers.0.self_attn.wq.weight",
                                        "model.layers.01.mlp.up_proj.weight",
                                        "model.layers..mlp.up_proj.weight",
                                        "model.layers.0.mlp.up_proj.weights",
                                        "model.layers.0.mlp.up_proj.",
                                        "Model.layers.0.mlp.up_proj.weight",
                                        "model.layers.-1.mlp.up_proj.weight",
                                        "model.layers.99999999999.mlp.up_proj.weight",
                                        "",
                                        "x.model.layers.0.mlp.up_proj.weight",
                                        "model.layers.0.mlp.experts.0.up_proj.weight"};
    qdq_gguf_name g;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        expect_failure(qdq_gguf_names_to_gguf(names, wrong[i], &g), QDQ_UNSUPPORTED,
                       "no GGUF name is known for it in the map of llama");
        assert_memory_equal(qdq_error_message(), wrong[i], strlen(wrong[i]));
    }
    char hf[QDQ_NAME_MAX];
    expect_failure(qdq_gguf_names_to_hf(names, "blk.0.ssm_in.weight", WHOLE, hf), QDQ_UNSUPPORTED,
                   "blk.0.ssm_in.weight: no Hugging Face name");
    expect_failure(qdq_gguf_names_to_hf(names, "blk.0.ffn_up_exps.weight", WHOLE, hf), QDQ_INVALID_ARGUMENT,
                   "stack of experts: name one");
    expect_failure(qdq_gguf_names_to_hf(names, "blk.0.ffn_up.weight", 3, hf), QDQ_INVALID_ARGUMENT,
                   "is no stack of experts");
    qdq_gguf_names_free(names);
}

static void prefixes_of_larger_models(void **unused) {
    (void)unused;
    qdq_gguf_names *names;
    qdq_gguf_name g;
    assert_int_equal(qdq_gguf_names_create("gemma3", &names), QDQ_OK);
    assert_int_equal(qdq_gguf_names_to_gguf(names, "language_model.model.layers.3.mlp.up_proj.weight", &g), QDQ_OK);
    assert_string_equal(g.name, "blk.3.ffn_up.weight");
    assert_int_equal(qdq_gguf_names_to_gguf(names, "model.language_model.embed_tokens.weight", &g), QDQ_OK);
    assert_string_equal(g.name, "token_embd.weight");
    qdq_gguf_names_free(names);
    assert_int_equal(qdq_gguf_names_create("bert", &names), QDQ_OK);
    assert_int_equal(qdq_gguf_names_to_gguf(names, "bert.encoder.layer.0.attention.self.key.weight", &g), QDQ_OK);
    assert_string_equal(g.name, "blk.0.attn_k.weight");
    qdq_gguf_names_free(names);
}

static qdq_status add(qdq_gguf_names *names, const char *text) {
    return qdq_gguf_names_add(names, "my.map", text, strlen(text));
}

static void map_files(void **unused) {
    (void)unused;
    qdq_gguf_names *names;
    qdq_gguf_name g;
    char hf[QDQ_NAME_MAX];
    assert_int_equal(qdq_gguf_names_create("llama", &names), QDQ_OK);
    assert_int_equal(add(names, "# a comment\n\n"
                                "h.{n}.attn.q.{s}\t blk.{n}.attn_q.{s}  permute-q\r\n"
                                "  h.{n}.moe.{e}.up.weight blk.{n}.ffn_up_exps.weight\n"
                                "model.norm.weight other.weight\n"
                                "h.rope.{*} -"),
                     QDQ_OK);
    assert_int_equal(qdq_gguf_names_to_gguf(names, "h.12.attn.q.bias", &g), QDQ_OK);
    assert_string_equal(g.name, "blk.12.attn_q.bias");
    assert_int_equal(g.permute, QDQ_PERMUTE_Q);
    assert_int_equal(qdq_gguf_names_to_gguf(names, "h.1.moe.20.up.weight", &g), QDQ_OK);
    assert_string_equal(g.name, "blk.1.ffn_up_exps.weight");
    assert_int_equal(g.expert, 20);
    assert_int_equal(qdq_gguf_names_to_gguf(names, "h.rope.inv_freq", &g), QDQ_OK);
    assert_string_equal(g.name, "");
    /* the file goes before the built-in pairs, both ways; what it does not name stays */
    assert_int_equal(qdq_gguf_names_to_gguf(names, "model.norm.weight", &g), QDQ_OK);
    assert_string_equal(g.name, "other.weight");
    assert_int_equal(qdq_gguf_names_to_hf(names, "blk.4.attn_q.weight", WHOLE, hf), QDQ_OK);
    assert_string_equal(hf, "h.4.attn.q.weight");
    assert_int_equal(qdq_gguf_names_to_hf(names, "blk.4.attn_v.weight", WHOLE, hf), QDQ_OK);
    assert_string_equal(hf, "model.layers.4.self_attn.v_proj.weight");
    expect_failure(add(names, "a b\nonly"), QDQ_BAD_DATA, "my.map:2: 1 words");
    expect_failure(add(names, "a b permute-q d"), QDQ_BAD_DATA, "my.map:1: 4 words");
    expect_failure(add(names, "a b permute"), QDQ_BAD_DATA, "third word");
    expect_failure(add(names, "a.{n} b"), QDQ_BAD_DATA, "one side only");
    expect_failure(add(names, "a b.{s}"), QDQ_BAD_DATA, "one side only");
    expect_failure(add(names, "a.{n} b.{n}.{e}"), QDQ_BAD_DATA, "{e} stands on GGUF's side");
    expect_failure(add(names, "a.{q} b"), QDQ_BAD_DATA, "a placeholder is");
    expect_failure(add(names, "a.{n}.{n} b.{n}"), QDQ_BAD_DATA, "a placeholder is");
    expect_failure(add(names, "a{ b"), QDQ_BAD_DATA, "a placeholder is");
    expect_failure(add(names, "a.{*}.x -"), QDQ_BAD_DATA, "a placeholder is");
    expect_failure(add(names, "a.{*} b"), QDQ_BAD_DATA, "{*} is for names that are dropped");
    expect_failure(add(names, "a - permute-q"), QDQ_BAD_DATA, "a third word after");
    expect_failure(qdq_gguf_names_add(names, "my.map", "a b\n\0", 5), QDQ_BAD_DATA, "my.map:2: a NUL byte");
    qdq_gguf_names_free(names);

    assert_int_equal(qdq_gguf_names_create(NULL, &names), QDQ_OK);
    expect_failure(qdq_gguf_names_to_gguf(names, "a", &g), QDQ_UNSUPPORTED, "a: no GGUF name is known for it");
    assert_int_equal(qdq_gguf_names_add(names, "empty", NULL, 0), QDQ_OK);
    char text[400] = "a ";
    memset(text + 2, 'x', 64);
    assert_int_equal(add(names, text), QDQ_OK);
    expect_failure(qdq_gguf_names_to_gguf(names, "a", &g), QDQ_UNSUPPORTED, "more than 63 bytes");
    qdq_gguf_names_free(names);
}

static void parts_and_groups(void **unused) {
    (void)unused;
    int64_t layer;
    char kind[QDQ_NAME_MAX], label[QDQ_NAME_MAX], other[QDQ_NAME_MAX];
    qdq_name_parts("blk.31.attn_q.weight", &layer, kind);
    assert_true(layer == 31 && strcmp(kind, "attn_q") == 0);
    qdq_name_parts("output.weight", &layer, kind);
    assert_true(layer == -1 && strcmp(kind, "output") == 0);
    qdq_name_parts("blk.x.attn_q.bias", &layer, kind);
    assert_true(layer == -1 && strcmp(kind, "blk.x.attn_q") == 0);
    char name[400];
    memset(name, 'y', 399);
    name[399] = 0;
    qdq_name_parts(name, &layer, kind);
    assert_int_equal(strlen(kind), QDQ_NAME_MAX - 1);

    assert_true(qdq_name_group(QDQ_GROUP_QKV, "blk.3.attn_q.weight", label));
    assert_true(qdq_name_group(QDQ_GROUP_QKV, "blk.3.attn_v.weight", other));
    assert_string_equal(label, other);
    assert_true(qdq_name_group(QDQ_GROUP_QKV, "blk.30.attn_v.weight", other));
    assert_string_not_equal(label, other);
    assert_false(qdq_name_group(QDQ_GROUP_QKV, "blk.3.attn_output.weight", other));
    assert_false(qdq_name_group(QDQ_GROUP_QKV, "attn_q.weight", other));
    assert_true(qdq_name_group(QDQ_GROUP_GATE_UP, "blk.3.ffn_gate_exps.weight", label));
    assert_true(qdq_name_group(QDQ_GROUP_GATE_UP, "blk.3.ffn_gate.weight", other));
    assert_string_not_equal(label, other);
    assert_true(qdq_name_group(QDQ_GROUP_EXPERTS, "blk.3.ffn_down_exps.weight", label));
    assert_true(qdq_name_group(QDQ_GROUP_EXPERTS, "blk.3.ffn_gate_exps.weight", other));
    assert_string_equal(label, other);
}

/* ---- Rows ---- */

typedef struct matrix {
    uint64_t rows, columns;
    float *at;
    uint64_t fails; /* the row that cannot be read; UINT64_MAX: none */
} matrix;

static qdq_status read_matrix(void *context, uint64_t row, float *values) {
    matrix *m = context;
    assert_true(row < m->rows);
    if (row == m->fails) return QDQ_IO_ERROR;
    memcpy(values, m->at + row * m->columns, m->columns * sizeof(float));
    return QDQ_OK;
}

static matrix make_matrix(uint64_t rows, uint64_t columns, unsigned seed) {
    matrix m = {rows, columns, malloc(rows * columns * sizeof(float)), UINT64_MAX};
    for (uint64_t i = 0; i < rows * columns; i++) {
        seed = seed * 1664525u + 1013904223u;
        m.at[i] = (float)((double)seed / 4294967296.0 - 0.5);
    }
    return m;
}

/* reshape(heads, 2, half, columns), then the middle two axes swapped: what convert_hf_to_gguf.py does to q and k. */
static matrix as_converted(const matrix *hf, uint64_t heads) {
    matrix g = make_matrix(hf->rows, hf->columns, 0);
    uint64_t half = hf->rows / heads / 2, to = 0;
    for (uint64_t h = 0; h < heads; h++)
        for (uint64_t i = 0; i < half; i++)
            for (uint64_t t = 0; t < 2; t++, to++)
                memcpy(g.at + to * g.columns, hf->at + ((h * 2 + t) * half + i) * g.columns, g.columns * sizeof(float));
    return g;
}

static qdq_rows_order order_of(matrix *hf, matrix *gguf, uint64_t heads, qdq_dtype dtype, uint64_t *row) {
    qdq_rows_order order;
    qdq_status status =
        qdq_rows_permuted(hf->rows, hf->columns, heads, read_matrix, hf, read_matrix, gguf, dtype, &order, row);
    if (status != QDQ_OK) fail_msg("%s", qdq_error_message());
    return order;
}

static void names_of_mlx(void **unused) {
    (void)unused;
    static const char *const pairs[][2] = {
        {"model.layers.3.self_attn.q_proj.weight", "model.layers.3.self_attn.q_proj"},
        {"model.layers.3.mlp.experts.11.up_proj.weight", "model.layers.3.mlp.switch_mlp.up_proj"},
        {"model.layers.3.block_sparse_moe.experts.0.w1.weight", "model.layers.3.block_sparse_moe.switch_mlp.gate_proj"},
        {"model.layers.3.block_sparse_moe.experts.0.w2.weight", "model.layers.3.block_sparse_moe.switch_mlp.down_proj"},
        {"model.layers.3.block_sparse_moe.experts.0.w3.weight", "model.layers.3.block_sparse_moe.switch_mlp.up_proj"},
        {"model.layers.3.mlp.experts.gate_up_proj.weight", "model.layers.3.mlp.experts.gate_up_proj"}};
    char path[QDQ_NAME_MAX], longest[QDQ_NAME_MAX];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_true(qdq_name_in_mlx(pairs[i][0], path));
        assert_string_equal(path, pairs[i][1]);
    }
    assert_false(qdq_name_in_mlx("model.layers.3.self_attn.q_proj.bias", path));
    assert_false(qdq_name_in_mlx(".weight", path));
    memset(longest, 'x', sizeof longest);
    memcpy(longest + sizeof longest - 21, ".experts.0.w1.weight", 20);
    longest[sizeof longest - 1] = '\0';
    assert_false(qdq_name_in_mlx(longest, path));
}

static void permutation_is_that_of_the_conversion(void **unused) {
    (void)unused;
    for (uint64_t heads = 1; heads <= 8; heads++)
        for (uint64_t size = 2; size <= 16; size += 2) {
            matrix hf = make_matrix(heads * size, 3, 7), gguf = as_converted(&hf, heads);
            for (uint64_t r = 0; r < hf.rows; r++) {
                uint64_t from = qdq_row_in_hf(hf.rows, heads, r);
                assert_memory_equal(gguf.at + r * 3, hf.at + from * 3, 3 * sizeof(float));
                assert_int_equal(qdq_row_in_gguf(hf.rows, heads, from), r);
            }
            uint64_t row = 99;
            qdq_rows_order order = order_of(&hf, &gguf, heads, QDQ_F32, &row);
            assert_int_equal(order, size == 2 ? QDQ_ROWS_EITHER : QDQ_ROWS_PERMUTED); /* heads of 2 rows stay */
            assert_int_equal(order_of(&hf, &hf, heads, QDQ_F32, &row),
                             size == 2 ? QDQ_ROWS_EITHER : QDQ_ROWS_IDENTICAL);
            assert_int_equal(order_of(&hf, &hf, 0, QDQ_F32, &row), QDQ_ROWS_IDENTICAL);
            if (size > 2) {
                assert_int_equal(order_of(&hf, &gguf, 0, QDQ_F32, &row), QDQ_ROWS_DIFFERENT);
                assert_int_equal(row, 1);
            }
            /* one value off, in the last row: neither order */
            gguf.at[gguf.rows * 3 - 1] += 1;
            assert_int_equal(order_of(&hf, &gguf, heads, QDQ_F32, &row), QDQ_ROWS_DIFFERENT);
            assert_int_equal(row, gguf.rows - 1);
            free(hf.at);
            free(gguf.at);
        }
}

static void permutation_survives_the_stored_type(void **unused) {
    (void)unused;
    matrix hf = make_matrix(32, 64, 5);
    hf.at[0] = 70000.0f;               /* overflows f16 */
    hf.at[1] = 1e-7f;                  /* subnormal in f16 */
    hf.at[2] = -1e-12f;                /* -0 in f16 */
    hf.at[3] = 1.0f + 0x1p-11f;        /* a tie in f16: to even */
    hf.at[4] = 1.0f + 3 * 0x1p-8f / 2; /* a tie in bf16 */
    matrix gguf = as_converted(&hf, 4);
    uint64_t row;
    assert_int_equal(order_of(&hf, &gguf, 4, QDQ_F16, &row), QDQ_ROWS_DIFFERENT); /* values are not f16 yet */
    for (uint64_t i = 0; i < 32 * 64; i++) { /* a slow, plain rounding: 11 bits, or multiples of 2^-24 */
        float x = gguf.at[i];
        int e;
        frexpf(x, &e);
        float unit = ldexpf(1.0f, (e < -13 ? -13 : e) - 11);
        float r = nearbyintf(x / unit) * unit;
        gguf.at[i] = fabsf(r) > 65504.0f ? copysignf(INFINITY, r) : copysignf(r, x);
    }
    assert_int_equal(order_of(&hf, &gguf, 4, QDQ_F16, &row), QDQ_ROWS_PERMUTED);
    free(gguf.at);
    gguf = as_converted(&hf, 4);
    for (uint64_t i = 0; i < 32 * 64; i++) {
        int e;
        frexpf(gguf.at[i], &e);
        float unit = ldexpf(1.0f, e - 8);
        gguf.at[i] = nearbyintf(gguf.at[i] / unit) * unit;
    }
    assert_int_equal(order_of(&hf, &gguf, 4, QDQ_BF16, &row), QDQ_ROWS_PERMUTED);
    free(gguf.at);
    free(hf.at);
}

static void rows_that_cannot_be_compared(void **unused) {
    (void)unused;
    matrix hf = make_matrix(12, 4, 1), gguf = make_matrix(12, 4, 1);
    qdq_rows_order order;
    uint64_t row;
    for (int i = 0; i < 12 * 4; i++) hf.at[i] = gguf.at[i] = 3; /* rows that repeat tell nothing */
    assert_int_equal(order_of(&hf, &gguf, 3, QDQ_F32, &row), QDQ_ROWS_EITHER);
    expect_failure(qdq_rows_permuted(12, 4, 5, read_matrix, &hf, read_matrix, &gguf, QDQ_F32, &order, &row),
                   QDQ_INVALID_ARGUMENT, "12 rows are not pairs in each of 5 heads");
    expect_failure(qdq_rows_permuted(12, 4, UINT64_MAX, read_matrix, &hf, read_matrix, &gguf, QDQ_F32, &order, &row),
                   QDQ_INVALID_ARGUMENT, "not pairs");
    expect_failure(qdq_rows_permuted(12, 4, 3, read_matrix, &hf, read_matrix, &gguf, QDQ_U8, &order, &row),
                   QDQ_INVALID_ARGUMENT, "are no weights");
    expect_failure(
        qdq_rows_permuted(12, UINT64_MAX / 4, 3, read_matrix, &hf, read_matrix, &gguf, QDQ_F32, &order, &row),
        QDQ_OUT_OF_MEMORY, "out of memory");
    hf.fails = 5;
    assert_int_equal(qdq_rows_permuted(12, 4, 3, read_matrix, &hf, read_matrix, &gguf, QDQ_F32, &order, &row),
                     QDQ_IO_ERROR);
    hf.fails = UINT64_MAX, gguf.fails = 11;
    assert_int_equal(qdq_rows_permuted(12, 4, 3, read_matrix, &hf, read_matrix, &gguf, QDQ_F32, &order, &row),
                     QDQ_IO_ERROR);
    uint64_t heads;
    assert_int_equal(qdq_permute_heads(QDQ_PERMUTE_K, "k", 12, 6, 3, &heads), QDQ_OK);
    assert_int_equal(heads, 3);
    assert_int_equal(qdq_permute_heads(QDQ_PERMUTE_NONE, "v", 7, 6, 3, &heads), QDQ_OK);
    assert_int_equal(heads, 0);
    expect_failure(qdq_permute_heads(QDQ_PERMUTE_Q, "q.weight", 12, 5, 3, &heads), QDQ_BAD_DATA, "q.weight: 12 rows");
    expect_failure(qdq_permute_heads(QDQ_PERMUTE_Q, "q.weight", 12, 0, 3, &heads), QDQ_BAD_DATA, "q.weight: 12 rows");
    free(hf.at);
    free(gguf.at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(what_is_not_known_is_refused_by_name),
        cmocka_unit_test(prefixes_of_larger_models),
        cmocka_unit_test(map_files),
        cmocka_unit_test(parts_and_groups),
        cmocka_unit_test(names_of_mlx),
        cmocka_unit_test(permutation_is_that_of_the_conversion),
        cmocka_unit_test(permutation_survives_the_stored_type),
        cmocka_unit_test(rows_that_cannot_be_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
