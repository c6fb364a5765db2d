#include "model/kv_override.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static qdq_status wrong(const char *option, const char *word, const char *what) {
    return qdq_fail(QDQ_INVALID_ARGUMENT, "%s %.200s: %s", option, word, what);
}

/* The value as GGUF has it; *bytes of it are used. What is wrong, or NULL. */
static const char *encode(const char *text, uint8_t value[136], qdq_kv *kv) {
    char *end = NULL;
    uint64_t number = 0;
    errno = 0;
    if (strncmp(text, "int:", 4) == 0) {
        long long v = strtoll(text + 4, &end, 10);
        number = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
        if (end == text + 4 || *end != '\0' || errno != 0 || number > UINT32_MAX)
            return "int: wants a whole number of 32 bits behind it";
        kv->type = QDQ_KV_U32;
        kv->bytes = 4;
    } else if (strncmp(text, "float:", 6) == 0) {
        float v = (float)strtod(text + 6, &end);
        uint32_t bits;
        if (end == text + 6 || *end != '\0' || !isfinite(v)) return "float: wants a number behind it";
        memcpy(&bits, &v, sizeof bits);
        number = bits;
        kv->type = QDQ_KV_F32;
        kv->bytes = 4;
    } else if (strcmp(text, "bool:true") == 0 || strcmp(text, "bool:false") == 0) {
        number = text[5] == 't';
        kv->type = QDQ_KV_BOOL;
        kv->bytes = 1;
    } else if (strncmp(text, "str:", 4) == 0) {
        number = strlen(text + 4);
        if (number > 127) return "a text of more than 127 bytes";
        memcpy(value + 8, text + 4, (size_t)number);
        kv->type = QDQ_KV_STRING;
        kv->bytes = 8 + number;
    } else {
        return "it is not KEY=TYPE:VALUE, with TYPE int, float, bool (true or false) or str";
    }
    for (int i = 0; i < 8; i++) value[i] = (uint8_t)(number >> (8 * i));
    return NULL;
}

qdq_status qdq_kv_list_add(qdq_kv_list *list, const char *option, const char *word) {
    const char *sign = strchr(word, '=');
    if (sign == NULL || sign == word || sign - word >= 128)
        return wrong(option, word, "it is not KEY=TYPE:VALUE with a key of 1 to 127 bytes");
    qdq_kv kv = {0};
    uint8_t value[136] = {0};
    const char *what = encode(sign + 1, value, &kv);
    if (what != NULL) return wrong(option, word, what);
    /* Key and value in one piece. */
    size_t length = (size_t)(sign - word);
    char *copy = calloc(1, length + 1 + sizeof value);
    qdq_kv *items = copy != NULL ? realloc(list->items, (list->n + 1) * sizeof *items) : NULL;
    if (items == NULL) {
        free(copy);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", option);
    }
    memcpy(copy, word, length);
    memcpy(copy + length + 1, value, sizeof value);
    kv.key = copy;
    kv.value = (const uint8_t *)copy + length + 1;
    list->items = items;
    list->items[list->n++] = kv;
    return QDQ_OK;
}

void qdq_kv_list_free(qdq_kv_list *list) {
    for (size_t i = 0; i < list->n; i++) free((char *)list->items[i].key);
    free(list->items);
    *list = (qdq_kv_list){0};
}
