/* qdq error: what formats do to a model's weights. */
#include <string.h>

#include "cli/part.h"
#include "cli/session.h"

enum { IMATRIX = QDQ_LONG_OPTION, SUMMARY, PART, SUMS };

typedef struct plan {
    qdq_session session;
    qdq_part_sums sums;
    uint32_t n_formats;
    qdq_format formats[QDQ_MAX_FORMATS];
    qdq_errors *errors;
    uint64_t n_tensors, unweighted; /* of the model; measured without importance, though there is a matrix */
    bool partly, summary;           /* a tensor is measured, but not in every format; only totals are wanted */
    bool fell_back;                 /* a tensor has another format than the one that was asked for */
} plan;

/* ---- Which tensors ---------------------------------------------------------------------------------------------- */

/* What keeps a format from a tensor: the block that does not divide its rows, or 0, the importance that it lacks. */
static uint32_t obstacle(const qdq_fit *fit) { return fit->reason == QDQ_FIT_ROW ? fit->block : 0; }

/* Lists the tensor for the formats that do not fit, those with the same obstacle together. */
static void skip_formats(plan *p, const qdq_tensor *t, const qdq_fit *fits) {
    for (uint32_t f = 0; f < p->n_formats; f++) {
        if (fits[f].reason == QDQ_FIT_TAKEN) continue;
        uint32_t why = obstacle(&fits[f]), names = 0, first = 0;
        char list[QDQ_REASON] = "", reason[2 * QDQ_REASON];
        while (fits[first].reason == QDQ_FIT_TAKEN || obstacle(&fits[first]) != why) first++;
        if (first != f) continue;
        for (uint32_t k = f; k < p->n_formats; k++) {
            if (fits[k].reason == QDQ_FIT_TAKEN || obstacle(&fits[k]) != why) continue;
            size_t used = strlen(list);
            snprintf(list + used, sizeof list - used, "%s%s", names++ > 0 ? ", " : "", qdq_format_name(p->formats[k]));
        }
        if (why > 0)
            snprintf(reason, sizeof reason, "rows of %llu elements are no multiple of %u, the block of %s",
                     (unsigned long long)t->shape[t->n_dims - 1], (unsigned)why, list);
        else
            snprintf(reason, sizeof reason, "the importance matrix has no entry for it, which %s need%s", list,
                     names == 1 ? "s" : "");
        qdq_session_skip(&p->session, t->name, reason);
    }
}

/* Is the tensor measured in a format? Notes what is to be said of it. */
static qdq_status look_at(plan *p, uint64_t index, bool *measured) {
    const qdq_tensor *t = qdq_model_tensor(p->session.model, index);
    qdq_fit any = {.size = sizeof any}, fits[QDQ_MAX_FORMATS];
    qdq_status status = qdq_selection_fit(p->session.selection, index, QDQ_FORMAT_NONE, &any);
    if (status == QDQ_OK && any.reason != QDQ_FIT_TAKEN)
        qdq_session_skip(&p->session, t->name, qdq_session_reason(&any));
    if (any.reason != QDQ_FIT_TAKEN) return status;
    for (uint32_t f = 0; f < p->n_formats && status == QDQ_OK; f++) {
        qdq_format written;
        fits[f] = (qdq_fit){.size = sizeof fits[f]};
        if (qdq_errors_find(p->errors, index, f, &written, NULL)) {
            p->fell_back |= written != p->formats[f];
            *measured = true;
        } else {
            p->partly = true;
            status = qdq_selection_fit(p->session.selection, index, p->formats[f], &fits[f]);
        }
    }
    if (status == QDQ_OK) skip_formats(p, t, fits);
    return status;
}

static qdq_status look_at_tensors(plan *p) {
    bool any = false;
    qdq_status status = QDQ_OK;
    p->n_tensors = qdq_model_tensor_count(p->session.model);
    for (uint64_t i = 0; i < p->n_tensors && status == QDQ_OK; i++) {
        bool measured = false;
        status = look_at(p, i, &measured);
        any |= measured;
        p->unweighted += measured && p->session.imatrix != NULL && !qdq_errors_weighted(p->errors, i);
    }
    return status == QDQ_OK && !any ? qdq_session_nothing(&p->session, "there is nothing to measure") : status;
}

static qdq_status measure(plan *p) {
    qdq_status status = qdq_errors_create(p->session.selection, p->n_formats, p->formats, &p->errors);
    if (status == QDQ_OK) status = look_at_tensors(p);
    qdq_progress_begin("errors", p->session.common->quiet);
    if (status == QDQ_OK) {
        do status = qdq_errors_measure_shared(p->errors, p->session.pass, qdq_part_sums_shared(&p->sums));
        while (qdq_part_sums_again(&p->sums, &status));
    }
    qdq_progress_end();
    return status;
}

/* ---- Results ---------------------------------------------------------------------------------------------------- */

static qdq_error_stats statistics(const qdq_error_sums *sums) {
    qdq_error_stats stats = {.size = sizeof stats};
    qdq_error_statistics(sums, &stats);
    return stats;
}

static json_t *errors_of(const plan *p, uint64_t i) {
    json_t *errors = json_array();
    for (uint32_t f = 0; f < p->n_formats; f++) {
        qdq_format format;
        const qdq_error_sums *sums;
        if (!qdq_errors_find(p->errors, i, f, &format, &sums)) continue;
        qdq_error_stats e = statistics(sums);
        json_array_append_new(
            errors, json_pack("{s:s, s:s, s:f, s:o, s:o, s:o, s:o, s:o}", "format", qdq_format_name(p->formats[f]),
                              "written", qdq_format_name(format), "bits_per_weight", qdq_format_bits(format), "rmse",
                              qdq_json_number(e.rmse), "relative_rmse", qdq_json_number(e.relative_rmse), "max_abs",
                              qdq_json_number(e.max_abs), "snr_db", qdq_json_number(e.snr_db), "cosine",
                              qdq_json_number(e.cosine)));
    }
    return errors;
}

static json_t *result(plan *p) {
    qdq_session *s = &p->session;
    for (uint64_t i = 0; i < p->n_tensors; i++) {
        const qdq_tensor *t = qdq_model_tensor(s->model, i);
        json_t *errors = errors_of(p, i);
        if (errors != NULL && json_array_size(errors) == 0) { /* not measured */
            json_decref(errors);
            continue;
        }
        json_t *object = json_pack("{s:o, s:o, s:I, s:o}", "name", qdq_json_text(t->name), "shape", qdq_json_shape(t),
                                   "elements", (json_int_t)t->elements, "errors", errors);
        if (s->imatrix != NULL)
            json_object_set_new(object, "weighted", json_boolean(qdq_errors_weighted(p->errors, i)));
        json_array_append_new(s->tensors, object);
    }
    return json_pack("{s:s, s:s, s:o, s:O, s:O}", "schema", "qdq.error/1", "device", s->device_names, "codes",
                     qdq_session_codes(s), "tensors", s->tensors, "skipped", s->skipped);
}

static void add_row(qdq_table *table, const char *name, const char *shape, const char *format, double bits,
                    const qdq_error_sums *sums) {
    qdq_error_stats e = statistics(sums);
    qdq_table_name(table, name);
    qdq_table_cell(table, "%s", shape);
    qdq_table_cell(table, "%s", format);
    qdq_table_cell(table, "%.4g", bits);
    qdq_table_number(table, e.rmse);
    qdq_table_number(table, e.relative_rmse);
    qdq_table_number(table, e.max_abs);
    qdq_table_cell(table, "%.2f", e.snr_db);
    qdq_table_cell(table, "%.8f", e.cosine);
}

static void add_overall(const plan *p, qdq_table *table, const char *name, bool weighted) {
    for (uint32_t f = 0; f < p->n_formats; f++) {
        double bits;
        qdq_error_sums all;
        char elements[64];
        qdq_errors_total(p->errors, f, weighted, &all, &bits);
        snprintf(elements, sizeof elements, "%llu elements", (unsigned long long)all.count);
        if (all.count > 0) add_row(table, name, elements, qdq_format_name(p->formats[f]), bits, &all);
    }
}

static void add_tensor_rows(const plan *p, qdq_table *table, uint64_t i) {
    const qdq_tensor *t = qdq_model_tensor(p->session.model, i);
    bool marked = p->session.imatrix != NULL && !qdq_errors_weighted(p->errors, i);
    char name[512], format[64];
    snprintf(name, sizeof name, "%s%s", t->name, marked ? " *" : "");
    for (uint32_t f = 0; f < p->n_formats; f++) {
        qdq_format written;
        const qdq_error_sums *sums;
        if (!qdq_errors_find(p->errors, i, f, &written, &sums)) continue;
        bool other = written != p->formats[f];
        snprintf(format, sizeof format, "%s%s%s", qdq_format_name(written), other ? " for " : "",
                 other ? qdq_format_name(p->formats[f]) : "");
        add_row(table, name, QDQ_EXTENTS(t), format, qdq_format_bits(written), sums);
    }
}

/* NULL: tables are not wanted. */
static qdq_table *make_table(plan *p) {
    if (!qdq_common_tables(p->session.common)) return NULL;
    bool weighted = p->session.imatrix != NULL;
    qdq_table *table =
        qdq_table_create(weighted ? "tensor|shape|format|>bits|>weighted RMSE|>relative|>max|>SNR dB|>cosine"
                                  : "tensor|shape|format|>bits|>RMSE|>relative|>max|>SNR dB|>cosine");
    for (uint64_t i = 0; i < p->n_tensors && !p->summary; i++) add_tensor_rows(p, table, i);
    if (!p->summary) qdq_table_rule(table);
    add_overall(p, table, "all", weighted);
    if (p->unweighted > 0) add_overall(p, table, "all *", false);
    return table;
}

/* Frees table. */
static qdq_status print(plan *p, qdq_table *table) {
    if (table == NULL) return QDQ_OK;
    const char *fell = p->fell_back && !p->summary
                           ? "\"F for G\": rows that are no multiple of G's block get F, as quantize makes it\n"
                           : "";
    const char *heading = p->partly ? "not measured, or not in every format" : "not measured";
    if (p->unweighted == 0 && fell[0] == '\0') return qdq_session_print(&p->session, table, heading);
    qdq_status status = qdq_table_print(table);
    if (status == QDQ_OK)
        printf("%s%s%s", fell, p->unweighted > 0 ? "* not weighted: the importance matrix has no entry for it\n" : "",
               p->session.n_skipped > 0 ? "\n" : "");
    return status == QDQ_OK ? qdq_session_print(&p->session, NULL, heading) : status;
}

static qdq_status write(plan *p) {
    if (p->sums.part.parts > 0) return qdq_part_sums_print(&p->sums, p->session.common);
    qdq_table *table = make_table(p);
    qdq_status status = qdq_session_check(&p->session, table);
    if (status == QDQ_OK && p->session.json.path != NULL) status = qdq_json_write(&p->session.json, result(p));
    if (status == QDQ_OK) return print(p, table);
    qdq_table_free(table);
    return status;
}

int qdq_command_error(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    const char *formats = NULL, *imatrix = NULL, *wrong = NULL;
    plan p = {0};
    qdq_parse_begin(&parser, &qdq_cli_error, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        switch (o) {
        case QDQ_PARSE_EXIT: return parser.status;
        case 'f': formats = parser.value; break;
        case IMATRIX: imatrix = parser.value; break;
        case SUMMARY: p.summary = true; break;
        case PART: wrong = qdq_part_parse(&p.sums.part, parser.value); break;
        case SUMS: p.sums.shared.folder = parser.value; break;
        }
    }
    if (!qdq_parse_input(&parser)) return parser.status;
    if (wrong == NULL) wrong = qdq_part_sums_check(&p.sums, &common, common.json != NULL);
    if (wrong != NULL) return qdq_usage_error(&parser, "%s", wrong);
    if (formats == NULL) return qdq_usage_error(&parser, "no format: say -f FORMAT[,FORMAT]...");
    if (qdq_list_formats(formats, QDQ_LIST_FLOATS | qdq_weighted(imatrix), p.formats, &p.n_formats) != QDQ_OK)
        return qdq_usage_error(&parser, "%s", qdq_explanation());
    qdq_status status = qdq_session_open(&p.session, &common, parser.operands[0], imatrix);
    if (status == QDQ_OK) status = measure(&p);
    if (status == QDQ_OK) status = write(&p);
    int exit_status = status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
    qdq_session_close(&p.session);
    qdq_errors_free(p.errors); /* behind the pass, which may still use it */
    return exit_status;
}

static const qdq_cli_option options[] = {
    {'f', "format", "FORMAT[,FORMAT]...", QDQ_ARG_TARGET, "all",
     "the formats to measure, f32, f16 and bf16 among them; each tensor is read once for all of them. all is every "
     "format of blocks, without an importance matrix those that need none"},
    {IMATRIX, "imatrix", "FILE", QDQ_ARG_INPUT, NULL,
     "an importance matrix of llama-imatrix: squares are weighted by the column's importance, and the formats that use "
     "one choose by it"},
    {SUMMARY, "summary", NULL, QDQ_ARG_NONE, NULL, "print the totals alone, a line a format"},
    {PART, "part", "K/N", QDQ_ARG_TEXT, NULL, QDQ_SUMS_PART_HELP},
    {SUMS, "sums", "FOLDER", QDQ_ARG_OUTPUT, NULL, QDQ_SUMS_HELP},
    {0},
};

static const qdq_cli_example examples[] = {
    {"three formats, side by side", "qdq error -f q4_0,q5_0,q8_0 model.safetensors"},
    {"every format, errors weighted by what the activations make of them",
     "qdq error -f all --imatrix imatrix.gguf model-bf16.gguf"},
    {"the RMSE of every tensor, as text", "qdq error -f q4_0 --json - model.gguf | jq -r '.tensors[] | [.name, "
                                          ".errors[0].rmse] | @tsv'"},
    {"the second of four processes that share the work", "qdq error -f all --part 2/4 --sums sums model-bf16.gguf"},
    {"what all of them have measured", "qdq error -f all --sums sums model-bf16.gguf"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_error = {
    .name = "error",
    .summary = "what formats do to each tensor: RMSE, maximum, SNR, cosine",
    .operands = "-f FORMAT[,FORMAT]... IN",
    .text =
        "Measures the difference between each eligible tensor w and its round trip q in each format: the root mean "
        "square of w - q, the same relative to that of w, the largest magnitude of w - q, the signal-to-noise ratio in "
        "dB, and the cosine between w and q. The last rows have all tensors together, with their bits a weight.\n\n"
        "A tensor whose rows are no multiple of a format's block is measured in the format that quantize gives it "
        "then, as llama-quantize does (q5_0 for q4_K), and is shown so.\n\n"
        "With an importance matrix each square is weighted by its column's importance (sum / count of the activations' "
        "squares), but for the largest magnitude. Tensors that it has no entry for are marked with *, and have totals "
        "of their own.\n\n"
        "Sums are the same bits on every device, at any number of threads. A figure that is no finite number (the SNR "
        "of an exact round trip) is null in JSON.",
    .options = options,
    .takes = QDQ_TAKES_DEVICE | QDQ_TAKES_THREADS | QDQ_TAKES_FILTER | QDQ_TAKES_FINITE | QDQ_TAKES_CODES |
             QDQ_TAKES_REFERENCE | QDQ_TAKES_LIKE | QDQ_TAKES_JSON | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_error,
};
