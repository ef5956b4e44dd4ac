"""One target of a benchmark and what was found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """kept is None where nothing was measured; command: what of the benchmark makes the figure."""

    what: str
    found: str
    kept: bool | None
    command: str

    @property
    def verdict(self) -> str:
        """For a table."""
        return {True: "yes", False: "no", None: "not measured"}[self.kept]
