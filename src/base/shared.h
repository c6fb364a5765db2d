/* What libqdq_model takes of libqdq besides qdq.h: shown by the shared libqdq, of the same version alone, and no part
 * of its interface. It stands at the definitions; tests/data/symbols_shared.txt has the list. */
#ifndef QDQ_BASE_SHARED_H
#define QDQ_BASE_SHARED_H

#include "qdq.h"

#define QDQ_SHARED QDQ_API

#endif
