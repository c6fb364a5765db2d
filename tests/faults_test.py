"""What the command does when a call fails: faults_test.py PATH/TO/qdq PATH/TO/libfaults.so [CASE...].

Each allocation, write, read, sync, naming, opening, mapping and thread of a command line fails once, and then it and all
after it do; each such run is a process of its own. It ends with exit status 1 and a message, and leaves nothing, or it
does all that the undisturbed run does. For allocations the message says "out of memory".
"""

import os
import shutil
import signal
import sys
import tempfile

FAULTS = os.path.abspath(sys.argv.pop(2))
CASES = sys.argv[2:]
from command_support import *  # takes the command from sys.argv

LLAMA = [("general.architecture", STRING, "llama"), ("llama.attention.head_count", U32, 2),
         ("llama.attention.head_count_kv", U32, 1), ("llama.block_count", U32, 2), ("general.name", STRING, "tiny")]


def weights(seed, rows, columns, scale=1.0):
    return gauss(seed, rows * columns, scale)


def make_inputs():
    """A small llama as GGUF, as one safetensors file and as a folder of shards, and all that goes with it."""
    shapes = {"token_embd": (8, 256), "blk.0.attn_q": (8, 256), "blk.0.attn_k": (4, 256), "blk.0.ffn_down": (8, 64)}
    names = {"token_embd": "model.embed_tokens", "blk.0.attn_q": "model.layers.0.self_attn.q_proj",
             "blk.0.attn_k": "model.layers.0.self_attn.k_proj", "blk.0.ffn_down": "model.layers.0.mlp.down_proj"}
    gguf, hf, gradients, importance = {}, {}, {}, {}
    for seed, (name, (rows, columns)) in enumerate(shapes.items()):
        raw = weights(seed, rows, columns)
        gguf[name + ".weight"] = ("F32", [rows, columns], f32(raw))
        hf[names[name] + ".weight"] = ("BF16", [rows, columns], bf16(raw))
        gradients[names[name] + ".weight"] = ("F32", [rows, columns], f32(weights(50 + seed, rows, columns, 0.01)))
        importance[name + ".weight"] = (3, [1.0 + i % 5 for i in range(columns)])
    gguf["blk.0.attn_norm.weight"] = hf["model.norm.weight"] = ("F32", [256], f32([1.0] * 256))
    write("m.gguf", gguf_bytes(gguf, LLAMA))
    like = {name + ".weight": hf[names[name] + ".weight"] for name in shapes}
    like["output_norm.weight"] = hf["model.norm.weight"]
    write("t.gguf", gguf_bytes(like, LLAMA))
    for i, part in enumerate([list(gguf)[:2], list(gguf)[2:]]):
        write("m-0000%d-of-00002.gguf" % (i + 1), gguf_bytes({name: gguf[name] for name in part}, [
            *(LLAMA if i == 0 else []), ("split.no", U16, i), ("split.count", U16, 2), ("split.tensors.count", I32, len(gguf))]))
    write("m.safetensors", safetensors_bytes(hf, {"format": "pt", "note": "x" * 40}))
    write("g.safetensors", safetensors_bytes(gradients))
    write("i.dat", imatrix_bytes(importance))
    write("i.gguf", imatrix_gguf_bytes({name: ([w], [512]) for name, (_, w) in importance.items()}))
    os.mkdir("folder")
    shards, order = {}, list(hf)
    for n, part in enumerate([order[:2], order[2:]]):
        file = "model-0000%d-of-00002.safetensors" % (n + 1)
        write("folder/" + file, safetensors_bytes({name: hf[name] for name in part}))
        shards.update({name: file for name in part})
    write("folder/model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": shards}).encode())
    write("folder/config.json", b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    write("types.txt", b"attn_k=q8_0\nffn_.*=q4_0\n")
    write("map.txt", "".join("%s.weight %s.weight\n" % (names[n], n) for n in shapes).encode())
    subprocess.run([QDQ, "quantize", "-d", "cpu", "--quiet", "-f", "q8_0", "--part", "1/1", "m.gguf", "-o", "made"], check=True,
                   env=ENVIRONMENT)
    subprocess.run([QDQ, "plan", "-d", "cpu", "--quiet", "--target", "6bpw", "--scores", "known.json", "--formats", "q4_0,q5_0",
                    "m.gguf", "-o", "p.json"], check=True, env=ENVIRONMENT)
    subprocess.run([QDQ, "plan", "-d", "cpu", "--quiet", "--target", "6bpw", "--formats", "q4_0,q8_0", "m.gguf", "-o", "p.json"],
                   check=True, env=ENVIRONMENT)
    subprocess.run([QDQ, "quantize", "-d", "cpu", "--quiet", "-f", "q8_0", "m.gguf", "-o", "q.gguf"], check=True,
                   env=ENVIRONMENT)
    os.mkdir("scaled")
    write("scaled/model.safetensors", safetensors_bytes({
        "a.weight": ("F8_E4M3", [4, 64], bytes(range(64)) * 4), "a.weight_scale_inv": ("F32", [1, 1], f32([0.5])),
        "b.weight_packed": ("U8", [4, 32], bytes(128)), "b.weight_scale": ("U8", [4, 2], bytes([120] * 8)),
        "c.weight_packed": ("I32", [4, 8], bytes(128)), "c.weight_scale": ("F32", [4, 2], f32([0.5] * 8)),
        "c.weight_shape": ("I64", [2], struct.pack("<2q", 4, 64)), "norm.weight": ("F32", [64], f32([1.0] * 64))}))
    os.mkdir("kept")
    write("kept/model.safetensors", safetensors_bytes({
        "b.weight": ("U8", [4, 32], bytes(128)), "b.weight_scale": ("F8_E4M3", [4, 4], bytes([60] * 16)),
        "b.weight_scale_2": ("F32", [], f32([0.5])), "c.weight_packed": ("I32", [4, 8], bytes(128)),
        "c.weight_scale": ("F32", [4, 2], f32([0.5] * 8)), "c.weight_shape": ("I64", [2], struct.pack("<2q", 4, 64))}))
    write("scaled/config.json", b'{"quantization_config": {"quant_method": "compressed-tensors", "format": "mixed-precision"}}')
    subprocess.run([QDQ, "quantize", "-d", "cpu", "--quiet", "-f", "q8_0", "m.gguf", "-o", "q8.gguf"], check=True, env=ENVIRONMENT)


COMMANDS = {
    "error": "error -f q4_0,q8_0,f16 --include e --exclude ^blk.0.attn_q --json o.json m.gguf",
    "error-imatrix": "error -f q4_K,q8_0 --imatrix i.dat folder",
    "sensitivity": "sensitivity --low q4_0 --high source --grad g.safetensors --json o.json --mlx-json x.json m.safetensors",
    "roundtrip": "roundtrip -f q4_0 --dtype source --json o.json folder -o o.safetensors",
    "quantize": "quantize -f q4_K --tensor-type-file types.txt --tensor-type embd=q6_K --imatrix i.dat --json o.json m.gguf -o o.gguf",
    "quantize-preset": "quantize --imatrix i.dat --include-weights blk --prune-layers 1 --override-kv general.name=str:other "
                       "--output-tensor-type q6_K --json o.json m.gguf o.gguf Q4_K_M 2",
    "quantize-codes": "quantize -f q4_K --allow-requantize --via bf16 --json o.json q8.gguf -o o.gguf",
    "error-scaled": "error -f q4_0,f16 --json o.json scaled",
    "quantize-kept": "quantize -f q8_0 --keep-codes --json o.json kept -o o.gguf",
    "lattice": "lattice --json o.json m.safetensors",
    "quantize-plan": "quantize --plan p.json m.gguf -o o.gguf",
    "quantize-part": "quantize -f q4_K --imatrix i.dat --part 1/1 --resume m.gguf -o o.gguf",
    "roundtrip-part": "roundtrip -f q8_0 --dtype source --part 2/2 folder -o o.safetensors",
    "join": "join o.gguf made.parts",
    "error-part": "error -f q4_0,q8_0 --imatrix i.dat --part 1/2 --sums sums m.gguf",
    "error-sums": "error -f q4_0,q8_0 --sums sums --json o.json m.gguf",
    "sensitivity-part": "sensitivity --low q4_0 --high q8_0 --grad g.safetensors --part 2/2 --sums sums m.safetensors",
    "quantize-dry": "quantize --dry-run m.gguf Q4_K_M",
    "quantize-tensors": "quantize --dry-run --list-tensors m.gguf Q4_K_M",
    "quantize-split": "quantize -f q8_0 --keep-split m-00001-of-00002.gguf o",
    "quantize-like": "quantize --like t.gguf --map map.txt --json o.json -f q8_0 m.safetensors -o o.gguf",
    "plan": "plan --target 9bpw --formats q4_0,q5_0,q8_0,source --imatrix i.dat --pin attn_k=q8_0 --min embd=q5_0 "
            "--allow attn_q=q4_0,q8_0,q5_0 --same blk.(.).attn_q --scores s.json --recipe r.txt --mlx-json x.json m.gguf -o o.json",
    "plan-part": "plan --part 2/2 --sums sums --formats q4_0,q8_0 --imatrix i.dat m.gguf",
    "plan-sums": "plan --target 9bpw --sums sums --scores s.json --formats q4_0,q8_0 --grad g.safetensors --score squared m.safetensors -o o.json",
    "plan-more": "plan --target 9bpw --more-scores known.json --scores s.json --formats q4_0,q8_0 m.gguf -o o.json",
    "plan-beside": "plan --formats q4_0 --beside q.gguf m.gguf -o o.json",
    "plan-token": "plan --cost token --slow q4_0=1.5 --target 9bpw --formats q4_0,q8_0 --scores s.json folder -o o.json",
    "plan-gradients": "plan --target 6bpw --score squared --formats q4_0,q8_0 --grad g.safetensors --map map.txt --same qkv m.safetensors -o o.json",
    "report": "report p.json -o o.html",
    "imatrix-show": "imatrix show --model m.gguf --json o.json i.gguf",
    "imatrix-merge": "imatrix merge i.dat i.gguf -o o.gguf",
    "imatrix-convert": "imatrix convert i.gguf -o o.dat",
    "formats": "formats", "formats-json": "formats --json o.json",
    "devices": "devices --json -",  # where the processor's name cannot be read, the description lacks it
    "bash": "--completion bash",
    "man": "--man", "help": "help plan", "version": "--version", "overview": "--help",
}


class Run:
    """What one run left behind: exit status, output, message, files."""

    def __init__(self, arguments, fault=None, counts=None):
        environment = dict(ENVIRONMENT, LD_PRELOAD=FAULTS)
        if fault:
            environment["QDQ_FAULT"] = fault
        if counts:
            environment["QDQ_FAULT_COUNTS"] = counts
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, "../stdout", flags, 0o600),
                   (os.POSIX_SPAWN_OPEN, 2, "../stderr", flags, 0o600)]
        child = os.posix_spawn(QDQ, [QDQ, *arguments], environment, file_actions=actions)
        status = os.waitpid(child, 0)[1]
        self.status = os.waitstatus_to_exitcode(status)
        self.output, self.message = read("../stdout"), read("../stderr").decode(errors="replace")
        self.files = {}
        for name in set(os.listdir(".")) - INPUTS:
            if os.path.isdir(name):  # parts: what is made stays for the next run
                for inner in os.listdir(name) if self.status == 0 else ():
                    self.files[name + "/" + inner] = read(name + "/" + inner)
                shutil.rmtree(name)
                continue
            self.files[name] = read(name)
            os.remove(name)


def seconds_hidden(output):
    """`quantize` says how long it took."""
    return b"\n".join(line for line in output.split(b"\n") if b" seconds, " not in line)


def complaint(run, reference, memory, describes, together):
    """What is wrong with a disturbed run, or None. describes: the output may be another. together: of several outputs
    all appear, or none."""
    if run.status < 0:
        return "ended by " + signal.Signals(-run.status).name
    if run.status == 0:
        if not describes and seconds_hidden(run.output) != seconds_hidden(reference.output):
            return "exit 0, but another output"
        return None if run.files == reference.files else "exit 0, but other files: %s" % sorted(run.files)
    if run.status != 1:
        return "exit %d" % run.status
    if not run.message.startswith("qdq: "):
        return "no message"
    if memory and "out of memory" not in run.message:
        return "a message about something else"
    # A kept file of scores is written before the plan, and a second output may fail once the first is in its place.
    whole = {name: data for name, data in reference.files.items() if not (memory or together) or name == "s.json"}
    for name, data in run.files.items():
        if whole.get(name) != data:
            return "%s was left" % name
    return None


def points(before, arguments):
    """Each call once, and from each on; or, with temporary files that have names from the beginning, the files' calls."""
    assert Run(arguments, before, counts="../counts").status == 0
    counts = [(line.split()[0], int(line.split()[1])) for line in read("../counts").decode().splitlines()]
    return [(kind, "%s%s:%d%s" % (before, kind, n, more)) for kind, calls in counts for more in ("", "+")
            for n in range(1, calls + 1) if not before or kind not in ("memory", "unnamed", "thread", "map")]


def pairs(arguments):
    """Outputs that appear together, one of which cannot be put in its place, and from then on there is no memory."""
    found = []
    for first in ("sync:3", "name:2"):
        assert Run(arguments, first, counts="../counts").status == 1
        calls = dict(line.split() for line in read("../counts").decode().splitlines())
        found += [("pair", "%s,memory:%d+" % (first, n)) for n in range(max(1, int(calls["memory"]) - 20), int(calls["memory"]) + 1)]
    return found


def test(case, command):
    arguments = command.split()
    if arguments[0] in ("error", "sensitivity", "roundtrip", "quantize", "plan"):
        arguments[1:1] = ["-d", "cpu", "--threads", "2"]
    reference = Run(arguments)
    assert reference.status == 0, (command, reference.message)
    failures, tried = 0, 0
    together = case == "quantize-split"
    for kind, fault in points("", arguments) + points("unnamed:1+,", arguments) + (pairs(arguments) if together else []):
        run = Run(arguments, fault)
        tried += 1
        wrong = complaint(run, reference, kind == "memory", case == "devices", together)
        if wrong:
            failures += 1
            print("%s: %s: %s\n    exit %d: %s" % (case, fault, wrong, run.status, run.message.strip()[:300]))
    print("%s: %d runs, %d wrong" % (case, tried, failures), flush=True)
    return tried, failures


def main():
    global INPUTS
    directory = tempfile.mkdtemp(prefix="qdq-faults-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    try:
        os.mkdir(os.path.join(directory, "work"))
        os.chdir(os.path.join(directory, "work"))
        make_inputs()
        INPUTS = set(os.listdir("."))
        results = [test(case, command) for case, command in COMMANDS.items() if not CASES or case in CASES]
    finally:
        os.chdir("/")
        shutil.rmtree(directory)
    tried, failures = sum(r[0] for r in results), sum(r[1] for r in results)
    print("%d runs, %d wrong" % (tried, failures))
    return 1 if failures or tried == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
