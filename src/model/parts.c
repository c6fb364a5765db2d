#include "model/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files/unfinished.h"
#include "model/costs.h"
#include "model/decoding.h"
#include "model/format_list.h"
#include "model/identity.h"
#include "files/shown.h"
#include "base/error.h"

/* How much is written between two lines of the journal: what a kill costs, of each process. */
enum { STEP = 16 * QDQ_PIECE };

/* A stretch of an output whose bytes have one origin. */
typedef struct segment {
    uint32_t file;
    uint64_t begin, end;         /* in the file */
    const qdq_rewritten *tensor; /* NULL: none */
    const uint8_t *header;       /* the file's first bytes; NULL: zeros, where there is no tensor */
    double before;               /* cost of all that lie before it */
} segment;

/* A place in the outputs, which follow one another. */
typedef struct place {
    uint32_t file;
    uint64_t offset;
} place;

typedef struct parts {
    qdq_rewrite *rewrite;
    const qdq_part_wish *wish;
    qdq_making making;
    uint8_t **headers; /* one a file */
    uint64_t *header_bytes;
    segment *segments;
    uint64_t n_segments;
    double cost; /* of all */
    qdq_unfinished *unfinished;
    /* The range that is being written. */
    uint32_t file;
    uint64_t at, end, noted; /* what is noted in the journal ends there */
    qdq_checksum sum;        /* of what is not */
    uint64_t made;
} parts;

static qdq_status no_memory(void) { return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for the parts of an output"); }

/* ---- What the outputs are made of ------------------------------------------------------------------------------- */

static bool is_copied(const segment *s) { return s->tensor == NULL || s->tensor->made == QDQ_FORMAT_NONE; }

static double cost_of(const segment *s) {
    uint64_t bytes = s->end - s->begin;
    if (is_copied(s)) return (double)bytes * qdq_cost(QDQ_FORMAT_NONE, false);
    return (double)s->tensor->tensor->elements * qdq_cost(s->tensor->made, s->tensor->importance != NULL);
}

static void add_segment(parts *p, segment s) {
    if (s.begin == s.end) return;
    s.before = p->cost;
    p->cost += cost_of(&s);
    p->segments[p->n_segments++] = s;
}

static int by_place(const void *a, const void *b) {
    const segment *x = a, *y = b;
    return x->begin != y->begin ? (x->begin < y->begin ? -1 : 1) : 0;
}

/* One file: its header, tensors in the order of their bytes, and zeros between. */
static qdq_status add_file(parts *p, uint32_t file, qdq_writer *writer, uint64_t first, uint64_t n) {
    qdq_status status = qdq_writer_lay_out(writer, &p->headers[file], &p->header_bytes[file], &p->making.bytes[file]);
    if (status != QDQ_OK) return status;
    segment *tensors = calloc((size_t)n + 1, sizeof *tensors);
    if (tensors == NULL) return no_memory();
    for (uint64_t i = 0; i < n; i++) {
        uint64_t begin = qdq_writer_tensor_offset(writer, i);
        tensors[i] = (segment){.file = file,
                               .begin = begin,
                               .end = begin + qdq_writer_tensor_bytes(writer, i),
                               .tensor = &p->rewrite->tensors[first + i]};
    }
    qsort(tensors, (size_t)n, sizeof *tensors, by_place);
    uint64_t at = p->header_bytes[file];
    add_segment(p, (segment){.file = file, .end = at, .header = p->headers[file]});
    for (uint64_t i = 0; i < n; i++) {
        if (tensors[i].begin == tensors[i].end) continue;
        add_segment(p, (segment){.file = file, .begin = at, .end = tensors[i].begin});
        add_segment(p, tensors[i]);
        at = tensors[i].end;
    }
    add_segment(p, (segment){.file = file, .begin = at, .end = p->making.bytes[file]});
    free(tensors);
    return QDQ_OK;
}

static qdq_status add_files(parts *p) {
    const qdq_rewrite *r = p->rewrite;
    uint32_t n = p->making.n_files = r->n_earlier + 1;
    p->headers = calloc(n, sizeof *p->headers);
    p->header_bytes = calloc(n, sizeof *p->header_bytes);
    p->making.bytes = calloc(n, sizeof *p->making.bytes);
    p->segments = calloc(2 * ((size_t)r->n + n) + 1, sizeof *p->segments);
    if (p->headers == NULL || p->header_bytes == NULL || p->making.bytes == NULL || p->segments == NULL)
        return no_memory();
    qdq_status status = QDQ_OK;
    for (uint64_t f = 0, first = 0, end; f < n && status == QDQ_OK; f++, first = end) {
        qdq_writer *writer = f < r->n_earlier ? r->earlier[f] : r->writer;
        for (end = first; end < r->n && r->tensors[end].writer == writer;) end++;
        status = add_file(p, (uint32_t)f, writer, first, end - first);
    }
    return status;
}

/* ---- What must be the same everywhere --------------------------------------------------------------------------- */

static uint64_t plan_checksum(const parts *p) {
    const qdq_rewrite *r = p->rewrite;
    qdq_checksum sum;
    qdq_checksum_begin(&sum);
    qdq_checksum_text(&sum, r->kind == QDQ_WORK_QUANTIZE ? "quantize" : "roundtrip");
    qdq_checksum_number(&sum, r->source_dtype);
    char reference[16];
    qdq_pass_reference(r->pass, reference);
    qdq_checksum_text(&sum, reference);
    for (uint32_t f = 0; f < p->making.n_files; f++) qdq_checksum_add(&sum, p->headers[f], (size_t)p->header_bytes[f]);
    for (uint64_t i = 0; i < r->n; i++) {
        const qdq_rewritten *t = &r->tensors[i];
        qdq_checksum_text(&sum, t->tensor->name);
        qdq_checksum_number(&sum, t->tensor->dtype);
        qdq_checksum_text(&sum, t->format != QDQ_FORMAT_NONE ? qdq_describe_format(t->format).name : "");
        qdq_checksum_number(&sum, t->keeps_codes);
        qdq_checksum_number(&sum, t->importance != NULL);
        if (t->importance != NULL) qdq_identity_add_importance(&sum, t->importance);
    }
    return qdq_checksum_value(&sum);
}

/* ---- Writing ---------------------------------------------------------------------------------------------------- */

/* The next bytes of the range; what reaches past its end is another part's. */
static qdq_status emit(parts *p, const void *data, uint64_t bytes) {
    const unsigned char *from = data;
    qdq_status status = QDQ_OK;
    if (bytes > p->end - p->at) bytes = p->end - p->at;
    while (bytes > 0 && status == QDQ_OK) {
        uint64_t line = p->noted - p->noted % STEP + STEP, n = (line < p->end ? line : p->end) - p->at;
        if (n > bytes) n = bytes;
        status = qdq_unfinished_write(p->unfinished, p->file, p->at, from, n);
        qdq_checksum_add(&p->sum, from, (size_t)n);
        from += n;
        bytes -= n;
        p->at += n;
        if (status != QDQ_OK || (p->at != line && p->at != p->end)) continue;
        status = qdq_unfinished_note(p->unfinished, p->file, (qdq_range){p->noted, p->at}, qdq_checksum_value(&p->sum));
        p->made += p->at - p->noted;
        p->noted = p->at;
        qdq_checksum_begin(&p->sum);
    }
    return status;
}

/* Work under way: where what the sink gets next belongs in the file. */
typedef struct stream {
    parts *parts;
    const qdq_rewritten *tensor;
    uint64_t at;
} stream;

/* Takes the pass's blocks or floats. What lies before the range, of its first row, is another part's. */
static qdq_status take(void *context, const void *data, uint64_t bytes) {
    stream *s = context;
    parts *p = s->parts;
    const void *stored;
    qdq_status status = qdq_rewrite_store(p->rewrite, s->tensor, data, bytes, &stored, &bytes);
    if (status != QDQ_OK) return status;
    uint64_t skipped = s->at < p->at ? p->at - s->at : 0;
    s->at += bytes;
    return skipped < bytes ? emit(p, (const char *)stored + skipped, bytes - skipped) : QDQ_OK;
}

/* Bytes [begin, end) of the segment, as elements of which whole rows, or blocks, are computed. */
static void units_of(const segment *s, uint64_t begin, uint64_t end, qdq_work *work, uint64_t *at) {
    const qdq_tensor *t = s->tensor->tensor;
    uint64_t row = t->shape[t->n_dims - 1];
    bool rows = s->tensor->importance != NULL || t->decoding != NULL;
    uint64_t unit = rows ? row : qdq_describe_format(s->tensor->made).block_elements;
    uint64_t bytes = (s->end - s->begin) / (t->elements / unit);
    uint64_t first = (begin - s->begin) / bytes, last = (end - s->begin + bytes - 1) / bytes;
    work->first = first * unit;
    work->count = (last - first) * unit;
    *at = s->begin + first * bytes;
}

static qdq_status make_segment(parts *p, const segment *s, uint64_t begin, uint64_t end, stream *to) {
    static const uint8_t zeros[4096];
    qdq_status status = QDQ_OK;
    if (!is_copied(s)) {
        qdq_work work;
        qdq_rewrite_work(s->tensor, &work);
        work.sink = take;
        work.context = to;
        to->parts = p;
        to->tensor = s->tensor;
        units_of(s, begin, end, &work, &to->at);
        return qdq_pass_put(p->rewrite->pass, &work);
    }
    status = qdq_pass_flush(p->rewrite->pass); /* what comes before is to be written before */
    for (uint64_t at = begin, n; at < end && status == QDQ_OK; at += n) {
        n = end - at;
        if (s->tensor != NULL) {
            if (n > STEP) n = STEP;
            status = emit(p, (const char *)s->tensor->tensor->data + (at - s->begin), n);
            if (status == QDQ_OK) status = qdq_pass_advance(p->rewrite->pass, n);
        } else if (s->header != NULL) {
            status = emit(p, s->header + (at - s->begin), n);
        } else {
            if (n > sizeof zeros) n = sizeof zeros;
            status = emit(p, zeros, n);
        }
    }
    return status;
}

static qdq_status make_range(parts *p, uint32_t file, qdq_range range) {
    qdq_status status = qdq_unfinished_reserve(p->unfinished, file, range);
    stream *streams = NULL;
    uint64_t first = 0, last;
    p->file = file;
    p->at = p->noted = range.begin;
    p->end = range.end;
    qdq_checksum_begin(&p->sum);
    while (first < p->n_segments && (p->segments[first].file < file ||
                                     (p->segments[first].file == file && p->segments[first].end <= range.begin)))
        first++;
    for (last = first; last < p->n_segments && p->segments[last].file == file && p->segments[last].begin < range.end;)
        last++;
    if (status == QDQ_OK && last > first) streams = calloc((size_t)(last - first), sizeof *streams);
    if (status == QDQ_OK && last > first && streams == NULL) status = no_memory();
    for (uint64_t i = first; i < last && status == QDQ_OK; i++) {
        const segment *s = &p->segments[i];
        status = make_segment(p, s, s->begin > range.begin ? s->begin : range.begin,
                              s->end < range.end ? s->end : range.end, &streams[i - first]);
    }
    if (status == QDQ_OK) status = qdq_pass_flush(p->rewrite->pass);
    free(streams); /* after a failure the pass delivers nothing more */
    return status;
}

/* ---- Parts ------------------------------------------------------------------------------------------------------ */

/* Where part k + 1 of n begins; k = n: where all ends. */
static place cut(const parts *p, uint32_t k, uint32_t n) {
    if (k == 0) return (place){0};
    if (k >= n) return (place){p->making.n_files, 0};
    double wanted = p->cost * k / n;
    uint64_t low = 0, high = p->n_segments;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (p->segments[middle].before <= wanted)
            low = middle;
        else
            high = middle;
    }
    const segment *s = &p->segments[low];
    double cost = cost_of(s), share = cost > 0 ? (wanted - s->before) / cost : 0;
    uint64_t bytes = s->end - s->begin, within = (uint64_t)((double)bytes * (share < 1 ? share : 1));
    uint64_t offset = s->begin + (within < bytes ? within : bytes);
    return (place){s->file, offset - offset % QDQ_PIECE};
}

/* What of the range is not done: ranges, ascending; free() them. */
static qdq_status open_ranges(parts *p, uint32_t file, qdq_range range, qdq_range **open, uint64_t *n) {
    qdq_range *done = NULL;
    uint64_t n_done = 0;
    *open = NULL;
    *n = 0;
    qdq_status status = p->wish->resume ? qdq_unfinished_done(p->unfinished, file, range, &done, &n_done) : QDQ_OK;
    qdq_range *ranges = status == QDQ_OK ? malloc((size_t)(n_done + 1) * sizeof *ranges) : NULL;
    if (status == QDQ_OK && ranges == NULL) status = no_memory();
    if (status == QDQ_OK) {
        uint64_t at = range.begin;
        for (uint64_t i = 0; i < n_done; i++) {
            if (done[i].begin > at) ranges[(*n)++] = (qdq_range){at, done[i].begin};
            if (done[i].end > at) at = done[i].end;
        }
        if (at < range.end) ranges[(*n)++] = (qdq_range){at, range.end};
        *open = ranges;
    }
    free(done);
    return status;
}

static qdq_status make_part(parts *p, uint32_t part, uint64_t *bytes) {
    place begin = cut(p, part - 1, p->wish->parts), end = cut(p, part, p->wish->parts);
    qdq_status status = QDQ_OK;
    for (uint32_t f = begin.file; f <= end.file && f < p->making.n_files && status == QDQ_OK; f++) {
        qdq_range range = {f == begin.file ? begin.offset : 0, f == end.file ? end.offset : p->making.bytes[f]};
        qdq_range *open = NULL;
        uint64_t n = 0;
        if (range.begin >= range.end) continue;
        *bytes += range.end - range.begin;
        status = open_ranges(p, f, range, &open, &n);
        for (uint64_t i = 0; i < n && status == QDQ_OK; i++) status = make_range(p, f, open[i]);
        free(open);
    }
    return status;
}

static qdq_status make_parts(parts *p, uint64_t *bytes) {
    const qdq_part_wish *w = p->wish;
    char who[64];
    if (w->next != NULL)
        snprintf(who, sizeof who, "of-%u", w->parts);
    else
        snprintf(who, sizeof who, "%u-of-%u", w->part, w->parts);
    qdq_status status = qdq_unfinished_open(w->path, &p->making, who, &p->unfinished);
    if (status != QDQ_OK) return status;
    uint32_t part = w->next != NULL ? w->next(w->context) : w->part;
    while (part != 0 && status == QDQ_OK) {
        if (part > w->parts)
            status = qdq_fail(QDQ_INVALID_ARGUMENT, "part %u of %u parts is wanted", part, w->parts);
        else
            status = make_part(p, part, bytes);
        part = w->next != NULL && status == QDQ_OK ? w->next(w->context) : 0;
    }
    if (status == QDQ_OK) return qdq_unfinished_close(p->unfinished);
    qdq_unfinished_abandon(p->unfinished);
    return status;
}

qdq_status qdq_parts_run(qdq_rewrite *rewrite, const qdq_part_wish *wish, uint64_t *bytes, uint64_t *made) {
    parts p = {.rewrite = rewrite, .wish = wish};
    *bytes = *made = 0;
    qdq_status status = add_files(&p);
    if (status == QDQ_OK) {
        qdq_identity_begin(&p.making, rewrite->model);
        p.making.split = wish->split;
        p.making.plan = plan_checksum(&p);
        qdq_pass_expect(rewrite->pass, rewrite->bytes / wish->parts);
        status = make_parts(&p, bytes);
    }
    *made = p.made;
    for (uint32_t f = 0; p.headers != NULL && f < p.making.n_files; f++) free(p.headers[f]);
    free(p.headers);
    free(p.header_bytes);
    free(p.making.bytes);
    free(p.segments);
    return status;
}
