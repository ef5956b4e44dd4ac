"""Rows that take their step in the backward pass: lookups of the core that autograd takes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from vecstore.codecs.tables.ids import NO_OFFSETS, NO_WEIGHTS, Batch
from vecstore.codecs.tables.table import Seen, Table
from vecstore.errors import InputError

Gradients = dict[str, NDArray[np.float32]]


class Learner:
    """What steps a table's rows: its learning rate, and the processes that it goes together with."""

    def __init__(self, table: Table, lr: float) -> None:
        self.table = table
        self.group: Any = None
        self._lr = lr
        self._handle: FusedOptimizer | None = None

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self._lr if self._handle is None else float(self._handle.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = value
        if self._handle is not None:
            self._handle.param_groups[0]["lr"] = value

    def handle(self, anchor: Tensor) -> FusedOptimizer:
        """What a scheduler of learning rates takes for an optimizer."""
        if self._handle is None:
            self._handle = FusedOptimizer(anchor, self._lr)
        return self._handle

    def look(self, anchor: Tensor, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """{field: (bags, dim)}, sums; their gradients step the table if the anchor requires one."""
        found = _Looked.apply(anchor, self, dict(batches))
        return dict(zip(batches, found, strict=True))

    def learn(self, seen: Mapping[str, Seen], gradients: Gradients) -> None:
        """One step; InputError if other processes are there that would go another way."""
        if distributed.is_available() and distributed.is_initialized():
            if self.group is None and distributed.get_world_size() > 1:
                raise InputError(
                    "there are several processes, whose tables would drift apart: call synchronize() on "
                    "this module in each of them, or train it by torch.optim with optimizer=None"
                )
            if self.group is not None:
                seen, gradients = self._together(seen, gradients)
        if gradients:
            self.table.apply(seen, gradients, self.lr)

    def _together(
        self, seen: Mapping[str, Seen], gradients: Gradients
    ) -> tuple[Mapping[str, Seen], Gradients]:
        """The lookups of all processes as one, with the mean of their gradients."""
        mine = {field: (seen[field].batch, gradient) for field, gradient in gradients.items()}
        count = distributed.get_world_size(self.group)
        all_of: list[Any] = [None] * count
        distributed.all_gather_object(all_of, mine, group=self.group)
        batches: dict[str, Batch] = {}
        slopes: Gradients = {}
        for field in sorted({field for each in all_of for field in each}):
            given = [each[field] for each in all_of if field in each]
            batches[field] = joined([batch for batch, _ in given])
            slopes[field] = np.concatenate([slope for _, slope in given])
            slopes[field] /= np.float32(count)
        return self.table.trace(batches), slopes


def check_equal(table: Table, group: Any) -> None:
    """InputError unless the tables of all processes of a group are the same, bit for bit."""
    found: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(found, table.state().identity, group=group)
    others = [rank for rank, identity in enumerate(found) if identity != found[0]]
    if others:
        raise InputError(
            f"the table of process {others[0]} is another than that of process 0: give both the same seed, "
            "and load the same state in each, before synchronize()"
        )


class FusedOptimizer(torch.optim.Optimizer):
    """For schedulers: the learning rate of steps that the backward pass takes; `step` has nothing to do."""

    def __init__(self, anchor: Tensor, lr: float) -> None:
        super().__init__([anchor], {"lr": lr})

    def step(self, closure: Any = None) -> Any:
        """Nothing, but what the closure gives."""
        return None if closure is None else closure()


class _Looked(torch.autograd.Function):
    """Rows of a table; the anchor is a parameter without values, that makes autograd come back."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, learner: Learner, batches: dict[str, Batch]) -> Any:  # type: ignore[override]
        ctx.set_materialize_grads(False)
        ctx.learner, ctx.seen = learner, learner.table.trace(batches)
        ctx.save_for_backward(anchor)  # so that torch refuses to come back twice
        return tuple(torch.from_numpy(seen.rows) for seen in ctx.seen.values())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor | None) -> Any:
        (anchor,) = ctx.saved_tensors
        gradients = {
            field: gradient.float().numpy()
            for field, gradient in zip(ctx.seen, given, strict=True)
            if gradient is not None
        }
        ctx.learner.learn(ctx.seen, gradients)
        return torch.zeros_like(anchor), None, None


def joined(batches: list[Batch]) -> Batch:
    """Batches of one field as one, in order."""
    keys = np.concatenate([batch.keys for batch in batches])
    offsets, weights = NO_OFFSETS, NO_WEIGHTS
    if any(len(batch.offsets) for batch in batches):
        sizes = [
            np.diff(batch.offsets) if len(batch.offsets) else np.ones(len(batch.keys), np.int64)
            for batch in batches
        ]
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
    if any(len(batch.weights) for batch in batches):
        weights = np.concatenate(
            [
                batch.weights if len(batch.weights) else np.ones(len(batch.keys), np.float32)
                for batch in batches
            ]
        )
    return Batch(keys, offsets, weights, any(batch.hashed for batch in batches))
