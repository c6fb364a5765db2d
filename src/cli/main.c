/* The command: finds the subcommand. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/generate.h"

const qdq_cli_command *const qdq_cli_commands[] = {
#define COMMAND(name) &qdq_cli_##name,
#include "cli/commands.def"
#undef COMMAND
    NULL,
};

/* ---- Dispatch -------------------------------------------------------------------------------------------------- */

static const qdq_cli_command *find(const char *name) {
    for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++)
        if (strcmp((*c)->name, name) == 0) return *c;
    return NULL;
}

static int printed(void) { return qdq_flush_output() == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(QDQ_IO_ERROR); }

/* The command that is meant by a word that is nearly its name, or NULL. */
static const char *meant(const char *word) {
    for (unsigned far = 1; far <= QDQ_MISSPELT; far++)
        for (const qdq_cli_command *const *c = qdq_cli_commands; *c != NULL; c++)
            if (qdq_misspelt(word, (*c)->name) == far) return (*c)->name;
    return NULL;
}

static int wrong(const char *what, const char *name) {
    const char *other = meant(name);
    if (other != NULL)
        qdq_complain("%s '%s'; did you mean '%s'?", what, name, other);
    else
        qdq_complain("%s '%s'", what, name);
    qdq_point_to_help("");
    return QDQ_EXIT_USAGE;
}

static int help(const char *name) {
    const qdq_cli_command *command = name != NULL ? find(name) : NULL;
    if (name != NULL && command == NULL) return wrong("no command is called", name);
    if (command != NULL)
        qdq_print_help(command);
    else
        qdq_print_overview(stdout);
    return printed();
}

int main(int argc, char **argv) {
    qdq_command_begin(&argc, &argv);
    qdq_json_begin();
    qdq_guard();
    if (argc < 2) {
        qdq_print_overview(stderr);
        return QDQ_EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return help(NULL);
    if (strcmp(word, "help") == 0) return help(argc > 2 && strcmp(argv[2], "help") != 0 ? argv[2] : NULL);
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("qdq %s\n", qdq_version());
        return printed();
    }
    /* For the build: docs/qdq.1 and the completions. */
    if (strcmp(word, "--man") == 0) {
        qdq_print_man_page();
        return printed();
    }
    if (strcmp(word, "--completion") == 0) {
        if (argc < 3 || !qdq_print_completion(argv[2])) return wrong("no completion for", argc > 2 ? argv[2] : "");
        return printed();
    }
    const qdq_cli_command *command = find(word);
    if (command == NULL) return wrong(word[0] == '-' ? "no option is called" : "no command is called", word);
    return command->run(argc - 1, argv + 1);
}
