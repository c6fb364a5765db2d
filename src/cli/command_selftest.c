/* qdq selftest: proofs on the user's own device, and of the user's own ggml. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proof/operation_proofs.h"
#include "proof/proofs.h"
#include "proof/reference.h"
#include "base/bits.h"

enum { OPTION_QUICK = QDQ_LONG_OPTION, OPTION_FULL, OPTION_GGML, OPTION_SEED, OPTION_LIMIT, OPTION_ELEMENTS };
enum { IMPORTANCE_ROW = 1024 };

static const qdq_cli_option options[] = {
    {'f', "format", "FORMAT[,FORMAT...]", QDQ_ARG_FORMAT, NULL, "only these formats; all of them by default"},
    {OPTION_QUICK, "quick", NULL, QDQ_ARG_NONE, NULL, "samples of each proof, a minute of one core in all (default)"},
    {OPTION_FULL, "full", NULL, QDQ_ARG_NONE, NULL,
     "every bit pattern: about twelve minutes of one core for each format of 32 elements, and as long for the "
     "operations"},
    {OPTION_GGML, "ggml", "FILE", QDQ_ARG_INPUT, NULL,
     "a ggml shared library (libggml-base.so) to compare block by block"},
    {OPTION_SEED, "seed", "N", QDQ_ARG_TEXT, NULL, "of the random and adversarial blocks (default 1)"},
    {OPTION_LIMIT, "limit", "SECONDS", QDQ_ARG_TEXT, NULL,
     "with --full, for a proof whose reference is the scalar lane or ggml, which may take hours: thin it out to about "
     "that long (default 60); 0 takes everything"},
    {OPTION_ELEMENTS, "elements", "N", QDQ_ARG_TEXT, NULL,
     "with --ggml: N random and N adversarial weights of each format, without and with importance, however long that "
     "takes"},
    {0},
};

static const qdq_cli_example examples[] = {
    {"A minute: does this machine give the bits that it should?", "qdq selftest"},
    {"Minutes: every one of the 2^32 scales and elements, on a GPU", "qdq selftest --full -d cuda -f q4_0,q8_0"},
    {"Is this build of llama.cpp byte for byte the reference?",
     "qdq selftest --ggml ~/llama.cpp/build/bin/libggml-base.so"},
    {"The same on a thousand million weights of each kind: hours",
     "qdq selftest --ggml libggml-base.so --elements 1000000000"},
    {0},
};

/* ---- State ----------------------------------------------------------------------------------------------------- */

typedef struct selftest {
    qdq_common common;
    bool full;
    uint64_t seed;
    double limit;
    uint64_t elements; /* weights of each kind beside ggml; 0: as many as the time allows */
    int workers;
    bool subject_is_scalar; /* the device is the scalar lane itself */
    qdq_quantizer subject, scalar, reference, from_f16, from_bf16;
    float weights[IMPORTANCE_ROW]; /* an importance matrix's row, all of it positive */
    qdq_format formats[QDQ_MAX_FORMATS];
    uint32_t n_formats;
    json_t *proofs, *ggml_rows;
    const char *ggml_revision;             /* NULL: not known */
    uint64_t blocks, failed;               /* blocks compared; proofs with a difference */
    uint64_t format_blocks, format_proofs; /* of this format, without a difference */
    uint64_t done, total;                  /* bytes of the proof under way */
} selftest;

/* "4,294,967,296", good for the next seven calls. */
static const char *count(uint64_t n) {
    static char texts[8][32];
    static unsigned turn;
    char digits[32], *text = texts[turn++ % 8], *out = text;
    int length = snprintf(digits, sizeof digits, "%" PRIu64, n);
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return text;
}

static const char *name_of(qdq_format format) { return qdq_format_facts(format).name; }

static void begin_progress(selftest *s, const char *what, uint64_t total) {
    s->done = 0;
    s->total = total;
    qdq_progress_begin(what, s->common.quiet);
}

static bool progress(void *context, uint64_t elements) {
    selftest *s = context;
    s->done += elements * 4;
    qdq_progress_show(s->done, s->total);
    return true;
}

/* ---- Saying what came out -------------------------------------------------------------------------------------- */

static void print_bytes(const char *what, const uint8_t *bytes, uint32_t n) {
    printf("      %-16s", what);
    for (uint32_t i = 0; i < n; i++) {
        if (i && i % 32 == 0) printf("\n%22s", "");
        printf("%02x", bytes[i]);
    }
    printf("\n");
}

static void print_floats(const char *what, const float *x, uint32_t n) {
    printf("      %-16s", what);
    for (uint32_t i = 0; i < n; i++) {
        if (i && i % 8 == 0) printf("\n%22s", "");
        printf("%08" PRIx32 "%s", bits_of(x[i]), i % 8 == 7 || i + 1 == n ? "" : " ");
    }
    printf("\n");
}

static void print_difference(const qdq_verdict *v, bool packed) {
    if (packed) {
        print_bytes("packed block", v->got_block, v->n_bytes);
    } else {
        print_floats("input", v->input, v->n_elements);
        print_bytes("packed", v->got_block, v->n_bytes);
        print_bytes("expected", v->expected_block, v->n_bytes);
    }
    print_floats("values", v->got, v->n_elements);
    print_floats("expected", v->expected, v->n_elements);
}

static json_t *json_bytes(const uint8_t *bytes, uint32_t n) {
    char text[2 * QDQ_PROOF_MAX_BYTES + 1] = "";
    for (uint32_t i = 0; i < n; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return json_string(text);
}

static json_t *json_floats(const float *x, uint32_t n) {
    char text[9 * QDQ_PROOF_MAX_BLOCK + 1] = "";
    for (uint32_t i = 0; i < n; i++) snprintf(text + 9 * i, 10, "%08" PRIx32 " ", bits_of(x[i]));
    if (n) text[9 * n - 1] = '\0';
    return json_string(text);
}

static json_t *json_difference(const qdq_verdict *v, bool packed) {
    json_t *o = json_pack("{s:I}", "block", (json_int_t)v->first);
    if (!packed) {
        json_object_set_new(o, "input", json_floats(v->input, v->n_elements));
        json_object_set_new(o, "expected_packed", json_bytes(v->expected_block, v->n_bytes));
    }
    json_object_set_new(o, "packed", json_bytes(v->got_block, v->n_bytes));
    json_object_set_new(o, "values", json_floats(v->got, v->n_elements));
    json_object_set_new(o, "expected_values", json_floats(v->expected, v->n_elements));
    return o;
}

static const char *verdict_word(bool passed) {
    if (!qdq_coloured(stdout)) return passed ? "ok  " : "FAIL";
    return passed ? "\033[32mok\033[0m  " : "\033[1;31mFAIL\033[0m";
}

static void report(selftest *s, const char *format, const char *what, const char *against, const qdq_verdict *v,
                   bool packed) {
    bool passed = v->differing == 0;
    s->blocks += v->blocks;
    s->failed += !passed;
    if (passed) {
        s->format_blocks += v->blocks;
        s->format_proofs++;
    }
    if (qdq_common_tables(&s->common) && (s->full || !passed)) {
        printf("%s  %-8s %s: %s blocks, ", verdict_word(passed), format, what, count(v->blocks));
        if (passed)
            printf("all equal to %s\n", against);
        else
            printf("%s differ from %s; the first is block %s\n", count(v->differing), against, count(v->first));
        if (!passed) print_difference(v, packed);
        fflush(stdout);
    }
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "format", format, "proof", what, "against", against, "blocks",
                  (json_int_t)v->blocks, "elements", (json_int_t)v->elements, "differing", (json_int_t)v->differing);
    if (!passed) json_object_set_new(o, "first", json_difference(v, packed));
    json_array_append_new(s->proofs, o);
}

static void say(selftest *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(selftest *s, const char *format, ...) {
    if (!qdq_common_tables(&s->common)) return;
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
}

/* ---- How much -------------------------------------------------------------------------------------------------- */

/* What inputs give with that stride, or that many blocks. */
static qdq_inputs thinned(const qdq_inputs *inputs, double factor) {
    qdq_inputs less = *inputs;
    if (factor <= 1.0) return less;
    if (inputs->stride == 0) {
        less.blocks = (uint64_t)((double)inputs->blocks / factor) + 1;
        return less;
    }
    less.stride = inputs->stride * (uint64_t)(factor + 1.0) | 1; /* odd: it visits no pattern twice */
    less.blocks = inputs->blocks / (less.stride / inputs->stride) + 1;
    return less;
}

/* Thins the inputs out to about so many seconds, by a trial of a few batches. */
static qdq_status fit_time(selftest *s, qdq_proof *p, const qdq_quantizer *subject, const qdq_quantizer *reference,
                           double seconds) {
    qdq_proof trial = *p;
    qdq_verdict *v = malloc(sizeof *v);
    if (!v) return QDQ_OUT_OF_MEMORY;
    uint64_t some = 128 * (uint64_t)s->workers;
    if (p->row) some = (some * qdq_format_facts(p->format).block_elements + p->row - 1) / p->row;
    trial.inputs = thinned(&p->inputs, (double)p->inputs.blocks / (double)some);
    double start = qdq_seconds();
    qdq_status status = qdq_prove(&trial, subject, reference, s->workers, NULL, NULL, v);
    double factor = (qdq_seconds() - start) / (double)trial.inputs.blocks * (double)p->inputs.blocks / seconds;
    free(v);
    if (status == QDQ_OK && factor > 1.0) p->inputs = thinned(&p->inputs, factor);
    return status;
}

static qdq_status prove(selftest *s, const qdq_proof *p, const qdq_quantizer *subject, const qdq_quantizer *reference,
                        const char *what, qdq_verdict *v) {
    char line[256];
    snprintf(line, sizeof line, "%s %s", name_of(p->format), what);
    uint64_t elements = p->row ? p->row : qdq_format_facts(p->format).block_elements;
    begin_progress(s, line, p->inputs.blocks * elements * 4);
    qdq_status status = qdq_prove(p, subject, reference, s->workers, progress, s, v);
    qdq_progress_end();
    return status;
}

/* ---- The device's proofs --------------------------------------------------------------------------------------- */

typedef enum family { SCALES, ELEMENTS, WORDS, RANDOM, ADVERSARIAL, HALVES, BFLOATS } family;

/* "each of the 4,294,967,296 …" or "every 4,099th of the …". */
static void name_share(uint64_t stride, const char *of, char *text, size_t size) {
    if (stride == 1)
        snprintf(text, size, "each of the %s", of);
    else
        snprintf(text, size, "one in %s of the %s", count(stride), of);
}

static void name_proof(family kind, const qdq_inputs *inputs, char *text, size_t size) {
    char share[128];
    name_share(inputs->stride, kind == WORDS ? "values of each 16-bit word of a packed block" : "2^32 binary32 numbers",
               share, sizeof share);
    float extreme;
    memcpy(&extreme, &inputs->extreme, 4);
    switch (kind) {
    case SCALES: snprintf(text, size, "%s as the extreme of a block", share); break;
    case ELEMENTS: snprintf(text, size, "%s beside %g", share, (double)extreme); break;
    case WORDS: snprintf(text, size, "%s, decoded", share); break;
    case RANDOM: snprintf(text, size, "random weights"); break;
    case ADVERSARIAL: snprintf(text, size, "adversarial weights"); break;
    case HALVES: snprintf(text, size, "each binary16 number as the source"); break;
    case BFLOATS: snprintf(text, size, "each bfloat16 number as the source"); break;
    }
}

static qdq_inputs inputs_of(selftest *s, family kind, qdq_format_info info, uint32_t extreme, bool plain) {
    bool whole = s->full || !plain; /* what has no plain C is thinned out by time */
    switch (kind) {
    case SCALES: return qdq_inputs_scales(whole ? 1 : 4099);
    case ELEMENTS: return qdq_inputs_elements(extreme, info.block_elements, whole ? 1 : 1021);
    case WORDS: return qdq_inputs_words(s->seed, info.block_bytes, whole ? 1 : 5);
    case RANDOM: return qdq_inputs_random(s->seed, s->full ? 1 << 22 : 1 << 16);
    case ADVERSARIAL: return qdq_inputs_adversarial(s->seed, s->full ? 1 << 22 : 1 << 16);
    case HALVES: return qdq_inputs_halves();
    default: return qdq_inputs_bfloats();
    }
}

static qdq_status prove_family(selftest *s, qdq_format format, family kind, uint32_t extreme,
                               const qdq_quantizer *reference, bool plain) {
    const qdq_quantizer *subject = kind == HALVES ? &s->from_f16 : kind == BFLOATS ? &s->from_bf16 : &s->subject;
    qdq_proof p = {.format = format, .inputs = inputs_of(s, kind, qdq_format_facts(format), extreme, plain)};
    qdq_verdict *v = malloc(sizeof *v);
    if (!v) return QDQ_OUT_OF_MEMORY;
    qdq_status status = QDQ_OK;
    if (!plain && (!s->full || s->limit > 0)) status = fit_time(s, &p, subject, reference, s->full ? s->limit : 0.05);
    char what[192];
    name_proof(kind, &p.inputs, what, sizeof what);
    if (status == QDQ_OK) status = prove(s, &p, subject, reference, what, v);
    if (status == QDQ_OK) report(s, name_of(format), what, reference->name, v, p.inputs.packed);
    free(v);
    return status;
}

/* 1; -8 and 127, which make the inverse scale 1 in Q4_0 and Q8_0; the largest number. */
static const uint32_t extremes[] = {0x3f800000u, 0xc1000000u, 0x42fe0000u, 0xff7fffffu};

static qdq_status run_families(selftest *s, qdq_format format, const qdq_quantizer *reference, bool plain) {
    qdq_status status = prove_family(s, format, SCALES, 0, reference, plain);
    size_t sweeps = plain ? sizeof extremes / sizeof extremes[0] : 2;
    for (size_t e = 0; e < sweeps && status == QDQ_OK; e++)
        status = prove_family(s, format, ELEMENTS, extremes[e], reference, plain);
    for (family k = WORDS; k <= BFLOATS && status == QDQ_OK; k++)
        status = prove_family(s, format, k, 0, reference, plain);
    if (plain && !s->subject_is_scalar) {
        if (status == QDQ_OK) status = prove_family(s, format, RANDOM, 0, &s->scalar, plain);
        if (status == QDQ_OK) status = prove_family(s, format, ADVERSARIAL, 0, &s->scalar, plain);
    }
    return status;
}

/* The fit that an importance matrix steers, on rows of one kind each. */
static qdq_status prove_weighted(selftest *s, qdq_format format, bool adversarial) {
    uint64_t rows = (s->full ? 1 << 22 : 1 << 16) / (IMPORTANCE_ROW / 32);
    qdq_proof p = {.format = format,
                   .inputs = adversarial ? qdq_inputs_adversarial(s->seed, rows) : qdq_inputs_random(s->seed, rows),
                   .weights = s->weights,
                   .row = IMPORTANCE_ROW};
    qdq_verdict *v = malloc(sizeof *v);
    if (!v) return QDQ_OUT_OF_MEMORY;
    const char *what = adversarial ? "adversarial weights with importance" : "random weights with importance";
    qdq_status status = QDQ_OK;
    if (!s->full || s->limit > 0) status = fit_time(s, &p, &s->subject, &s->scalar, s->full ? s->limit : 0.05);
    if (status == QDQ_OK) status = prove(s, &p, &s->subject, &s->scalar, what, v);
    if (status == QDQ_OK) report(s, name_of(format), what, s->scalar.name, v, false);
    free(v);
    return status;
}

static qdq_status prove_format(selftest *s, qdq_format format) {
    bool plain = qdq_reference_of(name_of(format)) != NULL;
    uint32_t importance = qdq_format_facts(format).importance;
    if (!plain && s->subject_is_scalar) {
        say(s, "--    %-8s this device is the scalar lane, which other devices are held against\n", name_of(format));
        return QDQ_OK;
    }
    s->format_blocks = s->format_proofs = 0;
    qdq_status status = QDQ_OK;
    if (importance < 2) status = run_families(s, format, plain ? &s->reference : &s->scalar, plain);
    for (int adversarial = 0; adversarial < 2 && importance > 0 && !s->subject_is_scalar; adversarial++)
        if (status == QDQ_OK) status = prove_weighted(s, format, adversarial);
    if (!s->full && s->format_proofs)
        say(s, "%s  %-8s %s blocks in %s proofs, all equal to %s\n", verdict_word(true), name_of(format),
            count(s->format_blocks), count(s->format_proofs),
            !plain                 ? "the scalar lane"
            : s->subject_is_scalar ? "plain C"
                                   : "plain C and to the scalar lane");
    return status;
}

static qdq_status prove_sums(selftest *s) {
    char difference[256];
    uint64_t compared;
    qdq_format formats[QDQ_MAX_FORMATS];
    uint32_t n = 0;
    for (uint32_t f = 0; f < s->n_formats; f++)
        if (qdq_format_facts(s->formats[f]).importance < 2) formats[n++] = s->formats[f];
    if (n == 0) return QDQ_OK;
    qdq_status status =
        qdq_prove_sums(s->common.device, s->seed, formats, n, s->full ? 300 : 30, &compared, difference);
    if (status != QDQ_OK) return status;
    s->failed += difference[0] != '\0';
    say(s, "%s  %-8s error and sensitivity of random tensors: %s sums, %s\n", verdict_word(!difference[0]), "sums",
        count(compared), difference[0] ? difference : "all equal to the scalar lane's");
    json_array_append_new(s->proofs, json_pack("{s:s, s:s, s:I, s:s}", "proof", "sums", "against", s->scalar.name,
                                               "compared", (json_int_t)compared, "difference", difference));
    return QDQ_OK;
}

/* The dialect's operations, one by one, where the device offers them. */
static qdq_status prove_operations(selftest *s) {
    qdq_device *device;
    uint64_t stride = s->full ? 1 : 65537, pairs = 0;
    qdq_status status = qdq_device_open_threads(s->common.device, 1, &device);
    if (status != QDQ_OK) return status;
    unsigned proved = 0;
    for (unsigned o = 0; o < QDQ_DIALECT_OPERATION_COUNT && status == QDQ_OK; o++) {
        qdq_dialect_operation operation = (qdq_dialect_operation)o;
        const char *name = qdq_operation_name(operation);
        qdq_operation_verdict v;
        begin_progress(s, name, qdq_operation_pairs(operation, stride) * 4);
        status = qdq_prove_operation(device, operation, stride, s->workers, progress, s, &v);
        qdq_progress_end();
        if (status != QDQ_OK) break;
        pairs += v.compared;
        proved += v.differing == 0;
        s->failed += v.differing != 0;
        json_t *row = json_pack("{s:s, s:s, s:I, s:I}", "proof", "operation", "operation", name, "compared",
                                (json_int_t)v.compared, "differing", (json_int_t)v.differing);
        if (v.differing) {
            char text[96];
            snprintf(text, sizeof text, "of %08" PRIx32 " and %08" PRIx32 ": %08" PRIx32 ", expected %08" PRIx32, v.a,
                     v.b, v.got, v.expected);
            say(s, "%s  dialect  %s %s\n", verdict_word(false), name, text);
            json_object_set_new(row, "first", json_string(text));
        } else if (s->full) {
            say(s, "%s  dialect  %s: %s operands, all equal to binary64 rounded once\n", verdict_word(true), name,
                count(v.compared));
        }
        json_array_append_new(s->proofs, row);
    }
    qdq_device_close(device);
    if (status == QDQ_UNSUPPORTED) {
        say(s, "--    dialect  %s\n", qdq_error_message());
        return QDQ_OK;
    }
    if (status == QDQ_OK && !s->full && proved == QDQ_DIALECT_OPERATION_COUNT)
        say(s,
            "%s  dialect  %u operations (division, square root, binary16, rounding, …), %s operands, all equal to "
            "plain C\n",
            verdict_word(true), proved, count(pairs));
    return status;
}

/* ---- A ggml's -------------------------------------------------------------------------------------------------- */

typedef struct ggml_report {
    selftest *s;
    qdq_quantizer quantizer;
    qdq_table *table;
    qdq_ggml_revision revision;
    uint64_t differing, q4_0_differing, q4_0_fused;
} ggml_report;

static void add_ggml_row(ggml_report *r, qdq_format format, const char *what, bool weighted, const qdq_verdict *v) {
    qdq_table_cell(r->table, "%s", name_of(format));
    qdq_table_cell(r->table, "%s", what);
    qdq_table_cell(r->table, "%s", weighted ? "yes" : "no");
    qdq_table_cell(r->table, "%s", count(v->blocks));
    qdq_table_cell(r->table, "%s", count(v->differing));
    qdq_table_cell(r->table, "%s", v->undefined ? count(v->undefined) : "");
    if (v->undefined_failure[0])
        qdq_table_cell(r->table, "%s", v->undefined_failure);
    else
        qdq_table_cell(r->table, "%s", v->undefined ? count(v->undefined_differing) : "");
    json_t *o =
        json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:I}", "format", name_of(format), "proof", what, "importance",
                  weighted, "blocks", (json_int_t)v->blocks, "differing", (json_int_t)v->differing, "undefined_in_c",
                  (json_int_t)v->undefined, "undefined_in_c_differing", (json_int_t)v->undefined_differing);
    if (v->undefined_failure[0]) json_object_set_new(o, "undefined_in_c_failure", json_string(v->undefined_failure));
    if (v->differing) json_object_set_new(o, "first", json_difference(v, strcmp(what, "decoded") == 0));
    json_array_append_new(r->s->ggml_rows, o);
}

static qdq_status compare_with_ggml(ggml_report *r, qdq_format format, const char *what, qdq_inputs inputs,
                                    const float *weights) {
    selftest *s = r->s;
    qdq_proof p = {.format = format,
                   .inputs = inputs,
                   .weights = weights,
                   .row = weights ? IMPORTANCE_ROW : 0,
                   .against_ggml = true,
                   .count_all = true};
    qdq_verdict *v = malloc(sizeof *v);
    if (!v) return QDQ_OUT_OF_MEMORY;
    qdq_status status = QDQ_OK;
    if ((!s->full || s->limit > 0) && (inputs.packed || s->elements == 0))
        status = fit_time(s, &p, &s->subject, &r->quantizer, s->full ? s->limit : 0.3);
    if (status == QDQ_OK) status = prove(s, &p, &s->subject, &r->quantizer, what, v);
    if (status == QDQ_OK) {
        add_ggml_row(r, format, what, weights != NULL, v);
        s->blocks += v->blocks;
        s->failed += v->differing != 0;
        r->differing += v->differing;
        if (strcmp(name_of(format), "q4_0") == 0 && !weights) {
            r->q4_0_differing += v->differing;
            r->q4_0_fused += v->fused;
        }
        if (v->differing && qdq_common_tables(&s->common)) {
            printf("%s  %-8s %s%s: block %s differs from the ggml library's\n", verdict_word(false), name_of(format),
                   what, weights ? " with importance" : "", count(v->first));
            print_difference(v, inputs.packed);
        }
    }
    free(v);
    return status;
}

/* How many blocks, or rows, of so many elements. */
static uint64_t beside_ggml(const selftest *s, uint64_t unit) {
    return s->elements ? (s->elements + unit - 1) / unit : s->full ? 1 << 22 : 1 << 16;
}

static const char *revision_name(qdq_ggml_revision revision) {
    return revision == QDQ_GGML_2026_08 ? "2026-08" : revision == QDQ_GGML_2026_09 ? "2026-09" : NULL;
}

/* An earlier revision packs iq1_m into other bytes, rightly. */
static bool is_packed_otherwise(const ggml_report *r, qdq_format format) {
    return r->revision == QDQ_GGML_2026_08 && format == qdq_format_by_name("iq1_m");
}

static qdq_status compare_packing(ggml_report *r, qdq_ggml *ggml, qdq_format format) {
    selftest *s = r->s;
    uint64_t blocks = beside_ggml(s, qdq_format_facts(format).block_elements);
    qdq_inputs random = qdq_inputs_random(s->seed, blocks), adversarial = qdq_inputs_adversarial(s->seed, blocks);
    uint64_t n_rows = beside_ggml(s, IMPORTANCE_ROW);
    qdq_inputs rows = qdq_inputs_random(s->seed, n_rows), adversarial_rows = qdq_inputs_adversarial(s->seed, n_rows);
    uint32_t importance = qdq_format_facts(format).importance;
    qdq_status status = QDQ_OK;
    if (importance < 2 && !qdq_ggml_needs_importance(ggml, format)) {
        status = compare_with_ggml(r, format, "random", random, NULL);
        if (status == QDQ_OK) status = compare_with_ggml(r, format, "adversarial", adversarial, NULL);
    }
    if (importance > 0 || qdq_ggml_needs_importance(ggml, format)) { /* of rows, each of one kind */
        if (status == QDQ_OK) status = compare_with_ggml(r, format, "random", rows, s->weights);
        if (status == QDQ_OK) status = compare_with_ggml(r, format, "adversarial", adversarial_rows, s->weights);
    }
    return status;
}

static qdq_status compare_format(ggml_report *r, qdq_ggml *ggml, qdq_format format) {
    selftest *s = r->s;
    const char *lacks = qdq_ggml_lacks(ggml, format);
    if (lacks) {
        say(s, "--    %-8s %s\n", name_of(format), lacks);
        json_array_append_new(s->ggml_rows, json_pack("{s:s, s:s}", "format", name_of(format), "lacks", lacks));
        return QDQ_OK;
    }
    qdq_status status = QDQ_OK;
    if (is_packed_otherwise(r, format))
        say(s,
            "--    %-8s the library's search is that of 2026-08, before llama.cpp #28706; this one's is that of "
            "2026-09: only decoding is compared\n",
            name_of(format));
    else
        status = compare_packing(r, ggml, format);
    if (status == QDQ_UNSUPPORTED) {
        say(s, "--    %-8s %s\n", name_of(format), qdq_error_message());
        status = QDQ_OK;
    }
    if (status == QDQ_OK)
        status = compare_with_ggml(r, format, "decoded",
                                   qdq_inputs_words(s->seed, qdq_format_facts(format).block_bytes, 1), NULL);
    return status;
}

/* What has been shown: samples prove nothing. */
static const char *verdict(const selftest *s) {
    if (s->failed) return "FAILED";
    if (!s->full) return "Held on samples";
    return s->limit > 0 ? "Proved, but for what --limit thinned out" : "Proved";
}

static void explain(const ggml_report *r) {
    if (r->q4_0_differing && r->q4_0_fused == r->q4_0_differing)
        say(r->s, "Every q4_0 block that differs has the bytes of one rounding for x * id + 8.5: this library was "
                  "compiled with fused multiply-add (as on AArch64 or with -march=native), and -ffp-contract=off "
                  "gives the reference's bytes.\n");
    else if (r->differing)
        say(r->s, "Where a few blocks in a thousand differ, in q4_0, q5_0 or K-quants above all, the library was "
                  "most likely compiled with fused multiply-add (as on AArch64 or with -march=native); "
                  "-ffp-contract=off gives the reference's bytes.\n");
}

static qdq_status compare_ggml(selftest *s, const char *path) {
    qdq_ggml *ggml;
    qdq_status status = qdq_ggml_open(path, &ggml);
    if (status != QDQ_OK) return status;
    ggml_report r = {.s = s, .revision = qdq_ggml_revision_of_library(ggml)};
    s->ggml_revision = revision_name(r.revision);
    if (s->ggml_revision) say(s, "The library's bytes are those of the reference's revision %s.\n", s->ggml_revision);
    status = qdq_ggml_quantizer(ggml, s->workers, &r.quantizer);
    if (qdq_common_tables(&s->common))
        r.table = qdq_table_create("format|inputs|imatrix|>blocks|>differ|>undefined in C|>differ there");
    for (uint32_t f = 0; f < s->n_formats && status == QDQ_OK; f++) status = compare_format(&r, ggml, s->formats[f]);
    if (status == QDQ_OK && r.table) {
        printf("\n");
        status = qdq_table_print(r.table);
        r.table = NULL;
        explain(&r);
    }
    qdq_table_free(r.table);
    qdq_quantizer_close(&r.quantizer);
    qdq_ggml_close(ggml);
    return status;
}

/* ---- The command ----------------------------------------------------------------------------------------------- */

static qdq_status open_quantizers(selftest *s) {
    qdq_inputs bells = qdq_inputs_random(s->seed, 1);
    bells.fill(&bells, 0, s->weights, IMPORTANCE_ROW);
    for (int i = 0; i < IMPORTANCE_ROW; i++) s->weights[i] = s->weights[i] * s->weights[i] + 0x1p-20f;
    s->workers = s->common.threads ? s->common.threads : qdq_online_cores();
    s->reference = qdq_reference_quantizer();
    qdq_status status = qdq_device_quantizer(s->common.device, QDQ_F32, s->workers, &s->subject);
    if (status == QDQ_OK) status = qdq_device_quantizer(s->common.device, QDQ_F16, s->workers, &s->from_f16);
    if (status == QDQ_OK) status = qdq_device_quantizer(s->common.device, QDQ_BF16, s->workers, &s->from_bf16);
    if (status == QDQ_OK) status = qdq_scalar_quantizer(s->workers, &s->scalar);
    return status;
}

static qdq_status describe_device(selftest *s, qdq_device_info *info) {
    qdq_device *device;
    qdq_status status = qdq_device_open_threads(s->common.device, s->workers, &device);
    if (status != QDQ_OK) return status;
    *info = (qdq_device_info){.size = sizeof *info};
    status = qdq_device_describe(device, info);
    qdq_device_close(device);
    s->subject_is_scalar = strcmp(info->name, "cpu") == 0 && strcmp(qdq_cpu_tier(), "c") == 0;
    return status;
}

static qdq_status run(selftest *s, const char *ggml) {
    qdq_device_info info;
    qdq_status status = open_quantizers(s);
    if (status == QDQ_OK) status = describe_device(s, &info);
    if (status != QDQ_OK) return status;
    qdq_json_file file;
    status = qdq_json_open(s->common.json, &file);
    if (status != QDQ_OK) return status;
    s->proofs = json_array();
    s->ggml_rows = json_array();
    double start = qdq_seconds();
    say(s, "%s proofs on %s (%s), seed %" PRIu64 ".\n", s->full ? "Full" : "Quick", info.name, info.description,
        s->seed);
    if (!s->full)
        say(s, "A format's proofs are samples: extremes of a block and elements beside several extremes, from all 2^32 "
               "binary32 numbers; each 16-bit word of packed blocks, decoded; random and adversarial weights, with an "
               "importance matrix too; all binary16 and bfloat16 numbers as the source. --full leaves nothing out.\n");
    status = prove_operations(s);
    for (uint32_t f = 0; f < s->n_formats && status == QDQ_OK; f++) status = prove_format(s, s->formats[f]);
    if (status == QDQ_OK) status = prove_sums(s);
    if (status == QDQ_OK && ggml) status = compare_ggml(s, ggml);
    if (status == QDQ_OK)
        say(s, "%s: %s blocks compared in %.0f s; %s.\n", verdict(s), count(s->blocks), qdq_seconds() - start,
            s->failed ? "what differs is named above" : "none differs");
    if (status != QDQ_OK) {
        qdq_json_abort(&file);
        json_decref(s->proofs);
        json_decref(s->ggml_rows);
        return status;
    }
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:b, s:I, s:o}", "schema", "qdq.selftest/1", "device", info.name,
                  "description", info.description, "mode", s->full ? "full" : "quick", "seed", (json_int_t)s->seed,
                  "passed", s->failed == 0, "blocks", (json_int_t)s->blocks, "proofs", s->proofs);
    if (ggml) {
        json_object_set_new(root, "ggml", s->ggml_rows);
        json_object_set_new(root, "ggml_revision", s->ggml_revision ? json_string(s->ggml_revision) : json_null());
    } else
        json_decref(s->ggml_rows);
    return qdq_json_write(&file, root);
}

int qdq_command_selftest(int argc, char **argv) {
    selftest s = {.seed = 1, .limit = 60};
    qdq_parser parser;
    const char *ggml = NULL, *names = NULL;
    long long number;
    qdq_parse_begin(&parser, &qdq_cli_selftest, &s.common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        switch (o) {
        case QDQ_PARSE_EXIT: return parser.status;
        case 'f': names = parser.value; break;
        case OPTION_QUICK: s.full = false; break;
        case OPTION_FULL: s.full = true; break;
        case OPTION_GGML: ggml = parser.value; break;
        case OPTION_SEED:
            if (!qdq_parse_integer(parser.value, 0, INT64_MAX, &number))
                return qdq_usage_error(&parser, "--seed: '%s' is no whole number from 0", parser.value);
            s.seed = (uint64_t)number;
            break;
        case OPTION_LIMIT:
            if (!qdq_parse_integer(parser.value, 0, 1000000, &number))
                return qdq_usage_error(&parser, "--limit: '%s' is no number of seconds", parser.value);
            s.limit = (double)number;
            break;
        case OPTION_ELEMENTS:
            if (!qdq_parse_integer(parser.value, 1, INT64_C(1) << 40, &number))
                return qdq_usage_error(&parser, "--elements: '%s' is no whole number from 1 to 2^40", parser.value);
            s.elements = (uint64_t)number;
            break;
        }
    }
    if (parser.n_operands) return qdq_usage_error(&parser, "unexpected operand '%s'", parser.operands[0]);
    if (s.elements && !ggml) return qdq_usage_error(&parser, "--elements goes with --ggml");
    if (qdq_list_formats(names, QDQ_LIST_WEIGHTED, s.formats, &s.n_formats) != QDQ_OK)
        return qdq_usage_error(&parser, "%s", qdq_error_message());
    qdq_status status = run(&s, ggml);
    qdq_quantizer_close(&s.subject);
    qdq_quantizer_close(&s.from_f16);
    qdq_quantizer_close(&s.from_bf16);
    qdq_quantizer_close(&s.scalar);
    if (status != QDQ_OK) return qdq_exit_failure(status);
    return s.failed ? QDQ_EXIT_FAILED : QDQ_EXIT_OK;
}

const qdq_cli_command qdq_cli_selftest = {
    .name = "selftest",
    .summary = "prove that a device, or a ggml library, gives the reference's bits",
    .operands = "",
    .text =
        "Holds the device against a plain C reading of the five formats of 32 elements and against the scalar lane, "
        "bit for bit: packed blocks, values, decoding, sums. The quick proofs take samples. The full "
        "ones take each of the 2^32 binary32 numbers as the extreme of a block and as an element beside several "
        "extremes.\n\n"
        "With --ggml the library's ggml_quantize_chunk and dequantize_row functions, run in a child process, are "
        "held against the device on the same blocks. Blocks on which ggml's C is undefined (not finite, or so "
        "small that an inverse scale overflows) are compared apart and not counted as failures.\n\n"
        "The first differing block is printed: input, packed bytes and values in hexadecimal. The exit status is "
        "then 1.",
    .options = options,
    .takes = QDQ_TAKES_DEVICE | QDQ_TAKES_THREADS | QDQ_TAKES_JSON | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_selftest,
};
