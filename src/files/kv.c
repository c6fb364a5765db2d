/* Metadata: entries kept as their bytes in GGUF's encoding, and read on demand. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

uint64_t qdq_kv_type_size(uint32_t type) {
    switch (type) {
    case QDQ_KV_U8:
    case QDQ_KV_I8:
    case QDQ_KV_BOOL: return 1;
    case QDQ_KV_U16:
    case QDQ_KV_I16: return 2;
    case QDQ_KV_U32:
    case QDQ_KV_I32:
    case QDQ_KV_F32: return 4;
    case QDQ_KV_U64:
    case QDQ_KV_I64:
    case QDQ_KV_F64: return 8;
    default: return 0;
    }
}

bool qdq_kv_u64(const qdq_kv *kv, uint64_t *value) {
    uint64_t size = qdq_kv_type_size(kv->type), raw = 0;
    bool is_signed =
        kv->type == QDQ_KV_I8 || kv->type == QDQ_KV_I16 || kv->type == QDQ_KV_I32 || kv->type == QDQ_KV_I64;
    bool is_unsigned =
        kv->type == QDQ_KV_U8 || kv->type == QDQ_KV_U16 || kv->type == QDQ_KV_U32 || kv->type == QDQ_KV_U64;
    if (!is_signed && !is_unsigned) return false;
    for (uint64_t i = 0; i < size; i++) raw |= (uint64_t)kv->value[i] << (8 * i);
    if (is_signed && raw >> (8 * size - 1) != 0) return false;
    *value = raw;
    return true;
}

bool qdq_kv_string(const qdq_kv *kv, const char **text, uint64_t *length) {
    if (kv->type != QDQ_KV_STRING) return false;
    *length = qdq_le64(kv->value);
    *text = (const char *)kv->value + 8;
    return true;
}

bool qdq_kv_array(const qdq_kv *kv, uint32_t *element_type, uint64_t *count, const uint8_t **elements) {
    if (kv->type != QDQ_KV_ARRAY) return false;
    *element_type = qdq_le32(kv->value);
    *count = qdq_le64(kv->value + 4);
    *elements = kv->value + 12;
    return true;
}

bool qdq_kv_array_string(const qdq_kv *kv, uint64_t index, const char **text, uint64_t *length) {
    uint32_t type;
    uint64_t count;
    const uint8_t *p;
    if (!qdq_kv_array(kv, &type, &count, &p) || type != QDQ_KV_STRING || index >= count) return false;
    for (uint64_t i = 0; i < index; i++) p += 8 + qdq_le64(p);
    *length = qdq_le64(p);
    *text = (const char *)p + 8;
    return true;
}

const uint8_t *qdq_kv_encode_string(qdq_arena *arena, const char *text, uint64_t length, uint64_t *bytes) {
    uint8_t *value = length < SIZE_MAX / 2 ? qdq_arena_alloc(arena, 8 + length) : NULL;
    if (value == NULL) return NULL;
    for (int i = 0; i < 8; i++) value[i] = (uint8_t)(length >> (8 * i));
    if (length > 0) memcpy(value + 8, text, (size_t)length);
    *bytes = 8 + length;
    return value;
}

qdq_status qdq_kvs_add(qdq_kvs *kvs, qdq_kv kv) {
    if (kvs->n == QDQ_KV_LIMIT)
        return qdq_fail(QDQ_BAD_DATA, "over %u entries of metadata; key \"%s\" is one too many", QDQ_KV_LIMIT,
                        SHOWN(kv.key));
    if (!qdq_grow((void **)&kvs->items, kvs->n, &kvs->capacity, sizeof *kvs->items))
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu metadata entries", (unsigned long long)kvs->n + 1);
    kvs->items[kvs->n++] = kv;
    return QDQ_OK;
}

qdq_status qdq_kvs_index(qdq_kvs *kvs, uint64_t *duplicate) {
    *duplicate = UINT64_MAX;
    free(kvs->sorted);
    kvs->sorted = NULL;
    if (kvs->n == 0) return QDQ_OK;
    kvs->sorted = malloc((size_t)kvs->n * sizeof *kvs->sorted); /* smaller than items, which fit */
    if (kvs->sorted == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for %llu metadata entries", (unsigned long long)kvs->n);
    for (uint64_t i = 0; i < kvs->n; i++) kvs->sorted[i] = (qdq_name){kvs->items[i].key, i};
    qdq_sorted_sort(kvs->sorted, kvs->n);
    for (uint64_t i = 1; i < kvs->n && *duplicate == UINT64_MAX; i++)
        if (strcmp(kvs->sorted[i - 1].text, kvs->sorted[i].text) == 0) *duplicate = kvs->sorted[i].index;
    return QDQ_OK;
}

const qdq_kv *qdq_kvs_find(const qdq_kvs *kvs, const char *key) {
    const qdq_name *name = kvs->sorted != NULL ? qdq_sorted_find(kvs->sorted, kvs->n, key) : NULL;
    return name != NULL ? &kvs->items[name->index] : NULL;
}

void qdq_kvs_free(qdq_kvs *kvs) {
    free(kvs->items);
    free(kvs->sorted);
    *kvs = (qdq_kvs){0};
}
