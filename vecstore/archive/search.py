"""Search in an archive: its codes as a scan, its ids, and its carried columns for `where`.

What is kept while the archive is open, made at the first search: codes in the order in which their kernel
reads them (as large as the codes, for codecs of less than two bytes a dimension), the ids, 4 bytes a row for
each of cosine and l2, or 8 for the cosine where rows lie far from the origin. Larger codes, and blocks, are
read from the file and decoded again at every search, a batch at a time. Of a store with more codes than it
was given memory for none are kept: they are laid out, or decoded, a batch at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vecstore.archive.contents import Contents
from vecstore.archive.layout import AnyCodec
from vecstore.archive.picks import Picks
from vecstore.codecs.base import Codec, Codes, Rows
from vecstore.codecs.scan import JoinedScan, Scan
from vecstore.errors import ShapeError, SpecError
from vecstore.kernels import scores
from vecstore.search import Searcher
from vecstore.search.searcher import symmetric_scan
from vecstore.search.where import parse

Where: TypeAlias = "str | pc.Expression | NDArray[np.bool_] | pa.BooleanArray | None"

_WIDE = 2  # bytes a dimension, from which on codes are not kept
_PART_BYTES = 1 << 26  # codes that are read before they are put in the order of their kernel
_SCORES = 1 << 22
_ROW = "vecstore.row"


class ArchiveSearch:
    """What searches of one open archive have in common.

    load: batch number -> its decoded rows. decode: row numbers (n,) -> rows (n, dim).
    """

    def __init__(
        self,
        contents: Contents,
        picks: Picks,
        codec: AnyCodec,
        load: Callable[[int], Rows],
        decode: Callable[[NDArray[np.int64]], Rows],
    ) -> None:
        self._contents, self._picks, self.codec = contents, picks, codec
        self._load, self.decode = load, decode
        self._last: tuple[pc.Expression, NDArray[np.bool_]] | None = None
        self._searchers: dict[bool, Searcher] = {}

    def searcher(self, symmetric: bool = False) -> Searcher:
        """The searcher of queries, or of their codes; made once. SpecError for a codec without the latter."""
        if symmetric not in self._searchers:
            scan = self._scan(symmetric)
            self._searchers[symmetric] = Searcher(scan, self.decode, self.codec.dim, symmetric=symmetric)
        return self._searchers[symmetric]

    def _scan(self, symmetric: bool) -> Scan:
        contents, codec = self._contents, self.codec
        if symmetric:
            symmetric_scan(codec, np.empty((0, codec.code_bytes or 0), np.uint8))
        if isinstance(codec, Codec) and contents.rows:
            make = partial(symmetric_scan, codec) if symmetric else codec.scan
            if self.cold:
                first = make(contents.codes(0, codec.code_bytes)[:1])
                if symmetric or (first.alike and not first.bounds):
                    return _PassingScan(contents, codec.code_bytes, make, first)
                return _BatchScan(contents, self._load)
            if symmetric or codec.code_bytes < _WIDE * codec.dim:
                return JoinedScan(_kept(contents, codec.code_bytes, make))
        return _BatchScan(contents, self._load)

    @property
    def terms(self) -> list[Rows]:
        """What searches by cosine and l2 keep of rows, by now."""
        return [terms for searcher in self._searchers.values() for terms in searcher.terms.made]

    @property
    def cold(self) -> bool:
        """Whether there is no memory to keep the codes in."""
        return self._picks.cold

    @property
    def rows(self) -> int:
        """How many there are."""
        return self._contents.rows

    def ids(self, numbers: NDArray[np.int64]) -> pa.Array:
        """The ids of rows (n,)."""
        return self._picks.ids(numbers)

    def codes(self) -> Codes:
        """The codes (n, code_bytes) of all rows."""
        assert isinstance(self.codec, Codec)
        width = self.codec.code_bytes
        parts = [self._contents.codes(index, width) for index in range(self._contents.batches)]
        return np.concatenate(parts) if parts else np.empty((0, width), np.uint8)

    def mask(self, where: Where) -> NDArray[np.bool_] | None:
        """True for the rows (n,) that match; None: all of them."""
        if where is None:
            return None
        if isinstance(where, pa.BooleanArray | pa.ChunkedArray):
            where = pc.fill_null(where, False).to_numpy(zero_copy_only=False)
        if isinstance(where, np.ndarray):
            return where
        if isinstance(where, str):
            where = parse(where, self._contents.schema)
        if not isinstance(where, pc.Expression):
            raise ShapeError(
                f"where is a {type(where).__name__}; expected text, an Arrow expression or an array of bool"
            )
        if self._last is None or not self._last[0].equals(where):
            self._last = where, self._matches(where)
        return self._last[1]

    def _matches(self, where: pc.Expression) -> NDArray[np.bool_]:
        """True for the rows (n,) that an expression over ids and carried columns holds for."""
        contents = self._contents
        mask = np.zeros(contents.rows, np.bool_)
        names = [name for name in contents.schema.names if name not in contents.code_names]
        for index in range(contents.batches):
            table = pa.Table.from_batches([contents.batch(index, width=0).select(names)])
            first = index * contents.batch_rows
            numbers = pa.array(np.arange(first, first + len(table)))
            try:
                found = table.append_column(_ROW, numbers).filter(where).column(_ROW)
            except (pa.ArrowException, TypeError) as error:
                raise SpecError(
                    f"where ({where}) does not fit the columns of {contents.path}, which are "
                    f"{', '.join(f'{name} ({table.schema.field(name).type})' for name in names)}: "
                    f"{str(error).splitlines()[0]}"
                ) from error
            mask[found.to_numpy()] = True
        return mask


def _kept(contents: Contents, code_bytes: int, make: Callable[[Codes], Scan]) -> list[Scan]:
    """Scans of all codes, each of as many batches as are read at a time."""
    # A power of two, as batches are: so that each part begins where a kernel can.
    rows = max(contents.batch_rows, 1 << (_PART_BYTES // code_bytes).bit_length())
    buffer = np.empty(contents.longest_batch(), np.uint8)
    parts = []
    for start in range(0, contents.rows, rows):
        codes = np.empty((min(rows, contents.rows - start), code_bytes), np.uint8)
        for at in range(0, len(codes), contents.batch_rows):
            index = (start + at) // contents.batch_rows
            codes[at : at + contents.batch_rows] = contents.codes(index, code_bytes, buffer)
        parts.append(make(codes))
    return parts


class _BatchScan(Scan):
    """Batches that are read and decoded when they are asked for."""

    def __init__(self, contents: Contents, load: Callable[[int], Rows]) -> None:
        self.rows, self.nbytes, self.alike = contents.rows, 0, True
        self.step = contents.batch_rows
        self.queries = max(1, min(256, _SCORES // self.step))
        self._load = load

    def prepare(self, queries: Rows) -> Rows:
        """The queries in whole vectors."""
        return scores.pack(queries)

    def dots(self, prepared: Rows, start: int, stop: int, out: Rows) -> None:
        """Reads and decodes, then multiplies."""
        for at in range(start, stop, self.step):
            rows = self._load(at // self.step)
            found = np.empty((len(out), len(rows)), np.float32)
            scores.dots(rows, prepared, found)
            out[:, at - start : at - start + len(rows)] = found[:, : stop - at]


class _PassingScan(Scan):
    """Codes that are read and laid out for their kernel when they are asked for, a batch at a time, and then
    forgotten."""

    def __init__(
        self, contents: Contents, code_bytes: int, make: Callable[[Codes], Scan], first: Scan
    ) -> None:
        """first: of any row; what it prepares serves all."""
        self.rows, self.nbytes, self.step = contents.rows, 0, contents.batch_rows
        self.exact, self.alike, self.queries = first.exact, True, first.queries
        self._contents, self._code_bytes, self._make, self._first = contents, code_bytes, make, first

    def prepare(self, queries: Rows) -> Any:
        """That of the one row."""
        return self._first.prepare(queries)

    def dots(self, prepared: Any, start: int, stop: int, out: Rows) -> None:
        """Reads and lays out, then as the scan does."""
        for at in range(start, stop, self.step):
            scan = self._make(self._contents.codes(at // self.step, self._code_bytes))
            self._contents.pages.release(*self._contents.offsets[at // self.step :][:2].tolist())
            found = np.empty((len(out), scan.rows), np.float32)
            scan.dots(prepared, 0, scan.rows, found)
            out[:, at - start : at - start + scan.rows] = found[:, : stop - at]
