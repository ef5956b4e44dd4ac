"""Repairing a store: what is derived is made anew, and nothing is given up but on demand."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from vecstore.atomic import storage_errors
from vecstore.errors import CorruptError, InputError, SpecError, VecstoreError
from vecstore.registry import AnyCodec
from vecstore.store import collect, files, hashfile, index, layout, tags, versions, writing
from vecstore.store.manifest import Manifest
from vecstore.store.salvage import salvage
from vecstore.store.view import View


@dataclass(frozen=True)
class Consent:
    """What may be given up. to_version: what came after it; salvage: rows that cannot be read. sure: that it
    may be; else what would be done is only said."""

    to_version: int | str | None = None
    salvage: bool = False
    sure: bool = False


@dataclass
class Repaired:
    """What was found and done. lost: in words, which rows; of lost_rows in all. sound: what is there now."""

    damage: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    possible: list[str] = field(default_factory=list)  # what it takes consent for
    lost: list[str] = field(default_factory=list)
    lost_rows: int = 0
    version: int | None = None
    sound: bool = False


def repair(root: str, consent: Consent) -> Repaired:
    """Looks at all of a store, mends what can be mended without loss, and the rest as it is consented to.

    InputError for a folder that never was a store, ConflictError while somebody writes.
    """
    if consent.salvage and consent.to_version is not None:
        raise SpecError("go back to a version, or salvage the newest; not both")
    if not os.path.isfile(os.path.join(root, layout.FORMAT)) and not _looks_like_one(root):
        versions.check_format(root)
    with versions.locked(root):
        return _Repair(root, consent).run()


class _Repair:
    """One repair, with nobody else writing."""

    def __init__(self, root: str, consent: Consent) -> None:
        self.root, self.consent = root, consent
        self.found = Repaired()

    def run(self) -> Repaired:
        """All of it, in order."""
        if self._never_was():
            return self.found
        self._frame()
        self._tags()
        newest = self._newest()
        if newest is not None:
            self._index(newest)
        faults = [] if newest is None else self._faults(newest)
        self.found.damage += faults
        if self.consent.to_version is not None:
            newest = self._back()
        elif newest is not None and faults:
            newest = self._salvaged(newest)
        faults = [] if newest is None else self._faults(newest)
        if newest is None or faults:
            self._offer(newest)
        else:
            self.found.sound = not list(tags.faults(self.root))
        self._leftovers()
        self.found.version = None if newest is None else newest.version
        return self.found

    def _never_was(self) -> bool:
        """Takes away what is left of a creation that was interrupted before anything was put."""
        if os.path.exists(os.path.join(self.root, layout.FORMAT)) or _entries(self.root):
            return False
        with storage_errors(self.root, "remove"):
            for name in (*layout.FOLDERS, layout.INDEX):
                if os.path.isdir(folder := os.path.join(self.root, name)):
                    os.rmdir(folder)
            if os.path.exists(lock := os.path.join(self.root, layout.LOCK)):
                os.unlink(lock)
            os.rmdir(self.root)
        self.found.damage.append(f"{self.root} is what an interrupted creation left; nothing was ever in it")
        self.found.done.append(f"removed {self.root}")
        self.found.sound = True
        return True

    def _frame(self) -> None:
        """Folders and FORMAT."""
        for name in layout.FOLDERS:
            folder = os.path.join(self.root, name)
            if not os.path.isdir(folder):
                self.found.damage.append(f"there is no folder {folder}")
                with storage_errors(folder, "create"):
                    os.mkdir(folder)
                    versions.sync_names(self.root)
                self.found.done.append(f"made {folder}")
        try:
            versions.check_format(self.root)
        except (InputError, CorruptError) as error:
            self.found.damage.append(str(error))
            versions.write_format(self.root, force=True)
            self.found.done.append(f"wrote {os.path.join(self.root, layout.FORMAT)}")

    def _tags(self) -> None:
        for name in tags.names(self.root):
            try:
                tags.read(self.root, name)
            except CorruptError as error:
                self.found.damage.append(str(error))
                self._consented(
                    f"remove the tag {name!r}, which cannot be read",
                    lambda name=name: tags.remove(self.root, name),  # type: ignore[misc]
                )

    def _index(self, newest: Manifest) -> None:
        """Files of ids, which are derived."""
        try:
            view = View(self.root, newest)
        except VecstoreError:
            return
        if faults := index.faults(view):
            self.found.damage += faults
            for path in hashfile.paths(self.root):
                hashfile.remove(path)
            with contextlib.suppress(VecstoreError):
                index.keep_up(View(self.root, newest))
            self.found.done.append("made the files of ids anew, or left them out where there are few rows")
        view.close()

    def _consented(self, what: str, act: Callable[[], None]) -> None:
        """Does what gives something up, or says that it could be done."""
        if self.consent.sure:
            act()
            self.found.done.append(what)
        else:
            self.found.possible.append(f"{what} (--yes)")

    def _newest(self) -> Manifest | None:
        try:
            return versions.read(self.root, versions.newest(self.root))
        except CorruptError as error:
            self.found.damage.append(str(error))
            return None

    def _faults(self, manifest: Manifest) -> list[str]:
        """What is wrong with a version, tags aside."""
        try:
            view = View(self.root, manifest)
        except VecstoreError as error:
            return [str(error)]
        try:
            wrong = {*tags.faults(self.root), *index.faults(view)}
            return [finding for finding in collect.faults(view) if finding not in wrong]
        finally:
            view.close()

    def _publish(self, manifest: Manifest, note: str) -> Manifest:
        """A version after all that there are."""
        held = [held.version for held in _readable_tags(self.root)]
        number = 1 + max([*versions.numbers(self.root), *held])
        following = replace(manifest, version=number, created=writing.now(), note=note)
        versions.publish(self.root, following)
        self.found.done.append(f"{note}: this is version {number}")
        return following

    def _back(self) -> Manifest | None:
        """Makes an older version the newest."""
        assert self.consent.to_version is not None
        manifest = tags.resolve(self.root, self.consent.to_version)
        if faults := self._faults(manifest):
            raise CorruptError(f"version {manifest.version} is damaged, too: {faults[0]}")
        note = f"went back to version {manifest.version}"
        if not self.consent.sure:
            self.found.possible.append(
                f"go back to version {manifest.version}, with {manifest.rows} rows: what was committed after "
                f"it is given up (--to-version {self.consent.to_version} --yes)"
            )
            return None
        return self._publish(manifest, note)

    def _salvaged(self, newest: Manifest) -> Manifest:
        """A version of the rows that can still be read."""
        known: dict[str, AnyCodec] = {}
        for identity in sorted(newest.codecs):
            try:
                known[identity] = files.read_codec(self.root, identity)
            except VecstoreError:
                continue
        saved = salvage(self.root, newest, known, write=self.consent.salvage and self.consent.sure)
        self.found.lost, self.found.lost_rows = saved.lost, saved.rows
        if not (self.consent.salvage and self.consent.sure):
            self.found.possible.append(
                f"keep the {newest.rows - saved.rows} rows that can be read, and give up {saved.rows} "
                "(--salvage --yes)"
            )
            return newest
        if newest.codec not in known or newest.fine not in (None, *known):
            newest = replace(newest, codec=None, fine=None)  # Fitted anew at the next put.
        note = f"salvaged version {newest.version}: {saved.rows} rows are lost"
        return self._publish(replace(newest, segments=tuple(saved.segments)), note)

    def _offer(self, newest: Manifest | None) -> None:
        """Says which version could be gone back to."""
        if self.consent.to_version is not None:
            return
        last = None if newest is None else newest.version
        for number in reversed(versions.numbers(self.root)):
            try:
                manifest = versions.read(self.root, number)
            except VecstoreError:
                continue
            if number != last and not self._faults(manifest):
                self.found.possible.append(
                    f"go back to version {number} of {manifest.created}, with {manifest.rows} rows: what was "
                    f"committed after it is given up (--to-version {number} --yes)"
                )
                return
        for manifest in _readable_tags(self.root):
            if not self._faults(manifest):
                self.found.possible.append(
                    f"go back to the tagged version {manifest.version}, with {manifest.rows} rows "
                    f"(--to-version {manifest.version} --yes)"
                )

    def _leftovers(self) -> None:
        """Removes what no version and no tag names, if all of them can be read."""
        try:
            known = [versions.read(self.root, number) for number in versions.numbers(self.root)]
            known += tags.held(self.root).values()
        except VecstoreError:
            return
        gone = collect.remove_unneeded(self.root, known) if known else []
        if gone:
            self.found.done.append(f"removed {len(gone)} files of commits that did not come about")


def _looks_like_one(root: str) -> bool:
    """Whether a folder has nothing in it that a store has not, so that it may have been one."""
    if not os.path.isdir(root):
        return False
    entries = set(os.listdir(root)) - {layout.LOCK}
    folder = os.path.join(root, layout.VERSIONS)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    ours = all(layout.manifest_version(name) is not None for name in names)
    return ours and layout.VERSIONS in entries and entries <= {*layout.FOLDERS, layout.INDEX}


def _entries(root: str) -> list[str]:
    """Files in the folders of a store."""
    return [
        os.path.join(place, name)
        for folder in layout.FOLDERS
        for place, _, names in os.walk(os.path.join(root, folder))
        for name in names
    ]


def _readable_tags(root: str) -> list[Manifest]:
    found = []
    for name in tags.names(root):
        try:
            found.append(tags.read(root, name))
        except VecstoreError:
            continue
    return found
