/* qdq imatrix: importance matrices shown, held against a model, added up, and converted. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

typedef unsigned long long ull;

enum { MODEL = QDQ_LONG_OPTION, SORT, OUTPUT_FORMAT, CHUNK_SIZE };
enum { MAX_MATRICES = 64 };

typedef enum verb { SHOW, MERGE, CONVERT, NO_VERB } verb;
static const char *const verbs[] = {"show", "merge", "convert"};

/* An entry and what is known of it. */
typedef struct row {
    const char *name;
    qdq_imatrix_statistics s;
} row;

typedef struct inspection {
    const qdq_common *common;
    qdq_imatrix *matrices[MAX_MATRICES];
    uint32_t n;
    qdq_model *model; /* NULL: none was given */
    qdq_selection *selection;
    qdq_llama *rules;
    row *rows;
    uint64_t n_rows;
    qdq_json_file json;
    qdq_table *table, *lacking_table, *unused_table;
    json_t *entries, *lacking, *unused;
    uint64_t wanting, n_lacking, n_unused; /* tensors that would be quantized; of these without an entry */
} inspection;

static qdq_status no_memory(void) { return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the results"); }

static qdq_status open_matrices(inspection *in, char **paths, int n) {
    qdq_status status = QDQ_OK;
    for (int i = 0; i < n && status == QDQ_OK; i++) {
        status = qdq_imatrix_open(paths[i], &in->matrices[i]);
        in->n += status == QDQ_OK;
    }
    return status;
}

static void close_all(inspection *in) {
    qdq_json_abort(&in->json);
    qdq_table_free(in->table);
    qdq_table_free(in->lacking_table);
    qdq_table_free(in->unused_table);
    json_decref(in->entries);
    json_decref(in->lacking);
    json_decref(in->unused);
    free(in->rows);
    qdq_llama_free(in->rules);
    qdq_selection_free(in->selection);
    qdq_model_close(in->model);
    for (uint32_t i = 0; i < in->n; i++) qdq_imatrix_close(in->matrices[i]);
}

static const char *layout_name(const qdq_imatrix *matrix) {
    return qdq_imatrix_layout_of(matrix) == QDQ_IMATRIX_GGUF ? "gguf" : "dat";
}

/* ---- Order ------------------------------------------------------------------------------------------------------ */

/* Numbers in names by their value: blk.2 before blk.10. */
static int compare_names(const char *a, const char *b) {
    for (;; a++, b++) {
        size_t m = strspn(a, "0123456789"), n = strspn(b, "0123456789");
        if (m > 0 && n > 0) {
            while (m > 1 && *a == '0') a++, m--;
            while (n > 1 && *b == '0') b++, n--;
            int order = m != n ? (m < n ? -1 : 1) : strncmp(a, b, m);
            if (order != 0) return order;
            a += m;
            b += n;
        }
        if (*a != *b || *a == '\0') return (unsigned char)*a < (unsigned char)*b ? -1 : *a != *b;
    }
}

static int by_name(const void *a, const void *b) {
    const row *x = a, *y = b;
    int order = compare_names(x->name, y->name);
    return order != 0 ? order : strcmp(x->name, y->name);
}

/* The largest first, those alike by name. */
static int falling(double x, double y, const void *a, const void *b) { return x > y ? -1 : x < y ? 1 : by_name(a, b); }

#define BY(figure)                                                                                                     \
    static int by_##figure(const void *a, const void *b) {                                                             \
        return falling(((const row *)a)->s.figure, ((const row *)b)->s.figure, a, b);                                  \
    }
BY(sum)
BY(mean)
BY(deviation)
BY(most)
BY(active)
BY(entropy)
BY(most_count)
#undef BY

#define SORTS "name sum mean deviation largest active entropy count"

static int (*order_of(const char *sort))(const void *, const void *) {
    static const struct {
        const char *name;
        int (*order)(const void *, const void *);
    } orders[] = {{"name", by_name},    {"sum", by_sum},       {"mean", by_mean},       {"deviation", by_deviation},
                  {"largest", by_most}, {"active", by_active}, {"entropy", by_entropy}, {"count", by_most_count}};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (strcmp(orders[i].name, sort) == 0) return orders[i].order;
    return NULL;
}

/* ---- Showing ---------------------------------------------------------------------------------------------------- */

static qdq_status describe_entries(inspection *in, const char *sort) {
    const qdq_imatrix *matrix = in->matrices[0];
    in->n_rows = qdq_imatrix_count(matrix);
    in->rows = calloc((size_t)in->n_rows + 1, sizeof *in->rows);
    if (in->rows == NULL) return no_memory();
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < in->n_rows && status == QDQ_OK; i++) {
        const qdq_imatrix_entry *entry = qdq_imatrix_entry_at(matrix, i);
        in->rows[i].name = qdq_imatrix_entry_name(entry);
        in->rows[i].s.size = sizeof in->rows[i].s;
        status = qdq_imatrix_entry_describe(entry, &in->rows[i].s);
        if (in->rows[i].s.columns == 0) in->rows[i].s.columns = qdq_imatrix_entry_weights(entry);
    }
    if (status == QDQ_OK) qsort(in->rows, (size_t)in->n_rows, sizeof *in->rows, order_of(sort));
    return status;
}

static void list_entry(inspection *in, const row *r) {
    const qdq_imatrix_statistics *s = &r->s;
    qdq_table *t = in->table;
    qdq_table_name(t, r->name);
    qdq_table_cell(t, "%llu", (ull)s->columns);
    if (s->unreached > 0)
        qdq_table_cell(t, "%llu of %llu", (ull)(s->matrices - s->unreached), (ull)s->matrices);
    else
        qdq_table_cell(t, "%llu", (ull)s->matrices);
    if (s->least_count < s->most_count)
        qdq_table_cell(t, "%.0f to %.0f", s->least_count, s->most_count);
    else
        qdq_table_cell(t, "%.0f", s->most_count);
    qdq_table_number(t, s->sum);
    qdq_table_number(t, s->mean);
    qdq_table_number(t, s->deviation);
    qdq_table_number(t, s->most);
    qdq_table_cell(t, "%.1f", 100 * s->active);
    qdq_table_cell(t, "%.1f", 100 * s->entropy);
    if (in->common->json == NULL) return;
    json_array_append_new(in->entries,
                          json_pack("{s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
                                    qdq_json_text(r->name), "columns", (json_int_t)s->columns, "matrices",
                                    (json_int_t)s->matrices, "unreached", (json_int_t)s->unreached, "least_count",
                                    qdq_json_number(s->least_count), "most_count", qdq_json_number(s->most_count),
                                    "sum", qdq_json_number(s->sum), "mean", qdq_json_number(s->mean), "deviation",
                                    qdq_json_number(s->deviation), "least", qdq_json_number(s->least), "most",
                                    qdq_json_number(s->most), "active", qdq_json_number(s->active), "entropy",
                                    qdq_json_number(s->entropy)));
}

/* Names of entries that tensors of the model have, sorted. */
static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool has_name(const char *const *names, size_t n, const char *name) {
    return n > 0 && bsearch(&name, names, n, sizeof *names, by_text) != NULL;
}

/* A tensor: is it one that quantize would pack, and has it an entry? */
static qdq_status hold_tensor(inspection *in, uint64_t index, const char **names, size_t *n) {
    const qdq_tensor *t = qdq_model_tensor(in->model, index);
    const qdq_imatrix_entry *entry = NULL;
    qdq_choice choice = {.size = sizeof choice, .format = QDQ_FORMAT_NONE};
    qdq_llama_chooser chooser = {in->rules, in->selection};
    qdq_status status = qdq_selection_importance(in->selection, index, &entry);
    if (status == QDQ_OK) status = qdq_llama_choose(&chooser, index, &choice);
    if (status != QDQ_OK) return status;
    if (entry != NULL) names[(*n)++] = qdq_imatrix_entry_name(entry);
    if (choice.format == QDQ_FORMAT_NONE || qdq_format_facts(choice.format).block_elements == 1) return QDQ_OK;
    in->wanting++;
    if (entry != NULL) return QDQ_OK;
    in->n_lacking++;
    qdq_table_name(in->lacking_table, t->name);
    qdq_table_cell(in->lacking_table, "%s", QDQ_EXTENTS(t));
    if (in->common->json != NULL) json_array_append_new(in->lacking, qdq_json_text(t->name));
    return QDQ_OK;
}

static qdq_status hold_against_model(inspection *in, const char *path) {
    qdq_llama_options wish = {.size = sizeof wish, .format = qdq_format_by_name("q8_0")};
    qdq_status status = qdq_model_open(path, &in->model);
    qdq_selection_options options = {.size = sizeof options, .imatrix = in->matrices[0]};
    if (status == QDQ_OK) status = qdq_selection_create(in->model, &options, &in->selection);
    if (status == QDQ_OK) status = qdq_llama_create(&wish, &in->rules);
    uint64_t tensors = status == QDQ_OK ? qdq_model_tensor_count(in->model) : 0;
    const char **names = malloc((size_t)(tensors + 1) * sizeof *names);
    size_t n = 0;
    if (status == QDQ_OK && names == NULL) status = no_memory();
    for (uint64_t i = 0; i < tensors && status == QDQ_OK; i++) status = hold_tensor(in, i, names, &n);
    if (status == QDQ_OK) qsort(names, n, sizeof *names, by_text);
    for (uint64_t i = 0; i < in->n_rows && status == QDQ_OK; i++) {
        if (has_name(names, n, in->rows[i].name)) continue;
        in->n_unused++;
        qdq_table_name(in->unused_table, in->rows[i].name);
        if (in->common->json != NULL) json_array_append_new(in->unused, qdq_json_text(in->rows[i].name));
    }
    free(names);
    return status;
}

static json_t *result(inspection *in, const char *path) {
    const qdq_imatrix *matrix = in->matrices[0];
    json_t *datasets = json_array();
    const char *name;
    for (uint64_t i = 0; (name = qdq_imatrix_dataset_at(matrix, i)) != NULL; i++)
        json_array_append_new(datasets, qdq_json_text(name));
    json_t *root =
        json_pack("{s:s, s:o, s:s, s:I, s:I, s:o, s:O}", "schema", "qdq.imatrix/1", "file", qdq_json_text(path),
                  "layout", layout_name(matrix), "chunks", (json_int_t)qdq_imatrix_chunks(matrix), "chunk_size",
                  (json_int_t)qdq_imatrix_chunk_size(matrix), "datasets", datasets, "entries", in->entries);
    if (in->model == NULL) return root;
    json_object_set_new(root, "model", qdq_json_text(qdq_model_path(in->model)));
    json_object_set_new(root, "wanting", json_integer((json_int_t)in->wanting));
    json_object_set(root, "lacking", in->lacking);
    json_object_set(root, "unused", in->unused);
    return root;
}

/* What stands above the table. */
static void print_head(const inspection *in, const char *path) {
    const qdq_imatrix *matrix = in->matrices[0];
    uint64_t unreached = 0, in_entries = 0;
    const char *name;
    for (uint64_t i = 0; i < in->n_rows; i++) {
        unreached += in->rows[i].s.unreached;
        in_entries += in->rows[i].s.unreached > 0;
    }
    printf("%s: %llu %s, %u chunk%s", QDQ_SHOWN(path), (ull)in->n_rows, in->n_rows == 1 ? "entry" : "entries",
           (unsigned)qdq_imatrix_chunks(matrix), qdq_imatrix_chunks(matrix) == 1 ? "" : "s");
    if (qdq_imatrix_chunk_size(matrix) != 0) printf(" of %u tokens", (unsigned)qdq_imatrix_chunk_size(matrix));
    fputs(qdq_imatrix_layout_of(matrix) == QDQ_IMATRIX_DAT ? ", in the legacy layout; counts are chunks\n"
                                                           : "; counts are tokens\n",
          stdout);
    for (uint64_t i = 0; (name = qdq_imatrix_dataset_at(matrix, i)) != NULL; i++)
        printf("dataset %s\n", QDQ_SHOWN(name));
    if (unreached > 0)
        printf("No token has reached %llu expert%s in %llu entr%s: their weights are 1.\n", (ull)unreached,
               unreached == 1 ? "" : "s", (ull)in_entries, in_entries == 1 ? "y" : "ies");
    putchar('\n');
}

static qdq_status print_table(qdq_table **table) {
    qdq_table *taken = *table;
    *table = NULL;
    return qdq_table_print(taken);
}

static qdq_status print_coverage(inspection *in) {
    qdq_status status = QDQ_OK;
    const char *path = QDQ_SHOWN(qdq_model_path(in->model));
    printf("\n%s: of %llu tensors that are quantized, %llu have an entry.\n", path, (ull)in->wanting,
           (ull)(in->wanting - in->n_lacking));
    if (in->n_lacking > 0) {
        printf("\n%llu without (llama-imatrix never has the token embedding, and the output only with "
               "--process-output):\n",
               (ull)in->n_lacking);
        status = print_table(&in->lacking_table);
    }
    if (in->n_unused > 0 && status == QDQ_OK) {
        printf("\n%llu entr%s that no tensor of the model wants:\n", (ull)in->n_unused,
               in->n_unused == 1 ? "y" : "ies");
        status = print_table(&in->unused_table);
    }
    return status == QDQ_OK ? qdq_flush_output() : status;
}

static qdq_status show(inspection *in, const char *path, const char *model, const char *sort) {
    in->entries = json_array();
    in->lacking = json_array();
    in->unused = json_array();
    if (in->entries == NULL || in->lacking == NULL || in->unused == NULL) return no_memory();
    bool tables = qdq_common_tables(in->common);
    if (tables) {
        in->table =
            qdq_table_create("tensor|>columns|>experts|>count|>sum|>mean|>deviation|>largest|>% active|>% entropy");
        in->lacking_table = qdq_table_create("tensor|shape");
        in->unused_table = qdq_table_create("entry");
    }
    qdq_status status = describe_entries(in, sort);
    for (uint64_t i = 0; i < in->n_rows && status == QDQ_OK; i++) list_entry(in, &in->rows[i]);
    if (status == QDQ_OK && model != NULL) status = hold_against_model(in, model);
    if (status == QDQ_OK) status = qdq_table_check(in->table);
    if (status == QDQ_OK) status = qdq_table_check(in->lacking_table);
    if (status == QDQ_OK) status = qdq_table_check(in->unused_table);
    if (status == QDQ_OK && in->common->json != NULL) status = qdq_json_prepare(&in->json, result(in, path));
    if (status == QDQ_OK) status = qdq_json_finish(&in->json);
    if (status != QDQ_OK || !tables) return status;
    print_head(in, path);
    status = print_table(&in->table);
    return status == QDQ_OK && in->model != NULL ? print_coverage(in) : status;
}

/* ---- Writing ---------------------------------------------------------------------------------------------------- */

static qdq_status write_matrix(const inspection *in, const char *output, const qdq_imatrix_write_options *options) {
    qdq_imatrix_report report = {.size = sizeof report};
    qdq_status status = qdq_imatrix_write(in->n, (const qdq_imatrix *const *)in->matrices, options, output, &report);
    if (status != QDQ_OK || in->common->quiet) return status;
    printf("%s: %llu entries, %u chunks of %u tokens, from %u %s\n", QDQ_SHOWN(output), (ull)report.entries,
           (unsigned)report.chunks, (unsigned)report.chunk_size, (unsigned)in->n, in->n == 1 ? "matrix" : "matrices");
    if (report.partial > 0) printf("%llu of them are not in every matrix\n", (ull)report.partial);
    if (report.dropped > 0)
        printf("%llu that no token has reached are left out, as the layout cannot say so\n", (ull)report.dropped);
    return qdq_flush_output();
}

/* ---- The command line ---------------------------------------------------------------------------------------------
 */

static verb take_verb(int *argc, char ***argv) {
    for (int v = SHOW; v<NO_VERB && * argc> 1; v++) {
        if (strcmp((*argv)[1], verbs[v]) != 0) continue;
        (*argc)--;
        (*argv)++;
        return (verb)v;
    }
    return NO_VERB;
}

typedef struct wish {
    verb verb;
    const char *model, *sort, *output, *layout;
    long long chunk_size;
} wish;

static const char *check_wish(const wish *w, const qdq_common *common, int n) {
    bool writes = w->output != NULL || w->layout != NULL || w->chunk_size > 0;
    if (w->verb == NO_VERB) return "say what to do: show FILE, merge FILE... -o OUT, or convert FILE -o OUT";
    if (n == 0) return "no importance matrix is named";
    if (n > MAX_MATRICES) return "more than 64 importance matrices are named";
    if (w->verb != MERGE && n > 1) return "one importance matrix is wanted; merge takes several";
    if (w->verb == SHOW && writes) return "show writes no matrix: say merge or convert";
    if (w->verb == SHOW) return order_of(w->sort) != NULL ? NULL : "--sort takes one of " SORTS;
    if (w->output == NULL) return "no output: say -o OUT.gguf";
    if (w->model != NULL || common->json != NULL) return "--model and --json are options of show";
    if (w->layout != NULL && strcmp(w->layout, "gguf") != 0 && strcmp(w->layout, "dat") != 0)
        return "--output-format takes gguf or dat";
    return NULL;
}

static const char *check_paths(qdq_parser *parser) {
    for (int i = 1; i < parser->n_operands; i++)
        if (!qdq_paths_add(&parser->paths, parser->operands[i], NULL, false)) return "too many files are named";
    return qdq_paths_check(&parser->paths) == QDQ_OK ? NULL : qdq_error_message();
}

int qdq_command_imatrix(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    wish w = {.verb = take_verb(&argc, &argv), .sort = "name"};
    const char *wrong = NULL;
    qdq_parse_begin(&parser, &qdq_cli_imatrix, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        switch (o) {
        case QDQ_PARSE_EXIT: return parser.status;
        case 'o': w.output = parser.value; break;
        case MODEL: w.model = parser.value; break;
        case SORT: w.sort = parser.value; break;
        case OUTPUT_FORMAT: w.layout = parser.value; break;
        case CHUNK_SIZE:
            if (!qdq_parse_integer(parser.value, 1, INT32_MAX, &w.chunk_size))
                wrong = "--chunk-size takes a number of tokens, 1 or more";
        }
    }
    if (wrong == NULL) wrong = check_wish(&w, &common, parser.n_operands);
    if (wrong == NULL) wrong = check_paths(&parser);
    if (wrong != NULL) return qdq_usage_error(&parser, "%s", wrong);
    inspection in = {.common = &common};
    qdq_status status = open_matrices(&in, parser.operands, parser.n_operands);
    if (w.verb == SHOW) {
        if (status == QDQ_OK) status = qdq_json_open(common.json, &in.json);
        if (status == QDQ_OK) status = show(&in, parser.operands[0], w.model, w.sort);
    } else if (status == QDQ_OK) {
        bool dat = w.layout != NULL ? strcmp(w.layout, "dat") == 0 : qdq_path_ends(w.output, ".dat");
        qdq_imatrix_write_options options = {.size = sizeof options,
                                             .layout = dat ? QDQ_IMATRIX_DAT : QDQ_IMATRIX_GGUF,
                                             .chunk_size = (uint32_t)w.chunk_size};
        status = write_matrix(&in, w.output, &options);
    }
    int exit_status = status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
    close_all(&in);
    return exit_status;
}

static const qdq_cli_option options[] = {
    {MODEL, "model", "MODEL", QDQ_ARG_INPUT, NULL,
     "show: also say which tensors of the model, of those that quantize would pack, have no entry, and which entries "
     "no tensor wants"},
    {SORT, "sort", "FIGURE", QDQ_ARG_CHOICE, SORTS,
     "show: the order of the table, by name (the default) or the largest first: sum, mean, deviation, largest, active, "
     "entropy, count"},
    {'o', "output", "OUT", QDQ_ARG_OUTPUT, NULL, "merge, convert: the matrix to write"},
    {OUTPUT_FORMAT, "output-format", "LAYOUT", QDQ_ARG_CHOICE, "gguf dat",
     "merge, convert: llama-imatrix's layout of today, gguf, or the one before, dat; the default is dat where OUT ends "
     "with .dat, else gguf"},
    {CHUNK_SIZE, "chunk-size", "N", QDQ_ARG_TEXT, NULL,
     "merge, convert: how many tokens a chunk is; the default is what the first matrix says that says it, else 512"},
    {0},
};

static const qdq_cli_example examples[] = {
    {"what a matrix holds, what matters most first", "qdq imatrix show --sort sum imatrix.gguf"},
    {"does it go with the model?", "qdq imatrix show --model model-bf16.gguf imatrix.gguf"},
    {"one matrix of two texts", "qdq imatrix merge code.gguf prose.gguf -o imatrix.gguf"},
    {"for programs that read the older layout alone", "qdq imatrix convert imatrix.gguf -o imatrix.dat"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_imatrix = {
    .name = "imatrix",
    .summary = "show importance matrices, add them up, convert them",
    .operands = "show FILE | merge FILE... -o OUT | convert FILE -o OUT",
    .text =
        "show lists the entries of llama-imatrix's file, in either layout: columns, experts (how many of them a token "
        "has reached), how much was counted, and of the weights, which are mean squares of what the tensor is "
        "multiplied with, sum, mean, standard deviation, the largest, how many are over 0.00001, and their entropy in "
        "percent: 100 where all columns matter alike, less where few outweigh the others.\n\n"
        "merge adds up sums and counts, as llama-imatrix --in-file does; an entry that only some files have is taken "
        "as it is. convert writes one matrix in the other layout. dat has no counts of experts: one that no token has "
        "reached gets weights of 1 there.",
    .options = options,
    .takes = QDQ_TAKES_JSON | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_imatrix,
};
