"""lsq: local search quantization, whose codebooks are learned together and in no order.

code_bytes  m; byte t is the centroid of codebook t, and a row is their sum
error       not bounded; no larger than that of the sum which a beam finds, from which the local search begins
shared      1024 dim m + 2 iters ceil(m / 2) bytes
source      Martinez, Clement, Hoos, Little 2016, "Revisiting additive quantization", ECCV, section 3
            (conditional modes from perturbed codes); Martinez, Zakhmi, Hoos, Little 2018, "LSQ++", ECCV
            (noise while codebooks are learned)
departures  the search begins with a beam's codes, not with random ones; codebooks begin as those of rq; rows
            are shaken while codebooks are learned, not codebooks; no prefix of a code is a code
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows
from vecstore.codecs.lsq.search import LocalSearch
from vecstore.codecs.lsq.training import learn
from vecstore.codecs.parts import require
from vecstore.codecs.residual import Residual, choose_m
from vecstore.codecs.residual.coding import Search
from vecstore.errors import SpecError

_WIDE_BEAM, _ITERATIONS = 16, 4
_MOST = 16  # codebooks; products of the centroids of each two take 128 KiB
_MOST_ITERATIONS = 256


@dataclass(frozen=True, eq=False)
class Lsq(Residual):
    """Local search quantization: sums of m= centroids, searched by beam= and, from there on, iters= times."""

    name: ClassVar[str] = "lsq"
    learns: ClassVar[bool] = True
    iters: int
    moves: NDArray[np.uint8]  # (iters, changes, 2): codebooks, and the centroids that they are set to

    @property
    def blocks(self) -> int:
        """One: the whole row."""
        return 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.moves, (self.iters, None, 2), np.uint8)
        if self.m > _MOST or not 0 <= self.iters <= _MOST_ITERATIONS:
            raise ValueError(f"lsq has m={self.m} and iters={self.iters}")
        if (self.moves >= (self.m, self.books.shape[1])).any():
            raise ValueError("lsq has moves to centroids that are not there")

    def prefix(self, size: int) -> Self:
        """None: a codebook says no more than the next."""
        raise SpecError(f"lsq has no tiers, and {size} bytes were asked for; rq has")

    @cached_property
    def _searches(self) -> list[Search]:
        return [LocalSearch(self.books, self.beam, self.moves)]

    @classmethod
    def fit(
        cls,
        sample: Rows,
        *,
        seed: int = 0,
        m: int | None = None,
        beam: int = _WIDE_BEAM,
        iters: int = _ITERATIONS,
        bytes: int | None = None,
    ) -> Self:
        """m: codebooks, 1 to 16, by default one for each 48 dimensions. beam: how many partial sums are kept
        where a search begins. iters: how often it goes on from perturbed codes. bytes: as m."""
        m = choose_m("lsq", sample, (m, bytes), beam, most=_MOST)
        if not 0 <= iters <= _MOST_ITERATIONS:
            raise SpecError(f"lsq has iters={iters}; expected 0 to {_MOST_ITERATIONS}")
        books = learn(sample, m, seed)
        moves = draw_moves(iters, m, books.shape[1], (seed, 2))
        return cls(dim=sample.shape[1], m=m, beam=beam, books=books, iters=iters, moves=moves)


def draw_moves(iters: int, m: int, k: int, seed: tuple[int, ...]) -> NDArray[np.uint8]:
    """What is perturbed: moves (iters, ceil(m / 2), 2), each of different codebooks below m, to any of k."""
    rng = np.random.default_rng(seed)
    changes = -(-m // 2)
    where = [rng.permutation(m)[:changes] for _ in range(iters)]
    moves = np.empty((iters, changes, 2), np.uint8)
    moves[:, :, 0] = np.array(where).reshape(iters, changes)
    moves[:, :, 1] = rng.integers(0, k, (iters, changes))
    return moves
