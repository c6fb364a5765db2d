/* qdq sensitivity: how much the loss would change, to first order, if a tensor went from `low` to `high`. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/part.h"
#include "cli/session.h"

enum { LOW = QDQ_LONG_OPTION, HIGH, GRAD, IMATRIX, MLX_JSON, SORT, PART, SUMS };

typedef struct scored {
    const qdq_tensor *tensor;
    uint64_t index;
    qdq_sensitivity_sums sums;
} scored;

typedef struct plan {
    qdq_session session;
    qdq_gradients *gradients;
    qdq_json_file mlx;
    qdq_format formats[2]; /* low, high */
    qdq_part_sums sums;
    scored *tensors;
    uint64_t n;
} plan;

static const char *name_of(qdq_format format) {
    return format == QDQ_FORMAT_SOURCE ? "source" : qdq_format_name(format);
}

/* ---- Which tensors ---------------------------------------------------------------------------------------------- */

static qdq_status add_tensor(plan *p, uint64_t index) {
    const qdq_tensor *t = qdq_model_tensor(p->session.model, index);
    qdq_fit fit = {.size = sizeof fit};
    uint64_t bytes = 0;
    qdq_status status = QDQ_OK;
    for (int f = 0; f < 2 && status == QDQ_OK && fit.reason == QDQ_FIT_TAKEN; f++)
        if (p->formats[f] != QDQ_FORMAT_SOURCE)
            status = qdq_selection_fit(p->session.selection, index, p->formats[f], &fit);
    if (status == QDQ_OK && fit.reason == QDQ_FIT_TAKEN) status = qdq_gradients_find(p->gradients, index, &bytes);
    if (status != QDQ_OK) return status;
    if (bytes == 0) {
        qdq_session_skip(&p->session, t->name, fit.reason != QDQ_FIT_TAKEN ? qdq_session_reason(&fit) : "no gradient");
        return QDQ_OK;
    }
    p->tensors[p->n++] = (scored){.tensor = t, .index = index};
    return QDQ_OK;
}

/* Not one gradient: the wrong file, or another naming. */
static qdq_status check_names(const plan *p) {
    const qdq_model *gradients = qdq_gradients_model(p->gradients);
    uint64_t n = qdq_model_tensor_count(p->session.model), bytes = 0;
    for (uint64_t i = 0; i < n && bytes == 0; i++)
        if (qdq_gradients_find(p->gradients, i, &bytes) != QDQ_OK)
            return QDQ_OK; /* told where the tensor's turn comes */
    if (bytes > 0 || n == 0 || qdq_model_tensor_count(gradients) == 0) return QDQ_OK;
    return qdq_fail(QDQ_BAD_DATA,
                    "%s: has no gradient for any tensor of %s: names must be the same (a gradient here is \"%s\", a "
                    "tensor there \"%s\")",
                    QDQ_SHOWN(qdq_model_path(gradients)), QDQ_SHOWN(qdq_model_path(p->session.model)),
                    QDQ_SHOWN(qdq_model_tensor(gradients, 0)->name),
                    QDQ_SHOWN(qdq_model_tensor(p->session.model, 0)->name));
}

static qdq_status add_tensors(plan *p) {
    uint64_t n = qdq_model_tensor_count(p->session.model);
    p->tensors = calloc((size_t)n + 1, sizeof *p->tensors);
    if (p->tensors == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the results of %llu tensors", (unsigned long long)n);
    qdq_status status = check_names(p);
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) status = add_tensor(p, i);
    return status == QDQ_OK && p->n == 0 ? qdq_session_nothing(&p->session, "there is nothing to score") : status;
}

static qdq_status score(plan *p) {
    uint64_t *indexes = calloc((size_t)p->n + 1, sizeof *indexes);
    qdq_sensitivity_sums *sums = calloc((size_t)p->n + 1, sizeof *sums);
    qdq_status status =
        indexes != NULL && sums != NULL
            ? QDQ_OK
            : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the results of %llu tensors", (unsigned long long)p->n);
    for (uint64_t i = 0; i < p->n && status == QDQ_OK; i++) indexes[i] = p->tensors[i].index;
    qdq_progress_begin("sensitivity", p->session.common->quiet);
    if (status == QDQ_OK) {
        do
            status = qdq_pass_sensitivities(p->session.pass, p->session.selection, p->gradients, p->n, indexes,
                                            p->formats[0], p->formats[1], sums, qdq_part_sums_shared(&p->sums));
        while (qdq_part_sums_again(&p->sums, &status));
    }
    qdq_progress_end();
    for (uint64_t i = 0; i < p->n && status == QDQ_OK; i++) p->tensors[i].sums = sums[i];
    free(indexes);
    free(sums);
    return status;
}

/* ---- Order ------------------------------------------------------------------------------------------------------ */

static double per_million(const scored *s) { return s->sums.signed_sum / ((double)s->tensor->elements / 1e6); }
static double signed_sum(const scored *s) { return s->sums.signed_sum; }
static double absolute(const scored *s) { return s->sums.absolute; }
static double squared(const scored *s) { return s->sums.squared; }

static const struct {
    const char *name;
    double (*key)(const scored *);
} orders[] = {{"per-million", per_million}, {"signed", signed_sum}, {"absolute", absolute}, {"squared", squared}};
enum { N_ORDERS = sizeof orders / sizeof *orders };

static double (*order_key)(const scored *);

/* Largest first, NaN last; equals in the order of the file. */
static int compare(const void *left, const void *right) {
    const scored *a = left, *b = right;
    double x = order_key(a), y = order_key(b);
    if (isnan(x) || isnan(y)) {
        if (isnan(x) != isnan(y)) return isnan(x) ? 1 : -1;
    } else if (x != y) {
        return x > y ? -1 : 1;
    }
    return a->tensor < b->tensor ? -1 : a->tensor > b->tensor;
}

static bool find_order(const char *name) {
    for (int i = 0; i < N_ORDERS; i++)
        if (strcmp(orders[i].name, name) == 0) order_key = orders[i].key;
    return order_key != NULL;
}

/* ---- Results ---------------------------------------------------------------------------------------------------- */

static json_t *result(plan *p) {
    qdq_session *session = &p->session;
    for (uint64_t i = 0; i < p->n; i++) {
        const scored *s = &p->tensors[i];
        const qdq_tensor *t = s->tensor;
        json_array_append_new(
            session->tensors,
            json_pack("{s:o, s:o, s:s, s:I, s:o, s:o, s:o, s:o}", "name", qdq_json_text(t->name), "shape",
                      qdq_json_shape(t), "dtype", t->type_name, "elements", (json_int_t)t->elements, "sensitivity",
                      qdq_json_number(s->sums.signed_sum), "sensitivity_per_million", qdq_json_number(per_million(s)),
                      "absolute", qdq_json_number(s->sums.absolute), "squared", qdq_json_number(s->sums.squared)));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:O, s:O}", "schema", "qdq.sensitivity/1", "low",
                     name_of(p->formats[0]), "high", name_of(p->formats[1]), "device", session->device_names, "codes",
                     qdq_session_codes(session), "tensors", session->tensors, "skipped", session->skipped);
}

/* mlx-lm's file: [[path, score], …], paths without ".weight". */
static json_t *mlx_result(const plan *p) {
    static const char suffix[] = ".weight";
    json_t *list = json_array();
    for (uint64_t i = 0; i < p->n; i++) {
        const char *name = p->tensors[i].tensor->name;
        size_t length = strlen(name), end = sizeof suffix - 1;
        if (length > end && strcmp(name + length - end, suffix) == 0) length -= end;
        json_array_append_new(
            list, json_pack("[o, o]", json_stringn(name, length), qdq_json_number(per_million(&p->tensors[i]))));
    }
    return list;
}

/* Three digits: four columns of numbers have room beside a name on a terminal of 80. */
static void add_sum(qdq_table *table, double sum) { qdq_table_cell(table, isnan(sum) ? "nan" : "%.3g", sum); }

/* NULL: tables are not wanted. */
static qdq_table *make_table(const plan *p) {
    if (!qdq_common_tables(p->session.common)) return NULL;
    qdq_table *table = qdq_table_create("tensor|shape|type|>per million|>signed|>absolute|>squared");
    for (uint64_t i = 0; i < p->n; i++) {
        const scored *s = &p->tensors[i];
        qdq_table_name(table, s->tensor->name);
        qdq_table_cell(table, "%s", QDQ_EXTENTS(s->tensor));
        qdq_table_cell(table, "%s", s->tensor->type_name);
        qdq_table_number(table, per_million(s));
        add_sum(table, s->sums.signed_sum);
        add_sum(table, s->sums.absolute);
        add_sum(table, s->sums.squared);
    }
    return table;
}

/* All that can fail for want of memory comes before the outputs appear, and printing after. */
static qdq_status write(plan *p) {
    qdq_table *table = make_table(p);
    qdq_status status = qdq_session_check(&p->session, table);
    if (status == QDQ_OK && p->session.json.path != NULL) status = qdq_json_prepare(&p->session.json, result(p));
    if (status == QDQ_OK && p->mlx.path != NULL) status = qdq_json_prepare(&p->mlx, mlx_result(p));
    if (status == QDQ_OK) status = qdq_json_finish(&p->session.json);
    if (status == QDQ_OK) status = qdq_json_finish(&p->mlx);
    if (status == QDQ_OK) return qdq_session_print(&p->session, table, "not scored");
    qdq_table_free(table);
    return status;
}

static qdq_status run(plan *p, const char *gradients, const char *mlx) {
    qdq_status status = qdq_gradients_open(gradients, p->session.selection, NULL, &p->gradients);
    if (status == QDQ_OK && p->session.json.out != NULL) status = qdq_out_check(p->session.json.out);
    if (status == QDQ_OK) status = qdq_json_open(mlx, &p->mlx);
    if (status == QDQ_OK) status = add_tensors(p);
    if (status == QDQ_OK) status = score(p);
    if (status != QDQ_OK) return status;
    if (p->sums.part.parts > 0) return qdq_part_sums_print(&p->sums, p->session.common);
    qsort(p->tensors, (size_t)p->n, sizeof *p->tensors, compare);
    return write(p);
}

static int one_format(const char *option, const char *text, const char *imatrix, qdq_format *format,
                      qdq_parser *parser) {
    if (text == NULL) return qdq_usage_error(parser, "no %s format: say --%s FORMAT", option, option);
    if (qdq_one_format(text, 0, imatrix, format) != QDQ_OK)
        return qdq_usage_error(parser, "--%s: %s", option, qdq_explanation());
    return QDQ_EXIT_OK;
}

int qdq_command_sensitivity(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    const char *low = NULL, *high = NULL, *gradients = NULL, *imatrix = NULL, *mlx = NULL, *order = "per-million";
    const char *wrong = NULL;
    plan p = {.formats = {QDQ_FORMAT_NONE, QDQ_FORMAT_SOURCE}};
    qdq_parse_begin(&parser, &qdq_cli_sensitivity, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        switch (o) {
        case QDQ_PARSE_EXIT: return parser.status;
        case LOW: low = parser.value; break;
        case HIGH: high = parser.value; break;
        case GRAD: gradients = parser.value; break;
        case IMATRIX: imatrix = parser.value; break;
        case MLX_JSON: mlx = parser.value; break;
        case SORT: order = parser.value; break;
        case PART: wrong = qdq_part_parse(&p.sums.part, parser.value); break;
        case SUMS: p.sums.shared.folder = parser.value; break;
        }
    }
    if (!qdq_parse_input(&parser)) return parser.status;
    if (wrong == NULL) wrong = qdq_part_sums_check(&p.sums, &common, common.json != NULL || mlx != NULL);
    if (wrong != NULL) return qdq_usage_error(&parser, "%s", wrong);
    if (one_format("low", low, imatrix, &p.formats[0], &parser) != QDQ_EXIT_OK) return QDQ_EXIT_USAGE;
    if (high == NULL || strcmp(high, "source") != 0)
        if (one_format("high", high, imatrix, &p.formats[1], &parser) != QDQ_EXIT_OK) return QDQ_EXIT_USAGE;
    if (gradients == NULL) return qdq_usage_error(&parser, "no gradients: say --grad FILE");
    if (!find_order(order)) return qdq_usage_error(&parser, "--sort: there is no order '%s'", order);
    if (mlx != NULL && strcmp(mlx, "-") == 0) {
        if (common.json != NULL && strcmp(common.json, "-") == 0)
            return qdq_usage_error(&parser, "--json and --mlx-json cannot both go to standard output");
        common.quiet = true; /* nothing else may be there */
    }
    if (!qdq_part_has_results(&p.sums.part)) mlx = NULL;
    qdq_status status = qdq_session_open(&p.session, &common, parser.operands[0], imatrix);
    if (status == QDQ_OK) status = run(&p, gradients, mlx);
    int exit_status = status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
    qdq_session_close(&p.session); /* first: the pass may still use the gradients */
    qdq_gradients_close(p.gradients);
    qdq_json_abort(&p.mlx);
    free(p.tensors);
    return exit_status;
}

static const qdq_cli_option options[] = {
    {LOW, "low", "FORMAT", QDQ_ARG_FORMAT, NULL, "the format that a tensor would have at first"},
    {HIGH, "high", "FORMAT", QDQ_ARG_FORMAT, "source", "the better one; source stands for the weights as they are"},
    {GRAD, "grad", "FILE", QDQ_ARG_INPUT, NULL,
     "the gradients: a model of safetensors or GGUF with the same names and shapes as IN, in F32, F16 or BF16"},
    {IMATRIX, "imatrix", "FILE", QDQ_ARG_INPUT, NULL,
     "an importance matrix of llama-imatrix, for the formats that use one"},
    {MLX_JSON, "mlx-json", "FILE", QDQ_ARG_OUTPUT, NULL,
     "write the scores per million parameters as mlx-lm has them: [[path, score], ...], paths without .weight"},
    {SORT, "sort", "SCORE", QDQ_ARG_CHOICE, "per-million signed absolute squared",
     "the score whose largest comes first: per-million (the default), signed, absolute or squared"},
    {PART, "part", "K/N", QDQ_ARG_TEXT, NULL, QDQ_SUMS_PART_HELP},
    {SUMS, "sums", "FOLDER", QDQ_ARG_OUTPUT, NULL, QDQ_SUMS_HELP},
    {0},
};

static const qdq_cli_example examples[] = {
    {"which tensors hurt most at Q4_0, when Q8_0 is the alternative",
     "qdq sensitivity --low q4_0 --high q8_0 --grad gradients.safetensors model.safetensors"},
    {"a file for mlx-lm, against the weights themselves",
     "qdq sensitivity --low q4_0 --high source --grad gradients.safetensors --mlx-json sensitivities.json model/"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_sensitivity = {
    .name = "sensitivity",
    .summary = "gradient-Taylor scores of each tensor between two formats",
    .operands = "--low FORMAT --high FORMAT|source --grad FILE IN",
    .text =
        "Scores each eligible tensor by g D, where g is the gradient of a loss and D = W_low - W_high the difference "
        "between the tensor's round trips: signed, sum(g D), the first-order change of the loss; the same per "
        "million parameters, as mlx-lm has it, by which the table is sorted, largest first; absolute, sum|g D|; and "
        "squared, sum((g D)^2).\n\n"
        "A tensor without a gradient is listed as not scored. A gradient of another shape is an error. Sums are the "
        "same bits on every device, at any number of threads.",
    .options = options,
    .takes = QDQ_TAKES_DEVICE | QDQ_TAKES_THREADS | QDQ_TAKES_FILTER | QDQ_TAKES_FINITE | QDQ_TAKES_CODES |
             QDQ_TAKES_REFERENCE | QDQ_TAKES_JSON | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_sensitivity,
};
