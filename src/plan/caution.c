#include "plan/caution.h"

#include <math.h>

/* How far costs may be from what a score has them at, squared (docs/planner.md): within a kind, and within an encoder,
 * which is what `relative` is for; in models of which nothing is known. */
static double caution_of(qdq_score score) {
    if (score == QDQ_SCORE_KINDS || score == QDQ_SCORE_RELATIVE) return 1.5 * 1.5;
    return score == QDQ_SCORE_SIZED ? 5.0 * 5.0 : 1;
}

static const qdq_baseline *best_that_fits(const qdq_planner *p, uint64_t bytes) {
    const qdq_baselines *b = p->baselines;
    const qdq_baseline *best = NULL;
    for (size_t i = 0; i < b->n; i++) {
        const qdq_plan_baseline *shown = &b->list[i].shown;
        if (!shown->allowed || qdq_baseline_cost(p, shown) > bytes) continue;
        if (best == NULL || shown->damage < best->shown.damage) best = &b->list[i];
    }
    return best;
}

/* The problem's damages as they are (yardstick NULL), or with what is lost beyond the yardstick counted `caution` times
 * as much as what is saved: all of it divided by that, so that nothing becomes larger than it was. */
static qdq_status lean_on(qdq_planner *p, const qdq_baseline *yardstick, double caution) {
    qdq_status status = QDQ_OK;
    if (yardstick == p->leaning) return QDQ_OK;
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        const qdq_item *it = &p->items[i];
        for (uint32_t c = 0; c < p->n_formats && qdq_item_planned(it) && status == QDQ_OK; c++) {
            if (it->candidates[c].bytes == QDQ_NO_CANDIDATE) continue;
            double damage = it->candidates[c].damage;
            if (yardstick != NULL) {
                double there = it->candidates[yardstick->candidates[i]].damage;
                damage = damage <= there ? damage / caution : damage - there + there / caution;
            }
            status = qdq_problem_set_damage(p->problem, it->index, c, damage);
        }
    }
    if (status == QDQ_OK) p->leaning = yardstick;
    return status;
}

static double damage_of(const qdq_planner *p, const uint32_t *chosen) {
    double damage = 0;
    for (uint64_t i = 0; i < p->n_items; i++)
        if (qdq_item_planned(&p->items[i])) damage += p->items[i].candidates[chosen[p->items[i].index]].damage;
    return damage;
}

/* A search that was cut short may have ended worse than where it could have begun. */
static void take_baseline(const qdq_planner *p, const qdq_baseline *best, uint32_t *chosen, qdq_found *found) {
    for (uint64_t i = 0; i < p->n_items; i++)
        if (qdq_item_planned(&p->items[i])) chosen[p->items[i].index] = best->candidates[i];
    found->damage = best->shown.damage;
}

qdq_status qdq_planner_find(qdq_planner *p, uint64_t bytes, uint64_t states, uint32_t *chosen, qdq_found *found) {
    qdq_choose_result result;
    double caution = caution_of(p->score);
    const qdq_baseline *best = best_that_fits(p, bytes), *yardstick = caution > 1 ? best : NULL;
    qdq_status status = lean_on(p, yardstick, caution);
    if (status == QDQ_OK) status = qdq_problem_approach(p->problem, bytes - p->fixed, states, chosen, &result);
    if (status != QDQ_OK) return status;
    *found = (qdq_found){result.damage, fmax(result.lower_bound, 0), result.proven != 0, 1, NULL};
    if (yardstick != NULL) {
        found->damage = damage_of(p, chosen);
        found->caution = caution;
        found->yardstick = yardstick->shown.name;
    }
    bool least = yardstick == NULL && found->proven;
    if (best != NULL && !least && found->damage > best->shown.damage) take_baseline(p, best, chosen, found);
    return QDQ_OK;
}

qdq_status qdq_planner_bound(qdq_planner *p, uint64_t bytes, uint32_t *scratch, double *lower_bound) {
    qdq_choose_result result;
    qdq_status status = lean_on(p, NULL, 1);
    if (status == QDQ_OK) status = qdq_problem_solve(p->problem, bytes - p->fixed, scratch, &result);
    if (status == QDQ_OK) *lower_bound = fmax(result.lower_bound, 0);
    return status;
}
