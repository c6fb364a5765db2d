/* An operation on the caller's arrays in one call. */
#include <string.h>

#include "base/error.h"
#include "qdq.h"

typedef struct arrays {
    qdq_buffer *input, *output, *importance;
} arrays;

/* How many elements of its dtype an array of weights, or of their blocks, has. What no format divides gets one, and is
 * refused, with its reason, where the operation is encoded. */
static uint64_t count_of(const qdq_dispatch *d, qdq_dtype dtype) {
    uint64_t count = dtype == QDQ_U8 ? qdq_format_bytes(d->format, d->elements) : d->elements;
    return count > 0 ? count : 1;
}

static qdq_status wrap(qdq_device *device, const qdq_dispatch *d, arrays *a) {
    uint64_t in = count_of(d, d->input_dtype), out = count_of(d, d->output_dtype);
    qdq_status status = qdq_buffer_wrap_const(device, d->input_dtype, 1, &in, d->input, UINT64_MAX, &a->input);
    if (status == QDQ_OK) status = qdq_buffer_wrap(device, d->output_dtype, 1, &out, d->output, UINT64_MAX, &a->output);
    if (status != QDQ_OK || !d->importance) return status;
    uint64_t columns = d->row > 0 ? d->row : d->elements;
    return qdq_buffer_wrap_const(device, QDQ_F32, 1, &columns, d->importance, UINT64_MAX, &a->importance);
}

static qdq_status encode(qdq_encoder *encoder, const qdq_dispatch *d, const arrays *a) {
    qdq_options options = {.size = sizeof options, .importance = a->importance, .row = d->row};
    switch (d->operation) {
    case QDQ_OPERATION_ROUNDTRIP: return qdq_encode_roundtrip(encoder, d->format, a->input, a->output, &options);
    case QDQ_OPERATION_QUANTIZE: return qdq_encode_quantize(encoder, d->format, a->input, a->output, &options);
    case QDQ_OPERATION_DEQUANTIZE: return qdq_encode_dequantize(encoder, d->format, a->input, a->output);
    case QDQ_OPERATION_ERROR:
    case QDQ_OPERATION_SENSITIVITY: break;
    }
    return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_device_dispatch: operation %d is not from array to array",
                    (int)d->operation);
}

qdq_status qdq_device_dispatch(qdq_device *device, const qdq_dispatch *dispatch) {
    if (!device || !dispatch) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_device_dispatch: a NULL");
    if (dispatch->size == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_device_dispatch: dispatch->size is not set");
    qdq_dispatch d = {0};
    memcpy(&d, dispatch, dispatch->size < sizeof d ? dispatch->size : sizeof d);
    if (d.elements == 0) return qdq_fail(QDQ_INVALID_ARGUMENT, "qdq_device_dispatch: no elements");
    arrays a = {0};
    qdq_encoder *encoder = NULL;
    qdq_status status = wrap(device, &d, &a);
    if (status == QDQ_OK) status = qdq_encoder_create_on(device, d.stream, &encoder);
    if (status == QDQ_OK) status = encode(encoder, &d, &a);
    if (status == QDQ_OK) status = d.submit ? qdq_encoder_submit(encoder) : qdq_encoder_commit_and_wait(encoder);
    qdq_encoder_free(encoder);
    qdq_buffer_free(a.importance);
    qdq_buffer_free(a.output);
    qdq_buffer_free(a.input);
    return status;
}
