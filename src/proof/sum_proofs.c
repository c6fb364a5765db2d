#include "proof/sum_proofs.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proof/inputs.h"
#include "base/error.h"
#include "base/format.h"

typedef struct sums {
    qdq_error_sums *error;             /* a format each */
    qdq_sensitivity_sums *sensitivity; /* two a format: beside the next format, and beside the source */
} sums;

static qdq_status take_sums(qdq_device *device, const float *x, const float *g, uint64_t n, const qdq_format *formats,
                            uint32_t n_formats, sums *s) {
    qdq_buffer *input = NULL, *gradient = NULL;
    qdq_encoder *encoder = NULL;
    qdq_status status = qdq_buffer_create(device, QDQ_F32, 1, &n, &input);
    if (status == QDQ_OK) status = qdq_buffer_create(device, QDQ_F32, 1, &n, &gradient);
    if (status == QDQ_OK) status = qdq_buffer_write(input, 0, x, n * 4);
    if (status == QDQ_OK) status = qdq_buffer_write(gradient, 0, g, n * 4);
    if (status == QDQ_OK) status = qdq_encoder_create(device, &encoder);
    memset(s->error, 0, n_formats * sizeof *s->error);
    memset(s->sensitivity, 0, 2 * n_formats * sizeof *s->sensitivity);
    if (status == QDQ_OK) status = qdq_encode_error(encoder, n_formats, formats, input, s->error, NULL);
    for (uint32_t f = 0; f < n_formats && status == QDQ_OK; f++) {
        status = qdq_encode_sensitivity(encoder, formats[f], formats[(f + 1) % n_formats], input, gradient,
                                        &s->sensitivity[2 * f], NULL);
        if (status == QDQ_OK)
            status = qdq_encode_sensitivity(encoder, formats[f], QDQ_FORMAT_SOURCE, input, gradient,
                                            &s->sensitivity[2 * f + 1], NULL);
    }
    if (status == QDQ_OK) status = qdq_encoder_commit_and_wait(encoder);
    qdq_encoder_free(encoder);
    qdq_buffer_free(input);
    qdq_buffer_free(gradient);
    return status;
}

static void compare_sums(const sums *a, const sums *b, const qdq_format *formats, uint32_t n_formats, uint64_t n,
                         char difference[256]) {
    for (uint32_t f = 0; f < n_formats && !difference[0]; f++) {
        const char *name = qdq_format_get(formats[f])->name;
        const qdq_error_sums *e = &a->error[f], *want = &b->error[f];
        if (memcmp(e, want, sizeof *e) != 0)
            snprintf(difference, 256, "error sums of %s, %llu elements: squares %a, expected %a", name,
                     (unsigned long long)n, e->err2, want->err2);
        for (int k = 0; k < 2 && !difference[0]; k++) {
            const qdq_sensitivity_sums *s = &a->sensitivity[2 * f + k], *t = &b->sensitivity[2 * f + k];
            if (memcmp(s, t, sizeof *s) != 0)
                snprintf(difference, 256, "sensitivity sums of %s, %llu elements: %a, expected %a", name,
                         (unsigned long long)n, s->signed_sum, t->signed_sum);
        }
    }
}

static qdq_status open_scalar(qdq_device **device) {
    uint32_t mask = qdq_cpu_mask_in_force();
    qdq_cpu_mask(1);
    qdq_status status = qdq_device_open_threads("cpu", 1, device);
    qdq_cpu_mask(mask);
    return status;
}

qdq_status qdq_prove_sums(const char *device, uint64_t seed, const qdq_format *formats, uint32_t n_formats,
                          uint32_t tensors, uint64_t *compared, char difference[256]) {
    enum { LARGEST = 40 * QDQ_TILE };
    uint64_t block = 32;
    for (uint32_t f = 0; f < n_formats; f++)
        if (qdq_format_get(formats[f])->block_elements > block) block = qdq_format_get(formats[f])->block_elements;
    float *x = malloc(LARGEST * 4), *g = malloc(LARGEST * 4);
    sums got = {calloc(n_formats, sizeof *got.error), calloc(2 * n_formats, sizeof *got.sensitivity)};
    sums expected = {calloc(n_formats, sizeof *got.error), calloc(2 * n_formats, sizeof *got.sensitivity)};
    qdq_device *subject = NULL, *scalar = NULL;
    qdq_status status = x && g && got.error && got.sensitivity && expected.error && expected.sensitivity
                            ? QDQ_OK
                            : qdq_fail(QDQ_OUT_OF_MEMORY, "out of memory for a proof of sums");
    if (status == QDQ_OK) status = qdq_device_open(device, &subject);
    if (status == QDQ_OK) status = open_scalar(&scalar);
    *compared = 0;
    difference[0] = '\0';
    for (uint32_t t = 0; t < tensors && status == QDQ_OK && !difference[0]; t++) {
        /* Lengths from one block to 40 tiles, most of them no whole number of tiles. */
        uint64_t n = ((uint64_t)t * t * 7 % (LARGEST / block) + 1) * block;
        qdq_inputs weights = t % 3 == 2 ? qdq_inputs_adversarial(seed + t, n) : qdq_inputs_random(seed + t, n);
        qdq_inputs gradients = qdq_inputs_random(seed + t + 1000003, n);
        for (uint64_t i = 0; i < n / 32; i++) {
            weights.fill(&weights, i, x + 32 * i, 32);
            gradients.fill(&gradients, i, g + 32 * i, 32);
        }
        status = take_sums(subject, x, g, n, formats, n_formats, &got);
        if (status == QDQ_OK) status = take_sums(scalar, x, g, n, formats, n_formats, &expected);
        if (status == QDQ_OK) compare_sums(&got, &expected, formats, n_formats, n, difference);
        *compared += 3 * n_formats;
    }
    qdq_device_close(subject);
    qdq_device_close(scalar);
    free(x);
    free(g);
    free(got.error);
    free(got.sensitivity);
    free(expected.error);
    free(expected.sensitivity);
    return status;
}
