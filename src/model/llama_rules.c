#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/llama_rules.h"

#include <ctype.h>
#include <inttypes.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/words.h"
#include "files/sorted.h"

/* ---- Types and presets ---- */

enum {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q8_1 = 9, /* this and Q8_K: for activations */
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    Q8_K = 15,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    IQ1_M = 29,
    BF16 = 30,
    TQ1_0 = 34,
    TQ2_0 = 35,
    MXFP4 = 39,
    Q1_0 = 41,
    Q2_0 = 42
};

bool qdq_rules_writes(const qdq_ggml_type *type) {
    if (!qdq_ggml_type_is_quantized(type)) return type->id == F32 || type->id == F16 || type->id == BF16;
    return type->id != Q8_1 && type->id != Q8_K && type->id < QDQ_GGML_TYPES_END;
}

/* Of several presets with one base type, the one with the plainest mixture comes first. Q2_K before Q2_K_S, which wants
 * an importance matrix. An alias comes after what it stands for. */
static const qdq_preset presets[] = {
    {"F32", QDQ_FILE_F32, F32},          {"F16", QDQ_FILE_F16, F16},
    {"BF16", QDQ_FILE_BF16, BF16},       {"Q1_0", QDQ_FILE_Q1_0, Q1_0},
    {"Q2_0", QDQ_FILE_Q2_0, Q2_0},       {"Q4_0", QDQ_FILE_Q4_0, Q4_0},
    {"Q4_1", QDQ_FILE_Q4_1, Q4_1},       {"Q5_0", QDQ_FILE_Q5_0, Q5_0},
    {"Q5_1", QDQ_FILE_Q5_1, Q5_1},       {"Q8_0", QDQ_FILE_Q8_0, Q8_0},
    {"Q2_K", QDQ_FILE_Q2_K, Q2_K},       {"Q2_K_S", QDQ_FILE_Q2_K_S, Q2_K},
    {"Q3_K_S", QDQ_FILE_Q3_K_S, Q3_K},   {"Q3_K_M", QDQ_FILE_Q3_K_M, Q3_K},
    {"Q3_K", QDQ_FILE_Q3_K_M, Q3_K},     {"Q3_K_L", QDQ_FILE_Q3_K_L, Q3_K},
    {"Q4_K_S", QDQ_FILE_Q4_K_S, Q4_K},   {"Q4_K_M", QDQ_FILE_Q4_K_M, Q4_K},
    {"Q4_K", QDQ_FILE_Q4_K_M, Q4_K},     {"Q5_K_S", QDQ_FILE_Q5_K_S, Q5_K},
    {"Q5_K_M", QDQ_FILE_Q5_K_M, Q5_K},   {"Q5_K", QDQ_FILE_Q5_K_M, Q5_K},
    {"Q6_K", QDQ_FILE_Q6_K, Q6_K},       {"IQ1_S", QDQ_FILE_IQ1_S, IQ1_S},
    {"IQ1_M", QDQ_FILE_IQ1_M, IQ1_M},    {"IQ2_XXS", QDQ_FILE_IQ2_XXS, IQ2_XXS},
    {"IQ2_XS", QDQ_FILE_IQ2_XS, IQ2_XS}, {"IQ2_S", QDQ_FILE_IQ2_S, IQ2_XS},
    {"IQ2_M", QDQ_FILE_IQ2_M, IQ2_S},    {"IQ3_XXS", QDQ_FILE_IQ3_XXS, IQ3_XXS},
    {"IQ3_S", QDQ_FILE_IQ3_S, IQ3_S},    {"IQ3_XS", QDQ_FILE_IQ3_XS, IQ3_S},
    {"IQ3_M", QDQ_FILE_IQ3_M, IQ3_S},    {"IQ4_NL", QDQ_FILE_IQ4_NL, IQ4_NL},
    {"IQ4_XS", QDQ_FILE_IQ4_XS, IQ4_XS}, {"TQ1_0", QDQ_FILE_TQ1_0, TQ1_0},
    {"TQ2_0", QDQ_FILE_TQ2_0, TQ2_0},    {"MXFP4_MOE", QDQ_FILE_MXFP4_MOE, MXFP4},
};
#define N_PRESETS (sizeof presets / sizeof *presets)

size_t qdq_preset_count(void) { return N_PRESETS; }
const qdq_preset *qdq_preset_at(size_t index) { return &presets[index]; }

const qdq_preset *qdq_preset_by_type(uint32_t type) {
    for (size_t i = 0; i < N_PRESETS; i++)
        if (presets[i].type == type) return &presets[i];
    return NULL;
}

const qdq_preset *qdq_preset_by_name(const char *name) {
    for (size_t i = 0; i < N_PRESETS; i++)
        if (strcasecmp(presets[i].name, name) == 0) return &presets[i];
    for (size_t i = 0; i < N_PRESETS; i++) {
        char number[12];
        snprintf(number, sizeof number, "%" PRIu32, presets[i].file_type);
        if (strcmp(number, name) == 0) return &presets[i];
    }
    return NULL;
}

/* ---- Tensors ---- */

/* "Ends with weight" as llama-quantize asks it, `rfind("weight") == size - 6` in unsigned numbers: a name of 5 bytes
 * passes, since "not found" and 5 - 6 are the same number. */
static bool ends_with_weight(const char *name) {
    size_t n = strlen(name);
    return n == 5 || (n >= 6 && strcmp(name + n - 6, "weight") == 0);
}

qdq_ggml_tensor qdq_rules_tensor(const qdq_tensor *t, const char *name) {
    qdq_ggml_tensor g = {.name = name, .ne = {1, 1, 1, 1}, .type = t->ggml_type};
    for (uint32_t d = 0; d < t->n_dims && d < 4; d++) g.ne[d] = t->shape[t->n_dims - 1 - d];
    return g;
}

bool qdq_rules_quantizes(const qdq_ggml_tensor *t, const char **why) {
    static const char *const parts[] = {"_norm.weight",
                                        "ffn_gate_inp.weight",
                                        "ffn_gate_tid2eid.weight", /* norms, routers */
                                        "altup",
                                        "laurel",
                                        "per_layer_model_proj", /* gemma 3n */
                                        "ssm_conv1d",
                                        "shortconv.conv.weight", /* mamba, lfm2 */
                                        "indexer.k_proj.weight",
                                        "indexer.q_proj.weight", /* minimax */
                                        "time_mix_first.weight",
                                        "time_mix_w0.weight",
                                        "time_mix_w1.weight",
                                        "time_mix_w2.weight",
                                        "time_mix_v0.weight",
                                        "time_mix_v1.weight",
                                        "time_mix_v2.weight",
                                        "time_mix_a0.weight",
                                        "time_mix_a1.weight",
                                        "time_mix_a2.weight",
                                        "time_mix_g1.weight",
                                        "time_mix_g2.weight",
                                        "time_mix_decay_w1.weight",
                                        "time_mix_decay_w2.weight",
                                        "time_mix_lerp_fused.weight", /* rwkv */
                                        "attn_rel_b.weight",          /* t5 */
                                        ".position_embd",
                                        "sam.pos_embd",
                                        "sam.neck.",
                                        "sam.net_",
                                        ".rel_pos",
                                        ".patch_embd",
                                        ".patch_merger",
                                        "a.rvq.codebook",
                                        "mm.a.code_embd"}; /* images and sound */
    const char *reason = NULL;
    if (t->ne[1] <= 1 && t->ne[2] <= 1 && t->ne[3] <= 1)
        reason = "it has fewer than two dimensions";
    else if (!ends_with_weight(t->name))
        reason = "its name does not end with \"weight\"";
    else if (strcmp(t->name, "position_embd.weight") == 0 || strcmp(t->name, "token_types.weight") == 0)
        reason = "it is an embedding of positions or token types";
    for (size_t i = 0; !reason && i < sizeof parts / sizeof *parts; i++)
        if (strstr(t->name, parts[i])) reason = parts[i];
    if (why) *why = reason;
    return !reason;
}

qdq_status qdq_rules_fallback(qdq_rules_revision revision, uint32_t type, uint64_t ne0, uint32_t *written) {
    const qdq_ggml_type *t = qdq_ggml_type_by_id(type);
    if (!t) return qdq_fail(QDQ_INVALID_ARGUMENT, "ggml has no type %" PRIu32, type);
    *written = type;
    if (ne0 % t->block_elements == 0) return QDQ_OK;
    switch (type) {
    case IQ1_S:
    case IQ1_M:
    case IQ2_XXS:
    case IQ2_XS:
    case IQ2_S:
    case IQ3_XXS:
    case IQ3_S:
    case IQ4_XS: *written = IQ4_NL; break;
    case Q2_0:
    case Q2_K:
    case Q3_K:
    case TQ1_0:
    case TQ2_0: *written = Q4_0; break;
    case Q4_K: *written = Q5_0; break;
    case Q5_K: *written = Q5_1; break;
    case Q6_K: *written = Q8_0; break;
    default:
        if (revision >= QDQ_RULES_2026_09 && t->block_elements <= 32) break; /* below: no multiple of 32 */
        return qdq_fail(QDQ_UNSUPPORTED,
                        "rows of %" PRIu64 " elements are no multiple of %s's block of %" PRIu32
                        ", and llama-quantize has no other type to fall back to: it stops",
                        ne0, t->name, t->block_elements);
    }
    if (ne0 % 32 != 0) *written = F16;
    return QDQ_OK;
}

bool qdq_rules_needs_imatrix(const char *name, uint32_t type, uint32_t file_type) {
    if (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0 ||
        strcmp(name, "output.weight") == 0)
        return false;
    switch (type) {
    case IQ3_XXS:
    case IQ2_XXS:
    case IQ2_XS:
    case IQ2_S:
    case IQ1_M:
    case IQ1_S: return true;
    case Q2_K: return file_type == QDQ_FILE_Q2_K_S;
    default: return false;
    }
}

/* ---- Patterns that std::regex and PCRE2 read alike ---- */

typedef struct reader {
    const char *at;
    int depth;
    bool look[64];     /* is the open group a look-ahead? */
    bool quantifiable; /* is there something before, that * may repeat? */
} reader;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); } /* patterns are lower-case */
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* After a backslash. Returns what is wrong, or NULL. *kind: 'c' a character, 's' a set, 'b' a boundary. */
static const char *read_escape(reader *r, char *kind) {
    char c = *r->at;
    if (c == '\0') return "a backslash at its end";
    r->at++;
    *kind = 'c';
    if (c == 'x') {
        if (!is_hex(r->at[0]) || !is_hex(r->at[1])) return "\\x without two hexadecimal digits";
        if (r->at[0] == '0' && r->at[1] == '0') return "\\x00";
        r->at += 2;
        return NULL;
    }
    if (c == 'd' || c == 'w' || c == 's') {
        *kind = 's';
        return NULL;
    }
    if (c == 'b') {
        *kind = 'b';
        return NULL;
    }
    if (c == 'f' || c == 'n' || c == 'r' || c == 't') return NULL;
    if (is_digit(c)) return "a backreference or \\0";
    if (is_letter(c)) return "an escaped letter that is not one of d w s b f n r t x";
    return NULL;
}

static bool read_posix_class(reader *r) {
    static const char *const names[] = {"alnum", "alpha", "blank", "cntrl", "digit", "graph",
                                        "lower", "print", "punct", "space", "upper", "xdigit"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(r->at, names[i], n) == 0 && r->at[n] == ':' && r->at[n + 1] == ']') {
            r->at += n + 2;
            return true;
        }
    }
    return false;
}

/* One member of a class, up to a range's hyphen. *kind as read_escape's. */
static const char *read_member(reader *r, char *kind) {
    *kind = 'c';
    if (r->at[0] == '\0') return "a class without its ]";
    if ((unsigned char)r->at[0] >= 0x80) return "a byte over 127 in a class";
    if (r->at[0] == '[' && r->at[1] == '.') return "[. .]";
    if (r->at[0] == '[' && r->at[1] == ':') {
        r->at += 2;
        *kind = 's';
        return read_posix_class(r) ? NULL : "an unknown [:class:]";
    }
    if (r->at[0] != '\\') {
        r->at++;
        return NULL;
    }
    r->at++;
    if (r->at[0] == 'x' && r->at[1] >= '8') return "a byte over 127 in a class";
    const char *wrong = read_escape(r, kind);
    if (!wrong && *kind == 'b') return "\\b in a class";
    return wrong;
}

static const char *read_class(reader *r) {
    if (*r->at == '^') r->at++;
    if (*r->at == ']') return "an empty class, or one that begins with ]";
    for (bool first = true; *r->at != ']'; first = false) {
        char kind;
        bool hyphen = *r->at == '-';
        if (hyphen && !first && r->at[1] != ']') return "a hyphen inside a class that makes no range";
        const char *wrong = read_member(r, &kind);
        if (wrong) return wrong;
        if (*r->at != '-' || r->at[1] == ']') continue;
        if (hyphen || kind != 'c') return "a range that does not begin with a character";
        r->at++;
        if (*r->at == '-') return "a range that ends with a hyphen";
        wrong = read_member(r, &kind);
        if (wrong) return wrong;
        if (kind != 'c') return "a range that does not end with a character";
        if (*r->at == '-' && r->at[1] != ']') return "a hyphen inside a class that makes no range";
    }
    r->at++;
    return NULL;
}

static const char *read_count(reader *r) {
    long low = 0, high = 0;
    if (!is_digit(*r->at)) return "a { that begins no count";
    for (; is_digit(*r->at) && low <= 1000; r->at++) low = low * 10 + (*r->at - '0');
    high = low;
    if (*r->at == ',') {
        r->at++;
        if (is_digit(*r->at))
            for (high = 0; is_digit(*r->at) && high <= 1000; r->at++) high = high * 10 + (*r->at - '0');
    }
    if (*r->at++ != '}') return "a { that begins no count";
    if (low > 1000 || high > 1000) return "a count over 1000";
    return low > high ? "a count from more to less" : NULL;
}

static const char *read_quantifier(reader *r, char c) {
    if (!r->quantifiable) return "a quantifier with nothing to repeat";
    if (c == '{') {
        const char *wrong = read_count(r);
        if (wrong) return wrong;
    }
    if (*r->at == '?') r->at++;
    if (*r->at && strchr("*+?{", *r->at)) return "a quantifier after a quantifier";
    r->quantifiable = false;
    return NULL;
}

static const char *read_group(reader *r) {
    bool look = false;
    if (*r->at == '?') {
        r->at++;
        look = *r->at == '!'; /* (?= cannot be: a word is split at its first = */
        if (!look && *r->at != ':') return "a group that begins with (? and neither : nor !";
        r->at++;
    }
    if (r->depth == 64) return "more than 64 groups in each other";
    r->look[r->depth++] = look;
    r->quantifiable = false;
    return NULL;
}

static const char *read_one(reader *r) {
    char c = *r->at++, kind = 'c';
    const char *wrong = NULL;
    switch (c) {
    case '^':
    case '$':
    case '|': r->quantifiable = false; return NULL;
    case '(': return read_group(r);
    case ')':
        if (r->depth == 0) return "a ) without its (";
        r->quantifiable = !r->look[--r->depth];
        return NULL;
    case '*':
    case '+':
    case '?':
    case '{': return read_quantifier(r, c);
    case ']':
    case '}': return "a bare ] or }";
    case '[': wrong = read_class(r); break;
    case '\\': wrong = read_escape(r, &kind); break;
    default: break;
    }
    r->quantifiable = kind != 'b';
    return wrong;
}

/* What keeps the pattern from meaning the same to both, or NULL. */
static const char *check_pattern(const char *pattern) {
    reader r = {.at = pattern};
    while (*r.at) {
        const char *wrong = read_one(&r);
        if (wrong) return wrong;
    }
    return r.depth ? "a ( without its )" : NULL;
}

/* ---- --tensor-type and --tensor-type-file ---- */

typedef struct entry {
    pcre2_code *code;
    char *text;    /* as it was given */
    char *literal; /* the one name that it matches; NULL: it is not of that kind */
    uint32_t type;
} entry;

struct qdq_type_file {
    size_t count, room;
    entry *entries;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    /* A recipe has a line a tensor: those are looked up, and what is left is searched in turn. */
    size_t n_literals, n_others;
    qdq_name *literals; /* sorted once there is something to match; NULL: not yet */
    size_t *others;
};

void qdq_type_file_free(qdq_type_file *file) {
    if (!file) return;
    for (size_t i = 0; i < file->count; i++) {
        pcre2_code_free(file->entries[i].code);
        free(file->entries[i].text);
        free(file->entries[i].literal);
    }
    free(file->literals);
    free(file->others);
    pcre2_match_data_free(file->match);
    pcre2_match_context_free(file->limits);
    free(file->entries);
    free(file);
}

size_t qdq_type_file_count(const qdq_type_file *file) { return file->count; }
const char *qdq_type_file_entry(const qdq_type_file *file, size_t index) { return file->entries[index].text; }

qdq_status qdq_type_file_create(qdq_type_file **file) {
    if (!file) return qdq_fail(QDQ_INVALID_ARGUMENT, "tensor types: a NULL argument");
    qdq_type_file *f = calloc(1, sizeof *f);
    if (f) f->match = pcre2_match_data_create(1, NULL);
    if (f) f->limits = pcre2_match_context_create(NULL);
    if (!f || !f->match || !f->limits) {
        qdq_type_file_free(f);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the tensor types");
    }
    pcre2_set_match_limit(f->limits, 1000000);
    *file = f;
    return QDQ_OK;
}

static qdq_status compile_pattern(const char *where, const char *pattern, pcre2_code **code) {
    const char *wrong = check_pattern(pattern);
    if (wrong)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: the pattern \"%.120s\" has %s, which std::regex and this program may read differently",
                        where, pattern, wrong);
    int error;
    PCRE2_SIZE at;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", where);
    pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF);
    *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                          PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF | PCRE2_NO_AUTO_CAPTURE, &error, &at, context);
    pcre2_compile_context_free(context);
    if (*code) return QDQ_OK;
    if (error == PCRE2_ERROR_HEAP_FAILED)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for the pattern \"%.120s\"", where, pattern);
    PCRE2_UCHAR why[128];
    pcre2_get_error_message(error, why, sizeof why);
    return qdq_fail(QDQ_BAD_DATA, "%s: the pattern \"%.120s\": %s", where, pattern, (char *)why);
}

/* word: PATTERN=TYPE, which is changed. */
static qdq_status read_entry(const char *where, char *word, entry *into) {
    char *sign = strchr(word, '=');
    if (!sign)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: \"%.120s\" is not PATTERN=TYPE (there are no comments, and no spaces inside)", where,
                        word);
    *sign = '\0';
    if (sign == word) return qdq_fail(QDQ_BAD_DATA, "%s: nothing before the \"=\"", where);
    const qdq_ggml_type *type = qdq_ggml_type_by_name(sign + 1, strlen(sign + 1));
    if (!type) return qdq_fail(QDQ_BAD_DATA, "%s: ggml has no type \"%.60s\"", where, sign + 1);
    if (!qdq_rules_writes(type)) return qdq_fail(QDQ_BAD_DATA, "%s: llama-quantize cannot write %s", where, type->name);
    for (char *c = word; *c; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
    into->type = type->id;
    return compile_pattern(where, word, &into->code);
}

/* The name that "^NAME$" matches, where NAME is letters, digits, _, -, escaped characters and \xNN; NULL with *memory
 * left alone: the pattern is another. */
static char *literal_of(const char *pattern, bool *memory) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t length = strlen(pattern), used = 0;
    if (length < 2 || pattern[0] != '^' || pattern[length - 1] != '$') return NULL;
    char *name = malloc(length);
    *memory = name != NULL;
    const char *c = pattern + 1, *end = pattern + length - 1;
    while (name != NULL && c < end) {
        char hex[3] = "";
        if (strchr(plain, *c) != NULL) {
            name[used++] = *c++;
        } else if (*c == '\\' && end - c >= 2 && ispunct((unsigned char)c[1])) {
            name[used++] = c[1];
            c += 2;
        } else if (*c == '\\' && end - c >= 4 && c[1] == 'x' && isxdigit((unsigned char)c[2]) &&
                   isxdigit((unsigned char)c[3])) {
            memcpy(hex, c + 2, 2);
            name[used++] = (char)strtol(hex, NULL, 16);
            c += 4;
            if (name[used - 1] == '\0') c = end + 1; /* no name has it */
        } else {
            free(name);
            return NULL;
        }
    }
    if (name != NULL) name[used] = '\0';
    if (c > end) {
        free(name);
        return NULL;
    }
    return name;
}

static qdq_status add_entry(qdq_type_file *f, const char *where, char *word) {
    if (f->count == f->room) {
        size_t room = f->room ? 2 * f->room : 64;
        entry *entries = realloc(f->entries, room * sizeof *entries);
        if (!entries) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", where);
        f->entries = entries;
        f->room = room;
    }
    entry made = {.text = strdup(word)};
    if (!made.text) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", where);
    bool memory = true;
    qdq_status status = read_entry(where, word, &made);
    if (status == QDQ_OK) made.literal = literal_of(word, &memory);
    if (!memory) status = qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", where);
    if (status == QDQ_OK) {
        f->entries[f->count++] = made;
        free(f->literals); /* to be sorted anew */
        free(f->others);
        f->literals = NULL;
        f->others = NULL;
        return QDQ_OK;
    }
    pcre2_code_free(made.code);
    free(made.text);
    return status;
}

qdq_status qdq_type_file_add(qdq_type_file *file, const char *option, const char *word) {
    if (!file || !option || !word) return qdq_fail(QDQ_INVALID_ARGUMENT, "tensor types: a NULL argument");
    char *copy = strdup(word);
    if (!copy) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", option);
    qdq_status status = add_entry(file, option, copy);
    free(copy);
    return status;
}

qdq_status qdq_type_file_add_text(qdq_type_file *file, const char *path, const char *text, size_t length) {
    if (!file || !path || (length && !text)) return qdq_fail(QDQ_INVALID_ARGUMENT, "tensor types: a NULL argument");
    if (length && memchr(text, 0, length)) return qdq_fail(QDQ_BAD_DATA, "%s: a NUL byte; this is no text", path);
    static const char space[] = " \t\n\v\f\r"; /* isspace in the C locale, as `file >> word` skips it */
    char *copy = malloc(length + 1);
    if (!copy) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", path);
    if (length) memcpy(copy, text, length);
    copy[length] = '\0';

    qdq_status status = QDQ_OK;
    size_t number = 0;
    char *rest = copy;
    for (char *word; status == QDQ_OK && (word = qdq_next_word(&rest, space)) != NULL;) {
        char where[512];
        snprintf(where, sizeof where, "%.400s: word %zu", path, ++number);
        status = add_entry(file, where, word);
    }
    free(copy);
    return status;
}

qdq_status qdq_type_file_read(const char *path, const char *text, size_t length, qdq_type_file **file) {
    qdq_type_file *f = NULL;
    if (!path || !file) return qdq_fail(QDQ_INVALID_ARGUMENT, "tensor types: a NULL argument");
    qdq_status status = qdq_type_file_create(&f);
    if (status == QDQ_OK) status = qdq_type_file_add_text(f, path, text, length);
    if (status != QDQ_OK)
        qdq_type_file_free(f);
    else
        *file = f;
    return status;
}

/* Once nothing is added any more. */
static qdq_status sort_literals(qdq_type_file *file) {
    if (file->literals != NULL) return QDQ_OK;
    file->literals = malloc((file->count + 1) * sizeof *file->literals);
    file->others = malloc((file->count + 1) * sizeof *file->others);
    if (file->literals == NULL || file->others == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "tensor types: out of memory");
    file->n_literals = file->n_others = 0;
    for (size_t i = 0; i < file->count; i++)
        if (file->entries[i].literal != NULL)
            file->literals[file->n_literals++] = (qdq_name){file->entries[i].literal, i};
        else
            file->others[file->n_others++] = i;
    qdq_sorted_sort(file->literals, file->n_literals);
    return QDQ_OK;
}

static qdq_status matches(const qdq_type_file *file, size_t i, const char *name, bool *found) {
    int code = pcre2_match(file->entries[i].code, (PCRE2_SPTR)name, strlen(name), 0, 0, file->match, file->limits);
    *found = code >= 0;
    if (code >= 0 || code == PCRE2_ERROR_NOMATCH) return QDQ_OK;
    if (code == PCRE2_ERROR_NOMEMORY)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory to search %.120s for pattern %zu", name, i + 1);
    PCRE2_UCHAR why[128];
    pcre2_get_error_message(code, why, sizeof why);
    return qdq_fail(QDQ_UNSUPPORTED, "%.120s: the search for pattern %zu was given up: %s", name, i + 1, (char *)why);
}

qdq_status qdq_type_file_match(qdq_type_file *file, const char *name, size_t *index, uint32_t *type) {
    qdq_status status = sort_literals(file);
    if (status != QDQ_OK) return status;
    const qdq_name *literal = qdq_sorted_find(file->literals, file->n_literals, name);
    size_t first = literal != NULL ? (size_t)literal->index : file->count;
    for (size_t k = 0; k < file->n_others && file->others[k] < first; k++) {
        bool found;
        status = matches(file, file->others[k], name, &found);
        if (status != QDQ_OK) return status;
        if (found) first = file->others[k];
    }
    *index = first;
    if (first < file->count) *type = file->entries[first].type;
    return QDQ_OK;
}

/* ---- All of it ---- */

qdq_status qdq_rules_type(const qdq_preset *preset, bool pure, qdq_type_file *file, const qdq_ggml_tensor *tensor,
                          uint32_t *type, qdq_rule *rule) {
    if (!preset || !tensor || !type || !rule) return qdq_fail(QDQ_INVALID_ARGUMENT, "rules: a NULL argument");
    if (!qdq_rules_quantizes(tensor, NULL)) {
        *type = tensor->type;
        *rule = QDQ_RULE_COPIED;
        return QDQ_OK;
    }
    uint32_t wanted = preset->type;
    *rule = pure ? QDQ_RULE_BASE : QDQ_RULE_MIXTURE;
    if (!qdq_ggml_type_is_quantized(qdq_ggml_type_by_id(preset->type))) { /* the file is not even looked at */
        *rule = QDQ_RULE_BASE;
        *type = wanted;
        return QDQ_OK;
    }
    if (file) {
        size_t index;
        qdq_status status = qdq_type_file_match(file, tensor->name, &index, &wanted);
        if (status != QDQ_OK) return status;
        if (index < file->count) *rule = QDQ_RULE_PATTERN;
    }
    qdq_status status = qdq_rules_fallback(QDQ_RULES_NEWEST, wanted, tensor->ne[0], type);
    if (status == QDQ_OK) return QDQ_OK;
    char why[512];
    snprintf(why, sizeof why, "%s", qdq_error_message());
    return qdq_fail(status, "%.120s: %s", tensor->name, why);
}
