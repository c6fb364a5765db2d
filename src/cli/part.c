#include "cli/part.h"

#include <stdio.h>
#include <string.h>

static qdq_sharing job; /* parts 0: there is none */

void qdq_part_share(const qdq_sharing *sharing) { job = *sharing; }

bool qdq_part_has_results(const qdq_part *part) { return job.parts > 0 ? job.first : part->parts == 0; }

const char *qdq_part_parse(qdq_part *part, const char *text) {
    static const char wrong[] = "--part is K/N, part K of N, counted from 1: 3/8";
    char first[16];
    long long k, n;
    const char *slash = strchr(text, '/');
    if (slash == NULL || (size_t)(slash - text) >= sizeof first) return wrong;
    snprintf(first, sizeof first, "%.*s", (int)(slash - text), text);
    if (!qdq_parse_integer(slash + 1, 1, QDQ_MAX_PARTS, &n) || !qdq_parse_integer(first, 1, n, &k)) return wrong;
    part->part = (uint32_t)k;
    part->parts = (uint32_t)n;
    return NULL;
}

/* In a job all parts are asked for. */
static const char *share(qdq_part *part, qdq_common *common) {
    if (job.parts == 0) return NULL;
    if (part->parts > 0) return "the processes of this job share all parts: leave out --part";
    part->parts = job.parts;
    if (!job.first) {
        common->quiet = true;
        common->json = NULL;
    }
    return NULL;
}

const char *qdq_part_check(qdq_part *part, qdq_common *common, bool dry_run) {
    if (job.parts > 0 && dry_run) return "--dry-run makes nothing that could be shared: say it to qdq";
    const char *wrong = share(part, common);
    if (wrong != NULL) return wrong;
    if (part->resume && part->parts == 0) return "--resume goes on with parts: say --part K/N too (--part 1/1 for all)";
    if (part->parts > 0 && dry_run) return "--dry-run makes no part: leave out --part";
    return NULL;
}

void qdq_part_options(const qdq_part *part, qdq_file_options *options) {
    options->part = part->part;
    options->parts = part->parts;
    options->resume = part->resume;
    options->next_part = job.next;
}

qdq_status qdq_part_finish(const qdq_part *part, qdq_status status, const char *output) {
    if (part->parts == 0 || job.parts == 0) return status;
    status = job.meet(status);
    return status == QDQ_OK && job.first ? qdq_join(output, NULL, NULL) : status;
}

void qdq_part_print(const qdq_part *part, const qdq_file_report *r, const char *output) {
    char name[512];
    qdq_printable(output, name, sizeof name);
    if (job.parts > 0) {
        printf("This process made %s of %s of %s\n", QDQ_SIZE(r->part_made), QDQ_SIZE(r->bytes), name);
        return;
    }
    printf("Part %u of %u of %s: %s of %s", part->part, part->parts, name, QDQ_SIZE(r->part_bytes), QDQ_SIZE(r->bytes));
    if (r->part_made < r->part_bytes) printf(", of which %s were there", QDQ_SIZE(r->part_bytes - r->part_made));
    printf("\nIt is in %s.parts; when all parts are: qdq join %s\n", name, name);
}

const char *qdq_part_sums_check(qdq_part_sums *s, qdq_common *common, bool written) {
    const char *wrong = share(&s->part, common);
    if (wrong != NULL) return wrong;
    s->shared.size = sizeof s->shared;
    s->shared.part = s->part.part;
    s->shared.parts = s->part.parts;
    s->shared.next_part = job.next;
    if (job.parts > 0) {
        if (s->shared.folder == NULL) s->shared.folder = job.folder;
        return NULL;
    }
    if (s->part.parts == 0) return NULL;
    if (s->shared.folder == NULL) return "a part leaves sums and no result: say --sums FOLDER";
    return written ? "a part measures, and has no result to write: leave out --json and the like" : NULL;
}

qdq_shared_sums *qdq_part_sums_shared(qdq_part_sums *s) { return s->shared.folder != NULL ? &s->shared : NULL; }

bool qdq_part_sums_again(qdq_part_sums *s, qdq_status *status) {
    const qdq_shared_sums *r = &s->shared;
    if (job.parts == 0) return false;
    if (r->next_part == NULL) { /* what others have measured is taken over, or was not there */
        if (*status == QDQ_OK && r->measured > 0)
            qdq_complain("%s: lacks the sums of %llu tensors that other processes have measured, which was done again: "
                         "all of them must see one disk",
                         r->folder, (unsigned long long)r->measured);
        return false;
    }
    *status = job.meet(*status);
    if (*status != QDQ_OK || !job.first) return false;
    s->part.parts = s->shared.parts = 0;
    s->shared.next_part = NULL;
    return true;
}

qdq_status qdq_part_sums_print(const qdq_part_sums *s, const qdq_common *common) {
    const qdq_shared_sums *r = &s->shared;
    if (!qdq_common_tables(common)) return QDQ_OK;
    printf("Part %u of %u: %llu tensors were measured", s->part.part, s->part.parts, (unsigned long long)r->measured);
    if (r->known > 0) printf(", %llu were known", (unsigned long long)r->known);
    printf("; their sums are in %s\n", qdq_printable(r->folder, (char[512]){0}, 512));
    if (r->missing > 0)
        printf("%llu tensors are left to other parts; when all are done, the same command without --part shows the "
               "results\n",
               (unsigned long long)r->missing);
    else
        puts("All tensors are measured: the same command without --part shows the results");
    return qdq_flush_output();
}
