/* What the commands on models have in common: the model, the device, which tensors a format takes and why it does not
 * take the others. */
#ifndef QDQ_CLI_SESSION_H
#define QDQ_CLI_SESSION_H

#include "model/gguf_names.h"
#include "cli/cli.h"
#include "cli/stream.h"

enum { QDQ_REASON = 256 };

typedef struct qdq_session {
    const qdq_common *common;
    qdq_model *model;
    qdq_imatrix *imatrix;       /* NULL: none was given */
    qdq_imatrix_entry *renamed; /* a tensor of the model: its entry under the name of GGUF; name NULL: none */
    qdq_device *device;
    qdq_device_info info;
    qdq_stream *stream;
    qdq_json_file json;
    json_t *tensors, *skipped; /* arrays of the result; with room for them even when no JSON is wanted */
    qdq_table *skipped_table;
    const char *last_skipped; /* a tensor may be listed with several reasons, one after another */
    unsigned long n_skipped;
    unsigned long n_packed; /* of those, tensors that are no weights or quantized already */
    struct {
        char reason[QDQ_REASON];
        unsigned long n;
    } why[8]; /* the first reasons for which tensors were skipped, and how many of them had it */
} qdq_session;

/* Opens everything. imatrix: a path or NULL. On failure everything is closed again. */
qdq_status qdq_session_open(qdq_session *session, const qdq_common *common, const char *input, const char *imatrix);
void qdq_session_close(qdq_session *session);
/* Finds, for tensors under Hugging Face's names, the importance that llama-imatrix has under GGUF's; of experts that
 * the model holds one by one, each its part. names: NULL does nothing. Opening a session does it by the names of the
 * config.json beside the model; this is for others. QDQ_BAD_DATA: an entry has another size than the tensor. */
qdq_status qdq_session_name_importance(qdq_session *session, const qdq_gguf_names *names);
/* Formats that need an importance matrix have one; imatrix: the path, or NULL. QDQ_INVALID_ARGUMENT: say --imatrix. */
qdq_status qdq_check_importance(const qdq_format *formats, uint32_t n, const char *imatrix);

/* Whether any format could take the tensor: weights, not left out by --include and --exclude, of two dimensions or
 * more. If not, reason says why. */
bool qdq_session_takes(const qdq_session *session, const qdq_tensor *tensor, char reason[QDQ_REASON]);
/* Whether the format takes a tensor that some format can: whole blocks, importance if it needs it. *importance: the
 * tensor's entry, or NULL. QDQ_BAD_DATA: the entry has another size than the tensor. */
qdq_status qdq_session_fits(const qdq_session *session, const qdq_tensor *tensor, qdq_format format,
                            const qdq_imatrix_entry **importance, bool *fits, char reason[QDQ_REASON]);
/* Lists a tensor as skipped. name: lives as long as the session. */
void qdq_session_skip(qdq_session *session, const char *name, const char *reason);
/* The failure of a command that skipped every tensor, with the reasons and what to do. wanted: "nothing to measure". */
qdq_status qdq_session_nothing(const qdq_session *session, const char *wanted);
/* Prints table (NULL: none) and the skipped ones under it, if tables are wanted; frees table. heading: "not
 * measured". */
qdq_status qdq_session_print(qdq_session *session, qdq_table *table, const char *heading);

#endif
