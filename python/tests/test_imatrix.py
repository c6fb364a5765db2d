"""Importance in process: plain sums, experts, and the file as qdq and gguf read it."""

import subprocess

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import qdq.torch as qt  # noqa: E402
from qdq import _command  # noqa: E402

torch.set_num_threads(1)
try:
    COMMAND = _command.path()
except OSError:
    COMMAND = None


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Parameter(torch.randn(3, 64, 32) * 0.1)

    def forward(self, x):
        out = torch.zeros(*x.shape[:-1], 64)
        for e in range(2):  # the third gets nothing
            mine = (x[..., 0] > 0) == bool(e)
            out[mine] = F.linear(x[mine], self.up[e])
        return out


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(40, 32)
        self.q, self.k = nn.Linear(32, 32), nn.Linear(32, 32, bias=False)
        self.experts = Experts()
        self.down = nn.Linear(64, 32)
        self.lm_head = nn.Linear(32, 40, bias=False)
        self.lm_head.weight = self.embed.weight

    def forward(self, input_ids):
        x = self.embed(input_ids)
        return self.lm_head(self.down(self.experts(self.q(x) * self.k(x))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


IDS = torch.randint(0, 40, (5, 16), generator=torch.Generator().manual_seed(1))


def test_sums_are_the_plain_ones(model):
    m = qt.imatrix(model, [IDS[:2], IDS[2:]], progress=False)
    assert set(m) == {"q.weight", "k.weight", "experts.up", "down.weight"}
    x = model.embed(IDS).detach().double().flatten(0, 1)
    torch.testing.assert_close(m.sums["q.weight"][0], x.square().sum(0))
    assert torch.equal(m.sums["q.weight"], m.sums["k.weight"]) and m.counts["q.weight"].tolist() == [80]
    torch.testing.assert_close(m["q.weight"], x.square().mean(0).float())
    h = (model.q(model.embed(IDS)) * model.k(model.embed(IDS))).detach().flatten(0, 1)
    for e in range(2):
        mine = h[(h[:, 0] > 0) == bool(e)].double()
        torch.testing.assert_close(m.sums["experts.up"][e], mine.square().sum(0), rtol=1e-5, atol=1e-9)
        assert m.counts["experts.up"][e] == len(mine)
    assert m.counts["experts.up"][2] == 0 and (m["experts.up"][2] == 1).all()
    assert m.chunks == 5 and m.chunk_size == 16


def test_padding_does_not_count(model):
    mask = torch.ones_like(IDS)
    mask[:, 9:] = 0
    padded = qt.imatrix(model, [{"input_ids": IDS, "attention_mask": mask}], progress=False)
    short = qt.imatrix(model, [IDS[:, :9]], progress=False)
    for name in short:
        torch.testing.assert_close(padded.sums[name], short.sums[name])
        assert torch.equal(padded.counts[name], short.counts[name])


def test_head_on_request_and_what_is_refused(model):
    assert "embed.weight" in qt.imatrix(model, [IDS], output=True, progress=False)
    with pytest.raises(ValueError, match="no sample"):
        qt.imatrix(model, [], progress=False)
    with pytest.raises(ValueError, match="nothing was counted"):
        qt.Importance().save("nowhere")


def test_an_interrupt_leaves_the_model_as_it_was(model):
    model.train()
    qt.prepare(model, {"q": "q4_0"})

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qt.imatrix(model, [IDS], progress=interrupt)
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert model.q._qdq["weight"].enabled
    plain = qt.imatrix(model, [IDS], progress=False)
    qt.release(model)
    assert torch.equal(plain.sums["down.weight"], qt.imatrix(model, [IDS], progress=False).sums["down.weight"])


def test_importance_serves_prepare_and_sensitivity(model):
    m = qt.imatrix(model, [IDS], progress=False)
    scores = qt.sensitivity(model, [IDS], "q4_0", importance={"q.weight": m["q.weight"]}, progress=False)
    plain = qt.sensitivity(model, [IDS], "q4_0", progress=False)
    assert scores.tensors["q.weight"] != plain.tensors["q.weight"]
    assert scores.tensors["k.weight"] == plain.tensors["k.weight"]
    qt.prepare(model, {"^(q|k|down)": "q4_0"}, importance=m)


def test_the_file_as_gguf_reads_it(model, tmp_path):
    gguf = pytest.importorskip("gguf", reason="gguf is not installed")
    path = tmp_path / "imatrix.gguf"
    names = {"q.weight": "blk.0.attn_q.weight", "experts.up": "blk.0.ffn_up_exps.weight"}
    m = qt.imatrix(model, [IDS], path, names=names, dataset="made up", progress=False)
    reader = gguf.GGUFReader(path)
    tensors = {t.name: t for t in reader.tensors}
    assert set(tensors) == {
        f"{n}.{s}"
        for n in ("blk.0.attn_q.weight", "blk.0.ffn_up_exps.weight", "k.weight", "down.weight")
        for s in ("in_sum2", "counts")
    }
    up = tensors["blk.0.ffn_up_exps.weight.in_sum2"]
    assert list(up.shape) == [32, 3]
    assert (torch.tensor(up.data) == m.sums["experts.up"].float()).all()
    assert list(tensors["blk.0.ffn_up_exps.weight.counts"].shape) == [1, 3]
    assert reader.get_field("general.type").contents() == "imatrix"
    assert reader.get_field("imatrix.datasets").contents() == ["made up"]
    assert reader.get_field("imatrix.chunk_count").contents() == 5


@pytest.mark.skipif(COMMAND is None, reason="the command qdq is not there")
def test_the_file_as_qdq_reads_it(model, tmp_path):
    """The blocks that the command makes with the file are those that the library makes with the weights."""
    import qdq
    from qdq.torch._sensitivity import safetensors_bytes

    m = qt.imatrix(model, [IDS], tmp_path / "imatrix.gguf", progress=False)
    names = ["q.weight", "k.weight", "down.weight"]
    (tmp_path / "model.safetensors").write_bytes(
        safetensors_bytes({n: model.get_parameter(n) for n in names}, {"format": "pt"})
    )
    out = tmp_path / "low.safetensors"
    subprocess.run(
        [
            COMMAND,
            "roundtrip",
            "-f",
            "q4_0",
            "--imatrix",
            tmp_path / "imatrix.gguf",
            tmp_path / "model.safetensors",
            "-o",
            out,
        ],
        check=True,
        capture_output=True,
    )
    load = pytest.importorskip("safetensors.torch", reason="safetensors is not installed").load_file
    for n, low in load(out).items():
        w = model.get_parameter(n).detach()
        assert torch.equal(low, qdq.roundtrip(w, "q4_0", importance=m[n]))
        assert not torch.equal(low, qdq.roundtrip(w, "q4_0"))
