"""Vectors by a combiner, and gradients back through it, for so many ids at a time that parts stay small."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.dense import DenseStore
from vecstore.codecs.tables.ids import NO_OFFSETS
from vecstore.codecs.tables.layout import Branch
from vecstore.codecs.tables.rows import Job, RowStore, Store

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

_AT_ONCE = 1 << 20  # values of parts, where these are many times what comes out of them
_MANY = 8


def combine(
    branch: Branch, stores: Sequence[Store], keys: I64, addresses: Sequence[I64]
) -> tuple[F32, list[F32]]:
    """The vectors (n, d) of ids (n,), and the parts that they came of, unless these are too many to keep."""
    assert branch.combiner is not None
    shared, blocks = _shared(branch, stores), _blocks(branch, stores, addresses, len(keys))
    if len(blocks) == 1:
        parts = _parts(branch, stores, keys, addresses)
        return branch.combiner.forward(parts, shared), parts
    out = np.empty((len(keys), branch.field.dim), np.float32)
    for some in blocks:
        parts = _parts(branch, stores, keys[some], [found[some] for found in addresses])
        out[some] = branch.combiner.forward(parts, shared)
    return out, []


def jobs_of(
    branch: Branch,
    stores: Sequence[Store],
    keys: I64,
    addresses: Sequence[I64],
    parts: list[F32],
    gradient: F32,
) -> list[tuple[int, Job]]:
    """What the gradients of vectors (n, d) are for stores.

    parts: as of `combine`, made anew where it has kept none. Then gradients of a row are summed block by
    block, and take no more memory than the store's rows.
    """
    assert branch.combiner is not None
    shared = _shared(branch, stores)
    if parts:
        back, slopes = branch.combiner.backward(parts, shared, gradient)
        found = [
            (term.store, _job(where, part))
            for term, where, part in zip(branch.terms, addresses, back, strict=True)
        ]
    else:
        sums = {term.store: _Sums(stores[term.store], len(keys)) for term in branch.terms}
        slopes = [np.zeros_like(matrix) for matrix in shared]
        for some in _blocks(branch, stores, addresses, len(keys)):
            mine = [each[some] for each in addresses]
            again = _parts(branch, stores, keys[some], mine)
            back, more = branch.combiner.backward(again, shared, gradient[some])
            for slope, part in zip(slopes, more, strict=True):
                slope += part
            for term, where, part in zip(branch.terms, mine, back, strict=True):
                sums[term.store].add(_job(where, part))
        found = [(store, job) for store, each in sums.items() for job in each.jobs()]
    return found + [
        (store, _job(np.arange(len(slope), dtype=np.int64), slope))
        for store, slope in zip(branch.shared, slopes, strict=True)
    ]


def _job(addresses: I64, gradients: F32) -> Job:
    return Job(addresses.reshape(-1, 1, 1), NO_OFFSETS, np.ascontiguousarray(gradients))


class _Sums:
    """Gradients of a store's rows, job by job: one sum a row, where it has no more rows than ids come."""

    def __init__(self, store: Store, ids: int) -> None:
        plain = store.inner if isinstance(store, DenseStore) else store
        assert isinstance(plain, RowStore)
        self._store, self._jobs = plain, list[Job]()
        few = plain.plan.count <= ids
        self._total = np.zeros((plain.plan.count, plain.plan.width), np.float32) if few else None
        self._touched = np.zeros(plain.plan.count if few else 0, np.bool_)

    def add(self, job: Job) -> None:
        """The next one."""
        rows, sums = self._store.coalesce([job])
        if self._total is None:
            self._jobs.append(_job(rows, sums.copy()))
            return
        self._total[rows] += sums
        self._touched[rows] = True

    def jobs(self) -> list[Job]:
        """All of them as one, or as few as there are."""
        if self._total is None:
            return self._jobs
        rows = np.flatnonzero(self._touched)
        return [_job(rows, self._total[rows])]


def _blocks(branch: Branch, stores: Sequence[Store], addresses: Sequence[I64], count: int) -> list[slice]:
    """All ids; or, where what stands between them and their vectors is many times these, some at a time."""
    assert branch.combiner is not None
    each = branch.combiner.between(_shared(branch, stores)) + sum(
        found[:1].size * stores[term.store].plan.width
        for term, found in zip(branch.terms, addresses, strict=True)
    )
    step = count if each <= _MANY * branch.field.dim else max(1, _AT_ONCE // each)
    return [slice(start, start + step) for start in range(0, count, step)]


def _parts(branch: Branch, stores: Sequence[Store], keys: I64, addresses: Sequence[I64]) -> list[F32]:
    assert branch.combiner is not None
    return [
        stores[term.store].gather(found.reshape(len(found), -1))
        for term, found in zip(branch.terms, addresses, strict=True)
    ] + branch.combiner.inputs(keys)


def _shared(branch: Branch, stores: Sequence[Store]) -> list[F32]:
    return [stores[store].values for store in branch.shared]
