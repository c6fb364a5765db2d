/* Files, directories and paths as the operating system has them (platform.h). Paths are UTF-8 on Windows, bytes
 * elsewhere. What fails sets errno. */
#ifndef QDQ_BASE_PLATFORM_FILES_H
#define QDQ_BASE_PLATFORM_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Paths ------------------------------------------------------------------------------------------------------ */

/* Bytes of the longest name of a file and of the longest path that is handled, with its NUL. */
enum { QDQ_NAME_BYTES = 255, QDQ_PATH_ROOM = 4096 };

/* Where the path's last part begins, after what parts it from its directory. */
const char *qdq_path_last(const char *path);
/* Bytes of its directory, without the separator that ends it, unless it is a root; 0: it names none. */
size_t qdq_path_directory(const char *path);
bool qdq_path_is_separator(char c);
bool qdq_path_is_absolute(const char *path);

/* ---- What there is ---------------------------------------------------------------------------------------------- */

typedef enum qdq_file_kind {
    QDQ_FILE_REGULAR,
    QDQ_FILE_DIRECTORY,
    QDQ_FILE_NULL_DEVICE,
    QDQ_FILE_OTHER,
} qdq_file_kind;

/* Equal for two paths that lead to one file. */
typedef struct qdq_file_id {
    uint64_t volume, high, low;
} qdq_file_id;

typedef struct qdq_file_info {
    qdq_file_kind kind;
    uint64_t bytes;
    qdq_file_id id;
    int64_t changed, changed_ns; /* when its contents were: seconds, and billionths */
    unsigned mode;               /* who may read and write it, as POSIX has it; 0666 where there is no such thing */
} qdq_file_info;

bool qdq_same_file(const qdq_file_id *a, const qdq_file_id *b);
bool qdq_path_info(const char *path, qdq_file_info *info);
bool qdq_path_may_replace(const char *path); /* a file that is there */

typedef struct qdq_directory qdq_directory;

qdq_directory *qdq_directory_open(const char *path);
/* The next entry's name; NULL with errno 0: there is no more. */
const char *qdq_directory_next(qdq_directory *directory);
void qdq_directory_close(qdq_directory *directory);
/* For this user alone. true: it is there now. */
bool qdq_directory_make(const char *path);
bool qdq_directory_remove(const char *path); /* one that is empty */
/* Where programs keep what can be made again; false: nowhere, or it does not fit. */
bool qdq_cache_directory(char path[QDQ_PATH_ROOM]);

/* ---- Files ------------------------------------------------------------------------------------------------------ */

typedef intptr_t qdq_file; /* a descriptor, or a handle */
#define QDQ_NO_FILE ((qdq_file)-1)

/* For reading; a pipe is not waited for. */
qdq_file qdq_file_open(const char *path);
void qdq_file_close(qdq_file file);
bool qdq_file_info_of(qdq_file file, qdq_file_info *info);
/* How many bytes were read, fewer at the end; -1: failed. */
int64_t qdq_file_read(qdq_file file, void *to, size_t bytes, uint64_t offset);

/* The whole of it, for reading, which comes front to back; NULL: failed. */
void *qdq_file_map(qdq_file file, size_t bytes);
void qdq_file_unmap(void *map, size_t bytes);
/* What comes next of a map: little here and little there, where reading ahead would read in vain; or, as at first, all
 * from front to back. */
void qdq_file_map_scattered(const void *map, size_t bytes, bool scattered);
/* Brings a stretch of a map into memory, and returns when it is there: what then uses it does not wait for the disk.
 * Where the system has no such call, or cannot read it, nothing is done. */
void qdq_file_map_read(const void *at, size_t bytes);

/* ---- Outputs ---------------------------------------------------------------------------------------------------- */

/* A file in the directory that goes when the process does, whatever ends it, until it gets a name. Fails where there is
 * no such thing. */
qdq_file qdq_file_create_unnamed(const char *directory, unsigned mode);
/* Gives it the name, which must be free: errno EEXIST otherwise. */
bool qdq_file_name(qdq_file file, const char *path);
/* A new file of that name, which must be free: errno EEXIST otherwise. */
qdq_file qdq_file_create(const char *path, unsigned mode);
/* A file of that name, which others may have open, for reading and writing; made, if it is not there. Nothing that the
 * name only leads to. */
qdq_file qdq_file_open_shared(const char *path, unsigned mode);
qdq_file qdq_null_open(const char *path); /* the null device, for writing */
void qdq_file_set_mode(qdq_file file, unsigned mode);
bool qdq_file_set_length(qdq_file file, uint64_t bytes);
/* Sets room aside, so that a full disk shows before anything is written, or only makes it that long. */
bool qdq_file_reserve(qdq_file file, uint64_t bytes);
/* The same for a stretch of a file that others write to as well; its length may stay. */
bool qdq_file_reserve_range(qdq_file file, uint64_t offset, uint64_t bytes);
/* How many bytes were written, at least one; -1: failed. */
int64_t qdq_file_write(qdq_file file, const void *data, size_t bytes, uint64_t offset);
/* Until a power cut cannot take it. */
bool qdq_file_sync(qdq_file file);
void qdq_directory_sync(const char *path);
/* errno says that there is no more room. */
bool qdq_disk_is_full(void);
/* In one step, in place of what is there. */
bool qdq_file_replace(const char *from, const char *to);
/* May be called by a signal handler. */
bool qdq_file_remove(const char *path);
long qdq_process_id(void);

#endif
