"""Runs qdq quantize with llama-quantize's command lines: presets_test.py PATH/TO/qdq [unittest's options]."""

import os
import re
import sys
import unittest

from command_support import *
from preset_models import MODELS, PRESETS

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "presets.txt")
BOOL = 7


def in_order(names):
    """llama-quantize's: those of no layer, then layer by layer, by name."""
    def key(name):
        layer = re.match(r"blk\.(\d+)\.", name)
        return (int(layer.group(1)) if layer else -1, name.encode())
    return sorted(names, key=key)


def expected_types():
    """(model, preset, with a matrix) -> a type for each tensor ("-": as it was), or what llama-quantize stops with"""
    codes, model, expected = {"-": "-"}, None, {}
    with open(DATA) as file:
        for line in file:
            words = line.rstrip("\n").split(" ", 2)
            if words[0] == "types":
                codes.update(word.split("=") for word in line.split()[1:])
            elif words[0] == "model":
                model = words[1]
            elif words[0] != "#":
                types = words[2] if words[2].startswith("stops: ") else [
                    codes[letter] for letter, n in re.findall(r"([^\d])(\d*)", words[2]) for _ in range(int(n or 1))]
                for matrix in {"plain": [False], "matrix": [True], "both": [False, True]}[words[1]]:
                    expected[model, words[0], matrix] = types
    return expected


def sparse_model(path, metadata, tensors):
    """F32, with holes for data."""
    values = [(key, kind, value) for key, kind, value in metadata if kind != BOOL]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for key, kind, value in values:
        head += gguf_string(key) + struct.pack("<I", kind) + gguf_value(kind, value)
    at = 0
    for name, shape in tensors.items():
        head += gguf_string(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", extent) for extent in reversed(shape)) + struct.pack("<IQ", 0, at)
        at += -(-count(shape) * 4 // 32) * 32
    write(path, head)
    os.truncate(path, -(-len(head) // 32) * 32 + at)


class TestTypes(CommandTest):
    """What a real llama-quantize chose for every tensor."""

    def check(self, model):
        metadata, tensors = MODELS[model]()
        sparse_model(self.path("m.gguf"), metadata, tensors)
        self.put("i.dat", imatrix_bytes({"none": (1, [1.0])}))
        order = in_order(tensors)
        for preset in PRESETS:
            for matrix in [False, True]:
                options = ["--imatrix", "i.dat"] if matrix else []
                wanted = EXPECTED[model, preset, matrix]
                with self.subTest(model=model, preset=preset, matrix=matrix):
                    if isinstance(wanted, str):
                        self.fails(1, "tensor \"|matrix", "quantize", *options, "--dry-run", "m.gguf", preset)
                        continue
                    result = self.json("quantize", *options, "--dry-run", "m.gguf", preset)
                    types = {t["name"]: t["dtype"] for t in result["tensors"]}
                    self.assertEqual([types.get(name, "-") for name in order], wanted)


class TestLanguage(CommandTest):
    """llama-quantize's command line."""

    def setUp(self):
        super().setUp()
        self.metadata = [("general.architecture", STRING, "llama"), ("general.file_type", U32, 0),
                         ("llama.block_count", U32, 4), ("llama.attention.head_count", U32, 8),
                         ("llama.attention.head_count_kv", U32, 2), ("general.name", STRING, "a")]
        shapes = {"output.weight": [4, 256], "token_embd.weight": [4, 256], "output_norm.weight": [256]}
        for i in range(4):
            for part in ["attn_q", "attn_v", "ffn_down"]:
                shapes["blk.%d.%s.weight" % (i, part)] = [4, 256]
        self.model_tensors = {name: ("F32", shape, f32(gauss(name, count(shape)))) for name, shape in shapes.items()}
        self.put("m.gguf", gguf_bytes(self.model_tensors, self.metadata))
        self.put("i.dat", imatrix_bytes({name: (1, [1.0 + i % 5 for i in range(256)]) for name in shapes}))

    def types(self, *arguments):
        result = self.json("quantize", *arguments)
        types = {t["name"]: t["dtype"] for t in result["tensors"]}
        types.update({t["name"]: "-" for t in result["skipped"]})
        return types

    def test_operands(self):
        self.done("quantize", "--quiet", "m.gguf", "a.gguf", "Q4_K_M")
        for arguments in [["m.gguf", "b.gguf", "q4_k_m", "2"], ["m.gguf", "b.gguf", "Q4_k"], ["m.gguf", "b.gguf", "15"],
                          ["--preset", "Q4_K_M", "m.gguf", "-o", "b.gguf"], ["--preset", "Q4_K", "m.gguf", "b.gguf"],
                          ["-f", "q4_k_m", "m.gguf", "-o", "b.gguf"], ["m.gguf", "-o", "b.gguf", "Q4_K_M"]]:
            self.done("quantize", "--quiet", *arguments)
            self.assertEqual(read(self.path("a.gguf")), read(self.path("b.gguf")), arguments)
            os.remove(self.path("b.gguf"))
        self.done("quantize", "--quiet", "m.gguf", "q4_k")
        self.assertEqual(read(self.path("a.gguf")), read(self.path("ggml-model-Q4_K.gguf")))

    def test_one_format_is_another_file(self):
        self.assertIn("q4_K is one format for every tensor; llama-quantize's Q4_K is a mixture: --preset Q4_K\n",
                      self.done("quantize", "-f", "Q4_K", "m.gguf", "-o", "a.gguf"))
        self.assertIn("Q4_K is llama-quantize's mixture, by its rules of 2026-09: mostly q4_K\n",
                      self.done("quantize", "m.gguf", "b.gguf", "Q4_K"))
        self.assertNotEqual(read(self.path("a.gguf")), read(self.path("b.gguf")))

    def test_wrong(self):
        for words, arguments in [
                ("no type 'Q9'; there are: .*Q4_K_M.*COPY", ["m.gguf", "o.gguf", "Q9"]),
                ("no type 'Q4KM'; did you mean Q4_K_M\\?", ["m.gguf", "o.gguf", "Q4KM"]),
                ("no type 'iq3-xxs'; did you mean IQ3_XXS\\?", ["m.gguf", "o.gguf", "iq3-xxs"]),
                ("no type: say IN OUT TYPE", ["m.gguf", "o.gguf"]),
                ("IN OUT TYPE, -f FORMAT or --plan FILE", ["m.gguf"]),
                ("Q4_0, stands the number of threads, 0 to 4096, not 'many': the order", ["m.gguf", "o.gguf", "Q4_0", "many"]),
                ("not 'o.gguf': the order is IN OUT TYPE", ["m.gguf", "Q4_0", "o.gguf"]),
                ("comes last: the order is IN OUT TYPE", ["Q4_0", "m.gguf", "o.gguf"]),
                ("comes last: the order is IN OUT TYPE", ["Q4_0", "m.gguf"]),
                ("o.safetensors: what is written is GGUF", ["m.gguf", "o.safetensors", "Q4_0"]),
                ("more behind the number", ["m.gguf", "o.gguf", "Q4_0", "2", "3"]),
                ("no input", ["-f", "q4_0"]),
                ("named twice", ["m.gguf", "o.gguf", "Q4_0", "-o", "p.gguf"]),
                ("both given", ["-f", "q4_0", "--preset", "Q4_0", "m.gguf", "-o", "o.gguf"]),
                ("do not go together", ["--imatrix", "i.dat", "--include-weights", "a", "--exclude-weights", "b", "m.gguf",
                                        "o.gguf", "Q4_0"]),
                ("want a type of ggml's", ["--output-tensor-type", "q9", "m.gguf", "o.gguf", "Q4_0"]),
                ("KEY=TYPE:VALUE", ["--override-kv", "a.b", "m.gguf", "o.gguf", "Q4_0"]),
                ("whole number", ["--override-kv", "a.b=int:x", "m.gguf", "o.gguf", "Q4_0"]),
                ("numbers of layers", ["--prune-layers", "1,x", "m.gguf", "o.gguf", "Q4_0"]),
                ("2026-08 to 2026-09", ["--rules", "2025", "m.gguf", "o.gguf", "Q4_0"]),
                ("leave out", ["--pure", "m.gguf", "o.gguf", "COPY"]),
                ("passes over --tensor-type", ["--tensor-type", "a=q8_0", "m.gguf", "o.gguf", "F16"])]:
            self.fails(2, words, "quantize", *arguments)

    def test_types(self):
        mixed = self.types("--dry-run", "m.gguf", "Q4_K_M")
        self.assertEqual(mixed, {
            "output.weight": "q6_K", "token_embd.weight": "q4_K", "output_norm.weight": "-",
            **{"blk.%d.%s.weight" % (i, part): "q6_K" if i in [2, 3] and part != "attn_q" else "q4_K"
               for i in range(4) for part in ["attn_q", "attn_v", "ffn_down"]}})
        for options, changed in [
                (["--pure"], {name: "q4_K" for name, kind in mixed.items() if kind != "-"}),
                (["--leave-output-tensor"], {"output.weight": "-"}),
                (["--output-tensor-type", "Q5_K", "--token-embedding-type", "f16"],
                 {"output.weight": "q5_K", "token_embd.weight": "f16"}),
                # A pattern takes the tensor out of the mixture's count.
                (["--tensor-type", "blk.0.attn_v=q8_0"],
                 {"blk.0.attn_v.weight": "q8_0", "blk.2.attn_v.weight": "q4_K", "blk.3.attn_v.weight": "q6_K"})]:
            self.assertEqual(self.types("--dry-run", *options, "m.gguf", "Q4_K_M"), {**mixed, **changed}, options)

    def test_reasons(self):
        text = self.done("quantize", "--dry-run", "--list-tensors", "m.gguf", "Q4_K_M")
        self.assertRegex(text, r"(?m)^blk\.2\.attn_v\.weight +4 x 256 +q6_K +840 +the first or last eighth of the "
                               r"layers or every third$")
        self.assertRegex(text, r"(?m)^output\.weight +4 x 256 +q6_K +840 +output$")
        # Those of a kind that become the same for the same reason are one row.
        text = self.done("quantize", "--dry-run", "m.gguf", "Q4_K_M")
        self.assertRegex(text, r"(?m)^blk\.\*\.attn_q\.weight +[1-9]\d* +q4_K +")
        self.assertRegex(text, r"(?m)^blk\.\*\.attn_v\.weight +[1-9]\d* +q6_K +[0-9.]+ \w+ +the first or last eighth")
        self.assertNotIn("blk.2.", text)
        tensors = self.done("quantize", "--dry-run", "--list-tensors", "m.gguf", "Q4_K_M")
        counts = re.findall(r"(?m)^(?:\S+\.weight|\S+\.bias) +(\d+) +\w+ ", text)
        self.assertEqual(sum(map(int, counts)), len(re.findall(r"(?m)^\S+\.(?:weight|bias) +\d.* x? ?", tensors)))
        self.fails(2, "--list-tensors goes with --dry-run", "quantize", "--list-tensors", "m.gguf", "o2.gguf", "Q4_K_M")

    def test_dry_run(self):
        text = self.done("quantize", "--dry-run", "m.gguf", "Q4_K_M")
        self.assertEqual(self.files().count("o.gguf"), 0)
        self.done("quantize", "--quiet", "m.gguf", "o.gguf", "Q4_K_M")
        self.assertIn("would have %d bytes" % os.path.getsize(self.path("o.gguf")), text)
        self.assertIn("needs an importance matrix", self.done("quantize", "--dry-run", "m.gguf", "IQ2_XS"))
        self.fails(2, "needs an importance matrix: give --imatrix", "quantize", "m.gguf", "o2.gguf", "IQ2_XS")
        self.put("few.dat", imatrix_bytes({"blk.0.attn_q.weight": (1, [1.0] * 256)}))
        self.fails(1, "has no entry", "quantize", "--imatrix", "few.dat", "m.gguf", "o2.gguf", "IQ2_XS")

    def test_metadata(self):
        self.done("quantize", "--quiet", "--override-kv", "general.name=str:b", "--override-kv", "x.i=int:-3",
                  "--override-kv", "x.f=float:0.5", "--imatrix", "i.dat", "--exclude-weights", "attn_q", "m.gguf", "o.gguf",
                  "Q8_0")
        _, metadata = read_gguf(self.path("o.gguf"))
        self.assertEqual(list(metadata.items())[-9:], [
            ("general.quantization_version", 2), ("general.file_type", 7), ("general.name", "b"), ("x.i", 3), ("x.f", 0.5),
            ("quantize.imatrix.file", "i.dat"), ("quantize.imatrix.dataset", "words"),
            ("quantize.imatrix.entries_count", 11), ("quantize.imatrix.chunks_count", 7)])
        self.done("quantize", "--quiet", "--imatrix", "i.dat", "--include-weights", "nothing", "m.gguf", "o2.gguf", "Q8_0")
        self.assertNotIn("quantize.imatrix.file", read_gguf(self.path("o2.gguf"))[1])

    def test_layers_are_left_out(self):
        self.done("quantize", "--quiet", "--prune-layers", "2,0", "m.gguf", "o.gguf", "Q8_0")
        tensors, metadata = read_gguf(self.path("o.gguf"))
        self.assertEqual(metadata["llama.block_count"], 2)
        self.assertEqual(list(tensors), ["output.weight", "output_norm.weight", "token_embd.weight",
                                         *["blk.%d.%s.weight" % (i, part) for i in range(2)
                                           for part in ["attn_q", "attn_v", "ffn_down"]]])
        self.done("quantize", "--quiet", "m.gguf", "all.gguf", "Q8_0")
        whole, _ = read_gguf(self.path("all.gguf"))
        self.assertEqual(tensors["blk.0.attn_q.weight"], whole["blk.1.attn_q.weight"])
        self.assertEqual(tensors["blk.1.ffn_down.weight"], whole["blk.3.ffn_down.weight"])

    def test_shards_are_kept(self):
        names = list(self.model_tensors)
        parts = [{name: self.model_tensors[name] for name in names[::-1][:8]},
                 {name: self.model_tensors[name] for name in names[:-8]}]
        for i, part in enumerate(parts):
            self.put("m-0000%d-of-00002.gguf" % (i + 1), gguf_bytes(part, [
                *(self.metadata if i == 0 else []), ("split.no", U16, i), ("split.count", U16, 2),
                ("split.tensors.count", I32, len(names))]))
        text = self.done("quantize", "--keep-split", "m-00001-of-00002.gguf", "o.gguf", "Q8_0")
        self.assertEqual([name for name in self.files() if name.startswith("o")],
                         ["o-00001-of-00002.gguf", "o-00002-of-00002.gguf"])
        for i, part in enumerate(parts):
            tensors, metadata = read_gguf(self.path("o-0000%d-of-00002.gguf" % (i + 1)))
            self.assertEqual(list(tensors), list(part))
            self.assertEqual(list(metadata.items())[-3:],
                             [("split.no", i), ("split.count", 2), ("split.tensors.count", len(names))])
            self.assertEqual("general.file_type" in metadata, i == 0)
        self.done("quantize", "--quiet", "m-00001-of-00002.gguf", "whole.gguf", "Q8_0")
        whole, _ = read_gguf(self.path("whole.gguf"))
        self.done("quantize", "--quiet", "o-00001-of-00002.gguf", "joined.gguf", "COPY")
        self.assertEqual(read_gguf(self.path("joined.gguf"))[0], whole)
        self.assertIn("o.gguf in the source's shards: ", text)
        self.fails(2, "is the input", "quantize", "--keep-split", "m-00001-of-00002.gguf", "m.gguf", "Q8_0")
        self.fails(1, "no tensors left", "quantize", "--keep-split", "--prune-layers", "0,1,2,3", "m-00001-of-00002.gguf",
                   "p.gguf", "Q8_0")
        self.fails(1, "only a GGUF's shards", "quantize", "--keep-split", "-f", "q8_0", "model.safetensors", "o2.gguf")

    def test_copy(self):
        self.done("quantize", "--quiet", "m.gguf", "o.gguf", "copy")
        tensors, metadata = read_gguf(self.path("o.gguf"))
        self.assertEqual({name: data for name, (_, _, data) in tensors.items()},
                         {name: data for name, (_, _, data) in self.model_tensors.items()})
        self.assertEqual(metadata["general.file_type"], 0)
        self.put("guess.gguf", gguf_bytes(self.model_tensors, [("general.architecture", STRING, "llama")]))
        self.done("quantize", "--quiet", "guess.gguf", "o2.gguf", "copy")
        self.assertEqual(read_gguf(self.path("o2.gguf"))[1]["general.file_type"], 1024)

    def test_what_it_cannot_be_made_of(self):
        self.fails(1, ["presets go by names and metadata that a GGUF has", "say --like FILE.gguf"], "quantize", "model.safetensors", "o.gguf", "Q4_K_M")
        self.put("bare.gguf", gguf_bytes(self.model_tensors, [("general.name", STRING, "a")]))
        self.fails(1, "no general.architecture", "quantize", "bare.gguf", "o.gguf", "Q4_K_M")
        self.put("none.gguf", gguf_bytes(self.model_tensors, self.metadata[:2]))
        self.fails(1, "no llama.block_count", "quantize", "none.gguf", "o.gguf", "Q4_K_M")
        self.done("quantize", "--quiet", "m.gguf", "q.gguf", "Q8_0")
        self.fails(1, "is q8_0 already", "quantize", "q.gguf", "o.gguf", "Q4_K_M")
        self.fails(1, "its layer is 3, and the metadata have 3", "quantize", "--override-kv", "llama.block_count=int:3",
                   "--override-kv", "llama.expert_count=int:2", "m.gguf", "o.gguf", "Q4_K_M")

    def test_rules_are_pinned(self):
        self.put("odd.gguf", gguf_bytes({"blk.0.attn_q.weight": ("F32", [2, 40], f32(gauss(1, 80)))}, self.metadata))
        self.assertEqual(self.types("--dry-run", "odd.gguf", "Q4_0"), {"blk.0.attn_q.weight": "f16"})
        self.fails(1, "rows of 40 elements.*it stops", "quantize", "--rules", "2026-08", "odd.gguf", "o.gguf", "Q4_0")


EXPECTED = expected_types()
for model in MODELS:
    setattr(TestTypes, "test_" + model, lambda self, model=model: self.check(model))

if __name__ == "__main__":
    unittest.main()
