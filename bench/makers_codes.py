#!/usr/bin/env python3
"""Decodes quantized checkpoints with their makers' own libraries and with qdq, and compares the weights bit by bit.

    bench/makers_codes.py QDQ

The libraries make the small checkpoints, too, where they can: compressed-tensors, transformers (gpt-oss, FP8 of blocks),
nvidia-modelopt, gptqmodel and gguf, from PyPI, with torch's build for CPUs. What is not installed is said and left out.
Weights are compared as the library gives them: in F32 with --via f32, in BF16 or F16 with that."""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile

import numpy
import torch
from safetensors.torch import load_file, save_file

NAMES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


class Comparison:
    def __init__(self, qdq, directory):
        self.qdq, self.directory = qdq, directory
        self.counts = {"equal": 0, "differ": 0, "refused": 0, "left out": 0}

    def decoded(self, tensors, config, via, *options):
        """What qdq makes of a checkpoint."""
        model = os.path.join(self.directory, "model.safetensors")
        save_file({name: t.contiguous() for name, t in tensors.items()}, model)
        with open(os.path.join(self.directory, "config.json"), "w") as file:
            json.dump({"quantization_config": config} if config else {}, file, default=str)
        out = os.path.join(self.directory, "out", "weights.safetensors")
        os.makedirs(os.path.dirname(out), exist_ok=True)
        done = subprocess.run([self.qdq, "roundtrip", "-f", "f32", "--via", via, "--quiet", *options, self.directory, "-o", out],
                              capture_output=True, text=True)
        return load_file(out) if done.returncode == 0 else done.stderr.strip()

    def told(self, what, result, why=""):
        self.counts[result] += 1
        print("%-9s %s%s" % (result, what, why and ": " + why), flush=True)

    def check(self, what, tensors, config, expected, signed_zeros=True):
        """expected: name -> the weights that the library makes of the checkpoint"""
        via = NAMES[next(iter(expected.values())).dtype]
        found = self.decoded(tensors, config, via)
        if isinstance(found, str):
            return self.told(what, "refused", found)
        for name, weights in expected.items():
            if name not in found or found[name].shape != weights.shape:
                return self.told(what, "differ", "%s is not there, or of another shape" % name)
            ours, theirs = (t.float() if signed_zeros else t.float() + 0 for t in (found[name], weights.contiguous()))
            ours, theirs = ours.numpy().view(numpy.uint32), theirs.numpy().view(numpy.uint32)
            differ = int((ours != theirs).sum())
            if differ:
                at = tuple(int(i[0]) for i in (ours != theirs).nonzero())
                return self.told(what, "differ", "%d of %d weights of %s, first at %s: %g, the library has %g" %
                                 (differ, ours.size, name, at, found[name][at].item(), weights[at].item()))
        return self.told(what, "equal")


def weights(rows, columns, dtype, seed=1):
    """Gaussian, with a few far out, a row of zeros, and a row of the same number."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(rows, columns, generator=generator) * 0.05
    w[torch.rand(rows, columns, generator=generator) < 0.003] *= 20
    w[1], w[2] = 0, 0.125
    return w.to(dtype)


# ---- compressed-tensors --------------------------------------------------------------------------------------------


def extremes(w, args):
    """The least and the greatest weight of each scale's."""
    if args.strategy == "tensor":
        return w.min().reshape(1), w.max().reshape(1)
    if args.strategy == "channel":
        return w.min(1, keepdim=True).values, w.max(1, keepdim=True).values
    if args.strategy == "block":
        rows, columns = args.block_structure
        padded = torch.nn.functional.pad(w, (0, -w.shape[1] % columns, 0, -w.shape[0] % rows))
        blocks = padded.reshape(padded.shape[0] // rows, rows, -1, columns)
        return blocks.amin((1, 3)), blocks.amax((1, 3))
    groups = w.reshape(w.shape[0], -1, args.group_size)
    return groups.amin(2), groups.amax(2)


def compressed_tensors(c):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    def one(what, form, shape, dtype, **numbers):
        args = QuantizationArgs(**numbers)
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        w = weights(*shape, dtype)
        state = {"weight": w}
        outer = None
        if args.strategy == "tensor_group":
            outer = generate_gparam(w.min(), w.max()).reshape(1)
            state["weight_global_scale"] = outer
        scale, zero = calculate_qparams(*extremes(w, args), args, global_scale=outer)
        state["weight_scale"], state["weight_zero_point"] = scale, zero
        compressor = BaseCompressor.get_value_from_registry(form)
        packed = compressor.compress(state, scheme)
        expected = compressor.decompress(packed, scheme)["weight"]
        config = QuantizationConfig(config_groups={"group_0": scheme}, format=form, quantization_status="compressed",
                                    ignore=["lm_head"])
        c.check("compressed-tensors %s, %s" % (form, what), {"model.layers.0.mlp.up_proj." + k: v for k, v in packed.items()},
                json.loads(config.model_dump_json()) | {"quant_method": "compressed-tensors"},
                {"model.layers.0.mlp.up_proj.weight": expected})

    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        kind = "scales of " + NAMES[dtype].upper()
        for bits in range(1, 9):
            for strategy, numbers in (("group", {"group_size": 32}), ("group", {"group_size": 128}), ("channel", {}),
                                      ("tensor", {})):
                for symmetric in (True, False):
                    if strategy == "tensor" and not symmetric:
                        continue  # the library does not pack that zero
                    one("%d bits, %s%s, %s, %s" % (bits, strategy, "".join(" of %d" % n for n in numbers.values()),
                                                   "symmetric" if symmetric else "with zeros", kind),
                        "pack-quantized", (48, 384), dtype, num_bits=bits, type="int", strategy=strategy,
                        symmetric=symmetric, **numbers)
        one("4 bits, channel, rows of 250, " + kind, "pack-quantized", (16, 250), dtype, num_bits=4, type="int",
            strategy="channel", symmetric=True)
        for form in ("float-quantized", "naive-quantized"):
            for strategy, numbers in (("tensor", {}), ("channel", {}), ("block", {"block_structure": [128, 128]})):
                one("FP8, %s, %s" % (strategy, kind), form, (200, 300), dtype, num_bits=8, type="float",
                    strategy=strategy, symmetric=True, **numbers)
        for form in ("int-quantized", "naive-quantized"):
            for strategy in ("tensor", "channel"):
                for symmetric in (True, False):
                    one("INT8, %s, %s, %s" % (strategy, "symmetric" if symmetric else "with zeros", kind), form, (48, 384),
                        dtype, num_bits=8, type="int", strategy=strategy, symmetric=symmetric)
        one("NVFP4, " + kind, "nvfp4-pack-quantized", (48, 384), dtype, num_bits=4, type="float", strategy="tensor_group",
            group_size=16, symmetric=True, scale_dtype=torch.float8_e4m3fn, zp_dtype=torch.float8_e4m3fn)
        one("MXFP4, " + kind, "mxfp4-pack-quantized", (48, 384), dtype, num_bits=4, type="float", strategy="group",
            group_size=32, symmetric=True, scale_dtype=torch.uint8, zp_dtype=torch.uint8)
        one("MXFP8, " + kind, "mxfp8-quantized", (48, 384), dtype, num_bits=8, type="float", strategy="group",
            group_size=32, symmetric=True, scale_dtype=torch.uint8, zp_dtype=torch.uint8)


def compressed_tensors_converters(c):
    """Its decoders of DeepSeek's FP8 and of AWQ."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.entrypoints.convert.converters import AutoAWQConverter, FP8BlockDequantizer
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    for dtype in (torch.float32, torch.bfloat16):
        for shape in ((256, 384), (200, 300), (576, 200)):
            tensors = eights(shape, dtype)
            for out in (torch.bfloat16, torch.float32):
                decode = FP8BlockDequantizer(dtype=out)
                c.check("FP8 of 128 x 128, %d x %d, scales of %s, as compressed-tensors decodes it to %s" %
                        (*shape, NAMES[dtype].upper(), NAMES[out].upper()), tensors,
                        {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}, decode.process(dict(tensors)))
    for seed in range(3):
        tensors, config = columns(seed, 4, 32, awq=True), {"quant_method": "awq", "bits": 4, "group_size": 32,
                                                           "zero_point": True, "version": "gemm"}
        packed = AutoAWQConverter.from_autoawq_config(config).process(dict(tensors))
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(
            num_bits=4, type="int", strategy="group", group_size=32, symmetric=False))
        expected = BaseCompressor.get_value_from_registry("pack-quantized").decompress(
            {k.rpartition(".")[2]: v for k, v in packed.items()}, scheme)["weight"]
        c.check("AWQ, as compressed-tensors decodes it", tensors, config, {"x.weight": expected})
        c.check("AWQ, made pack-quantized by compressed-tensors", packed,
                {"quant_method": "compressed-tensors", "format": "pack-quantized"}, {"x.weight": expected})


def eights(shape, dtype, block=128):
    """E4M3 codes, all that are numbers, with scales of blocks."""
    generator = torch.Generator().manual_seed(shape[1])
    codes = torch.randint(0, 254, shape, generator=generator, dtype=torch.int32)
    codes += codes >= 127
    scales = torch.rand([-(-n // block) for n in shape], generator=generator) * 0.01 + 1e-5
    return {"x.weight": codes.to(torch.uint8).view(torch.float8_e4m3fn), "x.weight_scale_inv": scales.to(dtype)}


def columns(seed, bits, group, awq=False, rows=64, wide=256):
    """Words, zeros and scales of GPTQ's or AWQ's shape, of any bits."""
    generator = torch.Generator().manual_seed(seed)
    def words(*shape):
        return torch.randint(-2**31, 2**31, shape, generator=generator, dtype=torch.int64).to(torch.int32)
    scales = (torch.rand(wide // group, rows, generator=generator) * 0.02 + 1e-4).half()
    return {"x.qweight": words(wide, rows // 8) if awq else words(wide * bits // 32, rows),
            "x.qzeros": words(wide // group, rows * bits // 32), "x.scales": scales}


# ---- transformers --------------------------------------------------------------------------------------------------


def transformers(c):
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors
    generator = torch.Generator().manual_seed(5)
    for what, low, high in (("scales as usual", 100, 140), ("the smallest scales", 0, 20), ("the largest", 200, 250)):
        blocks = torch.randint(0, 256, (3, 64, 4, 16), generator=generator).to(torch.uint8)
        scales = torch.randint(low, high, (3, 64, 4), generator=generator).to(torch.uint8)
        for dtype in (torch.bfloat16, torch.float32):
            made = convert_moe_packed_tensors(blocks.clone(), scales.clone(), dtype=dtype)
            # the library turns experts round, for its own layers
            c.check("gpt-oss, %s, to %s, as transformers decodes it" % (what, NAMES[dtype].upper()),
                    {"model.layers.0.mlp.experts.gate_up_proj_blocks": blocks,
                     "model.layers.0.mlp.experts.gate_up_proj_scales": scales}, {"quant_method": "mxfp4"},
                    {"model.layers.0.mlp.experts.gate_up_proj": made.transpose(1, 2).contiguous()})

    from transformers.integrations.finegrained_fp8 import Fp8Dequantize
    decode = Fp8Dequantize(None)
    for dtype in (torch.float32, torch.bfloat16):
        tensors = eights((256, 384), dtype)
        for out in (torch.bfloat16, torch.float32):
            c.check("FP8 of 128 x 128, scales of %s, as transformers decodes it to %s" % (NAMES[dtype].upper(), NAMES[out].upper()),
                    tensors, {"quant_method": "fp8", "weight_block_size": [128, 128]},
                    {"x.weight": decode._dequantize_one(tensors["x.weight"], tensors["x.weight_scale_inv"], out)})
    codes = torch.randint(-128, 128, (64, 64), generator=generator).to(torch.int8)
    exponents = torch.randint(100, 140, (64, 4), generator=generator).to(torch.uint8)
    for out in (torch.bfloat16, torch.float32):
        c.check("FP4 in bytes with scales of F8_E8M0 (DeepSeek-V4), as transformers decodes it to %s" % NAMES[out].upper(),
                {"x.weight": codes, "x.scale": exponents.view(torch.float8_e8m0fnu)}, {"quant_method": "fp8", "scale_fmt": "ue8m0"},
                {"x.weight": decode._dequantize_one(codes, exponents.view(torch.float8_e8m0fnu), out)})


# ---- ModelOpt ------------------------------------------------------------------------------------------------------


def modelopt(c):
    from modelopt.torch.quantization.qtensor import FP8QTensor, NVFP4QTensor
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        w = weights(48, 384, dtype)
        made, scale, outer = NVFP4QTensor.quantize(w, 16)  # its table has 0 for the code of -0
        expected = made.dequantize(scale=scale, double_scale=outer, block_sizes={-1: 16})
        c.check("ModelOpt NVFP4 of %s" % NAMES[dtype].upper(),
                {"x.weight": made._quantized_data, "x.weight_scale": scale.reshape(48, -1), "x.weight_scale_2": outer.reshape(())},
                {"quant_method": "modelopt", "quant_algo": "NVFP4"}, {"x.weight": expected}, signed_zeros=False)
        w[1] = 0.25  # of a row of zeros it makes NaN
        for what, axis in (("a tensor", None), ("rows", 0)):
            made, scale = FP8QTensor.quantize(w, axis=axis)
            expected = made.dequantize(scale=scale)
            c.check("ModelOpt FP8 of %s, scales of %s" % (NAMES[dtype].upper(), what),
                    {"x.weight": made._quantized_data, "x.weight_scale": scale.float().reshape(-1)},
                    {"quant_method": "modelopt", "quant_algo": "FP8"}, {"x.weight": expected})


# ---- gptqmodel -----------------------------------------------------------------------------------------------------


def gptqmodel(c):
    awq = importlib.import_module("gptqmodel.quantization.awq.utils.packing_utils")
    for group in (32, 128):
        tensors = columns(group, 4, group, awq=True)
        made = awq.dequantize_gemm(tensors["x.qweight"], tensors["x.qzeros"], tensors["x.scales"], 4, group)
        c.check("AWQ, groups of %d, as gptqmodel decodes it" % group, tensors,
                {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm"}, {"x.weight": made.T.contiguous()})

    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    for bits in (2, 3, 4, 8):
        for group in (32, 128, 256):
            for shuffled in (False, True):
                tensors = columns(bits * group, bits, group)
                order = torch.arange(256, dtype=torch.int32) // group
                if shuffled:
                    order = order[torch.randperm(256, generator=torch.Generator().manual_seed(bits))]
                layer = TorchLinear(bits=bits, group_size=group, desc_act=shuffled, sym=False, in_features=256,
                                    out_features=64, bias=False, pack_dtype=torch.int32, register_buffers=True)
                layer.qweight.copy_(tensors["x.qweight"])
                layer.qzeros.copy_(tensors["x.qzeros"])
                layer.scales.copy_(tensors["x.scales"])
                layer.g_idx.copy_(order)
                layer.eval()
                tensors["x.g_idx"] = order
                made = layer.dequantize_weight().T.contiguous()
                c.check("GPTQ of %d bits, groups of %d%s, as gptqmodel decodes it" % (bits, group, ", in another order" * shuffled),
                        tensors, {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": shuffled,
                                  "checkpoint_format": "gptq_v2"}, {"x.weight": made})


# ---- gguf ----------------------------------------------------------------------------------------------------------


def gguf(c):
    """Quantized GGUF, decoded by gguf's own Python."""
    from gguf import GGUFReader
    from gguf.quants import dequantize
    source = os.path.join(c.directory, "model.safetensors")
    save_file({"x.weight": weights(16, 512, torch.float32)}, source)
    packed, out = (os.path.join(c.directory, name) for name in ("packed.gguf", "values.safetensors"))
    formats = json.loads(subprocess.run([c.qdq, "formats", "--json", "-"], capture_output=True, text=True).stdout)["formats"]
    matrix = os.path.join(c.directory, "ones.dat")
    with open(matrix, "wb") as file:
        name = b"x.weight"
        file.write(b"".join(numpy.array(n, "<i4").tobytes() for n in (1, len(name))) + name +
                   b"".join(numpy.array(n, "<i4").tobytes() for n in (1, 512)) + numpy.ones(512, "<f4").tobytes())
    for row in formats:
        made = subprocess.run([c.qdq, "quantize", "-f", row["name"], "--imatrix", matrix, "--quiet", source, "-o", packed],
                              capture_output=True, text=True)
        if made.returncode == 0:
            made = subprocess.run([c.qdq, "roundtrip", "-f", "f32", "--allow-requantize", "--quiet", packed, "-o", out],
                                  capture_output=True, text=True)
        if made.returncode:
            c.told("GGUF %s" % row["name"], "differ", made.stderr.strip())
            continue
        try:
            tensor = GGUFReader(packed).tensors[0]
            expected = dequantize(tensor.data, tensor.tensor_type)
        except (NotImplementedError, ValueError):  # this one where it does not know the type
            c.told("GGUF %s" % row["name"], "left out", "gguf has no decoder for it")
            continue
        ours = load_file(out)["x.weight"].numpy()
        differ = int((ours.view(numpy.uint32) != numpy.ascontiguousarray(expected, numpy.float32).view(numpy.uint32)).sum())
        c.told("GGUF %s, as gguf decodes it" % row["name"], "differ" if differ else "equal", differ and "%d weights" % differ or "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("qdq")
    parser.add_argument("makers", nargs="*", help="only these of: " + " ".join(MAKERS))
    arguments = parser.parse_args()
    counts = {}
    for name in arguments.makers or MAKERS:
        with tempfile.TemporaryDirectory() as directory:
            c = Comparison(os.path.abspath(arguments.qdq), directory)
            try:
                MAKERS[name](c)
            except ImportError as error:
                c.told(name, "left out", str(error))
            counts = {key: n + counts.get(key, 0) for key, n in c.counts.items()}
    print(", ".join("%d %s" % (n, key) for key, n in counts.items()))
    return min(counts["differ"], 1)


MAKERS = {f.__name__: f for f in (compressed_tensors, compressed_tensors_converters, transformers, modelopt, gptqmodel, gguf)}

if __name__ == "__main__":
    sys.exit(main())
