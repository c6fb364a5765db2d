/* What Metal's REALs are computed by (metal.h): the host chooses when it compiles. */
#ifndef QDQ_DIALECT_METAL_ARITHMETIC_H
#define QDQ_DIALECT_METAL_ARITHMETIC_H

#define ARITHMETIC_OF_DEVICE   0 /* the device alone: wrong where it flushes subnormals; for tests of the proof */
#define ARITHMETIC_CHECKED     1 /* the device, where its result shows that it is right; else integers */
#define ARITHMETIC_OF_INTEGERS 2 /* integers alone; for tests */

#endif
