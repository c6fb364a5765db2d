/* Metadata given on a command line, as llama-quantize's --override-kv. */
#ifndef QDQ_MODEL_KV_OVERRIDE_H
#define QDQ_MODEL_KV_OVERRIDE_H

#include "files/files.h"

/* In the order in which they were given. */
typedef struct qdq_kv_list {
    qdq_kv *items;
    size_t n;
} qdq_kv_list;

/* word: KEY=TYPE:VALUE, TYPE int (its absolute value becomes a u32), float (f32), bool (true, false) or str (127 bytes
 * at most); the key has fewer than 128 bytes. option: for messages. QDQ_INVALID_ARGUMENT: it is none. */
qdq_status qdq_kv_list_add(qdq_kv_list *list, const char *option, const char *word);
void qdq_kv_list_free(qdq_kv_list *list);

#endif
