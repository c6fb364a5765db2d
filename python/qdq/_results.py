"""Results as tables: in a notebook, as pandas' or polars' frames, as files."""

from __future__ import annotations

import html
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from ._errors import InvalidArgument
from ._operations import Sensitivity

PathLike = Union[str, "os.PathLike[str]"]


def write_whole(path: PathLike, content: bytes) -> None:
    """The file appears complete, or not at all; one that was there is replaced in one step."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent or ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def table_html(columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str) -> str:
    """A table for notebooks; numbers to the right."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f'<td style="text-align:right">{value:.4g}</td>'
        if isinstance(value, int):
            return f'<td style="text-align:right">{value:,}</td>'
        return f'<td style="text-align:left">{html.escape(str(value))}</td>'

    head = "".join(f"<th>{html.escape(c)}</th>" for c in columns)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


@dataclass
class Scores:
    """Sensitivities of a model's weights, by parameter and format; sums are means over the samples."""

    tensors: Dict[str, Dict[str, Sensitivity]] = field(default_factory=dict)
    high: str = "source"
    at: str = "source"
    """Where gradients were taken: at the weights themselves ("source") or with all of them in the low format."""
    samples: int = 0
    tokens: float = 0
    """Of a sample, on average, where the loss was the likelihood of drawn tokens; else 0."""
    weighted: bool = False
    """Formats were fitted with importance."""

    COLUMNS = ("tensor", "low", "high", "elements", "signed", "absolute", "squared")

    def rows(self) -> List[Tuple[Any, ...]]:
        """One a tensor and format, as COLUMNS has them."""
        return [
            (name, s.low, s.high, s.count, s.signed, s.absolute, s.squared)
            for name, by_format in self.tensors.items()
            for s in by_format.values()
        ]

    def to_dict(self) -> Dict[str, Any]:
        return {
            "high": self.high,
            "at": self.at,
            "samples": self.samples,
            "tokens": self.tokens,
            "weighted": self.weighted,
            "tensors": {n: {f: s.to_dict() for f, s in by.items()} for n, by in self.tensors.items()},
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> "Scores":
        tensors = {n: {f: Sensitivity(**s) for f, s in by.items()} for n, by in d["tensors"].items()}
        return cls(tensors, d["high"], d["at"], d["samples"], d.get("tokens", 0), d.get("weighted", False))

    def to_pandas(self) -> Any:
        import pandas

        return pandas.DataFrame(self.rows(), columns=list(self.COLUMNS))

    def to_polars(self) -> Any:
        import polars

        return polars.DataFrame(self.rows(), schema=list(self.COLUMNS), orient="row")

    def ranking(self, low: str, score: str = "squared") -> List[Tuple[str, float]]:
        """Parameters and their score in one format by element, the most sensitive first."""
        found = [
            (name, getattr(by[low], score) / max(by[low].count, 1)) for name, by in self.tensors.items() if low in by
        ]
        if not found:
            raise InvalidArgument(f"nothing was measured in {low}")
        return sorted(found, key=lambda row: -row[1])

    def to_mlx(self, path: PathLike, low: str, score: str = "signed") -> None:
        """Writes what mlx_lm.dynamic_quant reads as --sensitivities: [[module, score], …], by a million elements."""
        scored = [[_module(n), 1e6 * value] for n, value in self.ranking(low, score)]
        write_whole(path, json.dumps(scored, indent=1).encode())

    def to_scores(
        self,
        path: PathLike,
        model: PathLike,
        *,
        imatrix: Optional[PathLike] = None,
        names: Optional[Mapping[str, str]] = None,
    ) -> int:
        """Writes a file that `qdq plan --scores` takes in the place of gradients. Returns how many tensors it has.

        model: the files that will be planned, safetensors or GGUF. imatrix: the importance matrix that the formats were
        fitted with, which planning then needs too. names: the model's names of parameters, where they differ; what the
        model does not have is left out.

        Planning wants every format that a tensor may get: `low="all"`, or `qdq plan --formats` with those there are.

        ValueError: scores that were not taken at the source against the weights themselves, nothing that the model has,
        importance without its matrix or the other way round, another model. OSError: a file cannot be read or written.
        """
        from ._model import Imatrix, Model, write_scores

        if self.at != "source" or self.high != "source":
            raise InvalidArgument(
                f'plans need scores at="source" of formats against high="source"; these are at "{self.at}" against '
                f'"{self.high}"'
            )
        if self.weighted != (imatrix is not None):
            raise InvalidArgument(
                "formats were fitted with importance: pass imatrix=, its file"
                if self.weighted
                else "formats were fitted without importance: imatrix= would be of other sums"
            )
        with Model(model) as opened, Imatrix(imatrix) as weights:
            there = {t.name for t in opened.tensors}
            found = {(names or {}).get(n, n): by for n, by in self.tensors.items()}
            rows = {n: by for n, by in found.items() if n in there}
            if not rows:
                first = next(iter(found), "none")
                raise InvalidArgument(f'{model} has none of the scored tensors, such as "{first}": pass names=')
            write_scores(path, opened, weights, self.tokens, rows)
        return len(rows)

    def _repr_html_(self) -> str:
        caption = f"{self.samples} samples, gradients at {self.at}, against {self.high}"
        return table_html(self.COLUMNS, self.rows(), caption)


def _module(name: str) -> str:
    return name[: -len(".weight")] if name.endswith(".weight") else name
