/* What a model's tensors are called in GGUF. */
#ifndef QDQ_MODEL_NAMING_H
#define QDQ_MODEL_NAMING_H

#include "model/gguf_names.h"
#include "files/files.h"

/* The map of the model's architecture: that of GGUF's metadata, or of the config.json beside a safetensors file;
 * `architecture`, if it is not NULL, instead. map: a file of pairs that go first, or NULL. *names is NULL, without a
 * failure, when the architecture is not known and there is no map file; qdq_naming_missing() then says why. */
qdq_status qdq_naming_open(const qdq_model *model, const char *architecture, const char *map, qdq_gguf_names **names);
/* QDQ_UNSUPPORTED, for what cannot be done without names of GGUF: "a recipe". */
qdq_status qdq_naming_missing(const qdq_model *model, const char *what);

#endif
