#include "model/mixtures.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* ---- The order of tensors --------------------------------------------------------------------------------------- */

/* The number that `sscanf(name, "blk.%d.", …)` finds; false: none. */
static bool layer_of(const char *name, int *layer) { return sscanf(name, "blk.%9d", layer) == 1; }

int qdq_rules_compare(const char *a, const char *b) {
    int layer_a = -1, layer_b = -1;
    layer_of(a, &layer_a);
    layer_of(b, &layer_b);
    if (layer_a != layer_b) return layer_a < layer_b ? -1 : 1;
    return strcmp(a, b);
}

/* ---- The rules -------------------------------------------------------------------------------------------------- */

/* What a tensor is, told by its name. */
enum {
    OUTPUT = 1,    /* output.weight, and the embedding where there is none */
    EMBEDDING = 2, /* token_embd, per_layer_token_embd */
    VALUES = 4,    /* attn_v, and what holds it beside others: attn_qkv, attn_kv_b */
    KEYS = 8,
    QUERIES = 16,
    ATTENTION_OUT = 32,
    UP = 64,
    GATE = 128,
    DOWN = 256,
    OTHER = 512,
    FEED_FORWARD = UP | GATE | DOWN,
    ANY = 1023
};

static uint32_t kind_of(const char *name) {
    static const struct {
        const char *part;
        uint32_t kind;
    } parts[] = {{"attn_qkv.weight", VALUES},
                 {"attn_kv_b.weight", VALUES},
                 {"attn_v.weight", VALUES},
                 {"attn_k.weight", KEYS},
                 {"attn_q.weight", QUERIES},
                 {"attn_output.weight", ATTENTION_OUT},
                 {"ffn_up", UP},
                 {"ffn_gate", GATE},
                 {"ffn_down", DOWN}};
    if (strcmp(name, "output.weight") == 0) return OUTPUT;
    if (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0) return EMBEDDING;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i].part) != NULL) return parts[i].kind;
    return OTHER;
}

/* Facts of a tensor and its model. I is the tensor's layer, or its place among its kind; N the number of these. */
enum {
    GQA_4 = 1,         /* 4 query heads or more for each head of values */
    GQA_OR_MOE_4 = 2,  /* that, or 4 experts or more */
    EXPERTS_8 = 4,     /* 8 experts */
    FALCON = 8,        /* the architecture */
    MATRIX = 16,       /* an importance matrix is given */
    FIRST_EIGHTH = 32, /* I < N / 8 */
    FIRST_SIXTEENTH = 64,
    MIDDLE = 128,    /* N / 8 <= I < 7 N / 8 */
    MORE_BITS = 256, /* the first and the last eighth, and each third layer between */
    FIRST_TWO = 512, /* I < 2 */
    FIRST_FOUR = 1024,
    STACKED = 2048,  /* three dimensions, as stacked experts have */
    UNEVEN = 4096,   /* the row is no multiple of the base type's block */
    GLM_FINE = 8192, /* a tensor of glm5-next that is never below q8_0 */
    BAILING = 16384  /* bailingmoe3, of which not all stacks are experts */
};

static const struct {
    uint32_t fact;
    const char *is, *is_not; /* NULL: goes without saying */
} words[] = {
    {GQA_4, "4 or more query heads share a head of values", NULL},
    {GQA_OR_MOE_4, "4 or more query heads share a head of values, or 4 or more experts", NULL},
    {EXPERTS_8, "8 experts", NULL},
    {FALCON, "falcon", NULL},
    {MATRIX, "with an importance matrix", "without an importance matrix"},
    {FIRST_EIGHTH, "the first eighth of the layers", NULL},
    {FIRST_SIXTEENTH, "the first sixteenth of the layers", NULL},
    {MIDDLE, "the middle layers", NULL},
    {MORE_BITS, "the first or last eighth of the layers or every third", NULL},
    {FIRST_TWO, "the first two", NULL},
    {FIRST_FOUR, "the first four", NULL},
    {STACKED, "stacked experts", NULL},
    {UNEVEN, "rows that are no multiple of the base type's block", NULL},
    {GLM_FINE, "of glm5-next", NULL},
};

#define P(name) (UINT64_C(1) << QDQ_FILE_##name)
/* Below 3 bits llama-quantize has a table of its own. */
#define LOW     (P(IQ1_S) | P(IQ1_M) | P(IQ2_XXS) | P(IQ2_XS) | P(IQ2_S) | P(IQ2_M))
#define ALL     (~UINT64_C(0))
#define HIGH    (ALL & ~LOW)

/* The first row that fits a tensor has its type; where none does, it is the base type. `need`: facts that must hold;
 * `not`: facts that must not. */
static const struct {
    uint64_t presets;
    uint32_t kinds, need, not ;
    const char *type;
} rules[] = {
    {ALL, ANY, GLM_FINE, 0, "q8_0"},

    {P(MXFP4_MOE), OUTPUT, 0, 0, "q8_0"},
    {ALL, OUTPUT, FALCON, 0, "q8_0"},
    {ALL, OUTPUT, UNEVEN, 0, "q8_0"},
    {LOW | P(IQ3_XXS), OUTPUT, 0, 0, "q5_K"},
    {ALL & ~P(Q8_0), OUTPUT, 0, 0, "q6_K"},

    {P(MXFP4_MOE), FEED_FORWARD, STACKED, 0, "mxfp4"},
    {P(MXFP4_MOE), ANY, STACKED, BAILING, "mxfp4"},
    {P(MXFP4_MOE), ANY, 0, 0, "q8_0"},

    {P(IQ2_XXS) | P(IQ2_XS) | P(IQ1_S) | P(IQ1_M), EMBEDDING, 0, 0, "q2_K"},
    {P(IQ2_S) | P(IQ2_M) | P(IQ3_XXS), EMBEDDING, 0, 0, "iq3_s"},
    {P(TQ1_0) | P(TQ2_0) | P(Q2_0), EMBEDDING, 0, 0, "q4_K"},

    {LOW, VALUES, GQA_OR_MOE_4, 0, "q4_K"},
    {P(IQ2_S) | P(IQ2_M), VALUES, 0, 0, "iq3_s"},
    {LOW, VALUES, 0, 0, "q2_K"},
    {LOW, KEYS, EXPERTS_8, 0, "q4_K"},
    {P(IQ2_S) | P(IQ2_M), DOWN, FIRST_EIGHTH, 0, "iq3_s"},
    {LOW, DOWN, FIRST_EIGHTH, 0, "q2_K"},
    {LOW, ATTENTION_OUT, EXPERTS_8, 0, "q5_K"},
    {P(IQ1_S) | P(IQ1_M), ATTENTION_OUT, 0, 0, "iq2_xxs"},
    {P(IQ2_S) | P(IQ2_M), ATTENTION_OUT, 0, 0, "iq3_s"},

    {HIGH, VALUES | KEYS, EXPERTS_8, 0, "q8_0"},

    {P(Q2_K) | P(Q2_K_S) | P(IQ3_XXS) | P(IQ3_XS) | P(IQ3_S), VALUES, GQA_4, 0, "q4_K"},
    {P(Q2_K), VALUES, 0, 0, "q3_K"},
    {P(IQ3_XXS), VALUES, 0, MATRIX, "iq3_s"},
    {P(IQ3_M), VALUES, 0, 0, "q4_K"},
    {P(Q3_K_M), VALUES, FIRST_TWO, 0, "q5_K"},
    {P(Q3_K_M), VALUES, 0, 0, "q4_K"},
    {P(Q3_K_L), VALUES, 0, 0, "q5_K"},
    {P(IQ4_NL) | P(IQ4_XS), VALUES, GQA_4, 0, "q5_K"},
    {P(Q4_K_M) | P(Q5_K_M), VALUES, MORE_BITS, 0, "q6_K"},
    {P(Q4_K_S), VALUES, FIRST_FOUR, 0, "q5_K"},

    {P(IQ3_XS), KEYS | QUERIES, 0, 0, "iq3_xxs"},
    {P(IQ3_XXS), KEYS | QUERIES, 0, 0, "iq2_s"},

    {P(Q2_K), DOWN, 0, 0, "q3_K"},
    {P(Q2_K_S), DOWN, FIRST_EIGHTH, 0, "q4_K"},
    {P(IQ3_XXS), DOWN, FIRST_EIGHTH, MATRIX, "q4_K"},
    {P(IQ3_XXS), DOWN, 0, MATRIX, "q3_K"},
    {P(Q3_K_M), DOWN, FIRST_SIXTEENTH, 0, "q5_K"},
    {P(Q3_K_M), DOWN, 0, FALCON, "q4_K"},
    {P(Q3_K_M), DOWN, MORE_BITS, 0, "q4_K"},
    {P(IQ3_M), DOWN, FIRST_EIGHTH, 0, "q4_K"},
    {P(IQ3_M), DOWN, EXPERTS_8 | MORE_BITS, 0, "q4_K"},
    {P(Q3_K_L), DOWN, FALCON, 0, "q4_K"},
    {P(Q3_K_L), DOWN, 0, 0, "q5_K"},
    {P(Q4_K_M), DOWN, FALCON | FIRST_SIXTEENTH, 0, "q6_K"},
    {P(Q4_K_M), DOWN, FALCON | MORE_BITS, 0, "q5_K"},
    {P(Q4_K_M), DOWN, MORE_BITS, FALCON, "q6_K"},
    {P(IQ4_NL) | P(IQ4_XS), DOWN, FIRST_EIGHTH, MATRIX, "q5_K"},
    {P(Q5_K_M), DOWN, MORE_BITS, 0, "q6_K"},
    {P(Q4_K_S), DOWN, FIRST_EIGHTH, FALCON, "q5_K"},
    {P(Q4_0), DOWN, FIRST_EIGHTH | MATRIX, 0, "q4_1"},
    {P(Q5_0), DOWN, FIRST_EIGHTH | MATRIX, 0, "q5_1"},

    {P(Q2_K) | P(IQ3_XS) | P(IQ3_XXS) | P(Q3_K_S) | P(Q3_K_M) | P(IQ4_NL) | P(Q4_K_S) | P(Q4_K_M) | P(IQ3_S) |
         P(IQ3_M) | P(IQ4_XS),
     ATTENTION_OUT, EXPERTS_8, FALCON, "q5_K"},
    {P(Q2_K), ATTENTION_OUT, 0, FALCON | EXPERTS_8, "q3_K"},
    {P(IQ3_XXS), ATTENTION_OUT, 0, FALCON | EXPERTS_8, "iq3_s"},
    {P(Q3_K_M) | P(IQ3_M), ATTENTION_OUT, 0, FALCON | EXPERTS_8, "q4_K"},
    {P(Q3_K_L), ATTENTION_OUT, 0, FALCON | EXPERTS_8, "q5_K"},
    {P(Q3_K_L), ATTENTION_OUT, FALCON, 0, "q4_K"},

    {P(IQ3_XS), UP | GATE, MIDDLE, 0, "iq3_xxs"},
};

/* Tensors of glm5-next that llama-quantize keeps as they are, and those that it keeps fine. */
static const char *const glm_kept[] = {"hc_",
                                       "indexer.attn_q_b",
                                       "indexer.attn_k",
                                       "indexer.proj",
                                       "indexer_compressor_gate",
                                       "indexer_compressor_ape",
                                       "ssm_f_a.weight",
                                       "ssm_f_b.weight",
                                       "ssm_g_a.weight",
                                       "ssm_g_b.weight",
                                       "ssm_beta.weight",
                                       "attn_kv_a_mqa.weight",
                                       "attn_k_b.weight",
                                       "attn_v_b.weight",
                                       NULL};
static const char *const glm_fine[] = {"attn_q_a", "attn_q_b", "nextn.eh_proj", NULL};

static const char *part_of(const char *name, const char *const *parts) {
    for (; *parts != NULL; parts++)
        if (strstr(name, *parts) != NULL) return *parts;
    return NULL;
}

/* ---- Walking through a model ------------------------------------------------------------------------------------ */

/* How many tensors of a kind have come so far. */
typedef struct walk {
    const qdq_mixture_wish *wish;
    const qdq_rules_model *model;
    bool tied; /* no output.weight: the embedding is the output */
    bool low, is_glm, is_bailing;
    int n_values, values, down, gate, up;
} walk;

static bool more_bits(int i, int n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

static uint32_t place_facts(int i, int n) {
    return (i < n / 8 ? FIRST_EIGHTH : 0u) | (i < n / 16 ? FIRST_SIXTEENTH : 0u) |
           (i >= n / 8 && i < 7 * n / 8 ? MIDDLE : 0u) | (more_bits(i, n) ? MORE_BITS : 0u) | (i < 2 ? FIRST_TWO : 0u) |
           (i < 4 ? FIRST_FOUR : 0u);
}

/* The layer of a feed-forward tensor: its place among its kind, or, since models with experts can have several to a
 * layer, what its name says. */
static qdq_status feed_forward_layer(const walk *w, const char *name, int count, int *layer) {
    *layer = count;
    if (w->low || w->model->experts <= 1) return QDQ_OK;
    if (!layer_of(name, layer))
        return qdq_fail(QDQ_UNSUPPORTED,
                        "its name has no layer (blk.N.), without which llama-quantize does not mix types in a model "
                        "with experts");
    if (*layer < 0 || (uint32_t)*layer >= w->model->layers)
        return qdq_fail(QDQ_UNSUPPORTED, "its layer is %d, and the metadata have %u: llama-quantize stops here", *layer,
                        w->model->layers);
    return QDQ_OK;
}

static qdq_status facts_of(walk *w, const qdq_ggml_tensor *t, uint32_t kind, uint32_t *facts) {
    const qdq_rules_model *m = w->model;
    const qdq_ggml_type *base = qdq_ggml_type_by_id(w->wish->preset->type);
    bool gqa = m->heads_per_kv >= 4;
    *facts = (gqa ? GQA_4 : 0u) | (gqa || m->experts >= 4 ? GQA_OR_MOE_4 : 0u) | (m->experts == 8 ? EXPERTS_8 : 0u) |
             (strcmp(m->architecture, "falcon") == 0 ? FALCON : 0u) | (w->wish->has_imatrix ? MATRIX : 0u) |
             (t->ne[2] > 1 ? STACKED : 0u) | (t->ne[0] % base->block_elements != 0 ? UNEVEN : 0u) |
             (w->is_glm && part_of(t->name, glm_fine) != NULL ? GLM_FINE : 0u) | (w->is_bailing ? BAILING : 0u);
    if (w->wish->preset->file_type == QDQ_FILE_MXFP4_MOE || (*facts & GLM_FINE) != 0) return QDQ_OK; /* count nothing */
    int *count = kind == DOWN ? &w->down : kind == GATE ? &w->gate : kind == UP ? &w->up : NULL, layer;
    if (kind == VALUES) *facts |= place_facts(w->values++, w->n_values);
    if (count == NULL) return QDQ_OK;
    qdq_status status = feed_forward_layer(w, t->name, *count, &layer);
    if (status != QDQ_OK) return status;
    *facts |= place_facts(layer, (int)m->layers);
    ++*count;
    return QDQ_OK;
}

static void append(char *text, size_t size, const char *word) {
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", word);
}

/* What a rule goes by: the kind only where the tensor's name does not say it, or there is nothing else. */
static void explain(const char *name, uint32_t kind, uint32_t need, uint32_t not, qdq_mixture_choice *choice) {
    static const struct {
        uint32_t kind;
        const char *name;
    } kinds[] = {
        {OUTPUT, "output"}, {EMBEDDING, "embedding"},       {VALUES, "attn_v"}, {KEYS, "attn_k"},   {QUERIES, "attn_q"},
        {UP, "ffn_up"},     {ATTENTION_OUT, "attn_output"}, {GATE, "ffn_gate"}, {DOWN, "ffn_down"}, {OTHER, "weights"}};
    const char *is = "";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].kind == kind) is = kinds[i].name;
    choice->reason[0] = '\0';
    if (strstr(name, is) == NULL && kind != EMBEDDING) snprintf(choice->reason, sizeof choice->reason, "as %s", is);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *word = (need & words[i].fact) != 0 ? words[i].is
                           : (not &words[i].fact) != 0 ? words[i].is_not
                                                       : NULL;
        if (word != NULL) append(choice->reason, sizeof choice->reason, word);
    }
    if (choice->reason[0] == '\0') snprintf(choice->reason, sizeof choice->reason, "%s", is);
}

/* QDQ_NO_TYPE: of a format that this build does not have. */
static uint32_t id_of(const char *name) {
    const qdq_ggml_type *type = qdq_ggml_type_by_name(name, strlen(name));
    return type != NULL ? type->id : QDQ_NO_TYPE;
}

static qdq_status mix(walk *w, const qdq_ggml_tensor *t, uint32_t kind, qdq_mixture_choice *choice) {
    if (w->tied && kind == EMBEDDING) kind = OUTPUT;
    choice->rule = QDQ_RULE_MIXTURE;
    choice->type = w->wish->preset->type;
    uint32_t facts;
    qdq_status status = facts_of(w, t, kind, &facts);
    if (status != QDQ_OK) return status;
    if (kind == OUTPUT && w->wish->output_type != QDQ_NO_TYPE) {
        choice->type = w->wish->output_type;
        choice->rule = QDQ_RULE_OPTION;
        return QDQ_OK;
    }
    size_t n = sizeof rules / sizeof *rules, i = 0;
    uint64_t preset = UINT64_C(1) << w->wish->preset->file_type;
    while (i < n && ((rules[i].presets & preset) == 0 || (rules[i].kinds & kind) == 0 ||
                     (facts & rules[i].need) != rules[i].need || (facts & rules[i].not ) != 0))
        i++;
    if (i < n) {
        choice->type = id_of(rules[i].type);
        if (choice->type == QDQ_NO_TYPE)
            return qdq_fail(QDQ_UNSUPPORTED, "the mixture gives it %s, which this build does not have", rules[i].type);
        explain(t->name, kind, rules[i].need, rules[i].not, choice);
    }
    /* Of 70 thousand million weights attn_v is a small part. */
    if (kind == VALUES && w->model->is_70b && !w->low && preset != P(MXFP4_MOE) &&
        (choice->type == id_of("q3_K") || choice->type == id_of("q4_K"))) {
        choice->type = id_of("q5_K");
        snprintf(choice->reason, sizeof choice->reason, "a model of 70B");
    }
    return QDQ_OK;
}

const char *qdq_mixture_keeps(qdq_rules_revision revision, const char *architecture, const qdq_ggml_tensor *t) {
    const char *why = NULL;
    if (!qdq_rules_quantizes(t, &why) || !qdq_rules_have(revision, QDQ_CHANGE_GLM5_NEXT)) return why;
    return strcmp(architecture, "glm5-next") == 0 ? part_of(t->name, glm_kept) : NULL;
}

/* Its own type, by a rule that is no rule of the mixture; false: the rules decide. */
static bool is_kept(const walk *w, const qdq_ggml_tensor *t, qdq_mixture_choice *choice) {
    const char *why = NULL;
    if (w->wish->any_name) return false;
    if (w->wish->leave_output && strcmp(t->name, "output.weight") == 0)
        why = "as is wished for the output";
    else
        why = qdq_mixture_keeps(w->wish->revision, w->model != NULL ? w->model->architecture : "", t);
    if (why == NULL) return false;
    choice->type = choice->wanted = t->type;
    choice->rule = QDQ_RULE_COPIED;
    snprintf(choice->reason, sizeof choice->reason, "%s", why);
    return true;
}

/* A type that --output-tensor-type or --token-embedding-type gives whatever else is said. It is not fitted to the row:
 * llama-quantize aborts then. */
static qdq_status take_option(const qdq_ggml_tensor *t, uint32_t type, qdq_mixture_choice *choice) {
    const qdq_ggml_type *wanted = qdq_ggml_type_by_id(type);
    if (wanted == NULL || !qdq_rules_writes(wanted))
        return qdq_fail(QDQ_UNSUPPORTED, "llama-quantize cannot write its type");
    if (t->ne[0] % wanted->block_elements != 0)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "its rows of %llu elements are no multiple of the block of %s, %u; ask for another type",
                        (unsigned long long)t->ne[0], wanted->name, wanted->block_elements);
    choice->type = choice->wanted = type;
    choice->rule = QDQ_RULE_OPTION;
    return QDQ_OK;
}

static qdq_status match(const walk *w, const char *name, qdq_mixture_choice *choice, bool *found) {
    uint32_t type = QDQ_NO_TYPE;
    *found = false;
    if (w->wish->overrides == NULL) return QDQ_OK;
    qdq_status status = qdq_type_file_match(w->wish->overrides, name, &choice->entry, &type);
    if (status != QDQ_OK || choice->entry == qdq_type_file_count(w->wish->overrides)) return status;
    *found = true;
    choice->type = type;
    return QDQ_OK;
}

static qdq_status choose(walk *w, const qdq_ggml_tensor *t, qdq_mixture_choice *choice) {
    const qdq_mixture_wish *wish = w->wish;
    uint32_t kind = kind_of(t->name);
    bool found;
    *choice = (qdq_mixture_choice){.rule = QDQ_RULE_BASE};
    if (is_kept(w, t, choice)) return QDQ_OK;
    qdq_status status = match(w, t->name, choice, &found);
    if (status != QDQ_OK) return status;
    bool named = found && qdq_rules_have(wish->revision, QDQ_CHANGE_NAMED_EMBEDDING) &&
                 strcmp(t->name, "per_layer_token_embd.weight") == 0;
    if (kind == EMBEDDING && wish->embedding_type != QDQ_NO_TYPE && !named)
        return take_option(t, wish->embedding_type, choice);
    if (kind == OUTPUT && wish->output_type != QDQ_NO_TYPE) return take_option(t, wish->output_type, choice);
    if (!qdq_ggml_type_is_quantized(
            qdq_ggml_type_by_id(wish->preset->type))) { /* neither patterns nor rows are looked at */
        choice->type = choice->wanted = wish->preset->type;
        return QDQ_OK;
    }
    if (found) {
        choice->rule = QDQ_RULE_PATTERN;
    } else if (wish->pure) {
        choice->type = wish->preset->type;
    } else {
        status = mix(w, t, kind, choice);
        if (status != QDQ_OK) return status;
    }
    choice->wanted = choice->type;
    status = qdq_rules_fallback(wish->revision, choice->wanted, t->ne[0], &choice->type);
    if (status != QDQ_UNSUPPORTED || !wish->keep_misfits) return status;
    choice->rule = QDQ_RULE_COPIED;
    choice->type = t->type;
    return QDQ_OK;
}

/* Of that architecture, and the rules have something for it. model: NULL: it does not matter. */
static bool is_of(const qdq_mixture_wish *wish, const qdq_rules_model *model, qdq_rules_change change,
                  const char *architecture) {
    return model != NULL && qdq_rules_have(wish->revision, change) && strcmp(model->architecture, architecture) == 0;
}

qdq_status qdq_mixture_types(const qdq_mixture_wish *wish, const qdq_rules_model *model, const qdq_ggml_tensor *tensors,
                             size_t n, qdq_mixture_choice *choices) {
    if (wish == NULL || wish->preset == NULL || (model == NULL && !wish->pure) ||
        (n > 0 && (tensors == NULL || choices == NULL)))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "mixtures: a NULL argument");
    walk w = {.wish = wish,
              .model = model,
              .tied = true,
              .low = (LOW >> wish->preset->file_type & 1) != 0,
              .is_glm = is_of(wish, model, QDQ_CHANGE_GLM5_NEXT, "glm5-next"),
              .is_bailing = is_of(wish, model, QDQ_CHANGE_BAILINGMOE3, "bailingmoe3")};
    for (size_t i = 0; i < n; i++) {
        uint32_t kind = kind_of(tensors[i].name);
        w.n_values += kind == VALUES;
        if (kind == OUTPUT) w.tied = false;
    }
    for (size_t i = 0; i < n; i++) {
        qdq_status status = choose(&w, &tensors[i], &choices[i]);
        if (status == QDQ_OK) continue;
        char why[512];
        snprintf(why, sizeof why, "%s", qdq_error_message());
        return qdq_fail(status, "tensor \"%.120s\": %s", tensors[i].name, why);
    }
    return QDQ_OK;
}
