"""opq: turns rows so that product quantization behind it loses least.

side_bytes  0
inverse     least squares (exact up to rounding where all dimensions are kept)
shared      4 dim (dim_out + 1) bytes
source      Ge, He, Ke, Sun 2013, doi:10.1109/CVPR.2013.379: section 3.2 (principal axes dealt out to the
            subspaces so that the products of their variances are alike) begins, section 3.1 (codebooks
            and Procrustes in turn) goes on
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Rows
from vecstore.codecs.transforms.center import mean_row
from vecstore.codecs.transforms.pca import Pca, product, spectrum, with_fixed_signs
from vecstore.errors import SpecError
from vecstore.kernels import kmeans
from vecstore.kernels.product import assign, decode, lay_out, refine, split

_ROWS = 10_240  # of the sample that rotations are learned from
_ROUNDS = 20
_FIRST = 4  # passes of k-means before the first rotation
_WIDTH = 8  # dimensions per subspace where m is not given, as in pq
_LEAST = 1e-9  # variance, as a share of the largest, that an axis counts with: logarithms are summed


@dataclass(frozen=True, eq=False)
class Opq(Pca):
    """Transform: a rotation learned for pq with the same m= and bits=, onto dim= dimensions."""

    name: ClassVar[str] = "opq"
    learns: ClassVar[bool] = True
    m: int
    bits: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits not in (8, 4) or not 1 <= self.m <= self.dim_out:
            raise ValueError(f"opq has bits={self.bits}, m={self.m} in {self.dim_out} dimensions")

    @classmethod
    def fit(
        cls, sample: Rows, *, seed: int = 0, m: int | None = None, bits: int = 8, dim: int | None = None
    ) -> Self:
        """m, bits: as pq's behind it. dim: how many dimensions it gives, m to the width of the rows; by
        default all. Fewer lose the directions of least variance, and leave codebooks less to learn."""
        width = sample.shape[1]
        kept = width if dim is None else dim
        if not 1 <= kept <= width:
            raise SpecError(f"opq has dim={dim}; the rows have {width}, so 1 to that")
        m = max(1, kept // _WIDTH) if m is None else m
        if bits not in (8, 4):
            raise SpecError(f"opq has bits={bits}; expected 8 or 4")
        if not 1 <= m <= kept:
            raise SpecError(f"opq has m={m}; it gives {kept} dimensions, so 1 to that")
        mean = mean_row(sample)
        variances, vectors = spectrum(sample, mean)
        axes = with_fixed_signs(vectors[:, deal(variances[:kept], m)])
        chosen = np.random.default_rng(seed).permutation(len(sample))[:_ROWS]
        rows = product(sample[np.sort(chosen)] - mean, axes)
        turned = axes.astype(np.float64) @ _turn(rows, split(kept, m), min(2**bits, len(rows)), seed)
        return cls(dim=width, mean=mean, axes=np.ascontiguousarray(turned, dtype=np.float32), m=m, bits=bits)

    def options(self) -> dict[str, int | float | bool | str]:
        """The spec's `dim` is the number of dimensions that it gives."""
        return {"m": self.m, "bits": self.bits, "dim": self.dim_out}


def deal(variances: NDArray[np.float64], m: int) -> NDArray[np.int64]:
    """Numbers of the axes (d,), those of the first of m subspaces first.

    Axes by falling variance go, one by one, to the subspace whose variances have the least product so far,
    of those that have room.
    """
    widths = np.diff(split(len(variances), m))
    least = max(float(variances.max(initial=0.0)) * _LEAST, np.finfo(np.float64).tiny)
    # Above the least, so that each axis adds to its subspace and none gets all of the large ones.
    weights = np.log(np.maximum(variances, least) / least) + 1e-6
    loads, members = np.zeros(m), [[] for _ in range(m)]  # type: tuple[NDArray[np.float64], list[list[int]]]
    for axis in np.argsort(-variances, kind="stable"):
        room = np.array([len(found) < width for found, width in zip(members, widths, strict=True)])
        j = int(np.where(room, loads, np.inf).argmin())
        members[j].append(int(axis))
        loads[j] += weights[axis]
    return np.array([axis for found in members for axis in found], np.int64)


def _turn(rows: Rows, starts: NDArray[np.int64], k: int, seed: int) -> NDArray[np.float64]:
    """The rotation (d, d) of rows (n, d), centred, behind which products of k centroids are nearest."""
    turn = np.eye(rows.shape[1])
    if starts.size == 2 or len(rows) <= k:  # One subspace: a rotation changes nothing. Few rows: no error.
        return turn
    centroids = kmeans.train_product(rows, starts, k, iterations=_FIRST, seed=seed)
    codes, back = np.empty((len(rows), starts.size - 1), np.uint8), np.empty_like(rows)
    turned = rows
    for _ in range(_ROUNDS):
        assign(turned, lay_out(centroids, starts), starts, codes)
        refine(turned, centroids, starts, codes)
        decode(codes, centroids, starts, back)
        left, _, right = np.linalg.svd((rows.T @ back).astype(np.float64))
        turn = left @ right
        turned = product(rows, turn.astype(np.float32))
    return turn
