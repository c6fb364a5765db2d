/* qdq selftest: proofs on the user's own device, and of the user's own ggml. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

enum { OPTION_QUICK = QDQ_LONG_OPTION, OPTION_FULL, OPTION_GGML, OPTION_SEED, OPTION_LIMIT, OPTION_ELEMENTS };

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
    qdq_proof_options wish;
    qdq_format formats[QDQ_MAX_FORMATS];
    double limit;
    char line[256]; /* the proof whose progress is shown; "": none */
    json_t *proofs, *ggml_rows;
    uint64_t blocks, failed; /* blocks compared; proofs with a difference */
    /* Proofs without a difference that are not told yet: of the operations, or of a format. */
    qdq_proof_kind kind;
    qdq_format format;
    uint64_t n, compared;
    bool plain, scalar; /* against which */
    /* Beside a ggml. */
    qdq_ggml_info ggml;
    qdq_table *table;
    uint64_t differing;
    char changed[512]; /* formats of which more than rounding differs */
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

static void say(selftest *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(selftest *s, const char *format, ...) {
    if (!qdq_common_tables(&s->common)) return;
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
}

/* ---- Bits ------------------------------------------------------------------------------------------------------ */

static uint32_t bits_of(const float *x) {
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    return bits;
}

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
        printf("%08" PRIx32 "%s", bits_of(&x[i]), i % 8 == 7 || i + 1 == n ? "" : " ");
    }
    printf("\n");
}

static void print_difference(const qdq_proof *p) {
    if (p->kind == QDQ_PROOF_DECODING) {
        print_bytes("packed block", p->packed, p->block_bytes);
    } else {
        print_floats("input", p->input, p->block_elements);
        print_bytes("packed", p->packed, p->block_bytes);
        print_bytes("expected", p->expected_packed, p->block_bytes);
    }
    print_floats("values", p->values, p->block_elements);
    print_floats("expected", p->expected_values, p->block_elements);
}

static json_t *json_bytes(const uint8_t *bytes, uint32_t n) {
    char text[1025] = "";
    for (uint32_t i = 0; i < n && i < 512; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return json_string(text);
}

static json_t *json_floats(const float *x, uint32_t n) {
    char text[9 * 256 + 1] = "";
    for (uint32_t i = 0; i < n && i < 256; i++)
        snprintf(text + 9 * i, 10, "%08" PRIx32 "%s", bits_of(&x[i]), i + 1 < n ? " " : "");
    return json_string(text);
}

static json_t *json_difference(const qdq_proof *p) {
    json_t *o = json_pack("{s:I}", "block", (json_int_t)p->block);
    if (p->kind == QDQ_PROOF_PACKING) {
        json_object_set_new(o, "input", json_floats(p->input, p->block_elements));
        json_object_set_new(o, "expected_packed", json_bytes(p->expected_packed, p->block_bytes));
    }
    json_object_set_new(o, "packed", json_bytes(p->packed, p->block_bytes));
    json_object_set_new(o, "values", json_floats(p->values, p->block_elements));
    json_object_set_new(o, "expected_values", json_floats(p->expected_values, p->block_elements));
    return o;
}

/* ---- Saying what came out -------------------------------------------------------------------------------------- */

static bool progress(void *context, const char *proof, uint64_t done, uint64_t total) {
    selftest *s = context;
    if (strcmp(s->line, proof) != 0) {
        snprintf(s->line, sizeof s->line, "%s", proof);
        qdq_progress_begin(s->line, s->common.quiet);
    }
    qdq_progress_show(4 * done, 4 * total);
    return true;
}

static const char *verdict_word(bool passed) {
    if (!qdq_coloured(stdout)) return passed ? "ok  " : "FAIL";
    return passed ? "\033[32mok\033[0m  " : "\033[1;31mFAIL\033[0m";
}

/* The line of what was proved of a format, or of the operations, once there is no more to come. */
static void tell_pending(selftest *s) {
    if (s->n > 0 && !s->wish.full && s->kind == QDQ_PROOF_OPERATION)
        say(s,
            "%s  dialect  %s operations (division, square root, binary16, rounding, …), %s operands, all equal to "
            "plain C\n",
            verdict_word(true), count(s->n), count(s->compared));
    else if (s->n > 0 && !s->wish.full)
        say(s, "%s  %-8s %s blocks in %s proofs, all equal to %s\n", verdict_word(true), qdq_format_name(s->format),
            count(s->compared), count(s->n),
            !s->plain    ? "the scalar lane"
            : !s->scalar ? "plain C"
                         : "plain C and to the scalar lane");
    s->n = s->compared = 0;
    s->plain = s->scalar = false;
}

static void keep_pending(selftest *s, const qdq_proof *p) {
    s->kind = p->kind;
    s->format = p->format;
    s->n++;
    s->compared += p->compared;
    if (strcmp(p->against, "plain C") == 0)
        s->plain = true;
    else
        s->scalar = true;
}

static void tell_operation(selftest *s, const qdq_proof *p) {
    json_t *row = json_pack("{s:s, s:s, s:I, s:I}", "proof", "operation", "operation", p->inputs, "compared",
                            (json_int_t)p->compared, "differing", (json_int_t)p->differing);
    if (p->differing > 0) {
        say(s, "%s  dialect  %s %s\n", verdict_word(false), p->inputs, p->difference);
        json_object_set_new(row, "first", json_string(p->difference));
    } else if (s->wish.full) {
        say(s, "%s  dialect  %s: %s operands, all equal to binary64 rounded once\n", verdict_word(true), p->inputs,
            count(p->compared));
    }
    json_array_append_new(s->proofs, row);
}

static void tell_sums(selftest *s, const qdq_proof *p) {
    say(s, "%s  %-8s %s: %s sums, %s\n", verdict_word(p->differing == 0), "sums", p->inputs, count(p->compared),
        p->difference != NULL ? p->difference : "all equal to the scalar lane's");
    json_array_append_new(s->proofs,
                          json_pack("{s:s, s:s, s:I, s:s}", "proof", "sums", "against", p->against, "compared",
                                    (json_int_t)p->compared, "difference", p->difference != NULL ? p->difference : ""));
}

static void tell_blocks(selftest *s, const qdq_proof *p) {
    const char *name = qdq_format_name(p->format);
    bool passed = p->differing == 0;
    if (qdq_common_tables(&s->common) && (s->wish.full || !passed)) {
        printf("%s  %-8s %s: %s blocks, ", verdict_word(passed), name, p->inputs, count(p->compared));
        if (passed)
            printf("all equal to %s\n", p->against);
        else
            printf("%s differ from %s; the first is block %s\n", count(p->differing), p->against, count(p->block));
        if (!passed) print_difference(p);
        fflush(stdout);
    }
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "format", name, "proof", p->inputs, "against", p->against, "blocks",
                  (json_int_t)p->compared, "elements", (json_int_t)p->elements, "differing", (json_int_t)p->differing);
    if (!passed) json_object_set_new(o, "first", json_difference(p));
    json_array_append_new(s->proofs, o);
}

static qdq_status proved(void *context, const qdq_proof *p) {
    selftest *s = context;
    bool operation = p->kind == QDQ_PROOF_OPERATION;
    qdq_progress_end();
    s->line[0] = '\0';
    if (operation != (s->kind == QDQ_PROOF_OPERATION) || p->format != s->format) tell_pending(s);
    if (p->passed_over != NULL) {
        say(s, "--    %-8s %s\n", operation ? "dialect" : qdq_format_name(p->format), p->passed_over);
        return QDQ_OK;
    }
    if (operation)
        tell_operation(s, p);
    else if (p->kind == QDQ_PROOF_SUMS)
        tell_sums(s, p);
    else
        tell_blocks(s, p);
    if (p->differing == 0 && p->kind != QDQ_PROOF_SUMS) keep_pending(s, p);
    return QDQ_OK;
}

/* ---- A ggml's -------------------------------------------------------------------------------------------------- */

static void add_ggml_row(selftest *s, const qdq_proof *p) {
    const char *name = qdq_format_name(p->format), *failure = p->undefined_failure;
    qdq_table_cell(s->table, "%s", name);
    qdq_table_cell(s->table, "%s", p->inputs);
    qdq_table_cell(s->table, "%s", p->weighted ? "yes" : "no");
    qdq_table_cell(s->table, "%s", count(p->compared));
    qdq_table_cell(s->table, "%s", count(p->differing));
    qdq_table_cell(s->table, "%s", p->undefined > 0 ? count(p->undefined) : "");
    qdq_table_cell(s->table, "%s", failure != NULL ? failure : p->undefined > 0 ? count(p->undefined_differing) : "");
    json_t *o = json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:I}", "format", name, "proof", p->inputs, "importance",
                          (int)p->weighted, "blocks", (json_int_t)p->compared, "differing", (json_int_t)p->differing,
                          "undefined_in_c", (json_int_t)p->undefined, "undefined_in_c_differing",
                          (json_int_t)p->undefined_differing);
    if (failure != NULL) json_object_set_new(o, "undefined_in_c_failure", json_string(failure));
    if (p->differing > 0) json_object_set_new(o, "first", json_difference(p));
    json_array_append_new(s->ggml_rows, o);
}

/* Rounding otherwise changes a few blocks in a hundred at most. */
static void note_changed(selftest *s, const qdq_proof *p) {
    const char *name = qdq_format_name(p->format);
    size_t used = strlen(s->changed), length = strlen(name);
    if (p->differing < p->compared / 10 || (used >= length && strcmp(s->changed + used - length, name) == 0)) return;
    snprintf(s->changed + used, sizeof s->changed - used, "%s%s", used > 0 ? ", " : "", name);
}

static qdq_status proved_of_ggml(void *context, const qdq_proof *p) {
    selftest *s = context;
    const char *name = qdq_format_name(p->format);
    qdq_progress_end();
    s->line[0] = '\0';
    if (p->passed_over != NULL) {
        say(s, "--    %-8s %s\n", name, p->passed_over);
        json_array_append_new(s->ggml_rows, json_pack("{s:s, s:s}", "format", name, "lacks", p->passed_over));
        return QDQ_OK;
    }
    add_ggml_row(s, p);
    if (p->differing == 0) return QDQ_OK;
    s->differing += p->differing;
    note_changed(s, p);
    if (qdq_common_tables(&s->common)) {
        printf("%s  %-8s %s%s: block %s differs from the ggml library's\n", verdict_word(false), name, p->inputs,
               p->weighted ? " with importance" : "", count(p->block));
        print_difference(p);
    }
    return QDQ_OK;
}

/* Why it may differ. */
static void explain(selftest *s) {
    if (s->differing == 0) return;
    if (s->ggml.fusion == QDQ_GGML_FUSION_FUSED)
        say(s,
            "This library was compiled with fused multiply-add, as on AArch64 or with -march=native: its q4_0 rounds "
            "x * id + 8.5 once. -ffp-contract=off gives the reference's bytes.\n");
    if (s->changed[0] != '\0')
        say(s,
            "A tenth of the blocks or more differ in %s: not by rounding, but since the library has another algorithm "
            "for %s, of another revision or its own.\n",
            s->changed, strchr(s->changed, ',') != NULL ? "them" : "it");
    else if (s->ggml.fusion == QDQ_GGML_FUSION_NONE)
        say(s, "Its q4_0 rounds as the reference does, so that it was not compiled with fused multiply-add throughout: "
               "what differs was compiled otherwise (-ffast-math, single files), or is another revision's.\n");
    else if (s->ggml.fusion == QDQ_GGML_FUSION_UNKNOWN)
        say(s, "How it was compiled cannot be told by its q4_0. Where a few blocks in a thousand differ, fused "
               "multiply-add (as on AArch64 or with -march=native) is the likely cause; -ffp-contract=off gives the "
               "reference's bytes.\n");
}

static qdq_status prove_ggml(selftest *s, const char *path, qdq_proof_report *report) {
    if (s->ggml.revision != NULL)
        say(s, "The library's bytes are those of the reference's revision %s.\n", s->ggml.revision);
    if (qdq_common_tables(&s->common))
        s->table = qdq_table_create("format|inputs|imatrix|>blocks|>differ|>undefined in C|>differ there");
    s->wish.proved = proved_of_ggml;
    qdq_status status = qdq_prove_ggml(path, &s->wish, report);
    if (status == QDQ_OK && s->table != NULL) {
        printf("\n");
        status = qdq_table_print(s->table);
        s->table = NULL;
        explain(s);
    }
    qdq_table_free(s->table);
    return status;
}

/* ---- The command ----------------------------------------------------------------------------------------------- */

/* What has been shown: samples prove nothing. */
static const char *verdict(const selftest *s) {
    if (s->failed > 0) return "FAILED";
    if (!s->wish.full) return "Held on samples";
    return s->limit > 0 ? "Proved, but for what --limit thinned out" : "Proved";
}

static qdq_status prove(selftest *s, const char *ggml) {
    qdq_proof_report device = {.size = sizeof device}, library = {.size = sizeof library};
    double start = qdq_seconds();
    s->wish.proved = proved;
    qdq_status status = qdq_prove(&s->wish, &device);
    tell_pending(s);
    if (status == QDQ_OK && ggml != NULL) status = prove_ggml(s, ggml, &library);
    qdq_progress_end();
    s->blocks = device.blocks + library.blocks;
    s->failed = device.failed + library.failed;
    if (status == QDQ_OK)
        say(s, "%s: %s blocks compared in %.0f s; %s.\n", verdict(s), count(s->blocks), qdq_seconds() - start,
            s->failed > 0 ? "what differs is named above" : "none differs");
    return status;
}

static qdq_status describe_device(const selftest *s, qdq_device_info *info) {
    qdq_device *device;
    qdq_status status = qdq_common_open_device(&s->common, &device);
    if (status == QDQ_OK) status = qdq_device_describe(device, info);
    qdq_device_close(device);
    return status;
}

static json_t *result(selftest *s, const qdq_device_info *info, bool ggml) {
    json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:I, s:b, s:I, s:O}", "schema", "qdq.selftest/1", "device",
                             info->name, "description", info->description, "mode", s->wish.full ? "full" : "quick",
                             "seed", (json_int_t)s->wish.seed, "passed", s->failed == 0, "blocks",
                             (json_int_t)s->blocks, "proofs", s->proofs);
    if (!ggml) return root;
    json_object_set(root, "ggml", s->ggml_rows);
    json_object_set_new(root, "ggml_revision", s->ggml.revision != NULL ? json_string(s->ggml.revision) : json_null());
    return root;
}

static qdq_status run(selftest *s, const char *ggml) {
    qdq_device_info info = {.size = sizeof info};
    qdq_json_file file = {0};
    s->ggml.size = sizeof s->ggml;
    qdq_status status = describe_device(s, &info);
    if (status == QDQ_OK && ggml != NULL) status = qdq_ggml_describe(ggml, &s->ggml);
    if (status == QDQ_OK) status = qdq_json_open(s->common.json, &file);
    if (status != QDQ_OK) return status;
    s->proofs = json_array();
    s->ggml_rows = json_array();
    say(s, "%s proofs on %s (%s), seed %" PRIu64 ".\n", s->wish.full ? "Full" : "Quick", info.name, info.description,
        s->wish.seed);
    if (!s->wish.full)
        say(s, "A format's proofs are samples: extremes of a block and elements beside several extremes, from all 2^32 "
               "binary32 numbers; each 16-bit word of packed blocks, decoded; random and adversarial weights, with an "
               "importance matrix too; all binary16 and bfloat16 numbers as the source. --full leaves nothing out.\n");
    status = prove(s, ggml);
    if (status == QDQ_OK)
        status = qdq_json_write(&file, result(s, &info, ggml != NULL));
    else
        qdq_json_abort(&file);
    json_decref(s->proofs);
    json_decref(s->ggml_rows);
    return status;
}

int qdq_command_selftest(int argc, char **argv) {
    selftest s = {.limit = 60, .format = QDQ_FORMAT_NONE};
    s.wish = (qdq_proof_options){.size = sizeof s.wish, .seed = 1, .proved = proved, .progress = progress};
    qdq_parser parser;
    const char *ggml = NULL, *names = NULL;
    long long number;
    qdq_parse_begin(&parser, &qdq_cli_selftest, &s.common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        switch (o) {
        case QDQ_PARSE_EXIT: return parser.status;
        case 'f': names = parser.value; break;
        case OPTION_QUICK: s.wish.full = 0; break;
        case OPTION_FULL: s.wish.full = 1; break;
        case OPTION_GGML: ggml = parser.value; break;
        case OPTION_SEED:
            if (!qdq_parse_integer(parser.value, 0, INT64_MAX, &number))
                return qdq_usage_error(&parser, "--seed: '%s' is no whole number from 0", parser.value);
            s.wish.seed = (uint64_t)number;
            break;
        case OPTION_LIMIT:
            if (!qdq_parse_integer(parser.value, 0, 1000000, &number))
                return qdq_usage_error(&parser, "--limit: '%s' is no number of seconds", parser.value);
            s.limit = (double)number;
            break;
        case OPTION_ELEMENTS:
            if (!qdq_parse_integer(parser.value, 1, INT64_C(1) << 40, &number))
                return qdq_usage_error(&parser, "--elements: '%s' is no whole number from 1 to 2^40", parser.value);
            s.wish.elements = (uint64_t)number;
            break;
        }
    }
    if (parser.n_operands) return qdq_usage_error(&parser, "unexpected operand '%s'", parser.operands[0]);
    if (s.wish.elements && !ggml) return qdq_usage_error(&parser, "--elements goes with --ggml");
    if (qdq_list_formats(names, QDQ_LIST_WEIGHTED, s.formats, &s.wish.n_formats) != QDQ_OK)
        return qdq_usage_error(&parser, "%s", qdq_error_message());
    s.wish.formats = s.formats;
    s.wish.device = s.common.device;
    s.wish.threads = s.common.threads;
    s.wish.seconds = s.wish.full ? s.limit : 0;
    s.wish.context = &s;
    qdq_status status = run(&s, ggml);
    if (status != QDQ_OK) return qdq_exit_failure(status);
    return s.failed > 0 ? QDQ_EXIT_FAILED : QDQ_EXIT_OK;
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
