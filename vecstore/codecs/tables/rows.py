"""A store of rows: their format, their bytes, what an optimizer keeps of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.ids import NO_OFFSETS, NO_WEIGHTS, Batch
from vecstore.codecs.tables.optimizers import Optimizer
from vecstore.errors import BudgetError, SpecError
from vecstore.kernels import rowformats as formats
from vecstore.kernels.radix import pack, sort_keys
from vecstore.kernels.simd import empty_floats, zero_floats
from vecstore.kernels.tablepool import pool, pool_elements
from vecstore.kernels.tablestep import scratch_width, step_part, sum_rows
from vecstore.kernels.threads import get_threads, spread

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

KINDS = {
    "f32": formats.F32, "f16": formats.F16, "int16": formats.I16, "int8": formats.I8, "int4": formats.I4,
    "alpt16": formats.L16, "alpt": formats.L8, "alpt4": formats.L4,
}  # fmt: skip
_POOL_BAGS = 512  # of a thread, at least
_THREAD_IDS = 4096  # from so many on, threads share a step
_INIT_VALUES = 1 << 16
MAX_ROWS = (1 << 32) - 1  # what keys of a step hold


def kind_of(name: str) -> int:
    """The number of a format of rows; SpecError for a name that is none."""
    if str(name) not in KINDS:
        raise SpecError(
            f"rows={name!r} is no format of rows; expected one of {', '.join(KINDS)}, or lsq1 to lsq8 "
            "where rows stay where they are"
        )
    return KINDS[name]


@dataclass(frozen=True)
class Plan:
    """A store before it exists: so many rows of a width."""

    count: int
    width: int

    def parts(self) -> dict[str, int]:
        """Bytes by part of the ledger, but for the optimizer's."""
        raise NotImplementedError

    def new(self, optimizer: Optimizer, seed: int) -> Store:
        """The store; the same seed gives the same one."""
        raise NotImplementedError

    def grown(self, at: int, count: int) -> Self:
        """With so many rows more, in front of row `at`."""
        return dataclasses.replace(self, count=self.count + count)


@dataclass(frozen=True)
class Room:
    """Rows that a store gains: `count` in front of row `at`, which makes it one of `plan`.

    first: they begin as the mean of rows `since` to `at`, or as they are drawn for a new table, with a seed.
    """

    store: int
    plan: Plan
    since: int
    at: int
    count: int
    first: str = "mean"
    seed: int = 0


@dataclass(frozen=True)
class RowsPlan(Plan):
    """Rows of a format, and between what values they begin."""

    kind: int = formats.F32
    low: float = -0.05
    high: float = 0.05
    role: str = "parameters"  # in the ledger; or codebooks

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return formats.row_bytes(self.kind, self.width)

    @property
    def bytes(self) -> int:
        """Bytes of all rows."""
        return self.count * self.row_bytes

    def parts(self) -> dict[str, int]:
        return {self.role: self.bytes}

    def drawn(self, rng: np.random.Generator, count: int) -> F32:
        """Values of so many rows, (count, w)."""
        values: F32 = rng.random((count, self.width), np.float32)
        return values * np.float32(self.high - self.low) + np.float32(self.low)

    def new(self, optimizer: Optimizer, seed: int) -> RowStore:
        return RowStore.new(self, optimizer, seed)


@dataclass
class Job:
    """Gradients for one store: addresses (n, c, p) by bags, and of each bag the gradient (bags, c * w)."""

    addresses: I64
    offsets: I64
    gradients: F32


class Scratch:
    """What a thread needs for a step, kept from one to the next."""

    def __init__(self, width: int) -> None:
        self.keys: U64 = np.empty(0, np.uint64)
        self.spare: U64 = self.keys
        self.counts: I64 = np.empty((2, 2048), np.int64)
        self.sums = empty_floats(2 * scratch_width(width)).reshape(2, -1)

    def reserve(self, count: int) -> None:
        """Room for so many keys."""
        if len(self.keys) < count:
            self.keys, self.spare = np.empty(count, np.uint64), np.empty(count, np.uint64)


class Store:
    """Rows of a plan that can be read at addresses and take steps."""

    plan: Plan
    state: F32  # what the optimizer keeps of each row, (count, s)

    @property
    def values(self) -> F32:
        """The rows themselves, (count, w), where they are float32."""
        raise NotImplementedError

    def pool(self, addresses: I64, batch: Batch, out: F32, *, adds: bool = False) -> None:
        """out (bags, >= c * w) = or += sums over bags and probes of the rows at addresses (n, c, p)."""
        raise NotImplementedError

    def gather(self, addresses: I64) -> F32:
        """The rows at addresses (n, k), (n, k, w)."""
        raise NotImplementedError

    def write(self, rows: I64, values: F32, seed: int) -> None:
        """Rows (n,) become values (n, w); other formats than float32 round with the seed."""
        raise NotImplementedError

    def step(self, jobs: Sequence[Job], optimizer: Optimizer, rate: float, count: int, seed: int) -> None:
        """One step of an optimizer; the gradients of a row are summed first, in the order of the jobs.

        The same bits on any number of threads.
        """
        raise NotImplementedError

    def kept(self) -> dict[str, NDArray[Any]]:
        """All arrays, by `part` of the ledger or `part.what`."""
        raise NotImplementedError

    def grown(self, room: Room) -> Store:
        """A store with rows more, of which the optimizer has kept nothing yet; this one stays as it is."""
        raise NotImplementedError

    def finish(self) -> None:
        """Training is over: what only that needs is let go."""
        raise NotImplementedError


@dataclass
class RowStore(Store):
    """Rows as bytes of a format."""

    plan: RowsPlan
    data: NDArray[np.uint8]  # (count, row bytes)
    state: F32
    scratch: list[Scratch] = field(default_factory=list)  # of each thread

    @classmethod
    def new(cls, plan: RowsPlan, optimizer: Optimizer, seed: int) -> RowStore:
        """Rows drawn evenly between low and high; BudgetError for more rows than addresses."""
        if plan.count > MAX_ROWS:
            raise BudgetError(f"{plan.count:,} rows are more than a store addresses, {MAX_ROWS:,}")
        store = cls(plan, np.empty((0, 0), np.uint8), np.empty((0, 0), np.float32))
        store._allocate(optimizer.state_width(plan.width))
        rng = np.random.default_rng(seed)
        block = max(1, _INIT_VALUES // max(plan.width, 1))
        for start in range(0, plan.count, block):
            stop = min(start + block, plan.count)
            store.write(np.arange(start, stop), plan.drawn(rng, stop - start), seed)
        return store

    @property
    def values(self) -> F32:
        return self.data.view(np.float32)

    def write(self, rows: I64, values: F32, seed: int) -> None:
        if self.plan.kind == formats.F32:
            self.values[rows] = values
        else:
            formats.encode_rows(
                np.ascontiguousarray(values), self.data, rows, self.plan.kind, np.uint64(seed)
            )

    def pool(self, addresses: I64, batch: Batch, out: F32, *, adds: bool = False) -> None:
        kind, width = self.plan.kind, self.plan.width

        def work(start: int, stop: int) -> None:
            if len(batch.offsets):
                inside, offsets, weights = addresses, batch.offsets[start : stop + 1], batch.weights
            else:
                inside, offsets = addresses[start:stop], NO_OFFSETS
                weights = batch.weights[start:stop]
            if width == 1 and kind == formats.F32:
                pool_elements(self.values[:, 0], inside, offsets, weights, out[start:stop], adds)
            else:
                pool(self.data, inside, offsets, weights, out[start:stop], (kind, width, int(adds)))

        spread(batch.bags, max(_POOL_BAGS, -(-batch.bags // get_threads())), work)

    def gather(self, addresses: I64) -> F32:
        flat = addresses.reshape(-1, 1, 1)
        out = np.empty((len(flat), self.plan.width), np.float32)
        self.pool(flat, Batch(flat[:, 0, 0], NO_OFFSETS, NO_WEIGHTS, False), out)
        return out.reshape(*addresses.shape[:2], self.plan.width)

    def step(self, jobs: Sequence[Job], optimizer: Optimizer, rate: float, count: int, seed: int) -> None:
        # Each thread has its own rows, so that their number does not matter.
        size = sum(job.addresses.size for job in jobs)
        parts = get_threads() if size > _THREAD_IDS else 1
        rule = optimizer.rule((self.plan.kind, self.plan.width), rate, count, seed)
        pieces = self._pieces(jobs)
        self.scratch += [Scratch(self.plan.width) for _ in range(parts - len(self.scratch))]

        def work(part: int, _stop: int) -> None:
            scratch = self.scratch[part]
            at, first = self._packed(jobs[:-1], (part, parts))
            job = jobs[-1]
            step_part(
                (job.addresses, job.offsets, first, (part, parts)),
                (scratch.keys, scratch.spare, scratch.counts, at, self._bits),
                (self.data, self.state, pieces, scratch.sums),
                rule,
            )

        if jobs:
            for scratch in self.scratch[:parts]:
                scratch.reserve(size)
            spread(parts, 1, work)

    @property
    def _bits(self) -> int:
        """Bits of a row's number."""
        return max(self.plan.count - 1, 1).bit_length()

    def _packed(self, jobs: Sequence[Job], share: tuple[int, int]) -> tuple[int, int]:
        """Puts keys of one part of the rows into its scratch; where they end, and the next job's piece."""
        scratch, end, first = self.scratch[share[0]], 0, 0
        for job in jobs:
            end = pack(job.addresses, job.offsets, first, share, scratch.keys, end)
            first += job.gradients.size // self.plan.width
        return end, first

    def _pieces(self, jobs: Sequence[Job]) -> I64:
        """Where each piece of w gradients lies, as `step_rows` takes it."""
        starts = [job.gradients.ctypes.data for job in jobs]
        if len(jobs) == 1:
            return np.array(starts, np.int64)
        width = self.plan.width
        each = [
            start + np.arange(job.gradients.size // width, dtype=np.int64) * (4 * width)
            for start, job in zip(starts, jobs, strict=True)
        ]
        return np.concatenate(each) if each else np.empty(0, np.int64)

    def coalesce(self, jobs: Sequence[Job]) -> tuple[I64, F32]:
        """The rows (u,), ascending, that have gradients, and the sum of each (u, w)."""
        self.scratch = self.scratch or [Scratch(self.plan.width)]
        scratch = self.scratch[0]
        scratch.reserve(sum(job.addresses.size for job in jobs))
        end, _ = self._packed(jobs, (0, 1))
        swapped = sort_keys(scratch.keys[:end], scratch.spare[:end], scratch.counts, self._bits)
        keys = (scratch.spare if swapped else scratch.keys)[:end]
        rows, sums = np.empty(len(keys), np.int64), np.empty((len(keys), self.plan.width), np.float32)
        found = sum_rows(keys, self._pieces(jobs), rows, sums, self.scratch[0].sums)
        return rows[:found], sums[:found]

    def move(self, count: int, old: I64, new: I64) -> None:
        """There are `count` rows, zeros, but for those that were rows `old` (n,) and are now rows `new`."""
        data, state = self.data, self.state
        self.plan = dataclasses.replace(self.plan, count=count)
        self._allocate(state.shape[1])
        self.data[new] = data[old]
        self.state[new] = state[old]

    def grown(self, room: Room) -> Store:
        assert isinstance(room.plan, RowsPlan)
        rng, block = np.random.default_rng(room.seed), max(1, _INIT_VALUES // max(self.plan.width, 1))
        mean = self._mean(range(room.since, room.at, block), room.at) if room.first == "mean" else None
        new = type(self)(room.plan, self.data, self.state)
        new._allocate(self.state.shape[1])
        stop = room.at + room.count
        for mine, its in ((self.data, new.data), (self.state, new.state)):
            its[: room.at], its[stop:] = mine[: room.at], mine[room.at :]
        for start in range(room.at, stop, block):
            rows = np.arange(start, min(start + block, stop))
            values = room.plan.drawn(rng, len(rows)) if mean is None else np.repeat(mean, len(rows), 0)
            new.write(rows, values, room.seed)
        return new

    def _mean(self, starts: range, stop: int) -> F32:
        """The mean (1, w) of rows up to `stop`, taken from each start to the next."""
        total = np.zeros((1, self.plan.width))
        for start in starts:
            rows = np.arange(start, min(start + starts.step, stop))
            total += self.gather(rows[:, None])[:, 0].sum(0, dtype=np.float64)
        return (total / max(stop - starts.start, 1)).astype(np.float32)

    def _allocate(self, state_width: int) -> None:
        """Rows of zeros. Rows that straddle lines of the cache take a half longer to read."""
        count, row_bytes = self.plan.count, self.plan.row_bytes
        if self.plan.kind == formats.F32:
            self.data = zero_floats(count * self.plan.width).reshape(count, self.plan.width).view(np.uint8)
        else:
            self.data = np.zeros((count, row_bytes), np.uint8)
        self.state = zero_floats(count * state_width).reshape(count, state_width)

    def packed(self, rows: I64) -> NDArray[np.uint8]:
        """The bytes of rows (n,) and of their state, side by side."""
        return np.concatenate([self.data[rows], self.state[rows].view(np.uint8)], axis=1)

    def unpack(self, rows: I64, packed: NDArray[np.uint8]) -> None:
        """Rows (n,) become what `packed` gave."""
        width = self.data.shape[1]
        self.data[rows] = packed[:, :width]
        self.state[rows] = np.ascontiguousarray(packed[:, width:]).view(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`rows`, and `state` where there is some."""
        rows = self.values if self.plan.kind == formats.F32 else self.data
        return {"rows": rows, "state": self.state} if self.state.size else {"rows": rows}

    def kept(self) -> dict[str, NDArray[Any]]:
        names = {"rows": self.plan.role, "state": "optimizer"}
        return {names[name]: array for name, array in self.arrays().items()}

    def finish(self) -> None:
        self.state = np.empty((self.plan.count, 0), np.float32)
        self.scratch = []


def put_in(array: NDArray[Any], at: int, count: int, values: Any) -> NDArray[Any]:
    """The array with `count` places more in front of place `at`, which hold the values."""
    out = np.empty((len(array) + count, *array.shape[1:]), array.dtype)
    out[:at], out[at : at + count], out[at + count :] = array[:at], values, array[at:]
    return out


def sum_bags(vectors: F32, batch: Batch, out: F32, *, adds: bool = False) -> None:
    """out (bags, >= w) = or += sums of vectors (n, w) over bags, with weights."""
    every = np.arange(len(vectors), dtype=np.int64).reshape(-1, 1, 1)
    rows = np.ascontiguousarray(vectors).view(np.uint8)
    RowStore(RowsPlan(*vectors.shape), rows, NO_WEIGHTS).pool(every, batch, out, adds=adds)
