#!/usr/bin/env python3
"""The Q4_0 round trip of float32 weights on a CUDA device, as others do it, beside qdq and a copy, in one run:

  copy               device to device
  qdq                build/qdq bench -d cuda
  torch eager        ggml's reference written with PyTorch's operators
  torch compiled     the same through torch.compile; says how many values differ in bits
  a block 32 threads a thread an element, the maximum by a tree in shared memory: the shape of mlx-native's
                     qdq_legacy.metal, as CUDA

Needs PyTorch, CuPy and a built qdq:  python3 bench/gpu/peers.py [path of qdq] [MiB of weights, 1024]
"""
import json
import subprocess
import sys

import cupy
import torch

TREE = r"""
extern "C" __global__ void q4_0_tree(const float *x, float *y) {
    __shared__ float magnitude[32], value[32];
    int t = threadIdx.x;
    unsigned long long i = blockIdx.x * 32ull + t;
    float v = x[i];
    magnitude[t] = fabsf(v);
    value[t] = v;
    __syncthreads();
    for (int half = 16; half > 0; half /= 2) {
        if (t < half && magnitude[t + half] > magnitude[t]) {
            magnitude[t] = magnitude[t + half];
            value[t] = value[t + half];
        }
        __syncthreads();
    }
    float d = value[0] / -8.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
    int code = (int)(v * inverse + 8.5f);
    code = code < 0 ? 0 : code > 15 ? 15 : code;
    unsigned short half_bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half_bits) : "f"(d));
    float stored;
    asm("cvt.f32.f16 %0, %1;" : "=f"(stored) : "h"(half_bits));
    y[i] = (code - 8) * stored;
}
"""


def roundtrip(x):
    blocks = x.view(-1, 32)
    place = blocks.abs().argmax(dim=1, keepdim=True)
    d = blocks.gather(1, place) * -0.125
    inverse = torch.where(d != 0, 1.0 / d, 0.0)
    code = (blocks * inverse + 8.5).to(torch.int32).clamp(0, 15)
    return ((code - 8).to(torch.float32) * d.to(torch.float16).to(torch.float32)).view(-1)


def best_seconds(work, times=10):
    work()
    seconds = []
    for _ in range(times):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) * 1e-3)
    return min(seconds)


def qdq_rate(qdq, mib):
    """GB/s of qdq's own benchmark."""
    command = [qdq, "bench", "-d", "cuda", "-f", "q4_0", "--size", str(mib), "--json", "-", "--quiet"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rows = [row for row in report["results"] if row.get("operation") == "roundtrip"]
    return rows[0]["bytes_per_second"] / 1e9


def main():
    qdq = sys.argv[1] if len(sys.argv) > 1 else "build/qdq"
    mib = int(sys.argv[2]) if len(sys.argv) > 2 else 1024
    n = mib << 18
    x = torch.randn(n, device="cuda") * 0.02
    y = torch.empty_like(x)
    rates = {"copy": n * 8 / best_seconds(lambda: y.copy_(x)) / 1e9}
    rates["qdq"] = qdq_rate(qdq, mib)
    rates["torch eager"] = n * 8 / best_seconds(lambda: roundtrip(x)) / 1e9
    expected = roundtrip(x)
    compiled = torch.compile(roundtrip)
    rates["torch compiled"] = n * 8 / best_seconds(lambda: compiled(x)) / 1e9
    differ = int((compiled(x).view(torch.int32) != expected.view(torch.int32)).sum())
    kernel = cupy.RawKernel(TREE, "q4_0_tree", options=("--fmad=false",))
    stream = cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream)

    def tree():
        with stream:
            kernel((n // 32,), (32,), (cupy.from_dlpack(x), cupy.from_dlpack(y)))

    rates["a block 32 threads"] = n * 8 / best_seconds(tree) / 1e9
    tree_differ = int((y.view(torch.int32) != expected.view(torch.int32)).sum())
    print(f"Q4_0 round trip of {n:,} float32 on {torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    for name, rate in rates.items():
        note = f"{differ:,} values differ from eager" if name == "torch compiled" else ""
        note = f"{tree_differ:,} values differ from eager" if name == "a block 32 threads" else note
        print(f"  {name:20} {rate:7.0f} GB/s  {rate / rates['copy']:.3f} of copy  {note}".rstrip())


main()
