/* The dialect's operations one by one, an element a thread, for proofs. */
#include "dialect/cuda.h"
#include "dialect/operate.h"
#include "backends/cuda/args.h"

extern "C" __global__ void __launch_bounds__(32 * QDQ_CUDA_WARPS) qdq_dialect(const qdq_cuda_dialect_args a) {
    uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a.count) return;
    const UINT *left = (const UINT *)a.a, *right = (const UINT *)a.b;
    ((UINT *)a.out)[i] = operate((qdq_dialect_operation)a.operation, left[i], right[i]);
}
