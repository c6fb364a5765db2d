#include "walk.h"

#include "files/record.h"
#include "model/shared_sums.h"

/* A line of sums that is believed is the one that its numbers make, and so not a byte longer. */
static qdq_status read_sum(void *context, const char *line, size_t length) {
    qdq_sum_line sum;
    char again[QDQ_JOURNAL_LINE];
    MUST(!qdq_sum_line_parse(line, length, &sum) || qdq_sum_line_print(&sum, again) == length);
    return QDQ_OK;
}

/* A manifest up to the first NUL, and behind it a journal, whose first line, if it is an 'x' alone, becomes the one
 * that such a manifest asks for: its checksum is nothing that chance would find. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *nul = memchr(data, 0, size);
    size_t length = nul != NULL ? (size_t)(nul - data) : size, rest = nul != NULL ? size - length - 1 : 0;
    qdq_making making;
    if (qdq_manifest_parse("fuzz", data, length, &making) != QDQ_OK) {
        MUST(qdq_error_message()[0] != 0 && making.bytes == NULL);
        return 0;
    }
    MUST(making.n_files > 0 && making.n_files <= size && strlen(making.version) < QDQ_MAKING_TEXT);
    bool stands_for = rest >= 2 && memcmp(nul + 1, "x\n", 2) == 0;
    char *journal = malloc(rest + QDQ_JOURNAL_LINE);
    MUST(journal != NULL);
    size_t first = stands_for ? qdq_journal_begin(qdq_making_identity(&making), journal) : 0;
    if (rest > 0) memcpy(journal + first, nul + 1 + 2 * stands_for, rest - 2 * stands_for);
    qdq_noted_list list = {0};
    MUST(qdq_journal_parse("fuzz", journal, first + rest - 2 * stands_for, &making, &list) == QDQ_OK);
    for (uint64_t i = 0; i < list.n; i++) {
        const qdq_noted *n = &list.items[i];
        MUST(n->file < making.n_files && n->range.begin < n->range.end && n->range.end <= making.bytes[n->file]);
        MUST(n->range.begin % QDQ_PIECE == 0);
    }
    MUST(qdq_journal_visit_text(journal, first + rest - 2 * stands_for, &making, read_sum, NULL) == QDQ_OK);
    free(list.items);
    free(journal);
    free(making.bytes);
    return 0;
}
