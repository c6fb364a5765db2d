/* Makes the golden data of a format: `golden_data FOLDER FORMAT [LIBRARY]` writes FOLDER/FORMAT.blk, FORMAT.imatrix.blk
 * and their lines of FOLDER/values.txt from FOLDER/input.f32 and imatrix.f32. With a ggml library that has the format,
 * ggml makes them; else the scalar lane does, and they then hold the other tiers and backends to it, and later versions
 * to this one. golden_data.sh, which also writes golden.txt, is what to call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proof/quantizers.h"

enum { ROW = 1024, MOST_LINES = 1024 };

static const char *folder;

static void stop(const char *what, const char *why) {
    fprintf(stderr, "golden_data: %s: %s\n", what, why);
    exit(1);
}

static FILE *open_file(const char *name, const char *mode) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, mode);
    if (!file) stop(path, mode[0] == 'r' ? "cannot be read" : "cannot be written");
    return file;
}

static void *read_file(const char *name, size_t *size) {
    FILE *file = open_file(name, "rb");
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*size + 1);
    if (!bytes || fread(bytes, 1, *size, file) != *size) stop(name, "cannot be read");
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

static void write_file(const char *name, const void *bytes, size_t size) {
    FILE *file = open_file(name, "wb");
    if (fwrite(bytes, 1, size, file) != size || fclose(file) != 0) stop(name, "cannot be written");
}

static uint64_t hash_bytes(const void *bytes, size_t size) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) h = (h ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return h;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The line takes the place of the one with its name, or its own among the sorted others below the title. */
static void put_line(char *line) {
    size_t size, n = 0, key = strcspn(line, " ") + 1;
    char *text = read_file("values.txt", &size), *lines[MOST_LINES];
    for (char *at = strtok(text, "\n"); at && n < MOST_LINES - 1; at = strtok(NULL, "\n"))
        if (n == 0 || strncmp(at, line, key) != 0) lines[n++] = at;
    lines[n++] = line;
    if (n == 1) stop("values.txt", "has no title");
    qsort(lines + 1, n - 1, sizeof *lines, by_text);
    FILE *file = open_file("values.txt", "wb");
    for (size_t i = 0; i < n; i++) fprintf(file, "%s\n", lines[i]);
    if (fclose(file) != 0) stop("values.txt", "cannot be written");
    free(text);
}

static void put_values(const char *name, const float *values, uint64_t n) {
    char *line = malloc(64 + n / ROW * 17);
    if (!line) stop(name, "no memory");
    int used = sprintf(line, "%s", name);
    for (uint64_t row = 0; row < n / ROW; row++)
        used += sprintf(line + used, " %016llx", (unsigned long long)hash_bytes(values + row * ROW, ROW * 4));
    put_line(line);
    free(line);
}

/* The blocks and their values, in FOLDER/FORMAT + suffix and values.txt. */
static void make(qdq_quantizer *maker, qdq_format format, const char *name, const char *suffix, const float *x,
                 uint64_t n, const float *weights) {
    uint64_t bytes = qdq_format_bytes(format, n);
    uint8_t *blocks = malloc(bytes);
    float *values = malloc(n * sizeof *values);
    if (!blocks || !values) stop(name, "no memory");
    if (maker->quantize(maker->context, 0, format, x, n, weights, ROW, blocks, NULL) != QDQ_OK ||
        maker->dequantize(maker->context, 0, format, blocks, n, values) != QDQ_OK)
        stop(name, qdq_error_message());
    char full[64], file[80];
    snprintf(full, sizeof full, "%.40s%s", name, suffix);
    snprintf(file, sizeof file, "%s.blk", full);
    write_file(file, blocks, bytes);
    put_values(full, values, n);
    printf("%s and its line of values.txt: made by %s\n", file, maker->name);
    free(blocks);
    free(values);
}

int main(int argc, char **argv) {
    if (argc != 3 && argc != 4) {
        fputs("usage: golden_data FOLDER FORMAT [LIBRARY]\n", stderr);
        return 2;
    }
    folder = argv[1];
    qdq_format_info info = {.size = sizeof info};
    qdq_format format = qdq_format_by_name(argv[2]);
    if (qdq_format_describe(format, &info) != QDQ_OK) stop(argv[2], "no such format; formats.def lists them");
    size_t size, weights_size;
    float *x = read_file("input.f32", &size), *weights = read_file("imatrix.f32", &weights_size);
    if (weights_size != ROW * 4 || size % (ROW * 4) != 0) stop(folder, "input.f32 or imatrix.f32 has another size");
    qdq_ggml *ggml = NULL;
    if (argc == 4 && qdq_ggml_open(argv[3], &ggml) != QDQ_OK) stop(argv[3], qdq_error_message());
    const char *lacks = ggml ? qdq_ggml_lacks(ggml, format) : NULL;
    if (lacks) printf("%s: %s\n", argv[3], lacks);
    qdq_quantizer maker;
    if ((ggml && !lacks ? qdq_ggml_quantizer(ggml, 1, &maker) : qdq_scalar_quantizer(1, &maker)) != QDQ_OK)
        stop(info.name, qdq_error_message());
    if (info.importance < 2) make(&maker, format, info.name, "", x, size / 4, NULL);
    make(&maker, format, info.name, ".imatrix", x, size / 4, weights);
    qdq_quantizer_close(&maker);
    if (ggml) qdq_ggml_close(ggml);
    free(x);
    free(weights);
    return 0;
}
