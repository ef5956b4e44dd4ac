"""Rows that are given to ids as they come: an id's row is one of those from its hash on, in a window.

Nothing but the ids finds them, so a row costs 12 bytes to find, and there is always a place for one more id:
that of the one in the window that is missed least. As TorchRec's multi-probe zero collision hash does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.ids import mix
from vecstore.kernels.jit import kernel

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]

NOWHERE = -1
_UPPER = np.uint64(32)


@kernel
def _first(key: np.int64, rows: int) -> Any:
    """Where the window of an id begins."""
    return np.int64(((mix(np.uint64(key)) >> _UPPER) * np.uint64(rows)) >> _UPPER)


@kernel
def find_ids(keys: I64, ids: I64, lasts: U32, window: int, out: I64) -> None:
    """out[i] = the row of id keys[i], or NOWHERE; keys, out (n,).

    ids, lasts (rows,): the id of each row, and when it came last, 0 where there is none.
    """
    for i in range(keys.size):
        out[i] = NOWHERE
        row = _first(keys[i], ids.size)
        for _ in range(min(window, ids.size)):
            if lasts[row] == 0:
                break
            if ids[row] == keys[i]:
                out[i] = row
                break
            row = row + 1 if row + 1 < ids.size else 0


@kernel
def take_rows(
    keys: I64,
    admitted: NDArray[np.bool_],
    kept: tuple[I64, U32, U32, F32],
    how: tuple[int, int, int],
    fresh: I64,
) -> int:
    """Notes that ids keys (n,) came, and gives rows to new ones that are admitted (n,); says to how many.

    kept: ids, lasts, counts, worths (rows,), all but worths written. how: what time it is, from 1, the
    window, and the time from which on ids are not given up. A new id takes the first free row of its
    window, else of those that came last before that time the one of least worth. fresh (n, 4), written: i,
    the row, and 0, or 1 and the id that lost it.
    """
    ids, lasts, counts, worths = kept
    now, window, since = how
    found = 0
    for i in range(keys.size):
        row, place, free = _first(keys[i], ids.size), NOWHERE, False
        known = False
        for _ in range(min(window, ids.size)):
            if lasts[row] == 0:
                place, free = row, True
                break
            if ids[row] == keys[i]:
                place, known = row, True
                break
            if lasts[row] < since and (place == NOWHERE or worths[row] < worths[place]):
                place = row
            row = row + 1 if row + 1 < ids.size else 0
        if place == NOWHERE or not (known or admitted[i]):
            continue
        if not known:
            fresh[found, 0], fresh[found, 1], fresh[found, 2] = i, place, 0 if free else 1
            fresh[found, 3] = ids[place]
            found += 1
            ids[place], counts[place] = keys[i], 0
        lasts[place] = now
        counts[place] += np.uint32(1)
    return found


@kernel
def place_ids(keys: I64, rows: int, window: int, taken: NDArray[np.bool_], out: I64) -> None:
    """out[i] = the first row of `rows` in the window of id keys[i] that no id before it took, or NOWHERE.

    keys, out (n,), no id twice; taken (rows,), none at first, written.
    """
    for i in range(keys.size):
        out[i] = NOWHERE
        row = _first(keys[i], rows)
        for _ in range(min(window, rows)):
            if not taken[row]:
                taken[row] = True
                out[i] = row
                break
            row = row + 1 if row + 1 < rows else 0
