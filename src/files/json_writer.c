#include "json_writer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static void start_line(qdq_json_writer *w) {
    if (w->indent > 0) qdq_builder_format(w->out, "\n%*s", (int)(w->depth * w->indent), "");
}

static void put_escaped(qdq_builder *out, const char *text, uint64_t length) {
    qdq_builder_character(out, '"');
    for (uint64_t from = 0, at = 0; at <= length; at++) {
        unsigned char c = at < length ? (unsigned char)text[at] : '"';
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        qdq_builder_add(out, text + from, at - from);
        from = at + 1;
        if (at == length) break;
        if (c < 0x20)
            qdq_builder_format(out, "\\u%04x", c);
        else
            qdq_builder_format(out, "\\%c", c);
    }
    qdq_builder_character(out, '"');
}

/* What comes before a value. */
static void place(qdq_json_writer *w, const char *key) {
    if (w->filled) qdq_builder_character(w->out, ',');
    if (w->depth > 0) start_line(w);
    w->filled = true;
    if (key == NULL) return;
    put_escaped(w->out, key, strlen(key));
    qdq_builder_text(w->out, w->indent > 0 ? ": " : ":");
}

void qdq_json_put_open(qdq_json_writer *w, const char *key, char open) {
    place(w, key);
    qdq_builder_character(w->out, open);
    w->out->failed |= w->depth == QDQ_JSON_NESTING;
    if (w->depth == QDQ_JSON_NESTING) return;
    w->close[w->depth++] = open == '{' ? '}' : ']';
    w->filled = false;
}

void qdq_json_put_close(qdq_json_writer *w) {
    char close = w->close[--w->depth];
    if (w->filled) start_line(w);
    qdq_builder_character(w->out, close);
    w->filled = true;
}

void qdq_json_put_bytes(qdq_json_writer *w, const char *key, const char *text, uint64_t length) {
    place(w, key);
    put_escaped(w->out, text, length);
}

void qdq_json_put_text(qdq_json_writer *w, const char *key, const char *text) {
    char safe[4096];
    place(w, key);
    if (text == NULL) {
        qdq_builder_text(w->out, "null");
        return;
    }
    const char *shown = qdq_is_text(text, strlen(text)) ? text : qdq_printable(text, safe, sizeof safe);
    put_escaped(w->out, shown, strlen(shown));
}

void qdq_json_put_whole(qdq_json_writer *w, const char *key, uint64_t value) {
    place(w, key);
    qdq_builder_format(w->out, "%llu", (unsigned long long)value);
}

void qdq_json_put_real(qdq_json_writer *w, const char *key, double value) {
    char digits[40];
    place(w, key);
    if (!isfinite(value)) {
        qdq_builder_text(w->out, "null");
        return;
    }
    snprintf(digits, sizeof digits, "%.17g", value);
    size_t point = strspn(digits, "-0123456789");
    if (digits[point] == '\0')
        strcpy(digits + point, ".0"); /* so that readers that tell reals from whole numbers do */
    else if (digits[point] != 'e')
        digits[point] = '.'; /* whatever the program's locale has */
    qdq_builder_text(w->out, digits);
}

void qdq_json_put_bool(qdq_json_writer *w, const char *key, bool value) {
    place(w, key);
    qdq_builder_text(w->out, value ? "true" : "false");
}
