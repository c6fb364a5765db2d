/* Names made of -DFORMAT and -DTIER. F(fit) is q4_0_fit; KERNELS(lanes) is qdq_cpu_q4_0_avx2_lanes. */
#define QDQ_JOIN2(a, b)          a##_##b
#define QDQ_JOIN(a, b)           QDQ_JOIN2(a, b)
#define F(name)                  QDQ_JOIN(FORMAT, name)
#define QDQ_KERNELS3(f, t, part) qdq_cpu_##f##_##t##_##part
#define QDQ_KERNELS2(f, t, part) QDQ_KERNELS3(f, t, part)
#define KERNELS(part)            QDQ_KERNELS2(FORMAT, TIER, part)
#define QDQ_TILE_KERNELS3(t)     qdq_cpu_##t##_tile
#define QDQ_TILE_KERNELS2(t)     QDQ_TILE_KERNELS3(t)
#define TILE_KERNELS             QDQ_TILE_KERNELS2(TIER)
