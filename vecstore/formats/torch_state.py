"""Tensors of torch's .pt, .pth and .bin files, loaded with weights_only so that nothing is executed."""

from __future__ import annotations

import io
import pickle
import tempfile
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.base import BFLOAT16
from vecstore.errors import FormatError, InputError, NotFoundError
from vecstore.formats.base import Batch, RowLayout
from vecstore.formats.files import Location, check_dim, fitting_rows
from vecstore.formats.fit import fit
from vecstore.formats.matrix import FileSource, check_real
from vecstore.formats.writing import FileSink

_KEPT = ("f2", "f4", "f8", "i1", "u1", "i2", "i4", "i8")


def _torch(path: str) -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise FormatError(
            f"{path} is a torch file, which needs torch: pip install 'vecstore[torch]'"
        ) from error
    return torch  # type: ignore[no-any-return, unused-ignore]  # typed only where torch is there


class TorchSource(FileSource):
    """The rows of the tensor behind `::`, else of the only 2-D tensor of real numbers."""

    def __init__(self, location: Location) -> None:
        """InputError for a file that is not weights only, NotFoundError for a name, FormatError."""
        self.path = location.path
        tensors: dict[str, Any] = {}
        torch = _torch(self.path)
        _flatten(_load(torch, location), "", tensors, torch)
        self._rows = _as_numpy(torch, _chosen(tensors, location), self.path)
        check_real(self.path, self._rows.dtype)
        check_dim(self.path, self._rows.shape[1])
        self.rows, self.dim = self._rows.shape
        self.dtype = self._rows.dtype

    def _batches(self, batch_rows: int) -> Iterator[Batch]:
        step = fitting_rows(batch_rows, self.dim * self.dtype.itemsize)
        for first in range(0, len(self._rows), step):
            yield Batch(self._rows[first : first + step].copy(), None, None, self.path, first)

    def take(self, numbers: NDArray[np.int64]) -> NDArray[Any] | None:
        """The rows with these ascending numbers, (n, dim)."""
        rows: NDArray[Any] = self._rows[numbers]
        return rows

    def close(self) -> None:
        """Lets go of the tensor."""
        self._rows = self._rows[:0]


def _load(torch: ModuleType, location: Location) -> Any:
    with location.native() as native, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It warns about a foreign pickle and then refuses it.
        zipped = native.read(2) == b"PK"
        native.seek(0)
        try:
            if zipped and location.filesystem is None:
                # A map: only the tensor that is asked for is ever read.
                return torch.load(location.where, map_location="cpu", weights_only=True, mmap=True)
            # The old format is read by lines, which a native file does not do.
            return torch.load(io.BufferedReader(native), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise InputError(
                f"{location.path} is not a file of weights only; nothing else is unpickled. Save the tensor "
                "itself, or a state dict"
            ) from error
        except (AttributeError, TypeError, AssertionError) as error:
            # torch's unpickler runs into these on damaged bytes.
            raise InputError(f"{location.path} cannot be read as a torch file: it is damaged") from error


def _flatten(item: Any, name: str, found: dict[str, Any], torch: ModuleType) -> None:
    """Tensors of nested dicts under names joined by dots."""
    if isinstance(item, torch.Tensor):
        found[name] = item
    elif isinstance(item, dict):
        for key, value in item.items():
            _flatten(value, f"{name}.{key}" if name else str(key), found, torch)


def _chosen(tensors: dict[str, Any], location: Location) -> Any:
    listed = ", ".join(sorted(tensors)[:20]) or "no tensors"
    if location.selector is not None:
        if location.selector not in tensors:
            raise NotFoundError(f"{location.path} has no tensor {location.selector!r}; it has {listed}")
        tensor = tensors[location.selector]
        if tensor.ndim != 2:
            raise InputError(
                f"{location.path}: {location.selector!r} has shape {tuple(tensor.shape)}; expected 2-D"
            )
        return tensor
    fitting = sorted(name for name, tensor in tensors.items() if tensor.ndim == 2)
    if len(fitting) != 1:
        found = ", ".join(fitting[:20]) or f"none among {listed}"
        raise InputError(
            f"{location.path} has {len(fitting)} tensors that could be rows: {found}; name one as file::name"
        )
    return tensors[fitting[0]]


def _as_numpy(torch: ModuleType, tensor: Any, path: str) -> NDArray[Any]:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise InputError(f"{path}: the tensor is {tensor.dtype} {tensor.layout}; expected dense real numbers")
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        bits: NDArray[Any] = tensor.view(torch.int16).numpy()
        return bits.view(BFLOAT16)
    rows: NDArray[Any] = tensor.numpy()
    return rows


class TorchSink(FileSink):
    """A state dict with one tensor, `vector` or the name behind `::`."""

    holds_ids = False
    holds_columns = False

    def _begin(self, file: BinaryIO, layout: RowLayout) -> None:
        _torch(self.path)
        dtype = layout.dtype.newbyteorder("=")
        kept = dtype == BFLOAT16 or dtype.str[1:] in _KEPT
        self._dtype = dtype if kept else np.dtype(np.float32)
        # torch.save wants the whole tensor: the rows wait in a file and are mapped.
        self._spool = tempfile.NamedTemporaryFile()

    def _append(self, batch: Batch) -> None:
        self._spool.write(fit(batch, self._dtype).view(np.uint8).data)

    def _finish(self) -> None:
        torch = _torch(self.path)
        self._spool.flush()
        half = self._dtype == BFLOAT16
        dtype = np.dtype(np.int16) if half else self._dtype
        shape = (self.count, self._layout.dim)
        # Copy-on-write: torch warns about arrays that it cannot write to.
        rows = np.memmap(self._spool.name, dtype, "c", shape=shape) if self.count else np.empty(shape, dtype)
        tensor = torch.from_numpy(rows)
        tensor = tensor.view(torch.bfloat16) if half else tensor
        torch.save({self._output.selector or "vector": tensor}, self._output.file)
        self._spool.close()

    def _drop(self) -> None:
        self._spool.close()
