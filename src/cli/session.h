/* What the commands on models have in common: what the common options open, and the page that results go to. */
#ifndef QDQ_CLI_SESSION_H
#define QDQ_CLI_SESSION_H

#include "cli/cli.h"

enum { QDQ_REASON = 256, QDQ_MAX_DEVICES = 64 };

typedef struct qdq_session {
    const qdq_common *common;
    qdq_model *checkpoint; /* with --like: whose weights the model has; else NULL */
    qdq_like_report like;
    json_t *like_copied, *like_unused; /* names */
    qdq_model *model;
    qdq_imatrix *imatrix; /* NULL: none was given */
    qdq_selection *selection;
    qdq_device *devices[QDQ_MAX_DEVICES];
    uint32_t n_devices;
    char device_names[256]; /* "cuda:0", "cuda:0,cuda:1" */
    char reference[16];     /* the revision of ggml by which they choose codes */
    qdq_pass *pass;
    qdq_json_file json;
    json_t *tensors, *skipped; /* arrays of the result; with room for them even when no JSON is wanted */
    qdq_table *skipped_table;
    const char *last_skipped; /* a tensor may be listed with several reasons, one after another */
    unsigned long n_skipped;
    unsigned long n_packed; /* of those, tensors that are no weights or quantized already */
    struct {
        char reason[QDQ_REASON];
        unsigned long n;
    } why[8];                    /* the first reasons for which tensors were skipped, and how many of them had it */
    unsigned long other_reasons; /* how often it was none of these */
} qdq_session;

/* Opens everything. imatrix: a path or NULL. On failure everything is closed again. */
qdq_status qdq_session_open(qdq_session *session, const qdq_common *common, const char *input, const char *imatrix);
/* The same with entries of the importance matrix left out, as qdq_imatrix_filter() has it; if none is left, there is no
 * importance matrix. */
typedef struct qdq_session_imatrix {
    const char *path; /* NULL: none */
    const char *const *include, *const *exclude;
    size_t n_include, n_exclude;
} qdq_session_imatrix;
qdq_status qdq_session_open_filtered(qdq_session *session, const qdq_common *common, const char *input,
                                     const qdq_session_imatrix *imatrix);
void qdq_session_close(qdq_session *session);

/* Why a tensor is left out, in the command's words. */
const char *qdq_session_reason(const qdq_fit *fit);
/* qdq_file_options.decided, of a session: lists the tensor among the results, or as skipped with the reason. */
qdq_status qdq_session_decided(void *session, uint64_t index, const char *name, const qdq_choice *choice,
                               const char *type);
/* Codes that the source's weights are made of, for a result: [{"type", "tensors", "via"}, …]. */
json_t *qdq_session_codes(const qdq_session *session);
/* What --like did, for a result; NULL: it is not given. */
json_t *qdq_session_like(const qdq_session *session);
/* Says, where an importance matrix was given, for how many of the tensors it has an entry. */
void qdq_session_print_importance(const qdq_session *session, uint64_t made, uint64_t weighted);
/* Lists a tensor as skipped. name: lives as long as the session. */
void qdq_session_skip(qdq_session *session, const char *name, const char *reason);
/* The failure of a command that skipped every tensor, with the reasons and what to do. wanted: "nothing to measure". */
qdq_status qdq_session_nothing(const qdq_session *session, const char *wanted);
/* QDQ_OUT_OF_MEMORY: a cell of the table (NULL: none), or of the skipped ones', is missing. To be asked before outputs
 * appear. */
qdq_status qdq_session_check(const qdq_session *session, const qdq_table *table);
/* Prints table (NULL: none) and the skipped ones under it, if tables are wanted; frees table. heading: "not
 * measured". */
qdq_status qdq_session_print(qdq_session *session, qdq_table *table, const char *heading);

#endif
