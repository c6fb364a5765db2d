/* Choices as programs see them. */
#ifndef QDQ_MODEL_CHOOSERS_H
#define QDQ_MODEL_CHOOSERS_H

#include "model/kv_override.h"
#include "model/targets.h"

/* choice->size bytes of it. */
void qdq_target_choice_show(const qdq_target_choice *made, qdq_choice *choice);

/* Decides about all tensors, once. */
qdq_status qdq_llama_settle(const qdq_llama_chooser *chooser);
/* What a file by these rules has besides, when they are settled. */
uint32_t qdq_llama_file_type(const qdq_llama *llama);
const qdq_arrangement *qdq_llama_arrangement(const qdq_llama *llama);
const qdq_kv_list *qdq_llama_kv(const qdq_llama *llama);

#endif
