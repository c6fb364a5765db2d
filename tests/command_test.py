"""Runs the command itself: command_test.py PATH/TO/qdq [unittest's options]."""

import fcntl
import json
import math
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import unittest

from command_support import *


class TestWords(CommandTest):
    COMMANDS = ["formats", "devices", "roundtrip", "quantize", "error", "sensitivity", "lattice"]

    def test_overview(self):
        for word in ["--help", "-h", "help"]:
            text = self.done(word)
            for command in self.COMMANDS:
                self.assertRegex(text, r"(?m)^  %s +\S" % command)
        self.assertRegex(self.done("--version"), r"^qdq \d+\.\d+\.\d+\n$")
        nothing = self.qdq()
        self.assertEqual((nothing.returncode, nothing.stdout), (2, ""))
        self.assertIn("Usage: qdq COMMAND", nothing.stderr)

    def test_help(self):
        for command in self.COMMANDS:
            text = self.done(command, "--help")
            self.assertEqual(text, self.done("help", command))
            self.assertTrue(text.startswith("Usage: qdq %s [OPTION]..." % command))
            self.assertIn("\nExamples:\n", text)
            self.assertLessEqual(max(len(line) for line in text.splitlines() if not line.startswith(("  qdq", "Usage"))), 80)
            # Every option of the help is known to the parser, and the other way round.
            for name, value in re.findall(r"(?m)^ +(?:-\w, )?--([\w-]+)( [A-Z])?", text):
                result = self.qdq(command, "--" + name) if value else self.qdq(command, "--%s=1" % name)
                self.assertEqual(result.returncode, 2)
                self.assertRegex(result.stderr, "wants a value" if value else "takes no value")

    def test_usage(self):
        wrong = [
            ["what"], ["--what"], ["help", "what"], ["formats", "x"], ["devices", "x"], ["formats", "--what"],
            ["roundtrip"], ["roundtrip", "-f", "q4_0", "model.safetensors"],
            ["roundtrip", "-o", "o.safetensors", "model.safetensors"],
            ["roundtrip", "-f", "q9", "-o", "o.safetensors", "model.safetensors"],
            ["roundtrip", "-f", "q4_0,q8_0", "-o", "o.safetensors", "model.safetensors"],
            ["roundtrip", "-f", "q4_0", "-o", "o.safetensors", "model.safetensors", "model.safetensors"],
            ["roundtrip", "-f", "q4_0", "--dtype", "f64", "-o", "o.safetensors", "model.safetensors"],
            ["quantize", "-f", "q4_0", "model.safetensors"], ["quantize", "-o", "o.gguf", "model.safetensors"],
            ["error", "model.safetensors"], ["error", "-f", "", "model.safetensors"],
            ["error", "-f", "q4_0,q4_0", "model.safetensors"], ["error", "-f", "q4_0,", "model.safetensors"],
            ["error", "-f", "q4_0", "--threads", "x", "model.safetensors"],
            ["error", "-f", "q4_0", "--threads", "-1", "model.safetensors"],
            ["error", "-f", "q4_0", "--cpu-mask", "1x", "model.safetensors"],
            ["error", "-f", "q4_0", "--include", "(", "model.safetensors"],
            ["error", "-f", "q4_0", "-d", "abacus", "model.safetensors"],
            ["selftest", "--elements", "1000"], ["selftest", "--ggml", "libggml.so", "--elements", "0"],
            ["sensitivity", "--low", "q4_0", "--high", "q8_0", "model.safetensors"],
            ["sensitivity", "--low", "q4_0", "--grad", "gradients.safetensors", "model.safetensors"],
            ["sensitivity", "--high", "q8_0", "--grad", "gradients.safetensors", "model.safetensors"],
            ["sensitivity", "--low", "source", "--high", "q8_0", "--grad", "gradients.safetensors", "model.safetensors"],
            ["sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", "gradients.safetensors", "--sort", "name",
             "model.safetensors"],
            ["sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", "gradients.safetensors", "--json", "-",
             "--mlx-json", "-", "model.safetensors"],
        ]
        for arguments in wrong:
            self.fails(2, "Try 'qdq|abacus", *arguments)

    def test_what_to_say_instead(self):
        for words, arguments in [
                ("no format is called 'q4k'; did you mean q4_K\\?", ["error", "-f", "q4k", self.model]),
                ("no format is called 'Q4KM'; did you mean Q4_K_M\\?", ["error", "-f", "q8_0,Q4KM", self.model]),
                ("no format is called '_'; there are: q4_0, .*, f32, f16, bf16\n", ["error", "-f", "_", self.model]),
                ("not 0: a .safetensors or .gguf file, or a directory", ["error", "-f", "q4_0"]),
                ("not 2: 'q8_0' is too much", ["error", "-f", "q4_0", self.model, "q8_0"]),
                ("no option is called --imatrx; did you mean --imatrix\\?", ["error", "--imatrx", "i.dat"]),
                ("no option is called --quite; did you mean --quiet\\?", ["devices", "--quite"]),
                ("no option is called --thing=3\n", ["devices", "--thing=3"]),
                ("so begin --tensor-type, --tensor-type-file\n", ["quantize", "--tensor", "a=q8_0"]),
                ("o.gguf: what is written is safetensors", ["roundtrip", "-f", "q4_0", self.model, "-o", "o.gguf"])]:
            self.fails(2, words, *arguments)
        self.fails(1, "nowhere/o.gguf: cannot be created: .*: make its directory first", "quantize", "-f", "q4_0", self.model,
                   "-o", "nowhere/o.gguf")
        self.assertEqual(self.done("help", "help"), self.done("help"))

    def test_tables_have_no_empty_column_and_no_blank_at_a_line_s_end(self):
        tables = {command[0]: self.done(*command) for command in [
            ["devices"], ["formats"], ["error", "-f", "q4_0,q4_K", self.model], ["lattice", self.model],
            ["bench", "-f", "q4_0", "--seconds", "0.01", "--size", "1"]]}
        for command, text in tables.items():
            self.assertNotRegex(text, r"(?m)[ \t]$", command)
        self.assertIn("of copy\n", tables["bench"])  # beside no ggml there is no "x ggml"

    def test_mixtures(self):
        """What users of llama-quantize type."""
        for name, most in [("Q4_K_M", "q4_K"), ("q5_k_s", "q5_K"), ("IQ3_M", "iq3_s")]:
            self.fails(2, name + " is a mixture that llama-quantize makes, .* are " + most, "error", "-f", name, self.model)

    def test_nothing_done(self):
        """A command that does none of what it was asked for says so, and does not succeed."""
        self.put("packed.gguf", gguf_bytes({"a": ("Q8_0", [2, 64], bytes(136)), "n": ("F32", [64], f32(gauss(1, 64)))}, []))
        gradients = self.put("g.safetensors", safetensors_bytes({"a": ("F32", [2, 64], f32(gauss(1, 128)))}))
        commands = [["error", "-f", "q4_0"], ["quantize", "-f", "q4_0", "-o", "o.gguf"],
                    ["sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", gradients]]
        for command in commands:
            for json_too in ([], ["--json", "o.json"]):
                self.fails(1, ["packed.gguf: there is nothing to ", "2 tensors", '1 x "is already quantized"', "give the F32"],
                           *command, *json_too, "packed.gguf")
        for command in commands[:2] + [["roundtrip", "-f", "q4_0", "-o", "o.safetensors"]]:
            self.fails(1, ["nothing to ", "7 tensors", "not matched by --include"], *command, "--include", "^zzz", self.model)
            self.fails(1, ["nothing to ", '1 x "1 dimension; 2 are needed"'], *command, "--include", "^norm", self.model)

    def test_escapes(self):
        self.fails(2, r"x\\x1b\[31m", "x\033[31m")
        self.fails(1, r"\\x1b", "error", "-f", "q4_0", "\033[2J.safetensors")

    def test_formats(self):
        text = self.done("formats")
        self.assertRegex(text, r"(?m)^q4_0 +2 +32 +18 +4.5 ")
        self.assertNotIn("bf16 ", text)
        self.assertEqual(len(text.splitlines()), len(self.json("formats")["formats"]) + 1)
        self.assertEqual(self.json("formats")["schema"], "qdq.formats/1")
        row = [f for f in self.json("formats")["formats"] if f["name"] == "q8_0"][0]
        self.assertEqual((row["ggml_type"], row["block_elements"], row["block_bytes"]), (8, 32, 34))

    def test_formats_in_order(self):
        """The smallest first; what quantize demands is told."""
        bits = [float(line.split()[4]) for line in self.done("formats").splitlines()[1:]]
        self.assertEqual(bits, sorted(bits))
        self.put("m.gguf", gguf_bytes({"blk.0.ffn_up.weight": ("F32", [1, 256], f32(gauss(1, 256))),
                                       "blk.1.ffn_up.weight": ("F32", [2, 256], f32(gauss(1, 512)))}, []))
        for f in self.json("formats")["formats"]:
            result = self.qdq("quantize", "-f", f["name"], "m.gguf", "-o", "o.gguf")
            self.assertEqual("needs an importance matrix" in result.stderr, f["quantize_needs_importance"], f["name"])

    def test_did_you_mean(self):
        for word, command in (("quantise", "quantize"), ("eror", "error"), ("plans", "plan"), ("sensitivty", "sensitivity"),
                              ("Formats", "formats")):
            self.fails(2, "did you mean '%s'" % command, word)
        for word in ("q", "convert", "xxxxx", "quant" * 100):
            self.assertNotIn("mean", self.qdq(word).stderr)

    def test_devices(self):
        self.assertRegex(self.done("devices"), r"(?m)^cpu +yes ")
        self.assertIn("cpu", [d["name"] for d in self.json("devices")["devices"] if d["available"]])

    @posix
    def test_full_output(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        for arguments in [["formats"], ["--help"], ["formats", "--json", "-"], ["error", "-f", "q4_0", self.model]]:
            with open("/dev/full", "w") as full:
                result = subprocess.run([QDQ, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(result.returncode, 1)
            self.assertIn("standard output cannot be written", result.stderr)


class TestHostileFiles(CommandTest):
    @posix
    def test_long_path_keeps_its_file_and_the_sentence(self):
        folders = "/".join(["folder"] * 500)
        self.fails(1, [r"/x\.gguf: cannot be opened: \S+[^\n]*\n\Z"], "error", "-f", "q4_0", folders + "/x.gguf")
        self.fails(1, [r"/o\.gguf: cannot be created: [^\n]*: make its directory first; no output was left\n\Z"],
                   "quantize", "-f", "q4_0", "model.safetensors", "-o", folders + "/o.gguf")

    def test_pipes(self):
        """A name that leads to a pipe is refused, not waited for."""
        os.mkfifo(self.path("config.json"))
        weights = self.put("i.dat", imatrix_bytes({"blk.0.attn_q.weight": (1, [1.0] * 96)}))
        for command in (["error", "-f", "q4_0"], ["quantize", "-f", "q4_0", "-o", "o.gguf"],
                        ["plan", "--target", "5bpw", "-o", "plan.json"]):
            self.pipe_refused("config.json", *command, "--imatrix", weights, self.model)
        os.remove(self.path("config.json"))
        os.mkfifo(self.path("pipe"))
        plan = ["plan", "--target", "8bpw", "--formats", "q4_0,q8_0", "-o", "plan.json", self.model]
        for command in (["error", "-f", "q4_0", "pipe"], ["report", "pipe", "-o", "page.html"], [*plan, "--map", "pipe"],
                        [*plan, "--scores", "pipe"], ["quantize", "--plan", "pipe", self.model, "-o", "o.gguf"],
                        ["quantize", "-f", "q4_0", "--tensor-type-file", "pipe", self.model, "-o", "o.gguf"],
                        ["error", "-f", "q4_0", "--imatrix", "pipe", self.model]):
            self.pipe_refused("pipe", *command)

    def pipe_refused(self, name, *arguments):
        result = self.qdq(*arguments)
        self.assertEqual((result.returncode, result.stdout), (1, ""), arguments)
        self.assertRegex(result.stderr, name + ": is (no|not a) regular file", arguments)

    def test_json_on_a_terminal(self):
        name = "a\x7f\x85\u009b31m\u061c\u200f\u202e\u2066ü€😀"
        self.put("m.safetensors", safetensors_bytes({name: ("F32", [1, 32], f32(gauss(1, 32)))}))
        text = self.done("error", "-f", "q4_0", "--json", "-", "m.safetensors")
        self.assertEqual(json.loads(text)["tensors"][0]["name"], name)
        for c in "\x7f\x85\u009b\u061c\u200f\u202e\u2066":
            self.assertNotIn(c, text)
        self.assertIn("ü€😀", text)

    @posix
    def test_mode_of_a_replaced_output(self):
        for mode in (0o600, 0o640, 0o664, 0o755):
            for name in ("o.gguf", "o.json"):
                self.put(name, b"")
                os.chmod(self.path(name), mode)
            self.done("quantize", "-f", "q4_0", self.model, "-o", "o.gguf", "--quiet", "--json", "o.json")
            self.assertEqual({os.stat(self.path(n)).st_mode & 0o7777 for n in ("o.gguf", "o.json")}, {mode})
        os.remove(self.path("o.gguf"))
        mask = os.umask(0o027)
        self.addCleanup(os.umask, mask)
        self.done("quantize", "-f", "q4_0", self.model, "-o", "o.gguf", "--quiet")
        self.assertEqual(os.stat(self.path("o.gguf")).st_mode & 0o7777, 0o640)

    def test_patterns(self):
        """No pattern of a user and no name of a file make a search that does not end, or a stack that does."""
        name = "a" * 30000 + "b"
        self.put("long.safetensors", safetensors_bytes({name: ("F32", [1, 32], f32(gauss(1, 32)))}))
        longest = 30000 if WINDOWS else 60000  # characters that a command line takes
        for pattern in ("(" * longest, "(" * 1000 + ")" * 1000, "a" * 5000, "(", "[", "a{2,1}"):
            self.fails(2, "--include:? (a )?regular expression", "error", "-f", "q4_0", "--include", pattern,
                       "long.safetensors")
        for pattern in ("(a|aa)+$", r"(a+)+$", r"^(a+)(\1)*c$"):
            self.fails(1, "takes too many steps", "error", "-f", "q4_0", "--exclude", pattern, "long.safetensors")
        name = "a" * 60 + "b"
        self.put("short.safetensors", safetensors_bytes({name: ("F32", [1, 32], f32(gauss(1, 32)))}))
        for pattern in ("(a|aa)+$", r"(a+)+$"):
            self.fails(1, "takes too many steps", "plan", "--target", "8.5bpw", "--formats", "q8_0", "--pin", pattern + "=q8_0",
                       "-o", "p.json", "short.safetensors")

    def test_dialect_of_patterns(self):
        self.put("m.safetensors", safetensors_bytes({n: ("F32", [1, 32], f32(gauss(1, 32))) for n in (
            "blk.0.attn_q.weight", "blk.10.attn_k.weight", "output.weight", "token_embd.weight", "a\nb")}))
        for pattern, matched in (("attn_[qk]", 2), (r"blk\.[0-9]+\.", 2), (r"blk\.[[:digit:]]{2}", 1), ("^(output|token_embd)", 2),
                                 ("weight$", 4), ("^blk.*(q|k).weight$", 2), ("ATTN", 0), ("a.b", 1), ("^b", 2), ("out?put", 1)):
            found = self.qdq("error", "-f", "q4_0", "--include", pattern, "--json", "-", "m.safetensors")
            self.assertEqual(len(json.loads(found.stdout)["tensors"]) if matched else found.returncode, matched or 1, pattern)

    @posix
    def test_memory_of_headers(self):
        """Nothing that a header, an index or a config.json claims takes more than the header itself a few times."""
        if os.environ.get("QDQ_SANITIZE"):
            self.skipTest("sanitizers take their own memory")
        vast = "{%s}" % ",".join('"%d":[%s]' % (i, ",".join(["{}"] * 1000)) for i in range(5000))
        self.put("shape.safetensors", header_bytes('{"w":{"dtype":"F32","data_offsets":[0,0],"shape":[%s]}}' % ",".join(["{}"] * 5000000)))
        self.put("members.safetensors", header_bytes('{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0],"x":%s}}' % vast))
        self.put("vast.safetensors.index.json", ('{"metadata":%s,"weight_map":{"a.weight":"model.safetensors"}}' % vast).encode())
        self.put("config.json", ('{"x":%s}' % vast).encode())
        self.put("i.dat", imatrix_bytes({"a.weight": (1, [1.0] * 96)}))

        def limit():
            resource.setrlimit(resource.RLIMIT_DATA, (200 << 20, 200 << 20))
        for arguments, says in ((["shape.safetensors"], "claims 5000000 dimensions"), (["members.safetensors"], "nothing to measure"),
                                (["vast.safetensors.index.json"], "the index does not list"),
                                ([self.model, "--imatrix", "i.dat"], "")):
            result = self.qdq("error", "-f", "q4_0", "-d", "cpu", "--threads", "1", *arguments, preexec_fn=limit)
            self.assertEqual(result.returncode, 1 if says else 0, (arguments, result.stderr))
            self.assertIn(says, result.stderr)


class TestGenerated(CommandTest):
    def check_syntax(self, shell, text):
        if shutil.which(shell) is None:
            return
        file = self.put("completion", text.encode())
        result = subprocess.run([shell, "-n", file], capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_completions(self):
        for shell in ["bash", "zsh", "fish"]:
            text = self.done("--completion", shell)
            self.check_syntax(shell, text)
            for word in TestWords.COMMANDS + ["cpu-mask", "mlx-json", "q8_0"]:
                self.assertIn(word, text)
        self.fails(2, "tcsh", "--completion", "tcsh")

    def test_bash(self):
        if shutil.which("bash") is None:
            self.skipTest("no bash")
        file = self.put("completion", self.done("--completion", "bash").encode())

        def offered(*words):
            script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _qdq; printf "%s\\n" "${COMPREPLY[@]}"'
            return subprocess.run(["bash", "-c", script, "bash", file, *words], cwd=self.directory, capture_output=True,
                                  text=True, check=True).stdout.split()
        self.assertEqual(offered("qdq", "ro"), ["roundtrip"])
        self.assertIn("q8_0", offered("qdq", "error", "-f", ""))
        self.assertEqual(offered("qdq", "error", "-f", "q8"), ["q8_0"])
        self.assertEqual(offered("qdq", "roundtrip", "--dtype", "s"), ["source"])
        self.assertEqual(offered("qdq", "error", "--qu"), ["--quiet"])
        self.assertEqual(offered("qdq", "error", "mod"), ["model.safetensors"])
        self.assertEqual(offered("qdq", "error", "-f", "q4_0,q8"), ["q4_0,q8_0"])
        self.assertEqual(offered("qdq", "error", "-f", "al"), ["all"])
        self.assertEqual(offered("qdq", "quantize", "--format", "=", "bf"), ["bf16"])
        self.assertIn("q8_0", offered("qdq", "quantize", "--format", "="))
        self.assertEqual(offered("qdq", "sensitivity", "--high", "so"), ["source"])
        kinds = {device["name"].split(":")[0] for device in self.json("devices")["devices"]}
        self.assertEqual(kinds - set(offered("qdq", "error", "--device", "")), set())
        help_text = self.done("help", "error")
        self.assertEqual([kind for kind in kinds if " %s," % kind not in help_text], [])

    def test_fish(self):
        if shutil.which("fish") is None:
            self.skipTest("no fish")
        file = self.put("qdq.fish", self.done("--completion", "fish").encode())

        def offered(line):
            shown = subprocess.run(["fish", "-c", "source %s; complete -C '%s'" % (file, line)], cwd=self.directory,
                                   env=dict(ENVIRONMENT, HOME=self.directory), capture_output=True, text=True, check=True).stdout
            return [line.split("\t")[0] for line in shown.splitlines()]
        self.assertEqual(offered("qdq ro"), ["roundtrip"])
        self.assertEqual(offered("qdq error -f q8"), ["q8_0"])
        self.assertEqual(offered("qdq error -f q4_0,q8"), ["q4_0,q8_0"])
        self.assertEqual(offered("qdq quantize -f bf"), ["bf16"])
        self.assertEqual(offered("qdq error --qu"), ["--quiet"])

    def test_man_page(self):
        text = self.done("--man")
        self.assertTrue(text.startswith(".TH QDQ 1 "))
        for command in TestWords.COMMANDS:
            self.assertIn(".SS qdq %s\n" % command, text)
        if shutil.which("groff") is None:
            return
        result = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-Kutf8"], input=text.encode(), capture_output=True)
        if b"can't find" not in result.stderr and b"cannot" not in result.stderr:  # a groff without its devices
            self.assertEqual((result.returncode, result.stderr), (0, b""))


class TestRoundtrip(CommandTest):
    def test_contents(self):
        text = self.done("roundtrip", "-f", "Q4_0", "--list-skipped", self.model, "-o", "o.safetensors")
        tensors, metadata = read_safetensors(self.path("o.safetensors"))
        self.assertEqual(metadata, self.metadata)
        self.assertEqual(set(tensors), set(self.tensors))
        for name, (dtype, shape, data) in self.tensors.items():
            if name in self.skipped:
                self.assertEqual(tensors[name], (dtype, shape, data))
                self.assertRegex(text, r"(?m)^%s +.*\S" % re.escape(name))
            else:
                self.assertEqual(tensors[name][:2], ("F32", shape))
        self.assertIn("3 of 7 tensors", text)
        self.assertIn("rows of 33 elements", text)

    def test_equals_quantize(self):
        for name in ["q4_0", "q8_0"]:
            self.done("roundtrip", "-f", name, self.model, "-o", "o.safetensors")
            self.done("quantize", "-f", name, self.model, "-o", "o.gguf")
            low, _ = read_safetensors(self.path("o.safetensors"))
            packed, _ = read_gguf(self.path("o.gguf"))
            for tensor in ["a.weight", "b.weight", "c.weight"]:
                kind, shape, data = packed[tensor]
                self.assertEqual((kind, shape), (GGML_ID[name.upper()], self.tensors[tensor][1]))
                self.assertEqual(f32(dequantize(kind, data)), low[tensor][2])

    def test_source_dtype(self):
        self.done("roundtrip", "-f", "q8_0", self.model, "-o", "wide.safetensors")
        self.done("roundtrip", "-f", "q8_0", "--dtype", "source", self.model, "-o", "o.safetensors")
        wide, _ = read_safetensors(self.path("wide.safetensors"))
        narrow, _ = read_safetensors(self.path("o.safetensors"))
        self.assertEqual(narrow["a.weight"], wide["a.weight"])
        values = floats("F32", wide["b.weight"][2])
        self.assertEqual(narrow["b.weight"], ("F16", [32, 64], f16(values)))  # struct rounds to nearest even too
        self.assertEqual(narrow["c.weight"][:2], ("BF16", [2, 8, 128]))
        rounded = b""
        for (bits,) in struct.iter_unpack("<I", wide["c.weight"][2]):
            rounded += struct.pack("<H", (bits + 0x7fff + (bits >> 16 & 1)) >> 16)
        self.assertEqual(narrow["c.weight"][2], rounded)

    def test_include(self):
        self.done("roundtrip", "-f", "q8_0", "--include", "^a", self.model, "-o", "o.safetensors")
        tensors, _ = read_safetensors(self.path("o.safetensors"))
        self.assertNotEqual(tensors["a.weight"], self.tensors["a.weight"])
        self.assertEqual(tensors["b.weight"], self.tensors["b.weight"])

    def test_filter(self):
        result = self.json("roundtrip", "-f", "q4_0", "--include", "^a", "--include", r"\.w", "--exclude", "^b",
                           self.model, "-o", "o.safetensors")
        self.assertEqual([t["name"] for t in result["tensors"]], ["a.weight", "c.weight"])
        reasons = {s["name"]: s["reason"] for s in result["skipped"]}
        self.assertEqual(reasons["b.weight"], "matched by --exclude")
        self.assertEqual(reasons["empty"], "not matched by --include")

    def test_gguf_input(self):
        tensors = {"x.weight": ("F16", [8, 64], f16(gauss(1, 512))), "x.bias": ("F32", [8], f32(gauss(2, 8)))}
        self.put("m.gguf", gguf_bytes(tensors, [("general.architecture", STRING, "llama")]))
        self.done("roundtrip", "-f", "q8_0", "m.gguf", "-o", "o.safetensors")
        out, metadata = read_safetensors(self.path("o.safetensors"))
        self.assertEqual(out["x.bias"], ("F32", [8], tensors["x.bias"][2]))
        self.assertEqual(out["x.weight"][:2], ("F32", [8, 64]))

    def test_replaces_output(self):
        self.put("o.safetensors", b"something else")
        self.done("roundtrip", "-f", "q4_0", self.model, "-o", "o.safetensors", "--quiet")
        self.assertEqual(len(read_safetensors(self.path("o.safetensors"))[0]), 7)

    def test_quiet(self):
        self.assertEqual(self.done("roundtrip", "-f", "q4_0", self.model, "-o", "o.safetensors", "--quiet"), "")


class TestError(CommandTest):
    def expected(self, name, fmt, weights=None):
        dtype, shape, data = self.tensors[name]
        self.done("roundtrip", "-f", fmt, "--quiet", self.model, "-o", "expected.safetensors")
        low = floats("F32", read_safetensors(self.path("expected.safetensors"))[0][name][2])
        pairs = list(zip(floats(dtype, data), low))
        m = [1.0] * len(pairs) if weights is None else weights
        err2, ww, qq, wq = (math.fsum(f(w, q) * k for (w, q), k in zip(pairs, m)) for f in (
            lambda w, q: (w - q) ** 2, lambda w, q: w * w, lambda w, q: q * q, lambda w, q: w * q))
        return {"rmse": math.sqrt(err2 / len(pairs)), "relative_rmse": math.sqrt(err2 / ww),
                "max_abs": max(abs(w - q) for w, q in pairs), "snr_db": 10 * math.log10(ww / err2),
                "cosine": wq / math.sqrt(ww * qq)}

    def check(self, got, expected):
        for key, value in expected.items():
            self.assertLess(abs(got[key] - value), 2e-6 * abs(value), key)

    def test_json(self):
        result = self.json("error", "-f", "q4_0,q8_0", self.model)
        self.assertEqual(set(result), {"schema", "device", "codes", "tensors", "skipped"})
        self.assertEqual(result["schema"], "qdq.error/1")
        self.assertEqual([t["name"] for t in result["tensors"]], ["a.weight", "b.weight", "c.weight", "odd.weight"])
        self.assertEqual([e["written"] for e in result["tensors"].pop()["errors"]], ["f16", "f16"])
        for tensor in result["tensors"]:
            self.assertEqual(set(tensor), {"name", "shape", "elements", "errors"})
            self.assertEqual(tensor["shape"], self.tensors[tensor["name"]][1])
            self.assertEqual(tensor["elements"], count(tensor["shape"]))
            self.assertEqual([e["format"] for e in tensor["errors"]], ["q4_0", "q8_0"])
            for error in tensor["errors"]:
                self.assertEqual(set(error), {"format", "written", "bits_per_weight", "rmse", "relative_rmse", "max_abs", "snr_db",
                                              "cosine"})
                self.assertEqual((error["written"], error["bits_per_weight"]), (error["format"], 4.5 if error["format"] == "q4_0" else 8.5))
                self.check(error, self.expected(tensor["name"], error["format"]))
        for skipped in result["skipped"]:
            self.assertEqual(set(skipped), {"name", "reason"})
        self.assertEqual({s["name"] for s in result["skipped"]}, set(self.skipped) - {"odd.weight"})

    def test_fall_back(self):
        """A row that is no multiple of the block gets, and is measured in, the format that quantize gives it."""
        self.put("m.gguf", gguf_bytes({"a.weight": ("F32", [8, 96], f32(gauss(1, 768))), "b.weight": ("F32", [4, 256], f32(gauss(2, 1024)))},
                                      [("general.architecture", STRING, "llama")]))
        for fmt, other in (("q4_K", "q5_0"), ("q6_K", "q8_0"), ("q2_K", "q4_0"), ("iq4_xs", "iq4_nl")):
            a, b = self.json("error", "-f", fmt + "," + other, "m.gguf")["tensors"]
            self.assertEqual([e["written"] for e in a["errors"]], [other, other])
            self.assertEqual([e["written"] for e in b["errors"]], [fmt, other])
            first, second = ({k: v for k, v in e.items() if k != "format"} for e in a["errors"])
            self.assertEqual(first, second)
            text = self.done("error", "-f", fmt, "m.gguf")
            self.assertRegex(text, r"(?m)^a\.weight +8 x 96 +%s for %s " % (other, fmt))
            self.assertRegex(text, r"(?m)^all +1792 elements +%s " % fmt)  # all of them, whatever they are written in
            self.done("quantize", "-f", fmt, "m.gguf", "-o", "o.gguf")
            written = self.json("quantize", "-f", fmt, "m.gguf", "-o", "o.gguf")["exceptions"]
            self.assertEqual([(e["name"], e["format"]) for e in written], [("a.weight", other)])

    def test_summary(self):
        whole, totals = (self.done("error", "-f", "q4_0,q8_0", *o, self.model) for o in ([], ["--summary"]))
        self.assertEqual([line.split() for line in totals.splitlines()[1:3]],
                         [line.split() for line in whole.splitlines() if line.startswith("all ")])
        self.assertNotIn("a.weight", totals)

    def test_what_is_passed_over(self):
        """It is counted, and named on request."""
        text = self.done("error", "-f", "q4_0", "--include", "^a|norm", self.model)
        self.assertIn("\n6 tensors not measured:\n", text)
        self.assertIn("\n       4  not matched by --include\n", text)
        self.assertIn("\n       1  1 dimension; 2 are needed\n", text)
        self.assertNotIn("b.weight", text)
        text = self.done("error", "-f", "q4_0", "--include", "^a|norm", "--list-skipped", self.model)
        self.assertRegex(text, r"(?m)^b.weight +32 x 64 +F16 +not matched by --include$")
        self.assertNotIn("--list-skipped", text)

    def test_together_is_alone(self):
        together = self.json("error", "-f", "q4_0,q8_0,q5_1", "-d", "cpu", self.model)["tensors"]
        for i, name in enumerate(["q4_0", "q8_0", "q5_1"]):
            alone = self.json("error", "-f", name, "-d", "cpu", self.model)["tensors"]
            self.assertEqual([t["errors"][i] for t in together], [t["errors"][0] for t in alone])

    def test_table(self):
        text = self.done("error", "-f", "q4_0,q8_0", self.model)
        lines = text.split("\n\n")[0].splitlines()
        self.assertEqual(lines[0].split()[:5], ["tensor", "shape", "format", "bits", "RMSE"])
        self.assertIn('"F for G"', lines.pop())
        self.assertRegex(lines[-3], "^-+$")
        self.assertRegex(lines[-2], "^all +10372 elements +q4_0 +4.646 ")
        ends = {len(line) for line in lines}
        self.assertEqual(len(ends), 1)  # aligned: the last column is one of numbers
        self.assertIn("not measured:\n", text)

    def test_exact_is_null(self):
        self.put("z.safetensors", safetensors_bytes({"z": ("F32", [1, 32], bytes(128))}))
        error = self.json("error", "-f", "q8_0", "z.safetensors")["tensors"][0]["errors"][0]
        self.assertIsNone(error["snr_db"])
        self.assertEqual((error["rmse"], error["relative_rmse"], error["cosine"]), (0, 0, 1))

    def test_imatrix(self):
        # q8_0's round trip does not depend on the importance; the errors are weighted all the same.
        weights = [float(i % 5) for i in range(96)]
        experts = [float(i % 7) for i in range(2 * 128)]
        self.put("i.dat", imatrix_bytes({"a.weight": (4, weights), "c.weight": (1, experts)}))
        result = self.json("error", "-f", "q8_0", "--imatrix", "i.dat", self.model)["tensors"]
        self.check(result[0]["errors"][0], self.expected("a.weight", "q8_0", weights * 64))
        self.check(result[1]["errors"][0], self.expected("b.weight", "q8_0"))
        self.check(result[2]["errors"][0], self.expected("c.weight", "q8_0", experts[:128] * 8 + experts[128:] * 8))
        self.put("i.dat", imatrix_bytes({"a.weight": (4, weights[:-1])}))
        self.fails(1, ["a.weight", "95", "96"], "error", "-f", "q8_0", "--imatrix", "i.dat", self.model)

    def test_imatrix_of_experts_one_by_one(self):
        """Experts' columns are the row's, whatever the product says."""
        part = "model.layers.0.block_sparse_moe.experts.%d.w3.weight"
        self.put("moe.safetensors", safetensors_bytes({part % e: ("F32", [4, 32], f32(gauss(e, 128))) for e in range(4)}))
        self.put("config.json", b'{"architectures": ["MixtralForCausalLM"]}')
        keys = [("general.type", STRING, "imatrix"), ("imatrix.datasets", ARRAY, (STRING, ["words"])),
                ("imatrix.chunk_count", U32, 1), ("imatrix.chunk_size", U32, 512)]

        def imatrix(shape):
            name, weights = "blk.0.ffn_up_exps.weight", [1.0 + i % 7 for i in range(128)]
            return self.put("i.gguf", gguf_bytes({name + ".in_sum2": ("F32", shape, f32(weights)),
                                                  name + ".counts": ("F32", [shape[0], 1], f32([1.0] * shape[0]))}, keys))
        imatrix([4, 32])
        measured = self.json("error", "-f", "q4_0", "--imatrix", "i.gguf", "moe.safetensors")["tensors"]
        self.assertTrue(all(t["weighted"] for t in measured))
        # All experts counted as one matrix, as llama-imatrix makes it of a legacy file.
        imatrix([1, 128])
        self.assertEqual(self.json("error", "-f", "q4_0", "--imatrix", "i.gguf", "moe.safetensors")["tensors"], measured)
        for shape in ([2, 64], [8, 16]):
            imatrix(shape)
            for command in (["error", "-f", "q4_0"], ["quantize", "-f", "q4_0", "-o", "o.gguf"]):
                self.fails(1, ["i.gguf", "ffn_up_exps", "rows of %d" % shape[1], "expert 0"],
                           *command, "--imatrix", "i.gguf", "moe.safetensors")

    def test_imatrix_where_a_format_does_not_fit(self):
        self.put("i.dat", imatrix_bytes({"a.weight": (4, [float(i % 5) for i in range(96)])}))
        alone = self.json("error", "-f", "q8_0", "--imatrix", "i.dat", self.model)["tensors"][0]
        beside = self.json("error", "-f", "q8_0,q4_K", "--imatrix", "i.dat", self.model)["tensors"][0]
        self.assertEqual(beside["errors"].pop()["written"], "q5_0")
        self.assertEqual(alone, beside)
        self.assertTrue(alone["weighted"])

    def test_weighted_table(self):
        self.put("i.dat", imatrix_bytes({"a.weight": (4, [float(i % 5) for i in range(96)])}))
        text = self.done("error", "-f", "q8_0", "--imatrix", "i.dat", self.model)
        self.assertRegex(text, r"(?m)^tensor +shape +format +bits +weighted RMSE ")
        self.assertRegex(text, r"(?m)^a\.weight +64 x 96 ")
        self.assertRegex(text, r"(?m)^b\.weight \* +32 x 64 ")
        self.assertRegex(text, r"(?m)^all +6144 elements ")
        self.assertRegex(text, r"(?m)^all \* +4228 elements ")
        self.assertIn("\n* not weighted: the importance matrix has no entry for it\n", text)

    def test_all(self):
        known = [f for f in self.json("formats")["formats"] if f["importance"] != "needed"]
        result = self.json("error", "-f", "all", "--include", "c", self.model)  # rows of 128
        self.assertEqual([e["format"] for e in result["tensors"][0]["errors"]],
                         [f["name"] for f in known])
        self.assertEqual({e["format"] for e in result["tensors"][0]["errors"] if e["written"] != e["format"]},
                         {f["name"] for f in known if f["block_elements"] == 256})
        self.put("m.safetensors", safetensors_bytes({"w": ("F32", [4, 256], f32(gauss(1, 1024))),
                                                     "x": ("F32", [4, 96], f32(gauss(2, 384)))}))
        self.put("i.dat", imatrix_bytes({"w": (1, [1.0] * 256)}))
        result = self.json("error", "-f", "all", "--imatrix", "i.dat", "m.safetensors")
        self.assertEqual([e["format"] for e in result["tensors"][0]["errors"]],
                         [f["name"] for f in self.json("formats")["formats"]])

    def test_json_file(self):
        text = self.done("error", "-f", "q4_0", "--json", "e.json", self.model)
        self.assertIn("RMSE", text)
        self.assertEqual(json.loads(read(self.path("e.json"))), self.json("error", "-f", "q4_0", self.model))
        self.fails(1, "nowhere", "error", "-f", "q4_0", "--json", "nowhere/e.json", self.model)
        self.fails(2, "is the input", "error", "-f", "q4_0", "--json", "model.safetensors", self.model)

    def test_seventeen_digits(self):
        text = self.done("error", "-f", "q4_0", "--json", "-", self.model)
        self.assertTrue(re.search(r"\d\.\d{14,17}", text))

    def test_huge_but_finite(self):
        self.put("h.safetensors", safetensors_bytes({"h": ("F32", [1, 32], f32([3e38] * 32))}))
        self.done("error", "-f", "q8_0", "h.safetensors")


class TestSensitivity(CommandTest):
    ARGUMENTS = ["sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", "gradients.safetensors"]

    def low(self, name, fmt):
        if fmt == "source":
            return floats(self.tensors[name][0], self.tensors[name][2])
        self.done("roundtrip", "-f", fmt, "--quiet", self.model, "-o", "low.safetensors")
        return floats("F32", read_safetensors(self.path("low.safetensors"))[0][name][2])

    def check(self, tensor, high):
        name = tensor["name"]
        dtype, _, data = read_safetensors(self.gradients)[0][name]
        terms = [g * (l - h) for g, l, h in zip(floats(dtype, data), self.low(name, "q4_0"), self.low(name, high))]
        absolute = math.fsum(map(abs, terms))
        self.assertLess(abs(tensor["sensitivity"] - math.fsum(terms)), 1e-6 * absolute)
        self.assertLess(abs(tensor["absolute"] - absolute), 1e-6 * absolute)
        squared = math.fsum(t * t for t in terms)
        self.assertLess(abs(tensor["squared"] - squared), 1e-6 * squared)
        self.assertEqual(tensor["sensitivity_per_million"], tensor["sensitivity"] / (tensor["elements"] / 1e6))

    def test_json(self):
        for high in ["q8_0", "source"]:
            result = self.json("sensitivity", "--low", "q4_0", "--high", high, "--grad", self.gradients, self.model)
            self.assertEqual(set(result), {"schema", "low", "high", "device", "codes", "tensors", "skipped"})
            self.assertEqual((result["schema"], result["low"], result["high"]), ("qdq.sensitivity/1", "q4_0", high))
            self.assertEqual({t["name"] for t in result["tensors"]}, {"a.weight", "c.weight"})
            for tensor in result["tensors"]:
                self.assertEqual(set(tensor), {"name", "shape", "dtype", "elements", "sensitivity",
                                               "sensitivity_per_million", "absolute", "squared"})
                self.check(tensor, high)
            reasons = {s["name"]: s["reason"] for s in result["skipped"]}
            self.assertEqual(set(reasons), set(self.skipped) | {"b.weight"})
            self.assertEqual(reasons["b.weight"], "no gradient")

    def test_order(self):
        for order, key in [(None, "sensitivity_per_million"), ("signed", "sensitivity"), ("absolute", "absolute"),
                           ("squared", "squared")]:
            result = self.json(*self.ARGUMENTS, *(["--sort", order] if order else []), self.model)
            scores = [t[key] for t in result["tensors"]]
            self.assertEqual(scores, sorted(scores, reverse=True))

    def test_mlx(self):
        text = self.done(*self.ARGUMENTS, "--mlx-json", "m.json", "--json", "s.json", self.model)
        self.assertIn("per million", text)
        result = json.loads(read(self.path("s.json")))
        self.assertEqual(json.loads(read(self.path("m.json"))),
                         [[t["name"][:-7], t["sensitivity_per_million"]] for t in result["tensors"]])
        self.assertEqual(json.loads(self.done(*self.ARGUMENTS, "--mlx-json", "-", self.model)),
                         json.loads(read(self.path("m.json"))))

    def test_gradient_of_another_shape(self):
        self.put("g.safetensors", safetensors_bytes({"a.weight": ("F32", [96, 64], f32([0.0] * N))}))
        self.fails(1, ["a.weight", "64 x 96", "96 x 64", "model.safetensors", "g.safetensors"], "sensitivity", "--low",
                   "q4_0", "--high", "q8_0", "--grad", "g.safetensors", self.model, "--json", "s.json")
        self.put("g.safetensors", safetensors_bytes({"a.weight": ("I64", [64, 96], bytes(8 * N))}))
        self.fails(1, ["a.weight", "I64"], "sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", "g.safetensors",
                   self.model)

    def test_gradients_of_another_model(self):
        self.put("g.safetensors", safetensors_bytes({"blk.0.weight": ("F32", [1, 32], bytes(128))}))
        self.fails(1, ["g.safetensors", "blk.0.weight"], "sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad",
                   "g.safetensors", self.model)

    def test_gradient_not_finite(self):
        for bad in [math.nan, math.inf, -math.inf]:
            gradient = [0.5] * N
            gradient[4321] = bad
            self.put("g.safetensors", safetensors_bytes({"a.weight": ("F32", [64, 96], f32(gradient))}))
            arguments = ["sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", "g.safetensors", self.model]
            self.fails(1, ["g.safetensors", "a.weight", "gradient 4321", "NaN" if math.isnan(bad) else "infinite"],
                       *arguments)
            result = self.json(*arguments, "--allow-non-finite")
            self.assertIsNone(result["tensors"][0]["sensitivity"])

    def test_other_layouts(self):
        """Weights from a directory, gradients sharded: the same scores."""
        os.mkdir(self.path("weights"))
        shutil.copy(self.model, self.path("weights/w.safetensors"))
        gradients = read_safetensors(self.gradients)[0]
        for name, tensor in gradients.items():
            self.put("g-%s.safetensors" % name, safetensors_bytes({name: tensor}))
        index = {"metadata": {}, "weight_map": {name: "g-%s.safetensors" % name for name in gradients}}
        self.put("g.safetensors.index.json", json.dumps(index).encode())
        self.assertEqual(self.json(*self.ARGUMENTS, self.model),
                         self.json("sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad",
                                   "g.safetensors.index.json", "weights"))


class TestSameBits(CommandTest):
    """Threads and kernels change nothing, over several chunks and a rest that fills no tile."""

    def test(self):
        rows, columns = 70000, 64
        pattern = f32(gauss(1, 50021))
        size = 4 * rows * columns
        data = (pattern * (size // len(pattern) + 1))[:size]
        self.put("w.safetensors", safetensors_bytes({"w": ("F32", [rows, columns], data)}))
        self.put("g.safetensors", safetensors_bytes({"w": ("F32", [rows, columns], data[4:] + data[:4])}))
        self.put("i.dat", imatrix_bytes({"w": (1, [float(i) for i in range(columns)])}))
        first = None
        for threads, mask in [(1, 1), (2, 3), (7, 7), (1, 15), (40, 1), (0, 15)]:
            common = ["-d", "cpu", "--threads", threads, "--cpu-mask", mask]
            self.done("roundtrip", "-f", "q4_0", *common, "w.safetensors", "-o", "o.safetensors")
            self.done("quantize", "-f", "q5_1", *common, "w.safetensors", "-o", "o.gguf")
            results = [
                read(self.path("o.safetensors")), read(self.path("o.gguf")),
                self.done("error", "-f", "q4_0,q4_1,q8_0", *common, "w.safetensors", "--json", "-"),
                self.done("error", "-f", "q4_0", "--imatrix", "i.dat", *common, "w.safetensors", "--json", "-"),
                self.done("sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", "g.safetensors", *common,
                          "w.safetensors", "--json", "-"),
            ]
            first = first or results
            self.assertEqual(results, first, (threads, mask))


class TestBench(CommandTest):
    """What is asked for is measured: the kernels that --cpu-mask leaves, with an importance matrix where one is used."""

    def results(self, *arguments):
        return self.json("bench", "-d", "cpu", "--threads", 1, "--size", 1, "--op", "quantize", *arguments)["results"]

    def test_mask(self):
        for arguments, tiers in [(["--cpu-mask", 3, "--tiers"], {"c", "simd128"}), (["--cpu-mask", 1], {"c"})]:
            self.assertEqual({r["tier"] for r in self.results("-f", "q4_0", *arguments)}, tiers)

    def test_importance(self):
        for arguments, weighted in [(["-f", "q8_0,iq1_s"], {"iq1_s"}),
                                    (["-f", "q8_0,iq1_s", "--importance"], {"q8_0", "iq1_s"})]:
            results = [r for r in self.results(*arguments) if "format" in r]
            self.assertEqual({r["format"] for r in results}, {"q8_0", "iq1_s"})
            self.assertEqual({r["format"] for r in results if r.get("importance")}, weighted)


class TestDefects(CommandTest):
    """What is wrong with a file is said, with exit status 1, and nothing is written."""

    def commands(self, name):
        yield ["error", "-f", "q4_0", "--json", "o.json", name]
        yield ["roundtrip", "-f", "q4_0", name, "-o", "o.safetensors"]
        yield ["quantize", "-f", "q4_0", name, "-o", "o.gguf"]
        yield ["sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", self.gradients, name, "--json", "o.json"]
        yield ["sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", name, self.model, "--mlx-json", "o.json"]

    def check(self, data, *patterns, name="bad.safetensors"):
        self.put(name, data)
        for command in self.commands(name):
            self.fails(1, [re.escape(name), *patterns], *command)

    def header(self, **tensors):
        return header_bytes(json.dumps(tensors))

    def test_truncated(self):
        whole = safetensors_bytes({"a.weight": ("F32", [2, 32], bytes(256))})
        (length,) = struct.unpack_from("<Q", whole)
        for end in [0, 1, 7, 8, 9, 8 + length // 2, 8 + length - 1, 8 + length, len(whole) - 1]:
            self.check(whole[:end])
        for end in range(8 + length + 1):
            self.put("bad.safetensors", whole[:end])
            self.fails(1, "bad.safetensors", "quantize", "-f", "q4_0", "bad.safetensors", "-o", "o.gguf")
        whole = gguf_bytes({"a.weight": ("F32", [2, 32], bytes(256))}, [("k", STRING, "value")])
        for end in [3, 4, 8, 20, 24, 30, 50, len(whole) - 256, len(whole) - 1]:
            self.check(whole[:end], name="bad.gguf")
        for end in range(len(whole) - 256 + 1):
            self.put("bad.gguf", whole[:end])
            self.fails(1, "bad.gguf", "quantize", "-f", "q4_0", "bad.gguf", "-o", "o.gguf")

    def test_gguf(self):
        def model(**changes):
            """A tensor's description with changes."""
            t = dict({"name": "a.weight", "shape": [32, 2], "kind": 0, "offset": 0}, **changes)
            return gguf_string(t["name"]) + struct.pack("<I%dQIQ" % len(t["shape"]), len(t["shape"]), *t["shape"], t["kind"],
                                                        t["offset"])
        other = model(name="b.weight", offset=256)
        for infos, patterns in [
                ([model(), model(name="b.weight", offset=128)], ["b.weight", "128"]),  # overlap
                ([model(), model(name="b.weight", offset=512)], ["b.weight", "512"]),  # a hole
                ([model(), model(offset=256)], ["a.weight", "twice"]),
                ([model(kind=4), other], ["a.weight", "4"]),
                ([model(kind=99), other], ["a.weight", "99"]),
                ([model(shape=[2**20, 2**20])], ["a.weight"]),
                ([model(shape=[2**40, 2**40])], ["a.weight"]),
                ([model(shape=[2**63, 4])], ["a.weight"]),
                ([model(offset=2**64 - 32), other], ["a.weight"])]:
            head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), 0) + b"".join(infos)
            self.check(head + b"\0" * (-len(head) % 32) + bytes(512), *patterns, name="bad.gguf")

    def test_offsets(self):
        tensor = {"dtype": "F32", "shape": [2, 32], "data_offsets": [0, 256]}
        self.check(self.header(a=tensor, b=tensor) + bytes(256), '"[ab]"')
        self.check(self.header(a=dict(tensor, data_offsets=[0, 257])) + bytes(257), '"a"')
        self.check(self.header(a=dict(tensor, data_offsets=[256, 512])) + bytes(512), '"a"')
        self.check(self.header(a=tensor) + bytes(255), '"a"')

    def test_sizes(self):
        self.check(self.header(a={"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 256]}) + bytes(256), '"a"')
        self.check(self.header(a={"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}) + bytes(256), '"a"')

    def test_names_and_types(self):
        one = '"a": {"dtype": "F32", "shape": [1, 32], "data_offsets": [%d, %d]}'
        self.check(header_bytes("{%s, %s}" % (one % (0, 128), one % (128, 256))) + bytes(256), "duplicate|twice")
        self.check(self.header(a={"dtype": "F31", "shape": [1, 32], "data_offsets": [0, 128]}) + bytes(128), "F31")
        self.check(b"not a model at all, but text that is long enough")
        self.check(header_bytes("[]"))

    def test_missing(self):
        for command in self.commands("missing.safetensors"):
            self.fails(1, "missing.safetensors", *command)
        self.put("m.safetensors.index.json", json.dumps({"weight_map": {"a.weight": "shard.safetensors"}}).encode())
        for command in self.commands("m.safetensors.index.json"):
            self.fails(1, "shard.safetensors", *command)
        os.mkdir(self.path("nothing"))
        self.fails(1, "nothing", "error", "-f", "q4_0", "nothing")

    def test_not_finite(self):
        values = gauss(1, N)
        for dtype, pack in [("F32", f32), ("F16", f16), ("BF16", bf16)]:
            for bad, word in [(math.nan, "NaN"), (math.inf, "infinite"), (-math.inf, "infinite")]:
                row, column = 43, 17
                at = row * 96 + column
                data = pack(values[:at] + [bad] + values[at + 1:])
                self.put("bad.safetensors", safetensors_bytes({
                    "fine": ("F32", [1, 32], bytes(128)), "a.weight": (dtype, [64, 96], data)}))
                for command in list(self.commands("bad.safetensors"))[:4]:
                    self.fails(1, ["bad.safetensors", "a.weight", "weight %d " % at, "row 43, column 17", word], *command)
                    self.done(*command, "--allow-non-finite")
                    for name in ["o.json", "o.safetensors", "o.gguf"]:
                        if os.path.exists(self.path(name)):
                            os.remove(self.path(name))

    def test_not_finite_but_left_out(self):
        self.put("bad.safetensors", safetensors_bytes({"a": ("F32", [1, 32], f32([math.nan] * 32)),
                                                       "b": ("F32", [1, 32], bytes(128))}))
        self.done("roundtrip", "-f", "q4_0", "--exclude", "a", "bad.safetensors", "-o", "o.safetensors")

    def test_bad_imatrix(self):
        self.put("i.dat", b"\1\0\0\0\377\377\377\177")
        self.fails(1, "i.dat", "roundtrip", "-f", "q4_0", "--imatrix", "i.dat", self.model, "-o", "o.safetensors")


class TestOutput(CommandTest):
    def test_unwritable(self):
        os.mkdir(self.path("folder"))
        for command in ["roundtrip", "quantize"]:
            self.fails(1, "nowhere/o", command, "-f", "q4_0", self.model, "-o", "nowhere/o")
            self.fails(1, "folder", command, "-f", "q4_0", self.model, "-o", "folder")
            self.fails(1, "/dev/full", command, "-f", "q4_0", self.model, "-o", "/dev/full")

    def test_discarded(self):
        for command in ["roundtrip", "quantize"]:
            self.assertIn("/dev/null", self.done(command, "-f", "q4_0", "--json", "/dev/null", self.model, "-o", "/dev/null"))
        self.done("error", "-f", "q4_0", "--json", "/dev/null", self.model)
        self.assertTrue(os.path.exists("/dev/null") and not os.path.isfile("/dev/null"))

    def test_input_is_not_written(self):
        os.symlink("model.safetensors", self.path("link"))
        os.link(self.model, self.path("hard"))
        for output in ["model.safetensors", "./model.safetensors", "link", "hard"]:
            self.fails(2, "is the input", "roundtrip", "-f", "q4_0", self.model, "-o", output)
        self.fails(2, "is the input", "sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", self.gradients,
                   self.model, "--json", self.gradients)

    def limited(self, kind, amount):
        def limit():
            resource.setrlimit(kind, (amount, amount))
        return {"preexec_fn": limit}

    @posix
    def test_full_disk(self):
        for command in [["roundtrip", "-f", "q4_0", self.model, "-o", "o.safetensors"],
                        ["quantize", "-f", "q8_0", self.model, "-o", "o.gguf"]]:
            self.fails(1, command[-1], *command, **self.limited(resource.RLIMIT_FSIZE, 8000))
        self.fails(1, "o.json", "error", "-f", "q4_0", self.model, "--json", "o.json",
                   **self.limited(resource.RLIMIT_FSIZE, 100))

    @posix
    def test_full_file_system(self):
        """A real one, where this may be mounted."""
        mount = self.path("small")
        os.mkdir(mount)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mount], capture_output=True).returncode != 0:
            self.skipTest("no right to mount")
        try:
            self.put("big.safetensors", safetensors_bytes({"a": ("F32", [1024, 32], bytes(131072))}))
            self.fails(1, ["small/o.safetensors", "space"], "roundtrip", "-f", "q4_0", "big.safetensors", "-o",
                       "small/o.safetensors")
            self.assertEqual(os.listdir(mount), [])
        finally:
            subprocess.run(["umount", mount], check=True)

    def sparse(self, name, mib):
        """Zeros that take no room."""
        rows = mib * 1024 * 1024 // 4 // 1024
        head = self.head(rows)
        path = self.put(name, head)
        os.truncate(path, len(head) + rows * 4096)
        return path

    def head(self, rows):
        return header_bytes(json.dumps({"w": {"dtype": "F32", "shape": [rows, 1024], "data_offsets": [0, rows * 4096]}}))

    # What a command is asked to do that must still be at it when it is looked for: searches, on one lane.
    SLOW = ["--cpu-mask", "1", "--threads", "1", "-d", "cpu"]

    def slow(self, name):
        """Half a minute of work for a search with SLOW, on a fast machine."""
        piece = f32(gauss(1, 1 << 16))
        self.put(name, self.head(1 << 14) + piece * 256)

    def begun(self, process, pattern):
        """Waits until the process maps, or has open, what matches."""
        while process.poll() is None:
            try:
                with open("/proc/%d/maps" % process.pid) as file:
                    names = file.read()
                for fd in os.listdir("/proc/%d/fd" % process.pid):
                    names += os.readlink("/proc/%d/fd/%s" % (process.pid, fd)) + "\n"
            except OSError:
                continue
            if re.search(pattern, names):
                return
        self.fail("not begun: %s" % process.poll())

    def start(self, *arguments):
        return subprocess.Popen([QDQ, *arguments], cwd=self.directory, env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    @unittest.skipUnless(os.path.exists("/proc/self/maps"), "no /proc")
    def test_killed(self):
        self.slow("big.safetensors")
        names = self.files()
        for number in [signal.SIGKILL] if WINDOWS else [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]:
            for command, output in [("roundtrip", "o.safetensors"), ("quantize", "o.gguf")]:
                process = self.start(command, "-f", "iq3_s", *self.SLOW, "big.safetensors", "-o", output)
                # The output: without a name, or with a temporary one.
                self.begun(process, r"(?m)%s/(#\d+|\.o\..*|\.qdq\..*)" % re.escape(self.directory))
                process.send_signal(number)
                _, message = process.communicate()
                self.assertEqual(process.returncode, -number, message)
                left = [name for name in self.files() if name not in names]
                while WINDOWS and left:  # wine's server does what the system would, some time after
                    left = [name for name in self.files() if name not in names]
                if number == signal.SIGKILL:  # nothing can be done then where files must have names
                    left = [name for name in left if not name.startswith(".o.")]
                self.assertEqual(left, [])

    @unittest.skipUnless(os.path.exists("/proc/self/maps"), "no /proc")
    @posix
    def test_input_cut_short(self):
        self.slow("big.safetensors")
        path = self.path("big.safetensors")
        process = self.start("sensitivity", "--low", "iq3_s", "--high", "q4_0", "--grad", path, *self.SLOW, path, "--json",
                             "o.json")
        self.begun(process, re.escape(path))
        os.truncate(path, 4096)
        _, message = process.communicate()
        self.assertEqual(process.returncode, 1, message)
        self.assertIn("big.safetensors", message)
        self.assertNotIn("o.json", self.files())

    @posix
    def test_memory(self):
        """256 MiB and 16 MiB a thread, whatever the model's size; maps of files do not count."""
        if os.environ.get("QDQ_SANITIZE"):
            self.skipTest("sanitizers take memory of their own")
        self.sparse("big.safetensors", 1024)
        options = self.limited(resource.RLIMIT_DATA, (256 + 2 * 16) << 20)
        for command in [["error", "-f", "q4_0,q8_0"], ["quantize", "-f", "q8_0", "-o", "o.gguf"],
                        ["sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", "big.safetensors"]]:
            self.done(*command, "-d", "cpu", "--threads", "2", "--quiet", "big.safetensors", **options)


class TestTerminal(CommandTest):
    def on_terminal(self, *arguments, columns=0, progress=True, **environment):
        """Standard output and, unless there is to be no line of progress, error as a terminal shows them."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        process = subprocess.Popen([QDQ, *arguments], cwd=self.directory, env=dict(ENVIRONMENT, **environment), stdin=slave,
                                   stdout=slave, stderr=slave if progress else subprocess.DEVNULL)
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        os.close(master)
        self.assertEqual(process.wait(), 0)
        return shown.decode()

    @posix
    def test_colour(self):
        self.assertIn("\033[1mformat", self.on_terminal("formats"))
        for environment in [{"NO_COLOR": "1"}, {"TERM": "dumb"}]:
            self.assertNotIn("\033", self.on_terminal("formats", **environment))
        self.assertNotIn("\033", self.done("formats"))

    @posix
    def test_width(self):
        """A table fits the terminal as long as names stay different."""
        tensor = ("F32", [4096, 4096 // 128], f32(gauss(1, 4096 * 32)))
        names = ["model.layers.%d.self_attn.%s_proj.weight" % (layer, p) for layer in range(11) for p in "qk"]
        self.put("m.safetensors", safetensors_bytes({name: tensor for name in names + ["lm_head.weight"]}))
        arguments = ["sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", "m.safetensors", "m.safetensors"]

        def lines(columns):
            text = re.sub("\033\\[\\d*[mK]", "", self.on_terminal(*arguments, columns=columns, progress=False)).replace("\r", "")
            return text.splitlines()
        for columns in [0, 200, 100]:
            self.assertEqual(lines(columns), self.done(*arguments).splitlines())
        for columns in [82, 60]:
            shown = lines(columns)
            rows = [line.split()[0] for line in shown[1:]]
            self.assertEqual(len(set(rows)), len(names) + 1)
            self.assertIn("lm_head.weight", rows)
            self.assertEqual(len({len(line) for line in shown}), 1)
            if columns == 82:
                self.assertEqual(len(shown[0]), 82)
        self.assertIn("….3.self_attn.q_proj.weight", rows)
        self.assertIn("…10.self_attn.q_proj.weight", rows)

    @posix
    def test_progress(self):
        rows = 1 << 17
        head = header_bytes(json.dumps({"w": {"dtype": "F32", "shape": [rows, 1024], "data_offsets": [0, rows * 4096]}}))
        os.truncate(self.put("big.safetensors", head), len(head) + rows * 4096)
        arguments = ["error", "-f", "q4_0,q4_1,q5_0,q5_1,q8_0", "-d", "cpu", "--threads", "1", "--cpu-mask", "1",
                     "big.safetensors"]
        shown = self.on_terminal(*arguments)
        self.assertRegex(shown, r"errors: [\d.]+ [KMG]iB of 512.00 MiB, [\d.]+ [KMG]iB/s, \d+:\d\d left")
        self.assertTrue(re.search("\033\\[K[^\r]*tensor", shown), "the line is gone before the table")
        self.assertEqual(self.on_terminal(*arguments, "--quiet"), "")

    @posix
    def test_interrupted(self):
        """The line of progress is gone when the shell's prompt comes back."""
        rows = 1 << 19
        head = header_bytes(json.dumps({"w": {"dtype": "F32", "shape": [rows, 1024], "data_offsets": [0, rows * 4096]}}))
        os.truncate(self.put("big.safetensors", head), len(head) + rows * 4096)
        master, slave = pty.openpty()
        process = subprocess.Popen([QDQ, "error", "-f", "q4_0,q4_1,q5_0,q5_1,q8_0", "-d", "cpu", "--threads", "1",
                                    "--cpu-mask", "1", "big.safetensors"], cwd=self.directory, env=ENVIRONMENT, stdin=slave,
                                   stdout=slave, stderr=slave)
        os.close(slave)
        shown = b""
        while b" left" not in shown:
            shown += os.read(master, 65536)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(), -signal.SIGINT)
        try:
            while True:
                piece = os.read(master, 65536)
                if not piece:
                    break
                shown += piece
        except OSError:
            pass
        os.close(master)
        self.assertTrue(shown.endswith(b"\r\033[K"), shown[-80:])

    def test_names_are_harmless(self):
        self.put("m.safetensors", safetensors_bytes({"a\033[2Jb": ("F32", [1, 32], bytes(128))}))
        self.assertIn("a\\x1b[2Jb", self.done("error", "-f", "q4_0", "m.safetensors"))
        result = self.json("error", "-f", "q4_0", "m.safetensors")
        self.assertEqual(result["tensors"][0]["name"], "a\033[2Jb")


if __name__ == "__main__":
    unittest.main()
