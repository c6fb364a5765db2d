/* llama-quantize's --tensor-type and --tensor-type-file: the type of each tensor whose name a pattern is found in. */
#ifndef QDQ_MODEL_TYPE_FILE_H
#define QDQ_MODEL_TYPE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "qdq.h"

/* Words PATTERN=TYPE, split at the first "="; the pattern is lower-cased and searched in the tensor's name, which is
 * not; the first that is found counts. There are no comments.
 *
 * llama-quantize searches with std::regex (ECMAScript), this library with PCRE2. Patterns are read only if both agree
 * on them: letters, digits and other plain bytes, ., ^, $, |, groups ( ) (?: ) (?! ), quantifiers * + ? {n,m} and
 * their lazy forms, classes with ranges and [:names:], \d \w \s \b \f \n \r \t, \xHH, and \ before punctuation. Others
 * are refused by name: backreferences, \u, \c, \v, \0, further escapes of letters, possessive quantifiers, named and
 * inline-option groups, look-behind, empty classes, [. .], a bare ] or }. (Lower-casing turns \D, \S, \W and
 * \B into \d, \s, \w and \b before that: it happens to llama-quantize too.) */
typedef struct qdq_type_file qdq_type_file;

/* path: for messages. QDQ_BAD_DATA, with the word's number: a word without "=", an unknown type, one that cannot be
 * written, a broken pattern, a NUL byte. QDQ_UNSUPPORTED: a pattern outside of the above. */
qdq_status qdq_type_file_read(const char *path, const char *text, size_t length, qdq_type_file **file);
/* The same, entry by entry: an empty list, to which the command line's --tensor-type (`option` is for messages) and the
 * words of files are added in their order. */
qdq_status qdq_type_file_create(qdq_type_file **file);
qdq_status qdq_type_file_add(qdq_type_file *file, const char *option, const char *word);
qdq_status qdq_type_file_add_text(qdq_type_file *file, const char *path, const char *text, size_t length);
void qdq_type_file_free(qdq_type_file *file);
size_t qdq_type_file_count(const qdq_type_file *file);
const char *qdq_type_file_entry(const qdq_type_file *file, size_t index); /* as it was given */
/* The first entry whose pattern is found in the name; *entry is the count when there is none. By one thread at a time.
 * QDQ_UNSUPPORTED: the search was given up (a pattern that backtracks without end). */
qdq_status qdq_type_file_match(qdq_type_file *file, const char *name, size_t *entry, uint32_t *type);

#endif
