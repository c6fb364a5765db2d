/* Model files for the rooms above: what qdq_model.h does not show of them. */
#ifndef QDQ_FILES_FILES_H
#define QDQ_FILES_FILES_H

#include "base/platform_files.h"
#include "qdq_model.h"

/* What memcpy from an address in a mapped file gives, but read from the file: pages that are seen once need not be
 * mapped for it. A file that its path does not lead to any more is copied from the map. From any thread while the file
 * stays mapped. QDQ_IO_ERROR: it cannot be read, or was truncated. */
qdq_status qdq_mapped_read(const void *address, void *to, size_t bytes);
/* The same, one call after another of one thread, with the file kept open in between. Begins as zeros. */
typedef struct qdq_mapped_file {
    const void *map;
    qdq_file file;
} qdq_mapped_file;
qdq_status qdq_mapped_read_kept(qdq_mapped_file *kept, const void *address, void *to, size_t bytes);
void qdq_mapped_file_close(qdq_mapped_file *kept);
/* What comes next: little here and little there of the model's files, or, as at first, all from front to back. */
void qdq_model_scattered(const qdq_model *model, bool scattered);

/* ---- Importance matrices --------------------------------------------------------------------------------------- */

struct qdq_imatrix_entry {
    const char *name; /* the weight's name; may be cut, see qdq_imatrix_find */
    uint64_t count;   /* weights: columns x matrices (experts) */
    uint64_t columns; /* a matrix; 0: the file does not say (legacy layout). All of a stack of experts may be counted as
                         one matrix: a legacy file that was converted */
    const uint8_t *sums;
    const uint8_t *calls; /* counts a matrix, f32; NULL in the legacy layout */
    float legacy_calls;
};

/* The entry of just that name, or NULL. */
const qdq_imatrix_entry *qdq_imatrix_exactly(const qdq_imatrix *imatrix, const char *name);
/* Finds the tensor's entry and checks that it has last extent x experts weights (experts: the third extent from the
 * end, 1 below 3 dimensions). *entry = NULL and QDQ_OK: there is none. QDQ_BAD_DATA: another number, both named. */
qdq_status qdq_imatrix_match(const qdq_imatrix *imatrix, const qdq_tensor *tensor, const qdq_imatrix_entry **entry);
/* For a tensor that is one expert of the stack of that name, [rows, row]: *slice is its part of the stack's entry; name
 * NULL and QDQ_OK: there is none. QDQ_BAD_DATA: the entry has other rows, or not so many experts. */
qdq_status qdq_imatrix_match_expert(const qdq_imatrix *imatrix, const char *stack, uint64_t expert,
                                    const qdq_tensor *tensor, qdq_imatrix_entry *slice);
/* The part of one matrix with rows of `row`, which is `columns` where each is counted: (index + 1) * row <= count. */
qdq_imatrix_entry qdq_imatrix_slice(const qdq_imatrix_entry *entry, uint64_t row, uint64_t index);

/* ---- Tensors anew ---------------------------------------------------------------------------------------------- */

/* The model's tensors are these from now on, in that order, names being those of its own or in its room. */
qdq_status qdq_model_put_tensors(qdq_model *model, const qdq_tensor *tensors, uint64_t n);
/* A part of a split GGUF by itself, of which the others are missing; *part: that is what it is. QDQ_IO_ERROR as
 * qdq_model_open() has it where it is no first part. */
qdq_status qdq_model_open_part(const char *path, qdq_model **model, bool *part);
/* Metadata whose keys begin so are the model's no more. */
qdq_status qdq_model_forget_kvs(qdq_model *model, const char *prefix);
/* Zeroed memory that lives as long as the model; NULL: there is none. */
void *qdq_model_room(qdq_model *model, uint64_t bytes);

/* ---- Text ------------------------------------------------------------------------------------------------------ */

/* Is all of it UTF-8? */
bool qdq_is_utf8(const char *text);
bool qdq_ends_with(const char *text, const char *end);
#define QDQ_EXTENTS(tensor) qdq_extents_text((tensor), (char[192]){0})
/* All of a regular file of at most `limit` bytes; free() the text, which has no NUL at its end. QDQ_IO_ERROR: it cannot
 * be opened, or is a pipe or a device; QDQ_BAD_DATA: it is longer. */
enum { QDQ_WORDS_LIMIT = 16 << 20, QDQ_RESULTS_LIMIT = 256 << 20 }; /* of what people write; of what programs write */
qdq_status qdq_read_text(const char *path, uint64_t limit, char **text, size_t *length);
/* QDQ_INVALID_ARGUMENT of a call whose arguments a file has made is the file's fault: QDQ_BAD_DATA, with its name
 * before the message. Any other status as it is. */
qdq_status qdq_blame(qdq_status status, const char *path);

/* Of a writer of GGUF: the file is one of a split set, counted from 0, which together have so many tensors. */
qdq_status qdq_writer_set_split(qdq_writer *writer, uint16_t shard, uint16_t shards, uint32_t tensors);
/* Of a writer to which all was added: the bytes that the file begins with, for free(), and how long it will be. After
 * that, where the data of tensor `index` begin in it. What lies in neither is zeros. */
qdq_status qdq_writer_lay_out(qdq_writer *writer, uint8_t **header, uint64_t *header_bytes, uint64_t *file_bytes);
uint64_t qdq_writer_tensor_offset(const qdq_writer *writer, uint64_t index);
/* The name of one file of a split set, counted from 0: PATH-00001-of-00002.gguf, of PATH or PATH.gguf. free() it; NULL:
 * no memory. */
char *qdq_split_name(const char *path, uint32_t file, uint32_t files);
/* A whole file, or none: create, write, commit. */
qdq_status qdq_out_write_file(const char *path, const void *bytes, uint64_t n);
/* The refusals of qdq_out_create(), of its path alone. */
qdq_status qdq_out_check_path(const char *path);

#endif
