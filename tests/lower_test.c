/* backends/lower.c by itself: steps are followed as a backend would, and everything that they rely on is checked. */
#include <limits.h>

#include "backends/lower.h"
#include "base/format.h"
#include "support.h"

enum { MOST_STEPS = 20000, MOST_PLACES = 100000 };

typedef struct backend {
    const qdq_op *op;
    const qdq_limits *limits;
    uint64_t done[QDQ_MAX_OP_FORMATS]; /* elements, by format */
    uint64_t begun;                    /* the last wave's first element */
    uint64_t sums, wave_sums;          /* of the wave so far, and what the wave said */
    int64_t rows[MOST_PLACES];         /* whose sum a place has */
    uint64_t places;
    struct {
        uint32_t format; /* or pair */
        bool high;
        uint64_t first, count;
    } slots[2];
    qdq_step steps[MOST_STEPS];
    size_t n;
} backend;

static bool weighted_fit(const qdq_op *op, qdq_format format) {
    return op->kind != QDQ_OP_DEQUANTIZE && format != QDQ_FORMAT_SOURCE && op->importance.memory &&
           qdq_format_get(format)->importance > 0;
}
static bool wants_rows(const qdq_op *op, qdq_format format) {
    return weighted_fit(op, format) && qdq_format_get(format)->row_sums;
}

static void follow_rows(backend *b, const qdq_step *s) {
    uint64_t row = b->op->row, at_once = b->limits->row_elements / row;
    if (s->carries) {
        assert_true(s->carried < b->places);
        b->rows[0] = b->rows[s->carried];
        if (s->rows == 0) assert_true(s->carried > 0);
    } else {
        assert_int_equal(s->carried, 0);
    }
    assert_true(s->rows <= (at_once > 1 ? at_once : 1));
    if (b->limits->tiles < UINT64_MAX / 32) assert_true(s->rows <= 32 * b->limits->tiles);
    assert_true(s->place + s->rows <= MOST_PLACES);
    if (!b->limits->rows_first) assert_true(s->place + s->rows <= s->count / row + 2);
    assert_true((s->row + s->rows) * row <= b->op->count);
    /* What a round trip in place has overwritten is not read. */
    if (s->rows > 0) assert_true(s->row * row >= b->done[0] || b->op->kind != QDQ_OP_ROUNDTRIP);
    for (uint64_t r = 0; r < s->rows; r++) b->rows[s->place + r] = (int64_t)(s->row + r);
    b->places = s->place + s->rows;
}

/* The sums of the rows that the step's elements are in are where it looks for them. */
static void check_rows(const backend *b, const qdq_step *s) {
    uint64_t end = (s->first + s->count - 1) / b->op->row;
    for (uint64_t row = s->first / b->op->row; row <= end; row++) {
        assert_true(row >= s->first_row && row - s->first_row < MOST_PLACES);
        assert_int_equal(b->rows[row - s->first_row], row);
    }
}

static void check_given(const backend *b, const qdq_step *s, int slot, bool high) {
    assert_true(slot == 0 || slot == 1);
    assert_int_equal(b->slots[slot].format, s->format[0]);
    assert_int_equal(b->slots[slot].high, high);
    assert_int_equal(b->slots[slot].first, s->first);
    assert_int_equal(b->slots[slot].count, s->count);
}

static void advance(backend *b, uint32_t f, const qdq_step *s) {
    assert_int_equal(b->done[f], s->first);
    b->done[f] += s->count;
}

static void follow_sums(backend *b, const qdq_step *s) {
    if (s->sums == 0) {
        assert_int_equal(b->sums, b->wave_sums); /* the wave before is whole */
        b->sums = 0;
        b->wave_sums = s->wave_sums;
    }
    assert_int_equal(s->wave_sums, b->wave_sums);
    assert_true(s->wave_sums <= b->limits->sum_bytes || s->count <= QDQ_TILE);
    assert_int_equal(s->sums, b->sums);
    b->sums += qdq_step_sum_bytes(s);
}

static void follow_error(backend *b, const qdq_step *s) {
    const qdq_op *op = b->op;
    bool given = s->given[0] != QDQ_NO_SLOT, rows = false;
    assert_int_equal(s->weighted, op->importance.memory != NULL);
    assert_true(s->n_formats >= 1 && s->n_formats <= b->limits->several);
    if (given) {
        assert_int_equal(s->n_formats, 1);
        assert_false(b->limits->own_sums);
        check_given(b, s, s->given[0], false);
    }
    for (uint32_t i = 0; i < s->n_formats; i++) {
        uint32_t f = s->format[i];
        advance(b, f, s);
        rows = rows || (!given && wants_rows(op, op->format[f]));
        bool alone_or_given = given || (s->n_formats == 1 && b->limits->own_sums);
        if (alone_or_given || b->limits->any_format) continue;
        assert_true(qdq_format_get(op->format[f])->light && !weighted_fit(op, op->format[f]));
        assert_true(!s->weighted || b->limits->weighs_several);
    }
    assert_int_equal(s->row_sums, rows);
    follow_sums(b, s);
}

static void follow_sensitivity(backend *b, const qdq_step *s) {
    const qdq_op *op = b->op;
    bool rows = false, weighted = false;
    assert_true(s->n_formats >= 1 && s->n_formats <= b->limits->several_pairs);
    for (uint32_t p = 0; p < s->n_formats; p++) {
        const qdq_format formats[2] = {op->format[s->format[p]], op->high[s->format[p]]};
        int made = 0; /* formats that the kernel itself makes */
        for (int i = 0; i < 2; i++) {
            if (s->given[i] != QDQ_NO_SLOT) {
                assert_int_equal(s->n_formats, 1);
                check_given(b, s, s->given[i], i == 1);
            } else if (formats[i] != QDQ_FORMAT_SOURCE) {
                made++;
                rows = rows || wants_rows(op, formats[i]);
                weighted = weighted || weighted_fit(op, formats[i]);
            }
        }
        if (b->limits->own_sums) assert_int_equal(s->given[1], QDQ_NO_SLOT);
        bool one_own = b->limits->own_sums && made == 1;
        for (int i = 0; i < 2 && !one_own && !b->limits->any_format; i++)
            if (formats[i] != QDQ_FORMAT_SOURCE && s->given[i] == QDQ_NO_SLOT)
                assert_true(qdq_format_get(formats[i])->light && !weighted_fit(op, formats[i]));
        advance(b, s->format[p], s);
    }
    assert_int_equal(s->row_sums, rows);
    assert_int_equal(s->weighted, weighted);
    follow_sums(b, s);
}

static void follow_array(backend *b, const qdq_step *s) {
    qdq_format format = qdq_step_format(s, 0);
    assert_int_equal(s->n_formats, 1);
    assert_int_equal(format, (s->high ? b->op->high : b->op->format)[s->format[0]]);
    assert_int_equal(s->weighted, weighted_fit(b->op, format));
    assert_int_equal(s->row_sums, wants_rows(b->op, format));
    if (s->output == QDQ_NO_SLOT) {
        assert_int_equal((int)s->kind - (int)QDQ_STEP_ROUNDTRIP, (int)b->op->kind - (int)QDQ_OP_ROUNDTRIP);
        advance(b, 0, s);
        return;
    }
    assert_int_equal(s->kind, QDQ_STEP_ROUNDTRIP);
    assert_true(b->op->kind == QDQ_OP_ERROR || b->op->kind == QDQ_OP_SENSITIVITY);
    assert_true(s->output == 0 || s->output == 1);
    assert_true(qdq_step_tiles(s) <= b->limits->scratch_tiles);
    assert_true(format != QDQ_FORMAT_SOURCE);
    b->slots[s->output].format = s->format[0];
    b->slots[s->output].high = s->high;
    b->slots[s->output].first = s->first;
    b->slots[s->output].count = s->count;
}

static qdq_status follow(void *context, const qdq_step *s) {
    backend *b = context;
    assert_true(b->n < MOST_STEPS);
    b->steps[b->n++] = *s;
    assert_ptr_equal(s->op, b->op);
    assert_int_equal(s->first % QDQ_TILE, 0);
    assert_true(s->count > 0 && s->first + s->count <= b->op->count);
    assert_int_equal(qdq_step_tiles(s), (s->count + QDQ_TILE - 1) / QDQ_TILE);
    if (s->kind == QDQ_STEP_ROW_SQUARES) {
        follow_rows(b, s);
        return QDQ_OK;
    }
    assert_true(qdq_step_tiles(s) <= b->limits->tiles);
    if (s->row_sums) check_rows(b, s);
    if (s->row_sums && !b->limits->rows_first) assert_true(qdq_step_tiles(s) <= b->limits->row_tiles);
    if (s->kind == QDQ_STEP_ERROR)
        follow_error(b, s);
    else if (s->kind == QDQ_STEP_SENSITIVITY)
        follow_sensitivity(b, s);
    else
        follow_array(b, s);
    return QDQ_OK;
}

static backend lowered; /* large */

static backend *lower(const qdq_op *op, const qdq_limits *limits) {
    backend *b = &lowered;
    memset(b, 0, sizeof *b);
    memset(b->rows, 0xff, sizeof b->rows);
    b->op = op;
    b->limits = limits;
    assert_ok(qdq_lower(op, limits, follow, b));
    for (uint32_t f = 0; f < op->n_formats; f++) assert_int_equal(b->done[f], op->count);
    assert_int_equal(b->sums, b->wave_sums);
    return b;
}

/* Limits as the backends have them, but small. */
static const qdq_limits cpu = {.tiles = UINT64_MAX,
                               .sum_bytes = 64 * 16 * 4,
                               .shared_tiles = UINT64_MAX,
                               .scratch_tiles = UINT64_MAX,
                               .row_tiles = 2,
                               .row_elements = UINT64_MAX,
                               .several = QDQ_MAX_OP_FORMATS,
                               .several_pairs = QDQ_MAX_OP_FORMATS,
                               .any_format = true,
                               .weighs_several = true};
static const qdq_limits cuda = {.tiles = 1 << 20,
                                .sum_bytes = 64 * 16 * 4,
                                .shared_tiles = UINT64_MAX,
                                .scratch_tiles = 3,
                                .row_tiles = 5,
                                .row_elements = UINT64_MAX,
                                .several = QDQ_MAX_OP_FORMATS,
                                .several_pairs = QDQ_MAX_OP_FORMATS,
                                .weighs_several = true};
static const qdq_limits vulkan = {.tiles = 7,
                                  .sum_bytes = 64 * 16 * 4,
                                  .shared_tiles = 4,
                                  .scratch_tiles = 4,
                                  .row_elements = 4096,
                                  .rows_first = true,
                                  .several = 4,
                                  .several_pairs = 1,
                                  .own_sums = true};

static int some_memory;

static qdq_op make_op(qdq_op_kind kind, uint64_t count, uint64_t row, const char *a, const char *b) {
    qdq_op op = {.kind = kind, .count = count, .row = row, .n_formats = 1};
    op.format[0] = qdq_format_by_name(a);
    if (b) op.high[0] = strcmp(b, "source") == 0 ? QDQ_FORMAT_SOURCE : qdq_format_by_name(b);
    return op;
}

static void waves_end_where_limits_do(void **unused) {
    (void)unused;
    for (uint64_t tiles = 1; tiles <= 15; tiles++)
        for (int off = -1; off <= 1; off++) {
            qdq_op op = make_op(QDQ_OP_QUANTIZE, tiles * QDQ_TILE + (uint64_t)(off * 32), 32, "q8_0", NULL);
            uint64_t all = tiles + (off > 0);
            assert_int_equal(lower(&op, &cpu)->n, 1);
            assert_int_equal(lower(&op, &vulkan)->n, (all + 6) / 7);
            op.kind = QDQ_OP_ERROR;
            assert_int_equal(lower(&op, &vulkan)->n, (all + 6) / 7);
            qdq_limits limits = vulkan;
            limits.sum_bytes = 5 * sizeof(qdq_tile_error);
            assert_int_equal(lower(&op, &limits)->n, (all + 4) / 5);
            limits.sum_bytes = 0; /* a tile is the least */
            assert_int_equal(lower(&op, &limits)->n, all);
        }
    qdq_op none = make_op(QDQ_OP_ERROR, 0, 32, "q8_0", NULL);
    assert_int_equal(lower(&none, &cuda)->n, 0);
}

static void sixty_four_formats(void **unused) {
    (void)unused;
    qdq_op op = {.kind = QDQ_OP_ERROR, .count = 9 * QDQ_TILE, .row = 32, .n_formats = QDQ_MAX_OP_FORMATS};
    for (uint32_t f = 0; f < op.n_formats; f++) op.format[f] = qdq_format_by_name(f % 2 ? "q4_0" : "q8_0");
    backend *b = lower(&op, &cuda); /* room for the sums of 4 tiles */
    assert_int_equal(b->n, 3);
    assert_int_equal(b->steps[0].n_formats, 64);
    assert_int_equal(b->steps[0].wave_sums, cuda.sum_bytes);
    b = lower(&op, &vulkan);
    assert_int_equal(b->n, 16 * 3);
    assert_int_equal(b->steps[15].format[3], 63);
    assert_int_equal(b->steps[15].sums, 60 * 4 * sizeof(qdq_tile_error));
    for (uint32_t f = 0; f < op.n_formats; f++) op.format[f] = qdq_format_by_name("q4_K");
    assert_int_equal(lower(&op, &cuda)->n, 2 * 64 * 3); /* by way of scratch memory, 3 tiles at once */
    assert_int_equal(lower(&op, &vulkan)->n, 64 * 3);
    assert_int_equal(lower(&op, &cpu)->n, 3);
    /* Light ones are put together around those that are not. */
    op.n_formats = 7;
    for (uint32_t f = 0; f < 7; f++) op.format[f] = qdq_format_by_name(f % 3 == 1 ? "q4_K" : "q4_0");
    b = lower(&op, &vulkan);
    assert_int_equal(b->n, (1 + 2 + 1) * 3);
    assert_int_equal(b->steps[0].n_formats, 4);
    assert_int_equal(b->steps[0].format[3], 5);
    assert_int_equal(b->steps[3].format[0], 6);
}

static void rows_that_waves_cut(void **unused) {
    (void)unused;
    qdq_op op = make_op(QDQ_OP_ROUNDTRIP, 12 * QDQ_TILE, 3 * QDQ_TILE, "q4_0", NULL);
    op.importance.memory = &some_memory;
    if (!wants_rows(&op, op.format[0])) fail_msg("q4_0 was to want the sums of rows");
    backend *b = lower(&op, &cpu); /* 2 tiles a wave */
    static const struct {
        uint64_t row, rows, carried;
        bool carries;
    } want[] = {{0, 1, 0, false}, {1, 1, 0, true}, {2, 0, 1, true}, {2, 1, 0, false}, {3, 1, 0, true}, {4, 0, 1, true}};
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
        const qdq_step *s = &b->steps[i];
        if (s->kind != QDQ_STEP_ROW_SQUARES) continue;
        assert_int_equal(s->row, want[n].row);
        assert_int_equal(s->rows, want[n].rows);
        assert_int_equal(s->carried, want[n].carried);
        assert_int_equal(s->carries, want[n++].carries);
    }
    assert_int_equal(n, 6);
    /* A row as long as all: its sum stays where it is. */
    op.row = op.count;
    b = lower(&op, &cpu);
    assert_int_equal(b->n, 1 + 6);
    assert_int_equal(b->steps[0].kind, QDQ_STEP_ROW_SQUARES);
    /* All before all else, as many at once as the limit has. */
    op.row = 1024;
    b = lower(&op, &vulkan);
    assert_int_equal(b->n, 3 + 2);
    assert_int_equal(b->steps[2].row, 8);
    assert_int_equal(b->steps[2].place, 8);
    op.row = 2 * QDQ_TILE;
    qdq_limits limits = vulkan;
    limits.row_elements = QDQ_TILE; /* a row is the least */
    assert_int_equal(lower(&op, &limits)->n, 6 + 2);
}

static void pairs(void **unused) {
    (void)unused;
    static const struct {
        const char *low, *high;
        size_t cuda, vulkan; /* steps a wave */
    } cases[] = {{"q4_0", "q8_0", 1, 1}, {"q4_0", "source", 1, 1}, {"q4_K", "q8_0", 2, 2},
                 {"q4_0", "q4_K", 2, 2}, {"q4_K", "q6_K", 3, 2},   {"q4_K", "source", 2, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qdq_op op = make_op(QDQ_OP_SENSITIVITY, 3 * QDQ_TILE, 32, cases[i].low, cases[i].high);
        assert_int_equal(lower(&op, &cuda)->n, cases[i].cuda);
        assert_int_equal(lower(&op, &vulkan)->n, cases[i].vulkan);
        assert_int_equal(lower(&op, &cpu)->n, 1);
    }
    /* Two slots take turns where one wave needs one. */
    qdq_op op = make_op(QDQ_OP_SENSITIVITY, 12 * QDQ_TILE, 32, "q4_K", "q8_0");
    backend *b = lower(&op, &vulkan);
    for (size_t i = 0; i < 6; i += 2) assert_int_equal(b->steps[i].output, i / 2 % 2);
    /* Pairs of light formats are put together where a kernel takes several. */
    op = make_op(QDQ_OP_SENSITIVITY, 3 * QDQ_TILE, 32, "q4_0", "q8_0");
    op.n_formats = 3;
    op.format[1] = qdq_format_by_name("q4_K");
    op.format[2] = qdq_format_by_name("q5_0");
    op.high[1] = op.high[2] = QDQ_FORMAT_SOURCE;
    b = lower(&op, &cuda);
    assert_int_equal(b->n, 3);
    assert_int_equal(b->steps[0].n_formats, 2);
    assert_int_equal(b->steps[0].format[1], 2);
    assert_int_equal(lower(&op, &vulkan)->n, 3);
    assert_int_equal(lower(&op, &cpu)->n, 1);
}

static qdq_op draw_op(uint64_t *state) {
    qdq_op op = {.kind = (qdq_op_kind)(next_random(state) % 5)};
    uint64_t row = 32 * (1 + next_random(state) % (next_random(state) % 2 ? 8 : 200));
    op.row = row;
    op.count = row * (1 + next_random(state) % (1 + 40000 / row));
    bool sums = op.kind == QDQ_OP_ERROR || op.kind == QDQ_OP_SENSITIVITY;
    op.n_formats = sums ? 1 + (uint32_t)(next_random(state) % 12) : 1;
    for (uint32_t f = 0; f < op.n_formats; f++) {
        op.format[f] = (qdq_format)(next_random(state) % (uint64_t)qdq_format_count());
        if (op.kind != QDQ_OP_SENSITIVITY) continue;
        op.high[f] = (qdq_format)(next_random(state) % (uint64_t)qdq_format_count());
        if (next_random(state) % 4 == 0) op.high[f] = QDQ_FORMAT_SOURCE;
    }
    if (op.kind != QDQ_OP_DEQUANTIZE && next_random(state) % 2) op.importance.memory = &some_memory;
    return op;
}

static uint64_t draw_limit(uint64_t *state) {
    return next_random(state) % 4 == 0 ? UINT64_MAX : 1 + next_random(state) % 12;
}

static qdq_limits draw_limits(uint64_t *state) {
    qdq_limits limits = {.tiles = draw_limit(state),
                         .sum_bytes = 16 * QDQ_MAX_OP_FORMATS * (1 + next_random(state) % 9),
                         .shared_tiles = draw_limit(state),
                         .scratch_tiles = draw_limit(state),
                         .row_tiles = draw_limit(state),
                         .row_elements = next_random(state) % 3 ? 32 * draw_limit(state) : UINT64_MAX,
                         .rows_first = next_random(state) % 2,
                         .several = 1 + (uint32_t)(next_random(state) % 6),
                         .several_pairs = 1 + (uint32_t)(next_random(state) % 6),
                         .any_format = next_random(state) % 4 == 0,
                         .weighs_several = next_random(state) % 2,
                         .own_sums = next_random(state) % 2};
    if (limits.any_format) limits.weighs_several = true;
    return limits;
}

typedef struct wanted {
    qdq_step step[64];
    size_t n;
} wanted;

static qdq_status note_kernel(void *context, const qdq_step *s) {
    wanted *w = context;
    assert_true(w->n < 64);
    w->step[w->n++] = *s;
    return QDQ_OK;
}

/* The same kernel: all that a backend may choose it by. */
static bool same_kernel(const qdq_step *a, const qdq_step *b) {
    if (a->kind != b->kind || a->n_formats != b->n_formats || a->weighted != b->weighted ||
        a->row_sums != b->row_sums || a->high != b->high || (a->output == QDQ_NO_SLOT) != (b->output == QDQ_NO_SLOT))
        return false;
    for (int i = 0; i < 2; i++)
        if ((a->given[i] == QDQ_NO_SLOT) != (b->given[i] == QDQ_NO_SLOT)) return false;
    return memcmp(a->format, b->format, sizeof a->format) == 0;
}

static void any_operation_within_any_limits(void **unused) {
    (void)unused;
    uint64_t state = 11;
    for (int i = 0; i < 20000; i++) {
        qdq_op op = draw_op(&state);
        qdq_limits limits = draw_limits(&state);
        const backend *b = lower(&op, &limits);
        wanted w = {.n = 0};
        qdq_op unset = op; /* as an operation is that nobody encodes yet */
        unset.count = unset.row = 0;
        assert_ok(qdq_lower_kernels(&unset, &limits, note_kernel, &w));
        for (size_t k = 0; k < b->n; k++) {
            bool found = false;
            for (size_t j = 0; j < w.n && !found; j++) found = same_kernel(&b->steps[k], &w.step[j]);
            assert_true(found);
        }
    }
}

typedef struct quitter {
    int left;
} quitter;
static qdq_status quit(void *context, const qdq_step *step) {
    (void)step;
    return ((quitter *)context)->left-- > 0 ? QDQ_OK : QDQ_DEVICE_ERROR;
}

static void a_step_that_fails_is_the_last(void **unused) {
    (void)unused;
    qdq_op op = make_op(QDQ_OP_SENSITIVITY, 30 * QDQ_TILE, 3 * QDQ_TILE, "q4_K", "q6_K");
    op.importance.memory = &some_memory;
    const size_t n = lower(&op, &cuda)->n;
    for (int steps = 0; steps < (int)n; steps++) {
        quitter q = {steps};
        assert_int_equal(qdq_lower(&op, &cuda, quit, &q), QDQ_DEVICE_ERROR);
        assert_int_equal(q.left, -1);
    }
}

static void sums_go_to_their_formats(void **unused) {
    (void)unused;
    qdq_error_sums sums[4] = {{0}};
    qdq_op op = {.kind = QDQ_OP_ERROR, .count = 2 * QDQ_TILE, .row = 32, .n_formats = 4, .error = sums};
    const qdq_tile_error tiles[] = {{1, 2, 3, 4}, {10, 20, 30, 3}, {5, 6, 7, 8}, {50, 60, 70, 9}};
    qdq_step step = {.kind = QDQ_STEP_ERROR, .op = &op, .count = op.count, .n_formats = 2, .format = {3, 1}};
    assert_int_equal(qdq_step_sum_bytes(&step), sizeof tiles);
    qdq_add_step_sums(&step, tiles);
    qdq_finish_sums(&op);
    assert_true(sums[3].err2 == 11 && sums[3].ww == 22 && sums[3].qq == 33 && sums[3].max_abs == 4.0f);
    assert_true(sums[1].err2 == 55 && sums[1].ww == 66 && sums[1].qq == 77 && sums[1].max_abs == 9.0f);
    assert_true(sums[0].err2 == 0 && sums[2].qq == 0);
    for (int f = 0; f < 4; f++) assert_int_equal(sums[f].count, op.count);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waves_end_where_limits_do),
        cmocka_unit_test(sixty_four_formats),
        cmocka_unit_test(rows_that_waves_cut),
        cmocka_unit_test(pairs),
        cmocka_unit_test(any_operation_within_any_limits),
        cmocka_unit_test(a_step_that_fails_is_the_last),
        cmocka_unit_test(sums_go_to_their_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
