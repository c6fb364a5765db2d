#include "model/type_pattern.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct reader {
    const char *at;
    int depth;
    bool look[64];     /* is the open group a look-ahead? */
    bool quantifiable; /* is there something before, that * may repeat? */
} reader;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); } /* patterns are lower-case */
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* After a backslash. Returns what is wrong, or NULL. *kind: 'c' a character, 's' a set, 'b' a boundary. */
static const char *read_escape(reader *r, char *kind) {
    char c = *r->at;
    if (c == '\0') return "a backslash at its end";
    r->at++;
    *kind = 'c';
    if (c == 'x') {
        if (!is_hex(r->at[0]) || !is_hex(r->at[1])) return "\\x without two hexadecimal digits";
        if (r->at[0] == '0' && r->at[1] == '0') return "\\x00";
        r->at += 2;
        return NULL;
    }
    if (c == 'd' || c == 'w' || c == 's') {
        *kind = 's';
        return NULL;
    }
    if (c == 'b') {
        *kind = 'b';
        return NULL;
    }
    if (c == 'f' || c == 'n' || c == 'r' || c == 't') return NULL;
    if (is_digit(c)) return "a backreference or \\0";
    if (is_letter(c)) return "an escaped letter that is not one of d w s b f n r t x";
    return NULL;
}

static bool read_posix_class(reader *r) {
    static const char *const names[] = {"alnum", "alpha", "blank", "cntrl", "digit", "graph",
                                        "lower", "print", "punct", "space", "upper", "xdigit"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(r->at, names[i], n) == 0 && r->at[n] == ':' && r->at[n + 1] == ']') {
            r->at += n + 2;
            return true;
        }
    }
    return false;
}

/* One member of a class, up to a range's hyphen. *kind as read_escape's. */
static const char *read_member(reader *r, char *kind) {
    *kind = 'c';
    if (r->at[0] == '\0') return "a class without its ]";
    if ((unsigned char)r->at[0] >= 0x80) return "a byte over 127 in a class";
    if (r->at[0] == '[' && r->at[1] == '.') return "[. .]";
    if (r->at[0] == '[' && r->at[1] == ':') {
        r->at += 2;
        *kind = 's';
        return read_posix_class(r) ? NULL : "an unknown [:class:]";
    }
    if (r->at[0] != '\\') {
        r->at++;
        return NULL;
    }
    r->at++;
    if (r->at[0] == 'x' && r->at[1] >= '8') return "a byte over 127 in a class";
    const char *wrong = read_escape(r, kind);
    if (!wrong && *kind == 'b') return "\\b in a class";
    return wrong;
}

static const char *read_class(reader *r) {
    if (*r->at == '^') r->at++;
    if (*r->at == ']') return "an empty class, or one that begins with ]";
    for (bool first = true; *r->at != ']'; first = false) {
        char kind;
        bool hyphen = *r->at == '-';
        if (hyphen && !first && r->at[1] != ']') return "a hyphen inside a class that makes no range";
        const char *wrong = read_member(r, &kind);
        if (wrong) return wrong;
        if (*r->at != '-' || r->at[1] == ']') continue;
        if (hyphen || kind != 'c') return "a range that does not begin with a character";
        r->at++;
        if (*r->at == '-') return "a range that ends with a hyphen";
        wrong = read_member(r, &kind);
        if (wrong) return wrong;
        if (kind != 'c') return "a range that does not end with a character";
        if (*r->at == '-' && r->at[1] != ']') return "a hyphen inside a class that makes no range";
    }
    r->at++;
    return NULL;
}

static const char *read_count(reader *r) {
    long low = 0, high = 0;
    if (!is_digit(*r->at)) return "a { that begins no count";
    for (; is_digit(*r->at) && low <= 1000; r->at++) low = low * 10 + (*r->at - '0');
    high = low;
    if (*r->at == ',') {
        r->at++;
        if (is_digit(*r->at))
            for (high = 0; is_digit(*r->at) && high <= 1000; r->at++) high = high * 10 + (*r->at - '0');
    }
    if (*r->at++ != '}') return "a { that begins no count";
    if (low > 1000 || high > 1000) return "a count over 1000";
    return low > high ? "a count from more to less" : NULL;
}

static const char *read_quantifier(reader *r, char c) {
    if (!r->quantifiable) return "a quantifier with nothing to repeat";
    if (c == '{') {
        const char *wrong = read_count(r);
        if (wrong) return wrong;
    }
    if (*r->at == '?') r->at++;
    if (*r->at && strchr("*+?{", *r->at)) return "a quantifier after a quantifier";
    r->quantifiable = false;
    return NULL;
}

static const char *read_group(reader *r) {
    bool look = false;
    if (*r->at == '?') {
        r->at++;
        look = *r->at == '!'; /* (?= cannot be: a word is split at its first = */
        if (!look && *r->at != ':') return "a group that begins with (? and neither : nor !";
        r->at++;
    }
    if (r->depth == 64) return "more than 64 groups in each other";
    r->look[r->depth++] = look;
    r->quantifiable = false;
    return NULL;
}

static const char *read_one(reader *r) {
    char c = *r->at++, kind = 'c';
    const char *wrong = NULL;
    switch (c) {
    case '^':
    case '$':
    case '|': r->quantifiable = false; return NULL;
    case '(': return read_group(r);
    case ')':
        if (r->depth == 0) return "a ) without its (";
        r->quantifiable = !r->look[--r->depth];
        return NULL;
    case '*':
    case '+':
    case '?':
    case '{': return read_quantifier(r, c);
    case ']':
    case '}': return "a bare ] or }";
    case '[': wrong = read_class(r); break;
    case '\\': wrong = read_escape(r, &kind); break;
    default: break;
    }
    r->quantifiable = kind != 'b';
    return wrong;
}

const char *qdq_type_pattern_check(const char *pattern) {
    reader r = {.at = pattern};
    while (*r.at) {
        const char *wrong = read_one(&r);
        if (wrong) return wrong;
    }
    return r.depth ? "a ( without its )" : NULL;
}
