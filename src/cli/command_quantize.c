/* qdq quantize: a model as GGUF, its weights packed in a format. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "plan/planned.h"
#include "model/format_list.h"
#include "model/metadata.h"
#include "model/targets.h"
#include "cli/session.h"
#include "base/error.h"

enum {
    IMATRIX = QDQ_LONG_OPTION,
    PLAN,
    TENSOR_TYPE,
    TENSOR_TYPE_FILE,
    PRESET,
    PURE,
    LEAVE_OUTPUT,
    OUTPUT_TYPE,
    EMBEDDING_TYPE,
    PRUNE,
    OVERRIDE_KV,
    INCLUDE_WEIGHTS,
    EXCLUDE_WEIGHTS,
    DRY_RUN,
    RULES,
    ALLOW_REQUANTIZE
};

enum { MAX_PRUNED = 512, MAX_PARTS = 64 };

/* Parts of names of the importance matrix's entries. */
typedef struct parts {
    const char *items[MAX_PARTS];
    size_t n;
} parts;

typedef struct quantization {
    qdq_session session;
    qdq_rewrite rewrite;
    qdq_targets targets;
    const char *plan_path; /* NULL: no plan, but targets */
    qdq_plan *plan;
    const char *imatrix, *output;
    char *made_output; /* the name of an output that was not named */
    bool dry_run, lacks_importance;
    qdq_kv_list kv;
    uint32_t pruned[MAX_PRUNED];
    size_t n_pruned;
    parts include_weights, exclude_weights;
    qdq_arrangement arrangement;
    json_t *exceptions;
    qdq_table *exceptions_table;
    double seconds;
} quantization;

/* ---- Running ---------------------------------------------------------------------------------------------------- */

static void list_exception(quantization *q, const qdq_tensor *t, const qdq_target_choice *choice) {
    const char *name = qdq_describe_format(choice->format).name;
    json_array_append_new(q->exceptions, json_pack("{s:o, s:s, s:o}", "name", qdq_json_text(t->name), "format", name,
                                                   "reason", qdq_json_text(choice->reason)));
    qdq_table_name(q->exceptions_table, t->name);
    qdq_table_cell(q->exceptions_table, "%s", QDQ_EXTENTS(t));
    qdq_table_cell(q->exceptions_table, "%s", name);
    qdq_table_name(q->exceptions_table, choice->reason);
}

static qdq_status add_tensor(quantization *q, const qdq_arranged *a, bool *already) {
    qdq_target_choice choice;
    qdq_status status = q->plan_path != NULL ? qdq_planned_choose(q->plan, q->session.selection, a->index, &choice)
                                             : qdq_targets_choose(&q->targets, q->session.selection, a->index, &choice);
    if (status != QDQ_OK) return status;
    if (choice.lacks_importance && !q->dry_run) return qdq_targets_lack(choice.format, q->session.selection, a->name);
    q->lacks_importance |= choice.lacks_importance;
    *already |= choice.already;
    status = qdq_session_rewrite(&q->session, &q->rewrite, a->index, a->name, choice.format, choice.importance,
                                 choice.reason);
    if (status == QDQ_OK && choice.format != QDQ_FORMAT_NONE && choice.exception)
        list_exception(q, qdq_model_tensor(q->session.model, a->index), &choice);
    return status;
}

static qdq_status add_tensors(quantization *q) {
    bool already = false;
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < q->arrangement.n && status == QDQ_OK; i++)
        status = add_tensor(q, &q->arrangement.tensors[i], &already);
    /* Such a file would say that it is in the format, and is not. */
    if (status == QDQ_OK && q->rewrite.quantized == 0 && !already)
        status = qdq_session_nothing(&q->session, "there is nothing to quantize");
    return status;
}

static double bits_per_weight(uint64_t bytes, uint64_t elements) {
    return elements > 0 ? 8 * (double)bytes / (double)elements : 0;
}

/* What the output is in, for people. */
static const char *name_of(const quantization *q) {
    if (q->plan_path != NULL) return "as planned";
    if (q->targets.copy) return "copies";
    if (q->targets.preset == NULL) return qdq_describe_format(q->targets.format).name;
    return qdq_ggml_type_by_id(q->targets.preset->type)->name;
}

static const char *const revisions[] = {[QDQ_RULES_2026_08] = "2026-08", [QDQ_RULES_2026_09] = "2026-09"};

/* Some names mean one thing as a format and another as a preset: says which it was. */
static void say_which(const quantization *q) {
    const qdq_targets *t = &q->targets;
    if (q->plan_path != NULL || t->copy) return;
    if (t->preset == NULL) {
        const qdq_preset *preset = qdq_preset_by_name(name_of(q));
        if (preset != NULL && qdq_ggml_type_is_quantized(qdq_ggml_type_by_id(preset->type)))
            printf("%s is one format for every tensor; llama-quantize's %s is a mixture: --preset %s\n", name_of(q),
                   preset->name, preset->name);
    } else if (!qdq_ggml_type_is_quantized(qdq_ggml_type_by_id(t->preset->type)) || t->pure) {
        printf("%s is llama-quantize's preset, pure: %s for every tensor that it quantizes\n", t->preset->name,
               name_of(q));
    } else {
        printf("%s is llama-quantize's mixture, by its rules of %s: mostly %s\n", t->preset->name, revisions[t->rules],
               name_of(q));
    }
}

/* Entries of --tensor-type that decided for no tensor: a slip of the pen, more often than not. */
static json_t *unused_overrides(const qdq_targets *targets) {
    json_t *list = json_array();
    for (size_t i = 0; targets->overrides != NULL && i < qdq_type_file_count(targets->overrides); i++)
        if (targets->used[i] == 0)
            json_array_append_new(list, qdq_json_text(qdq_type_file_entry(targets->overrides, i)));
    return list;
}

static json_t *result(quantization *q, uint64_t file_bytes) {
    const qdq_session *s = &q->session;
    const qdq_preset *preset = q->targets.preset;
    return json_pack("{s:s, s:o, s:s?, s:s?, s:b, s:s, s:I, s:o, s:O, s:O, s:o, s:O}", "schema", "qdq.quantize/1",
                     "format", q->plan_path != NULL ? json_null() : json_string(name_of(q)), "preset",
                     preset != NULL ? preset->name : NULL, "rules", preset != NULL ? revisions[q->targets.rules] : NULL,
                     "dry_run", q->dry_run, "device", s->info.name, "bytes", (json_int_t)file_bytes, "bits_per_weight",
                     qdq_json_number(bits_per_weight(q->rewrite.written, q->rewrite.elements)), "tensors", s->tensors,
                     "exceptions", q->exceptions, "unused", unused_overrides(&q->targets), "skipped", s->skipped);
}

static qdq_status print_exceptions(quantization *q) {
    unsigned long n = qdq_table_rows(q->exceptions_table);
    for (size_t i = 0; q->targets.overrides != NULL && i < qdq_type_file_count(q->targets.overrides); i++)
        if (q->targets.used[i] == 0)
            printf("--tensor-type %s decides for no tensor.\n",
                   qdq_printable(qdq_type_file_entry(q->targets.overrides, i), (char[256]){0}, 256));
    if (n == 0) return QDQ_OK;
    printf("\n%lu tensor%s in another format than %s:\n", n, n == 1 ? "" : "s", name_of(q));
    qdq_table *table = q->exceptions_table;
    q->exceptions_table = NULL;
    qdq_status status = qdq_table_print(table);
    putchar('\n');
    return status;
}

static qdq_status print_summary(quantization *q, uint64_t file_bytes) {
    qdq_rewrite *r = &q->rewrite;
    char name[512];
    qdq_status status = QDQ_OK;
    if (qdq_common_tables(q->session.common)) {
        say_which(q);
        if (q->dry_run)
            printf("Nothing is written; the file would have %llu bytes: %s, %.4g bits a weight\n",
                   (unsigned long long)file_bytes, QDQ_SIZE(file_bytes), bits_per_weight(r->written, r->elements));
        else
            printf("%s: %s, %.4g bits a weight\n", qdq_printable(q->output, name, sizeof name), QDQ_SIZE(file_bytes),
                   bits_per_weight(r->written, r->elements));
        if (q->lacks_importance) puts("It needs an importance matrix with entries for all its weights: --imatrix FILE");
        printf("%llu of %llu tensors are %s; %s of %s in the source\n",
               (unsigned long long)(r->quantized - qdq_table_rows(q->exceptions_table)), (unsigned long long)r->n,
               name_of(q), QDQ_SIZE(r->written), QDQ_SIZE(r->bytes));
        qdq_session_print_importance(&q->session, r->quantized, r->weighted);
        if (q->seconds > 0 && !q->dry_run)
            printf("%.1f seconds, %s/s of the source\n", q->seconds,
                   QDQ_SIZE((uint64_t)((double)r->bytes / q->seconds)));
        if (qdq_model_layout(q->session.model) != QDQ_LAYOUT_GGUF)
            puts("The source has no GGUF metadata, so the output has the tensors alone: no engine can run it.");
        status = print_exceptions(q);
    }
    return status == QDQ_OK ? qdq_session_print(&q->session, NULL, "kept as they are") : status;
}

static qdq_status run(quantization *q) {
    qdq_rewrite *r = &q->rewrite;
    uint64_t file_bytes = 0;
    r->model = q->session.model;
    r->pass = q->session.pass;
    double began = qdq_seconds();
    q->exceptions = json_array();
    if (q->exceptions == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the results");
    if (qdq_common_tables(q->session.common)) q->exceptions_table = qdq_table_create("tensor|shape|format|reason");
    qdq_status status = q->plan_path != NULL ? qdq_planned_check(q->plan, q->plan_path, q->session.model) : QDQ_OK;
    if (status == QDQ_OK) status = qdq_arrange(q->session.model, q->pruned, q->n_pruned, &q->arrangement);
    if (status == QDQ_OK && q->plan_path == NULL)
        status = qdq_targets_prepare(&q->targets, q->session.selection, &q->arrangement, &q->kv);
    if (status == QDQ_OK) status = qdq_writer_create(QDQ_LAYOUT_GGUF, q->dry_run ? NULL : q->output, &r->writer);
    qdq_packed_facts facts = {.kv = &q->kv, .arrangement = &q->arrangement};
    if (status == QDQ_OK)
        facts.file_type = q->plan_path != NULL ? qdq_planned_file_type(q->plan)
                                               : qdq_targets_file_type(&q->targets, q->session.model);
    if (status == QDQ_OK) status = qdq_packed_metadata(r->writer, q->session.selection, &facts);
    if (status == QDQ_OK) status = add_tensors(q);
    if (status == QDQ_OK) status = qdq_writer_size(r->writer, &file_bytes);
    /* Before the model appears, all that could still fail for want of memory. */
    if (status == QDQ_OK) status = qdq_session_check(&q->session, q->exceptions_table);
    if (status == QDQ_OK) status = qdq_json_prepare(&q->session.json, result(q, file_bytes));
    if (!q->dry_run) {
        qdq_progress_begin("quantize", q->session.common->quiet);
        if (status == QDQ_OK) status = qdq_rewrite_run(r);
        qdq_progress_end();
    }
    q->seconds = qdq_seconds() - began;
    if (status == QDQ_OK) status = qdq_json_finish(&q->session.json);
    return status == QDQ_OK ? print_summary(q, file_bytes) : status;
}

/* ---- The command line ------------------------------------------------------------------------------------------- */

static qdq_status add_override(qdq_targets *targets, int option, const char *value) {
    qdq_status status = targets->overrides == NULL ? qdq_type_file_create(&targets->overrides) : QDQ_OK;
    if (status != QDQ_OK || option == TENSOR_TYPE)
        return status == QDQ_OK ? qdq_type_file_add(targets->overrides, "--tensor-type", value) : status;
    char *text;
    size_t length;
    status = qdq_read_text(value, QDQ_WORDS_LIMIT, &text, &length);
    if (status != QDQ_OK) return status;
    status = qdq_type_file_add_text(targets->overrides, value, text, length);
    free(text);
    return status;
}

/* What is wrong with what is wanted, or NULL. */
static const char *wrong_type(quantization *q, const char *preset) {
    qdq_targets *t = &q->targets;
    t->preset = qdq_preset_by_name(preset);
    t->copy = strcasecmp(preset, "COPY") == 0;
    if (t->preset != NULL || t->copy) return NULL;
    static char text[1024];
    size_t used = (size_t)snprintf(text, sizeof text, "llama-quantize has no type '%.40s'; there are:", preset);
    for (size_t i = 0; i < qdq_preset_count() && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, " %s", qdq_preset_at(i)->name);
    if (used < sizeof text)
        snprintf(text + used, sizeof text - used, " COPY. For one format for every tensor say -f FORMAT");
    return text;
}

static const char *wrong_format(quantization *q, const char *format) {
    qdq_targets *t = &q->targets;
    qdq_format formats[QDQ_MAX_FORMATS];
    uint32_t n;
    if (qdq_parse_formats(format, formats, &n) != QDQ_OK) {
        /* A name that only presets have. */
        t->preset = qdq_preset_by_name(format);
        return t->preset != NULL && format[0] > '9' ? NULL : qdq_error_message();
    }
    if (n != 1) return "one format is wanted";
    t->format = formats[0];
    return NULL;
}

static bool is_float(const qdq_targets *t) {
    return t->preset != NULL ? !qdq_ggml_type_is_quantized(qdq_ggml_type_by_id(t->preset->type))
                             : qdq_format_is_float(t->format, NULL);
}

static const char *check_wish(quantization *q, const char *format, const char *preset) {
    qdq_targets *t = &q->targets;
    int wishes = (format != NULL) + (preset != NULL) + (q->plan_path != NULL);
    bool mixed = t->pure || t->leave_output || t->output_type != QDQ_NO_TYPE || t->embedding_type != QDQ_NO_TYPE;
    if (wishes == 0) return "what is wanted? Say IN OUT TYPE, -f FORMAT or --plan FILE";
    if (wishes > 1)
        return q->plan_path != NULL ? "a plan, and a format or a type are both given"
                                    : "a format and a type are both given";
    if (q->plan_path != NULL && (t->overrides != NULL || mixed))
        return "a plan has every tensor's format: leave out --tensor-type and what else chooses types";
    if (q->plan_path != NULL && q->n_pruned > 0) return "a plan is for all layers: leave out --prune-layers";
    if (q->include_weights.n > 0 && q->exclude_weights.n > 0)
        return "--include-weights and --exclude-weights do not go together";
    if (q->imatrix == NULL && (q->include_weights.n > 0 || q->exclude_weights.n > 0))
        return "--include-weights and --exclude-weights choose from an importance matrix: give --imatrix FILE";
    const char *wrong = format != NULL ? wrong_format(q, format) : preset != NULL ? wrong_type(q, preset) : NULL;
    if (wrong != NULL || q->plan_path != NULL) return wrong;
    if (t->copy && (t->overrides != NULL || mixed))
        return "COPY changes no tensor's type: leave out what chooses types";
    if (!t->copy && t->overrides != NULL && is_float(t))
        return "llama-quantize passes over --tensor-type where all is to be f32, f16 or bf16: ask for the most common "
               "of the quantized formats, and name the tensors that are to be floats";
    if (q->dry_run) return NULL;
    return qdq_targets_check_importance(t, q->imatrix != NULL) == QDQ_OK ? NULL : qdq_explanation();
}

/* llama-quantize's name for an output that is not named: ggml-model-TYPE.gguf beside the input. */
static const char *name_output(quantization *q, const char *input, const char *type) {
    const qdq_preset *preset = qdq_preset_by_name(type);
    const char *slash = strrchr(input, '/');
    size_t folder = slash != NULL ? (size_t)(slash - input) + 1 : 0, room = folder + 64;
    q->made_output = malloc(room);
    if (q->made_output == NULL) return "out of memory for the output's name";
    snprintf(q->made_output, room, "%.*sggml-model-%s.gguf", (int)folder, input,
             preset != NULL ? preset->name : "COPY");
    q->output = q->made_output;
    return NULL;
}

/* IN, with options for all else; IN OUT; or llama-quantize's IN [OUT] TYPE [THREADS]. */
static const char *take_operands(quantization *q, const qdq_parser *parser, qdq_common *common, bool typed,
                                 const char **preset) {
    int n = parser->n_operands;
    char **at = parser->operands;
    long long threads;
    if (n < 1) return "no input";
    if (typed || n == 1) {
        if (n > 2 || (n == 2 && q->output != NULL)) return "more is named than an input and an output";
        if (n == 2) q->output = at[1];
        return NULL;
    }
    int next = 1;
    bool is_type = qdq_preset_by_name(at[1]) != NULL || strcasecmp(at[1], "COPY") == 0;
    if (!is_type) {
        if (q->output != NULL) return "the output is named twice";
        q->output = at[next++];
    }
    if (next == n) return "no type: say IN OUT TYPE, as to llama-quantize, or -f FORMAT";
    *preset = at[next++];
    if (next < n) {
        if (!qdq_parse_integer(at[next], 0, 4096, &threads))
            return "behind the type is the number of threads, 0 to 4096";
        common->threads = (int)threads;
        next++;
    }
    if (next < n) return "there is more behind the number of threads; options begin with --";
    return q->output == NULL && !q->dry_run ? name_output(q, at[0], *preset) : NULL;
}

/* Opens what the command line does not tell by itself. The importance matrix that a plan was made with is used unless
 * another is named. */
static qdq_status prepare(quantization *q) {
    qdq_targets *t = &q->targets;
    if (t->overrides != NULL) {
        t->used = calloc(qdq_type_file_count(t->overrides) + 1, sizeof *t->used);
        if (t->used == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for --tensor-type");
    }
    if (q->plan_path == NULL) return QDQ_OK;
    qdq_status status = qdq_plan_open(q->plan_path, &q->plan);
    if (status == QDQ_OK && q->imatrix == NULL) q->imatrix = q->plan->imatrix;
    return status == QDQ_OK ? qdq_planned_check_importance(q->plan, q->imatrix != NULL) : status;
}

static void close_all(quantization *q) {
    qdq_session_close(&q->session);
    qdq_rewrite_close(&q->rewrite);
    qdq_targets_free(&q->targets);
    qdq_plan_free(q->plan);
    qdq_kv_list_free(&q->kv);
    qdq_arrangement_free(&q->arrangement);
    free(q->made_output);
    json_decref(q->exceptions);
    qdq_table_free(q->exceptions_table);
}

static int run_wish(quantization *q, const qdq_common *common, const char *input, qdq_status status) {
    qdq_session_imatrix imatrix = {.n_include = q->include_weights.n,
                                   .n_exclude = q->exclude_weights.n,
                                   .include = q->include_weights.items,
                                   .exclude = q->exclude_weights.items};
    if (status == QDQ_OK) status = prepare(q);
    imatrix.path = q->imatrix;
    if (status == QDQ_OK) status = qdq_session_open_filtered(&q->session, common, input, &imatrix);
    if (status == QDQ_OK) status = run(q);
    return status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
}

static const char *add_part(parts *list, const char *part) {
    if (list->n == MAX_PARTS) return "--include-weights or --exclude-weights is given more than 64 times";
    list->items[list->n++] = part;
    return NULL;
}

static const char *take_type(uint32_t *type, const char *name) {
    const qdq_ggml_type *found = qdq_ggml_type_by_name(name, strlen(name));
    if (found == NULL || !qdq_rules_writes(found))
        return "--output-tensor-type and --token-embedding-type want a type of ggml's that can be made: q6_K, f16, ...";
    *type = found->id;
    return NULL;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* L0,L1,…: into the list, which stays ascending, each once. */
static const char *take_layers(quantization *q, const char *text) {
    for (const char *at = text;; at++) {
        char *end;
        unsigned long layer = strtoul(at, &end, 10);
        if (end == at || *at < '0' || *at > '9' || layer >= MAX_PRUNED || (*end != ',' && *end != '\0'))
            return "--prune-layers wants the numbers of layers, parted by commas: 20,21,22";
        size_t i = 0;
        while (i < q->n_pruned && q->pruned[i] != layer) i++;
        if (i == q->n_pruned) q->pruned[q->n_pruned++] = (uint32_t)layer;
        at = end;
        if (*at == '\0') break;
    }
    qsort(q->pruned, q->n_pruned, sizeof *q->pruned, ascending);
    return NULL;
}

static const char *take_rules(qdq_targets *targets, const char *name) {
    for (size_t i = 0; i < sizeof revisions / sizeof *revisions; i++)
        if (strcmp(revisions[i], name) == 0) {
            targets->rules = (qdq_rules_revision)i;
            return NULL;
        }
    return "--rules are of 2026-08 or 2026-09";
}

/* One option; what is wrong with it, or NULL. */
static const char *take_option(quantization *q, int option, const char *value, qdq_status *status) {
    qdq_targets *t = &q->targets;
    switch (option) {
    case 'o': q->output = value; return NULL;
    case IMATRIX: q->imatrix = value; return NULL;
    case PLAN: q->plan_path = value; return NULL;
    case PURE: t->pure = true; return NULL;
    case LEAVE_OUTPUT: t->leave_output = true; return NULL;
    case DRY_RUN: q->dry_run = true; return NULL;
    case OUTPUT_TYPE: return take_type(&t->output_type, value);
    case EMBEDDING_TYPE: return take_type(&t->embedding_type, value);
    case PRUNE: return take_layers(q, value);
    case INCLUDE_WEIGHTS: return add_part(&q->include_weights, value);
    case EXCLUDE_WEIGHTS: return add_part(&q->exclude_weights, value);
    case RULES: return take_rules(t, value);
    case ALLOW_REQUANTIZE:
        return "quantized sources cannot be read yet: give the F32, F16 or BF16 model that it was made from";
    case OVERRIDE_KV: *status = qdq_kv_list_add(&q->kv, "--override-kv", value); break;
    default: *status = add_override(t, option, value);
    }
    if (*status == QDQ_OK || *status == QDQ_OUT_OF_MEMORY || option == TENSOR_TYPE_FILE) return NULL;
    *status = QDQ_OK;
    return qdq_error_message();
}

int qdq_command_quantize(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    const char *format = NULL, *preset = NULL, *wrong = NULL;
    quantization q = {.rewrite = {.kind = QDQ_WORK_QUANTIZE}, .targets = QDQ_TARGETS_NONE};
    qdq_status status = QDQ_OK;
    qdq_parse_begin(&parser, &qdq_cli_quantize, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        if (o == QDQ_PARSE_EXIT) {
            close_all(&q);
            return parser.status;
        }
        if (o == 'f')
            format = parser.value;
        else if (o == PRESET)
            preset = parser.value;
        else if (status == QDQ_OK && wrong == NULL)
            wrong = take_option(&q, o, parser.value, &status);
    }
    int exit_status;
    bool typed = format != NULL || preset != NULL || q.plan_path != NULL;
    if (wrong == NULL && status == QDQ_OK) wrong = take_operands(&q, &parser, &common, typed, &preset);
    if (wrong == NULL && status == QDQ_OK) wrong = check_wish(&q, format, preset);
    if (wrong == NULL && status == QDQ_OK && q.output == NULL && !q.dry_run) wrong = "no output: say -o OUT.gguf";
    if (wrong == NULL && q.output != NULL && !q.dry_run) wrong = qdq_parse_output(&parser, q.output);
    if (wrong != NULL)
        exit_status = qdq_usage_error(&parser, "%s", wrong);
    else
        exit_status = run_wish(&q, &common, parser.operands[0], status);
    close_all(&q);
    return exit_status;
}

static const qdq_cli_option options[] = {
    {'f', "format", "FORMAT", QDQ_ARG_TARGET, NULL,
     "one format for every tensor that is quantized, as llama-quantize --pure: a format, or f32, f16, bf16. A name "
     "that "
     "only llama-quantize's types have, as Q4_K_M, is taken as --preset"},
    {PRESET, "preset", "TYPE", QDQ_ARG_TEXT, NULL,
     "a type of llama-quantize's, which is a mixture of formats; the same as the operand TYPE"},
    {PURE, "pure", NULL, QDQ_ARG_NONE, NULL, "of TYPE no mixture, but its base format for every tensor"},
    {OUTPUT_TYPE, "output-tensor-type", "F", QDQ_ARG_TARGET, NULL, "the format of output.weight"},
    {EMBEDDING_TYPE, "token-embedding-type", "F", QDQ_ARG_TARGET, NULL, "the format of the token embedding"},
    {LEAVE_OUTPUT, "leave-output-tensor", NULL, QDQ_ARG_NONE, NULL, "output.weight stays as it is"},
    {TENSOR_TYPE, "tensor-type", "REGEX=F", QDQ_ARG_TEXT, NULL,
     "another format for tensors whose name has a match, read as llama-quantize reads it: the regex is turned to lower "
     "case; may be given again, the first that matches counts"},
    {TENSOR_TYPE_FILE, "tensor-type-file", "FILE", QDQ_ARG_INPUT, NULL,
     "a file of such words, as qdq plan --recipe writes it"},
    {PLAN, "plan", "FILE", QDQ_ARG_INPUT, NULL,
     "instead of -f: the plan of qdq plan, each tensor in a format of its own"},
    {'o', "output", "OUT", QDQ_ARG_OUTPUT, NULL, "the GGUF file to write"},
    {IMATRIX, "imatrix", "FILE", QDQ_ARG_INPUT, NULL,
     "an importance matrix of llama-imatrix, for the formats that use one"},
    {INCLUDE_WEIGHTS, "include-weights", "PART", QDQ_ARG_TEXT, NULL,
     "of the importance matrix only the entries whose name has PART in it; may be given again"},
    {EXCLUDE_WEIGHTS, "exclude-weights", "PART", QDQ_ARG_TEXT, NULL, "none of these entries; may be given again"},
    {PRUNE, "prune-layers", "N,N,...", QDQ_ARG_TEXT, NULL, "leave these layers out, and count the others anew"},
    {OVERRIDE_KV, "override-kv", "KEY=T:VALUE", QDQ_ARG_TEXT, NULL,
     "set an entry of the metadata: T is int, float, bool or str; may be given again"},
    {ALLOW_REQUANTIZE, "allow-requantize", NULL, QDQ_ARG_NONE, NULL, "not yet: quantized sources are refused"},
    {DRY_RUN, "dry-run", NULL, QDQ_ARG_NONE, NULL,
     "write nothing: say what each tensor would become, and the file's size"},
    {RULES, "rules", "REVISION", QDQ_ARG_CHOICE, "2026-08 2026-09",
     "of which llama-quantize the rules are that choose formats; the newest is the default"},
    {0},
};

static const qdq_cli_example examples[] = {
    {"llama-quantize's Q4_K_M, the same file", "qdq quantize model-bf16.gguf model-Q4_K_M.gguf Q4_K_M"},
    {"how large IQ3_M would be", "qdq quantize --dry-run --imatrix imatrix.gguf model-bf16.gguf IQ3_M"},
    {"a model for llama.cpp in Q4_0, all of it", "qdq quantize -f q4_0 model-f16.gguf -o model-q4_0.gguf"},
    {"with output and embeddings as they are",
     "qdq quantize -f q4_0 --exclude '^(output|token_embd)' model-f16.gguf -o model-q4_0.gguf"},
    {"most in Q4_K, by an importance matrix, the output and values in Q6_K",
     "qdq quantize -f q4_K --imatrix imatrix.gguf --tensor-type '^output=q6_K' --tensor-type attn_v=q6_K "
     "model-bf16.gguf -o model-q4_K.gguf"},
    {"with the formats that qdq plan has chosen", "qdq quantize --plan plan.json model-f16.gguf -o model-4.5bpw.gguf"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_quantize = {
    .name = "quantize",
    .summary = "write a model as GGUF in a format",
    .operands = "IN [OUT.gguf] TYPE [THREADS] | -f FORMAT|--plan FILE IN -o OUT.gguf",
    .text =
        "IN OUT TYPE is llama-quantize's command, and makes the file that it makes on x86-64, byte for byte. TYPE is "
        "one "
        "of its types, in any case, or its number: mixtures like Q4_K_M and IQ3_M, which give some tensors more bits "
        "than others (its Q4_0 and Q4_K are mixtures too), F32, F16, BF16, or COPY. Without OUT it is ggml-model-"
        "TYPE.gguf beside IN.\n\n"
        "With -f every tensor that llama-quantize quantizes gets the format, as from llama-quantize --pure. Which "
        "tensors these are follows its rules, and so does the format "
        "that takes a row which is no multiple of the block: q4_0 for q2_K, q3_K, tq1_0, tq2_0 and q2_0, q5_0 for "
        "q4_K, "
        "q5_1 for q5_K, q8_0 for q6_K, iq4_nl for the other formats with blocks of 256, and f16 where not even those "
        "fit. Each such exception is listed, and so is each tensor that stays as it is, with the reason.\n\n"
        "iq1_s, iq1_m, iq2_xxs, iq2_xs, iq2_s and iq3_xxs need an importance matrix.\n\n"
        "With --plan each tensor gets the plan's format, and the file has the size that the plan foretold; a plan that "
        "was made with an importance matrix uses it again.\n\n"
        "From a GGUF all metadata are kept, with general.file_type and general.quantization_version set; the parts of "
        "a split set become one file. A safetensors file has no such metadata: then the output holds the tensors "
        "alone, and its general.description says so.",
    .options = options,
    .takes =
        QDQ_TAKES_DEVICE | QDQ_TAKES_THREADS | QDQ_TAKES_FILTER | QDQ_TAKES_FINITE | QDQ_TAKES_JSON | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_quantize,
};
