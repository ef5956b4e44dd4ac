"""The names and limits of a store's directory; docs/store.md explains them."""

from __future__ import annotations

import os
import re
import secrets

from vecstore.errors import CorruptError, SpecError

VERSION = 1
FORMAT = "FORMAT"  # written once, last of all that a new store has: a folder with it is a store
VERSIONS, TAGS = "versions", "tags"
SEGMENTS, FINE, CODECS, DELETES = "segments", "fine", "codecs", "deletes"
FOLDERS = (VERSIONS, TAGS, SEGMENTS, FINE, CODECS, DELETES)
INDEX = "index"  # derived; made when it is first needed
LOCK = "LOCK"  # of the one process that writes

_MANIFEST = re.compile(r"([0-9]{20})\.json")
_HASH = re.compile(r"([0-9]{20})\.hash")
_NAME = re.compile(r"[0-9a-f]{32}")
_IDENTITY = re.compile(r"[0-9a-f]{64}")
_TAG = re.compile(r"(?!\d+$)[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def new_name() -> str:
    """A name that no other file has: 128 random bits."""
    return secrets.token_hex(16)


def manifest_name(version: int) -> str:
    """The file of a version."""
    return f"{version:020d}.json"


def manifest_version(name: str) -> int | None:
    """The version that a file name stands for, if any."""
    found = _MANIFEST.fullmatch(name)
    return int(found[1]) if found else None


def checked_name(name: object, where: str) -> str:
    """A name as `new_name` makes it; CorruptError for anything else, which might lead out of the store."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CorruptError(f"{where} names a file {str(name)[:80]!r}; expected 32 hexadecimal digits")
    return name


def checked_identity(identity: object, where: str) -> str:
    """The sha256 of a codec; CorruptError for anything else."""
    if not isinstance(identity, str) or not _IDENTITY.fullmatch(identity):
        raise CorruptError(f"{where} names a codec {str(identity)[:80]!r}; expected 64 hexadecimal digits")
    return identity


def checked_tag(name: object) -> str:
    """A name that a tag may have; SpecError for anything else, which might lead out of the store or be taken
    for a number."""
    if not isinstance(name, str) or not _TAG.fullmatch(name):
        raise SpecError(
            f"a tag cannot be named {str(name)[:80]!r}; expected up to 100 letters, digits, '.', '_' and "
            "'-', not digits only, and no '.' or '-' first"
        )
    return name


def tag_path(root: str, name: str) -> str:
    """The file of a tag, whose name has been checked."""
    return os.path.join(root, TAGS, f"{name}.json")


def segment_path(root: str, name: str) -> str:
    """Codes, ids and carried columns of some rows."""
    return os.path.join(root, SEGMENTS, f"{name}.arrow")


def fine_path(root: str, name: str) -> str:
    """The finer codes that are kept of the same rows."""
    return os.path.join(root, FINE, f"{name}.arrow")


def codec_path(root: str, identity: str) -> str:
    """A codec, by its sha256."""
    return os.path.join(root, CODECS, f"{identity}.arrow")


def deletes_path(root: str, name: str) -> str:
    """Rows of one segment that are deleted."""
    return os.path.join(root, DELETES, f"{name}.arrow")


def hash_path(root: str, version: int) -> str:
    """Where the ids of a version's segments are."""
    return os.path.join(root, INDEX, f"{version:020d}.hash")


def hash_version(name: str) -> int | None:
    """The version that a file of ids was made at, if it is one."""
    found = _HASH.fullmatch(name)
    return int(found[1]) if found else None
