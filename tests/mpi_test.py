"""qdq-mpi: ranks share a model: mpi_test.py PATH/TO/qdq PATH/TO/qdq-mpi MPIRUN [OPTION...]. Files, tables, JSON and sums are
those of one process; a failure of one rank stops all and is told once; what was done is gone on with."""

import os
import signal
import sys

MPI = [os.path.abspath(sys.argv[2]), *sys.argv[3:]]
del sys.argv[2:]
from command_support import *

# Open MPI may run as root; and UCX, on which Debian's MPICH stands, would print among our results that /sys is not mounted.
MPI_ENVIRONMENT = dict(ENVIRONMENT, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", UCX_LOG_LEVEL="fatal")

SHAPES = {"token_embd.weight": [3000, 1024], "blk.0.attn_norm.weight": [1024], "blk.0.attn_q.weight": [1024, 1024],
          "blk.0.ffn_down_exps.weight": [3, 256, 512], "blk.0.ffn_up.weight": [700, 512], "output.weight": [3001, 992]}
METADATA = [("general.architecture", STRING, "llama"), ("llama.block_count", U32, 1)]


def tensors(seed=0):
    return {name: ("BF16", shape, random_bf16(seed + len(name), count(shape))) for name, shape in SHAPES.items()}


def with_nan(model):
    """The last weight of the largest tensor, which is the first part, is NaN."""
    dtype, shape, data = model["token_embd.weight"]
    return dict(model, **{"token_embd.weight": (dtype, shape, data[:-2] + b"\xc0\x7f")})


class Ranks(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="qdq-mpi-")
        self.addCleanup(shutil.rmtree, self.directory)
        write(self.path("m.gguf"), gguf_bytes(tensors(), METADATA))
        write(self.path("nan.gguf"), gguf_bytes(with_nan(tensors()), METADATA))
        write(self.path("g.safetensors"), safetensors_bytes(
            {name: data for name, data in tensors(seed=5).items() if "norm" not in name}))
        write(self.path("i.dat"), imatrix_bytes({name: (2, [1.0 + i % 7 for i in range(shape[-1] * (3 if "exps" in name else 1))])
                                                 for name, shape in SHAPES.items() if len(shape) > 1}))

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self, n, *arguments):
        program, mpirun, *options = MPI
        return subprocess.Popen([mpirun, "-n", str(n), *options, program, *arguments], cwd=self.directory, env=MPI_ENVIRONMENT,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ranks(self, n, *arguments):
        process = self.start(n, *arguments)
        process.stdout, process.stderr = (text.decode() for text in process.communicate(timeout=600))
        return process

    def done(self, n, *arguments):
        result = self.ranks(n, *arguments)
        self.assertEqual(result.returncode, 0, (n, arguments, result.stderr))
        return result.stdout

    def alone(self, *arguments):
        result = run(*arguments, cwd=self.directory)
        self.assertEqual(result.returncode, 0, (arguments, result.stderr))
        return result.stdout

    def told_once(self, text, result):
        """mpirun has words of its own about a process that failed."""
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual(result.stderr.count(text), 1, result.stderr)
        self.assertEqual(result.stderr.count("qdq: "), 1, result.stderr)

    def leftovers(self):
        return [name for name in os.listdir(self.directory) if name.startswith("qdq-mpi") or name.endswith(".parts")]

    # ---- Files -----------------------------------------------------------------------------------------------------

    def test_files(self):
        for command in (["quantize", "-f", "q8_0", "m.gguf"], ["roundtrip", "-f", "q4_0", "m.gguf"]):
            self.alone(*command, "-d", "cpu", "-o", "one")
            for n in (4, 1, 3):
                text = self.done(n, *command, "-d", "cpu", "--threads", "1", "-o", "several", "--json", "j.json")
                self.assertEqual(read(self.path("several")), read(self.path("one")))
                self.assertEqual(text.count("tensors are"), 1)  # rank 0 alone speaks
                self.assertIn("tensors", json.loads(read(self.path("j.json"))))
                self.assertEqual(self.leftovers(), [])
                os.remove(self.path("several"))

    def test_a_file_fails(self):
        command = ["quantize", "-f", "q8_0", "nan.gguf", "-d", "cpu", "-o", "o.gguf"]
        self.told_once("is NaN", self.ranks(4, *command))
        self.assertFalse(os.path.exists(self.path("o.gguf")))
        self.done(3, *command, "--resume", "--allow-non-finite")
        self.alone(*command[:-1], "one.gguf", "--allow-non-finite")
        self.assertEqual(read(self.path("o.gguf")), read(self.path("one.gguf")))

    # ---- Sums ------------------------------------------------------------------------------------------------------

    def test_measured(self):
        for case, command in enumerate((
                ["error", "-f", "q4_0,q8_0,q4_K,bf16", "m.gguf"],
                ["error", "-f", "q4_K,iq2_xs", "--imatrix", "i.dat", "--exclude", "output", "m.gguf"],
                ["sensitivity", "--low", "q4_0", "--high", "source", "--grad", "g.safetensors", "m.gguf"],
                ["sensitivity", "--low", "q2_K", "--high", "q8_0", "--sort", "squared", "--imatrix", "i.dat", "--grad",
                 "g.safetensors", "m.gguf"])):
            command += ["-d", "cpu", "--threads", "1"]
            outputs = [["--json", "j.json"]] + [["--mlx-json", "x.json"]] * (command[0] == "sensitivity")
            text = self.alone(*command)
            for n in (1, 2, 3, 4, 5) if case in (0, 2) else (3,):
                with self.subTest(command=command, n=n):
                    self.assertEqual(self.done(n, *command, *(["--sums", "sums"] if n == 5 else [])), text)
                    for option, name in outputs:
                        if n in (3, 5):
                            self.alone(*command, option, "one.json")
                            self.done(n, *command, option, name)
                            self.assertEqual(read(self.path(name)), read(self.path("one.json")))
                    self.assertEqual(self.leftovers(), [])
            self.assertEqual(self.done(2, *command, "--json", "-"), self.alone(*command, "--json", "-"))
            if case in (0, 2):  # what five ranks have kept is taken over by others, and by qdq alone
                lines = self.lines("sums")
                self.assertEqual(self.done(2, *command, "--sums", "sums"), text)
                self.assertEqual(self.alone(*command, "--sums", "sums"), text)
                self.assertEqual(self.lines("sums"), lines)
                shutil.rmtree(self.path("sums"))

    def test_plans(self):
        for options in (["--imatrix", "i.dat"], ["--grad", "g.safetensors", "--score", "absolute"]):
            command = ["plan", "-d", "cpu", "--threads", "1", "--formats", "q4_0,q8_0,q4_K", *options, "m.gguf", "--target", "6bpw"]
            text = self.alone(*command, "--scores", "s.json", "--mlx-json", "x.json", "-o", "plan.json")
            expected = [read(self.path(name)) for name in ("s.json", "plan.json", "x.json")]
            for n in (1, 2, 3, 4, 5):
                with self.subTest(options=options, n=n):
                    extra = ["--sums", "sums"] if n == 3 else []
                    if n != 5:  # five ranks find all in the file of scores
                        os.remove(self.path("s.json"))
                    for name in ("plan.json", "x.json"):
                        os.remove(self.path(name))
                    told = self.done(n, *command, *extra, "--scores", "s.json", "--mlx-json", "x.json", "-o", "plan.json")
                    self.assertEqual([read(self.path(name)) for name in ("s.json", "plan.json", "x.json")], expected)
                    if n == 5:
                        self.assertIn("nothing was measured", told)
                    else:
                        self.assertEqual(told, text)
                    self.assertEqual(self.leftovers(), [])
            # With a recipe, by rules, and to standard output.
            lines = self.lines("sums")
            for more in (["--recipe", "types.txt", "--pin", "attn_q=q4_K", "-o", "plan.json"], ["-o", "-"]):
                told = self.done(2, *command, *more, "--sums", "sums")
                self.assertEqual(self.lines("sums"), lines)
                self.assertEqual(told, self.alone(*command, *more))
            os.remove(self.path("s.json"))
            shutil.rmtree(self.path("sums"))
        result = self.ranks(3, "plan", "-d", "cpu", "--formats", "q4_0,q8_0", "--target", "6bpw", "nan.gguf", "--scores", "s.json",
                            "-o", "p.json")
        self.told_once("is NaN", result)
        self.assertFalse(os.path.exists(self.path("s.json")) or os.path.exists(self.path("p.json")))
        self.told_once("less than the smallest plan", self.ranks(2, "plan", "-d", "cpu", "--formats", "q4_0,q8_0", "--target", "1bpw", "m.gguf",
                                                  "-o", "p.json"))
        self.assertEqual(self.leftovers(), [])

    def lines(self, folder):
        """The sums that are noted there, once for each time; none while there is no folder."""
        names = os.listdir(self.path(folder)) if os.path.isdir(self.path(folder)) else []
        return sorted(line.rsplit(b" ", 1)[0] for name in names if name.endswith(".journal")
                      for line in read(self.path(folder + "/" + name)).split(b"\n")[1:-1])

    def test_measuring_fails(self):
        command = ["error", "-d", "cpu", "-f", "q8_0,q4_K", "nan.gguf"]
        for n in (1, 4):
            result = self.ranks(n, *command)
            self.told_once("is NaN", result)
            self.assertEqual(result.stdout, "")
            self.assertEqual(self.leftovers(), [])
        self.told_once("is NaN", self.ranks(3, *command, "--sums", "sums", "--json", "j.json"))
        self.assertFalse(os.path.exists(self.path("j.json")))
        command += ["--allow-non-finite"]
        self.assertEqual(self.done(2, *command, "--sums", "sums"), self.alone(*command))
        self.told_once("another plan is on its way", self.ranks(3, *command, "--imatrix", "i.dat", "--sums", "sums"))

    def rank_of(self, process):
        """The number of a process of the program, somewhere below mpirun."""
        below, found = {process.pid}, []
        for _ in range(4):
            for entry in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open("/proc/%s/stat" % entry) as file:
                        parent = int(file.read().rpartition(")")[2].split()[1])
                    if parent in below:
                        below.add(int(entry))
                        if os.path.samefile("/proc/%s/exe" % entry, MPI[0]) and int(entry) not in found:
                            found.append(int(entry))
                except OSError:  # it has ended
                    pass
        return found[-1] if found else None

    def test_killed(self):
        command = ["error", "-d", "cpu", "--threads", "1", "-f", "iq2_xs,q4_K", "--imatrix", "i.dat", "m.gguf"]
        text = self.alone(*command)
        process = self.start(3, *command, "--sums", "sums")
        while process.poll() is None and not self.lines("sums"):
            pass
        rank = self.rank_of(process)
        if rank is not None:
            os.kill(rank, signal.SIGKILL)
        process.communicate(timeout=600)
        kept = self.lines("sums")
        self.assertTrue(kept)
        self.assertEqual(self.done(2, *command, "--sums", "sums"), text)
        lines = self.lines("sums")
        self.assertTrue(set(kept) <= set(lines))
        # Of a tensor whose sums were noted in part, all are measured again: one a rank at most, of two formats.
        self.assertLessEqual(len(lines) - len(set(lines)), 3)

    def test_killed_without_a_folder(self):
        """What was measured lies in the working directory, under a name that --sums may take."""
        command = ["plan", "-d", "cpu", "--threads", "1", "--formats", "iq2_xs,iq2_s,q4_K", "--imatrix", "i.dat", "m.gguf", "--target",
                   "4bpw", "-o", "p.json"]
        text = self.alone(*command)
        expected = read(self.path("p.json"))
        process = self.start(3, *command)
        while process.poll() is None and not any(self.lines(folder) for folder in self.leftovers()):
            pass
        rank = self.rank_of(process)
        if rank is not None:
            os.kill(rank, signal.SIGKILL)
        process.communicate(timeout=600)
        (folder,) = self.leftovers()
        kept = self.lines(folder)
        os.remove(self.path("p.json"))
        self.assertEqual(self.done(2, *command, "--sums", folder), text)
        self.assertEqual(read(self.path("p.json")), expected)
        self.assertTrue(kept and set(kept) <= set(self.lines(folder)))

    def test_two_disks(self):
        """Results are right all the same, and it is said."""
        program, mpirun, *options = MPI
        for name in "ab":
            os.mkdir(self.path(name))
        command = [program, "error", "-d", "cpu", "--threads", "1", "-f", "q4_K", self.path("m.gguf")]
        result = subprocess.run([mpirun, *options, "-n", "1", "-wdir", self.path("a"), *command, ":", "-n", "3", "-wdir",
                                 self.path("b"), *command], env=MPI_ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=600)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout.decode(), self.alone(*command[1:]))
        self.assertEqual(os.listdir(self.path("a")), [])
        (folder,) = os.listdir(self.path("b"))
        self.assertEqual(result.stderr.count(b"must see one disk"), bool(self.lines("b/" + folder)))

    def test_a_limit_of_sizes(self):
        """It shows as a write that fails, not as a signal."""
        program, mpirun, *options = MPI
        result = subprocess.run([mpirun, *options, "-n", "2", "bash", "-c", "ulimit -f 20480; exec \"$@\"", "-", program, "roundtrip",
                                 "-d", "cpu", "-f", "q8_0", "m.gguf", "-o", "o"], cwd=self.directory, env=MPI_ENVIRONMENT,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        self.told_once("a size limit of the file system", result)

    # ---- The command line ------------------------------------------------------------------------------------------

    def test_wrong(self):
        for text, arguments in (("Usage: mpirun", []), ("no command 'formats'", ["formats"]),
                                ("none.gguf", ["quantize", "-f", "q4_0", "none.gguf", "-o", "o"]),
                                ("nothing", ["quantize", "-f", "nothing", "m.gguf", "-o", "o"]),
                                ("leave out --part", ["quantize", "-f", "q4_0", "m.gguf", "-o", "o", "--part", "1/2"]),
                                ("say it to qdq", ["quantize", "-f", "q4_0", "m.gguf", "-o", "o", "--dry-run"]),
                                ("leave out --part", ["error", "-f", "q4_0", "m.gguf", "--part", "1/2"]),
                                ("no format", ["error", "m.gguf"]),
                                ("no/such.json", ["error", "-f", "q4_0", "m.gguf", "--json", "no/such.json"]),
                                ("no target", ["plan", "m.gguf", "-o", "p.json"]),
                                ("no gradients", ["sensitivity", "--low", "q4_0", "--high", "q8_0", "m.gguf"])):
            result = self.ranks(2, *arguments)
            self.assertNotEqual(result.returncode, 0, arguments)
            self.assertEqual(result.stderr.count(text), 1, (arguments, result.stderr))
            self.assertFalse(os.path.exists(self.path("o")))
            self.assertEqual(self.leftovers(), [])

    def test_help(self):
        text = self.done(3, "--help")
        self.assertEqual(text.count("Usage: mpirun"), 1)
        for command in ("quantize", "roundtrip", "error", "sensitivity", "plan"):
            self.assertIn("\n  %s " % command, text)
        self.assertLessEqual(max(map(len, text.splitlines())), 120)
        self.assertEqual(self.done(2, "error", "--help"), self.alone("error", "--help"))
        self.assertIn("qdq-mpi " + self.alone("--version").split()[1], self.done(2, "--version"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
