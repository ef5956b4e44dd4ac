"""lossless: every float32 comes back bit for bit, in as few bytes as its distribution allows.

    code_bytes  None: a block of rows becomes one string of bytes, independent of all other blocks
    error       none; NaN payloads, -0.0, infinities and denormals included
    fit         nothing is learned: what a block needs is inside the block
    source      byte planes: Apache Parquet, Encodings.md, BYTE_STREAM_SPLIT, here after a rotation by one

The layout of a block. Integers are little-endian; a value is a float32 bit pattern.

    offset 0    1 byte   format
    format 0    values   the rows as they are, (n, dim) row-major; n follows from the length
    format 1    n        uint32
                planes   4 sections (uint64 length, bytes): byte 0 to 3 of all values, row-major, after
                         rotation left by one bit; a section as long as the values are many is the bytes
                         themselves, a shorter one is one zstd frame that holds them
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np

from vecstore.codecs.base import Array, BlockCodec, Rows, as_float32, check_rows
from vecstore.codecs.lossless import plain
from vecstore.errors import CorruptError, ShapeError, SpecError

RAW, PLANES = 0, 1
MAX_VALUES = 1 << 30  # in one block: what a hostile header can make a reader allocate


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
    def fit(
        cls, sample: Rows, *, seed: int = 0, level: int = 1, mode: Literal["best", "plain"] = "best"
    ) -> Self:
        """sample (n, dim) gives the dimension and nothing else."""
        return cls(dim=check_rows(sample).shape[1], level=level, mode=mode)

    def encode_block(self, rows: Array) -> bytes:
        """rows (n, dim), any real dtype -> bytes. The same rows give the same bytes. Raises ShapeError."""
        rows = as_float32(check_rows(rows, self.dim))
        if rows.size > MAX_VALUES:
            raise ShapeError(f"a block of {rows.shape} is too large; expected at most {MAX_VALUES} values")
        bits = rows.reshape(-1).view(np.uint32)
        body = len(rows).to_bytes(4, "little") + plain.encode(bits, self.level)
        if len(body) >= rows.nbytes:
            return bytes([RAW]) + rows.tobytes()
        return bytes([PLANES]) + body

    def decode_block(self, block: bytes | memoryview) -> Rows:
        """bytes -> rows (n, dim) float32. CorruptError if the bytes cannot be a block."""
        view = memoryview(block).cast("B")
        kind = view[0] if len(view) else -1
        if kind == RAW and (len(view) - 1) % (4 * self.dim) == 0:
            return np.frombuffer(view[1:], np.uint8).copy().view(np.float32).reshape(-1, self.dim)
        if kind != PLANES or len(view) < 5:
            raise CorruptError(
                f"a lossless block of {len(view)} bytes begins with {kind}; expected format 0 with whole "
                f"rows of {4 * self.dim} bytes, or format 1 with a row count"
            )
        n = int.from_bytes(view[1:5], "little")
        if n * self.dim > MAX_VALUES:
            raise CorruptError(f"a block of {n} rows of {self.dim}; expected at most {MAX_VALUES} values")
        return plain.decode(view[5:], n * self.dim).view(np.float32).reshape(n, self.dim)
