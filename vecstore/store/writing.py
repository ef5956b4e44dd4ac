"""The changes of a store, each of which makes one version from another."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore import registry
from vecstore.archive.ids import Ids, as_ids
from vecstore.archive.reader import Archive, CodeBatch
from vecstore.codecs.base import Array, Codec, Rows, as_float32
from vecstore.formats.base import Batch
from vecstore.formats.idkeys import keys_of
from vecstore.registry import AnyCodec
from vecstore.space.card import with_fingerprint
from vecstore.spec import parse
from vecstore.store import files, index, versions
from vecstore.store.given import Given
from vecstore.store.ids import NONE, place_of, segment_of
from vecstore.store.manifest import Manifest, Segment
from vecstore.store.parts import Part
from vecstore.store.view import View

FIT_ROWS = 8192  # from which on a codec is fitted; fewer are kept as they are
_SAMPLE_ROWS = 65_536  # that it is fitted on
_RAW = "f32"
_PROBE_ROWS = 16
SMALL_ROWS = 65_536  # segments of fewer are joined by compaction
_MOST_SMALL = (
    64  # such segments; a put that finds as many joins them: each is an open file, and searched alone
)
_MOST_DELETES = 8  # files of deleted rows a segment; more are made one


def now() -> str:
    """UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def check_spec(spec: str, dim: int) -> None:
    """SpecError for a spec that cannot be for rows of this width."""
    probe = np.random.default_rng(0).standard_normal((_PROBE_ROWS, dim), dtype=np.float32)
    registry.fit(spec, probe)


def put(view: View, given: Given, sources: Mapping[str, int] = MappingProxyType({})) -> View:
    """Adds rows, in place of those that their ids had. sources: how far each stream is taken in with them."""
    batch = given.batch
    assert batch.ids is not None
    manifest = replace(view.manifest, sources={**view.manifest.sources, **sources})
    if not len(given):
        return published(view, manifest, manifest.segments)
    given = index.begun(view, given)
    if manifest.columns is None:
        columns = pa.schema([]) if batch.columns is None else batch.columns.schema
        manifest = replace(manifest, id_type=batch.ids.type, columns=columns)
    before = view.ids.find(given.keys) if view.parts else np.full(len(given), NONE)
    dead = _by_part(before[before != NONE])
    pair = codecs_of(view, manifest)
    if pair is None:
        waiting = view.manifest.rows - int((before != NONE).sum()) + len(batch)
        enough = waiting >= FIT_ROWS
        if view.parts or not enough:
            enough = not _wait(manifest, as_float32(batch.rows)) or enough
        if enough:
            return _first_fit(view, manifest, given, dead)
        pair = Codecs(registry.fit(_RAW, np.zeros((1, manifest.dim), np.float32)), None)
        files.write_codec(view.root, pair.coarse)
    elif len(view) < FIT_ROWS <= len(view) + len(batch):
        # The codec learned nothing, so it came with the first rows; the fingerprint wants more of them.
        sample = np.concatenate([sample_of(view), as_float32(batch.rows)])
        manifest = replace(manifest, card=with_fingerprint(manifest.card, sample))
    small = [part for part in view.parts if part.segment.rows < SMALL_ROWS and _fits(part, manifest)]
    joined = small if len(small) >= _MOST_SMALL else []
    numbers = {id(part): at for at, part in enumerate(view.parts)}
    live = [(part, _without(part, dead.pop(numbers[id(part)], None))) for part in joined]
    segment = merge(view, manifest, pair, live, given)
    assert segment is not None
    gone = {part.segment.name for part in joined}
    kept = [found for found in _with_deletes(view, dead) if found.name not in gone]
    found = published(view, manifest, [*kept, segment])
    known, last = view.ids.known, found.parts[-1]
    rows = np.arange(segment.rows)
    # Those that were joined have other places now.
    if not index.keep_up(found, known, given):
        keys = keys_of(last.archive.ids_at(rows)) if joined else given.keys
        found.ids.take_over(known, keys, place_of(last.number, rows))
    return found


def delete(view: View, ids: Ids) -> View:
    """Marks rows as deleted; NotFoundError names the first id that has none."""
    places = np.unique(view.places(ids))
    if not len(places):
        return view
    found = published(view, view.manifest, _with_deletes(view, _by_part(places)))
    known = view.ids.known
    names = as_ids(ids, view.manifest.id_type or pa.int64(), view.root)
    found.ids.take_over(known, keys_of(names if isinstance(names, pa.Array) else pa.array(names)))
    return found


@dataclass(frozen=True)
class Codecs:
    """What new rows are encoded by."""

    coarse: AnyCodec
    fine: Codec | None


def codecs_of(view: View, manifest: Manifest) -> Codecs | None:
    """None where no codec has been fitted yet."""
    if manifest.codec is None:
        return None
    known = dict(view.codecs)
    for identity in (manifest.codec, manifest.fine):
        if identity and identity not in known:
            known[identity] = files.read_codec(view.root, identity)
    fine = known[manifest.fine] if manifest.fine else None
    assert fine is None or isinstance(fine, Codec)
    return Codecs(known[manifest.codec], fine)


def admit(view: View, rows: Array) -> None:
    """InputError for a row (n, dim) that the codecs of rows to come do not take."""
    rows, pair = as_float32(rows), codecs_of(view, view.manifest)
    if pair is None and len(rows):
        _wait(view.manifest, rows)
    for codec in () if pair is None else (pair.coarse, pair.fine):
        if isinstance(codec, Codec):
            codec.admit(rows, 0)


def _wait(manifest: Manifest, rows: Rows) -> bool:
    """Whether rows wait until there are enough to fit the codecs on. InputError for one that codecs of these
    specs do not take: while it waited, none could be fitted."""
    rng = np.random.default_rng(0)
    probes = rng.standard_normal((2, _PROBE_ROWS, manifest.dim), dtype=np.float32)
    found = False
    for spec in filter(None, (manifest.spec, manifest.keep)):
        if registry.learns(spec):
            registry.check_sample(spec, rows)
            found = True
            continue
        one, other = (registry.fit(spec, probe) for probe in probes)
        found |= one.identity != other.identity
        if isinstance(one, Codec):
            one.admit(rows, 0)
    return found


def fit_codecs(view: View, manifest: Manifest, sample: Array) -> Manifest:
    """The manifest with codecs fitted on a sample, which are kept, and its fingerprint."""
    coarse = files.write_codec(view.root, registry.fit(manifest.spec, sample))
    fine = None
    if manifest.keep is not None:
        fine = files.write_codec(view.root, registry.fit(manifest.keep, sample))
    card = with_fingerprint(manifest.card, sample)
    return replace(manifest, card=card, codec=coarse, fine=None if fine == coarse else fine)


def sample_of(view: View) -> Array:
    """Live rows, the finest that there are, of all segments alike."""
    rng = np.random.default_rng(0)
    share = min(1.0, _SAMPLE_ROWS / max(len(view), 1))
    found = []
    for part in view.parts:
        rows = part.live_rows()
        chosen = np.sort(rng.permutation(len(rows))[: int(np.ceil(share * len(rows)))])
        found.append(part.fine.rows_at(rows[chosen]))
    return np.concatenate(found) if found else np.empty((0, view.manifest.dim), np.float32)


def _first_fit(view: View, manifest: Manifest, given: Given, dead: dict[int, NDArray[np.int64]]) -> View:
    """Fits codecs on the rows that waited and those that come, and encodes them all."""
    batch = given.batch
    live = [(part, _without(part, dead.get(at))) for at, part in enumerate(view.parts)]
    waiting = [part.archive.rows_at(_rows_of(part, mask)) for part, mask in live]
    sample = as_float32(batch.rows)
    if waiting:
        sample = np.concatenate([*waiting, sample])
    if len(sample) > _SAMPLE_ROWS:
        starts = np.arange(_SAMPLE_ROWS + 1) * len(sample) // _SAMPLE_ROWS
        within = np.random.default_rng(0).random(_SAMPLE_ROWS) * np.diff(starts)
        sample = np.take(sample, starts[:-1] + within.astype(np.int64), axis=0)  # one of each stretch
    manifest = fit_codecs(view, manifest, sample)
    pair = codecs_of(view, manifest)
    assert pair is not None
    segment = merge(view, manifest, pair, live, given)
    found = published(view, manifest, [] if segment is None else [segment])
    index.keep_up(found, given=given)
    return found


def _without(part: Part, dead: NDArray[np.int64] | None) -> NDArray[np.bool_] | None:
    """The live rows of a part (rows,) but for some more; None: all."""
    if dead is None:
        return part.live
    live = np.ones(part.segment.rows, np.bool_) if part.live is None else part.live.copy()
    live[dead] = False
    return live


def _rows_of(part: Part, live: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    return np.arange(part.segment.rows) if live is None else np.flatnonzero(live)


def merge(
    view: View,
    manifest: Manifest,
    pair: Codecs,
    parts: list[tuple[Part, NDArray[np.bool_] | None]],
    given: Given | None,
) -> Segment | None:
    """A segment of the live rows of parts, and of those given behind them; codes of the same codec are
    copied."""

    def rows() -> Iterator[files.Rows]:
        for part, live in parts:
            if part.segment.codec == manifest.codec and isinstance(pair.coarse, Codec):
                yield from _pairs(_live_codes(part.archive, live), _fine_codes(part, live, manifest, pair))
            else:
                yield from _live_batches(part, live)
        if given is not None:
            yield given.batch
            given.file()  # Before the segment has its name, an id that repeats is found.

    return files.write_segment(view.root, manifest, pair.coarse, pair.fine, rows())


def _fine_codes(
    part: Part, live: NDArray[np.bool_] | None, manifest: Manifest, pair: Codecs
) -> Iterator[CodeBatch] | None:
    """Codes of the finer rows: as they are, or made of the finest that there are; None: none are kept."""
    if pair.fine is None:
        return None
    if part.segment.fine_codec == manifest.fine:
        return _live_codes(part.fine, live)
    fine = pair.fine
    batches = _live_batches(part, live)
    return (CodeBatch(batch.first, batch.ids, fine.encode(batch.rows), None) for batch in batches)


def _pairs(coarse: Iterator[CodeBatch], fine: Iterator[CodeBatch] | None) -> Iterator[files.Rows]:
    """Codes, and those of the finer rows where they are kept; the batches of the two need not be as long."""
    for codes in coarse:
        yield codes, None
    for codes in fine or ():
        yield None, codes


def _live_codes(archive: Archive, live: NDArray[np.bool_] | None) -> Iterator[CodeBatch]:
    for batch in archive.code_batches():
        if live is None:
            yield batch
            continue
        keep = np.flatnonzero(live[batch.first : batch.first + len(batch)])
        if len(keep):
            taken = pa.array(keep)
            columns = None if batch.columns is None else batch.columns.take(taken)
            assert not isinstance(batch.codes, memoryview)
            yield CodeBatch(batch.first, batch.ids.take(taken), batch.codes[keep], columns)


def _live_batches(part: Part, live: NDArray[np.bool_] | None) -> Iterator[Batch]:
    """The finest rows that there are, with the segment's ids and columns."""
    for batch in part.archive.batches():
        numbers = np.arange(batch.first, batch.first + len(batch))
        keep = numbers if live is None else numbers[live[numbers]]
        if len(keep):
            taken = pa.array(keep - batch.first)
            assert batch.ids is not None
            columns = None if batch.columns is None else batch.columns.take(taken)
            yield Batch(part.fine.rows_at(keep), batch.ids.take(taken), columns, batch.path, batch.first)


def _fits(part: Part, manifest: Manifest) -> bool:
    """Whether rows are kept as those to come are, or wait to be encoded: so that nothing is lost or made up
    by writing them together."""
    segment = part.segment
    return segment.fine_codec == manifest.fine or part.archive.spec == parse(_RAW)


def _by_part(places: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Rows by the number of their part."""
    numbers, rows = segment_of(places)
    return {int(number): rows[numbers == number] for number in np.unique(numbers)}


def _with_deletes(view: View, dead: Mapping[int, NDArray[np.int64]]) -> list[Segment]:
    """The segments, with more rows deleted."""
    found = []
    for at, part in enumerate(view.parts):
        segment = part.segment
        if (rows := dead.get(at)) is not None:
            known = segment.deletes
            if len(known) >= _MOST_DELETES:
                assert part.live is not None
                known, rows = (), np.concatenate([rows, np.flatnonzero(~part.live)])
            segment = replace(segment, deletes=(*known, files.write_deletes(view.root, rows)))
        found.append(segment)
    return found


def published(view: View, manifest: Manifest, segments: Iterable[Segment]) -> View:
    """Commits the next version, and opens it."""
    following = replace(
        manifest, version=view.manifest.version + 1, created=now(), segments=tuple(segments), note=None
    )
    files.settle()
    versions.publish(view.root, following)
    return View(view.root, following, view)
