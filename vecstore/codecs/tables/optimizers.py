"""Optimizers that are fused into the update of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from vecstore.errors import InputError, SpecError
from vecstore.kernels.tablestep import ADAGRAD, ADAM, ROWWISE, SGD, Rule

_MOST_RATE = float(np.finfo(np.float32).max)
STEP_RATE = 2e-5  # of steps that are learned with rows, as in the source of `alpt`
_CODES = {"sgd": SGD, "rowwise_adagrad": ROWWISE, "adagrad": ADAGRAD, "adam": ADAM}


def check_rate(given: Any) -> None:
    """InputError unless a learning rate is a number from 0 that float32 has."""
    try:
        if 0 <= given <= _MOST_RATE:
            return
    except (TypeError, ValueError):
        pass
    raise InputError(f"lr is {given}; expected a positive number")


@dataclass(frozen=True)
class Optimizer:
    """A rule by name; torch's of the same name on rows that a step touches, with these constants."""

    name: str
    eps: float = 1e-8
    beta1: float = 0.9
    beta2: float = 0.999

    @classmethod
    def named(cls, name: str) -> Self:
        """SpecError for a name that is none."""
        if name not in _CODES:
            raise SpecError(f"there is no optimizer {name!r}; expected one of {', '.join(_CODES)}")
        return cls(name, eps=1e-10 if name == "adagrad" else 1e-8)

    def state_width(self, width: int) -> int:
        """float32 that a row of `width` values keeps."""
        return {SGD: 0, ROWWISE: 1, ADAGRAD: width, ADAM: 2 * width}[_CODES[self.name]]

    def rule(self, shape: tuple[int, int], rate: float, count: int, seed: int) -> Rule:
        """Step number `count`, from 1, at a learning rate, for rows of a (kind, width)."""
        code = _CODES[self.name]
        if code == ADAM:
            # Both means start at zero; as in torch's SparseAdam the correction is one of the rate.
            rate *= math.sqrt(1 - self.beta2**count) / (1 - self.beta1**count)
        return Rule(
            code, shape[0], np.float32(rate), np.float32(self.eps), np.float32(self.beta1),
            np.float32(self.beta2), np.float32(STEP_RATE), np.uint64(seed), shape[1],
        )  # fmt: skip
