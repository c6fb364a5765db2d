"""Models whose weights are codes, as sources: sources_test.py PATH/TO/qdq [unittest's options]."""

import json
import math
import os
import random
import struct
import unittest

from command_support import *

LLAMA = [("general.architecture", STRING, "llama"), ("llama.block_count", U32, 1),
         ("llama.attention.head_count", U32, 4), ("llama.attention.head_count_kv", U32, 4)]


class TestQuantizedGGUF(CommandTest):
    def setUp(self):
        super().setUp()
        self.weights = {
            "token_embd.weight": ("F32", [48, 256], f32(gauss(1, 48 * 256))),
            "blk.0.attn_q.weight": ("F32", [256, 256], f32(gauss(2, 65536))),
            "blk.0.ffn_up.weight": ("F32", [259, 512], f32(gauss(3, 259 * 512))),
            "output_norm.weight": ("F32", [256], f32(gauss(4, 256))),
            "output.weight": ("F32", [48, 256], f32(gauss(5, 48 * 256))),
        }
        self.f32 = self.put("m.gguf", gguf_bytes(self.weights, LLAMA))

    def make(self, name, *arguments):
        self.done("quantize", *arguments, "-o", name, "--quiet")
        return self.path(name)

    def test_values(self):
        """Q8_0 and Q4_0 as Python decodes them; the other formats as their round trips are."""
        imatrix = self.put("i.dat", imatrix_bytes({n: (1, [1.0] * t[1][-1]) for n, t in self.weights.items() if len(t[1]) > 1}))
        for row in self.json("formats")["formats"]:
            name = row["name"]
            packed = self.make("packed.gguf", "-f", name, "--imatrix", imatrix, self.f32)
            self.done("quantize", "-f", "f32", "--allow-requantize", packed, "-o", "values.gguf", "--quiet")
            self.done("roundtrip", "-f", name, "--imatrix", imatrix, self.f32, "-o", "expected.safetensors", "--quiet")
            values, (expected, _) = read_gguf(self.path("values.gguf"))[0], read_safetensors(self.path("expected.safetensors"))
            for tensor in self.weights:
                self.assertEqual(values[tensor][0], 0)
                self.assertEqual(values[tensor][2], expected[tensor][2], (name, tensor))
            if name in ("q8_0", "q4_0"):
                for tensor, (kind, _, data) in read_gguf(packed)[0].items():
                    if kind != 0:
                        self.assertEqual(values[tensor][2], f32(dequantize(kind, data)), (name, tensor))

    def test_same_as_floats(self):
        """What is made of codes is what is made of the floats that they stand for, by every way through."""
        packed = self.make("packed.gguf", "-f", "q5_0", self.f32)
        for via in ["f32", "f16", "bf16"]:
            self.done("quantize", "-f", via, "--allow-requantize", packed, "-o", "floats.gguf", "--quiet")
            arguments = [["-f", "q4_K", "--tensor-type", "ffn_up=q3_K"], ["-f", "q8_0"], ["--preset", "Q4_K_M"], ["-f", "f16"]]
            for i, wanted in enumerate(arguments):
                out = []
                for source in [["floats.gguf"], [packed, "--allow-requantize", "--via", via]]:
                    self.done("quantize", *wanted, *source, "-o", "out.gguf", "--quiet", "--threads", 1 + i)
                    out.append(read(self.path("out.gguf")))
                self.assertEqual(out[0], out[1], (via, wanted))
            errors = [self.json("error", "-f", "q4_K,q2_K,f16,bf16", *source)
                      for source in [["floats.gguf"], [packed, "--allow-requantize", "--via", via]]]
            self.assertEqual(errors[0]["tensors"], errors[1]["tensors"])
            self.assertEqual(errors[0]["codes"], [])
            self.assertEqual(errors[1]["codes"], [{"type": "q5_0", "tensors": 4, "via": via}])
            for source, name in [(["floats.gguf"], "a"), ([packed, "--allow-requantize", "--via", via], "b")]:
                self.done("roundtrip", "-f", "q4_0", "--exclude", "attn", *source, "-o", name, "--quiet")
            a, b = [read_safetensors(self.path(name))[0] for name in "ab"]
            for tensor in self.weights:
                width = {"F32": f32, "F16": f16}.get(a[tensor][0])
                self.assertEqual(floats(*[a[tensor][i] for i in (0, 2)]), floats(*[b[tensor][i] for i in (0, 2)]), tensor)
            gradients = self.put("g.safetensors", safetensors_bytes(
                {n: ("F32", t[1], f32(gauss(9, count(t[1])))) for n, t in self.weights.items() if len(t[1]) > 1}))
            scores = [self.json("sensitivity", "--low", "q4_0", "--high", "source", "--grad", gradients, *source)["tensors"]
                      for source in [["floats.gguf"], [packed, "--allow-requantize", "--via", via]]]
            for one, other in zip(*scores):
                for key in ("name", "sensitivity", "absolute", "squared"):
                    self.assertEqual(one[key], other[key])

    def test_refused_without_being_asked(self):
        packed = self.make("packed.gguf", "-f", "q8_0", self.f32)
        self.fails(1, ["is q8_0 already", "or say --allow-requantize"], "quantize", packed, "o.gguf", "Q4_K_M")
        self.fails(1, ["nothing to quantize", "or say --allow-requantize"], "quantize", "-f", "q4_0", packed, "-o", "o.gguf")
        self.fails(1, ["nothing to measure", "or say --allow-requantize"], "error", "-f", "q4_0", packed)
        self.fails(2, "--via is f32, f16 or bf16, not 'f64'", "error", "-f", "q4_0", "--via", "f64", packed)

    def test_what_has_the_type_is_copied(self):
        packed = self.make("packed.gguf", "-f", "q8_0", self.f32)
        before = read_gguf(packed)[0]
        text = self.done("quantize", "-f", "q4_0", "--tensor-type", "attn=q8_0", "--allow-requantize", packed, "-o", "o.gguf")
        self.assertIn("4 tensors of the source are q8_0 codes, taken as weights via f32", text)
        after = read_gguf(self.path("o.gguf"))[0]
        self.assertEqual(after["blk.0.attn_q.weight"], before["blk.0.attn_q.weight"])
        self.assertEqual(after["output.weight"][0], 2)

    def test_plans(self):
        """A format that a tensor has already damages nothing, and is copied; the size is as foretold."""
        packed = self.make("packed.gguf", "-f", "q5_0", self.f32)
        wanted = ["--formats", "q5_0,q4_0,q8_0", "--allow-requantize", "--via", "bf16", "--quiet"]
        self.done("plan", "--target", "5.3bpw", *wanted, packed, "-o", "plan.json")
        plan = json.loads(read(self.path("plan.json")))
        self.assertEqual(plan["via"], "bf16")
        chosen = {t["name"]: t for t in plan["tensors"]}
        for t in plan["tensors"]:
            damages = {c["format"]: c["damage"] for c in t["choices"]}
            if damages:
                self.assertEqual(damages["q5_0"], 0)
                self.assertGreater(damages["q4_0"], 0)
        self.assertEqual({t["format"] for t in chosen.values()} - {"source"}, {"q4_0", "q5_0"})
        self.done("quantize", "--plan", "plan.json", "--allow-requantize", packed, "-o", "o.gguf", "--quiet")
        self.assertEqual(os.path.getsize(self.path("o.gguf")), plan["bytes"])
        before, after = read_gguf(packed)[0], read_gguf(self.path("o.gguf"))[0]
        for name, t in chosen.items():
            if t["format"] == "q5_0":
                self.assertEqual(after[name], before[name])

    def test_broken_codes(self):
        """A scale that is not finite is found, and where."""
        blocks = struct.pack("<e32b", 1.0, *range(32)) * 7 + struct.pack("<e32b", float("inf"), *range(32)) + \
            struct.pack("<e32b", 1.0, *range(32)) * 8
        path = self.put("broken.gguf", gguf_bytes({"a.weight": ("Q8_0", [4, 128], blocks)}, []))
        for command in (["error", "-f", "q4_0"], ["quantize", "-f", "q4_0", "-o", "o.gguf"],
                        ["quantize", "-f", "f16", "-o", "o.gguf"], ["roundtrip", "-f", "q4_0", "-o", "o.safetensors"]):
            self.fails(1, [r'"a\.weight": weight 224 \(row 1, column 96; file offset \d+\) is NaN'], *command,
                       "--allow-requantize", path)

    def test_scales_outside(self):
        """NVFP4 with a scale beside it: what its values are is not in the tensor alone."""
        path = self.put("nv.gguf", gguf_bytes(
            {"a.weight": ("NVFP4", [2, 64], bytes(72)), "a.scale": ("F32", [1], f32([0.5]))}, []))
        self.fails(1, ["a.weight", "a.scale", "multiplied"], "error", "-f", "q4_0", "--allow-requantize", path)


# ---- Codes whose scales are in other tensors, decoded by their definitions ------------------------------------------


def e4m3(code):
    sign, exponent, mantissa = (-1.0 if code & 128 else 1.0), code >> 3 & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return math.nan
    return sign * (mantissa / 512 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7))


def e8m0(code):
    return 2.0 ** (code - 127)


def single(x):
    """To the nearest float: products of codes and floats are exact in Python's."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def nearest_bf16(x):
    bits = struct.unpack("<I", struct.pack("<f", x))[0]
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def as_via(via, values):
    """The bytes of products, each rounded to a float and then to what they are taken as."""
    values = [single(v) for v in values]
    return {"f32": f32, "f16": f16, "bf16": lambda v: struct.pack("<%dH" % len(v), *map(nearest_bf16, v))}[via](values)


def numbers(seed, n, most, least=0):
    generator = random.Random(seed)
    return [generator.randint(least, most) for _ in range(n)]


def fp8_codes(seed, n):
    """All codes but the NaNs, small and large."""
    return bytes(c if c & 127 < 127 else 8 for c in numbers(seed, n, 255))


def positive(seed, n):
    return [single(abs(x) / 300 + 1e-4) for x in gauss(seed, n)]


class CodesTest(CommandTest):
    """A directory IN with model.safetensors and config.json, whose weights Python decodes."""

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("in"))

    def checkpoint(self, tensors, config=None, name="config.json"):
        self.put("in/model.safetensors", safetensors_bytes(tensors))
        for old in ("config.json", "hf_quant_config.json"):
            if os.path.exists(self.path("in/" + old)):
                os.remove(self.path("in/" + old))
        if config is not None:
            self.put("in/" + name, json.dumps(config).encode())
        return "in"

    def check(self, tensors, expected, config=None, codes=None, name="config.json"):
        """expected: name -> (shape, values). As elements, and as what quantization makes of them."""
        model = self.checkpoint(tensors, config, name)
        for via in ["f32", "f16", "bf16"]:
            if via == "f16" and max(abs(v) for _, values in expected.values() for v in values) > 65504:
                continue
            self.done("quantize", "-f", via, "--via", via, model, "-o", "o.gguf", "--quiet")
            got = read_gguf(self.path("o.gguf"))[0]
            plain = {}
            for tensor, (shape, values) in expected.items():
                raw = as_via(via, values)
                self.assertEqual(got[tensor][:2], (GGML_ID[via.upper()], shape), tensor)
                self.assertEqual(got[tensor][2], raw, (tensor, via))
                plain[tensor] = (via.upper(), shape, raw)
            self.assertEqual(set(got) - set(expected), set(got) & {"norm.weight", "plain.weight"})
            self.put("plain.safetensors", safetensors_bytes(plain))
            own = ["--include", "|".join("^%s$" % n.replace(".", "[.]") for n in expected)]
            a, b = [self.json("error", "-f", "q4_0,q8_0,f16", *source)["tensors"]
                    for source in (["plain.safetensors"], [*own, "--via", via, model])]
            self.assertEqual(a, b)
        errors = self.json("error", "-f", "q4_0", model)
        if codes:
            self.assertEqual(errors["codes"], [{"type": codes, "tensors": len(expected), "via": "bf16"}])
            self.assertIn("codes, taken as weights via bf16", self.done("error", "-f", "q4_0", model))

    def refused(self, patterns, tensors, config=None, name="config.json"):
        model = self.checkpoint(tensors, config, name)
        for command in (["error", "-f", "q4_0"], ["quantize", "-f", "q8_0", "-o", "o.gguf"],
                        ["roundtrip", "-f", "q4_0", "-o", "o.safetensors"],
                        ["plan", "--target", "5bpw", "-o", "plan.json"]):
            self.fails(1, patterns, *command, model)


FP8 = {"quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}}


class TestFP8(CodesTest):
    def blocks(self, codes, rows, columns, scales, block=(128, 128)):
        across = -(-columns // block[1])
        return [e4m3(codes[r * columns + c]) * scales[r // block[0] * across + c // block[1]]
                for r in range(rows) for c in range(columns)]

    def test_blocks(self):
        """DeepSeek's and Qwen's; the last blocks are partial in both directions."""
        codes, rows, columns = fp8_codes(1, 200 * 352), 200, 352
        for dtype, pack in [("F32", f32), ("BF16", bf16), ("F16", f16)]:
            raw = pack(positive(2, 6))
            tensors = {"a.weight": ("F8_E4M3", [rows, columns], codes), "a.weight_scale_inv": (dtype, [2, 3], raw),
                       "norm.weight": ("BF16", [64], bf16(gauss(3, 64))), "a.input_scale": ("F32", [1], f32([1.0]))}
            expected = {"a.weight": ([rows, columns], self.blocks(codes, rows, columns, floats(dtype, raw)))}
            for config in (FP8, None):
                self.check(tensors, expected, config, "F8_E4M3 with %s scales of 128 x 128" % dtype)

    def test_block_sizes(self):
        """Of exponents, in blocks of 32 x 32, in rows of 32, and of a size that only the configuration has."""
        codes, exponents = fp8_codes(4, 96 * 64), bytes(numbers(5, 200, 130, 110))
        for block, shape, config in [((32, 32), [3, 2], None), ((1, 32), [96, 2], None),
                                     ((48, 16), [2, 4], {"quantization_config": {"quant_method": "fp8", "weight_block_size": [48, 16]}})]:
            n = shape[0] * shape[1]
            tensors = {"a.weight": ("F8_E4M3", [96, 64], codes), "a.weight_scale_inv": ("F8_E8M0", shape, exponents[:n])}
            expected = {"a.weight": ([96, 64], self.blocks(codes, 96, 64, [e8m0(c) for c in exponents], block))}
            self.check(tensors, expected, config, "F8_E4M3 with F8_E8M0 scales of %d x %d" % block)
        tensors["a.scale"] = tensors.pop("a.weight_scale_inv")  # DeepSeek-V4's name
        self.check(tensors, expected, config)

    def test_experts(self):
        """Stacks: each matrix has blocks of its own, or one scale, or all have one."""
        codes, scales = fp8_codes(6, 3 * 130 * 64), positive(7, 3 * 2)
        size = 130 * 64
        for shape, of in [([3, 2, 1], lambda e, r: scales[2 * e + r // 128]), ([3, 1, 1], lambda e, r: scales[e]),
                          ([3], lambda e, r: scales[e]), ([1], lambda e, r: scales[0]), ([], lambda e, r: scales[0]),
                          ([3, 130, 1], lambda e, r: many[130 * e + r])]:
            many = positive(8, 390)
            raw = f32((many if shape == [3, 130, 1] else scales)[:count(shape)])
            tensors = {"gate_up_proj": ("F8_E4M3", [3, 130, 64], codes), "gate_up_proj_scale_inv": ("F32", shape, raw)}
            values = [e4m3(codes[i]) * of(i // size, i % size // 64) for i in range(len(codes))]
            self.check(tensors, {"gate_up_proj": ([3, 130, 64], values)}, FP8)

    def test_rows_and_tensors(self):
        """compressed-tensors, ModelOpt, Mistral; also I8."""
        codes, scales = fp8_codes(9, 24 * 64), positive(10, 24)
        config = {"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {
            "group_0": {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}}}}
        for end, shape, conf in [("_scale", [24, 1], config), ("_scale", [24], config), ("_scale", [1], config), ("_scale", [], config),
                                 ("_scale_inv", [], {"quantization_config": {"quant_method": "fp8", "weight_block_size": None}})]:
            used = bf16(scales[:count(shape)])
            of = floats("BF16", used)
            tensors = {"a.weight": ("F8_E4M3", [24, 64], codes), "a.weight" + end: ("BF16", shape, used)}
            values = [e4m3(c) * of[i // 64 if len(of) > 1 else 0] for i, c in enumerate(codes)]
            self.check(tensors, {"a.weight": ([24, 64], values)}, conf,
                       "F8_E4M3 with BF16 scales of a " + ("row" if len(of) > 1 else "tensor"))
        tensors["a.qscale_weight"] = tensors.pop("a.weight_scale_inv")
        tensors["a.qscale_act"] = ("F32", [], f32([1]))
        self.check(tensors, {"a.weight": ([24, 64], values)}, None)
        self.check({"a.weight": ("F8_E4M3", [24, 64], codes), "a.weight_scale": ("F32", [], f32([0.25]))},
                   {"a.weight": ([24, 64], [e4m3(c) / 4 for c in codes])},
                   {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}, name="hf_quant_config.json")
        self.check({"a.weight": ("I8", [24, 64], codes), "a.weight_scale": ("F32", [24, 1], f32(scales))},
                   {"a.weight": ([24, 64], [struct.unpack("b", bytes([c]))[0] * scales[i // 64] for i, c in enumerate(codes)])},
                   None, "I8 with F32 scales of a row")
        zeros = list(range(-128, 112, 10))
        tensors = {"a.weight": ("I8", [24, 64], codes), "a.weight_scale": ("F32", [24, 1], f32(scales)),
                   "a.weight_zero_point": ("I8", [24, 1], struct.pack("<24b", *zeros))}
        self.check(tensors, {"a.weight": ([24, 64], [(struct.unpack("b", bytes([c]))[0] - zeros[i // 64]) * scales[i // 64]
                                                     for i, c in enumerate(codes)])}, None, "I8 with F32 scales and zeros of a row")
        for bad in (("I8", [23, 1], bytes(23)), ("U8", [24, 1], bytes(24))):
            self.refused(["a zero of type I8 is wanted for each scale"], dict(tensors, **{"a.weight_zero_point": bad}))

    def test_refused(self):
        codes = fp8_codes(11, 256 * 128)
        weight = ("F8_E4M3", [256, 128], codes)
        scale = ("F32", [2, 1], f32([0.5, 0.25]))
        self.refused(['"a.weight" holds F8_E4M3 codes, and there is no scale'], {"a.weight": weight}, FP8)
        self.refused(['"b.weight" holds F8_E4M3', "no scale"], {"a.weight": weight, "a.weight_scale_inv": scale, "b.weight": weight}, FP8)
        self.refused(['"b.weight_scale_inv" belongs to codes, and there are none'],
                     {"a.weight": weight, "a.weight_scale_inv": scale, "b.weight_scale_inv": scale}, FP8)
        self.refused(['"a.weight" is 256 x 128', '"a.weight_scale_inv" 3 x 1', "neither blocks"],
                     {"a.weight": weight, "a.weight_scale_inv": ("F32", [3, 1], f32([1, 1, 1]))}, FP8)
        self.refused(['"a.weight_scale_inv" 4 x 2 x 1'],
                     {"a.weight": weight, "a.weight_scale_inv": ("F32", [4, 2, 1], f32([1] * 8))}, FP8)
        self.refused(['"a.weight_scale_inv" of type I32'],
                     {"a.weight": weight, "a.weight_scale_inv": ("I32", [2, 1], bytes(8))}, FP8)
        # Four ranks of 72 rows, each with a block of 64 of its own behind a whole one.
        stacked = {"a.weight": ("F8_E4M3", [4 * 136, 32], bytes(4 * 136 * 32)), "a.weight_scale_inv": ("F32", [8, 1], f32([1] * 8))}
        self.refused(["4 tensor-parallel ranks that were stacked"], stacked, FP8)
        for method in ("bitsandbytes", "hqq", "x" * 100, "\x1b[31m"):
            self.refused(['config.json: the model is quantized with the method "', "not read"], {"a.weight": weight, "a.weight_scale_inv": scale},
                         {"quantization_config": {"quant_method": method}})
        self.refused(["compressed-tensors' format \"marlin-24\""], {"a.weight": weight},
                     {"quantization_config": {"quant_method": "compressed-tensors", "format": "marlin-24"}})
        self.refused(["ModelOpt's \"W4A8_AWQ\""], {"a.weight": weight},
                     {"quantization": {"quant_algo": "W4A8_AWQ"}}, name="hf_quant_config.json")
        self.refused(['FP8 of the kind "e5m2"'], {"a.weight": weight}, {"quantization_config": {"quant_method": "fp8", "fmt": "e5m2"}})
        self.refused(["no \\[rows, columns\\]"], {"a.weight": weight},
                     {"quantization_config": {"quant_method": "fp8", "weight_block_size": [0, 128]}})
        os.remove(self.path("in/config.json"))
        self.put("in/config.json", b"{")
        self.fails(1, "config.json: not JSON", "error", "-f", "q4_0", "in")

    def test_not_numbers(self):
        """The codes 0x7f and 0xff, and scales, that are no numbers, where they are."""
        for at, code in [(130, 0x7F), (255, 0xFF)]:
            codes = bytearray(fp8_codes(12, 4 * 128))
            codes[at] = code
            model = self.checkpoint({"a.weight": ("F8_E4M3", [4, 128], bytes(codes)), "a.weight_scale_inv": ("F32", [1, 1], f32([1]))}, FP8)
            for command in (["error", "-f", "q4_0"], ["quantize", "-f", "q8_0", "-o", "o.gguf"], ["quantize", "-f", "bf16", "-o", "o.gguf"]):
                self.fails(1, [r'"a\.weight": weight %d \(row 1, column %d; file offset \d+\) is NaN' % (at, at - 128)], *command, model)
        model = self.checkpoint({"a.weight": ("F8_E4M3", [4, 128], fp8_codes(13, 512)), "a.weight_scale_inv": ("F8_E8M0", [1, 1], b"\xff")}, FP8)
        self.fails(1, "weight 0 .* is NaN", "error", "-f", "q4_0", model)
        model = self.checkpoint({"a.weight": ("F8_E4M3", [4, 128], b"\x70" * 512), "a.weight_scale_inv": ("F32", [1, 1], f32([1e4]))}, FP8)
        self.fails(1, "weight 0 .* is infinite", "error", "-f", "q4_0", "--via", "f16", model)
        self.done("error", "-f", "q4_0", model)

    def test_plain_models_stay(self):
        """F8 without any scale in the model, and without a configuration, is passed over as ever."""
        self.put("p.safetensors", safetensors_bytes({"a.weight": ("F8_E4M3", [4, 32], bytes(128)), "b.weight": ("F32", [4, 32], f32(gauss(1, 128)))}))
        text = self.done("error", "-f", "q4_0", "p.safetensors")
        self.assertIn("holds codes whose scales are in other tensors", text)

    def test_what_stays_is_decoded(self):
        """A tensor that gets no format is written as the weights that it stands for: GGUF has no FP8."""
        codes = fp8_codes(14, 8 * 64)
        model = self.checkpoint({"a.weight": ("F8_E4M3", [8, 64], codes), "a.weight_scale_inv": ("F32", [], f32([0.5])),
                            "b.weight": ("F8_E4M3", [8, 64], codes), "b.weight_scale_inv": ("F32", [], f32([0.5]))}, FP8)
        values = [e4m3(c) / 2 for c in codes]
        self.done("quantize", "-f", "q8_0", "--exclude", "^b", model, "-o", "o.gguf", "--quiet")
        got = read_gguf(self.path("o.gguf"))[0]
        self.assertEqual((got["a.weight"][0], got["b.weight"][0], got["b.weight"][2]), (8, 30, as_via("bf16", values)))
        self.done("roundtrip", "-f", "q8_0", "--exclude", "^b", model, "-o", "o.safetensors", "--quiet")
        got = read_safetensors(self.path("o.safetensors"))[0]
        self.assertEqual((sorted(got), got["b.weight"]), (["a.weight", "b.weight"], ("BF16", [8, 64], as_via("bf16", values))))
        self.done("plan", "--target", "12.5bpw", "--formats", "q8_0,source", model, "-o", "plan.json", "--quiet")
        plan = json.loads(read(self.path("plan.json")))
        self.assertEqual((plan["via"], sorted(t["format"] for t in plan["tensors"])), ("bf16", ["q8_0", "source"]))
        self.done("quantize", "--plan", "plan.json", model, "-o", "o.gguf", "--quiet")
        self.assertEqual(os.path.getsize(self.path("o.gguf")), plan["bytes"])

    def test_rows_of_the_checkpoint(self):
        """Codes tell in which order the rows of gradients stand, as floats do."""
        codes = fp8_codes(17, 16 * 64)
        values = [e4m3(c) / 2 for c in codes]
        name = "model.layers.0.self_attn.q_proj.weight"
        hf = self.checkpoint({name: ("F8_E4M3", [16, 64], codes), name + "_scale_inv": ("F32", [], f32([0.5]))},
                             dict(FP8, architectures=["LlamaForCausalLM"]))
        moved = [values[64 * (r - r % 8 + r % 8 % 2 * 4 + r % 8 // 2) + c] for r in range(16) for c in range(64)]
        model = self.put("m.gguf", gguf_bytes({"blk.0.attn_q.weight": ("BF16", [16, 64], as_via("bf16", moved))}, [
            ("general.architecture", STRING, "llama"), ("llama.attention.head_count", U32, 2), ("llama.attention.head_count_kv", U32, 2)]))
        gradient = gauss(18, 1024)
        gradients = self.put("g.safetensors", safetensors_bytes({name: ("F32", [16, 64], f32(gradient))}))
        turned = [gradient[64 * (r - r % 8 + r % 8 % 2 * 4 + r % 8 // 2) + c] for r in range(16) for c in range(64)]
        other = self.put("h.safetensors", safetensors_bytes({"blk.0.attn_q.weight": ("F32", [16, 64], f32(turned))}))
        plans = []
        for arguments in (["--grad", gradients, "--hf", hf], ["--grad", other]):
            self.done("plan", "--target", "6bpw", "--formats", "q4_0,q8_0,q5_0", *arguments, model, "-o", "p.json", "--quiet")
            plans.append(json.loads(read(self.path("p.json")))["tensors"])
        self.assertEqual(*plans)

    def test_gradients(self):
        codes = fp8_codes(15, 8 * 64)
        model = self.checkpoint({"a.weight": ("F8_E4M3", [8, 64], codes), "a.weight_scale_inv": ("F32", [], f32([0.5]))}, FP8)
        self.put("plain.safetensors", safetensors_bytes({"a.weight": ("BF16", [8, 64], as_via("bf16", [e4m3(c) / 2 for c in codes]))}))
        gradients = self.put("g.safetensors", safetensors_bytes({"a.weight": ("F32", [8, 64], f32(gauss(16, 512)))}))
        a, b = [self.json("sensitivity", "--low", "q4_0", "--high", "source", "--grad", gradients, m) for m in (model, "plain.safetensors")]
        self.assertEqual(a["tensors"], b["tensors"])


E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]


def nibbles(raw):
    return [n for byte in raw for n in (byte & 15, byte >> 4)]


def pack_words(codes, rows, columns, bits):
    """Along rows, from the lowest bits on, over the ends of words; each row begins a word."""
    words = -(-columns * bits // 32)
    return b"".join(sum(code << bits * i for i, code in enumerate(codes[r * columns:(r + 1) * columns])).to_bytes(4 * words, "little")
                    for r in range(rows))


def pack_down(codes, rows, columns, bits):
    """The same down the columns."""
    turned = pack_words([codes[r * columns + c] for c in range(columns) for r in range(rows)], columns, rows, bits)
    words = len(turned) // 4 // columns
    return b"".join(turned[(c * words + w) * 4:][:4] for w in range(words) for c in range(columns))


class TestFP4(CodesTest):
    def values(self, raw, scales, group):
        return [E2M1[n] * scales[i // group] for i, n in enumerate(nibbles(raw))]

    def test_mxfp4(self):
        raw, exponents = bytes(numbers(1, 24 * 48, 255)), bytes(numbers(2, 24 * 3, 140, 110))
        values = self.values(raw, [e8m0(c) for c in exponents], 32)
        tensor = {"a.weight": ([24, 96], values)}
        packed = ("U8", [24, 48], raw)
        compressed = {"quantization_config": {"quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized"}}
        for dtype in ("U8", "F8_E8M0"):
            scale = (dtype, [24, 3], exponents)
            self.check({"a.weight_packed": packed, "a.weight_scale": scale}, tensor, compressed, "MXFP4")
            self.check({"a.weight": packed, "a.weight_scale": scale}, tensor)
            self.check({"a.weight": ("I8", [24, 48], raw), "a.scale": scale}, tensor)  # DeepSeek-V4's experts
        gpt_oss = {"mlp.experts.gate_up_proj_blocks": ("U8", [2, 12, 3, 16], raw), "mlp.experts.gate_up_proj_scales": ("U8", [2, 12, 3], exponents)}
        self.check(gpt_oss, {"mlp.experts.gate_up_proj": ([2, 12, 96], values)}, {"quantization_config": {"quant_method": "mxfp4"}}, "MXFP4")
        exponents = bytes([255]) + exponents[1:]
        model = self.checkpoint({"a.weight": packed, "a.weight_scale": ("U8", [24, 3], exponents)})
        self.fails(1, "weight 0 .* is NaN", "error", "-f", "q4_0", model)

    def test_nvfp4(self):
        raw, codes = bytes(numbers(3, 24 * 32, 255)), bytes(numbers(4, 24 * 4, 126))
        scale = ("F8_E4M3", [24, 4], codes)
        for outer in (single(1 / 2688 * 1.7), 1.0, 2.0 ** -20):
            scales = [single(e4m3(c) * outer) for c in codes]
            self.check({"a.weight": ("U8", [24, 32], raw), "a.weight_scale": scale, "a.weight_scale_2": ("F32", [], f32([outer])),
                        "a.input_scale": ("F32", [], f32([1]))}, {"a.weight": ([24, 64], self.values(raw, scales, 16))},
                       {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, "NVFP4")
        many = [single(0.001 * (1 + e)) for e in range(3)]
        scales = [single(e4m3(c) * many[i // 32]) for i, c in enumerate(codes)]
        self.check({"w": ("U8", [3, 8, 32], raw), "w_scale": ("F8_E4M3", [3, 8, 4], codes), "w_scale_2": ("F32", [3], f32(many))},
                   {"w": ([3, 8, 64], self.values(raw, scales, 16))})
        # compressed-tensors' divides. A quotient of two floats, rounded in Python and then again, is rounded rightly.
        outer = single(2688 / 1.7)
        scales = [single(e4m3(c) / outer) for c in codes]
        self.check({"a.weight_packed": ("U8", [24, 32], raw), "a.weight_scale": scale, "a.weight_global_scale": ("F32", [1], f32([outer]))},
                   {"a.weight": ([24, 64], self.values(raw, scales, 16))},
                   {"quantization_config": {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}}, "NVFP4")

    def test_refused(self):
        raw, codes = bytes(numbers(5, 24 * 32, 255)), bytes(numbers(6, 24 * 4, 126))
        packed, scale = ("U8", [24, 32], raw), ("F8_E4M3", [24, 4], codes)
        outer = lambda x: ("F32", [1], f32([x]))
        self.refused(["reciprocal", '"a.weight_scale_2" is 1500'], {"a.weight": packed, "a.weight_scale": scale, "a.weight_scale_2": outer(1500)})
        self.refused(["reciprocal", '"a.weight_global_scale" is 0.0'],
                     {"a.weight_packed": packed, "a.weight_scale": scale, "a.weight_global_scale": outer(0.001)})
        for bad in (0.0, -1.0, math.nan, math.inf):
            self.refused(['"a.weight_scale_2"', "an outer scale is over 0"], {"a.weight": packed, "a.weight_scale": scale, "a.weight_scale_2": outer(bad)})
        self.refused(["want an outer scale"], {"a.weight_packed": packed, "a.weight_scale": scale})
        self.refused(["do not go with an outer scale"],
                     {"a.weight_packed": packed, "a.weight_scale": ("U8", [24, 2], bytes(48)), "a.weight_global_scale": outer(9)})
        self.refused(["NVFP4 has a scale for 16 codes"], {"a.weight": packed, "a.weight_scale": ("F8_E4M3", [24, 3], codes[:72]), "a.weight_scale_2": outer(0.1)})
        self.refused(["MXFP4 has a scale for 32 codes"], {"a.weight_packed": packed, "a.weight_scale": ("U8", [24, 4], bytes(96))})
        self.refused(["_global_scale", "only packed"], {"a.weight": packed, "a.weight_scale": scale, "a.weight_global_scale": outer(9)})
        self.refused(["not F32"], {"a.weight": packed, "a.weight_scale": scale, "a.weight_scale_2": ("BF16", [], bf16([0.5]))})
        self.refused(["one number is wanted, or one a matrix"], {"a.weight": packed, "a.weight_scale": scale, "a.weight_scale_2": ("F32", [2], f32([0.5, 0.5]))})
        self.refused(['"a_blocks" holds U8', "_scales"], {"a_blocks": ("U8", [2, 3, 16], bytes(96))})
        self.refused(["a scale is wanted for each 16 bytes"], {"a_blocks": ("U8", [2, 3, 16], bytes(96)), "a_scales": ("U8", [2, 2], bytes(4))})
        self.refused(["is there as well"], {"a.weight_packed": packed, "a.weight_scale": ("U8", [24, 2], bytes(48)), "a.weight": ("BF16", [1], bytes(2))})
        self.refused(["of no layout that is read"], {"a.weight": packed, "a.weight_scale": ("F32", [24, 1], f32([1] * 24))})


class TestPacked(CodesTest):
    CONFIG = {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {
        "group_0": {"weights": {"num_bits": 4, "group_size": 32, "strategy": "group", "symmetric": True, "type": "int"}}}}}

    small = 99  # makes scales that no F16 has

    def parts(self, rows, columns, bits, groups, seed=1):
        codes = numbers(seed, rows * columns, 2 ** bits - 1)
        words = -(-columns * bits // 32)
        scales = bf16([x / self.small for x in positive(seed + 1, rows * groups)])
        return codes, {"a.weight_packed": ("I32", [rows, words], pack_words(codes, rows, columns, bits)),
                       "a.weight_scale": ("BF16", [rows, groups], scales),
                       "a.weight_shape": ("I64", [2], struct.pack("<2q", rows, columns))}, floats("BF16", scales)

    def test_groups(self):
        for rows, columns, bits, groups, what in [(24, 96, 4, 3, "32"), (24, 96, 8, 3, "32"), (7, 100, 4, 1, "a row"), (5, 64, 2, 2, "32"),
                                                  (6, 3072, 4, 24, "128"), (5, 96, 1, 3, "32"), (5, 96, 3, 3, "32"), (5, 101, 3, 1, "a row"),
                                                  (5, 96, 5, 3, "32"), (5, 107, 6, 1, "a row"), (5, 96, 7, 1, "a row")]:
            codes, tensors, scales = self.parts(rows, columns, bits, groups)
            values = [(c - 2 ** (bits - 1)) * scales[i // (columns // groups)] for i, c in enumerate(codes)]
            self.check(tensors, {"a.weight": ([rows, columns], values)}, self.CONFIG, "INT%d with BF16 scales of %s" % (bits, what))
        tensors["a.weight_shape"] = ("I32", [2], struct.pack("<2i", rows, columns))
        self.check(tensors, {"a.weight": ([rows, columns], values)})

    def test_zeros_and_order(self):
        rows, columns = 43, 96
        for bits in (3, 8, 1, 5, 4):
            codes, tensors, scales = self.parts(rows, columns, bits, 3)
            zeros = numbers(9, rows * 3, 2 ** bits - 1)
            tensors["a.weight_zero_point"] = ("I32", [-(-rows * bits // 32), 3], pack_down(zeros, rows, 3, bits))
            values = [(c - zeros[i // 32]) * scales[i // 32] for i, c in enumerate(codes)]
            self.check(tensors, {"a.weight": ([rows, columns], values)}, self.CONFIG, "INT%d with BF16 scales and zeros of 32" % bits)
        tensors["a.weight_g_idx"] = ("I32", [columns], struct.pack("<96i", *[-1] * 96))
        self.check(tensors, {"a.weight": ([rows, columns], values)}, self.CONFIG)
        order = [i % 3 for i in range(96)]
        tensors["a.weight_g_idx"] = ("I32", [columns], struct.pack("<96i", *order))
        at = lambda i: i // 96 * 3 + order[i % 96]
        values = [(c - zeros[at(i)]) * scales[at(i)] for i, c in enumerate(codes)]
        self.check(tensors, {"a.weight": ([rows, columns], values)}, self.CONFIG)

    def test_refused(self):
        codes, good, scales = self.parts(24, 96, 4, 3)
        def but(**changes):
            tensors = dict(good)
            for name, value in changes.items():
                if value is None:
                    del tensors["a.weight_" + name]
                else:
                    tensors["a.weight_" + name] = value
            return tensors
        self.refused(['"a.weight_packed" holds I32', '"_scale"'], but(scale=None))
        self.refused(['"a.weight_packed" holds I32', '"_shape"'], but(shape=None))
        for shape in ((23, 96), (24, 0), (24, -96), (24, 2 ** 62), (0, 96)):
            self.refused(["two numbers are wanted"], but(shape=("I64", [2], struct.pack("<2q", *shape))))
        self.refused(["88 columns in 12 words a row", "not codes of 1 to 8 bits"], but(shape=("I64", [2], struct.pack("<2q", 24, 88))))
        self.refused(["a scale is wanted for each group"], but(scale=("BF16", [23, 3], bytes(138))))
        self.refused(["a scale is wanted for each group"], but(scale=("BF16", [24, 5], bytes(240))))
        self.refused(["zeros are wanted packed"], but(zero_point=("I32", [24, 3], bytes(288))))
        for order in ([0] * 95 + [3], [-1] * 95 + [0], [0, -1] * 48, [-2] * 96):
            self.refused(["is of group -?\\d+ in", "there are 3 groups"], but(g_idx=("I32", [96], struct.pack("<96i", *order))))
        self.refused(["for each column"], but(g_idx=("I32", [95], bytes(380))))
        self.refused(['"b.weight_shape" belongs to codes'], dict(good, **{"b.weight_shape": good["a.weight_shape"]}))


MXFP4, NVFP4 = 39, 40
GGML_ID.update({"MXFP4": MXFP4, "NVFP4": NVFP4})
BLOCK.update({MXFP4: (32, 17), NVFP4: (64, 36), 11: (256, 110), 12: (256, 144)})


def halves(data):
    """The codes of ggml's bytes: all low halves, then all high ones."""
    return [b & 15 for b in data] + [b >> 4 for b in data]


def block_values(kind, data):
    """What blocks are, by ggml's definitions."""
    if kind == GGML_ID["Q4_0"]:
        return dequantize(kind, data)
    out = []
    for at in range(0, len(data), BLOCK[kind][1]):
        block = data[at:at + BLOCK[kind][1]]
        if kind == MXFP4:
            out += [E2M1[c] * e8m0(block[0]) for c in halves(block[1:])]
        else:
            for s in range(4):
                out += [E2M1[c] * e4m3(block[s]) for c in halves(block[4 + 8 * s:12 + 8 * s])]
    return out


class TestKeepCodes(TestPacked):
    test_groups = test_zeros_and_order = test_refused = None
    small = 1

    def kept(self, tensors, expected, kind, *arguments):
        """The blocks have the codes' own values."""
        model = self.checkpoint(tensors)
        text = self.done("quantize", "-f", "q8_0", "--keep-codes", model, "-o", "o.gguf", *arguments)
        self.assertIn("1 tensor keeps the codes that the source has", text)
        got = read_gguf(self.path("o.gguf"))[0]
        for name, (shape, values) in expected.items():
            self.assertEqual(got[name][:2], (kind, shape))
            self.assertEqual(block_values(kind, got[name][2]), values)
        return got

    def test_integers(self):
        for columns, groups in [(96, 3), (128, 2), (64, 1), (4096, 128)]:
            codes, tensors, scales = self.parts(24, columns, 4, groups)
            tensors["plain.weight"] = ("BF16", [4, 64], bf16(gauss(3, 256)))
            values = [(c - 8) * scales[i // (columns // groups)] for i, c in enumerate(codes)]
            got = self.kept(tensors, {"a.weight": ([24, columns], values)}, GGML_ID["Q4_0"])
            self.assertEqual(got["plain.weight"][0], GGML_ID["Q8_0"])
        r = self.json("quantize", "--dry-run", "-f", "q8_0", "--keep-codes", "in")
        self.assertEqual((r["kept"], [(e["name"], e["format"], e["reason"]) for e in r["exceptions"]]),
                         (1, [("a.weight", "q4_0", "its own codes")]))
        for one in range(1, 4):
            self.done("quantize", "-f", "q8_0", "--keep-codes", "in", "-o", "parts.gguf", "--part", "%d/3" % one)
        self.done("join", "parts.gguf")
        self.assertEqual(read(self.path("parts.gguf")), read(self.path("o.gguf")))

    def test_fours(self):
        raw, exponents = bytes(numbers(1, 24 * 48, 255)), bytes(numbers(2, 24 * 3, 250))
        values = [E2M1[n] * e8m0(exponents[i // 32]) for i, n in enumerate(nibbles(raw))]
        self.kept({"a.weight_packed": ("U8", [24, 48], raw), "a.weight_scale": ("U8", [24, 3], exponents)},
                  {"a.weight": ([24, 96], values)}, MXFP4)
        self.kept({"a_blocks": ("U8", [2, 12, 3, 16], raw), "a_scales": ("U8", [2, 12, 3], exponents)}, {"a": ([2, 12, 96], values)}, MXFP4)
        raw, codes = raw[:24 * 32], bytes(numbers(4, 24 * 4, 126))
        values = [E2M1[n] * e4m3(codes[i // 16]) for i, n in enumerate(nibbles(raw))]
        packed, scale, outer = ("U8", [24, 32], raw), ("F8_E4M3", [24, 4], codes), single(1 / 1700)
        got = self.kept({"a.weight": packed, "a.weight_scale": scale, "a.weight_scale_2": ("F32", [], f32([outer]))},
                        {"a.weight": ([24, 64], values)}, NVFP4)
        self.assertEqual(got["a.scale"], (0, [1], f32([outer])))
        got = self.kept({"a.weight_packed": packed, "a.weight_scale": scale, "a.weight_global_scale": ("F32", [1], f32([1024]))},
                        {"a.weight": ([24, 64], values)}, NVFP4)
        self.assertEqual(got["a.scale"], (0, [1], f32([1 / 1024])))
        got = self.kept({"e": ("U8", [3, 8, 32], raw), "e_scale": ("F8_E4M3", [3, 8, 4], codes), "e_scale_2": ("F32", [3], f32([.5, .25, 1]))},
                        {"e": ([3, 8, 64], values)}, NVFP4)
        self.assertEqual(got["e.scale"], (0, [3], f32([.5, .25, 1])))
        tensors = {"a.weight_packed": packed, "a.weight_scale": scale, "a.weight_global_scale": ("F32", [1], f32([1700]))}
        self.fails(1, ['"a.weight_packed": all its 1536 weights could change', "1 / 1700"], "quantize", "-f", "q8_0", "--keep-codes",
                   self.checkpoint(tensors), "-o", "o2.gguf")
        self.checkpoint({"a.weight": packed, "a.weight_scale": scale, "a.weight_scale_2": ("F32", [], f32([outer]))})
        self.fails(1, ['"a.weight" has an outer scale', "excluded"], "quantize", "-f", "q8_0", "--keep-codes", "--exclude", "^a.weight",
                   "in", "-o", "o2.gguf")

    def test_what_would_change(self):
        codes, tensors, scales = self.parts(24, 96, 4, 3)
        few = [2.0 ** -30 if i in (5, 40) else 0.5 for i in range(72)]
        tensors["a.weight_scale"] = ("BF16", [24, 3], bf16(few))
        changed = sum(c != 8 for i, c in enumerate(codes) if i // 32 in (5, 40))
        command = ["quantize", "-f", "q8_0", "--keep-codes", "-o", "o.gguf"]
        self.fails(1, ['"a.weight": %d of its 2304 weights would change if q4_0' % changed], *command, self.checkpoint(tensors))
        raw, exponents = bytes(numbers(1, 24 * 48, 255)), bytes([255, 254, 120] * 24)
        changed = sum(i // 32 % 3 == 0 or (i // 32 % 3 == 1 and abs(E2M1[n]) >= 2) for i, n in enumerate(nibbles(raw)))
        self.fails(1, ["%d of its 2304 weights would change if mxfp4" % changed], *command,
                   self.checkpoint({"a.weight_packed": ("U8", [24, 48], raw), "a.weight_scale": ("U8", [24, 3], exponents)}))
        codes = bytes([127, 255, 129, 128, 8, 9] * 16)
        raw = raw[:24 * 32]
        changed = sum(i // 16 % 6 < 2 or (i // 16 % 6 == 2 and n % 8 != 0) for i, n in enumerate(nibbles(raw)))
        self.fails(1, ["%d of its 1536 weights would change if nvfp4" % changed], *command, self.checkpoint(
            {"a.weight": ("U8", [24, 32], raw), "a.weight_scale": ("F8_E4M3", [24, 4], codes), "a.weight_scale_2": ("F32", [], f32([0.5]))}))

    def test_what_is_not_kept(self):
        """Zeros, an order, 8 bits: these get the format that is asked for."""
        for more in ({"a.weight_zero_point": ("I32", [3, 3], bytes(36))}, {"a.weight_g_idx": ("I32", [96], struct.pack("<96i", *[i % 3 for i in range(96)]))}):
            model = self.checkpoint(dict(self.parts(24, 96, 4, 3)[1], **more))
            self.assertIn("No tensor has codes", self.done("quantize", "-f", "q8_0", "--keep-codes", model, "-o", "o.gguf"))
            self.assertEqual(read_gguf(self.path("o.gguf"))[0]["a.weight"][0], GGML_ID["Q8_0"])

    def test_plans(self):
        """To keep codes is a choice without damage; what the plan says is made, without a word."""
        codes, tensors, scales = self.parts(64, 256, 4, 8)
        tensors["plain.weight"] = ("BF16", [64, 256], bf16(gauss(3, 64 * 256)))
        model = self.checkpoint(tensors)
        for formats in ("q4_K,q3_K", "q4_0,q4_K,q3_K"):
            self.done("plan", "--target", "4.5bpw", "--formats", formats, "--keep-codes", model, "-o", "plan.json", "--quiet")
            plan = json.loads(read(self.path("plan.json")))
            chosen = {t["name"]: t for t in plan["tensors"]}
            self.assertEqual((plan["keep_codes"], chosen["a.weight"]["format"]), (True, "q4_0"))
            self.assertEqual({c["format"]: c["damage"] for c in chosen["a.weight"]["choices"]}["q4_0"], 0)
            self.assertIn(formats, ("q4_0,q4_K,q3_K" if "q4_0" in [c["format"] for c in chosen["plain.weight"]["choices"]] else "q4_K,q3_K", ))
            self.done("quantize", "--plan", "plan.json", model, "-o", "o.gguf", "--quiet")
            self.assertEqual(os.path.getsize(self.path("o.gguf")), plan["bytes"])
            got = read_gguf(self.path("o.gguf"))[0]["a.weight"]
            self.assertEqual(dequantize(got[0], got[2]), [(c - 8) * scales[i // 32] for i, c in enumerate(codes)])
        self.done("plan", "--target", "4.5bpw", "--formats", "q4_0,q4_K,q3_K", model, "-o", "plan.json", "--quiet")
        choices = json.loads(read(self.path("plan.json")))["tensors"][0]["choices"]
        self.assertGreater({c["format"]: c["damage"] for c in choices}["q4_0"], 0)
        self.fails(2, "keeps no codes", "plan", "--target", "4.5bpw", "--keep-codes", "--recipe", "r.txt", model, "-o", "p.json")
        self.fails(2, "qdq plan --keep-codes", "quantize", "--plan", "plan.json", "--keep-codes", model, "-o", "o2.gguf")

    def test_like(self):
        """Rows that a conversion moves, and experts that it stacks, keep their codes: as the same of floats has them."""
        config = {"architectures": ["MixtralForCausalLM"], "quantization_config": self.CONFIG["quantization_config"]}
        names = ["self_attn.q_proj"] + ["block_sparse_moe.experts.%d.w1" % e for e in range(3)]
        tensors, plain = {}, {}
        for seed, name in enumerate(names):
            codes, parts, scales = self.parts(16, 64, 4, 2, 20 + 3 * seed)
            name = "model.layers.0.%s.weight" % name
            tensors.update({k.replace("a.weight", name): v for k, v in parts.items()})
            plain[name] = ("F32", [16, 64], f32([(c - 8) * scales[i // 32] for i, c in enumerate(codes)]))
        os.mkdir(self.path("plain"))
        self.put("plain/model.safetensors", safetensors_bytes(plain))
        self.put("plain/config.json", json.dumps({"architectures": config["architectures"]}).encode())
        metadata = [("general.architecture", STRING, "llama"), ("llama.block_count", U32, 1), ("llama.expert_count", U32, 3),
                    ("llama.attention.head_count", U32, 2), ("llama.attention.head_count_kv", U32, 2)]
        rows = floats("F32", plain["model.layers.0.self_attn.q_proj.weight"][2])
        moved = [rows[64 * (r - r % 8 + r % 8 % 2 * 4 + r % 8 // 2) + c] for r in range(16) for c in range(64)]
        stacked = b"".join(plain["model.layers.0.block_sparse_moe.experts.%d.w1.weight" % e][2] for e in range(3))
        template = self.put("t.gguf", gguf_bytes({"blk.0.attn_q.weight": ("F32", [16, 64], f32(moved)),
                                                  "blk.0.ffn_gate_exps.weight": ("F32", [3, 16, 64], stacked)}, metadata))
        self.done("quantize", "--like", template, "-f", "q8_0", "--keep-codes", "--via", "f32", self.checkpoint(tensors, config), "-o", "o.gguf", "--quiet")
        got = read_gguf(self.path("o.gguf"))[0]
        for name, values in [("blk.0.attn_q.weight", moved), ("blk.0.ffn_gate_exps.weight", floats("F32", stacked))]:
            self.assertEqual(got[name][0], GGML_ID["Q4_0"])
            self.assertEqual(block_values(*[got[name][i] for i in (0, 2)]), values)


class TestColumns(CodesTest):
    """GPTQ and AWQ: matrices that stand as columns."""

    def parts(self, rows, columns, bits, groups, awq=False):
        """[columns][rows] of codes, [groups][rows] of zeros and scales, and the tensors."""
        most = 2 ** bits - 1
        codes, zeros = numbers(1, rows * columns, most), numbers(2, groups * rows, most - 1)
        scales = f16([x / 50 for x in positive(3, groups * rows)])
        def turned(values):  # AWQ's order in words
            return [values[i - i % 8 + (0, 2, 4, 6, 1, 3, 5, 7)[i % 8]] for i in range(len(values))] if awq else values
        words = rows * bits // 32
        packed = ("I32", [columns, words], pack_words(turned(codes), columns, rows, bits)) if awq else \
            ("I32", [columns * bits // 32, rows], pack_down(codes, columns, rows, bits))
        tensors = {"a.qweight": packed, "a.qzeros": ("I32", [groups, words], pack_words(turned(zeros), groups, rows, bits)),
                   "a.scales": ("F16", [groups, rows], scales), "a.bias": ("F16", [rows], f16([0] * rows))}
        return codes, zeros, floats("F16", scales), tensors

    def values(self, rows, columns, codes, zeros, scales, group, lacks):
        return [(codes[c * rows + r] - zeros[group(c) * rows + r] - lacks) * scales[group(c) * rows + r]
                for r in range(rows) for c in range(columns)]

    def check_some(self, tensors, expected, config, codes):
        bias = tensors.pop("a.bias")
        self.check(tensors, expected, config, codes)
        tensors["a.bias"] = bias
        self.done("error", "-f", "q4_0", self.checkpoint(tensors, config))

    def test_gptq(self):
        rows, columns = 24, 128
        for bits in (4, 8, 3, 2):
            rows = 24 if bits > 3 else 32
            codes, zeros, scales, tensors = self.parts(rows, columns, bits, 4)
            for version, lacks in (("gptq", 1), (None, 1), ("gptq_v2", 0)):
                config = {"quantization_config": {"quant_method": "gptq", "bits": bits, "group_size": 32}}
                if version:
                    config["quantization_config"]["checkpoint_format"] = version
                values = self.values(rows, columns, codes, zeros, scales, lambda c: c // 32, lacks)
                self.check_some(tensors, {"a.weight": ([rows, columns], values)}, config, "GPTQ INT%d with F16 scales of 32" % bits)
        order = [(7 * c + 3) % 4 for c in range(columns)]
        tensors["a.g_idx"] = ("I32", [columns], struct.pack("<128i", *order))
        values = self.values(rows, columns, codes, zeros, scales, lambda c: order[c], 0)
        self.check_some(tensors, {"a.weight": ([rows, columns], values)}, config, None)

    def test_awq(self):
        codes, zeros, scales, tensors = self.parts(24, 128, 4, 2, awq=True)
        values = self.values(24, 128, codes, zeros, scales, lambda c: c // 64, 0)
        self.check_some(tensors, {"a.weight": ([24, 128], values)},
                        {"quantization_config": {"quant_method": "awq", "bits": 4, "version": "gemm"}}, "AWQ INT4 with F16 scales of 64")

    def test_refused(self):
        gptq = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
        _, _, _, good = self.parts(24, 128, 4, 4)
        self.refused(["may be GPTQ's or AWQ's"], good)
        self.refused(['GPTQ of the format "marlin"'], good, {"quantization_config": {"quant_method": "gptq", "checkpoint_format": "marlin"}})
        self.refused(['AWQ of the version "gemv"'], good, {"quantization_config": {"quant_method": "awq", "version": "gemv"}})
        for name in ("qzeros", "scales"):
            self.refused(['"a.qweight" holds I32 codes, and there is no "%s"' % name], {k: v for k, v in good.items() if k != "a." + name}, gptq)
        self.refused(["belongs to codes"], {k: v for k, v in good.items() if k != "a.qweight"}, gptq)
        self.refused(["not codes of 2 to 8 bits"], dict(good, **{"a.qzeros": ("I32", [4, 9], bytes(144))}), gptq)
        self.refused(["codes of one row"], dict(good, **{"a.scales": ("F16", [4, 32], bytes(256)), "a.qzeros": ("I32", [4, 4], bytes(64))}), gptq)
        self.refused(["the same groups"], dict(good, **{"a.scales": ("F16", [3, 24], bytes(144))}), gptq)
        self.refused(["words of AWQ's"], good, {"quantization_config": {"quant_method": "awq"}})
        self.refused(["is of group 4"], dict(good, **{"a.g_idx": ("I32", [128], struct.pack("<128i", *[0] * 127, 4))}), gptq)


class TestLattice(CodesTest):
    """Weights that were made of codes are told from others, whatever floats hold them."""

    ROWS, COLUMNS = 12, 256

    def made(self, seed, levels, group, scale):
        generator = random.Random(seed)
        out = []
        for _ in range(0, self.ROWS * self.COLUMNS, group):
            s = scale(generator)
            out += [generator.choice(levels) * s for _ in range(group)]
        return out

    def test_all(self):
        any_scale = lambda g: single(g.uniform(0.001, 0.02))
        fp8 = [e4m3(c) for c in range(256) if c & 127 < 127]
        made = {
            "binary": self.made(1, [-1, 1], 128, any_scale),
            "ternary": self.made(2, [-1, 0, 1], 256, any_scale),
            "int2": self.made(3, range(-2, 2), 64, any_scale),
            "int3": self.made(4, range(-4, 4), 32, any_scale),
            "int4": self.made(5, range(-8, 8), 32, any_scale),
            "mxfp4": self.made(6, E2M1, 32, lambda g: 2.0 ** g.randint(-12, -4)),
            "nvfp4": self.made(7, E2M1, 16, any_scale),
            "fp8": self.made(8, fp8, 128, any_scale),
            None: gauss(9, self.ROWS * self.COLUMNS, 0.02),
        }
        for dtype, pack in [("F32", f32), ("BF16", lambda v: as_via("bf16", v)), ("F16", f16)]:
            tensors = {"t.%s" % name: (dtype, [self.ROWS, self.COLUMNS], pack([single(x) for x in v])) for name, v in made.items()}
            tensors["zero"] = (dtype, [2, 64], pack([0.0] * 128))
            r = {t["name"]: t for t in self.json("lattice", self.checkpoint(tensors))["tensors"]}
            for name in made:
                if dtype == "F16" and name in ("fp8", "mxfp4"):
                    continue  # subnormals lose digits
                self.assertEqual(r["t.%s" % name]["lattice"], name, (dtype, r["t.%s" % name]["shares"]))
            self.assertLess(max(r["t.None"]["shares"].values()), 0.01)
            self.assertEqual(r["zero"]["lattice"], "binary")
        text = self.done("lattice", self.checkpoint(tensors))
        self.assertRegex(text, r"(?m)^t.int4 +12 x 256 +F16 +int4 +32 +all$")
        self.assertRegex(text, r"(?m)^t.None +12 x 256 +F16 +none; \w+ +\d+ +0 %$")
        self.assertIn("1 tensor is int4: -8 to 7 times a scale, as q4_0 has it", text)

    def test_one_group(self):
        """One weight beside the grid is seen, and how many groups are on it; codes are looked at as what they mean."""
        values = self.made(5, range(-8, 8), 32, lambda g: 0.01)
        values[700] *= 1.01
        r = self.json("lattice", self.checkpoint({"a": ("F32", [self.ROWS, self.COLUMNS], f32([single(v) for v in values]))}))
        (tensor,) = r["tensors"]
        self.assertEqual((tensor["lattice"], tensor["shares"]["int4"]), (None, 95 / 96))
        both = [x * 0.01 for x in [8, -8, *range(-7, 8)] + [1] * 15]
        r = self.json("lattice", self.checkpoint({"a": ("F32", [2, 32], f32(2 * both))}))
        self.assertEqual(r["tensors"][0]["shares"]["int4"], 0)
        codes = fp8_codes(1, 4 * 256)
        r = self.json("lattice", self.checkpoint({"a.weight": ("F8_E4M3", [4, 256], codes), "a.weight_scale": ("F32", [], f32([0.37]))}))
        self.assertEqual((r["tensors"][0]["lattice"], r["codes"][0]["tensors"]), ("fp8", 1))

    def test_of_formats(self):
        """What Q4_0 made is on its grid, when it comes back as floats."""
        self.put("a.safetensors", safetensors_bytes({"a.weight": ("F32", [16, 256], f32(gauss(3, 4096)))}))
        for name, lattice in (("q4_0", "int4"), ("mxfp4", "mxfp4"), ("nvfp4", "nvfp4"), ("q8_0", None)):
            self.done("roundtrip", "-f", name, "a.safetensors", "-o", "b.safetensors", "--quiet")
            self.assertEqual(self.json("lattice", "b.safetensors")["tensors"][0]["lattice"], lattice)
        self.fails(1, "nothing to look at", "lattice", "--include", "zzz", "a.safetensors")
        self.fails(2, "one input is wanted, not 0", "lattice")


if __name__ == "__main__":
    unittest.main(verbosity=1)
