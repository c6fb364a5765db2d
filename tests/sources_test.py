"""Models whose weights are codes, as sources: sources_test.py PATH/TO/qdq [unittest's options]."""

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
        GGML_ID["NVFP4"] = 40
        path = self.put("nv.gguf", gguf_bytes(
            {"a.weight": ("NVFP4", [2, 64], bytes(72)), "a.scale": ("F32", [1], f32([0.5]))}, []))
        self.fails(1, ["a.weight", "a.scale", "multiplied"], "error", "-f", "q4_0", "--allow-requantize", path)


if __name__ == "__main__":
    unittest.main(verbosity=1)
