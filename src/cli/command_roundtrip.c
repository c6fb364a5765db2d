/* qdq roundtrip: a model whose weights are what they become when they are quantized and dequantized. */
#include <string.h>

#include "cli/part.h"
#include "cli/session.h"

enum { DTYPE = QDQ_LONG_OPTION, IMATRIX, PART, RESUME };

static json_t *result(const qdq_session *s, qdq_format format) {
    return json_pack("{s:s, s:s, s:s, s:o, s:O, s:O}", "schema", "qdq.roundtrip/1", "format", qdq_format_name(format),
                     "device", s->device_names, "codes", qdq_session_codes(s), "tensors", s->tensors, "skipped",
                     s->skipped);
}

static qdq_status print_summary(qdq_session *s, const qdq_file_report *r, qdq_format format, const char *output,
                                const qdq_part *part) {
    if (qdq_common_tables(s->common)) {
        printf("%s: %llu of %llu tensors are their %s round trip\n", QDQ_SHOWN(output), (unsigned long long)r->made,
               (unsigned long long)r->tensors, qdq_format_name(format));
        if (part->parts > 0) qdq_part_print(part, r, output);
        qdq_session_print_importance(s, r->made, r->weighted);
    }
    return qdq_session_print(s, NULL, "passed through as they are");
}

typedef struct making {
    qdq_session *session;
    qdq_format format;
} making;

static qdq_status decided(void *context, uint64_t index, const char *name, const qdq_choice *choice, const char *type) {
    return qdq_session_decided(((making *)context)->session, index, name, choice, type);
}

/* All that could still fail for want of memory. */
static qdq_status ready(void *context, const qdq_file_report *report) {
    (void)report;
    const making *m = context;
    qdq_status status = qdq_session_check(m->session, NULL);
    return status == QDQ_OK ? qdq_json_prepare(&m->session->json, result(m->session, m->format)) : status;
}

static qdq_status run(qdq_session *s, qdq_format format, bool source_dtype, const char *output, const qdq_part *part) {
    making m = {s, format};
    qdq_uniform uniform = {.selection = s->selection, .format = format};
    qdq_file_options options = {
        .size = sizeof options, .source_dtype = source_dtype, .decided = decided, .context = &m, .ready = ready};
    qdq_file_report report = {.size = sizeof report};
    qdq_part_options(part, &options);
    qdq_progress_begin("round trip", s->common->quiet);
    qdq_status status =
        qdq_roundtrip_file(s->pass, s->selection, output, qdq_uniform_choose, &uniform, &options, &report);
    qdq_progress_end();
    status = qdq_part_finish(part, status, output);
    if (status != QDQ_OK && qdq_error_advice() == QDQ_ADVICE_WEIGHTS)
        return qdq_session_nothing(s, "there is nothing to round-trip");
    if (status == QDQ_OK) status = qdq_json_finish(&s->json);
    return status == QDQ_OK ? print_summary(s, &report, format, output, part) : status;
}

int qdq_command_roundtrip(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    const char *format = NULL, *output = NULL, *imatrix = NULL, *dtype = "f32", *wrong = NULL;
    qdq_part part = {0};
    qdq_parse_begin(&parser, &qdq_cli_roundtrip, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        switch (o) {
        case QDQ_PARSE_EXIT: return parser.status;
        case 'f': format = parser.value; break;
        case 'o': output = parser.value; break;
        case DTYPE: dtype = parser.value; break;
        case IMATRIX: imatrix = parser.value; break;
        case PART: wrong = wrong != NULL ? wrong : qdq_part_parse(&part, parser.value); break;
        case RESUME: part.resume = true; break;
        }
    }
    qdq_format made;
    if (wrong == NULL && output != NULL) wrong = qdq_path_misnamed(output, "safetensors", ".gguf");
    if (wrong == NULL) wrong = qdq_part_check(&part, &common, false);
    if (wrong != NULL) return qdq_usage_error(&parser, "%s", wrong);
    if (!qdq_parse_input(&parser)) return parser.status;
    if (format == NULL) return qdq_usage_error(&parser, "no format: say -f FORMAT");
    if (output == NULL) return qdq_usage_error(&parser, "no output: say -o OUT.safetensors");
    if (strcmp(dtype, "f32") != 0 && strcmp(dtype, "source") != 0)
        return qdq_usage_error(&parser, "--dtype is f32 or source, not '%s'", dtype);
    if (qdq_one_format(format, QDQ_LIST_FLOATS, imatrix, &made) != QDQ_OK)
        return qdq_usage_error(&parser, "%s", qdq_explanation());
    qdq_session session;
    qdq_status status = qdq_session_open(&session, &common, parser.operands[0], imatrix);
    if (status == QDQ_OK) status = run(&session, made, strcmp(dtype, "source") == 0, output, &part);
    int exit_status = status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
    qdq_session_close(&session);
    return exit_status;
}

static const qdq_cli_option options[] = {
    {'f', "format", "FORMAT", QDQ_ARG_TARGET, NULL, "the format of the round trip; also f32, f16, bf16"},
    {'o', "output", "OUT", QDQ_ARG_OUTPUT, NULL, "the safetensors file to write"},
    {DTYPE, "dtype", "DTYPE", QDQ_ARG_CHOICE, "f32 source",
     "what the round trips are stored as: f32 (the default: exact) or source (each tensor's own, rounded to nearest, "
     "ties to even)"},
    {IMATRIX, "imatrix", "FILE", QDQ_ARG_INPUT, NULL,
     "an importance matrix of llama-imatrix, for the formats that use one"},
    {PART, "part", "K/N", QDQ_ARG_TEXT, NULL, QDQ_PART_HELP},
    {RESUME, "resume", NULL, QDQ_ARG_NONE, NULL, QDQ_RESUME_HELP},
    {0},
};

static const qdq_cli_example examples[] = {
    {"what Q4_0 leaves of a model", "qdq roundtrip -f q4_0 model.safetensors -o low.safetensors"},
    {"the same in the model's own BF16, attention only",
     "qdq roundtrip -f q4_0 --dtype source --include 'self_attn' model/ -o low.safetensors"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_roundtrip = {
    .name = "roundtrip",
    .summary = "replace each tensor by what quantizing and dequantizing makes of it",
    .operands = "-f FORMAT IN -o OUT.safetensors",
    .text =
        "Writes the model with every eligible tensor replaced by its round trip, quantize and dequantize, bit for "
        "bit as ggml's reference code computes it. Names, shapes and __metadata__ stay. Other tensors pass through "
        "as they are, and are listed with the reason.\n\n"
        "IN is a .safetensors file, a *.safetensors.index.json, a directory of them, or a .gguf. The output appears "
        "whole or not at all.",
    .options = options,
    .takes = QDQ_TAKES_DEVICE | QDQ_TAKES_THREADS | QDQ_TAKES_FILTER | QDQ_TAKES_FINITE | QDQ_TAKES_CODES |
             QDQ_TAKES_REFERENCE | QDQ_TAKES_JSON | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_roundtrip,
};
