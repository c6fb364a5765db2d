/* The report's tables of formats, and its maps of layers x kinds of tensors. */
#include "plan/report_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* ---- Formats in use ---- */

typedef struct usage {
    const char *format;
    double tensors, elements, bytes, damage;
} usage;

static size_t count_usage(const qdq_report *r, usage *uses) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_tensors; i++) {
        const qdq_report_choice *c = qdq_report_chosen(&r->tensors[i]);
        size_t k = 0;
        while (k < n && strcmp(uses[k].format, c->format) != 0) k++;
        if (k == n) uses[n++] = (usage){c->format, 0, 0, 0, 0};
        uses[k].tensors++;
        uses[k].elements += (double)qdq_report_elements(&r->tensors[i]);
        uses[k].bytes += (double)c->bytes;
        uses[k].damage += c->damage;
    }
    return n;
}

static int order_usage(const void *a, const void *b) {
    const usage *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return strcmp(x->format, y->format);
}

static void put_usage(qdq_builder *out, usage *uses, size_t n, const qdq_report_totals *s) {
    qsort(uses, n, sizeof *uses, order_usage);
    qdq_builder_text(
        out,
        "<h2>Formats</h2>\n<table><thead><tr><th>format</th><th class=\"n\">tensors</th><th class=\"n\">weights</th>"
        "<th class=\"n\">size</th><th class=\"n\">of the damage</th></tr></thead>\n<tbody>\n");
    for (size_t k = 0; k < n; k++) {
        qdq_builder_text(out, "<tr><td>");
        qdq_report_text(out, uses[k].format);
        qdq_builder_format(out, "</td><td class=\"n\">%.0f</td><td class=\"n\">%.1f %%</td><td class=\"n\">",
                           uses[k].tensors, s->elements > 0 ? 100 * uses[k].elements / s->elements : 0);
        qdq_report_bytes(out, uses[k].bytes);
        qdq_builder_format(out, "</td><td class=\"n\">%.1f %%</td></tr>\n",
                           s->damage > 0 ? 100 * uses[k].damage / s->damage : 0);
    }
    qdq_builder_text(out, "</tbody></table>\n");
}

/* Which of ten shades. */
static int shade(double x, double low, double high) {
    if (!(high > low)) return 5;
    double at = (x - low) / (high - low) * 10;
    return at <= 0 ? 0 : at >= 9 ? 9 : (int)at;
}

/* ---- Maps: layers x kinds ---- */

typedef struct place { /* a tensor's cell */
    int64_t layer;
    size_t kind, tensor;
} place;

typedef struct map {
    size_t n_kinds, n_places;
    const char **kinds; /* the usual ones first, others in order of first appearance */
    place *places;      /* in order of layer, kind, tensor; tensors without a layer are not here */
} map;

static int order_places(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* The order in which a layer computes; files often have the alphabet's. Kinds that are not here come last. */
static const char *const usual_kinds[] = {"attn_q",         "attn_k",        "attn_v",        "attn_qkv",
                                          "attn_output",    "ffn_gate_inp",  "ffn_gate",      "ffn_up",
                                          "ffn_down",       "ffn_gate_exps", "ffn_up_exps",   "ffn_down_exps",
                                          "ffn_gate_shexp", "ffn_up_shexp",  "ffn_down_shexp"};
enum { N_USUAL = sizeof usual_kinds / sizeof *usual_kinds };

static void order_kinds(const qdq_report *r, map *m) {
    for (size_t u = 0; u < N_USUAL; u++)
        for (size_t i = 0; i < r->n_tensors; i++) {
            if (r->tensors[i].layer < 0 || strcmp(r->tensors[i].kind, usual_kinds[u]) != 0) continue;
            m->kinds[m->n_kinds++] = usual_kinds[u];
            break;
        }
}

static void fill_map(const qdq_report *r, map *m) {
    order_kinds(r, m);
    for (size_t i = 0; i < r->n_tensors; i++) {
        if (r->tensors[i].layer < 0) continue;
        size_t k = 0;
        while (k < m->n_kinds && strcmp(m->kinds[k], r->tensors[i].kind) != 0) k++;
        if (k == m->n_kinds) m->kinds[m->n_kinds++] = r->tensors[i].kind;
        m->places[m->n_places++] = (place){r->tensors[i].layer, k, i};
    }
    qsort(m->places, m->n_places, sizeof *m->places, order_places);
}

/* A cell of n tensors: their format (or how many differ) and bits, or their sensitivity. */
static void put_cell(qdq_builder *out, const qdq_report *r, const place *at, size_t n, bool sensitivity,
                     const qdq_report_totals *s) {
    const char *format = qdq_report_chosen(&r->tensors[at[0].tensor])->format;
    double elements = 0, bytes = 0, sensitive = 0;
    bool mixed = false;
    for (size_t k = 0; k < n; k++) {
        const qdq_report_tensor *t = &r->tensors[at[k].tensor];
        mixed = mixed || strcmp(format, qdq_report_chosen(t)->format) != 0;
        elements += (double)qdq_report_elements(t);
        bytes += (double)qdq_report_chosen(t)->bytes;
        sensitive += qdq_report_sensitivity(t) * (double)qdq_report_elements(t);
    }
    double bits = elements > 0 ? 8 * bytes / elements : 0;
    if (elements > 0) sensitive /= elements;
    if (sensitivity) {
        int step = sensitive > 0 ? shade(log(sensitive), log(s->low_sensitivity), log(s->high_sensitivity)) : 0;
        qdq_builder_format(out, "<td class=\"s%d\">%.2g</td>", step, sensitive);
        return;
    }
    qdq_builder_format(out, "<td class=\"b%d\" title=\"%.3f bits per weight\">", shade(bits, s->low_bits, s->high_bits),
                       bits);
    if (mixed)
        qdq_builder_format(out, "%zu mixed", n);
    else
        qdq_report_text(out, format);
    qdq_builder_text(out, "</td>");
}

static void put_map(qdq_builder *out, const qdq_report *r, const map *m, bool sensitivity, const qdq_report_totals *s) {
    qdq_builder_text(out, "<div class=\"wide\"><table class=\"map\"><thead><tr><th>layer</th>");
    for (size_t k = 0; k < m->n_kinds; k++) {
        qdq_builder_text(out, "<th>");
        qdq_report_text(out, m->kinds[k]);
        qdq_builder_text(out, "</th>");
    }
    qdq_builder_text(out, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < m->n_places;) {
        int64_t layer = m->places[i].layer;
        qdq_builder_format(out, "<tr><th>%" PRId64 "</th>", layer);
        for (size_t k = 0; k < m->n_kinds; k++) {
            size_t n = 0;
            while (i + n < m->n_places && m->places[i + n].layer == layer && m->places[i + n].kind == k) n++;
            if (n)
                put_cell(out, r, &m->places[i], n, sensitivity, s);
            else
                qdq_builder_text(out, "<td></td>");
            i += n;
        }
        qdq_builder_text(out, "</tr>\n");
    }
    qdq_builder_text(out, "</tbody></table></div>\n");
}

static void put_others(qdq_builder *out, const qdq_report *r, const map *m) {
    if (m->n_places == r->n_tensors) return;
    qdq_builder_text(out, "<p>Outside of the layers:");
    for (size_t i = 0; i < r->n_tensors; i++) {
        if (r->tensors[i].layer >= 0) continue;
        qdq_builder_text(out, " <b>");
        qdq_report_text(out, r->tensors[i].name);
        qdq_builder_text(out, "</b> ");
        qdq_report_text(out, qdq_report_chosen(&r->tensors[i])->format);
    }
    qdq_builder_text(out, "</p>\n");
}

static void put_maps(qdq_builder *out, const qdq_report *r, const map *m, const qdq_report_totals *s) {
    if (m->n_places == 0) return;
    qdq_builder_text(
        out, "<h2>Chosen formats</h2>\n<p class=\"soft\">The stronger the colour, the more bits per weight.</p>\n");
    put_map(out, r, m, false, s);
    put_others(out, r, m);
    qdq_builder_text(
        out,
        "<h2>Sensitivity</h2>\n<p class=\"soft\">Damage that the smallest format would do, per million weights; the "
        "stronger the colour, the more (logarithmic).</p>\n");
    put_map(out, r, m, true, s);
}

qdq_status qdq_report_maps(qdq_builder *out, const qdq_report *r, const qdq_report_totals *s) {
    map m = {0, 0, malloc((r->n_tensors + N_USUAL + 1) * sizeof *m.kinds),
             malloc((r->n_tensors + 1) * sizeof *m.places)};
    usage *uses = malloc((r->n_tensors + 1) * sizeof *uses);
    bool room = m.kinds && m.places && uses;
    if (room) {
        fill_map(r, &m);
        put_usage(out, uses, count_usage(r, uses), s);
        put_maps(out, r, &m, s);
    }
    free(m.kinds);
    free(m.places);
    free(uses);
    return room ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the report");
}
