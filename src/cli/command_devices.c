/* qdq devices: what can compute on this machine. */
#include "cli/cli.h"

static bool device_at(uint32_t index, qdq_device_info *info) {
    *info = (qdq_device_info){.size = sizeof *info};
    return qdq_device_list(index, info) == QDQ_OK;
}

static json_t *make_json(void) {
    json_t *list = json_array();
    qdq_device_info info;
    for (uint32_t i = 0; device_at(i, &info); i++)
        json_array_append_new(list, json_pack("{s:o, s:b, s:o, s:o, s:I, s:b}", "name", qdq_json_text(info.name),
                                              "available", (int)info.available, "description",
                                              qdq_json_text(info.description), "driver", qdq_json_text(info.driver),
                                              "memory", (json_int_t)info.memory, "shared", (int)info.shared));
    return json_pack("{s:s, s:o}", "schema", "qdq.devices/1", "devices", list);
}

static qdq_table *make_table(void) {
    qdq_table *table = qdq_table_create("device|available|>memory|description|driver");
    qdq_device_info info;
    for (uint32_t i = 0; device_at(i, &info); i++) {
        qdq_table_name(table, info.name);
        qdq_table_cell(table, info.available ? "yes" : "no");
        qdq_table_cell(table, "%s", info.memory > 0 ? QDQ_SIZE(info.memory) : "-");
        qdq_table_name(table, info.description);
        qdq_table_name(table, info.driver);
    }
    return table;
}

int qdq_command_devices(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    qdq_parse_begin(&parser, &qdq_cli_devices, &common, argc, argv);
    if (qdq_parse_next(&parser) == QDQ_PARSE_EXIT) return parser.status;
    if (parser.n_operands > 0) return qdq_usage_error(&parser, "'%s' is too much", parser.operands[0]);
    return qdq_print_list(&common, make_table, make_json);
}

static const qdq_cli_example examples[] = {
    {"what there is", "qdq devices"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_devices = {
    .name = "devices",
    .summary = "the devices there are, and what is missing for the others",
    .operands = "",
    .text =
        "Lists the devices in the order in which --device auto tries them. A kind of device that this machine lacks "
        "has a row that says what is missing. The CPU's row names the kernels in force.",
    .takes = QDQ_TAKES_THREADS | QDQ_TAKES_JSON | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_devices,
};
