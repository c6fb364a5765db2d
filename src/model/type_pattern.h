/* Patterns that std::regex (ECMAScript), with which llama-quantize searches, and PCRE2, with which this library does,
 * read alike. */
#ifndef QDQ_MODEL_TYPE_PATTERN_H
#define QDQ_MODEL_TYPE_PATTERN_H

/* What keeps the pattern, in lower case, from meaning the same to both, or NULL. */
const char *qdq_type_pattern_check(const char *pattern);

#endif
