#include "plan/usual.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static qdq_status no_memory(void) { return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the damage"); }

enum { ROUNDS = 8 }; /* the levels have settled by then to less than what they mean */

bool qdq_score_is_raised(qdq_score score) {
    return score == QDQ_SCORE_SIZED || score == QDQ_SCORE_KINDS || score == QDQ_SCORE_SQUARED;
}

/* The levels of lines of damage, the means of what each cell is of its cross line's level; a line without damage keeps
 * what it has. Cells of a line are `step` apart, lines `apart`. */
static void find_levels(size_t lines, size_t apart, size_t cells, size_t step, const double *damage, double *levels,
                        const double *across) {
    for (size_t i = 0; i < lines; i++) {
        double sum = 0, n = 0;
        for (size_t k = 0; k < cells; k++) {
            double d = damage[i * apart + k * step];
            if (!(d > 0)) continue;
            sum += d / across[k];
            n++;
        }
        if (n > 0) levels[i] = sum / n;
    }
}

qdq_status qdq_raise_to_usual(size_t tensors, uint32_t formats, double *damage) {
    double format[QDQ_MAX_FORMATS + 1] = {0}, *tensor = malloc((tensors + 1) * sizeof *tensor);
    if (tensor == NULL) return no_memory();
    for (size_t t = 0; t < tensors; t++) tensor[t] = 1;
    for (int round = 0; round < ROUNDS; round++) {
        find_levels(formats, 1, tensors, formats, damage, format, tensor);
        find_levels(tensors, formats, formats, 1, damage, tensor, format);
    }
    for (size_t t = 0; t < tensors; t++)
        for (uint32_t f = 0; f < formats; f++) {
            double *d = &damage[t * formats + f], usual = tensor[t] * format[f];
            if (*d > 0 && usual > *d && isfinite(usual / *d)) *d = sqrt(*d) * sqrt(usual);
        }
    free(tensor);
    return QDQ_OK;
}

/* A row for each tensor of GGUF that is planned and has importance; row_of: an item's, SIZE_MAX: none. */
static size_t fill_rows(const qdq_planner *p, const uint64_t *next, size_t *row_of, double *damage) {
    size_t rows = 0;
    for (uint64_t i = 0; i < p->n_items; i++) row_of[i] = SIZE_MAX;
    for (uint64_t i = 0; i < p->n_items; i++) {
        if (!qdq_item_planned(&p->items[i]) || p->items[i].importance == NULL || row_of[i] != SIZE_MAX) continue;
        for (uint64_t k = i; k < p->n_items; k = next[k]) {
            row_of[k] = rows;
            for (uint32_t c = 0; c < p->n_formats; c++)
                if (p->items[k].candidates[c].bytes != QDQ_NO_CANDIDATE)
                    damage[rows * p->n_formats + c] += p->items[k].candidates[c].damage;
        }
        rows++;
    }
    return rows;
}

qdq_status qdq_planner_raise_to_usual(qdq_planner *p, const uint64_t *next) {
    size_t cells = ((size_t)p->n_items + 1) * p->n_formats;
    size_t *row_of = malloc(((size_t)p->n_items + 1) * sizeof *row_of);
    double *damage = calloc(cells, sizeof *damage), *raised = malloc(cells * sizeof *raised);
    bool whole = row_of != NULL && damage != NULL && raised != NULL;
    size_t rows = whole ? fill_rows(p, next, row_of, damage) : 0;
    if (whole) memcpy(raised, damage, cells * sizeof *raised);
    qdq_status status = whole ? qdq_raise_to_usual(rows, p->n_formats, raised) : no_memory();
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++)
        for (uint32_t c = 0; c < p->n_formats && row_of[i] != SIZE_MAX; c++) {
            size_t cell = row_of[i] * p->n_formats + c;
            if (raised[cell] > damage[cell]) p->items[i].candidates[c].damage *= raised[cell] / damage[cell];
        }
    free(row_of);
    free(damage);
    free(raised);
    return status;
}
