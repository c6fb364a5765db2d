/* What the tests of src/files share: files made byte by byte, a directory to put them in, refusals checked. */
#ifndef FILES_SUPPORT_H
#define FILES_SUPPORT_H

#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/files.h"

/* ---- Bytes ------------------------------------------------------------------------------------------------------- */

typedef struct bytes {
    uint8_t *data;
    size_t n, room;
} bytes;

static inline void put(bytes *b, const void *data, size_t n) {
    if (b->n + n + 1 > b->room) {
        b->room = 2 * (b->n + n + 1);
        b->data = realloc(b->data, b->room);
    }
    if (n > 0) memcpy(b->data + b->n, data, n);
    b->n += n;
}

static inline void put_int(bytes *b, uint64_t value, int size) {
    for (int i = 0; i < size; i++) put(b, &(uint8_t){(uint8_t)(value >> (8 * i))}, 1);
}

static inline void put_zeros(bytes *b, size_t n) {
    for (size_t i = 0; i < n; i++) put(b, "", 1);
}

static inline void put_string(bytes *b, const char *text) {
    put_int(b, strlen(text), 8);
    put(b, text, strlen(text));
}

static inline void put_float(bytes *b, float value) { put(b, &value, 4); }

static inline void release(bytes *b) {
    free(b->data);
    *b = (bytes){0};
}

/* A safetensors file of that header and so many bytes of data, 0, 1, 2, … . */
static inline bytes safetensors(const char *header, size_t data) {
    bytes b = {0};
    put_string(&b, header);
    for (size_t i = 0; i < data; i++) put_int(&b, i, 1);
    return b;
}

static inline void put_gguf(bytes *b, uint32_t version, uint64_t tensors, uint64_t keys) {
    put(b, "GGUF", 4);
    put_int(b, version, 4);
    put_int(b, tensors, 8);
    put_int(b, keys, 8);
}

static inline void put_kv_string(bytes *b, const char *key, const char *value) {
    put_string(b, key);
    put_int(b, QDQ_KV_STRING, 4);
    put_string(b, value);
}

static inline void put_kv_int(bytes *b, const char *key, uint32_t type, uint64_t value, int size) {
    put_string(b, key);
    put_int(b, type, 4);
    put_int(b, value, size);
}

/* ne: fastest first, as the file has it. */
static inline void put_info(bytes *b, const char *name, uint32_t n_dims, const uint64_t *ne, uint32_t type,
                            uint64_t offset) {
    put_string(b, name);
    put_int(b, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++) put_int(b, ne[i], 8);
    put_int(b, type, 4);
    put_int(b, offset, 8);
}

static inline void pad_to(bytes *b, size_t alignment) { put_zeros(b, (alignment - b->n % alignment) % alignment); }

/* ---- A directory ------------------------------------------------------------------------------------------------- */

static char directory[256];

static inline const char *at(const char *name) {
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static inline void save(const char *name, bytes b) {
    FILE *file = fopen(at(name), "wb");
    assert_non_null(file);
    if (b.n > 0) assert_int_equal(fwrite(b.data, 1, b.n, file), b.n);
    assert_int_equal(fclose(file), 0);
}

static inline void save_text(const char *name, const char *text) {
    save(name, (bytes){.data = (uint8_t *)(uintptr_t)text, .n = strlen(text)});
}

static inline bytes load(const char *name) {
    bytes b = {0};
    char chunk[4096];
    size_t n;
    FILE *file = fopen(at(name), "rb");
    assert_non_null(file);
    while ((n = fread(chunk, 1, sizeof chunk, file)) > 0) put(&b, chunk, n);
    fclose(file);
    return b;
}

/* How many entries it has, hidden ones included. */
static inline int count_entries(const char *path) {
    int n = 0;
    DIR *list = opendir(path);
    assert_non_null(list);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(list);
    return n;
}

static inline void remove_tree(const char *path) {
    DIR *list = opendir(path);
    if (list == NULL) {
        unlink(path);
        return;
    }
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        char *below;
        if (asprintf(&below, "%s/%s", path, entry->d_name) < 0) abort();
        struct stat st;
        if (lstat(below, &st) == 0 && S_ISDIR(st.st_mode))
            remove_tree(below);
        else
            unlink(below);
        free(below);
    }
    closedir(list);
    rmdir(path);
}

static int set_up(void **state) {
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/qdq-files-XXXXXX", base != NULL && *base != 0 ? base : "/tmp");
    return mkdtemp(directory) == NULL;
}

static int tear_down(void **state) {
    remove_tree(directory);
    return 0;
}

/* ---- Refusals ---------------------------------------------------------------------------------------------------- */

/* status is `wanted` and the message has each of the texts (ended by NULL) in it. */
static inline void check_refused(const char *file, int line, qdq_status status, qdq_status wanted, ...) {
    if (status != wanted) {
        print_error("%s:%d: %s where %s was wanted: %s\n", file, line, qdq_status_name(status), qdq_status_name(wanted),
                    qdq_error_message());
        fail();
    }
    va_list texts;
    va_start(texts, wanted);
    for (const char *text; (text = va_arg(texts, const char *)) != NULL;) {
        if (strstr(qdq_error_message(), text) != NULL) continue;
        print_error("%s:%d: \"%s\" is not in: %s\n", file, line, text, qdq_error_message());
        va_end(texts);
        fail();
    }
    va_end(texts);
}

#define assert_refused(status, wanted, ...) check_refused(__FILE__, __LINE__, (status), (wanted), __VA_ARGS__, NULL)

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        qdq_status status_ = (call);                                                                                   \
        if (status_ != QDQ_OK) print_error("%s:%d: %s\n", __FILE__, __LINE__, qdq_error_message());                    \
        assert_int_equal(status_, QDQ_OK);                                                                             \
    } while (0)

/* Parses a copy that ends where its memory ends, so that a sanitizer sees every read past it. */
static inline qdq_status parse_copy(qdq_layout layout, const uint8_t *data, size_t n) {
    uint8_t *copy = malloc(n > 0 ? n : 1);
    if (n > 0) memcpy(copy, data, n);
    qdq_model *model = NULL;
    qdq_status status = qdq_model_parse(layout, copy, n, "x", &model);
    if (status == QDQ_OK) qdq_model_close(model);
    free(copy);
    return status;
}

#endif
