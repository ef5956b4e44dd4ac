"""What codecs made of parts have in common: each part has its own state, and is fitted by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from vecstore.codecs.base import Codec, Codes, Rows
from vecstore.codecs.parts import Scalar
from vecstore.errors import CorruptError, SpecError
from vecstore.spec import Spec, Step


class Joined(Codec):
    """Parts in a row, the last of them a codec; `registry.fit` and `registry.loads` make it.

    It adds `steps`, `_code` in place of `_encode`, and an example of its spec for who calls its `fit`.
    """

    name: ClassVar[str] = "chain"
    example: ClassVar[str]

    @classmethod
    def fit(cls, sample: Rows, *, seed: int = 0) -> Self:
        """Not here: parts are fitted one after the other by `registry.fit`."""
        raise SpecError(f"a chain is fitted through its spec: {cls.example}")

    def _encode(self, rows: Rows, codes: Codes) -> None:
        self._code(rows, codes)

    @property
    def spec(self) -> Spec:
        """The text form in full; `bytes=` of the last step is the whole row, side data included."""
        *before, last = super().spec.steps
        if "bytes" in last.options:
            last = Step(last.name, {**last.options, "bytes": self.code_bytes})
        return Spec((*before, last))

    def config(self) -> dict[str, Scalar]:
        """Empty: each step carries its own."""
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Empty: each step carries its own."""
        return {}

    @classmethod
    def from_parts(cls, config: Mapping[str, Scalar], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Not here: `registry.loads` puts the steps together."""
        raise CorruptError("a chain cannot be a step of a chain")
