/* The page is XML as well as HTML: every element is closed, and the script has no < or &. Numbers are printed with the
 * C locale's decimal point, which is what a program has that does not call setlocale. */
#include "analysis/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

/* ---- Text ---- */

/* Length of the UTF-8 character at s that XML allows (no surrogates, no U+FFFE, U+FFFF), or 0. */
static int character(const unsigned char *s) {
    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f;
    int n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    uint32_t code = s[0] & (0xffu >> (n + 1));
    for (int k = 1; k < n; k++) {
        if ((s[k] & 0xc0) != 0x80) return 0;
        code = code << 6 | (s[k] & 0x3fu);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    bool forbidden = code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ||
                     (code & 0xfffe) == 0xfffe || code < 0xa0;
    return forbidden ? 0 : n;
}

static void put_text(FILE *out, const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    while (*s) {
        int n = character(s);
        if (n == 0) {
            fputs("&#xfffd;", out);
            s++;
        } else if (n == 1 && strchr("&<>\"'", *s)) {
            fprintf(out, "&#%d;", *s++);
        } else {
            fwrite(s, 1, (size_t)n, out);
            s += n;
        }
    }
}

static void put_bytes(FILE *out, double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    while (bytes >= 1024 && u < 4) bytes /= 1024, u++;
    fprintf(out, u ? "%.4g %s" : "%.0f %s", bytes, units[u]);
}

/* ---- Sums ---- */

static uint64_t elements_of(const qdq_report_tensor *t) {
    uint64_t n = 1;
    for (uint32_t k = 0; k < t->n_dims; k++)
        if (__builtin_mul_overflow(n, t->shape[k], &n)) return UINT64_MAX;
    return n;
}

static const qdq_report_choice *chosen_of(const qdq_report_tensor *t) { return &t->choices[t->chosen]; }

static double bits_per_weight(const qdq_report_tensor *t, const qdq_report_choice *c) {
    uint64_t n = elements_of(t);
    return n ? 8.0 * (double)c->bytes / (double)n : 0;
}

/* Damage that the smallest choice would do, per million weights. */
static double sensitivity_of(const qdq_report_tensor *t) {
    const qdq_report_choice *least = &t->choices[0];
    for (uint32_t c = 1; c < t->n_choices; c++)
        if (t->choices[c].bytes < least->bytes) least = &t->choices[c];
    uint64_t n = elements_of(t);
    return n ? 1e6 * least->damage / (double)n : 0;
}

typedef struct totals {
    double bytes, elements, damage;
    double low_bits, high_bits;               /* of the chosen formats */
    double low_sensitivity, high_sensitivity; /* of those that are not 0 */
} totals;

static void widen(double x, double *low, double *high) {
    if (x < *low) *low = x;
    if (x > *high) *high = x;
}

static totals sum_up(const qdq_report *r) {
    totals s = {(double)r->other_bytes, 0, 0, INFINITY, 0, INFINITY, 0};
    for (size_t i = 0; i < r->n_tensors; i++) {
        const qdq_report_tensor *t = &r->tensors[i];
        s.bytes += (double)chosen_of(t)->bytes;
        s.elements += (double)elements_of(t);
        s.damage += chosen_of(t)->damage;
        widen(bits_per_weight(t, chosen_of(t)), &s.low_bits, &s.high_bits);
        if (sensitivity_of(t) > 0) widen(sensitivity_of(t), &s.low_sensitivity, &s.high_sensitivity);
    }
    return s;
}

/* Which of ten shades. */
static int shade(double x, double low, double high) {
    if (!(high > low)) return 5;
    double at = (x - low) / (high - low) * 10;
    return at <= 0 ? 0 : at >= 9 ? 9 : (int)at;
}

/* ---- Style and script ---- */

static const char style[] =
    ":root{color-scheme:light dark;--paper:#fff;--ink:#1c2024;--soft:#5b6570;--line:#d5dae0;--band:#f3f5f7;"
    "--plan:#c2410c;--curve:#1d5fd1;--uniform:#4b5563}\n"
    "@media "
    "(prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e8eaed;--soft:#9aa4af;--line:#343b43;--band:#1d2226;"
    "--plan:#fb923c;--curve:#7aa9ff;--uniform:#b6bec8}}\n"
    "body{margin:0 auto;padding:1.5rem;max-width:80rem;background:var(--paper);color:var(--ink);"
    "font:15px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.6rem;margin:0 0 .2rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2rem 0 .5rem}\n"
    "p{margin:.3rem 0;max-width:60rem}.soft{color:var(--soft)}.wide{overflow-x:auto}\n"
    "dl{display:flex;flex-wrap:wrap;gap:.5rem 2rem;margin:1rem 0}dt{color:var(--soft);font-size:.85rem}"
    "dd{margin:0;font-size:1.2rem;font-variant-numeric:tabular-nums}\n"
    "table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}"
    "th,td{padding:.15rem .5rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}"
    "thead th{position:sticky;top:0;background:var(--paper)}td.n,th.n{text-align:right}"
    "tbody tr:hover td{background:var(--band)}td.name{overflow-wrap:anywhere;min-width:12rem}\n"
    ".map td,.map th{text-align:center;padding:.1rem .45rem;border:1px solid var(--paper)}"
    ".map tbody tr:hover td{outline:1px solid var(--line)}\n"
    "th button{all:unset;cursor:pointer;font-weight:bold}th button:focus-visible{outline:2px solid var(--curve)}"
    "th[aria-sort=ascending] button::after{content:\" \\25b2\"}"
    "th[aria-sort=descending] button::after{content:\" \\25bc\"}\n"
    "input{font:inherit;padding:.2rem .5rem;width:20rem;max-width:100%}summary{cursor:pointer}\n"
    "figure{margin:0}svg{width:100%;min-width:36rem;max-width:60rem;height:auto;display:block}svg "
    "text{fill:var(--ink);font-size:11px}"
    "svg .axis{stroke:var(--line)}svg .soft{fill:var(--soft)}svg .curve{fill:none;stroke:var(--curve);stroke-width:2}"
    "svg .uniform{fill:var(--paper);stroke:var(--uniform);stroke-width:1.5}"
    "svg .plan{fill:var(--plan);stroke:var(--paper)}svg .budget{stroke:var(--plan);stroke-dasharray:4 3}\n"
    ":root:not(.js) .js-only{display:none}td.n{white-space:nowrap}\n";

static const char print_style[] =
    "@media print{:root{color-scheme:light;--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--band:#fff;--plan:#b03a06;"
    "--curve:#1d4fa8;--uniform:#444}body{padding:0;max-width:none;font-size:10pt}"
    ".wide{overflow:visible}.js-only{display:none}thead th{position:static}"
    "h2,h2+p{break-after:avoid}tr,svg,figure{break-inside:avoid}table{font-size:7.5pt}*{print-color-adjust:exact;-"
    "webkit-print-color-adjust:"
    "exact}svg{min-width:0;max-width:46rem}}\n";

/* Sorting by a column's data-v (numbers) or text, and a filter on names. */
static const char script[] =
    "'use strict';(function(){var root=document.documentElement;root.className='js';"
    "var table=document.getElementById('tensors');var body=table.tBodies[0];"
    "var rows=Array.prototype.slice.call(body.rows);"
    "function key(row,i){var c=row.cells[i];var v=c.getAttribute('data-v');return v===null?c.textContent:Number(v);}"
    "Array.prototype.forEach.call(table.tHead.rows[0].cells,function(th,i){"
    "var b=document.createElement('button');b.type='button';b.textContent=th.textContent;th.textContent='';"
    "th.appendChild(b);b.addEventListener('click',function(){"
    "var down=th.getAttribute('aria-sort')!=='descending';"
    "Array.prototype.forEach.call(table.tHead.rows[0].cells,function(o){o.removeAttribute('aria-sort');});"
    "th.setAttribute('aria-sort',down?'descending':'ascending');"
    "var order=rows.map(function(row,k){return [key(row,i),k,row];});"
    "order.sort(function(a,b){var d=typeof a[0]==='number'?a[0]-b[0]:a[0].localeCompare(b[0]);"
    "return (down?-d:d)||a[1]-b[1];});"
    "order.forEach(function(o){body.appendChild(o[2]);});});});"
    "var find=document.getElementById('find');find.addEventListener('input',function(){"
    "var text=find.value.toLowerCase();rows.forEach(function(row){"
    "row.hidden=row.cells[0].textContent.toLowerCase().indexOf(text)===-1;});});})();\n";

static void put_head(FILE *out, const qdq_report *r) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
          out);
    put_text(out, r->title);
    fputs(" - quantization plan</title>\n<style>\n", out);
    fputs(style, out);
    for (int k = 0; k < 10; k++)
        fprintf(out, ".b%d{background:rgba(29,95,209,.%02d)}.s%d{background:rgba(217,98,12,.%02d)}\n", k, 4 + 5 * k, k,
                4 + 6 * k);
    fputs(print_style, out);
    fputs("</style>\n</head>\n<body>\n", out);
}

/* ---- Summary ---- */

static void put_fact(FILE *out, const char *term, double figure, const char *format) {
    fprintf(out, "<div><dt>%s</dt>", term);
    if (format) {
        fputs("<dd>", out);
        fprintf(out, format, figure);
    } else {
        fprintf(out, "<dd title=\"%.0f bytes\">", figure);
        put_bytes(out, figure);
    }
    fputs("</dd></div>\n", out);
}

static void put_summary(FILE *out, const qdq_report *r, const totals *s) {
    fputs("<h1>", out);
    put_text(out, r->title);
    fputs("</h1>\n<p class=\"soft\">Quantization plan by ", out);
    put_text(out, r->generator);
    fputs(". Damage is ", out);
    put_text(out, r->score);
    fputs("; lower is better.</p>\n<dl>\n", out);
    put_fact(out, "file", s->bytes, NULL);
    if (r->budget) put_fact(out, "budget", (double)r->budget, NULL);
    if (r->bits > 0) put_fact(out, "bits per weight", r->bits, "%.4f");
    put_fact(out, "damage", s->damage, "%.5g");
    put_fact(out, "tensors planned", (double)r->n_tensors, "%.0f");
    fputs("</dl>\n", out);
    if (isnan(r->lower_bound)) return;
    double gap = s->damage - r->lower_bound;
    if (gap <= 1e-12 * s->damage)
        fputs("<p>Proven: no other choice within the budget has less damage.</p>\n", out);
    else
        fprintf(out,
                "<p>No choice within the budget can have less than %.5g damage: at most %.3g %% below this plan.</p>\n",
                r->lower_bound, 100 * gap / s->damage);
}

/* ---- Chart: damage (logarithmic) against bytes ---- */

enum { LEFT = 70, TOP = 15, WIDTH = 620, HEIGHT = 300, MAX_LABELS = 64 };

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
    widen(bytes, &c->low_x, &c->high_x);
    if (damage > 0) widen(log10(damage), &c->low_y, &c->high_y);
}

static chart set_scales(const qdq_report *r, const totals *s) {
    chart c = {.low_x = INFINITY, .high_x = -INFINITY, .low_y = INFINITY, .high_y = -INFINITY};
    cover(&c, s->bytes, s->damage);
    if (r->budget) cover(&c, (double)r->budget, 0);
    for (size_t i = 0; i < r->n_curve; i++) cover(&c, (double)r->curve[i].bytes, r->curve[i].damage);
    for (size_t i = 0; i < r->n_uniform; i++) cover(&c, (double)r->uniform[i].bytes, r->uniform[i].damage);
    if (c.low_y > c.high_y) c.low_y = c.high_y = 0; /* no damage anywhere */
    double room = (c.high_x - c.low_x) * 0.04 + (c.high_x > c.low_x ? 0 : 1 + c.high_x * 0.05);
    c.low_x = c.low_x > room ? c.low_x - room : 0;
    c.high_x += room;
    c.low_y = floor((c.low_y - 0.05) * 2) / 2;
    c.high_y = ceil((c.high_y + 0.05) * 2) / 2;
    return c;
}

static void put_axes(FILE *out, const chart *c) {
    double span = c->high_x - c->low_x, step = 1;
    while (step * 8 < span) step *= 2; /* powers of two: round figures of KiB, MiB, GiB */
    for (double x = ceil(c->low_x / step) * step; x <= c->high_x; x += step) {
        fprintf(out, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", x_of(c, x), x_of(c, x), TOP,
                TOP + HEIGHT);
        fprintf(out, "<text class=\"soft\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">", x_of(c, x), TOP + HEIGHT + 16);
        put_bytes(out, x);
        fputs("</text>\n", out);
    }
    double decades = ceil((c->high_y - c->low_y) / 8);
    for (double y = ceil(c->low_y); y <= c->high_y; y += decades < 1 ? 1 : decades) {
        double at = TOP + HEIGHT * (1 - (y - c->low_y) / (c->high_y - c->low_y));
        fprintf(out, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, LEFT + WIDTH, at, at);
        fprintf(out, "<text class=\"soft\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">1e%.0f</text>\n", LEFT - 6, at + 4,
                y);
    }
    fprintf(out, "<text class=\"soft\" text-anchor=\"middle\" x=\"%d\" y=\"%d\">size of the file</text>\n",
            LEFT + WIDTH / 2, TOP + HEIGHT + 34);
    fprintf(out,
            "<text class=\"soft\" text-anchor=\"middle\" transform=\"translate(14 %d) rotate(-90)\">damage</text>\n",
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
static void put_label(FILE *out, chart *c, double x, double y, const char *label) {
    double w = 6.2 * (double)strlen(label) + 2;
    const box tries[] = {{x + 7, y - 6, w, 12},     {x - w - 7, y - 6, w, 12},  {x - w / 2, y - 19, w, 12},
                         {x - w / 2, y + 7, w, 12}, {x + 6, y - 18, w, 12},     {x + 6, y + 6, w, 12},
                         {x - w - 6, y + 6, w, 12}, {x - w - 6, y - 18, w, 12}, {x - w / 2, y - 31, w, 12},
                         {x - w / 2, y + 19, w, 12}};
    for (size_t k = 0; k < sizeof tries / sizeof *tries && c->n_placed < MAX_LABELS; k++) {
        if (overlaps(c, &tries[k])) continue;
        c->placed[c->n_placed++] = tries[k];
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\">", tries[k].x, tries[k].y + 10);
        put_text(out, label);
        fputs("</text>\n", out);
        return;
    }
}

static void keep_free(chart *c, double x, double y) {
    if (c->n_placed < MAX_LABELS) c->placed[c->n_placed++] = (box){x - 5, y - 5, 10, 10};
}

static void put_tip(FILE *out, const char *label, double bytes, double damage) {
    fputs("<title>", out);
    put_text(out, label);
    fputs(": ", out);
    put_bytes(out, bytes);
    fprintf(out, ", damage %.5g</title>", damage);
}

static void put_chart(FILE *out, const qdq_report *r, const totals *s) {
    chart c = set_scales(r, s);
    fprintf(out,
            "<h2>Damage against size</h2>\n<figure>\n<div class=\"wide\"><svg xmlns=\"http://www.w3.org/2000/svg\" "
            "viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Damage, on a logarithmic scale, against bytes\">\n",
            LEFT + WIDTH + 30, TOP + HEIGHT + 40);
    put_axes(out, &c);
    if (r->budget)
        fprintf(out,
                "<line class=\"budget\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"><title>budget</title></line>\n",
                x_of(&c, (double)r->budget), x_of(&c, (double)r->budget), TOP, TOP + HEIGHT);
    if (r->n_curve) {
        fputs("<polyline class=\"curve\" points=\"", out);
        for (size_t i = 0; i < r->n_curve; i++)
            fprintf(out, "%s%.1f,%.1f", i ? " " : "", x_of(&c, (double)r->curve[i].bytes),
                    y_of(&c, r->curve[i].damage));
        fputs("\"/>\n", out);
    }
    double x = x_of(&c, s->bytes), y = y_of(&c, s->damage);
    keep_free(&c, x, y);
    for (size_t i = 0; i < r->n_uniform; i++) {
        const qdq_report_point *p = &r->uniform[i];
        keep_free(&c, x_of(&c, (double)p->bytes), y_of(&c, p->damage));
        fprintf(out, "<circle class=\"uniform\" r=\"4\" cx=\"%.1f\" cy=\"%.1f\">", x_of(&c, (double)p->bytes),
                y_of(&c, p->damage));
        put_tip(out, p->label, (double)p->bytes, p->damage);
        fputs("</circle>\n", out);
    }
    fprintf(out, "<path class=\"plan\" d=\"M%.1f %.1fl7 7 -7 7 -7 -7z\">", x, y - 7);
    put_tip(out, "this plan", s->bytes, s->damage);
    fputs("</path>\n", out);
    put_label(out, &c, x, y, "this plan");
    for (size_t i = 0; i < r->n_uniform; i++)
        put_label(out, &c, x_of(&c, (double)r->uniform[i].bytes), y_of(&c, r->uniform[i].damage), r->uniform[i].label);
    fputs("</svg></div>\n<figcaption class=\"soft\">Diamond: this plan.", out);
    if (r->budget) fputs(" Dashed: the budget.", out);
    if (r->n_curve) fputs(" Line: the best plan for each size.", out);
    if (r->n_uniform) fputs(" Circles: one format for all tensors, where all of them can have it.", out);
    fputs("</figcaption>\n</figure>\n", out);
    if (r->n_uniform == 0) return;
    fputs("<details open=\"\"><summary>Uniform formats as a table</summary>\n<table><thead><tr><th>format</th><th "
          "class=\"n\">size</th><th class=\"n\">damage</th></tr></thead>\n<tbody>\n",
          out);
    for (size_t i = 0; i < r->n_uniform; i++) {
        fputs("<tr><td>", out);
        put_text(out, r->uniform[i].label);
        fputs("</td><td class=\"n\">", out);
        put_bytes(out, (double)r->uniform[i].bytes);
        fprintf(out, "</td><td class=\"n\">%.5g</td></tr>\n", r->uniform[i].damage);
    }
    fputs("</tbody></table></details>\n", out);
}

/* ---- Formats in use ---- */

typedef struct usage {
    const char *format;
    double tensors, elements, bytes, damage;
} usage;

static size_t count_usage(const qdq_report *r, usage *uses) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_tensors; i++) {
        const qdq_report_choice *c = chosen_of(&r->tensors[i]);
        size_t k = 0;
        while (k < n && strcmp(uses[k].format, c->format) != 0) k++;
        if (k == n) uses[n++] = (usage){c->format, 0, 0, 0, 0};
        uses[k].tensors++;
        uses[k].elements += (double)elements_of(&r->tensors[i]);
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

static void put_usage(FILE *out, usage *uses, size_t n, const totals *s) {
    qsort(uses, n, sizeof *uses, order_usage);
    fputs("<h2>Formats</h2>\n<table><thead><tr><th>format</th><th class=\"n\">tensors</th><th class=\"n\">weights</th>"
          "<th class=\"n\">size</th><th class=\"n\">of the damage</th></tr></thead>\n<tbody>\n",
          out);
    for (size_t k = 0; k < n; k++) {
        fputs("<tr><td>", out);
        put_text(out, uses[k].format);
        fprintf(out, "</td><td class=\"n\">%.0f</td><td class=\"n\">%.1f %%</td><td class=\"n\">", uses[k].tensors,
                s->elements > 0 ? 100 * uses[k].elements / s->elements : 0);
        put_bytes(out, uses[k].bytes);
        fprintf(out, "</td><td class=\"n\">%.1f %%</td></tr>\n", s->damage > 0 ? 100 * uses[k].damage / s->damage : 0);
    }
    fputs("</tbody></table>\n", out);
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
static void put_cell(FILE *out, const qdq_report *r, const place *at, size_t n, bool sensitivity, const totals *s) {
    const char *format = chosen_of(&r->tensors[at[0].tensor])->format;
    double elements = 0, bytes = 0, sensitive = 0;
    bool mixed = false;
    for (size_t k = 0; k < n; k++) {
        const qdq_report_tensor *t = &r->tensors[at[k].tensor];
        mixed = mixed || strcmp(format, chosen_of(t)->format) != 0;
        elements += (double)elements_of(t);
        bytes += (double)chosen_of(t)->bytes;
        sensitive += sensitivity_of(t) * (double)elements_of(t);
    }
    double bits = elements > 0 ? 8 * bytes / elements : 0;
    if (elements > 0) sensitive /= elements;
    if (sensitivity) {
        int step = sensitive > 0 ? shade(log(sensitive), log(s->low_sensitivity), log(s->high_sensitivity)) : 0;
        fprintf(out, "<td class=\"s%d\">%.2g</td>", step, sensitive);
        return;
    }
    fprintf(out, "<td class=\"b%d\" title=\"%.3f bits per weight\">", shade(bits, s->low_bits, s->high_bits), bits);
    if (mixed)
        fprintf(out, "%zu mixed", n);
    else
        put_text(out, format);
    fputs("</td>", out);
}

static void put_map(FILE *out, const qdq_report *r, const map *m, bool sensitivity, const totals *s) {
    fputs("<div class=\"wide\"><table class=\"map\"><thead><tr><th>layer</th>", out);
    for (size_t k = 0; k < m->n_kinds; k++) {
        fputs("<th>", out);
        put_text(out, m->kinds[k]);
        fputs("</th>", out);
    }
    fputs("</tr></thead>\n<tbody>\n", out);
    for (size_t i = 0; i < m->n_places;) {
        int64_t layer = m->places[i].layer;
        fprintf(out, "<tr><th>%" PRId64 "</th>", layer);
        for (size_t k = 0; k < m->n_kinds; k++) {
            size_t n = 0;
            while (i + n < m->n_places && m->places[i + n].layer == layer && m->places[i + n].kind == k) n++;
            if (n)
                put_cell(out, r, &m->places[i], n, sensitivity, s);
            else
                fputs("<td></td>", out);
            i += n;
        }
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

static void put_others(FILE *out, const qdq_report *r, const map *m) {
    if (m->n_places == r->n_tensors) return;
    fputs("<p>Outside of the layers:", out);
    for (size_t i = 0; i < r->n_tensors; i++) {
        if (r->tensors[i].layer >= 0) continue;
        fputs(" <b>", out);
        put_text(out, r->tensors[i].name);
        fputs("</b> ", out);
        put_text(out, chosen_of(&r->tensors[i])->format);
    }
    fputs("</p>\n", out);
}

static void put_maps(FILE *out, const qdq_report *r, const map *m, const totals *s) {
    if (m->n_places == 0) return;
    fputs("<h2>Chosen formats</h2>\n<p class=\"soft\">The stronger the colour, the more bits per weight.</p>\n", out);
    put_map(out, r, m, false, s);
    put_others(out, r, m);
    fputs("<h2>Sensitivity</h2>\n<p class=\"soft\">Damage that the smallest format would do, per million weights; the "
          "stronger the colour, the more (logarithmic).</p>\n",
          out);
    put_map(out, r, m, true, s);
}

/* ---- Tensors ---- */

static void put_choices(FILE *out, const qdq_report_tensor *t) {
    fprintf(out, "<td><details><summary>%" PRIu32 "</summary>", t->n_choices);
    for (uint32_t c = 0; c < t->n_choices; c++) {
        fputs(c == t->chosen ? "<div><b>" : "<div>", out);
        put_text(out, t->choices[c].format);
        fprintf(out, " %.3f %.4g%s</div>", bits_per_weight(t, &t->choices[c]), t->choices[c].damage,
                c == t->chosen ? "</b>" : "");
    }
    fputs("</details></td>", out);
}

static void put_tensor(FILE *out, const qdq_report_tensor *t, const totals *s) {
    const qdq_report_choice *c = chosen_of(t);
    fputs("<tr><td class=\"name\">", out);
    put_text(out, t->name);
    fprintf(out, "</td><td data-v=\"%" PRId64 "\" class=\"n\">", t->layer);
    if (t->layer >= 0) fprintf(out, "%" PRId64, t->layer);
    fputs("</td><td>", out);
    put_text(out, t->kind);
    fprintf(out, "</td><td class=\"n\" data-v=\"%" PRIu64 "\">", elements_of(t));
    for (uint32_t k = 0; k < t->n_dims; k++) fprintf(out, "%s%" PRIu64, k ? " \u00d7 " : "", t->shape[k]);
    fputs("</td><td>", out);
    put_text(out, t->dtype);
    fputs("</td><td>", out);
    put_text(out, t->group ? t->group : "");
    fputs("</td><td>", out);
    put_text(out, c->format);
    double bits = bits_per_weight(t, c), share = s->damage > 0 ? 100 * c->damage / s->damage : 0;
    fprintf(out, "</td><td class=\"n\" data-v=\"%.6f\">%.3f</td><td class=\"n\" data-v=\"%" PRIu64 "\">", bits, bits,
            c->bytes);
    put_bytes(out, (double)c->bytes);
    fprintf(out, "</td><td class=\"n\" data-v=\"%.17g\">%.4g</td><td class=\"n\" data-v=\"%.17g\">%.2f %%</td>",
            c->damage, c->damage, share, share);
    fprintf(out, "<td class=\"n\" data-v=\"%.17g\">%.3g</td>", sensitivity_of(t), sensitivity_of(t));
    put_choices(out, t);
    fputs("</tr>\n", out);
}

static void put_table(FILE *out, const qdq_report *r, const totals *s) {
    fputs("<h2>Tensors</h2>\n<p class=\"js-only\"><label>Names with <input id=\"find\" type=\"search\"/></label></p>\n"
          "<div class=\"wide\"><table id=\"tensors\"><thead><tr><th>tensor</th><th class=\"n\">layer</th><th>kind</th>"
          "<th class=\"n\">shape</th><th>from</th><th>group</th><th>format</th><th class=\"n\">bits</th>"
          "<th class=\"n\">size</th><th class=\"n\">damage</th><th class=\"n\">share</th>"
          "<th class=\"n\">sensitivity</th><th>choices</th></tr></thead>\n<tbody>\n",
          out);
    for (size_t i = 0; i < r->n_tensors; i++) put_tensor(out, &r->tensors[i], s);
    fputs("</tbody></table></div>\n", out);
}

/* ---- The page ---- */

static void put_notes(FILE *out, const qdq_report *r) {
    if (r->n_notes == 0) return;
    fputs("<h2>Notes</h2>\n<ul>\n", out);
    for (size_t i = 0; i < r->n_notes; i++) {
        fputs("<li>", out);
        put_text(out, r->notes[i]);
        fputs("</li>\n", out);
    }
    fputs("</ul>\n", out);
}

static bool is_figure(double x) { return isfinite(x) && x >= 0; }

static qdq_status check(const qdq_report *r) {
    if (!r->title || !r->score || !r->generator || (r->n_tensors && !r->tensors) || (r->n_curve && !r->curve) ||
        (r->n_uniform && !r->uniform) || (r->n_notes && !r->notes))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "report: a NULL argument");
    for (size_t i = 0; i < r->n_tensors; i++) {
        const qdq_report_tensor *t = &r->tensors[i];
        if (!t->name || !t->kind || !t->dtype || (t->n_dims && !t->shape) || (t->n_choices && !t->choices))
            return qdq_fail(QDQ_INVALID_ARGUMENT, "report: tensor %zu: a NULL field", i);
        if (t->chosen >= t->n_choices)
            return qdq_fail(QDQ_INVALID_ARGUMENT, "report: %.120s: choice %" PRIu32 " of %" PRIu32, t->name, t->chosen,
                            t->n_choices);
        for (uint32_t c = 0; c < t->n_choices; c++)
            if (!t->choices[c].format || !is_figure(t->choices[c].damage))
                return qdq_fail(QDQ_INVALID_ARGUMENT, "report: %.120s: choice %" PRIu32 " has no format or damage %g",
                                t->name, c, t->choices[c].damage);
    }
    for (size_t i = 0; i < r->n_curve; i++)
        if (!is_figure(r->curve[i].damage))
            return qdq_fail(QDQ_INVALID_ARGUMENT, "report: point %zu: damage %g", i, r->curve[i].damage);
    for (size_t i = 0; i < r->n_uniform; i++)
        if (!r->uniform[i].label || !is_figure(r->uniform[i].damage))
            return qdq_fail(QDQ_INVALID_ARGUMENT, "report: uniform format %zu: damage %g", i, r->uniform[i].damage);
    return QDQ_OK;
}

qdq_status qdq_report_write(const qdq_report *r, FILE *out) {
    if (!r || !out) return qdq_fail(QDQ_INVALID_ARGUMENT, "report: a NULL argument");
    qdq_status status = check(r);
    if (status != QDQ_OK) return status;
    map m = {0, 0, malloc((r->n_tensors + N_USUAL + 1) * sizeof *m.kinds),
             malloc((r->n_tensors + 1) * sizeof *m.places)};
    usage *uses = malloc((r->n_tensors + 1) * sizeof *uses);
    if (m.kinds && m.places && uses) {
        totals s = sum_up(r);
        fill_map(r, &m);
        put_head(out, r);
        put_summary(out, r, &s);
        put_chart(out, r, &s);
        put_usage(out, uses, count_usage(r, uses), &s);
        put_maps(out, r, &m, &s);
        put_table(out, r, &s);
        put_notes(out, r);
        fprintf(out, "<script>\n%s</script>\n</body>\n</html>\n", script);
        if (fflush(out) != 0 || ferror(out)) status = qdq_fail(QDQ_IO_ERROR, "report: the page could not be written");
    } else {
        status = qdq_fail(QDQ_OUT_OF_MEMORY, "report: out of memory");
    }
    free(m.kinds);
    free(m.places);
    free(uses);
    return status;
}
