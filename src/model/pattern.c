#include "model/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "files/files.h"
#include "files/shown.h"

struct qdq_pattern {
    char *text;
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    unsigned n_catches;
};

/* A million steps are a fraction of a second; patterns that people write need a hundred. */
enum { STEP_LIMIT = 1000000, DEPTH_LIMIT = 10000, HEAP_LIMIT_KIB = 16384 };

void qdq_pattern_free(qdq_pattern *p) {
    if (p == NULL) return;
    pcre2_code_free(p->code);
    pcre2_match_data_free(p->match);
    pcre2_match_context_free(p->limits);
    free(p->text);
    free(p);
}

static qdq_status compile(qdq_pattern *p) {
    int error;
    PCRE2_SIZE at;
    p->code = pcre2_compile((PCRE2_SPTR)p->text, PCRE2_ZERO_TERMINATED,
                            PCRE2_DOLLAR_ENDONLY | PCRE2_DOTALL | PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C, &error,
                            &at, NULL);
    if (p->code != NULL) {
        uint32_t n = 0;
        pcre2_pattern_info(p->code, PCRE2_INFO_CAPTURECOUNT, &n);
        p->n_catches = n;
        return QDQ_OK;
    }
    if (error == PCRE2_ERROR_HEAP_FAILED)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the regular expression \"%s\"", SHOWN(p->text));
    PCRE2_UCHAR why[128];
    pcre2_get_error_message(error, why, sizeof why);
    return qdq_fail(QDQ_INVALID_ARGUMENT, "regular expression \"%s\": %s, at character %zu", SHOWN(p->text),
                    (const char *)why, (size_t)at + 1);
}

qdq_status qdq_pattern_open(const char *text, qdq_pattern **pattern) {
    if (strlen(text) > QDQ_PATTERN_LIMIT)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "a regular expression of %zu bytes; at most %d are allowed", strlen(text),
                        QDQ_PATTERN_LIMIT);
    qdq_pattern *p = calloc(1, sizeof *p);
    if (p != NULL) p->text = strdup(text);
    if (p != NULL) p->match = pcre2_match_data_create(QDQ_MAX_CATCHES + 1, NULL);
    if (p != NULL) p->limits = pcre2_match_context_create(NULL);
    if (p == NULL || p->text == NULL || p->match == NULL || p->limits == NULL) {
        qdq_pattern_free(p);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the regular expression \"%s\"", SHOWN(text));
    }
    pcre2_set_match_limit(p->limits, STEP_LIMIT);
    pcre2_set_depth_limit(p->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(p->limits, HEAP_LIMIT_KIB);
    qdq_status status = compile(p);
    if (status == QDQ_OK)
        *pattern = p;
    else
        qdq_pattern_free(p);
    return status;
}

unsigned qdq_pattern_catches(const qdq_pattern *pattern) { return pattern->n_catches; }

qdq_status qdq_pattern_find(const qdq_pattern *p, const char *name, qdq_catch *catches, bool *found) {
    int n = pcre2_match(p->code, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, p->match, p->limits);
    *found = n >= 0;
    if (n == PCRE2_ERROR_NOMATCH) return QDQ_OK;
    if (n == PCRE2_ERROR_NOMEMORY)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory to search \"%s\" for \"%s\"", SHOWN(name), SHOWN(p->text));
    if (n < 0)
        return qdq_fail(QDQ_UNSUPPORTED, "the search of \"%s\" for \"%s\" takes too many steps: write it more simply",
                        SHOWN(name), SHOWN(p->text));
    const PCRE2_SIZE *pairs = pcre2_get_ovector_pointer(p->match);
    for (unsigned i = 0; i < QDQ_MAX_CATCHES && catches != NULL; i++) {
        bool caught = i < p->n_catches && (n == 0 || (unsigned)n > i + 1) && pairs[2 * i + 2] != PCRE2_UNSET;
        catches[i] = caught ? (qdq_catch){pairs[2 * i + 2], pairs[2 * i + 3]} : (qdq_catch){SIZE_MAX, SIZE_MAX};
    }
    return QDQ_OK;
}
