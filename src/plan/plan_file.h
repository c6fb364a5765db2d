/* A plan: which tensor gets which format, and everything that it takes to see why. Its file (qdq.plan/1) is what
 * `qdq plan` writes, and `qdq quantize --plan` and `qdq report` read. */
#ifndef QDQ_PLAN_PLAN_FILE_H
#define QDQ_PLAN_PLAN_FILE_H

#include "files/arena.h"
#include "files/builder.h"
#include "plan/forecast.h"
#include "qdq_model.h"

/* ---- What was asked for ---- */

typedef enum qdq_target_kind { QDQ_TARGET_BITS, QDQ_TARGET_BYTES, QDQ_TARGET_PERCENT } qdq_target_kind;

typedef struct qdq_target {
    qdq_target_kind kind;
    double value; /* bits a weight, bytes of the file, percent of the source's tensors */
} qdq_target;

/* "4.5bpw", "6.2GiB" (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB), "30%"; in any case. QDQ_INVALID_ARGUMENT: anything else,
 * and what is not over 0. */
qdq_status qdq_target_parse(const char *text, qdq_target *target);
/* The largest file that meets it. overhead: bytes of the file that are no tensor's; elements and source_bytes: of all
 * tensors. */
uint64_t qdq_target_bytes(const qdq_target *target, uint64_t overhead, uint64_t elements, uint64_t source_bytes);

/* ---- Plans ---- */

/* What a plan's budget, floor and ceiling are of. */
#define QDQ_PLAN_SIZE  "size"
#define QDQ_PLAN_TOKEN "token"

struct qdq_plan {
    char *path; /* of a plan that was read, for messages; else NULL */
    const char *model, *score, *target;
    const char *cost;                                 /* QDQ_PLAN_SIZE: files; QDQ_PLAN_TOKEN: what a token reads */
    const char *slow;                                 /* formats whose read bytes count more; NULL: none */
    const char *rules;                                /* revision of llama-quantize's, of presets; NULL: nobody says */
    const char *imatrix;                              /* NULL: none */
    const char *via;                                  /* elements that codes were decoded to; NULL: there were none */
    const char *reference;                            /* the revision by which codes were chosen; NULL: nobody says */
    uint64_t budget, bytes, floor, ceiling, overhead; /* bytes and overhead of files */
    uint64_t elements;
    uint64_t token_bytes;       /* what a token reads; 0: not known */
    bool keep_codes;            /* codes that a tensor's format has are kept in it */
    double damage, lower_bound; /* sums over the planned tensors */
    bool proven;
    double caution;        /* how often what is lost beyond the yardstick counted; 1: once, as all else */
    const char *yardstick; /* a baseline's name; NULL: none */
    double tokens;         /* of a sample of root mean square gradients; 0: not known, or damage is not made of them */
    qdq_forecast forecast; /* of a plan that was read */
    size_t n_baselines;
    const qdq_plan_baseline *baselines; /* in order of bytes */
    size_t n_tensors;                   /* all of the model's, in its order */
    const qdq_plan_tensor *tensors;
    qdq_arena arena; /* of a plan that was read: all that it points to */
};

/* Adds the file's text. indent: blanks a level; 0: no blank anywhere. */
void qdq_plan_put(const qdq_plan *plan, unsigned indent, qdq_builder *out);
/* path: for messages. QDQ_BAD_DATA: no JSON, no plan, figures that do not add up. */
qdq_status qdq_plan_read(const char *path, const char *text, size_t length, qdq_plan *plan);
/* Of a plan that was read; one of zeros is allowed. */
void qdq_plan_clear(qdq_plan *plan);
/* Does its budget bound what a token reads? */
bool qdq_plan_is_per_token(const qdq_plan *plan);
/* The format of a tensor; QDQ_FORMAT_NONE: it stays as it is. */
qdq_format qdq_plan_format(const qdq_plan_tensor *tensor);

#endif
