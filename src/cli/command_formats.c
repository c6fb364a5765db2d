/* qdq formats: what formats of blocks there are. */
#include "cli/cli.h"

static const char *importance_word(uint32_t importance) {
    return importance == QDQ_IMPORTANCE_NEEDED ? "needed" : importance == QDQ_IMPORTANCE_USED ? "used" : "not used";
}

static json_t *make_json(void) {
    json_t *list = json_array();
    for (qdq_format f = 0; f < qdq_format_count(); f++) {
        qdq_format_info info = qdq_format_facts(f);
        if (info.block_elements == 1) continue;
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:I, s:I, s:f, s:s, s:b}", "name", info.name, "ggml_type",
                                        (json_int_t)info.ggml_type, "block_elements", (json_int_t)info.block_elements,
                                        "block_bytes", (json_int_t)info.block_bytes, "bits_per_weight",
                                        qdq_format_bits(f), "importance", importance_word(info.importance),
                                        "quantize_needs_importance", qdq_llama_needs_importance(f)));
    }
    return json_pack("{s:s, s:o}", "schema", "qdq.formats/1", "formats", list);
}

/* Those of blocks, the fewest bits first. */
static uint32_t by_bits(qdq_format order[QDQ_MAX_FORMATS]) {
    uint32_t n = 0;
    for (qdq_format f = 0; f < qdq_format_count() && n < QDQ_MAX_FORMATS; f++) {
        if (qdq_format_facts(f).block_elements == 1) continue;
        uint32_t at = n++;
        for (; at > 0 && qdq_format_bits(order[at - 1]) > qdq_format_bits(f); at--) order[at] = order[at - 1];
        order[at] = f;
    }
    return n;
}

static qdq_table *make_table(void) {
    qdq_table *table = qdq_table_create("format|>ggml type|>block|>bytes|>bits a weight|importance matrix");
    qdq_format order[QDQ_MAX_FORMATS];
    uint32_t n = by_bits(order);
    for (uint32_t i = 0; i < n; i++) {
        qdq_format_info info = qdq_format_facts(order[i]);
        qdq_table_name(table, info.name);
        qdq_table_cell(table, "%u", (unsigned)info.ggml_type);
        qdq_table_cell(table, "%u", (unsigned)info.block_elements);
        qdq_table_cell(table, "%u", (unsigned)info.block_bytes);
        qdq_table_cell(table, "%.4g", qdq_format_bits(order[i]));
        qdq_table_cell(table, "%s",
                       info.importance != QDQ_IMPORTANCE_NEEDED && qdq_llama_needs_importance(order[i])
                           ? "used; quantize needs it"
                           : importance_word(info.importance));
    }
    return table;
}

int qdq_command_formats(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    qdq_parse_begin(&parser, &qdq_cli_formats, &common, argc, argv);
    if (qdq_parse_next(&parser) == QDQ_PARSE_EXIT) return parser.status;
    if (parser.n_operands > 0) return qdq_usage_error(&parser, "'%s' is too much", parser.operands[0]);
    return qdq_print_list(&common, make_table, make_json);
}

static const qdq_cli_example examples[] = {
    {"the table of formats", "qdq formats"},
    {"the names alone", "qdq formats --json - | jq -r '.formats[].name'"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_formats = {
    .name = "formats",
    .summary = "the formats there are: block, bytes, bits a weight",
    .operands = "",
    .text = "Lists the formats, the smallest first: ggml's type number, elements and bytes a block, bits a weight, and "
            "whether an importance matrix changes what is chosen (used), must be given (needed) or makes no difference "
            "(not used); of some that use one, quantize makes no file without, as llama-quantize. f32, f16 and bf16 "
            "have no blocks: quantize, roundtrip and error take them.",
    .takes = QDQ_TAKES_JSON | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_formats,
};
