"""The codecs of this package, by spec."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from vecstore import registry
from vecstore.archive.layout import batch_rows
from vecstore.bench.contenders.base import Coded, Contender, account
from vecstore.codecs.base import BlockCodec, Codec, Rows
from vecstore.kernels.threads import set_threads, spread
from vecstore.ledger import parse_budget
from vecstore.planner.choose import choose
from vecstore.planner.room import Room

BUDGET = "--budget "  # of labels
_WARM_ROWS = 320


class Own(Contender):
    """One spec."""

    family = "vecstore"

    def __init__(self, spec: str) -> None:
        self.label = spec
        last = spec.rpartition("+")[2].partition(":")[0]
        self.lossless = getattr(registry.find(last), "is_lossless", False)
        self.learns = not self.lossless
        self._codec: Codec | BlockCodec | None = None

    @property
    def codec(self) -> Codec | BlockCodec:
        """The fitted codec."""
        assert self._codec is not None
        return self._codec

    def use_threads(self, threads: int) -> None:
        """Sets the one setting of the process."""
        set_threads(threads)

    def warm(self, sample: Rows) -> None:
        """Fits, encodes and decodes a few rows."""
        rows = sample[:_WARM_ROWS]
        self.fit(rows, 0)
        self.decode(self.encode(rows), np.empty_like(rows))

    def fit(self, sample: Rows, seed: int) -> None:
        """Through the registry, as the library does."""
        self._codec = registry.fit(self.label, sample, seed=seed)

    def encode(self, rows: Rows) -> Coded:
        """An array of codes, or a list of blocks as large as an archive's."""
        codec = self.codec
        if isinstance(codec, Codec):
            return codec.encode(rows)
        blocks: dict[int, bytes] = {}
        spread(
            len(rows),
            batch_rows(codec, pa.schema([])),
            lambda at, stop: blocks.update({at: codec.encode_block(rows[at:stop])}),
        )
        return [blocks[at] for at in sorted(blocks)]

    def decode(self, coded: Coded, out: Rows) -> Sequence[Rows]:
        """Into out, or block by block."""
        codec = self.codec
        if isinstance(codec, Codec):
            return [codec.decode(coded, out=out)]
        pieces: dict[int, Rows] = {}
        spread(len(coded), 1, lambda at, _: pieces.update({at: codec.decode_block(coded[at])}))
        return [pieces[at] for at in sorted(pieces)]

    def ledger(self, coded: Coded, rows: int) -> dict[str, int]:
        """The codec's own account; blocks are counted."""
        codec = self.codec
        if isinstance(codec, Codec):
            found = codec.ledger(rows)
            return account(found.codes, found.side, found.shared)
        return account(sum(map(len, coded)), shared=len(registry.dumps(codec)))


class Chosen(Own):
    """What the planner chooses for a budget in bytes a row, ids aside."""

    def __init__(self, size: int, metric: str) -> None:
        self.label, self._size, self._metric = f"{BUDGET}{size}B/row", size, metric
        self.lossless, self.learns = False, True
        self._codec = None

    def warm(self, sample: Rows) -> None:
        """Nothing: the choice is not timed."""

    def fit(self, sample: Rows, seed: int) -> None:
        """Tries candidates on the sample."""
        room = Room(parse_budget(f"{self._size}B/row"), sample.shape[1], None, 0.0)
        self._codec = choose(sample, room, metric=self._metric, seed=seed)
