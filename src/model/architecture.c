#include "model/architecture.h"

#include <stdio.h>
#include <string.h>

/* An override counts if it is of the type that llama.cpp reads there; a key given twice counts the first time. */
static const qdq_kv *find_kv(const qdq_model *model, const qdq_kv_list *overrides, const char *key, uint32_t type) {
    for (size_t i = 0; overrides != NULL && i < overrides->n; i++) {
        if (strcmp(overrides->items[i].key, key) != 0) continue;
        if (overrides->items[i].type == type) return &overrides->items[i];
        break;
    }
    return qdq_model_find_kv(model, key);
}

bool qdq_architecture_read(const qdq_model *model, const qdq_kv_list *overrides, char text[QDQ_ARCHITECTURE]) {
    const qdq_kv *kv = find_kv(model, overrides, "general.architecture", QDQ_KV_STRING);
    const char *value;
    uint64_t length;
    text[0] = '\0';
    if (kv == NULL || !qdq_kv_string(kv, &value, &length) || length == 0 || length >= QDQ_ARCHITECTURE) return false;
    memcpy(text, value, (size_t)length);
    text[length] = '\0';
    return true;
}

bool qdq_architecture_number(const qdq_model *model, const qdq_kv_list *overrides, const char *architecture,
                             const char *name, uint32_t *value) {
    char key[2 * QDQ_ARCHITECTURE];
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    const qdq_kv *kv = find_kv(model, overrides, key, QDQ_KV_U32);
    uint64_t number;
    if (kv == NULL || !qdq_kv_u64(kv, &number) || number > UINT32_MAX) return false;
    *value = (uint32_t)number;
    return true;
}
