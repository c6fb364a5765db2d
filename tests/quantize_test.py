"""Runs qdq quantize, and the targets f32, f16 and bf16: quantize_test.py PATH/TO/qdq [unittest's options]."""

import json
import os
import re
import struct
import unittest

from command_support import *

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
ROWS, COLUMNS = 24, 1024  # of the reference's input

# What llama-quantize falls back to where a row is no multiple of 256, and where it is none of 32 either: f16.
BY_32 = {"q2_K": "q4_0", "q3_K": "q4_0", "tq1_0": "q4_0", "tq2_0": "q4_0", "q4_K": "q5_0", "q5_K": "q5_1",
         "q6_K": "q8_0", "iq4_xs": "iq4_nl", "iq3_s": "iq4_nl", "iq3_xxs": "iq4_nl", "iq2_xxs": "iq4_nl",
         "iq2_xs": "iq4_nl", "iq2_s": "iq4_nl", "iq1_s": "iq4_nl", "iq1_m": "iq4_nl"}
# What llama-quantize refuses to make without an importance matrix.
WANT_IMATRIX = {"iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs"}


class QuantizeTest(CommandTest):
    @classmethod
    def setUpClass(cls):
        rows = json.loads(run("formats", "--json", "-").stdout)["formats"]
        cls.formats = {row["name"]: row for row in rows}
        cls.types = {row["ggml_type"]: row["name"] for row in rows}
        cls.types.update({0: "f32", 1: "f16", 30: "bf16"})
        for row in rows:  # so that read_gguf knows their sizes
            BLOCK[row["ggml_type"]] = (row["block_elements"], row["block_bytes"])

    def quantized(self, model, *options):
        """-> name -> (type's name, data), key -> value"""
        self.done("quantize", *options, "--quiet", "-d", "cpu", model, "-o", "o.gguf")
        tensors, metadata = read_gguf(self.path("o.gguf"))
        return {name: (self.types[kind], data) for name, (kind, _, data) in tensors.items()}, metadata

    def put_imatrix(self, name, entries):
        """The GGUF layout. entries: name -> [(count, weights)] a matrix"""
        tensors = {}
        for weight, matrices in entries.items():
            columns = len(matrices[0][1])
            sums = [w * count for count, weights in matrices for w in weights]
            tensors[(weight + ".in_sum2")[:63]] = ("F32", [len(matrices), columns], f32(sums))
            tensors[(weight + ".counts")[:63]] = ("F32", [len(matrices), 1], f32([count for count, _ in matrices]))
        return self.put(name, gguf_bytes(tensors, [
            ("general.type", STRING, "imatrix"), ("imatrix.datasets", ARRAY, (STRING, ["words"])),
            ("imatrix.chunk_count", U32, 3), ("imatrix.chunk_size", U32, 512)]))


class TestReference(QuantizeTest):
    """The blocks that ggml makes of its rows in tests/data."""
    NAME = "blk.0.attn_q.weight"

    def setUp(self):
        super().setUp()
        self.input = read(os.path.join(DATA, "input.f32"))
        self.weights = floats("F32", read(os.path.join(DATA, "imatrix.f32")))
        self.put("m.gguf", gguf_bytes({self.NAME: ("F32", [ROWS, COLUMNS], self.input)}, []))
        self.put("i.dat", imatrix_bytes({self.NAME: (1, self.weights)}))
        self.put_imatrix("i.gguf", {self.NAME: [(1, self.weights)]})

    def reference(self, name):
        return read(os.path.join(DATA, name + ".blk"))

    def test_blocks(self):
        for name in self.formats:
            if name in WANT_IMATRIX:
                self.fails(2, name + " needs an importance matrix.*--imatrix", "quantize", "-f", name, "m.gguf", "-o",
                           "refused.gguf")
            else:
                self.assertEqual(self.quantized("m.gguf", "-f", name)[0][self.NAME], (name, self.reference(name)))
            for imatrix in ["i.dat", "i.gguf"]:
                tensors = self.quantized("m.gguf", "-f", name, "--imatrix", imatrix)[0]
                self.assertEqual(tensors[self.NAME], (name, self.reference(name + ".imatrix")), imatrix)

    def test_experts(self):
        """Each has an importance of its own; one that was never used has none."""
        name = "blk.0.ffn_up_exps.weight"
        self.put("e.gguf", gguf_bytes({name: ("F32", [2, ROWS, COLUMNS], self.input + self.input)}, []))
        self.put_imatrix("e-i.gguf", {name: [(1, self.weights), (0, [0.0] * COLUMNS)]})
        self.put("e-i.dat", imatrix_bytes({name: (1, self.weights + [1.0] * COLUMNS)}))
        self.put("ones.dat", imatrix_bytes({self.NAME: (1, [1.0] * COLUMNS)}))
        for fmt in self.formats:
            ones = self.quantized("m.gguf", "-f", fmt, "--imatrix", "ones.dat")[0][self.NAME][1]
            for imatrix in ["e-i.gguf", "e-i.dat"]:
                got = self.quantized("e.gguf", "-f", fmt, "--imatrix", imatrix)[0][name]
                self.assertEqual(got, (fmt, self.reference(fmt + ".imatrix") + ones), imatrix)
        self.put("short.dat", imatrix_bytes({name: (1, self.weights)}))
        self.fails(1, ["ffn_up_exps", "1024 values", "1024 x 2"], "quantize", "-f", "q4_K", "--imatrix", "short.dat", "e.gguf", "-o",
                   "x.gguf")

    def test_sources(self):
        """F16 and BF16 give what their values give as F32."""
        values = gauss(5, ROWS * COLUMNS)
        for dtype, pack in [("F16", f16), ("BF16", bf16)]:
            data = pack(values)
            self.put("n.gguf", gguf_bytes({self.NAME: (dtype, [ROWS, COLUMNS], data)}, []))
            self.put("w.gguf", gguf_bytes({self.NAME: ("F32", [ROWS, COLUMNS], f32(floats(dtype, data)))}, []))
            for name in ["q4_0", "q4_K", "q6_K", "f16", "bf16"]:
                if name != dtype.lower():
                    self.assertEqual(self.quantized("n.gguf", "-f", name)[0], self.quantized("w.gguf", "-f", name)[0])

    def test_name_that_is_cut(self):
        """ggml cuts names at 63 bytes, those of imatrix files with their endings."""
        name = "blk.0." + "a" * 44 + ".weight"
        self.put("m.gguf", gguf_bytes({name: ("F32", [ROWS, COLUMNS], self.input)}, []))
        self.put_imatrix("i.gguf", {name: [(2, self.weights)]})
        self.assertIn(name.encode() + b".in_su\2", read(self.path("i.gguf")))
        tensors = self.quantized("m.gguf", "-f", "q4_K", "--imatrix", "i.gguf")[0]
        self.assertEqual(tensors[name][1], self.reference("q4_K.imatrix"))


class TestRules(QuantizeTest):
    def put_model(self):
        data = lambda seed, *shape: ("F32", list(shape), f32(gauss(seed, count(shape))))
        self.model_tensors = {
            "token_embd.weight": data(1, 8, 256),
            "output.weight": data(2, 8, 256),
            "blk.0.attn_norm.weight": data(3, 256),
            "blk.0.attn_q.weight": data(4, 8, 256),
            "blk.0.attn_k.weight": data(5, 8, 256),
            "blk.0.ffn_down.weight": data(6, 4, 96),
            "blk.0.ffn_odd.weight": data(7, 4, 100),
            "blk.0.ffn_gate_inp.weight": data(8, 4, 256),
            "blk.0.ffn_up_exps.weight": data(9, 2, 4, 256),
            "blk.0.ssm_conv1d.weight": data(10, 4, 256),
            "blk.0.attn_q.bias": data(11, 2, 256),
            "blk.0.one_row.weight": data(12, 1, 256),
        }
        return self.put("m.gguf", gguf_bytes(self.model_tensors, [("general.architecture", STRING, "llama"),
                                                                  ("general.file_type", U32, 0)]))

    KEPT = ["blk.0.attn_norm.weight", "blk.0.ffn_gate_inp.weight", "blk.0.ssm_conv1d.weight", "blk.0.attn_q.bias",
            "blk.0.one_row.weight"]

    def put_importance(self):
        """For all of the model's tensors."""
        entries = {}
        for name, (_, shape, _) in self.model_tensors.items():
            entries[name] = (1, [1.0 + i % 3 for i in range(shape[-1] * (shape[0] if len(shape) == 3 else 1))])
        return self.put("i.dat", imatrix_bytes(entries))

    def types_of(self, *options):
        tensors, metadata = self.quantized(self.put_model(), *options)
        # llama-quantize's order
        self.assertEqual(list(tensors), sorted(self.model_tensors, key=lambda name: (name.startswith("blk."), name)))
        for name in self.KEPT:
            self.assertEqual(tensors[name], ("f32", self.model_tensors[name][2]), name)
        return {name: kind for name, (kind, _) in tensors.items() if name not in self.KEPT}, metadata

    def test_fallbacks(self):
        self.put_model()
        self.put_importance()
        for name, row in self.formats.items():
            types, metadata = self.types_of("-f", name, *(["--imatrix", "i.dat"] if name in WANT_IMATRIX else []))
            by_32 = BY_32.get(name, name)
            if row["block_elements"] in [64, 128]:
                by_32 = "q4_0" if name == "q2_0" else "f32"  # kept: there is nothing to fall back to
            odd = "f32" if name in ["q1_0", "nvfp4"] else "f16"
            self.assertEqual(types.pop("blk.0.ffn_down.weight"), by_32, name)
            self.assertEqual(types.pop("blk.0.ffn_odd.weight"), odd, name)
            self.assertEqual(set(types.values()), {name})
            self.assertEqual(metadata["general.quantization_version"], 2)

    def test_file_type(self):
        wanted = {"q4_0": 2, "q4_1": 3, "q5_0": 8, "q5_1": 9, "q8_0": 7, "q2_K": 10, "q3_K": 11, "q4_K": 14, "q5_K": 16,
                  "q6_K": 18, "iq4_nl": 25, "iq4_xs": 30, "iq3_s": 26, "tq1_0": 36, "tq2_0": 37, "mxfp4": 38, "nvfp4": 39,
                  "q1_0": 40, "q2_0": 41, "f32": 0, "f16": 1, "bf16": 32, "iq3_xxs": 23, "iq2_s": 29, "iq2_xs": 20,
                  "iq2_xxs": 19, "iq1_m": 31, "iq1_s": 24}
        self.put_model()
        self.put_importance()
        ggmls = {name for name, row in self.formats.items() if row["ggml_type"] < 1000}
        self.assertLessEqual(ggmls, set(wanted))
        for name, number in wanted.items():
            options = ["--imatrix", "i.dat"] if name in WANT_IMATRIX else []
            self.assertEqual(self.types_of("-f", name, *options)[1]["general.file_type"], number, name)

    def test_listed(self):
        self.put_model()
        text = self.done("quantize", "-f", "q4_K", "--list-skipped", "m.gguf", "-o", "o.gguf")
        self.assertIn("5 of 12 tensors are q4_K", text)
        self.assertIn("2 tensors in another format than q4_K:\n", text)
        self.assertRegex(text, r"(?m)^blk\.0\.ffn_down\.weight +4 x 96 +q5_0 +rows of 96 elements; q4_K has blocks of 256$")
        self.assertRegex(text, r"(?m)^blk\.0\.ffn_odd\.weight +4 x 100 +f16 +rows of 100 elements")
        self.assertIn("5 tensors kept as they are:\n", text)
        self.assertRegex(text, r"(?m)^blk\.0\.ffn_gate_inp\.weight .*llama-quantize keeps it \(ffn_gate_inp\.weight\)$")
        self.assertRegex(text, r"(?m)^[\d.]+ seconds, [\d.]+ .iB/s of the source$")
        result = self.json("quantize", "-f", "q4_K", "m.gguf", "-o", "o.gguf")
        self.assertEqual([(e["name"], e["format"]) for e in result["exceptions"]],
                         [("blk.0.ffn_down.weight", "q5_0"), ("blk.0.ffn_odd.weight", "f16")])
        self.assertEqual({t["name"]: t["dtype"] for t in result["tensors"]}["blk.0.ffn_down.weight"], "q5_0")
        self.assertEqual([s["name"] for s in result["skipped"]], sorted(self.KEPT))
        text = self.done("quantize", "-f", "nvfp4", "--list-skipped", "m.gguf", "-o", "o.gguf")
        self.assertRegex(text, r"(?m)^blk\.0\.ffn_odd\.weight .*rows of 100 elements; nvfp4 has blocks of 64, and there is no other")
        text = self.done("quantize", "-f", "q8_0", "m.gguf", "-o", "o.gguf")
        self.assertRegex(text, r"(?m)^blk\.0\.ffn_odd\.weight .* f16 +rows of 100 elements; q8_0 has blocks of 32$")


    def test_many_are_listed_by_kinds(self):
        rows = {"blk.%d.attn_q.weight" % i: ("F32", [2, 96], f32(gauss(i, 192))) for i in range(17)}
        rows["token_embd.weight"] = ("F32", [2, 256], f32(gauss(1, 512)))
        self.put("m.gguf", gguf_bytes(rows, [("general.architecture", STRING, "llama")]))
        text = self.done("quantize", "-f", "q4_K", "m.gguf", "-o", "o.gguf")
        self.assertIn("\n17 tensors in another format than q4_K, kind by kind (--dry-run --list-tensors names them):\n", text)
        self.assertRegex(text, r"(?m)^blk\.\*\.attn_q\.weight +17 +q5_0 +[\d.]+ \w+ +rows of 96 elements; q4_K has blocks of 256$")
        self.assertNotIn("blk.3.", text)
        self.assertNotIn("token_embd", text)
        self.assertEqual(len(self.json("quantize", "-f", "q4_K", "m.gguf", "-o", "o.gguf")["exceptions"]), 17)
        text = self.done("quantize", "-f", "q4_K", "--exclude", r"blk\.3\.", "m.gguf", "-o", "o.gguf")
        self.assertIn("\n16 tensors in another format than q4_K:\n", text)
        self.assertIn("blk.16.attn_q.weight", text)

    def test_overrides(self):
        self.put("types.txt", b"attn_k=q6_k\n  OUTPUT=F16\tffn_d.*n=Q4_K\n")
        types, metadata = self.types_of("-f", "q4_0", "--tensor-type", "^blk\\.0\\.ATTN_Q=q8_0", "--tensor-type-file",
                                        "types.txt", "--tensor-type", "attn_k=q5_0", "--tensor-type", "exps=bf16")
        self.assertEqual(types, {
            "token_embd.weight": "q4_0", "output.weight": "f16", "blk.0.attn_q.weight": "q8_0",
            "blk.0.attn_k.weight": "q6_K", "blk.0.ffn_down.weight": "q5_0", "blk.0.ffn_odd.weight": "f16",
            "blk.0.ffn_up_exps.weight": "bf16"})
        self.assertEqual(metadata["general.file_type"], 2)

    def test_overrides_are_told(self):
        self.put_model()
        arguments = ["-f", "q4_0", "--tensor-type", "attn_q=q8_0", "--tensor-type", "attn_q=q6_K", "--tensor-type",
                     "attn_k=q4_0", "--tensor-type", "norm=q8_0", "m.gguf", "-o", "o.gguf"]
        text = self.done("quantize", *arguments)
        self.assertRegex(text, r"(?m)^blk\.0\.attn_q\.weight +8 x 256 +q8_0 +by attn_q=q8_0$")
        self.assertIn("--tensor-type attn_q=q6_K decides for no tensor.\n", text)
        self.assertIn("--tensor-type norm=q8_0 decides for no tensor.\n", text)
        result = self.json("quantize", *arguments)
        self.assertEqual(result["unused"], ["attn_q=q6_K", "norm=q8_0"])
        self.assertEqual([e["name"] for e in result["exceptions"]], ["blk.0.attn_q.weight", "blk.0.ffn_odd.weight"])

    def test_wrong_overrides(self):
        self.put_model()
        for status, words, options in [
                (2, "--tensor-type: \"attn_q\" is not PATTERN=TYPE", ["--tensor-type", "attn_q"]),
                (2, "no type \"q9\"", ["--tensor-type", "attn_q=q9"]),
                (2, "cannot write q8_1", ["--tensor-type", "attn_q=q8_1"]),
                (2, "a \\( without its", ["--tensor-type", "(attn_q=q8_0"]),
                (1, "types.txt: word 2: .*no type \"q9\"", ["--tensor-type-file", "types.txt"]),
                (1, "nowhere.txt", ["--tensor-type-file", "nowhere.txt"]),
                (2, "leave out --tensor-type", ["--tensor-type", "a=q8_0", "--plan", "p.json"])]:
            self.put("types.txt", b"a=q8_0 b=q9")
            base = [] if "--plan" in options else ["-f", "q4_0"]
            self.fails(status, words, "quantize", *base, *options, "m.gguf", "-o", "o.gguf")
        for name in ["f32", "f16", "bf16"]:
            self.fails(2, "passes over --tensor-type", "quantize", "-f", name, "--tensor-type", "a=q8_0", "m.gguf", "-o",
                       "o.gguf")

    def test_importance_is_told(self):
        self.put_model()
        self.put("i.dat", imatrix_bytes({"blk.0.attn_q.weight": (1, [1.0] * 256), "other": (1, [1.0])}))
        self.put("other.dat", imatrix_bytes({"other": (1, [1.0])}))
        for command, output in [("quantize", "o.gguf"), ("roundtrip", "o.safetensors")]:
            text = self.done(command, "-f", "q4_0", "--imatrix", "i.dat", "m.gguf", "-o", output)
            self.assertRegex(text, r"(?m)^The importance matrix has entries for 1 of the \d+ tensors\.$")
            text = self.done(command, "-f", "q4_0", "--imatrix", "other.dat", "m.gguf", "-o", output)
            self.assertIn("entry for none of the tensors: was it made for another model?", text)

    def test_missing_importance(self):
        """What needs an importance matrix and finds no entry stays as it is, and is listed."""
        self.put_model()
        self.put("i.dat", imatrix_bytes({"blk.0.attn_q.weight": (1, [1.0] * 256)}))
        for name in WANT_IMATRIX & set(self.formats):
            self.fails(2, ["attn_k.weight\" would be " + name, "--imatrix"], "quantize", "-f", "q4_0", "--tensor-type",
                       "attn_k=" + name, "m.gguf", "-o", "o.gguf")
            result = self.json("quantize", "-f", "q4_0", "--tensor-type", "attn=" + name, "--imatrix", "i.dat", "m.gguf",
                               "-o", "o.gguf")
            self.assertEqual({t["name"]: t["dtype"] for t in result["tensors"]}["blk.0.attn_q.weight"], name)
            reasons = {s["name"]: s["reason"] for s in result["skipped"]}
            self.assertIn("has no entry for it", reasons["blk.0.attn_k.weight"])


class TestFloats(CommandTest):
    """f32, f16 and bf16 as targets."""
    VALUES = [0.0, -0.0, 1.0, 65504.0, 65519.0, 65520.0, -1e6, 6e-8, 3e-8, 2.9e-8, 1e-45, 1 + 2**-11, 1 + 3 * 2**-11,
              1 + 2**-8, 1 + 3 * 2**-8, 3.3e38]

    @staticmethod
    def half(value):
        try:
            return f16([value])
        except OverflowError:
            return struct.pack("<H", 0xfc00 if value < 0 else 0x7c00)

    @staticmethod
    def bfloat(value):
        (bits,) = struct.unpack("<I", f32([value]))
        return struct.pack("<H", (bits + 0x7fff + (bits >> 16 & 1)) >> 16)

    def narrowed(self, name, values):
        if name == "f32":
            return f32(values)
        return b"".join((self.half if name == "f16" else self.bfloat)(v) for v in values)

    def setUp(self):
        super().setUp()
        self.values = floats("F32", f32(self.VALUES + gauss(1, 3000 * 7 - len(self.VALUES))))
        self.put("m.gguf", gguf_bytes({"a.weight": ("F32", [3000, 7], f32(self.values)), "b.weight": ("BF16", [2, 3],
                                       bf16(gauss(2, 6))), "c.weight": ("F32", [7], f32(gauss(3, 7)))}, []))

    def test_quantize(self):
        for name, kind in [("f16", 1), ("bf16", 30)]:
            self.done("quantize", "-f", name.upper(), "m.gguf", "-o", "o.gguf")
            tensors, _ = read_gguf(self.path("o.gguf"))
            self.assertEqual(tensors["a.weight"], (kind, [3000, 7], self.narrowed(name, self.values)))
            self.assertEqual(tensors["c.weight"][0], 0)
        text = self.done("quantize", "-f", "bf16", "m.gguf", "-o", "o.gguf")
        self.assertIn("it is bf16 already", text)
        self.done("quantize", "-f", "f32", "m.gguf", "-o", "o.gguf")
        tensors, _ = read_gguf(self.path("o.gguf"))
        self.assertEqual(tensors["b.weight"], (0, [2, 3], f32(floats("BF16", bf16(gauss(2, 6))))))

    def test_roundtrip_and_error(self):
        # Rows that are no block of any format, and several tiles.
        errors = {e["format"]: e for e in self.json("error", "-f", "bf16,q8_0,f32,f16", "--exclude", "b", "m.gguf")[
            "tensors"][0]["errors"]}
        self.assertEqual(list(errors), ["bf16", "q8_0", "f32", "f16"])
        self.assertEqual(errors.pop("q8_0"), dict(errors["f16"], format="q8_0"))  # what it falls back to
        for name in errors:
            self.done("roundtrip", "-f", name, "m.gguf", "-o", "o.safetensors")
            low = read_safetensors(self.path("o.safetensors"))[0]["a.weight"]
            packed = self.narrowed(name, self.values)
            self.assertEqual(low, ("F32", [3000, 7], f32(floats(name.upper(), packed))))
        self.assertEqual((errors["f32"]["rmse"], errors["f32"]["snr_db"]), (0, None))
        self.assertIsNone(errors["f16"]["rmse"])  # 65520 became infinite

    def test_error_sums(self):
        values = [v for v in self.values if abs(v) < 60000]
        values = values[:20000]
        weights = [float(i % 11) for i in range(50)]
        self.put("w.safetensors", safetensors_bytes({"w": ("F32", [400, 50], f32(values))}))
        self.put("i.dat", imatrix_bytes({"w": (1, weights)}))
        for name in ["f16", "bf16"]:
            low = floats(name.upper(), self.narrowed(name, values))
            for imatrix in [[], ["--imatrix", "i.dat"]]:
                m = weights * 400 if imatrix else [1.0] * len(low)
                rmse = (sum(k * (v - q) ** 2 for k, v, q in zip(m, values, low)) / len(low)) ** 0.5
                results = [self.done("error", "-f", name, *imatrix, "--threads", threads, "--cpu-mask", mask, "w.safetensors",
                                     "--json", "-") for threads, mask in [(1, 1), (3, 15), (2, 7)]]
                self.assertEqual(len(set(results)), 1)
                got = json.loads(results[0])["tensors"][0]["errors"][0]
                self.assertLess(abs(got["rmse"] - rmse), 1e-6 * rmse)
                self.assertEqual(got["max_abs"], max(abs(v - q) for v, q in zip(values, low)))

    def test_not_finite(self):
        self.put("n.gguf", gguf_bytes({"a.weight": ("F32", [2, 3], f32([1, 2, 3, float("nan"), 5, 6]))}, []))
        for command in [["quantize", "-f", "f16", "-o", "o.gguf"], ["roundtrip", "-f", "bf16", "-o", "o.safetensors"],
                        ["error", "-f", "f16"]]:
            self.fails(1, "a.weight.*weight 3 .*NaN", *command, "n.gguf")
        self.done("quantize", "-f", "f16", "--allow-non-finite", "n.gguf", "-o", "o.gguf")
        self.assertEqual(read_gguf(self.path("o.gguf"))[0]["a.weight"][2], f16([1, 2, 3]) + b"\0\x7e" + f16([5, 6]))


class TestFiles(CommandTest):
    def gguf(self):
        self.gguf_tensors = {
            "token_embd.weight": ("F16", [16, 64], f16(gauss(1, 1024))),
            "blk.0.attn_norm.weight": ("F32", [64], f32(gauss(2, 64))),
            "blk.0.attn_q.weight": ("BF16", [64, 64], bf16(gauss(3, 4096))),
            "blk.0.odd.weight": ("F32", [2, 40], f32(gauss(4, 80))),
        }
        return [
            ("general.architecture", STRING, "llama"),
            ("general.file_type", U32, 1),
            ("llama.context_length", U32, 2048),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, ["<s>", "é", "c"])),
        ]

    def test_metadata_kept(self):
        metadata = self.gguf()
        self.put("m.gguf", gguf_bytes(self.gguf_tensors, metadata))
        text = self.done("quantize", "-f", "q8_0", "m.gguf", "-o", "o.gguf")
        tensors, out = read_gguf(self.path("o.gguf"))
        self.assertEqual(out, {
            "general.architecture": "llama", "general.file_type": 7, "llama.context_length": 2048,
            "tokenizer.ggml.tokens": ["<s>", "é", "c"], "general.quantization_version": 2})
        self.assertEqual(list(out)[-2:], ["general.quantization_version", "general.file_type"])
        self.assertEqual(list(tensors), ["token_embd.weight", *sorted(list(self.gguf_tensors)[1:])])
        self.assertEqual(tensors["blk.0.attn_norm.weight"], (0, [64], self.gguf_tensors["blk.0.attn_norm.weight"][2]))
        self.assertEqual(tensors["blk.0.odd.weight"][:2], (1, [2, 40]))
        self.assertEqual(tensors["blk.0.attn_q.weight"][:2], (8, [64, 64]))
        self.assertEqual(tensors["token_embd.weight"][:2], (8, [16, 64]))
        self.assertIn("2 of 4 tensors are q8_0", text)
        bits = 8 * (5120 // 32 * 34 + 64 * 4 + 80 * 2) / (5120 + 64 + 80)
        self.assertIn("%.4g bits a weight" % bits, text)
        result = self.json("quantize", "-f", "q8_0", "m.gguf", "-o", "o2.gguf")
        self.assertEqual(read(self.path("o.gguf")), read(self.path("o2.gguf")))
        self.assertEqual(result["bytes"], os.path.getsize(self.path("o.gguf")))
        self.assertAlmostEqual(result["bits_per_weight"], bits)

    def test_bare(self):
        del self.tensors["steps"]
        self.put("model.safetensors", safetensors_bytes(self.tensors))
        text = self.done("quantize", "-f", "q4_0", self.model, "-o", "o.gguf")
        self.assertIn("tensors alone", text)
        tensors, metadata = read_gguf(self.path("o.gguf"))
        self.assertIn("tensors alone", metadata["general.description"])
        self.assertEqual(metadata["general.file_type"], 2)
        self.assertNotIn("general.architecture", metadata)
        self.assertEqual(tensors["b.weight"][:2], (2, [32, 64]))

    def test_split(self):
        metadata = self.gguf()
        names = list(self.gguf_tensors)
        for part in range(2):
            held = {n: self.gguf_tensors[n] for n in names[2 * part:2 * part + 2]}
            self.put("m-%05d-of-00002.gguf" % (part + 1), gguf_bytes(held, (metadata if part == 0 else []) + [
                ("split.no", U16, part), ("split.count", U16, 2), ("split.tensors.count", I32, 4)]))
        self.done("quantize", "-f", "q4_0", "m-00002-of-00002.gguf", "-o", "split.gguf")
        self.put("m.gguf", gguf_bytes(self.gguf_tensors, metadata))
        self.done("quantize", "-f", "q4_0", "m.gguf", "-o", "whole.gguf")
        self.assertEqual(read(self.path("split.gguf")), read(self.path("whole.gguf")))
        os.remove(self.path("m-00001-of-00002.gguf"))
        self.fails(1, "m-00001-of-00002.gguf", "quantize", "-f", "q4_0", "m-00002-of-00002.gguf", "-o", "o.gguf")

    def test_imatrix_metadata(self):
        self.put("m.gguf", gguf_bytes(*reversed([self.gguf(), self.gguf_tensors])))
        self.put("i.dat", imatrix_bytes({"blk.0.attn_q.weight": (2, [1.0] * 64)}))
        self.done("quantize", "-f", "q4_0", "--imatrix", "i.dat", "m.gguf", "-o", "o.gguf")
        metadata = read_gguf(self.path("o.gguf"))[1]
        self.assertEqual(metadata["quantize.imatrix.file"], "i.dat")
        self.assertEqual(metadata["quantize.imatrix.dataset"], "words")
        self.assertEqual(metadata["quantize.imatrix.entries_count"], 1)

    def test_type_that_gguf_lacks(self):
        self.put("m.safetensors", safetensors_bytes({"m": ("BOOL", [2, 2], b"\0\1\0\1")}))
        self.fails(1, ['"m"', "BOOL"], "quantize", "-f", "q4_0", "m.safetensors", "-o", "o.gguf")

    def test_already_quantized(self):
        tensors = {"x": ("Q4_0", [1, 32], bytes(18))}
        self.put("m.gguf", gguf_bytes(tensors, []))
        self.fails(1, ["nothing to quantize", "already quantized", "give the F32"], "quantize", "-f", "q8_0", "m.gguf", "-o", "o.gguf")
        tensors["y.weight"] = ("F32", [2, 32], f32(gauss(1, 64)))
        self.put("m.gguf", gguf_bytes(tensors, []))
        text = self.done("quantize", "-f", "q8_0", "m.gguf", "-o", "o.gguf")
        self.assertIn("already quantized", text)
        self.assertEqual(read_gguf(self.path("o.gguf"))[0]["x"], (2, [32], bytes(18)))

    def test_of_the_wanted_type_already(self):
        self.put("m.safetensors", safetensors_bytes({"x": ("F16", [1, 32], f16(gauss(1, 32)))}))
        text = self.done("quantize", "-f", "f16", "m.safetensors", "-o", "o.gguf")
        self.assertIn("it is F16 already", text)


if __name__ == "__main__":
    unittest.main()
