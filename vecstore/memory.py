"""The account of memory: what a process holds of an open collection, whatever lies on disk."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from vecstore.ledger import Account

# Neither arrays nor what holds any of its own.
_LEAVES = (type, ModuleType, BuiltinFunctionType, str, int, float, complex, mmap)
_ARROW = (pa.Array, pa.ChunkedArray, pa.RecordBatch, pa.Table)
_LENDERS = (np.ndarray, bytes, bytearray, memoryview, mmap, pa.Buffer, *_ARROW)  # of what arrays are views of
Roots: TypeAlias = "Mapping[str, Sequence[Any]]"  # objects by the part of the account that they are in


@dataclass(frozen=True)
class Memory(Account):
    """Bytes of arrays in memory by what they are for; the parts sum to `total`.

    codes: as searches read them, side data included, and whatever has no other part. side: what metrics need
    of each row. shared: learned state, and what was worked out of it. ids: the keys, and what finds rows by
    them. index: where batches and pages lie, which of them are verified, which rows are live. Pages of files
    that are mapped are the system's, which drops them when memory is needed elsewhere: they do not count.
    """

    codes: int = 0
    side: int = 0
    shared: int = 0
    ids: int = 0
    index: int = 0


def account(roots: Roots) -> Memory:
    """What is held of all that can be reached from some objects, each array in the first part that has it."""
    seen: set[int] = set()
    return Memory(**{name: _held(objects, seen) for name, objects in roots.items()})


def held_bytes(*objects: Any) -> int:
    """Bytes of all arrays that can be reached from objects, each once."""
    return _held(objects, set())


def _held(objects: Iterable[Any], seen: set[int]) -> int:
    """seen: ids of objects, and addresses of memory, that have been counted; these are added."""
    total, left = 0, list(objects)
    while left:
        found = left.pop()
        if id(found) in seen or isinstance(found, _LEAVES):
            continue
        seen.add(id(found))
        memory: list[tuple[int, int]] = []
        if isinstance(found, np.ndarray):
            if isinstance(found.base, _LENDERS):
                left.append(found.base)
            else:
                memory.append((found.ctypes.data, found.nbytes))
        elif isinstance(found, bytes | bytearray):
            memory.append((id(found), len(found)))
        elif isinstance(found, memoryview):
            left.append(found.obj)
        elif isinstance(found, _ARROW):
            memory += [(buffer.address, buffer.size) for buffer in _buffers(found)]
        elif isinstance(found, pa.Buffer):
            memory.append((found.address, found.size))
        else:
            left += _inside(found)
        for address, size in memory:
            total += 0 if -address in seen else size
            seen.add(-address)
    return total


def _buffers(found: Any) -> Iterator[pa.Buffer]:
    if isinstance(found, pa.Array):
        yield from filter(None, found.buffers())
    else:
        parts = found.chunks if isinstance(found, pa.ChunkedArray) else found.columns
        for part in parts:
            yield from _buffers(part)


def _inside(found: Any) -> Sequence[Any]:
    """What an object refers to; of a function what it was made with, not the module that it stands in."""
    if isinstance(found, FunctionType):
        return [*(found.__closure__ or ()), *(found.__defaults__ or ())]
    return gc.get_referents(found)
