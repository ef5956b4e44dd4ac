"""Word vectors as text: word2vec (a header of rows and dim) and GloVe (none), one row a line.

A line's last dim fields are the row and what stands before them is the word, blanks included.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from vecstore.errors import InputError
from vecstore.formats.base import Batch, RowLayout
from vecstore.formats.files import Bytes, Location, check_dim, fitting_rows
from vecstore.formats.fit import fit
from vecstore.formats.matrix import FileSource
from vecstore.formats.writing import FileSink

_BLOCK_BYTES = 1 << 22
_LINE_LIMIT = 1 << 26
_PEEK_LINES = 1000
_BLANKS = b" \t\r\v\f"
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|nan)", re.IGNORECASE)
_HEADER = re.compile(rb"(\d{1,18})[ \t]+(\d{1,9})[ \t\r]*")


class WordTextSource(FileSource):
    """Words as string ids, and their rows as float32."""

    id_type = pa.string()

    def __init__(self, location: Location) -> None:
        """InputError for an empty file and for one whose first lines are no words with numbers."""
        self.path = location.path
        self._is_glove = location.suffix == ".glove"
        self._bytes = Bytes(location)
        self.dtype = np.dtype(np.float32)
        head = self._peek()
        if not head:
            raise InputError(f"{self.path} is empty; expected lines of a word and its numbers")
        self._header_lines, self.rows, self.dim = self._layout(head)
        check_dim(self.path, self.dim)

    def _peek(self) -> list[bytes]:
        head, size = [], 0
        for line in itertools.islice(self._lines(), _PEEK_LINES):
            head.append(line)
            size += len(line)
            if size > _BLOCK_BYTES:
                break
        return head

    def _layout(self, head: list[bytes]) -> tuple[int, int | None, int]:
        """Lines to skip, rows if a header says how many, and dim."""
        header = _HEADER.fullmatch(head[0])
        if header:
            rows, dim = int(header[1]), int(header[2])
            # Two numbers may also be a word and its only value; then the next line is as short.
            if dim == 1 and self._is_glove:
                return 0, None, 1
            if (len(head) == 1 and rows == 0) or (len(head) > 1 and _numbers(head[1]) >= dim > 0):
                return 1, rows, dim
        # Most runs of numbers are a row: a word may end in numbers of its own, and a line may lack some.
        runs = Counter(_numbers(line) for line in head)
        dim = max(runs, key=lambda width: (runs[width], -width))
        if 0 in runs:
            row = next(i for i, line in enumerate(head) if not _numbers(line))
            raise InputError(
                f"{self.path}: line {row} (counted from 0) does not end in numbers after a word: "
                f"{head[row][:60]!r}"
            )
        return 0, None, dim

    def _lines(self) -> Iterator[bytes]:
        """All lines without their ends. InputError if the last one has none."""
        rest = b""
        for offset in range(0, self._bytes.size, _BLOCK_BYTES):
            block = self._bytes.read(offset, min(_BLOCK_BYTES, self._bytes.size - offset)).tobytes()
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            if len(rest) > _LINE_LIMIT:
                raise InputError(f"{self.path} has a line of more than {_LINE_LIMIT} bytes; it is not text")
            yield from lines
        if rest:
            raise InputError(
                f"{self.path} ends within a line: {rest[-40:]!r}; it is cut (if it is not, add a line end)"
            )

    def _batches(self, batch_rows: int) -> Iterator[Batch]:
        step = fitting_rows(batch_rows, self.dim * 16)
        lines = itertools.islice(self._lines(), self._header_lines, None)
        first = 0
        while block := list(itertools.islice(lines, step)):
            yield self._batch(block, first)
            first += len(block)
        if self.rows is not None and first != self.rows:
            raise InputError(
                f"{self.path} has {first} rows; its header says {self.rows}: it is cut or damaged"
            )

    def _batch(self, lines: list[bytes], first: int) -> Batch:
        words, texts = [], []
        bad = np.zeros(len(lines), bool)
        for i, line in enumerate(lines):
            try:
                word, text = self._parts(line)
            except ValueError as error:
                self._refuse(bad, i, first, str(error))
                word, text = "", self._zeros
            words.append(word)
            texts.append(text)
        rows = self._values(texts, first, bad)
        return Batch(rows, pa.array(words, pa.string()), None, self.path, first, bad if bad.any() else None)

    @property
    def _zeros(self) -> bytes:
        return b" ".join([b"0"] * self.dim)

    def _parts(self, line: bytes) -> tuple[str, bytes]:
        """The word and the text of its values; ValueError says what is wrong."""
        fields = line.rsplit(None, self.dim)
        if len(fields) == self.dim and line[:1] in (b" ", b"\t"):
            fields.insert(0, b"")  # The empty word.
        if len(fields) != self.dim + 1:
            raise ValueError(f"has {max(0, len(fields) - 1)} values; the rows before have {self.dim}")
        try:
            return fields[0].decode(), b" ".join(fields[1:])
        except UnicodeDecodeError as error:
            raise ValueError(f"has a word that is not UTF-8: {fields[0][:60]!r}") from error

    def _values(self, texts: list[bytes], first: int, bad: NDArray[np.bool_]) -> NDArray[np.float32]:
        try:
            return parse_values(texts, self.dim)
        except pa.ArrowInvalid:
            for i, text in enumerate(texts):
                wrong = next((field for field in text.split(b" ") if not _NUMBER.fullmatch(field)), None)
                if wrong is not None:
                    self._refuse(bad, i, first, f"has {wrong[:40]!r} where a number should be")
                    texts[i] = self._zeros
            return parse_values(texts, self.dim)

    def _refuse(self, bad: NDArray[np.bool_], place: int, first: int, what: str) -> None:
        """Marks a row that cannot be read, or raises InputError."""
        if not self.skip:
            raise InputError(
                f"{self.path}: row {first + place} (counted from 0) {what}; mend it, or leave such rows out "
                "with --on-error skip"
            )
        bad[place] = True

    def close(self) -> None:
        """Closes the file."""
        self._bytes.close()


def _numbers(line: bytes) -> int:
    """How many fields at the end of a line are numbers, the word's place not counted."""
    fields = line.split()
    count = 0
    for field in reversed(fields):
        if not _NUMBER.fullmatch(field):
            break
        count += 1
    has_word = line[:1] in (b" ", b"\t")
    return count if has_word else min(count, max(0, len(fields) - 1))


def parse_values(texts: list[bytes], dim: int) -> NDArray[np.float32]:
    """Lines of dim numbers between single blanks -> (n, dim), each the float32 nearest to its digits."""
    names = [str(i) for i in range(dim)]
    size = sum(map(len, texts)) + len(texts)
    table = csv.read_csv(
        pa.BufferReader(b"\n".join(texts) + b"\n"),
        csv.ReadOptions(column_names=names, use_threads=False, block_size=max(1 << 16, size)),
        csv.ParseOptions(delimiter=" ", quote_char=False),
        csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float32()), null_values=[]),
    )
    rows = np.empty((len(texts), dim), np.float32)
    if len(table) != len(texts):
        raise pa.ArrowInvalid("a line is empty")
    for i, column in enumerate(table.columns):
        rows[:, i] = column.to_numpy()
    return rows


class WordTextSink(FileSink):
    """word2vec text for .vec and .txt (with its header), GloVe for .glove (without one)."""

    holds_columns = False

    def _begin(self, file: BinaryIO, layout: RowLayout) -> None:
        if layout.id_type is None:
            self.notes.append(f"{self.path} needs words; the row numbers are written as such")
        elif layout.id_type == pa.int64():
            self.notes.append(f"{self.path} holds ids as words; they are read back as strings")
        self._has_header = self._output.suffix != ".glove"
        if self._has_header:
            self._write_header(self._need_rows("word2vec text"))

    def _write_header(self, rows: int) -> None:
        # Room for any count where it is not known yet, so that the header can be mended.
        count = f"{rows:<19d}" if self._promised is None else str(rows)
        self._output.file.write(f"{count} {self._layout.dim}\n".encode())

    def _append(self, batch: Batch) -> None:
        values = format_values(fit(batch, np.dtype(np.float32)))
        words = words_of(batch, self.count)
        for i, word in enumerate(words):
            if b"\n" in word or word[-1:].isspace():
                self._refuse(batch, i, word, "a line end, or a blank at its end")
            if not self._has_header and _numbers(word + b" 0") > 1:
                self._refuse(batch, i, word, "a number at its end, which GloVe text cannot tell from the row")
        self._output.file.write(b"".join(w + b" " + v + b"\n" for w, v in zip(words, values, strict=True)))

    def _refuse(self, batch: Batch, row: int, word: bytes, what: str) -> None:
        raise InputError(
            f"{batch.path}: row {batch.first + row} (counted from 0) has the id {word[:60]!r}; {self.path} "
            f"cannot hold an id with {what}"
        )

    def _finish(self) -> None:
        if self._has_header and self._promised is None:
            self._output.file.seek(0)
            self._write_header(self.count)


def words_of(batch: Batch, first: int) -> list[bytes]:
    """The ids as words; row numbers from first on where there are none."""
    if batch.ids is None:
        return [b"%d" % i for i in range(first, first + len(batch))]
    return [str(value).encode() for value in batch.ids.to_pylist()]


def format_values(rows: NDArray[Any]) -> list[bytes]:
    """Each row (n, dim) float32 as numbers between blanks, as few digits as give the same float32 back."""
    buffer = pa.BufferOutputStream()
    table = pa.Table.from_arrays(
        [pa.array(np.ascontiguousarray(rows[:, i])) for i in range(rows.shape[1])],
        names=[str(i) for i in range(rows.shape[1])],
    )
    csv.write_csv(table, buffer, csv.WriteOptions(include_header=False, delimiter=" "))
    lines: list[bytes] = buffer.getvalue().to_pybytes().split(b"\n")
    return lines[:-1]
