"""qdq imatrix: imatrix_test.py PATH/TO/qdq. What is expected is computed here, as llama-imatrix's sums are defined."""

from command_support import *


def single(value):
    """To the nearest float."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def read_dat(path):
    """-> name -> (calls, values), chunks, dataset"""
    r, entries = Reader(read(path)), {}
    for _ in range(r.number("i")):
        length = r.number("i")
        name = r.data[r.at:r.at + length].decode()
        r.at += length
        calls, n = r.number("i"), r.number("i")
        entries[name] = (calls, [r.number("f") for _ in range(n)])
    chunks, length = r.number("i"), r.number("i")
    assert r.at + length == len(r.data)
    return entries, chunks, r.data[r.at:].decode()


DENSE, STACK = "blk.2.ffn_up.weight", "blk.10.ffn_gate_exps.weight"


class Imatrix(CommandTest):
    def setUp(self):
        super().setUp()
        self.first = {DENSE: ([[512.0, 0.0, 1024.0, 3.0]], [1024]),
                      STACK: ([[1.0, 2.0], [4.0, 8.0], [0.0, 0.0]], [100, 1000, 0])}
        self.second = {DENSE: ([[0.1, 0.2, 0.3, 0.4]], [512]), "output.weight": ([[7.0, 7.0]], [512])}
        self.put("a.gguf", imatrix_gguf_bytes(self.first, datasets=["wiki.txt", "b\n.txt"]))
        self.put("b.gguf", imatrix_gguf_bytes(self.second, datasets=["code.txt"]))
        # calls of 2: means times 2
        self.put("c.dat", imatrix_bytes({DENSE: (2, [1.0, 2.0, 3.0, 4.0]), STACK: (3, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])}))

    # ---- show ----

    def test_what_it_shows(self):
        r = self.json("imatrix", "show", "a.gguf")
        self.assertEqual((r["schema"], r["layout"], r["chunks"], r["chunk_size"]), ("qdq.imatrix/1", "gguf", 2, 512))
        self.assertEqual(r["datasets"], ["wiki.txt", "b\n.txt"])
        self.assertEqual([e["name"] for e in r["entries"]], [DENSE, STACK])  # blk.2 before blk.10
        dense, stack = r["entries"]
        weights = [0.5, 0.0, 1.0, single(3.0 / 1024)]
        self.assertEqual((dense["columns"], dense["matrices"], dense["unreached"]), (4, 1, 0))
        self.assertEqual((dense["least_count"], dense["most_count"]), (1024, 1024))
        self.assertAlmostEqual(dense["sum"], sum(weights), 12)
        self.assertAlmostEqual(dense["mean"], sum(weights) / 4, 12)
        mean = sum(weights) / 4
        self.assertAlmostEqual(dense["deviation"], (sum((w - mean) ** 2 for w in weights) / 4) ** 0.5, 12)
        self.assertEqual((dense["least"], dense["most"], dense["active"]), (0, 1, 0.75))
        # Of the experts, the one that no token reached takes no part.
        self.assertEqual((stack["columns"], stack["matrices"], stack["unreached"]), (2, 3, 1))
        self.assertEqual((stack["least_count"], stack["most_count"]), (0, 1000))
        self.assertAlmostEqual(stack["sum"], single(1 / 100) + single(2 / 100) + single(4 / 1000) + single(8 / 1000), 12)
        self.assertLess(stack["entropy"], 1)
        text = self.done("imatrix", "show", "a.gguf")
        self.assertIn("a.gguf: 2 entries, 2 chunks of 512 tokens", text)
        self.assertIn("dataset b\\x0a.txt", text)
        self.assertIn("No token has reached 1 expert in 1 entry", text)
        self.assertRegex(text, r"ffn_gate_exps.weight +2 +2 of 3 +0 to 1000 ")

    def test_even_weights_have_all_entropy(self):
        r = self.json("imatrix", "show", "b.gguf")
        self.assertEqual([e["entropy"] for e in r["entries"] if e["name"] == "output.weight"], [1])

    def test_order(self):
        def names(sort):
            return [e["name"] for e in self.json("imatrix", "show", "--sort", sort, "a.gguf")["entries"]]
        for sort in ("sum", "mean", "largest", "deviation", "count"):
            self.assertEqual(names(sort)[0], DENSE, sort)
        for sort in ("entropy", "active"):
            self.assertEqual(names(sort)[0], STACK, sort)

    def test_the_legacy_layout(self):
        r = self.json("imatrix", "show", "c.dat")
        self.assertEqual((r["layout"], r["chunks"], r["chunk_size"], r["datasets"]), ("dat", 7, 0, ["words"]))
        self.assertEqual(r["entries"][0]["sum"], 10)
        self.assertEqual(r["entries"][0]["most_count"], 2)
        self.assertIn("counts are chunks", self.done("imatrix", "show", "c.dat"))

    def test_against_a_model(self):
        self.put("m.gguf", gguf_bytes({
            "token_embd.weight": ("F32", [8, 32], f32(gauss(1, 256))), DENSE: ("F32", [2, 4], f32(gauss(2, 8))),
            "blk.3.ffn_up.weight": ("F32", [2, 64], f32(gauss(2, 128))), "output_norm.weight": ("F32", [32], f32([1] * 32))},
            [("general.architecture", STRING, "llama"), ("llama.block_count", U32, 4),
             ("llama.attention.head_count", U32, 1)]))
        r = self.json("imatrix", "show", "--model", "m.gguf", "a.gguf")
        # Rows of 4 are no blocks: what quantize does not pack wants no entry.
        self.assertEqual((r["wanting"], r["lacking"]), (2, ["token_embd.weight", "blk.3.ffn_up.weight"]))
        self.assertEqual(r["unused"], [STACK])
        text = self.done("imatrix", "show", "--model", "m.gguf", "a.gguf")
        self.assertIn("of 2 tensors that are quantized, 0 have an entry", text)
        self.assertIn("1 entry that no tensor of the model wants", text)

    def test_a_model_of_another_size_or_under_other_names(self):
        self.put("m.gguf", gguf_bytes({DENSE: ("F32", [2, 5], f32(gauss(2, 10)))}, [("general.architecture", STRING, "llama")]))
        self.fails(1, [r"a\.gguf: weight \"blk.2.ffn_up.weight\" has 4 values", "another model"], "imatrix", "show", "--model",
                   "m.gguf", "a.gguf")
        os.mkdir(self.path("hf"))
        self.put("hf/model.safetensors", safetensors_bytes({
            "model.layers.2.mlp.up_proj.weight": ("F32", [32, 4], f32(gauss(2, 128))),
            "model.layers.0.mlp.up_proj.weight": ("F32", [4, 32], f32(gauss(2, 128)))}))
        self.put("hf/config.json", b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
        r = self.json("imatrix", "show", "--model", "hf", "a.gguf")
        self.assertEqual((r["lacking"], r["unused"]), (["model.layers.0.mlp.up_proj.weight"], [STACK]))

    # ---- merge and convert ----

    def test_the_sum_of_two(self):
        text = self.done("imatrix", "merge", "a.gguf", "b.gguf", "-o", "sum.gguf")
        self.assertIn("3 entries, 3 chunks of 512 tokens, from 2 matrices", text)
        self.assertIn("2 of them are not in every matrix", text)
        sums = [single(x + single(y)) for x, y in zip(self.first[DENSE][0][0], self.second[DENSE][0][0])]
        wanted = dict(self.first, **{"output.weight": self.second["output.weight"], DENSE: ([sums], [1536])})
        self.assertEqual(read(self.path("sum.gguf")),
                         imatrix_gguf_bytes(wanted, datasets=["wiki.txt", "b\n.txt", "code.txt"]))

    def test_one_is_the_same_file(self):
        self.assertEqual(self.done("imatrix", "convert", "--quiet", "a.gguf", "-o", "same.gguf"), "")
        self.assertEqual(read(self.path("same.gguf")), read(self.path("a.gguf")))

    def test_to_the_legacy_layout(self):
        self.done("imatrix", "convert", "a.gguf", "-o", "a.dat")
        entries, chunks, dataset = read_dat(self.path("a.dat"))
        self.assertEqual((list(entries), chunks, dataset), ([STACK, DENSE], 2, "b\n.txt"))
        self.assertEqual(entries[DENSE], (2, [single(v / 1024) * 2 for v in self.first[DENSE][0][0]]))
        # 1,000 tokens are 2 chunks; the expert without any has ones.
        means = [single(1 / 100), single(2 / 100), single(4 / 1000), single(8 / 1000), 1.0, 1.0]
        self.assertEqual(entries[STACK], (2, [m * 2 for m in means]))
        # quantize reads the same weights of both.
        for name in ("a.gguf", "a.dat"):
            self.assertAlmostEqual(self.json("imatrix", "show", name)["entries"][0]["sum"], 1.5029296875, 9)

    def test_from_the_legacy_layout(self):
        self.done("imatrix", "convert", "c.dat", "-o", "c.gguf", "--chunk-size", 256)
        tensors, keys = read_gguf(self.path("c.gguf"))
        self.assertEqual((keys["imatrix.chunk_size"], keys["imatrix.chunk_count"], keys["imatrix.datasets"]), (256, 3, ["words"]))
        # Means times calls times tokens, all experts as one matrix.
        self.assertEqual(floats("F32", tensors[STACK + ".in_sum2"][2]), [256 * 3 * v for v in [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
        self.assertEqual(floats("F32", tensors[STACK + ".counts"][2]), [768])
        # And back: 3 chunks, means times 3.
        self.done("imatrix", "convert", "c.gguf", "--output-format", "dat", "-o", "back")
        entries, _, dataset = read_dat(self.path("back"))
        self.assertEqual((entries, dataset), ({STACK: (3, [3.0 * v for v in range(1, 7)]), DENSE: (2, [2.0 * v for v in range(1, 5)])},
                                              "words"))

    def test_a_converted_stack_is_one_for_each_expert(self):
        """Both layouts of a matrix make the same file of a model with experts."""
        importance = {"blk.0.ffn_up_exps.weight": (2, [1.0 + i % 7 for i in range(512)])}
        self.put("i.dat", imatrix_bytes(importance))
        self.done("imatrix", "convert", "i.dat", "-o", "i.gguf")
        for name, layout in (("m.gguf", {"blk.0.ffn_up_exps.weight": ("F32", [2, 4, 256], f32(gauss(9, 2048)))}),):
            self.put(name, gguf_bytes(layout, [("general.architecture", STRING, "llama")]))
        for i in ("i.dat", "i.gguf"):
            self.done("quantize", "-d", "cpu", "--quiet", "-f", "q4_K", "--imatrix", i, "m.gguf", "-o", i + ".q4_K")
        data = [read_tensor_bytes(self.path(i + ".q4_K")) for i in ("i.dat", "i.gguf")]
        self.assertEqual(*data)
        # Experts that a checkpoint holds one by one find their part.
        os.mkdir(self.path("hf"))
        raw = gauss(9, 2048)
        self.put("hf/model.safetensors", safetensors_bytes({
            "model.layers.0.mlp.experts.%d.up_proj.weight" % e: ("F32", [4, 256], f32(raw[e * 1024:e * 1024 + 1024]))
            for e in range(2)}))
        self.put("hf/config.json", b'{"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe"}')
        sums = [self.json("error", "-d", "cpu", "-f", "q4_K", "--imatrix", i, "hf")["tensors"] for i in ("i.dat", "i.gguf")]
        self.assertEqual(*sums)

    def test_merging_both_layouts(self):
        self.done("imatrix", "merge", "c.dat", "a.gguf", "-o", "sum.gguf")
        tensors, _ = read_gguf(self.path("sum.gguf"))
        # The calls of the legacy file count for every expert.
        self.assertEqual(floats("F32", tensors[STACK + ".counts"][2]), [1536 + 100, 1536 + 1000, 1536])
        self.assertEqual(floats("F32", tensors[DENSE + ".counts"][2]), [1024 + 1024])

    # ---- what is refused ----

    def test_command_lines(self):
        for arguments, pattern in [
                (["a.gguf"], "say what to do: show FILE"), (["show"], "no importance matrix"), ([], "say what to do"),
                (["show", "a.gguf", "b.gguf"], "merge takes several"), (["merge", "a.gguf"], "no output"),
                (["show", "a.gguf", "-o", "x"], "show writes no matrix"), (["show", "--sort", "size", "a.gguf"], "--sort takes one of"),
                (["convert", "a.gguf", "-o", "x", "--output-format", "csv"], "takes gguf or dat"),
                (["convert", "a.gguf", "-o", "x", "--chunk-size", "0"], "--chunk-size"),
                (["convert", "a.gguf", "b.gguf", "-o", "x"], "one importance matrix"),
                (["convert", "a.gguf", "-o", "x", "--json", "-"], "options of show"),
                (["convert", "a.gguf", "-o", "a.gguf"], "is the input"), (["merge", "a.gguf", "b.gguf", "-o", "b.gguf"], "is the input"),
                (["show", "a.gguf", "--json", "a.gguf"], "is the input")]:
            self.fails(2, pattern, "imatrix", *arguments)

    def test_matrices_that_do_not_go_together(self):
        self.put("d.gguf", imatrix_gguf_bytes({DENSE: ([[1.0, 2.0]], [5])}))
        self.fails(1, [r"d\.gguf: weight \"blk.2.ffn_up.weight\" has 2 values of 1 matrices, but 4 of 1"], "imatrix", "merge",
                   "a.gguf", "d.gguf", "-o", "x.gguf")
        self.put("d.gguf", imatrix_gguf_bytes({STACK: ([[1.0] * 3, [1.0] * 3], [5, 5])}))
        self.fails(1, ["6 values of 2 matrices, but 6 of 3"], "imatrix", "merge", "a.gguf", "d.gguf", "-o", "x.gguf")

    def test_numbers_that_go_too_far(self):
        self.put("d.gguf", imatrix_gguf_bytes({DENSE: ([[3e38]], [5])}))
        self.fails(1, "value 0 is more than a float holds", "imatrix", "merge", "d.gguf", "d.gguf", "-o", "x.gguf")
        self.put("d.gguf", imatrix_gguf_bytes({DENSE: ([[1.0]], [1e30])}))
        self.fails(1, "more than 2\\^53 tokens", "imatrix", "convert", "d.gguf", "-o", "x.gguf")
        self.put("d.dat", imatrix_bytes({DENSE: (2 ** 31 - 1, [0.0])}))
        self.fails(1, "more than 2\\^53 tokens", "imatrix", "convert", "d.dat", "--chunk-size", 2 ** 31 - 1, "-o", "x.gguf")
        self.put("d.gguf", imatrix_gguf_bytes({DENSE: ([[1.0]], [2.0 ** 40])}, chunk_size=1))
        self.fails(1, "chunks are more than", "imatrix", "convert", "d.gguf", "-o", "x.gguf")
        self.put("d.gguf", imatrix_gguf_bytes({DENSE: ([[1.0]], [0])}))
        self.fails(1, "no token has reached any weight", "imatrix", "convert", "d.gguf", "-o", "x.dat")

    def test_names_that_the_layout_cuts(self):
        long = "blk.0." + "n" * 52  # with .in_sum2 66 bytes, of which ggml keeps 63
        self.put("d.dat", imatrix_bytes({long: (1, [1.0])}))
        self.done("imatrix", "convert", "d.dat", "-o", "d.gguf")
        self.assertEqual(sorted(read_gguf(self.path("d.gguf"))[0]), [long + ".coun", long + ".in_s"])
        self.assertEqual([e["name"] for e in self.json("imatrix", "show", "d.gguf")["entries"]], [long])
        self.put("e.dat", imatrix_bytes({"blk.0." + "n" * 56: (1, [1.0])}))
        self.fails(1, "its name has 62 bytes", "imatrix", "convert", "e.dat", "-o", "e.gguf")
        self.done("imatrix", "convert", "e.dat", "-o", "f.dat")
        self.assertEqual(read_dat(self.path("f.dat"))[0], {"blk.0." + "n" * 56: (1, [1.0])})

    def test_files_that_are_none(self):
        self.put("m.gguf", gguf_bytes({DENSE: ("F32", [2, 4], f32(gauss(2, 8)))}, [("general.architecture", STRING, "llama")]))
        self.fails(1, "m.gguf: has no key imatrix.datasets", "imatrix", "show", "m.gguf")
        if not WINDOWS:
            os.mkfifo(self.path("pipe"))
            self.fails(1, "pipe: is not a regular file", "imatrix", "show", "pipe")
        whole = read(self.path("a.gguf"))
        for n in (0, 3, 100, len(whole) - 40):
            self.put("cut.gguf", whole[:n])
            self.fails(1, r"cut\.gguf: ", "imatrix", "merge", "a.gguf", "cut.gguf", "-o", "x.gguf")


def read_tensor_bytes(path):
    """All behind the header, whatever the types."""
    r = Reader(read(path))
    r.at = 8
    n_tensors, n_metadata = r.number("Q"), r.number("Q")
    for _ in range(n_metadata):
        r.string()
        r.value(r.number("I"))
    for _ in range(n_tensors):
        r.string()
        r.at += 8 * r.number("I") + 12
    return r.data[r.at + -r.at % 32:]


if __name__ == "__main__":
    unittest.main()
