#include "model/hyperparameters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/beside.h"
#include "files/json_reader.h"
#include "base/error.h"

enum { MOST_LAYERS = 512 }; /* that llama.cpp takes */

/* ---- config.json ------------------------------------------------------------------------------------------------ */

enum { LAYERS, HEADS, KV_HEADS, EXPERTS, EXPERTS_USED, NUMBERS };

/* Hugging Face's names of them, which differ by architecture. */
static const struct {
    const char *key;
    int number;
} keys[] = {{"num_hidden_layers", LAYERS},        {"num_attention_heads", HEADS}, {"num_key_value_heads", KV_HEADS},
            {"num_local_experts", EXPERTS},       {"num_experts", EXPERTS},       {"n_routed_experts", EXPERTS},
            {"num_experts_per_tok", EXPERTS_USED}};

/* Models of several kinds of input have the language model's in an object of its own. */
static void read_object(qdq_json_reader *r, uint64_t numbers[NUMBERS], bool outermost) {
    const char *key;
    while (qdq_json_key(r, &key)) {
        int number = NUMBERS;
        uint64_t value;
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            if (strcmp(keys[i].key, key) == 0) number = keys[i].number;
        if (outermost && strcmp(key, "text_config") == 0 && qdq_json_enter(r, '{')) {
            read_object(r, numbers, false);
        } else if (number < NUMBERS && qdq_json_whole(r, &value)) {
            if (value <= UINT32_MAX) numbers[number] = value;
        } else {
            qdq_json_skip(r);
        }
    }
}

/* What is no config.json says nothing. */
static qdq_status read_config(const qdq_model *model, uint64_t numbers[NUMBERS]) {
    char path[QDQ_BESIDE_PATH], *text;
    size_t length;
    qdq_status status = qdq_read_beside(model, "config.json", path, &text, &length);
    if (status != QDQ_OK || text == NULL) return status;
    qdq_json_reader r = {.bytes = (const uint8_t *)text, .length = length};
    if (qdq_json_enter(&r, '{')) read_object(&r, numbers, true);
    qdq_json_end(&r);
    bool memory = r.memory;
    if (r.why != NULL) memset(numbers, 0, NUMBERS * sizeof *numbers);
    qdq_json_free(&r);
    free(text);
    return memory ? qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory to read it", path) : QDQ_OK;
}

static qdq_status from_config(const qdq_selection *s, qdq_hyperparameters *h) {
    uint64_t n[NUMBERS] = {0};
    const char *architecture = s->names != NULL ? qdq_gguf_names_architecture(s->names) : NULL;
    qdq_status status = read_config(s->model, n);
    if (status != QDQ_OK) return status;
    h->experts = (uint32_t)n[EXPERTS];
    h->experts_used = (uint32_t)n[EXPERTS_USED];
    if (architecture != NULL && n[LAYERS] > 0 && n[LAYERS] <= MOST_LAYERS && n[HEADS] > 0)
        qdq_rules_model_make(architecture, (uint32_t)n[LAYERS], (uint32_t)n[EXPERTS], (uint32_t)n[HEADS],
                             (uint32_t)(n[KV_HEADS] > 0 ? n[KV_HEADS] : n[HEADS]), &h->rules);
    return QDQ_OK;
}

/* ---- Metadata --------------------------------------------------------------------------------------------------- */

static void from_metadata(const qdq_model *model, qdq_hyperparameters *h) {
    char architecture[QDQ_ARCHITECTURE];
    if (qdq_rules_model_read(model, NULL, &h->rules) != QDQ_OK) h->rules = (qdq_rules_model){0};
    if (!qdq_architecture_read(model, NULL, architecture)) return;
    qdq_architecture_number(model, NULL, architecture, "expert_count", &h->experts);
    qdq_architecture_number(model, NULL, architecture, "expert_used_count", &h->experts_used);
}

qdq_status qdq_hyperparameters_read(const qdq_selection *s, qdq_hyperparameters *read) {
    *read = (qdq_hyperparameters){0};
    if (qdq_model_layout(s->model) != QDQ_LAYOUT_GGUF) return from_config(s, read);
    from_metadata(s->model, read);
    return QDQ_OK;
}
