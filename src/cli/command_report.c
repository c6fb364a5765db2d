/* qdq report: a plan as a page to look at. */
#include "cli/cli.h"

int qdq_command_report(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    const char *output = NULL;
    qdq_parse_begin(&parser, &qdq_cli_report, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        if (o == QDQ_PARSE_EXIT) return parser.status;
        if (o == 'o') output = parser.value;
    }
    if (parser.n_operands != 1) return qdq_usage_error(&parser, "one plan is wanted, not %d", parser.n_operands);
    if (output == NULL) return qdq_usage_error(&parser, "no output: say -o report.html");
    qdq_plan *plan;
    qdq_status status = qdq_plan_open(parser.operands[0], &plan);
    if (status == QDQ_OK) status = qdq_plan_report(plan, output);
    qdq_plan_free(plan);
    return status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
}

static const qdq_cli_option options[] = {
    {'o', "output", "FILE", QDQ_ARG_OUTPUT, NULL, "the page to write, HTML"},
    {0},
};

static const qdq_cli_example examples[] = {
    {"a page about a plan", "qdq report plan.json -o report.html"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_report = {
    .name = "report",
    .summary = "a plan as a page to look at",
    .operands = "plan.json -o report.html",
    .text = "Writes a plan of qdq plan as one HTML page that needs nothing else: damage against bytes, with the chosen "
            "point and uniform formats; a map of layers and kinds of tensors; and the table behind them.",
    .options = options,
    .takes = 0,
    .examples = examples,
    .run = qdq_command_report,
};
