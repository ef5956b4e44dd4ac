"""A file of what was measured, a JSON line for each candidate, so that a plan that was cut short goes on."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.atomic import storage_errors
from vecstore.errors import ConflictError, InputError
from vecstore.planner.speeds import Speeds
from vecstore.planner.trial import Kept, Trial


@dataclass(frozen=True, eq=False)
class Measured:
    """One candidate: its spec, in full, too, bytes of a code and of state, what it keeps and costs."""

    spec: str
    full: str
    code_bytes: int
    shared: int
    kept: Kept
    speeds: Speeds | None = None

    def line(self) -> str:
        """As JSON."""
        kept = self.kept
        found: dict[str, Any] = {"orders": _text(kept.orders), "hits": _text(kept.hits)}
        found |= {"errors": _text(kept.errors), "spec": self.spec, "full": self.full}
        found |= {"code_bytes": self.code_bytes, "shared": self.shared}
        found |= {"spread": kept.spread, "speeds": None if self.speeds is None else asdict(self.speeds)}
        return json.dumps(found)

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """Of what `line` wrote; KeyError, TypeError or ValueError for anything else."""
        kept = Kept(
            _array(found["orders"], np.float32), _array(found["hits"], np.uint8),
            _array(found["errors"], np.float64), float(found["spread"]),
        )  # fmt: skip
        speeds = None if found["speeds"] is None else Speeds(**found["speeds"])
        return cls(
            str(found["spec"]),
            str(found["full"]),
            int(found["code_bytes"]),
            int(found["shared"]),
            kept,
            speeds,
        )


class Record:
    """What a file holds of a plan's candidates, and where more is added; without a path it keeps nothing."""

    def __init__(self, path: str | None, trial: Trial, seed: int) -> None:
        """Reads the file, if it is there.

        Raises InputError if it is no such file, ConflictError if it is of other data, another metric or seed,
        or another version.
        """
        self._path = path
        self.known: dict[str, Measured] = {}
        if path is None:
            return
        header = {
            "plan": str(sys.modules["vecstore"].__version__), "metric": trial.field.metric, "seed": seed,
            "data": _digest(trial),
        }  # fmt: skip
        with storage_errors(path, "read or write"):
            text = Path(path).read_text("utf-8") if os.path.exists(path) else ""
            lines = text.splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]  # the last one may be cut
            if whole:
                self._read(path, whole, header)
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(whole or [json.dumps(header) + "\n"])

    def _read(self, path: str, lines: list[str], header: dict[str, Any]) -> None:
        try:
            found, *rest = map(json.loads, lines)
            if "plan" not in found:
                raise KeyError("plan")
            wrong = [name for name, value in header.items() if found.get(name) != value]
            if not wrong:
                self.known = {entry.spec: entry for entry in map(Measured.of, rest)}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path} is no record of a plan ({error}); expected a file that --resume wrote, or a new name"
            ) from None
        if wrong:
            of = {"plan": "version", "metric": "metric", "seed": "seed", "data": "rows"}
            raise ConflictError(
                f"{path} is of another plan: its {' and '.join(of[name] for name in wrong)} differ; "
                "give another file, or remove this one"
            )

    def add(self, entry: Measured) -> None:
        """Keeps what was measured, on disk before the next is begun."""
        self.known[entry.spec] = entry
        if self._path is not None:
            with storage_errors(self._path), open(self._path, "a", encoding="utf-8") as file:
                file.write(entry.line() + "\n")


def _digest(trial: Trial) -> str:
    """Of the rows fitted and measured on."""
    digest = hashlib.sha256()
    for rows in (trial.rows, trial.field.rows):
        digest.update(f"{rows.dtype} {rows.shape}".encode())
        digest.update(np.ascontiguousarray(rows).tobytes())
    return digest.hexdigest()


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _array(text: str, dtype: type[Any]) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype)
