/* qdq plan: which tensor gets which format, for the least damage within a size. */
#include <stdlib.h>
#include <string.h>

#include "plan/planner.h"
#include "cli/session.h"
#include "base/error.h"

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
    RECIPE,
    MLX_JSON,
    ARCH,
    MAP
};

/* Opened before the work, so that a path that cannot be written is known early. */
typedef struct outputs {
    qdq_json_file plan, mlx;
    qdq_out *recipe;
} outputs;

/* ---- Running ---------------------------------------------------------------------------------------------------- */

static qdq_status print(qdq_session *session, qdq_planner *p, size_t passes) {
    if (!qdq_common_tables(session->common)) return QDQ_OK;
    const qdq_plan *plan = &p->plan;
    qdq_table *table = qdq_table_create("tensor|shape|format|>bits|>damage");
    for (uint64_t i = 0; i < p->n_items; i++) {
        const qdq_plan_tensor *t = &plan->tensors[i];
        if (t->reason != NULL) continue;
        qdq_table_name(table, t->name);
        qdq_table_cell(table, "%s", QDQ_EXTENTS(p->items[i].tensor));
        qdq_table_cell(table, "%s", t->choices[t->chosen].format);
        qdq_table_cell(table, "%.4g", 8 * (double)t->bytes / (double)t->elements);
        qdq_table_number(table, t->choices[t->chosen].damage);
    }
    qdq_status status = qdq_session_print(session, table, "kept as they are");
    if (status != QDQ_OK) return status;
    printf("\n%llu bytes (%s), %.4f bits a weight, of %llu allowed; damage %.6g (%s)\n", (ull)plan->bytes,
           QDQ_SIZE(plan->bytes), 8 * (double)(plan->bytes - plan->overhead) / (double)plan->elements,
           (ull)plan->budget, plan->damage, qdq_score_texts[p->request->score].meaning);
    if (plan->proven)
        puts("No other choice within these bytes has less.");
    else
        printf("No choice within these bytes has less than %.6g.\n", plan->lower_bound);
    if (p->request->scores != NULL && passes == 0) puts("The damage was known; nothing was measured.");
    if (p->request->scores != NULL && passes > 0) printf("%zu tensors were measured.\n", passes);
    return qdq_flush_output();
}

static qdq_status open_outputs(const qdq_plan_request *r, outputs *o) {
    qdq_status status = qdq_json_open(r->output, &o->plan);
    if (status == QDQ_OK) status = qdq_json_open(r->mlx, &o->mlx);
    return status == QDQ_OK && r->recipe != NULL ? qdq_out_create(r->recipe, &o->recipe) : status;
}

static void abort_outputs(outputs *o) {
    qdq_json_abort(&o->plan);
    qdq_json_abort(&o->mlx);
    qdq_out_abort(o->recipe);
}

/* From the inputs to the plan. */
static qdq_status make(qdq_planner *p, size_t *passes) {
    qdq_status status = qdq_planner_candidates(p);
    if (status == QDQ_OK) status = qdq_planner_rules(p);
    if (status == QDQ_OK) status = qdq_planner_damage(p, passes);
    if (status == QDQ_OK) status = qdq_planner_solve(p);
    return status == QDQ_OK ? qdq_planner_plan(p) : status;
}

/* Takes `out`. */
static qdq_status write_recipe(const qdq_session *session, const qdq_planner *p, qdq_out *out) {
    qdq_recipe recipe;
    qdq_status status = qdq_planner_recipe(p, &recipe);
    if (status == QDQ_OK) status = qdq_out_write(out, recipe.text, strlen(recipe.text));
    if (status == QDQ_OK)
        status = qdq_out_commit(out);
    else
        qdq_out_abort(out);
    if (status == QDQ_OK && qdq_common_tables(session->common))
        printf("%s: %zu lines; to run:\n  %s\n", qdq_printable(p->request->recipe, (char[256]){0}, 256), recipe.n_lines,
               recipe.command);
    qdq_recipe_free(&recipe);
    return status;
}

static qdq_status write(const qdq_session *session, qdq_planner *p, outputs *o) {
    qdq_status status = QDQ_OK;
    if (o->recipe != NULL) {
        status = write_recipe(session, p, o->recipe);
        o->recipe = NULL;
    }
    if (status == QDQ_OK && p->request->mlx != NULL) status = qdq_json_write(&o->mlx, qdq_planner_mlx(p));
    return status == QDQ_OK ? qdq_json_write(&o->plan, qdq_plan_json(&p->plan)) : status;
}

static qdq_status run(qdq_session *session, qdq_planner *p, outputs *o) {
    const qdq_plan_request *r = p->request;
    size_t passes = 0;
    qdq_status status = QDQ_OK;
    p->selection = session->selection;
    p->pass = session->pass;
    if (r->gradients != NULL)
        status = qdq_gradients_open(r->gradients, r->hf, session->model, session->selection->names, &p->gradients);
    if (p->request->score == QDQ_SCORE_AUTO) p->request->score = qdq_planner_best_score(p);
    if (status == QDQ_OK) status = open_outputs(p->request, o);
    qdq_progress_begin("damage", session->common->quiet);
    if (status == QDQ_OK) status = make(p, &passes);
    qdq_progress_end();
    for (uint64_t i = 0; i < p->n_items && status == QDQ_OK; i++)
        if (!qdq_item_planned(&p->items[i])) qdq_session_skip(session, p->items[i].tensor->name, p->items[i].reason);
    if (status == QDQ_OK) status = print(session, p, passes);
    return status == QDQ_OK ? write(session, p, o) : status;
}

static void close_planner(qdq_planner *p) {
    for (uint64_t i = 0; i < p->n_items; i++) {
        free(p->items[i].gradient.parts);
        free(p->items[i].formats);
        free(p->items[i].candidates);
        if (p->plan.tensors != NULL) free((void *)p->plan.tensors[i].choices);
    }
    free((void *)p->plan.tensors);
    free(p->items);
    qdq_problem_free(p->problem);
    for (unsigned i = 0; i < QDQ_MAX_RULES; i++) qdq_pattern_free(p->patterns[i]);
    qdq_scores_free(p->scores);
    qdq_gradients_close(p->gradients);
}

/* ---- The command line ------------------------------------------------------------------------------------------- */

/* REGEX=FORMATS, or, where that makes sense, FORMATS alone. */
static bool add_rule(qdq_plan_request *r, int option, const char *text) {
    if (r->n_rules == QDQ_MAX_RULES) return false;
    qdq_plan_rule *made = &r->rules[r->n_rules];
    const char *equals = option == SAME ? NULL : strrchr(text, '=');
    *made = (qdq_plan_rule){option == PIN       ? QDQ_RULE_PIN
                            : option == SAME    ? QDQ_RULE_SAME
                            : option == MINIMUM ? QDQ_RULE_MINIMUM
                                                : QDQ_RULE_ALLOW,
                            NULL, NULL};
    if (option == SAME)
        made->regex = strdup(text);
    else if (equals != NULL)
        made->regex = strndup(text, (size_t)(equals - text));
    made->formats = strdup(equals != NULL ? equals + 1 : text);
    r->n_rules++;
    return made->formats != NULL && (option != PIN || equals != NULL);
}

static void free_rules(qdq_plan_request *r) {
    for (unsigned i = 0; i < r->n_rules; i++) {
        free(r->rules[i].regex);
        free(r->rules[i].formats);
    }
}

static bool parse_score(const char *text, qdq_score *s) {
    for (int i = 0; i <= QDQ_SCORE_AUTO; i++)
        if (strcmp(qdq_score_texts[i].name, text) == 0) *s = (qdq_score)i;
    return strcmp(qdq_score_texts[*s].name, text) == 0;
}

static const char *complaint(qdq_plan_request *r, int option) {
    switch (option) {
    case PIN: return "--pin takes REGEX=FORMAT";
    case MINIMUM: return "--min takes FORMAT or REGEX=FORMAT";
    default: return "too many rules";
    }
}

/* What is wrong with the whole, or NULL. */
static const char *check_request(qdq_plan_request *r, int n_operands) {
    if (n_operands != 1) return "one input is wanted";
    if (r->target_text == NULL) return "no target: say --target 4.5bpw, 6.2GiB or 30%";
    if (r->output == NULL) return "no output: say -o plan.json";
    if (qdq_score_takes_gradients(r->score) && r->gradients == NULL)
        return "that score is made of gradients: say --grad FILE";
    if (!qdq_score_takes_gradients(r->score) && r->score != QDQ_SCORE_AUTO && r->gradients != NULL)
        return "that score does not use the gradients: leave out --grad";
    if (r->hf != NULL && r->gradients == NULL) return "--hf goes with --grad";
    if (strcmp(r->output, "-") == 0 && r->mlx != NULL && strcmp(r->mlx, "-") == 0)
        return "-o and --mlx-json cannot both be standard output";
    return qdq_target_parse(r->target_text, &r->target) == QDQ_OK ? NULL : qdq_error_message();
}

static int run_request(qdq_plan_request *r, qdq_common *common, const char *input) {
    qdq_session session = {0};
    qdq_planner p = {.request = r};
    outputs o = {0};
    if (strcmp(r->output, "-") == 0 || (r->mlx != NULL && strcmp(r->mlx, "-") == 0)) common->quiet = true;
    qdq_status status = qdq_session_open(&session, common, input, r->imatrix);
    if (status == QDQ_OK) status = run(&session, &p, &o);
    int exit_status = status == QDQ_OK ? QDQ_EXIT_OK : qdq_exit_failure(status);
    abort_outputs(&o);
    close_planner(&p);
    qdq_session_close(&session);
    return exit_status;
}

int qdq_command_plan(int argc, char **argv) {
    qdq_common common;
    qdq_parser parser;
    qdq_plan_request *r = calloc(1, sizeof *r);
    if (r == NULL) return qdq_exit_failure(qdq_fail(QDQ_OUT_OF_MEMORY, "no memory for a plan"));
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
        case TARGET: r->target_text = value; break;
        case FORMATS: r->formats = value; break;
        case GRAD: r->gradients = value; break;
        case HF: r->hf = value; break;
        case IMATRIX: r->imatrix = value; break;
        case SCORE:
            if (!parse_score(value, &r->score))
                wrong = "--score is auto, error, relative, sized, signed, absolute or squared";
            break;
        case SCORES: r->scores = value; break;
        case RECIPE: r->recipe = value; break;
        case MLX_JSON: r->mlx = value; break;
        case ARCH: common.architecture = value; break;
        case MAP: common.map = value; break;
        default:
            if (!add_rule(r, o, value)) wrong = complaint(r, o);
        }
    }
    if (wrong == NULL) wrong = check_request(r, parser.n_operands);
    int status;
    if (wrong != NULL) {
        status = qdq_usage_error(&parser, "%s", wrong);
    } else {
        status = run_request(r, &common, parser.operands[0]);
    }
    free_rules(r);
    free(r);
    return status;
}

static const qdq_cli_option options[] = {
    {TARGET, "target", "SIZE", QDQ_ARG_TEXT, NULL,
     "what may not be passed: bits a weight over all tensors (4.5bpw), the file's size (6.2GiB), or percent of the "
     "source's tensors (30%)"},
    {'o', "output", "FILE", QDQ_ARG_FILE, NULL, "the plan, JSON; - for standard output"},
    {FORMATS, "formats", "F[,F...]", QDQ_ARG_FORMAT, NULL,
     "the formats to choose from; source is to leave a tensor as it is. Without this all but q1_0, q2_0, tq1_0 and "
     "tq2_0, and with an importance matrix also those that need one"},
    {GRAD, "grad", "FILE", QDQ_ARG_FILE, NULL, "gradients, to score damage by; names may be Hugging Face's"},
    {HF, "hf", "MODEL", QDQ_ARG_FILE, NULL,
     "for IN of GGUF: the model that the gradients were taken of; tells whose rows the conversion has moved"},
    {IMATRIX, "imatrix", "FILE", QDQ_ARG_FILE, NULL, "an importance matrix of llama-imatrix, which weighs errors"},
    {SCORE, "score", "SCORE", QDQ_ARG_CHOICE, "auto error relative sized signed absolute squared",
     "what damage is: error, relative or sized, of the weights; signed, absolute or squared, of the gradients. auto is "
     "relative without --grad, sized with an importance matrix, and with --grad absolute, or squared if the file's "
     "metadata say that they are root mean squares"},
    {PIN, "pin", "REGEX=F", QDQ_ARG_TEXT, NULL, "tensors whose names match get that format; may be repeated"},
    {SAME, "same", "REGEX", QDQ_ARG_TEXT, NULL,
     "tensors that match, with the same text in the regex's parentheses, share a format; or qkv, gate-up, experts, of "
     "each layer; may be repeated"},
    {MINIMUM, "min", "[REGEX=]F", QDQ_ARG_TEXT, NULL, "no format with fewer bits than that; may be repeated"},
    {ALLOW, "allow", "[REGEX=]F,...", QDQ_ARG_TEXT, NULL,
     "only those formats; or cpu, cuda, metal: those that llama.cpp can compute with there; may be repeated"},
    {SCORES, "scores", "FILE", QDQ_ARG_FILE, NULL,
     "keep what was measured in that file, and measure only what it lacks; refused when its inputs have changed"},
    {RECIPE, "recipe", "FILE", QDQ_ARG_FILE, NULL,
     "also write the plan as llama-quantize's --tensor-type-file, and print the command"},
    {MLX_JSON, "mlx-json", "FILE", QDQ_ARG_FILE, NULL,
     "also write, as mlx-lm has sensitivities, what the smallest format costs per million parameters"},
    {ARCH, "arch", "NAME", QDQ_ARG_TEXT, NULL, "the architecture, where neither metadata nor config.json tell it"},
    {MAP, "map", "FILE", QDQ_ARG_FILE, NULL, "pairs of names, Hugging Face's and GGUF's, that go before the built-in"},
    {0},
};

static const qdq_cli_example examples[] = {
    {"4.5 bits a weight, errors weighed by an importance matrix, as a recipe for llama-quantize",
     "qdq plan --target 4.5bpw --imatrix imatrix.gguf --recipe types.txt model-f16.gguf -o plan.json"},
    {"6.2 GiB by gradients, q, k and v alike, the output in Q6_K at least",
     "qdq plan --target 6.2GiB --grad gradients.safetensors --same qkv --min '^lm_head=q6_K' model/ -o plan.json"},
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
        "Damage is, without gradients, the squared error relative to the tensor's squared weights; with an importance "
        "matrix that error is weighted, and counts more in larger tensors. With gradients g it is sum|g D|, D being "
        "the "
        "difference between the "
        "format's values and the weights; with root mean square gradients, taken at the weights themselves, it is "
        "sum((g D)^2), the diagonal Fisher estimate of the loss. docs/planner.md has what each score has been measured "
        "to be worth, and how to get the gradients.\n\n"
        "Tensors that llama-quantize leaves alone are kept, and so are those that lack a gradient. A size that no "
        "choice can meet, or that is larger than all of them, is refused, with the smallest and the largest that can "
        "be met.",
    .options = options,
    .takes = QDQ_TAKES_DEVICE | QDQ_TAKES_THREADS | QDQ_TAKES_FILTER | QDQ_TAKES_FINITE | QDQ_TAKES_QUIET,
    .examples = examples,
    .run = qdq_command_plan,
};
