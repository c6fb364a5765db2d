/* llama-quantize's reading of a --tensor-type-file with the very tools it uses, std::istream and std::regex: what the
 * tests of the rules and the recipe compare with. Without a C++ compiler (QDQ_NO_CXX) those comparisons are skipped. */
#ifndef QDQ_TESTS_STD_REGEX_H
#define QDQ_TESTS_STD_REGEX_H

#ifdef __cplusplus
extern "C" {
#endif

/* 1: found, 0: not found, -1: std::regex does not take the pattern. */
int std_regex_finds(const char *pattern, const char *name);
/* The first entry of the file that is found in the name: its number from 0, -1 if there is none, -2 if a word or
 * pattern is refused. type: its right side as it stands there; size bytes at most. */
int std_type_file_entry(const char *text, const char *name, char *type, unsigned size);

#ifdef __cplusplus
}
#endif
#endif
