/* The report's texts and figures. */
#include "plan/report_parts.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

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

void qdq_report_text(qdq_builder *out, const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    while (*s) {
        int n = character(s);
        if (n == 0) {
            qdq_builder_text(out, "&#xfffd;");
            s++;
        } else if (n == 1 && strchr("&<>\"'", *s)) {
            qdq_builder_format(out, "&#%d;", *s++);
        } else {
            qdq_builder_add(out, s, (size_t)n);
            s += n;
        }
    }
}

void qdq_report_bytes(qdq_builder *out, double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    while (bytes >= 1024 && u < 4) bytes /= 1024, u++;
    qdq_builder_format(out, u ? "%.4g %s" : "%.0f %s", bytes, units[u]);
}

/* ---- Sums ---- */

uint64_t qdq_report_elements(const qdq_report_tensor *t) {
    uint64_t n = 1;
    for (uint32_t k = 0; k < t->n_dims; k++)
        if (__builtin_mul_overflow(n, t->shape[k], &n)) return UINT64_MAX;
    return n;
}

const qdq_report_choice *qdq_report_chosen(const qdq_report_tensor *t) { return &t->choices[t->chosen]; }

double qdq_report_bits(const qdq_report_tensor *t, const qdq_report_choice *c) {
    uint64_t n = qdq_report_elements(t);
    return n ? 8.0 * (double)c->bytes / (double)n : 0;
}

/* Damage that the smallest choice would do, per million weights. */
double qdq_report_sensitivity(const qdq_report_tensor *t) {
    const qdq_report_choice *least = &t->choices[0];
    for (uint32_t c = 1; c < t->n_choices; c++)
        if (t->choices[c].bytes < least->bytes) least = &t->choices[c];
    uint64_t n = qdq_report_elements(t);
    return n ? 1e6 * least->damage / (double)n : 0;
}

void qdq_report_widen(double x, double *low, double *high) {
    if (x < *low) *low = x;
    if (x > *high) *high = x;
}

qdq_report_totals qdq_report_sum(const qdq_report *r) {
    qdq_report_totals s = {.bytes = (double)r->other_bytes, .low_bits = INFINITY, .low_sensitivity = INFINITY};
    for (size_t i = 0; i < r->n_tensors; i++) {
        const qdq_report_tensor *t = &r->tensors[i];
        s.bytes += (double)qdq_report_chosen(t)->bytes;
        s.elements += (double)qdq_report_elements(t);
        s.damage += qdq_report_chosen(t)->damage;
        qdq_report_widen(qdq_report_bits(t, qdq_report_chosen(t)), &s.low_bits, &s.high_bits);
        if (qdq_report_sensitivity(t) > 0)
            qdq_report_widen(qdq_report_sensitivity(t), &s.low_sensitivity, &s.high_sensitivity);
    }
    s.cost = r->per_token ? (double)r->token_bytes : s.bytes;
    return s;
}
