/* Model files: safetensors and GGUF read through a map and written whole or not at all; importance matrices.
 *
 * Everything read is taken to be hostile: sizes are checked for overflow and against the file's length before use, and
 * a defect is refused with QDQ_BAD_DATA and a message that names file, tensor and offset. docs/files.md says what is
 * accepted. Names in messages are escaped, so that a file cannot drive the terminal.
 *
 * A model is read-only once open and may be used by several threads; a writer by one thread at a time.
 */
#ifndef QDQ_FILES_FILES_H
#define QDQ_FILES_FILES_H

#include "qdq.h"

#include <stdbool.h>

typedef enum qdq_layout { QDQ_LAYOUT_SAFETENSORS, QDQ_LAYOUT_GGUF } qdq_layout;

/* ---- Models, read ---------------------------------------------------------------------------------------------- */

#define QDQ_NO_GGML_TYPE UINT32_MAX

typedef struct qdq_tensor {
    const char *name;      /* UTF-8, no NUL inside */
    const char *type_name; /* as the file's layout spells it: "F32", "I64", "F8_E4M3"; "f32", "q4_K" */
    const uint64_t *shape; /* n_dims extents, slowest first (GGUF's ne reversed); the last is the row */
    uint32_t n_dims;       /* 0: a scalar, of one element */
    uint32_t ggml_type;    /* ggml's id of the type; QDQ_NO_GGML_TYPE when ggml has none (F8_E4M3, BOOL, …) */
    bool source;           /* F32, F16 or BF16: may be quantized; dtype says which */
    qdq_dtype dtype;       /* QDQ_U8 when not a source */
    uint64_t elements;     /* the product of the shape; may be 0 */
    uint64_t bytes;
    const void *data; /* in the map, at any alignment */
    const char *path; /* the file that holds it */
    uint64_t offset;  /* of data in that file */
} qdq_tensor;

/* Why a tensor cannot be a source of weights ("q4_K is already quantized"); NULL when it can. */
const char *qdq_tensor_not_source(const qdq_tensor *tensor);

/* Value types of metadata, GGUF's ids. */
enum {
    QDQ_KV_U8 = 0,
    QDQ_KV_I8 = 1,
    QDQ_KV_U16 = 2,
    QDQ_KV_I16 = 3,
    QDQ_KV_U32 = 4,
    QDQ_KV_I32 = 5,
    QDQ_KV_F32 = 6,
    QDQ_KV_BOOL = 7,
    QDQ_KV_STRING = 8,
    QDQ_KV_ARRAY = 9,
    QDQ_KV_U64 = 10,
    QDQ_KV_I64 = 11,
    QDQ_KV_F64 = 12
};

/* One entry of metadata. The value is kept as GGUF encodes it, whatever the layout: little-endian; a string is u64
 * length and bytes; an array is u32 element type, u64 count and the elements. */
typedef struct qdq_kv {
    const char *key;
    const uint8_t *value;
    uint64_t bytes; /* of value */
    uint32_t type;
} qdq_kv;

/* Each returns false, and leaves its results alone, when the value is of another type or (u64) negative. */
bool qdq_kv_u64(const qdq_kv *kv, uint64_t *value);                        /* of any integer type */
bool qdq_kv_string(const qdq_kv *kv, const char **text, uint64_t *length); /* no NUL at its end */
bool qdq_kv_array(const qdq_kv *kv, uint32_t *element_type, uint64_t *count, const uint8_t **elements);
/* Element `index` of an array of strings; walks the array. */
bool qdq_kv_array_string(const qdq_kv *kv, uint64_t index, const char **text, uint64_t *length);

typedef struct qdq_model qdq_model;

/* path: a .safetensors file; a *.safetensors.index.json with its shards beside it; a directory that holds either (the
 * index is preferred; without one, every *.safetensors in order of name); a .gguf, version 2 or 3, or any one shard of
 * a split set, which opens the whole set. Every header is read and checked; data are mapped, not read.
 * QDQ_IO_ERROR: a file is missing or cannot be read; QDQ_BAD_DATA: a defect; QDQ_OUT_OF_MEMORY. */
qdq_status qdq_model_open(const char *path, qdq_model **model);
/* The same for one file's bytes in memory, which must outlive the model. name: for messages. */
qdq_status qdq_model_parse(qdq_layout layout, const void *bytes, uint64_t length, const char *name, qdq_model **model);
void qdq_model_close(qdq_model *model); /* NULL is allowed; tensors and metadata go with it */

qdq_layout qdq_model_layout(const qdq_model *model);
const char *qdq_model_path(const qdq_model *model); /* as it was given */
uint64_t qdq_model_file_count(const qdq_model *model);
/* Tensors in the order of the files: shards in order of number (GGUF) or name, and in each by offset. */
uint64_t qdq_model_tensor_count(const qdq_model *model);
const qdq_tensor *qdq_model_tensor(const qdq_model *model, uint64_t index); /* index < tensor_count */
const qdq_tensor *qdq_model_find(const qdq_model *model, const char *name); /* NULL: no such tensor */
/* Metadata: of GGUF the first shard's key-values in their order; of safetensors the `__metadata__` of all shards, the
 * first shard's value where several have the key. */
uint64_t qdq_model_kv_count(const qdq_model *model);
const qdq_kv *qdq_model_kv(const qdq_model *model, uint64_t index);
const qdq_kv *qdq_model_find_kv(const qdq_model *model, const char *key); /* NULL: no such key */

/* The file whose map holds the address, or NULL. Async-signal-safe: a file that shrinks while it is mapped raises
 * SIGBUS where it is read, and a handler can say which one it was. */
const char *qdq_mapped_path(const void *address);
/* What memcpy from an address in a mapped file gives, but read from the file: pages that are seen once need not be
 * mapped for it. A file that its path does not lead to any more is copied from the map. From any thread while the file
 * stays mapped. QDQ_IO_ERROR: it cannot be read, or was truncated. */
qdq_status qdq_mapped_read(const void *address, void *to, size_t bytes);

/* ---- Output files ---------------------------------------------------------------------------------------------- */

/* A file that appears under its name when it is committed, complete and on disk, or not at all: written as an unnamed
 * file where the file system has them (O_TMPFILE), else under `.NAME.tmp.PID.N` beside its place. A kill leaves
 * nothing, or that one hidden file. */
typedef struct qdq_out qdq_out;

/* QDQ_IO_ERROR: the directory is missing or not writable, or path is there and is no regular file; the null device is
 * allowed, and discards. QDQ_INVALID_ARGUMENT: path is a file of a model or an importance matrix that is open. (Of what
 * was read and closed, nothing is known here.) A symbolic link is replaced. */
qdq_status qdq_out_create(const char *path, qdq_out **out);
/* Is it the null device? */
bool qdq_out_discards(const char *path);
/* Makes the file that long, zeros where nothing is written, and sets room aside where the file system can, so that a
 * full disk is known before the work. A limit of the process (RLIMIT_FSIZE) raises SIGXFSZ: ignore that signal. */
qdq_status qdq_out_reserve(qdq_out *out, uint64_t bytes);
/* Appends; or writes at an offset, which may be past the end. QDQ_IO_ERROR: the disk is full, a limit, a failing
 * device. */
qdq_status qdq_out_write(qdq_out *out, const void *data, uint64_t bytes);
qdq_status qdq_out_write_at(qdq_out *out, uint64_t offset, const void *data, uint64_t bytes);
/* Frees out in every case; on failure nothing is left. */
qdq_status qdq_out_commit(qdq_out *out);
void qdq_out_abort(qdq_out *out); /* NULL is allowed */
/* Removes the temporary names of all outputs that are open. Async-signal-safe; for a handler that then ends the
 * process. */
void qdq_out_abort_all(void);

/* ---- Models, written ------------------------------------------------------------------------------------------- */

/* Order of calls: create; metadata and tensors; write the tensors' data in the order in which they were added, in
 * chunks; finish. Nothing of the output is to be seen before finish returns QDQ_OK. */
typedef struct qdq_writer qdq_writer;

/* path NULL: no file; only qdq_writer_size() will be asked. */
qdq_status qdq_writer_create(qdq_layout layout, const char *path, qdq_writer **writer);
/* All metadata of a model of the same layout, those about a split set left out. The model must outlive the writer. */
qdq_status qdq_writer_copy_metadata(qdq_writer *writer, const qdq_model *model);
/* One entry more, after all others; what had the key is gone, as ggml has it. set_u32: GGUF only. */
qdq_status qdq_writer_set_string(qdq_writer *writer, const char *key, const char *value);
qdq_status qdq_writer_set_u32(qdq_writer *writer, const char *key, uint32_t value);
qdq_status qdq_writer_set(qdq_writer *writer, const qdq_kv *kv); /* key and value must outlive the writer */
/* type: a name of either layout in any case ("F32", "q4_K", a qdq_tensor's type_name). shape: slowest first.
 * QDQ_UNSUPPORTED: the layout has no such type, or its readers no such name or shape (GGUF: 63 bytes, 4 dimensions).
 * QDQ_INVALID_ARGUMENT: a name twice, a row that is no multiple of the type's block, a size over 64 bits. */
qdq_status qdq_writer_add_tensor(qdq_writer *writer, const char *name, const char *type, uint32_t n_dims,
                                 const uint64_t *shape);
/* Bytes that the file has with what was added so far. */
qdq_status qdq_writer_size(const qdq_writer *writer, uint64_t *bytes);
/* Bytes that tensor `index` needs, in the order of adding. */
uint64_t qdq_writer_tensor_bytes(const qdq_writer *writer, uint64_t index);
/* The next bytes of the tensor that is due; a chunk may not reach into the next tensor. The first call writes the
 * header. */
qdq_status qdq_writer_write(qdq_writer *writer, const void *data, uint64_t bytes);
/* Frees writer in every case; on failure nothing is left. QDQ_INVALID_ARGUMENT: a tensor's data are not complete. */
qdq_status qdq_writer_finish(qdq_writer *writer);
void qdq_writer_abort(qdq_writer *writer); /* NULL is allowed */

/* ---- Importance matrices --------------------------------------------------------------------------------------- */

typedef struct qdq_imatrix qdq_imatrix;

typedef struct qdq_imatrix_entry {
    const char *name; /* the weight's name; may be cut, see qdq_imatrix_find */
    uint64_t count;   /* weights: columns x matrices (experts) */
    uint64_t columns; /* 0: the file does not say (legacy layout) */
    const uint8_t *sums;
    const uint8_t *calls; /* counts a matrix, f32; NULL in the legacy layout */
    float legacy_calls;
} qdq_imatrix_entry;

/* path: llama-imatrix's GGUF layout, or the legacy .dat (told apart by content). All values are checked: finite, not
 * negative. */
qdq_status qdq_imatrix_open(const char *path, qdq_imatrix **imatrix);
/* The same for bytes in memory, which must outlive it. */
qdq_status qdq_imatrix_parse(const void *bytes, uint64_t length, const char *name, qdq_imatrix **imatrix);
void qdq_imatrix_close(qdq_imatrix *imatrix); /* NULL is allowed */
/* Drops the entries whose name has one of `exclude` in it; then, if there are any of `include`, those that have none of
 * these. Entries that were found before are no more. QDQ_OUT_OF_MEMORY. */
qdq_status qdq_imatrix_filter(qdq_imatrix *imatrix, const char *const *include, size_t n_include,
                              const char *const *exclude, size_t n_exclude);
uint64_t qdq_imatrix_count(const qdq_imatrix *imatrix);
const qdq_imatrix_entry *qdq_imatrix_entry_at(const qdq_imatrix *imatrix, uint64_t index);
/* NULL: no entry. A name longer than 63 bytes also finds an entry of its first 63, as ggml cuts them. */
const qdq_imatrix_entry *qdq_imatrix_find(const qdq_imatrix *imatrix, const char *name);
/* Finds the tensor's entry and checks that it has last extent x experts weights (experts: the third extent from the
 * end, 1 below 3 dimensions). *entry = NULL and QDQ_OK: there is none. QDQ_BAD_DATA: another number, both named. */
qdq_status qdq_imatrix_match(const qdq_imatrix *imatrix, const qdq_tensor *tensor, const qdq_imatrix_entry **entry);
/* For a tensor that is one expert of the stack of that name, [rows, row]: *slice is its part of the stack's entry; name
 * NULL and QDQ_OK: there is none. QDQ_BAD_DATA: the entry has other rows, or not so many experts. */
qdq_status qdq_imatrix_match_expert(const qdq_imatrix *imatrix, const char *stack, uint64_t expert,
                                    const qdq_tensor *tensor, qdq_imatrix_entry *slice);
/* out[i] = weight first + i, for n weights: sum / count of its matrix; 1 where the count is 0. first + n <= count.
 * Expert e of a tensor with rows of r: first = e * r, n = r. */
void qdq_imatrix_weights(const qdq_imatrix_entry *entry, uint64_t first, uint64_t n, float *out);
/* The part of one matrix with rows of `row`, which `columns` is where the file says it: (index + 1) * row <= count. */
qdq_imatrix_entry qdq_imatrix_slice(const qdq_imatrix_entry *entry, uint64_t row, uint64_t index);
/* For a file's `quantize.imatrix.*`: the first dataset's name ("" if none) and the number of chunks (0 if not known).
 */
const char *qdq_imatrix_dataset(const qdq_imatrix *imatrix);
uint32_t qdq_imatrix_chunks(const qdq_imatrix *imatrix);

/* ---- Text ------------------------------------------------------------------------------------------------------ */

/* `text` made safe for a terminal: control and invalid bytes as \xNN, cut with … to fit size (at least 16). Returns
 * buffer. */
const char *qdq_printable(const char *text, char *buffer, size_t size);
/* QDQ_INVALID_ARGUMENT of a call whose arguments a file has made is the file's fault: QDQ_BAD_DATA, with its name
 * before the message. Any other status as it is. */
qdq_status qdq_blame(qdq_status status, const char *path);
/* "4096 x 11008"; returns buffer. */
const char *qdq_extents_text(const qdq_tensor *tensor, char buffer[192]);
#define QDQ_EXTENTS(tensor) qdq_extents_text((tensor), (char[192]){0})
/* All of a regular file of at most `limit` bytes; free() the text, which has no NUL at its end. QDQ_IO_ERROR: it cannot
 * be opened, or is a pipe or a device; QDQ_BAD_DATA: it is longer. */
enum { QDQ_WORDS_LIMIT = 16 << 20, QDQ_RESULTS_LIMIT = 256 << 20 }; /* of what people write; of what programs write */
qdq_status qdq_read_text(const char *path, uint64_t limit, char **text, size_t *length);

#endif
