/* Arguments, standard streams, the console and how a process is ended, on Windows. */
#include "base/platform_command.h"

#include <fcntl.h>
#include <io.h>
#include <stdlib.h>
#include <string.h>

#include "base/platform_windows.h"

/* ---- Standard streams and arguments --------------------------------------------------------------------------------
 */

/* For output it is opened for reading, so that printing still fails. */
static void occupy_stream(FILE *stream, const char *mode) {
    if (_fileno(stream) < 0 || _get_osfhandle(_fileno(stream)) < 0)
        stream = freopen("NUL", mode, stream);
    else
        _setmode(_fileno(stream), _O_BINARY);
    (void)stream;
}

static UINT code_page; /* that the console had */

static void give_code_page_back(void) { SetConsoleOutputCP(code_page); }

static void prepare_console(void) {
    static const DWORD streams[] = {STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
    bool console = false;
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        DWORD mode;
        HANDLE handle = GetStdHandle(streams[i]);
        if (!GetConsoleMode(handle, &mode)) continue;
        SetConsoleMode(handle, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
        console = true;
    }
    if (!console) return;
    /* What the C library writes to a console unbuffered comes in pieces, which part sequences and characters. */
    if (qdq_is_terminal(stdout)) setvbuf(stdout, NULL, _IOFBF, 1 << 14);
    code_page = GetConsoleOutputCP();
    if (code_page != CP_UTF8 && SetConsoleOutputCP(CP_UTF8)) atexit(give_code_page_back);
}

/* Of the C library, as they were given: those of main() are of the old code page. (shell32 has a call for it, too, but
 * loading that takes as long as all else of a start.) */
int __cdecl __wgetmainargs(int *argc, wchar_t ***argv, wchar_t ***environment, int expand, int *new_mode);

static void take_arguments(int *argc, char ***argv) {
    int n = 0, new_mode = 0;
    wchar_t **wide = NULL, **environment;
    bool given = __wgetmainargs(&n, &wide, &environment, 0, &new_mode) == 0;
    char **arguments = given ? calloc((size_t)n + 1, sizeof *arguments) : NULL;
    for (int i = 0; arguments && i < n; i++)
        if (!(arguments[i] = qdq_windows_utf8(wide[i]))) arguments = NULL;
    if (!arguments) {
        qdq_command_say("qdq: out of memory for the arguments\n");
        _Exit(1);
    }
    *argc = n;
    *argv = arguments;
}

void qdq_command_begin(int *argc, char ***argv) {
    occupy_stream(stdin, "r");
    occupy_stream(stdout, "r");
    occupy_stream(stderr, "w");
    prepare_console();
    take_arguments(argc, argv);
}

void qdq_command_say(const char *text) {
    DWORD written;
    WriteFile(GetStdHandle(STD_ERROR_HANDLE), text, (DWORD)strlen(text), &written, NULL);
}

/* ---- How it is ended -----------------------------------------------------------------------------------------------
 */

static void (*clean_up)(void);
static void (*lost_memory)(const void *);

/* On a thread of its own. What comes next, since this has not taken it, is the end. */
static BOOL WINAPI told_to_end(DWORD event) {
    (void)event;
    clean_up();
    return FALSE;
}

static LONG CALLBACK look_at(EXCEPTION_POINTERS *exception) {
    const EXCEPTION_RECORD *record = exception->ExceptionRecord;
    if (record->ExceptionCode == EXCEPTION_IN_PAGE_ERROR && record->NumberParameters >= 2)
        lost_memory((const void *)record->ExceptionInformation[1]);
    return EXCEPTION_CONTINUE_SEARCH;
}

void qdq_command_guard(void (*clean)(void), void (*lost)(const void *address)) {
    clean_up = clean;
    lost_memory = lost;
    SetConsoleCtrlHandler(told_to_end, TRUE);
    AddVectoredExceptionHandler(1, look_at);
}

/* ---- The terminal ------------------------------------------------------------------------------------------------ */

static HANDLE handle_of(FILE *stream) { return (HANDLE)_get_osfhandle(_fileno(stream)); }

bool qdq_is_terminal(FILE *stream) {
    DWORD mode;
    return GetConsoleMode(handle_of(stream), &mode);
}

bool qdq_terminal_obeys(FILE *stream) {
    DWORD mode;
    const char *terminal = getenv("TERM");
    return GetConsoleMode(handle_of(stream), &mode) && (mode & ENABLE_VIRTUAL_TERMINAL_PROCESSING) &&
           (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

size_t qdq_terminal_columns(void) {
    CONSOLE_SCREEN_BUFFER_INFO info;
    if (!GetConsoleScreenBufferInfo(GetStdHandle(STD_OUTPUT_HANDLE), &info)) return 0;
    return (size_t)(info.srWindow.Right - info.srWindow.Left + 1);
}
