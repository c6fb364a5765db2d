/* A plan as one HTML page that needs nothing else: damage against bytes, a map of layers x kinds of tensors, and the
 * table behind them. Light and dark, printable; all of it is there without JavaScript, which only sorts and filters. */
#ifndef QDQ_PLAN_REPORT_H
#define QDQ_PLAN_REPORT_H

#include <stdbool.h>

#include "files/builder.h"
#include "qdq.h"

typedef struct qdq_report_choice {
    const char *format;
    uint64_t bytes;
    double damage;
    uint64_t token_bytes; /* that a token reads, of a report per token */
} qdq_report_choice;

typedef struct qdq_report_tensor {
    const char *name;
    const uint64_t *shape; /* slowest first */
    uint32_t n_dims;
    const char *kind; /* "attn_q": a column of the map */
    int64_t layer;    /* -1: none */
    const char *dtype;
    const char *group; /* those that must share a format; NULL or "": none */
    const qdq_report_choice *choices;
    uint32_t n_choices, chosen;
} qdq_report_tensor;

typedef struct qdq_report_point {
    uint64_t bytes; /* of the file; or that a token reads, of a report per token */
    double damage;
} qdq_report_point;

/* What the plan is held against: a format for all tensors, or a preset. */
typedef struct qdq_report_baseline {
    const char *label; /* its name */
    uint64_t bytes;
    double damage, plan_damage; /* of the plan of that size; NAN: there is none */
    bool preset, allowed;       /* the rules leave it */
    uint64_t token_bytes;       /* that a token reads; 0: not known */
} qdq_report_baseline;

typedef struct qdq_report {
    const char *title;     /* the model */
    const char *score;     /* what damage is: "squared error, weighted by the importance matrix" */
    const char *generator; /* "qdq 0.1.0" */
    uint64_t budget;       /* bytes; 0: not shown */
    double bits;           /* a weight, over all tensors; 0: not shown */
    bool per_token;        /* the budget bounds what a token reads, not the file */
    uint64_t token_bytes;  /* that a token reads; 0: not known */
    const char *slow;      /* by how much bytes of which formats count more there; NULL: none */
    uint64_t other_bytes;  /* of the file, without the tensors below */
    const char *forecast;  /* a sentence on what damage foretells; NULL: none */
    double kl_unit;        /* with a forecast: nats a token that a unit of damage is; 0: it has no unit */
    double lower_bound;    /* least damage that any plan of these bytes can have; NAN: not shown */
    const char *yardstick; /* what losses beyond count `caution` times; NULL: all count once */
    double caution;
    size_t n_tensors;
    const qdq_report_tensor *tensors;
    size_t n_curve;
    const qdq_report_point *curve; /* best damage at some budgets, in order of bytes */
    size_t n_baselines;
    const qdq_report_baseline *baselines;
    size_t n_notes;
    const char *const *notes; /* sentences for the end of the page: what was skipped, and why */
} qdq_report;

/* Texts may hold anything: they are escaped, bytes that are no UTF-8 are replaced. QDQ_INVALID_ARGUMENT: a tensor
 * without choices or with `chosen` past them, a figure that is not finite or negative; QDQ_OUT_OF_MEMORY. */
qdq_status qdq_report_write(const qdq_report *report, qdq_builder *page);

#endif
