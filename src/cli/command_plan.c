/* qdq plan: which tensor gets which format, for the least damage within a size. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/groups.h"
#include "cli/part.h"
#include "cli/session.h"

typedef unsigned long long ull;

enum {
    TARGET = QDQ_LONG_OPTION,
    FORMATS,
    GRAD,
    HF,
    IMATRIX,
    SCORE,
    PIN,
    SAME,
    MINIMUM,
    ALLOW,
    SCORES,
    MORE_SCORES,
    PART,
    SUMS,
    RECIPE,
    KEEP_CODES,
    BESIDE,
    COST,
    SLOW,
    RULES,
    LIST_TENSORS,
    MLX_JSON,
    ARCH,
    MAP
};

enum { MAX_RULES = 256 };

typedef struct rule {
    qdq_plan_rule_kind kind;
    char *regex, *formats; /* NULL: every tensor; none */
} rule;

enum { MAX_MORE = 96 }; /* files of scores */

/* What is asked for. */
typedef struct request {
    const char *target, *formats, *gradients, *hf, *imatrix, *scores, *recipe, *mlx, *output, *beside, *slow, *revision;
    qdq_score score;
    qdq_plan_cost cost;
    rule rules[MAX_RULES];
    unsigned n_rules;
    bool keep_codes, list_tensors;
    qdq_part_sums sums;
    const char *more_scores[MAX_MORE];
    unsigned n_more;
} request;

typedef struct planning {
    const request *request;
    qdq_session session;
    qdq_gradients *gradients;
    qdq_planner *planner;
    qdq_model *beside;
    qdq_beside_kind all;
    qdq_table *kinds, *baselines; /* NULL: none is wanted */
    bool grouped;                 /* tensors are shown kind by kind */
    qdq_plan *plan;
    uint64_t measured; /* tensors */
    /* Opened before the work, so that a path that cannot be written is known early. */
    qdq_json_file file, mlx;
    qdq_out *recipe;
} planning;

/* ---- Running ---------------------------------------------------------------------------------------------------- */

static double bits(uint64_t bytes, uint64_t elements) { return 8 * (double)bytes / (double)elements; }

/* More planned tensors than these are shown kind by kind, if nobody wants them one by one. */
enum { LISTED = 64 };

static qdq_table *list_tensors(planning *p, uint64_t n) {
    qdq_table *table = qdq_table_create("tensor|shape|format|>bits|>damage");
    for (uint64_t i = 0; i < n; i++) {
        const qdq_plan_tensor *t = qdq_plan_tensor_at(p->plan, i);
        if (t->reason != NULL) continue;
        qdq_table_name(table, t->name);
        qdq_table_cell(table, "%s", QDQ_EXTENTS(qdq_model_tensor(p->session.model, i)));
        qdq_table_cell(table, "%s", t->choices[t->chosen].format);
        qdq_table_cell(table, "%.4g", bits(t->bytes, t->elements));
        qdq_table_number(table, t->choices[t->chosen].damage);
    }
    return table;
}

static qdq_status group_tensors(planning *p, uint64_t n, qdq_table **table) {
    qdq_groups groups = {0};
    for (uint64_t i = 0; i < n; i++) {
        const qdq_plan_tensor *t = qdq_plan_tensor_at(p->plan, i);
        if (t->reason != NULL) continue;
        const qdq_plan_choice *chosen = &t->choices[t->chosen];
        qdq_groups_add(&groups, &(qdq_grouping){.name = t->name,
                                                .reason = "",
                                                .type = chosen->format,
                                                .elements = t->elements,
                                                .bytes = t->bytes,
                                                .damage = chosen->damage});
    }
    qdq_status status = qdq_groups_table(&groups, true, table);
    qdq_groups_free(&groups);
    return status;
}

/* *table stays NULL where tables are not wanted. */
static qdq_status make_table(planning *p, qdq_table **table) {
    qdq_plan_info plan = {.size = sizeof plan};
    uint64_t planned = 0;
    qdq_plan_describe(p->plan, &plan);
    for (uint64_t i = 0; i < plan.n_tensors; i++) {
        const qdq_plan_tensor *t = qdq_plan_tensor_at(p->plan, i);
        if (t->reason != NULL) qdq_session_skip(&p->session, t->name, t->reason);
        planned += t->reason == NULL;
    }
    if (!qdq_common_tables(p->session.common)) return QDQ_OK;
    p->grouped = planned > LISTED && !p->request->list_tensors;
    if (p->grouped) return group_tensors(p, plan.n_tensors, table);
    *table = list_tensors(p, plan.n_tensors);
    return QDQ_OK;
}

enum { MAX_KINDS = 256 };

static void add_kind(qdq_table *table, const qdq_beside_kind *k) {
    qdq_table_name(table, k->kind);
    qdq_table_cell(table, "%llu", (ull)k->tensors);
    qdq_table_cell(table, "%.4g", bits(k->bytes, k->elements));
    qdq_table_number(table, k->damage);
    qdq_table_cell(table, "%.4g", bits(k->published_bytes, k->elements));
    qdq_table_number(table, k->published_damage);
}

/* The plan beside what was published: a table, where one is wanted. */
static qdq_status compare(planning *p) {
    if (p->beside == NULL || !qdq_common_tables(p->session.common)) return QDQ_OK;
    qdq_beside_kind *kinds = calloc(MAX_KINDS, sizeof *kinds);
    if (kinds == NULL) return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a comparison");
    uint32_t n = 0;
    qdq_status status = qdq_planner_compare(p->planner, kinds, MAX_KINDS, &n, &p->all);
    p->kinds = qdq_table_create("kind|>tensors|>bits|>damage|>its bits|>its damage");
    for (uint32_t k = 0; k < n && k < MAX_KINDS && status == QDQ_OK; k++) add_kind(p->kinds, &kinds[k]);
    qdq_table_rule(p->kinds);
    if (status == QDQ_OK) add_kind(p->kinds, &p->all);
    free(kinds);
    return status == QDQ_OK ? qdq_table_check(p->kinds) : status;
}

enum { SHOWN_BASELINES = 8 };

/* How far its size is from the plan's. */
static uint64_t away(const planning *p, uint64_t index, const qdq_plan_info *plan) {
    const qdq_plan_baseline *b = qdq_plan_baseline_at(p->plan, index);
    bool token = p->request->cost == QDQ_COST_TOKEN;
    uint64_t theirs = token ? b->token_bytes : b->bytes, ours = token ? plan->token_bytes : plan->bytes;
    return theirs > ours ? theirs - ours : ours - theirs;
}

/* The one format, and the presets, whose sizes are nearest to the plan's: a table, where one is wanted. */
static qdq_status hold_against(planning *p) {
    qdq_plan_info plan = {.size = sizeof plan};
    qdq_plan_describe(p->plan, &plan);
    if (qdq_plan_baseline_at(p->plan, 0) == NULL || !qdq_common_tables(p->session.common)) return QDQ_OK;
    uint64_t n = 0, first = 0;
    while (qdq_plan_baseline_at(p->plan, n) != NULL) n++;
    while (first + SHOWN_BASELINES < n && away(p, first, &plan) > away(p, first + SHOWN_BASELINES, &plan)) first++;
    bool token = p->request->cost == QDQ_COST_TOKEN;
    p->baselines = qdq_table_create(token ? "instead|>a token reads|>size|>bits|>damage|>plan that reads as much|>share"
                                          : "instead|>size|>bits|>damage|>plan of its size|>share");
    for (uint64_t i = first; i < n && i < first + SHOWN_BASELINES; i++) {
        const qdq_plan_baseline *b = qdq_plan_baseline_at(p->plan, i);
        qdq_table_cell(p->baselines, "%s%s", b->name, b->allowed ? "" : " *");
        if (token) qdq_table_cell(p->baselines, "%s", QDQ_SIZE(b->token_bytes));
        qdq_table_cell(p->baselines, "%s", QDQ_SIZE(b->bytes));
        qdq_table_cell(p->baselines, "%.4g", bits(b->bytes - plan.overhead, plan.elements));
        qdq_table_number(p->baselines, b->damage);
        qdq_table_number(p->baselines, b->plan_damage);
        if (b->damage > 0)
            qdq_table_number(p->baselines, b->plan_damage / b->damage);
        else
            qdq_table_cell(p->baselines, "-");
    }
    return qdq_table_check(p->baselines);
}

static qdq_status print_baselines(planning *p) {
    qdq_table *table = p->baselines;
    if (table == NULL) return QDQ_OK;
    p->baselines = NULL;
    bool token = p->request->cost == QDQ_COST_TOKEN;
    qdq_plan_info plan = {.size = sizeof plan};
    qdq_plan_describe(p->plan, &plan);
    printf("\nOne format for all tensors, and the presets of llama-quantize's rules of %s, %s, by this score:\n\n",
           plan.rules, token ? "of which a token reads about as much" : "of about this size");
    qdq_status status = qdq_table_print(table);
    double sum = 0, worst = 0;
    uint64_t n = 0, forbidden = 0;
    const qdq_plan_baseline *b;
    for (uint64_t i = 0; (b = qdq_plan_baseline_at(p->plan, i)) != NULL; i++) {
        forbidden += !b->allowed;
        if (!b->allowed || !(b->plan_damage > 0) || !(b->damage > 0)) continue;
        sum += log(b->plan_damage / b->damage);
        worst = fmax(worst, b->plan_damage / b->damage);
        n++;
    }
    putchar('\n');
    if (forbidden > 0) puts("* has formats that the rules forbid, so a plan of its size may have more damage.");
    if (n > 0)
        printf(
            "Plans %s all %llu have %.2f of their damage in the mean, %.2f at worst; the plan's file and report have "
            "each.\n",
            token ? "that read as much as" : "of the sizes of", (ull)n, exp(sum / (double)n), worst);
    return status;
}

static qdq_status print_beside(planning *p) {
    qdq_table *table = p->kinds;
    if (table == NULL) return QDQ_OK;
    p->kinds = NULL;
    printf("\nBeside %s, of the tensors that were planned:\n\n",
           qdq_printable(p->request->beside, (char[256]){0}, 256));
    qdq_status status = qdq_table_print(table);
    if (status == QDQ_OK && p->all.published_damage > 0)
        printf("\nThe plan has %.3g of its damage in %.4g of its bytes.\n", p->all.damage / p->all.published_damage,
               (double)p->all.bytes / (double)p->all.published_bytes);
    return status;
}

/* Gradients that no score was named for, and that are no root mean squares. */
static void print_passed_over(const planning *p) {
    if (p->request->gradients == NULL || qdq_planner_uses_gradients(p->planner)) return;
    printf(
        "The gradients in %s were not used: the file does not say that they are root mean squares, and by others plans "
        "were worse than without any. docs/planner.md has how to take root mean squares; --score absolute goes by "
        "these.\n",
        qdq_printable(p->request->gradients, (char[256]){0}, 256));
}

/* First what the target bounds. */
static void print_sizes(const planning *p, const qdq_plan_info *plan) {
    bool token = p->request->cost == QDQ_COST_TOKEN;
    putchar('\n');
    if (token)
        printf("A token reads %llu bytes (%s) of %llu allowed%s%s; the file has ", (ull)plan->token_bytes,
               QDQ_SIZE(plan->token_bytes), (ull)plan->budget, plan->slow != NULL ? ", counted with " : "",
               plan->slow != NULL ? qdq_printable(plan->slow, (char[1024]){0}, 1024) : "");
    printf("%llu bytes (%s), %.4f bits a weight", (ull)plan->bytes, QDQ_SIZE(plan->bytes),
           bits(plan->bytes - plan->overhead, plan->elements));
    if (!token) printf(", of %llu allowed", (ull)plan->budget);
}

static void print_bound(const qdq_plan_info *plan) {
    if (plan->yardstick != NULL)
        printf(
            "What a tensor loses beyond %s, the best of those that fit, counts %.4g times: this score guesses costs.\n",
            qdq_printable(plan->yardstick, (char[256]){0}, 256), plan->caution);
    if (!plan->proven)
        printf("No choice within these bytes has less than %.6g.\n", plan->lower_bound);
    else
        puts(plan->yardstick != NULL ? "By that no other choice within these bytes is better."
                                     : "No other choice within these bytes has less.");
}

/* Frees table. */
static qdq_status print(planning *p, qdq_table *table, const char *recipe, const char *command) {
    if (table == NULL) return QDQ_OK;
    qdq_plan_info plan = {.size = sizeof plan};
    qdq_plan_describe(p->plan, &plan);
    qdq_status status = qdq_session_print(&p->session, table, "kept as they are");
    if (status != QDQ_OK) return status;
    if (p->grouped) puts("--list-tensors shows tensors one by one; so do the plan's file and its report.");
    print_sizes(p, &plan);
    printf("; damage %.6g (%s)\n", plan.damage, qdq_score_meaning(qdq_planner_score(p->planner)));
    if (p->request->cost == QDQ_COST_SIZE && plan.token_bytes > 0)
        printf("Of these a token reads %llu (%s).\n", (ull)plan.token_bytes, QDQ_SIZE(plan.token_bytes));
    print_bound(&plan);
    puts(plan.forecast);
    print_passed_over(p);
    if (p->request->scores != NULL && p->measured == 0) puts("The damage was known; nothing was measured.");
    if (p->request->scores != NULL && p->measured > 0) printf("%llu tensors were measured.\n", (ull)p->measured);
    status = print_baselines(p);
    if (status == QDQ_OK) status = print_beside(p);
    if (status != QDQ_OK) return status;
    if (recipe != NULL) {
        unsigned long lines = 0;
        for (const char *at = recipe; (at = strchr(at, '\n')) != NULL; at++) lines++;
        printf("%s: %lu lines; to run:\n  %s\n", qdq_printable(p->request->recipe, (char[256]){0}, 256), lines,
               qdq_printable(command, (char[16384]){0}, 16384));
    }
    return qdq_flush_output();
}

static qdq_status open_outputs(planning *p) {
    const request *r = p->request;
    qdq_status status = qdq_json_open(r->output, &p->file);
    if (status == QDQ_OK) status = qdq_json_open(r->mlx, &p->mlx);
    return status == QDQ_OK && r->recipe != NULL ? qdq_out_create(r->recipe, &p->recipe) : status;
}

/* All that can fail for want of memory or room. *recipe and *command stay NULL where none is wanted. */
static qdq_status prepare(planning *p, char **recipe, char **command) {
    char *text;
    size_t length;
    qdq_status status = QDQ_OK;
    if (p->recipe != NULL) {
        status = qdq_plan_recipe(p->plan, p->session.selection, p->request->recipe, recipe, command);
        if (status == QDQ_OK) status = qdq_out_write(p->recipe, *recipe, strlen(*recipe));
    }
    if (status == QDQ_OK && p->request->mlx != NULL) {
        status = qdq_plan_mlx(p->plan, p->session.selection, &text);
        if (status == QDQ_OK) status = qdq_json_prepare_text(&p->mlx, text);
    }
    if (status == QDQ_OK) status = qdq_plan_text(p->plan, &text, &length);
    return status == QDQ_OK ? qdq_json_prepare_text(&p->file, text) : status;
}

/* The outputs appear. */
static qdq_status finish(planning *p) {
    qdq_out *recipe = p->recipe;
    p->recipe = NULL;
    qdq_status status = recipe != NULL ? qdq_out_commit(recipe) : QDQ_OK;
    if (status == QDQ_OK) status = qdq_json_finish(&p->mlx);
    return status == QDQ_OK ? qdq_json_finish(&p->file) : status;
}

/* Files before tables: who closes the pipe after the first line has the plan all the same. */
static qdq_status write_outputs(planning *p) {
    char *recipe = NULL, *command = NULL;
    qdq_table *table = NULL;
    qdq_status status = make_table(p, &table);
    if (status == QDQ_OK) status = qdq_session_check(&p->session, table);
    if (status == QDQ_OK) status = compare(p);
    if (status == QDQ_OK) status = hold_against(p);
    if (status == QDQ_OK) status = prepare(p, &recipe, &command);
    if (status == QDQ_OK) status = finish(p);
    if (status == QDQ_OK)
        status = print(p, table, recipe, command);
    else
        qdq_table_free(table);
    qdq_free(recipe);
    qdq_free(command);
    return status;
}

static qdq_status make_planner(planning *p) {
    const request *r = p->request;
    qdq_gradients_options gradients = {.size = sizeof gradients, .hf = r->hf};
    qdq_status status = QDQ_OK;
    if (r->gradients != NULL)
        status = qdq_gradients_open(r->gradients, p->session.selection, &gradients, &p->gradients);
    qdq_planner_options options = {.size = sizeof options,
                                   .formats = r->formats,
                                   .score = r->score,
                                   .gradients = p->gradients,
                                   .scores = r->scores,
                                   .for_llama_quantize = r->recipe != NULL,
                                   .keep_codes = r->keep_codes,
                                   .cost = r->cost,
                                   .slow = r->slow,
                                   .rules = r->revision};
    if (status == QDQ_OK) status = qdq_planner_create(p->session.selection, &options, &p->planner);
    for (unsigned i = 0; i < r->n_rules && status == QDQ_OK; i++)
        status = qdq_planner_rule(p->planner, r->rules[i].kind, r->rules[i].regex, r->rules[i].formats);
    for (unsigned i = 0; i < r->n_more && status == QDQ_OK; i++)
        status = qdq_planner_add_scores(p->planner, r->more_scores[i]);
    if (status == QDQ_OK && r->beside != NULL) status = qdq_model_open(r->beside, &p->beside);
    return status == QDQ_OK && r->beside != NULL ? qdq_planner_beside(p->planner, p->beside) : status;
}

static qdq_status measure(planning *p, qdq_part_sums *sums) {
    qdq_status status;
    qdq_progress_begin("damage", p->session.common->quiet);
    do status = qdq_planner_measure_shared(p->planner, p->session.pass, qdq_part_sums_shared(sums), &p->measured);
    while (qdq_part_sums_again(sums, &status));
    qdq_progress_end();
    return status;
}

static qdq_status print_part(const planning *p, const qdq_part_sums *sums) {
    qdq_status status = qdq_part_sums_print(sums, p->session.common);
    if (status != QDQ_OK || !qdq_common_tables(p->session.common)) return status;
    print_passed_over(p);
    return qdq_flush_output();
}

static qdq_status run(planning *p) {
    const request *r = p->request;
    qdq_part_sums sums = r->sums;
    bool planned = r->target != NULL || r->beside != NULL;
    qdq_status status = make_planner(p);
    if (status == QDQ_OK && qdq_part_has_results(&sums.part)) status = open_outputs(p);
    if (status == QDQ_OK && planned) status = qdq_planner_check(p->planner, r->target);
    if (status == QDQ_OK) status = measure(p, &sums);
    if (status == QDQ_OK && sums.part.parts > 0) return print_part(p, &sums);
    if (status == QDQ_OK) status = qdq_planner_solve(p->planner, r->target, &p->plan);
    return status == QDQ_OK ? write_outputs(p) : status;
}

static void close_planning(planning *p) {
    qdq_json_abort(&p->file);
    qdq_json_abort(&p->mlx);
    qdq_out_abort(p->recipe);
    qdq_table_free(p->kinds);
    qdq_table_free(p->baselines);
    qdq_plan_free(p->plan);
    qdq_pass_free(p->session.pass); /* it may still use what follows */
    p->session.pass = NULL;
    qdq_planner_free(p->planner);
    qdq_model_close(p->beside);
    qdq_gradients_close(p->gradients);
    qdq_session_close(&p->session);
}

/* ---- The command line ------------------------------------------------------------------------------------------- */

/* A text's beginning; NULL: no memory. */
static char *copy_of(const char *text, size_t length) {
    char *copy = malloc(length + 1);
    if (copy != NULL) snprintf(copy, length + 1, "%.*s", (int)length, text);
    return copy;
}

/* REGEX=FORMATS, or, where that makes sense, FORMATS alone. QDQ_INVALID_ARGUMENT: complaint() says why. */
static qdq_status add_rule(request *r, int option, const char *text) {
    if (r->n_rules == MAX_RULES) return QDQ_INVALID_ARGUMENT;
    rule *made = &r->rules[r->n_rules];
    const char *equals = option == SAME ? NULL : strrchr(text, '=');
    *made = (rule){option == PIN       ? QDQ_PLAN_PIN
                   : option == SAME    ? QDQ_PLAN_SAME
                   : option == MINIMUM ? QDQ_PLAN_MINIMUM
                                       : QDQ_PLAN_ALLOW,
                   NULL, NULL};
    if (option == SAME)
        made->regex = strdup(text);
    else if (equals != NULL)
        made->regex = copy_of(text, (size_t)(equals - text));
    if (option != SAME) made->formats = strdup(equals != NULL ? equals + 1 : text);
    r->n_rules++;
    bool wants_regex = option == SAME || equals != NULL;
    if ((option != SAME && made->formats == NULL) || (wants_regex && made->regex == NULL))
        return qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a rule, %s", qdq_printable(text, (char[256]){0}, 256));
    return option != PIN || equals != NULL ? QDQ_OK : QDQ_INVALID_ARGUMENT;
}

static void free_rules(request *r) {
    for (unsigned i = 0; i < r->n_rules; i++) {
        free(r->rules[i].regex);
        free(r->rules[i].formats);
    }
}

static const char *complaint(int option) {
    switch (option) {
    case PIN: return "--pin takes REGEX=FORMAT";
    case MINIMUM: return "--min takes FORMAT or REGEX=FORMAT";
    default: return "too many rules";
    }
}

/* What is wrong with the whole, or NULL. */
static const char *check_request(request *r, qdq_common *common, int n_operands) {
    bool part = r->sums.part.parts > 0; /* of a job's no process is one */
    if (n_operands != 1) return "one input is wanted";
    const char *wrong = qdq_part_sums_check(&r->sums, common, false);
    if (wrong != NULL) return wrong;
    if (part && (r->target != NULL || r->output != NULL || r->recipe != NULL || r->mlx != NULL))
        return "a part measures, and makes no plan: leave out --target, -o, --recipe and --mlx-json";
    if (part && r->beside != NULL) return "a part makes no plan that could stand beside one: leave out --beside";
    if (r->target == NULL && r->beside == NULL && !part) return "no target: say --target 4.5bpw, 6.2GiB or 30%";
    if (r->output == NULL && !part) return "no output: say -o plan.json";
    if (qdq_score_takes_gradients(r->score) && r->gradients == NULL && r->scores == NULL)
        return "that score is made of gradients: say --grad FILE, or --scores FILE with what was measured by them";
    if (!qdq_score_takes_gradients(r->score) && r->score != QDQ_SCORE_AUTO && r->gradients != NULL)
        return "that score does not use the gradients: leave out --grad";
    if (r->hf != NULL && r->gradients == NULL) return "--hf goes with --grad";
    if (r->slow != NULL && r->cost != QDQ_COST_TOKEN)
        return "--slow counts what a token reads: say --cost token, or leave it out";
    if (r->keep_codes && r->recipe != NULL)
        return "llama-quantize, for which --recipe is, keeps no codes: leave one out";
    if (part) return NULL;
    if (strcmp(r->output, "-") == 0 && r->mlx != NULL && strcmp(r->mlx, "-") == 0)
        return "-o and --mlx-json cannot both be standard output";
    return r->target == NULL || qdq_check_target(r->target) == QDQ_OK ? NULL : qdq_error_message();
}

static int run_request(const request *r, qdq_common *common, const char *input) {
    planning p = {.request = r};
    bool printed = r->output != NULL && strcmp(r->output, "-") == 0;
    if (printed || (r->mlx != NULL && strcmp(r->mlx, "-") == 0)) common->quiet = true;
    qdq_status status = qdq_session_open(&p.session, common, input, r->imatrix);
    if (status == QDQ_OK) status = run(&p);
    int exit_status = status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
    close_planning(&p);
    return exit_status;
}

int qdq_command_plan(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    request *r = calloc(1, sizeof *r);
    if (r == NULL) return qdq_exit_failure(qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a plan"));
    qdq_status added = QDQ_OK;
    r->score = QDQ_SCORE_AUTO;
    const char *wrong = NULL;
    qdq_parse_begin(&parser, &qdq_cli_plan, &common, argc, argv);
    for (int o; (o = qdq_parse_next(&parser)) != QDQ_PARSE_END;) {
        const char *value = parser.value;
        switch (o) {
        case QDQ_PARSE_EXIT:
            free_rules(r);
            free(r);
            return parser.status;
        case 'o': r->output = value; break;
        case TARGET: r->target = value; break;
        case FORMATS: r->formats = value; break;
        case GRAD: r->gradients = value; break;
        case HF: r->hf = value; break;
        case IMATRIX: r->imatrix = value; break;
        case SCORE:
            if (!qdq_score_by_name(value, &r->score))
                wrong = "--score is auto, kinds, error, relative, sized, signed, absolute or squared";
            break;
        case SCORES: r->scores = value; break;
        case PART: wrong = wrong != NULL ? wrong : qdq_part_parse(&r->sums.part, value); break;
        case SUMS: r->sums.shared.folder = value; break;
        case MORE_SCORES:
            if (r->n_more == MAX_MORE)
                wrong = "--more-scores is given more than 96 times";
            else
                r->more_scores[r->n_more++] = value;
            break;
        case RECIPE: r->recipe = value; break;
        case KEEP_CODES: r->keep_codes = true; break;
        case BESIDE: r->beside = value; break;
        case COST:
            if (strcmp(value, "token") != 0 && strcmp(value, "size") != 0) wrong = "--cost is size or token";
            r->cost = strcmp(value, "token") == 0 ? QDQ_COST_TOKEN : QDQ_COST_SIZE;
            break;
        case SLOW: r->slow = value; break;
        case RULES: r->revision = value; break;
        case LIST_TENSORS: r->list_tensors = true; break;
        case MLX_JSON: r->mlx = value; break;
        case ARCH: common.architecture = value; break;
        case MAP: common.map = value; break;
        default:
            if (added != QDQ_OUT_OF_MEMORY) added = add_rule(r, o, value);
            if (added == QDQ_INVALID_ARGUMENT) wrong = complaint(o);
        }
    }
    if (wrong == NULL && added == QDQ_OK) wrong = check_request(r, &common, parser.n_operands);
    int status;
    if (wrong != NULL)
        status = qdq_usage_error(&parser, "%s", wrong);
    else if (added != QDQ_OK)
        status = qdq_exit_failure(added);
    else
        status = run_request(r, &common, parser.operands[0]);
    free_rules(r);
    free(r);
    return status;
}

static const qdq_cli_option options[] = {
    {TARGET, "target", "SIZE", QDQ_ARG_TEXT, NULL,
     "what may not be passed: bits a weight over all tensors (4.5bpw), the file's size (6.2GiB), or percent of the "
     "source's tensors (30%)"},
    {'o', "output", "FILE", QDQ_ARG_OUTPUT, NULL, "the plan, JSON; - for standard output"},
    {FORMATS, "formats", "F[,F...]", QDQ_ARG_FORMAT, NULL,
     "the formats to choose from; source is to leave a tensor as it is. Without this all but q1_0, q2_0, tq1_0 and "
     "tq2_0, and with an importance matrix also those that need one"},
    {GRAD, "grad", "FILE", QDQ_ARG_INPUT, NULL, "gradients, to score damage by; names may be Hugging Face's"},
    {HF, "hf", "MODEL", QDQ_ARG_INPUT, NULL,
     "for IN of GGUF: the model that the gradients were taken of; tells whose rows the conversion has moved"},
    {IMATRIX, "imatrix", "FILE", QDQ_ARG_INPUT, NULL, "an importance matrix of llama-imatrix, which weighs errors"},
    {SCORE, "score", "SCORE", QDQ_ARG_CHOICE, "auto kinds error relative sized signed absolute squared",
     "what damage is: kinds, error, relative or sized, of the weights; signed, absolute or squared, of the gradients. "
     "auto is kinds, which knows what errors cost in embeddings, attention and feed-forward matrices of language "
     "models; for encoders relative, where names say nothing sized; and squared with --grad, if the file's metadata "
     "say that the gradients are root mean squares: others are used only by a score that is named"},
    {PIN, "pin", "REGEX=F", QDQ_ARG_TEXT, NULL, "tensors whose names match get that format; may be repeated"},
    {SAME, "same", "REGEX", QDQ_ARG_TEXT, NULL,
     "tensors that match, with the same text in the regex's parentheses, share a format; or qkv, gate-up, experts, of "
     "each layer; may be repeated"},
    {MINIMUM, "min", "[REGEX=]F", QDQ_ARG_TEXT, NULL, "no format with fewer bits than that; may be repeated"},
    {ALLOW, "allow", "[REGEX=]F,...", QDQ_ARG_TEXT, NULL,
     "only those formats; or cpu, cuda, metal: those that llama.cpp can compute with there; may be repeated"},
    {SCORES, "scores", "FILE", QDQ_ARG_OUTPUT, NULL,
     "keep what was measured in that file, and measure only what it lacks; refused when its inputs have changed"},
    {MORE_SCORES, "more-scores", "FILE", QDQ_ARG_INPUT, NULL,
     "what that file of scores knows need not be measured; may be given again"},
    {PART, "part", "K/N", QDQ_ARG_TEXT, NULL, QDQ_SUMS_PART_HELP},
    {SUMS, "sums", "FOLDER", QDQ_ARG_OUTPUT, NULL, QDQ_SUMS_HELP},
    {KEEP_CODES, "keep-codes", NULL, QDQ_ARG_NONE, NULL,
     "of a checkpoint whose weights are codes: to keep them, INT4 as q4_0, MXFP4 as mxfp4, is a choice without damage"},
    {BESIDE, "beside", "GGUF", QDQ_ARG_INPUT, NULL,
     "a published GGUF of the same model: its formats are scored, too, and shown beside the plan's by kinds of "
     "tensors; each tensor may have the format that it has there; without --target, the plan has its size"},
    {COST, "cost", "COST", QDQ_ARG_CHOICE, "size token",
     "what the target bounds: the file's size, or what is read of the weights for each token, where tokens come one at "
     "a time: of experts those that a token uses, of an embedding that is not the output one row. bpw and % are then "
     "of that, too"},
    {SLOW, "slow", "F=X[,F=X...]", QDQ_ARG_TEXT, NULL,
     "with --cost token: formats that your runtime computes slowly; a byte read of F counts as X, 0.01 to 100: "
     "iq3_s=1.8 if q4_0 is read at 1.8 times the rate, which llama-bench shows. source is what stays as it is"},
    {RULES, "rules", "REVISION", QDQ_ARG_CHOICE, QDQ_LLAMA_RULES_EARLIER " " QDQ_LLAMA_RULES,
     "of which llama-quantize the presets are that the plan stands beside; the newest is the default"},
    {LIST_TENSORS, "list-tensors", NULL, QDQ_ARG_NONE, NULL,
     "one line a tensor, where there are more than 64 of them, too"},
    {RECIPE, "recipe", "FILE", QDQ_ARG_OUTPUT, NULL,
     "also write the plan as llama-quantize's --tensor-type-file, and print the command"},
    {MLX_JSON, "mlx-json", "FILE", QDQ_ARG_OUTPUT, NULL,
     "also write, as mlx-lm has sensitivities, what the smallest format costs per million parameters"},
    {ARCH, "arch", "NAME", QDQ_ARG_TEXT, NULL, "the architecture, where neither metadata nor config.json tell it"},
    {MAP, "map", "FILE", QDQ_ARG_INPUT, NULL, "pairs of names, Hugging Face's and GGUF's, that go before the built-in"},
    {0},
};

static const qdq_cli_example examples[] = {
    {"4.5 bits a weight, errors weighed by an importance matrix, as a recipe for llama-quantize",
     "qdq plan --target 4.5bpw --imatrix imatrix.gguf --recipe types.txt model-f16.gguf -o plan.json"},
    {"6.2 GiB by gradients, q, k and v alike, the output in Q6_K at least",
     "qdq plan --target 6.2GiB --grad gradients.safetensors --same qkv --min '^lm_head=q6_K' model/ -o plan.json"},
    {"is there a better choice of formats at the size of a published file?",
     "qdq plan --beside model-Q4_K_M.gguf model-f16.gguf -o plan.json"},
    {"measured in two parts, and planned", "for k in 1 2; do qdq plan --part $k/2 --sums sums in.gguf & done; wait; "
                                           "qdq plan --sums sums --target 4.5bpw in.gguf -o plan.json"},
    {"a model with experts, for a memory that gives a token 2 GB: what many tokens share is worth more bits",
     "qdq plan --cost token --target 2.0GB moe-f16.gguf -o plan.json"},
    {"for a processor that takes 1.8 times as long over a byte of iq3_s, and 2.2 times over one of iq2_xs",
     "qdq plan --cost token --slow iq3_s=1.8,iq2_xs=2.2 --target 4.5bpw --imatrix imatrix.gguf in.gguf -o plan.json"},
    {NULL, NULL},
};

const qdq_cli_command qdq_cli_plan = {
    .name = "plan",
    .summary = "choose a format for each tensor: the least damage within a size",
    .operands = "--target SIZE IN -o plan.json",
    .text =
        "Measures what each format does to each tensor, and chooses one for each so that the damage, summed over the "
        "tensors, is least within the size. The choice is proven to be the best, or its distance from a bound is "
        "stated. The size is that of the file which qdq quantize --plan writes, to the byte.\n\n"
        "Damage is, without gradients, the squared error relative to the tensor's squared weights, times what errors "
        "cost in tensors of its kind; with an importance matrix that error is weighted. With root mean square "
        "gradients g, taken at the weights themselves, it is sum((g D)^2), D being the difference between the format's "
        "values and the weights: the diagonal Fisher estimate of twice the KL divergence. With an importance matrix, "
        "to which codes are fitted, half is believed of what a format does better in one tensor than is usual. "
        "docs/planner.md has what each score has been measured to be worth, and how to get the gradients.\n\n"
        "The plan stands beside one format for all tensors and beside the mixtures of llama-quantize's presets, each "
        "with the plan of its own size, which is never worse by the score. Without gradients costs are guessed, so "
        "what a tensor loses beyond the best of these that fits counts more than what is saved elsewhere. With root "
        "mean square gradients whose file says how many tokens a sample had, the damage is also told as the KL "
        "divergence to expect, with the range that was seen.\n\n"
        "Tensors that llama-quantize leaves alone are kept, and so are those that lack a gradient. A size that no "
        "choice can meet, or that is larger than all of them, is refused, with the smallest and the largest that can "
        "be met.",
    .options = options,
    .takes = QDQ_TAKES_DEVICE | QDQ_TAKES_THREADS | QDQ_TAKES_FILTER | QDQ_TAKES_FINITE | QDQ_TAKES_CODES |
             QDQ_TAKES_REFERENCE | QDQ_TAKES_LIKE | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_plan,
};
