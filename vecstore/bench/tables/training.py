"""Training of a table and a network by one protocol: the same order of data, stopping by validation alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vecstore.bench.tables import networks
from vecstore.bench.tables.clicks import F32, Clicks, Part
from vecstore.bench.tables.scores import auc
from vecstore.codecs.tables.making import table_of
from vecstore.codecs.tables.state import TableState
from vecstore.codecs.tables.table import Table

_AT_ONCE = 4096  # rows of a part that is only looked up

Clock = Callable[[], float]


@dataclass
class Trained:
    """The best of a training, as it would serve, and what training took."""

    table: Table  # finished
    network: Any
    epoch: float = 0.0  # of the best
    valid: list[float] = field(default_factory=list)  # AUC of each evaluation
    steps: int = 0
    seconds: float = 0.0
    lookup_s: float = 0.0  # of `seconds`, in lookups of steps
    update_s: float = 0.0


def train(data: Clicks, table: Table, seed: int, lr: float, clock: Clock = time.process_time) -> Trained:
    """Learns until `patience` evaluations have brought no better AUC of the validation part, or epochs end.

    What is evaluated, and kept where it is the best, is a finished copy of the table: what would serve. The
    test part is not looked at.
    """
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    recipe, dim = data.recipe, table.setup.fields[0][2]
    parts = data.parts
    network = networks.network(recipe, len(data.fields), parts["train"].numbers.shape[1], dim)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr)
    best, waited, started = Trained(table, None), 0, clock()
    run = Trained(table, network)
    per_epoch = -(-len(parts["train"]) // recipe.batch)
    ends = {round(per_epoch * (at + 1) / recipe.evaluations) for at in range(recipe.evaluations)}
    for epoch, step, rows in _batches(len(parts["train"]), recipe.batch, recipe.epochs, seed):
        _step(run, data, rows, (optimizer, lr), clock)
        run.steps += 1
        if step + 1 not in ends:
            continue
        served = copied(table)
        served.finish()
        run.valid.append(auc(parts["valid"].labels, logits(served, network, data, parts["valid"])))
        if run.valid[-1] >= max(run.valid):
            waited, state = 0, {name: value.clone() for name, value in network.state_dict().items()}
            best.table, best.network, best.epoch = served, state, epoch + (step + 1) / per_epoch
        elif (waited := waited + 1) >= recipe.patience:
            break
    network.load_state_dict(best.network)
    run.table, run.epoch, run.seconds = best.table, best.epoch, clock() - started
    return run


def _batches(count: int, batch: int, epochs: int, seed: int) -> Iterator[tuple[int, int, Any]]:
    """Epoch, step in it, rows; an order that the seed alone decides."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        order = rng.permutation(count)
        for step, start in enumerate(range(0, count, batch)):
            yield epoch, step, order[start : start + batch]


def _step(run: Trained, data: Clicks, rows: Any, rates: tuple[Any, float], clock: Clock) -> None:
    """One step of the network and of the table, which takes the gradient of the rows it gave."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as loss

    part, (optimizer, lr) = data.parts["train"], rates
    ids = part.ids[rows]
    started = clock()
    found = run.table.lookup({name: ids[:, at] for at, name in enumerate(data.fields)})
    run.lookup_s += clock() - started
    leaf = torch.from_numpy(np.concatenate(list(found.values()), axis=1)).requires_grad_()
    out = run.network(leaf, torch.from_numpy(part.numbers[rows]))
    optimizer.zero_grad()
    loss(out, torch.from_numpy(part.labels[rows])).backward()
    optimizer.step()
    assert leaf.grad is not None
    slopes = np.split(leaf.grad.numpy(), len(found), axis=1)
    started = clock()
    run.table.update(dict(zip(found, slopes, strict=True)), lr)
    run.update_s += clock() - started


def logits(table: Table, network: Any, data: Clicks, part: Part) -> F32:
    """(n,) of all rows of a part."""
    import torch

    out = np.empty(len(part), np.float32)
    with torch.no_grad():
        for start in range(0, len(part), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            found = table.lookup({name: part.ids[rows, at] for at, name in enumerate(data.fields)})
            vectors = torch.from_numpy(np.concatenate(list(found.values()), axis=1))
            out[rows] = network(vectors, torch.from_numpy(part.numbers[rows])).numpy()
    return out


def copied(table: Table) -> Table:
    """A table of the same state that shares no array with it."""
    arrays = {name: array.copy() for name, array in table.arrays().items()}
    return table_of(TableState(table.setup, table.updates, table.finished, arrays))
