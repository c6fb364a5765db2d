/* Names and paths in messages. */
#ifndef QDQ_FILES_SHOWN_H
#define QDQ_FILES_SHOWN_H

#include "qdq_model.h"

/* As qdq_printable(), in a buffer that lives as long as the block. Four of them and their sentence fit a message. */
#define SHOWN(text) qdq_printable((text), (char[192]){0}, 192)

#endif
