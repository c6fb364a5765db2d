/* What a command needs of its system: arguments, standard streams, the terminal, how it is ended (platform.h). */
#ifndef QDQ_BASE_PLATFORM_COMMAND_H
#define QDQ_BASE_PLATFORM_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* First of all. Standard streams that are closed do not become the next file that is opened; arguments are UTF-8, and
 * streams carry bytes as they are. */
void qdq_command_begin(int *argc, char ***argv);

/* clean() runs when the process is told to end, before it does; lost(path's address) when mapped memory can no longer
 * be read: if it returns, the process ends as it would have. Neither may do more than a signal handler may. */
void qdq_command_guard(void (*clean)(void), void (*lost)(const void *address));

/* To standard error, as a signal handler may. */
void qdq_command_say(const char *text);

bool qdq_is_terminal(FILE *stream);
/* A terminal that takes colours and erases lines. */
bool qdq_terminal_obeys(FILE *stream);
/* Columns of the terminal that shows standard output; 0: there is none. */
size_t qdq_terminal_columns(void);

#endif
