/* Files, directories and paths of Windows. */
#include "base/platform_files.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/platform_windows.h"

/* ---- Errors and texts -------------------------------------------------------------------------------------------- */

static int meaning(DWORD error) {
    switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_DRIVE:
    case ERROR_BAD_NETPATH:
    case ERROR_BAD_NET_NAME:
    case ERROR_MOD_NOT_FOUND:
    case ERROR_NO_MORE_FILES: return ENOENT;
    case ERROR_INVALID_NAME:
    case ERROR_BAD_PATHNAME: return EINVAL;
    case ERROR_DIRECTORY: return ENOTDIR;
    case ERROR_FILENAME_EXCED_RANGE: return ENAMETOOLONG;
    case ERROR_TOO_MANY_OPEN_FILES: return EMFILE;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
    case ERROR_WRITE_PROTECT:
    case ERROR_USER_MAPPED_FILE:
    case ERROR_DELETE_PENDING: return EACCES;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS: return EEXIST;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_COMMITMENT_LIMIT: return ENOMEM;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
    case ERROR_DISK_QUOTA_EXCEEDED: return ENOSPC;
    case ERROR_FILE_TOO_LARGE: return EFBIG;
    case ERROR_NOT_SAME_DEVICE: return EXDEV;
    case ERROR_DIR_NOT_EMPTY: return ENOTEMPTY;
    case ERROR_BAD_EXE_FORMAT: return ENOEXEC;
    case ERROR_NO_UNICODE_TRANSLATION: return EILSEQ;
    default: return EIO;
    }
}

void qdq_windows_failed(void) { errno = meaning(GetLastError()); }

char *qdq_windows_utf8(const wchar_t *text) {
    int n = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
    char *result = malloc(n > 0 ? (size_t)n : 1);
    if (!result) return NULL;
    if (n <= 0 || WideCharToMultiByte(CP_UTF8, 0, text, -1, result, n, NULL, NULL) <= 0) result[0] = '\0';
    return result;
}

/* Of UTF-8; free it. NULL: errno. */
static wchar_t *wide_text(const char *text) {
    int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, NULL, 0);
    if (n <= 0) {
        qdq_windows_failed();
        return NULL;
    }
    wchar_t *result = malloc((size_t)n * sizeof *result);
    if (result) MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, result, n);
    return result;
}

/* Paths of 248 characters and more are taken in one form only: whole, with its mark before them. */
wchar_t *qdq_windows_path(const char *path) {
    static const wchar_t mark[] = L"\\\\?\\", unc[] = L"\\\\?\\UNC";
    wchar_t *given = wide_text(strcmp(path, "/dev/null") == 0 ? "NUL" : path);
    if (!given) return NULL;
    DWORD room = GetFullPathNameW(given, 0, NULL, NULL);
    wchar_t *result = room > 0 ? malloc((room + 8) * sizeof *result) : NULL;
    wchar_t *whole = result ? result + 8 : NULL;
    if (room == 0) errno = given[0] == L'\0' ? ENOENT : EINVAL;
    if (whole) {
        DWORD length = GetFullPathNameW(given, room, whole, NULL);
        bool share = wcsncmp(whole, L"\\\\", 2) == 0, device = share && (whole[2] == L'?' || whole[2] == L'.');
        size_t at = 0;
        if (length >= 248 && !device && share) {
            whole++; /* one backslash of two */
            wcscpy(result, unc);
            at = wcslen(unc);
        } else if (length >= 248 && !device) {
            wcscpy(result, mark);
            at = wcslen(mark);
        }
        memmove(result + at, whole, (wcslen(whole) + 1) * sizeof *whole);
    }
    free(given);
    return result;
}

/* ---- Paths ------------------------------------------------------------------------------------------------------ */

bool qdq_path_is_separator(char c) { return c == '/' || c == '\\'; }

static bool has_drive(const char *path) {
    return ((path[0] >= 'a' && path[0] <= 'z') || (path[0] >= 'A' && path[0] <= 'Z')) && path[1] == ':';
}

/* Whatever does not lie below the current directory. */
bool qdq_path_is_absolute(const char *path) { return qdq_path_is_separator(path[0]) || has_drive(path); }

const char *qdq_path_last(const char *path) {
    const char *last = has_drive(path) ? path + 2 : path;
    for (const char *at = last; *at != '\0'; at++)
        if (qdq_path_is_separator(*at)) last = at + 1;
    return last;
}

size_t qdq_path_directory(const char *path) {
    size_t length = (size_t)(qdq_path_last(path) - path), root = has_drive(path) ? 2 : 0;
    if (length > root && qdq_path_is_separator(path[root])) root++;
    return length > root ? length - 1 : length;
}

/* ---- What there is ---------------------------------------------------------------------------------------------- */

static bool is_null_device(const wchar_t *path) { return _wcsicmp(path, L"\\\\.\\NUL") == 0; }

static bool describe(HANDLE handle, qdq_file_info *info) {
    FILE_STANDARD_INFO standard;
    FILE_BASIC_INFO basic;
    FILE_ID_INFO id;
    BY_HANDLE_FILE_INFORMATION old;
    *info = (qdq_file_info){.kind = QDQ_FILE_OTHER, .mode = 0666};
    if (GetFileType(handle) != FILE_TYPE_DISK) return true;
    if (!GetFileInformationByHandleEx(handle, FileStandardInfo, &standard, sizeof standard) ||
        !GetFileInformationByHandleEx(handle, FileBasicInfo, &basic, sizeof basic))
        return false;
    info->kind = standard.Directory ? QDQ_FILE_DIRECTORY : QDQ_FILE_REGULAR;
    info->bytes = (uint64_t)standard.EndOfFile.QuadPart;
    info->changed = basic.LastWriteTime.QuadPart / 10000000;
    info->changed_ns = basic.LastWriteTime.QuadPart % 10000000 * 100;
    if (GetFileInformationByHandleEx(handle, FileIdInfo, &id, sizeof id)) {
        info->id.volume = id.VolumeSerialNumber;
        memcpy(&info->id.low, id.FileId.Identifier, 8);
        memcpy(&info->id.high, id.FileId.Identifier + 8, 8);
    } else if (GetFileInformationByHandle(handle, &old)) { /* a file system that has no long ones */
        info->id.volume = old.dwVolumeSerialNumber;
        info->id.low = (uint64_t)old.nFileIndexHigh << 32 | old.nFileIndexLow;
    } else {
        return false;
    }
    return true;
}

bool qdq_same_file(const qdq_file_id *a, const qdq_file_id *b) {
    return a->volume == b->volume && a->high == b->high && a->low == b->low;
}

enum { SHARE_ALL = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE };

/* QDQ_NO_FILE: errno. */
static qdq_file open_path(const char *path, DWORD access, DWORD disposition, DWORD flags) {
    wchar_t *wide = qdq_windows_path(path);
    if (!wide) return QDQ_NO_FILE;
    HANDLE handle = CreateFileW(wide, access, SHARE_ALL, NULL, disposition, flags, NULL);
    if (handle == INVALID_HANDLE_VALUE) qdq_windows_failed();
    free(wide);
    return (qdq_file)handle;
}

bool qdq_path_info(const char *path, qdq_file_info *info) {
    wchar_t *wide = qdq_windows_path(path);
    if (!wide) return false;
    bool null = is_null_device(wide);
    free(wide);
    if (null) {
        *info = (qdq_file_info){.kind = QDQ_FILE_NULL_DEVICE, .mode = 0666};
        return true;
    }
    qdq_file file = open_path(path, FILE_READ_ATTRIBUTES, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS);
    if (file == QDQ_NO_FILE) return false;
    bool known = qdq_file_info_of(file, info);
    CloseHandle((HANDLE)file);
    return known;
}

bool qdq_path_may_replace(const char *path) {
    wchar_t *wide = qdq_windows_path(path);
    DWORD attributes = wide ? GetFileAttributesW(wide) : INVALID_FILE_ATTRIBUTES;
    free(wide);
    errno = EACCES;
    return attributes != INVALID_FILE_ATTRIBUTES && !(attributes & FILE_ATTRIBUTE_READONLY);
}

struct qdq_directory {
    HANDLE search;
    bool begun; /* the first entry, which comes with the search, is given out */
    WIN32_FIND_DATAW entry;
    char name[3 * MAX_PATH];
};

qdq_directory *qdq_directory_open(const char *path) {
    size_t room = strlen(path) + 3;
    char *pattern = malloc(room);
    qdq_directory *directory = calloc(1, sizeof *directory);
    if (pattern) snprintf(pattern, room, "%s/*", path);
    wchar_t *wide = pattern && directory ? qdq_windows_path(pattern) : NULL;
    bool opened = false;
    if (wide) {
        directory->search = FindFirstFileW(wide, &directory->entry);
        opened = directory->search != INVALID_HANDLE_VALUE;
        if (!opened) qdq_windows_failed();
    }
    free(wide);
    free(pattern);
    if (opened) return directory;
    free(directory);
    return NULL;
}

const char *qdq_directory_next(qdq_directory *directory) {
    errno = 0;
    if (directory->begun && !FindNextFileW(directory->search, &directory->entry)) {
        if (GetLastError() != ERROR_NO_MORE_FILES) qdq_windows_failed();
        return NULL;
    }
    directory->begun = true;
    if (WideCharToMultiByte(CP_UTF8, 0, directory->entry.cFileName, -1, directory->name, sizeof directory->name, NULL,
                            NULL) <= 0) {
        qdq_windows_failed();
        return NULL;
    }
    return directory->name;
}

void qdq_directory_close(qdq_directory *directory) {
    FindClose(directory->search);
    free(directory);
}

bool qdq_directory_make(const char *path) {
    wchar_t *wide = qdq_windows_path(path);
    bool made = wide && (CreateDirectoryW(wide, NULL) || GetLastError() == ERROR_ALREADY_EXISTS);
    if (wide && !made) qdq_windows_failed();
    free(wide);
    return made;
}

bool qdq_directory_remove(const char *path) {
    wchar_t *wide = qdq_windows_path(path);
    bool removed = wide && RemoveDirectoryW(wide);
    if (wide && !removed) qdq_windows_failed();
    free(wide);
    return removed;
}

bool qdq_cache_directory(char path[QDQ_PATH_ROOM]) {
    const wchar_t *local = _wgetenv(L"LOCALAPPDATA");
    char *text = local ? qdq_windows_utf8(local) : NULL;
    int n = text && has_drive(text) ? snprintf(path, QDQ_PATH_ROOM, "%s", text) : -1;
    free(text);
    return n > 0 && n < QDQ_PATH_ROOM;
}

/* ---- Files ------------------------------------------------------------------------------------------------------ */

/* A directory opens, too, so that it can be called one. */
qdq_file qdq_file_open(const char *path) {
    return open_path(path, GENERIC_READ, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_SEQUENTIAL_SCAN);
}

void qdq_file_close(qdq_file file) { CloseHandle((HANDLE)file); }

bool qdq_file_info_of(qdq_file file, qdq_file_info *info) {
    bool known = describe((HANDLE)file, info);
    if (!known) qdq_windows_failed();
    return known;
}

enum { LARGEST_STEP = 1 << 30 };

static OVERLAPPED place_of(uint64_t offset) {
    return (OVERLAPPED){.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
}

int64_t qdq_file_read(qdq_file file, void *to, size_t bytes, uint64_t offset) {
    OVERLAPPED place = place_of(offset);
    DWORD n = 0;
    if (ReadFile((HANDLE)file, to, bytes < LARGEST_STEP ? (DWORD)bytes : LARGEST_STEP, &n, &place)) return n;
    if (GetLastError() == ERROR_HANDLE_EOF) return 0;
    qdq_windows_failed();
    return -1;
}

void *qdq_file_map(qdq_file file, size_t bytes) {
    HANDLE section = CreateFileMappingW((HANDLE)file, NULL, PAGE_READONLY, 0, 0, NULL);
    void *map = section ? MapViewOfFile(section, FILE_MAP_READ, 0, 0, bytes) : NULL;
    if (!map) qdq_windows_failed();
    if (section) CloseHandle(section); /* the view keeps what it needs */
    return map;
}

void qdq_file_unmap(void *map, size_t bytes) {
    (void)bytes;
    UnmapViewOfFile(map);
}

/* There, maps take no advice, and pages are read when they are used. */
void qdq_file_map_scattered(const void *map, size_t bytes, bool scattered) {
    (void)map;
    (void)bytes;
    (void)scattered;
}

void qdq_file_map_read(const void *at, size_t bytes) {
    (void)at;
    (void)bytes;
}

/* ---- Outputs ---------------------------------------------------------------------------------------------------- */

enum { OWN = GENERIC_READ | GENERIC_WRITE | DELETE };

/* Whether the file is to go when its last handle does: so, too, when the process is killed. */
static bool set_going(qdq_file file, bool goes) {
    FILE_DISPOSITION_INFO info = {.DeleteFile = goes};
    return SetFileInformationByHandle((HANDLE)file, FileDispositionInfo, &info, sizeof info);
}

/* It has a name all the same, which nobody can open. */
qdq_file qdq_file_create_unnamed(const char *directory, unsigned mode) {
    static atomic_uint counter;
    size_t room = strlen(directory) + 64;
    char *path = malloc(room);
    if (!path) return QDQ_NO_FILE;
    qdq_file file = QDQ_NO_FILE;
    errno = EEXIST;
    for (int tries = 0; tries < 100 && file == QDQ_NO_FILE && errno == EEXIST; tries++) {
        snprintf(path, room, "%s/.qdq.%ld.%u.tmp", directory, qdq_process_id(), atomic_fetch_add(&counter, 1));
        file = qdq_file_create(path, mode);
    }
    if (file != QDQ_NO_FILE && !set_going(file, true)) {
        qdq_windows_failed();
        int error = errno;
        qdq_file_close(file);
        qdq_file_remove(path);
        file = QDQ_NO_FILE;
        errno = error;
    }
    free(path);
    return file;
}

bool qdq_file_name(qdq_file file, const char *path) {
    wchar_t *wide = qdq_windows_path(path);
    size_t length = wide ? wcslen(wide) * sizeof *wide : 0, room = sizeof(FILE_RENAME_INFO) + length + sizeof *wide;
    FILE_RENAME_INFO *info = wide ? calloc(1, room) : NULL;
    bool named = false;
    if (info) {
        info->FileNameLength = (DWORD)length;
        memcpy(info->FileName, wide, length);
        named = set_going(file, false) && SetFileInformationByHandle((HANDLE)file, FileRenameInfo, info, (DWORD)room);
        if (!named) qdq_windows_failed();
        int error = errno;
        if (!named) set_going(file, true);
        errno = error;
    }
    free(info);
    free(wide);
    return named;
}

qdq_file qdq_file_create(const char *path, unsigned mode) {
    (void)mode;
    return open_path(path, OWN, CREATE_NEW, FILE_ATTRIBUTE_NORMAL);
}

/* A link opens as itself here, and is then refused. */
qdq_file qdq_file_open_shared(const char *path, unsigned mode) {
    (void)mode;
    FILE_ATTRIBUTE_TAG_INFO info;
    qdq_file file = open_path(path, OWN, OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT);
    if (file == QDQ_NO_FILE || !GetFileInformationByHandleEx((HANDLE)file, FileAttributeTagInfo, &info, sizeof info) ||
        !(info.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT))
        return file;
    qdq_file_close(file);
    errno = ELOOP;
    return QDQ_NO_FILE;
}

qdq_file qdq_null_open(const char *path) {
    return open_path(path, GENERIC_WRITE, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL);
}

/* A file has the rights that its directory gives. */
void qdq_file_set_mode(qdq_file file, unsigned mode) {
    (void)file;
    (void)mode;
}

bool qdq_file_set_length(qdq_file file, uint64_t bytes) {
    FILE_END_OF_FILE_INFO end = {.EndOfFile.QuadPart = (LONGLONG)bytes};
    bool set = SetFileInformationByHandle((HANDLE)file, FileEndOfFileInfo, &end, sizeof end);
    if (!set) qdq_windows_failed();
    return set;
}

/* A file that is not sparse has all its room from then on. */
bool qdq_file_reserve(qdq_file file, uint64_t bytes) { return qdq_file_set_length(file, bytes); }

/* A stretch in the middle has its room by the length alone. */
bool qdq_file_reserve_range(qdq_file file, uint64_t offset, uint64_t bytes) {
    (void)file;
    (void)offset;
    (void)bytes;
    return true;
}

int64_t qdq_file_write(qdq_file file, const void *data, size_t bytes, uint64_t offset) {
    OVERLAPPED place = place_of(offset);
    DWORD n = 0;
    if (WriteFile((HANDLE)file, data, bytes < LARGEST_STEP ? (DWORD)bytes : LARGEST_STEP, &n, &place)) {
        if (n > 0 || bytes == 0) return n;
        errno = ENOSPC;
        return -1;
    }
    qdq_windows_failed();
    return -1;
}

bool qdq_file_sync(qdq_file file) {
    bool synced = FlushFileBuffers((HANDLE)file);
    if (!synced) qdq_windows_failed();
    return synced;
}

/* Names are in the file system's own log. */
void qdq_directory_sync(const char *path) { (void)path; }

bool qdq_disk_is_full(void) { return errno == ENOSPC; }

bool qdq_file_replace(const char *from, const char *to) {
    wchar_t *old = qdq_windows_path(from), *new = qdq_windows_path(to);
    bool moved = old && new &&MoveFileExW(old, new, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH);
    if (old && new && !moved) qdq_windows_failed();
    int error = errno;
    free(old);
    free(new);
    errno = error;
    return moved;
}

bool qdq_file_remove(const char *path) {
    wchar_t *wide = qdq_windows_path(path);
    bool removed = wide && DeleteFileW(wide);
    if (wide && !removed) qdq_windows_failed();
    free(wide);
    return removed;
}

long qdq_process_id(void) { return (long)GetCurrentProcessId(); }
