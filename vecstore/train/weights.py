"""Rows of tables as tensors: views where they are float32, else copies that are taken back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vecstore.codecs.tables.dense import DenseStore
from vecstore.codecs.tables.rows import RowsPlan, RowStore, Store
from vecstore.codecs.tables.table import Table
from vecstore.kernels import rowformats as formats


class Lent:
    """Copies of rows of few bits, for those who write to `weight`, as initializers do."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[RowStore, Tensor]] = {}

    def copy(self, name: str, store: RowStore) -> Tensor:
        """The rows (count, w), the same tensor each time until it is taken back."""
        if name not in self._given:
            self._given[name] = (store, torch.from_numpy(_values(store)))
        return self._given[name][1]

    def take_back(self, seed: int) -> None:
        """What was written to copies is what rows are from now on, rounded with the seed."""
        for store, copy in self._given.values():
            if not np.array_equal(copy.numpy(), _values(store)):
                store.write(np.arange(store.plan.count), copy.numpy(), seed)
        self._given.clear()


def _values(store: RowStore) -> NDArray[np.float32]:
    return store.gather(np.arange(store.plan.count)[:, None])[:, 0]


def plain_rows(store: Store) -> RowStore | None:
    """The rows of a store that has some, be it to learn alone."""
    if isinstance(store, DenseStore):
        return None if store.finished else store.inner
    return store if isinstance(store, RowStore) else None


def by_torch(table: Table) -> bool:
    """Whether the table is float32 rows alone, and addresses that stay."""
    plans = [store.plan for store in table.stores]
    rows = all(isinstance(plan, RowsPlan) and plan.kind == formats.F32 for plan in plans)
    return rows and not table.layout.learners


def tensor_of(array: NDArray[Any]) -> Tensor:
    """The array as a tensor, without a copy; unsigned numbers as signed ones, which torch knows better."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.view(array.dtype.str.replace("u", "i"))
    return torch.from_numpy(array)


def array_of(tensor: Tensor, dtype: str) -> NDArray[Any]:
    """The array of a dtype that `tensor_of` gave the tensor of."""
    return tensor.detach().cpu().contiguous().numpy().view(dtype)
