"""The certificate of a stored collection: what it costs, what it lost, and how far from the least that is.

True rows are the finer ones that a store keeps (`keep=`), or those of a codec that loses nothing. What cannot
be told without them is said to be so, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.archive import Archive
from vecstore.bench import limit, limit_bits
from vecstore.bench.bounds import bound_of
from vecstore.codecs.base import BlockCodec, Codec, Codes, Rows
from vecstore.errors import VecstoreError
from vecstore.registry import AnyCodec
from vecstore.space.card import FINGERPRINT
from vecstore.space.fingerprint import FEWEST, SPEAKS, Fingerprint
from vecstore.store import Store

Figures = dict[str, Any]
I64 = NDArray[np.int64]
NOT_GIVEN = "not_given"
MEASURED = ("error", "bound", "limit", "recall", "limit_bits", "spectrum", "drift")
K = 10
_PROBE, _PROBE_PER_DIM, _PROBE_MOST = 4096, 8, 32_768  # rows that are looked at
_QUANTILES = (50, 95, 99)
_PARTS = 3  # of the probe, the first and the last of which are compared
_FEWEST_SHAPE = 16  # rows that say what shape a collection has
_NO_ROWS = "there are no rows"
_NO_TRUTH = (
    "only codes are kept, so there is nothing to compare them with; "
    "a store that is made with keep=f16 keeps the rows, too"
)


@dataclass(frozen=True)
class Probe:
    """Rows of a collection in the order in which they came: as decoded, and as they were where that is known.

    codec: of all of them, None where there are several; codes (n, code_bytes): None where rows have none.
    """

    decoded: Rows
    true: Rows | None
    truth: str  # what the true rows are, or why there are none
    specs: tuple[str, ...]  # of the codecs that rows are coded by
    codec: AnyCodec | None
    codes: Codes | None = None

    def __len__(self) -> int:
        return len(self.decoded)

    @property
    def shape(self) -> Rows:
        """The rows that tell mean and covariance."""
        return self.decoded if self.true is None else self.true

    @property
    def shape_of(self) -> str:
        """What `shape` is."""
        return "decoded rows" if self.true is None else self.truth


def certify(opened: Archive | Store) -> Figures:
    """The certificate as one object for JSON; what cannot be given is `{"not_given": reason}`."""
    probe = _probe(opened)
    rate = _row_bytes(opened, probe)
    return {
        "path": opened.path,
        "rows": len(opened),
        "dim": opened.dim,
        "spec": str(opened.spec),
        "metric": opened.metric or "ip",
        "generations": opened.generations,
        "keep": opened.keep if isinstance(opened, Store) else None,
        "coded_by": probe.specs,
        "probe": {"rows": len(probe), "true_rows": probe.truth if probe.true is not None else None},
        "bytes": {**opened.ledger().as_dict(), "row_bytes": rate},
        **(
            _measured(opened, probe, rate)
            if len(probe)
            else {name: {NOT_GIVEN: _NO_ROWS} for name in MEASURED}
        ),
    }


def _measured(opened: Archive | Store, probe: Probe, rate: float | None) -> Figures:
    error = _error(probe)
    return {
        "error": error,
        "bound": bound_of(probe.codec, probe.true, probe.decoded, probe.codes),
        "limit": _limit(probe, error, rate),
        "recall": _given(lambda: _recall(opened, probe)),
        "limit_bits": _given(lambda: _limit_bits(opened, probe)),
        "spectrum": _spectrum(probe),
        "drift": _drift(opened, probe),
    }


def _given(made: Callable[[], Figures]) -> Figures:
    try:
        return made()
    except VecstoreError as error:
        return {NOT_GIVEN: str(error)}


def _probe(opened: Archive | Store) -> Probe:
    """Rows at even distances."""
    wanted = min(max(_PROBE, _PROBE_PER_DIM * opened.dim), _PROBE_MOST, len(opened))
    numbers = np.unique(np.linspace(0, max(len(opened) - 1, 0), wanted).astype(np.int64))
    if isinstance(opened, Store):
        return _probe_of_store(opened, numbers)
    decoded, codec = opened.rows_at(numbers), opened.codec
    true = decoded if codec.is_lossless else None
    codes = opened.picks.codes(numbers, codec.code_bytes) if isinstance(codec, Codec) else None
    truth = _NO_TRUTH if true is None else "the rows, which are stored bit for bit"
    return Probe(decoded, true, truth, (str(opened.spec),), codec, codes)


def _probe_of_store(opened: Store, numbers: I64) -> Probe:
    """Rows of segments with true rows, of all where none has them."""
    found = list(opened.view.picked(numbers))
    known = [(part, mine) for part, mine in found if part.finer or part.archive.codec.is_lossless]
    codecs = {part.segment.codec: part.archive.codec for part, _ in known or found}
    coded_by = tuple(sorted({str(part.archive.codec.spec) for part, _ in found}))
    codec = next(iter(codecs.values())) if len(codecs) == 1 else None
    none = [np.empty((0, opened.dim), np.float32)]
    decoded = np.concatenate(none + [part.archive.rows_at(mine) for part, mine in known or found])
    codes = None
    if isinstance(codec, Codec):
        codes = np.concatenate(
            [part.archive.picks.codes(mine, codec.code_bytes) for part, mine in known or found]
        )
    if not known:
        return Probe(decoded, None, _NO_TRUTH, coded_by, codec, codes)
    specs = ", ".join(sorted({str(part.fine.codec.spec) for part, _ in known}))
    true = np.concatenate([part.fine.rows_at(mine) for part, mine in known])
    return Probe(decoded, true, f"kept rows ({specs})", coded_by, codec, codes)


def _row_bytes(opened: Archive | Store, probe: Probe) -> float | None:
    """Bytes of a row's code and side data, without the finer rows that a store keeps."""
    if isinstance(probe.codec, Codec):
        return float(probe.codec.code_bytes)
    if isinstance(probe.codec, BlockCodec) and not isinstance(opened, Store) and len(opened):
        return opened.ledger().codes / len(opened)
    return None


def _error(probe: Probe) -> Figures:
    if probe.true is None:
        return {NOT_GIVEN: probe.truth}
    true = probe.true.astype(np.float64)
    errors = np.square(true - probe.decoded).sum(axis=1)
    spread = float(np.square(true - true.mean(axis=0)).sum())
    lengths = np.linalg.norm(true, axis=1)
    relative = np.sqrt(errors[lengths > 0]) / lengths[lengths > 0]
    found: Figures = {"relative_mse": float(errors.sum()) / spread if spread > 0 else None}
    if len(relative):
        for quantile in _QUANTILES:
            found[f"row_error_p{quantile}"] = float(np.percentile(relative, quantile))
        found["row_error_max"] = float(relative.max())
    return found


def _limit(probe: Probe, error: Figures, rate: float | None) -> Figures:
    """The distance to the rate-distortion bound at the bytes of a row."""
    loss = error.get("relative_mse")
    if loss is None or rate is None or probe.true is None:
        several = "its rows are of several codecs, or of blocks of several rows"
        return {NOT_GIVEN: several if rate is None else error.get(NOT_GIVEN, "all rows are alike")}
    values = limit.spectrum(probe.true)
    if values is None:
        return {
            NOT_GIVEN: f"{len(probe.true)} rows are too few to know a covariance of {probe.true.shape[1]}"
        }
    least = limit.least_loss(values, 8 * rate)
    return {
        "bits_per_dim": 8 * rate / probe.true.shape[1], "least_relative_mse": least,
        "relative_mse": loss, "gap_db": limit.gap_db(values, loss, 8 * rate),
    }  # fmt: skip


def _recall(opened: Archive | Store, probe: Probe) -> Figures:
    """Of rows of the collection, each looking for others: what the codes find of the nearest by true rows."""
    if probe.true is None:
        return {NOT_GIVEN: _NO_TRUTH}
    if probe.codec is not None and probe.codec.is_lossless:
        return {"k": K, "recall_at_10": 1.0, "says": "nothing is lost, and every row is scored"}
    assert isinstance(opened, Store)
    tuned = opened.tune(k=K)
    codes, *rescored = (tried for tried in tuned.tried if not tried.mix)
    # A row finds itself first, so the first setting scores no more rows again than it gives.
    most = max((tried.recall for tried in rescored), default=codes.recall)
    enough = next((tried.rerank for tried in rescored if tried.recall == most), 0)
    return {
        "k": K, "queries": tuned.queries, "recall_at_10": codes.recall,
        "recall_at_10_rescored": {str(t.rerank): t.recall for t in rescored if t.rerank <= enough},
    }  # fmt: skip


def _limit_bits(opened: Archive | Store, probe: Probe) -> Figures:
    codec = probe.codec
    if codec is None:
        return {NOT_GIVEN: "its rows are of several codecs"}
    if len(probe.shape) < _FEWEST_SHAPE:
        return {NOT_GIVEN: f"{len(probe.shape)} rows say too little of the collection's shape"}
    lossy = codec if isinstance(codec, Codec) and not codec.is_lossless else None
    found = limit_bits.survived(probe.shape, opened.metric or "ip", lossy)
    return {"shaped_by": probe.shape_of, **vars(found)}


def _spectrum(probe: Probe) -> Figures:
    """Shares of the variance on the leading 1, 2, 4 .. axes."""
    rows = probe.shape
    if len(rows) < 2:
        return {NOT_GIVEN: "there are too few rows"}
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(rows, rowvar=False, dtype=np.float64)))[::-1].clip(0)
    if not values.sum() > 0:
        return {NOT_GIVEN: "all rows are alike"}
    steps = 1 << np.arange(len(values).bit_length())
    shares = np.cumsum(values)[steps - 1] / values.sum()
    return {
        "of": probe.shape_of,
        "shares": {str(step): round(float(share), 4) for step, share in zip(steps, shares, strict=True)},
        "effective_dims": float(values.sum() ** 2 / np.square(values).sum()),
    }


def _drift(opened: Archive | Store, probe: Probe) -> Figures:
    """What has changed from the first rows to the last ones, and since the fingerprint was taken."""
    third = len(probe) // _PARTS
    found: Figures = {"fingerprint": _nearness(opened, probe)}
    if third < FEWEST:
        return {**found, NOT_GIVEN: f"{len(probe)} rows are too few to part the first from the last"}
    rows = probe.shape.astype(np.float64)
    spread = np.sqrt(np.square(rows - rows.mean(axis=0)).sum(axis=1).mean())
    moved = float(np.linalg.norm(rows[:third].mean(axis=0) - rows[-third:].mean(axis=0)))
    found |= {"of": probe.shape_of, "mean_moved": moved / float(spread) if spread > 0 else 0.0}
    if probe.true is not None:
        parts = (slice(None, third), slice(-third, None))
        losses = [_error(_part(probe, part)).get("relative_mse") for part in parts]
        found |= {"relative_mse_first": losses[0], "relative_mse_last": losses[1]}
    return found


def _part(probe: Probe, part: slice) -> Probe:
    true = None if probe.true is None else probe.true[part]
    return Probe(probe.decoded[part], true, probe.truth, probe.specs, probe.codec)


def _nearness(opened: Archive | Store, probe: Probe) -> Figures:
    if FINGERPRINT not in opened.card:
        return {NOT_GIVEN: "its card has no fingerprint; name the model when rows are put (--model)"}
    held = Fingerprint.from_dict(opened.card[FINGERPRINT], opened.dim)
    near = held.nearness(probe.shape[-len(probe.shape) // _PARTS :])
    if near is None:
        return {
            NOT_GIVEN: "its fingerprint cannot judge them: too few rows, or a space that fills all directions"
        }
    return {"nearness_of_last": near, "foreign_below": SPEAKS}
