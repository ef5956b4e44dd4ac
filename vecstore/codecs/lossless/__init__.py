"""lossless: every float32 comes back bit for bit, in as few bytes as its distribution allows.

    code_bytes  None: a block of rows becomes one string of bytes, independent of all other blocks
    error       none; NaN payloads, -0.0, infinities and denormals included
    fit         nothing is learned: what a block needs is inside the block
    source      byte planes: Apache Parquet, Encodings.md, BYTE_STREAM_SPLIT, here after a rotation by one;
                symbols: Duda 2013, arXiv:1311.2540, section 3 (`kernels.rans`)

The layout of a block. Integers are little-endian; a value is a float32 bit pattern.

    offset 0    1 byte   format
    format 0    values   the rows as they are, (n, dim) row-major; n follows from the length
    format 1    n        uint32
                planes   4 sections (uint64 length, bytes): byte 0 to 3 of all values, row-major, after
                         rotation left by one bit; packed
    format 2    n, u, a, t   4 uint32: rows, different rows, alphabets, tables of shares
                raw      uint64: how many raw bits there are
                side     8 sections (uint32 length, bytes), packed byte planes (byte 0 of all elements,
                         then byte 1, ...) of these arrays:
                           uint32 (2 (n - u),)  gaps between the rows that repeat an earlier one (the first
                                                gap counts from row 0), then which different row each is
                           uint16 (a,)          sizes of the alphabets, 1 to 4096
                           uint16 (t,)          the alphabet of each table
                           uint16 (dim,)        the table of each column
                           uint32 (sum of a,)   bases, as differences modulo 2^32; all alphabets in order
                           uint8  (sum of a,)   widths
                           uint8  (sum of a,)   shifts
                           uint16               shares of the symbols, table by table, each summing to 4096
                symbols  section: four uint32 rANS states, then uint16 words (vecstore/kernels/rans.py);
                         the symbols of the different rows, column by column
                raw      uint64 words to the end: of each value, column by column, the lowest bit first,
                         `width` bits of its symbol; the value is base | these bits << shift
    format 3    n        uint32
                values   one section to the end: the values, row-major, packed
    packed               as long as the content: the content; shorter: one zstd frame that holds it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import Array, BlockCodec, Rows, as_float32, check_rows
from vecstore.codecs.lossless import columns, plain, reading
from vecstore.codecs.lossless.plain import Piece
from vecstore.errors import CorruptError, ShapeError, SpecError

U32 = NDArray[np.uint32]

RAW, PLANES, COLUMNS, ZSTD = 0, 1, 2, 3
_TRIAL = 1 << 18  # bytes of a block that zstd is tried on before it is given the whole
MAX_VALUES = 1 << 28  # in one block: what a hostile header can make a reader allocate


@dataclass(frozen=True, eq=False)
class Lossless(BlockCodec):
    """Bit-exact blocks: `mode="best"` for size, `mode="plain"` for byte planes under zstd."""

    name: ClassVar[str] = "lossless"
    dim: int
    level: int = 1
    mode: str = "best"

    def __post_init__(self) -> None:
        if self.mode not in ("best", "plain"):
            raise SpecError(f"lossless: mode is {self.mode!r}; expected best or plain")
        if not 1 <= self.level <= 19:
            raise SpecError(f"lossless: level is {self.level}; expected a zstd level, 1 to 19")

    @classmethod
    def fit(cls, sample: Rows, *, seed: int = 0, level: int = 1, mode: str = "best") -> Self:
        """sample (n, dim) gives the dimension and nothing else."""
        return cls(dim=check_rows(sample).shape[1], level=level, mode=mode)

    def encode_block(self, rows: Array) -> bytes:
        """rows (n, dim), any real dtype -> bytes. The same rows give the same bytes. Raises ShapeError."""
        rows = as_float32(check_rows(rows, self.dim))
        if rows.size > MAX_VALUES:
            raise ShapeError(f"a block of {rows.shape} is too large; expected at most {MAX_VALUES} values")
        bits = rows.view(np.uint32)
        head = len(rows).to_bytes(4, "little")
        raw = rows.reshape(-1).view(np.uint8).data
        best: list[Piece] = [bytes([RAW]), raw]
        if self.mode == "best" and len(rows):
            best = min(best, [bytes([COLUMNS]), *columns.encode(bits)], key=_size)
        # What shrinks this far is fast under zstd too, and a piece of it says nothing about the whole.
        share = _size(best) / max(1, rows.nbytes)
        promise = 1.02 * share if share > 1 / 16 else np.inf
        if self.mode == "plain" or _worth(lambda part: plain.encode(part, self.level), bits, promise):
            best = min(best, [bytes([PLANES]), head, *plain.encode(bits.reshape(-1), self.level)], key=_size)
        if self.mode == "best" and _worth(
            lambda part: [plain.pack(part.view(np.uint8).data, self.level)], bits, promise
        ):
            best = min(best, [bytes([ZSTD]), head, plain.pack(raw, self.level)], key=_size)
        return b"".join(best)

    def decode_block(self, block: bytes | memoryview, rows: int | None = None) -> Rows:
        """bytes -> rows (n, dim) float32; rows says how many if that is known. CorruptError if the bytes
        cannot be a block, or one of that many rows."""
        view = memoryview(block).cast("B")
        kind = view[0] if len(view) else -1
        if (
            kind == RAW
            and (len(view) - 1) % (4 * self.dim) == 0
            and rows in (None, len(view) // (4 * self.dim))
        ):
            return np.frombuffer(view[1:], np.uint8).copy().view(np.float32).reshape(-1, self.dim)
        if kind not in (PLANES, COLUMNS, ZSTD) or len(view) < 5:
            raise CorruptError(
                f"a lossless block of {len(view)} bytes begins with {kind}; expected format 0 with whole "
                f"rows of {4 * self.dim} bytes, or format 1 to 3 with a row count"
            )
        n = int.from_bytes(view[1:5], "little")
        count = n * self.dim
        if count > MAX_VALUES or rows not in (None, n):
            wanted = f"at most {MAX_VALUES} values" if rows is None else f"{rows} rows"
            raise CorruptError(f"a block of {n} rows of {self.dim}; expected {wanted}")
        if kind == COLUMNS:
            return reading.decode(view[1:], self.dim, MAX_VALUES).view(np.float32)
        if kind == PLANES:
            bits = plain.decode(view[5:], count)
        else:
            bits = plain.unpack(view[5:], 4 * count, "the values").view(np.uint32).copy()
        return bits.view(np.float32).reshape(n, self.dim)


def _size(parts: Sequence[Piece]) -> int:
    return sum(len(part) for part in parts)


def _worth(encode: Callable[[U32], Sequence[Piece]], bits: U32, promise: float) -> bool:
    """Whether a piece from the middle of a block shrinks to the promised share."""
    flat = bits.reshape(-1)
    size = _TRIAL // 4
    first = max(0, flat.size // 2 - size // 2)
    piece = flat[first : first + size]
    return _size(encode(piece)) < promise * piece.nbytes
