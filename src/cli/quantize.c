/* qdq quantize: a model as GGUF, its weights packed in a format. */
#include <string.h>

#include "analysis/plan.h"
#include "cli/packed.h"
#include "cli/rewrite.h"
#include "core/error.h"

enum { IMATRIX = QDQ_LONG_OPTION, PLAN };

/* What is wanted: one format for all tensors, as with llama-quantize's --pure, or a plan. */
typedef struct wish {
    qdq_format format;     /* QDQ_FORMAT_NONE: the plan's */
    const char *plan_path; /* NULL: none */
    qdq_plan plan;
    const char *imatrix;
} wish;

/* ---- Plans ------------------------------------------------------------------------------------------------------ */

/* The plan is one for these tensors. */
static qdq_status check_plan(const wish *w, const qdq_model *model) {
    uint64_t n = qdq_model_tensor_count(model);
    char path[512], name[256];
    qdq_printable(w->plan_path, path, sizeof path);
    if (n != w->plan.n_tensors)
        return qdq_fail(QDQ_BAD_DATA, "%s: a plan for another model: it has %llu tensors, this one has %llu", path,
                        (unsigned long long)w->plan.n_tensors, (unsigned long long)n);
    for (uint64_t i = 0; i < n; i++) {
        const qdq_tensor *t = qdq_model_tensor(model, i);
        const qdq_plan_tensor *p = &w->plan.tensors[i];
        if (strcmp(t->name, p->name) == 0 && strcmp(t->type_name, p->dtype) == 0 && t->n_dims == p->n_dims &&
            (t->n_dims == 0 || memcmp(t->shape, p->shape, t->n_dims * sizeof *t->shape) == 0))
            continue;
        return qdq_fail(
            QDQ_BAD_DATA,
            "%s: a plan for another model: this one has \"%s\", %s of %s, where the plan has another tensor, "
            "shape or type",
            path, qdq_printable(t->name, name, sizeof name), QDQ_EXTENTS(t), t->type_name);
    }
    return QDQ_OK;
}

static qdq_status check_plan_importance(const wish *w) {
    for (size_t i = 0; i < w->plan.n_tensors; i++) {
        qdq_format format = qdq_plan_format(&w->plan.tensors[i]);
        qdq_status status = format != QDQ_FORMAT_NONE ? qdq_check_importance(&format, 1, w->imatrix) : QDQ_OK;
        if (status != QDQ_OK) return status;
    }
    return QDQ_OK;
}

/* Which format tensor `index` gets, or none, and then why. */
static qdq_status choose_format(qdq_session *session, const wish *w, uint64_t index, qdq_format *format,
                                const qdq_imatrix_entry **importance, char reason[QDQ_REASON]) {
    const qdq_tensor *tensor = qdq_model_tensor(session->model, index);
    qdq_format wanted = w->format;
    *format = QDQ_FORMAT_NONE;
    *importance = NULL;
    if (w->plan_path != NULL) {
        wanted = qdq_plan_format(&w->plan.tensors[index]);
        const char *why = w->plan.tensors[index].reason;
        snprintf(reason, QDQ_REASON, "%s", why != NULL ? why : "the plan keeps it as it is");
        if (wanted == QDQ_FORMAT_NONE) return QDQ_OK;
    }
    if (!qdq_session_takes(session, tensor, reason)) return QDQ_OK;
    bool fits;
    qdq_status status = qdq_session_fits(session, tensor, wanted, importance, &fits, reason);
    if (fits) *format = wanted;
    return status;
}

/* ---- Running ---------------------------------------------------------------------------------------------------- */

static qdq_status add_tensors(qdq_rewrite *r, const wish *w) {
    uint64_t n = qdq_model_tensor_count(r->session.model);
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) {
        qdq_format format;
        const qdq_imatrix_entry *importance;
        char reason[QDQ_REASON];
        status = choose_format(&r->session, w, i, &format, &importance, reason);
        if (status == QDQ_OK) status = qdq_rewrite_add(r, i, format, importance, reason);
    }
    return status;
}

static double bits_per_weight(uint64_t bytes, uint64_t elements) {
    return elements > 0 ? 8 * (double)bytes / (double)elements : 0;
}

/* What the output is in, for people. */
static const char *name_of(const wish *w) {
    return w->plan_path != NULL ? "as planned" : qdq_describe_format(w->format).name;
}

static json_t *result(qdq_rewrite *r, const wish *w, uint64_t file_bytes) {
    qdq_session *s = &r->session;
    return json_pack("{s:s, s:o, s:s, s:I, s:o, s:O, s:O}", "schema", "qdq.quantize/1", "format",
                     w->plan_path != NULL ? json_null() : json_string(name_of(w)), "device", s->info.name, "bytes",
                     (json_int_t)file_bytes, "bits_per_weight",
                     qdq_json_number(bits_per_weight(r->written, r->elements)), "tensors", s->tensors, "skipped",
                     s->skipped);
}

static qdq_status print_summary(qdq_rewrite *r, const wish *w, const char *output, uint64_t file_bytes) {
    char name[512];
    if (qdq_common_tables(r->session.common)) {
        printf("%s: %s, %.4g bits a weight; %llu of %llu tensors are %s", qdq_printable(output, name, sizeof name),
               QDQ_SIZE(file_bytes), bits_per_weight(r->written, r->elements), (unsigned long long)r->quantized,
               (unsigned long long)r->n, name_of(w));
        printf(", %s of %s in the source\n", QDQ_SIZE(r->written), QDQ_SIZE(r->bytes));
        if (qdq_model_layout(r->session.model) != QDQ_LAYOUT_GGUF)
            puts("The source has no GGUF metadata, so the output has the tensors alone: no engine can run it.");
    }
    return qdq_session_print(&r->session, NULL, "kept as they are");
}

static qdq_status run(qdq_rewrite *r, const wish *w, const char *output) {
    uint64_t file_bytes = 0;
    qdq_status status = w->plan_path != NULL ? check_plan(w, r->session.model) : QDQ_OK;
    if (status == QDQ_OK) status = qdq_writer_create(QDQ_LAYOUT_GGUF, output, &r->writer);
    uint32_t file_type =
        w->plan_path != NULL ? qdq_packed_file_type(&w->plan) : qdq_describe_format(w->format).ggml_file_type;
    if (status == QDQ_OK) status = qdq_packed_metadata(r->writer, &r->session, file_type, w->imatrix);
    if (status == QDQ_OK) status = add_tensors(r, w);
    if (status == QDQ_OK) status = qdq_writer_size(r->writer, &file_bytes);
    if (status == QDQ_OK) status = qdq_rewrite_run(r, "quantize");
    if (status == QDQ_OK) status = qdq_json_write(&r->session.json, result(r, w, file_bytes));
    return status == QDQ_OK ? print_summary(r, w, output, file_bytes) : status;
}

/* Reads -f or --plan. The importance matrix that a plan was made with is used unless another is named. */
static int read_wish(qdq_parser *parser, const char *format, wish *w) {
    qdq_format formats[QDQ_MAX_FORMATS];
    uint32_t n;
    qdq_status status;
    if (format == NULL && w->plan_path == NULL)
        return qdq_usage_error(parser, "no format: say -f FORMAT or --plan FILE");
    if (format != NULL && w->plan_path != NULL) return qdq_usage_error(parser, "-f and --plan are both given");
    if (format != NULL) {
        status = qdq_parse_formats(format, formats, &n);
        if (status == QDQ_OK) status = qdq_check_importance(formats, n, w->imatrix);
        if (status != QDQ_OK) return qdq_usage_error(parser, "%s", qdq_error_message());
        if (n != 1) return qdq_usage_error(parser, "one format is wanted, not %u", (unsigned)n);
        w->format = formats[0];
        return QDQ_EXIT_OK;
    }
    status = qdq_plan_open(w->plan_path, &w->plan);
    if (status == QDQ_OK && w->imatrix == NULL) w->imatrix = w->plan.imatrix;
    if (status == QDQ_OK) status = check_plan_importance(w);
    if (status == QDQ_OK) return QDQ_EXIT_OK;
    qdq_plan_free(&w->plan);
    qdq_common_free(parser->common);
    return qdq_exit_failure(status);
}

int qdq_command_quantize(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    const char *format = NULL, *output = NULL;
    wish w = {.format = QDQ_FORMAT_NONE};
    qdq_parse_begin(&parser, &qdq_cli_quantize, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        switch (o) {
        case QDQ_PARSE_EXIT: return parser.status;
        case 'f': format = parser.value; break;
        case 'o': output = parser.value; break;
        case IMATRIX: w.imatrix = parser.value; break;
        case PLAN: w.plan_path = parser.value; break;
        }
    }
    if (parser.n_operands != 1) return qdq_usage_error(&parser, "one input is wanted, not %d", parser.n_operands);
    if (output == NULL) return qdq_usage_error(&parser, "no output: say -o OUT.gguf");
    int exit_status = read_wish(&parser, format, &w);
    if (exit_status != QDQ_EXIT_OK) return exit_status;
    qdq_rewrite rewrite = {.kind = QDQ_WORK_QUANTIZE};
    qdq_status status = qdq_session_open(&rewrite.session, &common, parser.operands[0], w.imatrix);
    if (status == QDQ_OK) status = run(&rewrite, &w, output);
    exit_status = status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
    qdq_rewrite_close(&rewrite);
    qdq_plan_free(&w.plan);
    qdq_common_free(&common);
    return exit_status;
}

static const qdq_cli_option options[] = {
    {'f', "format", "FORMAT", QDQ_ARG_FORMAT, NULL, "the format of every eligible tensor"},
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
    {"with the formats that qdq plan has chosen", "qdq quantize --plan plan.json model-f16.gguf -o model-4.5bpw.gguf"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_quantize = {
    .name = "quantize",
    .summary = "write a model as GGUF in a format",
    .operands = "-f FORMAT|--plan FILE IN -o OUT.gguf",
    .text =
        "Writes the model as GGUF with every eligible tensor in the format, the bytes that ggml's reference code "
        "makes, as llama-quantize --pure does. Other tensors stay as they are, and are listed with the reason.\n\n"
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
