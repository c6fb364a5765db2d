"""No input is overwritten, and no output by another: paths_test.py PATH/TO/qdq [unittest's options]."""

import math
import unittest

from command_support import *


class TestPaths(CommandTest):
    """A folder of a model, and a file of everything that a command reads beside one."""

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("folder"))
        hf = {"model.layers.0.self_attn.q_proj.weight": ("F32", [32, 256], f32(gauss(1, 8192))),
              "model.layers.0.self_attn.k_proj.weight": ("F32", [32, 256], f32(gauss(2, 8192)))}
        shard = "model-00001-of-00001.safetensors"
        self.put("folder/" + shard, safetensors_bytes(hf))
        self.put("folder/model.safetensors.index.json", json.dumps({"weight_map": {name: shard for name in hf}}).encode())
        self.put("folder/config.json", b'{"architectures": ["LlamaForCausalLM"]}')
        self.put("g.safetensors", safetensors_bytes({name: ("F32", [32, 256], f32(gauss(3, 8192))) for name in hf}))
        self.put("m.gguf", gguf_bytes({"blk.0.attn_q.weight": ("F32", [32, 256], f32(gauss(1, 8192)))},
                                      [("general.architecture", STRING, "llama")]))
        self.put("i.dat", imatrix_bytes({"blk.0.attn_q.weight": (1, [1.0] * 256)}))
        self.put("types.txt", b"attn_q=q8_0\n")
        self.put("map.txt", b"model.layers.{n}.self_attn.q_proj.weight blk.{n}.attn_q.weight\n")
        self.done("plan", "--target", "6bpw", "--formats", "q4_0,q8_0", "--scores", "s.json", "m.gguf", "-o", "p.json")
        # Command line without outputs, what it reads, and the options that name its outputs.
        plan = ["plan", "--target", "6bpw", "--formats", "q4_0,q8_0"]
        model = ["folder/config.json", "folder/model.safetensors.index.json", "folder/" + shard]
        self.commands = [
            (["error", "-f", "q4_0", "--imatrix", "i.dat", "m.gguf"], ["m.gguf", "i.dat"], ["--json"]),
            (["error", "-f", "q4_0", "--imatrix", "i.dat", "folder"], model, ["--json"]),
            (["sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", "g.safetensors", "folder"],
             ["g.safetensors"] + model, ["--json", "--mlx-json"]),
            (["roundtrip", "-f", "q4_0", "folder"], model, ["-o", "--json"]),
            (["quantize", "-f", "q4_K", "--tensor-type-file", "types.txt", "--imatrix", "i.dat", "m.gguf"],
             ["m.gguf", "types.txt", "i.dat"], ["-o", "--json"]),
            (["quantize", "--plan", "p.json", "m.gguf"], ["p.json"], ["-o", "--json"]),
            (plan + ["--scores", "s.json", "m.gguf"], ["m.gguf", "s.json"], ["-o", "--recipe", "--mlx-json"]),
            (plan + ["--imatrix", "i.dat", "m.gguf"], ["m.gguf", "i.dat"], ["-o", "--recipe", "--mlx-json"]),
            (plan + ["--map", "map.txt", "--grad", "g.safetensors", "folder"], ["map.txt", "g.safetensors"] + model,
             ["-o", "--recipe", "--mlx-json", "--scores"]),
            (["report", "p.json"], ["p.json"], ["-o"]),
        ]

    def outputs(self, options, but=None):
        """Every output that a command wants, each under a name of its own."""
        words = []
        for n, option in enumerate(options):
            if option != but and option in ("-o", but):
                words += [option, "out%d" % n]
        return words

    def test_no_input_is_an_output(self):
        for command, inputs, options in self.commands:
            for option in options:
                for name in inputs:
                    rest = self.outputs(options, option)
                    # A file of scores is read first, and a model's file is none.
                    read_first = option == "--scores" and name.startswith("folder/model")
                    for spelling in self.spellings(name):
                        self.fails(1 if read_first else 2,
                                   ["not JSON|no file of scores" if read_first else "is the (input|config.json)|are one file",
                                    os.path.basename(name)], *command, *rest, option, spelling)

    def test_shards_of_gradients(self):
        shutil.copytree(self.path("folder"), self.path("grads"))
        command = ["sensitivity", "--low", "q4_0", "--high", "q8_0", "--grad", "grads", "folder"]
        # An infinite weight ends the work: the output is looked at before.
        name = "model.layers.0.self_attn.q_proj.weight"
        self.put("folder/model-00001-of-00001.safetensors", safetensors_bytes({
            name: ("F32", [32, 256], f32([math.inf] * 8192)), name.replace("q_", "k_"): ("F32", [32, 256], f32([1.0] * 8192))}))
        self.fails(1, "inf|not finite", *command)
        for option in ["--json", "--mlx-json"]:
            for file in ["model-00001-of-00001.safetensors", "model.safetensors.index.json"]:
                self.fails(2, "is the input", *command, option, "grads/" + file)

    def test_an_operand_may_be_the_output(self):
        for output, named in [("m.gguf", "m.gguf"), ("./i.dat", "i.dat"), ("types.txt", "types.txt"), ("o", "are one file")]:
            self.fails(2, named, "quantize", "-f", "q4_K", "--tensor-type-file", "types.txt", "--imatrix", "i.dat", "--json",
                       "o" if output == "o" else "j", "m.gguf", output)

    def spellings(self, name):
        base, above = os.path.basename(name), os.path.dirname(name)
        link, hard = os.path.join(above, "link-" + base), os.path.join(above, "hard-" + base)
        for path, make in [(link, os.symlink), (hard, os.link)]:
            if not os.path.lexists(self.path(path)):
                make(base if make is os.symlink else self.path(name), self.path(path))
        # What s.json is a link to is not written: it is the name that a later file takes.
        links = [] if name == "s.json" else [link, hard]
        return [name, "./" + name, "folder/../" + name, self.path(name)] + links

    def test_no_output_is_another(self):
        os.symlink("folder", self.path("alias"))
        for command, _, options in self.commands:
            for n, option in enumerate(options):
                for other in options[:n]:
                    rest = [] if "-o" in (option, other) or "-o" not in options else ["-o", "third"]
                    for a, b in [("o", "o"), ("o", "./o"), ("o", "folder/../o"), ("folder/o", "alias/o"), (self.path("o"), "o")]:
                        self.fails(2, "are one file", *command, *rest, other, a, option, b)

    def test_what_is_allowed(self):
        for command, _, options in self.commands:
            words, made = [], []
            for n, option in enumerate(options):
                words += [option, "folder/o" if n == 0 else "o%d" % n]
                made += [words[-1]]
            self.done(*command, *words)
            for name in made:
                os.remove(self.path(name))
            # The null device may be all of them at once; what is kept is not.
            words = [word for option in options for word in (option, "kept" if option == "--scores" else "/dev/null")]
            self.done(*command, *words)
        os.symlink("m.gguf", self.path("soft"))  # replaced: it is not what is read
        self.done("error", "-f", "q4_0", "--json", "soft", "folder")
        self.assertFalse(os.path.islink(self.path("soft")))
        self.done("formats", "--json", "first", "--json", "second", "--json", "first")  # the last one counts
        self.assertFalse(os.path.exists(self.path("second")))
        for option in ["--json", "-o"]:  # twice the same file to read is no harm
            self.done("quantize", "-f", "q4_K", "--tensor-type-file", "types.txt", "--tensor-type-file", "types.txt", "m.gguf", "-o", "o")


if __name__ == "__main__":
    unittest.main()
