/* qdq_model_decode(): which tensors of a model are codes, and how they are decoded. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "model/decoding.h"
#include "model/pairing.h"
#include "base/codebook.h"
#include "base/error.h"
#include "base/ggml_type.h"
#include "base/source.h"
#include "files/shown.h"

static qdq_status no_memory(const qdq_model *model) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for its codes", SHOWN(qdq_model_path(model)));
}

static qdq_status find_via(const char *name, qdq_dtype *via) {
    for (int d = 0; d <= QDQ_U8; d++) {
        const qdq_source *source = qdq_source_get((qdq_dtype)d);
        if (source == NULL || strcasecmp(source->name, name) != 0) continue;
        *via = source->dtype;
        return QDQ_OK;
    }
    return qdq_fail(QDQ_INVALID_ARGUMENT, "codes are decoded to f32, f16 or bf16, not to '%.40s'", name);
}

/* ---- GGUF ------------------------------------------------------------------------------------------------------- */

/* "X.weight": "X.scale", which ggml multiplies the values of NVFP4 by when it runs a model. */
static const qdq_tensor *outer_scale(const qdq_model *model, const char *name) {
    static const char weight[] = ".weight", scale[] = ".scale";
    size_t length = strlen(name), end = sizeof weight - 1;
    char text[256];
    if (length < end || length >= sizeof text || strcmp(name + length - end, weight) != 0) return NULL;
    memcpy(text, name, length - end);
    strcpy(text + length - end, scale);
    return qdq_model_find(model, text);
}

static qdq_status decode_gguf(const qdq_model *model, qdq_dtype via, qdq_tensor *t, qdq_decoding *d) {
    qdq_format format = qdq_format_by_ggml_type(t->ggml_type);
    const qdq_ggml_type *type = qdq_ggml_type_by_id(t->ggml_type);
    if (t->source || format < 0 || t->n_dims == 0 || type == NULL || !qdq_ggml_type_is_quantized(type)) return QDQ_OK;
    const qdq_tensor *scale = strcmp(type->name, "nvfp4") == 0 ? outer_scale(model, t->name) : NULL;
    if (scale != NULL)
        return qdq_fail(
            QDQ_UNSUPPORTED,
            "%s: tensor \"%s\" is nvfp4 whose values are multiplied by \"%s\" when the model runs: quantized "
            "anew it would need another; give the model that it was made from",
            SHOWN(t->path), SHOWN(t->name), SHOWN(scale->name));
    const uint32_t *words; /* made here: the decoders find them where they are */
    size_t n_words;
    qdq_status status = qdq_format_words(type->name, &words, &n_words);
    if (status != QDQ_OK) return status;
    *d = (qdq_decoding){.decode = qdq_decode_blocks,
                        .name = type->name,
                        .unit = type->block_elements,
                        .row = t->shape[t->n_dims - 1],
                        .format = format,
                        .codes = t->data,
                        .code_bytes = t->bytes,
                        .elements = t->elements,
                        .offset = t->offset};
    t->decoding = d;
    t->source = true;
    t->dtype = via;
    return QDQ_OK;
}

static qdq_status decode_gguf_model(qdq_model *model, qdq_dtype via) {
    uint64_t n = qdq_model_tensor_count(model);
    qdq_tensor *tensors = malloc((size_t)n * sizeof *tensors + 1);
    qdq_decoding *decodings = qdq_model_room(model, n * sizeof *decodings);
    qdq_status status = tensors != NULL && decodings != NULL ? QDQ_OK : no_memory(model);
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) {
        tensors[i] = *qdq_model_tensor(model, i);
        status = decode_gguf(model, via, &tensors[i], &decodings[i]);
    }
    if (status == QDQ_OK) status = qdq_model_put_tensors(model, tensors, n);
    free(tensors);
    return status;
}

/* ---- Models ----------------------------------------------------------------------------------------------------- */

qdq_status qdq_model_decode(qdq_model *model, const qdq_decode_options *options) {
    qdq_decode_options o = {0};
    if (model == NULL || (options != NULL && options->size == 0))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_model_decode: a NULL argument, or options->size is 0");
    if (options != NULL) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    bool gguf = qdq_model_layout(model) == QDQ_LAYOUT_GGUF;
    qdq_dtype via = gguf ? QDQ_F32 : QDQ_BF16;
    qdq_status status = o.via != NULL ? find_via(o.via, &via) : QDQ_OK;
    if (status != QDQ_OK) return status;
    if (!gguf) return qdq_pairing_decode(model, via, o.keep_codes);
    return o.requantize ? decode_gguf_model(model, via) : QDQ_OK;
}

/* Whether a tensor before this one has the same codes. */
static bool is_new(const qdq_model *model, uint64_t index) {
    const char *name = qdq_model_tensor(model, index)->decoding->name;
    for (uint64_t i = 0; i < index; i++) {
        const qdq_decoding *d = qdq_model_tensor(model, i)->decoding;
        if (d != NULL && d->name != NULL && strcmp(d->name, name) == 0) return false;
    }
    return true;
}

const char *qdq_model_decoded(const qdq_model *model, uint64_t index, uint64_t *tensors, qdq_dtype *via) {
    const char *name = NULL;
    *tensors = 0;
    for (uint64_t i = 0; i < qdq_model_tensor_count(model); i++) {
        const qdq_tensor *t = qdq_model_tensor(model, i);
        if (t->decoding == NULL || t->decoding->name == NULL) continue;
        if (name == NULL && is_new(model, i) && index-- == 0) name = t->decoding->name;
        if (name == NULL || strcmp(t->decoding->name, name) != 0) continue;
        ++*tensors;
        *via = t->dtype;
    }
    return name;
}
