"""Plans: which tensor gets which format, as `qdq plan` makes them."""

from __future__ import annotations

import html
import json
import re
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from . import _command, _formats
from ._errors import BadData, InvalidArgument
from ._library import check, lib
from ._results import PathLike, table_html, write_whole

_SCHEMA = "qdq.plan/1"


class Plan:
    """A plan's file, `qdq.plan/1`: see docs/planner.md."""

    def __init__(self, content: Dict[str, Any]):
        if content.get("schema") != _SCHEMA or not isinstance(content.get("tensors"), list):
            raise BadData(f'no plan: its "schema" is not "{_SCHEMA}"')
        self.content = content
        self._by_name: Dict[str, Dict[str, Any]] = {}
        for t in content["tensors"]:
            for name in filter(None, (t.get("gguf"), t["name"])):
                self._by_name[name] = t

    @classmethod
    def load(cls, path: PathLike) -> "Plan":
        """OSError: it cannot be read; qdq.BadData: it is no plan."""
        text = Path(path).read_text(encoding="utf-8")
        try:
            return cls(json.loads(text))
        except (ValueError, KeyError, AttributeError) as error:
            raise BadData(f"{path}: {error}") from error

    def save(self, path: PathLike) -> None:
        write_whole(path, (json.dumps(self.content, indent=1, ensure_ascii=False) + "\n").encode())

    @property
    def tensors(self) -> List[Dict[str, Any]]:
        """All of the model's, as the file has them."""
        return self.content["tensors"]

    @property
    def planned(self) -> List[Dict[str, Any]]:
        """Those that the plan had a choice for."""
        return [t for t in self.tensors if t["reason"] is None]

    @property
    def bytes(self) -> int:
        """Of the file."""
        return self.content["bytes"]

    @property
    def damage(self) -> float:
        return self.content["damage"]

    @property
    def bits(self) -> float:
        """Bits a weight, over all tensors."""
        return 8 * (self.bytes - self.content["overhead"]) / self.content["elements"]

    def format_of(self, name: str) -> Tuple[Optional[str], str]:
        """The format of a tensor, by either of its names; or None, and why it stays as it is."""
        t = self._by_name.get(name)
        if t is None:
            return None, "the plan does not have it"
        if t["format"] == "source":
            return None, t["reason"] or "the plan leaves it as it is"
        return _formats.find(t["format"]).name, ""

    COLUMNS = ("tensor", "elements", "format", "bits", "damage")

    def rows(self) -> List[Tuple[Any, ...]]:
        """One a planned tensor, as COLUMNS has them."""
        found = []
        for t in self.planned:
            elements = _count(t["shape"])
            damage = next(c["damage"] for c in t["choices"] if c["format"] == t["format"])
            found.append((t["name"], elements, t["format"], 8 * t["bytes"] / elements, damage))
        return found

    def to_pandas(self) -> Any:
        import pandas

        return pandas.DataFrame(self.rows(), columns=list(self.COLUMNS))

    def to_polars(self) -> Any:
        import polars

        return polars.DataFrame(self.rows(), schema=list(self.COLUMNS), orient="row")

    def report(self, path: Optional[PathLike] = None) -> str:
        """The report, one page of HTML that loads nothing; path: also write it there."""
        with tempfile.TemporaryDirectory() as folder:
            plan, page = Path(folder) / "plan.json", Path(folder) / "report.html"
            self.save(plan)
            _command.run("report", plan, "-o", page)
            content = page.read_bytes()
        if path is not None:
            write_whole(path, content)
        return content.decode("utf-8")

    def uniform(self) -> List[Tuple[str, float, float]]:
        """Of each format that every planned tensor could have: its name, bits a weight of these, their damage."""
        planned = self.planned
        found: List[Tuple[str, float, float]] = []
        total = sum(_count(t["shape"]) for t in planned)
        for f in _formats.formats():
            choices = [c for t in planned for c in t["choices"] if c["format"] == f.name]
            if planned and len(choices) == len(planned):
                bits = 8 * sum(c["bytes"] for c in choices) / total
                found.append((f.name, bits, float(sum(c["damage"] for c in choices))))
        return found

    def plot(self, figure: Any = None) -> Any:
        """Damage against size, beside what every format would cost by itself, and a map of bits by layer and kind of
        tensor; a figure of matplotlib, which must be installed."""
        import matplotlib.pyplot as plt

        if figure is None:
            figure = plt.figure(figsize=(11, 4.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        for name, bits, damage in self.uniform():
            left.plot(bits, damage, ".", color="0.5")
            left.annotate(name, (bits, damage), fontsize=7, xytext=(3, 3), textcoords="offset points")
        total = sum(_count(t["shape"]) for t in self.planned)
        left.plot(8 * sum(t["bytes"] for t in self.planned) / total, self.damage, "o", color="C1", label="the plan")
        left.set(xlabel="bits a weight", ylabel=f"damage ({self.content['score']})")
        if self.damage > 0:
            left.set_yscale("log")
        left.legend()
        layers, kinds, values = self._map()
        if layers:
            shown = right.imshow(values, aspect="auto", cmap="viridis")
            right.set_xticks(range(len(kinds)), kinds, rotation=60, ha="right", fontsize=8)
            right.set_yticks(range(len(layers)), layers, fontsize=8)
            right.set(title="bits a weight", ylabel="layer")
            figure.colorbar(shown, ax=right)
        else:
            right.set_axis_off()
        return figure

    def _map(self) -> Tuple[List[int], List[str], List[List[float]]]:
        """Bits of each kind of tensor in each layer, by GGUF's names; NaN where there is none."""
        cells: Dict[Tuple[int, str], float] = {}
        for t in self.planned:
            m = re.fullmatch(r"blk\.(\d+)\.(.+)\.weight", t.get("gguf") or t["name"])
            if m:
                cells[int(m[1]), m[2]] = 8 * t["bytes"] / _count(t["shape"])
        layers = sorted({layer for layer, _ in cells})
        kinds = sorted({kind for _, kind in cells})
        return layers, kinds, [[cells.get((n, k), float("nan")) for k in kinds] for n in layers]

    def __repr__(self) -> str:
        return (
            f"<qdq.Plan of {self.content['model']}: {self.bytes:,} bytes, {self.bits:.4g} bits a weight, "
            f"{len(self.planned)} tensors planned, damage {self.damage:.4g} ({self.content['score']})>"
        )

    def _repr_html_(self) -> str:
        try:
            page = html.escape(self.report(), quote=True)
        except Exception:  # no command: the table will do
            return table_html(self.COLUMNS, self.rows(), repr(self).strip("<>"))
        return f'<iframe srcdoc="{page}" style="width:100%;height:640px;border:0"></iframe>'


def _count(shape: List[int]) -> int:
    n = 1
    for extent in shape:
        n *= extent
    return n


def check_target(target: str) -> None:
    """qdq.InvalidArgument: it is no size, with those that there are."""
    if not isinstance(target, str):
        raise InvalidArgument('target is a text: "4.5bpw", "6.2GiB" or "30%"')
    check(lib.qdq_check_target(target.encode()))


def plan(
    model: PathLike,
    target: str,
    path: Optional[PathLike] = None,
    *,
    gradients: Optional[PathLike] = None,
    imatrix: Optional[PathLike] = None,
    scores: Optional[PathLike] = None,
    recipe: Optional[PathLike] = None,
    options: Tuple[str, ...] = (),
) -> Plan:
    """`qdq plan`: the least damage within a size.

    model: safetensors, a folder of them, or GGUF. target: "4.5bpw", "6.2GiB", "30%". path: where the plan's file goes.
    gradients, imatrix, scores, recipe: files, see `qdq plan --help`; scores by qdq.torch.sensitivity(...).to_scores()
    stand for gradients. options: more words of the command's.
    qdq.Error, in the command's words: a size that cannot be met, files that do not fit.
    """
    check_target(target)
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "plan.json" if path is None else Path(path)
        words: List[Any] = ["plan", "--target", target, model, "-o", to, "--quiet", *options]
        for flag, value in (
            ("--grad", gradients),
            ("--imatrix", imatrix),
            ("--scores", scores),
            ("--recipe", recipe),
        ):
            words += [flag, value] if value is not None else []
        _command.run(*words)
        return Plan.load(to)
