"""The programs of docs/model.md: compiled as they stand there, and run on a small model.

model_docs_test.py DOCUMENT COMPILER FLAG...
"""

import os
import re
import subprocess
import sys
import tempfile

DOCUMENT, COMPILER, FLAGS = sys.argv[1], sys.argv[2], sys.argv[3:]
sys.argv = sys.argv[:1]
from command_support import bf16, f32, gauss, safetensors_bytes, write  # noqa: E402


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


with open(DOCUMENT) as file:
    programs = dict(re.findall(r"```c (\w+)\n(.*?)```", file.read(), re.DOTALL))
assert sorted(programs) == ["converter", "engine", "trainer"], programs.keys()

with tempfile.TemporaryDirectory() as folder:
    def at(name):
        return os.path.join(folder, name)

    for name, text in programs.items():
        write(at(name + ".c"), text.encode())
        run(COMPILER, "-std=c11", "-Wall", "-Wextra", "-Werror", at(name + ".c"), "-o", at(name), *FLAGS)

    shapes = {f"model.layers.{i}.{part}.weight": [64, 256]
              for i in range(3) for part in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")}
    weights = {name: ("BF16", shape, bf16(gauss(i, 64 * 256, 0.1))) for i, (name, shape) in enumerate(shapes.items())}
    weights["model.norm.weight"] = ("F32", [256], f32(gauss(99, 256)))
    gradients = {name: ("F32", shape, f32(gauss(1000 + i, 64 * 256))) for i, (name, shape) in enumerate(shapes.items())}
    os.mkdir(at("model"))
    write(at("model/model.safetensors"), safetensors_bytes(weights))
    write(at("model/config.json"), b'{"architectures": ["LlamaForCausalLM"]}')
    write(at("gradients.safetensors"), safetensors_bytes(gradients))

    said = run(at("converter"), at("model"), at("converted.gguf"))
    assert "model.norm.weight stays: 1 dimension" in said, said
    said = run(at("trainer"), at("model"), at("gradients.safetensors"), at("plan.json"), at("plan.html"))
    assert said.startswith("model.layers.0.") and "sum|g D|" in said, said
    assert os.path.exists(at("plan.json")) and os.path.exists(at("plan.html"))

    said = run(at("engine"), at("converted.gguf"))
    assert "architecture llama" in said and "DIFFERS" not in said and said.count("q4_K") == len(shapes), said
    assert "blk.2.ffn_down.weight" in said and "output_norm.weight" in said, said
print("the programs of docs/model.md do what it says")
