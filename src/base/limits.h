/* Numbers that several rooms, and the code of devices, must agree on. */
#ifndef QDQ_BASE_LIMITS_H
#define QDQ_BASE_LIMITS_H

#define QDQ_MAX_FORMATS 64 /* that there can be, and that one operation takes; qdq_model.h says it again */

enum { QDQ_MAX_HEADS = 8 }; /* words that a lane hands to the packer */

#endif
