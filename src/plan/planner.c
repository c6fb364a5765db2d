/* Planners, for programs: what is asked for, and from there to plans. */
#include "plan/caution.h"
#include "plan/measure.h"
#include "plan/planner.h"
#include "plan/token_reads.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files/shown.h"
#include "base/error.h"

typedef unsigned long long ull;

static qdq_status no_memory(void) { return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a plan"); }

/* ---- What is asked for ------------------------------------------------------------------------------------------ */

static bool copy_text(const char *text, char **copy) {
    *copy = text != NULL ? strdup(text) : NULL;
    return text == NULL || *copy != NULL;
}

static qdq_status check_score(const qdq_planner *p) {
    if (qdq_score_name(p->score) == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "no score has the number %d", p->score);
    bool wants = qdq_score_takes_gradients(p->score);
    if (wants && p->gradients == NULL && p->scores_path == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "the score \"%s\" is made of gradients", qdq_score_name(p->score));
    if (!wants && p->score != QDQ_SCORE_AUTO && p->gradients != NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "the score \"%s\" does not use gradients", qdq_score_name(p->score));
    return QDQ_OK;
}

qdq_status qdq_planner_create(const qdq_selection *selection, const qdq_planner_options *options,
                              qdq_planner **result) {
    if (result == NULL || selection == NULL)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_planner_create: a NULL argument");
    *result = NULL;
    qdq_planner_options o = {0};
    if (options != NULL) {
        if (options->size == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_planner_create: options->size is 0");
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    }
    qdq_planner *p = calloc(1, sizeof *p);
    if (p == NULL) return no_memory();
    p->selection = selection;
    /* Others than root mean squares did worse than none at all in docs/planner.md, so they want a score by name. */
    bool passed_over = o.score == QDQ_SCORE_AUTO && o.gradients != NULL && !qdq_gradients_are_rms(o.gradients);
    p->gradients = passed_over ? NULL : o.gradients;
    p->score = o.score;
    p->for_llama_quantize = o.for_llama_quantize;
    p->keep_codes = o.keep_codes;
    p->cost = o.cost;
    bool copied =
        copy_text(o.formats, &p->wanted) && copy_text(o.scores, &p->scores_path) && copy_text(o.slow, &p->slow_text);
    qdq_status status = copied ? qdq_slow_formats_parse(o.slow, &p->slow) : no_memory();
    if (status == QDQ_OK && o.cost != QDQ_COST_SIZE && o.cost != QDQ_COST_TOKEN)
        status = qdq_fail(QDQ_INVALID_ARGUMENT, "no cost has the number %d", (int)o.cost);
    if (status == QDQ_OK && o.slow != NULL && o.cost != QDQ_COST_TOKEN)
        status =
            qdq_fail(QDQ_INVALID_ARGUMENT, "slow formats count where a target bounds what a token reads, not a file");
    if (status == QDQ_OK) status = qdq_rules_find(o.rules, &p->revision);
    if (status == QDQ_OK) status = check_score(p);
    if (status == QDQ_OK) status = qdq_planner_check_formats(p);
    if (status != QDQ_OK) {
        qdq_planner_free(p);
        return status;
    }
    *result = p;
    return QDQ_OK;
}

void qdq_planner_free(qdq_planner *p) {
    if (p == NULL) return;
    for (uint32_t i = 0; i < p->n_rules; i++) {
        free(p->rules[i].regex);
        free(p->rules[i].formats);
        qdq_pattern_free(p->rules[i].pattern);
    }
    free(p->rules);
    qdq_planner_drop_candidates(p);
    qdq_problem_free(p->problem);
    qdq_scores_free(p->scores);
    qdq_baselines_free(p->baselines);
    free(p->wanted);
    free(p->scores_path);
    free(p->slow_text);
    for (uint32_t i = 0; i < p->n_more_scores; i++) free(p->more_scores[i]);
    free(p->more_scores);
    free(p);
}

qdq_score qdq_planner_score(const qdq_planner *planner) { return planner->score; }

bool qdq_planner_uses_gradients(const qdq_planner *planner) { return planner->gradients != NULL || planner->given; }

qdq_status qdq_planner_rule(qdq_planner *p, qdq_plan_rule_kind kind, const char *regex, const char *formats) {
    if (p == NULL || (kind == QDQ_PLAN_SAME ? regex == NULL : formats == NULL) ||
        (kind == QDQ_PLAN_PIN && regex == NULL))
        return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_planner_rule: a rule without its regular expression or format");
    if (kind != QDQ_PLAN_PIN && kind != QDQ_PLAN_SAME && kind != QDQ_PLAN_MINIMUM && kind != QDQ_PLAN_ALLOW)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "no kind of rule has the number %d", (int)kind);
    if (p->n_rules == QDQ_MAX_RULES)
        return qdq_fail(QDQ_INVALID_ARGUMENT, "more than %d rules for a plan", QDQ_MAX_RULES);
    qdq_plan_rule *rules = realloc(p->rules, (p->n_rules + 1) * sizeof *rules);
    if (rules == NULL) return no_memory();
    p->rules = rules;
    qdq_plan_rule rule = {.kind = kind};
    qdq_status status = copy_text(regex, &rule.regex) && copy_text(formats, &rule.formats) ? QDQ_OK : no_memory();
    if (status == QDQ_OK && regex != NULL && qdq_plan_rule_gives(&rule))
        status = qdq_pattern_open(regex, &rule.pattern);
    if (status != QDQ_OK) {
        free(rule.regex);
        free(rule.formats);
        return status;
    }
    p->rules[p->n_rules++] = rule;
    p->prepared = p->measured = false;
    return QDQ_OK;
}

/* ---- From there to plans ---------------------------------------------------------------------------------------- */

static void forget_baselines(qdq_planner *p) {
    qdq_baselines_free(p->baselines);
    p->baselines = NULL;
    p->leaning = NULL;
}

static qdq_status prepare(qdq_planner *p) {
    if (p == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "the planner is NULL");
    if (p->prepared) return QDQ_OK;
    p->solved = false;
    forget_baselines(p);
    qdq_planner_drop_candidates(p);
    qdq_status status = qdq_planner_candidates(p);
    if (status == QDQ_OK) status = qdq_planner_rules(p);
    p->prepared = status == QDQ_OK;
    return status;
}

qdq_status qdq_planner_measure_shared(qdq_planner *p, qdq_pass *pass, qdq_shared_sums *shared, uint64_t *tensors) {
    uint64_t passes = 0;
    qdq_status status = prepare(p);
    if (status == QDQ_OK && pass == NULL) status = qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_planner_measure: pass is NULL");
    if (status == QDQ_OK) forget_baselines(p);
    if (status == QDQ_OK) status = qdq_planner_damage(p, pass, shared, &passes);
    if (status != QDQ_OK) return status;
    p->measured = shared == NULL || shared->parts == 0;
    if (tensors != NULL) *tensors = passes;
    return QDQ_OK;
}

qdq_status qdq_planner_measure(qdq_planner *p, qdq_pass *pass, uint64_t *tensors) {
    return qdq_planner_measure_shared(p, pass, NULL, tensors);
}

qdq_status qdq_planner_add_scores(qdq_planner *p, const char *path) {
    if (path == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_planner_add_scores: path is NULL");
    char *copy = strdup(path), **more = realloc(p->more_scores, (p->n_more_scores + 1) * sizeof *more);
    if (more != NULL) p->more_scores = more;
    if (more == NULL || copy == NULL) {
        free(copy);
        return no_memory();
    }
    p->more_scores[p->n_more_scores++] = copy;
    return QDQ_OK;
}

qdq_status qdq_planner_range(qdq_planner *p, uint64_t *floor, uint64_t *ceiling, uint64_t *overhead) {
    qdq_status status = prepare(p);
    if (status != QDQ_OK) return status;
    if (floor != NULL) *floor = p->floor;
    if (ceiling != NULL) *ceiling = p->ceiling;
    if (overhead != NULL) *overhead = p->overhead;
    return QDQ_OK;
}

/* A weight, of what the target bounds. */
static double bits(const qdq_planner *p, uint64_t bytes) {
    bool token = p->cost == QDQ_COST_TOKEN;
    uint64_t elements = token ? p->read_elements : p->elements;
    return elements > 0 ? 8 * (double)(token ? bytes : bytes - p->overhead) / (double)elements : 0;
}

/* Of the tensors that are kept, the largest; NULL: all of them together are less than a hundredth of the weights. */
static const qdq_item *largest_kept(const qdq_planner *p) {
    const qdq_item *largest = NULL;
    uint64_t together = 0;
    for (uint64_t i = 0; i < p->n_items; i++) {
        if (qdq_item_planned(&p->items[i])) continue;
        together += p->items[i].tensor->elements;
        if (largest == NULL || p->items[i].tensor->elements > largest->tensor->elements) largest = &p->items[i];
    }
    return together >= p->elements / 100 ? largest : NULL;
}

static qdq_status find_budget(const qdq_planner *p, const char *text, uint64_t *budget) {
    qdq_target target;
    qdq_status status = qdq_target_parse(text, &target);
    if (status != QDQ_OK) return status;
    bool token = p->cost == QDQ_COST_TOKEN;
    *budget = token ? qdq_target_bytes(&target, 0, p->read_elements, p->source_reads)
                    : qdq_target_bytes(&target, p->overhead, p->elements, p->source_bytes);
    if (*budget >= p->floor && *budget <= p->ceiling) return QDQ_OK;
    const qdq_item *kept = largest_kept(p);
    char why[3 * QDQ_REASON] = "";
    if (*budget < p->floor && kept != NULL)
        snprintf(why, sizeof why, "; the largest tensor that stays as it is is \"%.200s\", %.1f %% of the weights: %s",
                 kept->tensor->name, 100.0 * (double)kept->tensor->elements / (double)p->elements, kept->reason);
    return qdq_fail(QDQ_INVALID_ARGUMENT,
                    "a target of %s is %llu bytes%s, %s: with these formats and rules %s %llu bytes (%.4f bits a "
                    "weight) to %llu bytes (%.4f)%s",
                    SHOWN(text), (ull)*budget, token ? " a token" : "",
                    *budget < p->floor ? "less than the smallest plan has" : "more than the largest plan has",
                    token ? "a token reads" : "files have", (ull)p->floor, bits(p, p->floor), (ull)p->ceiling,
                    bits(p, p->ceiling), why);
}

qdq_status qdq_check_target(const char *text) {
    qdq_target target;
    return text != NULL ? qdq_target_parse(text, &target) : qdq_fail(QDQ_INVALID_ARGUMENT, "no target for a plan");
}

qdq_status qdq_planner_check(qdq_planner *p, const char *target) {
    uint64_t budget;
    char published[32];
    qdq_status status = prepare(p);
    if (status == QDQ_OK && target == NULL && p->published != NULL) target = qdq_planner_published_target(p, published);
    if (status == QDQ_OK && target == NULL) status = qdq_fail(QDQ_INVALID_ARGUMENT, "no target for a plan");
    return status == QDQ_OK ? find_budget(p, target, &budget) : status;
}

/* ---- The plan --------------------------------------------------------------------------------------------------- */

/* The first tensor of the group, if there are others. */
static const char *group_of(const qdq_planner *p, const qdq_item *it, const size_t *sizes, const char *const *firsts) {
    size_t group = qdq_problem_group(p->problem, it->index);
    return sizes[group] > 1 ? firsts[group] : NULL;
}

static qdq_status fill_tensor(const qdq_planner *p, const qdq_item *it, const char *group, qdq_plan_tensor *t) {
    *t = (qdq_plan_tensor){.name = it->tensor->name,
                           .dtype = it->tensor->type_name,
                           .gguf = it->gguf.name[0] != '\0' ? it->gguf.name : NULL,
                           .group = group,
                           .reason = it->reason[0] != '\0' ? it->reason : NULL,
                           .shape = it->tensor->shape,
                           .n_dims = it->tensor->n_dims,
                           .elements = it->tensor->elements,
                           .bytes = qdq_planner_padded(p, it->tensor->bytes)};
    bool known = p->reads_reason[0] == '\0';
    if (known) t->token_bytes = qdq_planner_kept_reads(p, it);
    if (t->reason != NULL) return QDQ_OK;
    qdq_plan_choice *choices = calloc(p->n_formats, sizeof *choices);
    if (choices == NULL) return no_memory();
    t->choices = choices;
    for (uint32_t c = 0; c < p->n_formats; c++) {
        if (!qdq_problem_open(p->problem, it->index, c)) continue;
        if (c == it->chosen) t->chosen = t->n_choices;
        choices[t->n_choices++] =
            (qdq_plan_choice){p->formats[c].name, it->candidates[c].bytes, it->candidates[c].damage,
                              p->cost == QDQ_COST_TOKEN ? qdq_planner_candidate_reads(p, it, c) : 0};
    }
    if (known) t->token_bytes = qdq_planner_candidate_reads(p, it, it->chosen);
    t->bytes = choices[t->chosen].bytes;
    return QDQ_OK;
}

static qdq_status fill_tensors(const qdq_planner *p, qdq_plan_tensor *tensors, uint64_t *bytes, uint64_t *reads) {
    size_t *sizes = calloc((size_t)p->n_items + 1, sizeof *sizes);
    const char **firsts = calloc((size_t)p->n_items + 1, sizeof *firsts);
    qdq_status status = sizes != NULL && firsts != NULL ? QDQ_OK : no_memory();
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        if (!qdq_item_planned(&p->items[i])) continue;
        size_t group = qdq_problem_group(p->problem, p->items[i].index);
        if (sizes[group]++ == 0) firsts[group] = p->items[i].tensor->name;
    }
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++) {
        const qdq_item *it = &p->items[i];
        status = fill_tensor(p, it, qdq_item_planned(it) ? group_of(p, it, sizes, firsts) : NULL, &tensors[i]);
        *bytes += tensors[i].bytes;
        *reads += tensors[i].token_bytes;
    }
    free(sizes);
    free(firsts);
    return status;
}

static const char *via_of(const qdq_model *model) {
    uint64_t tensors;
    qdq_dtype via;
    return qdq_model_decoded(model, 0, &tensors, &via) != NULL ? qdq_dtype_name(via) : NULL;
}

static double tokens_of(const qdq_planner *p) {
    double tokens = 0;
    if (p->score != QDQ_SCORE_SQUARED) return 0;
    if (p->given) return qdq_given(p->scores, &tokens) ? tokens : 0;
    return qdq_gradients_are_rms(p->gradients) ? qdq_gradients_tokens(p->gradients) : 0;
}

/* How far the search for the plan of a baseline's size goes: there are dozens, and nearly always this is all it takes.
 */
enum { STATES = 2000000 };

static qdq_status find_beside(qdq_planner *p, uint32_t *chosen, qdq_plan_baseline *b) {
    qdq_found found;
    uint64_t cost = qdq_baseline_cost(p, b);
    b->plan_damage = (double)NAN;
    if (cost < p->floor) return QDQ_OK;
    if (cost > p->ceiling) cost = p->ceiling;
    qdq_status status = qdq_planner_find(p, cost, STATES, chosen, &found);
    if (status == QDQ_OK) b->plan_damage = found.damage;
    return status;
}

/* What plans are held against, each with the plan of its size. */
static qdq_status find_baselines(qdq_planner *p) {
    if (p->baselines != NULL) return QDQ_OK;
    uint32_t *chosen = calloc((size_t)p->n_items + 1, sizeof *chosen);
    qdq_status status = chosen != NULL ? qdq_baselines_make(p, &p->baselines) : no_memory();
    for (size_t i = 0; status == QDQ_OK && i < p->baselines->n; i++)
        if (p->baselines->list[i].listed) status = find_beside(p, chosen, &p->baselines->list[i].shown);
    if (status != QDQ_OK) { /* the problem's damages may be left with somebody's caution */
        forget_baselines(p);
        p->measured = false;
    }
    free(chosen);
    return status;
}

/* Its format of each planned tensor; NULL: no memory. */
static const char **formats_of(const qdq_planner *p, const qdq_baseline *b, uint64_t *n) {
    const char **formats = malloc((size_t)p->n_items * sizeof *formats + 1);
    for (uint64_t i = 0; formats != NULL && i < p->n_items; i++)
        if (qdq_item_planned(&p->items[i])) formats[(*n)++] = p->formats[b->candidates[i]].name;
    return formats;
}

/* What the plan could have been is told in full: whoever measures it by other means has that to begin with, too. */
static qdq_status list_baselines(const qdq_planner *p, uint64_t budget, qdq_plan_baseline **list, size_t *n) {
    *list = calloc(p->baselines->n + 1, sizeof **list);
    if (*list == NULL) return no_memory();
    for (size_t i = 0; i < p->baselines->n; i++) {
        const qdq_baseline *b = &p->baselines->list[i];
        if (!b->listed) continue;
        qdq_plan_baseline *told = &(*list)[(*n)++];
        *told = b->shown;
        if (!told->allowed || qdq_baseline_cost(p, told) > budget) continue;
        told->formats = formats_of(p, b, &told->n_formats);
        if (told->formats == NULL) return no_memory();
    }
    return QDQ_OK;
}

/* As the plan's file has it, and read from there: a plan that was made is one that could have been read. */
static qdq_status make_plan(const qdq_planner *p, const char *target, uint64_t budget, const qdq_found *found,
                            qdq_plan *plan) {
    qdq_plan_tensor *tensors = calloc((size_t)p->n_items + 1, sizeof *tensors);
    qdq_plan made = {.model = qdq_model_path(p->selection->model),
                     .score = qdq_score_name(p->score),
                     .target = target,
                     .cost = p->cost == QDQ_COST_TOKEN ? QDQ_PLAN_TOKEN : QDQ_PLAN_SIZE,
                     .slow = p->slow_text,
                     .rules = qdq_rules_name(p->revision),
                     .imatrix = p->selection->imatrix != NULL ? qdq_imatrix_path(p->selection->imatrix) : NULL,
                     .via = via_of(p->selection->model),
                     .reference = p->reference,
                     .keep_codes = p->keep_codes,
                     .budget = budget,
                     .bytes = p->overhead,
                     .floor = p->floor,
                     .ceiling = p->ceiling,
                     .overhead = p->overhead,
                     .elements = p->elements,
                     .damage = found->damage,
                     .lower_bound = found->lower_bound,
                     .proven = found->proven,
                     .caution = found->caution,
                     .yardstick = found->yardstick,
                     .tokens = tokens_of(p),
                     .n_tensors = tensors != NULL ? (size_t)p->n_items : 0,
                     .tensors = tensors};
    qdq_plan_baseline *baselines = NULL;
    qdq_status status = tensors != NULL ? fill_tensors(p, tensors, &made.bytes, &made.token_bytes) : no_memory();
    if (status == QDQ_OK) status = list_baselines(p, budget, &baselines, &made.n_baselines);
    made.baselines = baselines;
    qdq_problem_rest(p->problem); /* the text takes as much again */
    qdq_builder text = {0};
    if (status == QDQ_OK) qdq_plan_put(&made, 0, &text);
    if (text.failed) status = no_memory();
    if (status == QDQ_OK) status = qdq_plan_read("the plan", text.bytes, text.n, plan);
    qdq_builder_free(&text);
    for (uint64_t i = 0; i < made.n_tensors; i++) free((void *)tensors[i].choices);
    free(tensors);
    for (size_t i = 0; i < made.n_baselines; i++) free((void *)baselines[i].formats);
    free(baselines);
    return status;
}

static qdq_status choose(qdq_planner *p, uint64_t budget, qdq_found *found) {
    uint32_t *chosen = calloc((size_t)p->n_items + 1, sizeof *chosen);
    if (chosen == NULL) return no_memory();
    *found = (qdq_found){0};
    qdq_status status = find_baselines(p);
    if (status == QDQ_OK) status = qdq_planner_find(p, budget, QDQ_CHOOSE_STATES, chosen, found);
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++)
        if (qdq_item_planned(&p->items[i])) p->items[i].chosen = chosen[p->items[i].index];
    if (status == QDQ_OK && found->yardstick != NULL)
        status = qdq_planner_bound(p, budget, chosen, &found->lower_bound);
    found->lower_bound = fmin(found->lower_bound, found->damage); /* sums in another order */
    free(chosen);
    return qdq_blame(status, p->scores_path != NULL ? p->scores_path : qdq_model_path(p->selection->model));
}

qdq_status qdq_planner_solve(qdq_planner *p, const char *target, qdq_plan **result) {
    uint64_t budget = 0;
    qdq_found found;
    char published[32];
    if (result == NULL) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_planner_solve: a NULL argument");
    *result = NULL;
    qdq_status status = prepare(p);
    if (status == QDQ_OK && target == NULL && p->published != NULL) target = qdq_planner_published_target(p, published);
    if (status == QDQ_OK && (target == NULL || !p->measured))
        status = qdq_fail(QDQ_INVALID_ARGUMENT, target == NULL ? "no target for a plan"
                                                               : "qdq_planner_solve: nothing has been measured since "
                                                                 "the last rule: qdq_planner_measure() comes first");
    if (status == QDQ_OK) status = find_budget(p, target, &budget);
    if (status == QDQ_OK) status = choose(p, budget, &found);
    if (status != QDQ_OK) return status;
    qdq_plan *plan = calloc(1, sizeof *plan);
    status = plan != NULL ? make_plan(p, target, budget, &found, plan) : no_memory();
    p->solved = status == QDQ_OK;
    if (status == QDQ_OK)
        *result = plan;
    else
        free(plan);
    return status;
}
