/* A signal leaves no half-written file. */
#include <stdlib.h>

#include "cli/cli.h"

/* What lies half-written goes, and so does the line of progress. */
static void leave_nothing(void) {
    qdq_out_abort_all();
    qdq_progress_abort();
}

/* In a handler no more can be done than to leave out what could drive the terminal. */
static void say_safely(const char *text) {
    for (; *text != '\0'; text++) {
        const char piece[2] = {*text >= ' ' && *text < 0x7f ? *text : '?', '\0'};
        qdq_command_say(piece);
    }
}

/* A mapped input became shorter, or its disk failed. A bug elsewhere keeps its usual end. */
static void lost_input(const void *address) {
    const char *path = qdq_mapped_path(address);
    if (path == NULL) return;
    leave_nothing();
    qdq_command_say("qdq: ");
    say_safely(path);
    qdq_command_say(": can no longer be read: it was cut short while in use, or its disk fails; no output was left\n");
    _Exit(QDQ_EXIT_FAILED);
}

void qdq_guard(void) { qdq_command_guard(leave_nothing, lost_input); }
