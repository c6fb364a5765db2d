/* The report's chart: damage (logarithmic) against bytes, SVG. */
#include "plan/report_parts.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { LEFT = 70, TOP = 15, WIDTH = 620, HEIGHT = 300, MAX_LABELS = 256 };

typedef struct box {
    double x, y, w, h;
} box;

typedef struct chart {
    double low_x, high_x, low_y, high_y; /* bytes; log10 of damage */
    box placed[MAX_LABELS];
    int n_placed;
} chart;

static double x_of(const chart *c, double bytes) { return LEFT + WIDTH * (bytes - c->low_x) / (c->high_x - c->low_x); }

static double y_of(const chart *c, double damage) { /* no damage lies on the axis */
    double at = damage > 0 ? (log10(damage) - c->low_y) / (c->high_y - c->low_y) : 0;
    return TOP + HEIGHT * (1 - (at < 0 ? 0 : at));
}

static void cover(chart *c, double bytes, double damage) {
    qdq_report_widen(bytes, &c->low_x, &c->high_x);
    if (damage > 0) qdq_report_widen(log10(damage), &c->low_y, &c->high_y);
}

static double cost_of(const qdq_report *r, const qdq_report_baseline *b) {
    return (double)(r->per_token ? b->token_bytes : b->bytes);
}

static chart set_scales(const qdq_report *r, const qdq_report_totals *s) {
    chart c = {.low_x = INFINITY, .high_x = -INFINITY, .low_y = INFINITY, .high_y = -INFINITY};
    cover(&c, s->cost, s->damage);
    if (r->budget) cover(&c, (double)r->budget, 0);
    for (size_t i = 0; i < r->n_curve; i++) cover(&c, (double)r->curve[i].bytes, r->curve[i].damage);
    for (size_t i = 0; i < r->n_baselines; i++) cover(&c, cost_of(r, &r->baselines[i]), r->baselines[i].damage);
    if (c.low_y > c.high_y) c.low_y = c.high_y = 0; /* no damage anywhere */
    double room = (c.high_x - c.low_x) * 0.04 + (c.high_x > c.low_x ? 0 : 1 + c.high_x * 0.05);
    c.low_x = c.low_x > room ? c.low_x - room : 0;
    c.high_x += room;
    c.low_y = floor((c.low_y - 0.05) * 2) / 2;
    c.high_y = ceil((c.high_y + 0.05) * 2) / 2;
    return c;
}

static void put_axes(qdq_builder *out, const chart *c, const qdq_report *r) {
    double span = c->high_x - c->low_x, step = 1;
    while (step * 8 < span) step *= 2; /* powers of two: round figures of KiB, MiB, GiB */
    for (double x = ceil(c->low_x / step) * step; x <= c->high_x; x += step) {
        qdq_builder_format(out, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", x_of(c, x),
                           x_of(c, x), TOP, TOP + HEIGHT);
        qdq_builder_format(out, "<text class=\"soft\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">", x_of(c, x),
                           TOP + HEIGHT + 16);
        qdq_report_bytes(out, x);
        qdq_builder_text(out, "</text>\n");
    }
    double decades = ceil((c->high_y - c->low_y) / 8);
    for (double y = ceil(c->low_y); y <= c->high_y; y += decades < 1 ? 1 : decades) {
        double at = TOP + HEIGHT * (1 - (y - c->low_y) / (c->high_y - c->low_y));
        qdq_builder_format(out, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT,
                           LEFT + WIDTH, at, at);
        qdq_builder_format(out, "<text class=\"soft\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">1e%.0f</text>\n",
                           LEFT - 6, at + 4, y);
    }
    qdq_builder_format(out, "<text class=\"soft\" text-anchor=\"middle\" x=\"%d\" y=\"%d\">%s</text>\n",
                       LEFT + WIDTH / 2, TOP + HEIGHT + 34,
                       !r->per_token ? "size of the file"
                       : r->slow     ? "bytes that a token reads, those of slow formats counted more"
                                     : "bytes that a token reads");
    qdq_builder_format(
        out, "<text class=\"soft\" text-anchor=\"middle\" transform=\"translate(14 %d) rotate(-90)\">damage</text>\n",
        TOP + HEIGHT / 2);
}

static bool overlaps(const chart *c, const box *b) {
    if (b->x < LEFT || b->x + b->w > LEFT + WIDTH + 25 || b->y < 0 || b->y + b->h > TOP + HEIGHT) return true;
    for (int k = 0; k < c->n_placed; k++) {
        const box *o = &c->placed[k];
        if (b->x < o->x + o->w && o->x < b->x + b->w && b->y < o->y + o->h && o->y < b->y + b->h) return true;
    }
    return false;
}

/* A label near (x, y), if there is room; each point's place is kept free first. */
static void put_label(qdq_builder *out, chart *c, double x, double y, const char *label) {
    double w = 6.2 * (double)strlen(label) + 2;
    const box tries[] = {{x + 7, y - 6, w, 12},     {x - w - 7, y - 6, w, 12},  {x - w / 2, y - 19, w, 12},
                         {x - w / 2, y + 7, w, 12}, {x + 6, y - 18, w, 12},     {x + 6, y + 6, w, 12},
                         {x - w - 6, y + 6, w, 12}, {x - w - 6, y - 18, w, 12}, {x - w / 2, y - 31, w, 12},
                         {x - w / 2, y + 19, w, 12}};
    for (size_t k = 0; k < sizeof tries / sizeof *tries && c->n_placed < MAX_LABELS; k++) {
        if (overlaps(c, &tries[k])) continue;
        c->placed[c->n_placed++] = tries[k];
        qdq_builder_format(out, "<text x=\"%.1f\" y=\"%.1f\">", tries[k].x, tries[k].y + 10);
        qdq_report_text(out, label);
        qdq_builder_text(out, "</text>\n");
        return;
    }
}

static void keep_free(chart *c, double x, double y) {
    if (c->n_placed < MAX_LABELS) c->placed[c->n_placed++] = (box){x - 5, y - 5, 10, 10};
}

static void put_tip(qdq_builder *out, const char *label, double bytes, double damage) {
    qdq_builder_text(out, "<title>");
    qdq_report_text(out, label);
    qdq_builder_text(out, ": ");
    qdq_report_bytes(out, bytes);
    qdq_builder_format(out, ", damage %.5g</title>", damage);
}

static void put_baseline(qdq_builder *out, chart *c, const qdq_report *r, const qdq_report_baseline *b) {
    double x = x_of(c, cost_of(r, b)), y = y_of(c, b->damage);
    keep_free(c, x, y);
    if (b->preset)
        qdq_builder_format(out, "<rect class=\"preset\" width=\"7\" height=\"7\" x=\"%.1f\" y=\"%.1f\">", x - 3.5,
                           y - 3.5);
    else
        qdq_builder_format(out, "<circle class=\"uniform\" r=\"4\" cx=\"%.1f\" cy=\"%.1f\">", x, y);
    put_tip(out, b->label, cost_of(r, b), b->damage);
    qdq_builder_text(out, b->preset ? "</rect>\n" : "</circle>\n");
}

static size_t count(const qdq_report *r, bool presets) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_baselines; i++) n += r->baselines[i].preset == presets;
    return n;
}

static void put_number(qdq_builder *out, double number, const char *format) {
    qdq_builder_text(out, "<td class=\"n\">");
    if (isfinite(number)) qdq_builder_format(out, format, number);
    qdq_builder_text(out, "</td>");
}

static void put_row(qdq_builder *out, const qdq_report *r, const qdq_report_baseline *b) {
    qdq_builder_text(out, "<tr><td>");
    qdq_report_text(out, b->label);
    qdq_builder_text(out, b->preset ? "</td><td>preset" : "</td><td>one format");
    qdq_builder_text(out, b->allowed ? "</td><td class=\"n\">" : ", which the rules forbid</td><td class=\"n\">");
    qdq_report_bytes(out, (double)b->bytes);
    qdq_builder_text(out, "</td>");
    if (r->token_bytes) {
        qdq_builder_text(out, "<td class=\"n\">");
        qdq_report_bytes(out, (double)b->token_bytes);
        qdq_builder_text(out, "</td>");
    }
    put_number(out, b->damage, "%.5g");
    put_number(out, b->plan_damage, "%.5g");
    put_number(out, b->damage > 0 ? b->plan_damage / b->damage : (double)NAN, "%.3g");
    if (r->kl_unit > 0) {
        put_number(out, b->damage * r->kl_unit, "%.3g");
        put_number(out, b->plan_damage * r->kl_unit, "%.3g");
    }
    qdq_builder_text(out, "</tr>\n");
}

static void put_table(qdq_builder *out, const qdq_report *r) {
    if (r->n_baselines == 0) return;
    qdq_builder_text(out, "<details open=\"\"><summary>Formats and presets beside plans of their size</summary>\n"
                          "<div class=\"wide\"><table><thead><tr><th>choice</th><th></th><th class=\"n\">size</th>");
    if (r->token_bytes) qdq_builder_text(out, "<th class=\"n\">a token reads</th>");
    qdq_builder_text(out, "<th class=\"n\">damage</th><th class=\"n\">the plan's</th><th class=\"n\">share</th>");
    if (r->kl_unit > 0) qdq_builder_text(out, "<th class=\"n\">expected KL</th><th class=\"n\">the plan's</th>");
    qdq_builder_text(out, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < r->n_baselines; i++) put_row(out, r, &r->baselines[i]);
    qdq_builder_text(out, "</tbody></table></div></details>\n");
}

void qdq_report_chart(qdq_builder *out, const qdq_report *r, const qdq_report_totals *s) {
    chart c = set_scales(r, s);
    qdq_builder_format(
        out,
        "<h2>Damage against size</h2>\n<figure>\n<div class=\"wide\"><svg xmlns=\"http://www.w3.org/2000/svg\" "
        "viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Damage, on a logarithmic scale, against bytes\">\n",
        LEFT + WIDTH + 30, TOP + HEIGHT + 40);
    put_axes(out, &c, r);
    if (r->budget)
        qdq_builder_format(
            out, "<line class=\"budget\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"><title>budget</title></line>\n",
            x_of(&c, (double)r->budget), x_of(&c, (double)r->budget), TOP, TOP + HEIGHT);
    if (r->n_curve) {
        qdq_builder_text(out, "<polyline class=\"curve\" points=\"");
        for (size_t i = 0; i < r->n_curve; i++)
            qdq_builder_format(out, "%s%.1f,%.1f", i ? " " : "", x_of(&c, (double)r->curve[i].bytes),
                               y_of(&c, r->curve[i].damage));
        qdq_builder_text(out, "\"/>\n");
    }
    double x = x_of(&c, s->cost), y = y_of(&c, s->damage);
    keep_free(&c, x, y);
    for (size_t i = 0; i < r->n_baselines; i++) put_baseline(out, &c, r, &r->baselines[i]);
    qdq_builder_format(out, "<path class=\"plan\" d=\"M%.1f %.1fl7 7 -7 7 -7 -7z\">", x, y - 7);
    put_tip(out, "this plan", s->cost, s->damage);
    qdq_builder_text(out, "</path>\n");
    put_label(out, &c, x, y, "this plan");
    for (int presets = 1; presets >= 0; presets--) /* their names come first where there is no room for all */
        for (size_t i = 0; i < r->n_baselines; i++)
            if (r->baselines[i].preset == (presets != 0))
                put_label(out, &c, x_of(&c, cost_of(r, &r->baselines[i])), y_of(&c, r->baselines[i].damage),
                          r->baselines[i].label);
    qdq_builder_text(out, "</svg></div>\n<figcaption class=\"soft\">Diamond: this plan.");
    if (r->budget) qdq_builder_text(out, " Dashed: the budget.");
    if (r->n_curve) qdq_builder_text(out, " Line: the best plan for each size.");
    if (count(r, false)) qdq_builder_text(out, " Circles: one format for all tensors.");
    if (count(r, true)) qdq_builder_text(out, " Squares: llama-quantize's presets.");
    qdq_builder_text(out, "</figcaption>\n</figure>\n");
    put_table(out, r);
}
