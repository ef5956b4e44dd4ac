"""Rows that are there written anew: small segments into one, deleted rows left out, by other codecs.

Finer rows can be dropped at any time, and made coarser. They cannot be made finer than they are: a segment
whose finest codes take fewer bytes than those to be kept would only grow, so it stays as it is.
"""

from __future__ import annotations

from dataclasses import replace

from vecstore import registry
from vecstore.codecs.base import Codec
from vecstore.errors import InputError, SpecError
from vecstore.store import files, index
from vecstore.store.manifest import Manifest, Segment
from vecstore.store.parts import Part
from vecstore.store.view import View
from vecstore.store.writing import (
    SMALL_ROWS,
    Codecs,
    check_spec,
    codecs_of,
    fit_codecs,
    merge,
    published,
    sample_of,
)

UNCHANGED = "unchanged"  # in place of the spec of finer codes


def refit(view: View, spec: str | None, keep: str | None) -> View:
    """A new generation of codecs for rows to come. spec: None for the one there is. keep: or `UNCHANGED`."""
    for text in (spec, keep):
        if text not in (None, UNCHANGED):
            check_spec(str(text), view.manifest.dim)
    manifest = view.manifest if spec is None else replace(view.manifest, spec=spec)
    if keep != UNCHANGED:
        manifest = replace(manifest, keep=keep)
    if not len(view):
        raise InputError(f"{view.root} has no rows to fit a codec on; put some first")
    return published(view, fit_codecs(view, manifest, sample_of(view)), list(manifest.segments))


def compact(view: View, thinned: float, keep: str | None) -> View:
    """Writes live rows of small, thinned and older segments into one for each kind of finer rows.

    thinned: see `Store.compact`. keep: the spec of finer codes from now on, None for none, or `UNCHANGED`.
    """
    if not isinstance(thinned, int | float) or not 0 <= thinned <= 1:
        raise SpecError(f"thinned is {thinned!r}; expected a share, 0 to 1")
    manifest = view.manifest if keep == UNCHANGED else _kept(view, keep)
    if manifest.codec is None and len(view):
        manifest = fit_codecs(view, manifest, sample_of(view))
    pair = codecs_of(view, manifest)
    if pair is None:
        return view if manifest == view.manifest else published(view, manifest, manifest.segments)
    targets = {part.segment.name: _target(part, pair.fine) for part in view.parts}
    if keep != UNCHANGED and pair.fine is not None:
        _refuse_finer(view, targets, pair.fine)
    chosen = [part for part in view.parts if _worth(part, manifest, targets[part.segment.name], thinned)]
    written: list[Segment] = []
    gone: set[str] = set()
    for target in sorted({targets[part.segment.name] or "" for part in view.parts}):
        mine = [part for part in view.parts if (targets[part.segment.name] or "") == target]
        small = [part for part in mine if part.segment.rows < SMALL_ROWS]
        parts = [part for part in mine if part in chosen or (part in small and len(small) > 1)]
        gone |= {part.segment.name for part in parts}
        own = replace(manifest, fine=target or None)
        codecs = codecs_of(view, own)
        assert codecs is not None
        if parts and (segment := merge(view, own, codecs, [(part, part.live) for part in parts], None)):
            written.append(segment)
    stay = [_dropped(part.segment, pair) for part in view.parts if part.segment.name not in gone]
    if manifest == view.manifest and not gone and stay == list(manifest.segments):
        return view
    found = published(view, manifest, [*written, *stay])
    if len(found) >= index.LEAST_ROWS:
        index.write(found)
    return found


def _kept(view: View, keep: str | None) -> Manifest:
    """The manifest with another spec of finer codes, whose codec is fitted if that of codes is."""
    if keep is None or view.manifest.codec is None:
        if keep is not None:
            check_spec(keep, view.manifest.dim)
        return replace(view.manifest, keep=keep, fine=None)
    check_spec(keep, view.manifest.dim)
    if not len(view):
        raise InputError(f"{view.root} has no rows to fit {keep} on; put some first")
    fine = files.write_codec(view.root, registry.fit(keep, sample_of(view)))
    return replace(view.manifest, keep=keep, fine=None if fine == view.manifest.codec else fine)


def _target(part: Part, fine: Codec | None) -> str | None:
    """The codec of the finer rows that a segment is to have: that given, unless its own hold less."""
    if fine is None or _size(part.fine.codec) >= _size(fine):
        return None if fine is None else fine.identity
    return part.segment.fine_codec


def _size(codec: object) -> float:
    """Bytes a row, which stand for how fine codes are; of blocks more than any."""
    return codec.code_bytes if isinstance(codec, Codec) else float("inf")


def _refuse_finer(view: View, targets: dict[str, str | None], fine: Codec) -> None:
    """SpecError where finer rows are asked for than there are."""
    poor = [part for part in view.parts if targets[part.segment.name] != fine.identity]
    if poor:
        held = ", ".join(sorted({str(part.fine.spec) for part in poor}))
        raise SpecError(
            f"{sum(part.segment.rows for part in poor)} rows of {view.root} are held as {held}, which tells "
            f"less than {fine.spec} ({fine.code_bytes} bytes a row) could: what is not there cannot be kept. "
            "Keep no more than that, put the rows again, or refit with keep for rows to come"
        )


def _worth(part: Part, manifest: Manifest, target: str | None, thinned: float) -> bool:
    """Whether a segment is thinned, of another generation, or to have other finer rows."""
    segment = part.segment
    other = segment.codec != manifest.codec or (target is not None and segment.fine_codec != target)
    return other or segment.deleted > thinned * segment.rows


def _dropped(segment: Segment, pair: Codecs) -> Segment:
    """A segment without its finer rows where none are to be kept: their file is no longer named."""
    if pair.fine is not None or segment.fine_codec is None:
        return segment
    return replace(segment, fine_codec=None, fine_size=0, fine_seal="")
