/* The tables of words that formats with a codebook look points up in (README.md of the dialect).
 *
 *   word p          the point number p, twice: levels | levels << 16, element k's level at bit k * 16 / elements
 *   word points + c the list of cell c: number of its first word | (number of its words - 1) << 18
 *
 * A cell that is a point has the list that is the point's own word. Any other has a list further on, of its neighbours:
 * the points at the least distance, then those at the next, for as many distances as the format says, each in order of
 * their numbers; two points a word, an odd one twice. Eight words more than the lists have may be read. Distances are
 * Euclid's, in levels. */
#ifndef QDQ_BASE_CODEBOOK_H
#define QDQ_BASE_CODEBOOK_H

#include <stddef.h>

#include "qdq.h"

/* The words of a format, made at the first call and kept: qdq_words_NAME. Sets *words to NULL for a format without a
 * codebook. Callable from any thread. */
qdq_status qdq_format_words(const char *format, const uint32_t **words, size_t *n);

#define GRID(name, ...) extern const uint32_t *qdq_words_##name;
#include "formats/codebooks.def"
#undef GRID

#endif
