/* What the platform files of Windows share. windows.h is included here and in them alone. */
#ifndef QDQ_BASE_PLATFORM_WINDOWS_H
#define QDQ_BASE_PLATFORM_WINDOWS_H

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

/* Sets errno to what GetLastError() means. */
void qdq_windows_failed(void);
/* A path as Windows takes it, whole and of any length; free it. NULL: errno. */
wchar_t *qdq_windows_path(const char *path);
/* A text as UTF-8; free it. NULL: errno. */
char *qdq_windows_utf8(const wchar_t *text);

#endif
