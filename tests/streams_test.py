"""Standard streams that are closed, full or broken: streams_test.py PATH/TO/qdq [unittest's options]."""

import signal
import unittest

from command_support import *


def closing(*numbers):
    def close():
        for number in numbers:
            os.close(number)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return close


@posix
class TestStreams(CommandTest):
    """Each command with outputs, and each that only prints."""

    def setUp(self):
        super().setUp()
        metadata = [("general.architecture", STRING, "llama")]
        self.gguf = self.put("model.gguf", gguf_bytes({
            "blk.0.attn_q.weight": ("F32", [32, 256], f32(gauss(1, 8192))),
            "blk.0.attn_k.weight": ("F32", [32, 256], f32(gauss(2, 8192))),
        }, metadata))
        self.plan = ["plan", "--target", "6bpw", "--formats", "q4_0,q8_0", "--recipe", "r.txt", "--mlx-json", "x.json", "--scores",
                     "s.json", "model.gguf", "-o", "p.json"]
        self.done(*self.plan)
        os.rename(self.path("p.json"), self.path("plan.json"))
        # Command line, and the files that it makes.
        self.commands = [
            (["error", "-f", "q4_0", "--json", "o.json", "model.gguf"], ["o.json"]),
            (["sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", "gradients.safetensors", "--json", "o.json",
              "--mlx-json", "x.json", "model.safetensors"], ["o.json", "x.json"]),
            (["roundtrip", "-f", "q4_0", "--json", "o.json", "model.safetensors", "-o", "o.safetensors"], ["o.json", "o.safetensors"]),
            (["quantize", "-f", "q4_K", "--json", "o.json", "model.gguf", "-o", "o.gguf"], ["o.json", "o.gguf"]),
            (self.plan, ["p.json", "r.txt", "x.json", "s.json"]),
            (["report", "plan.json", "-o", "o.html"], ["o.html"]),
            (["formats", "--json", "o.json"], ["o.json"]),
            (["devices", "--json", "o.json"], ["o.json"]),
            (["--help"], []), (["help", "plan"], []), (["--version"], []), (["--man"], []), (["--completion", "bash"], []),
        ]
        self.clean()
        self.whole = {}
        for arguments, outputs in self.commands:
            self.done(*arguments)
            self.whole[" ".join(arguments)] = {name: read(self.path(name)) for name in outputs}
            self.clean()

    def clean(self):
        for name in self.files():
            if name.startswith(("o.", "p.", "r.", "x.", "s.")):
                os.remove(self.path(name))

    def check(self, statuses, **streams):
        """Each command ends with one of the statuses; its files, as far as it got, are what they should be."""
        for arguments, outputs in self.commands:
            names = self.files()
            result = subprocess.run([QDQ, *arguments], cwd=self.directory, env=ENVIRONMENT, timeout=300,
                                    **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **streams})
            self.assertIn(result.returncode, statuses, (arguments, result.stderr))
            # A failed print comes after the files are in their places.
            self.assertEqual(sorted(set(self.files()) - set(names)), sorted(outputs), (arguments, result.stderr))
            for name in outputs:
                self.assertEqual(read(self.path(name)), self.whole[" ".join(arguments)][name], (arguments, name))
            self.clean()

    def test_closed(self):
        # `report` prints nothing, and so does not miss standard output.
        for closed in [(1,), (0, 1), (0, 1, 2), (1, 2)]:
            self.check([0, 1], preexec_fn=closing(*closed), stdout=None, stderr=None if 2 in closed else subprocess.PIPE)
        for closed in [(0,), (2,), (0, 2)]:
            self.check([0], preexec_fn=closing(*closed), stdin=None, stderr=None if 2 in closed else subprocess.PIPE)

    def test_closed_output_is_a_failure(self):
        for arguments, outputs in self.commands:
            if arguments[0] == "report":
                continue
            result = subprocess.run([QDQ, *arguments], cwd=self.directory, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                                    stderr=subprocess.PIPE, text=True, preexec_fn=closing(1))
            self.assertEqual(result.returncode, 1, arguments)
            self.assertIn("standard output cannot be written", result.stderr)

    def test_full(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        with open("/dev/full", "w") as full:
            self.check([0, 1], stdout=full)
            self.check([0], stderr=full)

    def test_broken(self):
        """Somebody read the first line and left: `qdq plan … | head -1` loses nothing."""
        for name in ["stdout", "stderr"]:
            reader, writer = os.pipe()
            os.close(reader)
            try:
                self.check([0, -signal.SIGPIPE], preexec_fn=closing(), **{name: writer})
            finally:
                os.close(writer)


if __name__ == "__main__":
    unittest.main()
