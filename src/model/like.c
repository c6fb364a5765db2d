/* qdq_model_open_like(): a published GGUF's tensors, made of a checkpoint's weights. */
#include "model/like.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/advice.h"
#include "model/architecture.h"
#include "model/llama_rules.h"
#include "model/naming.h"
#include "base/error.h"
#include "base/ggml_type.h"
#include "base/source.h"
#include "files/shown.h"

typedef unsigned long long ull;

/* A tensor of the checkpoint, and where GGUF has it. */
typedef struct placed {
    const qdq_tensor *tensor;
    qdq_gguf_name to;
    bool used;
} placed;

typedef struct job {
    qdq_model *like; /* the template, then the result */
    const qdq_model *checkpoint;
    qdq_like_options options;
    qdq_like_report report;
    qdq_gguf_names *names;
    char architecture[QDQ_ARCHITECTURE];
    bool alone;     /* the template is one part of several: tensors that it lacks are added by the rules */
    placed *placed; /* sorted by GGUF's name, then expert */
    uint64_t n_placed;
    qdq_tensor *tensors;
    uint64_t n;
} job;

static qdq_status no_memory(const job *j) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for its tensors", SHOWN(qdq_model_path(j->like)));
}

static qdq_status tell(const job *j, qdq_like_event event, const char *name) {
    return j->options.told != NULL ? j->options.told(j->options.context, event, name) : QDQ_OK;
}

/* ---- Names ------------------------------------------------------------------------------------------------------ */

static int by_place(const void *a, const void *b) {
    const placed *x = a, *y = b;
    int order = strcmp(x->to.name, y->to.name);
    if (order != 0) return order;
    return x->to.expert < y->to.expert ? -1 : x->to.expert > y->to.expert;
}

/* Where each tensor of the checkpoint goes. What has no place, or is dropped, is told at the end. */
static qdq_status place_all(job *j) {
    uint64_t n = qdq_model_tensor_count(j->checkpoint);
    j->placed = calloc((size_t)n + 1, sizeof *j->placed);
    if (j->placed == NULL) return no_memory(j);
    for (uint64_t i = 0; i < n; i++) {
        placed *p = &j->placed[j->n_placed];
        p->tensor = qdq_model_tensor(j->checkpoint, i);
        if (qdq_gguf_names_to_gguf(j->names, p->tensor->name, &p->to) != QDQ_OK) p->to.name[0] = '\0';
        j->n_placed++;
    }
    qsort(j->placed, (size_t)n, sizeof *j->placed, by_place);
    for (uint64_t i = 1; i < n; i++) {
        const placed *a = &j->placed[i - 1], *b = &j->placed[i];
        if (b->to.name[0] != '\0' && by_place(a, b) == 0)
            return qdq_fail(QDQ_BAD_DATA, "%s: \"%s\" and \"%s\" both become \"%s\"",
                            SHOWN(qdq_model_path(j->checkpoint)), SHOWN(a->tensor->name), SHOWN(b->tensor->name),
                            SHOWN(b->to.name));
    }
    return QDQ_OK;
}

/* The tensors that make the one of that name; *n of them. */
static placed *find_placed(const job *j, const char *name, uint64_t *n) {
    uint64_t low = 0, high = j->n_placed;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (strcmp(j->placed[middle].to.name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    uint64_t end = low;
    while (end < j->n_placed && strcmp(j->placed[end].to.name, name) == 0) end++;
    *n = end - low;
    return &j->placed[low];
}

/* ---- What moves ------------------------------------------------------------------------------------------------- */

/* ARCHITECTURE.attention.head_count or head_count_kv, of the layer where it is an array; 0: there is none. */
static uint64_t number_of_heads(const job *j, bool kv_heads, int64_t layer) {
    char key[160];
    uint64_t number = 0;
    uint32_t type;
    const uint8_t *elements;
    snprintf(key, sizeof key, "%s.attention.head_count%s", j->architecture, kv_heads ? "_kv" : "");
    const qdq_kv *kv = qdq_model_find_kv(j->like, key);
    if (kv == NULL) return kv_heads ? number_of_heads(j, false, layer) : 0;
    if (qdq_kv_u64(kv, &number)) return number;
    if (!qdq_kv_array(kv, &type, &number, &elements) || layer < 0 || (uint64_t)layer >= number) return 0;
    if (type != QDQ_KV_U32 && type != QDQ_KV_I32) return 0;
    qdq_kv one = {.key = key, .value = elements + 4 * (uint64_t)layer, .bytes = 4, .type = type};
    return qdq_kv_u64(&one, &number) ? number : 0;
}

/* Rows of q and k are looked at in both orders, whatever the architecture. */
static qdq_like_rule rule_of(const job *j, const qdq_tensor *t, qdq_permute permute, uint64_t rows) {
    char kind[QDQ_NAME_MAX];
    int64_t layer;
    qdq_name_parts(t->name, &layer, kind);
    bool q = strcmp(kind, "attn_q") == 0, k = strcmp(kind, "attn_k") == 0;
    qdq_like_rule rule = {.moves = permute != QDQ_PERMUTE_NONE, .other_values = j->options.other_weights};
    if (q || k || rule.moves) {
        uint64_t heads = number_of_heads(j, permute == QDQ_PERMUTE_K || (k && permute != QDQ_PERMUTE_Q), layer);
        if (heads > 0 && rows > 0 && heads <= rows / 2 && rows % (2 * heads) == 0) rule.heads = heads;
    }
    rule.may_add = strncmp(j->architecture, "gemma", 5) == 0 && t->n_dims == 1 && qdq_ends_with(t->name, "norm.weight");
    return rule;
}

/* ---- Making a tensor -------------------------------------------------------------------------------------------- */

static bool same_shape(const qdq_tensor *a, const qdq_tensor *b) {
    return a->n_dims == b->n_dims && memcmp(a->shape, b->shape, a->n_dims * sizeof *a->shape) == 0;
}

/* The parts' extents make the tensor's: row for row, extents of 1 passed over. */
static bool makes_up(const qdq_tensor *t, const qdq_tensor *part, uint64_t n) {
    uint64_t whole;
    if (__builtin_mul_overflow(part->elements, n, &whole) || whole != t->elements) return false;
    if (t->n_dims == 0 || part->n_dims == 0) return true;
    return t->shape[t->n_dims - 1] == part->shape[part->n_dims - 1];
}

static qdq_status gather(job *j, const qdq_tensor *t, placed *from, uint64_t n, qdq_gathered *made) {
    const qdq_tensor **parts = qdq_model_room(j->like, n * sizeof *parts);
    if (parts == NULL) return no_memory(j);
    const qdq_tensor *first = from[0].tensor;
    for (uint64_t i = 0; i < n; i++) {
        const qdq_tensor *part = parts[i] = from[i].tensor;
        from[i].used = true;
        if ((n > 1 || from[i].to.expert > 0) && from[i].to.expert != (int64_t)i)
            return qdq_fail(QDQ_BAD_DATA, "%s: expert %llu of \"%s\" is missing, or stands beside one for all",
                            SHOWN(qdq_model_path(j->checkpoint)), (ull)i, SHOWN(t->name));
        const char *not_source = qdq_tensor_not_source(part);
        if (not_source != NULL)
            return qdq_fail(QDQ_UNSUPPORTED, "%s: tensor \"%s\" %s", SHOWN(part->path), SHOWN(part->name), not_source);
        if (!same_shape(part, first) || part->dtype != first->dtype)
            return qdq_fail(QDQ_BAD_DATA, "%s: \"%s\" and \"%s\" are experts of one tensor and differ in shape or type",
                            SHOWN(part->path), SHOWN(first->name), SHOWN(part->name));
    }
    if (!makes_up(t, first, n))
        return qdq_fail(QDQ_BAD_DATA, "\"%s\" is %s in %s, but %llu x \"%s\" of %s is %s: another model?",
                        SHOWN(t->name), QDQ_EXTENTS(t), SHOWN(t->path), (ull)n, SHOWN(first->name), SHOWN(first->path),
                        QDQ_EXTENTS(first));
    *made = (qdq_gathered){.parts = parts, .n_parts = n, .rows = 1, .columns = 1};
    if (first->n_dims > 0) made->columns = first->shape[first->n_dims - 1];
    if (made->columns > 0) made->rows = first->elements / made->columns;
    return QDQ_OK;
}

/* The elements that the result's tensor has: what is not quantized is of the template's type, or F32, as conversions
 * have it; else of the checkpoint's, which loses nothing. */
static qdq_dtype dtype_of(const qdq_tensor *t, const qdq_tensor *part) {
    qdq_ggml_tensor rules = qdq_rules_tensor(t, t->name);
    if (qdq_rules_quantizes(&rules, NULL)) return part->dtype;
    return t->source && t->decoding == NULL ? t->dtype : QDQ_F32;
}

/* The tensor, of these parts. What stands in the checkpoint as it shall be is read where it is. */
static qdq_status make(job *j, qdq_tensor *t, const qdq_gathered *made) {
    const qdq_tensor *part = made->parts[0];
    qdq_dtype dtype = dtype_of(t, part);
    qdq_tensor result = *part;
    result.name = t->name;
    result.shape = t->shape;
    result.n_dims = t->n_dims;
    result.elements = t->elements;
    bool plain = made->n_parts == 1 && made->heads == 0 && made->added == 0 && dtype == part->dtype;
    if (!plain && result.elements > 0) {
        qdq_gathered *kept = qdq_model_room(j->like, sizeof *kept);
        qdq_decoding *d = qdq_model_room(j->like, sizeof *d);
        if (kept == NULL || d == NULL) return no_memory(j);
        *kept = *made;
        *d = (qdq_decoding){.decode = qdq_decode_gathered,
                            .name = part->decoding != NULL ? part->decoding->name : NULL,
                            .unit = 1,
                            .row = made->columns,
                            .layout = kept,
                            .codes = part->decoding != NULL ? part->decoding->codes : part->data,
                            .code_bytes = part->decoding != NULL ? part->decoding->code_bytes : part->bytes,
                            .elements = t->elements,
                            .offset = part->offset};
        result.decoding = d;
        result.data = NULL;
        result.dtype = dtype;
        result.bytes = 0;
        for (uint64_t i = 0; i < made->n_parts; i++) result.bytes += made->parts[i]->bytes;
    }
    result.ggml_type = qdq_source_get(result.dtype)->ggml_type;
    result.type_name = qdq_ggml_type_by_id(result.ggml_type)->name;
    j->report.moved += made->heads != 0;
    *t = result;
    return QDQ_OK;
}

/* ---- The template's tensors -------------------------------------------------------------------------------------- */

/* No tensor of the checkpoint becomes it. Factors of rotations and the like, which conversions compute, are the
 * template's: they are no matrices, and have no name in a checkpoint. */
static qdq_status keep(job *j, const qdq_tensor *t) {
    char hf[QDQ_NAME_MAX];
    if (t->n_dims > 1 || !t->source || qdq_gguf_names_to_hf(j->names, t->name, QDQ_NO_EXPERT, hf) == QDQ_OK)
        return qdq_fail_advising(
            QDQ_ADVICE_MAP, QDQ_BAD_DATA,
            "%s: tensor \"%s\": none of %s becomes it by the names of the architecture %s; if it is "
            "a GGUF of that model, its names are others",
            SHOWN(t->path), SHOWN(t->name), SHOWN(qdq_model_path(j->checkpoint)), j->architecture);
    j->report.copied++;
    return tell(j, QDQ_LIKE_COPIED, t->name);
}

static qdq_status take(job *j, qdq_tensor *t, const qdq_tensor *original) {
    uint64_t n;
    placed *from = find_placed(j, t->name, &n);
    /* A head of its own that is the embedding's twin is not in every checkpoint. */
    if (n == 0 && strcmp(t->name, "output.weight") == 0) from = find_placed(j, "token_embd.weight", &n);
    if (n == 0) {
        *t = *original;
        return keep(j, t);
    }
    qdq_gathered made;
    qdq_status status = gather(j, t, from, n, &made);
    if (status != QDQ_OK) return status;
    uint64_t rows = t->n_dims == 1 ? t->elements : made.rows;
    qdq_like_rule rule = rule_of(j, t, from[0].to.permute, rows);
    if (rule.heads > 0 && t->n_dims == 1) {
        made.columns = 1;
        made.rows = rows;
    }
    if (t->elements > 0) status = qdq_like_probe(t, &rule, &made);
    if (status == QDQ_OK) status = make(j, t, &made);
    j->report.taken++;
    j->report.verified += status == QDQ_OK && !j->options.other_weights;
    return status;
}

/* ---- Tensors of parts that are not there ------------------------------------------------------------------------- */

/* Of a tensor that the template does not have: what conversions make of it, which nothing here can verify. */
static qdq_status add_by_rules(job *j, placed *from, uint64_t n) {
    const qdq_tensor *first = from[0].tensor;
    bool experts = from[0].to.expert != QDQ_NO_EXPERT;
    qdq_tensor t = {.size = sizeof t, .path = first->path, .dtype = QDQ_F32};
    uint64_t *shape = qdq_model_room(j->like, (first->n_dims + 1ull) * sizeof *shape);
    char *name = qdq_model_room(j->like, QDQ_NAME_MAX);
    if (shape == NULL || name == NULL) return no_memory(j);
    strcpy(name, from[0].to.name);
    if (experts) shape[0] = n;
    memcpy(shape + experts, first->shape, first->n_dims * sizeof *shape);
    t.name = name;
    t.shape = shape;
    t.n_dims = first->n_dims + experts;
    if (__builtin_mul_overflow(first->elements, n, &t.elements)) return no_memory(j);
    qdq_gathered made;
    qdq_status status = gather(j, &t, from, n, &made);
    if (status != QDQ_OK) return status;
    uint64_t rows = t.n_dims == 1 ? t.elements : made.rows;
    qdq_like_rule rule = rule_of(j, &t, from[0].to.permute, rows);
    if (rule.moves && rule.heads == 0)
        return qdq_fail(QDQ_BAD_DATA, "%s: %llu rows of \"%s\" are not pairs in each of the template's heads",
                        SHOWN(first->path), (ull)rows, SHOWN(first->name));
    made.heads = rule.moves ? rule.heads : 0;
    made.added = rule.may_add ? 1.0f : 0.0f;
    if (made.heads > 0 && t.n_dims == 1) {
        made.columns = 1;
        made.rows = rows;
    }
    status = make(j, &t, &made);
    j->tensors[j->n++] = t;
    j->report.taken++;
    return status;
}

static qdq_status add_missing(job *j) {
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0, n; i < j->n_placed && status == QDQ_OK; i += n) {
        placed *from = find_placed(j, j->placed[i].to.name, &n);
        if (from->to.name[0] == '\0' || from->used) continue;
        status = add_by_rules(j, from, n);
    }
    return status;
}

/* ---- The whole --------------------------------------------------------------------------------------------------- */

static qdq_status open_template(job *j, const char *path) {
    qdq_status status = qdq_model_open(path, &j->like);
    if (status == QDQ_IO_ERROR) status = qdq_model_open_part(path, &j->like, &j->alone);
    if (status == QDQ_OK && qdq_model_layout(j->like) != QDQ_LAYOUT_GGUF)
        status = qdq_fail(QDQ_BAD_DATA, "%s: a GGUF file is wanted, whose metadata and tensors' names are taken",
                          SHOWN(path));
    if (status != QDQ_OK) return status;
    if (!qdq_architecture_read(j->like, NULL, j->architecture))
        return qdq_fail(QDQ_BAD_DATA, "%s: has no general.architecture: no model", SHOWN(path));
    if (qdq_model_layout(j->checkpoint) == QDQ_LAYOUT_GGUF)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: is a GGUF itself, with metadata of its own; weights of safetensors are "
                        "taken",
                        SHOWN(qdq_model_path(j->checkpoint)));
    status = qdq_naming_open(j->like, NULL, j->options.map, &j->names);
    if (status == QDQ_OK && j->names == NULL) status = qdq_naming_missing(j->like, "a template");
    return status;
}

static qdq_status take_all(job *j) {
    uint64_t n = qdq_model_tensor_count(j->like);
    uint64_t room = n + j->n_placed;
    j->tensors = malloc((size_t)(room + 1) * sizeof *j->tensors);
    qdq_tensor *originals = malloc((size_t)(n + 1) * sizeof *originals);
    qdq_status status = j->tensors != NULL && originals != NULL ? QDQ_OK : no_memory(j);
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) originals[i] = *qdq_model_tensor(j->like, i);
    if (status == QDQ_OK)
        status =
            qdq_model_decode(j->like, &(qdq_decode_options){.size = sizeof(qdq_decode_options), .requantize = true});
    for (; j->n < n && status == QDQ_OK; j->n++) {
        j->tensors[j->n] = *qdq_model_tensor(j->like, j->n);
        status = take(j, &j->tensors[j->n], &originals[j->n]);
    }
    free(originals);
    return status;
}

static qdq_status tell_unused(job *j) {
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < j->n_placed && status == QDQ_OK; i++) {
        if (j->placed[i].used) continue;
        j->report.unused++;
        status = tell(j, QDQ_LIKE_UNUSED, j->placed[i].tensor->name);
    }
    return status;
}

qdq_status qdq_model_open_like(const char *path, const qdq_model *checkpoint, const qdq_like_options *options,
                               qdq_like_report *report, qdq_model **model) {
    if (model == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_model_open_like: a NULL argument");
    *model = NULL;
    bool no_size = (options != NULL && options->size == 0) || (report != NULL && report->size == 0);
    if (path == NULL || checkpoint == NULL || no_size)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_model_open_like: a NULL argument, or a size of 0");
    job j = {.checkpoint = checkpoint};
    if (options != NULL)
        memcpy(&j.options, options, options->size < sizeof j.options ? options->size : sizeof j.options);
    qdq_status status = open_template(&j, path);
    if (status == QDQ_OK) status = place_all(&j);
    if (status == QDQ_OK) status = take_all(&j);
    if (status == QDQ_OK && j.alone) status = add_missing(&j);
    if (status == QDQ_OK) status = tell_unused(&j);
    /* They tell of the template's own weights. */
    if (status == QDQ_OK) status = qdq_model_forget_kvs(j.like, "quantize.imatrix.");
    if (status == QDQ_OK) status = qdq_model_put_tensors(j.like, j.tensors, j.n);
    if (status == QDQ_OK && report != NULL) {
        j.report.size = report->size;
        memcpy(report, &j.report, report->size < sizeof j.report ? report->size : sizeof j.report);
    }
    free(j.tensors);
    free(j.placed);
    qdq_gguf_names_free(j.names);
    if (status == QDQ_OK)
        *model = j.like;
    else
        qdq_model_close(j.like);
    return status;
}
