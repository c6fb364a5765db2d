/* Tables on standard output: every column as wide as its widest cell. */
#include "cli/cli.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

enum { MAX_COLUMNS = 16 };

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

qdq_table *qdq_table_create(const char *columns) {
    qdq_table *table = calloc(1, sizeof *table);
    if (table == NULL) return NULL;
    table->titles = strdup(columns);
    for (char *at = table->titles; at != NULL && table->n_columns < MAX_COLUMNS;) {
        char *end = strchr(at, '|');
        if (end != NULL) *end = '\0';
        bool right = *at == '>';
        table->right[table->n_columns] = right;
        table->title[table->n_columns++] = at + right;
        at = end != NULL ? end + 1 : NULL;
    }
    table->failed = table->titles == NULL;
    return table;
}

void qdq_table_free(qdq_table *table) {
    if (table == NULL) return;
    for (unsigned long i = 0; i < table->n_cells; i++) free(table->cells[i]);
    free(table->cells);
    free(table->titles);
    free(table);
}

static void add(qdq_table *table, const char *text) {
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
    qdq_table_cell(table, isnan(value) ? "nan" : "%.6g", value);
}

unsigned long qdq_table_rows(const qdq_table *table) { return table != NULL ? table->n_cells / table->n_columns : 0; }

void qdq_table_rule(qdq_table *table) {
    if (table != NULL) table->rule = qdq_table_rows(table);
}

/* Columns on a terminal: characters, not bytes. */
static size_t width_of(const char *text) {
    size_t width = 0;
    for (; *text != '\0'; text++) width += (*text & 0xc0) != 0x80;
    return width;
}

static void print_cell(const char *text, size_t width, bool right, bool last) {
    int gap = (int)(width - width_of(text));
    if (right)
        printf("%*s%s", gap, "", text);
    else
        printf("%s%*s", text, last ? 0 : gap, "");
    fputs(last ? "" : "  ", stdout);
}

qdq_status qdq_table_print(qdq_table *table) {
    if (table == NULL) return QDQ_OK;
    if (table->failed) {
        qdq_table_free(table);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for the table");
    }
    size_t width[MAX_COLUMNS], whole = 0;
    unsigned n = table->n_columns;
    for (unsigned c = 0; c < n; c++) width[c] = width_of(table->title[c]);
    for (unsigned long i = 0; i < table->n_cells; i++) {
        size_t w = width_of(table->cells[i]);
        if (w > width[i % n]) width[i % n] = w;
    }
    for (unsigned c = 0; c < n; c++) whole += width[c] + (c + 1 < n ? 2 : 0);
    bool coloured = qdq_coloured(stdout);
    fputs(coloured ? "\033[1m" : "", stdout);
    for (unsigned c = 0; c < n; c++) print_cell(table->title[c], width[c], table->right[c], c + 1 == n);
    fputs(coloured ? "\033[0m\n" : "\n", stdout);
    for (unsigned long i = 0; i < table->n_cells; i++) {
        unsigned c = (unsigned)(i % n);
        if (table->rule > 0 && i == table->rule * n) {
            for (size_t k = 0; k < whole; k++) putchar('-');
            putchar('\n');
        }
        print_cell(table->cells[i], width[c], table->right[c], c + 1 == n);
        if (c + 1 == n) putchar('\n');
    }
    qdq_table_free(table);
    return qdq_flush_output();
}

const char *qdq_extents_text(const qdq_tensor *tensor, char buffer[192]) {
    size_t used = 0;
    buffer[0] = '\0';
    for (uint32_t d = 0; d < tensor->n_dims && used < 160; d++)
        used += (size_t)snprintf(buffer + used, 192 - used, "%s%llu", d > 0 ? " x " : "",
                                 (unsigned long long)tensor->shape[d]);
    return tensor->n_dims > 0 ? buffer : strcpy(buffer, "scalar");
}
