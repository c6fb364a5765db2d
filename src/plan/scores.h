/* What passes over a model have measured, kept in a file: of each tensor in each format the sums that damage is made
 * of, and the fingerprints of what they were measured on. A file of other inputs, of formats that have changed or of
 * another version is refused, and so is one of which any byte has changed; one that lacks tensors or formats is gone on
 * with. */
#ifndef QDQ_PLAN_SCORES_H
#define QDQ_PLAN_SCORES_H

#include <stdbool.h>

#include "qdq.h"

typedef struct qdq_scores qdq_scores;

/* Fingerprints, texts that differ when the input does. NULL: there is no such input. */
typedef struct qdq_scores_inputs {
    const char *weights, *gradients, *importance;
    const char *reference; /* the revision by which codes were chosen, "2026-09"; NULL: nobody says */
} qdq_scores_inputs;

typedef struct qdq_scores_error {
    double err2, ww; /* of qdq_error_sums */
} qdq_scores_error;

/* Empty ones. */
qdq_status qdq_scores_create(const qdq_scores_inputs *inputs, qdq_scores **scores);
/* path: for messages. QDQ_BAD_DATA: no such file, or a stale one, and what has changed. Gradients that the file does
 * not know, and gradients that it knows and are not given, are both fine: the sums of errors do not depend on them. */
qdq_status qdq_scores_read(const char *path, const char *text, size_t length, const qdq_scores_inputs *inputs,
                           qdq_scores **scores);
void qdq_scores_free(qdq_scores *scores); /* NULL is allowed */

/* Which gradient and which importance go with the tensor: texts; NULL: none is asked for; there is none. QDQ_BAD_DATA:
 * what is known of the tensor was measured with another, as when a map of names has changed. path: for messages. */
qdq_status qdq_scores_match(qdq_scores *scores, const char *path, const char *tensor, const char *gradient,
                            const char *importance);

/* What the gradients were, as the file has it; NULL: there are none. */
const char *qdq_scores_gradients(const qdq_scores *scores);

/* false: not measured yet. */
bool qdq_scores_get_error(const qdq_scores *scores, const char *tensor, const char *format, qdq_scores_error *sums);
bool qdq_scores_get_gradient(const qdq_scores *scores, const char *tensor, const char *format,
                             qdq_sensitivity_sums *sums);
/* The tensor's squared weights, without importance. */
bool qdq_scores_get_energy(const qdq_scores *scores, const char *tensor, double *energy);
/* QDQ_BAD_DATA: a sum that is no finite number. The sensitivity is that between the format and the weights themselves.
 */
qdq_status qdq_scores_set_error(qdq_scores *scores, const char *tensor, const char *format,
                                const qdq_scores_error *sums);
qdq_status qdq_scores_set_gradient(qdq_scores *scores, const char *tensor, const char *format,
                                   const qdq_sensitivity_sums *sums);
qdq_status qdq_scores_set_energy(qdq_scores *scores, const char *tensor, double energy);

/* What the other has measured of the tensor, and this one has not. */
qdq_status qdq_scores_take(qdq_scores *scores, const qdq_scores *other, const char *tensor);
/* The file's text, to be freed; NULL: no memory. */
char *qdq_scores_text(const qdq_scores *scores);

#endif
