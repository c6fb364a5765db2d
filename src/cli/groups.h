/* What becomes of a model's tensors, those of one kind in one row: "blk.*.attn_q.weight", 32 of them, q4_K. */
#ifndef QDQ_CLI_GROUPS_H
#define QDQ_CLI_GROUPS_H

#include "cli/cli.h"

typedef struct qdq_groups { /* of zeros: empty */
    struct qdq_grouped *items;
    size_t n, room;
    bool failed; /* no memory: something is missing */
} qdq_groups;

/* type: of the output, which lives as long as the groups; reason: why it is that one, "" where it is the usual. */
void qdq_groups_add(qdq_groups *groups, const char *name, const char *type, uint64_t bytes, const char *reason);
/* The rows in order of their first tensors. QDQ_OUT_OF_MEMORY: something is missing. */
qdq_status qdq_groups_table(qdq_groups *groups, qdq_table **table);
void qdq_groups_free(qdq_groups *groups);

#endif
