"""The specs that a budget may hold, one family of codecs after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from vecstore.errors import BudgetError
from vecstore.planner.room import Room

# A family takes (dim, size) and gives (spec or "", code bytes, bytes of learned state); more by size.
Family = Callable[[int, int], tuple[str, int, int]]
Families = Sequence[tuple[Family, Callable[[int], Iterable[int]]]]  # with the sizes to try, from the largest

_LEAST_STATE_BYTES, STATE_BYTES = 256, 1792  # names, shapes and padding around a codec's arrays


def candidates(room: Room, families: Families | None = None) -> dict[str, tuple[float, bool, int]]:
    """Of each family the largest spec that the budget may hold, and the largest that it surely holds.

    With what they need of the budget, in its unit, whether it is sure, and the bytes of their codes; those
    that need the most first.
    """
    found: dict[str, tuple[float, bool, int]] = {}
    for family, sizes in families or FAMILIES:
        for state_bytes in (_LEAST_STATE_BYTES, STATE_BYTES):
            for size in sizes(room.dim):
                spec, code_bytes, shared = family(room.dim, size)
                if spec and room.keeps(code_bytes, shared + state_bytes):
                    need = room.need(code_bytes, shared + state_bytes)
                    found[spec] = need, state_bytes == STATE_BYTES, code_bytes
                    break
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def _by_dims(dim: int) -> Iterable[int]:
    return range(dim, 0, -1)


def _by_bytes(dim: int) -> Iterable[int]:
    return range(2 * dim, 0, -1)


def _once(dim: int) -> Iterable[int]:
    return (dim,)


def _plain(dim: int, size: int) -> tuple[str, int, int]:
    """The finest of the codecs that treat all dimensions alike; sizes are bits."""
    spec = {16: "f16", 8: "sq:bits=8", 6: "sq:bits=6", 4: "sq:bits=4"}.get(size, "")
    return spec, (dim * size + 7) // 8, 0 if size == 16 else 8 * dim


def _pq(dim: int, size: int) -> tuple[str, int, int]:
    return (f"pq:m={size},bits=8" if 2 * size <= dim or size == 1 else ""), size, 1024 * dim


def _pq4(dim: int, size: int) -> tuple[str, int, int]:
    return f"pq:m={size},bits=4", (size + 1) // 2, 64 * dim


def _pca_sq(bits: int) -> Family:
    return lambda dim, size: (
        f"pca:dim={size}+sq:bits={bits}", (size * bits + 7) // 8, 4 * dim * (size + 1) + 8 * size,
    )  # fmt: skip


def _pca_pq(width: int) -> Family:
    """pq with subspaces of `width` principal axes."""
    return lambda dim, size: (
        f"pca:dim={width * size}+pq:m={size},bits=8" if width * size < dim else "",
        size,
        4 * dim * (width * size + 1) + 1024 * width * size,
    )


def _hadamard(dim: int, size: int) -> tuple[str, int, int]:
    """The codec that learns next to nothing; sizes are bits."""
    return f"hadamard:bits={size}", 2 + (dim * size + 7) // 8, 5 * dim


def _tcq(stages: int, scale: str) -> Family:
    """Sizes are bytes; of the axes about ten for each byte are kept."""
    levels = _scale_bytes(scale)
    least = stages + (levels > 0) + 1
    return lambda dim, size: (
        f"tcq:bytes={size},stages={stages},scale={scale}" if least <= size <= dim else "",
        size,
        4 * dim * (min(dim, 10 * size) + 1) + 1024 * dim * stages + 8192 + levels,
    )


def _klt(scale: str) -> Family:
    """Sizes are bytes, as those of tcq."""
    levels = _scale_bytes(scale)
    return lambda dim, size: (
        f"klt:bytes={size},scale={scale}" if size > (levels > 0) and size <= dim else "",
        size,
        4 * dim * (min(dim, 10 * size) + 1) + 4096 + levels,
    )


def _scale_bytes(scale: str) -> int:
    """The levels of a scale for each row."""
    return 0 if scale == "none" else 1024


def _lsq(dim: int, size: int) -> tuple[str, int, int]:
    """Few codebooks: each is of whole rows. Those of rq, where lsq begins, lose more at every size."""
    return (f"lsq:m={size}" if size <= 16 else ""), size, 1024 * dim * size


def _prq(dim: int, size: int) -> tuple[str, int, int]:
    """About eight stages for each block of dimensions."""
    stages = math.ceil(size / max(1, round(size / 8)))
    return (f"prq:m={size}" if 8 < size <= min(32, dim // 2) else ""), size, 1024 * dim * stages


def _rabitq(dim: int, size: int) -> tuple[str, int, int]:
    """Sizes are bits."""
    return f"rabitq:bits={size}", 3 + (dim * size + 7) // 8, 5 * dim


def _sign(dim: int, size: int) -> tuple[str, int, int]:
    return "sign", (dim + 7) // 8, 8 * dim


def _itq(dim: int, size: int) -> tuple[str, int, int]:
    """Sizes are bytes."""
    return (f"itq:bits={8 * size}" if 8 * size <= dim else ""), size, 4 * dim * (8 * size + 1) + 64 * size


def _rbe(dim: int, size: int) -> tuple[str, int, int]:
    """Sizes are bits."""
    return f"rbe:bits={size}", size * ((dim + 7) // 8), 4 * dim * (size * (size + 5) // 2 + 2)


def _opq_pq(dim: int, size: int) -> tuple[str, int, int]:
    """pq behind a rotation of its own, which is worth its state where subspaces are few."""
    return (
        f"opq:m={size},bits=8,dim={dim}+pq:m={size},bits=8" if 4 * size <= dim and size > 1 else "",
        size,
        4 * dim * (dim + 1) + 1024 * dim,
    )


def _opq_pq_of_part(width: int) -> Family:
    """The same onto `width` dimensions for each subspace."""
    return lambda dim, size: (
        f"opq:m={size},bits=8,dim={width * size}+pq:m={size},bits=8" if 1 < size * width < dim else "",
        size,
        4 * dim * (width * size + 1) + 1024 * width * size,
    )


FAMILIES: Families = (
    (_plain, lambda dim: (16, 8, 6, 4)),
    (lambda dim, size: ("bf16", 2 * dim, 0), _once),
    (_pq, _by_dims), (_pq4, _by_dims),
    (_pca_sq(8), _by_dims), (_pca_sq(6), _by_dims), (_pca_sq(4), _by_dims),
    *((family, _by_bytes) for family in (_klt("none"), _klt("length"))),
    *((_tcq(stages, scale), _by_bytes) for stages in (0, 1, 2) for scale in ("none", "length")),
    (_hadamard, lambda dim: (4, 3, 2, 1)),
    (_pca_pq(2), _by_dims), (_pca_pq(4), _by_dims), (_pca_pq(8), _by_dims),
    (_lsq, _by_bytes), (_prq, _by_bytes), (_opq_pq, _by_dims), (_opq_pq_of_part(4), _by_dims),
    (_rabitq, lambda dim: range(8, 0, -1)), (_rbe, lambda dim: range(4, 0, -1)),
    (_sign, _once), (_itq, _by_bytes),
)  # fmt: skip


def infeasible(room: Room) -> BudgetError:
    """The error that says the least budget that any family has a member for."""
    needs = []
    for family, sizes in FAMILIES:
        for size in {*sizes(room.dim)}:
            spec, code_bytes, shared = family(room.dim, size)
            if spec:
                needs.append(room.need(code_bytes, shared + STATE_BYTES))
    least = min(needs)
    if room.budget.unit == "total":
        text = f"{math.ceil(least)}B"
    else:
        # Rounded up in the third digit, so that what is printed is enough.
        least *= 100 if room.budget.unit == "share" else 1
        digit = 10.0 ** (math.floor(math.log10(least)) - 2)
        unit = {"share": "%", "row": "B/row", "dim": "bit/dim"}[room.budget.unit]
        text = f"{math.ceil(least / digit) * digit:.12g}{unit}"
    rows = "rows" if room.rows is None else f"{room.rows} rows"
    return BudgetError(
        f"budget {room.budget.text!r} holds no codec for {rows} of {room.dim} dimensions; the least is {text}"
    )
