"""Outputs that are made in parts: parts_test.py PATH/TO/qdq. Whatever the number of parts, their order, what was killed and
what was done twice: the bytes are those of the undivided command."""

import hashlib
import resource
import signal

from command_support import *

MIB = 1 << 20


def sha(path):
    return hashlib.sha256(read(path)).hexdigest()


SHAPES = {"token_embd.weight": (1000, 1024), "blk.0.attn_norm.weight": (1024,), "blk.0.attn_q.weight": (1024, 1024),
          "blk.0.ffn_down_exps.weight": (7, 1024, 1024), "blk.0.ffn_up.weight": (1400, 3072), "output.weight": (6007, 992)}
METADATA = [("general.architecture", STRING, "llama"), ("llama.block_count", U32, 1), ("general.name", STRING, "n" * 1500000)]


def tensors(names, seed=0):
    return {name: ("BF16", list(SHAPES[name]), random_bf16(seed + len(name), count(SHAPES[name]))) for name in names}


class Parts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="qdq-parts-")
        write(cls.path("m.gguf"), gguf_bytes(tensors(SHAPES), METADATA))
        write(cls.path("m.safetensors"), safetensors_bytes(tensors(SHAPES)))
        names = list(SHAPES)
        for n, part in enumerate([names[:3], names[3:]]):
            write(cls.path("s-0000%d-of-00002.gguf" % (n + 1)), gguf_bytes(tensors(part), METADATA[:(3, 1)[n]] + [
                ("split.no", U16, n), ("split.count", U16, 2), ("split.tensors.count", I32, len(names))]))
        os.mkdir(cls.path("shards"))
        index = {}
        for n, part in enumerate([names[:2], names[2:4], names[4:]]):
            file = "model-0000%d-of-00003.safetensors" % (n + 1)
            write(cls.path("shards/" + file), safetensors_bytes(tensors(part)))
            index.update({name: file for name in part})
        write(cls.path("shards/model.safetensors.index.json"), json.dumps({"metadata": {}, "weight_map": index}).encode())
        write(cls.path("i.dat"), imatrix_bytes({name: (2, [1.0 + i % 7 for i in range(shape[-1] * (7 if len(shape) == 3 else 1))])
                                                for name, shape in SHAPES.items() if len(shape) > 1}))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.directory)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.directory, name)

    def done(self, *arguments):
        result = run(*arguments, cwd=self.directory)
        self.assertEqual(result.returncode, 0, (arguments, result.stderr))
        return result

    def refused(self, text, *arguments, status=1):
        result = run(*arguments, cwd=self.directory)
        self.assertEqual(result.returncode, status, (arguments, result.stderr))
        self.assertIn(text, result.stderr)
        return result

    def whole(self, command, name):
        """The undivided command's file."""
        if not os.path.exists(self.path(name)):
            self.done(*command, "-o", name)
        return sha(self.path(name))

    def check(self, name, expected):
        self.done("join", name)
        self.assertEqual(sha(self.path(name)), expected)
        self.assertFalse(os.path.exists(self.path(name + ".parts")))
        os.remove(self.path(name))

    # ---- The same bytes --------------------------------------------------------------------------------------------

    def test_any_number_in_any_order(self):
        command = ("quantize", "-d", "cpu", "-f", "q8_0", "m.gguf")
        expected = self.whole(command, "whole-q8_0.gguf")
        chance = random.Random(7)
        for parts in range(1, 18):
            todo = list(range(1, parts + 1)) + [chance.randint(1, parts) for _ in range(parts // 4)]
            chance.shuffle(todo)
            for part in todo:
                self.done(*command, "-o", "p.gguf", "--part", "%d/%d" % (part, parts))
                self.assertFalse(os.path.exists(self.path("p.gguf")))
            self.check("p.gguf", expected)

    def test_side_by_side(self):
        command = ("quantize", "-d", "cpu", "--threads", "1", "-f", "q4_0", "m.gguf", "-o", "side.gguf")
        expected = self.whole(("quantize", "-d", "cpu", "-f", "q4_0", "m.gguf"), "whole-q4_0.gguf")
        running = [subprocess.Popen([QDQ, *command, "--part", "%d/4" % k], cwd=self.directory, env=ENVIRONMENT,
                                    stdout=subprocess.DEVNULL) for k in (1, 2, 3, 4, 2)]
        self.assertEqual([process.wait() for process in running], [0] * 5)
        self.check("side.gguf", expected)

    def test_sources_and_outputs(self):
        self.done("quantize", "-d", "cpu", "-f", "q8_0", "m.gguf", "-o", "coded.gguf")
        for n, command in enumerate([
                ("quantize", "-d", "cpu", "-f", "q4_K", "--imatrix", "i.dat", "m.gguf"),
                ("quantize", "-d", "cpu", "-f", "q5_0", "s-00001-of-00002.gguf"),
                ("quantize", "-d", "cpu", "-f", "f16", "shards"),
                ("quantize", "-d", "cpu", "--preset", "Q4_K_M", "--imatrix", "i.dat", "--include", "blk", "m.gguf"),
                ("quantize", "-d", "cpu", "-f", "q4_0", "--allow-requantize", "--via", "f16", "coded.gguf"),
                ("roundtrip", "-d", "cpu", "-f", "q5_1", "--allow-requantize", "--exclude", "output", "coded.gguf"),
                ("roundtrip", "-d", "cpu", "-f", "q8_0", "--imatrix", "i.dat", "shards"),
                ("roundtrip", "-d", "cpu", "-f", "q4_0", "--dtype", "source", "m.safetensors"),
                ("roundtrip", "-d", "cpu", "-f", "bf16", "m.safetensors")]):
            with self.subTest(command=command):
                expected = self.whole(command, "whole-%d" % n)
                for part in (3, 1, 5, 4, 2):
                    self.done(*command, "-o", "o", "--part", "%d/5" % part)
                self.check("o", expected)

    def test_keep_split(self):
        command = ("quantize", "-d", "cpu", "--keep-split", "-f", "q8_0", "s-00001-of-00002.gguf")
        self.done(*command, "-o", "kept.gguf")
        names = ["kept-0000%d-of-00002.gguf" % n for n in (1, 2)]
        expected = [sha(self.path(name)) for name in names]
        for name in names:
            os.remove(self.path(name))
        for part in (2, 7, 1, 3, 6, 4, 5):
            self.done(*command, "-o", "kept.gguf", "--part", "%d/7" % part)
        self.done("join", "kept.gguf")
        self.assertEqual([sha(self.path(name)) for name in names], expected)

    def test_parts_cost_alike(self):
        command = ("quantize", "-d", "cpu", "-f", "q8_0", "--include", "weight", "m.gguf", "-o", "alike.gguf")
        ends = []
        for part in range(1, 6):
            self.done(*command, "--part", "%d/5" % part)
            lines = read(self.path("alike.gguf.parts/%d-of-5.1.journal" % part)).decode().splitlines()[1:]
            ends.append((int(lines[0].split()[1]), int(lines[-1].split()[2])))
        self.assertEqual([begin for begin, _ in ends[1:]], [end for _, end in ends[:-1]])
        self.assertTrue(all(begin % MIB == 0 for begin, _ in ends))
        sizes = [end - begin for begin, end in ends[1:]]  # the first has the metadata, which cost little
        self.assertLessEqual(max(sizes) - min(sizes), 2 * MIB)
        self.done("join", "--discard", "alike.gguf")
        self.assertFalse(os.path.exists(self.path("alike.gguf.parts")))

    def test_plan(self):
        """Tensors that are measured in parts give the table, the file of scores and the plan of one process."""
        with open(self.path("g.safetensors"), "wb") as file:
            file.write(safetensors_bytes({n: (d, s, v) for n, (d, s, v) in tensors(SHAPES, seed=5).items()}))
        for extra in ((), ("--imatrix", "i.dat"), ("--grad", "g.safetensors", "--score", "absolute")):
            with self.subTest(extra=extra):
                command = ("plan", "-d", "cpu", "--formats", "q4_0,q8_0,q4_K", *extra, "m.safetensors")
                whole = self.done(*command, "--scores", "whole.json", "--target", "6bpw", "-o", "whole-plan.json")
                for parts in (1, 3, 9):
                    for part in range(parts, 0, -1):
                        text = self.done(*command, "--sums", "plan-sums", "--part", "%d/%d" % (part, parts)).stdout
                    self.assertIn("All tensors are measured", text)
                    lines = self.journal_lines(self.path("plan-sums"))
                    result = self.done(*command, "--sums", "plan-sums", "--scores", "all.json", "--target", "6bpw", "-o", "plan.json")
                    self.assertEqual(self.journal_lines(self.path("plan-sums")), lines)  # nothing was measured
                    self.assertEqual(result.stdout, whole.stdout)
                    self.assertEqual(read(self.path("all.json")), read(self.path("whole.json")))
                    self.assertEqual(read(self.path("plan.json")), read(self.path("whole-plan.json")))
                    os.remove(self.path("all.json"))
                    if parts < 9:
                        shutil.rmtree(self.path("plan-sums"))
                # What scores know is not measured again, and rules may be others than the parts'.
                self.done(*command, "--sums", "none", "--scores", "whole.json", "--target", "6bpw", "-o", "plan.json")
                self.assertEqual(self.journal_lines(self.path("none")), 0)
                shutil.rmtree(self.path("none"))
                command += ("--pin", "attn_q=q5_0", "--target", "6bpw")
                self.done(*command, "--scores", "alone.json", "-o", "alone-plan.json")
                self.done(*command, "--sums", "plan-sums", "--scores", "pinned.json", "-o", "plan.json")
                self.assertGreater(self.journal_lines(self.path("plan-sums")), lines)
                self.assertEqual(read(self.path("pinned.json")), read(self.path("alone.json")))
                self.assertEqual(read(self.path("plan.json")), read(self.path("alone-plan.json")))
                for name in ("whole.json", "alone.json", "pinned.json"):
                    os.remove(self.path(name))
                shutil.rmtree(self.path("plan-sums"))
        # Sums that `error` has measured are there for plans; those by another matrix or of another model are none.
        command = ("plan", "-d", "cpu", "--formats", "q4_0,q8_0")
        self.done("error", "-d", "cpu", "-f", "q4_0,q8_0", "--sums", "both", "m.safetensors")
        lines = self.journal_lines(self.path("both"))
        self.done(*command, "--sums", "both", "--target", "6bpw", "m.safetensors", "-o", "plan.json")
        self.assertEqual(self.journal_lines(self.path("both")), lines)
        self.refused("another plan is on its way", *command, "--sums", "both", "--part", "1/2", "--imatrix", "i.dat", "m.safetensors")
        self.refused("another source is on its way", *command, "--sums", "both", "--part", "1/2", "m.gguf")
        self.done(*command, "m.safetensors", "--scores", "p.json", "--target", "6bpw", "-o", "plan.json")
        self.refused("stale", *command, "m.gguf", "--more-scores", "p.json", "--target", "6bpw", "-o", "plan.json")
        self.refused("cannot be read", *command, "m.gguf", "--more-scores", "none.json", "--target", "6bpw", "-o", "plan.json")
        self.refused("say --sums FOLDER", *command, "m.gguf", "--part", "1/2", status=2)
        self.refused("makes no plan", *command, "m.gguf", "--part", "1/2", "--sums", "x", "-o", "plan.json", status=2)

    # ---- Sums ------------------------------------------------------------------------------------------------------

    def measure(self, command, folder, name):
        """What all processes together have measured, as the command without --part shows it: table, JSON."""
        result = self.done(*command, "--sums", folder, "--json", name)
        text = self.done(*command, "--sums", folder).stdout
        self.assertEqual(result.stderr, "")
        return text, read(self.path(name))

    def measuring_commands(self):
        write(self.path("sg.safetensors"), safetensors_bytes(
            {n: (d, s, v) for n, (d, s, v) in tensors(SHAPES, seed=5).items() if "norm" not in n}))
        write(self.path("few.safetensors"), safetensors_bytes(
            {"t%d.weight" % i: ("BF16", [32 + i, 256], random_bf16(i, (32 + i) * 256)) for i in range(24)}))
        return [("error", "-d", "cpu", "-f", "q4_0,q8_0,q4_K,bf16", "m.gguf"),
                ("error", "-d", "cpu", "-f", "q4_K,iq2_xs", "--imatrix", "i.dat", "--exclude", "output", "m.safetensors"),
                ("error", "-d", "cpu", "-f", "q5_K", "few.safetensors"),
                ("sensitivity", "-d", "cpu", "--low", "q4_0", "--high", "q8_0", "--grad", "sg.safetensors", "shards"),
                ("sensitivity", "-d", "cpu", "--low", "q2_K", "--high", "source", "--sort", "squared", "--imatrix", "i.dat",
                 "--grad", "sg.safetensors", "m.gguf")]

    def test_sums_of_any_number_in_any_order(self):
        chance = random.Random(11)
        for n, command in enumerate(self.measuring_commands()):
            whole = self.done(*command, "--json", "whole.json") and read(self.path("whole.json"))
            text = self.done(*command).stdout
            for parts in range(1, 18) if n in (2, 3) else (3, 8):
                with self.subTest(command=command, parts=parts):
                    todo = list(range(1, parts + 1)) + [chance.randint(1, parts) for _ in range(parts // 4)]
                    chance.shuffle(todo)
                    for part in todo:
                        result = self.done(*command, "--sums", "sums", "--part", "%d/%d" % (part, parts))
                        self.assertIn("Part %d of %d" % (part, parts), result.stdout)
                    self.assertIn("All tensors are measured", result.stdout)
                    lines = self.journal_lines(self.path("sums"))
                    self.assertEqual(self.measure(command, "sums", "parts.json"), (text, whole))
                    self.assertEqual(self.journal_lines(self.path("sums")), lines)  # nothing was measured again
                    shutil.rmtree(self.path("sums"))

    def test_sums_side_by_side_and_elsewhere(self):
        command = self.measuring_commands()[2]
        expected = self.done(*command).stdout
        running = [subprocess.Popen([QDQ, *command, "--sums", "aside", "--part", "%d/4" % k], cwd=self.directory,
                                    env=ENVIRONMENT, stdout=subprocess.DEVNULL) for k in (1, 2, 3, 4, 2)]
        self.assertEqual([process.wait() for process in running], [0] * 5)
        self.assertEqual(self.done(*command, "--sums", "aside").stdout, expected)
        # Folders of machines that share no disk are put into one; a part that is missing is measured in the end.
        for k in (1, 3):
            self.done(*command, "--sums", "node%d" % k, "--part", "%d/3" % k)
        for name in os.listdir(self.path("node3")):
            shutil.copy(self.path("node3/" + name), self.path("node1/" + name))
        before = self.journal_lines(self.path("node1"))
        self.assertEqual(self.done(*command, "--sums", "node1").stdout, expected)
        self.assertGreater(self.journal_lines(self.path("node1")), before)

    def test_sums_killed_and_damaged(self):
        command = self.measuring_commands()[0]
        expected = self.done(*command).stdout
        self.done(*command, "--sums", "hurt", "--part", "1/1")
        (name,) = [self.path("hurt/" + n) for n in os.listdir(self.path("hurt")) if n.endswith(".journal")]
        text, chance = read(name), random.Random(5)
        for trial in range(12):
            damaged = bytearray(text)
            if trial % 2:
                damaged = damaged[:chance.randrange(len(text))]  # as a kill leaves it
            else:
                damaged[chance.randrange(len(text))] ^= 1 << chance.randrange(8)
            write(name, bytes(damaged))
            self.assertEqual(self.done(*command, "--sums", "hurt").stdout, expected)
            for other in os.listdir(self.path("hurt")):
                if other.startswith("rest"):
                    os.remove(self.path("hurt/" + other))
        process = subprocess.Popen([QDQ, *command, "--threads", "1", "--sums", "killed", "--part", "1/2"],
                                   cwd=self.directory, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        while process.poll() is None and not self.journal_lines(self.path("killed")):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.assertEqual(self.done(*command, "--sums", "killed").stdout, expected)

    def test_sums_of_other_formats_and_tensors(self):
        """They are measured in addition; importance that a tensor has by another name is another."""
        self.measuring_commands()
        for options in (("-f", "q8_0", "--exclude", "t3"), ("-f", "q8_0"), ("-f", "q4_0,q8_0"), ("-f", "q4_0", "--include", "t1")):
            command = ("error", "-d", "cpu", *options, "few.safetensors")
            self.assertEqual(self.done(*command, "--sums", "more").stdout, self.done(*command).stdout)
        self.assertEqual(self.journal_lines(self.path("more")), 23 + 1 + 1 + 1 + 2 * 24 + 1)

    def test_sums_refusals(self):
        command = ("error", "-d", "cpu", "-f", "q8_0", "few.safetensors")
        self.measuring_commands()
        self.done(*command, "--sums", "no", "--part", "1/2")
        manifest = self.path("no/manifest.json")
        text = read(manifest)
        other = safetensors_bytes({"t%d.weight" % i: ("BF16", [32 + i, 256], random_bf16(i + 1, (32 + i) * 256)) for i in range(24)})
        write(self.path("fewer.safetensors"), other)
        self.refused("no: another source is on its way", *command[:-1], "fewer.safetensors", "--sums", "no", "--part", "2/2")
        write(self.path("few.dat"), imatrix_bytes({"t%d.weight" % i: (2, [1.0] * 256) for i in range(24)}))
        self.refused("no: another plan is on its way", *command, "--imatrix", "few.dat", "--sums", "no")
        write(self.path("gg.safetensors"), safetensors_bytes(
            {"t%d.weight" % i: ("BF16", [32 + i, 256], random_bf16(i + 9, (32 + i) * 256)) for i in range(24)}))
        for grad in ("few.safetensors", "gg.safetensors"):
            score = ("sensitivity", "-d", "cpu", "--low", "q4_0", "--high", "source", "few.safetensors", "--sums", "no")
            self.refused("no: another plan is on its way", *score, "--grad", grad)
            self.done(*score[:-1], "scored-" + grad, "--grad", grad, "--part", "1/1")
        self.refused("another plan is on its way", *score[:-1], "scored-few.safetensors", "--grad", "gg.safetensors")
        write(manifest, text.replace(b'"' + json.loads(text)["qdq"].encode() + b'"', b'"0.0.7"'))
        self.refused("was begun by version 0.0.7 of qdq", *command, "--sums", "no")
        for broken in (text[:-4], b"", b"{}"):
            write(manifest, broken)
            self.refused("manifest", *command, "--sums", "no")
        write(manifest, text)
        self.refused("is there and no folder", *command, "--sums", "gg.safetensors")
        self.refused("say --sums FOLDER", *command, "--part", "1/2", status=2)
        self.refused("no result to write", *command, "--sums", "no", "--part", "1/2", "--json", "x.json", status=2)
        self.refused("counted from 1", *command, "--sums", "no", "--part", "3/2", status=2)

    def test_sums_of_what_is_not_finite(self):
        data = bytearray(random_bf16(1, 64 * 256))
        data[-2:] = b"\xc0\x7f"
        write(self.path("nan.safetensors"), safetensors_bytes({"a.weight": ("BF16", [64, 256], random_bf16(2, 64 * 256)),
                                                              "b.weight": ("BF16", [64, 256], bytes(data))}))
        command = ("error", "-d", "cpu", "-f", "q8_0", "nan.safetensors")
        self.refused("is NaN", *command, "--sums", "nan", "--part", "1/1")
        allowed = self.done(*command, "--allow-non-finite").stdout
        self.done(*command, "--allow-non-finite", "--sums", "nan", "--part", "1/1")
        self.assertEqual(self.done(*command, "--allow-non-finite", "--sums", "nan").stdout, allowed)
        self.refused("is NaN", *command, "--sums", "nan")

    # ---- What goes wrong -------------------------------------------------------------------------------------------

    def journal_lines(self, folder):
        """Lines of all journals; none while there is no folder."""
        names = os.listdir(folder) if os.path.isdir(folder) else []
        return sum(read(os.path.join(folder, name)).count(b"\n") for name in names if name.endswith(".journal"))

    def test_killed(self):
        command = ("roundtrip", "-d", "cpu", "--threads", "1", "-f", "q4_K", "m.safetensors")
        expected = self.whole(command, "whole-killed")
        folder, chance, killed = self.path("k.parts"), random.Random(3), 0
        for parts in (1, 3, 2, 5, 4, 1, 2):
            for part in chance.sample(range(1, parts + 1), (parts + 1) // 2):
                wanted = self.journal_lines(folder) + chance.randint(0, 2)
                process = subprocess.Popen([QDQ, *command, "-o", "k", "--resume", "--part", "%d/%d" % (part, parts)],
                                           cwd=self.directory, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
                while process.poll() is None and self.journal_lines(folder) < wanted:
                    pass
                process.send_signal(signal.SIGKILL)
                killed += process.wait() == -signal.SIGKILL
                self.assertFalse(os.path.exists(self.path("k")))
        self.assertGreater(killed, 0)
        for part in (3, 1, 2):
            self.done(*command, "-o", "k", "--resume", "--part", "%d/3" % part)
        self.check("k", expected)

    def test_resume_makes_nothing_twice(self):
        command = ("quantize", "-d", "cpu", "-f", "q5_1", "m.gguf", "-o", "r.gguf")
        expected = self.whole(command[:-2], "whole-r.gguf")
        for part in (1, 2, 3):
            self.done(*command, "--part", "%d/3" % part)
        before = self.journal_lines(self.path("r.gguf.parts"))
        for part in (1, 2):
            self.done(*command, "--resume", "--part", "%d/2" % part)
        self.assertEqual(self.journal_lines(self.path("r.gguf.parts")), before + 2)  # each journal's first line
        # A byte that the disk has lost is found, and made anew.
        with open(self.path("r.gguf.parts/1.data"), "r+b") as file:
            file.seek(5 * MIB + 77)
            byte = file.read(1)
            file.seek(5 * MIB + 77)
            file.write(bytes([byte[0] ^ 4]))
        self.refused("are missing or were damaged", "join", "r.gguf")
        self.assertFalse(os.path.exists(self.path("r.gguf")))
        self.done(*command, "--resume", "--part", "1/1")
        # What stands behind the last whole line of a journal is believed of nobody.
        name = self.path("r.gguf.parts/1-of-3.1.journal")
        write(name, read(name) + read(name)[:-3].split(b"\n")[-1] + b"\n1 0 1048576 00")
        self.check("r.gguf", expected)

    def test_missing(self):
        command = ("quantize", "-d", "cpu", "-f", "q8_0", "m.gguf", "-o", "gap.gguf")
        self.done(*command, "--part", "1/3")
        self.done(*command, "--part", "3/3")
        message = self.refused("bytes are missing", "join", "gap.gguf").stderr
        self.assertIn("the first in file 1 of 1 at byte", message)
        self.assertFalse(os.path.exists(self.path("gap.gguf")))
        self.done(*command, "--part", "2/3")
        self.check("gap.gguf", self.whole(command[:-2], "whole-q8_0.gguf"))
        self.refused("cannot be opened: no part has been made here", "join", "gap.gguf")

    def test_refusals(self):
        command = ("quantize", "-d", "cpu", "-f", "q8_0", "m.gguf", "-o", "no.gguf")
        self.done(*command, "--part", "1/2")
        manifest = self.path("no.gguf.parts/manifest.json")
        text = read(manifest)
        other = tensors(SHAPES, seed=1)
        write(self.path("other.gguf"), gguf_bytes(other, METADATA))
        self.refused("another plan is on its way", "quantize", "-d", "cpu", "-f", "q4_0", "m.gguf", "-o", "no.gguf", "--part", "2/2")
        self.refused("another plan is on its way", *command, "--include", "blk", "--part", "2/2")
        self.refused("another plan is on its way", *command, "--imatrix", "i.dat", "--part", "2/2")
        self.refused("another source is on its way", *command[:-3], "other.gguf", "-o", "no.gguf", "--part", "2/2")
        version = json.loads(text)["qdq"].encode()
        write(manifest, text.replace(b'"' + version + b'"', b'"0.0.7"'))
        self.refused("was begun by version 0.0.7 of qdq", *command, "--part", "2/2")
        write(manifest, text.replace(json.loads(text)["formats"].encode(), b"1999-01"))
        self.refused("the formats' revision 1999-01", *command, "--part", "2/2")
        for broken in (text[:-4], b"", b"{}", text.replace(b"qdq.parts/1", b"qdq.parts/2"), text.replace(b"[", b"[-"),
                       text.replace(b"]", b", 1e9]"), text + b"x"):
            write(manifest, broken)
            self.refused("manifest", *command, "--part", "2/2")
            self.refused("manifest", "join", "no.gguf")
        write(manifest, text)
        # Journals of other jobs, and with ranges that cannot be, count for nothing.
        write(self.path("no.gguf.parts/x.journal"), b"qdq.parts/1 0123456789abcdef 0123456789abcdef\n1 0 99999999999 0 0\n")
        self.refused("bytes are missing", "join", "no.gguf")
        self.refused("is the input", "quantize", "-d", "cpu", "-f", "q8_0", "m.gguf", "-o", "m.gguf", "--part", "1/2", status=2)
        self.refused("output that is kept", "quantize", "-d", "cpu", "-f", "q8_0", "m.gguf", "-o", "/dev/null", "--part", "1/2",
                     status=2)
        self.refused("cannot be created", "quantize", "-d", "cpu", "-f", "q8_0", "m.gguf", "-o", "nowhere/o.gguf", "--part", "1/2")
        write(self.path("taken.parts"), b"")
        self.refused("is there and no folder", "quantize", "-d", "cpu", "-f", "q8_0", "m.gguf", "-o", "taken", "--part", "1/2")
        for word in ("0/2", "3/2", "1", "/", "1/", "/2", "1/0", "1/2/3", "-1/2", "1/99999999", "x" * 99 + "/2"):
            self.refused("--part is K/N", *command, "--part", word, status=2)
        self.refused("--resume goes on with parts", *command, "--resume", status=2)
        self.refused("--dry-run makes no part", *command, "--dry-run", "--part", "1/2", status=2)

    def test_copied_folders(self):
        expected = self.whole(("quantize", "-d", "cpu", "-f", "q8_0", "m.gguf"), "whole-q8_0.gguf")
        for node, some in (("a", (1, 4)), ("b", (2, 4)), ("c", (3, 5))):
            for part in some:
                self.done("quantize", "-d", "cpu", "-f", "q8_0", "m.gguf", "-o", node + ".gguf", "--part", "%d/5" % part)
        self.refused("bytes are missing", "join", "all.gguf", "a.gguf.parts", "b.gguf.parts")
        result = self.done("join", "all.gguf", "c.gguf.parts")
        self.assertIn("from other folders", result.stdout)
        self.assertEqual(sha(self.path("all.gguf")), expected)
        self.done("quantize", "-d", "cpu", "-f", "q4_0", "m.gguf", "-o", "d.gguf", "--part", "1/5")
        self.refused("another plan", "join", "a.gguf", "d.gguf.parts")

    @posix
    def test_full_disk(self):
        """One part meets a limit; the others do not, and it goes on when there is room."""
        command = ("quantize", "-d", "cpu", "-f", "q8_0", "m.gguf", "-o", "full.gguf")
        expected = self.whole(command[:-2], "whole-q8_0.gguf")
        limit = os.path.getsize(self.path("whole-q8_0.gguf")) // 2
        results = [run(*command, "--part", "%d/3" % part, cwd=self.directory,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) for part in (1, 2, 3)]
        self.assertEqual([r.returncode for r in results], [0, 1, 1])
        for r in results[1:]:
            self.assertIn("a size limit", r.stderr)
            self.assertIn("can be gone on with", r.stderr)
        self.refused("bytes are missing", "join", "full.gguf")
        for part in (2, 3):
            self.done(*command, "--part", "%d/3" % part, "--resume")
        self.check("full.gguf", expected)

    def test_full_tmpfs(self):
        place = self.path("small")
        os.mkdir(place)
        if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "none", place],
                                              capture_output=True).returncode != 0:
            self.skipTest("no tmpfs can be mounted here")
        try:
            command = ("quantize", "-d", "cpu", "-f", "q8_0", "m.gguf", "-o", "small/o.gguf")
            results = [run(*command, "--part", "%d/3" % part, cwd=self.directory) for part in (1, 2)]
            self.assertEqual([r.returncode for r in results], [0, 1], results)
            self.assertIn("free some room", results[1].stderr)
            subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)
            for part in (2, 3):
                self.done(*command, "--part", "%d/3" % part, "--resume")
            self.check("small/o.gguf", self.whole(command[:-2], "whole-q8_0.gguf"))
        finally:
            subprocess.run(["umount", place], check=True)

    def test_two_terabytes(self):
        rows = 1 << 28
        head = gguf_bytes({"token_embd.weight": ("BF16", [rows, 4096], b""), "output_norm.weight": ("F32", [8], b"")},
                          METADATA[:2])
        at = head.index(b"output_norm.weight") + len("output_norm.weight") + 4 + 8 + 4
        head = head[:at] + struct.pack("<Q", rows * 8192) + head[at + 8:]  # where the second tensor begins
        end = len(head) + rows * 8192
        name = self.path("large.gguf")
        write(name, head)
        try:
            os.truncate(name, end + 32)
        except OSError as error:
            self.skipTest("no file of 2 TB here: %s" % error)
        middle, parts = 500000, 1 << 20
        process = subprocess.Popen([QDQ, "quantize", "-d", "cpu", "--threads", "2", "-f", "q8_0", "large.gguf", "-o", "l.gguf",
                                    "--part", "%d/%d" % (middle, parts)], cwd=self.directory, env=ENVIRONMENT,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output = process.stdout.read() + process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        process.stderr.close()
        if b"cannot be mapped" in output or b"File too large" in output or b"size limit" in output:
            self.skipTest("this machine or its file system has no room for 2 TB: %s" % output.decode())
        self.assertEqual(process.returncode, 0, output)
        if not WINDOWS:  # where wine counts what is mapped
            self.assertLess(usage.ru_maxrss, (256 + 2 * 16) * 1024)
        made = self.path("l.gguf.parts/1.data")
        self.assertGreater(os.stat(made).st_size, 500 << 30)
        self.assertLess(os.stat(made).st_blocks * 512, 16 * MIB)
        self.refused("bytes are missing", "join", "l.gguf")
        os.remove(name)
        shutil.rmtree(self.path("l.gguf.parts"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
