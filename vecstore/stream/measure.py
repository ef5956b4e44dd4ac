"""What a codec loses, measured on rows that it was not fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.codecs.base import BlockCodec, Codec, Rows, as_float32
from vecstore.codecs.grouped import Grouped


class Loss:
    """Sums of squared errors and of squared distances to the mean, over rows that stream by."""

    def __init__(self, codec: Codec | BlockCodec) -> None:
        self._codec = codec
        self._error = 0.0
        self._square = 0.0
        self._sum = np.zeros(codec.dim)
        self.rows = 0

    def add(self, rows: NDArray[Any], columns: pa.RecordBatch | None = None) -> None:
        """Encodes and decodes rows (n, dim) of a real dtype, with what they carry; adds what they lose."""
        if isinstance(self._codec, BlockCodec) or self._codec.is_lossless or not len(rows):
            self.rows += len(rows)
            return
        codec = self._codec
        grouped = isinstance(codec, Grouped) and columns is not None and codec.column in columns.schema.names
        if isinstance(codec, Grouped) and columns is not None and grouped:
            back = codec.decode(codec.encode_by(rows, columns.column(codec.column)))
        else:
            back = codec.decode(codec.encode(rows))
        self.compare(rows, back)

    def compare(self, rows: NDArray[Any], back: Rows) -> None:
        """Adds what rows (n, dim) that came back as `back` lose."""
        exact = as_float32(rows).astype(np.float64)
        self.rows += len(rows)
        self._error += float(np.square(exact - back).sum())
        self._square += float(np.square(exact).sum())
        self._sum += exact.sum(axis=0)

    @property
    def relative_mse(self) -> float:
        """Sum of squared errors over sum of squared distances to the mean; 0 for lossless codecs.

        Of rows that are all alike the distance is zero: then 0 if the error is, else infinity. NaN if
        nothing was measured.
        """
        if not self.rows and not self._codec.is_lossless:
            return float("nan")
        if self._error == 0:
            return 0.0
        spread = self._square - float(np.square(self._sum).sum()) / self.rows
        return self._error / spread if spread > 0 else float("inf")
