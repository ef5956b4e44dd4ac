"""What somebody tries who has no planner: codecs, their options and transforms, as large as a budget holds.

A plan looks at the planner's families alone, and that these are the right ones is a claim like its others.
So an exhaustive run tries more: options that the planner leaves at their defaults, codecs behind transforms
that it does not list, other ways to keep fewer dimensions. Left out are options that only take longer
(`rbe:train=true`, `tcq:states=1024`, longer searches of `lsq`), codes of no fixed size, and transforms after
which scores are those of something else (`relative`).
"""

from __future__ import annotations

from vecstore.planner.families import (
    FAMILIES,
    Family,
    State,
    between,
    bits,
    by_dim,
    by_size,
    matrix,
    part,
    tcq,
)


def _square(a_dim: int) -> State:
    """A mean, as many axes as dimensions, and something for each."""
    return lambda dim, size: 4 * dim * (dim + 1) + a_dim * dim


def _pq(before: str, state: State, bits: int, side: int) -> Family:
    def both(dim: int, size: int) -> int:
        return state(dim, size) + (4 * dim << bits)

    sizes = between(1, lambda dim: dim // 2 if bits == 8 else dim)
    return Family(f"{before}+pq:m={{size}},bits={bits}", both, sizes, bits=bits, side=side)


def _behind(before: str, state: State, side: int = 0) -> tuple[Family, ...]:
    """Codecs that see dimensions, behind a transform that keeps their number."""
    return (
        Family(before + "+sq:bits={size}", state, bits(8, 6, 4), bits=None, side=side),
        Family(before + "+sign", state, bits(1), bits=None, side=side),
        *(_pq(before, state, each, side) for each in (8, 4)),
    )


def _opq(bits: int, width: int) -> Family:
    text = f"opq:m={{size}},bits={bits},dim={{wide}}+pq:m={{size}},bits={bits}"
    return Family(text, matrix(width, 4 * 2**bits * width), bits=bits, width=width)


_TRANSFORMED = (
    *_behind("rotate", by_dim(12)),
    *_behind("whiten", _square(12)),
    *_behind("normalize", by_dim(12), side=2),
    *(_opq(bits, width) for bits in (8, 4) for width in (1, 2, 4, 8)),
    *(
        Family(
            f"opq:m={{size}},bits={each},dim={{dim}}+pq:m={{size}},bits={each}", _square(4 * 2**each),
            between(1, lambda dim: dim // 4), bits=each,
        )
        for each in (8, 4)
    ),
)  # fmt: skip
_FEWER = (
    *(
        Family(f"{before}:dim={{size}}+sq:bits={each}", by_size(8), part(1), bits=each)
        for before in ("prefix", "jl") for each in (8, 6, 4)
    ),
    *(
        Family(f"pca:dim={{size}}+{codec}:bits={each}", matrix(), part(1), bits=each, side=side)
        for codec, side in (("hadamard", 2), ("rabitq", 3)) for each in (2, 3, 4)
    ),
    *(Family(f"pca:dim={{size}}+sq:bits={each}", matrix(), part(1), bits=each) for each in (8, 6, 4)),
    *(
        Family(
            "pca:dim={wide}+pq:m={size},bits=8", matrix(width, 1024 * width), part(width), width=width
        )
        for width in (2, 4, 8)
    ),
    *(
        Family(
            "pca:dim={wide}+pq:m={size},bits=4", matrix(width, 64 * width), part(width), bits=4, width=width
        )
        for width in (1, 2, 4)
    ),
)  # fmt: skip
_OPTIONS = (
    *(
        tcq(states, stages, scale)
        for states in (64, 128, 256) for stages in (0, 1, 2) for scale in ("none", "length")
    ),
    *(
        Family(
            f"hadamard:bits={{size}},center={center},scale={scale}", by_dim(5), bits(4, 3, 2, 1),
            bits=None, side=2,
        )
        for center in ("true", "false") for scale in ("unbiased", "mse")
    ),
    Family("rabitq:bits={size},center=false", by_dim(5), bits(*range(8, 0, -1)), bits=None, side=3),
    *(
        Family(f"rbe:bits={{size}},rotate={rotate}", by_dim(80), bits(4, 3, 2, 1), bits=None, planes=True)
        for rotate in ("true", "false")
    ),
    *(
        Family(f"sign:center={center},scale={scale}", by_dim(12), bits(1), bits=None, side=side)
        for center in ("true", "false") for scale, side in (("true", 2), ("false", 0))
    ),
    Family("itq:bits={wide}", matrix(8, 64), width=8),
    *(
        Family(f"rq:m={{size}},beam={beam}", lambda dim, size: 1024 * dim * size, between(1, lambda dim: 16))
        for beam in (1, 5)
    ),
)  # fmt: skip
GRID = tuple({each.spec: each for each in (*_TRANSFORMED, *_FEWER, *_OPTIONS, *FAMILIES)}.values())
