#include "plan/recipe.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "files/builder.h"
#include "files/files.h"

enum { TYPE_Q8_0 = 8, TYPE_IQ2_XXS = 16, TYPE_IQ2_XS = 17, TYPE_IQ1_S = 19, TYPE_IDS = 64 };

/* ---- The base ---- */

static uint64_t elements_of(const qdq_ggml_tensor *t) {
    uint64_t n = 1;
    for (int k = 0; k < 4; k++)
        if (__builtin_mul_overflow(n, t->ne[k], &n)) return UINT64_MAX;
    return n;
}

/* The preset decides general.file_type and, if it is not quantized, that the file is ignored. So: of the quantized
 * types the one with the most elements (the lowest id of equals) that has a preset; with no quantized type at all, the
 * only type if there is but one, else q8_0, under which lines count. */
static const qdq_preset *choose_base(const qdq_recipe_job *job) {
    uint64_t elements[TYPE_IDS] = {0};
    uint32_t unquantized = UINT32_MAX;
    bool mixed = false;
    for (size_t i = 0; i < job->n_tensors; i++) {
        const qdq_recipe_tensor *x = &job->tensors[i];
        const qdq_ggml_type *type = qdq_ggml_type_by_id(x->wanted);
        if (!type || !qdq_rules_quantizes(&x->tensor, NULL)) continue;
        if (qdq_ggml_type_is_quantized(type)) {
            uint64_t *n = &elements[type->id % TYPE_IDS];
            if (__builtin_add_overflow(*n, elements_of(&x->tensor), n)) *n = UINT64_MAX;
        } else {
            mixed = mixed || (unquantized != UINT32_MAX && unquantized != type->id);
            unquantized = type->id;
        }
    }
    const qdq_preset *best = NULL;
    uint64_t most = 0;
    for (uint32_t id = 0; id < TYPE_IDS; id++)
        if (elements[id] > most && qdq_preset_by_type(id)) {
            best = qdq_preset_by_type(id);
            most = elements[id];
        }
    bool quantized = false;
    for (uint32_t id = 0; id < TYPE_IDS; id++) quantized = quantized || elements[id];
    if (best) return best;
    return qdq_preset_by_type(quantized || mixed || unquantized == UINT32_MAX ? TYPE_Q8_0 : unquantized);
}

/* ---- What llama-quantize would not do ---- */

static qdq_status refuse(const qdq_recipe_tensor *x, const char *type, const char *why) {
    return qdq_fail(QDQ_UNSUPPORTED, "%.120s cannot become %s in llama-quantize: %s", x->tensor.name, type, why);
}

static qdq_status check_tensor(const qdq_recipe_job *job, const qdq_preset *base, const qdq_recipe_tensor *x) {
    const qdq_ggml_type *type = qdq_ggml_type_by_id(x->wanted);
    if (!type || !qdq_rules_writes(type))
        return refuse(x, type ? type->name : "an unknown type", "it cannot write that");
    uint32_t written;
    if (x->tensor.ne[0] % type->block_elements != 0 ||
        qdq_rules_fallback(QDQ_RULES_NEWEST, type->id, x->tensor.ne[0], &written) != QDQ_OK || written != type->id) {
        char why[128];
        snprintf(why, sizeof why, "its rows of %" PRIu64 " elements are no multiple of %" PRIu32, x->tensor.ne[0],
                 type->block_elements);
        return refuse(x, type->name, why);
    }
    /* what ggml itself cannot quantize without an importance matrix; that of the embedding never is in one */
    bool ggml_needs = type->id == TYPE_IQ2_XXS || type->id == TYPE_IQ2_XS || type->id == TYPE_IQ1_S;
    if (ggml_needs && strcmp(x->tensor.name, "token_embd.weight") == 0)
        return refuse(x, type->name, "that needs an importance matrix, which the embedding never has");
    if (!job->imatrix && (ggml_needs || qdq_rules_needs_imatrix(x->tensor.name, type->id, base->file_type)))
        return refuse(x, type->name, "that needs an importance matrix");
    return QDQ_OK;
}

/* ---- Text ---- */

static void write_pattern(qdq_builder *out, const char *name) {
    qdq_builder_character(out, '^');
    for (const char *c = name; *c; c++) {
        unsigned char u = (unsigned char)*c;
        bool plain = (u >= 'a' && u <= 'z') || (u >= '0' && u <= '9') || u == '_' || u == '-';
        bool hidden = u <= ' ' || u >= 0x7f || u == '=' || (u >= 'A' && u <= 'Z');
        if (hidden)
            qdq_builder_format(out, "\\x%02x", u);
        else
            qdq_builder_format(out, plain ? "%c" : "\\%c", u);
    }
    qdq_builder_character(out, '$');
}

static void write_shell_word(qdq_builder *out, const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
    if (*word && word[strspn(word, plain)] == '\0') {
        qdq_builder_text(out, word);
        return;
    }
    bool odd = !qdq_is_utf8(word); /* nothing that drives a terminal is printed: any shell's printf makes it */
    for (const char *c = word; *c; c++) odd = odd || qdq_disturbance(c) > 0;
    qdq_builder_text(out, odd ? "\"$(printf '" : "'");
    for (const char *c = word; *c; c++) {
        unsigned char u = (unsigned char)*c;
        if (odd && (u < ' ' || u >= 0x7f || u == '\'' || u == '\\' || u == '%'))
            qdq_builder_format(out, "\\%03o", u);
        else if (u == '\'')
            qdq_builder_text(out, "'\\''");
        else
            qdq_builder_character(out, *c);
    }
    qdq_builder_text(out, odd ? "')\"" : "'");
}

static void write_command(qdq_builder *out, const qdq_recipe_job *job, const qdq_preset *base) {
    bool requantize = false;
    for (size_t i = 0; i < job->n_tensors; i++) {
        const qdq_ggml_type *type = qdq_ggml_type_by_id(job->tensors[i].tensor.type);
        requantize = requantize || (type && qdq_ggml_type_is_quantized(type) && job->tensors[i].wanted != type->id);
    }
    qdq_builder_text(out, "llama-quantize");
    if (requantize) qdq_builder_text(out, " --allow-requantize");
    const char *const words[][2] = {{" --imatrix ", job->imatrix},
                                    {" --tensor-type-file ", job->recipe},
                                    {" ", job->input},
                                    {" ", job->output},
                                    {" ", base->name}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!words[i][1]) continue;
        qdq_builder_text(out, words[i][0]);
        if (i && words[i][1][0] == '-') qdq_builder_text(out, "./"); /* a path, not an option */
        write_shell_word(out, words[i][1]);
    }
}

/* ---- The whole ---- */

/* Reads the text as llama-quantize will. */
static qdq_status verify(const qdq_recipe_job *job, const qdq_recipe *recipe) {
    qdq_type_file *file;
    qdq_status status = qdq_type_file_read(job->recipe, recipe->text, strlen(recipe->text), &file);
    if (status != QDQ_OK) return status;
    for (size_t i = 0; i < job->n_tensors && status == QDQ_OK; i++) {
        const qdq_recipe_tensor *x = &job->tensors[i];
        uint32_t type;
        qdq_rule rule;
        status = qdq_rules_type(recipe->preset, false, file, &x->tensor, &type, &rule);
        if (status == QDQ_OK && (type != x->wanted || rule == QDQ_RULE_MIXTURE))
            status = qdq_fail(QDQ_UNSUPPORTED, "%.120s: the recipe would give it type %" PRIu32 ", not %" PRIu32,
                              x->tensor.name, type, x->wanted);
    }
    qdq_type_file_free(file);
    return status;
}

static qdq_status write_texts(const qdq_recipe_job *job, qdq_recipe *recipe) {
    qdq_builder text = {0}, command = {0};
    for (size_t i = 0; i < job->n_tensors; i++) {
        const qdq_recipe_tensor *x = &job->tensors[i];
        if (!qdq_rules_quantizes(&x->tensor, NULL)) continue;
        write_pattern(&text, x->tensor.name);
        qdq_builder_format(&text, "=%s\n", qdq_ggml_type_by_id(x->wanted)->name);
        recipe->n_lines++;
    }
    write_command(&command, job, recipe->preset);
    recipe->text = qdq_builder_take(&text);
    recipe->command = qdq_builder_take(&command);
    if (recipe->text && recipe->command) return QDQ_OK;
    return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the recipe");
}

qdq_status qdq_recipe_make(const qdq_recipe_job *job, qdq_recipe *recipe) {
    if (!job || !recipe || !job->input || !job->output || !job->recipe || (job->n_tensors && !job->tensors))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "recipe: a NULL argument");
    *recipe = (qdq_recipe){.preset = choose_base(job)};
    qdq_status status = QDQ_OK;
    for (size_t i = 0; i < job->n_tensors && status == QDQ_OK; i++) {
        const qdq_recipe_tensor *x = &job->tensors[i];
        const char *why;
        const qdq_ggml_type *type = qdq_ggml_type_by_id(x->wanted);
        if (qdq_rules_quantizes(&x->tensor, &why))
            status = check_tensor(job, recipe->preset, x);
        else if (x->wanted != x->tensor.type)
            status = qdq_fail(QDQ_UNSUPPORTED, "%.120s cannot become %s in llama-quantize: it copies this tensor (%s)",
                              x->tensor.name, type ? type->name : "an unknown type", why);
    }
    if (status == QDQ_OK) status = write_texts(job, recipe);
    if (status == QDQ_OK) status = verify(job, recipe);
    if (status != QDQ_OK) qdq_recipe_free(recipe);
    return status;
}

void qdq_recipe_free(qdq_recipe *recipe) {
    free(recipe->text);
    free(recipe->command);
    recipe->text = NULL;
    recipe->command = NULL;
}
