/* Codes and what belongs to them, found by names in a checkpoint of safetensors, and checked by shapes. */
#ifndef QDQ_MODEL_PAIRING_H
#define QDQ_MODEL_PAIRING_H

#include "model/decoding.h"

/* The model's tensors become those that its codes mean, under the names that those have, with elements of `via`; scales
 * and the like are no tensors any more. keep_codes: as qdq_decode_options has it. A model without codes stays as it is.
 * QDQ_UNSUPPORTED: codes that are not read; QDQ_BAD_DATA: what belongs to codes is missing or has another shape, or has
 * no codes. */
qdq_status qdq_pairing_decode(qdq_model *model, qdq_dtype via, bool keep_codes);

#endif
