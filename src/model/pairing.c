#include "model/pairing.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/paired.h"
#include "files/shown.h"

#define BOTH(t, s) SHOWN((t)->path), SHOWN((t)->name), SHOWN((s)->name)

/* ---- Which codes a tensor has ------------------------------------------------------------------------------------ */

/* X, with X_scale and the like beside it, or, where X is Y.weight, Y.scale. */
static qdq_status pair_plain(qdq_pairing *p, const qdq_tensor *t, bool *paired) {
    bool fp8 = qdq_is_type(t, "F8_E4M3"), bytes = fp8 || qdq_is_type(t, "I8"),
         nibbles = qdq_is_type(t, "U8") || qdq_is_type(t, "I8");
    const qdq_tensor *s = NULL;
    *paired = false;
    if (!bytes && !nibbles) return QDQ_OK;
    static const char *const own[] = {"_scale_inv", "_scale"}, *const other[] = {".scale", ".qscale_weight"};
    for (int i = 0; i < 2 && s == NULL; i++) s = qdq_pairing_take(p, t, 0, own[i]);
    for (int i = 0; i < 2 && s == NULL && qdq_name_ends(t->name, ".weight"); i++)
        s = qdq_pairing_take(p, t, sizeof ".weight" - 1, other[i]);
    if (s == NULL) return QDQ_OK;
    *paired = true;
    const qdq_tensor *outer = qdq_pairing_take(p, t, 0, "_scale_2");
    if (qdq_pairing_beside(p, t, 0, "_global_scale") != NULL)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: tensor \"%s\" has a \"_global_scale\" beside \"%s\", which only packed codes have",
                        BOTH(t, s));
    bool exponents = qdq_is_type(s, "F8_E8M0") || qdq_is_type(s, "U8");
    if (nibbles && (outer != NULL || (exponents && qdq_has_rows_of(s, t, qdq_columns_of(t) / 16))))
        return qdq_pair_fp4(p, t, s, outer, false, t->name);
    if (outer != NULL || !bytes)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: tensor \"%s\" of type %s with \"%s\" of type %s is of no layout that is read",
                        SHOWN(t->path), SHOWN(t->name), t->type_name, SHOWN(s->name), s->type_name);
    return qdq_pair_bytes(p, t, s);
}

/* gpt-oss: X_blocks, [experts, rows, groups, 16] bytes, and X_scales. */
static qdq_status pair_blocks(qdq_pairing *p, const qdq_tensor *t) {
    char name[QDQ_PAIRED_NAME];
    const qdq_tensor *s = qdq_pairing_take(p, t, sizeof "_blocks" - 1, "_scales");
    if (s == NULL || !qdq_name_renamed(t->name, sizeof "_blocks" - 1, "", name))
        return qdq_pairing_lacks(t, "\"_scales\"");
    if (t->n_dims < 3 || qdq_columns_of(t) != 16 || s->n_dims != t->n_dims - 1 ||
        memcmp(s->shape, t->shape, s->n_dims * sizeof *s->shape) != 0)
        return qdq_pairing_misfit(t, s, "a scale is wanted for each 16 bytes");
    uint64_t *shape = qdq_model_room(p->model, s->n_dims * sizeof *shape);
    if (shape == NULL) return qdq_pairing_no_memory(p);
    memcpy(shape, s->shape, s->n_dims * sizeof *shape);
    shape[s->n_dims - 1] *= 16; /* no more than the elements */
    qdq_tensor flat = *t;
    flat.shape = shape;
    flat.n_dims = s->n_dims;
    return qdq_pair_fp4(p, &flat, s, NULL, false, name);
}

/* compressed-tensors: X_packed, with X_scale and more. */
static qdq_status pair_packed(qdq_pairing *p, const qdq_tensor *t) {
    const size_t cut = sizeof "_packed" - 1;
    char name[QDQ_PAIRED_NAME];
    const qdq_tensor *s = qdq_pairing_take(p, t, cut, "_scale");
    if (s == NULL || !qdq_name_renamed(t->name, cut, "", name)) return qdq_pairing_lacks(t, "\"_scale\"");
    if (qdq_model_find(p->model, name) != NULL)
        return qdq_fail(QDQ_BAD_DATA, "%s: tensor \"%s\" stands for \"%s\", which is there as well", SHOWN(t->path),
                        SHOWN(t->name), SHOWN(name));
    if (qdq_is_type(t, "I32")) return qdq_pair_packed(p, t, s, name);
    return qdq_pair_fp4(p, t, s, qdq_pairing_take(p, t, cut, "_global_scale"), true, name);
}

static qdq_status pair(qdq_pairing *p, const qdq_tensor *t, bool *paired) {
    *paired = true;
    if ((qdq_is_type(t, "I32") || qdq_is_type(t, "U8")) && qdq_name_ends(t->name, "_packed")) return pair_packed(p, t);
    if (qdq_is_type(t, "U8") && qdq_name_ends(t->name, "_blocks")) return pair_blocks(p, t);
    if (qdq_is_type(t, "I32") && qdq_name_ends(t->name, ".qweight")) return qdq_pair_columns(p, t);
    return pair_plain(p, t, paired);
}

/* ---- What is left ------------------------------------------------------------------------------------------------ */

/* Scales of activations and caches, which no weight has a use for. */
static bool is_for_activations(const char *name) {
    static const char *const ends[] = {
        ".input_scale", ".activation_scale", "_activation_scale", ".qscale_act", ".input_global_scale", ".output_scale",
        ".k_scale",     ".v_scale",          ".q_scale",          ".kv_scale",   ".prob_output_scale"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (qdq_name_ends(name, ends[i])) return true;
    return false;
}

static bool is_companion(const qdq_tensor *t) {
    static const char *const ends[] = {
        "_scale_inv",         ".weight_scale", ".weight_scale_2", "_global_scale", ".weight_shape",
        ".weight_zero_point", ".weight_g_idx", ".qscale_weight",  ".qzeros",       ".g_idx"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (qdq_name_ends(t->name, ends[i])) return true;
    return qdq_is_type(t, "U8") && qdq_name_ends(t->name, "_scales");
}

/* Codes before what belongs to them: which may stand on either side of them in the file. */
static qdq_status pair_all(qdq_pairing *p) {
    uint64_t n = qdq_model_tensor_count(p->model);
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) {
        const qdq_tensor *t = qdq_model_tensor(p->model, i);
        bool paired;
        status = pair(p, t, &paired);
        if (status == QDQ_OK && !paired) p->made[p->n_made++] = *t;
    }
    return status;
}

static qdq_status check_rest(qdq_pairing *p) {
    uint64_t kept = 0;
    for (uint64_t i = 0; i < p->n_made; i++) {
        const qdq_tensor *t = &p->made[i], *own = qdq_model_find(p->model, t->name);
        bool made = t->decoding != NULL;
        if (own == NULL) made = true; /* an outer scale */
        if (!made && (p->taken[own - qdq_model_tensor(p->model, 0)] || is_for_activations(t->name))) continue;
        if (!made && qdq_is_type(t, "F8_E4M3")) return qdq_pairing_lacks(t, "scale");
        if (!made && is_companion(t))
            return qdq_fail(QDQ_BAD_DATA, "%s: \"%s\" belongs to codes, and there are none under such a name",
                            SHOWN(t->path), SHOWN(t->name));
        p->made[kept++] = *t;
    }
    p->n_made = kept;
    return QDQ_OK;
}

qdq_status qdq_pairing_decode(qdq_model *model, qdq_dtype via, bool keep_codes) {
    uint64_t n = qdq_model_tensor_count(model);
    qdq_pairing p = {.model = model, .via = via, .keep_codes = keep_codes};
    qdq_status status = qdq_quantization_read(model, &p.config);
    if (status != QDQ_OK || n == 0) return status;
    p.taken = calloc((size_t)n, sizeof *p.taken);
    p.made = calloc(2 * (size_t)n, sizeof *p.made); /* with outer scales */
    if (p.taken == NULL || p.made == NULL) status = qdq_pairing_no_memory(&p);
    if (status == QDQ_OK) status = pair_all(&p);
    bool coded = p.n_decoded > 0 || p.config.method[0] != '\0';
    if (status == QDQ_OK && coded) status = check_rest(&p);
    if (status == QDQ_OK && coded) status = qdq_model_put_tensors(model, p.made, p.n_made);
    free(p.taken);
    free(p.made);
    return status;
}
