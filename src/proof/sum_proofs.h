/* Proofs of a device's error and sensitivity sums. */
#ifndef QDQ_PROOF_SUM_PROOFS_H
#define QDQ_PROOF_SUM_PROOFS_H

#include "qdq.h"

/* Error sums of all those formats, and sensitivities of each pair in turn and of each against the source, of random
 * and adversarial tensors of many lengths: the device's beside the scalar lane's, bit for bit. *compared: how many
 * sums. difference: what differs, or "". */
qdq_status qdq_prove_sums(const char *device, uint64_t seed, const qdq_format *formats, uint32_t n_formats,
                          uint32_t tensors, uint64_t *compared, char difference[256]);

#endif
