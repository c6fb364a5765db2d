/* A text taken apart in place. */
#ifndef QDQ_BASE_WORDS_H
#define QDQ_BASE_WORDS_H

#include <string.h>

/* The next word of *rest, which is ended by a NUL where it has a character of `between`; NULL: there is none. */
static inline char *qdq_next_word(char **rest, const char *between) {
    char *word = *rest + strspn(*rest, between), *end = word + strcspn(word, between);
    if (end == word) return NULL;
    *rest = *end != '\0' ? end + 1 : end;
    *end = '\0';
    return word;
}

#endif
