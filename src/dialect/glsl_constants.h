/* The specialization constants of the Vulkan kernels by number, for the kernels and for the host that sets them. */
#ifndef QDQ_DIALECT_GLSL_CONSTANTS_H
#define QDQ_DIALECT_GLSL_CONSTANTS_H

#define QDQ_VK_ID_OP               0 /* a qdq_vk_kernel_op, or an operation of operations.comp */
#define QDQ_VK_ID_TILES            1 /* a workgroup's */
#define QDQ_VK_ID_LANES            2 /* a workgroup's, 32 a tile */
#define QDQ_VK_ID_WEIGHTED         3 /* importance is given */
#define QDQ_VK_ID_FORMAT           4 /* the first of QDQ_VK_SEVERAL: the formats of several.glsl; -1: none */
#define QDQ_VK_ID_KEEPS_SUBNORMALS 8
#define QDQ_VK_ID_FUSES            9
#define QDQ_VK_IDS                 10

#endif
