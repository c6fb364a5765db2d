#include "cli/paths.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "qdq_model.h"

#define SHOWN(text) qdq_printable((text), (char[512]){0}, 512)

bool qdq_paths_add(qdq_paths *paths, const char *path, const char *option, bool output) {
    if (strcmp(path, "-") == 0 || (output && qdq_out_discards(path))) return true;
    unsigned at = 0;
    while (at < paths->n && !(output && paths->named[at].output && strcmp(paths->named[at].option, option) == 0)) at++;
    if (at == QDQ_MAX_PATHS) return false;
    paths->named[at].path = path;
    paths->named[at].option = option;
    paths->named[at].output = output;
    if (at == paths->n) paths->n++;
    return true;
}

static bool same_file(const struct stat *a, const char *path) {
    struct stat b;
    return stat(path, &b) == 0 && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

/* Where the path's last part begins; its directory, "." for none, into buffer. */
static const char *split(const char *path, char directory[PATH_MAX]) {
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    snprintf(directory, PATH_MAX, "%.*s", slash != NULL ? (int)length : 1, slash != NULL ? path : ".");
    return slash != NULL ? slash + 1 : path;
}

/* Do both name the same entry of the same directory? What lies behind it does not matter: it is replaced. */
static bool same_entry(const char *a, const char *b) {
    char directory[PATH_MAX], other[PATH_MAX];
    struct stat info;
    return strcmp(split(a, directory), split(b, other)) == 0 && stat(directory, &info) == 0 && same_file(&info, other);
}

/* Naming reads the config.json beside a model. */
static bool is_config(const struct stat *output, const char *operand) {
    char directory[PATH_MAX], config[PATH_MAX + 16];
    struct stat info;
    if (stat(operand, &info) == 0 && S_ISDIR(info.st_mode))
        snprintf(directory, sizeof directory, "%s", operand);
    else
        split(operand, directory);
    snprintf(config, sizeof config, "%s/config.json", directory);
    return same_file(output, config);
}

qdq_status qdq_paths_check(const qdq_paths *paths) {
    for (unsigned o = 0; o < paths->n; o++) {
        const char *output = paths->named[o].path;
        struct stat info;
        bool there = paths->named[o].output && stat(output, &info) == 0;
        for (unsigned i = 0; i < paths->n && paths->named[o].output; i++) {
            const char *other = paths->named[i].path;
            if (paths->named[i].output) {
                if (i >= o || !same_entry(output, other)) continue;
                return qdq_fail(QDQ_INVALID_ARGUMENT, "%s and %s are one file: each output needs a name of its own",
                                SHOWN(other), SHOWN(output));
            }
            if (!there) continue;
            if (same_file(&info, other))
                return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: is the input %s; choose another output", SHOWN(output),
                                SHOWN(other));
            if (paths->named[i].option == NULL && is_config(&info, other))
                return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: is the config.json of the input %s; choose another output",
                                SHOWN(output), SHOWN(other));
        }
    }
    return QDQ_OK;
}
