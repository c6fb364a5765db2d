/* Runs a fuzz target over every file of the directories (or files) named: what was once found stays found, without a
 * fuzzing engine. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In memory of exactly its size, so that a sanitizer sees every read past the end. */
static int replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    long size = -1;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) size = ftell(file);
    uint8_t *data = size >= 0 ? malloc(size > 0 ? (size_t)size : 1) : NULL;
    int ok = data != NULL && fseek(file, 0, SEEK_SET) == 0 && fread(data, 1, (size_t)size, file) == (size_t)size;
    if (ok)
        LLVMFuzzerTestOneInput(data, (size_t)size);
    else
        fprintf(stderr, "%s: cannot be read\n", path);
    free(data);
    if (file != NULL) fclose(file);
    return ok;
}

/* The number of files run; -1 after a failure. */
static long replay(const char *path) {
    DIR *directory = opendir(path);
    if (directory == NULL) return replay_file(path) ? 1 : -1;
    long count = 0;
    const struct dirent *entry;
    while (count >= 0 && (entry = readdir(directory)) != NULL) {
        char below[4096];
        if (entry->d_name[0] == '.') continue;
        int length = snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        count = length < (int)sizeof below && replay_file(below) ? count + 1 : -1;
    }
    closedir(directory);
    return count;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        long count = replay(argv[i]);
        printf("%s: %ld files\n", argv[i], count);
        if (count <= 0) return 1; /* nothing to run proves nothing */
    }
    return argc < 2;
}
