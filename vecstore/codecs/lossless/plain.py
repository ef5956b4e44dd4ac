"""Byte planes under zstd: fast, and the same whatever the data."""

from __future__ import annotations

import numpy as np
import zstandard
from numpy.typing import NDArray

from vecstore.errors import CorruptError
from vecstore.kernels.planes import join_planes, split_planes

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]

PLANES = 4

Piece = bytes | memoryview


def pack(data: Piece, level: int) -> Piece:
    """One zstd frame that says its content's size, or the data as it is where zstd does not shorten it."""
    frame = zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False).compress(
        data
    )
    return frame if len(frame) < len(data) else data


def unpack(packed: memoryview, size: int, what: str) -> U8:
    """The inverse of `pack`, (size,) uint8; CorruptError unless exactly `size` bytes come out."""
    if len(packed) == size:
        return np.frombuffer(packed, np.uint8)
    try:
        found = zstandard.get_frame_parameters(packed).content_size
        if found != size:
            raise CorruptError(f"{what} says it holds {found} bytes; expected {size}")
        data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptError(f"{what} is not a zstd frame of {size} bytes: {error}") from error
    if len(data) != size:
        raise CorruptError(f"{what} holds {len(data)} bytes; expected {size}")
    return np.frombuffer(data, np.uint8)


def encode(bits: U32, level: int) -> list[Piece]:
    """bits (n,) -> four sections: length as uint64, then the packed plane."""
    planes = np.empty((PLANES, bits.size), np.uint8)
    split_planes(bits, planes)
    parts: list[Piece] = []
    for plane in planes:
        packed = pack(plane.data, level)
        parts += [len(packed).to_bytes(8, "little"), packed]
    return parts


def decode(body: memoryview, count: int) -> U32:
    """The inverse of `encode`: bits (count,); CorruptError."""
    planes = []
    for number in range(PLANES):
        length = int.from_bytes(body[:8], "little")
        if len(body) < 8 or len(body) - 8 < length:
            raise CorruptError(f"byte plane {number} needs {length} bytes; the block has {len(body)} left")
        planes.append(unpack(body[8 : 8 + length], count, f"byte plane {number}"))
        body = body[8 + length :]
    if len(body):
        raise CorruptError(f"{len(body)} bytes stand behind the last byte plane; expected none")
    bits = np.empty(count, np.uint32)
    join_planes(planes[0], planes[1], planes[2], planes[3], bits)
    return bits
