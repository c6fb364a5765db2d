/* The builder of problem.h: a table of tensors x formats whose cells are struck out by rules, and a union of tensors
 * that share a format. */
#include "plan/problem.h"
#include "base/error.h"
#include "files/sorted.h"
#include "model/pattern.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_GROUP SIZE_MAX

typedef struct tensor {
    char *name;
    size_t same; /* an earlier tensor of the same group, or itself: a forest */
    size_t group;
} tensor;

struct qdq_problem {
    uint32_t n_formats;
    qdq_problem_format *formats; /* names are the problem's own */
    size_t n_tensors, room;
    tensor *tensors;
    size_t n_labels, label_room;
    qdq_name *labels;     /* of tensors, by which build() unites them */
    qdq_candidate *cells; /* n_formats a tensor */
    unsigned char *open;  /* as many: may the rules still give it? */

    /* what build() makes */
    size_t n_groups;
    qdq_choose_group *groups;
    qdq_candidate *merged;   /* the groups' candidates */
    uint32_t *merged_format; /* and their formats */
    qdq_knapsack *knapsack;  /* of the groups, once it is solved */
};

static qdq_status out_of_memory(void) { return qdq_fail(QDQ_OUT_OF_MEMORY, "plan: out of memory"); }

static void drop_groups(qdq_problem *p) {
    free(p->groups);
    free(p->merged);
    free(p->merged_format);
    qdq_knapsack_free(p->knapsack);
    p->knapsack = NULL;
    p->groups = NULL;
    p->merged = NULL;
    p->merged_format = NULL;
}

void qdq_problem_rest(qdq_problem *p) { drop_groups(p); }

void qdq_problem_free(qdq_problem *p) {
    if (!p) return;
    for (uint32_t f = 0; p->formats && f < p->n_formats; f++) free((char *)p->formats[f].name);
    for (size_t i = 0; i < p->n_tensors; i++) free(p->tensors[i].name);
    for (size_t i = 0; i < p->n_labels; i++) free((char *)p->labels[i].text);
    free(p->formats);
    free(p->tensors);
    free(p->labels);
    free(p->cells);
    free(p->open);
    drop_groups(p);
    free(p);
}

qdq_status qdq_problem_create(uint32_t n_formats, const qdq_problem_format *formats, qdq_problem **problem) {
    if (!problem || !formats || n_formats == 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "plan: no formats to choose from");
    qdq_problem *p = calloc(1, sizeof *p);
    if (!p) return out_of_memory();
    p->formats = calloc(n_formats, sizeof *p->formats);
    if (!p->formats) {
        qdq_problem_free(p);
        return out_of_memory();
    }
    p->n_formats = n_formats;
    for (uint32_t f = 0; f < n_formats; f++) {
        if (!formats[f].name || formats[f].block_elements == 0) {
            qdq_problem_free(p);
            return qdq_fail(QDQ_INVALID_ARGUMENT, "plan: format %u has no name or no block", f);
        }
        p->formats[f] = formats[f];
        p->formats[f].name = strdup(formats[f].name);
        if (!p->formats[f].name) {
            qdq_problem_free(p);
            return out_of_memory();
        }
    }
    *problem = p;
    return QDQ_OK;
}

static int make_room(qdq_problem *p) {
    if (p->n_tensors < p->room) return 1;
    size_t room = p->room ? 2 * p->room : 256, cells;
    if (__builtin_mul_overflow(room, (size_t)p->n_formats * sizeof *p->cells, &cells)) return 0;
    tensor *tensors = realloc(p->tensors, room * sizeof *tensors);
    if (tensors) p->tensors = tensors;
    qdq_candidate *table = realloc(p->cells, cells);
    if (table) p->cells = table;
    unsigned char *open = realloc(p->open, room * p->n_formats);
    if (open) p->open = open;
    if (!tensors || !table || !open) return 0;
    p->room = room;
    return 1;
}

qdq_status qdq_problem_add(qdq_problem *p, const char *name, const qdq_candidate *candidates) {
    if (!p || !name || !candidates) return qdq_fail(QDQ_INVALID_ARGUMENT, "plan: a NULL argument");
    uint32_t n = 0;
    for (uint32_t f = 0; f < p->n_formats; f++) {
        if (candidates[f].bytes == QDQ_NO_CANDIDATE) continue;
        n++;
        if (!isfinite(candidates[f].damage) || candidates[f].damage < 0)
            return qdq_fail(QDQ_INVALID_ARGUMENT, "plan: %s in %s: damage %g; it must be finite and not negative", name,
                            p->formats[f].name, candidates[f].damage);
    }
    if (n == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "plan: tensor %s can have none of the formats", name);
    char *copy = strdup(name);
    if (!copy || !make_room(p)) {
        free(copy);
        return out_of_memory();
    }
    drop_groups(p);
    size_t at = p->n_tensors++;
    p->tensors[at] = (tensor){copy, at, NO_GROUP};
    for (uint32_t f = 0; f < p->n_formats; f++) {
        p->cells[at * p->n_formats + f] = candidates[f];
        p->open[at * p->n_formats + f] = candidates[f].bytes != QDQ_NO_CANDIDATE;
    }
    return QDQ_OK;
}

qdq_status qdq_problem_set_damage(qdq_problem *p, size_t i, uint32_t format, double damage) {
    if (!isfinite(damage) || damage < 0)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "plan: %s in %s: damage %g; it must be finite and not negative",
                        p->tensors[i].name, p->formats[format].name, damage);
    drop_groups(p);
    p->cells[i * p->n_formats + format].damage = damage;
    return QDQ_OK;
}

/* ---- Which tensors share a format ---- */

static size_t root_of(qdq_problem *p, size_t i) {
    while (p->tensors[i].same != i) {
        p->tensors[i].same = p->tensors[p->tensors[i].same].same;
        i = p->tensors[i].same;
    }
    return i;
}

static void unite(qdq_problem *p, size_t a, size_t b) {
    a = root_of(p, a);
    b = root_of(p, b);
    if (a < b)
        p->tensors[b].same = a;
    else
        p->tensors[a].same = b;
}

qdq_status qdq_problem_label(qdq_problem *p, size_t at, const char *text) {
    if (!p || !text) return qdq_fail(QDQ_INVALID_ARGUMENT, "plan: a NULL argument");
    if (at >= p->n_tensors)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "plan: tensor %zu of %zu to be labelled", at, p->n_tensors);
    if (p->n_labels == p->label_room) {
        size_t room = p->label_room > 0 ? 2 * p->label_room : 64;
        qdq_name *labels = realloc(p->labels, room * sizeof *labels);
        if (!labels) return out_of_memory();
        p->labels = labels;
        p->label_room = room;
    }
    char *copy = strdup(text);
    if (!copy) return out_of_memory();
    p->labels[p->n_labels++] = (qdq_name){copy, at};
    drop_groups(p);
    return QDQ_OK;
}

/* Unites the tensors whose texts are equal: as many steps as sorting takes, whatever the texts. */
static void unite_equals(qdq_problem *p, qdq_name *texts, size_t n) {
    qdq_sorted_sort(texts, n);
    for (size_t i = 1; i < n; i++)
        if (strcmp(texts[i - 1].text, texts[i].text) == 0) unite(p, texts[i - 1].index, texts[i].index);
}

/* What the parentheses caught, as one text: equal texts for equal catches. NULL: no memory. */
static char *catches_text(const char *name, const qdq_catch *catches, unsigned n) {
    size_t room = 1, used = 0;
    for (unsigned k = 0; k < n; k++) room += 24 + (catches[k].end - catches[k].begin);
    char *text = malloc(room);
    if (!text) return NULL;
    text[0] = '\0';
    for (unsigned k = 0; k < n; k++) {
        size_t length = catches[k].end - catches[k].begin;
        if (catches[k].begin == SIZE_MAX)
            used += (size_t)snprintf(text + used, room - used, "-");
        else
            used +=
                (size_t)snprintf(text + used, room - used, "%zu:%.*s", length, (int)length, name + catches[k].begin);
    }
    return text;
}

static qdq_status unite_catches(qdq_problem *p, const qdq_pattern *pattern, qdq_name *texts, size_t *n) {
    qdq_catch catches[QDQ_MAX_CATCHES];
    qdq_status status = QDQ_OK;
    for (size_t i = 0; i < p->n_tensors && status == QDQ_OK; i++) {
        bool found;
        status = qdq_pattern_find(pattern, p->tensors[i].name, catches, &found);
        if (status != QDQ_OK || !found) continue;
        texts[*n] = (qdq_name){catches_text(p->tensors[i].name, catches, qdq_pattern_catches(pattern)), i};
        if (!texts[*n].text) return out_of_memory();
        ++*n;
    }
    if (status == QDQ_OK) unite_equals(p, texts, *n);
    return status;
}

qdq_status qdq_problem_same(qdq_problem *p, const char *regex) {
    if (!p || !regex) return qdq_fail(QDQ_INVALID_ARGUMENT, "plan: a NULL argument");
    qdq_pattern *pattern;
    size_t n = 0;
    qdq_status status = qdq_pattern_open(regex, &pattern);
    if (status != QDQ_OK) return status;
    qdq_name *texts = malloc((p->n_tensors + 1) * sizeof *texts);
    if (!texts)
        status = out_of_memory();
    else if (qdq_pattern_catches(pattern) > QDQ_MAX_CATCHES)
        status = qdq_fail(QDQ_INVALID_ARGUMENT, "regular expression \"%s\": more than %d parentheses", regex,
                          QDQ_MAX_CATCHES);
    else
        status = unite_catches(p, pattern, texts, &n);
    for (size_t i = 0; i < n; i++) free((char *)texts[i].text);
    free(texts);
    qdq_pattern_free(pattern);
    if (status != QDQ_OK) return status;
    if (n == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "no tensor's name matches \"%s\"", regex);
    drop_groups(p);
    return QDQ_OK;
}

/* ---- Which formats a tensor may have ---- */

static qdq_status find_format(const qdq_problem *p, const char *name, uint32_t *format) {
    for (uint32_t f = 0; f < p->n_formats; f++)
        if (strcmp(p->formats[f].name, name) == 0) {
            *format = f;
            return QDQ_OK;
        }
    return qdq_fail(QDQ_INVALID_ARGUMENT, "%s is not among the formats to choose from", name);
}

/* Strikes out, for tensors that match, the formats that `allowed` does not have. Nothing changes unless every one of
 * them keeps a format. `rule` says in a message what was asked. */
static qdq_status narrow(qdq_problem *p, const char *regex, const unsigned char *allowed, const char *rule) {
    qdq_pattern *pattern = NULL;
    qdq_status status = regex ? qdq_pattern_open(regex, &pattern) : QDQ_OK;
    if (status != QDQ_OK) return status;
    unsigned char *match = calloc(p->n_tensors + 1, 1);
    status = match ? QDQ_OK : out_of_memory();
    size_t matches = 0;
    for (size_t i = 0; status == QDQ_OK && i < p->n_tensors; i++) {
        bool found = true;
        if (regex) status = qdq_pattern_find(pattern, p->tensors[i].name, NULL, &found);
        if (status != QDQ_OK || !found) continue;
        match[i] = 1;
        matches++;
        uint32_t left = 0;
        for (uint32_t f = 0; f < p->n_formats; f++) left += p->open[i * p->n_formats + f] && allowed[f];
        if (left == 0) status = qdq_fail(QDQ_INVALID_ARGUMENT, "%s leaves no format for %s", rule, p->tensors[i].name);
    }
    if (status == QDQ_OK && matches == 0)
        status = qdq_fail(QDQ_INVALID_ARGUMENT, "no tensor's name matches \"%s\"", regex ? regex : "");
    if (status == QDQ_OK) {
        drop_groups(p);
        for (size_t i = 0; i < p->n_tensors; i++)
            for (uint32_t f = 0; match[i] && f < p->n_formats; f++)
                p->open[i * p->n_formats + f] = p->open[i * p->n_formats + f] && allowed[f];
    }
    free(match);
    qdq_pattern_free(pattern);
    return status;
}

static qdq_status narrow_to(qdq_problem *p, const char *regex, uint32_t n_names, const char *const *names, int larger,
                            const char *verb) {
    if (!p || (n_names && !names)) return qdq_fail(QDQ_INVALID_ARGUMENT, "plan: a NULL argument");
    unsigned char *allowed = calloc(p->n_formats, 1);
    if (!allowed) return out_of_memory();
    qdq_status status = QDQ_OK;
    for (uint32_t k = 0; k < n_names && status == QDQ_OK; k++) {
        uint32_t named = 0;
        status = find_format(p, names[k], &named);
        if (status != QDQ_OK) break;
        const qdq_problem_format *a = &p->formats[named];
        allowed[named] = 1;
        for (uint32_t f = 0; larger && f < p->n_formats; f++) {
            const qdq_problem_format *b = &p->formats[f];
            if ((uint64_t)b->block_bytes * a->block_elements >= (uint64_t)a->block_bytes * b->block_elements)
                allowed[f] = 1;
        }
    }
    if (status == QDQ_OK) {
        char rule[160];
        snprintf(rule, sizeof rule, "%s %s for \"%.80s\"", verb, n_names == 1 ? names[0] : "a list of formats",
                 regex ? regex : "every tensor");
        status = narrow(p, regex, allowed, rule);
    }
    free(allowed);
    return status;
}

qdq_status qdq_problem_pin(qdq_problem *p, const char *regex, const char *format) {
    return narrow_to(p, regex, 1, &format, 0, "pinning");
}

qdq_status qdq_problem_minimum(qdq_problem *p, const char *regex, const char *format) {
    return narrow_to(p, regex, 1, &format, 1, "a minimum of");
}

qdq_status qdq_problem_allow(qdq_problem *p, const char *regex, uint32_t n_formats, const char *const *formats) {
    return narrow_to(p, regex, n_formats, formats, 0, "allowing");
}

/* ---- Groups ---- */

/* The group's sums in one format; 0 when a tensor of it cannot have that format. *status: a sum over 64 bits. */
static int merge_cell(const qdq_problem *p, size_t group, uint32_t format, const size_t *members, size_t n,
                      qdq_candidate *sum, qdq_status *status) {
    *sum = (qdq_candidate){0, 0};
    for (size_t k = 0; k < n; k++) {
        size_t cell = members[k] * p->n_formats + format;
        if (!p->open[cell]) return 0;
        sum->damage += p->cells[cell].damage;
        if (__builtin_add_overflow(sum->bytes, p->cells[cell].bytes, &sum->bytes) || !isfinite(sum->damage)) {
            *status = qdq_fail(QDQ_INVALID_ARGUMENT, "plan: the sums of group %zu (%s) in %s are too large", group,
                               p->tensors[members[0]].name, p->formats[format].name);
            return 0;
        }
    }
    return 1;
}

/* members: the tensors, those of a group together and in order; first: where each group begins (n_groups + 1). */
static qdq_status merge_groups(qdq_problem *p, const size_t *members, const size_t *first) {
    size_t used = 0;
    for (size_t g = 0; g < p->n_groups; g++) {
        size_t n = first[g + 1] - first[g];
        uint32_t count = 0;
        for (uint32_t f = 0; f < p->n_formats; f++) {
            qdq_status status = QDQ_OK;
            if (merge_cell(p, g, f, &members[first[g]], n, &p->merged[used + count], &status))
                p->merged_format[used + count++] = f;
            else if (status != QDQ_OK)
                return status;
        }
        if (count == 0)
            return qdq_fail(QDQ_INVALID_ARGUMENT,
                            "%s and the %zu tensors that must share its format (%s, …) have no "
                            "format in common",
                            p->tensors[members[first[g]]].name, n - 1, p->tensors[members[first[g] + (n > 1)]].name);
        p->groups[g] = (qdq_choose_group){&p->merged[used], count};
        used += count;
    }
    return QDQ_OK;
}

static qdq_status build(qdq_problem *p) {
    if (!p) return qdq_fail(QDQ_INVALID_ARGUMENT, "plan: a NULL argument");
    if (p->groups) return QDQ_OK;
    size_t n = p->n_tensors;
    unite_equals(p, p->labels, p->n_labels);
    p->n_groups = 0;
    for (size_t i = 0; i < n; i++) {
        size_t root = root_of(p, i); /* the group's first tensor */
        p->tensors[i].group = root == i ? p->n_groups++ : p->tensors[root].group;
    }
    size_t *members = malloc((n + 1) * sizeof *members), *first = calloc(p->n_groups + 2, sizeof *first);
    p->groups = malloc((p->n_groups + 1) * sizeof *p->groups);
    p->merged = malloc((p->n_groups + 1) * p->n_formats * sizeof *p->merged);
    p->merged_format = malloc((p->n_groups + 1) * p->n_formats * sizeof *p->merged_format);
    qdq_status status;
    if (!members || !first || !p->groups || !p->merged || !p->merged_format) {
        status = out_of_memory();
    } else {
        for (size_t i = 0; i < n; i++) first[p->tensors[i].group + 2]++;
        for (size_t g = 0; g < p->n_groups; g++) first[g + 2] += first[g + 1];
        for (size_t i = 0; i < n; i++) members[first[p->tensors[i].group + 1]++] = i;
        status = merge_groups(p, members, first);
    }
    free(members);
    free(first);
    if (status != QDQ_OK) drop_groups(p);
    return status;
}

qdq_status qdq_problem_range(qdq_problem *p, uint64_t *floor, uint64_t *ceiling) {
    qdq_status status = build(p);
    return status == QDQ_OK ? qdq_choose_range(p->n_groups, p->groups, floor, ceiling) : status;
}

qdq_status qdq_problem_solve(qdq_problem *p, uint64_t budget, uint32_t *formats, qdq_choose_result *result) {
    return qdq_problem_approach(p, budget, QDQ_CHOOSE_STATES, formats, result);
}

qdq_status qdq_problem_approach(qdq_problem *p, uint64_t budget, uint64_t max_states, uint32_t *formats,
                                qdq_choose_result *result) {
    qdq_status status = build(p);
    if (status != QDQ_OK) return status;
    uint32_t *chosen = malloc((p->n_groups + 1) * sizeof *chosen);
    if (!chosen) return out_of_memory();
    status = p->knapsack ? QDQ_OK : qdq_knapsack_create(p->n_groups, p->groups, &p->knapsack);
    if (status == QDQ_OK) status = qdq_knapsack_solve(p->knapsack, budget, max_states, chosen, result);
    for (size_t i = 0; status == QDQ_OK && i < p->n_tensors; i++) {
        size_t g = p->tensors[i].group;
        formats[i] = p->merged_format[(size_t)(p->groups[g].candidates - p->merged) + chosen[g]];
    }
    free(chosen);
    return status;
}

size_t qdq_problem_group(const qdq_problem *p, size_t at) { return p->tensors[at].group; }

int qdq_problem_open(const qdq_problem *p, size_t at, uint32_t format) { return p->open[at * p->n_formats + format]; }
