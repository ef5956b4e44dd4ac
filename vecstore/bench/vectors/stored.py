"""A collection after a contender has kept it: what comes back of it, and how it is searched."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vecstore.bench.contenders.base import Coded, Contender
from vecstore.bench.contenders.own import Own
from vecstore.bench.quality import nearest
from vecstore.bench.vectors.sets import VectorSet
from vecstore.codecs.base import Codec, Rows
from vecstore.search.searcher import Searcher


@dataclass(frozen=True)
class Stored:
    """Codes of data's rows; `back` is None for a contender that does not decode."""

    data: VectorSet
    contender: Contender
    coded: Coded
    back: Rows | None
    seed: int

    @cached_property
    def _searcher(self) -> Searcher | None:
        """Ours is searched as the library does."""
        ours = isinstance(self.contender, Own) and isinstance(self.contender.codec, Codec)
        return Searcher.of(self.contender.codec, self.coded) if ours else None  # type: ignore[attr-defined]

    def search(self, queries: Rows, k: int) -> NDArray[np.int64]:
        """Numbers (q, k) of the nearest rows, best first."""
        if self._searcher is not None:
            return self._searcher.search(queries, k, metric=self.data.metric)[0]
        found = self.contender.search(self.coded, queries, k)
        return self.search_of(queries, k, None) if found is None else found

    def search_of(self, queries: Rows, k: int, where: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """The same among the rows (n,) that are True; by decoded rows where a contender has no filter."""
        if self._searcher is not None:
            return self._searcher.search(queries, k, metric=self.data.metric, where=where)[0]
        if self.back is None:
            raise TypeError(f"{self.contender.label} neither decodes nor searches a part of the rows")
        if where is None:
            return nearest(self.back, queries, self.data.metric, k)
        numbers = np.flatnonzero(where)
        return numbers[nearest(self.back[numbers], queries, self.data.metric, k)]

    @property
    def rows(self) -> Rows:
        """What comes back; TypeError where nothing does."""
        if self.back is None:
            raise TypeError(f"{self.contender.label} does not decode")
        return self.back
