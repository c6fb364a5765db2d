/* Weights that are stored as codes: blocks of GGUF, or codes whose scales are in other tensors. They are decoded a
 * piece at a time, on the thread that reads, to floats, which are rounded to F32, F16 or BF16: so that all that
 * computes sees a plain source. A layout of codes is a decoder, in a file decode_NAME.c. */
#ifndef QDQ_MODEL_DECODING_H
#define QDQ_MODEL_DECODING_H

#include "base/pool.h"
#include "files/files.h"

enum { QDQ_DECODED_PIECE = 1024 };

struct qdq_decoding {
    /* n elements from `first` on, to floats: first a multiple of unit; n one too, or up to the end of a row; at most
     * QDQ_DECODED_PIECE; all of one row. */
    void (*decode)(const qdq_decoding *decoding, uint64_t first, uint32_t n, float *values);
    const char *name;   /* of the codes: "q4_K"; NULL: elements that are only put in order */
    uint32_t unit;      /* elements that are decoded together; divides QDQ_DECODED_PIECE */
    uint64_t row;       /* elements a row */
    qdq_format format;  /* of blocks */
    const void *layout; /* what else a decoder goes by */
    const uint8_t *codes;
    uint64_t code_bytes, elements, offset; /* all of codes; what they are; where they begin in the file */
};

/* Decodes blocks of `format` as ggml does. */
void qdq_decode_blocks(const qdq_decoding *decoding, uint64_t first, uint32_t n, float *values);

/* Elements of a source as its dtype has them: qdq_tensor_read() of arguments that are right, on the pool's threads
 * (NULL: on this one). */
void qdq_decode(qdq_pool *pool, const qdq_tensor *tensor, uint64_t first, uint64_t count, void *to);
/* `count` elements from `first` on as a tensor; its shape and dimensions are the caller's. */
qdq_tensor qdq_tensor_part(const qdq_tensor *tensor, uint64_t first, uint64_t count);
/* Where in its file the element's codes are, about. */
uint64_t qdq_element_offset(const qdq_tensor *tensor, uint64_t index);
/* Where in memory, and how many, the bytes are that `count` elements from `first` on are, or are decoded from, about;
 * NULL: they do not lie together. */
const void *qdq_tensor_stretch(const qdq_tensor *tensor, uint64_t first, uint64_t count, uint64_t *bytes);
/* Its bytes in the file are those of its type. (Elsewhere they are codes, and the type is that of the elements.) */
bool qdq_tensor_is_raw(const qdq_tensor *tensor);
/* It is a source, and in that format already: a copy of it has lost nothing more. */
bool qdq_tensor_is_in(const qdq_tensor *tensor, qdq_format format);

#endif
