#include "qdq.h"

const char *qdq_dtype_name(qdq_dtype dtype) {
    switch (dtype) {
    case QDQ_F32: return "f32";
    case QDQ_F16: return "f16";
    case QDQ_BF16: return "bf16";
    case QDQ_U8: return "u8";
    }
    return "?";
}

size_t qdq_dtype_size(qdq_dtype dtype) {
    switch (dtype) {
    case QDQ_F32: return 4;
    case QDQ_F16:
    case QDQ_BF16: return 2;
    case QDQ_U8: return 1;
    }
    return 0;
}

#define TEXT2(x) #x
#define TEXT(x)  TEXT2(x)
const char *qdq_version(void) {
    return TEXT(QDQ_VERSION_MAJOR) "." TEXT(QDQ_VERSION_MINOR) "." TEXT(QDQ_VERSION_PATCH);
}
