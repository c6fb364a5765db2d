"""What docs/scale.md tells people to type, typed: scale_docs_test.py PATH/TO/qdq PATH/TO/scale.md. What takes a scheduler is
run as the scheduler would, each task with its number in the environment; what takes GPUs or a cluster's MPI is left out."""

import re
import shlex
import sys

TEXT = open(sys.argv.pop(2), encoding="utf-8").read()
from command_support import *


def section(title):
    return re.search(r"^#+ %s\n(.*?)(?=^#|\Z)" % re.escape(title), TEXT, re.S | re.M).group(1)


def blocks(title):
    """The texts of a section that are to be typed."""
    lines = section(title).splitlines()
    text = "\n".join(line[4:] if line.startswith("    ") else "" if not line.strip() else "\0" for line in lines)
    return [block.strip("\n") + "\n" for block in re.split(r"\0+", text.replace("\n\0", "\0")) if block.strip()]


class Typed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="qdq-scale-")
        os.mkdir(cls.path("bin"))
        os.symlink(QDQ, cls.path("bin/qdq"))
        shapes = {"model.embed_tokens.weight": [3000, 1024], "model.layers.0.self_attn.q_proj.weight": [1024, 1024],
                  "model.layers.0.mlp.down_proj.weight": [1024, 1280], "lm_head.weight": [3000, 1024]}
        names = ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_down.weight", "output.weight"]
        data = {name: ("BF16", shape, random_bf16(len(name), count(shape))) for name, shape in shapes.items()}
        os.mkdir(cls.path("model-bf16"))
        write(cls.path("model-bf16/model.safetensors"), safetensors_bytes(data))
        write(cls.path("model-bf16/config.json"), json.dumps({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_attention_heads": 8,
            "num_key_value_heads": 8, "num_hidden_layers": 1, "hidden_size": 1024}).encode())
        gguf = gguf_bytes(dict(zip(names, data.values())), [
            ("general.architecture", STRING, "llama"), ("llama.block_count", U32, 1),
            ("llama.attention.head_count", U32, 8), ("llama.attention.head_count_kv", U32, 8)])
        for name in ("model-bf16.gguf", "in.gguf"):
            write(cls.path(name), gguf)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.directory)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.directory, name)

    def typed(self, text, **environment):
        """As bash runs it, where /data is the folder of the tests."""
        path = self.path("bin") + os.pathsep + os.environ["PATH"]
        result = subprocess.run(["bash", "-c", "set -e\n" + text.replace("/data/", self.directory + "/")], cwd=self.directory,
                                env=dict(ENVIRONMENT, PATH=path, **environment), stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=1800)
        self.assertEqual(result.returncode, 0, (text, result.stdout, result.stderr))
        return result.stdout

    def check(self, made, source):
        """That file is the undivided command's."""
        self.assertEqual(run("quantize", "--quiet", self.path(source), self.path("whole.gguf"), "Q4_K_M").returncode, 0)
        self.assertEqual(read(self.path(made)), read(self.path("whole.gguf")))
        self.assertFalse(os.path.exists(self.path(made + ".parts")))
        os.remove(self.path(made))

    def test_beginning(self):
        (text,) = blocks("One model, many processes and machines")
        self.typed(text)
        self.check("model.gguf", "model-bf16.gguf")

    def test_slurm(self):
        script, afterwards = blocks("Slurm")
        options = " ".join(re.findall(r"^#SBATCH (.*)$", script, re.M))
        first, last = map(int, re.search(r"--array=(\d+)-(\d+)", options).groups())
        self.assertEqual(first, 1)
        self.assertIn("$SLURM_ARRAY_TASK_ID/%d " % last, script)
        tasks = list(range(1, last + 1))
        random.Random(2).shuffle(tasks)
        for task in tasks + [last]:  # one is queued again
            self.typed(script, SLURM_ARRAY_TASK_ID=str(task))
            self.assertFalse(os.path.exists(self.path("model.gguf")))
        words = shlex.split(afterwards)
        self.assertEqual(words[0], "sbatch")
        self.typed(words[words.index("--wrap") + 1])
        self.check("model.gguf", "model-bf16.gguf")

    @unittest.skipIf(shutil.which("parallel") is None, "there is no GNU parallel")
    def test_parallel(self):
        (text,) = blocks("GNU parallel")
        self.typed(text, HOME=self.directory)
        self.check("out.gguf", "in.gguf")

    def test_kubernetes(self):
        (text,) = blocks("Kubernetes")
        n = int(re.search(r"completions: (\d+)", text).group(1))
        command = json.loads(re.sub(r"\[(\w+), (-\w+), ", r'["\1", "\2", ', re.search(r"command: (\[.*\])", text).group(1)))
        self.assertEqual(command[:2], ["sh", "-c"])
        for index in range(n):
            self.typed(command[2], JOB_COMPLETION_INDEX=str(index))
        self.typed(re.search(r"runs `(qdq join [^`]*)`", section("Kubernetes")).group(1))
        self.check("out.gguf", "in.gguf")

    def test_sums(self):
        errors, plans = blocks("Errors, sensitivities and plans in parts")[0].split("\n\n")
        # All formats of all weights take a while.
        self.typed(errors.replace("-f all", "-f q4_0,q4_K"))
        self.typed("qdq error -f q4_0,q4_K --json whole.json model-bf16/")
        self.assertEqual(read(self.path("errors.json")), read(self.path("whole.json")))
        self.typed(plans)
        self.typed("qdq plan --quiet --scores whole-scores.json --target 4.5bpw model-bf16/ -o whole.json")
        self.assertEqual(read(self.path("plan.json")), read(self.path("whole.json")))
        self.assertEqual(read(self.path("scores.json")), read(self.path("whole-scores.json")))


if __name__ == "__main__":
    unittest.main(verbosity=2)
