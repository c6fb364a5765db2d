#include "files/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "internal.h"
#include "json_reader.h"
#include "base/platform_files.h"

static const char schema[] = "qdq.parts/1";

static qdq_status no_memory(const char *folder) {
    return qdq_fail(QDQ_OUT_OF_MEMORY, "%s: out of memory for what is done", SHOWN(folder));
}

/* ---- Names ------------------------------------------------------------------------------------------------------ */

static char *joined(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    char *text = malloc(n + m + 1);
    if (text == NULL) return NULL;
    memcpy(text, a, n);
    memcpy(text + n, b, m + 1);
    return text;
}

char *qdq_record_folder(const char *path) { return joined(path, ".parts"); }

char *qdq_record_name(const char *folder, const char *name) {
    char *start = joined(folder, "/"), *text = start != NULL ? joined(start, name) : NULL;
    free(start);
    return text;
}

char *qdq_record_data(const char *folder, uint32_t file) {
    char name[32];
    snprintf(name, sizeof name, "%u.data", file + 1);
    return qdq_record_name(folder, name);
}

char *qdq_record_final(const char *path, bool split, uint32_t file, uint32_t n_files) {
    return split ? qdq_split_name(path, file, n_files) : strdup(path);
}

/* ---- The manifest ----------------------------------------------------------------------------------------------- */

uint64_t qdq_making_identity(const qdq_making *m) {
    qdq_checksum sum;
    qdq_checksum_begin(&sum);
    qdq_checksum_text(&sum, m->version);
    qdq_checksum_text(&sum, m->formats);
    qdq_checksum_number(&sum, m->source);
    qdq_checksum_number(&sum, m->plan);
    qdq_checksum_number(&sum, m->split);
    for (uint32_t i = 0; i < m->n_files; i++) qdq_checksum_number(&sum, m->bytes[i]);
    return qdq_checksum_value(&sum);
}

qdq_status qdq_manifest_print(const qdq_making *m, char **text, size_t *length) {
    qdq_builder b = {0};
    qdq_builder_format(&b, "{\"schema\": \"%s\",\n \"qdq\": \"%s\",\n \"formats\": \"%s\",\n", schema, m->version,
                       m->formats);
    qdq_builder_format(&b, " \"source\": \"%016" PRIx64 "\",\n \"plan\": \"%016" PRIx64 "\",\n", m->source, m->plan);
    qdq_builder_format(&b, " \"split\": \"%s\",\n \"bytes\": [", m->split ? "yes" : "no");
    for (uint32_t i = 0; i < m->n_files; i++) qdq_builder_format(&b, "%s%" PRIu64, i > 0 ? ", " : "", m->bytes[i]);
    qdq_builder_text(&b, "]}\n");
    *length = (size_t)b.n;
    *text = qdq_builder_take(&b);
    return *text != NULL ? QDQ_OK : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a manifest");
}

static bool read_word(qdq_json_reader *r, char text[QDQ_MAKING_TEXT]) {
    const char *value;
    size_t length;
    if (!qdq_json_string(r, &value, &length) || length >= QDQ_MAKING_TEXT) return false;
    memcpy(text, value, length + 1);
    return true;
}

static bool read_hex(qdq_json_reader *r, uint64_t *value) {
    const char *text;
    size_t length;
    if (!qdq_json_string(r, &text, &length) || length != 16 || strspn(text, "0123456789abcdef") != 16) return false;
    *value = strtoull(text, NULL, 16);
    return true;
}

static bool read_sizes(qdq_json_reader *r, qdq_making *m) {
    uint64_t capacity = m->n_files;
    if (m->n_files > 0 || !qdq_json_enter(r, '[')) return false;
    while (qdq_json_item(r)) {
        if (m->n_files == QDQ_MAKING_FILES) return false;
        r->memory |= !qdq_grow((void **)&m->bytes, m->n_files, &capacity, sizeof *m->bytes);
        if (r->memory || !qdq_json_whole(r, &m->bytes[m->n_files])) return false;
        m->n_files++;
    }
    return true;
}

/* Each key once and in this order, since that is how it is written. */
static bool read_manifest(qdq_json_reader *r, qdq_making *m) {
    static const char *const keys[] = {"schema", "qdq", "formats", "source", "plan", "split", "bytes"};
    char word[QDQ_MAKING_TEXT];
    const char *key;
    if (!qdq_json_enter(r, '{')) return false;
    for (int i = 0; i < 7; i++) {
        if (!qdq_json_key(r, &key) || strcmp(key, keys[i]) != 0) return false;
        bool ok = i == 0   ? read_word(r, word) && strcmp(word, schema) == 0
                  : i == 1 ? read_word(r, m->version)
                  : i == 2 ? read_word(r, m->formats)
                  : i == 3 ? read_hex(r, &m->source)
                  : i == 4 ? read_hex(r, &m->plan)
                  : i == 5 ? read_word(r, word)
                           : read_sizes(r, m);
        if (!ok) return false;
        if (i == 5) m->split = strcmp(word, "yes") == 0;
    }
    if (qdq_json_key(r, &key)) return false;
    qdq_json_end(r);
    return r->why == NULL && m->n_files > 0;
}

qdq_status qdq_manifest_parse(const char *name, const void *text, size_t length, qdq_making *making) {
    qdq_json_reader reader = {.bytes = text, .length = length};
    qdq_status status = QDQ_OK;
    *making = (qdq_making){0};
    if (!read_manifest(&reader, making))
        status = reader.memory
                     ? no_memory(name)
                     : qdq_fail(QDQ_BAD_DATA, "%s: is no manifest of parts that this version writes, or was cut short",
                                SHOWN(name));
    qdq_json_free(&reader);
    if (status == QDQ_OK) return QDQ_OK;
    free(making->bytes);
    making->bytes = NULL;
    return status;
}

qdq_status qdq_manifest_read(const char *folder, qdq_making *making) {
    char *text = NULL, *name = qdq_record_name(folder, QDQ_MANIFEST);
    size_t length = 0;
    *making = (qdq_making){0};
    if (name == NULL) return no_memory(folder);
    qdq_file_info info;
    qdq_status status = QDQ_OK;
    if (!qdq_path_info(name, &info) && errno == ENOENT)
        status =
            qdq_fail(QDQ_IO_ERROR, "%s: %s cannot be opened: no part has been made here", SHOWN(folder), QDQ_MANIFEST);
    if (status == QDQ_OK) status = qdq_read_text(name, QDQ_WORDS_LIMIT, &text, &length);
    if (status == QDQ_OK) status = qdq_manifest_parse(name, text, length, making);
    free(text);
    free(name);
    return status;
}

static bool same_sizes(const qdq_making *a, const qdq_making *b) {
    return a->split == b->split && a->n_files == b->n_files &&
           memcmp(a->bytes, b->bytes, a->n_files * sizeof *a->bytes) == 0;
}

qdq_status qdq_making_compare(const char *folder, const qdq_making *there, const qdq_making *ours) {
    if (strcmp(there->version, ours->version) != 0)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: was begun by version %s of qdq, and this is %s: let that version finish it, or discard it",
                        SHOWN(folder), SHOWN(there->version), ours->version);
    if (strcmp(there->formats, ours->formats) != 0)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: was begun with the formats' revision %s, and this is %s: discard it, or ask for the same",
                        SHOWN(folder), SHOWN(there->formats), ours->formats);
    if (there->source != ours->source)
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: another source is on its way there: its names, sizes, headers or weights differ; "
                        "write elsewhere, or discard it",
                        SHOWN(folder));
    if (there->plan != ours->plan || !same_sizes(there, ours))
        return qdq_fail(QDQ_BAD_DATA,
                        "%s: another plan is on its way there: its formats, options, importance matrix or "
                        "metadata differ; write elsewhere, or discard it",
                        SHOWN(folder));
    return QDQ_OK;
}

/* ---- Journals --------------------------------------------------------------------------------------------------- */

size_t qdq_journal_seal(char line[QDQ_JOURNAL_LINE], int length) {
    qdq_checksum sum;
    qdq_checksum_begin(&sum);
    qdq_checksum_add(&sum, line, (size_t)length);
    return (size_t)length + (size_t)snprintf(line + length, QDQ_JOURNAL_LINE - (size_t)length, "%016" PRIx64 "\n",
                                             qdq_checksum_value(&sum));
}

size_t qdq_journal_begin(uint64_t identity, char line[QDQ_JOURNAL_LINE]) {
    return qdq_journal_seal(line, snprintf(line, QDQ_JOURNAL_LINE, "%s %016" PRIx64 " ", schema, identity));
}

size_t qdq_journal_line(const qdq_noted *noted, char line[QDQ_JOURNAL_LINE]) {
    return qdq_journal_seal(line, snprintf(line, QDQ_JOURNAL_LINE, "%u %" PRIu64 " %" PRIu64 " %016" PRIx64 " ",
                                           noted->file + 1, noted->range.begin, noted->range.end, noted->checksum));
}

static bool may_stand(const qdq_noted *n, const qdq_making *making) {
    if (n->file >= making->n_files) return false;
    uint64_t end = making->bytes[n->file];
    return n->range.begin < n->range.end && n->range.end <= end && n->range.begin % QDQ_PIECE == 0 &&
           (n->range.end % QDQ_PIECE == 0 || n->range.end == end);
}

/* Reads what qdq_journal_line() writes, and nothing else: the line that its numbers make must be this one. */
static bool parse_line(const char *text, size_t length, qdq_noted *noted) {
    char copy[QDQ_JOURNAL_LINE], line[QDQ_JOURNAL_LINE];
    if (length >= sizeof copy) return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (sscanf(copy, "%" SCNu32 " %" SCNu64 " %" SCNu64 " %" SCNx64, &noted->file, &noted->range.begin,
               &noted->range.end, &noted->checksum) != 4)
        return false;
    noted->file--;
    return qdq_journal_line(noted, line) == length && memcmp(line, text, length) == 0;
}

qdq_status qdq_journal_visit_text(const char *text, size_t length, const qdq_making *making, qdq_journal_visit *visit,
                                  void *context) {
    char first[QDQ_JOURNAL_LINE];
    size_t begin = qdq_journal_begin(qdq_making_identity(making), first);
    bool ours = length >= begin && memcmp(text, first, begin) == 0;
    qdq_status status = QDQ_OK;
    for (size_t at = begin; ours && at < length && status == QDQ_OK;) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t n = end != NULL ? (size_t)(end - text) - at + 1 : length - at;
        status = visit(context, text + at, n);
        at += n;
    }
    return status;
}

typedef struct noting {
    const char *name;
    const qdq_making *making;
    qdq_noted_list *list;
} noting;

static qdq_status note_line(void *context, const char *line, size_t length) {
    noting *n = context;
    qdq_noted noted;
    if (!parse_line(line, length, &noted) || !may_stand(&noted, n->making)) return QDQ_OK;
    qdq_noted_list *list = n->list;
    if (!qdq_grow((void **)&list->items, list->n, &list->capacity, sizeof *list->items)) return no_memory(n->name);
    list->items[list->n++] = noted;
    return QDQ_OK;
}

qdq_status qdq_journal_parse(const char *name, const char *text, size_t length, const qdq_making *making,
                             qdq_noted_list *list) {
    return qdq_journal_visit_text(text, length, making, note_line, &(noting){name, making, list});
}

static qdq_status visit_journal(const char *name, const qdq_making *making, qdq_journal_visit *visit, void *context) {
    char *text = NULL;
    size_t length = 0;
    qdq_status status = qdq_read_text(name, QDQ_RESULTS_LIMIT, &text, &length);
    if (status == QDQ_OK) status = qdq_journal_visit_text(text, length, making, visit, context);
    free(text);
    return status;
}

static bool is_journal(const char *name) {
    size_t n = strlen(name), tail = strlen(QDQ_JOURNAL);
    return n > tail && name[0] != '.' && strcmp(name + n - tail, QDQ_JOURNAL) == 0;
}

qdq_status qdq_journals_visit(const char *folder, const qdq_making *making, qdq_journal_visit *visit, void *context) {
    qdq_status status = QDQ_OK;
    qdq_directory *directory = qdq_directory_open(folder);
    if (directory == NULL)
        return errno == ENOMEM ? no_memory(folder)
                               : qdq_fail(QDQ_IO_ERROR, "%s: cannot be read: %s", SHOWN(folder), strerror(errno));
    for (const char *entry; status == QDQ_OK && (entry = qdq_directory_next(directory)) != NULL;) {
        if (!is_journal(entry)) continue;
        char *name = qdq_record_name(folder, entry);
        status = name != NULL ? visit_journal(name, making, visit, context) : no_memory(folder);
        free(name);
    }
    qdq_directory_close(directory);
    return status;
}

static int by_place(const void *a, const void *b) {
    const qdq_noted *x = a, *y = b;
    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    if (x->range.begin != y->range.begin) return x->range.begin < y->range.begin ? -1 : 1;
    /* The longest first, so that what it covers need not be read again. */
    return x->range.end != y->range.end ? (x->range.end > y->range.end ? -1 : 1) : 0;
}

qdq_status qdq_journals_read(const char *folder, const qdq_making *making, qdq_noted **noted, uint64_t *n) {
    qdq_noted_list list = {0};
    *noted = NULL;
    *n = 0;
    qdq_status status = qdq_journals_visit(folder, making, note_line, &(noting){folder, making, &list});
    if (status != QDQ_OK) {
        free(list.items);
        return status;
    }
    if (list.n > 0) qsort(list.items, (size_t)list.n, sizeof *list.items, by_place);
    *noted = list.items;
    *n = list.n;
    return QDQ_OK;
}

void qdq_noted_of(const qdq_noted *noted, uint64_t n, uint32_t file, const qdq_noted **first, uint64_t *count) {
    uint64_t at = 0, end;
    while (at < n && noted[at].file < file) at++;
    for (end = at; end < n && noted[end].file == file;) end++;
    *first = noted + at;
    *count = end - at;
}

/* ---- Checking --------------------------------------------------------------------------------------------------- */

/* *agrees: the file's bytes there have that checksum. A file that ends before them has not. */
static qdq_status check_range(qdq_file file, const char *name, const qdq_noted *noted, void *buffer, bool *agrees) {
    qdq_checksum sum;
    qdq_checksum_begin(&sum);
    for (uint64_t at = noted->range.begin; at < noted->range.end;) {
        uint64_t left = noted->range.end - at;
        int64_t n = qdq_file_read(file, buffer, left < QDQ_PIECE ? (size_t)left : QDQ_PIECE, at);
        if (n < 0)
            return qdq_fail(QDQ_IO_ERROR, "%s: byte %llu cannot be read: %s", SHOWN(name), (unsigned long long)at,
                            strerror(errno));
        if (n == 0) break;
        qdq_checksum_add(&sum, buffer, (size_t)n);
        at += (uint64_t)n;
    }
    *agrees = sum.bytes == noted->range.end - noted->range.begin && qdq_checksum_value(&sum) == noted->checksum;
    return QDQ_OK;
}

qdq_status qdq_noted_check(qdq_file file, const char *name, const qdq_noted *noted, uint64_t n, qdq_range within,
                           qdq_noted_read *told, void *context, qdq_range **done, uint64_t *n_done) {
    qdq_status status = QDQ_OK;
    void *buffer = malloc(QDQ_PIECE);
    qdq_range *ranges = malloc((size_t)(n + 1) * sizeof *ranges);
    uint64_t count = 0;
    *done = NULL;
    *n_done = 0;
    if (buffer == NULL || ranges == NULL) status = no_memory(name);
    for (uint64_t i = 0; i < n && status == QDQ_OK; i++) {
        const qdq_range *r = &noted[i].range;
        uint64_t covered = count > 0 ? ranges[count - 1].end : 0;
        bool agrees = false;
        if (r->end <= covered || r->end <= within.begin || r->begin >= within.end) continue;
        status = check_range(file, name, &noted[i], buffer, &agrees);
        if (status == QDQ_OK && told != NULL && !told(context, r->end - r->begin))
            status = qdq_fail(QDQ_CANCELLED, "cancelled while parts were checked");
        if (status != QDQ_OK || !agrees) continue;
        if (count > 0 && r->begin <= covered)
            ranges[count - 1].end = r->end;
        else
            ranges[count++] = *r;
    }
    free(buffer);
    if (status != QDQ_OK) {
        free(ranges);
        return status;
    }
    *done = ranges;
    *n_done = count;
    return QDQ_OK;
}
