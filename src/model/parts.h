/* A file that is written anew in parts: which bytes of the outputs belong to which part, and a part's making.
 *
 * All outputs together are cut into ranges of equal cost, at multiples of QDQ_PIECE, by what is known before a weight
 * is read, so every process finds the same cuts. A part computes every row that touches its range, and writes of them
 * what lies in it: at a cut at most one row is computed twice. */
#ifndef QDQ_MODEL_PARTS_H
#define QDQ_MODEL_PARTS_H

#include "model/rewrite.h"

typedef struct qdq_part_wish {
    const char *path; /* of the output, or of its split set */
    bool split;
    uint32_t part, parts; /* counted from 1 */
    bool resume;
    uint32_t (*next)(void *context); /* NULL: `part` alone */
    void *context;
} qdq_part_wish;

/* Instead of qdq_rewrite_run(). *bytes: in the parts that were asked for; *made: by this call. */
qdq_status qdq_parts_run(qdq_rewrite *rewrite, const qdq_part_wish *wish, uint64_t *bytes, uint64_t *made);

#endif
