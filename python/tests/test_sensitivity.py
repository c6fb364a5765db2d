"""Sensitivities in process: against stored gradients, and a model left as it was."""

import copy
import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import qdq  # noqa: E402
import qdq.torch as qt  # noqa: E402

torch.set_num_threads(1)
VOCABULARY = 48


class Model(nn.Module):
    """A small language model with a tied head, dropout, and a layer whose rows fit no format."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 64)
        self.mix = nn.Linear(64, 64)
        self.odd = nn.Linear(64, 20)
        self.back = nn.Linear(20, 64)
        self.norm = nn.LayerNorm(64)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(64, VOCABULARY, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, input_ids, attention_mask=None):
        x = self.embed(input_ids)
        x = x + self.drop(self.mix(F.silu(x.cumsum(1))))
        return self.head(self.norm(x + self.back(self.odd(x))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


@pytest.fixture
def ids():
    return torch.randint(0, VOCABULARY, (6, 12), generator=torch.Generator().manual_seed(1))


SCORED = ["embed.weight", "mix.weight", "odd.weight"]


def stored_gradients(model, ids, loss):
    """Of each sample, the plain way."""
    model = copy.deepcopy(model).eval()
    found = {n: [] for n in SCORED}
    for k in range(len(ids)):
        model.zero_grad()
        loss(model, ids[k : k + 1]).backward()
        for n in SCORED:
            found[n].append(model.get_parameter(n).grad.clone())
    return found


def fisher_loss(seed):
    generator = torch.Generator().manual_seed(seed)

    def loss(model, ids):
        logits = model(ids)[0]
        drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator)[:, 0]
        return F.cross_entropy(logits, drawn, reduction="sum")

    return loss


@pytest.mark.parametrize("store", ["none", "squares"])
def test_squared_is_that_of_stored_gradients(model, ids, store):
    scores = qt.sensitivity(model, [ids[:4], ids[4:]], ["q4_0", "q8_0"], store=store, seed=3, progress=False)
    assert scores.samples == 6 and list(scores.tensors) == SCORED
    for name, gradients in stored_gradients(model, ids, fisher_loss(3)).items():
        w = model.get_parameter(name).detach()
        rms = torch.stack(gradients).double().square().mean(0).sqrt().float()
        for f in ("q4_0", "q8_0"):
            got = scores.tensors[name][f]
            assert got.squared == pytest.approx(qdq.sensitivity(w, rms, f).squared, rel=1e-6)
            if store == "none":
                mean = torch.stack(gradients).double().mean(0)
                d = qdq.roundtrip(w, f).double() - w.double()
                assert got.signed == pytest.approx((mean * d).sum().item(), rel=1e-4, abs=1e-7)
                each = torch.stack([(g.double() * d).abs().sum() for g in gradients]).mean()
                assert got.absolute == pytest.approx(each.item(), rel=1e-5)


def test_at_low_is_mlx_lms_score(model, ids):
    scores = qt.sensitivity(model, [ids], "q4_0", "q8_0", at="low", progress=False)
    low = copy.deepcopy(model).eval()
    teacher = copy.deepcopy(model).eval()
    with torch.no_grad():
        for name in SCORED:
            p = low.get_parameter(name)
            p.copy_(qdq.roundtrip(p.detach(), "q4_0"))
    total = {n: 0 for n in SCORED}
    for k in range(len(ids)):
        low.zero_grad()
        target = teacher(ids[k : k + 1])[0].log_softmax(-1).detach()
        F.kl_div(low(ids[k : k + 1])[0].log_softmax(-1), target, log_target=True, reduction="batchmean").backward()
        for n in SCORED:
            total[n] = total[n] + low.get_parameter(n).grad.double() / len(ids)
    for n in SCORED:
        w = model.get_parameter(n).detach()
        expected = qdq.sensitivity(w, total[n].float(), "q4_0", "q8_0").signed
        assert scores.tensors[n]["q4_0"].signed == pytest.approx(expected, rel=1e-3, abs=1e-9)
    assert scores.at == "low" and scores.high == "q8_0"


def state_of(model):
    return (
        [(n, p.clone(), p.requires_grad, p.grad) for n, p in model.named_parameters()],
        [(type(m), m.training) for m in model.modules()],
        [len(p._post_accumulate_grad_hooks or ()) for p in model.parameters()],
    )


def same_state(a, b):
    return (
        all(x[0] == y[0] and torch.equal(x[1], y[1]) and x[2] == y[2] and x[3] is y[3] for x, y in zip(a[0], b[0]))
        and a[1:] == b[1:]
    )


@pytest.mark.parametrize("at", ["source", "low"])
def test_an_interrupt_leaves_the_model_as_it_was(model, ids, at):
    model.train()
    model.mix.bias.requires_grad_(False)
    model.mix.weight.grad = torch.ones_like(model.mix.weight)
    before = state_of(model)

    def interrupt(done, total):
        assert total == 6
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qt.sensitivity(model, [ids], "q4_0", at=at, progress=interrupt)
    assert same_state(state_of(model), before)
    qt.sensitivity(model, [ids], "q4_0", at=at, progress=False)
    assert same_state(state_of(model), before)


def test_no_gradient_is_kept_beside_the_one_that_is_scored(model, ids):
    """When a gradient arrives, those of all other parameters have been dropped."""
    alive = []
    original = qt._sensitivity._Scorer.add

    def add(self, name, w, gradient):
        alive.append(sum(p.grad is not None for p in model.parameters()))
        original(self, name, w, gradient)

    qt._sensitivity._Scorer.add = add
    try:
        qt.sensitivity(model, [ids], "q4_0", progress=False)
    finally:
        qt._sensitivity._Scorer.add = original
    assert alive == [0] * (6 * len(SCORED))


def test_samples_masks_and_selection(model, ids):
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    a = qt.sensitivity(model, [batch], "q4_0", max_samples=2, only=lambda n: "mix" in n, progress=False)
    b = qt.sensitivity(model, [ids[:2]], "q4_0", only=lambda n: "mix" in n, progress=False)
    assert a == b and a.samples == 2 and list(a.tensors) == ["mix.weight"]
    batch["attention_mask"][:, 5:] = 0
    masked = qt.sensitivity(model, [batch], "q4_0", max_samples=2, progress=False)
    short = qt.sensitivity(model, [ids[:2, :5]], "q4_0", progress=False)
    for name in SCORED:
        assert masked.tensors[name]["q4_0"].squared == pytest.approx(short.tensors[name]["q4_0"].squared, rel=1e-5)


def test_a_loss_of_ones_own(model, ids):
    scores = qt.sensitivity(model, [ids], "q4_0", loss=lambda m, s: m(**s).square().sum(), progress=False)
    assert scores.tensors["mix.weight"]["q4_0"].squared > 0


@pytest.mark.parametrize(
    "arguments, exception, text",
    [
        (dict(low="q4_9"), ValueError, "no format"),
        (dict(low=[]), ValueError, "no formats"),
        (dict(low="q4_K"), ValueError, "rows fit"),
        (dict(at="high"), ValueError, "at is"),
        (dict(store="blocks"), ValueError, "groups"),
        (dict(at="low", store="squares"), ValueError, "stores nothing"),
        (dict(only=lambda n: False), ValueError, "no parameter"),
    ],
)
def test_refusals(model, ids, arguments, exception, text):
    before = state_of(model)
    with pytest.raises(exception, match=text):
        qt.sensitivity(model, [ids], **arguments)
    assert same_state(state_of(model), before)


def test_other_refusals(model, ids):
    with pytest.raises(ValueError, match="no sample"):
        qt.sensitivity(model, [], "q4_0", progress=False)
    with pytest.raises(TypeError, match="a batch is"):
        qt.sensitivity(model, [[1, 2]], "q4_0", progress=False)
    with pytest.raises(ValueError, match="meta"):
        qt.sensitivity(Model().to("meta"), [ids], "q4_0", progress=False)
    qt.prepare(model, "q4_0")
    with pytest.raises(ValueError, match="prepared"):
        qt.sensitivity(model, [ids], "q4_0")


def test_rms_gradients_and_their_file(model, ids, tmp_path):
    path = tmp_path / "rms.safetensors"
    found = qt.rms_gradients(model, [ids], path, seed=3, progress=False)
    expected = stored_gradients(model, ids, fisher_loss(3))
    for name in SCORED:
        rms = torch.stack(expected[name]).double().square().mean(0).sqrt()
        torch.testing.assert_close(found[name].double(), rms, rtol=1e-6, atol=1e-9)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    assert header["__metadata__"]["reduction"].startswith("root mean square")
    assert float(header["__metadata__"]["tokens_per_sample"]) == ids.shape[1]
    first, last = header["mix.weight"]["data_offsets"]
    assert content[end + first : end + last] == found["mix.weight"].numpy().tobytes()


def test_results(model, ids, tmp_path):
    scores = qt.sensitivity(model, [ids], ["q4_0", "q8_0"], progress=False)
    assert len(scores.rows()) == 6 and "mix.weight" in scores._repr_html_()
    assert qdq.Scores.from_dict(json.loads(json.dumps(scores.to_dict()))) == scores
    ranking = scores.ranking("q4_0")
    assert [v for _, v in ranking] == sorted((v for _, v in ranking), reverse=True)
    scores.to_mlx(tmp_path / "mlx.json", "q4_0")
    mlx = dict(json.loads((tmp_path / "mlx.json").read_text()))
    one = scores.tensors["mix.weight"]["q4_0"]
    assert mlx["mix"] == pytest.approx(1e6 * one.signed / one.count)
    with pytest.raises(ValueError, match="nothing was measured"):
        scores.ranking("q5_0")


def test_frames(model, ids):
    scores = qt.sensitivity(model, [ids], "q4_0", progress=False)
    pandas = pytest.importorskip("pandas")
    assert list(scores.to_pandas().columns) == list(qdq.Scores.COLUMNS)
    polars = pytest.importorskip("polars")
    assert scores.to_polars().shape == (3, 7)
    assert isinstance(scores.to_pandas(), pandas.DataFrame) and isinstance(scores.to_polars(), polars.DataFrame)


def test_groups_are_as_good_as_errors_and_gradients_are_unrelated(model, ids):
    whole = qt.sensitivity(model, [ids], ["q4_0", "q8_0"], store="squares", progress=False)
    found = qt.sensitivity(model, [ids], ["q4_0", "q8_0"], store="groups", progress=False)
    assert found.tensors.keys() == whole.tensors.keys()
    for name, by in found.tensors.items():
        for f, s in by.items():
            assert s.squared == pytest.approx(whole.tensors[name][f].squared, rel=0.3)
    # Where gradients of a group are equal there is nothing to lose.
    loss = lambda m, s: m.mix.weight.sum() * 3 + m.embed.weight.sum()  # noqa: E731
    whole = qt.sensitivity(model, [ids], "q4_0", store="squares", loss=loss, progress=False)
    found = qt.sensitivity(model, [ids], "q4_0", store="groups", loss=loss, progress=False)
    for name in ("mix.weight", "embed.weight"):
        assert found.tensors[name]["q4_0"].squared == pytest.approx(whole.tensors[name]["q4_0"].squared, rel=1e-6)


def test_groups_are_spread_out_a_few_rows_at_a_time(model, ids, monkeypatch):
    from qdq.torch import _sensitivity

    whole = qt.sensitivity(model, [ids], ["q4_0", "q8_0"], store="groups", progress=False)
    monkeypatch.setattr(_sensitivity, "_SPREAD", 64)
    parts = qt.sensitivity(model, [ids], ["q4_0", "q8_0"], store="groups", progress=False)
    for name, by in parts.tensors.items():
        for f, s in by.items():
            assert s.squared == pytest.approx(whole.tensors[name][f].squared, rel=1e-6)
