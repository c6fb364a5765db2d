"""Plans through the command, and from a model's directory to a plan in one call."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qdq
from conftest import needs_command

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny"
MODEL = TINY / "model.safetensors"


pytestmark = [
    needs_command,
    pytest.mark.skipif(not MODEL.exists(), reason="examples/tiny is not beside these tests"),
]


@pytest.fixture
def folder(tmp_path):
    """Hugging Face's, with nothing but the model."""
    to = tmp_path / "model"
    to.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(TINY / name, to)
    return to


def test_a_plan_and_what_it_says(tmp_path):
    made = qdq.plan(MODEL, "5bpw", tmp_path / "plan.json", options=("--same", "qkv"))
    assert made.bits <= 5 and made.bytes <= made.content["budget"]
    assert qdq.Plan.load(tmp_path / "plan.json").content == made.content
    f, reason = made.format_of("model.layers.0.self_attn.q_proj.weight")
    assert f == made.format_of("blk.0.attn_q.weight")[0] and reason == ""
    assert made.format_of("model.norm.weight")[0] is None
    assert made.format_of("nowhere") == (None, "the plan does not have it")
    assert len(made.rows()) == len(made.planned) == 16
    assert sum(row[4] for row in made.rows()) == pytest.approx(made.damage)
    assert f"{made.bytes:,} bytes" in repr(made)
    names = [name for name, _, _ in made.uniform()]
    assert "q4_0" in names and "q4_K" not in names  # o_proj's rows are 128


def test_report_and_notebook():
    made = qdq.plan(MODEL, "5bpw")
    page = made.report()
    assert page.startswith("<!") and "attn" in page
    assert made._repr_html_().startswith("<iframe srcdoc=")


def test_plot(tmp_path):
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("Agg")
    qdq.plan(MODEL, "5bpw").plot().savefig(tmp_path / "plan.png")
    assert (tmp_path / "plan.png").stat().st_size > 10_000


def test_refusals(tmp_path):
    with pytest.raises(qdq.Error, match="smallest|least|can"):
        qdq.plan(MODEL, "0.5bpw")
    with pytest.raises(ValueError, match="a text"):
        qdq.plan(MODEL, 4.5)
    with pytest.raises(qdq.InvalidArgument, match="not 'soon'"):
        qdq.plan(MODEL, "soon")
    with pytest.raises(qdq.InvalidArgument, match="'--soon'|--soon$"):  # and nothing of how to get help
        qdq.plan(MODEL, "5bpw", options=("--soon",))
    with pytest.raises(qdq.Error, match="nowhere"):
        qdq.plan(tmp_path / "nowhere", "4.5bpw")
    with pytest.raises(OSError):
        qdq.Plan.load(tmp_path / "nowhere")
    (tmp_path / "no.json").write_text('{"schema": "other"}')
    with pytest.raises(qdq.BadData, match="no plan"):
        qdq.Plan.load(tmp_path / "no.json")


def test_module_runs_the_command():
    done = subprocess.run([sys.executable, "-m", "qdq", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split()[1] == qdq.__version__
    done = subprocess.run([sys.executable, "-m", "qdq", "nothing"], capture_output=True, text=True)
    assert done.returncode != 0


def test_optimize_refuses_at_once(folder, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    made = tmp_path / "made"
    with pytest.raises(qdq.InvalidArgument, match="not 'soon'"):
        qdq.optimize(folder, "soon", made)
    with pytest.raises(OSError, match="no such folder; download"):
        qdq.optimize(tmp_path / "hub-name", "4.5bpw", made)
    with pytest.raises(OSError, match="text.txt: no such file"):
        qdq.optimize(folder, "4.5bpw", made, text=tmp_path / "text.txt")
    assert not made.exists()


def test_what_torch_is_needed_for_says_so():
    code = "import sys; sys.modules['torch'] = None\nimport qdq\nqdq.optimize('model', '4.5bpw', 'out')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "qdq.torch needs PyTorch: pip install torch" in done.stderr


def test_optimize_from_a_directory(folder, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    import qdq.torch as qt

    batches = [torch.randint(32, 128, (6, 64), generator=torch.Generator().manual_seed(0))]
    made = qdq.optimize(folder, "4.5bpw", tmp_path / "made", batches=batches, samples=6, progress=False)
    assert made.plan.content["score"] == "squared" and made.plan.bits <= 4.5
    for name in ("plan.json", "report.html", "rms.safetensors", "imatrix.gguf", "types.txt"):
        assert (tmp_path / "made" / name).stat().st_size > 0
    assert made.notes == [] and made.gguf is None
    assert "token_embd" in made.recipe.read_text()
    assert "plan.json" in str(made) and made._repr_html_()
    model = __import__("transformers").AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    done = qt.prepare(model, made.plan, importance=qt.imatrix(model, batches, progress=False))
    assert len(done.formats) == len([t for t in made.plan.planned if t["format"] != "source"])


def test_optimize_by_the_models_own_samples(folder, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "qdq", "optimize", folder, "--target", "5bpw", "-o", tmp_path / "made", "--samples", "3"]
        + ["--length", "16", "--no-importance", "--same", "qkv"],
        capture_output=True,
        text=True,
        env=dict(os.environ, HF_HUB_OFFLINE="1"),
    )
    assert done.returncode == 0, done.stderr
    plan = json.loads((tmp_path / "made" / "plan.json").read_text())
    assert plan["score"] == "squared" and plan["imatrix"] is None
    assert str(tmp_path / "made" / "report.html") in done.stdout


@pytest.fixture
def scored(folder):
    """The model, and the arguments of its sensitivities."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return loaded, [torch.randint(32, 128, (6, 64), generator=torch.Generator().manual_seed(0))]


def choices(made):
    return {t["name"]: t["format"] for t in made.tensors}


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_stand_for_gradients(folder, scored, tmp_path, weighted):
    import qdq.torch as qt

    loaded, batches = scored
    matrix, file = None, None
    if weighted:
        file = tmp_path / "imatrix.gguf"
        matrix = qt.imatrix(loaded, batches, file, progress=False)
    qt.rms_gradients(loaded, batches, tmp_path / "rms.safetensors", progress=False)
    expected = qdq.plan(folder, "4.5bpw", gradients=tmp_path / "rms.safetensors", imatrix=file)
    assert expected.content["score"] == "squared"
    for store, near in (("squares", 1e-6), ("none", 1e-5), ("groups", 0.3 if weighted else 0.1)):
        scores = qt.sensitivity(loaded, batches, "all", store=store, importance=matrix, progress=False)
        assert scores.tokens == 64
        path = tmp_path / f"{store}.json"
        assert scores.to_scores(path, folder, imatrix=file) == 16
        before = path.read_bytes()
        made = qdq.plan(folder, "4.5bpw", scores=path, imatrix=file)
        assert made.content["score"] == "squared" and path.read_bytes() == before
        assert made.damage == pytest.approx(expected.damage, rel=near)
        if store != "groups":
            assert choices(made) == choices(expected)
        # What says how many tokens a sample had foretells the KL divergence, as gradients do.
        assert made.content.get("tokens_per_sample") == expected.content.get("tokens_per_sample")
    with pytest.raises(qdq.Error, match="importance matrix has changed"):
        qdq.plan(folder, "4.5bpw", scores=path, imatrix=None if weighted else write_matrix(loaded, batches, tmp_path))
    with pytest.raises(ValueError, match="importance"):
        scores.to_scores(path, folder, imatrix=None if weighted else path)


def write_matrix(loaded, batches, folder):
    import qdq.torch as qt

    qt.imatrix(loaded, batches, folder / "other.gguf", progress=False)
    return folder / "other.gguf"


def test_scores_that_do_not_serve(folder, scored, tmp_path):
    import qdq.torch as qt

    loaded, batches = scored
    path = tmp_path / "scores.json"
    few = qt.sensitivity(loaded, batches, ["q4_0", "q8_0"], progress=False)
    few.to_scores(path, folder)
    assert set(choices(qdq.plan(folder, "5bpw", scores=path, options=("--formats", "q4_0,q8_0"))).values()) <= {
        "q4_0",
        "q8_0",
        "source",
    }
    with pytest.raises(qdq.Error, match="has no sensitivity of .* in .*, and no gradients are given"):
        qdq.plan(folder, "5bpw", scores=path)
    with pytest.raises(qdq.Error, match="has no sensitivity"):
        qdq.plan(folder, "5bpw", scores=path, options=("--score", "squared"))
    # Of weights alone it can be used as any file of scores.
    assert qdq.plan(folder, "5bpw", scores=path, options=("--score", "relative")).content["score"] == "relative"
    with pytest.raises(qdq.Error, match="none that were measured elsewhere"):
        other = tmp_path / "relative.json"
        qdq.plan(folder, "5bpw", scores=other, options=("--score", "relative"))
        qdq.plan(folder, "5bpw", scores=other, options=("--score", "squared"))
    with pytest.raises(ValueError, match="none of the scored tensors"):
        few.to_scores(path, folder, names={n: "x" for n in few.tensors})
    with pytest.raises(OSError):
        few.to_scores(path, tmp_path / "nowhere")
    low = qt.sensitivity(loaded, batches, "q4_0", at="low", max_samples=1, progress=False)
    with pytest.raises(ValueError, match="at the source|at=.source"):
        low.to_scores(path, folder)
    os.utime(folder / "model.safetensors", (1, 1))
    with pytest.raises(qdq.Error, match="weights' files have changed"):
        qdq.plan(folder, "5bpw", scores=path, options=("--formats", "q4_0,q8_0"))
