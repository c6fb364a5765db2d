/* What the subcommands share. A subcommand is one file, command_NAME.c, that defines `const qdq_cli_command
 * qdq_cli_NAME`, and one row of commands.def. Its help, its part of the man page and its shell completions are made
 * from that description, so what it parses and what it documents cannot differ.
 *
 *     static const qdq_cli_option options[] = {
 *         {'f', "format", "FORMAT", QDQ_ARG_FORMAT, NULL, "the format to …"},
 *         {0},
 *     };
 *     int qdq_command_demo(int argc, char **argv) {
 *         qdq_common common;
 *         qdq_parser parser;
 *         const char *format = NULL;
 *         qdq_parse_begin(&parser, &qdq_cli_demo, &common, argc, argv);
 *         for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
 *             if (o == QDQ_PARSE_EXIT) return parser.status;
 *             if (o == 'f') format = parser.value;
 *         }
 *         … parser.operands[0 … parser.n_operands - 1]
 *         return status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
 *     }
 *     const qdq_cli_command qdq_cli_demo = {.name = "demo", .run = qdq_command_demo, …};
 */
#ifndef QDQ_CLI_CLI_H
#define QDQ_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/platform.h"
#include "base/platform_command.h"
#include "cli/paths.h"
#include "qdq_model.h"

/* ---- Exit status ----------------------------------------------------------------------------------------------- */

enum {
    QDQ_EXIT_OK = 0,
    QDQ_EXIT_FAILED = 1, /* I/O, a device, bad data, a proof that failed */
    QDQ_EXIT_USAGE = 2   /* the command line is wrong */
};

/* Prints "qdq: MESSAGE" to standard error, safe for a terminal, below a progress line if there is one. */
__attribute__((format(printf, 1, 2))) void qdq_complain(const char *format, ...);
/* Messages go there from now on, the last one in place of those before: of a process that another one speaks for. */
void qdq_complain_into(char *buffer, size_t room);
/* After a message about the command line: where help is. command: "" for all. */
void qdq_point_to_help(const char *command);
/* What the library found wrong, with the options that would help: of this thread's last failure, until the next call.
 */
const char *qdq_explanation(void);
/* Prints that explanation of the failure; returns the exit status: QDQ_EXIT_USAGE for QDQ_INVALID_ARGUMENT, as for
 * a device of that name that there is none. */
int qdq_exit_failure(qdq_status status);

/* From now on a signal that ends the process leaves no half-written file, and a mapped input that can no longer be read
 * is told. */
void qdq_guard(void);

/* ---- Descriptions ---------------------------------------------------------------------------------------------- */

/* What a value is, for completion. */
typedef enum qdq_arg {
    QDQ_ARG_NONE, /* the option takes no value */
    QDQ_ARG_TEXT,
    QDQ_ARG_INPUT,  /* a file that is read */
    QDQ_ARG_OUTPUT, /* a file that is written; also one that is read and then written, as what a command keeps */
    QDQ_ARG_FORMAT,
    QDQ_ARG_TARGET, /* a format, or f32, f16, bf16 */
    QDQ_ARG_DEVICE,
    QDQ_ARG_CHOICE /* one of .choices */
} qdq_arg;

typedef struct qdq_cli_option {
    int letter; /* 'f' of -f; for an option without a letter a number from QDQ_LONG_OPTION on, of the file's own */
    const char *name;  /* "format" of --format; NULL ends a table */
    const char *value; /* "FORMAT", as help calls the value; NULL: none */
    qdq_arg arg;
    const char *choices; /* "f32 source"; of a format: words that stand beside the formats */
    const char *help;    /* lower case, no full stop at the end; a word in CAPITALS is a value */
} qdq_cli_option;

enum { QDQ_LONG_OPTION = 256, QDQ_COMMON_OPTION = 1024 };

/* Which of the common options a command takes. -h and --help come by themselves. */
enum {
    QDQ_TAKES_DEVICE = 1,     /* -d, --device */
    QDQ_TAKES_THREADS = 2,    /* --threads, --cpu-mask */
    QDQ_TAKES_FILTER = 4,     /* --include, --exclude */
    QDQ_TAKES_JSON = 8,       /* --json */
    QDQ_TAKES_QUIET = 16,     /* --quiet */
    QDQ_TAKES_FINITE = 32,    /* --allow-non-finite */
    QDQ_TAKES_CODES = 64,     /* --allow-requantize, --via */
    QDQ_TAKES_LIKE = 128,     /* --like, --other-weights */
    QDQ_TAKES_REFERENCE = 256 /* --reference */
};

typedef struct qdq_cli_example {
    const char *what;
    const char *command;
} qdq_cli_example;

typedef struct qdq_cli_command {
    const char *name;
    const char *summary;               /* one line, lower case */
    const char *operands;              /* "IN -o OUT.gguf": what follows "[OPTION]..." */
    const char *text;                  /* paragraphs, parted by an empty line */
    const qdq_cli_option *options;     /* its own; ended by a row without a name; may be NULL */
    unsigned takes;                    /* QDQ_TAKES_… */
    const qdq_cli_example *examples;   /* ended by a row of NULLs */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
} qdq_cli_command;

/* The rows of commands.def, ended by NULL. */
extern const qdq_cli_command *const qdq_cli_commands[];

#define COMMAND(name) extern const qdq_cli_command qdq_cli_##name;
#include "cli/commands.def"
#undef COMMAND

/* The common options, one after another: those with a bit of `takes`. *next from 0; NULL at the end. */
const qdq_cli_option *qdq_common_option(unsigned takes, unsigned *next);

/* ---- Parsing --------------------------------------------------------------------------------------------------- */

enum { QDQ_MAX_PATTERNS = 64 };

/* The common options' values. */
typedef struct qdq_common {
    const char *device; /* "auto" */
    int threads;        /* 0: one a core */
    const char *json;   /* NULL; "-" is standard output, which then has nothing else on it */
    bool quiet;         /* nothing but errors, and the JSON that was asked for */
    bool allow_non_finite, list_skipped, allow_requantize, keep_codes;
    const char *via;       /* NULL: what is usual for the codes */
    const char *reference; /* NULL: the newest */
    const char *like;      /* NULL: the model's own names */
    bool other_weights;
    unsigned n_include, n_exclude;
    const char *include[QDQ_MAX_PATTERNS], *exclude[QDQ_MAX_PATTERNS];
    const char *architecture, *map; /* of commands that take them; NULL */
} qdq_common;

/* Tables may go to standard output: not quiet, and no JSON is there. */
bool qdq_common_tables(const qdq_common *common);
/* Opens the common options' device. */
qdq_status qdq_common_open_device(const qdq_common *common, qdq_device **device);

typedef struct qdq_parser {
    const qdq_cli_command *command;
    qdq_common *common;
    int argc;
    char **argv;
    char letters[160];
    struct option *names;
    const char *value; /* of the option that qdq_parse_next returned */
    char **operands;   /* once it returned QDQ_PARSE_END */
    int n_operands;
    qdq_paths paths; /* inputs, the first operand among them, and outputs */
    int status;      /* once it returned QDQ_PARSE_EXIT: the exit status */
} qdq_parser;

enum { QDQ_PARSE_END = -1, QDQ_PARSE_EXIT = -2 };

/* Sets *common to its defaults. */
void qdq_parse_begin(qdq_parser *parser, const qdq_cli_command *command, qdq_common *common, int argc, char **argv);
/* The next of the command's own options: its letter. Common options are taken care of. QDQ_PARSE_END: no more, the
 * operands are set, and no output is an input or another output. QDQ_PARSE_EXIT: help was printed or a mistake
 * reported, return parser->status. */
int qdq_parse_next(qdq_parser *parser);
/* Notes an output that no option names; what is wrong with it, or NULL. */
const char *qdq_parse_output(qdq_parser *parser, const char *path);
/* Is there one operand, a model? Else reports so; parser->status is the exit status. */
bool qdq_parse_input(qdq_parser *parser);
/* Reports a wrong command line ("qdq error: MESSAGE", then where help is); returns QDQ_EXIT_USAGE. */
__attribute__((format(printf, 2, 3))) int qdq_usage_error(qdq_parser *parser, const char *format, ...);

enum { QDQ_MISSPELT = 2 };
/* How many letters of a word are to be changed, put in or left out to make it the name; more than QDQ_MISSPELT: it is
 * another word. */
unsigned qdq_misspelt(const char *word, const char *name);

/* Reads a whole number of [least, most], decimal or 0x…; false: it is none. */
bool qdq_parse_integer(const char *text, long long least, long long most, long long *value);

/* A format's table row, and its name; the format must exist. */
qdq_format_info qdq_format_facts(qdq_format format);
const char *qdq_format_name(qdq_format format);
double qdq_format_bits(qdq_format format); /* a weight */
/* One format: qdq_list_formats() with these flags, and QDQ_LIST_WEIGHTED where there is an importance matrix (a path,
 * or NULL). QDQ_INVALID_ARGUMENT also: several. */
qdq_status qdq_one_format(const char *text, uint32_t flags, const char *imatrix, qdq_format *format);
/* What qdq_list_formats() may have then. */
static inline uint32_t qdq_weighted(const char *imatrix) { return imatrix != NULL ? QDQ_LIST_WEIGHTED : 0; }

/* Prints the command's help to standard output. */
void qdq_print_help(const qdq_cli_command *command);

/* ---- Tables ---------------------------------------------------------------------------------------------------- */

typedef struct qdq_table qdq_table;

/* columns: titles parted by '|'; one that begins with '>' is aligned to the right: "tensor|shape|>RMSE". Failures of
 * memory show when the table is checked or printed. NULL, for which all calls are allowed: tables are not wanted. */
qdq_table *qdq_table_create(const char *columns);
/* The next cell of the current row; rows follow one another by themselves. */
__attribute__((format(printf, 2, 3))) void qdq_table_cell(qdq_table *table, const char *format, ...);
/* The next cell: a name from a file, made safe for a terminal. */
void qdq_table_name(qdq_table *table, const char *name);
/* The next cell: a number as %.4g, with inf and nan spelt out. */
void qdq_table_number(qdq_table *table, double value);
/* A rule before the next row: what follows are totals. */
void qdq_table_rule(qdq_table *table);
unsigned long qdq_table_rows(const qdq_table *table);
/* QDQ_OUT_OF_MEMORY: a cell is missing. To be asked before outputs appear. */
qdq_status qdq_table_check(const qdq_table *table);
/* Aligned, to standard output; on a terminal titles are bold, and names lose their beginning where the table would be
 * too wide. Frees the table. QDQ_IO_ERROR: standard output cannot be
 * written; QDQ_OUT_OF_MEMORY. */
qdq_status qdq_table_print(qdq_table *table);
void qdq_table_free(qdq_table *table);

/* "1.50 GiB"; returns buffer. */
const char *qdq_size_text(uint64_t bytes, char buffer[32]);
#define QDQ_SIZE(bytes)     qdq_size_text((bytes), (char[32]){0})
#define QDQ_EXTENTS(tensor) qdq_extents_text((tensor), (char[192]){0})
/* A name from a file or a path, made safe for a terminal; four of them and their sentence fit a message. */
#define QDQ_SHOWN(text)     qdq_printable((text), (char[192]){0}, 192)

/* Colours and bold are wanted on that stream: a terminal that is not "dumb", and NO_COLOR is not set. */
bool qdq_coloured(FILE *stream);
/* Standard output has taken everything so far. */
qdq_status qdq_flush_output(void);

/* ---- Progress -------------------------------------------------------------------------------------------------- */

/* One line on standard error, if that is a terminal and quiet is false: bytes done, rate, time left. There is one at a
 * time. what: "round trip". */
void qdq_progress_begin(const char *what, bool quiet);
/* total in bytes; 0: not known. */
void qdq_progress_show(uint64_t done, uint64_t total);
/* The same as a callback of the libraries, which lets them go on. */
bool qdq_progress_took(void *context, uint64_t done, uint64_t total);
/* Removes the line. */
void qdq_progress_end(void);
/* The same from a signal's handler that ends the process. */
void qdq_progress_abort(void);

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

/* Comes before any call of the library. */
void qdq_json_begin(void);
/* A JSON file to come: opened before the work, so that a path that cannot be written is known early, and before any of
 * its JSON is built, so that an allocation that fails meanwhile is known, too. */
typedef struct qdq_json_file {
    const char *path;
    qdq_out *out; /* NULL: standard output, or none */
    char *text;   /* once prepared */
    uint64_t failures;
} qdq_json_file;

/* path: NULL for none, "-" for standard output. */
qdq_status qdq_json_open(const char *path, qdq_json_file *file);
/* Takes root's reference and writes it, with 17 digits, as far as can be without the file appearing. Does nothing for a
 * path of NULL. QDQ_OUT_OF_MEMORY: also if some part of root could not be built. */
qdq_status qdq_json_prepare(qdq_json_file *file, json_t *root);
/* The file appears; or the text goes to standard output. Needs no memory. */
qdq_status qdq_json_finish(qdq_json_file *file);
/* Both. */
qdq_status qdq_json_write(qdq_json_file *file, json_t *root);
/* The first with a text that is JSON already, ended by a newline or not; takes text. */
qdq_status qdq_json_prepare_text(qdq_json_file *file, char *text);
/* Forgets a file that was not written. */
void qdq_json_abort(qdq_json_file *file);
/* A text from a file or a path; what is no UTF-8 is escaped. */
json_t *qdq_json_text(const char *text);
/* A number; null for NaN and the infinities, which JSON does not have. */
json_t *qdq_json_number(double value);
json_t *qdq_json_shape(const qdq_tensor *tensor);

/* All of a command that knows its result: the table, and the JSON, where they are wanted. Returns the exit status. */
int qdq_print_list(const qdq_common *common, qdq_table *(*make_table)(void), json_t *(*make_json)(void));

#endif
