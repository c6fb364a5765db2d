/* qdq quantize: a model as GGUF, its weights packed in a format. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/platform_files.h"
#include "cli/part.h"
#include "cli/groups.h"
#include "cli/session.h"

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
    KEEP_SPLIT,
    KEEP_CODES,
    RULES,
    PART,
    RESUME,
    MAP,
    LIST_TENSORS
};

enum { MAX_PRUNED = 512, MAX_PARTS = 64, MAX_WORDS = 256, MOST_ROWS = 16 /* of exceptions, one by one */ };

/* Words of an option that may be given again. */
typedef struct words {
    const char *items[MAX_WORDS];
    uint32_t n;
} words;

typedef struct quantization {
    qdq_session session;
    qdq_llama_options wish;
    qdq_llama *rules; /* NULL: the plan's */
    const char *plan_path;
    qdq_plan *plan;
    const char *imatrix, *output, *map;
    char *made_output; /* the name of an output that was not named */
    bool dry_run, keep_codes, list_tensors;
    qdq_groups groups;      /* tensors kind by kind: of a dry run all of them, else the exceptions */
    qdq_table *all_table;   /* of a dry run: these, or all one by one */
    qdq_table *kinds_table; /* of exceptions, shown if there are many */
    qdq_part part;
    words overrides, include_weights, exclude_weights;
    struct {
        const char *text;
        bool file;
    } exceptions[MAX_WORDS]; /* of --tensor-type and --tensor-type-file, in order */
    unsigned n_exceptions;
    uint32_t pruned[MAX_PRUNED];
    json_t *other; /* tensors in another format */
    qdq_table *other_table;
    double seconds;
} quantization;

/* ---- Results ---------------------------------------------------------------------------------------------------- */

static double bits_per_weight(uint64_t bytes, uint64_t elements) {
    return elements > 0 ? 8 * (double)bytes / (double)elements : 0;
}

/* What the output is in, for people. */
static const char *name_of(const quantization *q) {
    return q->rules == NULL ? "as planned" : qdq_llama_describe(q->rules, NULL);
}

static const char *preset_of(const quantization *q) {
    const char *preset = NULL;
    if (q->rules != NULL) qdq_llama_describe(q->rules, &preset);
    return preset;
}

static const char *revision_of(const quantization *q) {
    return q->wish.rules != NULL ? q->wish.rules : QDQ_LLAMA_RULES;
}

static bool is_float(const char *type) {
    return strcmp(type, "f32") == 0 || strcmp(type, "f16") == 0 || strcmp(type, "bf16") == 0;
}

/* Some names mean one thing as a format and another as a preset: says which it was. */
static void say_which(const quantization *q) {
    const char *preset = preset_of(q), *name = name_of(q);
    if (q->rules == NULL || (preset == NULL && q->wish.preset != NULL)) return; /* planned; copies */
    if (preset == NULL) {
        const char *mixture = is_float(name) ? NULL : qdq_llama_find_preset(name);
        if (mixture != NULL)
            printf("%s is one format for every tensor; llama-quantize's %s is a mixture: --preset %s\n", name, mixture,
                   mixture);
    } else if (is_float(name) || q->wish.pure) {
        printf("%s is llama-quantize's preset, pure: %s for every tensor that it quantizes\n", preset, name);
    } else {
        printf("%s is llama-quantize's mixture, by its rules of %s: mostly %s\n", preset, revision_of(q), name);
    }
}

static uint64_t bytes_of(const qdq_tensor *t, qdq_format format) {
    if (format == QDQ_FORMAT_NONE) return t->data != NULL ? t->bytes : t->elements * qdq_dtype_size(t->dtype);
    qdq_format_info info = qdq_format_facts(format);
    return t->elements / info.block_elements * info.block_bytes;
}

/* For the tables of tensors and kinds. */
static void note_tensor(quantization *q, const qdq_tensor *t, const char *name, const qdq_choice *choice,
                        const char *type) {
    uint64_t bytes = bytes_of(t, choice->format);
    bool made = choice->format != QDQ_FORMAT_NONE;
    const char *reason = !made || choice->exception ? choice->text : "";
    if (!qdq_common_tables(q->session.common) || (!q->dry_run && !(made && choice->exception))) return;
    if (!q->list_tensors) {
        qdq_groups_add(&q->groups, &(qdq_grouping){.name = name, .reason = reason, .type = type, .bytes = bytes});
        return;
    }
    qdq_table_name(q->all_table, name);
    qdq_table_cell(q->all_table, "%s", QDQ_EXTENTS(t));
    qdq_table_cell(q->all_table, "%s", type);
    qdq_table_cell(q->all_table, "%llu", (unsigned long long)bytes);
    qdq_table_name(q->all_table, reason);
}

static qdq_status decided(void *context, uint64_t index, const char *name, const qdq_choice *choice, const char *type) {
    quantization *q = context;
    const qdq_tensor *t = qdq_model_tensor(q->session.model, index);
    if (choice->format != QDQ_FORMAT_NONE && choice->exception) {
        json_array_append_new(q->other, json_pack("{s:o, s:s, s:o}", "name", qdq_json_text(t->name), "format", type,
                                                  "reason", qdq_json_text(choice->text)));
        qdq_table_name(q->other_table, t->name);
        qdq_table_cell(q->other_table, "%s", QDQ_EXTENTS(t));
        qdq_table_cell(q->other_table, "%s", type);
        qdq_table_name(q->other_table, choice->text);
    }
    note_tensor(q, t, name, choice, type);
    return qdq_session_decided(&q->session, index, name, choice, type);
}

/* The next exception that decided for no tensor, from *next on: a slip of the pen, more often than not. */
static const char *next_unused(const quantization *q, uint64_t *next) {
    uint64_t tensors = 0;
    const char *text;
    while (q->rules != NULL && (text = qdq_llama_exception(q->rules, (*next)++, &tensors)) != NULL)
        if (tensors == 0) return text;
    return NULL;
}

static json_t *result(const quantization *q, const qdq_file_report *r) {
    const qdq_session *s = &q->session;
    const char *preset = preset_of(q), *text;
    json_t *unused = json_array();
    for (uint64_t next = 0; (text = next_unused(q, &next)) != NULL;) json_array_append_new(unused, qdq_json_text(text));
    return json_pack("{s:s, s:o, s:s?, s:s?, s:s, s:b, s:s, s:I, s:o, s:o, s:o*, s:I, s:O, s:O, s:o, s:O}", "schema",
                     "qdq.quantize/1", "format", q->rules == NULL ? json_null() : json_string(name_of(q)), "preset",
                     preset, "rules", preset != NULL ? revision_of(q) : NULL, "reference", s->reference, "dry_run",
                     q->dry_run, "device", s->device_names, "bytes", (json_int_t)r->bytes, "bits_per_weight",
                     qdq_json_number(bits_per_weight(r->weight_bytes, r->elements)), "codes", qdq_session_codes(s),
                     "like", qdq_session_like(s), "kept", (json_int_t)r->kept, "tensors", s->tensors, "exceptions",
                     q->other, "unused", unused, "skipped", s->skipped);
}

static qdq_status print_other(quantization *q) {
    unsigned long n = qdq_table_rows(q->other_table);
    const char *text;
    for (uint64_t next = 0; (text = next_unused(q, &next)) != NULL;)
        printf("--tensor-type %s decides for no tensor.\n", QDQ_SHOWN(text));
    if (n == 0 && !q->dry_run) return QDQ_OK;
    bool kinds = n > MOST_ROWS;
    if (q->dry_run)
        putchar('\n');
    else
        printf("\n%lu tensor%s in another format than %s%s:\n", n, n == 1 ? "" : "s", name_of(q),
               kinds ? ", kind by kind (--dry-run --list-tensors names them)" : "");
    qdq_table **shown = q->dry_run ? &q->all_table : kinds ? &q->kinds_table : &q->other_table, *table = *shown;
    *shown = NULL;
    qdq_status status = qdq_table_print(table);
    putchar('\n');
    return status;
}

static qdq_status print_summary(quantization *q, const qdq_file_report *r) {
    qdq_status status = QDQ_OK;
    if (qdq_common_tables(q->session.common)) {
        double bits = bits_per_weight(r->weight_bytes, r->elements);
        say_which(q);
        if (q->dry_run)
            printf("Nothing is written; the file would have %llu bytes: %s, %.4g bits a weight\n",
                   (unsigned long long)r->bytes, QDQ_SIZE(r->bytes), bits);
        else
            printf("%s%s%s: %s, %.4g bits a weight\n", QDQ_SHOWN(q->output),
                   q->part.part > 0 ? ", when it is whole" : "", q->wish.keep_split ? " in the source's shards" : "",
                   QDQ_SIZE(r->bytes), bits);
        if (r->lacking > 0) puts("It needs an importance matrix with entries for all its weights: --imatrix FILE");
        printf("%llu of %llu tensors are %s; %s of %s in the source\n",
               (unsigned long long)(r->made - qdq_table_rows(q->other_table)), (unsigned long long)r->tensors,
               name_of(q), QDQ_SIZE(r->weight_bytes), QDQ_SIZE(r->source_bytes));
        if (r->kept > 0)
            printf("%llu tensor%s the codes that the source has\n", (unsigned long long)r->kept,
                   r->kept == 1 ? " keeps" : "s keep");
        else if (q->keep_codes)
            puts("No tensor has codes that a format of GGUF could keep.");
        qdq_session_print_importance(&q->session, r->made, r->weighted);
        if (q->part.parts > 0)
            qdq_part_print(&q->part, r, q->output);
        else if (q->seconds > 0 && !q->dry_run)
            printf("%.1f seconds, %s/s of the source\n", q->seconds,
                   QDQ_SIZE((uint64_t)((double)r->source_bytes / q->seconds)));
        if (qdq_model_layout(q->session.model) != QDQ_LAYOUT_GGUF)
            puts("The source has no GGUF metadata, so the output has the tensors alone: no engine can run it. --like "
                 "TEMPLATE.gguf gives it some.");
        status = print_other(q);
    }
    return status == QDQ_OK ? qdq_session_print(&q->session, NULL, "kept as they are") : status;
}

/* ---- Running ---------------------------------------------------------------------------------------------------- */

/* Before the model appears: all that could still fail for want of memory. */
static qdq_status ready(void *context, const qdq_file_report *report) {
    quantization *q = context;
    qdq_status status = qdq_session_check(&q->session, q->other_table);
    if (status == QDQ_OK && !q->list_tensors && qdq_common_tables(q->session.common))
        status = qdq_groups_table(&q->groups, false, q->dry_run ? &q->all_table : &q->kinds_table);
    if (status == QDQ_OK) status = qdq_table_check(q->all_table);
    return status == QDQ_OK ? qdq_json_prepare(&q->session.json, result(q, report)) : status;
}

static qdq_status run(quantization *q) {
    qdq_session *s = &q->session;
    qdq_llama_chooser rules = {q->rules, s->selection};
    qdq_plan_chooser plan = {q->plan, s->selection};
    qdq_file_options options = {
        .size = sizeof options, .decided = decided, .ready = ready, .context = q, .keep_codes = q->keep_codes};
    qdq_file_report report = {.size = sizeof report};
    double began = qdq_seconds();
    qdq_part_options(&q->part, &options);
    q->other = json_array();
    if (q->other == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the results");
    if (qdq_common_tables(s->common)) q->other_table = qdq_table_create("tensor|shape|format|reason");
    if (qdq_common_tables(s->common) && q->dry_run && q->list_tensors)
        q->all_table = qdq_table_create("tensor|shape|format|>bytes|reason");
    qdq_status status = q->plan != NULL ? qdq_plan_check(q->plan, s->selection) : QDQ_OK;
    qdq_progress_begin("quantize", s->common->quiet);
    if (status == QDQ_OK)
        status = qdq_quantize_file(s->pass, s->selection, q->dry_run ? NULL : q->output,
                                   q->plan != NULL ? qdq_plan_choose : qdq_llama_choose,
                                   q->plan != NULL ? (void *)&plan : (void *)&rules, &options, &report);
    qdq_progress_end();
    status = qdq_part_finish(&q->part, status, q->output);
    if (status != QDQ_OK && qdq_error_advice() == QDQ_ADVICE_WEIGHTS)
        return qdq_session_nothing(s, "there is nothing to quantize");
    q->seconds = qdq_seconds() - began;
    if (status == QDQ_OK) status = qdq_json_finish(&s->json);
    return status == QDQ_OK ? print_summary(q, &report) : status;
}

/* ---- The command line ------------------------------------------------------------------------------------------- */

/* One format by its name, or a name that only presets have. */
static const char *take_format(quantization *q, const char *format) {
    const char *imatrix = q->dry_run ? "" : q->imatrix;
    if (qdq_one_format(format, QDQ_LIST_FLOATS, imatrix, &q->wish.format) == QDQ_OK) return NULL;
    bool is_format = qdq_error_advice() == QDQ_ADVICE_IMATRIX;
    if (!is_format && format[0] > '9') q->wish.preset = qdq_llama_find_preset(format);
    return q->wish.preset != NULL ? NULL : qdq_explanation();
}

/* Exceptions to the rules, which are checked as they come. */
static qdq_status add_exceptions(quantization *q) {
    qdq_status status = QDQ_OK;
    for (unsigned i = 0; i < q->n_exceptions && status == QDQ_OK; i++)
        status = q->exceptions[i].file ? qdq_llama_add_file(q->rules, q->exceptions[i].text)
                                       : qdq_llama_add(q->rules, "--tensor-type", q->exceptions[i].text);
    return status;
}

static const char *make_rules(quantization *q, const char *format, qdq_status *status) {
    const char *wrong = format != NULL ? take_format(q, format) : NULL;
    if (wrong != NULL) return wrong;
    q->wish.overrides = q->overrides.items;
    q->wish.n_overrides = q->overrides.n;
    q->wish.prune = q->pruned;
    *status = qdq_llama_create(&q->wish, &q->rules);
    if (*status == QDQ_OK && q->n_exceptions > 0 && is_float(name_of(q)))
        return "llama-quantize passes over --tensor-type where all is to be f32, f16 or bf16: ask for the most common "
               "of the quantized formats, and name the tensors that are to be floats";
    if (*status == QDQ_OK) *status = add_exceptions(q);
    if (*status == QDQ_OK || *status == QDQ_OUT_OF_MEMORY || *status == QDQ_IO_ERROR) return NULL;
    bool of_file = false;
    for (unsigned i = 0; i < q->n_exceptions; i++) of_file |= q->exceptions[i].file;
    if (of_file && *status == QDQ_BAD_DATA) return NULL; /* the file's fault, not the command line's */
    *status = QDQ_OK;
    return qdq_error_message();
}

static const char *check_wish(quantization *q, const char *format, qdq_status *status) {
    const qdq_llama_options *w = &q->wish;
    int wishes = (format != NULL) + (w->preset != NULL) + (q->plan_path != NULL);
    bool mixed = w->pure || w->leave_output || w->output_type != NULL || w->embedding_type != NULL;
    if (wishes == 0) return "what is wanted? Say IN OUT TYPE, -f FORMAT or --plan FILE";
    if (wishes > 1)
        return q->plan_path != NULL ? "a plan, and a format or a type are both given"
                                    : "a format and a type are both given";
    if (q->plan_path != NULL && (q->n_exceptions > 0 || mixed))
        return "a plan has every tensor's format: leave out --tensor-type and what else chooses types";
    if (q->plan_path != NULL && q->keep_codes)
        return "whether codes are kept is for the plan to say: qdq plan --keep-codes";
    if (q->plan_path != NULL && w->keep_split) return "what a plan makes is one file: leave out --keep-split";
    if (q->plan_path != NULL && w->n_prune > 0) return "a plan is for all layers: leave out --prune-layers";
    if (q->plan_path != NULL && q->overrides.n > 0)
        return "a plan's size counts on the metadata: leave out --override-kv";
    if (q->list_tensors && !q->dry_run) return "--list-tensors goes with --dry-run";
    if (q->include_weights.n > 0 && q->exclude_weights.n > 0)
        return "--include-weights and --exclude-weights do not go together";
    if (q->imatrix == NULL && (q->include_weights.n > 0 || q->exclude_weights.n > 0))
        return "--include-weights and --exclude-weights choose from an importance matrix: give --imatrix FILE";
    return q->plan_path == NULL ? make_rules(q, format, status) : NULL;
}

/* llama-quantize's name for an output that is not named: ggml-model-TYPE.gguf beside the input. */
static const char *name_output(quantization *q, const char *input, const char *type) {
    const char *preset = qdq_llama_find_preset(type);
    size_t folder = (size_t)(qdq_path_last(input) - input), room = folder + 64;
    q->made_output = malloc(room);
    if (q->made_output == NULL) return "out of memory for the output's name";
    snprintf(q->made_output, room, "%.*sggml-model-%s.gguf", (int)folder, input, preset != NULL ? preset : "COPY");
    q->output = q->made_output;
    return NULL;
}

static bool is_type(const char *word) { return qdq_llama_find_preset(word) != NULL || strcasecmp(word, "COPY") == 0; }

/* What stands where llama-quantize has the number of threads. */
static const char *wrong_order(const char *type, const char *word) {
    qdq_fail(QDQ_INVALID_ARGUMENT,
             "behind the type, %s, stands the number of threads, 0 to 4096, not '%s': the order is IN OUT TYPE", type,
             QDQ_SHOWN(word));
    return qdq_error_message();
}

/* IN, with options for all else; IN OUT; or llama-quantize's IN [OUT] TYPE [THREADS]. */
static const char *take_operands(quantization *q, const qdq_parser *parser, qdq_common *common, bool typed) {
    int n = parser->n_operands;
    char **at = parser->operands;
    long long threads;
    if (n < 1) return "no input: say IN OUT TYPE, as to llama-quantize, or -f FORMAT IN -o OUT";
    if (typed || n == 1) {
        if (n > 2 || (n == 2 && q->output != NULL)) return "more is named than an input and an output";
        if (n == 2) q->output = at[1];
        return NULL;
    }
    int next = 1;
    if (is_type(at[0]) && !is_type(at[1]) && (n < 3 || !is_type(at[2])))
        return "the type comes last: the order is IN OUT TYPE";
    if (!is_type(at[1])) {
        if (q->output != NULL) return "the output is named twice";
        q->output = at[next++];
    }
    if (next == n) return "no type: say IN OUT TYPE, as to llama-quantize, or -f FORMAT";
    q->wish.preset = at[next++];
    if (next < n) {
        if (!qdq_parse_integer(at[next], 0, 4096, &threads)) return wrong_order(q->wish.preset, at[next]);
        common->threads = (int)threads;
        next++;
    }
    if (next < n) return "there is more behind the number of threads; options begin with --";
    return q->output == NULL && !q->dry_run ? name_output(q, at[0], q->wish.preset) : NULL;
}

/* The importance matrix and the revision that a plan was made with are used unless others are named. */
static qdq_status open_plan(quantization *q, qdq_common *common) {
    qdq_plan_info info = {.size = sizeof info};
    qdq_status status = qdq_plan_open(q->plan_path, &q->plan);
    if (status == QDQ_OK) status = qdq_plan_describe(q->plan, &info);
    if (status == QDQ_OK && q->imatrix == NULL) q->imatrix = info.imatrix;
    if (status != QDQ_OK || common->reference != NULL || info.reference == NULL) return status;
    common->reference = info.reference;
    if (strcmp(info.reference, QDQ_REFERENCE_EARLIER) == 0 || strcmp(info.reference, QDQ_REFERENCE) == 0) return QDQ_OK;
    return qdq_fail(QDQ_UNSUPPORTED,
                    "%s: it was made with the reference's revision \"%s\", which this version does not have; "
                    "--reference names one that it has",
                    QDQ_SHOWN(q->plan_path), qdq_printable(info.reference, (char[64]){0}, 64));
}

static void close_all(quantization *q) {
    qdq_session_close(&q->session);
    qdq_llama_free(q->rules);
    qdq_plan_free(q->plan);
    free(q->made_output);
    json_decref(q->other);
    qdq_table_free(q->other_table);
    qdq_table_free(q->all_table);
    qdq_table_free(q->kinds_table);
    qdq_groups_free(&q->groups);
}

static int run_wish(quantization *q, qdq_common *common, const char *input, qdq_status status) {
    qdq_session_imatrix imatrix = {.n_include = q->include_weights.n,
                                   .n_exclude = q->exclude_weights.n,
                                   .include = q->include_weights.items,
                                   .exclude = q->exclude_weights.items};
    if (status == QDQ_OK && q->plan_path != NULL) status = open_plan(q, common);
    imatrix.path = q->imatrix;
    if (status == QDQ_OK) status = qdq_session_open_filtered(&q->session, common, input, &imatrix);
    if (status == QDQ_OK) status = run(q);
    return status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
}

static const char *add_word(words *list, const char *word, uint32_t most, const char *too_many) {
    if (list->n == most) return too_many;
    list->items[list->n++] = word;
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
        uint32_t i = 0;
        while (i < q->wish.n_prune && q->pruned[i] != layer) i++;
        if (i == q->wish.n_prune) q->pruned[q->wish.n_prune++] = (uint32_t)layer;
        at = end;
        if (*at == '\0') break;
    }
    qsort(q->pruned, q->wish.n_prune, sizeof *q->pruned, ascending);
    return NULL;
}

static const char *add_exception(quantization *q, const char *text, bool file) {
    if (q->n_exceptions == MAX_WORDS) return "--tensor-type is given more than 256 times: put them in a file";
    q->exceptions[q->n_exceptions].text = text;
    q->exceptions[q->n_exceptions++].file = file;
    return NULL;
}

/* One option; what is wrong with it, or NULL. */
static const char *take_option(quantization *q, int option, const char *value) {
    static const char too_many[] = "--include-weights or --exclude-weights is given more than 64 times";
    switch (option) {
    case 'o': q->output = value; return NULL;
    case IMATRIX: q->imatrix = value; return NULL;
    case PLAN: q->plan_path = value; return NULL;
    case PRESET: q->wish.preset = value; return NULL;
    case PURE: q->wish.pure = true; return NULL;
    case LEAVE_OUTPUT: q->wish.leave_output = true; return NULL;
    case DRY_RUN: q->dry_run = true; return NULL;
    case LIST_TENSORS: q->list_tensors = true; return NULL;
    case PART: return qdq_part_parse(&q->part, value);
    case RESUME: q->part.resume = true; return NULL;
    case KEEP_SPLIT: q->wish.keep_split = true; return NULL;
    case KEEP_CODES: q->keep_codes = true; return NULL;
    case OUTPUT_TYPE: q->wish.output_type = value; return NULL;
    case EMBEDDING_TYPE: q->wish.embedding_type = value; return NULL;
    case PRUNE: return take_layers(q, value);
    case INCLUDE_WEIGHTS: return add_word(&q->include_weights, value, MAX_PARTS, too_many);
    case EXCLUDE_WEIGHTS: return add_word(&q->exclude_weights, value, MAX_PARTS, too_many);
    case RULES: q->wish.rules = value; return NULL;
    case MAP: q->map = value; return NULL;
    case OVERRIDE_KV: return add_word(&q->overrides, value, MAX_WORDS, "--override-kv is given more than 256 times");
    default: return add_exception(q, value, option == TENSOR_TYPE_FILE);
    }
}

int qdq_command_quantize(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    const char *format = NULL, *wrong = NULL;
    quantization q = {.wish = {.size = sizeof q.wish, .format = QDQ_FORMAT_NONE}};
    qdq_status status = QDQ_OK;
    qdq_parse_begin(&parser, &qdq_cli_quantize, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        if (o == QDQ_PARSE_EXIT) return parser.status;
        if (o == 'f')
            format = parser.value;
        else if (wrong == NULL)
            wrong = take_option(&q, o, parser.value);
    }
    int exit_status;
    bool typed = format != NULL || q.wish.preset != NULL || q.plan_path != NULL;
    if (wrong == NULL) wrong = take_operands(&q, &parser, &common, typed);
    common.map = q.map;
    if (wrong == NULL && common.like != NULL && q.wish.keep_split)
        wrong = "what is made with --like is one file: leave out --keep-split";
    if (wrong == NULL && common.like == NULL && q.map != NULL) wrong = "--map goes with --like";
    bool wished = typed || q.wish.preset != NULL;
    if (wrong == NULL && wished && q.output == NULL && !q.dry_run) wrong = "no output: say -o OUT.gguf";
    if (wrong == NULL && !q.dry_run && q.output != NULL) wrong = qdq_path_misnamed(q.output, "GGUF", ".safetensors");
    if (wrong == NULL) wrong = qdq_part_check(&q.part, &common, q.dry_run);
    common.keep_codes = q.keep_codes;
    if (wrong == NULL) wrong = check_wish(&q, format, &status);
    if (wrong == NULL && q.output != NULL && !q.dry_run && !q.wish.keep_split)
        wrong = qdq_parse_output(&parser, q.output);
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
     "that only llama-quantize's types have, as Q4_K_M, is taken as --preset"},
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
    {DRY_RUN, "dry-run", NULL, QDQ_ARG_NONE, NULL,
     "write nothing: say what tensors of each kind would become, why, and the file's size"},
    {LIST_TENSORS, "list-tensors", NULL, QDQ_ARG_NONE, NULL, "with --dry-run: one line a tensor"},
    {KEEP_CODES, "keep-codes", NULL, QDQ_ARG_NONE, NULL,
     "of checkpoints whose weights are codes: those that a format of GGUF has as well stay as they are, INT4 as q4_0, "
     "MXFP4 as mxfp4, NVFP4 as nvfp4 with its outer scales as tensors; refused where a weight would change. The rest "
     "gets what else is said"},
    {KEEP_SPLIT, "keep-split", NULL, QDQ_ARG_NONE, NULL,
     "from a split set a split set: OUT-00001-of-0000N.gguf and so on, with the tensors of the same shards"},
    {PART, "part", "K/N", QDQ_ARG_TEXT, NULL, QDQ_PART_HELP},
    {RESUME, "resume", NULL, QDQ_ARG_NONE, NULL, QDQ_RESUME_HELP},
    {RULES, "rules", "REVISION", QDQ_ARG_CHOICE, QDQ_LLAMA_RULES_EARLIER " " QDQ_LLAMA_RULES,
     "of which llama-quantize the rules are that choose formats; the newest is the default"},
    {MAP, "map", "FILE", QDQ_ARG_INPUT, NULL,
     "with --like: pairs of names, Hugging Face's and GGUF's, that go before the built-in"},
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
    {"from a checkpoint and any published GGUF of it, a file that runs",
     "qdq quantize --like model-Q8_0.gguf checkpoint/ model-Q4_K_M.gguf Q4_K_M"},
    {"with the formats that qdq plan has chosen", "qdq quantize --plan plan.json model-f16.gguf -o model-4.5bpw.gguf"},
    {"the second of eight jobs", "qdq quantize --part 2/8 --resume model-bf16.gguf model-Q4_K_M.gguf Q4_K_M"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_quantize = {
    .name = "quantize",
    .summary = "write a model as GGUF in a format",
    .operands = "IN [OUT.gguf] TYPE [THREADS] | -f FORMAT|--plan FILE IN -o OUT.gguf",
    .text =
        "IN OUT TYPE is llama-quantize's command, and makes the file that it makes on x86-64, byte for byte. TYPE is "
        "one of its types, in any case, or its number: mixtures like Q4_K_M and IQ3_M, which give some tensors more "
        "bits than others (its Q4_0 and Q4_K are mixtures too), F32, F16, BF16, or COPY. Without OUT it is "
        "ggml-model-TYPE.gguf beside IN.\n\n"
        "With -f every tensor that llama-quantize quantizes gets the format, as from llama-quantize --pure. Which "
        "tensors these are follows its rules, and so does the format that takes a row which is no multiple of the "
        "block: q4_0 for q2_K, q3_K, tq1_0, tq2_0 and q2_0, q5_0 for q4_K, q5_1 for q5_K, q8_0 for q6_K, iq4_nl for "
        "the other formats with blocks of 256, and f16 where not even those fit. Each such exception is listed, many "
        "by kinds of tensors, and so is what stays as it is, with the reason.\n\n"
        "iq1_s, iq1_m, iq2_xxs, iq2_xs, iq2_s and iq3_xxs need an importance matrix.\n\n"
        "With --plan each tensor gets the plan's format, and the file has the size that the plan foretold; a plan that "
        "was made with an importance matrix uses it again.\n\n"
        "From a GGUF all metadata are kept, with general.file_type and general.quantization_version set; the parts of "
        "a split set become one file, unless --keep-split is given. A safetensors file has no such metadata: with "
        "--like it gets those of a published GGUF, and its names; else the output holds the tensors alone, and its "
        "general.description says so.",
    .options = options,
    .takes = QDQ_TAKES_DEVICE | QDQ_TAKES_THREADS | QDQ_TAKES_FILTER | QDQ_TAKES_FINITE | QDQ_TAKES_CODES |
             QDQ_TAKES_REFERENCE | QDQ_TAKES_LIKE | QDQ_TAKES_JSON | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_quantize,
};
