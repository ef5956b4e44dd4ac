"""Symbols of each column under rANS, random mantissa bits as they are, repeated rows once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.lossless.models import Models, build
from vecstore.codecs.lossless.plain import Piece, pack
from vecstore.kernels.planes import find_repeats, put_bits, transpose
from vecstore.kernels.rans import LANES, rans_encode

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]

_LEVEL = 9  # zstd level of the side data
_FEW_DIMS = 8  # rows narrower than this are not looked at for repeats: a reference costs as much


def encode(bits: U32) -> list[Piece]:
    """bits (n, d), n > 0 -> the body of a block of format 2, in pieces."""
    sources = _sources(bits)
    first = np.flatnonzero(sources == np.arange(len(bits)))
    unique = bits if len(first) == len(bits) else bits[first]
    columns = np.empty((bits.shape[1], len(unique)), np.uint32)
    transpose(unique, columns)
    models = build(columns)
    stream, raw_bits = _raw_stream(columns, models)
    sizes = [len(bits), len(unique), len(models.alphabets), len(models.shares)]
    parts: list[Piece] = [np.array(sizes, "<u4").tobytes(), raw_bits.to_bytes(8, "little")]
    repeated = np.flatnonzero(sources != np.arange(len(bits)))
    gaps = np.diff(repeated, prepend=0)
    places = np.searchsorted(first, sources[repeated])
    alphabet = np.concatenate(models.alphabets)
    for side, kind in (
        (np.concatenate([gaps, places]), "<u4"),
        (np.array([len(a) for a in models.alphabets]), "<u2"),
        (models.alphabet_of, "<u2"),
        (models.table_of, "<u2"),
        (np.diff(alphabet[:, 0], prepend=np.uint32(0)), "<u4"),
        (alphabet[:, 1], "u1"),
        (alphabet[:, 2], "u1"),
        (np.concatenate(models.shares), "<u2"),
    ):
        parts += _section(pack(_shuffled(side.astype(kind)), _LEVEL))
    parts += _section(_bytes(_words(models).astype("<u2", copy=False)))
    parts.append(_bytes(stream.astype("<u8", copy=False)))
    return parts


def _sources(bits: U32) -> I64:
    """The first row that equals each row."""
    n, dim = bits.shape
    if dim < _FEW_DIMS:
        return np.arange(n)
    slots = np.full(1 << (2 * n).bit_length(), -1, np.int32)
    sources = np.empty(n, np.int32)
    mixed = np.arange(1, dim + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    multipliers = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) | np.uint64(1)
    find_repeats(bits, multipliers, slots, sources)
    return sources.astype(np.int64)


def _section(data: Piece) -> list[Piece]:
    return [len(data).to_bytes(4, "little"), data]


def _bytes(array: NDArray[np.generic]) -> memoryview:
    return array.view(np.uint8).data


def _shuffled(array: NDArray[np.generic]) -> bytes:
    """Byte 0 of all elements, then byte 1, and so on."""
    return np.ascontiguousarray(array.view(np.uint8).reshape(-1, array.itemsize).T).tobytes()


def _words(models: Models) -> U16:
    lengths = [len(shares) for shares in models.shares]
    starts = np.cumsum([0, *lengths[:-1]], dtype=np.int64)
    words = np.empty(models.symbols.size + 2 * LANES, np.uint16)
    begin = rans_encode(models.symbols, models.table_of, starts, np.concatenate(models.shares), words)
    return words[begin:]


def _raw_stream(columns: U32, models: Models) -> tuple[NDArray[np.uint64], int]:
    lengths = [len(a) for a in models.alphabets]
    starts = np.cumsum([0, *lengths[:-1]], dtype=np.int64)[models.alphabet_of][models.table_of]
    fields = np.concatenate(models.alphabets)[:, 1:].astype(np.uint8)
    # A symbol's raw bits are at most 32 wide.
    stream = np.zeros(columns.size * int(fields[:, 0].max()) // 64 + 2, np.uint64)
    count = put_bits(columns, models.symbols, starts, fields, stream)
    return stream[: -(-count // 64)], count
