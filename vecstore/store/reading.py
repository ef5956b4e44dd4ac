"""What is read of a store at one version: facts, rows, and searches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vecstore.archive.ids import Ids
from vecstore.archive.together import Asked
from vecstore.codecs.base import Array, Codes, Rows
from vecstore.errors import ShapeError
from vecstore.formats.base import Batch
from vecstore.ledger import Ledger
from vecstore.memory import Memory
from vecstore.registry import AnyCodec
from vecstore.space.adapter import Adapter, queries_in
from vecstore.space.card import MODEL, Claim
from vecstore.spec import Spec, parse
from vecstore.store.tuning import Sought, Tuned, tune
from vecstore.store.view import View


class StoreReader(ABC):
    """The read side of `Store`."""

    path: str

    @property
    @abstractmethod
    def view(self) -> View:
        """The version that is read."""

    @property
    def version(self) -> int:
        """The number of the version that is read."""
        return self.view.manifest.version

    @property
    def dim(self) -> int:
        """Dimensions of a row."""
        return self.view.manifest.dim

    @property
    def metric(self) -> str:
        """What the store is searched by: ip, cosine or l2."""
        return str(self.view.manifest.card.get("metric", "ip"))

    @property
    def card(self) -> dict[str, Any]:
        """What is known of the space."""
        return dict(self.view.manifest.card)

    @property
    def spec(self) -> Spec:
        """The codec of rows to come; in full once it is fitted."""
        manifest = self.view.manifest
        return parse(manifest.spec) if manifest.codec is None else self.view.codecs[manifest.codec].spec

    @property
    def codec(self) -> AnyCodec | None:
        """The codec of rows to come; None until there are rows enough to fit it on."""
        identity = self.view.manifest.codec
        return None if identity is None else self.view.codecs[identity]

    @property
    def generations(self) -> int:
        """How many codecs its rows are encoded by."""
        return len({segment.codec for segment in self.view.manifest.segments})

    @property
    def tiers(self) -> dict[str, int]:
        """None: codes lie whole."""
        return {}

    @property
    def keep(self) -> str | None:
        """The spec of the finer codes that are kept of rows to come."""
        return self.view.manifest.keep

    @property
    def id_type(self) -> pa.DataType:
        """int64 or string; int64 as long as there are no rows."""
        return self.view.manifest.id_type or pa.int64()

    @property
    def columns(self) -> pa.Schema:
        """The carried columns."""
        return self.view.manifest.columns or pa.schema([])

    def __len__(self) -> int:
        return len(self.view)

    def ledger(self) -> Ledger:
        """The bytes of all files that this version needs."""
        return self.view.ledger()

    def memory_ledger(self) -> Memory:
        """The account of what this version holds in memory by now, as `Archive.memory_ledger`."""
        return self.view.memory_ledger()

    def get(self, ids: Ids) -> Rows:
        """The rows (n, dim) of n ids, int64 or strings; NotFoundError names the first unknown one."""
        return self.view.get(ids)

    def get_codes(self, ids: Ids) -> Codes:
        """The codes (n, code_bytes) of n ids; SpecError unless one codec made them, with a code a row."""
        return self.view.get_codes(ids)

    def scan(self, batch_rows: int = 8192) -> Iterator[tuple[NDArray[Any], Rows]]:
        """All rows in the order in which they came: ids (n,) and rows (n, dim), n at most batch_rows."""
        for batch in self.view.batches(batch_rows):
            assert batch.ids is not None
            yield batch.ids.to_numpy(zero_copy_only=False), batch.rows

    def batches(self, batch_rows: int = 8192) -> Iterator[Batch]:
        """All rows in the order in which they came, with ids and carried columns."""
        return self.view.batches(batch_rows)

    def search(
        self,
        queries: Array,
        k: int = 10,
        metric: str | None = None,
        where: str | pc.Expression | None = None,
        rerank: int = 0,
        symmetric: bool = False,
        *,
        mix: float = 0.0,
        adapter: Adapter | None = None,
        model: str | None = None,
        revision: str | None = None,
        check_space: bool = True,
    ) -> tuple[NDArray[Any], Rows]:
        """Ids and scores of the best rows, (queries, min(k, rows that match)) each, as `Archive.search`.

        where: an Arrow expression on carried columns and `id`, or its text; it is evaluated before rows are
        scored. The best rows, `rerank` of them or as many as the codec needs, are scored again by the finer
        rows where these are kept; mix: how much of the code's own score is added to that. adapter: what turns
        queries of a new model into the rows' space (`adapter`). model, revision: what embedded the queries;
        check_space: as `put`.
        """
        if not isinstance(where, str | pc.Expression | None):
            raise ShapeError(f"where is a {type(where).__name__}; expected text or an Arrow expression")
        asked = Asked(k, metric or self.metric, where, rerank, symmetric, mix)
        claim = Claim(model, revision, check_space)
        return self.view.search(queries_in(self.card, queries, claim, adapter, self.path), asked)

    def tune(
        self,
        queries: Array | None = None,
        *,
        truth: NDArray[Any] | None = None,
        k: int = 10,
        metric: str | None = None,
        recall: float = 0.99,
    ) -> Tuned:
        """How many rows to score again, and how much of the code's score to mix in (`search(rerank=, mix=)`):
        the fewest rows that find `recall` of what there is to be found, and the best mix with so many.

        queries: (q, dim), of which at most 256 are asked; None: rows of the store, each looking for others,
        which says less of real queries. truth: ids (q, any) that should be found, the best first; None: the k
        nearest by the finest rows that are kept, all of which are read once. Raises SpecError where none are
        kept, InputError for a store without rows.
        """
        rows = None if queries is None else queries_in(self.card, queries, Claim(), None, self.path)
        asked = Asked(k, metric or self.metric, None, 0, False)
        return tune(self.view, Sought(rows, truth, recall), asked)

    def adapter(
        self, old_rows: Array, new_rows: Array, *, model: str | None = None, revision: str | None = None
    ) -> Adapter:
        """What turns queries of a new model into the space of this store's rows (`search(adapter=)`).

        old_rows (n, dim), new_rows (n, any width): the same n items by the store's model and by the new one;
        two for each dimension of the narrower space are needed, five or more are better. model, revision: of
        the new one. How much it finds is measured on pairs that are kept back: `Adapter.report`. Raises
        InputError for pairs that say too little, ShapeError, SpaceMismatchError for old rows that are not of
        this store's space.
        """
        claim = Claim(model, revision)
        fitted = Adapter.fit(old_rows, new_rows, metric=self.metric)
        card = self.view.manifest.card
        queries_in(card, old_rows, Claim(), None, self.path)
        return fitted.named(claim.model, claim.revision, card.get(MODEL))
