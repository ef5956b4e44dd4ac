"""What somebody tries who has no planner: codecs, their options and transforms, as large as a budget holds.

A plan looks at the planner's families alone, and that these are the right ones is a claim like its others.
So an exhaustive run tries more: options that the planner leaves at their defaults, codecs behind transforms
that it does not list, other ways to keep fewer dimensions. Left out are options that only take longer
(`rbe:train=true`, longer searches of `lsq`), codes of no fixed size, and transforms after which scores are
those of something else (`relative`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from vecstore.planner.candidates import FAMILIES, Families, candidates
from vecstore.planner.room import Room

State = Callable[[int, int], int]  # learned bytes by the dimensions of rows, and of what is kept of them


@dataclass(frozen=True)
class Way:
    """A family of specs, called as those of the planner are.

    spec: with {size}, and {wide}, the dimensions that it keeps, `width` for each size. A row takes `side`
    bytes and `bits` bits for each size; where bits is None sizes are bits of each dimension, of those listed.
    """

    spec: str
    state: State
    bits: int | None = 8
    side: int = 0
    width: int = 1
    listed: tuple[int, ...] = (0,)

    def __call__(self, dim: int, size: int) -> tuple[str, int, int]:
        """Spec, bytes of a row's code, bytes of learned state."""
        wide = dim if self.bits is None else self.width * size
        bits = dim * size if self.bits is None else self.bits * size
        return self.spec.format(size=size, wide=wide), self.side + (bits + 7) // 8, self.state(dim, wide)

    def sizes(self, dim: int) -> Iterable[int]:
        """From the largest."""
        return self.listed if self.bits is None else range(dim // self.width, 0, -1)


def grid(room: Room) -> list[list[str]]:
    """Of each way, the planner's among them, the largest spec that a budget may hold, and the one that it
    surely holds."""
    ways: Families = [(way, way.sizes) for way in chain(_behind(), _fewer(), _options())]
    found = (list(candidates(room, [way])) for way in (*FAMILIES, *ways))
    return [specs for specs in found if specs]


def _none(dim: int, wide: int) -> int:
    return 12 * wide


def _matrix(dim: int, wide: int) -> int:
    return 4 * dim * (wide + 1) + 12 * wide


def _centroids(bits: int, before: State = _none) -> State:
    return lambda dim, wide: before(dim, wide) + 4 * wide * 2**bits


def _behind() -> Iterator[Way]:
    """Codecs that see dimensions behind transforms that keep their number."""
    for before, state, side in (("rotate", _none, 0), ("whiten", _matrix, 0), ("normalize", _none, 2)):
        yield Way(before + "+sq:bits={size}", state, bits=None, side=side, listed=(8, 6, 4))
        yield Way(before + "+sign", state, bits=None, side=side, listed=(1,))
        yield Way(before + "+pq:m={size},bits=8", _of_all(_centroids(8, state)), width=2, side=side)
        yield Way(before + "+pq:m={size},bits=4", _of_all(_centroids(4, state)), bits=4, side=side)
    yield Way("opq:m={size},bits=4,dim={wide}+pq:m={size},bits=4", _centroids(4, _matrix), bits=4, width=2)


def _of_all(state: State) -> State:
    """Of all dimensions, however many pieces they are cut into."""
    return lambda dim, _: state(dim, dim)


def _fewer() -> Iterator[Way]:
    """Fewer dimensions."""
    for bits in (8, 6, 4):
        for before in ("prefix", "jl"):
            yield Way(f"{before}:dim={{size}}+sq:bits={bits}", lambda dim, wide: 4 * dim + 32 * wide, bits)
    for bits in (2, 3, 4):
        yield Way(f"pca:dim={{size}}+hadamard:bits={bits}", _matrix, bits, side=2)
        yield Way(f"pca:dim={{size}}+rabitq:bits={bits}", _matrix, bits, side=3)
    for width in (1, 2, 4):
        yield Way("pca:dim={wide}+pq:m={size},bits=4", _centroids(4, _matrix), bits=4, width=width)
    for width in (2, 8):
        yield Way("opq:m={size},bits=8,dim={wide}+pq:m={size},bits=8", _centroids(8, _matrix), width=width)


def _options() -> Iterator[Way]:
    """Options that the planner leaves to the codec, or never takes."""
    for states in (16, 64):
        for stages in (0, 1, 2):
            for scale, levels in (("none", 0), ("length", 1024)):
                text = f"tcq:bytes={{size}},states={states},stages={stages},scale={scale}"
                yield Way(text, _trellis(1024 * stages, 8192 + levels))
    for center, scale in (("false", "unbiased"), ("true", "mse"), ("false", "mse")):
        text = f"hadamard:bits={{size}},center={center},scale={scale}"
        yield Way(text, _none, bits=None, side=2, listed=(4, 3, 2, 1))
    yield Way("rabitq:bits={size},center=false", _none, bits=None, side=3, listed=(*range(8, 0, -1),))
    for rotate in ("true", "false"):
        text = f"rbe:bits={{size}},rotate={rotate}"
        yield Way(text, lambda dim, _: 4 * dim * 20, bits=None, listed=(4, 3, 2, 1))
    for center in ("true", "false"):
        for scale, side in (("true", 2), ("false", 0)):
            text = f"sign:center={center},scale={scale}"
            yield Way(text, _none, bits=None, side=side, listed=(1,))
    for beam in (1, 5):
        yield Way(f"rq:m={{size}},beam={beam}", lambda dim, size: 1024 * dim * size)


def _trellis(a_dim: int, fixed: int) -> State:
    """Of the axes about ten for each byte are kept."""
    return lambda dim, size: 4 * dim * (min(dim, 10 * size) + 1) + a_dim * dim + fixed
