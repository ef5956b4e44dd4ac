"""Sinks whose rows lie one behind the other after a header that counts them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, BinaryIO, ClassVar

import numpy as np

from vecstore.formats.base import Batch, RowLayout
from vecstore.formats.fit import fit
from vecstore.formats.writing import FileSink


class RawSink(FileSink):
    """A header, then rows of one dtype; the header is mended at the end if the count was not known."""

    holds_ids: ClassVar[bool] = False
    holds_columns: ClassVar[bool] = False
    _dtype: np.dtype[Any]

    @abstractmethod
    def _kept(self, layout: RowLayout) -> np.dtype[Any]:
        """The dtype that the file keeps, little-endian."""

    @abstractmethod
    def _header(self, rows: int) -> bytes:
        """What stands before the rows; as long for any count. InputError for a count that cannot be said."""

    def _begin(self, file: BinaryIO, layout: RowLayout) -> None:
        self._dtype = self._kept(layout)
        file.write(self._header(self._need_rows("this format")))

    def _append(self, batch: Batch) -> None:
        # The bytes as uint8: numpy has no memoryview of bfloat16.
        self._output.file.write(fit(batch, self._dtype).view(np.uint8).data)

    def _finish(self) -> None:
        if self._promised is None:
            header = self._header(self.count)
            self._output.file.seek(0)
            self._output.file.write(header)
