"""The example notebook, its cells run in order, and what they show."""

import ast
import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")
matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from qdq import _command  # noqa: E402

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny"


def test_cells(monkeypatch, capsys):
    if not TINY.exists():
        pytest.skip("examples/tiny is not beside these tests")
    try:
        _command.path()
    except OSError:
        pytest.skip("the command qdq is not there")
    matplotlib.use("Agg")
    monkeypatch.chdir(TINY)
    space, shown = {}, []
    for cell in json.loads((TINY / "look.ipynb").read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body[-1] if isinstance(tree.body[-1], ast.Expr) else None
        if last is not None:
            tree.body.pop()
        exec(compile(tree, "look.ipynb", "exec"), space)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), "look.ipynb", "eval"), space))
    pages = [s._repr_html_() for s in shown if hasattr(s, "_repr_html_")]
    assert len(pages) == 2 and "<table>" in pages[0] and "<iframe" in pages[1]
    assert "KL 0.0" in capsys.readouterr().out
