"""qdq-mpi: ranks share a model: mpi_test.py PATH/TO/qdq PATH/TO/qdq-mpi MPIRUN [OPTION...]. The bytes are those of one
process; a failure of one rank stops all, and leaves what --resume goes on with."""

import os
import sys

MPI = [os.path.abspath(sys.argv[2]), *sys.argv[3:]]
del sys.argv[2:]
from command_support import *


class Ranks(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="qdq-mpi-")
        self.addCleanup(shutil.rmtree, self.directory)
        shapes = {"token_embd.weight": [3000, 1024], "blk.0.attn_q.weight": [1024, 1024], "output.weight": [3001, 992]}
        self.tensors = {name: ("BF16", shape, random_bf16(len(name), count(shape))) for name, shape in shapes.items()}
        self.metadata = [("general.architecture", STRING, "llama"), ("llama.block_count", U32, 1)]
        write(self.path("m.gguf"), gguf_bytes(self.tensors, self.metadata))

    def path(self, name):
        return os.path.join(self.directory, name)

    def ranks(self, n, *arguments):
        program, mpirun, *options = MPI
        environment = dict(ENVIRONMENT, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        return subprocess.run([mpirun, "-n", str(n), *options, program, *arguments], cwd=self.directory, env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)

    def test_the_same_bytes(self):
        for command in (["quantize", "-f", "q8_0", "m.gguf"], ["roundtrip", "-f", "q4_0", "m.gguf"]):
            self.assertEqual(run(*command, "-d", "cpu", "-o", "one", cwd=self.directory).returncode, 0)
            for n in (4, 1, 3):
                result = self.ranks(n, *command, "-d", "cpu", "--threads", "1", "-o", "several", "--json", "j.json")
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual(read(self.path("several")), read(self.path("one")))
                self.assertEqual(result.stdout.count("tensors are"), 1)  # rank 0 alone speaks
                self.assertIn("tensors", json.loads(read(self.path("j.json"))))
                self.assertFalse(os.path.exists(self.path("several.parts")))
                os.remove(self.path("several"))

    def test_one_fails(self):
        """A weight that is not finite is in one rank's part."""
        name, (dtype, shape, data) = "output.weight", self.tensors["output.weight"]
        bad = bytearray(data)
        bad[-2:] = b"\xc0\x7f"
        write(self.path("bad.gguf"), gguf_bytes(dict(self.tensors, **{name: (dtype, shape, bytes(bad))}), self.metadata))
        command = ["quantize", "-f", "q8_0", "bad.gguf", "-d", "cpu", "-o", "o.gguf"]
        result = self.ranks(4, *command)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("is NaN", result.stderr)
        self.assertFalse(os.path.exists(self.path("o.gguf")))
        result = self.ranks(3, *command, "--resume", "--allow-non-finite")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(run(*command[:-1], "one.gguf", "--allow-non-finite", cwd=self.directory).returncode, 0)
        self.assertEqual(read(self.path("o.gguf")), read(self.path("one.gguf")))

    def test_wrong(self):
        for text, arguments in (("Usage: mpirun", []), ("Usage: mpirun", ["error", "-f", "q4_0", "m.gguf"]),
                                ("none.gguf", ["quantize", "-f", "q4_0", "none.gguf", "-o", "o"]),
                                ("nothing", ["quantize", "-f", "nothing", "m.gguf", "-o", "o"]),
                                ("leave out --part", ["quantize", "-f", "q4_0", "m.gguf", "-o", "o", "--part", "1/2"])):
            result = self.ranks(2, *arguments)
            self.assertNotEqual(result.returncode, 0, arguments)
            self.assertIn(text, result.stderr)
            self.assertFalse(os.path.exists(self.path("o")))


if __name__ == "__main__":
    unittest.main(verbosity=2)
