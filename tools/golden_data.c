/* Makes the golden data of a format: `golden_data FOLDER FORMAT [LIBRARY]` writes FOLDER/FORMAT.blk, FORMAT.imatrix.blk
 * and their lines of FOLDER/values.txt from FOLDER/input.f32 and imatrix.f32, and the lines of FOLDER/overflow.txt from
 * overflow.f32 and overflow_imatrix.f32. With a ggml library that has the format,
 * ggml makes them; else the scalar lane does, and they then hold the other tiers and backends to it, and later versions
 * to this one. golden_data.sh, which also writes golden.txt, is what to call. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
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

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The line takes the place of the one with its name, or its own among the sorted others below the title. */
static void put_line(const char *name, char *line) {
    size_t size, n = 0, key = strcspn(line, " ") + 1;
    char *text = read_file(name, &size), *lines[MOST_LINES];
    for (char *at = strtok(text, "\n"); at && n < MOST_LINES - 1; at = strtok(NULL, "\n"))
        if (n == 0 || strncmp(at, line, key) != 0) lines[n++] = at;
    lines[n++] = line;
    if (n == 1) stop(name, "has no title");
    qsort(lines + 1, n - 1, sizeof *lines, by_text);
    FILE *file = open_file(name, "wb");
    for (size_t i = 0; i < n; i++) fprintf(file, "%s\n", lines[i]);
    if (fclose(file) != 0) stop(name, "cannot be written");
    free(text);
}

/* NAME and the hash of each piece of the bytes. */
static void put_hashes(const char *file, const char *name, const void *bytes, size_t pieces, size_t size) {
    char *line = malloc(64 + pieces * 17);
    if (!line) stop(name, "no memory");
    int used = sprintf(line, "%.60s", name);
    for (size_t i = 0; i < pieces; i++)
        used += sprintf(line + used, " %016llx",
                        (unsigned long long)qdq_hash(QDQ_HASH_OF_NOTHING, (const char *)bytes + i * size, size));
    put_line(file, line);
    free(line);
}

/* The golden data of one format, without importance or with it. */
typedef struct job {
    qdq_quantizer *maker, *lane; /* lane: where the maker gives up, as ggml does with some numbers */
    qdq_format format;
    char name[64];
    bool weighted;
} job;

static void quantize(const job *j, const char *input, const char *imatrix, uint8_t **blocks, uint64_t *n) {
    size_t size, weights_size;
    float *x = read_file(input, &size), *weights = read_file(imatrix, &weights_size);
    if (weights_size != ROW * 4 || size % (ROW * 4) != 0) stop(input, "it or its imatrix has another size");
    *n = size / 4;
    *blocks = malloc(qdq_format_bytes(j->format, *n));
    if (!*blocks) stop(j->name, "no memory");
    const float *w = j->weighted ? weights : NULL;
    qdq_quantizer *q = j->maker;
    qdq_status status = q->quantize(q->context, 0, j->format, x, *n, w, ROW, *blocks, NULL);
    if (status != QDQ_OK && q != j->lane) {
        printf("%s of %s: %s\n", j->name, input, qdq_error_message());
        q = j->lane;
        status = q->quantize(q->context, 0, j->format, x, *n, w, ROW, *blocks, NULL);
    }
    if (status != QDQ_OK) stop(j->name, qdq_error_message());
    printf("%s of %s: made by %s\n", j->name, input, q->name);
    free(x);
    free(weights);
}

static void make(const job *j) {
    uint8_t *blocks;
    uint64_t n;
    quantize(j, "overflow.f32", "overflow_imatrix.f32", &blocks, &n);
    put_hashes("overflow.txt", j->name, blocks, 1, qdq_format_bytes(j->format, n));
    free(blocks);
    quantize(j, "input.f32", "imatrix.f32", &blocks, &n);
    char file[80];
    snprintf(file, sizeof file, "%s.blk", j->name);
    write_file(file, blocks, qdq_format_bytes(j->format, n));
    float *values = malloc(n * sizeof *values);
    if (!values) stop(j->name, "no memory");
    if (j->maker->dequantize(j->maker->context, 0, j->format, blocks, n, values) != QDQ_OK)
        stop(j->name, qdq_error_message());
    put_hashes("values.txt", j->name, values, n / ROW, ROW * 4);
    free(values);
    free(blocks);
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
    qdq_ggml *ggml = NULL;
    if (argc == 4 && qdq_ggml_open(argv[3], &ggml) != QDQ_OK) stop(argv[3], qdq_error_message());
    const char *lacks = ggml ? qdq_ggml_lacks(ggml, format) : NULL;
    if (lacks) printf("%s: %s\n", argv[3], lacks);
    qdq_quantizer lane, library;
    if (qdq_scalar_quantizer(1, &lane) != QDQ_OK) stop(info.name, qdq_error_message());
    bool by_library = ggml && !lacks;
    if (by_library && qdq_ggml_quantizer(ggml, 1, &library) != QDQ_OK) stop(argv[3], qdq_error_message());
    job j = {.maker = by_library ? &library : &lane, .lane = &lane, .format = format};
    snprintf(j.name, sizeof j.name, "%.40s", info.name);
    if (info.importance < 2) make(&j);
    snprintf(j.name, sizeof j.name, "%.40s.imatrix", info.name);
    j.weighted = true;
    make(&j);
    if (by_library) qdq_quantizer_close(&library);
    qdq_quantizer_close(&lane);
    if (ggml) qdq_ggml_close(ggml);
    return 0;
}
