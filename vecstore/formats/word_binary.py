"""word2vec's .bin: a text header of rows and dim, then each word, a blank, and its float32 values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from vecstore.errors import InputError
from vecstore.formats.base import Batch, RowLayout
from vecstore.formats.files import Bytes, Location, check_dim, fitting_rows
from vecstore.formats.fit import fit
from vecstore.formats.matrix import FileSource
from vecstore.formats.word_text import words_of
from vecstore.formats.writing import FileSink

_WORD_LIMIT = 1 << 12
_HEADER_LIMIT = 64
_READ_BYTES = 1 << 20


class WordBinarySource(FileSource):
    """Words as string ids, and their rows as float32."""

    id_type = pa.string()

    def __init__(self, location: Location) -> None:
        """InputError if the header is none, or says more than the file can hold."""
        self.path = location.path
        self._bytes = Bytes(location)
        self.dtype = np.dtype(np.float32)
        head = self._bytes.read(0, min(_HEADER_LIMIT, self._bytes.size)).tobytes()
        line, end, _ = head.partition(b"\n")
        fields = line.split()
        if not end or len(fields) != 2 or not all(field.isdigit() for field in fields):
            raise InputError(
                f"{self.path} starts with {head[:20]!r}; expected the rows and dimensions of a word2vec "
                "file. A tensor of a torch file is named as file.bin::name"
            )
        self.rows, self.dim = int(fields[0]), int(fields[1])
        check_dim(self.path, self.dim)
        self._start = len(line) + 1
        if self.rows * (4 * self.dim + 1) > self._bytes.size - self._start:
            raise InputError(
                f"{self.path} has {self._bytes.size} bytes, too few for the {self.rows} rows of {self.dim} "
                "that its header says: it is cut, or the header is wrong"
            )

    def _batches(self, batch_rows: int) -> Iterator[Batch]:
        assert self.rows is not None, "the header says it"
        step = fitting_rows(batch_rows, 4 * self.dim)
        window = _Window(self._bytes, self._start)
        for first in range(0, self.rows, step):
            count = min(step, self.rows - first)
            rows = np.empty((count, self.dim), np.float32)
            words = []
            for i in range(count):
                words.append(self._word(window, first + i))
                rows[i] = np.frombuffer(window.take(4 * self.dim), "<f4")
            yield Batch(rows, pa.array(words, pa.string()), None, self.path, first)
        left = self._bytes.size - window.position
        if left > 1 or (left and window.take(1) != b"\n"):
            raise InputError(
                f"{self.path} goes on for {left} bytes after its {self.rows} rows; it is damaged"
            )

    def _word(self, window: _Window, row: int) -> str:
        head = window.peek(_WORD_LIMIT)
        length = head.find(b" ")
        if length < 0:
            raise InputError(
                f"{self.path}: row {row} (counted from 0) has no blank after its word at offset "
                f"{window.position}; the file is damaged"
            )
        window.take(length + 1)
        try:
            return head[:length].lstrip(b"\n").decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.path}: row {row} (counted from 0) has a word that is not UTF-8: "
                f"{head[:length][:60]!r}"
            ) from error

    def close(self) -> None:
        """Closes the file."""
        self._bytes.close()


class _Window:
    """A file's bytes from a position on, read a piece at a time."""

    def __init__(self, data: Bytes, position: int) -> None:
        self._data, self.position = data, position
        self._piece, self._at = b"", 0

    def peek(self, length: int) -> bytes:
        """The next length bytes, or as many as there are."""
        if len(self._piece) - self._at < length:
            want = min(max(length, _READ_BYTES), self._data.size - self.position)
            self._piece, self._at = self._data.read(self.position, want).tobytes(), 0
        return self._piece[self._at : self._at + length]

    def take(self, length: int) -> bytes:
        """The next length bytes; InputError if the file ends before."""
        taken = self.peek(length)
        if len(taken) < length:
            self._data.read(self.position, length)
        self._at += length
        self.position += length
        return taken


class WordBinarySink(FileSink):
    """A word2vec .bin file, with the line end after each row that the original tool writes."""

    holds_columns = False

    def _begin(self, file: BinaryIO, layout: RowLayout) -> None:
        if layout.id_type is None:
            self.notes.append(f"{self.path} needs words; the row numbers are written as such")
        elif layout.id_type == pa.int64():
            self.notes.append(f"{self.path} holds ids as words; they are read back as strings")
        self._write_header(self._need_rows("word2vec .bin"))

    def _write_header(self, rows: int) -> None:
        # Room for any count where it is not known yet, so that the header can be mended.
        count = f"{rows:<19d}" if self._promised is None else str(rows)
        self._output.file.write(f"{count} {self._layout.dim}\n".encode())

    def _append(self, batch: Batch) -> None:
        rows = fit(batch, np.dtype("<f4"))
        pieces = []
        for i, word in enumerate(words_of(batch, self.count)):
            if b" " in word or word[:1] == b"\n" or len(word) >= _WORD_LIMIT:
                raise InputError(
                    f"{batch.path}: row {batch.first + i} (counted from 0) has the id {word[:60]!r}; "
                    f"{self.path} cannot hold ids with a blank, a line end first, or {_WORD_LIMIT} bytes and "
                    "more"
                )
            pieces += [word, b" ", rows[i].tobytes(), b"\n"]
        self._output.file.write(b"".join(pieces))

    def _finish(self) -> None:
        if self._promised is None:
            self._output.file.seek(0)
            self._write_header(self.count)
