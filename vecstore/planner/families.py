"""The ways to make codes of any size that plans choose from: a table of families of specs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

State = Callable[[int, int], int]  # bytes of learned state by dim and size
Sizes = Callable[[int], Sequence[int]]  # those to try by dim, from the largest


@dataclass(frozen=True)
class Family:
    """Specs of one form, by size.

    spec: with {size}, {wide}, the dimensions kept, `width` for each size, or {dim}. A row's code takes `side`
    bytes, and `bits` bits for each size; where bits is None sizes are bits, and it takes so many for each
    dimension, where planes is true in whole bytes for all first bits, all second ones, and so on. state:
    estimates the bytes of what is learned, rather too low: what is too large when it is fitted gives way to
    what is smaller. Of klt and tcq it depends on the rows, and a few bytes a row may learn half as much.
    sizes: by default all up to dim.
    """

    spec: str
    state: State
    sizes: Sizes | None = None
    bits: int | None = 8
    side: int = 0
    width: int = 1
    planes: bool = False

    def tried(self, dim: int) -> Sequence[int]:
        """The sizes, from the largest."""
        return range(dim // self.width, 0, -1) if self.sizes is None else self.sizes(dim)

    def member(self, dim: int, size: int) -> tuple[str, int, int]:
        """Spec, bytes of a row's code, and bytes of learned state."""
        if self.bits is None:
            bits = (-(-dim // 8) * 8 if self.planes else dim) * size
        else:
            bits = self.bits * size
        spec = self.spec.format(size=size, wide=self.width * size, dim=dim)
        return spec, self.side + (bits + 7) // 8, self.state(dim, size)


def bits(*listed: int) -> Sizes:
    """The same sizes for any dim."""
    return lambda dim: listed


def between(least: int, most: Callable[[int], int]) -> Sizes:
    """All from the most down to the least."""
    return lambda dim: range(most(dim), least - 1, -1)


def by_dim(a_dim: int) -> State:
    """Something for each dimension."""
    return lambda dim, size: a_dim * dim


def by_size(a_size: int) -> State:
    """Something for each size."""
    return lambda dim, size: a_size * size


def matrix(width: int = 1, a_size: int = 8) -> State:
    """A mean, `width` axes for each size, and something for it."""
    return lambda dim, size: 4 * dim * (width * size + 1) + a_size * size


def leading(fixed: int, ahead: int, a_dim: int = 0) -> State:
    """Of klt and tcq: about ten axes for each byte but those ahead; `fixed` bytes, and something for each
    dimension."""
    return lambda dim, size: 4 * dim * (min(dim, 10 * (size - ahead)) + 1) + a_dim * dim + fixed


def tcq(states: int, stages: int, scale: str) -> Family:
    """Trellis codes of so many bytes, of which stages and a scale take one each."""
    levels = _LEVELS[scale]
    ahead, bits = stages + (levels > 0), states.bit_length() - 1  # a dimension has no more
    return Family(
        f"tcq:bytes={{size}},states={states},stages={stages},scale={scale}",
        leading(16 * states + levels, ahead, 1024 * stages),
        between(ahead + 1, lambda dim: min(dim, dim * bits // 8 + ahead)),
    )


def _klt(scale: str) -> Family:
    levels = _LEVELS[scale]
    ahead = int(levels > 0)
    return Family(
        f"klt:bytes={{size}},scale={scale}",
        leading(2048 + levels, ahead),
        between(1 + ahead, lambda dim: dim),
    )


def _prq_state(dim: int, size: int) -> int:
    """About eight stages for each block of dimensions."""
    return 1024 * dim * math.ceil(size / max(1, round(size / 8)))


def _rbe_state(dim: int, size: int) -> int:
    return 4 * dim * (size * (size + 5) // 2 + 2)


def part(width: int) -> Sizes:
    """Of codes that keep fewer dimensions than there are, `width` for each size."""
    return lambda dim: range((dim - 1) // width, 0, -1)


_LEVELS = {"none": 0, "length": 1024}  # bytes of the levels of a scale for each row
# Bytes of centroids of 8 bits, and of 4, for each dimension.
_EIGHT, _FOUR = 1024, 64

FAMILIES: Sequence[Family] = (
    Family("f16", by_dim(0), bits(16), bits=None),
    Family("bf16", by_dim(0), bits(16), bits=None),
    Family("sq:bits={size}", by_dim(8), bits(8, 6, 4), bits=None),
    Family("pq:m={size},bits=8", by_dim(_EIGHT), between(1, lambda dim: max(1, dim // 2))),
    Family("pq:m={size},bits=4", by_dim(_FOUR), bits=4),
    Family("rotate+pq:m={size},bits=4", by_dim(_FOUR), bits=4),
    Family("pca:dim={size}+sq:bits=4", matrix(), bits=4),
    # What needs next to no state.
    Family("prefix:dim={size}+sq:bits=4", by_size(8), part(1), bits=4),
    Family("jl:dim={size}+sq:bits=4", by_size(8), part(1), bits=4),
    *map(_klt, _LEVELS),
    *(tcq(256, stages, scale) for stages in (0, 1, 2) for scale in _LEVELS),
    tcq(128, 0, "length"),  # whose smaller state leaves a byte more where rows are few
    *(
        Family(f"hadamard:bits={{size}},scale={scale}", by_dim(5), bits(4, 3, 2, 1), bits=None, side=2)
        for scale in ("unbiased", "mse")
    ),
    *(
        Family("pca:dim={wide}+pq:m={size},bits=8", matrix(width, width * _EIGHT), part(width), width=width)
        for width in (2, 4)
    ),
    *(
        Family(f"{before}:{of}dim={{wide}}+pq:m={{size}},bits=4", matrix(width, width * _FOUR), part(width),
               bits=4, width=width)
        for before, of, width in (("pca", "", 1), ("pca", "", 2), ("opq", "m={size},bits=4,", 2))
    ),
    # Few codebooks: each is of whole rows. Those of rq, where lsq begins, lose more at every size.
    Family("lsq:m={size}", lambda dim, size: _EIGHT * dim * size, between(1, lambda dim: min(16, 2 * dim))),
    Family("prq:m={size}", _prq_state, between(9, lambda dim: min(32, dim // 2))),
    # A rotation of its own is worth its state where subspaces are few.
    Family(
        "opq:m={size},bits=8,dim={wide}+pq:m={size},bits=8", matrix(4, 4 * _EIGHT),
        between(2, lambda dim: dim // 4), width=4,
    ),
    Family("rabitq:bits={size}", by_dim(5), bits(*range(8, 0, -1)), bits=None, side=3),
    Family("rbe:bits={size}", _rbe_state, bits(4, 3, 2, 1), bits=None, planes=True),
    Family("sign", by_dim(8), bits(1), bits=None),
    Family("rotate+sign", by_dim(12), bits(1), bits=None),
)  # fmt: skip
