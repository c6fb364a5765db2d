#include "cli/part.h"

#include <stdio.h>
#include <string.h>

static qdq_sharing shared; /* parts 0: with nobody */

void qdq_part_share(const qdq_sharing *sharing) { shared = *sharing; }

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

const char *qdq_part_check(qdq_part *part, qdq_common *common, bool dry_run) {
    if (shared.parts > 0) {
        if (part->parts > 0) return "the processes of this job share all parts: leave out --part";
        part->parts = shared.parts;
        if (shared.silent) {
            common->quiet = true;
            common->json = NULL;
        }
    }
    if (part->resume && part->parts == 0) return "--resume goes on with parts: say --part K/N too (--part 1/1 for all)";
    if (part->parts > 0 && dry_run) return "--dry-run makes no part: leave out --part";
    return NULL;
}

void qdq_part_options(const qdq_part *part, qdq_file_options *options) {
    options->part = part->part;
    options->parts = part->parts;
    options->resume = part->resume;
    options->next_part = shared.next;
}

qdq_status qdq_part_finish(const qdq_part *part, qdq_status status, const char *output) {
    return part->parts > 0 && shared.finish != NULL ? shared.finish(status, output) : status;
}

void qdq_part_print(const qdq_part *part, const qdq_file_report *r, const char *output) {
    char name[512];
    qdq_printable(output, name, sizeof name);
    if (shared.parts > 0) {
        printf("This process made %s of %s of %s\n", QDQ_SIZE(r->part_made), QDQ_SIZE(r->bytes), name);
        return;
    }
    printf("Part %u of %u of %s: %s of %s", part->part, part->parts, name, QDQ_SIZE(r->part_bytes), QDQ_SIZE(r->bytes));
    if (r->part_made < r->part_bytes) printf(", of which %s were there", QDQ_SIZE(r->part_bytes - r->part_made));
    printf("\nIt is in %s.parts; when all parts are: qdq join %s\n", name, name);
}

const char *qdq_part_sums_check(qdq_part_sums *s, bool written) {
    s->shared.size = sizeof s->shared;
    s->shared.part = s->part.part;
    s->shared.parts = s->part.parts;
    if (s->part.parts == 0) return NULL;
    if (s->shared.folder == NULL) return "a part leaves sums and no result: say --sums FOLDER";
    return written ? "a part measures, and has no result to write: leave out --json and the like" : NULL;
}

qdq_shared_sums *qdq_part_sums_shared(qdq_part_sums *s) { return s->shared.folder != NULL ? &s->shared : NULL; }

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
