/* What Windows alone has, with the command itself: windows_test PATH/TO/qdq.exe. Long paths, names that are no ASCII, a
 * console's colours and width, Ctrl-C.
 *
 * Consoles are pseudo consoles of the test's own. A program gets a console's streams from one that lives in it: this
 * one, once more, as "windows_test inside INTERRUPTED FOLDER COMMAND-LINE". */
#include "support.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "base/platform_files.h"

static const char *qdq;
static char folder[MAX_PATH]; /* an empty one, for each test */

/* ---- Files ------------------------------------------------------------------------------------------------------ */

static wchar_t *wide(const char *text) {
    int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, NULL, 0);
    assert_true(n > 0);
    wchar_t *result = calloc((size_t)n, sizeof *result);
    assert_non_null(result);
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, result, n);
    return result;
}

/* By Windows' own call for paths of any length: whole, with backslashes, and marked. */
static bool is_there(const char *path) {
    char marked[4096] = "\\\\?\\";
    assert_true(strlen(path) < sizeof marked - 4);
    strcpy(marked + 4, path);
    for (char *c = marked; *c != '\0'; c++)
        if (*c == '/') *c = '\\';
    wchar_t *name = wide(marked);
    bool there = GetFileAttributesW(name) != INVALID_FILE_ATTRIBUTES;
    free(name);
    return there;
}

/* rows x 256 weights in f32, as safetensors. */
static void write_model(const char *path, size_t rows) {
    char header[256];
    size_t bytes = rows * 256 * sizeof(float);
    int n = snprintf(header + 8, sizeof header - 8,
                     "{\"model.layers.0.self_attn.q_proj.weight\":{\"dtype\":\"F32\",\"shape\":[%zu,256],"
                     "\"data_offsets\":[0,%zu]}}",
                     rows, bytes);
    memcpy(header, &(uint64_t){(uint64_t)n}, 8);
    qdq_file file = qdq_file_create(path, 0666);
    if (file == QDQ_NO_FILE) fail_msg("%s: %s", path, strerror(errno));
    assert_int_equal(qdq_file_write(file, header, (size_t)n + 8, 0), n + 8);
    float row[256];
    uint64_t seed = 1, at = (uint64_t)n + 8;
    for (size_t i = 0; i < 256; i++) row[i] = random_float(&seed);
    for (size_t i = 0; i < rows; i++, at += sizeof row)
        assert_int_equal(qdq_file_write(file, row, sizeof row, at), sizeof row);
    qdq_file_close(file);
}

static int begin(void **state) {
    static int number;
    char above[MAX_PATH - 64];
    (void)state;
    GetTempPathA(sizeof above, above);
    snprintf(folder, sizeof folder, "%sqdq-windows-%lu-%d", above, GetCurrentProcessId(), number++);
    return CreateDirectoryA(folder, NULL) ? 0 : -1;
}

/* path and all below it. */
static void remove_all(const char *path) {
    qdq_directory *directory = qdq_directory_open(path);
    const char *name;
    while (directory && (name = qdq_directory_next(directory))) {
        char below[4096];
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        snprintf(below, sizeof below, "%s\\%s", path, name);
        qdq_file_info info;
        if (qdq_path_info(below, &info) && info.kind == QDQ_FILE_DIRECTORY)
            remove_all(below);
        else
            qdq_file_remove(below);
    }
    if (directory) qdq_directory_close(directory);
    qdq_directory_remove(path);
}

static int end(void **state) {
    (void)state;
    remove_all(folder);
    return is_there(folder) ? -1 : 0;
}

/* ---- Programs --------------------------------------------------------------------------------------------------- */

typedef struct output {
    HANDLE reader;
    char *text;
    size_t length;
} output;

static DWORD WINAPI collect(void *context) {
    output *o = context;
    char piece[4096];
    DWORD n;
    while (ReadFile(o->reader, piece, sizeof piece, &n, NULL) && n > 0) {
        o->text = realloc(o->text, o->length + n + 1);
        for (DWORD i = 0; i < n; i++) /* a pseudo console may send zeros */
            if (piece[i] != '\0') o->text[o->length++] = piece[i];
        o->text[o->length] = '\0';
    }
    return 0;
}

static DWORD status_of(PROCESS_INFORMATION *process) {
    DWORD status = 0;
    WaitForSingleObject(process->hProcess, INFINITE);
    GetExitCodeProcess(process->hProcess, &status);
    CloseHandle(process->hThread);
    CloseHandle(process->hProcess);
    return status;
}

/* The command on pipes; what it printed, to be freed, is UTF-8. */
static DWORD run(const char *arguments, char **printed) {
    char line[16384];
    snprintf(line, sizeof line, "\"%s\" %s", qdq, arguments);
    SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
    output o = {.text = calloc(1, 1)};
    HANDLE writer;
    assert_true(CreatePipe(&o.reader, &writer, &inherited, 0));
    SetHandleInformation(o.reader, HANDLE_FLAG_INHERIT, 0);
    STARTUPINFOW start = {
        .cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES, .hStdOutput = writer, .hStdError = writer};
    PROCESS_INFORMATION process;
    wchar_t *wide_line = wide(line);
    if (!CreateProcessW(NULL, wide_line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process))
        fail_msg("%s: error %lu", line, GetLastError());
    free(wide_line);
    CloseHandle(writer);
    collect(&o);
    CloseHandle(o.reader);
    *printed = o.text;
    return status_of(&process);
}

/* The command in a console of that many columns; interrupted: by Ctrl-C, as soon as there is more in
 * the folder than before. *shown: what the console shows, with its sequences. */
static DWORD run_in_console(int columns, bool interrupted, const char *arguments, char **shown) {
    char line[16384], own[MAX_PATH];
    GetModuleFileNameA(NULL, own, sizeof own);
    snprintf(line, sizeof line, "\"%s\" inside %d \"%s\" \"%s\" %s", own, interrupted, folder, qdq, arguments);
    output o = {.text = calloc(1, 1)};
    HANDLE console_in, in, console_out;
    assert_true(CreatePipe(&console_in, &in, NULL, 0));
    assert_true(CreatePipe(&o.reader, &console_out, NULL, 0));
    HPCON console;
    HRESULT made = CreatePseudoConsole((COORD){(SHORT)columns, 50}, console_in, console_out, 0, &console);
    if (FAILED(made)) fail_msg("no pseudo console: %lx", (unsigned long)made);
    CloseHandle(console_in);
    CloseHandle(console_out);
    STARTUPINFOEXW start = {.StartupInfo.cb = sizeof start};
    SIZE_T bytes = 0;
    InitializeProcThreadAttributeList(NULL, 1, 0, &bytes);
    start.lpAttributeList = malloc(bytes);
    assert_true(InitializeProcThreadAttributeList(start.lpAttributeList, 1, 0, &bytes) &&
                UpdateProcThreadAttribute(start.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE, console,
                                          sizeof console, NULL, NULL));
    PROCESS_INFORMATION process;
    wchar_t *wide_line = wide(line);
    if (!CreateProcessW(NULL, wide_line, NULL, NULL, FALSE, EXTENDED_STARTUPINFO_PRESENT, NULL, NULL,
                        &start.StartupInfo, &process))
        fail_msg("%s: error %lu", line, GetLastError());
    free(wide_line);
    HANDLE collector = CreateThread(NULL, 0, collect, &o, 0, NULL);
    DWORD status = status_of(&process);
    ClosePseudoConsole(console); /* which is the end of what it shows */
    WaitForSingleObject(collector, INFINITE);
    CloseHandle(collector);
    CloseHandle(o.reader);
    CloseHandle(in);
    DeleteProcThreadAttributeList(start.lpAttributeList);
    free(start.lpAttributeList);
    *shown = o.text;
    return status;
}

static int entries_of(const char *path) {
    int n = 0;
    qdq_directory *directory = qdq_directory_open(path);
    while (directory && qdq_directory_next(directory)) n++;
    if (directory) qdq_directory_close(directory);
    return n;
}

static BOOL WINAPI stay(DWORD event) {
    (void)event;
    return TRUE;
}

/* The console's own side. 96 and above: it could not be done. */
static int inside(bool interrupted, const char *path, const wchar_t *line) {
    SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
    HANDLE out = CreateFileW(L"CONOUT$", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited,
                             OPEN_EXISTING, 0, NULL);
    HANDLE in = CreateFileW(L"CONIN$", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited,
                            OPEN_EXISTING, 0, NULL);
    STARTUPINFOW start = {
        .cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES, .hStdInput = in, .hStdOutput = out, .hStdError = out};
    PROCESS_INFORMATION process;
    int before = entries_of(path);
    wchar_t *own = _wcsdup(line);
    if (!own || !CreateProcessW(NULL, own, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process)) return 99;
    free(own);
    if (interrupted) {
        while (entries_of(path) == before)
            if (WaitForSingleObject(process.hProcess, 1) != WAIT_TIMEOUT) return 98;
        SetConsoleCtrlHandler(stay, TRUE);
        if (!GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)) return 97;
    }
    return (int)status_of(&process);
}

/* ---- Tests ------------------------------------------------------------------------------------------------------ */

static void runs(const char *arguments) {
    char *printed;
    DWORD status = run(arguments, &printed);
    if (status != 0) fail_msg("qdq %s: %lu: %s", arguments, status, printed);
    free(printed);
}

/* Inputs, outputs, and a folder of shards, past Windows' old limit of 260 characters; a path that is relative, too. */
static void test_long_paths(void **state) {
    (void)state;
    char path[2048], arguments[8192], output_path[2112];
    snprintf(path, sizeof path, "%s", folder);
    for (int i = 0; i < 4; i++) {
        size_t length = strlen(path);
        path[length++] = '\\';
        memset(path + length, 'a' + i, 120);
        path[length + 120] = '\0';
        assert_true(qdq_directory_make(path));
        assert_true(is_there(path));
    }
    assert_true(strlen(path) > 480);
    char model[2112];
    snprintf(model, sizeof model, "%s\\model.safetensors", path);
    write_model(model, 4);
    qdq_file_info info;
    assert_true(qdq_path_info(model, &info) && info.kind == QDQ_FILE_REGULAR);
    assert_int_equal(entries_of(path), 3);                        /* with . and .. */
    const char *const outputs[] = {"o.gguf", "o.gguf", "e.json"}; /* once more: in place of what is there */
    const char *const commands[] = {"quantize -f q8_0 \"%s\" -o \"%s\"", "quantize -f q4_0 \"%s\" -o \"%s\"",
                                    "error -f q4_0 \"%s\" --json \"%s\""};
    for (int i = 0; i < 3; i++) {
        snprintf(output_path, sizeof output_path, "%s\\%s", path, outputs[i]);
        snprintf(arguments, sizeof arguments,
                 i == 0   ? commands[0]
                 : i == 1 ? commands[1]
                          : commands[2],
                 model, output_path);
        runs(arguments);
        assert_true(is_there(output_path));
    }
    snprintf(arguments, sizeof arguments, "error -f q4_0 \"%s\"", path); /* the folder */
    runs(arguments);
    for (char *c = model; *c != '\0'; c++)
        if (*c == '\\') *c = '/';
    snprintf(arguments, sizeof arguments, "error -f q4_0 \"%s\"", model); /* as people of other systems write it */
    runs(arguments);
    char *printed;
    snprintf(arguments, sizeof arguments, "error -f q4_0 \"%s\\none.gguf\"", path);
    assert_int_equal(run(arguments, &printed), 1);
    if (!strstr(printed, ": cannot be opened: No such file")) fail_msg("%s", printed);
    free(printed);
}

/* In arguments, on disk and in what is printed: the same UTF-8. */
static void test_names(void **state) {
    (void)state;
    static const char *const names[] = {"f\xC3\xBC\xC3\x9F", "\xE6\xA8\xA1\xE5\x9E\x8B", "\xF0\x9F\x98\x80 two words",
                                        "\xD0\xBC\xD0\xBE\xD0\xB4\xD0\xB5\xD0\xBB\xD1\x8C"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char model[512], out[512], arguments[2048], *printed;
        snprintf(model, sizeof model, "%s\\%s.safetensors", folder, names[i]);
        snprintf(out, sizeof out, "%s\\%s.gguf", folder, names[i]);
        write_model(model, 4);
        assert_true(is_there(model));
        snprintf(arguments, sizeof arguments, "quantize -f q8_0 \"%s\" -o \"%s\"", model, out);
        runs(arguments);
        assert_true(is_there(out));
        snprintf(arguments, sizeof arguments, "error -f q8_0 \"%s.none\"", model);
        assert_int_equal(run(arguments, &printed), 1);
        if (!strstr(printed, names[i])) fail_msg("%s: %s", names[i], printed);
        free(printed);
    }
}

static void test_colours(void **state) {
    (void)state;
    char *shown;
    assert_int_equal(run_in_console(100, false, "formats", &shown), 0);
    if (!strstr(shown, "\033[1m")) fail_msg("no bold: %s", shown);
    assert_non_null(strstr(shown, "q4_0"));
    free(shown);
    SetEnvironmentVariableA("NO_COLOR", "1");
    assert_int_equal(run_in_console(100, false, "formats", &shown), 0);
    SetEnvironmentVariableA("NO_COLOR", NULL);
    assert_null(strstr(shown, "\033[1m"));
    assert_non_null(strstr(shown, "q4_0"));
    free(shown);
    assert_int_equal(run("formats", &shown), 0);
    assert_null(strchr(shown, '\033'));
    free(shown);
}

/* A table fits the console; where that takes less than a whole name, its end is shown, in UTF-8. */
static void test_width(void **state) {
    (void)state;
    char model[512], arguments[2048], *shown;
    snprintf(model, sizeof model, "%s\\model.safetensors", folder);
    write_model(model, 4);
    snprintf(arguments, sizeof arguments, "error -f q4_0 \"%s\"", model);
    assert_int_equal(run_in_console(200, false, arguments, &shown), 0);
    if (!strstr(shown, "model.layers.0.self_attn.q_proj.weight")) fail_msg("at 200: %s", shown);
    free(shown);
    assert_int_equal(run_in_console(70, false, arguments, &shown), 0);
    if (strstr(shown, "model.layers.0.self_attn.q_proj.weight") || !strstr(shown, "\xE2\x80\xA6") ||
        !strstr(shown, "q_proj.weight"))
        fail_msg("at 70: %s", shown);
    free(shown);
}

/* What is half-written goes, and what was there stays. */
static void test_interrupted(void **state) {
    (void)state;
    char model[512], kept[512], arguments[2048], *shown;
    snprintf(model, sizeof model, "%s\\model.safetensors", folder);
    write_model(model, 1 << 15);
    snprintf(kept, sizeof kept, "%s\\kept.gguf", folder);
    write_model(kept, 1);
    qdq_file_info first;
    assert_true(qdq_path_info(kept, &first));
    uint64_t kept_bytes = first.bytes;
    static const char *const outputs[] = {"new.gguf", "kept.gguf"};
    int before = entries_of(folder);
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        snprintf(arguments, sizeof arguments, "quantize -f iq3_s -d cpu --cpu-mask 1 --threads 1 \"%s\" -o \"%s\\%s\"",
                 model, folder, outputs[i]);
        DWORD status = run_in_console(80, true, arguments, &shown);
        if (status >= 96 && status <= 99) fail_msg("%s: %lu: %s", outputs[i], status, shown);
        free(shown);
        /* Wine's server removes what Windows would at once some time later. */
        for (int tries = 0; tries < 1000 && entries_of(folder) != before; tries++) Sleep(10);
        assert_int_equal(entries_of(folder), before);
        qdq_file_info info;
        assert_true(qdq_path_info(kept, &info));
        assert_int_equal(info.bytes, kept_bytes);
    }
}

int main(int argc, char **argv) {
    if (argc >= 5 && strcmp(argv[1], "inside") == 0) {
        /* What follows the third argument, as it was given: names in it are no ASCII. */
        const wchar_t *line = wcsstr(GetCommandLineW(), L"\" inside ");
        line = line ? wcschr(line + 11, L'"') : NULL;
        line = line ? wcschr(line + 1, L'"') : NULL;
        return line ? inside(atoi(argv[2]) != 0, argv[3], line + 2) : 96;
    }
    if (argc < 2) return puts("windows_test PATH/TO/qdq.exe"), 2;
    qdq = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_long_paths, begin, end),
        cmocka_unit_test_setup_teardown(test_names, begin, end),
        cmocka_unit_test_setup_teardown(test_colours, begin, end),
        cmocka_unit_test_setup_teardown(test_width, begin, end),
        cmocka_unit_test_setup_teardown(test_interrupted, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
