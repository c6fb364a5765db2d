#include "json_io.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/platform.h"
#include "builder.h"
#include "internal.h"

/* ---- The allocator ---------------------------------------------------------------------------------------------- */

static json_malloc_t allocate;
static json_free_t release;
static _Thread_local uint64_t failures;

/* What a parse gets in place of memory that there is none of: its token needs room up to the next character, which then
 * is the text's end. (Without it jansson's lexer takes back a character that it could not keep, and asserts.) */
enum { SPARE = 4096 };
static _Thread_local struct {
    bool parsing, taken;
    _Alignas(16) char bytes[SPARE];
} spare;

static void *counted_malloc(size_t bytes) {
    void *memory = allocate(bytes);
    if (memory != NULL) return memory;
    failures++;
    if (!spare.parsing || spare.taken || bytes > SPARE) return NULL;
    spare.taken = true;
    return spare.bytes;
}

static void counted_free(void *memory) {
    if (memory == (void *)spare.bytes)
        spare.taken = false;
    else
        release(memory);
}

static void wrap(void) {
    json_get_alloc_funcs(&allocate, &release);
    json_set_alloc_funcs(counted_malloc, counted_free);
}

uint64_t qdq_json_failures(void) {
    static qdq_once once = QDQ_ONCE_INIT;
    qdq_run_once(&once, wrap);
    return failures;
}

/* ---- Reading ---------------------------------------------------------------------------------------------------- */

enum { LONGEST_WORD = 1000 }; /* of numbers and words outside of strings: their tokens must fit the spare room */

typedef struct reader {
    const unsigned char *at, *end;
    uint64_t failures;
    bool quoted, escaped;
    unsigned word;
} reader;

/* One byte a call, so that nothing is read after a failure. */
static size_t next_byte(void *to, size_t room, void *context) {
    (void)room;
    reader *r = context;
    if (r->at == r->end || failures != r->failures) return 0;
    unsigned char c = *r->at++;
    bool quote = c == '"' && !r->escaped;
    r->escaped = r->quoted && c == '\\' && !r->escaped;
    r->quoted ^= quote;
    r->word = r->quoted || strchr("\",:[]{} \t\r\n", c) != NULL ? 0 : r->word + 1;
    if (r->word > LONGEST_WORD) return 0;
    *(unsigned char *)to = c;
    return 1;
}

/* Values cost up to a hundred times their text: more than this many are no plan of any model. */
enum { VALUE_LIMIT = 1 << 24 };

static bool has_too_many(const unsigned char *text, uint64_t length) {
    uint64_t values = 1;
    bool quoted = false;
    for (uint64_t i = 0; i < length && values <= VALUE_LIMIT; i++) {
        if (text[i] == '"') quoted = !quoted;
        if (quoted && text[i] == '\\') i++;
        values += !quoted && (text[i] == ',' || text[i] == '{' || text[i] == '[');
    }
    return values > VALUE_LIMIT;
}

qdq_status qdq_json_parse(const char *path, const void *text, uint64_t length, json_t **root, json_error_t *error) {
    *root = NULL;
    if (has_too_many(text, length)) {
        *error = (json_error_t){.line = -1, .column = -1};
        snprintf(error->text, sizeof error->text, "over %d values", VALUE_LIMIT);
        return QDQ_BAD_DATA;
    }
    reader r = {.at = text, .end = (const unsigned char *)text + length, .failures = qdq_json_failures()};
    spare.parsing = true;
    *root = json_load_callback(next_byte, &r, JSON_REJECT_DUPLICATES, error);
    spare.parsing = false;
    if (failures != r.failures) {
        json_decref(*root); /* what has the spare room is gone, too */
        *root = NULL;
        return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for its JSON", SHOWN(path));
    }
    return *root != NULL ? QDQ_OK : QDQ_BAD_DATA;
}

/* ---- Writing ---------------------------------------------------------------------------------------------------- */

json_t *qdq_json_escaped(const char *text) {
    if (qdq_is_text(text, strlen(text))) return json_string(text);
    char safe[4096];
    return json_string(qdq_printable(text, safe, sizeof safe));
}

static int add_piece(const char *piece, size_t n, void *context) {
    qdq_builder *builder = context;
    qdq_builder_add(builder, piece, n);
    return builder->failed ? -1 : 0;
}

char *qdq_json_print(const json_t *root, size_t flags) {
    qdq_builder text = {0};
    uint64_t before = qdq_json_failures();
    /* jansson overlooks a key that could not be written; the builder does not. */
    text.failed = root == NULL || json_dump_callback(root, add_piece, &text, flags) != 0 || text.failed;
    text.failed |= failures != before;
    return qdq_builder_take(&text);
}
