"""Plans that are measured: never worse than they were, within their size, the model as it was."""

import copy
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

import qdq  # noqa: E402
import qdq.torch as qt  # noqa: E402
from conftest import needs_command  # noqa: E402
from qdq.torch import _refine  # noqa: E402

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny"


pytestmark = [
    needs_command,
    pytest.mark.skipif(not TINY.exists(), reason="examples/tiny is not beside these tests"),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(TINY / name, folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    text = (TINY / "README.md").read_bytes()
    batches = [torch.tensor([list(text[k : k + 96]) for k in range(0, 6 * 96, 96)]).clamp(max=127)]
    return model, batches, qdq.plan(folder, "4bpw", options=("--score", "error", "--same", "qkv")), folder


def kl_of(model, plan, batches):
    """The plain way."""
    with torch.no_grad():
        expected = model(batches[0]).logits.log_softmax(-1)
        qt.prepare(model, plan)
        got = model(batches[0]).logits.log_softmax(-1)
        qt.release(model)
    return float((expected.exp() * (expected - got)).sum(-1).mean())


def weights_of(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def test_it_is_measured_and_never_worse(tiny):
    model, batches, plan, _ = tiny
    before = weights_of(model)
    found = qt.refine(model, plan, batches, seconds=600, trials=12, progress=False)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert found.kl_before == pytest.approx(kl_of(model, plan, batches), rel=1e-4)
    assert found.kl == pytest.approx(kl_of(model, found.plan, batches), rel=1e-4)
    assert found.kl < found.kl_before  # a score that knows nothing of what tensors are for leaves something to find
    assert len(found.trials) == 12 and found.left_out == [] and found.samples == 6
    assert all(t.bytes <= plan.content["budget"] for t in found.trials)
    assert [t.kl for t in found.trials if t.better][-1] == found.kl
    # The result is a plan as others are.
    assert found.plan.bytes <= plan.content["budget"]
    assert sum(row[4] for row in found.plan.rows()) == pytest.approx(found.plan.damage)
    assert found.plan.report().startswith("<!")
    for layer in range(2):
        of = {found.plan.format_of(f"model.layers.{layer}.self_attn.{k}_proj.weight") for k in "qkv"}
        assert len(of) == 1
    assert f"{found.kl:.6g}" in str(found)


def test_the_same_comes_out_again(tiny):
    model, batches, plan, _ = tiny
    a, b = (qt.refine(model, plan, batches, seconds=600, trials=5, progress=False) for _ in range(2))
    assert a.trials == b.trials and a.plan.content == b.plan.content


def test_starts_of_others(tiny):
    model, batches, _, folder = tiny
    plan = qdq.plan(folder, "4.6bpw", options=("--score", "error", "--same", "qkv"))
    better = qdq.plan(folder, "4.6bpw", options=("--score", "kinds", "--same", "qkv"))
    mapping = {t["gguf"]: t["format"] for t in better.planned}
    large = {t["name"]: "q8_0" for t in better.planned}
    starts = {"by kinds": better, "mapped": mapping, "too large": large, "of another": {"x": "q4_0"}}
    found = qt.refine(model, plan, batches, seconds=600, trials=3, starts=starts, progress=False)
    tried = [t.what for t in found.trials]
    assert tried[0] == "by kinds" and "too large" not in tried and "of another" not in tried
    assert "mapped" not in tried  # it is the same as the one before
    assert tried[1] == min(held_against(plan), key=lambda b: b["damage"])["name"]


def held_against(plan):
    """What the plan could have been."""
    return [b for b in plan.content["baselines"] if b["bytes"] <= plan.content["budget"]]


@pytest.mark.parametrize("score", ["error", "kinds"])
def test_never_worse_than_what_the_plan_is_held_against(tiny, score):
    model, batches, _, folder = tiny
    plan = qdq.plan(folder, "5bpw", options=("--score", score))
    of_size = [b for b in held_against(plan) if b["bytes"] >= 0.85 * plan.content["budget"]]
    assert len(of_size) > 6 and {"Q4_K_M", "q4_K"} <= {b["name"] for b in of_size}
    found = qt.refine(model, plan, batches, seconds=600, trials=20, progress=False)
    tried = [t.what for t in found.trials]
    assert tried[0] == min(held_against(plan), key=lambda b: b["damage"])["name"]
    for b in of_size:
        content = copy.deepcopy(plan.content)
        for t, f in zip(qdq.Plan(content).planned, b["formats"]):
            t["format"] = f
        assert found.kl <= kl_of(model, qdq.Plan(content), batches) * (1 + 1e-5), b["name"]


def test_by_however_little(tiny, monkeypatch):
    """Others' plans are taken if they are better at all; what is made of the plan only by more than chance."""
    model, batches, plan, _ = tiny
    least = {t["name"]: min(t["choices"], key=lambda c: c["bytes"])["format"] for t in plan.planned}
    plan = qdq.Plan({**plan.content, "baselines": []})
    measured = [[1.0, 3.0], [2.9, 1.0], [1.0, 2.8]]

    def kl(self, best=(), surely=False):
        assert surely == (len(measured) == 2)
        return measured.pop(0)

    monkeypatch.setattr(_refine._Measure, "kl", kl)
    found = qt.refine(model, plan, batches, seconds=600, trials=2, starts={"least": least}, progress=False)
    assert [t.better for t in found.trials] == [True, False] and found.kl == 1.95


def test_measuring_ends_where_it_can():
    class Steps(torch.nn.Module):
        """Each sample's output is the weight, or what it was first."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([0.0, 1.0]))

        def forward(self, sample):
            return (self.weight * sample).expand(1, 3, 2)

    with torch.no_grad():
        model = Steps()
        measure = _refine._Measure(model, [{"sample": torch.tensor(float(k))} for k in (1, 2, 2, 2, 2, 2)])
        model.weight.copy_(torch.tensor([1.0, 0.0]))
        whole = measure.kl()
        assert len(whole) == 6 and min(whole) > 0
        assert measure.kl([whole[0] + whole[1] - 1e-3, 0, 0, 0, 0, 0], surely=True) == whole[:2]
        assert measure.kl([sum(whole) + 1e-3, 0, 0, 0, 0, 0], surely=True) == whole
        assert len(measure.kl([0.0] * 6)) == 4


def test_what_a_token_reads(tiny):
    model, batches, _, folder = tiny
    plan = qdq.plan(folder, "4bpw", options=("--score", "error", "--cost", "token"))
    found = qt.refine(model, plan, batches, seconds=600, trials=20, progress=False)
    assert found.kl < found.kl_before and found.plan.content["token_bytes"] <= plan.content["budget"]
    assert all(t.bytes <= plan.content["budget"] for t in found.trials)
    assert found.plan.report().startswith("<!")  # its sums are right


def test_no_time_measures_the_plan_alone(tiny):
    model, batches, plan, _ = tiny
    found = qt.refine(model, plan, batches, seconds=0, progress=False)
    assert found.plan is plan and found.trials == [] and found.kl == found.kl_before > 0


def test_an_interrupt_leaves_the_model_as_it_was(tiny):
    model, batches, plan, _ = tiny
    before = weights_of(model)

    def interrupt(done, total):
        assert total == 9
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qt.refine(model, plan, batches, seconds=600, trials=9, progress=interrupt)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_refusals(tiny):
    model, batches, plan, _ = tiny
    with pytest.raises(ValueError, match="another model"):
        qt.refine(torch.nn.Sequential(torch.nn.Linear(32, 32)), plan, batches)
    with pytest.raises(ValueError, match="in the plan"):
        other = torch.nn.Module()
        other.x = torch.nn.Parameter(torch.zeros(2, 32))
        qt.refine(other, plan, batches, names={"x": plan.planned[0]["name"]})
    with pytest.raises(ValueError, match="no sample"):
        qt.refine(model, plan, [])
    qt.prepare(model, "q4_0")
    try:
        with pytest.raises(ValueError, match="prepared"):
            qt.refine(model, plan, batches)
    finally:
        qt.release(model)


def choice(name, size, damage):
    return _refine._Choice(name, size, damage)


def test_hulls_and_solutions():
    choices = [choice("a", 4, 8.0), choice("b", 5, 7.5), choice("c", 6, 2.0), choice("d", 8, 1.0), choice("e", 8, 3.0)]
    assert [choices[k].format for k in _refine._hull(choices)] == ["a", "c", "d"]
    assert _refine._hull([choice("a", 4, 1.0)]) == [0]
    assert _refine._hull([choice("a", 4, 1.0), choice("b", 4, 0.5), choice("c", 9, 0.5)]) == [1]
    problem = _refine._Problem.__new__(_refine._Problem)
    problem.items = [_refine._Item((n,), tuple(choices), (n,)) for n in "xy"]
    problem.caution = 1
    for limit, expected in ((8, "aa"), (10, "ca"), (12, "cc"), (16, "dd")):
        problem.limit = limit
        a = problem.solve([1.0, 1.0], (0, 0))
        assert "".join(sorted(choices[k].format for k in a)) == "".join(sorted(expected))
        assert problem.bytes(a) <= limit
    problem.limit = 10
    assert [choices[k].format for k in problem.solve([1.0, 5.0], (0, 0))] == ["a", "c"]
    # With caution it stays where it is until what is saved is so many times what is lost.
    for caution, factors, expected in ((2, (1.0, 1.5), "ca"), (2, (1.0, 2.5), "ac"), (3, (1.0, 2.5), "ca")):
        problem.caution = caution
        assert "".join(choices[k].format for k in problem.solve(factors, (2, 0))) == expected


def test_what_is_uncertain_is_tried_first():
    choices = (choice("small", 4, 8.0), choice("large", 8, 1.0))
    problem = _refine._Problem.__new__(_refine._Problem)
    problem.items = [
        _refine._Item(("x",), choices, ("x",)),
        _refine._Item(("y",), (choice("small", 4, 7.9), choice("large", 8, 1.0)), ("y",)),
        _refine._Item(("z",), (choice("small", 4, 1.5), choice("large", 8, 1.0)), ("z",)),
    ]
    problem.limit = 16
    found = _refine._by_exchange(problem, (1, 0, 0), (1.0, 1.0, 1.0))
    assert found[0].assignment == (0, 1, 0)  # as good as it is, where z would be much worse


def test_optimize_refines_and_writes_it_all(tiny, tmp_path):
    test_export = pytest.importorskip("test_export", reason="tests of exporting cannot run")
    from qdq._model import write_recipe

    _, batches, _, folder = tiny
    template, made = tmp_path / "template.gguf", tmp_path / "made"
    test_export.write_template(test_export.tiny.load(TINY / "model.safetensors"), template, test_export.KEYS)
    arguments = dict(batches=batches, template=template, samples=6, progress=False)
    first = qdq.optimize(folder, "4.6bpw", tmp_path / "plain", **arguments)
    told = first.recipe.read_bytes()
    write_recipe(
        tmp_path / "again.txt", template, tmp_path / "plain" / "imatrix.gguf", tmp_path / "plain" / "plan.json"
    )
    assert (tmp_path / "again.txt").read_bytes() == told
    found = qdq.optimize(folder, "4.6bpw", made, refine=20, **arguments)
    assert found.refined.kl <= found.refined.kl_before and found.plan is found.refined.plan
    presets = {b["name"] for b in found.plan.content["baselines"] if b["preset"]}
    assert presets & {t.what for t in found.refined.trials}
    assert qdq.Plan.load(made / "plan.json").content == found.plan.content
    assert found.gguf.stat().st_size == found.plan.bytes
    assert found.notes == [] and f"{found.refined.kl:.6g}" in str(found)
