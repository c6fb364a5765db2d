/* The grammar is RFC 8259's. */
#include "json_reader.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static bool fail(qdq_json_reader *r, const char *why) {
    if (r->why == NULL) r->why = why;
    return false;
}

/* The next byte that is no white space, or -1. */
static int peek(qdq_json_reader *r) {
    if (r->why != NULL) return -1;
    while (r->at < r->length && memchr(" \t\r\n", r->bytes[r->at], 4) != NULL) r->at++;
    if (r->at < r->length) return r->bytes[r->at];
    fail(r, "the text ends too early");
    return -1;
}

/* ---- Strings ---------------------------------------------------------------------------------------------------- */

static int hex4(const uint8_t *p, uint64_t left) {
    int value = 0;
    if (left < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int c = p[i] | 0x20, digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0 || (p[i] < '0')) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static size_t encode(unsigned code, char *out) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | code);
    return n;
}

/* What follows "\u": a character, or the first of two halves of one. */
static bool unicode(qdq_json_reader *r, char *out, size_t *used) {
    int code = hex4(r->bytes + r->at, r->length - r->at);
    if (code < 0) return fail(r, "\\u is not followed by four hexadecimal digits");
    if (code == 0) return fail(r, "\\u0000 has no place in a name or a text");
    r->at += 4;
    if (code >= 0xd800 && code < 0xe000) {
        const uint8_t *p = r->bytes + r->at;
        uint64_t left = r->length - r->at;
        int low = code < 0xdc00 && left >= 6 && p[0] == '\\' && p[1] == 'u' ? hex4(p + 2, left - 2) : -1;
        if (low < 0xdc00 || low > 0xdfff) return fail(r, "half of a surrogate pair");
        r->at += 6;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *used += encode((unsigned)code, out + *used);
    return true;
}

static bool escape(qdq_json_reader *r, char *out, size_t *used) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint8_t c = r->at < r->length ? r->bytes[r->at] : 0;
    const char *known = c != 0 ? strchr(from, c) : NULL;
    if (c != 'u' && known == NULL) return fail(r, "no escape is written so");
    r->at++;
    if (c == 'u') return unicode(r, out, used);
    out[(*used)++] = to[known - from];
    return true;
}

/* A string at `at`, in room that grows to what it takes at most: no escape gets longer by being read. */
static bool take_string(qdq_json_reader *r, char **out, size_t *room, uint64_t limit, size_t *length) {
    uint64_t end = ++r->at;
    while (end < r->length && r->bytes[end] != '"') end += r->bytes[end] == '\\' ? 2 : 1;
    if (end >= r->length) return fail(r, "a string does not end");
    uint64_t most = end - r->at;
    if (most > limit) return fail(r, "a key of more than 65535 bytes");
    if (most >= *room) {
        free(*out);
        *room = (size_t)most + 1 < 256 ? 256 : (size_t)most + 1;
        *out = malloc(*room);
        if (*out == NULL) {
            *room = 0;
            r->memory = true;
            return fail(r, "out of memory");
        }
    }
    size_t used = 0;
    while (r->bytes[r->at] != '"') {
        const uint8_t *p = r->bytes + r->at;
        if (*p == '\\') {
            r->at++;
            if (!escape(r, *out, &used)) return false;
            continue;
        }
        size_t step = qdq_utf8_step(p, r->length - r->at);
        if (*p < 0x20) return fail(r, "a control character in a string");
        if (step == 0) return fail(r, "a string is not UTF-8");
        memcpy(*out + used, p, step);
        used += step;
        r->at += step;
    }
    r->at++;
    (*out)[used] = '\0';
    if (length != NULL) *length = used;
    return true;
}

bool qdq_json_string(qdq_json_reader *r, const char **text, size_t *length) {
    if (peek(r) != '"' || !take_string(r, &r->text, &r->text_room, UINT64_MAX, length)) return false;
    *text = r->text;
    return true;
}

/* ---- Objects and arrays ----------------------------------------------------------------------------------------- */

bool qdq_json_enter(qdq_json_reader *r, char kind) {
    if (peek(r) != kind) return false;
    if (r->depth == QDQ_JSON_DEPTH) return fail(r, "nested too deeply");
    r->open[r->depth++] = kind;
    r->fresh = true;
    r->at++;
    return true;
}

/* Goes to the next member or item of what was entered last; false: it has ended. */
static bool next(qdq_json_reader *r, char close) {
    int c = peek(r);
    bool first = r->fresh;
    r->fresh = false;
    if (c == close) {
        r->at++;
        r->depth--;
        return false;
    }
    if (first) return c >= 0;
    if (c != ',') return fail(r, close == '}' ? "',' or '}' is wanted" : "',' or ']' is wanted");
    r->at++;
    return peek(r) >= 0;
}

bool qdq_json_key(qdq_json_reader *r, const char **key) {
    if (!next(r, '}')) return false;
    if (peek(r) != '"') return fail(r, "a key is wanted");
    if (!take_string(r, &r->key, &r->key_room, QDQ_JSON_KEY_LIMIT, NULL)) return false;
    *key = r->key;
    if (peek(r) != ':') return fail(r, "':' is wanted");
    r->at++;
    return peek(r) >= 0;
}

bool qdq_json_item(qdq_json_reader *r) { return next(r, ']'); }

/* ---- Numbers and words ------------------------------------------------------------------------------------------ */

static bool digits(qdq_json_reader *r) {
    uint64_t from = r->at;
    while (r->at < r->length && r->bytes[r->at] >= '0' && r->bytes[r->at] <= '9') r->at++;
    return r->at > from || fail(r, "a digit is wanted");
}

static bool is_next(const qdq_json_reader *r, const char *any) {
    return r->at < r->length && r->bytes[r->at] != 0 && strchr(any, r->bytes[r->at]) != NULL;
}

/* Past a number; *fraction: it has a fraction or an exponent. */
static bool take_number(qdq_json_reader *r, bool *fraction) {
    *fraction = false;
    if (is_next(r, "-")) r->at++;
    if (is_next(r, "0"))
        r->at++;
    else if (!digits(r))
        return false;
    if (is_next(r, "0123456789")) return fail(r, "a number begins with 0");
    if (is_next(r, ".")) {
        *fraction = true;
        r->at++;
        if (!digits(r)) return false;
    }
    if (is_next(r, "eE")) {
        *fraction = true;
        r->at++;
        if (is_next(r, "+-")) r->at++;
        if (!digits(r)) return false;
    }
    return true;
}

bool qdq_json_whole(qdq_json_reader *r, uint64_t *value) {
    int c = peek(r);
    uint64_t from = r->at, sum = 0;
    bool fraction;
    if (c < '0' || c > '9' || !take_number(r, &fraction)) return false;
    for (uint64_t i = from; i < r->at && !fraction; i++)
        if (__builtin_mul_overflow(sum, UINT64_C(10), &sum) || __builtin_add_overflow(sum, r->bytes[i] - '0', &sum) ||
            sum > INT64_MAX)
            return fail(r, "a number of more than 63 bits");
    if (fraction) r->at = from;
    *value = sum;
    return !fraction;
}

/* Digits past these change no double by more than its last bit, and nobody writes them. */
enum { NUMBER_LIMIT = 500 };

bool qdq_json_real(qdq_json_reader *r, double *value) {
    int c = peek(r);
    uint64_t from = r->at;
    bool fraction;
    char digits[NUMBER_LIMIT + 1];
    if ((c != '-' && (c < '0' || c > '9')) || !take_number(r, &fraction)) return false;
    if (r->at - from > NUMBER_LIMIT) return fail(r, "a number of more than 500 bytes");
    memcpy(digits, r->bytes + from, (size_t)(r->at - from));
    digits[r->at - from] = '\0';
    char *point = strchr(digits, '.');
    if (point != NULL) *point = *localeconv()->decimal_point; /* of the program, which strtod() follows */
    *value = strtod(digits, NULL);
    return true;
}

/* Is that word next? Then it is passed. */
static bool take_word(qdq_json_reader *r, const char *word) {
    size_t n = strlen(word);
    if (peek(r) != word[0] || r->length - r->at < n || memcmp(r->bytes + r->at, word, n) != 0) return false;
    r->at += n;
    return true;
}

bool qdq_json_bool(qdq_json_reader *r, bool *value) {
    *value = take_word(r, "true");
    return *value || take_word(r, "false");
}

bool qdq_json_null(qdq_json_reader *r) { return take_word(r, "null"); }

static void skip_scalar(qdq_json_reader *r) {
    int c = peek(r);
    bool fraction, value;
    if (c == '"') {
        take_string(r, &r->text, &r->text_room, UINT64_MAX, NULL);
        return;
    }
    if (c == '-' || (c >= '0' && c <= '9')) {
        take_number(r, &fraction);
        return;
    }
    if (qdq_json_bool(r, &value) || qdq_json_null(r)) return;
    fail(r, "a value is wanted");
}

void qdq_json_skip(qdq_json_reader *r) {
    unsigned depth = r->depth;
    const char *key;
    do {
        if (!qdq_json_enter(r, '{') && !qdq_json_enter(r, '[')) skip_scalar(r);
        while (r->depth > depth && r->why == NULL &&
               !(r->open[r->depth - 1] == '{' ? qdq_json_key(r, &key) : qdq_json_item(r)))
            ;
    } while (r->depth > depth && r->why == NULL);
}

void qdq_json_end(qdq_json_reader *r) {
    if (r->why != NULL) return;
    while (r->at < r->length && memchr(" \t\r\n", r->bytes[r->at], 4) != NULL) r->at++;
    if (r->at < r->length) fail(r, "something comes after the end");
}

void qdq_json_free(qdq_json_reader *r) {
    free(r->key);
    free(r->text);
    r->key = r->text = NULL;
    r->key_room = r->text_room = 0;
}
