"""A trained model as GGUF: the blocks are training's, and those of the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")

import qdq  # noqa: E402
import qdq.torch as qt  # noqa: E402
from conftest import needs_command  # noqa: E402
from qdq import _command  # noqa: E402
from qdq._gguf import file_bytes  # noqa: E402
from qdq._model import Model, gguf_names  # noqa: E402

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny"
if not TINY.exists():
    pytest.skip("examples/tiny is not beside these tests", allow_module_level=True)
sys.path.insert(0, str(TINY))
tiny = pytest.importorskip("model")
HEADS = {"q_proj": 4, "k_proj": 2}
KEYS = {
    "general.architecture": "llama",
    "general.name": "tiny",
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.key_length": 32,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.attention.value_length": 32,
    "llama.block_count": 2,
    "llama.context_length": 256,
    "llama.embedding_length": 256,
    "llama.feed_forward_length": 256,
    "llama.rope.dimension_count": 32,
    "llama.rope.freq_base": 1e4,
    "llama.vocab_size": 128,
    "tokenizer.ggml.model": "no_vocab",
}


def in_ggufs_order(name, w):
    """Rows of q and k as llama.cpp has them: row 2i of a head is its row i, row 2i + 1 its row i + half."""
    kind = name.split(".")[-2]
    if kind not in HEADS:
        return w
    head = w.shape[0] // HEADS[kind]
    order = [h * head + (r // 2) + (r % 2) * (head // 2) for h in range(HEADS[kind]) for r in range(head)]
    return w[order]


def write_template(model, path, keys=KEYS, leave=()):
    """The model in F32, in GGUF's names and order, written without the code under test."""
    names = gguf_names([n for n, _ in model.named_parameters()], "llama")
    tensors = []
    for name, p in model.named_parameters():
        if name not in leave:
            w = in_ggufs_order(name, p.detach()).contiguous()
            tensors.append((names[name][0], tuple(w.shape), w.numpy().tobytes()))
    tensors.append(("rope_freqs.weight", (16,), torch.ones(16).numpy().tobytes()))
    path.write_bytes(file_bytes(keys, tensors))
    return names


@pytest.fixture
def model():
    return tiny.load(TINY / "model.safetensors")


def train_a_step(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    ids = torch.randint(0, 128, (2, 32), generator=torch.Generator().manual_seed(0))
    torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.roll(-1).flatten()).backward()
    optimizer.step()


@pytest.mark.parametrize(
    "formats", ["q4_0", {"mlp|lm_head": "q4_K", "self_attn": "q5_1"}, {"^(?!model.embed)": "q8_0"}]
)
def test_blocks_are_trainings(model, tmp_path, formats):
    names = write_template(model, tmp_path / "template.gguf")
    if isinstance(formats, dict) and list(formats) == ["^(?!model.embed)"]:
        formats = {r"(proj|lm_head)\.weight$": "q8_0"}
    done = qt.prepare(model, formats)
    train_a_step(model)
    made = qt.export_gguf(model, tmp_path / "out.gguf", tmp_path / "template.gguf")
    assert made.verified == len(done.formats) and made.copied == ["rope_freqs.weight"]
    with Model(tmp_path / "out.gguf") as out:
        found = {t.name: t for t in out.tensors}
        assert out.text("general.name") == "tiny" and out.number("general.file_type") is not None
        for name, p in model.named_parameters():
            t, w = found[names[name][0]], in_ggufs_order(name, p.detach()).contiguous()
            if name in done.formats:
                assert t.type.lower() == done.formats[name].lower()
                assert t.data() == qdq.quantize(w, done.formats[name]).numpy().tobytes()
            else:
                assert t.type.lower() == "f32" and t.data() == w.numpy().tobytes()


@needs_command
def test_bytes_are_the_commands(model, tmp_path):
    """`qdq quantize` of the trained float32 weights gives the same data, tensor by tensor."""
    write_template(model, tmp_path / "template.gguf")
    qt.prepare(model, "q4_0")
    train_a_step(model)
    qt.export_gguf(model, tmp_path / "out.gguf", tmp_path / "template.gguf")
    write_template(model, tmp_path / "trained.gguf")
    _command.run("quantize", "-f", "q4_0", tmp_path / "trained.gguf", "-o", tmp_path / "command.gguf")
    with Model(tmp_path / "out.gguf") as ours, Model(tmp_path / "command.gguf") as theirs:
        assert ours.number("general.file_type") == theirs.number("general.file_type") == 2
        expected = {t.name: (t.type, t.data()) for t in theirs.tensors}
        assert {t.name: (t.type, t.data()) for t in ours.tensors} == expected


def test_importance_is_used(model, tmp_path):
    write_template(model, tmp_path / "template.gguf")
    m = torch.rand(256, generator=torch.Generator().manual_seed(1)) + 0.1
    qt.prepare(model, {"lm_head": "iq2_s"}, importance={"lm_head.weight": m})
    assert qt.export_gguf(model, tmp_path / "out.gguf", tmp_path / "template.gguf").verified == 1
    with Model(tmp_path / "out.gguf") as out:
        data = next(t for t in out.tensors if t.name == "output.weight").data()
    assert data == qdq.quantize(model.lm_head.weight.detach(), "iq2_s", importance=m).numpy().tobytes()


def refused(model, tmp_path, exception, text, **options):
    with pytest.raises(exception, match=text):
        qt.export_gguf(model, tmp_path / "out.gguf", tmp_path / "template.gguf", **options)
    assert not (tmp_path / "out.gguf").exists()
    assert not [f for f in os.listdir(tmp_path) if f.startswith(".")]


def test_refusals(model, tmp_path):
    write_template(model, tmp_path / "template.gguf")
    refused(model, tmp_path, ValueError, "not prepared")
    qt.prepare(model, "q4_0")
    before = (tmp_path / "template.gguf").read_bytes()
    with pytest.raises(ValueError):
        qt.export_gguf(model, tmp_path / "template.gguf", tmp_path / "template.gguf")
    assert (tmp_path / "template.gguf").read_bytes() == before
    refused(model, tmp_path, ValueError, "no tensor for it", names={"lm_head.weight": "output.weight"})
    write_template(model, tmp_path / "template.gguf", leave=("model.layers.1.mlp.up_proj.weight",))
    refused(model, tmp_path, ValueError, "model.layers.1.mlp.up_proj.weight is quantized")
    write_template(model, tmp_path / "template.gguf", {**KEYS, "general.architecture": "mamba"})
    refused(model, tmp_path, NotImplementedError, "mamba")
    (tmp_path / "template.gguf").write_bytes(b"GGUF")
    refused(model, tmp_path, qdq.BadData, "template.gguf")
    (tmp_path / "template.gguf").unlink()
    refused(model, tmp_path, OSError, "template.gguf")
    (tmp_path / "template.gguf").write_bytes((TINY / "model.safetensors").read_bytes())
    refused(model, tmp_path, ValueError, "not a GGUF")


def test_other_shapes_are_refused(model, tmp_path):
    write_template(model, tmp_path / "template.gguf")
    model.lm_head.weight = torch.nn.Parameter(torch.zeros(64, 256))
    qt.prepare(model, {"lm_head": "q4_0"})
    refused(model, tmp_path, ValueError, r"output.weight is \(128, 256\) in the template, \(64, 256\)")


def test_rounded_masters_are_refused_unless_allowed(model, tmp_path):
    write_template(model, tmp_path / "template.gguf")
    model = model.bfloat16()
    qt.prepare(model, "q4_0")
    refused(model, tmp_path, ValueError, "bfloat16.*allow_rounding")
    made = qt.export_gguf(model, tmp_path / "out.gguf", tmp_path / "template.gguf", allow_rounding=True)
    assert made.verified == 16


def test_an_interrupt_leaves_no_file(model, tmp_path, monkeypatch):
    write_template(model, tmp_path / "template.gguf")
    qt.prepare(model, "q4_0")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(qt._export, "_data", interrupt)
    refused(model, tmp_path, KeyboardInterrupt, "^$")


def test_experts_of_both_layouts(tmp_path):
    """Experts one by one, as files have them, and as the stacks of transformers 5: the same tensors."""
    torch.manual_seed(0)
    gate, up, down = torch.randn(3, 64, 32), torch.randn(3, 64, 32), torch.randn(3, 32, 64)
    keys = {"general.architecture": "qwen3moe"}
    tensors = [
        (f"blk.0.ffn_{k}_exps.weight", tuple(w.shape), w.numpy().tobytes())
        for k, w in (("gate", gate), ("up", up), ("down", down))
    ]
    (tmp_path / "template.gguf").write_bytes(file_bytes(keys, tensors))

    def holder(**named):
        m = torch.nn.Module()
        for path, value in named.items():
            at = m
            *parents, last = path.split("__")
            for part in parents:
                if part not in at._modules:
                    at.add_module(part, torch.nn.Module())
                at = at._modules[part]
            if value.dim() == 3:
                at.register_parameter(last, torch.nn.Parameter(value))
            else:
                layer = torch.nn.Linear(value.shape[1], value.shape[0], bias=False)
                layer.weight = torch.nn.Parameter(value)
                at.add_module(last, layer)
        return m

    stacked = holder(
        model__layers__0__mlp__experts__gate_up_proj=torch.cat([gate, up], dim=1),
        model__layers__0__mlp__experts__down_proj=down,
    )
    single = holder(
        **{
            f"model__layers__0__mlp__experts__{e}__{k}_proj": w[e]
            for e in range(3)
            for k, w in (("gate", gate), ("up", up), ("down", down))
        }
    )
    contents = []
    for m in (stacked, single):
        qt.prepare(m, "q4_0")
        assert qt.export_gguf(m, tmp_path / "out.gguf", tmp_path / "template.gguf").verified == 3
        contents.append((tmp_path / "out.gguf").read_bytes())
        with Model(tmp_path / "out.gguf") as out:
            data = {t.name: t.data() for t in out.tensors}
        assert data["blk.0.ffn_up_exps.weight"] == qdq.quantize(up, "q4_0").numpy().tobytes()
    assert contents[0] == contents[1]


def test_norms_of_gemma(tmp_path):
    torch.manual_seed(0)
    m = torch.nn.Module()
    m.model = torch.nn.Module()
    m.model.embed_tokens = torch.nn.Embedding(8, 32)
    m.model.norm = torch.nn.RMSNorm(32)
    m.model.norm.weight.data.normal_()
    tensors = [("token_embd.weight", (8, 32), bytes(1024)), ("output_norm.weight", (32,), bytes(128))]
    (tmp_path / "template.gguf").write_bytes(file_bytes({"general.architecture": "gemma3"}, tensors))
    qt.prepare(m, "q8_0")
    qt.export_gguf(m, tmp_path / "out.gguf", tmp_path / "template.gguf")
    with Model(tmp_path / "out.gguf") as out:
        data = {t.name: t.data() for t in out.tensors}
    assert data["output_norm.weight"] == (m.model.norm.weight + 1).detach().numpy().tobytes()


def test_llama_cpp_computes_with_what_was_trained(model, tmp_path):
    """In a process of its own: what it prints, and what it may end, is its own affair."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    write_template(model, tmp_path / "template.gguf", leave=("rope_freqs.weight",))
    before = qt.prepare(model, {"self_attn": "q8_0", "mlp|lm_head|embed": "q4_0"})
    train_a_step(model)
    qt.export_gguf(model, tmp_path / "out.gguf", tmp_path / "template.gguf")
    ids = [int(b) for b in b"The weights of a model, and what is left of them when they are packed."]
    code = (
        "import sys, json, llama_cpp; m = llama_cpp.Llama(sys.argv[1], n_ctx=128, logits_all=True, verbose=False); "
        "m.eval(json.loads(sys.argv[2])); json.dump(m.scores[: m.n_tokens].tolist(), open(sys.argv[3], 'w'))"
    )
    arguments = [tmp_path / "out.gguf", json.dumps(ids), tmp_path / "logits.json"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    got = torch.tensor(json.loads((tmp_path / "logits.json").read_text())).log_softmax(-1)
    assert len(before.formats) == 16 and got.shape == (len(ids), 128)

    def kl(expected):
        expected = expected.log_softmax(-1)
        return float((expected.exp() * (expected - got)).sum(-1).mean())

    with torch.no_grad():
        trained = kl(model(torch.tensor([ids]))[0])
        with qt.enabled(model, False):
            unquantized = kl(model(torch.tensor([ids]))[0])
    # It rounds activations to eight bits, so its numbers are near ours, and nearer than those of other weights.
    assert trained < 0.005 and trained < unquantized / 4, (trained, unquantized)
