/* What finding codes and checking their shapes has in common, whatever the codes are: each layout has a file,
 * pair_NAME.c, as it has a decoder, decode_NAME.c. p: the model that is gone through. t: a tensor of codes; s: one that
 * belongs to it. */
#ifndef QDQ_MODEL_PAIRED_H
#define QDQ_MODEL_PAIRED_H

#include "files/files.h"
#include "model/layouts.h"
#include "model/quantization_config.h"

enum { QDQ_PAIRED_NAME = 512 };

typedef struct qdq_pairing {
    qdq_model *model;
    qdq_quantization config;
    qdq_dtype via;
    bool keep_codes;
    bool *taken; /* of each tensor: it belongs to codes, or is for activations */
    qdq_tensor *made;
    uint64_t n_made, n_decoded;
} qdq_pairing;

/* ---- Names ------------------------------------------------------------------------------------------------------ */

bool qdq_is_type(const qdq_tensor *t, const char *type);
bool qdq_name_ends(const char *text, const char *end);
/* The name without so many bytes at its end, and with another end; false: too long. */
bool qdq_name_renamed(const char *name, size_t cut, const char *end, char to[QDQ_PAIRED_NAME]);
/* The tensor of that name; NULL: there is none. */
const qdq_tensor *qdq_pairing_beside(const qdq_pairing *p, const qdq_tensor *t, size_t cut, const char *end);
/* The same, which then belongs to t. */
const qdq_tensor *qdq_pairing_take(qdq_pairing *p, const qdq_tensor *t, size_t cut, const char *end);

/* ---- Shapes ----------------------------------------------------------------------------------------------------- */

uint64_t qdq_columns_of(const qdq_tensor *t);
uint64_t qdq_rows_of(const qdq_tensor *t);
/* How many blocks of b it takes to hold a. */
uint64_t qdq_blocks_of(uint64_t a, uint64_t b);
/* How many words of 32 bits so many codes take. */
uint64_t qdq_words_of(uint64_t codes, uint32_t bits);
/* t has `columns` columns and otherwise the shape of codes. */
bool qdq_has_rows_of(const qdq_tensor *t, const qdq_tensor *codes, uint64_t columns);

/* ---- Refusals --------------------------------------------------------------------------------------------------- */

qdq_status qdq_pairing_no_memory(const qdq_pairing *p);
qdq_status qdq_pairing_misfit(const qdq_tensor *t, const qdq_tensor *s, const char *wanted);
qdq_status qdq_pairing_lacks(const qdq_tensor *t, const char *what);

/* ---- What codes mean -------------------------------------------------------------------------------------------- */

qdq_status qdq_pairing_scales(const qdq_tensor *t, const qdq_tensor *s, qdq_scales *scales);
/* Adds the tensor that codes mean. layout: copied, `size` bytes of it. columns: a row's. */
qdq_status qdq_pairing_add(qdq_pairing *p, const qdq_tensor *codes, const char *name, const char *what,
                           uint64_t columns, qdq_decoding decoding, const void *layout, size_t size);

/* ---- Layouts ---------------------------------------------------------------------------------------------------- */

qdq_status qdq_pair_bytes(qdq_pairing *p, const qdq_tensor *t, const qdq_tensor *s);
/* outer: NULL for MXFP4. name: of what the codes mean. */
qdq_status qdq_pair_fp4(qdq_pairing *p, const qdq_tensor *t, const qdq_tensor *s, const qdq_tensor *outer, bool divides,
                        const char *name);
qdq_status qdq_pair_packed(qdq_pairing *p, const qdq_tensor *t, const qdq_tensor *s, const char *name);
/* X.qweight with X.qzeros, X.scales, maybe X.g_idx: X.weight, [rows, columns]. */
qdq_status qdq_pair_columns(qdq_pairing *p, const qdq_tensor *t);

/* The bits of codes of which so many stand in so many words; of a few codes it may be several, and is the likeliest. */
uint32_t qdq_packed_bits(uint64_t columns, uint64_t words);
/* i32, one a column: its group. Where all are -1, groups follow one another. */
qdq_status qdq_packed_order(const qdq_tensor *t, const qdq_tensor *order, uint64_t columns, uint64_t groups,
                            const uint8_t **group_of);

#endif
