/* Standard streams, signals and the terminal of POSIX. */
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
#include "base/platform_command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- Standard streams ------------------------------------------------------------------------------------------- */

/* A stream that the parent has closed leaves its descriptor to the next file that is opened, which then would get what
 * is printed. The null device takes its place: for output it is opened for reading, so that printing still fails. */
void qdq_command_begin(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF) open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);
}

void qdq_command_say(const char *text) {
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

/* ---- Signals --------------------------------------------------------------------------------------------------- */

static void (*clean_up)(void);
static void (*lost_memory)(const void *);

static void end_by(int number) {
    clean_up();
    signal(number, SIG_DFL);
    raise(number); /* blocked until this returns; then the parent sees what ended the process */
}

static void end_by_bus_error(int number, siginfo_t *info, void *context) {
    (void)context;
    lost_memory(info->si_addr);
    end_by(number);
}

void qdq_command_guard(void (*clean)(void), void (*lost)(const void *address)) {
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    clean_up = clean;
    lost_memory = lost;
    struct sigaction action = {.sa_handler = end_by}, before;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        /* What the parent has told us to ignore (nohup) stays ignored. */
        if (sigaction(ends[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN) continue;
        sigaction(ends[i], &action, NULL);
    }
    struct sigaction bus = {.sa_sigaction = end_by_bus_error, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &bus, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file's size limit shows as a failed write */
}

/* ---- The terminal ------------------------------------------------------------------------------------------------ */

bool qdq_is_terminal(FILE *stream) { return isatty(fileno(stream)); }

bool qdq_terminal_obeys(FILE *stream) {
    const char *terminal = getenv("TERM");
    return qdq_is_terminal(stream) && terminal != NULL && strcmp(terminal, "dumb") != 0;
}

size_t qdq_terminal_columns(void) {
    struct winsize size;
    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
