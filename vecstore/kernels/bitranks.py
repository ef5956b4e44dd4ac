"""Sets of places as bits, and how many members lie before a place."""

from __future__ import annotations

import numpy as np
from numba.core import config, types
from numpy.typing import NDArray

from vecstore.kernels.jit import kernel
from vecstore.kernels.simd import WORD, Builder, Value, emit_call, instruction

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

BLOCK_BITS = 512  # a count for each, and one line of the cache


@instruction(types.int64, types.uint64)
def _ones_compiled(builder: Builder, word: Value) -> Value:
    """How many bits are set."""
    return emit_call(builder, "llvm.ctpop.i64", WORD, [word])


def _ones_plain(word: np.uint64) -> int:
    return int(word).bit_count()


_ones = _ones_plain if config.DISABLE_JIT else _ones_compiled  # type: ignore[attr-defined]


@kernel
def bits_before(bits: U64, ranks: NDArray[np.uint32], places: I64, out: I64) -> None:
    """out[i] = how many members lie before places[i].

    bits (8 b,), 64 places to a word, the lowest bit first; ranks (b,), members before each 512 places;
    places, out (n,).
    """
    for i in range(places.size):
        word = places[i] >> 6
        bit = np.uint64(places[i] & 63)
        block = places[i] >> 9
        before = np.int64(ranks[block])
        for other in range(8 * block, word):
            before += _ones(bits[other])
        out[i] = before + _ones(bits[word] & ((np.uint64(1) << bit) - np.uint64(1)))


@kernel
def bit_ranks(bits: U64, ranks: NDArray[np.uint32], places: I64, out: I64) -> None:
    """out[i] = how many members lie before places[i] if that is one, else -1. Arrays as in `bits_before`."""
    bits_before(bits, ranks, places, out)
    for i in range(places.size):
        if not (bits[places[i] >> 6] >> np.uint64(places[i] & 63)) & np.uint64(1):
            out[i] = -1
