"""fde: fixed dimensional encodings, which make one row of a ragged one.

Space is cut into 2**bits buckets by random hyperplanes, `reps` times anew. A row that is asked for keeps in
each bucket the sum of its tokens, a row that is kept their mean; tokens are first projected at random to
`dim` dimensions. The inner product of the two estimates the Chamfer similarity, the sum over the query's
tokens of the largest inner product with a token of the document, by the tokens that share a bucket.

width       reps 2**bits dim
inverse     none: codes are decoded to the encodings
fill        an empty bucket of a kept row gets the token whose bits differ least from the bucket's. Off unless
            asked for: it adds what grows with the length of the row where tokens share a direction
source      Jayaram et al. 2024, MUVERA: multi-vector retrieval via fixed dimensional encodings,
            arXiv:2405.19504, section 2; dense projections as there. Buckets are numbered so that bits are the
            Gray code of the number, n ^ (n >> 1)
departures  both sides are divided by the root of reps, so that the product is a mean over them
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows
from vecstore.codecs.parts import MAX_DIM, require
from vecstore.codecs.ragged import Ragged, RaggedTransform
from vecstore.codecs.transforms.pca import product
from vecstore.errors import SpecError
from vecstore.kernels import pooling

_MOST_BITS = 10


@dataclass(frozen=True, eq=False)
class Fde(RaggedTransform):
    """Ragged transform: one row of a row's tokens; reps= times 2**bits= buckets of dim= dimensions each."""

    name: ClassVar[str] = "fde"
    dim: int
    reps: int
    bits: int
    kept: int  # dimensions of a projected token, 0: tokens are not projected
    fill: bool
    planes: NDArray[np.float32]  # (dim, reps * bits), normals of the hyperplanes
    signs: NDArray[np.uint8]  # (dim, reps * kept), 1 for a positive weight of the projection

    def __post_init__(self) -> None:
        problem = _problem(self.dim, self.reps, self.bits, self.kept)
        if problem:
            raise ValueError(problem)
        require(self.planes, (self.dim, self.reps * self.bits), np.float32)
        require(self.signs, (self.dim, self.reps * self.kept), np.uint8)
        if self.signs.size and self.signs.max() > 1:
            raise ValueError("fde has signs other than 0 and 1")

    @classmethod
    def fit(
        cls,
        sample: Ragged,
        *,
        seed: int = 0,
        reps: int = 20,
        bits: int = 5,
        dim: int | None = None,
        fill: bool = False,
    ) -> Self:
        """Learns nothing but the width of tokens. reps: how often space is cut anew. bits: hyperplanes each
        time, 0 to 10. dim: dimensions of a projected token (8), 0: tokens as they are. fill: whether kept
        rows have no empty buckets."""
        width = sample.dim
        kept = min(8, width) if dim is None else dim
        problem = _problem(width, reps, bits, kept)
        if problem:
            raise SpecError(problem)
        rng = np.random.default_rng(seed)
        planes = rng.standard_normal((width, reps * bits), dtype=np.float32)
        signs = rng.integers(0, 2, (width, reps * kept), dtype=np.uint8)
        return cls(dim=width, reps=reps, bits=bits, kept=kept, fill=fill, planes=planes, signs=signs)

    def options(self) -> dict[str, int | float | bool | str]:
        """The spec's `dim` is that of a projected token."""
        return {"reps": self.reps, "bits": self.bits, "dim": self.kept, "fill": self.fill}

    @property
    def dim_out(self) -> int:
        """A projected token for each bucket of each repetition."""
        return self.reps * (1 << self.bits) * (self.kept or self.dim)

    @cached_property
    def _projection(self) -> NDArray[np.float32]:
        weights = np.where(self.signs, 1.0, -1.0) / np.sqrt(max(self.kept, 1) * self.reps)
        return np.ascontiguousarray(weights, dtype=np.float32)

    def apply_documents(self, rows: Any) -> Rows:
        """Ragged rows (n) that are kept -> rows (n, dim_out): means, and the nearest token where `fill`."""
        ragged = Ragged.of(rows, self.dim)
        out = self._empty(len(ragged))
        counts = np.empty(2**self.bits, np.int64)
        pooling.pool_means(
            self._projected(ragged), self.buckets(ragged.values), ragged.starts, self.fill, counts, out
        )
        return out.reshape(len(ragged), self.dim_out)

    def apply_queries(self, rows: Any) -> Rows:
        """Ragged rows (n) that are asked for -> rows (n, dim_out): sums."""
        ragged = Ragged.of(rows, self.dim)
        out = self._empty(len(ragged))
        pooling.pool_sums(self._projected(ragged), self.buckets(ragged.values), ragged.starts, out)
        return out.reshape(len(ragged), self.dim_out)

    def buckets(self, tokens: Rows) -> NDArray[np.int64]:
        """The bucket of each token (t, dim) in each repetition: (t, reps)."""
        above = product(tokens, self.planes).reshape(len(tokens), self.reps, self.bits) > 0
        return bucket_of(above)

    def _projected(self, ragged: Ragged) -> NDArray[np.float32]:
        """(t, reps, kept), or (t, 1, dim) where tokens are not projected."""
        if not self.kept:
            return ragged.values[:, None, :] * np.float32(1 / np.sqrt(self.reps))
        return product(ragged.values, self._projection).reshape(-1, self.reps, self.kept)

    def _empty(self, n: int) -> NDArray[np.float32]:
        return np.empty((n, self.reps, 2**self.bits, self.kept or self.dim), np.float32)


def bucket_of(above: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The numbers (...) whose Gray codes are these bits (..., bits), the first one the highest."""
    number = np.zeros(above.shape[:-1], np.int64)
    for bit in range(above.shape[-1]):
        number = 2 * number + (above[..., bit] ^ (number & 1).astype(bool))
    return number


def bits_of(buckets: NDArray[np.int64], bits: int) -> NDArray[np.bool_]:
    """The inverse of `bucket_of`: the bits (..., bits) of n ^ (n >> 1)."""
    gray = buckets ^ (buckets >> 1)
    return (gray[..., None] >> np.arange(bits - 1, -1, -1)) & 1 > 0


def _problem(width: int, reps: int, bits: int, kept: int) -> str | None:
    """What is wrong with these sizes, if anything."""
    if not 0 <= bits <= _MOST_BITS:
        return f"fde has bits={bits}; expected 0 to {_MOST_BITS}"
    if not 0 <= kept <= width:
        return f"fde has dim={kept}; the tokens have {width}, so 1 to that, or 0 for tokens as they are"
    most = MAX_DIM // (2**bits * (kept or width))
    if not 1 <= reps <= most:
        return f"fde has reps={reps}; expected 1 to {most}, so that rows have at most {MAX_DIM} dimensions"
    return None
