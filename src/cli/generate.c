/* Help, the man page and the shells' completions, all from the commands' descriptions. */
#include "cli/generate.h"

#include <string.h>

static const char summary[] = "what quantization to GGUF formats does to a model's weights, bit for bit";

static const char inputs[] =
    "IN is a .safetensors file, a *.safetensors.index.json, a directory that holds either, or a .gguf (of a split set "
    "any part stands for all). Tensors of F32, F16 and BF16 with two or more dimensions, whose rows are whole blocks, "
    "are quantized; others pass through, and are listed with the reason. Format names are ggml's, in any case. Results "
    "are the same bits on every device, at any number of threads. Output files appear whole or not at all; an input is "
    "never written.";

static const char *const exits[][2] = {
    {"0", "done"},
    {"1", "a file, a device or a file's content: the message says what and where"},
    {"2", "the command line is wrong"},
};

/* The options of a command, its own first; NULL at the end. */
typedef struct option_list {
    const qdq_cli_option *own;
    unsigned takes, next;
} option_list;

static option_list options_of(const qdq_cli_command *command) {
    return (option_list){command->options, command->takes, 0};
}

static const qdq_cli_option *next_option(option_list *list) {
    if (list->own != NULL && list->own->name != NULL) return list->own++;
    return qdq_common_option(list->takes, &list->next);
}

static bool has_letter(const qdq_cli_option *option) { return option->letter < QDQ_LONG_OPTION; }

/* ---- Help ------------------------------------------------------------------------------------------------------ */

enum { HELP_WIDTH = 80, HELP_INDENT = 29 };

/* Words from column `at` on, further lines indented; ends the line. An empty line parts paragraphs. */
static void print_wrapped(const char *text, int at, int indent) {
    bool begun = false;
    while (*text != '\0') {
        if (text[0] == '\n' && text[1] == '\n') {
            printf("\n\n%*s", indent, "");
            at = indent;
            begun = false;
            text += 2;
        }
        text += strspn(text, " \n");
        int word = (int)strcspn(text, " \n");
        if (begun && at + 1 + word > HELP_WIDTH) {
            printf("\n%*s", indent, "");
            at = indent;
            begun = false;
        }
        at += printf("%s%.*s", begun ? " " : "", word, text);
        begun = true;
        text += word;
    }
    putchar('\n');
}

static void print_option(const qdq_cli_option *option) {
    char letter[5] = "    ";
    if (has_letter(option)) snprintf(letter, sizeof letter, "-%c, ", option->letter);
    int at = printf("  %s--%s%s%s", letter, option->name, option->value != NULL ? " " : "",
                    option->value != NULL ? option->value : "");
    if (at + 2 > HELP_INDENT) at = printf("\n") - 1;
    printf("%*s", HELP_INDENT - at, "");
    print_wrapped(option->help, HELP_INDENT, HELP_INDENT);
}

void qdq_print_help(const qdq_cli_command *command) {
    printf("Usage: qdq %s [OPTION]...%s%s\n\n", command->name, command->operands[0] != '\0' ? " " : "",
           command->operands);
    print_wrapped(command->text, 0, 0);
    puts("\nOptions:");
    option_list list = options_of(command);
    for (const qdq_cli_option *o; (o = next_option(&list)) != NULL;) print_option(o);
    puts("\nExamples:");
    for (const qdq_cli_example *e = command->examples; e->what != NULL; e++)
        printf("  # %s\n  %s\n", e->what, e->command);
}

void qdq_print_overview(FILE *to) {
    fprintf(to, "Usage: qdq COMMAND [OPTION]...\n\nqdq: %s.\n\nCommands:\n", summary);
    for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++)
        fprintf(to, "  %-12s %s\n", (*c)->name, (*c)->summary);
    fputs("\n'qdq help COMMAND' shows a command's options and examples; 'qdq --version' the version.\n", to);
}

/* ---- Man page -------------------------------------------------------------------------------------------------- */

/* Text of roff: a backslash and what begins a request are escaped, and a hyphen is one that can be copied. */
static void print_roff(const char *text) {
    for (bool line_begins = true; *text != '\0'; text++) {
        if (text[0] == '\n' && text[1] == '\n') {
            fputs("\n.PP\n", stdout);
            text++;
            line_begins = true;
            continue;
        }
        if (line_begins && (*text == '.' || *text == '\'')) fputs("\\&", stdout);
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
        line_begins = *text == '\n';
    }
}

static void print_roff_line(const char *text) {
    print_roff(text);
    putchar('\n');
}

static void print_man_option(const qdq_cli_option *option) {
    puts(".TP");
    if (has_letter(option)) printf("\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", stdout);
    print_roff(option->name);
    fputs("\\fR", stdout);
    if (option->value != NULL) printf(" \\fI%s\\fR", option->value);
    putchar('\n');
    print_roff_line(option->help);
}

static void print_man_command(const qdq_cli_command *command) {
    printf(".SS qdq %s\n.PP\n\\fBqdq %s\\fR [\\fIOPTION\\fR]... ", command->name, command->name);
    print_roff_line(command->operands);
    puts(".PP");
    print_roff_line(command->text);
    option_list list = options_of(command);
    for (const qdq_cli_option *o; (o = next_option(&list)) != NULL;) print_man_option(o);
    for (const qdq_cli_example *e = command->examples; e->what != NULL; e++) {
        puts(".PP");
        print_roff(e->what);
        puts(":\n.PP\n.RS 4\n.nf");
        print_roff_line(e->command);
        puts(".fi\n.RE");
    }
}

void qdq_print_man_page(void) {
    printf(".TH QDQ 1 \"\" \"qdq %s\" \"User Commands\"\n.SH NAME\nqdq \\- ", qdq_version());
    print_roff_line(summary);
    puts(".SH SYNOPSIS\n.B qdq\n\\fICOMMAND\\fR [\\fIOPTION\\fR]...\n.SH DESCRIPTION");
    print_roff_line(inputs);
    puts(".SH COMMANDS");
    for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++) print_man_command(*c);
    puts(".SH EXIT STATUS");
    for (size_t i = 0; i < sizeof exits / sizeof *exits; i++) {
        printf(".TP\n%s\n", exits[i][0]);
        print_roff_line(exits[i][1]);
    }
    puts(".SH ENVIRONMENT\n.TP\n.B QDQ_CPU_MASK\nas \\fB\\-\\-cpu\\-mask\\fR\n.TP\n.B NO_COLOR\n"
         "if set, nothing is coloured");
}

/* ---- Completion ------------------------------------------------------------------------------------------------ */

/* The words that stand for a format, parted by spaces. */
static void print_formats(const qdq_cli_option *o) {
    for (qdq_format f = 0; f < qdq_format_count(); f++)
        if (o->arg == QDQ_ARG_TARGET || qdq_format_facts(f).block_elements > 1)
            printf("%s%s", f > 0 ? " " : "", qdq_format_facts(f).name);
    if (o->choices != NULL) printf(" %s", o->choices);
}

/* Several may be given, parted by commas. */
static bool is_list(const qdq_cli_option *o) { return strchr(o->value, ',') != NULL; }

static const char devices[] = "auto cpu cuda metal vulkan";

static void print_bash_values(const qdq_cli_command *command) {
    option_list list = options_of(command);
    for (const qdq_cli_option *o; (o = next_option(&list)) != NULL;) {
        if (o->arg == QDQ_ARG_NONE) continue;
        printf("    %s:--%s", command->name, o->name);
        if (has_letter(o)) printf("|%s:-%c", command->name, o->letter);
        fputs(") ", stdout);
        switch (o->arg) {
        case QDQ_ARG_INPUT:
        case QDQ_ARG_OUTPUT: fputs("COMPREPLY=($(compgen -f -- \"$word\"))", stdout); break;
        case QDQ_ARG_FORMAT:
        case QDQ_ARG_TARGET:
            printf("_qdq_%s ", is_list(o) ? "list" : "word");
            print_formats(o);
            break;
        case QDQ_ARG_DEVICE: printf("COMPREPLY=($(compgen -W \"%s\" -- \"$word\"))", devices); break;
        case QDQ_ARG_CHOICE: printf("COMPREPLY=($(compgen -W \"%s\" -- \"$word\"))", o->choices); break;
        default: fputs("COMPREPLY=()", stdout);
        }
        puts("; return ;;");
    }
}

static void print_bash(void) {
    /* Of a list what is before its last comma stays. */
    fputs("# bash completion of qdq\n"
          "_qdq_word() { COMPREPLY=($(compgen -W \"$*\" -- \"$word\")); }\n"
          "_qdq_list() {\n"
          "    local head=\n"
          "    case $word in *,*) head=${word%,*}, ;; esac\n"
          "    COMPREPLY=($(compgen -P \"$head\" -W \"$*\" -- \"${word##*,}\"))\n"
          "}\n"
          "_qdq() {\n    local word=${COMP_WORDS[COMP_CWORD]} "
          "before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}\n"
          "    # --option=value is three words\n"
          "    if [ \"$word\" = = ]; then word=; fi\n"
          "    if [ \"$before\" = = ]; then before=${COMP_WORDS[COMP_CWORD - 2]}; fi\n"
          "    COMPREPLY=()\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"",
          stdout);
    for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++) printf("%s ", (*c)->name);
    puts("--help --version\" -- \"$word\"))\n        return\n    fi\n    case $command:$before in");
    for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++) print_bash_values(*c);
    puts("    esac\n    local options=\n    case $command in");
    for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++) {
        printf("    %s) options=\"", (*c)->name);
        option_list list = options_of(*c);
        for (const qdq_cli_option *o; (o = next_option(&list)) != NULL;) printf("--%s ", o->name);
        puts("\" ;;");
    }
    puts("    esac\n    case $word in\n    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
         "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n    esac\n}\n"
         "complete -o filenames -F _qdq qdq");
}

/* Text inside a shell's single quotes; zsh's _arguments also takes [, ] and : for its own. */
static void print_quoted(const char *text, bool zsh) {
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputs(zsh ? "'\\''" : "\\'", stdout);
        else if (zsh && strchr("[]:\\", *text) != NULL)
            printf("\\%c", *text);
        else if (!zsh && *text == '\\')
            fputs("\\\\", stdout);
        else
            putchar(*text);
    }
}

static void print_zsh_option(const qdq_cli_option *o) {
    fputs(" \\\n            ", stdout);
    if (has_letter(o))
        printf("'(-%c --%s)'{-%c,--%s}'[", o->letter, o->name, o->letter, o->name);
    else
        printf("'--%s[", o->name);
    print_quoted(o->help, true);
    putchar(']');
    switch (o->arg) {
    case QDQ_ARG_NONE: break;
    case QDQ_ARG_TEXT: printf(":%s: ", o->value); break;
    case QDQ_ARG_INPUT:
    case QDQ_ARG_OUTPUT: printf(":%s:_files", o->value); break;
    case QDQ_ARG_DEVICE: printf(":%s:(%s)", o->value, devices); break;
    case QDQ_ARG_CHOICE: printf(":%s:(%s)", o->value, o->choices); break;
    case QDQ_ARG_FORMAT:
    case QDQ_ARG_TARGET:
        printf(is_list(o) ? ":%s:_values -s , format " : ":%s:(", o->value);
        print_formats(o);
        if (!is_list(o)) putchar(')');
    }
    putchar('\'');
}

static void print_zsh(void) {
    puts("#compdef qdq\n_qdq() {\n    if (( CURRENT == 2 )); then\n        local -a commands=(");
    for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++) {
        printf("            '%s:", (*c)->name);
        print_quoted((*c)->summary, true);
        puts("'");
    }
    puts("        )\n        _describe command commands\n        return\n    fi\n"
         "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $command in");
    for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++) {
        printf("    %s)\n        _arguments -s", (*c)->name);
        option_list list = options_of(*c);
        for (const qdq_cli_option *o; (o = next_option(&list)) != NULL;) print_zsh_option(o);
        puts(" \\\n            '*:file:_files' ;;");
    }
    puts("    esac\n}\n_qdq \"$@\"");
}

static void print_fish_option(const char *command, const qdq_cli_option *o) {
    printf("complete -c qdq -n '__fish_seen_subcommand_from %s' -l %s", command, o->name);
    if (has_letter(o)) printf(" -s %c", o->letter);
    switch (o->arg) {
    case QDQ_ARG_NONE: break;
    case QDQ_ARG_TEXT: fputs(" -x", stdout); break;
    case QDQ_ARG_INPUT:
    case QDQ_ARG_OUTPUT: fputs(" -r -F", stdout); break;
    case QDQ_ARG_DEVICE: printf(" -x -a '%s'", devices); break;
    case QDQ_ARG_CHOICE: printf(" -x -a '%s'", o->choices); break;
    case QDQ_ARG_FORMAT:
    case QDQ_ARG_TARGET:
        fputs(is_list(o) ? " -x -a '(__qdq_list " : " -x -a '", stdout);
        print_formats(o);
        fputs(is_list(o) ? ")'" : "'", stdout);
    }
    fputs(" -d '", stdout);
    print_quoted(o->help, false);
    puts("'");
}

static void print_fish(void) {
    /* Of a list what is before its last comma stays. */
    puts("# fish completion of qdq\n"
         "function __qdq_list\n"
         "    set -l head (string match -r -- '^.*,' (commandline -ct | string replace -r -- '^--[^=]*=' ''))\n"
         "    set -q head[1]; or set head ''\n"
         "    printf '%s\\n' $head$argv\n"
         "end\n"
         "complete -c qdq -n __fish_use_subcommand -f");
    for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++) {
        printf("complete -c qdq -n __fish_use_subcommand -a %s -d '", (*c)->name);
        print_quoted((*c)->summary, false);
        puts("'");
    }
    for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++) {
        option_list list = options_of(*c);
        for (const qdq_cli_option *o; (o = next_option(&list)) != NULL;) print_fish_option((*c)->name, o);
    }
}

bool qdq_print_completion(const char *shell) {
    if (strcmp(shell, "bash") == 0)
        print_bash();
    else if (strcmp(shell, "zsh") == 0)
        print_zsh();
    else if (strcmp(shell, "fish") == 0)
        print_fish();
    else
        return false;
    return true;
}
