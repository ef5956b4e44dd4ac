"""A network of many hashes of an id, and the means and variances that its layers are normalized by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.codecs.tables.combine import Combiner, product
from vecstore.codecs.tables.learners import Learner, Lesson
from vecstore.kernels.tablehash import hash_numbers

F32 = NDArray[np.float32]

_MOMENTUM, _EPS = 0.1, 1e-5  # torch's


@dataclass(frozen=True)
class Network(Combiner):
    """Many hashes of the id in [-1, 1], through layers that all ids share, with mish between them.

    A layer is a matrix (inputs + 1, outputs) whose last row is the bias. With `norms` what comes out of each
    hidden one is normalized, times a row of gains, plus a row of shifts, which stand behind all layers in
    turn. Kang et al. 2021, arXiv:2010.10784, sections 3.1 and 3.2; but batches are normalized by running
    means and variances while they are learned, too, so that a row depends on its id alone.
    """

    seeded = True
    salts: NDArray[np.uint64]  # (hashes,)
    norms: Norms | None = None

    def inputs(self, keys: NDArray[np.int64]) -> list[F32]:
        out = np.empty((len(keys), len(self.salts)), np.float32)
        hash_numbers(keys.view(np.uint64), self.salts, out)
        return [out[:, None]]

    def between(self, shared: Sequence[F32]) -> int:
        return len(self.salts) + 2 * sum(sum(layer.shape) for layer in shared[: self._layers(shared)])

    def _layers(self, shared: Sequence[F32]) -> int:
        """How many of what is shared are layers: all, or all but gains and shifts of hidden ones."""
        return len(shared) if self.norms is None else (len(shared) + 2) // 3

    def run(self, parts: Sequence[F32], shared: Sequence[F32]) -> tuple[list[F32], list[F32], list[F32]]:
        """What goes into each layer, with ones behind it, what its matrix makes of it, and what comes out."""
        given, made, came = [], [], []
        values, layers = parts[0][:, 0], self._layers(shared)
        for at in range(layers):
            given.append(np.concatenate([values, np.ones((len(values), 1), np.float32)], 1))
            made.append(product(given[-1], shared[at]))
            came.append(made[-1])
            if at < layers - 1:
                if self.norms is not None:
                    gain, shift = shared[layers + 2 * at : layers + 2 * at + 2]
                    came[-1] = self.norms.normalized(made[-1], at) * gain + shift
                values = _mish(came[-1])[0]
        return given, made, came

    def forward(self, parts: Sequence[F32], shared: Sequence[F32]) -> F32:
        return self.run(parts, shared)[2][-1]

    def backward(
        self, parts: Sequence[F32], shared: Sequence[F32], gradient: F32
    ) -> tuple[list[F32], list[F32]]:
        given, made, came = self.run(parts, shared)
        layers = self._layers(shared)
        slopes: list[F32] = []
        scales: list[F32] = []
        for at in range(layers - 1, -1, -1):
            if self.norms is not None and at < layers - 1:
                gain = shared[layers + 2 * at]
                normal = self.norms.normalized(made[at], at)
                scales = [(gradient * normal).sum(0)[None], gradient.sum(0)[None], *scales]
                gradient = gradient * gain * self.norms.scale(at)
            slopes.append(product(given[at].T, gradient))
            if at:
                gradient = product(gradient, shared[at][:-1].T) * _mish(came[at - 1])[1]
        return [], [*slopes[::-1], *scales]


@dataclass
class Norms(Learner):
    """Running means and variances of what comes out of the hidden layers of a field's network.

    Each update moves them a tenth of the way to those of its batch.
    """

    name: str
    layers: int
    width: int
    stores: tuple[int, ...]  # of what the network's layers share

    def __post_init__(self) -> None:
        self.network: Network | None = None
        self._kept = {
            "parameters.means": np.zeros((self.layers, self.width), np.float32),
            "parameters.variances": np.ones((self.layers, self.width), np.float32),
        }

    def parts(self) -> dict[str, int]:
        return {"parameters": 8 * self.layers * self.width}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return dict(self._kept)

    def scale(self, layer: int) -> F32:
        """What deviations from the mean are multiplied by, (width,)."""
        found: F32 = 1 / np.sqrt(self._kept["parameters.variances"][layer] + np.float32(_EPS))
        return found

    def normalized(self, values: F32, layer: int) -> F32:
        """Values (n, width) of mean 0 and variance 1, as far as running ones are theirs."""
        found: F32 = (values - self._kept["parameters.means"][layer]) * self.scale(layer)
        return found

    def learn(self, lesson: Lesson) -> None:
        keys = lesson.keys.get(self.name)
        if keys is None or len(keys) < 2 or self.network is None:
            return
        shared = [lesson.stores[store].values for store in self.stores]
        _, made, _ = self.network.run(self.network.inputs(keys), shared)
        for layer, values in enumerate(made[:-1]):
            for name, now in (("means", values.mean(0)), ("variances", values.var(0, ddof=1))):
                kept = self._kept[f"parameters.{name}"][layer]
                kept += np.float32(_MOMENTUM) * (now - kept)


def _mish(x: F32) -> tuple[F32, F32]:
    """x tanh(log(1 + exp x)) and its slope. Misra 2019, arXiv:1908.08681, equation 1."""
    soft = np.log1p(np.exp(-np.abs(x))) + np.maximum(x, np.float32(0))
    inner = np.tanh(soft)
    sigmoid = np.exp(x - soft)
    return x * inner, inner + x * sigmoid * (1 - inner * inner)
