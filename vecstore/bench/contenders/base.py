"""What a contender is: something that learns from rows, makes bytes of rows and rows of bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows

Coded = Any  # what a contender's encode returns is its own affair; `size` knows how to count it


class Contender(ABC):
    """One way to keep rows, at one setting.

    Rows are (n, dim) float32. A contender that cannot do what is asked raises; that is shown.
    """

    label: str  # unique, shown in tables
    family: str  # vecstore, faiss, or the package that it is
    needs: Sequence[str] = ()  # packages
    learns = True  # False where nothing is fitted; such contenders may be measured on all rows of a set
    lossless = False
    decodes = True  # False where what `decode` gives is not meant to be near the row

    def missing(self) -> str | None:
        """The package that is not installed, if any."""
        return next((name for name in self.needs if util.find_spec(name) is None), None)

    def use_threads(self, threads: int) -> None:  # noqa: B027 - most contenders have no threads to set
        """Lets encode and decode use this many threads."""

    def warm(self, sample: Rows) -> None:  # noqa: B027 - most contenders have nothing to compile
        """Compiles what must be compiled, so that no measured time holds it."""

    @abstractmethod
    def fit(self, sample: Rows, seed: int) -> None:
        """Learns from sample."""

    @abstractmethod
    def encode(self, rows: Rows) -> Coded:
        """Bytes of the rows."""

    @abstractmethod
    def decode(self, coded: Coded, out: Rows) -> Sequence[Rows]:
        """The rows again, in one piece or several; written into out by a contender that can."""

    def search(self, coded: Coded, queries: Rows, k: int) -> NDArray[np.int64] | None:
        """Numbers (q, k) of the nearest rows, best first, by distances of its own; None: by decoded rows."""
        return None

    @abstractmethod
    def ledger(self, coded: Coded, rows: int) -> dict[str, int]:
        """Bytes by what they are for: codes, side, shared, and total."""


def account(codes: int, side: int = 0, shared: int = 0) -> dict[str, int]:
    """A ledger as records hold it."""
    return {"codes": codes, "side": side, "shared": shared, "total": codes + side + shared}
