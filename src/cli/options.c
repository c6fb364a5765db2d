/* Command lines: what options there are, and how they are read. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEVICE = 'd',
    HELP = 'h',
    THREADS = QDQ_COMMON_OPTION,
    CPU_MASK,
    INCLUDE,
    EXCLUDE,
    LIST_SKIPPED,
    JSON,
    QUIET,
    ALLOW_NON_FINITE,
    ALLOW_REQUANTIZE,
    VIA,
    LIKE,
    OTHER_WEIGHTS,
    REFERENCE
};

static const struct {
    unsigned takes;
    qdq_cli_option option;
} common_options[] = {
    {QDQ_TAKES_DEVICE,
     {DEVICE, "device", "DEVICE", QDQ_ARG_DEVICE, NULL,
      "what computes: auto (the fastest there is, the default), cpu, cuda, cuda:N, metal, metal:N, vulkan, vulkan:N; "
      "see qdq devices. A model's work is shared by several: cuda:all, vulkan:all, or a list, cuda:0,cuda:2"}},
    {QDQ_TAKES_THREADS,
     {THREADS, "threads", "N", QDQ_ARG_TEXT, NULL,
      "how many threads the CPU computes with; 0, the default, is one a core. Results do not depend on it"}},
    {QDQ_TAKES_THREADS,
     {CPU_MASK, "cpu-mask", "MASK", QDQ_ARG_TEXT, NULL,
      "which CPU kernels may be used, for tests: the sum of 1 (portable C), 2 (128-bit vectors), 4 (AVX2), 8 "
      "(AVX-512); decimal or 0x…. Results do not depend on it"}},
    {QDQ_TAKES_FILTER,
     {INCLUDE, "include", "REGEX", QDQ_ARG_TEXT, NULL,
      "only tensors whose name has a match of the regular expression, in Perl's syntax; may be given again: any may "
      "match"}},
    {QDQ_TAKES_FILTER,
     {EXCLUDE, "exclude", "REGEX", QDQ_ARG_TEXT, NULL,
      "not those tensors; stronger than --include; may be given again"}},
    {QDQ_TAKES_FILTER,
     {LIST_SKIPPED, "list-skipped", NULL, QDQ_ARG_NONE, NULL,
      "name each tensor that is passed over, with the reason, instead of counting them"}},
    {QDQ_TAKES_FINITE,
     {ALLOW_NON_FINITE, "allow-non-finite", NULL, QDQ_ARG_NONE, NULL,
      "take NaN and infinities as they come instead of refusing the file"}},
    {QDQ_TAKES_CODES,
     {ALLOW_REQUANTIZE, "allow-requantize", NULL, QDQ_ARG_NONE, NULL,
      "take tensors of a GGUF that are quantized already, as the weights that their codes stand for; what that loses "
      "comes on top of what was lost before"}},
    {QDQ_TAKES_CODES,
     {VIA, "via", "DTYPE", QDQ_ARG_CHOICE, "f32 f16 bf16",
      "of tensors that are codes: what the weights are that they stand for, rounded to nearest, ties to even. Of a "
      "GGUF f32, else bf16"}},
    {QDQ_TAKES_REFERENCE,
     {REFERENCE, "reference", "REVISION", QDQ_ARG_CHOICE, QDQ_REFERENCE_EARLIER " " QDQ_REFERENCE,
      "by which ggml's searches codes are chosen; the newest is the default. The earlier one, which differs in iq1_m "
      "alone, is the CPU's"}},
    {QDQ_TAKES_LIKE,
     {LIKE, "like", "TEMPLATE", QDQ_ARG_INPUT, NULL,
      "IN is of safetensors: take its weights as those of this GGUF of the same model, whatever its types, with its "
      "names, metadata and tokenizer. Rows of each tensor are compared, and found where the conversion has moved them; "
      "of a split set the first part is enough"}},
    {QDQ_TAKES_LIKE,
     {OTHER_WEIGHTS, "other-weights", NULL, QDQ_ARG_NONE, NULL,
      "with --like: IN was trained further than the model that the template is made of, so its weights are others"}},
    {QDQ_TAKES_JSON,
     {JSON, "json", "FILE", QDQ_ARG_OUTPUT, NULL,
      "write the result as JSON; - is standard output, in the table's place"}},
    {QDQ_TAKES_QUIET, {QUIET, "quiet", NULL, QDQ_ARG_NONE, NULL, "print no table and no progress, errors only"}},
    {0, {HELP, "help", NULL, QDQ_ARG_NONE, NULL, "show this help"}},
};
enum { N_COMMON = sizeof common_options / sizeof *common_options };

const qdq_cli_option *qdq_common_option(unsigned takes, unsigned *next) {
    while (*next < N_COMMON) {
        unsigned i = (*next)++;
        if (common_options[i].takes == 0 || (common_options[i].takes & takes) != 0) return &common_options[i].option;
    }
    return NULL;
}

/* ---- Common values --------------------------------------------------------------------------------------------- */

bool qdq_common_tables(const qdq_common *common) {
    return !common->quiet && (common->json == NULL || strcmp(common->json, "-") != 0);
}

qdq_status qdq_common_open_device(const qdq_common *common, qdq_device **device) {
    qdq_device_options options = {.size = sizeof options, .threads = common->threads, .reference = common->reference};
    return qdq_device_open_with(common->device, &options, device);
}

/* ---- Parsing --------------------------------------------------------------------------------------------------- */

static void add_letter(qdq_parser *parser, const qdq_cli_option *option) {
    size_t used = strlen(parser->letters);
    if (option->letter >= QDQ_LONG_OPTION || used + 3 >= sizeof parser->letters) return;
    parser->letters[used++] = (char)option->letter;
    if (option->arg != QDQ_ARG_NONE) parser->letters[used++] = ':';
    parser->letters[used] = '\0';
}

void qdq_parse_begin(qdq_parser *parser, const qdq_cli_command *command, qdq_common *common, int argc, char **argv) {
    memset(parser, 0, sizeof *parser);
    memset(common, 0, sizeof *common);
    common->device = "auto";
    parser->command = command;
    parser->common = common;
    parser->argc = argc;
    parser->argv = argv;
    strcpy(parser->letters, ":"); /* tells a missing value from an unknown option */
    size_t n = N_COMMON + 1;
    for (const qdq_cli_option *o = command->options; o != NULL && o->name != NULL; o++) n++;
    parser->names = calloc(n, sizeof *parser->names);
    if (parser->names == NULL) return; /* qdq_parse_next says so */
    struct option *row = parser->names;
    const qdq_cli_option *own = command->options;
    unsigned next = 0;
    for (;;) {
        const qdq_cli_option *o = own != NULL && own->name != NULL ? own++ : qdq_common_option(command->takes, &next);
        if (o == NULL) break;
        *row++ = (struct option){o->name, o->arg == QDQ_ARG_NONE ? no_argument : required_argument, NULL, o->letter};
        add_letter(parser, o);
    }
    optind = 0; /* begins anew, also after another parse */
    opterr = 0;
}

static int leave(qdq_parser *parser, int status) {
    free(parser->names);
    parser->names = NULL;
    parser->status = status;
    return QDQ_PARSE_EXIT;
}

int qdq_usage_error(qdq_parser *parser, const char *format, ...) {
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    qdq_complain("%s: %s", parser->command->name, message);
    qdq_point_to_help(parser->command->name);
    leave(parser, QDQ_EXIT_USAGE);
    return QDQ_EXIT_USAGE;
}

/* A complaint, as what qdq_parse_next returns. */
#define WRONG(...) (qdq_usage_error(parser, __VA_ARGS__), QDQ_PARSE_EXIT)

bool qdq_parse_integer(const char *text, long long least, long long most, long long *value) {
    char *end;
    bool hexadecimal = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    errno = 0;
    long long v = strtoll(text, &end, hexadecimal ? 16 : 10);
    if (end == text || *end != '\0' || errno != 0 || v < least || v > most) return false;
    *value = v;
    return true;
}

static int add_pattern(qdq_parser *parser, const char *option, const char **patterns, unsigned *n) {
    if (*n == QDQ_MAX_PATTERNS) return WRONG("--%s is given more than %d times", option, QDQ_MAX_PATTERNS);
    qdq_status status = qdq_check_pattern(optarg);
    if (status == QDQ_OUT_OF_MEMORY) return leave(parser, qdq_exit_failure(status));
    if (status != QDQ_OK) return WRONG("--%s %s", option, qdq_error_message());
    patterns[(*n)++] = optarg;
    return 0;
}

/* 0: taken, go on. */
static int take_common(qdq_parser *parser, int id) {
    qdq_common *c = parser->common;
    long long value;
    switch (id) {
    case HELP:
        qdq_print_help(parser->command);
        return leave(parser, qdq_flush_output() == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(QDQ_IO_ERROR));
    case DEVICE: c->device = optarg; return 0;
    case THREADS:
        if (!qdq_parse_integer(optarg, 0, 4096, &value))
            return WRONG("--threads takes a number from 0 to 4096, not '%s'", optarg);
        c->threads = (int)value;
        return 0;
    case CPU_MASK:
        if (!qdq_parse_integer(optarg, 0, UINT32_MAX, &value))
            return WRONG("--cpu-mask takes a mask of bits, not '%s'", optarg);
        qdq_cpu_mask((uint32_t)value);
        return 0;
    case INCLUDE: return add_pattern(parser, "include", c->include, &c->n_include);
    case EXCLUDE: return add_pattern(parser, "exclude", c->exclude, &c->n_exclude);
    case JSON: c->json = optarg; return 0;
    case QUIET: c->quiet = true; return 0;
    case LIST_SKIPPED: c->list_skipped = true; return 0;
    case ALLOW_NON_FINITE: c->allow_non_finite = true; return 0;
    case ALLOW_REQUANTIZE: c->allow_requantize = true; return 0;
    case REFERENCE: c->reference = optarg; return 0;
    case LIKE: c->like = optarg; return 0;
    case OTHER_WEIGHTS: c->other_weights = true; return 0;
    case VIA:
        if (strcmp(optarg, "f32") != 0 && strcmp(optarg, "f16") != 0 && strcmp(optarg, "bf16") != 0)
            return WRONG("--via is f32, f16 or bf16, not '%s'", optarg);
        c->via = optarg;
        return 0;
    }
    return id;
}

unsigned qdq_misspelt(const char *a, const char *b) {
    enum { LONGEST = 24 };
    size_t m = strlen(a), n = strlen(b);
    unsigned row[LONGEST + 1];
    if (m > LONGEST || n > LONGEST) return LONGEST;
    for (size_t j = 0; j <= n; j++) row[j] = (unsigned)j;
    for (size_t i = 1; i <= m; i++) {
        unsigned diagonal = row[0]++;
        for (size_t j = 1; j <= n; j++) {
            unsigned above = row[j], least = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < least) least = above + 1;
            if (row[j - 1] + 1 < least) least = row[j - 1] + 1;
            row[j] = least;
            diagonal = above;
        }
    }
    return 2 * row[n] < n ? row[n] : LONGEST;
}

/* A long option that there is not, or that several begin with. */
static int refuse_long(qdq_parser *parser, const char *text) {
    const char *word = text + 2, *meant = NULL;
    size_t length = strlen(word), used = 0;
    char several[256] = "";
    for (const struct option *o = parser->names; o->name != NULL && used < sizeof several; o++)
        if (strncmp(o->name, word, length) == 0)
            used += (size_t)snprintf(several + used, sizeof several - used, "%s--%s", used > 0 ? ", " : "", o->name);
    if (used > 0) return WRONG("%s is not all of an option's name; so begin %s", text, several);
    for (unsigned far = 1; far <= QDQ_MISSPELT && meant == NULL; far++)
        for (const struct option *o = parser->names; o->name != NULL && meant == NULL; o++)
            if (qdq_misspelt(word, o->name) == far) meant = o->name;
    if (meant != NULL) return WRONG("no option is called %s; did you mean --%s?", text, meant);
    return WRONG("no option is called %s", text);
}

/* The argument that getopt stumbled over. */
static int refuse(qdq_parser *parser, int id) {
    const char *text = optind > 0 && optind <= parser->argc ? parser->argv[optind - 1] : "";
    char letter[3] = {'-', (char)optopt, '\0'};
    bool is_long = strncmp(text, "--", 2) == 0 && (optopt == 0 || optopt >= QDQ_LONG_OPTION || text[2] != '\0');
    const char *shown = is_long ? text : letter;
    /* First: for BSD's getopt this, too, is a ':'. */
    if (is_long && strchr(text, '=') != NULL && optopt != 0) return WRONG("%s takes no value", text);
    if (id == ':') return WRONG("%s wants a value", shown);
    return is_long ? refuse_long(parser, text) : WRONG("no option is called %s", shown);
}

/* Notes the file that an option names. */
static bool note_path(qdq_parser *parser, int id) {
    const qdq_cli_option *own = parser->command->options, *o;
    unsigned next = 0;
    do o = own != NULL && own->name != NULL ? own++ : qdq_common_option(parser->command->takes, &next);
    while (o != NULL && o->letter != id);
    if (o == NULL || (o->arg != QDQ_ARG_INPUT && o->arg != QDQ_ARG_OUTPUT)) return true;
    return qdq_paths_add(&parser->paths, optarg, o->name, o->arg == QDQ_ARG_OUTPUT);
}

static int finish(qdq_parser *parser) {
    if (parser->common->other_weights && parser->common->like == NULL) return WRONG("--other-weights goes with --like");
    parser->operands = parser->argv + optind;
    parser->n_operands = parser->argc - optind;
    if (parser->n_operands > 0 && !qdq_paths_add(&parser->paths, parser->operands[0], NULL, false))
        return WRONG("more than %d files are named", QDQ_MAX_PATHS);
    if (qdq_paths_check(&parser->paths) != QDQ_OK) return WRONG("%s", qdq_error_message());
    free(parser->names);
    parser->names = NULL;
    return QDQ_PARSE_END;
}

const char *qdq_parse_output(qdq_parser *parser, const char *path) {
    if (!qdq_paths_add(&parser->paths, path, "output", true)) return "too many files are named";
    return qdq_paths_check(&parser->paths) == QDQ_OK ? NULL : qdq_error_message();
}

bool qdq_parse_input(qdq_parser *parser) {
    int n = parser->n_operands;
    if (n == 1) return true;
    if (n == 0)
        qdq_usage_error(parser, "one input is wanted, not 0: a .safetensors or .gguf file, or a directory");
    else
        qdq_usage_error(parser, "one input is wanted, not %d: '%s' is too much", n, parser->operands[n - 1]);
    return false;
}

int qdq_parse_next(qdq_parser *parser) {
    if (parser->names == NULL) {
        qdq_complain("out of memory to read the command line");
        return leave(parser, QDQ_EXIT_FAILED);
    }
    for (;;) {
        int id = getopt_long(parser->argc, parser->argv, parser->letters, parser->names, NULL);
        if (id == -1) break;
        if (id == '?' || id == ':') return refuse(parser, id);
        if (!note_path(parser, id)) return WRONG("more than %d files are named", QDQ_MAX_PATHS);
        int taken = id == HELP || id == DEVICE || id >= QDQ_COMMON_OPTION ? take_common(parser, id) : id;
        if (taken == 0) continue;
        parser->value = optarg;
        return taken;
    }
    return finish(parser);
}

/* ---- Formats --------------------------------------------------------------------------------------------------- */

qdq_format_info qdq_format_facts(qdq_format format) {
    qdq_format_info info = {.size = sizeof info};
    qdq_format_describe(format, &info);
    return info;
}

const char *qdq_format_name(qdq_format format) { return qdq_format_facts(format).name; }

double qdq_format_bits(qdq_format format) {
    qdq_format_info info = qdq_format_facts(format);
    return 8.0 * info.block_bytes / info.block_elements;
}

qdq_status qdq_one_format(const char *text, uint32_t flags, const char *imatrix, qdq_format *format) {
    qdq_format formats[QDQ_MAX_FORMATS];
    uint32_t n;
    qdq_status status = qdq_list_formats(text, flags | qdq_weighted(imatrix), formats, &n);
    if (status != QDQ_OK) return status;
    if (n != 1) return qdq_fail(QDQ_INVALID_ARGUMENT, "one format is wanted, not %u", (unsigned)n);
    *format = formats[0];
    return QDQ_OK;
}
