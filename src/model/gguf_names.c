/* Maps of names.h. The built-in pairs follow the names that llama.cpp's convert_hf_to_gguf.py gives (gguf-py's
 * TensorNameMap); an architecture is a list of sets of pairs, since they have most of them in common. */
#include "model/gguf_names.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/words.h"
#include "model/advice.h"

typedef struct pair {
    const char *hf, *gguf; /* gguf NULL: dropped */
    qdq_permute permute;
} pair;

/* ---- Built-in pairs ---- */

#define LAYER "model.layers.{n}."

static const pair decoder[] = {
    {"model.embed_tokens.weight", "token_embd.weight", 0},
    {"model.norm.{s}", "output_norm.{s}", 0},
    {LAYER "input_layernorm.{s}", "blk.{n}.attn_norm.{s}", 0},
    {LAYER "self_attn.v_proj.{s}", "blk.{n}.attn_v.{s}", 0},
    {LAYER "self_attn.o_proj.{s}", "blk.{n}.attn_output.{s}", 0},
    {LAYER "self_attn.rotary_emb.inv_freq", NULL, 0},
    {"model.rotary_emb.inv_freq", NULL, 0},
    {NULL, NULL, 0},
};
static const pair head[] = {{"lm_head.{s}", "output.{s}", 0}, {NULL, NULL, 0}};
static const pair no_head[] = {{"lm_head.weight", NULL, 0}, {NULL, NULL, 0}}; /* the embedding's twin */
static const pair permuted_q_k[] = {
    {LAYER "self_attn.q_proj.{s}", "blk.{n}.attn_q.{s}", QDQ_PERMUTE_Q},
    {LAYER "self_attn.k_proj.{s}", "blk.{n}.attn_k.{s}", QDQ_PERMUTE_K},
    {NULL, NULL, 0},
};
static const pair plain_q_k[] = {
    {LAYER "self_attn.q_proj.{s}", "blk.{n}.attn_q.{s}", 0},
    {LAYER "self_attn.k_proj.{s}", "blk.{n}.attn_k.{s}", 0},
    {NULL, NULL, 0},
};
static const pair normed_q_k[] = {
    {LAYER "self_attn.q_norm.weight", "blk.{n}.attn_q_norm.weight", 0},
    {LAYER "self_attn.k_norm.weight", "blk.{n}.attn_k_norm.weight", 0},
    {NULL, NULL, 0},
};
static const pair ffn_after_norm[] = {{LAYER "post_attention_layernorm.{s}", "blk.{n}.ffn_norm.{s}", 0},
                                      {NULL, NULL, 0}};
static const pair ffn_between_norms[] = {
    {LAYER "post_attention_layernorm.weight", "blk.{n}.post_attention_norm.weight", 0},
    {LAYER "pre_feedforward_layernorm.weight", "blk.{n}.ffn_norm.weight", 0},
    {LAYER "post_feedforward_layernorm.weight", "blk.{n}.post_ffw_norm.weight", 0},
    {NULL, NULL, 0},
};
static const pair gated_ffn[] = {
    {LAYER "mlp.gate_proj.{s}", "blk.{n}.ffn_gate.{s}", 0},
    {LAYER "mlp.up_proj.{s}", "blk.{n}.ffn_up.{s}", 0},
    {LAYER "mlp.down_proj.{s}", "blk.{n}.ffn_down.{s}", 0},
    {NULL, NULL, 0},
};
static const pair mixtral_experts[] = {
    {LAYER "block_sparse_moe.gate.weight", "blk.{n}.ffn_gate_inp.weight", 0},
    {LAYER "block_sparse_moe.experts.{e}.w1.weight", "blk.{n}.ffn_gate_exps.weight", 0},
    {LAYER "block_sparse_moe.experts.{e}.w2.weight", "blk.{n}.ffn_down_exps.weight", 0},
    {LAYER "block_sparse_moe.experts.{e}.w3.weight", "blk.{n}.ffn_up_exps.weight", 0},
    {NULL, NULL, 0},
};
static const pair qwen_experts[] = {
    {LAYER "mlp.gate.weight", "blk.{n}.ffn_gate_inp.weight", 0},
    {LAYER "mlp.experts.{e}.gate_proj.weight", "blk.{n}.ffn_gate_exps.weight", 0},
    {LAYER "mlp.experts.{e}.up_proj.weight", "blk.{n}.ffn_up_exps.weight", 0},
    {LAYER "mlp.experts.{e}.down_proj.weight", "blk.{n}.ffn_down_exps.weight", 0},
    {NULL, NULL, 0},
};
static const pair shared_expert[] = {
    {LAYER "mlp.shared_expert.gate_proj.weight", "blk.{n}.ffn_gate_shexp.weight", 0},
    {LAYER "mlp.shared_expert.up_proj.weight", "blk.{n}.ffn_up_shexp.weight", 0},
    {LAYER "mlp.shared_expert.down_proj.weight", "blk.{n}.ffn_down_shexp.weight", 0},
    {LAYER "mlp.shared_expert_gate.weight", "blk.{n}.ffn_gate_inp_shexp.weight", 0},
    {NULL, NULL, 0},
};
static const pair fused_phi[] = {
    {LAYER "self_attn.qkv_proj.{s}", "blk.{n}.attn_qkv.{s}", 0},
    {LAYER "mlp.gate_up_proj.{s}", "blk.{n}.ffn_up.{s}", 0}, /* gate above up, in one tensor */
    {LAYER "mlp.down_proj.{s}", "blk.{n}.ffn_down.{s}", 0},
    {NULL, NULL, 0},
};
static const pair no_vision[] = {
    {"vision_tower.{*}", NULL, 0},
    {"multi_modal_projector.{*}", NULL, 0},
    {"model.vision_tower.{*}", NULL, 0},
    {"model.multi_modal_projector.{*}", NULL, 0},
    {NULL, NULL, 0},
};
static const pair bert_all[] = {
    {"embeddings.word_embeddings.weight", "token_embd.weight", 0},
    {"embeddings.token_type_embeddings.weight", "token_types.weight", 0},
    {"embeddings.position_embeddings.weight", "position_embd.weight", 0},
    {"embeddings.LayerNorm.{s}", "token_embd_norm.{s}", 0},
    {"embeddings.position_ids", NULL, 0},
    {"encoder.layer.{n}.attention.self.query.{s}", "blk.{n}.attn_q.{s}", 0},
    {"encoder.layer.{n}.attention.self.key.{s}", "blk.{n}.attn_k.{s}", 0},
    {"encoder.layer.{n}.attention.self.value.{s}", "blk.{n}.attn_v.{s}", 0},
    {"encoder.layer.{n}.attention.output.dense.{s}", "blk.{n}.attn_output.{s}", 0},
    {"encoder.layer.{n}.attention.output.LayerNorm.{s}", "blk.{n}.attn_output_norm.{s}", 0},
    {"encoder.layer.{n}.intermediate.dense.{s}", "blk.{n}.ffn_up.{s}", 0},
    {"encoder.layer.{n}.output.dense.{s}", "blk.{n}.ffn_down.{s}", 0},
    {"encoder.layer.{n}.output.LayerNorm.{s}", "blk.{n}.layer_output_norm.{s}", 0},
    {"pooler.dense.{s}", NULL, 0},
    {"cls.predictions.{*}", NULL, 0},
    {"cls.seq_relationship.{*}", NULL, 0},
    {"classifier.{s}", "cls.{s}", 0},
    {NULL, NULL, 0},
};

typedef struct prefix { /* what some files have before the names above, and what stands there otherwise */
    const char *from, *to;
} prefix;

typedef struct map {
    const char *architecture; /* llama.cpp's name */
    const char *names;        /* the others, between spaces */
    const pair *sets[8];
    prefix prefixes[3];
} map;

static const map maps[] = {
    {"llama",
     " mistral mixtral LlamaForCausalLM MistralForCausalLM MixtralForCausalLM ",
     {decoder, head, permuted_q_k, ffn_after_norm, gated_ffn, mixtral_experts},
     {{NULL, NULL}}},
    {"qwen2", " Qwen2ForCausalLM ", {decoder, head, plain_q_k, ffn_after_norm, gated_ffn}, {{NULL, NULL}}},
    {"qwen3", " Qwen3ForCausalLM ", {decoder, head, plain_q_k, normed_q_k, ffn_after_norm, gated_ffn}, {{NULL, NULL}}},
    {"qwen2moe",
     " qwen2_moe Qwen2MoeForCausalLM ",
     {decoder, head, plain_q_k, ffn_after_norm, gated_ffn, qwen_experts, shared_expert},
     {{NULL, NULL}}},
    {"qwen3moe",
     " qwen3_moe Qwen3MoeForCausalLM ",
     {decoder, head, plain_q_k, normed_q_k, ffn_after_norm, gated_ffn, qwen_experts},
     {{NULL, NULL}}},
    {"gemma2", " Gemma2ForCausalLM ", {decoder, no_head, plain_q_k, ffn_between_norms, gated_ffn}, {{NULL, NULL}}},
    {"gemma3",
     " gemma3_text Gemma3ForCausalLM Gemma3ForConditionalGeneration ",
     {decoder, head, plain_q_k, normed_q_k, ffn_between_norms, gated_ffn, no_vision},
     {{"language_model.", ""}, {"model.language_model.", "model."}}},
    {"phi3", " Phi3ForCausalLM ", {decoder, head, ffn_after_norm, fused_phi}, {{NULL, NULL}}},
    {"bert", " BertModel BertForMaskedLM BertForSequenceClassification ", {bert_all}, {{"bert.", ""}}},
};
#define N_MAPS (sizeof maps / sizeof *maps)

static const map *find_map(const char *architecture) {
    char word[64];
    if (strchr(architecture, ' ') || (size_t)snprintf(word, sizeof word, " %s ", architecture) >= sizeof word)
        return NULL;
    for (size_t i = 0; i < N_MAPS; i++) {
        if (strcasecmp(maps[i].architecture, architecture) == 0) return &maps[i];
        for (const char *at = maps[i].names; at; at = strchr(at + 1, ' '))
            if (strncasecmp(at, word, strlen(word)) == 0) return &maps[i];
    }
    return NULL;
}

/* ---- Patterns ---- */

typedef struct caught {
    int64_t layer, expert; /* -1: the pattern has none */
    const char *suffix;    /* NULL, "weight" or "bias" */
} caught;

static int64_t read_number(const char **text) {
    const char *s = *text;
    int64_t value = 0;
    int digits = 0;
    while (s[digits] >= '0' && s[digits] <= '9' && digits < 10) value = value * 10 + (s[digits++] - '0');
    if (digits == 0 || digits == 10 || (digits > 1 && s[0] == '0')) return -1;
    *text += digits;
    return value;
}

static int fits(const char *pattern, const char *text, caught *c) {
    *c = (caught){-1, -1, NULL};
    while (*pattern) {
        if (*pattern != '{') {
            if (*pattern++ != *text++) return 0;
            continue;
        }
        char what = pattern[1];
        pattern += 3;
        if (what == '*') return 1;
        if (what == 's') {
            static const char *const suffixes[] = {"weight", "bias"};
            for (int k = 0; k < 2 && !c->suffix; k++)
                if (strncmp(text, suffixes[k], strlen(suffixes[k])) == 0) c->suffix = suffixes[k];
            if (!c->suffix) return 0;
            text += strlen(c->suffix);
        } else {
            int64_t value = read_number(&text);
            if (value < 0) return 0;
            *(what == 'n' ? &c->layer : &c->expert) = value;
        }
    }
    return *text == '\0';
}

/* 0: too long for `size`. */
static int fill(const char *pattern, const caught *c, char *out, size_t size) {
    size_t used = 0;
    while (*pattern) {
        char piece[24] = {*pattern, 0};
        if (*pattern == '{') {
            if (pattern[1] == 's')
                snprintf(piece, sizeof piece, "%s", c->suffix);
            else
                snprintf(piece, sizeof piece, "%" PRId64, pattern[1] == 'n' ? c->layer : c->expert);
            pattern += 2;
        }
        pattern++;
        size_t length = strlen(piece);
        if (used + length + 1 > size) return 0;
        memcpy(out + used, piece, length + 1);
        used += length;
    }
    if (used == 0) out[0] = '\0';
    return 1;
}

/* ---- Maps ---- */

struct qdq_gguf_names {
    const map *built_in; /* NULL: none */
    size_t n_own;
    pair *own;
};

qdq_status qdq_gguf_names_create(const char *architecture, qdq_gguf_names **names) {
    if (!names) return qdq_fail(QDQ_INVALID_ARGUMENT, "names: a NULL argument");
    const map *built_in = architecture ? find_map(architecture) : NULL;
    if (architecture && !built_in)
        return qdq_fail_advising(QDQ_ADVICE_MAP, QDQ_UNSUPPORTED,
                                 "no map of names for the architecture \"%.60s\"; there are llama (mistral, mixtral), "
                                 "qwen2, qwen3, qwen2moe, qwen3moe, gemma2, gemma3, phi3 and bert",
                                 architecture);
    *names = calloc(1, sizeof **names);
    if (!*names) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the names");
    (*names)->built_in = built_in;
    return QDQ_OK;
}

void qdq_gguf_names_free(qdq_gguf_names *names) {
    if (!names) return;
    for (size_t i = 0; i < names->n_own; i++) {
        free((char *)names->own[i].hf);
        free((char *)names->own[i].gguf);
    }
    free(names->own);
    free(names);
}

const char *qdq_gguf_names_architecture(const qdq_gguf_names *names) {
    return names->built_in ? names->built_in->architecture : NULL;
}

/* Which placeholders, as bits; -1: an unknown or repeated one, or {*} before the end. */
static int placeholders(const char *pattern) {
    int seen = 0;
    for (const char *s = pattern; *s; s++) {
        if (*s == '}') return -1;
        if (*s != '{') continue;
        static const char known[] = "nes*";
        const char *which = s[1] ? strchr(known, s[1]) : NULL;
        if (!which || s[2] != '}' || (*which == '*' && s[3])) return -1;
        int bit = 1 << (which - known);
        if (seen & bit) return -1;
        seen |= bit;
        s += 2;
    }
    return seen;
}

enum { HAS_N = 1, HAS_E = 2, HAS_S = 4, HAS_REST = 8 };

static const char *check_pair(const char *hf, const char *gguf, const char *third, qdq_permute *permute) {
    int a = placeholders(hf), b = gguf ? placeholders(gguf) : 0;
    if (a < 0 || b < 0) return "a placeholder is {n}, {e} or {s}, once a name, or {*} at its end";
    if (b & HAS_E) return "{e} stands on GGUF's side; experts are slices of one tensor there";
    if (gguf && ((a | b) & HAS_REST)) return "{*} is for names that are dropped (\"-\")";
    if (gguf && (a & ~HAS_E) != b) return "a placeholder stands on one side only";
    *permute = QDQ_PERMUTE_NONE;
    if (!third) return NULL;
    if (!gguf) return "a third word after \"-\"";
    if (strcmp(third, "permute-q") == 0)
        *permute = QDQ_PERMUTE_Q;
    else if (strcmp(third, "permute-k") == 0)
        *permute = QDQ_PERMUTE_K;
    else
        return "the third word must be permute-q or permute-k";
    return NULL;
}

/* Cuts a line into at most 4 words. */
static size_t split_line(char *line, char *words[4]) {
    size_t n = 0;
    for (char *at; n < 4 && (at = qdq_next_word(&line, " \t\r")) != NULL;) words[n++] = at;
    return n;
}

static qdq_status add_line(pair *into, const char *path, size_t number, char *line) {
    char *words[4] = {NULL};
    size_t n = split_line(line, words);
    if (n < 2 || n > 3)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s:%zu: %zu words; a line is a Hugging Face name, a GGUF name or \"-\", and perhaps "
                        "permute-q or permute-k",
                        path, number, n);
    const char *gguf = strcmp(words[1], "-") == 0 ? NULL : words[1];
    const char *wrong = check_pair(words[0], gguf, words[2], &into->permute);
    if (wrong) return qdq_fail(QDQ_BAD_DATA, "%s:%zu: %s", path, number, wrong);
    into->hf = strdup(words[0]);
    into->gguf = gguf ? strdup(gguf) : NULL;
    if (!into->hf || (gguf && !into->gguf)) {
        free((char *)into->hf);
        free((char *)into->gguf);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the names");
    }
    return QDQ_OK;
}

qdq_status qdq_gguf_names_add(qdq_gguf_names *names, const char *path, const char *text, size_t length) {
    if (!names || !path || (length && !text)) return qdq_fail(QDQ_INVALID_ARGUMENT, "names: a NULL argument");
    size_t lines = 1, old = names->n_own;
    for (size_t i = 0; i < length; i++) {
        lines += text[i] == '\n';
        if (text[i] == '\0') return qdq_fail(QDQ_BAD_DATA, "%s:%zu: a NUL byte; a map is text", path, lines);
    }
    pair *own = realloc(names->own, (old + lines) * sizeof *own);
    char *copy = malloc(length + 1);
    if (own) names->own = own;
    if (!own || !copy) {
        free(copy);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the names");
    }
    if (length) memcpy(copy, text, length);
    copy[length] = '\0';

    qdq_status status = QDQ_OK;
    size_t number = 0;
    for (char *line = copy, *end; line && status == QDQ_OK; line = end ? end + 1 : NULL) {
        end = strchr(line, '\n');
        if (end) *end = '\0';
        number++;
        size_t blank = strspn(line, " \t\r");
        if (line[blank] == '\0' || line[blank] == '#') continue;
        status = add_line(&own[names->n_own], path, number, line);
        if (status == QDQ_OK) names->n_own++;
    }
    free(copy);
    return status;
}

/* ---- Both ways ---- */

static qdq_status give_gguf(const pair *p, const caught *c, const char *hf, qdq_gguf_name *gguf) {
    *gguf = (qdq_gguf_name){.expert = c->expert < 0 ? QDQ_NO_EXPERT : c->expert, .permute = p->permute};
    if (!p->gguf) return QDQ_OK;
    if (!fill(p->gguf, c, gguf->name, sizeof gguf->name) || strlen(gguf->name) > 63)
        return qdq_fail(QDQ_UNSUPPORTED, "%.200s: its GGUF name \"%.80s\" has more than 63 bytes, which readers refuse",
                        hf, gguf->name);
    return QDQ_OK;
}

/* The pair that the name fits on one side, or NULL. */
static const pair *find_pair(const qdq_gguf_names *names, const char *name, int from_gguf, caught *c) {
    for (size_t i = 0; i < names->n_own; i++) {
        const char *pattern = from_gguf ? names->own[i].gguf : names->own[i].hf;
        if (pattern && fits(pattern, name, c)) return &names->own[i];
    }
    for (size_t k = 0; names->built_in && k < 8 && names->built_in->sets[k]; k++)
        for (const pair *p = names->built_in->sets[k]; p->hf; p++) {
            const char *pattern = from_gguf ? p->gguf : p->hf;
            if (pattern && fits(pattern, name, c)) return p;
        }
    return NULL;
}

static qdq_status unknown(const qdq_gguf_names *names, const char *name, const char *side) {
    const char *architecture = qdq_gguf_names_architecture(names);
    return qdq_fail_advising(QDQ_ADVICE_MAP, QDQ_UNSUPPORTED, "%.200s: no %s name is known for it%s%s", name, side,
                             architecture ? " in the map of " : "", architecture ? architecture : "");
}

qdq_status qdq_gguf_names_to_gguf(const qdq_gguf_names *names, const char *hf, qdq_gguf_name *gguf) {
    if (!names || !hf || !gguf) return qdq_fail(QDQ_INVALID_ARGUMENT, "names: a NULL argument");
    caught c;
    const pair *p = find_pair(names, hf, 0, &c);
    if (p) return give_gguf(p, &c, hf, gguf);
    for (const prefix *x = names->built_in ? names->built_in->prefixes : NULL; x && x->from; x++) {
        char plain[QDQ_NAME_MAX];
        size_t skip = strlen(x->from);
        if (strncmp(hf, x->from, skip) != 0 ||
            (size_t)snprintf(plain, sizeof plain, "%s%s", x->to, hf + skip) >= sizeof plain)
            continue;
        p = find_pair(names, plain, 0, &c);
        if (p) return give_gguf(p, &c, hf, gguf);
    }
    return unknown(names, hf, "GGUF");
}

qdq_status qdq_gguf_names_to_hf(const qdq_gguf_names *names, const char *gguf, int64_t expert, char hf[QDQ_NAME_MAX]) {
    if (!names || !gguf || !hf) return qdq_fail(QDQ_INVALID_ARGUMENT, "names: a NULL argument");
    caught c;
    const pair *p = find_pair(names, gguf, 1, &c);
    if (!p) return unknown(names, gguf, "Hugging Face");
    int stacked = (placeholders(p->hf) & HAS_E) != 0;
    if (stacked != (expert >= 0))
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        stacked ? "%.200s is a stack of experts: name one" : "%.200s is no stack of experts", gguf);
    c.expert = expert;
    if (!fill(p->hf, &c, hf, QDQ_NAME_MAX))
        return qdq_fail(QDQ_UNSUPPORTED, "%.200s: its Hugging Face name has more than %d bytes", gguf,
                        QDQ_NAME_MAX - 1);
    return QDQ_OK;
}

/* ---- Parts of a GGUF name ---- */

void qdq_name_parts(const char *gguf, int64_t *layer, char kind[QDQ_NAME_MAX]) {
    *layer = -1;
    if (strncmp(gguf, "blk.", 4) == 0) {
        const char *at = gguf + 4;
        int64_t n = read_number(&at);
        if (n >= 0 && *at == '.') {
            *layer = n;
            gguf = at + 1;
        }
    }
    size_t length = strnlen(gguf, QDQ_NAME_MAX - 1);
    memcpy(kind, gguf, length);
    kind[length] = '\0';
    static const char *const suffixes[] = {".weight", ".bias"};
    for (int k = 0; k < 2; k++) {
        size_t n = strlen(suffixes[k]);
        if (length > n && strcmp(kind + length - n, suffixes[k]) == 0) {
            kind[length - n] = '\0';
            return;
        }
    }
}

int qdq_name_in_mlx(const char *hf, char path[QDQ_NAME_MAX]) {
    static const char suffix[] = ".weight", experts[] = ".experts.";
    size_t length = strlen(hf), end = sizeof suffix - 1;
    if (length <= end || length >= QDQ_NAME_MAX || strcmp(hf + length - end, suffix) != 0) return 0;
    memcpy(path, hf, length - end);
    path[length - end] = '\0';
    char *at = strstr(path, experts);
    if (!at) return 1;
    const char *part = at + sizeof experts - 1;
    if (read_number(&part) < 0 || *part++ != '.') return 1;
    static const char *const mixtral[][2] = {{"w1", "gate_proj"}, {"w2", "down_proj"}, {"w3", "up_proj"}};
    char last[QDQ_NAME_MAX];
    snprintf(last, sizeof last, "%s", part);
    for (size_t k = 0; k < 3; k++)
        if (strcmp(last, mixtral[k][0]) == 0) snprintf(last, sizeof last, "%s", mixtral[k][1]);
    size_t before = (size_t)(at - path);
    return (size_t)snprintf(at, QDQ_NAME_MAX - before, ".switch_mlp.%s", last) < QDQ_NAME_MAX - before;
}

int qdq_name_group(qdq_group_preset preset, const char *gguf, char label[QDQ_NAME_MAX]) {
    static const struct {
        qdq_group_preset preset;
        const char *kind, *group;
    } members[] = {
        {QDQ_GROUP_QKV, "attn_q", "attn_qkv"},
        {QDQ_GROUP_QKV, "attn_k", "attn_qkv"},
        {QDQ_GROUP_QKV, "attn_v", "attn_qkv"},
        {QDQ_GROUP_GATE_UP, "ffn_gate", "ffn_gate_up"},
        {QDQ_GROUP_GATE_UP, "ffn_up", "ffn_gate_up"},
        {QDQ_GROUP_GATE_UP, "ffn_gate_exps", "ffn_gate_up_exps"},
        {QDQ_GROUP_GATE_UP, "ffn_up_exps", "ffn_gate_up_exps"},
        {QDQ_GROUP_GATE_UP, "ffn_gate_shexp", "ffn_gate_up_shexp"},
        {QDQ_GROUP_GATE_UP, "ffn_up_shexp", "ffn_gate_up_shexp"},
        {QDQ_GROUP_EXPERTS, "ffn_gate_exps", "ffn_exps"},
        {QDQ_GROUP_EXPERTS, "ffn_up_exps", "ffn_exps"},
        {QDQ_GROUP_EXPERTS, "ffn_down_exps", "ffn_exps"},
    };
    int64_t layer;
    char kind[QDQ_NAME_MAX];
    qdq_name_parts(gguf, &layer, kind);
    if (layer < 0) return 0;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (members[i].preset == preset && strcmp(members[i].kind, kind) == 0) {
            snprintf(label, QDQ_NAME_MAX, "blk.%" PRId64 ".%s", layer, members[i].group);
            return 1;
        }
    return 0;
}
