/* qdq lattice: are a model's weights made of few codes, though they are stored as floats? */
#include <stdlib.h>
#include <string.h>

#include "cli/session.h"

typedef struct found {
    uint64_t index;
    qdq_lattice_counts counts;
} found;

typedef struct search {
    qdq_session session;
    found *tensors;
    uint64_t n, bytes;
} search;

static qdq_status add_tensors(search *s) {
    uint64_t n = qdq_model_tensor_count(s->session.model);
    qdq_status status = QDQ_OK;
    s->tensors = calloc((size_t)n + 1, sizeof *s->tensors);
    if (s->tensors == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the results of %llu tensors", (unsigned long long)n);
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) {
        const qdq_tensor *t = qdq_model_tensor(s->session.model, i);
        qdq_fit fit = {.size = sizeof fit};
        status = qdq_selection_fit(s->session.selection, i, QDQ_FORMAT_NONE, &fit);
        if (status != QDQ_OK) break;
        if (fit.reason != QDQ_FIT_TAKEN) {
            qdq_session_skip(&s->session, t->name, qdq_session_reason(&fit));
            continue;
        }
        s->tensors[s->n++].index = i;
        s->bytes += t->bytes;
    }
    return status == QDQ_OK && s->n == 0 ? qdq_session_nothing(&s->session, "there is nothing to look at") : status;
}

static qdq_status look(search *s) {
    qdq_status status = QDQ_OK;
    qdq_progress_begin("lattices", s->session.common->quiet);
    qdq_pass_expect(s->session.pass, s->bytes);
    for (uint64_t i = 0; i < s->n && status == QDQ_OK; i++) {
        s->tensors[i].counts.size = sizeof s->tensors[i].counts;
        status = qdq_pass_lattice(s->session.pass, s->session.selection, s->tensors[i].index, &s->tensors[i].counts);
    }
    qdq_progress_end();
    return status;
}

/* ---- Results ---------------------------------------------------------------------------------------------------- */

static double share(const found *f, uint32_t lattice) {
    return f->counts.groups[lattice] > 0 ? (double)f->counts.on[lattice] / (double)f->counts.groups[lattice] : 0;
}

/* The lattice that has most of the groups, the first of several. */
static uint32_t nearest(const found *f) {
    uint32_t best = 0;
    for (uint32_t l = 1; qdq_lattice_name(l, NULL, NULL) != NULL; l++)
        if (share(f, l) > share(f, best)) best = l;
    return best;
}

static json_t *result(const search *s) {
    for (uint64_t i = 0; i < s->n; i++) {
        const found *f = &s->tensors[i];
        const qdq_tensor *t = qdq_model_tensor(s->session.model, f->index);
        json_t *shares = json_object();
        const char *name;
        for (uint32_t l = 0; (name = qdq_lattice_name(l, NULL, NULL)) != NULL; l++)
            json_object_set_new(shares, name, json_real(share(f, l)));
        json_array_append_new(s->session.tensors,
                              json_pack("{s:o, s:o, s:s, s:s?, s:o}", "name", qdq_json_text(t->name), "shape",
                                        qdq_json_shape(t), "dtype", t->type_name, "lattice",
                                        qdq_lattice_name(f->counts.lattice, NULL, NULL), "shares", shares));
    }
    return json_pack("{s:s, s:o, s:O, s:O}", "schema", "qdq.lattice/1", "codes", qdq_session_codes(&s->session),
                     "tensors", s->session.tensors, "skipped", s->session.skipped);
}

static qdq_table *make_table(const search *s) {
    if (!qdq_common_tables(s->session.common)) return NULL;
    qdq_table *table = qdq_table_create("tensor|shape|type|lattice|>groups of|>on it");
    for (uint64_t i = 0; i < s->n; i++) {
        const found *f = &s->tensors[i];
        const qdq_tensor *t = qdq_model_tensor(s->session.model, f->index);
        uint32_t best = nearest(f), group;
        const char *name = qdq_lattice_name(best, NULL, &group);
        qdq_table_name(table, t->name);
        qdq_table_cell(table, "%s", QDQ_EXTENTS(t));
        qdq_table_cell(table, "%s", t->type_name);
        qdq_table_cell(table, "%s%s", f->counts.lattice == best ? "" : "none; ", name);
        qdq_table_cell(table, "%u", (unsigned)group);
        qdq_table_cell(table, f->counts.lattice == best ? "all" : "%.3g %%", 100 * share(f, best));
    }
    return table;
}

static void print_meanings(const search *s) {
    const char *name, *meaning;
    for (uint32_t l = 0; (name = qdq_lattice_name(l, &meaning, NULL)) != NULL; l++) {
        unsigned long n = 0;
        for (uint64_t i = 0; i < s->n; i++) n += s->tensors[i].counts.lattice == l;
        if (n > 0) printf("%lu tensor%s %s: %s\n", n, n == 1 ? " is" : "s are", name, meaning);
    }
}

static qdq_status write(search *s) {
    qdq_table *table = make_table(s);
    qdq_status status = qdq_session_check(&s->session, table);
    if (status == QDQ_OK && s->session.json.path != NULL) status = qdq_json_write(&s->session.json, result(s));
    if (status != QDQ_OK || table == NULL) {
        qdq_table_free(table);
        return status;
    }
    status = qdq_table_print(table);
    putchar('\n');
    print_meanings(s);
    return status == QDQ_OK ? qdq_session_print(&s->session, NULL, "not looked at") : status;
}

int qdq_command_lattice(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    search s = {.n = 0};
    qdq_parse_begin(&parser, &qdq_cli_lattice, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;)
        if (o == QDQ_PARSE_EXIT) return parser.status;
    if (!qdq_parse_input(&parser)) return parser.status;
    common.device = "cpu";
    qdq_status status = qdq_session_open(&s.session, &common, parser.operands[0], NULL);
    if (status == QDQ_OK) status = add_tensors(&s);
    if (status == QDQ_OK) status = look(&s);
    if (status == QDQ_OK) status = write(&s);
    int exit_status = status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
    qdq_session_close(&s.session);
    free(s.tensors);
    return exit_status;
}

static const qdq_cli_example examples[] = {
    {"was this model quantized before it was stored as BF16?", "qdq lattice model/"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_lattice = {
    .name = "lattice",
    .summary = "tell whether weights sit on a format's grid already",
    .operands = "IN",
    .text =
        "Looks at each group of weights of a row: are they, up to the rounding of their own type, a few levels times "
        "one scale? Those of a model that was trained for a format are, and those of one that was quantized and then "
        "stored as floats. To quantize such a model into another grid loses what a file of the right one would "
        "keep.\n\n"
        "The table has for each tensor the first lattice that has all its groups, or the one that comes nearest; JSON "
        "has the share of groups for all.",
    .options = NULL,
    .takes = QDQ_TAKES_THREADS | QDQ_TAKES_FILTER | QDQ_TAKES_CODES | QDQ_TAKES_JSON | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_lattice,
};
