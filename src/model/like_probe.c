/* Are these the template's weights, and how did the conversion move them? Some rows tell.
 *
 * A template in F32, F16 or BF16 has the checkpoint's values rounded to that type, so bits are compared. One that is
 * quantized has lost something: it is the same if the relative error is no larger than codes of so many bits may leave,
 * four times 2^-bits. (That is twice or thrice what the formats leave of Gaussian weights. Weights of another training
 * run are off by about the root of two, which no bound here reaches.) */
#include "model/like.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/advice.h"
#include "base/bits.h"
#include "base/error.h"
#include "base/ggml_type.h"
#include "base/source.h"
#include "files/shown.h"

enum { PROBES = 16 }; /* rows of a matrix */

/* A way in which the template may have been made. */
typedef struct guess {
    uint64_t heads;
    float added;
    bool usual; /* what the architecture's conversion does, as far as it is known */
    bool exact;
    double error, ours, theirs, product; /* sums of squares, and of products */
    uint64_t element;                    /* the first that differs */
    float here, there;
} guess;

enum { GUESSES = 4 };

static unsigned list_guesses(const qdq_like_rule *rule, guess list[GUESSES]) {
    unsigned n = 0;
    for (int add = 0; add <= rule->may_add; add++)
        for (int move = 0; move <= (rule->heads != 0); move++)
            list[n++] = (guess){.heads = move ? rule->heads : 0,
                                .added = add ? 1.0f : 0.0f,
                                .usual = move == rule->moves,
                                .exact = true,
                                .element = UINT64_MAX};
    return n;
}

static void load(const qdq_tensor *t, uint64_t first, uint32_t n, float *values) {
    uint32_t elements[QDQ_DECODED_PIECE];
    qdq_decode(NULL, t, first, n, elements);
    qdq_source_load(qdq_source_get(t->dtype), elements, values, n);
}

/* A piece of a row, by one guess. */
static void compare(const qdq_tensor *wanted, qdq_gathered *made, guess *g, uint64_t first, uint32_t n,
                    const float *there) {
    float here[QDQ_DECODED_PIECE], rounded[QDQ_DECODED_PIECE];
    uint32_t elements[QDQ_DECODED_PIECE];
    const qdq_source *type = qdq_source_get(wanted->dtype);
    qdq_decoding d = {.layout = made};
    made->heads = g->heads;
    made->added = g->added;
    qdq_decode_gathered(&d, first, n, here);
    qdq_source_store(type, here, elements, n);
    qdq_source_load(type, elements, rounded, n);
    for (uint32_t i = 0; i < n; i++) {
        double x = here[i], y = there[i];
        g->error += (x - y) * (x - y);
        g->ours += x * x;
        g->theirs += y * y;
        g->product += x * y;
        if (bits_of(rounded[i]) == bits_of(there[i]) || (isnan(rounded[i]) && isnan(there[i]))) continue;
        g->exact = false;
        if (g->element != UINT64_MAX) continue;
        g->element = first + i;
        g->here = here[i];
        g->there = there[i];
    }
}

static double ratio(double part, double whole) { return whole > 0 ? part / whole : part > 0 ? INFINITY : 0; }
static double relative_error(const guess *g) { return sqrt(ratio(g->error, g->ours)); }
static double correlation(const guess *g) { return ratio(g->product, sqrt(g->ours) * sqrt(g->theirs)); }

/* What codes of the template's type may be off by; 0: nothing. */
static double bound_of(const qdq_tensor *wanted) {
    if (wanted->decoding == NULL) return 0;
    const qdq_ggml_type *type = qdq_ggml_type_by_id(wanted->ggml_type);
    double most = 4 * exp2(-8.0 * type->block_bytes / type->block_elements);
    return most < 0.9 ? most : 0.9;
}

static bool accepts(const guess *g, double bound) { return bound == 0 ? g->exact : relative_error(g) <= bound; }

/* The better one; of two that are as good, the usual one. */
static bool is_better(const guess *a, const guess *b) {
    double x = relative_error(a), y = relative_error(b);
    return x < y || (x == y && a->usual && !b->usual);
}

static qdq_status other_weights(const qdq_tensor *wanted, const qdq_gathered *made, const guess *g, double bound) {
    uint64_t element = g->element != UINT64_MAX ? g->element : 0;
    const qdq_tensor *part = made->parts[element / (made->rows * made->columns)];
    char how[96];
    if (bound == 0)
        snprintf(how, sizeof how, "its values should be the same");
    else
        snprintf(how, sizeof how, "relative error %.3g, where %s may leave %.2g", relative_error(g), wanted->type_name,
                 bound);
    return qdq_fail_advising(QDQ_ADVICE_OTHER_WEIGHTS, QDQ_BAD_DATA,
                             "%s: tensor \"%s\" is not \"%s\" of %s: at row %" PRIu64 ", column %" PRIu64
                             " stands %.6g, not %.6g (%s; correlation %.3f): it was made of other weights",
                             SHOWN(wanted->path), SHOWN(wanted->name), SHOWN(part->name), SHOWN(part->path),
                             element / made->columns, element % made->columns, (double)g->there, (double)g->here, how,
                             correlation(g));
}

/* All rows that are looked at of one part, by all guesses. */
static void look(const qdq_tensor *wanted, qdq_gathered *made, uint64_t part, guess *guesses, unsigned n) {
    float there[QDQ_DECODED_PIECE];
    uint64_t probes = made->columns == 1 || made->rows < PROBES ? made->rows : PROBES;
    if (made->columns == 1 && probes > 4096) probes = 4096;
    for (uint64_t i = 0; i < probes; i++) {
        uint64_t row = probes > 1 ? (uint64_t)((unsigned __int128)i * (made->rows - 1) / (probes - 1)) : 0;
        uint64_t first = (part * made->rows + row) * made->columns;
        for (uint64_t c = 0; c < made->columns; c += QDQ_DECODED_PIECE) {
            uint64_t left = made->columns - c;
            uint32_t m = left < QDQ_DECODED_PIECE ? (uint32_t)left : QDQ_DECODED_PIECE;
            load(wanted, first + c, m, there);
            for (unsigned k = 0; k < n; k++) compare(wanted, made, &guesses[k], first + c, m, there);
        }
    }
}

/* Weights of another training: values tell the order if they are much alike; else the conversion's rule does. */
static const guess *settle_others(const guess *guesses, unsigned n) {
    const guess *best = NULL;
    for (unsigned k = 0; k < n; k++) {
        bool alike = correlation(&guesses[k]) >= 0.5;
        if (alike && (best == NULL || is_better(&guesses[k], best))) best = &guesses[k];
    }
    for (unsigned k = 0; k < n && best == NULL; k++)
        if (guesses[k].usual) best = &guesses[k];
    return best;
}

qdq_status qdq_like_probe(const qdq_tensor *wanted, const qdq_like_rule *rule, qdq_gathered *made) {
    guess total[GUESSES];
    unsigned n = list_guesses(rule, total);
    double bound = bound_of(wanted);
    const guess *best = NULL;
    for (uint64_t part = 0; part < made->n_parts; part++) {
        guess guesses[GUESSES];
        list_guesses(rule, guesses);
        look(wanted, made, part, guesses, n);
        unsigned chosen = 0;
        for (unsigned k = 1; k < n; k++)
            if (is_better(&guesses[k], &guesses[chosen])) chosen = k;
        if (!rule->other_values && !accepts(&guesses[chosen], bound))
            return other_weights(wanted, made, &guesses[chosen], bound);
        for (unsigned k = 0; k < n; k++) {
            total[k].error += guesses[k].error;
            total[k].ours += guesses[k].ours;
            total[k].theirs += guesses[k].theirs;
            total[k].product += guesses[k].product;
        }
    }
    for (unsigned k = 0; k < n && !rule->other_values; k++)
        if (best == NULL || is_better(&total[k], best)) best = &total[k];
    if (rule->other_values) best = settle_others(total, n);
    made->heads = best->heads;
    made->added = best->added;
    return QDQ_OK;
}
