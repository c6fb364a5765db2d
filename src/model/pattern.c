#define _POSIX_C_SOURCE 200809L
#include "model/pattern.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "files/files.h"

#define SHOWN(text) qdq_printable((text), (char[256]){0}, 256)

qdq_status qdq_pattern_open(const char *text, qdq_pattern *pattern) {
    *pattern = (qdq_pattern){.text = strdup(text)};
    int error = pattern->text != NULL ? regcomp(&pattern->compiled, text, REG_EXTENDED) : REG_ESPACE;
    if (error == 0) return QDQ_OK;
    free(pattern->text);
    pattern->text = NULL;
    if (error == REG_ESPACE)
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the regular expression \"%s\"", SHOWN(text));
    char why[128];
    regerror(error, &pattern->compiled, why, sizeof why);
    return qdq_fail(QDQ_INVALID_ARGUMENT, "regular expression \"%s\": %s", SHOWN(text), why);
}

qdq_status qdq_pattern_find(const qdq_pattern *pattern, const char *name, size_t n_catches, regmatch_t *catches,
                            bool *found) {
    int error = regexec(&pattern->compiled, name, n_catches, catches, 0);
    *found = error == 0;
    if (error == 0 || error == REG_NOMATCH) return QDQ_OK;
    return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory to search \"%s\" for \"%s\"", SHOWN(name), SHOWN(pattern->text));
}

void qdq_pattern_close(qdq_pattern *pattern) {
    if (pattern->text == NULL) return;
    regfree(&pattern->compiled);
    free(pattern->text);
    *pattern = (qdq_pattern){0};
}
