#include "cli/paths.h"

#include <stdio.h>
#include <string.h>

#include "base/platform_files.h"
#include "cli/cli.h"

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

static bool same_file(const qdq_file_info *a, const char *path) {
    qdq_file_info b;
    return qdq_path_info(path, &b) && qdq_same_file(&a->id, &b.id);
}

/* Where the path's last part begins; its directory, "." for none, into buffer. */
static const char *split(const char *path, char directory[QDQ_PATH_ROOM]) {
    size_t length = qdq_path_directory(path);
    snprintf(directory, QDQ_PATH_ROOM, "%.*s", length > 0 ? (int)length : 1, length > 0 ? path : ".");
    return qdq_path_last(path);
}

/* Do both name the same entry of the same directory? What lies behind it does not matter: it is replaced. */
static bool same_entry(const char *a, const char *b) {
    char directory[QDQ_PATH_ROOM], other[QDQ_PATH_ROOM];
    qdq_file_info info;
    return strcmp(split(a, directory), split(b, other)) == 0 && qdq_path_info(directory, &info) &&
           same_file(&info, other);
}

/* Naming reads the config.json beside a model. */
static bool is_config(const qdq_file_info *output, const char *operand) {
    char directory[QDQ_PATH_ROOM], config[QDQ_PATH_ROOM + 16];
    qdq_file_info info;
    if (qdq_path_info(operand, &info) && info.kind == QDQ_FILE_DIRECTORY)
        snprintf(directory, sizeof directory, "%s", operand);
    else
        split(operand, directory);
    snprintf(config, sizeof config, "%s/config.json", directory);
    return same_file(output, config);
}

bool qdq_path_ends(const char *path, const char *end) {
    size_t n = strlen(path), m = strlen(end);
    return n >= m && strcmp(path + n - m, end) == 0;
}

const char *qdq_path_misnamed(const char *output, const char *layout, const char *end) {
    if (!qdq_path_ends(output, end)) return NULL;
    qdq_fail(QDQ_INVALID_ARGUMENT, "%s: what is written is %s: name it so", QDQ_SHOWN(output), layout);
    return qdq_error_message();
}

qdq_status qdq_paths_check(const qdq_paths *paths) {
    for (unsigned o = 0; o < paths->n; o++) {
        const char *output = paths->named[o].path;
        qdq_file_info info;
        bool there = paths->named[o].output && qdq_path_info(output, &info);
        for (unsigned i = 0; i < paths->n && paths->named[o].output; i++) {
            const char *other = paths->named[i].path;
            if (paths->named[i].output) {
                if (i >= o || !same_entry(output, other)) continue;
                return qdq_fail(QDQ_INVALID_ARGUMENT, "%s and %s are one file: each output needs a name of its own",
                                QDQ_SHOWN(other), QDQ_SHOWN(output));
            }
            if (!there) continue;
            if (same_file(&info, other))
                return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: is the input %s; choose another output", QDQ_SHOWN(output),
                                QDQ_SHOWN(other));
            if (paths->named[i].option == NULL && is_config(&info, other))
                return qdq_fail(QDQ_INVALID_ARGUMENT, "%s: is the config.json of the input %s; choose another output",
                                QDQ_SHOWN(output), QDQ_SHOWN(other));
        }
    }
    return QDQ_OK;
}
