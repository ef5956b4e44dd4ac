"""A model of power cuts: what a directory may hold after one, at any point of a recorded piece of work.

Recorded are the calls that give files names, take names away, and make files or folders durable. After a cut
a file that was not made durable may be whole, empty, cut short, or zeros; a name that was not may be there or
not.
"""

import contextlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Disk:
    """Files by inode and names by path, each with what is surely on disk."""

    content: dict[int, bytes] = field(default_factory=dict)  # as written
    durable: set[int] = field(default_factory=set)  # inodes whose content is
    names: dict[str, int | None] = field(default_factory=dict)  # path -> inode; None: a folder
    sure: dict[str, int | None] = field(default_factory=dict)  # names that are durable
    folders: set[str] = field(default_factory=set)

    def copy(self):
        return Disk(
            dict(self.content), set(self.durable), dict(self.names), dict(self.sure), set(self.folders)
        )


class Recorder:
    """Follows the calls of `os` under a root, and keeps the state of the disk after each of them."""

    def __init__(self, root, skip=None):
        """skip: 'files' or 'folders', whose fsync does nothing, to see that the test can fail."""
        self.root = str(root)
        self.skip = skip
        self.disk = Disk()
        self.states = []  # (disk, marks so far)
        self.marks = 0

    def mark(self):
        """The work so far has been acknowledged."""
        self.marks += 1
        self._keep()

    def _keep(self):
        self.states.append((self.disk.copy(), self.marks))

    @contextlib.contextmanager
    def watching(self, monkeypatch):
        real = {name: getattr(os, name) for name in ("fsync", "link", "rename", "unlink", "mkdir")}

        def inside(path, dir_fd=None):
            path = os.fspath(path)
            if dir_fd is not None:
                path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path)
            path = os.path.abspath(path)
            return path if path.startswith(self.root) else None

        def fsync(descriptor):
            real["fsync"](descriptor)
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if os.path.isdir(path):
                if self.skip != "folders" and path.startswith(os.path.dirname(self.root)):
                    self._sync_folder(path)
            elif self.skip != "files":
                inode = os.fstat(descriptor).st_ino
                self.disk.content[inode] = Path(f"/proc/self/fd/{descriptor}").read_bytes()
                self.disk.durable.add(inode)
            self._keep()

        def link(source, target, **options):
            real["link"](source, target, **options)
            if (path := inside(target, options.get("dst_dir_fd"))) is not None:
                inode = os.stat(path).st_ino
                self.disk.content[inode] = Path(path).read_bytes()
                self.disk.names[path] = inode
                self._keep()

        def unlink(path, *, dir_fd=None):
            known = inside(path, dir_fd)
            real["unlink"](path, dir_fd=dir_fd)
            if known is not None:
                self.disk.names.pop(known, None)
                self._keep()

        def mkdir(path, *arguments, **options):
            real["mkdir"](path, *arguments, **options)
            if (known := inside(path)) is not None:
                self.disk.names[known] = None
                self._keep()

        def rename(*arguments, **options):
            raise AssertionError("the model knows no renames")

        for name, function in (("fsync", fsync), ("link", link), ("unlink", unlink), ("mkdir", mkdir)):
            monkeypatch.setattr(os, name, function)
        monkeypatch.setattr(os, "rename", rename)
        try:
            yield self
        finally:
            for name, function in real.items():
                monkeypatch.setattr(os, name, function)

    def _sync_folder(self, folder):
        disk = self.disk
        for path in {*disk.names, *disk.sure}:
            if os.path.dirname(path) == folder:
                if path in disk.names:
                    disk.sure[path] = disk.names[path]
                else:
                    disk.sure.pop(path, None)


def after_a_cut(disk, root, target, rng):
    """Builds under `target` one of the states that the disk may be in."""
    shutil.rmtree(target, ignore_errors=True)
    kept = {}
    for path in sorted({*disk.names, *disk.sure}):
        now, before = disk.names.get(path, "gone"), disk.sure.get(path, "gone")
        found = now if now == before or rng.random() < 0.5 else before
        if found != "gone":
            kept[path] = found
    for path, inode in kept.items():
        place = Path(target) / os.path.relpath(path, root)
        if str(Path(path).parent) not in kept and path != str(root):
            continue  # Its folder is lost.
        if not place.parent.exists() and path != str(root):
            continue
        if inode is None:
            place.mkdir(parents=path == str(root))
        else:
            place.write_bytes(_content(disk, inode, rng))


def _content(disk, inode, rng):
    data = disk.content[inode]
    if inode in disk.durable:
        return data
    kind = rng.integers(4)
    if kind == 0:
        return data
    if kind == 1:
        return b""
    cut = int(rng.integers(len(data) + 1))
    return data[:cut] if kind == 2 else data[:cut] + bytes(len(data) - cut)
