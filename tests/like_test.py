"""--like: like_test.py PATH/TO/qdq. A file made of a checkpoint and a published GGUF of it is the one that is made of the
checkpoint's conversion. What conversions do to rows and values is done here anew."""

from command_support import *

HEADS, KV_HEADS, HIDDEN, FFN, VOCABULARY, LAYERS = 4, 2, 64, 96, 48, 2


def rounded(raw):
    """Floats that bf16 holds."""
    return floats("BF16", bf16(raw))


def interleaved(values, heads, columns):
    """The rows (i, i + half) of each head side by side."""
    rows = [values[i:i + columns] for i in range(0, len(values), columns)]
    size = len(rows) // heads
    out = []
    for h in range(heads):
        head = rows[h * size:(h + 1) * size]
        for i in range(size // 2):
            out += head[i] + head[i + size // 2]
    return out


class Checkpoint:
    """Tensors under Hugging Face's names, and as a conversion to GGUF in bf16 has them."""

    def __init__(self, architecture="llama", experts=0, tied=False, seed=1):
        self.hf, self.gguf, self.seed, self.architecture = {}, {}, seed, architecture
        moved = architecture == "llama"
        norm = 1.0 if architecture.startswith("gemma") else 0.0
        width = HIDDEN // HEADS
        self.add("model.embed_tokens", "token_embd", [VOCABULARY, HIDDEN])
        self.add_norm("model.norm", "output_norm", norm)
        if not tied:
            self.add("lm_head", "output", [VOCABULARY, HIDDEN])
        for n in range(LAYERS):
            hf, gguf = "model.layers.%d." % n, "blk.%d." % n
            self.add_norm(hf + "input_layernorm", gguf + "attn_norm", norm)
            self.add_norm(hf + "post_attention_layernorm", gguf + ("ffn_norm" if not norm else "post_attention_norm"), norm)
            self.add(hf + "self_attn.q_proj", gguf + "attn_q", [HIDDEN, HIDDEN], HEADS if moved else 0)
            self.add(hf + "self_attn.k_proj", gguf + "attn_k", [KV_HEADS * width, HIDDEN], KV_HEADS if moved else 0)
            self.add(hf + "self_attn.v_proj", gguf + "attn_v", [KV_HEADS * width, HIDDEN])
            self.add(hf + "self_attn.o_proj", gguf + "attn_output", [HIDDEN, HIDDEN])
            if experts:
                self.add(hf + "block_sparse_moe.gate", gguf + "ffn_gate_inp", [experts, HIDDEN], keep=True)
                for w, to, shape in (("w1", "gate", [FFN, HIDDEN]), ("w2", "down", [HIDDEN, FFN]), ("w3", "up", [FFN, HIDDEN])):
                    whole = []
                    for e in range(experts):
                        whole += self.put_hf(hf + "block_sparse_moe.experts.%d.%s" % (e, w), shape)
                    self.gguf[gguf + "ffn_%s_exps.weight" % to] = ("BF16", [experts] + shape, whole)
            else:
                self.add(hf + "mlp.gate_proj", gguf + "ffn_gate", [FFN, HIDDEN])
                self.add(hf + "mlp.up_proj", gguf + "ffn_up", [FFN, HIDDEN])
                self.add(hf + "mlp.down_proj", gguf + "ffn_down", [HIDDEN, FFN])

    def put_hf(self, name, shape):
        self.seed += 1
        values = rounded(gauss(self.seed, count(shape)))
        self.hf[name + ".weight"] = ("BF16", shape, values)
        return values

    def add(self, hf, gguf, shape, heads=0, keep=False):
        values = self.put_hf(hf, shape)
        self.gguf[gguf + ".weight"] = ("F32" if keep else "BF16", shape, interleaved(values, heads, shape[1]) if heads else values)

    def add_norm(self, hf, gguf, added):
        self.gguf[gguf + ".weight"] = ("F32", [HIDDEN], [v + added for v in self.put_hf(hf, [HIDDEN])])

    def keys(self):
        a = self.architecture
        return [("general.architecture", STRING, a), ("general.name", STRING, "Tiny"), (a + ".block_count", U32, LAYERS),
                (a + ".attention.head_count", U32, HEADS), (a + ".attention.head_count_kv", U32, KV_HEADS),
                ("tokenizer.ggml.tokens", ARRAY, (STRING, ["t%d" % i for i in range(VOCABULARY)])),
                ("general.file_type", U32, 32)]

    def safetensors(self):
        return safetensors_bytes({n: (d, s, bf16(v)) for n, (d, s, v) in self.hf.items()}, {"format": "pt"})

    def converted(self, more=(), without=(), keys=None):
        tensors = {n: (d, s, f32(v) if d == "F32" else bf16(v)) for n, (d, s, v) in self.gguf.items() if n not in without}
        tensors.update(more)
        return gguf_bytes(tensors, keys or self.keys())


class Like(CommandTest):
    def setUp(self):
        super().setUp()
        self.made = Checkpoint()
        self.begin(self.made)

    def begin(self, made):
        self.put("hf.safetensors", made.safetensors())
        self.put("bf16.gguf", made.converted())

    def quantize(self, *arguments):
        return self.done("quantize", "-d", "cpu", *arguments)

    def same_files(self, template, *arguments):
        """Of the checkpoint, like the template, what the conversion becomes."""
        self.quantize("--quiet", "bf16.gguf", "-o", "wanted.gguf", *arguments)
        text = self.quantize("--like", template, "hf.safetensors", "-o", "out.gguf", *arguments)
        self.assertEqual(read(self.path("out.gguf")), read(self.path("wanted.gguf")), (template, arguments))
        return text

    def templates(self):
        yield "bf16.gguf"
        for f in ("f32", "f16", "q8_0", "q4_0", "iq4_nl", "mxfp4", "q2_K", "q4_K"):
            name = f + ".gguf"
            self.quantize("--quiet", "-f", f, "bf16.gguf", "-o", name)
            yield name

    def test_templates_of_all_types_make_the_conversions_file(self):
        for template in self.templates():
            text = self.same_files(template, "-f", "q8_0")
            self.assertIn("Like %s: 21 tensors, all found in it; rows moved in 4" % template, text)
        self.same_files("q4_0.gguf", "--preset", "Q4_K_M")
        self.same_files("q4_0.gguf", "-f", "bf16")
        self.same_files("q4_0.gguf", "--preset", "Q5_0", "--prune-layers", "0")

    def test_json(self):
        self.put("bf16.gguf", self.made.converted({"rope_freqs.weight": ("F32", [8], f32([1.0] * 8))}))
        more = dict(self.made.hf, **{"extra.weight": ("BF16", [2, 2], [0.0] * 4)})
        self.made.hf = more
        self.put("hf.safetensors", self.made.safetensors())
        r = self.json("quantize", "-d", "cpu", "--dry-run", "--like", "bf16.gguf", "hf.safetensors", "-f", "q8_0")["like"]
        self.assertEqual(r, {"template": "bf16.gguf", "tensors": 21, "verified": 21, "moved": 4, "copied": ["rope_freqs.weight"],
                             "unused": ["extra.weight"]})
        text = self.quantize("--like", "bf16.gguf", "hf.safetensors", "-f", "q8_0", "-o", "o.gguf")
        self.assertIn("1 copied from the template: rope_freqs.weight", text)
        self.assertIn("1 of the checkpoint not in it: extra.weight", text)
        tensors, keys = read_gguf(self.path("o.gguf"))
        self.assertEqual(tensors["rope_freqs.weight"][2], f32([1.0] * 8))
        self.assertEqual((keys["general.name"], keys["tokenizer.ggml.tokens"][47]), ("Tiny", "t47"))
        self.assertNotIn("like", self.json("quantize", "-d", "cpu", "--dry-run", "bf16.gguf", "-f", "q8_0"))

    def test_experts(self):
        made = Checkpoint(experts=3, tied=True)
        self.begin(made)
        for template in self.templates():
            self.same_files(template, "-f", "q8_0")
        # With importance, each expert its own.
        self.put("i.dat", imatrix_bytes({"blk.1.ffn_up_exps.weight": (1, [1.0 + i % 5 for i in range(3 * HIDDEN)])}))
        wanted = "-f", "q4_0", "--imatrix", "i.dat"
        self.same_files("q8_0.gguf", *wanted)
        # Experts that changed places are other weights.
        a, b = ("model.layers.0.block_sparse_moe.experts.%d.w1.weight" % e for e in (1, 2))
        made.hf[a], made.hf[b] = made.hf[b], made.hf[a]
        self.put("hf.safetensors", made.safetensors())
        for template in ("bf16.gguf", "q8_0.gguf", "q2_K.gguf"):
            self.fails(1, [r"tensor \"blk.0.ffn_gate_exps.weight\" is not \"model.layers.0.block_sparse_moe.experts.1.w1.weight\"",
                           "at row 9[67], column"],
                       "quantize", "-d", "cpu", "--like", template, "hf.safetensors", "-f", "q8_0", "-o", "o.gguf")
        del made.hf[a]
        self.put("hf.safetensors", made.safetensors())
        self.fails(1, ["expert 1 of \"blk.0.ffn_gate_exps.weight\" is missing"], "quantize", "-d", "cpu", "--like", "bf16.gguf",
                   "hf.safetensors", "-f", "q8_0", "-o", "o.gguf")

    def test_other_architectures(self):
        for architecture in ("qwen3", "gemma3"):
            self.begin(Checkpoint(architecture))
            for template in self.templates():
                text = self.same_files(template, "-f", "q4_0")
                self.assertNotIn("moved", text)

    def test_an_output_that_is_the_embeddings_twin(self):
        made = Checkpoint(tied=True)
        made.gguf["output.weight"] = made.gguf["token_embd.weight"]
        self.begin(made)
        self.same_files("bf16.gguf", "-f", "q8_0")

    def test_moved_rows_of_biases(self):
        made = self.made
        for name, to, heads in (("q_proj", "attn_q", HEADS), ("k_proj", "attn_k", KV_HEADS)):
            values = rounded(gauss(77, heads * HIDDEN // HEADS))
            made.hf["model.layers.0.self_attn.%s.bias" % name] = ("BF16", [len(values)], values)
            made.gguf["blk.0.%s.bias" % to] = ("F32", [len(values)], interleaved(values, heads, 1))
        self.begin(made)
        self.same_files("bf16.gguf", "-f", "q8_0")

    def test_rows_that_were_not_moved_stay(self):
        """Whatever the architecture's rule says."""
        made = self.made
        made.gguf["blk.1.attn_q.weight"] = ("BF16", [HIDDEN, HIDDEN], made.hf["model.layers.1.self_attn.q_proj.weight"][2])
        self.begin(made)
        for template in ("bf16.gguf", "q4_0.gguf"):
            self.quantize("--quiet", "-f", "q4_0", "bf16.gguf", "-o", "q4_0.gguf")
            self.assertIn("moved in 3", self.same_files(template, "-f", "q8_0"))

    def test_other_weights_are_refused(self):
        name = "model.layers.1.mlp.down_proj.weight"
        d, s, values = self.made.hf[name]
        command = "quantize", "-d", "cpu", "hf.safetensors", "-f", "q8_0", "-o", "o.gguf", "--like"
        self.made.hf[name] = (d, s, values[:5] + [values[5] + 0.5] + values[6:])
        self.put("hf.safetensors", self.made.safetensors())
        self.fails(1, [r"bf16\.gguf: tensor \"blk.1.ffn_down.weight\" is not \"model.layers.1.mlp.down_proj.weight\" of hf.safetensors",
                       "at row 0, column 5 stands", "its values should be the same", "correlation 1.000", "--other-weights"],
                   *command, "bf16.gguf")
        self.made.hf[name] = (d, s, rounded(gauss(99, len(values))))
        self.put("hf.safetensors", self.made.safetensors())
        for f in ("q8_0", "q4_0", "q2_K"):
            self.quantize("--quiet", "-f", f, "bf16.gguf", "-o", "t.gguf")
            self.fails(1, ["ffn_down.weight", "relative error 1.[345]", "may leave 0"], *command, "t.gguf")
        # Rows in an order that no conversion makes.
        self.made.hf[name] = (d, s, values[::-1])
        self.put("hf.safetensors", self.made.safetensors())
        self.fails(1, "ffn_down.weight", *command, "bf16.gguf")

    def test_other_weights_are_taken_when_asked_for(self):
        """Of a model that was trained further rows are found by what is left of them; where nothing is, by rule."""
        for distance in (0.1, 100.0):
            made = Checkpoint()
            for n, (name, (d, s, v)) in enumerate(made.hf.items()):
                made.hf[name] = (d, s, rounded([x + y for x, y in zip(v, gauss(1000 + n, len(v), distance))]))
            self.put("hf.safetensors", made.safetensors())
            text = self.quantize("--like", "bf16.gguf", "--other-weights", "hf.safetensors", "-f", "bf16", "-o", "o.gguf")
            self.assertIn("21 tensors, of other weights; rows moved in 4", text)
            got = read_gguf(self.path("o.gguf"))[0]
            q = made.hf["model.layers.1.self_attn.q_proj.weight"][2]
            self.assertEqual(got["blk.1.attn_q.weight"][2], bf16(interleaved(q, HEADS, HIDDEN)))
            self.assertEqual(got["blk.1.ffn_up.weight"][2], bf16(made.hf["model.layers.1.mlp.up_proj.weight"][2]))
        self.fails(2, "--other-weights goes with --like", "quantize", "--other-weights", "bf16.gguf", "-f", "q8_0", "-o", "o.gguf")

    def test_the_first_part_of_a_split_set(self):
        keys = self.made.keys() + [("split.no", U16, 0), ("split.count", U16, 2), ("split.tensors.count", I32, 21)]
        late = [n for n in self.made.gguf if n.startswith("blk.1.")]
        for without in (late, list(self.made.gguf)):
            self.put("m-00001-of-00002.gguf", self.made.converted(without=without, keys=keys))
            self.quantize("--quiet", "bf16.gguf", "-o", "wanted.gguf", "-f", "q8_0")
            text = self.quantize("--like", "m-00001-of-00002.gguf", "hf.safetensors", "-o", "out.gguf", "-f", "q8_0")
            self.assertIn("21 tensors, %d found in it, the others by the architecture's rules; rows moved in 4" %
                          (21 - len(without)), text)
            self.assertEqual(read_gguf(self.path("out.gguf")), read_gguf(self.path("wanted.gguf")))
        self.put("m-00002-of-00002.gguf", self.made.converted(without=late, keys=keys[:-3] + [("split.no", U16, 1),
                                                                                             ("split.count", U16, 2)]))
        os.remove(self.path("m-00001-of-00002.gguf"))
        self.fails(1, "is not the first part", "quantize", "-d", "cpu", "--like", "m-00002-of-00002.gguf", "hf.safetensors", "-f", "q8_0",
                   "-o", "o.gguf")

    def test_plans_and_errors_go_by_the_templates_names(self):
        r = self.json("error", "-d", "cpu", "-f", "q4_0", "--like", "bf16.gguf", "hf.safetensors")["tensors"]
        wanted = self.json("error", "-d", "cpu", "-f", "q4_0", "bf16.gguf")["tensors"]
        self.assertEqual({t["name"]: t["errors"] for t in r}, {t["name"]: t["errors"] for t in wanted})
        self.done("plan", "-d", "cpu", "--target", "6bpw", "--formats", "q4_0,q8_0", "--like", "bf16.gguf", "hf.safetensors", "-o", "p.json")
        self.quantize("--like", "bf16.gguf", "--plan", "p.json", "hf.safetensors", "-o", "o.gguf")
        self.quantize("--plan", "p.json", "bf16.gguf", "-o", "w.gguf")
        self.assertEqual(read(self.path("o.gguf")), read(self.path("w.gguf")))

    def test_names_of_ones_own(self):
        hf = {n.replace("model.layers", "h"): v for n, v in self.made.hf.items()}
        self.put("hf.safetensors", safetensors_bytes({n: (d, s, bf16(v)) for n, (d, s, v) in hf.items()}))
        lines = "".join("h.{n}.%s blk.{n}.%s\n" % pair for pair in [
            ("input_layernorm.{s}", "attn_norm.{s}"), ("post_attention_layernorm.{s}", "ffn_norm.{s}"),
            ("self_attn.q_proj.{s}", "attn_q.{s}"), ("self_attn.k_proj.{s}", "attn_k.{s}"), ("self_attn.v_proj.{s}", "attn_v.{s}"),
            ("self_attn.o_proj.{s}", "attn_output.{s}"), ("mlp.gate_proj.{s}", "ffn_gate.{s}"), ("mlp.up_proj.{s}", "ffn_up.{s}"),
            ("mlp.down_proj.{s}", "ffn_down.{s}")])
        self.put("map.txt", lines.encode())
        self.same_files_with_map()
        self.fails(1, ["blk.0.attn_norm.weight\": none of hf.safetensors becomes it", "--map FILE"], "quantize", "-d", "cpu", "--like",
                   "bf16.gguf", "hf.safetensors", "-f", "q8_0", "-o", "o.gguf")
        self.fails(2, "--map goes with --like", "quantize", "--map", "map.txt", "bf16.gguf", "-f", "q8_0", "-o", "o.gguf")

    def same_files_with_map(self):
        self.quantize("--quiet", "bf16.gguf", "-o", "wanted.gguf", "-f", "q8_0")
        self.quantize("--like", "bf16.gguf", "--map", "map.txt", "hf.safetensors", "-o", "out.gguf", "-f", "q8_0")
        self.assertEqual(read(self.path("out.gguf")), read(self.path("wanted.gguf")))

    def test_what_a_template_must_be(self):
        command = "quantize", "-d", "cpu", "hf.safetensors", "-f", "q8_0", "-o", "o.gguf", "--like"
        self.fails(1, "a GGUF file is wanted", *command, "hf.safetensors")
        self.fails(1, "none.gguf: cannot be opened", *command, "none.gguf")
        self.put("t.gguf", self.made.converted(keys=self.made.keys()[1:]))
        self.fails(1, "t.gguf: has no general.architecture", *command, "t.gguf")
        self.put("t.gguf", self.made.converted(keys=[("general.architecture", STRING, "mamba")]))
        self.fails(1, ["mamba", "--map FILE"], *command, "t.gguf")
        self.fails(1, "hf2.gguf: is a GGUF itself", "quantize", "-d", "cpu", self.put("hf2.gguf", self.made.converted()), "-f", "q8_0", "-o",
                   "o.gguf", "--like", "bf16.gguf")
        # A matrix that the checkpoint has nothing for.
        self.put("t.gguf", self.made.converted({"blk.0.ffn_more.weight": ("F32", [2, 32], f32([0.0] * 64))}))
        self.fails(1, "blk.0.ffn_more.weight\": none of hf.safetensors becomes it", *command, "t.gguf")
        # Another shape.
        self.put("t.gguf", self.made.converted({"output.weight": ("BF16", [VOCABULARY + 1, HIDDEN], bf16([0.0] * (VOCABULARY + 1) * HIDDEN))}))
        self.fails(1, ["\"output.weight\" is 49 x 64 in t.gguf", "\"lm_head.weight\" of hf.safetensors is 48 x 64"], *command, "t.gguf")
        for output in ("bf16.gguf", "hf.safetensors"):
            self.fails(2, "is the input", "quantize", "-d", "cpu", "--like", "bf16.gguf", "hf.safetensors", "-f", "q8_0", "-o", output)
        self.fails(2, "leave out --keep-split", "quantize", "--keep-split", "--like", "bf16.gguf", "hf.safetensors", "-f", "q8_0", "-o", "o.gguf")

    def test_a_templates_own_importance_is_not_claimed(self):
        self.put("i.dat", imatrix_bytes({"blk.1.ffn_up.weight": (1, [1.0 + i % 5 for i in range(HIDDEN)])}))
        self.quantize("--quiet", "-f", "q4_0", "--imatrix", "i.dat", "bf16.gguf", "-o", "t.gguf")
        self.assertIn("quantize.imatrix.file", read_gguf(self.path("t.gguf"))[1])
        self.same_files("t.gguf", "-f", "q8_0")


if __name__ == "__main__":
    unittest.main()
