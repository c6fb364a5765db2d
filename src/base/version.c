#include "qdq.h"

#define TEXT2(x) #x
#define TEXT(x)  TEXT2(x)
const char *qdq_version(void) {
    return TEXT(QDQ_VERSION_MAJOR) "." TEXT(QDQ_VERSION_MINOR) "." TEXT(QDQ_VERSION_PATCH);
}
