"""The contracts of codecs and transforms, and the words that all of them use.

n rows, d (or dim) dimensions, m subspaces, k centroids, b bits. A row is one vector, its bytes are its
code. Rows are (n, dim) float32 and codes (n, code_bytes) uint8, always C-contiguous; component j of row i
is rows[i, j], so nothing below says it again. Input of any other real dtype is converted block by block,
never as a whole. What a codec cannot take is refused at one door, `Codec.encode`.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar, NoReturn, Self

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.parts import Part, dumps
from vecstore.codecs.scan import DecodedScan, Scan
from vecstore.errors import InputError, ShapeError, SpecError, WidthError
from vecstore.kernels import scores
from vecstore.kernels.finite import largest, within
from vecstore.kernels.threads import spread
from vecstore.ledger import Ledger
from vecstore.memory import Memory, held_bytes

Rows = NDArray[np.float32]
Codes = NDArray[np.uint8]
Array = NDArray[Any]

BFLOAT16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)

# Larger values are refused by all codecs that calculate: sums of their squares leave float32's range. So are
# samples without any value as large as LEAST, of which squares vanish, and with them what tells rows apart.
LARGEST, LEAST = 1e17, 1e-17

# A row is saturated if it is so many times as far from the middle of what codes stand for as any of that is.
# Codes of one bit a dimension decode to rows shorter than usual ones, and lengths have tails.
FAR = 8.0

# A block of rows as float32: half of a usual second-level cache, so that the kernel finds it there.
_BLOCK_BYTES = 1 << 19
_LEAST_BLOCK = 64  # rows

# Decoded rows that are more than this go past the cache, where the codec can do that: about as much as a
# processor has for each of its cores.
_CACHE_BYTES = 1 << 23


def check_rows(rows: Array, dim: int | None = None) -> Array:
    """Returns rows as they are if they are (n, dim) of a real dtype; ShapeError otherwise, which is a
    WidthError if nothing but the width is wrong."""
    try:
        array = np.asarray(rows)
    except ValueError as error:
        raise ShapeError(f"rows are no array: {error}") from error
    real = array.dtype == BFLOAT16 or array.dtype.kind in "fiu"
    if array.ndim != 2 or not real or (dim is not None and array.shape[1] != dim):
        wanted = "(n, dim)" if dim is None else f"(n, {dim})"
        kind = WidthError if array.ndim == 2 and real else ShapeError
        raise kind(f"rows are {array.dtype} {array.shape}; expected a real dtype, {wanted}")
    if array.shape[1] == 0:
        raise ShapeError(f"rows are {array.shape}; expected at least one dimension")
    return array


def as_float32(rows: Array) -> Rows:
    """rows (n, d) of a real dtype as contiguous float32; the same array if it is that already."""
    if rows.dtype == BFLOAT16:
        wide = rows.view(np.uint16).astype(np.uint32) << 16
        return np.ascontiguousarray(wide.view(np.float32))
    if rows.dtype.kind == "f" and rows.dtype.itemsize > 4:
        with np.errstate(over="ignore"):  # What overflows becomes infinite, and is refused as such.
            return np.ascontiguousarray(rows, dtype=np.float32)
    return np.ascontiguousarray(rows, dtype=np.float32)


def overflows(rows: Array) -> NDArray[np.bool_]:
    """True for the rows (n,) of a real dtype that hold a number which float32 does not."""
    if rows.dtype.kind != "f" or rows.dtype.itemsize <= 4:
        return np.zeros(len(rows), np.bool_)
    return np.asarray((np.isinf(as_float32(rows)) & np.isfinite(rows)).any(axis=1))


def block_rows(dim: int) -> int:
    """How many float32 rows of this width make one block of work."""
    return max(_LEAST_BLOCK, _BLOCK_BYTES // (4 * dim))


def unsound(rows: Rows, limit: float) -> NDArray[np.bool_]:
    """True for the rows (n,) that hold NaN or a value larger than limit."""
    with np.errstate(invalid="ignore"):
        return np.asarray(~(np.abs(rows) <= limit).all(axis=1))


def refusal(row: Rows, number: int, name: str) -> str:
    """What is wrong with a row (d,) that a codec does not take, for a message."""
    with np.errstate(invalid="ignore"):
        dim = int(np.argmin(np.isfinite(row))) if not np.isfinite(row).all() else int(np.abs(row).argmax())
    return (
        f"row {number} holds {row[dim]:g} in dimension {dim}, beyond what {name} takes "
        "(drop the row, or use lossless or f32)"
    )


class Codec(Part):
    """A fitted, immutable map row <-> code. Born by `fit`, so an untrained codec cannot exist.

    A codec is a frozen dataclass: scalar fields are its configuration, array fields its learned state.
    It adds `fit(sample, *, seed=0, ...)`, `code_bytes`, `_encode` and `_decode`.
    """

    keeps_nonfinite: ClassVar[bool] = False  # True where NaN and infinity come back bit for bit
    is_lossless: ClassVar[bool] = False
    dim: int

    @property
    def safe_size(self) -> float:
        """Rows whose values are all at most this large are taken; of others `refused` tells which."""
        return LARGEST

    def refused(self, rows: Rows) -> NDArray[np.bool_]:
        """True for the rows (n, dim) that have no code: NaN, infinities, and what is too large."""
        return unsound(rows, self.safe_size)

    @classmethod
    @abstractmethod
    def fit(cls, sample: Rows, *, seed: int = 0) -> Self:
        """Learns from sample (n, dim) float32. Configuration comes by keyword. n may be smaller than k."""

    @property
    @abstractmethod
    def code_bytes(self) -> int:
        """Bytes per row, side data included."""

    @property
    def side_bytes(self) -> int:
        """Bytes per row of scales and norms, a part of code_bytes."""
        return 0

    @abstractmethod
    def _encode(self, rows: Rows, codes: Codes) -> None:
        """Writes the codes of a block of contiguous float32 rows, none of them `refused`."""

    @abstractmethod
    def _decode(self, codes: Codes, rows: Rows) -> None:
        """Writes the rows of a block of contiguous codes; any bytes are a legal code."""

    def _decode_past(self, codes: Codes, rows: Rows) -> None:
        """`_decode` of one of so many blocks that the first is out of the cache when the last is done: a
        codec that writes each value once can spare reading what it overwrites."""
        self._decode(codes, rows)

    @cached_property
    def ball(self) -> tuple[Rows, float] | None:
        """The middle (dim,) of the rows that codes stand for, and a distance from it that none of them is
        beyond; None where there is no such distance short of what is refused."""
        return None

    def _saturated(self, rows: Rows, codes: Codes) -> NDArray[np.bool_]:
        """True for the rows of a block (n, dim) that are `FAR` outside of what codes stand for.

        Their codes, given too, stand for the farthest row on about the same side.
        """
        if self.ball is None:
            return np.zeros(len(rows), np.bool_)
        middle, radius = self.ball
        distances = np.zeros(len(rows))
        # No row of a usual block is so far: its largest value tells, at a fifth of the cost.
        if not np.sqrt(self.dim) * (largest(rows) + largest(middle)) <= FAR * radius:
            scores.gaps(rows, middle, distances)
        return np.asarray(distances > (FAR * radius) ** 2)

    def _code(self, rows: Rows, codes: Codes, marks: NDArray[np.bool_] | None = None) -> None:
        """`_encode`, and `_saturated` into marks (n,) if given: both here, so that what stands in front of a
        codec transforms rows only once."""
        self._encode(rows, codes)
        if marks is not None:
            marks[:] = self._saturated(rows, codes)

    def encode(
        self, rows: Array, *, out: Codes | None = None, saturated: NDArray[np.bool_] | None = None
    ) -> Codes:
        """rows (n, dim), any real dtype, -> codes (n, code_bytes). Rows on several threads, same result.

        saturated: (n,), written if given: True for rows far outside of what the codec was fitted on, whose
        codes stand for rows that are much nearer (`FAR`). Raises ShapeError for a wrong shape or dtype,
        InputError with the row for NaN and infinity.
        """
        rows = check_rows(rows, self.dim)
        codes = _output(out, (len(rows), self.code_bytes), np.uint8)

        def work(start: int, stop: int) -> None:
            block = as_float32(rows[start:stop])
            self.admit(block, start)
            self._code(block, codes[start:stop], None if saturated is None else saturated[start:stop])

        spread(len(rows), block_rows(self.dim), work)
        return codes

    def admit(self, block: Rows, first: int, before: str = "") -> None:
        """The one door: InputError for a row of a block that has no code. first: number of its first row."""
        if self.keeps_nonfinite or within(block, self.safe_size):
            return
        bad = self.refused(block)
        if bad.any():
            row = int(bad.argmax())
            raise InputError(before + refusal(block[row], first + row, str(self.spec)))

    def decode(self, codes: Array, *, out: Rows | None = None) -> Rows:
        """codes (n, code_bytes) uint8 -> rows (n, dim) float32. Raises ShapeError."""
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != self.code_bytes:
            raise ShapeError(f"codes are {codes.dtype} {codes.shape}; expected uint8 (n, {self.code_bytes})")
        codes = np.ascontiguousarray(codes)
        rows = _output(out, (len(codes), self.dim), np.float32)
        if len(codes) <= _LEAST_BLOCK:
            self._decode(codes, rows)
        else:
            work = self._decode if rows.nbytes < _CACHE_BYTES else self._decode_past
            block = block_rows(self.dim)
            spread(len(codes), block, lambda start, stop: work(codes[start:stop], rows[start:stop]))
        return rows

    def scan(self, codes: Codes) -> Scan:
        """Codes (n, code_bytes) ready for inner products with queries (`vecstore.codecs.scan`)."""
        return DecodedScan(codes, self.decode)

    def scan_symmetric(self, codes: Codes) -> Scan | None:
        """Codes (n, code_bytes) ready to be compared with codes: `prepare` rounds the queries as rows are.

        What `dots` gives is then no inner product of a query but that of two codes, in units of the codec's
        own (for one bit a dimension, dimensions less twice the Hamming distance): larger is nearer. It is
        coarser than `scan`, and for some codecs faster. None for a codec that compares no codes.
        """
        return None

    def error_bounds(self, codes: Codes, queries: Array, *, epsilon: float = 1.9) -> Rows:
        """How far inner products of queries (q, dim) with decoded rows are from those with the rows, at most,
        with high probability: (q, n) for codes (n, code_bytes). SpecError for codecs that do not know."""
        raise SpecError(f"{self.name} has no bounds for its errors; rabitq has")

    def leading(self, dims: int) -> Codec:
        """The codec of the first `dims` dimensions, fewer than all, whose codes are the first bytes of this
        one's (`vecstore.codecs.tiers`). SpecError where their bytes do not stand first, or end inside one."""
        raise SpecError(
            f"in codes of {self.name} no dimension has bytes of its own, so there is no tier of {dims}"
        )

    def prefix(self, size: int) -> Codec:
        """The codec of rows as wide whose codes are the first `size` bytes of this one's, fewer than all
        (`vecstore.codecs.tiers`). SpecError where these are no coarser code of all dimensions."""
        raise SpecError(
            f"{self.name} has no tier of {size} bytes: of its codes the first bytes are not of all dimensions"
        )

    def ledger(self, rows: int) -> Ledger:
        """The bytes of a collection of `rows` rows: codes, side data, learned state."""
        if rows < 0:
            raise SpecError(f"a ledger of {rows} rows; expected 0 or more")
        side = rows * self.side_bytes
        return Ledger(codes=rows * self.code_bytes - side, side=side, shared=len(dumps(self)))

    def memory_ledger(self, rows: int) -> Memory:
        """What codes of `rows` rows take in memory as they are, and what is held of the codec by now."""
        size, side = rows * self.code_bytes, rows * self.side_bytes
        return Memory(codes=size - side, side=side, shared=held_bytes(self))


class BlockCodec(Part):
    """A fitted, immutable map between blocks of rows and bytes, for codes of no fixed size."""

    keeps_nonfinite: ClassVar[bool] = True
    is_lossless: ClassVar[bool] = True
    dim: int

    @classmethod
    @abstractmethod
    def fit(cls, sample: Rows, *, seed: int = 0) -> Self:
        """Learns from sample (n, dim) float32. Configuration comes by keyword."""

    @property
    def code_bytes(self) -> None:
        """None: a row has no size of its own."""
        return None

    @property
    def side_bytes(self) -> int:
        """Zero: whatever a block needs is inside its bytes."""
        return 0

    def encode(self, rows: Array) -> NoReturn:
        """SpecError: there are no codes of rows, only blocks."""
        raise SpecError(f"{self.spec} has no codes of single rows; encode_block makes one block of all")

    def decode(self, codes: Array) -> NoReturn:
        """SpecError: there are no codes of rows, only blocks."""
        raise SpecError(f"{self.spec} has no codes of single rows; decode_block takes a block of them")

    @abstractmethod
    def encode_block(self, rows: Array) -> bytes:
        """rows (n, dim), any real dtype -> bytes. The same rows give the same bytes."""

    @abstractmethod
    def decode_block(self, block: bytes | memoryview, rows: int | None = None) -> Rows:
        """bytes -> rows (n, dim) float32. CorruptError if the bytes cannot be a block.

        rows: how many there are, where that is known; a block of another number is corrupt, and is found so
        before anything is allocated for it.
        """


class Transform(Part):
    """A fitted, immutable map row -> row that stands before a codec in a chain.

    It adds `fit(sample, *, seed=0, ...)`, `dim_out`, `_apply` and `_invert`. `dim` is the width of the
    rows that it takes. What `invert` needs of a row beyond the transformed row is its side data, kept in
    front of the row's code.
    """

    dim: int

    @classmethod
    @abstractmethod
    def fit(cls, sample: Rows, *, seed: int = 0) -> Self:
        """Learns from sample (n, dim) float32. Configuration comes by keyword."""

    @property
    @abstractmethod
    def dim_out(self) -> int:
        """Width of the rows that it gives."""

    @property
    def side_bytes(self) -> int:
        """Bytes per row of side data."""
        return 0

    @abstractmethod
    def safe_size(self, rest: float) -> float:
        """How large values may be so that they are taken, and come out at most `rest` large."""

    def refused(self, rows: Rows) -> NDArray[np.bool_]:
        """True for the rows (n, dim) that cannot be transformed."""
        return unsound(rows, LARGEST)

    @abstractmethod
    def apply(self, rows: Rows, side: Codes) -> Rows:
        """rows (n, dim) -> rows (n, dim_out); writes side (n, side_bytes)."""

    def saturated(self, side: Codes) -> NDArray[np.bool_]:
        """True for the rows whose side data (n, side_bytes) stand for less than they were."""
        return np.zeros(len(side), np.bool_)

    @abstractmethod
    def invert(self, rows: Rows, side: Codes) -> Rows:
        """rows (n, dim_out), side (n, side_bytes) -> rows (n, dim): the inverse, or the least-squares one."""

    def pull(self, queries: Rows) -> tuple[Rows, NDArray[np.float64]] | None:
        """queries (q, dim) -> queries (q, dim_out) and offsets (q,) with <query, invert(row)> equal to
        <pulled, row> + offset for every row; None for a transform whose inverse is not affine."""
        return None

    def factors(self, rows: Rows, side: Codes) -> Rows | None:
        """The f (n,) with `invert(rows, side)` equal to rows * f[:, None]; None for a transform whose inverse
        does not scale each row."""
        return None


def _output(out: Array | None, shape: tuple[int, int], dtype: type[np.generic]) -> Array:
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous or not out.flags.writeable:
        raise ShapeError(f"out is {out.dtype} {out.shape}; expected contiguous {np.dtype(dtype)} {shape}")
    return out
