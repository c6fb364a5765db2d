/* Texts made from the commands' descriptions, to standard output. */
#ifndef QDQ_CLI_GENERATE_H
#define QDQ_CLI_GENERATE_H

#include "cli/cli.h"

/* The commands and what they are for. */
void qdq_print_overview(FILE *to);
/* roff, section 1. */
void qdq_print_man_page(void);
/* false: there is none for that shell. */
bool qdq_print_completion(const char *shell);

#endif
