/* A build tool that makes a compiled module exact, and embeds it.
 *
 *   spirv_embed embed NAME IN.spv OUT.spv OUT.c
 *
 * Every float arithmetic instruction is decorated NoContraction, not only those a `precise` would reach; minima and
 * maxima pass NaNs over; the module asks for float controls (spirv.c drops those that a device lacks); names and other
 * debug instructions are left out. OUT.spv is for spirv-val, OUT.c for the library.
 *
 *   spirv_embed prepare IN.spv OUT.spv
 *
 * For spirv-opt, which comes before: loops that do not say otherwise are to be unrolled. spirv-opt leaves float
 * arithmetic alone where a module has the capabilities of float controls, but does nothing where it names their
 * extension; so the capabilities are all that OUT.spv has of them. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/spirv.h"

typedef struct words {
    uint32_t *at;
    size_t n, room;
} words;

static void add(words *w, uint32_t word) {
    if (w->n == w->room) {
        w->room = w->room ? 2 * w->room : 4096;
        w->at = realloc(w->at, w->room * sizeof *w->at);
        if (!w->at) {
            fputs("spirv_embed: no memory\n", stderr);
            exit(1);
        }
    }
    w->at[w->n++] = word;
}

static bool read_words(const char *path, words *w) {
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    uint32_t word;
    while (fread(&word, 4, 1, file) == 1) add(w, word);
    bool good = !ferror(file) && w->n > SPIRV_HEADER_WORDS && w->at[0] == SPIRV_MAGIC;
    fclose(file);
    return good;
}

static bool is_float_arithmetic(uint32_t op) {
    switch (op) {
    case 127: /* FNegate */
    case 129: /* FAdd */
    case 131: /* FSub */
    case 133: /* FMul */
    case 136: /* FDiv */
    case 140: /* FRem */
    case 141: /* FMod */
    case 142: /* VectorTimesScalar */
    case 148: /* Dot */ return true;
    default: return false;
    }
}

/* GLSL.std.450's min, max and clamp leave NaNs open; NMin, NMax and NClamp pass them over. */
static uint32_t number_instruction(uint32_t instruction) {
    return instruction == 37 ? 79 : instruction == 40 ? 80 : instruction == 43 ? 81 : instruction;
}

static bool is_debug(uint32_t op) { return (op >= 2 && op <= 8) || op == 317 || op == 330; }

static bool is_annotation(uint32_t op) { return op == SPIRV_DECORATE || op == 72; }

static const uint32_t modes[][2] = {{SPIRV_DENORM_PRESERVE_CAPABILITY, SPIRV_DENORM_PRESERVE},
                                    {SPIRV_SIGNED_ZERO_INF_NAN_CAPABILITY, SPIRV_SIGNED_ZERO_INF_NAN_PRESERVE},
                                    {SPIRV_ROUNDING_RTE_CAPABILITY, SPIRV_ROUNDING_RTE}};
enum { N_MODES = sizeof modes / sizeof modes[0] };

static void add_extension(words *out) {
    uint32_t name[SPIRV_FLOAT_CONTROLS_WORDS] = {0};
    for (size_t i = 0; i < sizeof SPIRV_FLOAT_CONTROLS; i++)
        name[i / 4] |= (uint32_t)(unsigned char)SPIRV_FLOAT_CONTROLS[i] << (8 * (i % 4));
    add(out, (SPIRV_FLOAT_CONTROLS_WORDS + 1) << 16 | SPIRV_EXTENSION);
    for (size_t i = 0; i < SPIRV_FLOAT_CONTROLS_WORDS; i++) add(out, name[i]);
}

static bool is_mode(uint32_t word) {
    bool mode = false;
    for (int m = 0; m < N_MODES; m++) mode |= word == modes[m][0] || word == modes[m][1];
    return mode;
}

static void add_capabilities(words *out) {
    for (int m = 0; m < N_MODES; m++) {
        add(out, 2u << 16 | SPIRV_CAPABILITY);
        add(out, modes[m][0]);
    }
}

/* Decorations and capabilities that the rewritten module gets anew. */
static bool is_replaced(const uint32_t *at, uint32_t op, uint32_t length) {
    return (op == SPIRV_DECORATE && length == 3 && at[2] == SPIRV_NO_CONTRACTION) ||
           (op == SPIRV_CAPABILITY && is_mode(at[1]));
}

/* Sections come in the specification's order: capabilities, extensions, …, entry points, execution modes, debug,
 * annotations, types. */
static void rewrite(const words *in, words *out) {
    for (size_t i = 0; i < SPIRV_HEADER_WORDS; i++) add(out, in->at[i]);
    bool capable = false, extended = false, decorated = false;
    uint32_t entry = 0;
    for (size_t i = SPIRV_HEADER_WORDS; i < in->n; i += in->at[i] >> 16) {
        uint32_t op = in->at[i] & 0xffff, length = in->at[i] >> 16;
        if (length == 0 || i + length > in->n) break;
        if (is_debug(op) || is_replaced(&in->at[i], op, length)) continue;
        if (!capable) add_capabilities(out);
        capable = true;
        if (!extended && op != SPIRV_CAPABILITY) {
            add_extension(out);
            extended = true;
        }
        if (!decorated && is_annotation(op)) {
            for (size_t k = SPIRV_HEADER_WORDS; k < in->n; k += in->at[k] >> 16) {
                if (in->at[k] >> 16 == 0) break;
                if (!is_float_arithmetic(in->at[k] & 0xffff)) continue;
                add(out, 3u << 16 | SPIRV_DECORATE);
                add(out, in->at[k + 2]);
                add(out, SPIRV_NO_CONTRACTION);
            }
            decorated = true;
        }
        for (uint32_t k = 0; k < length; k++)
            add(out, op == 12 && k == 4 ? number_instruction(in->at[i + k]) : in->at[i + k]); /* ExtInst */
        if (op == 15 && entry == 0) entry = in->at[i + 2];                                    /* EntryPoint */
        if (op == 16 && entry != 0) { /* ExecutionMode, of which a kernel has one: its size */
            for (int m = 0; m < N_MODES; m++) {
                add(out, 4u << 16 | SPIRV_EXECUTION_MODE);
                add(out, entry);
                add(out, modes[m][1]);
                add(out, 32);
            }
            entry = 0;
        }
    }
}

static bool write_words(const char *path, const words *w) {
    FILE *file = fopen(path, "wb");
    if (!file) return false;
    bool good = fwrite(w->at, 4, w->n, file) == w->n;
    return fclose(file) == 0 && good;
}

static bool write_c(const char *path, const char *name, const words *w) {
    FILE *file = fopen(path, "w");
    if (!file) return false;
    fprintf(file, "#include \"backends/vulkan/spirv.h\"\n\nstatic const uint32_t code[] = {");
    for (size_t i = 0; i < w->n; i++) fprintf(file, "%s0x%x,", i % 12 == 0 ? "\n    " : " ", (unsigned)w->at[i]);
    fprintf(file, "\n};\n\nconst qdq_spirv qdq_spirv_%s = {code, sizeof code / sizeof code[0]};\n", name);
    bool good = !ferror(file);
    return fclose(file) == 0 && good;
}

static void prepare(const words *in, words *out) {
    for (size_t i = 0; i < SPIRV_HEADER_WORDS; i++) add(out, in->at[i]);
    add_capabilities(out);
    for (size_t i = SPIRV_HEADER_WORDS; i < in->n; i += in->at[i] >> 16) {
        uint32_t op = in->at[i] & 0xffff, length = in->at[i] >> 16;
        if (length == 0 || i + length > in->n) break;
        if (is_debug(op)) continue;
        for (uint32_t k = 0; k < length; k++)
            add(out, op == SPIRV_LOOP_MERGE && k == 3 && in->at[i + k] == 0 ? SPIRV_UNROLL : in->at[i + k]);
    }
}

static int fail(const char *what, const char *path) {
    fprintf(stderr, "spirv_embed: %s: %s\n", path, what);
    return 1;
}

int main(int argc, char **argv) {
    bool embeds = argc == 6 && strcmp(argv[1], "embed") == 0;
    if (!embeds && !(argc == 4 && strcmp(argv[1], "prepare") == 0)) {
        fputs("usage: spirv_embed embed NAME IN.spv OUT.spv OUT.c\n"
              "       spirv_embed prepare IN.spv OUT.spv\n",
              stderr);
        return 2;
    }
    const char *from = embeds ? argv[3] : argv[2], *to = embeds ? argv[4] : argv[3];
    words in = {0}, out = {0};
    if (!read_words(from, &in)) return fail("not a SPIR-V module", from);
    if (embeds)
        rewrite(&in, &out);
    else
        prepare(&in, &out);
    if (!write_words(to, &out)) return fail("cannot be written", to);
    if (embeds && !write_c(argv[5], argv[2], &out)) return fail("cannot be written", argv[5]);
    free(in.at);
    free(out.at);
    return 0;
}
