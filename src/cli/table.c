/* Tables on standard output: every column as wide as its widest cell. */
#include "cli/cli.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COLUMNS = 16, GAP = 2, LEAST_NAME = 16 };

struct qdq_table {
    char *titles; /* parted by NULs */
    const char *title[MAX_COLUMNS];
    bool right[MAX_COLUMNS];
    unsigned n_columns;
    char **cells; /* row by row */
    unsigned long n_cells, room;
    unsigned long rule; /* the row over which it is drawn; 0: none */
    bool failed;
};

/* What there was no memory for: it has no cells, and cannot be printed. */
static qdq_table no_table = {.n_columns = 1, .failed = true};

qdq_table *qdq_table_create(const char *columns) {
    qdq_table *table = calloc(1, sizeof *table);
    char *titles = table != NULL ? strdup(columns) : NULL;
    if (titles == NULL) {
        free(table);
        return &no_table;
    }
    table->titles = titles;
    for (char *at = titles; at != NULL && table->n_columns < MAX_COLUMNS;) {
        char *end = strchr(at, '|');
        if (end != NULL) *end = '\0';
        bool right = *at == '>';
        table->right[table->n_columns] = right;
        table->title[table->n_columns++] = at + right;
        at = end != NULL ? end + 1 : NULL;
    }
    return table;
}

void qdq_table_free(qdq_table *table) {
    if (table == NULL || table == &no_table) return;
    for (unsigned long i = 0; i < table->n_cells; i++) free(table->cells[i]);
    free(table->cells);
    free(table->titles);
    free(table);
}

static void add(qdq_table *table, const char *text) {
    if (table->failed) return;
    if (table->n_cells == table->room) {
        unsigned long room = table->room > 0 ? 2 * table->room : 64;
        char **cells = realloc(table->cells, room * sizeof *cells);
        table->failed |= cells == NULL;
        if (cells == NULL) return;
        table->cells = cells;
        table->room = room;
    }
    char *copy = strdup(text);
    table->failed |= copy == NULL;
    if (copy != NULL) table->cells[table->n_cells++] = copy;
}

void qdq_table_cell(qdq_table *table, const char *format, ...) {
    if (table == NULL) return;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add(table, text);
}

void qdq_table_name(qdq_table *table, const char *name) {
    char text[1024];
    if (table != NULL) add(table, qdq_printable(name, text, sizeof text));
}

void qdq_table_number(qdq_table *table, double value) {
    /* One spelling, whatever the sign of a NaN. */
    qdq_table_cell(table, isnan(value) ? "nan" : "%.4g", value);
}

unsigned long qdq_table_rows(const qdq_table *table) { return table != NULL ? table->n_cells / table->n_columns : 0; }

void qdq_table_rule(qdq_table *table) {
    if (table != NULL && !table->failed) table->rule = qdq_table_rows(table);
}

/* Columns on a terminal: characters, not bytes. */
static size_t width_of(const char *text) {
    size_t width = 0;
    for (; *text != '\0'; text++) width += (*text & 0xc0) != 0x80;
    return width;
}

/* A text that is wider than its column loses its beginning: names differ at their ends. Blanks wait for what follows
 * them, so that no line ends with any. */
static void print_cell(const char *text, size_t width, bool right, size_t *blanks) {
    size_t own = width_of(text);
    bool cut = own > width;
    for (; own > width - cut; own--) do
            text++;
        while ((*text & 0xc0) == 0x80);
    size_t room = width - own - cut;
    if (right) *blanks += room;
    if (own > 0) {
        printf("%*s%s%s", (int)*blanks, "", cut ? "…" : "", text);
        *blanks = 0;
    }
    if (!right) *blanks += room;
}

/* By their ends. */
static int compare_ends(const void *a, const void *b) {
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    size_t m = strlen(x), n = strlen(y);
    while (m > 0 && n > 0 && x[m - 1] == y[n - 1]) m--, n--;
    if (m == 0 || n == 0) return (m > 0) - (n > 0);
    return (unsigned char)x[m - 1] < (unsigned char)y[n - 1] ? -1 : 1;
}

static size_t common_end(const char *x, const char *y) {
    size_t m = strlen(x), n = strlen(y), common = 0;
    while (common < m && common < n && x[m - 1 - common] == y[n - 1 - common]) common++;
    return common;
}

/* How wide the first column must be for different names to stay different when they lose their beginnings. */
static size_t least_name(const qdq_table *table) {
    unsigned long rows = qdq_table_rows(table);
    char **names = malloc((rows + 1) * sizeof *names);
    if (names == NULL) return SIZE_MAX;
    for (unsigned long i = 0; i < rows; i++) names[i] = table->cells[i * table->n_columns];
    qsort(names, rows, sizeof *names, compare_ends);
    size_t least = LEAST_NAME;
    for (unsigned long i = 1; i < rows; i++) {
        size_t common = common_end(names[i - 1], names[i]);
        if (strcmp(names[i - 1], names[i]) != 0 && common + 2 > least) least = common + 2; /* and the mark of the cut */
    }
    free(names);
    return least;
}

/* What a table is wider than the terminal is taken from the gaps, then from the first column, the names. */
static size_t fit(const qdq_table *table, size_t whole, unsigned gaps, size_t *first, size_t *gap) {
    size_t terminal = qdq_terminal_columns();
    *gap = GAP;
    if (terminal == 0 || whole <= terminal) return whole;
    *gap = 1;
    whole -= gaps * (GAP - 1);
    if (whole <= terminal) return whole;
    size_t least = least_name(table), cut = whole - terminal;
    if (*first <= least) return whole;
    if (cut > *first - least) cut = *first - least;
    *first -= cut;
    return whole - cut;
}

typedef struct layout {
    size_t width[MAX_COLUMNS], whole, gap;
} layout;

/* A column in which no row has anything is not shown: its width is 0. */
static layout lay_out(const qdq_table *table) {
    layout l = {.whole = 0};
    unsigned n = table->n_columns, shown = 0;
    for (unsigned long i = 0; i < table->n_cells; i++) {
        size_t w = width_of(table->cells[i]);
        if (w > l.width[i % n]) l.width[i % n] = w;
    }
    for (unsigned c = 0; c < n; c++) {
        size_t w = width_of(table->title[c]);
        if (w > l.width[c] && (l.width[c] > 0 || table->n_cells == 0)) l.width[c] = w;
        l.whole += l.width[c];
        shown += l.width[c] > 0;
    }
    unsigned gaps = shown > 0 ? shown - 1 : 0;
    l.whole = fit(table, l.whole + gaps * GAP, gaps, &l.width[0], &l.gap);
    return l;
}

static void print_row(const qdq_table *table, const char *const *cells, const layout *l) {
    size_t blanks = 0;
    for (unsigned c = 0; c < table->n_columns; c++) {
        if (l->width[c] == 0) continue;
        print_cell(cells[c], l->width[c], table->right[c], &blanks);
        blanks += l->gap;
    }
}

qdq_status qdq_table_check(const qdq_table *table) {
    return table == NULL || !table->failed ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the table");
}

qdq_status qdq_table_print(qdq_table *table) {
    if (table == NULL) return QDQ_OK;
    qdq_status status = qdq_table_check(table);
    if (status != QDQ_OK) {
        qdq_table_free(table);
        return status;
    }
    layout l = lay_out(table);
    bool coloured = qdq_coloured(stdout);
    fputs(coloured ? "\033[1m" : "", stdout);
    print_row(table, table->title, &l);
    fputs(coloured ? "\033[0m\n" : "\n", stdout);
    for (unsigned long i = 0; i < qdq_table_rows(table); i++) {
        if (table->rule > 0 && i == table->rule) {
            for (size_t k = 0; k < l.whole; k++) putchar('-');
            putchar('\n');
        }
        print_row(table, (const char *const *)table->cells + i * table->n_columns, &l);
        putchar('\n');
    }
    qdq_table_free(table);
    return qdq_flush_output();
}
