/* The multiple-choice knapsack of choose.h.
 *
 * 1. Damages become integers on a grid whose step depends on the groups alone, not on the budget.
 * 2. Each group keeps its options in order of bytes, those that another one beats in both left out, and of these the
 *    lower convex hull.
 * 3. The hull's edges, steepest first, fill the budget greedily: a first assignment. The edge that does not fit gives
 *    the multiplier lambda (damage per byte) of the Lagrangian relaxation.
 * 4. With lambda, each group has a base option (least damage + lambda x bytes), and every other option a penalty >= 0
 *    against it. The damage of an assignment of which `slack` bytes of the budget stay unused is exactly
 *        bound + sum of its penalties + lambda x slack,
 *    so the best assignment has the least *gap* = penalties + lambda x slack.
 * 5. Dynamic programming over the groups, those with the smallest penalties first (the core, D. Pisinger, "A minimal
 *    algorithm for the multiple-choice knapsack problem", EJOR 83, 1995): a state is the bytes over the base and the
 *    penalties so far. A state is dropped when another has no more bytes and no more damage, and when its penalty plus
 *    the least penalty still to come reaches the best gap known. When none is left, the best is proven best.
 *
 * An assignment whose penalties alone equal the best gap has slack 0, hence at least as many bytes: dropping it never
 * loses the assignment with the fewest bytes. This wants lambda > 0; 1 is taken where the edge gives 0. */
#include "plan/choose.h"
#include "base/error.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 i128;

#define GRID_BITS 100
#define NEVER     (((u128)1) << 126) /* more than any gap: a sum of 2^20 damages below 2^100, twice */
#define BASE_ONLY UINT32_MAX

typedef struct option {
    u128 damage;
    uint64_t bytes;
    uint32_t candidate;
} option;

typedef struct edge { /* from one corner of a group's hull to the next */
    u128 damage;      /* saved */
    uint64_t bytes;   /* paid */
    uint32_t group, from, to;
} edge;

typedef struct detour { /* an option that is not its group's base */
    u128 penalty;
    int64_t bytes; /* over the base */
    uint32_t option;
} detour;

typedef struct core_group {
    u128 least; /* the smallest penalty of its detours */
    uint32_t group, first, count;
    int64_t most_up, most_down; /* bytes that this group and those after it can add or save */
} core_group;

typedef struct state {
    u128 penalty;
    int64_t bytes; /* over the base */
    uint32_t step;
} state;

typedef struct step { /* a detour taken; the others of the path by `before` */
    uint32_t before, group, option;
} step;

typedef struct list {
    state *at;
    size_t count, room;
} list;

typedef struct qdq_knapsack {
    size_t n;
    uint32_t *first; /* n + 1 */
    option *options;
    edge *edges; /* steepest first */
    size_t n_edges;
    uint64_t floor, ceiling;
    uint64_t unit;     /* all differences of bytes are multiples of it */
    int step_exponent; /* a grid step is 2^step_exponent */
    int rounded;       /* a damage was not on the grid */
    int harmless;      /* the smallest assignment, which `best` has, does no damage */

    /* Of one budget: */
    uint32_t *base, *best; /* an option of each group */
    uint64_t budget;

    u128 lambda;
    int64_t room; /* budget less the base's bytes; may be negative */
    u128 gap;     /* of the best assignment */
    uint64_t best_bytes;
    uint32_t best_step;

    step *steps;
    size_t n_steps, steps_room;
    uint64_t states;
} chooser; /* its own name for qdq_knapsack */

/* ---- Integers ---- */

/* a x b, or NEVER when it is that much. */
static u128 times(u128 a, uint64_t b) {
    u128 low = (u128)(uint64_t)a * b, high = (a >> 64) * b + (low >> 64);
    if (high >> 62) return NEVER;
    return (high << 64) | (uint64_t)low;
}

/* The sign of a x b - c x d, of 192 bits each. */
static int compare_products(u128 a, uint64_t b, u128 c, uint64_t d) {
    u128 al = (u128)(uint64_t)a * b, ah = (a >> 64) * b + (al >> 64);
    u128 cl = (u128)(uint64_t)c * d, ch = (c >> 64) * d + (cl >> 64);
    if (ah != ch) return ah < ch ? -1 : 1;
    uint64_t x = (uint64_t)al, y = (uint64_t)cl;
    return x < y ? -1 : x > y;
}

static uint64_t common_divisor(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* damage in steps of 2^exponent, to nearest, ties to even; damage < 2^(exponent + GRID_BITS). */
static u128 to_grid(double damage, int exponent, int *rounded) {
    if (damage == 0.0) return 0;
    int e;
    uint64_t digits = (uint64_t)ldexp(frexp(damage, &e), 53);
    int shift = e - 53 - exponent;
    if (shift >= 0) return (u128)digits << shift;
    shift = -shift;
    if (shift > 54) {
        *rounded = 1;
        return 0;
    }
    uint64_t whole = digits >> shift, rest = digits & ((UINT64_C(1) << shift) - 1), half = UINT64_C(1) << (shift - 1);
    if (rest) *rounded = 1;
    return whole + (rest > half || (rest == half && (whole & 1)));
}

/* ---- Groups to options ---- */

qdq_status qdq_choose_range(size_t n_groups, const qdq_choose_group *groups, uint64_t *floor, uint64_t *ceiling) {
    if (!floor || !ceiling || (n_groups && !groups)) return qdq_fail(QDQ_INVALID_ARGUMENT, "choose: a NULL argument");
    if (n_groups > QDQ_CHOOSE_MAX_GROUPS)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "choose: %zu groups; at most %u", n_groups, QDQ_CHOOSE_MAX_GROUPS);
    uint64_t least = 0, most = 0, options = 0;
    for (size_t i = 0; i < n_groups; i++) {
        const qdq_choose_group *g = &groups[i];
        if (!g->candidates || g->n_candidates == 0)
            return qdq_fail(QDQ_INVALID_ARGUMENT, "choose: group %zu has no candidate", i);
        uint64_t low = UINT64_MAX, high = 0;
        for (uint32_t c = 0; c < g->n_candidates; c++) {
            double damage = g->candidates[c].damage;
            if (!isfinite(damage) || damage < 0)
                return qdq_fail(QDQ_INVALID_ARGUMENT,
                                "choose: group %zu, candidate %u: damage %g; it must be finite and not negative", i, c,
                                damage);
            if (g->candidates[c].bytes < low) low = g->candidates[c].bytes;
            if (g->candidates[c].bytes > high) high = g->candidates[c].bytes;
        }
        options += g->n_candidates;
        if (__builtin_add_overflow(least, low, &least) || __builtin_add_overflow(most, high, &most) || most > INT64_MAX)
            return qdq_fail(QDQ_INVALID_ARGUMENT, "choose: the groups reach 2^63 bytes at group %zu", i);
        if (options >= UINT32_MAX) return qdq_fail(QDQ_INVALID_ARGUMENT, "choose: 2^32 candidates or more");
    }
    *floor = least;
    *ceiling = most;
    return QDQ_OK;
}

static const qdq_candidate *smallest_candidate(const qdq_choose_group *g) {
    const qdq_candidate *s = &g->candidates[0];
    for (uint32_t c = 1; c < g->n_candidates; c++) {
        const qdq_candidate *x = &g->candidates[c];
        if (x->bytes < s->bytes || (x->bytes == s->bytes && x->damage < s->damage)) s = x;
    }
    return s;
}

/* The step: 2^GRID_BITS of it are at least the damage of the smallest assignment, whatever the budget. 0 when that
 * damage is 0. */
static int set_grid(chooser *s, const qdq_choose_group *groups) {
    double most = 0;
    for (size_t i = 0; i < s->n; i++) {
        double damage = smallest_candidate(&groups[i])->damage;
        if (damage > most) most = damage;
    }
    if (most == 0) return 0;
    int exponent;
    frexp(most, &exponent);
    for (size_t n = 1; n < s->n; n *= 2) exponent++;
    s->step_exponent = exponent - GRID_BITS;
    return 1;
}

static int order_options(const void *a, const void *b) {
    const option *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    if (x->damage != y->damage) return x->damage < y->damage ? -1 : 1;
    return x->candidate < y->candidate ? -1 : x->candidate > y->candidate;
}

/* The group's options in order of bytes, each with less damage than the one before. */
static uint32_t list_options(chooser *s, const qdq_choose_group *g, option *out) {
    uint32_t n = 0, kept = 0;
    for (uint32_t c = 0; c < g->n_candidates; c++) {
        /* more than the smallest assignment's whole damage: in no best assignment */
        int exponent;
        frexp(g->candidates[c].damage, &exponent);
        if (g->candidates[c].damage != 0.0 && exponent > s->step_exponent + GRID_BITS) continue;
        out[n].bytes = g->candidates[c].bytes;
        out[n].damage = to_grid(g->candidates[c].damage, s->step_exponent, &s->rounded);
        out[n++].candidate = c;
    }
    qsort(out, n, sizeof *out, order_options);
    for (uint32_t i = 0; i < n; i++)
        if (kept == 0 || out[i].damage < out[kept - 1].damage) out[kept++] = out[i];
    return kept;
}

/* Appends the edges of the lower convex hull of the group's options: slopes strictly fall. */
static size_t hull_edges(const option *options, uint32_t count, uint32_t group, uint32_t *corners, edge *out) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        while (n >= 2) {
            const option *a = &options[corners[n - 2]], *b = &options[corners[n - 1]], *c = &options[i];
            /* b stays a corner if a->b is steeper than b->c */
            if (compare_products(a->damage - b->damage, c->bytes - b->bytes, b->damage - c->damage,
                                 b->bytes - a->bytes) > 0)
                break;
            n--;
        }
        corners[n++] = i;
    }
    for (uint32_t k = 0; k + 1 < n; k++) {
        const option *a = &options[corners[k]], *b = &options[corners[k + 1]];
        out[k] = (edge){a->damage - b->damage, b->bytes - a->bytes, group, corners[k], corners[k + 1]};
    }
    return n - 1;
}

static int order_edges(const void *a, const void *b) {
    const edge *x = a, *y = b;
    int steeper = compare_products(x->damage, y->bytes, y->damage, x->bytes);
    if (steeper) return -steeper;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* ---- The relaxation ---- */

/* best: the greedy assignment; base: where it stood when an edge first did not fit. Returns 0 if every edge fitted, so
 * that best is the least damage there is. */
static int fill_greedily(chooser *s) {
    uint64_t bytes = s->floor;
    int all = 1;
    for (size_t k = 0; k < s->n_edges; k++) {
        const edge *e = &s->edges[k];
        if (s->best[e->group] != e->from) continue;
        if (e->bytes <= s->budget - bytes) {
            bytes += e->bytes;
            s->best[e->group] = e->to;
        } else if (all) {
            all = 0;
            s->lambda = e->damage / e->bytes;
            if (s->lambda == 0) s->lambda = 1;
            memcpy(s->base, s->best, s->n * sizeof *s->base);
        }
    }
    return !all;
}

/* Rounding lambda down can have left edges that are worth taking, rounding it up to 1 some that are not. */
static void settle_base(chooser *s) {
    for (size_t k = 0; k < s->n_edges; k++) {
        const edge *e = &s->edges[k];
        if (s->base[e->group] == e->from && compare_products(e->damage, 1, s->lambda, e->bytes) > 0)
            s->base[e->group] = e->to;
    }
    for (size_t k = s->n_edges; k-- > 0;) {
        const edge *e = &s->edges[k];
        if (s->base[e->group] == e->to && compare_products(e->damage, 1, s->lambda, e->bytes) < 0)
            s->base[e->group] = e->from;
    }
}

/* ---- The core ---- */

static qdq_status out_of_memory(void) { return qdq_fail(QDQ_OUT_OF_MEMORY, "choose: out of memory"); }

/* Equal penalties: in a fixed shuffle, so that groups that can only add bytes and groups that can only save them stand
 * mixed. */
static int order_core(const void *a, const void *b) {
    const core_group *x = a, *y = b;
    if (x->least != y->least) return x->least < y->least ? -1 : 1;
    uint32_t i = x->group * UINT32_C(2654435761), k = y->group * UINT32_C(2654435761);
    return i < k ? -1 : i > k;
}

/* Every detour whose penalty is below the gap. */
static size_t list_detours(const chooser *s, core_group *core, detour *detours) {
    size_t n_core = 0;
    uint32_t used = 0;
    for (size_t i = 0; i < s->n; i++) {
        const option *options = &s->options[s->first[i]], *base = &options[s->base[i]];
        core_group g = {NEVER, (uint32_t)i, used, 0, 0, 0};
        for (uint32_t k = 0; k < s->first[i + 1] - s->first[i]; k++) {
            if (k == s->base[i]) continue;
            const option *o = &options[k];
            u128 penalty;
            if (o->bytes > base->bytes) {
                penalty = times(s->lambda, o->bytes - base->bytes);
                if (penalty >= NEVER) continue;
                penalty -= base->damage - o->damage;
            } else {
                penalty = o->damage - base->damage - times(s->lambda, base->bytes - o->bytes);
            }
            if (penalty >= s->gap) continue;
            int64_t bytes = (int64_t)o->bytes - (int64_t)base->bytes;
            detours[used++] = (detour){penalty, bytes, k};
            if (penalty < g.least) g.least = penalty;
            if (bytes > g.most_up) g.most_up = bytes;
            if (bytes < g.most_down) g.most_down = bytes;
        }
        g.count = used - g.first;
        if (g.count) core[n_core++] = g;
    }
    qsort(core, n_core, sizeof *core, order_core);
    for (size_t k = n_core; k-- > 1;) {
        core[k - 1].most_up += core[k].most_up;
        core[k - 1].most_down += core[k].most_down;
    }
    return n_core;
}

/* Compares the assignment that this state is, if all groups to come stay at their base, with the best. */
static void finish(chooser *s, const state *x) {
    if (x->bytes > s->room) return;
    u128 gap = x->penalty + times(s->lambda, (uint64_t)(s->room - x->bytes));
    if (gap > s->gap) return;
    uint64_t bytes = s->budget - (uint64_t)(s->room - x->bytes);
    if (gap == s->gap && bytes >= s->best_bytes) return;
    s->gap = gap;
    s->best_bytes = bytes;
    s->best_step = x->step;
}

static int reserve(list *l, size_t count) {
    if (count <= l->room) return 1;
    size_t room = count + count / 2;
    state *at = realloc(l->at, room * sizeof *at);
    if (!at) return 0;
    l->at = at;
    l->room = room;
    return 1;
}

/* Appends x to a list in order of bytes, unless the last one has no more damage. */
static void append(const chooser *s, list *l, const state *x) {
    if (l->count) {
        const state *last = &l->at[l->count - 1];
        u128 saved = times(s->lambda, (uint64_t)(x->bytes - last->bytes));
        if (last->penalty + saved <= x->penalty) return;
    }
    l->at[l->count++] = *x;
}

/* Can a state lead to less than the best gap, when groups from `rest` on are still to be decided? */
static int hopeful(const chooser *s, const state *x, const core_group *rest) {
    if (x->penalty >= s->gap || rest->least >= s->gap - x->penalty) return 0;
    int64_t spare = s->room - x->bytes;
    if (spare < rest->most_down) return 0;
    if (spare > rest->most_up && x->penalty + times(s->lambda, (uint64_t)(spare - rest->most_up)) > s->gap) return 0;
    return 1;
}

static int new_step(chooser *s, uint32_t before, uint32_t group, uint32_t option_, uint32_t *index) {
    if (s->n_steps == s->steps_room) {
        size_t room = s->steps_room ? s->steps_room * 2 : 4096;
        step *steps = realloc(s->steps, room * sizeof *steps);
        if (!steps) return 0;
        s->steps = steps;
        s->steps_room = room;
    }
    s->steps[s->n_steps] = (step){before, group, option_};
    *index = (uint32_t)s->n_steps++;
    return 1;
}

/* out = into merged with `from`, each of whose states takes the detour. */
static int merge_detour(chooser *s, const list *into, const list *from, const detour *d, uint32_t group, list *out) {
    if (!reserve(out, into->count + from->count)) return 0;
    out->count = 0;
    size_t i = 0;
    for (size_t k = 0; k < from->count; k++) {
        state x = from->at[k];
        x.penalty += d->penalty;
        if (x.penalty >= s->gap) continue;
        x.bytes += d->bytes;
        s->states++;
        while (i < into->count &&
               (into->at[i].bytes < x.bytes || (into->at[i].bytes == x.bytes && into->at[i].penalty <= x.penalty)))
            append(s, out, &into->at[i++]);
        size_t before = out->count;
        append(s, out, &x);
        if (out->count == before) continue;
        if (!new_step(s, x.step, group, d->option, &out->at[before].step)) return 0;
        finish(s, &out->at[before]);
    }
    while (i < into->count) append(s, out, &into->at[i++]);
    return 1;
}

/* What the search may hold at once: 32 bytes a state in three lists, 12 bytes a step. */
#define MAX_LIST  500000u
#define MAX_STEPS 3000000u

/* How far a state is from a good end, by a measure that orders states and no more. */
static u128 distance(const chooser *s, const state *x) {
    int64_t spare = s->room - x->bytes;
    return x->penalty + times(s->lambda, (uint64_t)(spare < 0 ? -spare : spare));
}

static int order_distances(const void *a, const void *b) {
    const u128 *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Keeps about `count` states, those at the least distance; *left becomes the least gap that a dropped one could have
 * led to. */
static qdq_status thin(const chooser *s, list *l, size_t count, u128 least_to_come, u128 *left) {
    u128 *distances = malloc(l->count * sizeof *distances);
    if (!distances) return out_of_memory();
    for (size_t i = 0; i < l->count; i++) distances[i] = distance(s, &l->at[i]);
    qsort(distances, l->count, sizeof *distances, order_distances);
    u128 limit = distances[count];
    free(distances);
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        const state *x = &l->at[i];
        if (distance(s, x) < limit)
            l->at[kept++] = *x;
        else if (x->penalty + least_to_come < *left)
            *left = x->penalty + least_to_come;
    }
    l->count = kept;
    return QDQ_OK;
}

/* The most states that deciding this group can make of the list. */
static uint64_t growth(const chooser *s, const list *l, const core_group *g, const detour *detours) {
    u128 least = NEVER;
    for (size_t i = 0; i < l->count; i++)
        if (l->at[i].penalty < least) least = l->at[i].penalty;
    uint64_t ways = 1;
    for (uint32_t d = 0; d < g->count; d++) ways += detours[g->first + d].penalty + least < s->gap;
    return ways * l->count;
}

/* Searches the core; *left is the least gap that an assignment not looked at can have (NEVER if there is none). Where
 * there are too many states, the best looking go on: the bound that the others leave may still prove what is found. */
static qdq_status search(chooser *s, const core_group *core, size_t n_core, const detour *detours, uint64_t max_states,
                         u128 *left) {
    list now = {0}, next = {0}, spare = {0};
    qdq_status status = QDQ_OK;
    *left = NEVER;
    if (!reserve(&now, 1)) return out_of_memory();
    now.at[0] = (state){0, 0, BASE_ONLY};
    now.count = 1;
    s->states++;
    finish(s, &now.at[0]);
    for (size_t k = 0; k < n_core && core[k].least < s->gap; k++) {
        const core_group *g = &core[k];
        size_t kept = 0;
        for (size_t i = 0; i < now.count; i++)
            if (hopeful(s, &now.at[i], g)) now.at[kept++] = now.at[i];
        now.count = kept;
        if (kept == 0) break;
        if (growth(s, &now, g, detours) > MAX_LIST) {
            status = thin(s, &now, MAX_LIST / 4 / (g->count + 1), g->least, left);
            if (status != QDQ_OK) break;
        }
        if (s->n_steps > MAX_STEPS || s->states > max_states) {
            for (size_t i = 0; i < now.count; i++)
                if (now.at[i].penalty + g->least < *left) *left = now.at[i].penalty + g->least;
            break;
        }
        const list *into = &now;
        for (uint32_t d = 0; d < g->count; d++) {
            const detour *x = &detours[g->first + d];
            if (x->penalty >= s->gap) continue;
            if (!merge_detour(s, into, &now, x, g->group, &spare)) {
                status = out_of_memory();
                goto done;
            }
            list t = next;
            next = spare;
            spare = t;
            into = &next;
        }
        if (into == &next) {
            list t = now;
            now = next;
            next = t;
        }
    }
done:
    free(now.at);
    free(next.at);
    free(spare.at);
    return status;
}

/* ---- The whole ---- */

static void report_result(const chooser *s, u128 damage, u128 bound, uint64_t bytes, qdq_choose_result *result) {
    *result = (qdq_choose_result){
        .bytes = bytes,
        .damage = ldexp((double)damage, s->step_exponent),
        .lower_bound = ldexp((double)bound, s->step_exponent),
        .grid = s->rounded ? ldexp((double)s->n, s->step_exponent - 1) : 0.0,
        .proven = damage == bound,
        .states = s->states,
    };
}

static void sum_best(const chooser *s, u128 *damage, uint64_t *bytes) {
    *damage = 0;
    *bytes = 0;
    for (size_t i = 0; i < s->n; i++) {
        const option *o = &s->options[s->first[i] + s->best[i]];
        *damage += o->damage;
        *bytes += o->bytes;
    }
}

/* From the greedy assignment in `best` to the best one. */
static qdq_status improve(chooser *s, uint64_t max_states, u128 *bound) {
    u128 greedy;
    sum_best(s, &greedy, &s->best_bytes);
    i128 base_damage = 0, base_bytes = 0;
    for (size_t i = 0; i < s->n; i++) {
        const option *o = &s->options[s->first[i] + s->base[i]];
        base_damage += (i128)o->damage;
        base_bytes += o->bytes;
    }
    s->room = (int64_t)((i128)s->budget - base_bytes);
    i128 relaxed = base_damage - (i128)s->lambda * s->room;
    s->gap = (u128)((i128)greedy - relaxed);
    s->best_step = BASE_ONLY;
    const uint64_t greedy_bytes = s->best_bytes;
    const u128 greedy_gap = s->gap;

    size_t n_options = s->first[s->n];
    core_group *core = malloc(s->n * sizeof *core);
    detour *detours = malloc(n_options * sizeof *detours);
    qdq_status status = QDQ_OK;
    u128 left = NEVER;
    if (!core || !detours)
        status = out_of_memory();
    else
        status = search(s, core, list_detours(s, core, detours), detours, max_states, &left);
    free(core);
    free(detours);
    if (status != QDQ_OK) return status;

    if (s->gap != greedy_gap || s->best_bytes != greedy_bytes) {
        memcpy(s->best, s->base, s->n * sizeof *s->best);
        for (uint32_t k = s->best_step; k != BASE_ONLY; k = s->steps[k].before)
            s->best[s->steps[k].group] = s->steps[k].option;
    }
    i128 least = relaxed + (i128)(left < s->gap ? left : s->gap);
    *bound = least < 0 ? 0 : (u128)least;
    return QDQ_OK;
}

/* Options and edges, which no budget changes. */
static qdq_status prepare(chooser *s, const qdq_choose_group *groups) {
    size_t n_candidates = 0;
    uint32_t widest = 0;
    for (size_t i = 0; i < s->n; i++) {
        n_candidates += groups[i].n_candidates;
        if (groups[i].n_candidates > widest) widest = groups[i].n_candidates;
    }
    s->first = malloc((s->n + 1) * sizeof *s->first);
    s->options = malloc((n_candidates + 1) * sizeof *s->options);
    s->base = calloc(s->n + 1, sizeof *s->base);
    s->best = calloc(s->n + 1, sizeof *s->best);
    s->edges = malloc((n_candidates + 1) * sizeof *s->edges);
    uint32_t *corners = malloc((widest + 1) * sizeof *corners);
    if (!s->first || !s->options || !s->base || !s->best || !s->edges || !corners) {
        free(corners);
        return out_of_memory();
    }
    s->first[0] = 0;
    s->harmless = !set_grid(s, groups);
    for (size_t i = 0; i < s->n && s->harmless; i++)
        s->best[i] = (uint32_t)(smallest_candidate(&groups[i]) - groups[i].candidates);
    for (size_t i = 0; i < s->n && !s->harmless; i++) {
        option *options = &s->options[s->first[i]];
        uint32_t count = list_options(s, &groups[i], options);
        s->first[i + 1] = s->first[i] + count;
        for (uint32_t k = 1; k < count; k++) s->unit = common_divisor(s->unit, options[k].bytes - options[0].bytes);
        s->n_edges += hull_edges(options, count, (uint32_t)i, corners, &s->edges[s->n_edges]);
    }
    free(corners);
    qsort(s->edges, s->n_edges, sizeof *s->edges, order_edges);
    return QDQ_OK;
}

qdq_status qdq_knapsack_create(size_t n_groups, const qdq_choose_group *groups, qdq_knapsack **knapsack) {
    if (!knapsack) return qdq_fail(QDQ_INVALID_ARGUMENT, "choose: a NULL argument");
    *knapsack = NULL;
    chooser *s = calloc(1, sizeof *s);
    if (!s) return out_of_memory();
    s->n = n_groups;
    qdq_status status = qdq_choose_range(n_groups, groups, &s->floor, &s->ceiling);
    if (status == QDQ_OK) status = prepare(s, groups);
    if (status == QDQ_OK)
        *knapsack = s;
    else
        qdq_knapsack_free(s);
    return status;
}

void qdq_knapsack_free(qdq_knapsack *s) {
    if (!s) return;
    free(s->first);
    free(s->options);
    free(s->edges);
    free(s->base);
    free(s->best);
    free(s);
}

static qdq_status solve(chooser *s, uint64_t max_states, uint32_t *chosen, qdq_choose_result *result) {
    u128 bound = 0, damage;
    uint64_t bytes;
    qdq_status status = QDQ_OK;
    if (s->unit) s->budget = s->floor + (s->budget - s->floor) / s->unit * s->unit;
    memset(s->best, 0, s->n * sizeof *s->best);
    s->states = s->n_steps = 0;
    int cut = fill_greedily(s);
    if (cut) {
        settle_base(s);
        status = improve(s, max_states, &bound);
        free(s->steps);
        s->steps = NULL;
        s->steps_room = 0;
        if (status != QDQ_OK) return status;
    }
    sum_best(s, &damage, &bytes);
    report_result(s, damage, cut ? bound : damage, bytes, result);
    for (size_t i = 0; i < s->n; i++) chosen[i] = s->options[s->first[i] + s->best[i]].candidate;
    return QDQ_OK;
}

qdq_status qdq_knapsack_solve(qdq_knapsack *s, uint64_t budget, uint64_t max_states, uint32_t *chosen,
                              qdq_choose_result *result) {
    if (!s || !result || (s->n && !chosen)) return qdq_fail(QDQ_INVALID_ARGUMENT, "choose: a NULL argument");
    if (budget < s->floor || budget > s->ceiling)
        return qdq_fail(QDQ_INVALID_ARGUMENT,
                        "the budget of %" PRIu64 " bytes is %s: the candidates take from %" PRIu64 " to %" PRIu64
                        " bytes",
                        budget, budget < s->floor ? "too small" : "more than can be used", s->floor, s->ceiling);
    *result = (qdq_choose_result){.bytes = s->floor, .proven = 1};
    if (s->harmless) {
        for (size_t i = 0; i < s->n; i++) chosen[i] = s->best[i];
        return QDQ_OK;
    }
    s->budget = budget;
    return solve(s, max_states, chosen, result);
}

qdq_status qdq_choose_limited(size_t n_groups, const qdq_choose_group *groups, uint64_t budget, uint64_t max_states,
                              uint32_t *chosen, qdq_choose_result *result) {
    qdq_knapsack *s;
    qdq_status status = qdq_knapsack_create(n_groups, groups, &s);
    if (status != QDQ_OK) return status;
    status = qdq_knapsack_solve(s, budget, max_states, chosen, result);
    qdq_knapsack_free(s);
    return status;
}

qdq_status qdq_choose(size_t n_groups, const qdq_choose_group *groups, uint64_t budget, uint32_t *chosen,
                      qdq_choose_result *result) {
    return qdq_choose_limited(n_groups, groups, budget, QDQ_CHOOSE_STATES, chosen, result);
}
