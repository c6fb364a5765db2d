/* What GGUF's metadata say of a model: its architecture, and the numbers under that name. */
#ifndef QDQ_MODEL_ARCHITECTURE_H
#define QDQ_MODEL_ARCHITECTURE_H

#include "files/files.h"
#include "model/kv_override.h"

enum { QDQ_ARCHITECTURE = 64 }; /* room for the longest name */

/* overrides, here and below: they stand in for the model's own where llama.cpp would read a value of that type; NULL:
 * none. */

/* general.architecture. false: there is none, or it is longer than any; text is "" then. */
bool qdq_architecture_read(const qdq_model *model, const qdq_kv_list *overrides, char text[QDQ_ARCHITECTURE]);
/* ARCHITECTURE.name. false: there is no such number of 32 bits; *value stays as it is then. */
bool qdq_architecture_number(const qdq_model *model, const qdq_kv_list *overrides, const char *architecture,
                             const char *name, uint32_t *value);

#endif
