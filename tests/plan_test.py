"""Plans by the command itself: plan_test.py PATH/TO/qdq [unittest's options]."""

import fractions
import html
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

from command_support import *
from preset_models import MODELS, PRESETS

LLAMA = [("general.architecture", STRING, "llama"), ("llama.attention.head_count", U32, 4),
         ("llama.attention.head_count_kv", U32, 2), ("general.name", STRING, "tiny")]
# name: (rows, columns, scale of the values)
WEIGHTS = {
    "token_embd": (32, 256, 1.0),
    "blk.0.attn_q": (64, 256, 0.02),
    "blk.0.attn_k": (32, 256, 0.05),
    "blk.0.attn_v": (32, 256, 0.5),
    "blk.0.ffn_gate": (96, 256, 0.1),
    "blk.0.ffn_up": (96, 256, 0.3),
    "blk.0.ffn_down": (256, 96, 3.0),
    "output": (32, 256, 0.2),
}
HF = {"token_embd": "model.embed_tokens", "output": "lm_head", "blk.0.attn_q": "model.layers.0.self_attn.q_proj",
      "blk.0.attn_k": "model.layers.0.self_attn.k_proj", "blk.0.attn_v": "model.layers.0.self_attn.v_proj",
      "blk.0.ffn_gate": "model.layers.0.mlp.gate_proj", "blk.0.ffn_up": "model.layers.0.mlp.up_proj",
      "blk.0.ffn_down": "model.layers.0.mlp.down_proj"}
HEADS = {"blk.0.attn_q": 4, "blk.0.attn_k": 2}
RMS = {"reduction": "root mean square over samples"}  # metadata of gradients


def interleaved(values, rows, columns, heads):
    """Rows as the conversion to GGUF has them: the halves of each head in turns."""
    head = rows // heads
    order = [h * head + half * (head // 2) + i for h in range(heads) for i in range(head // 2) for half in range(2)]
    return [v for row in order for v in values[row * columns:(row + 1) * columns]]


def sealed(scores):
    """The file of these scores, with the checksum that belongs to them: 64 bits of FNV-1a of all before it."""
    scores = {key: value for key, value in scores.items() if key != "checksum"}
    text = json.dumps(scores, indent=1).encode()[:-2]
    value = 0xcbf29ce484222325
    for byte in text:
        value = (value ^ byte) * 0x100000001b3 % 2 ** 64
    return text + b',\n "checksum": "%016x"\n}\n' % value


def chosen_formats(plan):
    return {t["name"].replace(".weight", ""): t["format"] for t in json.loads(plan)["tensors"] if t["reason"] is None}


class PlanTest(unittest.TestCase):
    """A llama of one layer, as GGUF and as safetensors, with gradients in both namings."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="qdq-plan-")
        self.addCleanup(shutil.rmtree, self.directory)
        gguf, hf, gradients, moved = {}, {}, {}, {}
        for seed, (name, (rows, columns, scale)) in enumerate(WEIGHTS.items()):
            w, g = gauss(seed, rows * columns, scale), gauss(100 + seed, rows * columns, 0.01)
            shape, key, other = [rows, columns], f"{name}.weight", f"{HF[name]}.weight"
            heads = HEADS.get(name)
            hf[other] = ("F32", shape, f32(w))
            gradients[other] = ("F32", shape, f32(g))
            gguf[key] = ("F32", shape, f32(interleaved(w, rows, columns, heads) if heads else w))
            moved[key] = ("F32", shape, f32(interleaved(g, rows, columns, heads) if heads else g))
        norm = ("F32", [256], f32([1.0] * 256))
        gguf["blk.0.attn_norm.weight"] = norm
        hf["model.layers.0.input_layernorm.weight"] = norm
        self.gguf = self.put("model.gguf", gguf_bytes(gguf, LLAMA))
        self.hf = self.put("model.safetensors", safetensors_bytes(hf))
        self.gradients = self.put("gradients.safetensors", safetensors_bytes(gradients, RMS))
        self.moved = self.put("moved.safetensors", safetensors_bytes(moved, RMS))
        self.put("config.json", b'{"architectures": ["LlamaForCausalLM"]}')
        self.tensors = hf

    def put(self, name, data):
        return write(os.path.join(self.directory, name), data)

    def path(self, name):
        return os.path.join(self.directory, name)

    def qdq(self, *arguments):
        return run(*arguments, cwd=self.directory)

    def done(self, *arguments):
        result = self.qdq(*arguments)
        self.assertEqual((result.returncode, result.stderr), (0, ""), arguments)
        return result.stdout

    def plan(self, *options, model=None, output="plan.json"):
        self.done("plan", "-d", "cpu", *options, model or self.gguf, "-o", output)
        return json.loads(read(self.path(output)))

    def refused(self, status, *options, model=None, says=()):
        before = sorted(os.listdir(self.directory))
        result = self.qdq("plan", "-d", "cpu", *options, model or self.gguf, "-o", "refused.json")
        self.assertEqual(result.returncode, status, result.stderr)
        for text in says:
            self.assertIn(text, result.stderr)
        self.assertEqual(sorted(os.listdir(self.directory)), before)

    @staticmethod
    def formats(plan):
        return {t["name"]: t["format"] for t in plan["tensors"]}

    # ---- Sizes ----

    def test_forecast_is_the_files_size(self):
        for model, target in itertools.product((self.gguf, self.hf), ("3.5bpw", "4.5bpw", "5.3bpw", "7bpw", "20%")):
            plan = self.plan("--target", target, model=model)
            self.assertLessEqual(plan["bytes"], plan["budget"])
            self.done("quantize", "-d", "cpu", "--plan", "plan.json", model, "-o", "out.gguf")
            self.assertEqual(os.path.getsize(self.path("out.gguf")), plan["bytes"], (model, target))

    def test_forecast_of_every_format(self):
        self.imatrix("even.dat", {f"{n}.weight": [0.5 + i % 5 for i in range(WEIGHTS[n][1])] for n in WEIGHTS})
        table = {row[0]: row[-1] for row in map(str.split, self.done("formats").splitlines()[1:])}
        self.assertIn("needed", table.values())
        for name, options in itertools.product(table, ((), ("--imatrix", "even.dat"))):
            if table[name] == "needed" and not options:
                self.refused(2, "--target", "15bpw", "--formats", f"{name},source", says=[name, "--imatrix"])
                continue
            plan = self.plan("--target", "15bpw", "--formats", f"{name},source", "--pin", f"ffn_gate={name}", *options)
            self.assertEqual(self.formats(plan)["blk.0.ffn_gate.weight"], name)
            self.done("quantize", "-d", "cpu", "--plan", "plan.json", self.gguf, "-o", "out.gguf")
            self.assertEqual(os.path.getsize(self.path("out.gguf")), plan["bytes"], (name, options))

    def test_candidates(self):
        """All formats but those for models trained in them; with an importance matrix also those that want one."""
        every = {line.split()[0] for line in self.done("formats").splitlines()[1:]}
        wanting = {"iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs"}
        usual = every - {"q1_0", "q2_0", "tq1_0", "tq2_0"}

        def candidates(plan, name):
            return {c["format"] for t in plan["tensors"] if t["name"] == f"{name}.weight" for c in t["choices"]}

        self.assertEqual(candidates(self.plan("--target", "5bpw"), "output"), usual - wanting | {"iq2_s", "iq3_xxs", "iq1_m"})
        self.assertEqual(candidates(self.plan("--target", "5bpw"), "blk.0.attn_q"), usual - wanting)
        names = [n for n in WEIGHTS if n not in ("token_embd", "blk.0.attn_k")]
        self.imatrix("some.dat", {f"{n}.weight": [0.5 + i % 5 for i in range(WEIGHTS[n][1])] for n in names})
        plan = self.plan("--target", "3bpw", "--imatrix", "some.dat", "--recipe", "types.txt")
        self.assertEqual(candidates(plan, "blk.0.attn_q"), usual)
        self.assertEqual(candidates(plan, "blk.0.attn_k"), usual - wanting)  # has no entry
        self.assertTrue(wanting & set(self.formats(plan).values()))
        # Named, they are measured and written; llama-quantize would stop, so there is no recipe with them.
        named = self.plan("--target", "4bpw", "--formats", "iq2_s,q8_0")
        self.assertEqual(candidates(named, "blk.0.attn_q"), {"iq2_s", "q8_0"})
        recipe = self.plan("--target", "8.5bpw", "--formats", "iq2_s,q8_0", "--recipe", "types.txt")
        self.assertEqual(candidates(recipe, "blk.0.attn_q"), {"q8_0"})
        self.refused(2, "--target", "5bpw", "--formats", "iq2_s,q8_0", "--pin", "attn_q=iq2_s", "--recipe", "t.txt",
                     says=["iq2_s"])

    def test_what_was_planned_is_written(self):
        plan = self.plan("--target", "5.3bpw", "--formats", "q4_0,q5_1,q8_0,source")
        self.done("quantize", "-d", "cpu", "--plan", "plan.json", self.gguf, "-o", "out.gguf")
        written, metadata = read_gguf(self.path("out.gguf"))
        ids = {"q4_0": 2, "q5_1": 7, "q8_0": 8, "source": 0}
        self.assertEqual({n: t[0] for n, t in written.items()}, {n: ids[f] for n, f in self.formats(plan).items()})
        self.assertEqual(metadata["general.name"], "tiny")

    def test_best_of_all(self):
        """Brute force over all assignments."""
        plan = self.plan("--target", "6bpw", "--formats", "q4_0,q5_1,q8_0")
        choices = [[(c["bytes"], c["damage"]) for c in t["choices"]] for t in plan["tensors"] if t["choices"]]
        room = plan["budget"] - plan["overhead"] - sum(t["bytes"] for t in plan["tensors"] if not t["choices"])
        best = min(sum(c[1] for c in chosen) for chosen in itertools.product(*choices)
                   if sum(c[0] for c in chosen) <= room)
        self.assertTrue(plan["proven"])
        self.assertAlmostEqual(plan["damage"], best, delta=1e-12 * best)

    def test_budgets_that_cannot_be_met(self):
        for target in ("1bpw", "12bpw", "2kB", "1GiB", "99%"):
            result = self.qdq("plan", "-d", "cpu", "--target", target, "--formats", "q4_0,q8_0", self.gguf, "-o", "p.json")
            self.assertEqual(result.returncode, 2)
            low = self.plan("--target", "5bpw", "--formats", "q4_0,q8_0")
            self.assertIn(str(low["floor"]), result.stderr)
            self.assertIn(str(low["ceiling"]), result.stderr)
            for exact in ("floor", "ceiling"):
                self.assertEqual(self.plan("--target", f"{low[exact]}B", "--formats", "q4_0,q8_0")["bytes"], low[exact])
        for nonsense in ("4.5", "bpw", "5 bananas", "-1bpw", "", "nan%"):
            self.refused(2, "--target", nonsense, says=["4.5bpw"])

    # ---- Rules ----

    def test_pins_minimum_and_lists(self):
        plan = self.plan("--target", "5bpw", "--formats", "q4_0,q5_0", "--pin", "^output=Q6_K", "--min", "attn_v=q5_0",
                         "--allow", "ffn_up=q4_0")
        formats = self.formats(plan)
        self.assertEqual(formats["output.weight"], "q6_K")
        self.assertEqual(formats["blk.0.attn_v.weight"], "q5_0")
        self.assertEqual(formats["blk.0.ffn_up.weight"], "q4_0")
        self.assertNotIn("q6_K", [f for n, f in formats.items() if n != "output.weight"])
        self.refused(2, "--target", "5bpw", "--pin", "nothing=q4_0", says=["nothing"])
        self.refused(2, "--target", "5bpw", "--pin", "(=q4_0", says=["("])
        self.refused(2, "--target", "5bpw", "--pin", "q4_0", says=["--pin"])
        self.refused(2, "--target", "5bpw", "--formats", "q4_0,q8_0", "--pin", "attn_q=q4_0", "--min", "attn_q=q8_0",
                     says=["leaves no format"])
        self.refused(2, "--target", "5bpw", "--formats", "q4_0,q9", says=["q9"])
        self.refused(2, "--target", "5bpw", "--allow", "vulkan", says=["vulkan", "cuda"])

    def test_runtimes(self):
        """What llama.cpp has no kernels for: of ggml d99724f2."""
        every = {line.split()[0] for line in self.done("formats").splitlines()[1:]}
        self.imatrix("even.dat", {f"{n}.weight": [1.0] * WEIGHTS[n][1] for n in WEIGHTS})
        for runtime, lacks in (("cpu", set()), ("cuda", {"tq1_0", "tq2_0"}), ("metal", {"nvfp4", "tq1_0"})):
            plan = self.plan("--target", "5bpw", "--formats", ",".join(every), "--allow", runtime, "--imatrix", "even.dat")
            q = next(t for t in plan["tensors"] if t["name"] == "blk.0.attn_q.weight")
            self.assertEqual({c["format"] for c in q["choices"]}, every - lacks)

    def test_groups(self):
        groups = (["attn_q", "attn_k", "attn_v"], ["ffn_gate", "ffn_up"])
        for target in ("4.6bpw", "5bpw", "5.5bpw", "6.5bpw"):
            for model, name in ((self.gguf, lambda n: f"blk.0.{n}.weight"), (self.hf, lambda n: HF[f"blk.0.{n}"] + ".weight")):
                formats = self.formats(self.plan("--target", target, "--same", "qkv", "--same", "gate-up", model=model))
                for group in groups:
                    self.assertEqual(len({formats[name(n)] for n in group}), 1, formats)
        alike = self.formats(self.plan("--target", "6bpw", "--same", "^(token|output)", "--formats", "q4_0,q5_0,q8_0"))
        self.assertEqual(len(alike), len(WEIGHTS) + 1)
        one = self.formats(self.plan("--target", "6bpw", "--same", "weight", "--formats", "q4_0,q5_0,q8_0"))
        self.assertEqual({f for n, f in one.items() if "norm" not in n}, {"q5_0"})

    # ---- Scores ----

    def test_many_tensors_are_shown_kind_by_kind(self):
        tensors = {f"blk.{layer}.{name}.weight": ("F32", [8, 256], f32(gauss(layer + k, 8 * 256)))
                   for layer in range(33) for k, name in enumerate(("attn_q", "ffn_up"))}
        model = self.put("many.gguf", gguf_bytes(tensors, LLAMA))
        command = ("--target", "5bpw", "--formats", "q4_0,q4_K,q8_0", model, "-o", self.path("p.json"))
        rows = {}
        for options in ((), ("--list-tensors",)):
            text = self.qdq("plan", *command, *options).stdout
            rows[options] = [line.split() for line in text.splitlines() if line.startswith("blk.")]
            self.assertEqual("--list-tensors shows" in text, not options)
        planned = [t for t in json.loads(read(self.path("p.json")))["tensors"] if t["reason"] is None]
        self.assertEqual([row[0] for row in rows[("--list-tensors",)]], [t["name"] for t in planned])
        self.assertEqual({row[0] for row in rows[()]}, {"blk.*.attn_q.weight", "blk.*.ffn_up.weight"})
        for kind, count, name, bits, damage in rows[()]:
            like = [t for t in planned if t["format"] == name and re.sub(r"\d+", "*", t["name"], count=1) == kind]
            self.assertEqual(int(count), len(like))
            self.assertEqual(float(bits), 8 * sum(t["bytes"] for t in like) / (8 * 256 * len(like)))
            total = sum(c["damage"] for t in like for c in t["choices"] if c["format"] == name)
            self.assertAlmostEqual(float(damage) / total, 1, 3)
        self.assertEqual(sum(int(row[1]) for row in rows[()]), 66)

    def test_scores_are_kept_and_stale_ones_refused(self):
        options = ("--formats", "q4_0,q5_0,q8_0", "--scores", "scores.json")
        first = self.plan("--target", "5bpw", *options)
        kept = read(self.path("scores.json"))
        again = self.done("plan", "-d", "cpu", "--target", "5bpw", *options, self.gguf, "-o", "again.json")
        self.assertIn("nothing was measured", again)
        self.assertEqual(read(self.path("again.json")), read(self.path("plan.json")))
        self.assertEqual(read(self.path("scores.json")), kept)
        # An interrupted pass: what is there is believed, what is missing is measured.
        partial = json.loads(kept)
        del partial["tensors"]["output.weight"], partial["tensors"]["blk.0.ffn_up.weight"]["q5_0"]
        partial["tensors"]["token_embd.weight"]["q4_0"]["error"][0] = 123.0
        self.put("scores.json", json.dumps(partial).encode())
        self.refused(1, "--target", "5bpw", *options, says=["scores.json", "damaged, or changed by hand", "checksum"])
        self.put("scores.json", sealed(partial))
        resumed = self.plan("--target", "5bpw", *options)
        choices = {t["name"]: {c["format"]: c["damage"] for c in t["choices"]} for t in resumed["tensors"]}
        expected = {t["name"]: {c["format"]: c["damage"] for c in t["choices"]} for t in first["tensors"]}
        self.assertGreater(choices["token_embd.weight"].pop("q4_0"), expected["token_embd.weight"].pop("q4_0"))
        self.assertEqual(choices, expected)
        # Another format is measured besides.
        self.plan("--target", "5bpw", "--formats", "q4_0,q4_1,q8_0", "--scores", "scores.json")
        self.assertIn("q4_1", json.loads(read(self.path("scores.json")))["formats"])
        self.put("scores.json", kept)
        os.utime(self.gguf, (1, 1))
        self.refused(1, "--target", "5bpw", *options, says=["scores.json", "weights", "stale"])
        self.put("scores.json", b"{nonsense")
        self.refused(1, "--target", "5bpw", *options, says=["scores.json"])

    def test_an_earlier_reference(self):
        """Plan, scores and what the plan makes are of one revision."""
        self.imatrix("even.dat", {f"{n}.weight": [0.5 + i % 5 for i in range(WEIGHTS[n][1])] for n in WEIGHTS})
        options = ("--target", "3bpw", "--formats", "iq1_m,q4_0,q8_0", "--imatrix", "even.dat", "--scores", "scores.json")
        self.assertEqual(self.plan(*options)["reference"], "2026-09")
        os.remove(self.path("scores.json"))
        self.assertEqual(self.plan(*options, "--reference", "2026-08")["reference"], "2026-08")
        self.assertEqual(json.loads(read(self.path("scores.json")))["inputs"]["reference"], "2026-08")
        self.refused(1, *options, says=["scores.json", "stale", "revision"])
        made = {}
        for name, more in (("a", ()), ("b", ("--reference", "2026-08")), ("c", ("--reference", "2026-09"))):
            self.done("quantize", "-d", "cpu", "--plan", "plan.json", *more, "--json", name + ".json", self.gguf, "-o", name + ".gguf")
            made[name] = json.loads(read(self.path(name + ".json")))["reference"], read(self.path(name + ".gguf"))
        self.assertEqual(made["a"], made["b"])
        self.assertEqual((made["a"][0], made["c"][0]), ("2026-08", "2026-09"))
        plan = json.loads(read(self.path("plan.json")))
        plan["reference"] = "2025-01"
        self.put("odd.json", json.dumps(plan).encode())
        odd = self.qdq("quantize", "-d", "cpu", "--plan", "odd.json", self.gguf, "-o", "odd.gguf")
        self.assertEqual(odd.returncode, 1)
        self.assertIn('revision "2025-01", which this version does not have', odd.stderr)

    def test_a_pass_that_is_killed_is_gone_on_with(self):
        tensors = {f"model.layers.{i}.mlp.up_proj.weight": ("F32", [512, 1024], f32(gauss(i, 1 << 12, 1 + i)) * 128)
                   for i in range(24)}
        self.put("large.safetensors", safetensors_bytes(tensors))
        command = ["plan", "-d", "cpu", "--target", "4.5bpw", "--scores", "scores.json", "large.safetensors", "-o"]
        first = subprocess.Popen([QDQ, *command, "killed.json", "--cpu-mask", "1", "--threads", "1"],
                                 cwd=self.directory, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        scores = self.path("scores.json")
        while not os.path.exists(scores) and first.poll() is None:
            time.sleep(0.01)
        first.kill()
        self.assertEqual(first.wait(), -9, "it was done before it was killed")
        self.assertFalse(os.path.exists(self.path("killed.json")))
        known = len(json.loads(read(scores))["tensors"])
        self.assertTrue(0 < known < len(tensors), known)
        self.assertIn(f"\n{len(tensors) - known} tensors were measured.", self.done(*command, "resumed.json"))
        self.assertIn("nothing was measured", self.done(*command, "again.json"))
        os.remove(scores)
        self.done(*command, "whole.json")
        for name in ("resumed.json", "again.json"):
            self.assertEqual(read(self.path(name)), read(self.path("whole.json")))

    def test_scores_of_another_map_of_names(self):
        """q's gradient under another map is k's: the shapes agree, the kept scores are another's."""
        shape = ("F32", [32, 256])
        self.put("two.gguf", gguf_bytes({f"blk.0.{n}.weight": (*shape, f32(gauss(i, 8192))) for i, n in enumerate("ab")}, LLAMA))
        self.put("ab.safetensors", safetensors_bytes({f"l.0.{n}.weight": (*shape, f32(gauss(9 + i, 8192))) for i, n in enumerate("xy")}, RMS))
        options = ("--target", "5bpw", "--formats", "q4_0,q8_0", "--grad", "ab.safetensors", "--scores", "scores.json")
        self.put("map.txt", b"l.{n}.x.weight blk.{n}.a.weight\nl.{n}.y.weight blk.{n}.b.weight\n")
        self.plan(*options, "--map", "map.txt", model="two.gguf")
        self.put("map.txt", b"l.{n}.x.weight blk.{n}.b.weight\nl.{n}.y.weight blk.{n}.a.weight\n")
        self.refused(1, *options, "--map", "map.txt", model="two.gguf", says=["stale", "gradient", "blk.0.a.weight"])

    def test_scores_of_other_weights_gradients_and_formats(self):
        options = ("--target", "5bpw", "--formats", "q4_0,q8_0", "--scores", "scores.json")
        self.plan(*options, "--grad", self.moved)
        kept = read(self.path("scores.json"))
        self.put("moved.safetensors", read(self.moved)[:-4] + f32([0.5]))
        self.refused(1, *options, "--grad", self.moved, says=["gradients", "stale"])
        self.plan(*options)  # errors do not depend on gradients
        self.refused(1, *options, model=self.hf, says=["weights", "stale"])
        changed = json.loads(kept)
        changed["formats"]["q4_0"][2] = 20
        self.put("scores.json", sealed(changed))
        self.refused(1, *options, says=["q4_0", "stale"])

    def imatrix(self, name, weights):
        data = struct.pack("<i", len(weights))
        for key, values in weights.items():
            data += struct.pack("<i", len(key)) + key.encode() + struct.pack("<ii", 1, len(values)) + f32(values)
        return self.put(name, data)

    def test_importance(self):
        options = ("--target", "5.2bpw", "--formats", "q4_0,q5_0,q8_0", "--score", "relative")
        plain = self.damages(self.plan(*options))
        names = [f"{n}.weight" for n in WEIGHTS if n != "token_embd"]
        columns = {f"{n}.weight": WEIGHTS[n][1] for n in WEIGHTS}
        # Its scale means nothing; a power of two: not even a bit.
        even = []
        for scale in (1.0, 4.0):
            self.imatrix("even.dat", {n: [scale] * columns[n] for n in names})
            even.append(self.damages(self.plan(*options, "--imatrix", "even.dat")))
        self.assertEqual(even[0], even[1])
        self.imatrix("uneven.dat", {n: [0.5 + i % 7 for i in range(columns[n])] for n in names})
        plan = self.plan(*options, "--imatrix", "uneven.dat", "--scores", "scores.json")
        weighted, scores = self.damages(plan), json.loads(read(self.path("scores.json")))
        self.assertEqual(weighted["token_embd.weight"], plain["token_embd.weight"])
        for name in names:
            self.assertNotEqual(weighted[name], plain[name])
            mean = sum(0.5 + i % 7 for i in range(columns[name])) / columns[name]
            for damage, f in zip(weighted[name], ("q4_0", "q5_0", "q8_0")):
                expected = scores["tensors"][name][f]["error"][0] / (scores["energy"][name] * mean)
                self.assertAlmostEqual(damage, expected, delta=1e-12 * expected)
        # What it adds to the file is foretold too, and the plan knows where it was.
        self.done("quantize", "-d", "cpu", "--plan", "plan.json", self.gguf, "-o", "out.gguf")
        self.assertEqual(os.path.getsize(self.path("out.gguf")), plan["bytes"])
        self.imatrix("uneven.dat", {n: [1.5 + i % 7 for i in range(columns[n])] for n in names})
        self.refused(1, *options, "--imatrix", "uneven.dat", "--scores", "scores.json", says=["importance", "stale"])

    def test_importance_where_some_formats_do_not_fit(self):
        """Rows of 96: the last format of the table takes no such tensor, which must not lose it its importance."""
        name = "blk.0.ffn_down.weight"
        self.imatrix("down.dat", {name: [0.5 + i % 7 for i in range(96)]})
        few = self.plan("--target", "6bpw", "--formats", "q4_0,q8_0", "--imatrix", "down.dat")
        all_formats = self.plan("--target", "6bpw", "--imatrix", "down.dat")
        for plan in (few, all_formats):
            choices = next(t["choices"] for t in plan["tensors"] if t["name"] == name)
            self.assertNotIn("q4_K", [c["format"] for c in choices])
            plan["found"] = {c["format"]: c["damage"] for c in choices}
        self.assertEqual(few["found"], {f: all_formats["found"][f] for f in few["found"]})

    def test_importance_under_the_names_of_gguf(self):
        """llama-imatrix has GGUF's names; the model may have Hugging Face's, and experts one by one."""
        names = [f"{n}.weight" for n in WEIGHTS if n != "token_embd"]
        weights = {n: [0.5 + (i + k) % 7 for i in range(WEIGHTS[n[:-7]][1])] for k, n in enumerate(names)}
        self.imatrix("gguf.dat", weights)
        self.imatrix("hf.dat", {HF[n[:-7]] + ".weight": w for n, w in weights.items()})
        options = ("--target", "5.2bpw", "--formats", "q4_0,q5_0,q8_0")
        plans = [self.plan(*options, "--imatrix", f, model=self.hf) for f in ("gguf.dat", "hf.dat")]
        self.assertEqual(self.damages(plans[0]), self.damages(plans[1]))
        self.assertNotEqual(self.damages(plans[0]), self.damages(self.plan(*options, model=self.hf)))
        # quantize reads it alike
        self.plan(*options, "--imatrix", "gguf.dat", model=self.hf)
        self.done("quantize", "-d", "cpu", "--plan", "plan.json", self.hf, "-o", "by-gguf.gguf")
        self.plan(*options, "--imatrix", "hf.dat", model=self.hf)
        self.done("quantize", "-d", "cpu", "--plan", "plan.json", self.hf, "-o", "by-hf.gguf")
        self.assertEqual(read_gguf(self.path("by-gguf.gguf"))[0], read_gguf(self.path("by-hf.gguf"))[0])
        # by --arch, where config.json does not tell
        self.put("config.json", b'{"architectures": ["NeverHeardOf"]}')
        by_arch = self.plan(*options, "--imatrix", "gguf.dat", "--arch", "llama", model=self.hf)
        self.assertEqual(self.damages(by_arch), self.damages(plans[0]))
        self.refused(1, *options, "--imatrix", "gguf.dat", model=self.hf, says=["gguf.dat", "no entry", "--arch"])
        self.imatrix("other.dat", {"blk.7.attn_q.weight": [1.0] * 256})
        self.refused(1, *options, "--imatrix", "other.dat", says=["other.dat", "no entry"])

    # ---- Gradients ----

    def damages(self, plan):
        return {t["name"]: [c["damage"] for c in t["choices"]] for t in plan["tensors"] if t["choices"]}

    def test_permuted_rows_are_put_in_order(self):
        options = ("--target", "5bpw", "--formats", "q4_0,q8_0", "--score", "squared")
        ordered = self.damages(self.plan(*options, "--grad", self.moved))  # GGUF's names: GGUF's order
        found = self.damages(self.plan(*options, "--grad", self.gradients, "--hf", self.hf))
        self.assertEqual(found, ordered)
        # The order matters: q and k by the plain order of Hugging Face's rows have another damage.
        plain = safetensors_bytes({f"{n}.weight": self.read_gradient(HF[n]) for n in WEIGHTS})
        self.put("plain.safetensors", plain)
        wrong = self.damages(self.plan(*options, "--grad", "plain.safetensors"))
        for name in ordered:
            self.assertEqual(wrong[name] != ordered[name], name in ("blk.0.attn_q.weight", "blk.0.attn_k.weight"), name)
        # Weights and gradients of one model: the same but for the order of the sum.
        direct = self.damages(self.plan(*options, "--grad", self.gradients, model=self.hf))
        for name, values in ordered.items():
            for a, b in zip(values, direct[HF[name[:-7]] + ".weight"]):
                self.assertAlmostEqual(a, b, delta=1e-5 * a)

    def read_gradient(self, name):
        return read_safetensors(self.gradients)[0][f"{name}.weight"]

    def test_rows_whose_order_cannot_be_told(self):
        options = ("--target", "5bpw", "--formats", "q4_0,q8_0")
        self.refused(1, *options, "--grad", self.gradients, says=["blk.0.attn_q.weight", "--hf"])
        other = dict(self.tensors)
        name = "model.layers.0.mlp.up_proj.weight"
        other[name] = (*other[name][:2], other[name][2][:-4] + f32([9.0]))
        self.put("other.safetensors", safetensors_bytes(other))
        self.refused(1, *options, "--grad", self.gradients, "--hf", "other.safetensors", says=["ffn_up", "row 95"])

    def test_unpermuted_q_is_taken_as_it_is(self):
        """A converter that leaves the rows alone: the values tell, not the architecture's rule."""
        tensors = {f"{n}.weight": self.tensors[f"{HF[n]}.weight"] for n in WEIGHTS}
        self.put("plain.gguf", gguf_bytes(tensors, LLAMA))
        self.put("plain.safetensors", safetensors_bytes({f"{n}.weight": self.read_gradient(HF[n]) for n in WEIGHTS}, RMS))
        options = ("--target", "5bpw", "--formats", "q4_0,q8_0")
        told = self.plan(*options, "--grad", self.gradients, "--hf", self.hf, model="plain.gguf")
        self.assertEqual(self.damages(told), self.damages(self.plan(*options, "--grad", "plain.safetensors", model="plain.gguf")))

    def test_missing_and_misshapen_gradients(self):
        gradients, _ = read_safetensors(self.gradients)
        del gradients["lm_head.weight"]
        self.put("fewer.safetensors", safetensors_bytes(gradients, RMS))
        options = ("--formats", "q4_0,q8_0", "--grad", "fewer.safetensors")
        plan = self.plan("--target", "8bpw", *options, model=self.hf)
        reasons = {t["name"]: t["reason"] for t in plan["tensors"]}
        self.assertIn("no gradient", reasons["lm_head.weight"])
        plan = self.plan("--target", "5bpw", *options, "--pin", "lm_head=q8_0", model=self.hf)
        self.assertEqual(self.formats(plan)["lm_head.weight"], "q8_0")
        dtype, shape, data = gradients["model.embed_tokens.weight"]
        gradients["model.embed_tokens.weight"] = (dtype, shape[::-1], data)
        self.put("fewer.safetensors", safetensors_bytes(gradients, RMS))
        self.refused(1, "--target", "5bpw", *options, model=self.hf, says=["256 x 32", "32 x 256"])
        self.refused(2, "--target", "5bpw", "--score", "squared", says=["--grad"])
        self.put("other.safetensors", safetensors_bytes({"x.weight": ("F32", [32, 256], f32([0.0] * 8192))}, RMS))
        self.refused(1, "--target", "5bpw", "--grad", "other.safetensors",
                     says=["other.safetensors", "x.weight", "token_embd.weight", "--map"])

    def test_the_score_that_fits_the_gradients(self):
        self.assertEqual(self.plan("--target", "5bpw")["score"], "kinds")
        self.imatrix("even.dat", {f"{n}.weight": [0.5 + i % 3 for i in range(WEIGHTS[n][1])] for n in WEIGHTS})
        sized, relative = (self.plan("--target", "5bpw", "--imatrix", "even.dat", "--score", o) for o in ("sized", "relative"))
        self.assertEqual((sized["score"], relative["score"]), ("sized", "relative"))
        found, roots = {}, {}
        for a, b in zip(sized["tensors"], relative["tensors"]):
            if a["choices"]:
                root = math.sqrt(math.prod(a["shape"]))
                found[a["name"]] = {c["format"]: c["damage"] for c in a["choices"]}
                roots[a["name"]] = {c["format"]: root * c["damage"] for c in b["choices"]}
        self.assert_damage(found, self.raised(roots))
        self.assertEqual(self.plan("--target", "5bpw", "--grad", self.moved)["score"], "squared")

    def test_gradients_that_are_no_root_mean_squares(self):
        """They are passed over unless a score is named: the plan is that without them, and it is said."""
        tensors, _ = read_safetensors(self.moved)
        self.put("mean.safetensors", safetensors_bytes(tensors))
        for score, part in (("auto", ()), ("auto", ("--part", "1/1", "--sums", "sums")), ("absolute", ())):
            words = part or ("--target", "5bpw", "-o", "mean.json")
            told = self.done("plan", "-d", "cpu", *words, "--scores", f"{score}.json", "--grad", "mean.safetensors",
                             "--score", score, self.gguf)
            for text in ("mean.safetensors were not used", "root mean squares", "docs/planner.md"):
                self.assertEqual(text in told, score == "auto")
        plans = [read(self.path("mean.json"))]
        self.done("plan", "-d", "cpu", "--target", "5bpw", "--grad", "mean.safetensors", self.gguf, "-o", "mean.json")
        plans.append(read(self.path("mean.json")))
        self.assertEqual([json.loads(p)["score"] for p in plans], ["absolute", "kinds"])
        self.plan("--target", "5bpw")
        self.assertEqual(plans[1], read(self.path("plan.json")))

    def test_forecast_of_the_divergence(self):
        """Half of the damage over the tokens of a sample, where the gradients' file tells both; else no unit is claimed."""
        tensors, _ = read_safetensors(self.moved)

        def forecast(metadata, *options, factor=1.0):
            scaled = {n: (d, s, f32([factor * v for v in struct.unpack("<%df" % (len(raw) // 4), raw)]))
                      for n, (d, s, raw) in tensors.items()}
            self.put("g.safetensors", safetensors_bytes(scaled, metadata))
            told = self.done("plan", "-d", "cpu", "--target", "5bpw", "--formats", "q4_0,q8_0", "--grad", "g.safetensors",
                             *options, self.gguf, "-o", "plan.json")
            plan = json.loads(read(self.path("plan.json")))
            self.done("report", "plan.json", "-o", "plan.html")
            self.assertIn(plan["forecast"]["text"], told)
            page = html.unescape(read(self.path("plan.html")).decode())
            self.assertIn(f"<p>{plan['forecast']['text']}</p>", page)
            self.assertEqual("<dt>expected KL divergence" in page, plan["forecast"]["kl"] is not None)
            return plan

        plan = forecast(RMS | {"tokens_per_sample": "40.5"})
        self.assertEqual((plan["score"], plan["tokens_per_sample"]), ("squared", 40.5))
        self.assertEqual(plan["forecast"]["kl"], plan["damage"] / 81)
        self.assertTrue(0 < plan["forecast"]["least"] < plan["forecast"]["kl"] < plan["forecast"]["most"])
        beyond = forecast(RMS | {"tokens_per_sample": "40.5"}, factor=math.sqrt(3 / plan["forecast"]["kl"]))["forecast"]
        self.assertAlmostEqual(beyond["kl"], 3, delta=1e-4)
        self.assertEqual((beyond["least"], beyond["most"]), (None, None))
        self.assertIn("more than this estimate can tell", beyond["text"])
        told = {"tokens_per_sample": "40.5"}
        for metadata, options, why in ((RMS, (), "tokens_per_sample"), (told, ("--score", "squared"), "reduction"),
                                       (RMS | {"tokens_per_sample": "0"}, (), "tokens_per_sample"),
                                       (RMS | {"tokens_per_sample": "nan"}, (), "tokens_per_sample"),
                                       (RMS | {"tokens_per_sample": "40 tokens"}, (), "tokens_per_sample"),
                                       (RMS | told, ("--score", "absolute"), "no unit")):
            plan = forecast(metadata, *options)
            self.assertEqual((plan["tokens_per_sample"], plan["forecast"]["kl"]), (None, None))
            self.assertIn(why, plan["forecast"]["text"])
        self.assertIn("no unit", self.plan("--target", "5bpw")["forecast"]["text"])

    def test_caution(self):
        """Where costs are guessed, what is lost beyond the best baseline counts more: of all choices that fit none is
        better by that, and no misjudgement of costs within its bounds makes the plan worse than the baseline."""
        for score, caution in (("kinds", 2.25), ("sized", 25), ("relative", 2.25)):
            options = ("--score", score, "--formats", "q4_0,q5_1,q8_0")
            for target in ("5.2bpw", "6bpw", "7bpw"):
                plan = self.plan("--target", target, *options)
                self.assertEqual(plan["caution"], caution)
                planned = [t for t in plan["tensors"] if t["choices"]]
                there = [next(c["damage"] for c in t["choices"] if c["format"] == plan["yardstick"]) for t in planned]
                kept = sum(t["bytes"] for t in plan["tensors"] if not t["choices"]) + plan["overhead"]
                baseline = next(b for b in plan["baselines"] if b["name"] == plan["yardstick"])
                self.assertTrue(baseline["bytes"] <= plan["budget"])
                self.assertFalse([b for b in plan["baselines"] if b["allowed"] and b["bytes"] <= plan["budget"] and
                                  b["damage"] < baseline["damage"]])

                def balance(choice):
                    change = [c["damage"] - d for c, d in zip(choice, there)]
                    return sum(caution * x if x > 0 else x for x in change)

                made = [next(c for c in t["choices"] if c["format"] == t["format"]) for t in planned]
                best = min(balance(c) for c in itertools.product(*(t["choices"] for t in planned))
                           if kept + sum(x["bytes"] for x in c) <= plan["budget"])
                self.assertAlmostEqual(balance(made), best, delta=1e-9 * baseline["damage"])
                self.assertTrue(plan["proven"] and best <= 0)
                self.assertLessEqual(plan["lower_bound"], plan["damage"])
                # The worst that could be true: what is lost costs more than thought, what is saved less.
                off = math.sqrt(caution)
                worst = sum((x["damage"] - d) * (off if x["damage"] > d else 1 / off) for x, d in zip(made, there))
                self.assertLessEqual(worst, 1e-9 * baseline["damage"])
        self.assertIsNone(self.plan("--target", "5bpw", "--score", "error").get("yardstick"))

    def kinds_and_relative(self, layers, massive=None):
        """Damage of a model with that many layers, by tensor and format, by both scores; with an importance matrix in
        which the input of layer `massive` is large."""
        parts = {"attn_q": 32, "attn_v": 32, "ffn_up": 64, "ffn_down": 32}
        names = {f"blk.{i}.{part}": rows for i in range(layers) for part, rows in parts.items()} | {"token_embd": 64}
        self.put("kinds.gguf", gguf_bytes({f"{n}.weight": ("F32", [rows, 32], f32(gauss(i, rows * 32)))
                                           for i, (n, rows) in enumerate(names.items())}, LLAMA))
        options = ["--target", "6bpw", "--formats", "q4_0,q8_0"]
        if massive is not None:
            self.imatrix("massive.dat", {f"{n}.weight": [100.0 if n == f"blk.{massive}.ffn_down" else 1.0] * 32 for n in names})
            options += ["--imatrix", "massive.dat"]
        kinds, relative = (self.plan(*options, "--score", score, model="kinds.gguf") for score in ("kinds", "relative"))
        return [{t["name"].removesuffix(".weight"): {c["format"]: c["damage"] for c in t["choices"]} for t in plan["tensors"]}
                for plan in (kinds, relative)]

    @staticmethod
    def raised(damage):
        """What is less than usual goes half of the way there; tensor -> format -> damage."""
        tensors = dict.fromkeys(damage, 1.0)
        for _ in range(8):
            columns = {}
            for name, row in damage.items():
                for f, d in row.items():
                    columns.setdefault(f, []).append(d / tensors[name])
            formats = {f: sum(column) / len(column) for f, column in columns.items()}
            tensors = {name: sum(d / formats[f] for f, d in row.items()) / len(row) for name, row in damage.items()}
        return {name: {f: max(d, math.sqrt(d * tensors[name] * formats[f])) for f, d in row.items()} for name, row in damage.items()}

    def assert_damage(self, found, expected):
        self.assertEqual(set(found), set(expected))
        for name, row in expected.items():
            self.assertEqual(set(found[name]), set(row))
            for f, damage in row.items():
                self.assertAlmostEqual(found[name][f], damage, delta=1e-9 * damage, msg=(name, f))

    def test_kinds(self):
        """The shares of docs/planner.md, and what the ends and massive activations add."""
        kinds, relative = self.kinds_and_relative(2)
        weights = {name: round(row["q4_0"] / relative[name]["q4_0"], 9) for name, row in kinds.items()}
        self.assertEqual(weights["token_embd"], 0.20)  # it is the output, too
        self.assertEqual([weights[f"blk.1.{part}"] for part in ("attn_q", "attn_v", "ffn_up", "ffn_down")],
                         [0.025, 0.125, 0.08, 0.15])
        kinds, relative = self.kinds_and_relative(5, massive=2)
        weights = {f"blk.{i}.{part}": share / 5 for i in range(5)
                   for part, share in (("attn_q", 0.05), ("attn_v", 0.25), ("ffn_up", 0.16), ("ffn_down", 0.30))}
        for part in ("ffn_up", "ffn_down"):
            weights[f"blk.0.{part}"] *= 2
            weights[f"blk.4.{part}"] *= 3
        weights["blk.2.ffn_down"] *= 6
        if kinds["blk.1.ffn_down"]["q4_0"] / relative["blk.1.ffn_down"]["q4_0"] > 0.2:  # by chance layer 0 may add less
            weights["blk.1.ffn_down"] *= 6
        weights["token_embd"] = 0.20
        self.assert_damage(kinds, self.raised({n: {f: weights[n] * d for f, d in row.items()} for n, row in relative.items()}))
        # Without names, and of encoders, nothing is known.
        self.assertEqual(self.plan("--target", "5bpw")["score"], "kinds")
        self.put("nameless.safetensors", safetensors_bytes({"a.weight": ("F32", [32, 256], f32(gauss(1, 8192)))}))
        self.assertEqual(self.plan("--target", "5bpw", model="nameless.safetensors")["score"], "sized")
        self.refused(2, "--target", "5bpw", "--score", "kinds", model="nameless.safetensors", says=["kinds", "a.weight"])
        self.put("bert.gguf", gguf_bytes({f"{n}.weight": ("F32", [32, 256], f32(gauss(i, 8192))) for i, n in enumerate(
            ("token_embd", "token_types", "blk.0.attn_q"))}, [("general.architecture", STRING, "bert"), *LLAMA[1:]]))
        self.assertEqual(self.plan("--target", "14bpw", model="bert.gguf")["score"], "relative")

    def test_what_is_better_than_usual(self):
        """With an importance matrix, of what is better than usual half is believed, by `sized`, `kinds` and `squared` alone."""
        self.imatrix("steep.dat", {f"{n}.weight": [(1 + len(n) % 3) ** (i % 32 / 8) for i in range(WEIGHTS[n][1])] for n in WEIGHTS})
        formats = ("q4_0", "q5_1", "q8_0")

        def table(*options):
            plan = self.plan("--imatrix", "steep.dat", *options, model="model.gguf")
            return {t["name"]: {c["format"]: c["damage"] for c in t["choices"] if c["format"] != "source"}
                    for t in plan["tensors"] if t["choices"]}

        changed = 0
        for score, options in (("sized", ()), ("kinds", ()), ("squared", ("--grad", self.moved)), ("relative", ()), ("error", ()),
                               ("absolute", ("--grad", self.moved))):
            alone = {}  # of one format it is as usual
            for f in formats:
                for name, row in table("--score", score, *options, "--formats", f"{f},source", "--target", "12bpw").items():
                    alone.setdefault(name, {}).update(row)
            raised = self.raised(alone) if score in ("sized", "kinds", "squared") else alone
            found = table("--score", score, *options, "--formats", ",".join(formats), "--target", "7bpw")
            self.assert_damage(found, raised)
            changed += sum(raised[n][f] > 1.01 * alone[n][f] for n in alone for f in formats)
        self.assertGreater(changed, 3)

    def test_experts_are_as_usual_as_their_tensor(self):
        """One by one or as the one tensor of GGUF."""
        names = self.moe()
        self.imatrix("moe.dat", {n: [(1 + len(n) % 3) ** (i % 32 / 8) for i in range(256 * (8 if "exps" in n else 1))] for n in names})
        options = ("--target", "12bpw", "--imatrix", "moe.dat", "--formats")
        found = []
        for model in ("moe.gguf", "moe.safetensors"):
            sums = {}
            for t in self.plan(*options, "q4_0,q5_1,q8_0,source", model=model)["tensors"]:
                row = sums.setdefault(t["gguf"], {})
                for c in t["choices"]:
                    row[c["format"]] = row.get(c["format"], 0) + c["damage"]
            found.append(sums)
        self.assert_damage(*found)
        alone = [(t["gguf"], c) for f in ("q4_0", "q5_1", "q8_0") for t in self.plan(*options, f"{f},source", model="moe.gguf")["tensors"]
                 for c in t["choices"]]
        self.assertTrue(any(found[0][name][c["format"]] > 1.001 * c["damage"] for name, c in alone))

    def test_rows_that_a_format_does_not_divide(self):
        """They get what quantize would write: q5_0 for q4_K, q8_0 for q6_K; a target that is too small says what is kept."""
        self.put("rows.gguf", gguf_bytes({f"blk.{i}.attn_q.weight": ("F32", [64, row], f32(gauss(i, 64 * row)))
                                          for i, row in enumerate((96, 256))}, LLAMA))
        plan = self.plan("--target", "6bpw", "--formats", "q4_K,q6_K", model="rows.gguf")
        choices = [[c["format"] for c in t["choices"]] for t in plan["tensors"]]
        self.assertEqual(choices, [["q5_0", "q8_0"], ["q4_K", "q6_K"]])
        self.done("quantize", "--plan", "plan.json", "rows.gguf", "-o", "planned.gguf")
        self.put("odd.gguf", gguf_bytes({f"blk.{i}.attn_q.weight": ("F32", [64, row], f32(gauss(i, 64 * row)))
                                         for i, row in enumerate((100, 256))}, LLAMA))
        self.refused(2, "--target", "5bpw", "--formats", "q4_K", model="odd.gguf",
                     says=["blk.0.attn_q.weight", "28.1 %", "rows of 100"])

    def test_experts(self):
        """One tensor in GGUF, one by one in Hugging Face's files: the same damage, and one format."""
        shape, n = [2, 32, 256], 32 * 256
        experts = [gauss(40 + e, n, 0.1 + e) for e in range(2)]
        gradients = [gauss(50 + e, n) for e in range(2)]
        name, part = "blk.0.ffn_up_exps.weight", "model.layers.0.block_sparse_moe.experts.%d.w3.weight"
        self.put("moe.gguf", gguf_bytes({name: ("F32", shape, f32(experts[0] + experts[1]))}, LLAMA))
        self.put("whole.safetensors", safetensors_bytes({name: ("F32", shape, f32(gradients[0] + gradients[1]))}, RMS))
        parts = {part % e: ("F32", [32, 256], f32(gradients[e])) for e in range(2)}
        self.put("parts.safetensors", safetensors_bytes(parts, RMS))
        self.imatrix("moe.dat", {name: [1.0 + i % 5 for i in range(512)]})
        options = ("--target", "7bpw", "--formats", "q4_0,q5_0,q8_0")
        for more in ((), ("--imatrix", "moe.dat")):
            whole, split = (self.damages(self.plan(*options, *more, "--grad", f"{g}.safetensors", model="moe.gguf"))
                            for g in ("whole", "parts"))
            self.assertEqual(whole, split)
        del parts[part % 1]
        self.put("parts.safetensors", safetensors_bytes(parts, RMS))
        self.refused(1, *options, "--grad", "parts.safetensors", model="moe.gguf", says=["1 of the 2 experts"])
        self.put("moe.safetensors", safetensors_bytes({part % e: ("F32", [32, 256], f32(experts[e])) for e in range(2)}))
        stacked = self.damages(self.plan("--target", "7bpw", model="moe.gguf"))[name]
        plan = self.plan("--target", "7bpw", "--recipe", "types.txt", model="moe.safetensors")
        self.assertEqual(len(set(self.formats(plan).values())), 1)
        self.assertEqual(len(read(self.path("types.txt")).split()), 1)
        self.done("report", "plan.json", "-o", "report.html")  # has them as one
        page = read(self.path("report.html")).decode()
        self.assertEqual(page.count('<td class="name">'), 1)
        self.assertIn(f'<td class="name">{name}</td>', page)
        self.assertIn("2 \u00d7 32 \u00d7 256", page)
        for whole, sum_of_parts in zip(stacked, map(sum, zip(*self.damages(plan).values()))):
            self.assertAlmostEqual(whole, sum_of_parts, delta=1e-9 * whole)
        for score in ("error", "relative", "sized"):
            weighted = [self.plan("--target", "7bpw", "--imatrix", "moe.dat", "--score", score, model=f"moe.{kind}")
                        for kind in ("gguf", "safetensors")]
            sums = map(sum, zip(*self.damages(weighted[1]).values()))
            for whole, sum_of_parts in zip(self.damages(weighted[0])[name], sums):
                self.assertAlmostEqual(whole, sum_of_parts, delta=1e-9 * whole)
        self.imatrix("short.dat", {name: [1.0] * 256})
        self.refused(1, *options, "--imatrix", "short.dat", model="moe.safetensors", says=["expert 1", "another model"])

    # ---- Outputs ----

    def test_beside_a_published_model(self):
        """Its own choice of formats can be had, so the plan of its size is never worse; no other choice is it itself."""
        published = self.path("published.gguf")
        self.done("quantize", "-d", "cpu", "-f", "q4_0", "--tensor-type", "attn_v=q5_1", self.gguf, "-o", published)
        for model in (self.gguf, self.hf):
            told = self.done("plan", "-d", "cpu", "--beside", published, model, "-o", "beside.json")
            plan = json.loads(read(self.path("beside.json")))
            if model == self.gguf:
                self.assertEqual(plan["budget"], os.path.getsize(published))
            kinds = [line.split() for line in told.split("its damage\n")[1].split("\n-")[0].splitlines()]
            self.assertEqual({k[0]: k[1] for k in kinds},
                             {name.replace("blk.0.", ""): "1" for name in WEIGHTS})
            theirs = {k[0]: float(k[4]) for k in kinds}
            self.assertEqual((theirs["attn_v"], theirs["output"]), (6, 4.5))
            total = next(line for line in told.splitlines() if line.startswith("all ")).split()
            self.assertLess(float(total[3]), float(total[5]))
            self.assertAlmostEqual(float(total[3]), plan["damage"], delta=1e-3 * plan["damage"])
        told = self.done("plan", "-d", "cpu", "--formats", "q4_0", "--pin", "attn_v=q5_1", "--beside", published, self.gguf,
                         "-o", "same.json")
        self.assertIn("The plan has 1 of its damage in 1 of its bytes.", told)
        self.assertEqual(chosen_formats(read(self.path("same.json"))), {n: "q5_1" if "attn_v" in n else "q4_0" for n in WEIGHTS})

    def held_against(self, shapes, layers=4, matrix=False):
        """A model of such (rows, columns), and the options to plan it with."""
        names = [f"blk.{i}.{part}" for i in range(layers) for part in shapes] + ["token_embd"]
        size = {n: shapes.get(n.split(".")[-1], (32, 256)) for n in names}
        self.put("model.gguf", gguf_bytes(
            {f"{n}.weight": ("F32", [r, c], f32(gauss(len(size) + i, r * c, 0.1 + i % 5))) for i, (n, (r, c)) in enumerate(size.items())}
            | {"output_norm.weight": ("F32", [5], f32([1.0] * 5))}, [*LLAMA, ("llama.block_count", U32, layers)]))
        if not matrix:
            return ["--scores", "plain.json"]
        self.imatrix("even.dat", {f"{n}.weight": [0.5 + i % 5 for i in range(c)] for n, (r, c) in size.items() if n != "token_embd"})
        return ["--scores", "matrix.json", "--imatrix", "even.dat"]

    SHAPES = {"attn_q": (33, 256), "attn_k": (16, 256), "attn_v": (16, 256), "attn_output": (31, 512), "ffn_up": (40, 288),
              "ffn_gate": (40, 288), "ffn_down": (7, 96)}

    def test_what_a_plan_is_held_against(self):
        """Each format and preset is what quantize makes, rows that 256 does not divide and padding included; and of each the
        plan of its size has no more damage."""
        for matrix in (False, True):
            options = self.held_against(self.SHAPES, matrix=matrix)
            told = self.done("plan", "-d", "cpu", "--target", "5bpw", *options, "model.gguf", "-o", "plan.json")
            plan = json.loads(read(self.path("plan.json")))
            names = {b["name"] for b in plan["baselines"]}
            self.assertTrue({"Q4_K_M", "Q5_K_S", "Q6_K", "q4_K", "q4_0", "q8_0"} <= names, names)
            self.assertEqual("IQ2_XS" in names, matrix)
            self.assertEqual([b["bytes"] for b in plan["baselines"]], sorted(b["bytes"] for b in plan["baselines"]))
            choices = {t["name"]: {c["format"]: c for c in t["choices"]} for t in plan["tensors"]}
            kept = sum(t["bytes"] for t in plan["tensors"] if not t["choices"])
            formats = json.loads(self.done("formats", "--json", "-"))["formats"]
            BLOCK.update({f["ggml_type"]: (f["block_elements"], f["block_bytes"]) for f in formats})
            names = {f["ggml_type"]: f["name"] for f in formats}
            for b in plan["baselines"]:
                words = ["model.gguf", "out.gguf", b["name"]] if b["preset"] else ["-f", b["name"], "model.gguf", "-o", "out.gguf"]
                self.done("quantize", "-d", "cpu", "--quiet", *options[2:], *words)
                types = {n: names[t[0]] for n, t in read_gguf(self.path("out.gguf"))[0].items() if choices[n]}
                made = [choices[n][types[n]] for n in types]
                self.assertEqual(b["bytes"], plan["overhead"] + kept + sum(c["bytes"] for c in made), b)
                told_formats = [types[n] for n in choices if n in types] if b["bytes"] <= plan["budget"] else None
                self.assertEqual(b.get("formats"), told_formats)
                damage = sum(c["damage"] for c in made)
                self.assertAlmostEqual(b["damage"], damage, delta=1e-12 * damage)
                self.assertTrue(b["allowed"])
                best = self.plan("--target", f"{b['bytes']}B", *options, model="model.gguf", output="best.json")
                self.assertTrue(best["bytes"] <= b["bytes"] and best["proven"])
                self.assertLessEqual(best["damage"], b["damage"] * (1 + 1e-12), b["name"])
                self.assertEqual(best["damage"], b["plan_damage"])
            self.assertIn(f"Plans of the sizes of all {len(plan['baselines'])} have 0.", told)
            nearest = min(plan["baselines"], key=lambda b: abs(b["bytes"] - plan["bytes"]))
            self.assertRegex(told, rf"(?m)^{nearest['name']} +[0-9.]+ KiB ")
            self.done("report", "plan.json", "-o", "plan.html")
            page = read(self.path("plan.html")).decode()
            presets = sum(b["preset"] for b in plan["baselines"])
            self.assertEqual((page.count("<rect "), page.count("<circle ")), (presets, len(plan["baselines"]) - presets))

    def test_nothing_is_drawn_below_the_line_of_the_best(self):
        """An SVG's y grows downwards."""
        options = self.held_against({"attn_q": (64, 512), "attn_v": (8, 256), "ffn_down": (9, 96)}, layers=12)
        self.plan("--target", "6bpw", *options, model="model.gguf")
        self.done("report", "plan.json", "-o", "plan.html")
        page = read(self.path("plan.html")).decode()
        line = [tuple(map(float, p.split(","))) for p in re.search(r'<polyline class="curve" points="([^"]+)"', page)[1].split()]
        self.assertEqual(line, sorted(line))
        marks = [(float(x), float(y)) for x, y in re.findall(r'cx="([0-9.]+)" cy="([0-9.]+)"', page)]
        marks += [(float(x) + 3.5, float(y) + 3.5) for x, y in re.findall(r'<rect [^>]* x="([0-9.]+)" y="([0-9.]+)"', page)]
        for x, y in marks:
            (a, left), (b, right) = max(p for p in line if p[0] <= x + 0.1), min((p for p in line if p[0] >= x - 0.1), default=line[-1])
            self.assertLessEqual(y, (left if b <= a else left + (right - left) * (x - a) / (b - a)) + 0.3)

    def test_presets_of_a_model_under_other_names(self):
        """By config.json: the same as of the GGUF, experts that stand one by one included."""
        def weights(rows, columns, seed):
            return ("F32", [rows, columns], f32(gauss(seed, rows * columns, 0.1 + seed % 5)))

        layers, experts = 4, 8
        hf = {"model.embed_tokens.weight": weights(32, 256, 1)}
        gguf = {"token_embd.weight": hf["model.embed_tokens.weight"]}
        for i in range(layers):
            for k, (name, theirs, rows) in enumerate((("attn_q", "q_proj", 64), ("attn_k", "k_proj", 8), ("attn_v", "v_proj", 8),
                                                      ("attn_output", "o_proj", 16))):
                tensor = weights(rows, 256, 10 * i + k)
                hf[f"model.layers.{i}.self_attn.{theirs}.weight"] = gguf[f"blk.{i}.{name}.weight"] = tensor
            parts = [weights(16, 256, 100 * i + e) for e in range(experts)]
            hf |= {f"model.layers.{i}.mlp.experts.{e}.down_proj.weight": t for e, t in enumerate(parts)}
            gguf[f"blk.{i}.ffn_down_exps.weight"] = ("F32", [experts, 16, 256], b"".join(t[2] for t in parts))
        architecture = [("general.architecture", STRING, "qwen3moe"), ("qwen3moe.attention.head_count", U32, 8),
                        ("qwen3moe.attention.head_count_kv", U32, 1), ("qwen3moe.block_count", U32, layers),
                        ("qwen3moe.expert_count", U32, experts)]
        self.put("moe.gguf", gguf_bytes(gguf, architecture))
        self.put("moe.safetensors", safetensors_bytes(hf))
        config = {"architectures": ["Qwen3MoeForCausalLM"], "num_hidden_layers": layers, "num_attention_heads": 8,
                  "num_key_value_heads": 1, "num_experts": experts}
        self.put("config.json", json.dumps(config).encode())
        whole, split = (self.plan("--target", "5bpw", model=f"moe.{kind}") for kind in ("gguf", "safetensors"))

        def rows(plan):
            return {b["name"]: (b["preset"], b["bytes"] - plan["overhead"]) for b in plan["baselines"]}

        self.assertEqual(rows(whole), rows(split))
        self.assertTrue({"Q4_K_M", "Q3_K_L"} <= set(rows(split)))
        found = {b["name"]: b["damage"] for b in split["baselines"]}
        for b in whole["baselines"]:
            self.assertAlmostEqual(b["damage"], found[b["name"]], delta=1e-9 * b["damage"])
        self.assertNotEqual(found["Q4_K_M"], found["Q4_K_S"])
        for text in (b'{"architectures": ["Qwen3MoeForCausalLM"]}', b'{"architectures": ["Qwen3MoeForCausalLM"], "num_hidden_layers": -4}'):
            self.put("config.json", text)
            self.assertFalse(any(b["preset"] for b in self.plan("--target", "5bpw", model="moe.safetensors")["baselines"]))
        nested = {"architectures": ["Qwen3MoeForCausalLM"], "text_config": {k: v for k, v in config.items() if k != "architectures"}}
        self.put("config.json", json.dumps(nested).encode())
        self.assertEqual(self.plan("--target", "5bpw", model="moe.safetensors"), split)

    def moe(self, used=2, tied=False, experts=8):
        """A model with experts as GGUF and, experts one by one, as Hugging Face has it; and its tensors' elements."""
        def weights(rows, columns, seed):
            return ("F32", [rows, columns], f32(gauss(seed, rows * columns, 0.1 + seed % 5)))

        hf = {"model.embed_tokens.weight": weights(33, 256, 1), "model.layers.0.self_attn.q_proj.weight": weights(64, 256, 2),
              "model.layers.0.mlp.gate.weight": weights(experts, 256, 3)}
        hf |= {} if tied else {"lm_head.weight": weights(33, 256, 4)}
        parts = [weights(16, 256, 10 + e) for e in range(experts)]
        hf |= {f"model.layers.0.mlp.experts.{e}.down_proj.weight": t for e, t in enumerate(parts)}
        hf["model.norm.weight"] = ("F32", [256], f32([1.0] * 256))
        gguf = {"token_embd.weight": hf["model.embed_tokens.weight"], "blk.0.attn_q.weight": hf["model.layers.0.self_attn.q_proj.weight"],
                "blk.0.ffn_gate_inp.weight": hf["model.layers.0.mlp.gate.weight"], "output_norm.weight": hf["model.norm.weight"],
                "blk.0.ffn_down_exps.weight": ("F32", [experts, 16, 256], b"".join(t[2] for t in parts))}
        gguf |= {} if tied else {"output.weight": hf["lm_head.weight"]}
        architecture = [("general.architecture", STRING, "qwen3moe"), ("qwen3moe.attention.head_count", U32, 4),
                        ("qwen3moe.attention.head_count_kv", U32, 4), ("qwen3moe.block_count", U32, 1), ("qwen3moe.expert_count", U32, experts)]
        config = {"architectures": ["Qwen3MoeForCausalLM"], "num_hidden_layers": 1, "num_attention_heads": 4, "num_experts": experts}
        if used:
            architecture.append(("qwen3moe.expert_used_count", U32, used))
            config["num_experts_per_tok"] = used
        self.put("moe.gguf", gguf_bytes(gguf, architecture))
        self.put("moe.safetensors", safetensors_bytes(hf))
        self.put("config.json", json.dumps(config).encode())
        return {name: math.prod(shape) for name, (_, shape, _) in gguf.items()}

    def test_what_a_token_reads(self):
        """Experts by their share, an embedding that is only looked up by a row; the target bounds just that."""
        share = {"blk.0.ffn_down_exps.weight": 2 / 8, "token_embd.weight": 1 / 33}
        bits = {"q4_0": 4.5, "q5_1": 6, "q8_0": 8.5, "source": 32}
        for tied in (False, True):
            elements = self.moe(tied=tied)
            if tied:
                del share["token_embd.weight"]  # it is the output
            options = ("--formats", "q4_0,q5_1,q8_0", "--scores", f"tied{tied}.json")
            size = self.plan("--target", "6bpw", *options, model="moe.gguf")
            reads = {t["name"]: math.ceil(share.get(t["name"], 1) * elements[t["name"]] * bits[t["format"]] / 8) for t in size["tensors"]}
            self.assertEqual({t["name"]: t["token_bytes"] for t in size["tensors"]}, reads)
            self.assertEqual((size["cost"], size["token_bytes"]), ("size", sum(reads.values())))
            told = self.done("plan", "-d", "cpu", "--cost", "token", "--target", f"{size['token_bytes']}B", *options, "moe.gguf",
                             "-o", "token.json")
            token = json.loads(read(self.path("token.json")))
            self.assertEqual((token["cost"], token["budget"]), ("token", size["token_bytes"]))
            self.assertIn(f"A token reads {token['token_bytes']} bytes", told)
            self.assertIn(f"the file has {token['bytes']} bytes", told)
            self.assertLessEqual(token["token_bytes"], token["budget"])
            self.assertLessEqual(token["damage"], size["damage"])
            # Of all choices that read no more, the best.
            free = [t for t in token["tensors"] if t["choices"]]
            fixed = sum(t["token_bytes"] for t in token["tensors"] if not t["choices"])
            best = min(sum(c["damage"] for c in chosen) for chosen in itertools.product(*(t["choices"] for t in free))
                       if fixed + sum(c["token_bytes"] for c in chosen) <= token["budget"])
            self.assertAlmostEqual(token["damage"], best, delta=1e-12 * best)
            self.assertTrue(token["proven"])
            for b in token["baselines"]:
                self.assertTrue(b["plan_damage"] is None or b["plan_damage"] <= b["damage"] * (1 + 1e-12), b)
            self.assertEqual([b["token_bytes"] for b in token["baselines"]], sorted(b["token_bytes"] for b in token["baselines"]))
            # The file that is written has the size that is told, and the page has both.
            self.done("quantize", "-d", "cpu", "--plan", "token.json", "moe.gguf", "-o", "out.gguf")
            self.assertEqual(os.path.getsize(self.path("out.gguf")), token["bytes"])
            self.done("report", "token.json", "-o", "token.html")
            page = read(self.path("token.html")).decode()
            for text in (f'<dt>a token reads</dt><dd title="{token["token_bytes"]} bytes">', f'<dt>file</dt><dd title="{token["bytes"]} bytes">',
                         "bytes that a token reads</text>"):
                self.assertIn(text, page)
            # Experts one by one, by config.json.
            split = self.plan("--cost", "token", "--target", f"{size['token_bytes']}B", *options[:2], model="moe.safetensors")
            names = {t["gguf"]: t["format"] for t in split["tensors"]}
            self.assertEqual(names, {t["name"]: t["format"] for t in token["tensors"]})
            self.assertEqual(split["token_bytes"], token["token_bytes"])

    def test_targets_of_what_a_token_reads(self):
        self.moe()
        options = ("--cost", "token", "--formats", "q4_0,q8_0", "--scores", "s.json")
        plan = self.plan("--target", "7bpw", *options, model="moe.gguf")
        read_weights = 256 + 64 * 256 + 8 * 256 + 256 + 8 * 16 * 256 // 4 + 33 * 256
        self.assertEqual(plan["budget"], 7 * read_weights // 8)
        self.assertEqual(self.plan("--target", "25%", *options, model="moe.gguf")["budget"], read_weights * 4 // 4)
        for exact in ("floor", "ceiling"):
            self.assertEqual(self.plan("--target", f"{plan[exact]}B", *options, model="moe.gguf")["token_bytes"], plan[exact])
        self.refused(2, "--target", "1kB", *options, model="moe.gguf", says=["1kB is 1000 bytes a token", "a token reads", str(plan["floor"]),
                                                                            str(plan["ceiling"])])
        self.refused(2, "--target", "5bpw", "--cost", "time", says=["--cost is size or token"])
        # What cannot be told is not guessed.
        for used in (0, 9):
            self.moe(used=used)
            for model in ("moe.gguf", "moe.safetensors"):
                self.refused(2, "--target", "7bpw", *options[:4], model=model, says=["how many of the experts", "expert_used_count"])
                self.assertNotIn("token_bytes", self.plan("--target", "7bpw", *options[2:4], model=model))
        self.put("nameless.safetensors", safetensors_bytes({"a.weight": ("F32", [32, 256], f32(gauss(1, 8192)))}))
        self.refused(2, "--target", "5bpw", "--cost", "token", model="nameless.safetensors", says=["a.weight"])
        self.put("bert.gguf", gguf_bytes({f"{n}.weight": ("F32", [32, 256], f32(gauss(i, 8192))) for i, n in enumerate(
            ("token_embd", "token_types", "blk.0.attn_q"))}, [("general.architecture", STRING, "bert"), *LLAMA[1:]]))
        self.refused(2, "--target", "5bpw", "--cost", "token", model="bert.gguf", says=["encoder"])

    def test_slow_formats(self):
        """A byte of a slow format counts as several; the best choice by that, and the file's own size beside it."""
        elements = self.moe()
        share = {"blk.0.ffn_down_exps.weight": (2, 8), "token_embd.weight": (1, 33)}
        bits = {"q4_0": 36, "q5_1": 48, "q8_0": 68, "source": 256}  # of eight weights
        options = ("--cost", "token", "--formats", "q4_0,q5_1,q8_0", "--scores", "s.json")
        plain = self.plan("--target", "8bpw", *options, model="moe.gguf")
        self.assertNotIn("slow", plain)
        once = self.plan("--target", "8bpw", "--slow", "q4_0=1,Q5_1=1.000000,iq3_s=7", *options, model="moe.gguf")
        self.assertEqual(once.pop("slow"), "q4_0=1,Q5_1=1.000000,iq3_s=7")
        self.assertEqual(once, plain)
        chosen = set()
        for slow in ({"q5_1": "1.5"}, {"q4_0": "2.25"}, {"q4_0": "1.000001", "q8_0": "0.9"}, {"source": ".75", "q8_0": "100"}):
            text = ",".join(f"{f}={x}" for f, x in slow.items())
            factor = {f: fractions.Fraction(slow.get(f, "1")) for f in bits}

            def counted(name, f):
                part, whole = share.get(name, (1, 1))
                return math.ceil(math.ceil(fractions.Fraction(elements[name] * bits[f] * part, 64 * whole)) * factor[f])

            told = self.done("plan", "-d", "cpu", "--target", "8bpw", "--slow", text, *options, "moe.gguf", "-o", "slow.json")
            plan = json.loads(read(self.path("slow.json")))
            self.assertEqual((plan["cost"], plan["slow"], plan["budget"]), ("token", text, plain["budget"]))
            for t in plan["tensors"]:
                self.assertEqual(t["token_bytes"], counted(t["name"], t["format"]))
                for c in t["choices"]:
                    self.assertEqual(c["token_bytes"], counted(t["name"], c["format"]))
            free = [t for t in plan["tensors"] if t["choices"]]
            fixed = sum(t["token_bytes"] for t in plan["tensors"] if not t["choices"])
            best = min(sum(c["damage"] for c in chosen) for chosen in itertools.product(*(t["choices"] for t in free))
                       if fixed + sum(c["token_bytes"] for c in chosen) <= plan["budget"])
            self.assertAlmostEqual(plan["damage"], best, delta=1e-12 * best)
            self.assertTrue(plan["proven"] and plan["token_bytes"] <= plan["budget"])
            self.assertIn(f"A token reads {plan['token_bytes']} bytes", told)
            self.assertIn(f"counted with {text}; the file has {plan['bytes']} bytes", told)
            for b in plan["baselines"]:
                self.assertTrue(b["plan_damage"] is None or b["plan_damage"] <= b["damage"] * (1 + 1e-12), b)
                if b["name"] in bits:
                    sizes = [counted(t["name"], b["name"] if t["choices"] else "source") for t in plan["tensors"]]
                    self.assertEqual(b["token_bytes"], sum(sizes))
            chosen.add(tuple(t["format"] for t in free))
            floor = self.plan("--target", f"{plan['floor']}B", "--slow", text, *options, model="moe.gguf")
            self.assertEqual(floor["token_bytes"], plan["floor"])
        self.assertGreater(len(chosen), 2)
        self.done("quantize", "-d", "cpu", "--plan", "slow.json", "moe.gguf", "-o", "out.gguf")
        self.assertEqual(os.path.getsize(self.path("out.gguf")), plan["bytes"])
        self.done("report", "slow.json", "-o", "slow.html")
        page = read(self.path("slow.html")).decode()
        for said in (f"What a token reads is counted with {text}:", "those of slow formats counted more</text>",
                     f'<dt>file</dt><dd title="{plan["bytes"]} bytes">'):
            self.assertIn(said, page)

    def test_slow_formats_that_are_none(self):
        self.moe()
        options = ("--target", "7bpw", "--formats", "q4_0,q8_0")
        for slow in ("", "q4_0", "q4_0=", "q4_0=0", "q4_0=-1", "q4_0=1e1", "q4_0=nan", "q4_0=inf", "q4_0=0.009999", "q4_0=100.000001",
                     "q4_0=1.0000001", "q4_0=1,", "q4_0=1.5x", "q4_0=1=2", "q4_0=.", "q4_0= 2", "q4_0=1,5", "q4_0=" + "9" * 500, "x" * 500):
            self.refused(2, *options, "--cost", "token", "--slow", slow, model="moe.gguf", says=["not FORMAT=FACTOR"])
        for slow, says in (("q9_0=2", "q9_0"), ("=2", "no format is called"), ("q4_0=2,q5_0=1.5,Q4_0=2", "named twice"), ("source=2,SOURCE=2", "named twice")):
            self.refused(2, *options, "--cost", "token", "--slow", slow, model="moe.gguf", says=[says])
        self.refused(2, *options, "--slow", "q4_0=2", model="moe.gguf", says=["--cost token"])

    def test_a_token_beside_a_published_model(self):
        self.moe()
        self.done("quantize", "-d", "cpu", "-f", "q5_0", "moe.gguf", "-o", "published.gguf")
        plan = self.plan("--cost", "token", "--beside", "published.gguf", model="moe.gguf")
        uniform = next(b for b in plan["baselines"] if b["name"] == "q5_0")
        self.assertEqual(plan["budget"], uniform["token_bytes"])
        self.assertLessEqual(plan["damage"], uniform["damage"])

    def put_preset_model(self, name):
        metadata, shapes = MODELS[name](layers=3)
        some = bf16(gauss(1, 1 << 16))
        self.put("m.gguf", gguf_bytes({n: ("BF16", s, (some * (1 + math.prod(s) // 65536))[:2 * math.prod(s)]) for n, s in shapes.items()},
                                      [kv for kv in metadata if not isinstance(kv[2], bool)]))

    def test_what_llama_quantize_keeps_of_an_architecture(self):
        """By its rules of today, some tensors of glm5-next: a plan keeps them, too, and stands beside presets."""
        self.put_preset_model("glm5_next")
        options = ("--target", "9bpw", "--formats", "q4_0,q4_1,q4_K,q5_0,q5_K,q5_1,q6_K,q8_0,source", "--scores", "s.json")
        self.done("quantize", "--dry-run", "--json", "o.json", "m.gguf", "Q4_K_M")
        kept = {t["name"] for t in json.loads(read(self.path("o.json")))["skipped"]}
        plan = self.plan(*options, "--recipe", "types.txt", model="m.gguf")
        self.assertEqual({t["name"] for t in plan["tensors"] if t["reason"]}, kept)
        self.assertTrue({"Q4_K_M", "Q8_0"} <= {b["name"] for b in plan["baselines"]})
        earlier = self.plan(*options, "--rules", "2026-08", model="m.gguf")
        self.assertTrue({t["name"] for t in earlier["tensors"] if t["reason"]} < kept)
        self.assertIn("Q4_K_M", {b["name"] for b in earlier["baselines"]})

    def test_presets_of_earlier_rules(self):
        self.put_preset_model("bailingmoe3")
        options = ("--target", "6bpw", "--formats", "q4_K,q5_K,q6_K,q8_0,mxfp4", "--scores", "s.json")
        bytes_of = {}
        for rules in ("2026-08", "2026-09"):
            plan = self.plan(*options, "--rules", rules, model="m.gguf")
            self.assertEqual(plan["rules"], rules)
            bytes_of[rules] = {b["name"]: b["bytes"] for b in plan["baselines"] if b["preset"]}
        self.assertEqual(plan, self.plan(*options, model="m.gguf"))  # by the newest
        self.assertEqual(set(bytes_of["2026-08"]), set(bytes_of["2026-09"]))
        changes = {}
        for preset in bytes_of["2026-08"]:
            self.assertIn(preset, PRESETS)
            sizes = []
            for rules in bytes_of:
                self.done("quantize", "--dry-run", "--rules", rules, "--json", "o.json", "m.gguf", preset)
                sizes.append(json.loads(read(self.path("o.json")))["bytes"])
            changes[preset] = sizes[1] - sizes[0]
            self.assertEqual(bytes_of["2026-09"][preset] - bytes_of["2026-08"][preset], changes[preset])
        self.assertTrue(any(changes.values()))
        told = self.done("plan", *options, "--rules", "2026-08", "m.gguf", "-o", "plan.json")
        self.assertIn("presets of llama-quantize's rules of 2026-08", told)
        self.refused(2, *options, "--rules", "2025-01", model="m.gguf", says=["2026-08 to 2026-09"])

    def test_what_rules_forbid(self):
        options = self.held_against({"attn_q": (32, 256), "attn_k": (32, 256), "attn_v": (32, 256)})

        def allowed(*rules):
            told = self.done("plan", "-d", "cpu", "--target", "5bpw", *options, *rules, "model.gguf", "-o", "plan.json")
            plan = json.loads(read(self.path("plan.json")))
            self.assertEqual("the rules forbid" in told, not all(b["allowed"] for b in plan["baselines"]))
            self.assertFalse(any("formats" in b for b in plan["baselines"] if not b["allowed"]))
            for b in plan["baselines"]:
                self.assertTrue(not b["allowed"] or b["plan_damage"] <= b["damage"] * (1 + 1e-12))
            return {b["name"]: b["allowed"] for b in plan["baselines"]}, plan

        self.assertTrue(all(allowed()[0].values()))
        found, _ = allowed("--same", "qkv")
        self.assertEqual((found["Q4_K_M"], found["q4_K"], found["Q6_K"]), (False, True, True))
        found, _ = allowed("--pin", "attn_v=q4_0")
        self.assertEqual((found["Q4_K_M"], found["q4_0"], found["q8_0"]), (False, True, False))
        found, plan = allowed("--min", "q4_K")
        self.assertEqual((found["q3_K"], found["q5_K"]), (False, True))
        self.assertIsNone(next(b["plan_damage"] for b in plan["baselines"] if b["name"] == "q3_K"))
        # Only what is measured: presets need q6_K, too.
        found, _ = allowed("--formats", "q4_0,q5_0")
        self.assertEqual(set(found), {"q4_0", "q5_0"})

    def test_what_no_plan_can_stand_beside(self):
        other = self.put("other.gguf", gguf_bytes({"token_embd.weight": ("F32", [32, 128], f32([1.0] * 4096))}, LLAMA))
        self.refused(1, "--beside", other, says=["other.gguf: is not this model: it has no", "token_embd.weight", "32 x 256"])
        self.refused(1, "--beside", self.hf, says=["is no GGUF"])
        self.refused(1, "--beside", self.path("none.gguf"), says=["none.gguf"])
        self.refused(2, says=["--target"])
        one = self.put("one.gguf", gguf_bytes({"token_embd.weight": ("F32", [32, 256], f32([1.0] * 8192))}, LLAMA))
        matrix = self.put("one.dat", imatrix_bytes({"token_embd.weight": (3, [1.0] * 256)}))
        needs = self.path("needs.gguf")
        self.done("quantize", "-d", "cpu", "-f", "iq2_xxs", "--imatrix", matrix, one, "-o", needs)
        self.refused(2, "--beside", needs, says=["iq2_xxs", "importance"])

    def test_recipe(self):
        for model in (self.gguf, self.hf):
            plan = self.plan("--target", "5bpw", "--recipe", "types.txt", model=model)
            names = {t["gguf"]: t["format"] for t in plan["tensors"] if t["choices"]}
            lines = dict(line.split("=") for line in read(self.path("types.txt")).decode().split())
            self.assertEqual(lines, {"^" + n.replace(".", "\\.") + "$": f for n, f in names.items()})
        text = self.done("plan", "-d", "cpu", "--target", "5bpw", "--recipe", "t.txt", self.gguf, "-o", "plan.json")
        self.assertIn("llama-quantize --tensor-type-file t.txt", text)

    @posix
    def test_names_of_files_that_are_no_text(self):
        """A path may be any bytes; nothing that is printed of it drives a terminal, or is lost in what is written."""
        odd = os.path.join(self.directory.encode(), b"we\x1b[31m'\xff\\.dat")
        write(odd, read(self.path(self.imatrix("w.dat", {f"{n}.weight": [1.0 + i % 3 for i in range(WEIGHTS[n][1])] for n in WEIGHTS}))))
        model = os.path.join(self.directory.encode(), b"m\xe2\x80\xae\xfe.gguf")
        write(model, read(self.gguf))
        result = subprocess.run([QDQ, "plan", "-d", "cpu", "--target", "5bpw", "--imatrix", odd, "--recipe", "t.txt", model, "-o",
                                 "plan.json"], cwd=self.directory, env=ENVIRONMENT, capture_output=True)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        for raw in (b"\x1b", b"\xff", b"\xfe", b"\xe2\x80\xae"):
            self.assertNotIn(raw, result.stdout)
        command = next(line for line in result.stdout.decode().splitlines() if line.startswith("  llama-quantize "))
        words = subprocess.run(["bash", "-c", "llama-quantize() { printf '%s\\0' \"$@\"; }\n" + command], capture_output=True).stdout
        self.assertIn(model, words.split(b"\0"))
        plan = json.loads(read(self.path("plan.json")))
        self.assertTrue(plan["imatrix"].endswith("we\\x1b[31m'\\xff\\.dat"), plan["imatrix"])
        result = subprocess.run([QDQ, "quantize", "-d", "cpu", "-f", "q4_0", "--imatrix", odd, model, "-o", "o.gguf"],
                                cwd=self.directory, env=ENVIRONMENT, capture_output=True)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertTrue(read_gguf(self.path("o.gguf"))[1]["quantize.imatrix.file"].endswith("\\xff\\.dat"))

    def test_names_that_are_not_known(self):
        self.put("config.json", b'{"architectures": ["NeverHeardOf"]}')
        self.refused(1, "--target", "5bpw", "--recipe", "types.txt", model=self.hf, says=["NeverHeardOf", "--map"])
        self.refused(1, "--target", "5bpw", "--same", "qkv", model=self.hf, says=["--map"])
        self.plan("--target", "5bpw", "--recipe", "types.txt", "--arch", "llama", model=self.hf)
        by_arch = read(self.path("types.txt"))
        pairs = "".join(f"{hf}.weight {name}.weight\n" for name, hf in HF.items())
        self.put("map.txt", (pairs + "model.layers.{n}.input_layernorm.weight blk.{n}.attn_norm.weight\n").encode())
        self.plan("--target", "5bpw", "--recipe", "types.txt", "--map", "map.txt", model=self.hf)
        self.assertEqual(read(self.path("types.txt")), by_arch)

    def test_mlx_json(self):
        plan = self.plan("--target", "5bpw", "--mlx-json", "mlx.json")
        scores = dict(json.loads(read(self.path("mlx.json"))))
        self.assertEqual(set(scores), set(HF.values()))
        q = next(t for t in plan["tensors"] if t["gguf"] == "blk.0.attn_q.weight")
        by_size = sorted(q["choices"], key=lambda c: c["bytes"])
        self.assertAlmostEqual(scores[HF["blk.0.attn_q"]], (by_size[0]["damage"] - by_size[-1]["damage"]) / (64 * 256 / 1e6))

    def test_mlx_json_of_experts_and_routers(self):
        """mlx-lm stacks experts, and looks up a score for routers too, which the plan keeps."""
        layer = "model.layers.0.block_sparse_moe"
        tensors = {f"{layer}.experts.{e}.{w}.weight": ("F32", [32, 256], f32(gauss(e * 3 + k, 32 * 256)))
                   for e in range(2) for k, w in enumerate(("w1", "w2", "w3"))}
        tensors[f"{layer}.gate.weight"] = ("F32", [2, 256], f32(gauss(9, 512)))
        self.put("moe.safetensors", safetensors_bytes(tensors))
        plan = self.plan("--target", "7bpw", "--formats", "q4_0,q5_0,q8_0", "--mlx-json", "mlx.json", model="moe.safetensors")
        scores = dict(json.loads(read(self.path("mlx.json"))))
        stack = f"{layer}.switch_mlp."
        self.assertEqual(set(scores), {f"{layer}.gate"} | {f"{stack}{p}_proj" for p in ("gate", "up", "down")})
        self.assertEqual(scores[f"{layer}.gate"], max(scores.values()))
        damages = self.damages(plan)
        cost = sum(damages[f"{layer}.experts.{e}.w2.weight"][0] - damages[f"{layer}.experts.{e}.w2.weight"][2] for e in range(2))
        self.assertAlmostEqual(scores[f"{stack}down_proj"], cost / (2 * 32 * 256 / 1e6), delta=1e-12 * cost)
        whole = {f"blk.0.ffn_{p}_exps.weight": ("F32", [2, 32, 256], b"".join(
            tensors[f"{layer}.experts.{e}.{w}.weight"][2] for e in range(2))) for w, p in (("w1", "gate"), ("w2", "down"), ("w3", "up"))}
        whole["blk.0.ffn_gate_inp.weight"] = tensors[f"{layer}.gate.weight"]
        self.put("moe.gguf", gguf_bytes(whole, LLAMA))
        self.plan("--target", "7bpw", "--formats", "q4_0,q5_0,q8_0", "--mlx-json", "mlx.json", model="moe.gguf")
        stacked = dict(json.loads(read(self.path("mlx.json"))))
        self.assertEqual(set(stacked), set(scores))
        for path, score in scores.items():
            self.assertAlmostEqual(stacked[path], score, delta=1e-9 * score)

    def test_report_of_figures_that_no_plan_has(self):
        plan = self.plan("--target", "5bpw")
        for t in plan["tensors"]:
            for c in t["choices"]:
                if c["format"] != t["format"]:
                    c["bytes"] += 2 ** 62
        self.put("vast.json", json.dumps(plan).encode())
        result = self.qdq("report", "vast.json", "-o", "vast.html")
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertRegex(result.stderr, r"^qdq: vast.json: ")
        self.assertFalse(os.path.exists(self.path("vast.html")))

    def test_report(self):
        self.plan("--target", "5bpw", "--same", "qkv", "--scores", "s.json")
        self.done("report", "plan.json", "-o", "report.html")
        page = read(self.path("report.html")).decode()
        self.assertIn("<svg", page)
        for name in WEIGHTS:
            self.assertIn(f"{name}.weight", page)
        self.assertNotIn("http://", page.replace("http://www.w3.org/", ""))
        result = self.qdq("report", "model.gguf", "-o", "other.html")
        self.assertEqual(result.returncode, 1)
        self.assertFalse(os.path.exists(self.path("other.html")))

    def test_plans_that_are_not_for_this_model(self):
        self.plan("--target", "5bpw")
        text = read(self.path("plan.json"))
        for model, plan, says in ((self.hf, text, "another model"), (self.gguf, b"{", "not JSON"), (self.gguf, b"[]", "no plan"),
                                  (self.gguf, text.replace(b"blk.0.attn_q.weight", b"blk.0.attn_x.weight"), "another model")):
            self.put("other.json", plan)
            result = self.qdq("quantize", "-d", "cpu", "--plan", "other.json", model, "-o", "out.gguf")
            self.assertEqual(result.returncode, 1)
            self.assertIn(says, result.stderr)
            self.assertFalse(os.path.exists(self.path("out.gguf")))
        result = self.qdq("quantize", "-f", "q4_0", "--plan", "plan.json", self.gguf, "-o", "out.gguf")
        self.assertEqual(result.returncode, 2)

    def test_a_plan_serves_other_floats_of_the_same_model(self):
        def model(name, dtype, norm):
            pack = {"F32": f32, "F16": lambda v: struct.pack("<%de" % len(v), *v)}
            return self.put(name, gguf_bytes({"blk.0.ffn_up.weight": (dtype, [8, 256], pack[dtype](gauss(1, 2048))),
                                              "blk.0.attn_norm.weight": (norm, [256], pack[norm](gauss(2, 256)))},
                                             LLAMA))
        half, whole, other = model("half.gguf", "F16", "F32"), model("whole.gguf", "F32", "F32"), model("other.gguf", "F16", "F16")
        plan = self.plan("--target", "12bpw", "--formats", "q8_0,q5_0,source", model=half)
        for name in (half, whole):
            self.done("quantize", "-d", "cpu", "--plan", "plan.json", name, "-o", "out.gguf")
            self.assertEqual(os.path.getsize(self.path("out.gguf")), plan["bytes"])
        result = self.qdq("quantize", "-d", "cpu", "--plan", "plan.json", other, "-o", "no.gguf")
        self.assertEqual(result.returncode, 1)
        self.assertIn("plan for this model in other types: it keeps \"blk.0.attn_norm.weight\" as f32, and here it is f16", result.stderr)

    def test_the_same_at_any_tier_and_thread_count(self):
        first = self.plan("--target", "4.8bpw", "--grad", self.moved)
        for options in (("--threads", "1", "--cpu-mask", "1"), ("--threads", "3", "--cpu-mask", "7")):
            self.assertEqual(self.plan("--target", "4.8bpw", "--grad", self.moved, *options), first)


if __name__ == "__main__":
    unittest.main()
