#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/type_file.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/words.h"
#include "files/sorted.h"
#include "model/llama_rules.h"
#include "model/type_pattern.h"

typedef struct entry {
    pcre2_code *code;
    char *text;    /* as it was given */
    char *literal; /* the one name that it matches; NULL: it is not of that kind */
    uint32_t type;
} entry;

struct qdq_type_file {
    size_t count, room;
    entry *entries;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    /* A recipe has a line a tensor: those are looked up, and what is left is searched in turn. */
    size_t n_literals, n_others;
    qdq_name *literals; /* sorted once there is something to match; NULL: not yet */
    size_t *others;
};

void qdq_type_file_free(qdq_type_file *file) {
    if (!file) return;
    for (size_t i = 0; i < file->count; i++) {
        pcre2_code_free(file->entries[i].code);
        free(file->entries[i].text);
        free(file->entries[i].literal);
    }
    free(file->literals);
    free(file->others);
    pcre2_match_data_free(file->match);
    pcre2_match_context_free(file->limits);
    free(file->entries);
    free(file);
}

size_t qdq_type_file_count(const qdq_type_file *file) { return file->count; }
const char *qdq_type_file_entry(const qdq_type_file *file, size_t index) { return file->entries[index].text; }

qdq_status qdq_type_file_create(qdq_type_file **file) {
    if (!file) return qdq_fail(QDQ_INVALID_ARGUMENT, "tensor types: a NULL argument");
    qdq_type_file *f = calloc(1, sizeof *f);
    if (f) f->match = pcre2_match_data_create(1, NULL);
    if (f) f->limits = pcre2_match_context_create(NULL);
    if (!f || !f->match || !f->limits) {
        qdq_type_file_free(f);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the tensor types");
    }
    pcre2_set_match_limit(f->limits, 1000000);
    *file = f;
    return QDQ_OK;
}

static qdq_status compile_pattern(const char *where, const char *pattern, pcre2_code **code) {
    const char *wrong = qdq_type_pattern_check(pattern);
    if (wrong)
        return qdq_fail(QDQ_UNSUPPORTED,
                        "%s: the pattern \"%.120s\" has %s, which std::regex and this program may read differently",
                        where, pattern, wrong);
    int error;
    PCRE2_SIZE at;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", where);
    pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF);
    *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                          PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF | PCRE2_NO_AUTO_CAPTURE, &error, &at, context);
    pcre2_compile_context_free(context);
    if (*code) return QDQ_OK;
    if (error == PCRE2_ERROR_HEAP_FAILED)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for the pattern \"%.120s\"", where, pattern);
    PCRE2_UCHAR why[128];
    pcre2_get_error_message(error, why, sizeof why);
    return qdq_fail(QDQ_BAD_DATA, "%s: the pattern \"%.120s\": %s", where, pattern, (char *)why);
}

/* word: PATTERN=TYPE, which is changed. */
static qdq_status read_entry(const char *where, char *word, entry *into) {
    char *sign = strchr(word, '=');
    if (!sign)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: \"%.120s\" is not PATTERN=TYPE (there are no comments, and no spaces inside)", where,
                        word);
    *sign = '\0';
    if (sign == word) return qdq_fail(QDQ_BAD_DATA, "%s: nothing before the \"=\"", where);
    const qdq_ggml_type *type = qdq_ggml_type_by_name(sign + 1, strlen(sign + 1));
    if (!type) return qdq_fail(QDQ_BAD_DATA, "%s: ggml has no type \"%.60s\"", where, sign + 1);
    if (!qdq_rules_writes(type)) return qdq_fail(QDQ_BAD_DATA, "%s: llama-quantize cannot write %s", where, type->name);
    for (char *c = word; *c; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
    into->type = type->id;
    return compile_pattern(where, word, &into->code);
}

/* The name that "^NAME$" matches, where NAME is letters, digits, _, -, escaped characters and \xNN; NULL with *memory
 * left alone: the pattern is another. */
static char *literal_of(const char *pattern, bool *memory) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t length = strlen(pattern), used = 0;
    if (length < 2 || pattern[0] != '^' || pattern[length - 1] != '$') return NULL;
    char *name = malloc(length);
    *memory = name != NULL;
    const char *c = pattern + 1, *end = pattern + length - 1;
    while (name != NULL && c < end) {
        char hex[3] = "";
        if (strchr(plain, *c) != NULL) {
            name[used++] = *c++;
        } else if (*c == '\\' && end - c >= 2 && ispunct((unsigned char)c[1])) {
            name[used++] = c[1];
            c += 2;
        } else if (*c == '\\' && end - c >= 4 && c[1] == 'x' && isxdigit((unsigned char)c[2]) &&
                   isxdigit((unsigned char)c[3])) {
            memcpy(hex, c + 2, 2);
            name[used++] = (char)strtol(hex, NULL, 16);
            c += 4;
            if (name[used - 1] == '\0') c = end + 1; /* no name has it */
        } else {
            free(name);
            return NULL;
        }
    }
    if (name != NULL) name[used] = '\0';
    if (c > end) {
        free(name);
        return NULL;
    }
    return name;
}

static qdq_status add_entry(qdq_type_file *f, const char *where, char *word) {
    if (f->count == f->room) {
        size_t room = f->room ? 2 * f->room : 64;
        entry *entries = realloc(f->entries, room * sizeof *entries);
        if (!entries) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", where);
        f->entries = entries;
        f->room = room;
    }
    entry made = {.text = strdup(word)};
    if (!made.text) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", where);
    bool memory = true;
    qdq_status status = read_entry(where, word, &made);
    if (status == QDQ_OK) made.literal = literal_of(word, &memory);
    if (!memory) status = qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", where);
    if (status == QDQ_OK) {
        f->entries[f->count++] = made;
        free(f->literals); /* to be sorted anew */
        free(f->others);
        f->literals = NULL;
        f->others = NULL;
        return QDQ_OK;
    }
    pcre2_code_free(made.code);
    free(made.text);
    return status;
}

qdq_status qdq_type_file_add(qdq_type_file *file, const char *option, const char *word) {
    if (!file || !option || !word) return qdq_fail(QDQ_INVALID_ARGUMENT, "tensor types: a NULL argument");
    char *copy = strdup(word);
    if (!copy) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", option);
    qdq_status status = add_entry(file, option, copy);
    free(copy);
    return status;
}

qdq_status qdq_type_file_add_text(qdq_type_file *file, const char *path, const char *text, size_t length) {
    if (!file || !path || (length && !text)) return qdq_fail(QDQ_INVALID_ARGUMENT, "tensor types: a NULL argument");
    if (length && memchr(text, 0, length)) return qdq_fail(QDQ_BAD_DATA, "%s: a NUL byte; this is no text", path);
    static const char space[] = " \t\n\v\f\r"; /* isspace in the C locale, as `file >> word` skips it */
    char *copy = malloc(length + 1);
    if (!copy) return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory", path);
    if (length) memcpy(copy, text, length);
    copy[length] = '\0';

    qdq_status status = QDQ_OK;
    size_t number = 0;
    char *rest = copy;
    for (char *word; status == QDQ_OK && (word = qdq_next_word(&rest, space)) != NULL;) {
        char where[512];
        snprintf(where, sizeof where, "%.400s: word %zu", path, ++number);
        status = add_entry(file, where, word);
    }
    free(copy);
    return status;
}

qdq_status qdq_type_file_read(const char *path, const char *text, size_t length, qdq_type_file **file) {
    qdq_type_file *f = NULL;
    if (!path || !file) return qdq_fail(QDQ_INVALID_ARGUMENT, "tensor types: a NULL argument");
    qdq_status status = qdq_type_file_create(&f);
    if (status == QDQ_OK) status = qdq_type_file_add_text(f, path, text, length);
    if (status != QDQ_OK)
        qdq_type_file_free(f);
    else
        *file = f;
    return status;
}

/* Once nothing is added any more. */
static qdq_status sort_literals(qdq_type_file *file) {
    if (file->literals != NULL) return QDQ_OK;
    file->literals = malloc((file->count + 1) * sizeof *file->literals);
    file->others = malloc((file->count + 1) * sizeof *file->others);
    if (file->literals == NULL || file->others == NULL)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "tensor types: out of memory");
    file->n_literals = file->n_others = 0;
    for (size_t i = 0; i < file->count; i++)
        if (file->entries[i].literal != NULL)
            file->literals[file->n_literals++] = (qdq_name){file->entries[i].literal, i};
        else
            file->others[file->n_others++] = i;
    qdq_sorted_sort(file->literals, file->n_literals);
    return QDQ_OK;
}

static qdq_status matches(const qdq_type_file *file, size_t i, const char *name, bool *found) {
    int code = pcre2_match(file->entries[i].code, (PCRE2_SPTR)name, strlen(name), 0, 0, file->match, file->limits);
    *found = code >= 0;
    if (code >= 0 || code == PCRE2_ERROR_NOMATCH) return QDQ_OK;
    if (code == PCRE2_ERROR_NOMEMORY)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory to search %.120s for pattern %zu", name, i + 1);
    PCRE2_UCHAR why[128];
    pcre2_get_error_message(code, why, sizeof why);
    return qdq_fail(QDQ_UNSUPPORTED, "%.120s: the search for pattern %zu was given up: %s", name, i + 1, (char *)why);
}

qdq_status qdq_type_file_match(qdq_type_file *file, const char *name, size_t *index, uint32_t *type) {
    qdq_status status = sort_literals(file);
    if (status != QDQ_OK) return status;
    const qdq_name *literal = qdq_sorted_find(file->literals, file->n_literals, name);
    size_t first = literal != NULL ? (size_t)literal->index : file->count;
    for (size_t k = 0; k < file->n_others && file->others[k] < first; k++) {
        bool found;
        status = matches(file, file->others[k], name, &found);
        if (status != QDQ_OK) return status;
        if (found) first = file->others[k];
    }
    *index = first;
    if (first < file->count) *type = file->entries[first].type;
    return QDQ_OK;
}
