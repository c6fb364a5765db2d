/* Standard error for people: messages, and one line of progress. */
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

bool qdq_coloured(FILE *stream) {
    const char *no_colour = getenv("NO_COLOR");
    if (no_colour != NULL && no_colour[0] != '\0') return false;
    return qdq_terminal_obeys(stream);
}

const char *qdq_size_text(uint64_t bytes, char buffer[32]) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        snprintf(buffer, 32, "%llu B", (unsigned long long)bytes);
        return buffer;
    }
    double value = (double)bytes / 1024;
    size_t unit = 0;
    for (; value >= 1023.995 && unit < 5; unit++) value /= 1024;
    snprintf(buffer, 32, "%.2f %s", value, units[unit]);
    return buffer;
}

/* ---- Progress -------------------------------------------------------------------------------------------------- */

static struct {
    const char *what; /* NULL: no line */
    double began, shown;
    volatile sig_atomic_t visible;
} progress;

static void erase(void) {
    if (progress.visible) fputs("\r\033[K", stderr);
    progress.visible = false;
}

void qdq_progress_begin(const char *what, bool quiet) {
    progress.what = NULL;
    if (quiet || !qdq_terminal_obeys(stderr)) return;
    progress.what = what;
    progress.began = progress.shown = qdq_seconds();
}

static void show_time(double seconds) {
    unsigned long s = seconds < 3.6e6 ? (unsigned long)(seconds + 0.5) : 3600000;
    if (s >= 3600)
        fprintf(stderr, ", %lu:%02lu:%02lu left", s / 3600, s / 60 % 60, s % 60);
    else
        fprintf(stderr, ", %lu:%02lu left", s / 60, s % 60);
}

void qdq_progress_show(uint64_t done, uint64_t total) {
    if (progress.what == NULL) return;
    double now = qdq_seconds(), passed = now - progress.began;
    if (now - progress.shown < 0.1) return;
    progress.shown = now;
    erase();
    progress.visible = true; /* first: a signal may come between the line's pieces */
    fprintf(stderr, "%s: %s", progress.what, QDQ_SIZE(done));
    if (total > 0) fprintf(stderr, " of %s", QDQ_SIZE(total));
    fprintf(stderr, ", %s/s", QDQ_SIZE((uint64_t)((double)done / passed)));
    if (total > done && done > 0) show_time(passed * (double)(total - done) / (double)done);
    fflush(stderr);
}

bool qdq_progress_took(void *context, uint64_t done, uint64_t total) {
    (void)context;
    qdq_progress_show(done, total);
    return true;
}

void qdq_progress_end(void) {
    erase();
    progress.what = NULL;
}

void qdq_progress_abort(void) {
    if (progress.visible) qdq_command_say("\r\033[K");
}

/* ---- Messages -------------------------------------------------------------------------------------------------- */

static char *kept; /* NULL: messages are shown */
static size_t kept_room;

void qdq_complain_into(char *buffer, size_t room) {
    kept = buffer;
    kept_room = room;
}

void qdq_complain(const char *format, ...) {
    char message[2048], safe[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    erase();
    if (kept != NULL)
        snprintf(kept, kept_room, "%s", message);
    else
        fprintf(stderr, "qdq: %s\n", qdq_printable(message, safe, sizeof safe));
}

void qdq_point_to_help(const char *command) {
    if (kept == NULL) fprintf(stderr, "Try 'qdq%s%s --help'.\n", command[0] != '\0' ? " " : "", command);
}

const char *qdq_explanation(void) {
    static char text[1536];
    static const char *const options[] = {
        [QDQ_ADVICE_NONE] = "",
        [QDQ_ADVICE_ALLOW_NON_FINITE] = "; mend the file, or say --allow-non-finite",
        [QDQ_ADVICE_IMATRIX] = ": give --imatrix FILE, as llama-imatrix makes it",
        [QDQ_ADVICE_NAMES] = ": give --arch NAME or --map FILE",
        [QDQ_ADVICE_MAP] = ": give --map FILE",
        [QDQ_ADVICE_HF] = ": give --hf MODEL, the model they were taken of, or plan from that model itself",
        [QDQ_ADVICE_EXCEPTION] = "; give one that has, or another type by --tensor-type",
        [QDQ_ADVICE_OTHER_WEIGHTS] = "; if that is so, since the model was trained further, say --other-weights",
        [QDQ_ADVICE_LIKE] = ": say --like FILE.gguf, a published GGUF of the same model, whatever its types; or say -f "
                            "FORMAT for one format",
        [QDQ_ADVICE_REQUANTIZE] = ", or say --allow-requantize to lose twice",
    };
    qdq_advice advice = qdq_error_advice();
    bool known = (unsigned)advice < sizeof options / sizeof *options;
    snprintf(text, sizeof text, "%s%s", qdq_error_message(), known ? options[advice] : "");
    return text;
}

int qdq_exit_failure(qdq_status status) {
    /* Whoever looks for the cause in a script looks for these words, also where a device's message has others. */
    const char *message = qdq_explanation();
    bool unsaid = status == QDQ_OUT_OF_MEMORY && strstr(message, "out of memory") == NULL;
    qdq_complain("%s%s", unsaid ? "out of memory: " : "", message);
    return status == QDQ_INVALID_ARGUMENT ? QDQ_EXIT_USAGE : QDQ_EXIT_FAILED;
}

qdq_status qdq_flush_output(void) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return QDQ_OK;
    return qdq_fail(QDQ_IO_ERROR, "standard output cannot be written: %s", strerror(errno));
}
