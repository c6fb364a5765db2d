#include "plan/forecast.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "qdq_model.h"

/* What was measured, as a multiple of what was expected, over all plans, presets and uniform formats of the benchmark's
 * models (docs/planner.md, Forecasts). A row is for expectations up to its first figure, in nats a token; past the last
 * the second order is no estimate. */
static const struct {
    double up_to, least, most;
} seen[] = {
    {0.01, 0.8, 2.7},
    {0.03, 0.95, 1.3},
    {0.3, 0.7, 1.35},
    {1, 0.6, 1.2},
};

qdq_forecast qdq_forecast_of(const char *score, double damage, double tokens) {
    qdq_forecast f = {.kl = (double)NAN, .least = (double)NAN, .most = (double)NAN};
    if (strcmp(score, qdq_score_name(QDQ_SCORE_SQUARED)) != 0) {
        snprintf(f.text, sizeof f.text,
                 "Damage by this score has no unit: only root mean square gradients foretell a KL divergence.");
        return f;
    }
    if (!(tokens >= 1)) {
        snprintf(f.text, sizeof f.text,
                 "No KL divergence is foretold: the gradients' file does not say that they are root mean squares "
                 "(\"reduction\"), of samples of how many tokens (\"tokens_per_sample\").");
        return f;
    }
    /* The gradients are those of whole samples, so damage is twice a sample's KL divergence to second order. */
    f.unit = 1 / (2 * tokens);
    f.kl = damage / (2 * tokens);
    size_t row = 0, rows = sizeof seen / sizeof *seen;
    while (row < rows && !(f.kl <= seen[row].up_to)) row++;
    if (row == rows) {
        snprintf(f.text, sizeof f.text,
                 "Expected KL divergence: %.3g nats a token, which is more than this estimate can tell (%g): the model "
                 "will be far from its source, how far is not known.",
                 f.kl, seen[rows - 1].up_to);
        return f;
    }
    f.least = seen[row].least * f.kl;
    f.most = seen[row].most * f.kl;
    snprintf(
        f.text, sizeof f.text,
        "Expected KL divergence: %.3g nats a token; measured, it was %g to %g times what was expected: %.3g to %.3g.",
        f.kl, seen[row].least, seen[row].most, f.least, f.most);
    return f;
}
