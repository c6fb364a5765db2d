/* The page is XML as well as HTML: every element is closed, and the script has no < or &. Numbers are printed with the
 * C locale's decimal point, which is what a program has that does not call setlocale. */
#include "plan/report_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>

#include "base/error.h"

/* ---- Style and script ---- */

static const char style[] =
    ":root{color-scheme:light dark;--paper:#fff;--ink:#1c2024;--soft:#5b6570;--line:#d5dae0;--band:#f3f5f7;"
    "--plan:#c2410c;--curve:#1d5fd1;--uniform:#4b5563;--preset:#7c3aed}\n"
    "@media "
    "(prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e8eaed;--soft:#9aa4af;--line:#343b43;--band:#1d2226;"
    "--plan:#fb923c;--curve:#7aa9ff;--uniform:#b6bec8;--preset:#c4a1ff}}\n"
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
    "svg .preset{fill:var(--paper);stroke:var(--preset);stroke-width:1.5}"
    "svg .plan{fill:var(--plan);stroke:var(--paper)}svg .budget{stroke:var(--plan);stroke-dasharray:4 3}\n"
    ":root:not(.js) .js-only{display:none}td.n{white-space:nowrap}\n";

static const char print_style[] =
    "@media print{:root{color-scheme:light;--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--band:#fff;--plan:#b03a06;"
    "--curve:#1d4fa8;--uniform:#444;--preset:#5b21b6}body{padding:0;max-width:none;font-size:10pt}"
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

static void put_head(qdq_builder *out, const qdq_report *r) {
    qdq_builder_text(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>");
    qdq_report_text(out, r->title);
    qdq_builder_text(out, " - quantization plan</title>\n<style>\n");
    qdq_builder_text(out, style);
    for (int k = 0; k < 10; k++)
        qdq_builder_format(out, ".b%d{background:rgba(29,95,209,.%02d)}.s%d{background:rgba(217,98,12,.%02d)}\n", k,
                           4 + 5 * k, k, 4 + 6 * k);
    qdq_builder_text(out, print_style);
    qdq_builder_text(out, "</style>\n</head>\n<body>\n");
}

/* ---- Summary ---- */

static void put_fact(qdq_builder *out, const char *term, double figure, const char *format) {
    qdq_builder_format(out, "<div><dt>%s</dt>", term);
    if (format) {
        qdq_builder_text(out, "<dd>");
        qdq_builder_format(out, format, figure);
    } else {
        qdq_builder_format(out, "<dd title=\"%.0f bytes\">", figure);
        qdq_report_bytes(out, figure);
    }
    qdq_builder_text(out, "</dd></div>\n");
}

static void put_summary(qdq_builder *out, const qdq_report *r, const qdq_report_totals *s) {
    qdq_builder_text(out, "<h1>");
    qdq_report_text(out, r->title);
    qdq_builder_text(out, "</h1>\n<p class=\"soft\">Quantization plan by ");
    qdq_report_text(out, r->generator);
    qdq_builder_text(out, ". Damage is ");
    qdq_report_text(out, r->score);
    qdq_builder_text(out, "; lower is better.</p>\n<dl>\n");
    put_fact(out, "file", s->bytes, NULL);
    if (r->token_bytes) put_fact(out, "a token reads", (double)r->token_bytes, NULL);
    if (r->budget) put_fact(out, "budget", (double)r->budget, NULL);
    if (r->bits > 0) put_fact(out, "bits per weight", r->bits, "%.4f");
    put_fact(out, "damage", s->damage, "%.5g");
    if (r->kl_unit > 0) put_fact(out, "expected KL divergence, nats a token", s->damage * r->kl_unit, "%.3g");
    put_fact(out, "tensors planned", (double)r->n_tensors, "%.0f");
    qdq_builder_text(out, "</dl>\n");
    if (r->slow) {
        qdq_builder_text(out, "<p>What a token reads is counted with ");
        qdq_report_text(out, r->slow);
        qdq_builder_text(out, ": so many times a byte of those formats.</p>\n");
    }
    if (r->forecast) {
        qdq_builder_text(out, "<p>");
        qdq_report_text(out, r->forecast);
        qdq_builder_text(out, "</p>\n");
    }
    if (isnan(r->lower_bound)) return;
    double gap = s->damage - r->lower_bound;
    if (r->yardstick) {
        qdq_builder_text(out, "<p>What a tensor loses beyond ");
        qdq_report_text(out, r->yardstick);
        qdq_builder_format(
            out,
            ", the best of those that fit, counts %.4g times, since this score guesses costs: so the plan "
            "loses to it only where guesses are wrong by more than %.3g times.</p>\n",
            r->caution, sqrt(r->caution));
    }
    if (gap <= 1e-12 * s->damage)
        qdq_builder_text(out, "<p>Proven: no other choice within the budget has less damage.</p>\n");
    else
        qdq_builder_format(
            out,
            "<p>No choice within the budget can have less than %.5g damage: at most %.3g %% below this plan.</p>\n",
            r->lower_bound, 100 * gap / s->damage);
}

/* ---- Tensors ---- */

static void put_choices(qdq_builder *out, const qdq_report_tensor *t) {
    qdq_builder_format(out, "<td><details><summary>%" PRIu32 "</summary>", t->n_choices);
    for (uint32_t c = 0; c < t->n_choices; c++) {
        qdq_builder_text(out, c == t->chosen ? "<div><b>" : "<div>");
        qdq_report_text(out, t->choices[c].format);
        qdq_builder_format(out, " %.3f %.4g%s</div>", qdq_report_bits(t, &t->choices[c]), t->choices[c].damage,
                           c == t->chosen ? "</b>" : "");
    }
    qdq_builder_text(out, "</details></td>");
}

static void put_tensor(qdq_builder *out, const qdq_report_tensor *t, const qdq_report_totals *s) {
    const qdq_report_choice *c = qdq_report_chosen(t);
    qdq_builder_text(out, "<tr><td class=\"name\">");
    qdq_report_text(out, t->name);
    qdq_builder_format(out, "</td><td data-v=\"%" PRId64 "\" class=\"n\">", t->layer);
    if (t->layer >= 0) qdq_builder_format(out, "%" PRId64, t->layer);
    qdq_builder_text(out, "</td><td>");
    qdq_report_text(out, t->kind);
    qdq_builder_format(out, "</td><td class=\"n\" data-v=\"%" PRIu64 "\">", qdq_report_elements(t));
    for (uint32_t k = 0; k < t->n_dims; k++) qdq_builder_format(out, "%s%" PRIu64, k ? " \u00d7 " : "", t->shape[k]);
    qdq_builder_text(out, "</td><td>");
    qdq_report_text(out, t->dtype);
    qdq_builder_text(out, "</td><td>");
    qdq_report_text(out, t->group ? t->group : "");
    qdq_builder_text(out, "</td><td>");
    qdq_report_text(out, c->format);
    double bits = qdq_report_bits(t, c), share = s->damage > 0 ? 100 * c->damage / s->damage : 0;
    qdq_builder_format(out, "</td><td class=\"n\" data-v=\"%.6f\">%.3f</td><td class=\"n\" data-v=\"%" PRIu64 "\">",
                       bits, bits, c->bytes);
    qdq_report_bytes(out, (double)c->bytes);
    qdq_builder_format(out,
                       "</td><td class=\"n\" data-v=\"%.17g\">%.4g</td><td class=\"n\" data-v=\"%.17g\">%.2f %%</td>",
                       c->damage, c->damage, share, share);
    qdq_builder_format(out, "<td class=\"n\" data-v=\"%.17g\">%.3g</td>", qdq_report_sensitivity(t),
                       qdq_report_sensitivity(t));
    put_choices(out, t);
    qdq_builder_text(out, "</tr>\n");
}

static void put_table(qdq_builder *out, const qdq_report *r, const qdq_report_totals *s) {
    qdq_builder_text(
        out,
        "<h2>Tensors</h2>\n<p class=\"js-only\"><label>Names with <input id=\"find\" type=\"search\"/></label></p>\n"
        "<div class=\"wide\"><table id=\"tensors\"><thead><tr><th>tensor</th><th class=\"n\">layer</th><th>kind</th>"
        "<th class=\"n\">shape</th><th>from</th><th>group</th><th>format</th><th class=\"n\">bits</th>"
        "<th class=\"n\">size</th><th class=\"n\">damage</th><th class=\"n\">share</th>"
        "<th class=\"n\">sensitivity</th><th>choices</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < r->n_tensors; i++) put_tensor(out, &r->tensors[i], s);
    qdq_builder_text(out, "</tbody></table></div>\n");
}

/* ---- The page ---- */

static void put_notes(qdq_builder *out, const qdq_report *r) {
    if (r->n_notes == 0) return;
    qdq_builder_text(out, "<h2>Notes</h2>\n<ul>\n");
    for (size_t i = 0; i < r->n_notes; i++) {
        qdq_builder_text(out, "<li>");
        qdq_report_text(out, r->notes[i]);
        qdq_builder_text(out, "</li>\n");
    }
    qdq_builder_text(out, "</ul>\n");
}

static bool is_figure(double x) { return isfinite(x) && x >= 0; }

static qdq_status check(const qdq_report *r) {
    if (!r->title || !r->score || !r->generator || (r->n_tensors && !r->tensors) || (r->n_curve && !r->curve) ||
        (r->n_baselines && !r->baselines) || (r->n_notes && !r->notes))
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
    for (size_t i = 0; i < r->n_baselines; i++) {
        const qdq_report_baseline *b = &r->baselines[i];
        if (!b->label || !is_figure(b->damage) || !(isnan(b->plan_damage) || is_figure(b->plan_damage)))
            return qdq_fail(QDQ_INVALID_ARGUMENT, "report: baseline %zu: damage %g, of the plan %g", i, b->damage,
                            b->plan_damage);
    }
    return is_figure(r->kl_unit) ? QDQ_OK
                                 : qdq_fail(QDQ_INVALID_ARGUMENT, "report: the unit of damage is %g", r->kl_unit);
}

qdq_status qdq_report_write(const qdq_report *r, qdq_builder *out) {
    if (!r || !out) return qdq_fail(QDQ_INVALID_ARGUMENT, "report: a NULL argument");
    qdq_status status = check(r);
    if (status != QDQ_OK) return status;
    qdq_report_totals totals = qdq_report_sum(r);
    put_head(out, r);
    put_summary(out, r, &totals);
    qdq_report_chart(out, r, &totals);
    status = qdq_report_maps(out, r, &totals);
    if (status != QDQ_OK) return status;
    put_table(out, r, &totals);
    put_notes(out, r);
    qdq_builder_format(out, "<script>\n%s</script>\n</body>\n</html>\n", script);
    return out->failed ? qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the report") : QDQ_OK;
}
