"""Waiting for other threads without going to sleep: to be woken takes as long as many a kernel."""

from __future__ import annotations

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from vecstore.kernels.jit import config, kernel
from vecstore.kernels.simd import ADDRESS, WORD, Builder, Value, address, instruction

I64 = NDArray[np.int64]

_TURNS = 1 << 16  # some 100 microseconds
_MORE = 1 << 10  # after the last flag, until its thread has let the interpreter's lock go


@instruction(types.int64, ADDRESS)
def _fresh(builder: Builder, at: Value) -> Value:
    """The word at an address as other threads see it now."""
    return builder.load_atomic(builder.inttoptr(at, WORD.as_pointer()), "acquire", 8)


@kernel
def _await(flags: I64, turns: int, more: int) -> int:
    """Turns until no flag is zero, or `turns`; then `more` of them."""
    at, turn, base = 0, 0, address(flags)
    while at < flags.size and turn < turns:
        if _fresh(base + 8 * at):
            at += 1
        turn += 1
    for _ in range(more):
        turn += _fresh(base) & 0
    return turn


def await_flags(flags: I64) -> None:
    """Waits a while for other threads to set all of the flags (n,)."""
    if flags.size and not config.DISABLE_JIT:
        _await(flags, _TURNS, _MORE)
