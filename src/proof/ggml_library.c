#include "proof/ggml_library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/format.h"
#include "base/hash.h"
#include "base/platform.h"
#include "base/platform_files.h"

/* ggml's C interface, as its public header has it: enum ggml_type is an int. */
typedef size_t quantize_chunk(int type, const float *src, void *dst, int64_t start, int64_t rows, int64_t row,
                              const float *imatrix);
typedef void dequantize_row(const void *blocks, float *y, int64_t n);

struct qdq_ggml {
    qdq_library *library;
    quantize_chunk *quantize;
    void (*init)(int type);
    void (*free)(void);
    bool (*requires_imatrix)(int type);
    const char *(*type_name)(int type);
    size_t (*type_size)(int type);
    int64_t (*block_size)(int type);
    dequantize_row **dequantize; /* by qdq_format; NULL where it has none */
    char (*lacks)[96];           /* by qdq_format; "" where nothing is lacking */
};

/* A function pointer from an object's, without the conversion that C does not define. */
static void find(qdq_library *library, const char *name, void *function) {
    void *symbol = qdq_library_symbol(library, name);
    memcpy(function, &symbol, sizeof symbol);
}

/* What tells this format apart from the one that the library has under that number, if anything does. */
static void compare_format(qdq_ggml *g, qdq_format f) {
    const qdq_format_row *row = qdq_format_get(f);
    char symbol[64], *lacks = g->lacks[f];
    const size_t size = sizeof g->lacks[f];
    snprintf(symbol, sizeof symbol, "dequantize_row_%s", row->name);
    find(g->library, symbol, &g->dequantize[f]);
    const char *name;
    if (!g->dequantize[f])
        snprintf(lacks, size, "the library has no %s", symbol);
    else if (!(name = g->type_name((int)row->ggml_type)) || strcmp(name, row->name) != 0)
        snprintf(lacks, size, "its type %u is '%.32s'", (unsigned)row->ggml_type, name ? name : "");
    else if (g->type_size((int)row->ggml_type) != row->block_bytes ||
             g->block_size((int)row->ggml_type) != (int64_t)row->block_elements)
        snprintf(lacks, size, "its blocks are %lld elements in %zu bytes",
                 (long long)g->block_size((int)row->ggml_type), g->type_size((int)row->ggml_type));
}

qdq_status qdq_ggml_open(const char *path, qdq_ggml **out) {
    *out = NULL;
    qdq_ggml *g = calloc(1, sizeof *g);
    size_t formats = (size_t)qdq_format_count();
    if (g) g->dequantize = calloc(formats, sizeof *g->dequantize);
    if (g) g->lacks = calloc(formats, sizeof *g->lacks);
    if (!g || !g->dequantize || !g->lacks) {
        qdq_ggml_close(g);
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory to load %s", path);
    }
    /* It is searched for in the system's folders by a name without a directory; a file here is meant. */
    char beside[4096];
    snprintf(beside, sizeof beside, "%s%s", qdq_path_directory(path) > 0 ? "" : "./", path);
    g->library = qdq_library_open(beside);
    if (!g->library) g->library = qdq_library_open(path);
    if (!g->library) {
        qdq_ggml_close(g);
        return qdq_fail(QDQ_IO_ERROR, "%s", qdq_library_error());
    }
    find(g->library, "ggml_quantize_chunk", &g->quantize);
    find(g->library, "ggml_quantize_init", &g->init);
    find(g->library, "ggml_quantize_free", &g->free);
    find(g->library, "ggml_quantize_requires_imatrix", &g->requires_imatrix);
    find(g->library, "ggml_type_name", &g->type_name);
    find(g->library, "ggml_type_size", &g->type_size);
    find(g->library, "ggml_blck_size", &g->block_size);
    if (!g->quantize || !g->init || !g->free || !g->requires_imatrix || !g->type_name || !g->type_size ||
        !g->block_size) {
        qdq_ggml_close(g);
        return qdq_fail(QDQ_UNSUPPORTED, "%s: it lacks ggml_quantize_chunk or what belongs to it; %s has them", path,
                        qdq_ggml_name);
    }
    for (qdq_format f = 0; f < qdq_format_count(); f++) compare_format(g, f);
    *out = g;
    return QDQ_OK;
}

void qdq_ggml_close(qdq_ggml *g) {
    if (!g) return;
    if (g->library && g->free) g->free();
    if (g->library) qdq_library_close(g->library);
    free(g->dequantize);
    free(g->lacks);
    free(g);
}

const char *qdq_ggml_lacks(const qdq_ggml *g, qdq_format format) {
    return g->lacks[format][0] ? g->lacks[format] : NULL;
}

static int type_of(qdq_format format) { return (int)qdq_format_get(format)->ggml_type; }

bool qdq_ggml_needs_importance(const qdq_ggml *g, qdq_format format) { return g->requires_imatrix(type_of(format)); }

void qdq_ggml_quantize(qdq_ggml *g, qdq_format format, const float *x, void *blocks, uint64_t n, uint64_t row,
                       const float *weights) {
    g->quantize(type_of(format), x, blocks, 0, (int64_t)(n / row), (int64_t)row, weights);
}

void qdq_ggml_dequantize(qdq_ggml *g, qdq_format format, const void *blocks, float *y, uint64_t n) {
    g->dequantize[format](blocks, y, (int64_t)n);
}

void qdq_ggml_prepare(qdq_ggml *g, qdq_format format) { g->init(type_of(format)); }

/* ---- Its revision ----------------------------------------------------------------------------------------------- */

/* Tenths with many ties: sums of them depend on the order of adding. */
void qdq_ggml_probe(float x[QDQ_PROBE]) {
    for (int i = 0; i < QDQ_PROBE; i++) x[i] = (float)((2 * i * i + 5 * i) % 41 - 20) / 10.0f;
}

qdq_ggml_revision qdq_ggml_revision_of_block(const uint8_t block[QDQ_PROBE_BYTES]) {
    uint64_t hash = qdq_hash(QDQ_HASH_OF_NOTHING, block, QDQ_PROBE_BYTES);
    if (hash == UINT64_C(0x307bc831c87f3ad2)) return QDQ_GGML_2026_08;
    return hash == UINT64_C(0x6935fc9ff38aa6cf) ? QDQ_GGML_2026_09 : QDQ_GGML_OTHER;
}
