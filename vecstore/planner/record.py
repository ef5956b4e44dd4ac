"""A file of what was measured, a JSON line for each candidate, so that a plan that was cut short goes on."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from vecstore.atomic import storage_errors
from vecstore.errors import ConflictError, InputError
from vecstore.planner.speeds import Speeds
from vecstore.planner.trial import Kept, Trial

Entry = TypeVar("Entry")


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
        found: dict[str, Any] = {"orders": text_of(kept.orders), "shares": text_of(kept.shares)}
        found |= {"errors": text_of(kept.errors), "spec": self.spec, "full": self.full}
        found |= {"code_bytes": self.code_bytes, "shared": self.shared}
        found |= {"spread": kept.spread, "speeds": None if self.speeds is None else asdict(self.speeds)}
        return json.dumps(found)

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """Of what `line` wrote; KeyError, TypeError or ValueError for anything else."""
        kept = Kept(
            array_of(found["orders"], np.float32), array_of(found["shares"], np.float32),
            array_of(found["errors"], np.float64), float(found["spread"]),
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


class Journal(Generic[Entry]):
    """What a file holds of a plan, and where more is added; without a path it keeps nothing."""

    def __init__(
        self, path: str | None, header: dict[str, Any], of: Callable[[dict[str, Any]], Entry]
    ) -> None:
        """Reads the file, if it is there; `of` makes an entry of a line, or raises as `Measured.of` does.

        Raises InputError if it is no such file, ConflictError if its header is another.
        """
        self._path = path
        self.entries: list[Entry] = []
        if path is None:
            return
        header = {"plan": str(sys.modules["vecstore"].__version__), **header}
        with storage_errors(path, "read or write"):
            text = Path(path).read_text("utf-8") if os.path.exists(path) else ""
            lines = text.splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]  # the last one may be cut
            if whole:
                self._read(path, whole, header, of)
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(whole or [json.dumps(header) + "\n"])

    def _read(
        self, path: str, lines: list[str], header: dict[str, Any], of: Callable[[dict[str, Any]], Entry]
    ) -> None:
        try:
            found, *rest = map(json.loads, lines)
            if "plan" not in found:
                raise KeyError("plan")
            wrong = [name for name, value in header.items() if found.get(name) != value]
            if not wrong:
                self.entries = [of(entry) for entry in rest]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path} is no record of a plan ({error}); expected a file that --resume wrote, or a new name"
            ) from None
        if wrong:
            names = " and ".join({"plan": "version", "data": "rows"}.get(name, name) for name in wrong)
            raise ConflictError(
                f"{path} is of another plan: its {names} differ; give another file, or remove this one"
            )

    def add(self, line: str) -> None:
        """Keeps what was measured, on disk before the next is begun."""
        if self._path is not None:
            with storage_errors(self._path), open(self._path, "a", encoding="utf-8") as file:
                file.write(line + "\n")


class Record:
    """A plan's candidates that were measured."""

    def __init__(self, path: str | None, trial: Trial, seed: int) -> None:
        """As a journal; what it is of are rows, metric, seed and version."""
        header: dict[str, Any] = {"metric": trial.field.metric, "seed": seed}
        if path is not None:
            header["data"] = digest(trial.rows, trial.field.rows)
            header["groups"] = len(trial.field.spreads)
        self._journal = Journal(path, header, Measured.of)
        self.known = {entry.spec: entry for entry in self._journal.entries}

    def add(self, entry: Measured) -> None:
        """Keeps one more."""
        self.known[entry.spec] = entry
        self._journal.add(entry.line())


def digest(*arrays: NDArray[Any]) -> str:
    """Of arrays' types, shapes and values."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def text_of(array: NDArray[Any]) -> str:
    """Its bytes, for JSON."""
    return base64.b64encode(array.tobytes()).decode()


def array_of(text: str, dtype: type[Any]) -> NDArray[Any]:
    """The array of such a text."""
    return np.frombuffer(base64.b64decode(text), dtype)
