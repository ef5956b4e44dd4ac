"""From ids to row numbers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vecstore.errors import InputError, NotFoundError
from vecstore.formats.idkeys import keys_of

RowNumbers = NDArray[np.int64]
# One id, or many in whatever holds them.
Ids: TypeAlias = "int | str | Sequence[int] | Sequence[str] | NDArray[Any] | pa.Array | pa.ChunkedArray"

# A table over the whole range of ids pays as long as it is not much larger than the ids.
_SPARSE = 4


class Lookup(Protocol):
    """Finds rows by ids that `as_ids` has made uniform."""

    def find(self, ids: Any) -> RowNumbers:
        """The row number of each id; -1 where there is none."""


class Counted:
    """Ids that are the row numbers themselves."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def find(self, ids: NDArray[np.int64]) -> RowNumbers:
        """The row number of each id; -1 where there is none."""
        return np.where((ids >= 0) & (ids < self._rows), ids, -1)


class Table:
    """Integers that lie close together: one cell for each possible id."""

    def __init__(self, ids: NDArray[np.int64]) -> None:
        self._low = int(ids.min())
        self._rows = np.full(int(ids.max()) - self._low + 1, -1, np.int64)
        self._rows[ids - self._low] = np.arange(len(ids))

    def find(self, ids: NDArray[np.int64]) -> RowNumbers:
        """The row number of each id; -1 where there is none."""
        inside = (ids >= self._low) & (ids <= self._low + len(self._rows) - 1)
        return np.where(inside, self._rows[np.where(inside, ids - self._low, 0)], -1)


class Sorted:
    """Integers anywhere, by binary search."""

    def __init__(self, ids: NDArray[np.int64]) -> None:
        ascending = bool((ids[1:] >= ids[:-1]).all())
        self._order = None if ascending else np.argsort(ids, kind="stable")
        self._ids = ids if self._order is None else ids[self._order]

    def find(self, ids: NDArray[np.int64]) -> RowNumbers:
        """The row number of each id; -1 where there is none."""
        place = _search(self._ids, ids)
        place[place == len(self._ids)] = 0
        rows = place if self._order is None else self._order[place]
        return np.where(self._ids[place] == ids, rows, -1)


class Texts:
    """Strings, by binary search among their hashes; what is found is compared with what was asked for."""

    def __init__(self, ids: pa.ChunkedArray) -> None:
        hashes = np.concatenate([_hashes(chunk) for chunk in ids.chunks])
        self._ids = ids.cast(pa.large_string()).combine_chunks()  # Taking from one array is far faster.
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def find(self, ids: pa.Array) -> RowNumbers:
        """The row number of each id; -1 where there is none."""
        hashes = _hashes(ids)
        place = _search(self._hashes, hashes)
        rows = np.full(len(ids), -1, np.int64)
        left = np.arange(len(ids))
        # Usually one round: another only where two ids share all 64 bits.
        while len(left):
            left = left[place[left] < len(self._hashes)]
            left = left[self._hashes[place[left]] == hashes[left]]
            candidates = self._order[place[left]]
            found, asked = self._ids.take(pa.array(candidates)), ids.take(pa.array(left))
            same = pc.equal(found, asked.cast(found.type)).to_numpy(zero_copy_only=False)
            rows[left[same]] = candidates[same]
            left = left[~same]
            place[left] += 1
        return rows


def make_lookup(ids: pa.ChunkedArray) -> Lookup:
    """The lookup that fits these ids, int64 or string, at least one."""
    if ids.type == pa.string():
        return Texts(ids)
    numbers = ids.to_numpy()
    low, high = int(numbers.min()), int(numbers.max())
    if low == 0 and high == len(numbers) - 1 and np.array_equal(numbers, np.arange(len(numbers))):
        return Counted(len(numbers))
    return Table(numbers) if high - low < _SPARSE * len(numbers) else Sorted(numbers)


def all_found(ids: NDArray[np.int64] | pa.Array, rows: RowNumbers, path: str) -> None:
    """NotFoundError that names the first id whose row is negative, if any."""
    if rows.min(initial=0) < 0:
        unknown = rows < 0
        first = ids[int(unknown.argmax())]
        name = first.as_py() if isinstance(first, pa.Scalar) else int(first)
        others = int(unknown.sum()) - 1
        more = f" (nor {others} of the others asked for)" if others else ""
        raise NotFoundError(f"{path} has no id {name!r}{more}")


def as_ids(ids: Ids, kind: pa.DataType, path: str) -> NDArray[np.int64] | pa.Array:
    """One id or many as an int64 array or an Arrow string array, as `kind` asks; InputError otherwise."""
    given: Any = ids
    if isinstance(given, pa.Array | pa.ChunkedArray):
        if kind == given.type == pa.string() and not given.null_count:
            return given.combine_chunks() if isinstance(given, pa.ChunkedArray) else given
        whole = pa.types.is_integer(given.type) and not given.null_count
        given = given.to_numpy() if whole else given.to_pylist()
    if isinstance(given, str | bytes) or not hasattr(given, "__len__"):
        given = [given]
    if isinstance(given, np.ndarray):
        if given.ndim > 1:
            raise InputError(f"ids have the shape {given.shape}; expected one dimension")
        given = given.reshape(-1)
        if kind == pa.int64() and given.dtype.kind == "i":
            return np.ascontiguousarray(given, np.int64)
        if given.dtype.kind == "U" and _cut_short(given):
            given = given.tolist()
    if kind != pa.string():
        return np.array([_integer(item, path) for item in given], np.int64)
    if not set(map(type, given)) <= {str, np.str_}:
        wrong = next(item for item in given if not isinstance(item, str))
        raise InputError(f"{path} has strings for ids; {wrong!r} is a {type(wrong).__name__}")
    try:
        return pa.array(given, pa.string())
    except UnicodeEncodeError as error:
        raise InputError(f"{path} has strings for ids; {error.object!r} is not proper Unicode") from error


def _cut_short(texts: NDArray[np.str_]) -> bool:
    """Whether Arrow would end one of them at a zero that stands within it."""
    points = np.ascontiguousarray(texts).view(np.uint32).reshape(len(texts), -1)
    return bool(((points[:, :-1] == 0) & (points[:, 1:] != 0)).any())


def _integer(item: Any, path: str) -> int:
    try:
        if isinstance(item, bool | np.bool_):
            raise TypeError
        number = operator.index(item)
    except TypeError:
        raise InputError(f"{path} has whole numbers for ids; {item!r} is a {type(item).__name__}") from None
    if not -(2**63) <= number < 2**63:
        raise InputError(f"{path} has int64 ids; {number} is beyond their range")
    return number


def _search(ordered: NDArray[Any], wanted: NDArray[Any]) -> RowNumbers:
    """Where each wanted value would stand in the ordered ones."""
    # In ascending order the searches share their cache lines: twice as fast among a million.
    order = np.argsort(wanted)
    places = np.empty(len(wanted), np.int64)
    places[order] = np.searchsorted(ordered, wanted[order])
    return places


def _hashes(ids: pa.Array) -> NDArray[np.uint64]:
    """64 bits for each string."""
    return keys_of(ids)[:, 0].copy()
