#include "model/rules_model.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* The number of the first layer, where the file has an array with one for each; *value stays where it has none. */
static void read_first(const qdq_model *model, const qdq_kv_list *overrides, const char *architecture, const char *name,
                       uint32_t *value) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    const qdq_kv *kv = qdq_model_find_kv(model, key);
    uint32_t type;
    uint64_t count;
    const uint8_t *elements;
    if (kv == NULL) return; /* llama.cpp does not look at overrides of a key that is missing */
    if (!qdq_kv_array(kv, &type, &count, &elements)) {
        qdq_architecture_number(model, overrides, architecture, name, value);
        return;
    }
    if (count == 0 || (type != QDQ_KV_U32 && type != QDQ_KV_I32)) return;
    qdq_kv first = {.key = key, .value = elements, .bytes = 4, .type = type};
    uint64_t number;
    if (qdq_kv_u64(&first, &number)) *value = (uint32_t)number;
}

static bool is_any(const char *name, const char *const *names) {
    for (; *names != NULL; names++)
        if (strcmp(name, *names) == 0) return true;
    return false;
}

/* The architectures of which llama.cpp takes some size for its "70B". */
static bool is_70b(const qdq_rules_model *m, uint32_t layers, uint32_t heads, uint32_t kv_heads) {
    static const char *const llama[] = {"llama", "llama-embed", NULL}, *const by_layers[] = {"qwen2", "deci", "olmo",
                                                                                             NULL};
    if (strcmp(m->architecture, "jais2") == 0) return layers == 68;
    if (layers != 80) return false;
    return is_any(m->architecture, by_layers) ||
           (is_any(m->architecture, llama) && m->experts != 8 && heads != kv_heads);
}

void qdq_rules_model_make(const char *architecture, uint32_t layers, uint32_t experts, uint32_t heads,
                          uint32_t kv_heads, qdq_rules_model *facts) {
    qdq_rules_model m = {.layers = layers, .experts = experts, .heads_per_kv = kv_heads == 0 ? 0 : heads / kv_heads};
    snprintf(m.architecture, sizeof m.architecture, "%s", architecture);
    m.is_70b = is_70b(&m, layers, heads, kv_heads);
    *facts = m;
}

qdq_status qdq_rules_model_read(const qdq_model *model, const qdq_kv_list *overrides, qdq_rules_model *facts) {
    static const char *const no_experts_of_one[] = {"hunyuan-dense", "hunyuan_vl", NULL};
    qdq_rules_model m = {0};
    if (!qdq_architecture_read(model, overrides, m.architecture))
        return qdq_fail(QDQ_BAD_DATA,
                        "the metadata have no general.architecture, by which llama-quantize's mixtures go");
    uint32_t heads = 0, nextn = 0, loops = 1;
    const char *a = m.architecture;
    if (strcmp(a, "clip") == 0) { /* llama.cpp reads none of its numbers */
        *facts = m;
        return QDQ_OK;
    }
    qdq_architecture_number(model, overrides, a, "block_count", &m.layers);
    if (m.layers == 0 || m.layers > 512)
        return qdq_fail(QDQ_BAD_DATA,
                        "the metadata have no %s.block_count from 1 to 512, by which llama-quantize's mixtures go", a);
    qdq_architecture_number(model, overrides, a, "nextn_predict_layers", &nextn);
    qdq_architecture_number(model, overrides, a, "expert_count", &m.experts);
    if (is_any(a, no_experts_of_one) && m.experts <= 1) m.experts = 0;
    read_first(model, overrides, a, "attention.head_count", &heads);
    uint32_t kv_heads = heads;
    read_first(model, overrides, a, "attention.head_count_kv", &kv_heads);
    m.heads_per_kv = kv_heads == 0 ? 0 : heads / kv_heads;
    m.is_70b = is_70b(&m, nextn <= m.layers ? m.layers - nextn : m.layers, heads, kv_heads);
    /* Layers that llama.cpp adds to those of the file. */
    if (strcmp(a, "nanbeige") == 0) {
        qdq_architecture_number(model, overrides, a, "num_loops", &loops);
        if (loops > 1 && loops <= 512) m.layers *= loops;
    } else if (strcmp(a, "graniteswitch") == 0) {
        m.layers = (nextn <= m.layers ? m.layers - nextn : m.layers) + 1;
    }
    *facts = m;
    return QDQ_OK;
}
