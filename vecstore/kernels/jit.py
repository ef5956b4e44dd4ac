"""The one decorator under which every kernel is compiled, and the cache that it is kept in.

numba stamps a cached kernel with the file that defines it and never looks at the files it calls, so the
cache folder of a file is named after a hash of it, of every kernel file that it imports, and of the
instruction set: a change starts an empty cache for what it can reach, and helpers can be shared.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba
from numba.core import config as numba_config

from vecstore.kernels.isa import FEATURES, ISA

config: Any = numba_config  # its settings are made at run time, unseen by type checkers

P = ParamSpec("P")
R = TypeVar("R")


_IMPORTED = re.compile(r"^from vecstore\.kernels(?:\.(\w+))? import (\([^)]*\)|.*)", re.MULTILINE)


def reached(path: Path) -> set[Path]:
    """This file and the kernel files that it imports, those that they import, and so on."""
    folder = Path(__file__).parent
    found: set[Path] = set()
    todo = {path, Path(__file__)}
    while todo:
        found.add(path := todo.pop())
        for module, names in _IMPORTED.findall(path.read_text(encoding="utf-8")):
            files = {folder / f"{name}.py" for name in ([module] if module else re.findall(r"\w+", names))}
            todo |= {file for file in files if file.exists()} - found
    return found


@cache
def _cache(source: str) -> Path | None:
    """Where kernels of a file are kept, in the first folder that can be written: NUMBA_CACHE_DIR, the user's
    cache, the temporary folder."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    user = f"vecstore-{os.getuid() if hasattr(os, 'getuid') else os.environ.get('USERNAME', '')}"
    given = os.environ.get("NUMBA_CACHE_DIR")
    digest = hashlib.sha256(f"{ISA} {sorted(FEATURES)} {numba.__version__}".encode())
    for path in sorted(reached(Path(source))):
        digest.update(path.read_bytes())
    for root in (given, os.path.join(home, "vecstore"), os.path.join(tempfile.gettempdir(), user)):
        if not root:
            continue
        folder = Path(root) / f"kernels-{digest.hexdigest()[:16]}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_private(folder) and os.access(folder, os.W_OK):
                return folder
        except OSError:
            continue
    return None


def _is_private(folder: Path) -> bool:
    """Whether nobody else can put files there: numba runs what it finds in its cache."""
    if not hasattr(os, "getuid"):
        return True
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles at the first call; releases the GIL; division by zero gives infinity or NaN."""
    # A function typed at a prompt has no file to stamp its cache with; numba then refuses to cache it.
    source = function.__code__.co_filename
    kept = _cache(source) if os.path.exists(source) else None
    before = config.CACHE_DIR
    config.CACHE_DIR = before if kept is None else str(kept)
    try:
        compiled: Callable[P, R] = numba.njit(cache=kept is not None, nogil=True, error_model="numpy")(
            function
        )
    finally:
        config.CACHE_DIR = before
    return compiled
