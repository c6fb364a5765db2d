/* qdq quantize: a model as GGUF, its weights packed in a format. */
#include <stdlib.h>
#include <string.h>

#include "plan/planned.h"
#include "model/metadata.h"
#include "model/targets.h"
#include "cli/session.h"
#include "base/error.h"

enum { IMATRIX = QDQ_LONG_OPTION, PLAN, TENSOR_TYPE, TENSOR_TYPE_FILE };

typedef struct quantization {
    qdq_session session;
    qdq_rewrite rewrite;
    qdq_targets targets;
    const char *plan_path; /* NULL: no plan, but targets */
    qdq_plan plan;
    const char *imatrix, *output;
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

static qdq_status add_tensors(quantization *q) {
    uint64_t n = qdq_model_tensor_count(q->session.model);
    bool already = false;
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) {
        qdq_target_choice choice;
        status = q->plan_path != NULL ? qdq_planned_choose(&q->plan, q->session.selection, i, &choice)
                                      : qdq_targets_choose(&q->targets, q->session.selection, i, &choice);
        if (status == QDQ_OK)
            status = qdq_session_rewrite(&q->session, &q->rewrite, i, choice.format, choice.importance, choice.reason);
        if (status == QDQ_OK && choice.format != QDQ_FORMAT_NONE && choice.exception)
            list_exception(q, qdq_model_tensor(q->session.model, i), &choice);
        already |= choice.already;
    }
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
    return q->plan_path != NULL ? "as planned" : qdq_describe_format(q->targets.format).name;
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
    return json_pack("{s:s, s:o, s:s, s:I, s:o, s:O, s:O, s:o, s:O}", "schema", "qdq.quantize/1", "format",
                     q->plan_path != NULL ? json_null() : json_string(name_of(q)), "device", s->info.name, "bytes",
                     (json_int_t)file_bytes, "bits_per_weight",
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
        printf("%s: %s, %.4g bits a weight\n", qdq_printable(q->output, name, sizeof name), QDQ_SIZE(file_bytes),
               bits_per_weight(r->written, r->elements));
        printf("%llu of %llu tensors are %s; %s of %s in the source\n",
               (unsigned long long)(r->quantized - qdq_table_rows(q->exceptions_table)), (unsigned long long)r->n,
               name_of(q), QDQ_SIZE(r->written), QDQ_SIZE(r->bytes));
        qdq_session_print_importance(&q->session, r);
        if (q->seconds > 0)
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
    if (q->exceptions == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the results");
    if (qdq_common_tables(q->session.common)) q->exceptions_table = qdq_table_create("tensor|shape|format|reason");
    qdq_status status = q->plan_path != NULL ? qdq_planned_check(&q->plan, q->plan_path, q->session.model) : QDQ_OK;
    if (status == QDQ_OK) status = qdq_writer_create(QDQ_LAYOUT_GGUF, q->output, &r->writer);
    uint32_t file_type =
        q->plan_path != NULL ? qdq_planned_file_type(&q->plan) : qdq_describe_format(q->targets.format).ggml_file_type;
    if (status == QDQ_OK) status = qdq_packed_metadata(r->writer, q->session.selection, file_type, q->imatrix);
    if (status == QDQ_OK) status = add_tensors(q);
    if (status == QDQ_OK) status = qdq_writer_size(r->writer, &file_bytes);
    qdq_progress_begin("quantize", q->session.common->quiet);
    if (status == QDQ_OK) status = qdq_rewrite_run(r);
    qdq_progress_end();
    q->seconds = qdq_seconds() - began;
    if (status == QDQ_OK) status = qdq_json_write(&q->session.json, result(q, file_bytes));
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
static const char *check_wish(quantization *q, const char *format) {
    qdq_targets *t = &q->targets;
    qdq_format formats[QDQ_MAX_FORMATS];
    uint32_t n;
    if (format == NULL && q->plan_path == NULL) return "no format: say -f FORMAT or --plan FILE";
    if (format != NULL && q->plan_path != NULL) return "-f and --plan are both given";
    if (q->plan_path != NULL && t->overrides != NULL)
        return "a plan has every tensor's format: leave out --tensor-type";
    if (format == NULL) return NULL;
    if (qdq_parse_targets(format, formats, &n) != QDQ_OK) return qdq_error_message();
    if (n != 1) return "one format is wanted";
    t->format = formats[0];
    if (t->overrides != NULL && qdq_format_is_float(t->format, NULL))
        return "llama-quantize passes over --tensor-type where -f is f32, f16 or bf16: give -f the most common of the "
               "quantized formats, and name the tensors that are to be floats";
    return qdq_targets_check_importance(t, q->imatrix) == QDQ_OK ? NULL : qdq_error_message();
}

/* Opens what -f and --plan do not tell by themselves. The importance matrix that a plan was made with is used unless
 * another is named. */
static qdq_status prepare(quantization *q) {
    qdq_targets *t = &q->targets;
    if (t->overrides != NULL) {
        t->used = calloc(qdq_type_file_count(t->overrides) + 1, sizeof *t->used);
        if (t->used == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for --tensor-type");
    }
    if (q->plan_path == NULL) return QDQ_OK;
    qdq_status status = qdq_plan_open(q->plan_path, &q->plan);
    if (status == QDQ_OK && q->imatrix == NULL) q->imatrix = q->plan.imatrix;
    return status == QDQ_OK ? qdq_planned_check_importance(&q->plan, q->imatrix) : status;
}

static void close_all(quantization *q) {
    qdq_session_close(&q->session);
    qdq_rewrite_close(&q->rewrite);
    qdq_targets_free(&q->targets);
    qdq_plan_free(&q->plan);
    json_decref(q->exceptions);
    qdq_table_free(q->exceptions_table);
}

static int run_wish(quantization *q, const qdq_common *common, const char *input, qdq_status status) {
    if (status == QDQ_OK) status = prepare(q);
    if (status == QDQ_OK) status = qdq_session_open(&q->session, common, input, q->imatrix);
    if (status == QDQ_OK) status = run(q);
    return status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
}

int qdq_command_quantize(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    const char *format = NULL, *wrong = NULL;
    quantization q = {.rewrite = {.kind = QDQ_WORK_QUANTIZE}, .targets = {.format = QDQ_FORMAT_NONE}};
    qdq_status status = QDQ_OK;
    qdq_parse_begin(&parser, &qdq_cli_quantize, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        switch (o) {
        case QDQ_PARSE_EXIT: close_all(&q); return parser.status;
        case 'f': format = parser.value; break;
        case 'o': q.output = parser.value; break;
        case IMATRIX: q.imatrix = parser.value; break;
        case PLAN: q.plan_path = parser.value; break;
        default:
            if (status != QDQ_OK || wrong != NULL) break;
            status = add_override(&q.targets, o, parser.value);
            if (status == QDQ_OK || o != TENSOR_TYPE) break;
            status = QDQ_OK;
            wrong = qdq_error_message();
        }
    }
    int exit_status;
    if (wrong == NULL && q.output == NULL) wrong = "no output: say -o OUT.gguf";
    if (wrong == NULL && status == QDQ_OK) wrong = check_wish(&q, format);
    if (parser.n_operands != 1)
        exit_status = qdq_usage_error(&parser, "one input is wanted, not %d", parser.n_operands);
    else if (wrong != NULL)
        exit_status = qdq_usage_error(&parser, "%s", wrong);
    else
        exit_status = run_wish(&q, &common, parser.operands[0], status);
    close_all(&q);
    return exit_status;
}

static const qdq_cli_option options[] = {
    {'f', "format", "FORMAT", QDQ_ARG_TARGET, NULL,
     "the format of every tensor that is quantized, as llama-quantize --pure: a format, or f32, f16, bf16"},
    {TENSOR_TYPE, "tensor-type", "REGEX=F", QDQ_ARG_TEXT, NULL,
     "another format for tensors whose name has a match, read as llama-quantize reads it: the regex is turned to lower "
     "case; may be given again, the first that matches counts"},
    {TENSOR_TYPE_FILE, "tensor-type-file", "FILE", QDQ_ARG_FILE, NULL,
     "a file of such words, as qdq plan --recipe writes it"},
    {PLAN, "plan", "FILE", QDQ_ARG_FILE, NULL,
     "instead of -f: the plan of qdq plan, each tensor in a format of its own"},
    {'o', "output", "OUT", QDQ_ARG_FILE, NULL, "the GGUF file to write"},
    {IMATRIX, "imatrix", "FILE", QDQ_ARG_FILE, NULL,
     "an importance matrix of llama-imatrix, for the formats that use one"},
    {0},
};

static const qdq_cli_example examples[] = {
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
    .operands = "-f FORMAT|--plan FILE IN -o OUT.gguf",
    .text =
        "Writes the model as GGUF with every tensor that llama-quantize quantizes in the format, byte for byte as "
        "llama-quantize --pure makes it on x86-64. Which tensors these are follows its rules, and so does the format "
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
