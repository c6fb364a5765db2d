#include "cli/groups.h"

#include <stdlib.h>
#include <string.h>

struct qdq_grouped {
    char *kind, *reason;
    const char *type;
    uint64_t bytes, elements, tensors;
    double damage;
    size_t first, kind_first; /* in the order of adding: of these, of all of the kind */
};

/* The name with a star for each number between dots. */
static char *kind_of(const char *name) {
    char *kind = strdup(name), *to = kind;
    for (const char *at = name; kind != NULL && *at != '\0';) {
        size_t digits = at == name || at[-1] == '.' ? strspn(at, "0123456789") : 0;
        if (digits > 0 && (at[digits] == '.' || at[digits] == '\0')) {
            *to++ = '*';
            at += digits;
        } else {
            *to++ = *at++;
        }
    }
    if (kind != NULL) *to = '\0';
    return kind;
}

void qdq_groups_add(qdq_groups *g, const qdq_grouping *tensor) {
    if (g->n == g->room && !g->failed) {
        size_t room = g->room > 0 ? 2 * g->room : 256;
        struct qdq_grouped *items = realloc(g->items, room * sizeof *items);
        g->failed = items == NULL;
        if (items != NULL) {
            g->items = items;
            g->room = room;
        }
    }
    if (g->failed) return;
    struct qdq_grouped *item = &g->items[g->n];
    *item = (struct qdq_grouped){.kind = kind_of(tensor->name),
                                 .reason = strdup(tensor->reason),
                                 .type = tensor->type,
                                 .bytes = tensor->bytes,
                                 .elements = tensor->elements,
                                 .tensors = 1,
                                 .damage = tensor->damage,
                                 .first = g->n,
                                 .kind_first = g->n};
    g->n++;
    g->failed = item->kind == NULL || item->reason == NULL;
}

static int by_what(const void *a, const void *b) {
    const struct qdq_grouped *x = a, *y = b;
    int order = strcmp(x->kind, y->kind);
    if (order == 0) order = strcmp(x->type, y->type);
    if (order == 0) order = strcmp(x->reason, y->reason);
    return order != 0 ? order : x->first < y->first ? -1 : 1;
}

/* Rows of a kind stand together. */
static int by_first(const void *a, const void *b) {
    const struct qdq_grouped *x = a, *y = b;
    if (x->kind_first != y->kind_first) return x->kind_first < y->kind_first ? -1 : 1;
    return x->first < y->first ? -1 : 1;
}

/* What is of a kind stands together already. */
static void find_kinds(qdq_groups *g) {
    for (size_t i = 0, end; i < g->n; i = end) {
        size_t first = g->items[i].first;
        for (end = i + 1; end < g->n && strcmp(g->items[end].kind, g->items[i].kind) == 0; end++)
            if (g->items[end].first < first) first = g->items[end].first;
        for (size_t k = i; k < end; k++) g->items[k].kind_first = first;
    }
}

/* Those alike become one, the others of them are forgotten. */
static void merge(qdq_groups *g) {
    size_t kept = 0;
    if (g->n > 0) qsort(g->items, g->n, sizeof *g->items, by_what);
    for (size_t i = 0; i < g->n; i++) {
        struct qdq_grouped *item = &g->items[i], *last = kept > 0 ? &g->items[kept - 1] : NULL;
        bool alike = last != NULL && strcmp(last->kind, item->kind) == 0 && strcmp(last->type, item->type) == 0 &&
                     strcmp(last->reason, item->reason) == 0;
        if (!alike) {
            g->items[kept++] = *item;
            continue;
        }
        last->bytes += item->bytes;
        last->elements += item->elements;
        last->damage += item->damage;
        last->tensors++;
        free(item->kind);
        free(item->reason);
    }
    g->n = kept;
    find_kinds(g);
    if (g->n > 0) qsort(g->items, g->n, sizeof *g->items, by_first);
}

qdq_status qdq_groups_table(qdq_groups *g, bool planned, qdq_table **table) {
    *table = NULL;
    if (g->failed) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the table");
    merge(g);
    *table = qdq_table_create(planned ? "tensors of a kind|>tensors|format|>bits|>damage"
                                      : "tensors of a kind|>tensors|format|>size|reason");
    for (size_t i = 0; i < g->n; i++) {
        const struct qdq_grouped *item = &g->items[i];
        qdq_table_name(*table, item->kind);
        qdq_table_cell(*table, "%llu", (unsigned long long)item->tensors);
        qdq_table_cell(*table, "%s", item->type);
        if (planned) {
            qdq_table_cell(*table, "%.4g", 8 * (double)item->bytes / (double)item->elements);
            qdq_table_number(*table, item->damage);
            continue;
        }
        qdq_table_cell(*table, "%s", QDQ_SIZE(item->bytes));
        qdq_table_name(*table, item->reason);
    }
    return qdq_table_check(*table);
}

void qdq_groups_free(qdq_groups *g) {
    for (size_t i = 0; i < g->n; i++) {
        free(g->items[i].kind);
        free(g->items[i].reason);
    }
    free(g->items);
    *g = (qdq_groups){0};
}
