/* What a plan's damage foretells of the model's outputs, and how far that has been off. */
#ifndef QDQ_PLAN_FORECAST_H
#define QDQ_PLAN_FORECAST_H

enum { QDQ_FORECAST_TEXT = 256 };

typedef struct qdq_forecast {
    double unit;                  /* nats a token that a unit of damage is; 0: it has no unit */
    double kl;                    /* expected KL divergence of the outputs, nats a token; NAN: damage has no unit */
    double least, most;           /* what was measured where so much was expected; NAN: nothing that can be relied on */
    char text[QDQ_FORECAST_TEXT]; /* all of it in a sentence, or why there is none */
} qdq_forecast;

/* score: by which damage was summed; tokens: of a sample of root mean square gradients, in the mean, 0 where the
 * gradients are others or it is not known. */
qdq_forecast qdq_forecast_of(const char *score, double damage, double tokens);

#endif
