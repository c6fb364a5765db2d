#include "model/shared_sums.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files/journal.h"
#include "files/record.h"
#include "model/identity.h"
#include "model/selection.h"
#include "model/shares.h"
#include "base/error.h"
#include "base/platform.h"

/* Seconds of work that a kill may cost. */
enum { STEP = 5 };

/* ---- Lines ------------------------------------------------------------------------------------------------------ */

size_t qdq_sum_line_print(const qdq_sum_line *s, char *line) {
    int length = snprintf(line, QDQ_JOURNAL_LINE, "%" PRIu64 " %016" PRIx64, s->index, s->key);
    for (int w = 0; w < QDQ_SUM_WORDS; w++)
        length += snprintf(line + length, QDQ_JOURNAL_LINE - (size_t)length, " %016" PRIx64, s->words[w]);
    line[length++] = ' ';
    return qdq_journal_seal(line, length);
}

/* The line that its numbers make must be this one. */
bool qdq_sum_line_parse(const char *text, size_t length, qdq_sum_line *s) {
    char copy[QDQ_JOURNAL_LINE], line[QDQ_JOURNAL_LINE];
    uint64_t *w = s->words;
    if (length >= sizeof copy) return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (sscanf(copy, "%" SCNu64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64, &s->index,
               &s->key, &w[0], &w[1], &w[2], &w[3], &w[4]) != 2 + QDQ_SUM_WORDS)
        return false;
    return qdq_sum_line_print(s, line) == length && memcmp(line, text, length) == 0;
}

/* ---- Measuring -------------------------------------------------------------------------------------------------- */

typedef struct measuring {
    const qdq_sums_job *job;
    qdq_pass *pass;
    qdq_shared_sums *shared;
    qdq_making making;
    bool *have;        /* a sum is known */
    uint32_t *part_of; /* a tensor's; 0: there are no parts */
    bool *todo;        /* a tensor is to be measured now */
    qdq_journal journal;
} measuring;

static bool is_known(const measuring *m, uint64_t i) {
    for (uint32_t k = 0; !m->job->tensors[i].known && k < m->job->tensors[i].n; k++)
        if (!m->have[m->job->tensors[i].first + k]) return false;
    return true;
}

static unsigned char *sum_at(const measuring *m, uint64_t i, uint32_t k) {
    return (unsigned char *)m->job->tensors[i].sums + (size_t)k * m->job->words * sizeof(uint64_t);
}

/* Where a weight may have been NaN, and that is not allowed here, it is looked for anew. */
static bool is_finite(const qdq_sum_line *line) {
    double numbers[QDQ_SUM_DOUBLES];
    memcpy(numbers, line->words, sizeof numbers);
    return isfinite(numbers[0]) && isfinite(numbers[1]) && isfinite(numbers[2]);
}

static int by_index(const void *key, const void *tensor) {
    uint64_t a = *(const uint64_t *)key, b = ((const qdq_sums_tensor *)tensor)->index;
    return a < b ? -1 : a > b;
}

/* A line of another process; what is not wanted, or could not stand there, counts for nothing. */
static qdq_status take_line(void *context, const char *text, size_t length) {
    measuring *m = context;
    const qdq_sums_job *job = m->job;
    qdq_sum_line line;
    if (!qdq_sum_line_parse(text, length, &line)) return QDQ_OK;
    const qdq_sums_tensor *t = bsearch(&line.index, job->tensors, (size_t)job->n, sizeof *t, by_index);
    if (t == NULL || (!qdq_pass_allows_non_finite(m->pass) && !is_finite(&line))) return QDQ_OK;
    for (uint32_t k = 0; k < t->n; k++) {
        if (job->keys[t->first + k] != line.key) continue;
        m->have[t->first + k] = true;
        memcpy(sum_at(m, (uint64_t)(t - job->tensors), k), line.words, job->words * sizeof(uint64_t));
    }
    return QDQ_OK;
}

/* Sums of a tensor that are known in part are measured again. */
static void forget_parts(measuring *m) {
    for (uint64_t i = 0; i < m->job->n; i++) {
        const qdq_sums_tensor *t = &m->job->tensors[i];
        if (!is_known(m, i)) memset(t->sums, 0, (size_t)t->n * m->job->words * sizeof(uint64_t));
    }
}

static qdq_status share_out(measuring *m) {
    const qdq_sums_job *job = m->job;
    if (m->shared->parts == 0) return QDQ_OK;
    double *costs = malloc(((size_t)job->n + 1) * sizeof *costs);
    if (costs == NULL) return qdq_journal_no_memory(m->shared->folder);
    for (uint64_t i = 0; i < job->n; i++) costs[i] = job->tensors[i].cost;
    qdq_status status = qdq_shares_of((size_t)job->n, costs, m->shared->parts, m->part_of);
    free(costs);
    return status;
}

/* What is to be measured of a part; returns its bytes. */
static uint64_t choose(measuring *m, uint32_t part) {
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < m->job->n; i++) {
        bool mine = m->part_of[i] == part, known = is_known(m, i);
        m->shared->known += mine && known;
        m->todo[i] = mine && !known;
        if (m->todo[i]) bytes += m->job->tensors[i].bytes;
    }
    return bytes;
}

/* Tensors [begin, end) that were to be measured are: the journal has them. */
static qdq_status note(measuring *m, uint64_t begin, uint64_t end) {
    const qdq_sums_job *job = m->job;
    qdq_status status = qdq_pass_flush(m->pass);
    for (uint64_t i = begin; i < end && status == QDQ_OK; i++) {
        for (uint32_t k = 0; k < job->tensors[i].n && m->todo[i] && status == QDQ_OK; k++) {
            char text[QDQ_JOURNAL_LINE];
            uint64_t sum = job->tensors[i].first + k;
            qdq_sum_line line = {.index = job->tensors[i].index, .key = job->keys[sum]};
            memcpy(line.words, sum_at(m, i, k), job->words * sizeof(uint64_t));
            m->have[sum] = true;
            status = qdq_journal_write(&m->journal, text, qdq_sum_line_print(&line, text));
        }
        m->shared->measured += m->todo[i];
    }
    return status;
}

/* The journal is there from the first tensor on. */
static qdq_status open_journal(measuring *m) {
    const qdq_shared_sums *s = m->shared;
    char who[64] = "rest";
    if (m->journal.file != QDQ_NO_FILE) return QDQ_OK;
    if (s->next_part != NULL)
        snprintf(who, sizeof who, "of-%u", s->parts);
    else if (s->parts > 0)
        snprintf(who, sizeof who, "%u-of-%u", s->part, s->parts);
    return qdq_journal_open(s->folder, &m->making, who, &m->journal);
}

static qdq_status measure_todo(measuring *m) {
    const qdq_sums_job *job = m->job;
    uint64_t noted = 0;
    while (noted < job->n && !m->todo[noted]) noted++;
    if (noted == job->n) return QDQ_OK;
    qdq_status status = open_journal(m);
    double begun = qdq_seconds();
    for (uint64_t i = noted; i < job->n && status == QDQ_OK; i++) {
        if (!m->todo[i]) continue;
        status = job->put(job->context, m->pass, i);
        if (status != QDQ_OK || (i + 1 < job->n && qdq_seconds() - begun < STEP)) continue;
        status = note(m, noted, i + 1);
        noted = i + 1;
        begun = qdq_seconds();
    }
    return status == QDQ_OK ? note(m, noted, job->n) : status;
}

static qdq_status measure_parts(measuring *m) {
    const qdq_shared_sums *s = m->shared;
    qdq_status status = share_out(m);
    if (status == QDQ_OK && s->next_part == NULL) {
        qdq_pass_expect(m->pass, choose(m, s->part));
        status = measure_todo(m);
    }
    while (status == QDQ_OK && s->next_part != NULL) {
        uint32_t part = s->next_part(s->context);
        if (part == 0) break;
        if (part > s->parts)
            status =
                qdq_fail(QDQ_INVALID_ARGUMENT, "part %u of %u parts is wanted", (unsigned)part, (unsigned)s->parts);
        if (status == QDQ_OK && choose(m, part) > 0) status = measure_todo(m);
    }
    if (status == QDQ_OK && m->journal.file != QDQ_NO_FILE) status = qdq_journal_sync(&m->journal);
    qdq_journal_close(&m->journal);
    return status;
}

static qdq_status measure_shared(measuring *m) {
    const qdq_sums_job *job = m->job;
    uint64_t tensors = qdq_model_tensor_count(job->selection->model);
    m->shared->known = m->shared->measured = m->shared->missing = 0;
    m->todo = calloc((size_t)job->n + 1, sizeof *m->todo);
    m->have = calloc((size_t)job->n_sums + 1, sizeof *m->have);
    m->part_of = calloc((size_t)job->n + 1, sizeof *m->part_of);
    if (m->todo == NULL || m->have == NULL || m->part_of == NULL) return qdq_journal_no_memory(m->shared->folder);
    qdq_identity_begin(&m->making, job->selection->model);
    m->making.plan = job->plan;
    m->making.n_files = 1; /* a manifest has one at least */
    m->making.bytes = &tensors;
    qdq_status status = qdq_journal_agree(m->shared->folder, &m->making);
    if (status == QDQ_OK) status = qdq_journals_visit(m->shared->folder, &m->making, take_line, m);
    if (status == QDQ_OK) forget_parts(m);
    if (status == QDQ_OK) status = measure_parts(m);
    for (uint64_t i = 0; i < job->n && status == QDQ_OK; i++) m->shared->missing += !is_known(m, i);
    return status;
}

static qdq_status measure_all(const qdq_sums_job *job, qdq_pass *pass) {
    uint64_t bytes = 0;
    qdq_status status = QDQ_OK;
    for (uint64_t i = 0; i < job->n; i++) bytes += job->tensors[i].bytes;
    qdq_pass_expect(pass, bytes);
    for (uint64_t i = 0; i < job->n && status == QDQ_OK; i++) status = job->put(job->context, pass, i);
    return status == QDQ_OK ? qdq_pass_flush(pass) : status;
}

qdq_status qdq_sums_measure(const qdq_sums_job *job, qdq_pass *pass, qdq_shared_sums *shared) {
    if (shared == NULL) return measure_all(job, pass);
    bool parts = shared->parts > 0, part = shared->next_part != NULL || shared->part > 0;
    if (shared->size < sizeof *shared || shared->folder == NULL || shared->parts > QDQ_SHARES ||
        shared->part > shared->parts || parts != part)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "sums that are shared: part %u of %u (%d at most), or no folder",
                        (unsigned)shared->part, (unsigned)shared->parts, QDQ_SHARES);
    measuring m = {.job = job, .pass = pass, .shared = shared, .journal = {.file = QDQ_NO_FILE}};
    qdq_status status = measure_shared(&m);
    free(m.have);
    free(m.todo);
    free(m.part_of);
    return status;
}
