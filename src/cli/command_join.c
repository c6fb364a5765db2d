/* qdq join: the output of which parts have been made. */
#include "cli/cli.h"

enum { DISCARD = QDQ_LONG_OPTION };

static qdq_status join(const qdq_common *common, const char *path, char **from, int n_from) {
    qdq_join_options options = {.size = sizeof options,
                                .from = (const char *const *)from,
                                .n_from = (uint32_t)n_from,
                                .progress = qdq_progress_took};
    qdq_join_report report = {.size = sizeof report};
    qdq_progress_begin("check", common->quiet);
    qdq_status status = qdq_join(path, &options, &report);
    qdq_progress_end();
    if (status != QDQ_OK || !qdq_common_tables(common)) return status;
    printf("%s: %s, every byte read and as its part made it", QDQ_SHOWN(path), QDQ_SIZE(report.bytes));
    if (report.files > 1) printf("; %u files", report.files);
    if (report.copied > 0) printf("; %s from other folders", QDQ_SIZE(report.copied));
    putchar('\n');
    return qdq_flush_output();
}

int qdq_command_join(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    bool discard = false;
    qdq_parse_begin(&parser, &qdq_cli_join, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        if (o == QDQ_PARSE_EXIT) return parser.status;
        discard |= o == DISCARD;
    }
    if (parser.n_operands < 1) return qdq_usage_error(&parser, "no output: say qdq join OUT, as --part was told");
    if (discard && parser.n_operands > 1) return qdq_usage_error(&parser, "--discard takes one output");
    qdq_status status = discard ? qdq_discard_parts(parser.operands[0])
                                : join(&common, parser.operands[0], parser.operands + 1, parser.n_operands - 1);
    return status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
}

static const qdq_cli_option options[] = {
    {DISCARD, "discard", NULL, QDQ_ARG_NONE, NULL, "remove OUT.parts and all that is in it"},
    {0},
};

static const qdq_cli_example examples[] = {
    {"four processes make a model, then it gets its name",
     "for k in 1 2 3 4; do qdq quantize --part $k/4 in.gguf out.gguf Q4_K_M & done; wait; qdq join out.gguf"},
    {"two machines without a common disk: node2.parts is node 2's out.gguf.parts", "qdq join out.gguf node2.parts"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_join = {
    .name = "join",
    .summary = "give the output its name once all its parts are made",
    .operands = "OUT [FOLDER.parts]...",
    .text = "Reads all that qdq quantize --part K/N, or roundtrip, has written to OUT.parts, and compares it with the "
            "checksums in its journals. If every byte is there and right, OUT appears, and OUT.parts is gone; if not, "
            "nothing is changed, and the message says how much is missing.\n\n"
            "From each FOLDER.parts, which another machine has made of the same model in the same way, it first copies "
            "what is missing here.",
    .options = options,
    .takes = QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_join,
};
