/* qdq quantize: a model as GGUF, its weights packed in a format. */
#include <string.h>

#include "cli/rewrite.h"

enum { IMATRIX = QDQ_LONG_OPTION };

/* Which format a tensor gets: that of -f, as with llama-quantize's --pure, or none, and then why. */
static qdq_status choose_format(qdq_session *session, const qdq_tensor *tensor, qdq_format wanted, qdq_format *format,
                                const qdq_imatrix_entry **importance, char reason[QDQ_REASON]) {
    *format = QDQ_FORMAT_NONE;
    *importance = NULL;
    if (!qdq_session_takes(session, tensor, reason)) return QDQ_OK;
    bool fits;
    qdq_status status = qdq_session_fits(session, tensor, wanted, importance, &fits, reason);
    if (fits) *format = wanted;
    return status;
}

/* ---- Metadata --------------------------------------------------------------------------------------------------- */

static qdq_status set_importance_metadata(qdq_writer *writer, const qdq_imatrix *imatrix, const char *path) {
    qdq_status status = qdq_writer_set_string(writer, "quantize.imatrix.file", path);
    if (status == QDQ_OK)
        status = qdq_writer_set_string(writer, "quantize.imatrix.dataset", qdq_imatrix_dataset(imatrix));
    if (status == QDQ_OK)
        status = qdq_writer_set_u32(writer, "quantize.imatrix.entries_count", (uint32_t)qdq_imatrix_count(imatrix));
    if (status == QDQ_OK && qdq_imatrix_chunks(imatrix) > 0)
        status = qdq_writer_set_u32(writer, "quantize.imatrix.chunks_count", qdq_imatrix_chunks(imatrix));
    return status;
}

static qdq_status set_metadata(qdq_rewrite *r, qdq_format format, const char *imatrix) {
    qdq_status status;
    if (qdq_model_layout(r->session.model) == QDQ_LAYOUT_GGUF)
        status = qdq_writer_copy_metadata(r->writer, r->session.model);
    else
        status =
            qdq_writer_set_string(r->writer, "general.description",
                                  "tensors alone, quantized from safetensors: no architecture, no hyper-parameters, "
                                  "no tokenizer, so no engine can run it");
    if (status == QDQ_OK)
        status = qdq_writer_set_u32(r->writer, "general.file_type", qdq_describe_format(format).ggml_file_type);
    if (status == QDQ_OK) status = qdq_writer_set_u32(r->writer, "general.quantization_version", 2);
    if (status == QDQ_OK && imatrix != NULL) status = set_importance_metadata(r->writer, r->session.imatrix, imatrix);
    return status;
}

/* ---- Running ---------------------------------------------------------------------------------------------------- */

static qdq_status add_tensors(qdq_rewrite *r, qdq_format wanted) {
    uint64_t n = qdq_model_tensor_count(r->session.model);
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) {
        qdq_format format;
        const qdq_imatrix_entry *importance;
        char reason[QDQ_REASON];
        status =
            choose_format(&r->session, qdq_model_tensor(r->session.model, i), wanted, &format, &importance, reason);
        if (status == QDQ_OK) status = qdq_rewrite_add(r, i, format, importance, reason);
    }
    return status;
}

static double bits_per_weight(uint64_t bytes, uint64_t elements) {
    return elements > 0 ? 8 * (double)bytes / (double)elements : 0;
}

static json_t *result(qdq_rewrite *r, qdq_format format, uint64_t file_bytes) {
    qdq_session *s = &r->session;
    return json_pack("{s:s, s:s, s:s, s:I, s:o, s:O, s:O}", "schema", "qdq.quantize/1", "format",
                     qdq_describe_format(format).name, "device", s->info.name, "bytes", (json_int_t)file_bytes,
                     "bits_per_weight", qdq_json_number(bits_per_weight(r->written, r->elements)), "tensors",
                     s->tensors, "skipped", s->skipped);
}

static qdq_status print_summary(qdq_rewrite *r, qdq_format format, const char *output, uint64_t file_bytes) {
    char name[512];
    if (qdq_common_tables(r->session.common)) {
        printf("%s: %s, %.4g bits a weight; %llu of %llu tensors are %s", qdq_printable(output, name, sizeof name),
               QDQ_SIZE(file_bytes), bits_per_weight(r->written, r->elements), (unsigned long long)r->quantized,
               (unsigned long long)r->n, qdq_describe_format(format).name);
        printf(", %s of %s in the source\n", QDQ_SIZE(r->written), QDQ_SIZE(r->bytes));
        if (qdq_model_layout(r->session.model) != QDQ_LAYOUT_GGUF)
            puts("The source has no GGUF metadata, so the output has the tensors alone: no engine can run it.");
    }
    return qdq_session_print(&r->session, NULL, "kept as they are");
}

static qdq_status run(qdq_rewrite *r, qdq_format format, const char *imatrix, const char *output) {
    uint64_t file_bytes = 0;
    qdq_status status = qdq_writer_create(QDQ_LAYOUT_GGUF, output, &r->writer);
    if (status == QDQ_OK) status = set_metadata(r, format, imatrix);
    if (status == QDQ_OK) status = add_tensors(r, format);
    if (status == QDQ_OK) status = qdq_writer_size(r->writer, &file_bytes);
    if (status == QDQ_OK) status = qdq_rewrite_run(r, "quantize");
    if (status == QDQ_OK) status = qdq_json_write(&r->session.json, result(r, format, file_bytes));
    return status == QDQ_OK ? print_summary(r, format, output, file_bytes) : status;
}

int qdq_command_quantize(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    const char *format = NULL, *output = NULL, *imatrix = NULL;
    qdq_parse_begin(&parser, &qdq_cli_quantize, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        switch (o) {
        case QDQ_PARSE_EXIT: return parser.status;
        case 'f': format = parser.value; break;
        case 'o': output = parser.value; break;
        case IMATRIX: imatrix = parser.value; break;
        }
    }
    qdq_format formats[QDQ_MAX_FORMATS];
    uint32_t n;
    if (parser.n_operands != 1) return qdq_usage_error(&parser, "one input is wanted, not %d", parser.n_operands);
    if (format == NULL) return qdq_usage_error(&parser, "no format: say -f FORMAT");
    if (output == NULL) return qdq_usage_error(&parser, "no output: say -o OUT.gguf");
    if (qdq_parse_formats(format, formats, &n) != QDQ_OK || qdq_check_importance(formats, n, imatrix) != QDQ_OK)
        return qdq_usage_error(&parser, "%s", qdq_error_message());
    if (n != 1) return qdq_usage_error(&parser, "one format is wanted, not %u", (unsigned)n);
    qdq_rewrite rewrite = {.kind = QDQ_WORK_QUANTIZE};
    qdq_status status = qdq_session_open(&rewrite.session, &common, parser.operands[0], imatrix);
    if (status == QDQ_OK) status = run(&rewrite, formats[0], imatrix, output);
    int exit_status = status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
    qdq_rewrite_close(&rewrite);
    qdq_common_free(&common);
    return exit_status;
}

static const qdq_cli_option options[] = {
    {'f', "format", "FORMAT", QDQ_ARG_FORMAT, NULL, "the format of every eligible tensor"},
    {'o', "output", "OUT", QDQ_ARG_FILE, NULL, "the GGUF file to write"},
    {IMATRIX, "imatrix", "FILE", QDQ_ARG_FILE, NULL,
     "an importance matrix of llama-imatrix, for the formats that use one"},
    {0},
};

static const qdq_cli_example examples[] = {
    {"a model for llama.cpp in Q4_0, all of it", "qdq quantize -f q4_0 model-f16.gguf -o model-q4_0.gguf"},
    {"with output and embeddings as they are",
     "qdq quantize -f q4_0 --exclude '^(output|token_embd)' model-f16.gguf -o model-q4_0.gguf"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_quantize = {
    .name = "quantize",
    .summary = "write a model as GGUF in a format",
    .operands = "-f FORMAT IN -o OUT.gguf",
    .text =
        "Writes the model as GGUF with every eligible tensor in the format, the bytes that ggml's reference code "
        "makes, as llama-quantize --pure does. Other tensors stay as they are, and are listed with the reason.\n\n"
        "From a GGUF all metadata are kept, with general.file_type and general.quantization_version set; the parts of "
        "a split set become one file. A safetensors file has no such metadata: then the output holds the tensors "
        "alone, and its general.description says so.",
    .options = options,
    .takes =
        QDQ_TAKES_DEVICE | QDQ_TAKES_THREADS | QDQ_TAKES_FILTER | QDQ_TAKES_FINITE | QDQ_TAKES_JSON | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_quantize,
};
