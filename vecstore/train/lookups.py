"""Lookups by torch's operations, which autograd takes back: addresses are the core's, rows are parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from vecstore.codecs.tables.combine import Combiner, Product, Projected, TensorTrain, Weighted
from vecstore.codecs.tables.layout import Branch
from vecstore.codecs.tables.networks import Network
from vecstore.errors import SpecError
from vecstore.kernels.radix import NONE
from vecstore.train.inputs import Asked

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Pooling:
    """How bags come of rows, and gradients of weights, by the names of `torch.nn.EmbeddingBag`."""

    mode: str = "sum"
    sparse: bool = False
    max_norm: float | None = None
    norm_type: float = 2.0
    scale_grad_by_freq: bool = False
    padding_idx: int | None = None

    @property
    def renormed(self) -> dict[str, Any]:
        """What only rows of single ids can have."""
        return {
            "max_norm": self.max_norm, "norm_type": self.norm_type,
            "scale_grad_by_freq": self.scale_grad_by_freq, "sparse": self.sparse,
            "padding_idx": self.padding_idx,
        }  # fmt: skip


def look(branch: Branch, stores: Sequence[Tensor], asked: Asked, pooling: Pooling) -> Tensor:
    """(bags, dim), in the dtype of the rows, whatever autocast is on. stores: rows (count, w) of each."""
    with torch.autocast(stores[0].device.type, enabled=False):
        if len(branch.terms) == 1 and branch.combiner is None:
            rows = branch.terms[0].address(asked.batch.keys)
            if rows.shape[1:] == (1, 1) and (rows.size == 0 or rows.min() >= 0):
                return _pick(stores[branch.terms[0].store], rows.reshape(-1), asked, pooling)
        return pooled(_vectors(branch, stores, asked.batch.keys, pooling.sparse), asked, pooling.mode)


def pooled(vectors: Tensor, asked: Asked, mode: str) -> Tensor:
    """Sums, means or maxima over bags of vectors (n, d); zeros for empty ones."""
    if not len(asked.batch.offsets):
        return vectors
    if not len(vectors):
        nothing = vectors.sum() if asked.weights is None else vectors.sum() + asked.weights.sum()
        return vectors.new_zeros(asked.batch.bags, vectors.shape[1]) + nothing
    return functional.embedding_bag(
        torch.arange(len(vectors), device=vectors.device), vectors, _to(asked.batch.offsets, vectors),
        mode=mode, per_sample_weights=_weights(asked, vectors), include_last_offset=True,
    )  # fmt: skip


def _pick(rows: Tensor, addresses: I64, asked: Asked, pooling: Pooling) -> Tensor:
    """Rows that stand for single ids, by torch's own operation."""
    where = _to(addresses, rows)
    if not len(asked.batch.offsets):
        return functional.embedding(where, rows, **pooling.renormed)
    return functional.embedding_bag(
        where, rows, _to(asked.batch.offsets, rows), mode=pooling.mode,
        per_sample_weights=_weights(asked, rows), include_last_offset=True, **pooling.renormed,
    )  # fmt: skip


def _weights(asked: Asked, like: Tensor) -> Tensor | None:
    return None if asked.weights is None else asked.weights.to(like.dtype)


def _to(array: NDArray[Any], like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.device)


def _vectors(branch: Branch, stores: Sequence[Tensor], keys: I64, sparse: bool) -> Tensor:
    addresses = [term.address(keys) for term in branch.terms]
    parts = [
        _gather(stores[term.store], found, sparse)
        for term, found in zip(branch.terms, addresses, strict=True)
    ]
    if branch.combiner is None:
        sums = [(part[:, :, 0] if part.shape[2] == 1 else part.sum(2)).flatten(1) for part in parts]
        return functools.reduce(torch.add, sums)
    rows = [part.flatten(1, 2) for part in parts]
    shared = [stores[store] for store in branch.shared]
    given = branch.combiner.inputs(keys)
    if all(each.device.type == "cpu" and each.dtype == torch.float32 for each in [*rows, *shared]):
        out: Tensor = _Combined.apply(branch.combiner, given, len(rows), *rows, *shared)
        return out
    kind = type(branch.combiner)
    if kind not in _COMBINERS:
        raise SpecError(
            f"rows of this method come together by {kind.__name__}, for float32 on the CPU alone; "
            "keep this module there: .to('cpu', torch.float32)"
        )
    like = [*rows, *shared][0]
    rows += [_to(array, like).to(like.dtype) for array in given]
    return _COMBINERS[kind](branch.combiner, rows, shared)


def _gather(rows: Tensor, addresses: I64, sparse: bool) -> Tensor:
    """The rows at addresses (n, c, p), (n, c, p, w): negative ones of ~row, zeros of NONE."""
    minus = addresses < 0
    if not minus.any():
        return functional.embedding(_to(addresses, rows), rows, sparse=sparse)
    none = addresses == NONE
    places = np.where(minus, ~addresses, addresses)
    places[none] = 0
    signs = np.where(none, 0, np.where(minus, -1, 1))[..., None]
    return functional.embedding(_to(places, rows), rows, sparse=sparse) * _to(signs, rows).to(rows.dtype)


class _Combined(torch.autograd.Function):
    """A combiner of the core, forward and backward, so that rows are the core's bit for bit."""

    @staticmethod
    def forward(ctx: Any, combiner: Combiner, inputs: Any, terms: int, *given: Tensor) -> Tensor:  # type: ignore[override]
        arrays = [each.detach().numpy() for each in given]
        ctx.combiner, ctx.parts, ctx.shared = combiner, arrays[:terms] + inputs, arrays[terms:]
        return torch.from_numpy(combiner.forward(ctx.parts, ctx.shared))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        parts, shared = ctx.combiner.backward(ctx.parts, ctx.shared, gradient.contiguous().numpy())
        return None, None, None, *(torch.from_numpy(np.ascontiguousarray(each)) for each in [*parts, *shared])


def _product(how: Any, parts: list[Tensor], shared: list[Tensor]) -> Tensor:
    return parts[0].prod(1)


def _weighted(how: Any, parts: list[Tensor], shared: list[Tensor]) -> Tensor:
    out = (parts[0] * parts[1][:, 0, :, None]).sum(1)
    return out + parts[2][:, 0] if len(parts) > 2 else out


def _projected(how: Any, parts: list[Tensor], shared: list[Tensor]) -> Tensor:
    return parts[0][:, 0] @ shared[0]


def _train(how: TensorTrain, parts: list[Tensor], shared: list[Tensor]) -> Tensor:
    n, rank, (a, b, c) = len(parts[0]), how.rank, how.dims
    left = torch.bmm(parts[0].view(n, a, rank), parts[1].view(n, rank, b * rank)).view(n, a * b, rank)
    return torch.bmm(left, parts[2].view(n, rank, c)).flatten(1)


def _network(how: Network, parts: list[Tensor], shared: list[Tensor]) -> Tensor:
    values = parts[0][:, 0]
    for at, layer in enumerate(shared):
        values = values @ layer[:-1] + layer[-1]
        values = functional.mish(values) if at < len(shared) - 1 else values
    return values


# The same sums in torch's operations, for other devices and dtypes; they agree within rounding.
_COMBINERS: Mapping[type[Combiner], Callable[[Any, list[Tensor], list[Tensor]], Tensor]] = {
    Product: _product, Weighted: _weighted, Projected: _projected, TensorTrain: _train, Network: _network,
}  # fmt: skip
