/* What becomes of a model's tensors, those of one kind in one row: "blk.*.attn_q.weight", 32 of them, q4_K. */
#ifndef QDQ_CLI_GROUPS_H
#define QDQ_CLI_GROUPS_H

#include "cli/cli.h"

typedef struct qdq_groups { /* of zeros: empty */
    struct qdq_grouped *items;
    size_t n, room;
    bool failed; /* no memory: something is missing */
} qdq_groups;

typedef struct qdq_grouping {
    const char *name, *reason; /* reason: why it has that type, "" where it is the usual one */
    const char *type;          /* of the output; lives as long as the groups */
    uint64_t elements, bytes;
    double damage; /* of a plan */
} qdq_grouping;

void qdq_groups_add(qdq_groups *groups, const qdq_grouping *tensor);
/* The rows in order of their first tensors, with sizes and reasons, or with bits and damage. QDQ_OUT_OF_MEMORY:
 * something is missing. */
qdq_status qdq_groups_table(qdq_groups *groups, bool planned, qdq_table **table);
void qdq_groups_free(qdq_groups *groups);

#endif
