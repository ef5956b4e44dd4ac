"""Records of files of JSON lines, read one line at a time: the last of each case, and what cannot be used."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from vecstore.bench.report.model import Record, Trouble
from vecstore.errors import InputError, NotFoundError

STDIN = "-"
LONGEST = 16 << 20  # bytes of a line
LISTED = 200  # troubles; more are counted
_SHOWN = 120  # characters of a message

Key = tuple[object, ...]
Taken = Callable[[Record], tuple[Key | None, str]]  # the case of a record, or None and what is wrong with it


@dataclass
class Gathered:
    """records: the last of each case, in the order in which the cases came."""

    records: dict[Key, Record] = field(default_factory=dict)
    sources: list[tuple[str, int, int]] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    unlisted: int = 0

    def trouble(self, where: str, what: str) -> None:
        """Notes what is not in the report."""
        if len(self.troubles) < LISTED:
            self.troubles.append(Trouble(where, what))
        else:
            self.unlisted += 1


def gather(paths: list[str], taken: Taken) -> Gathered:
    """All records of the files; '-' is stdin.

    Raises NotFoundError for a file that is not there and InputError where none has a record.
    """
    found = Gathered()
    for path in paths:
        if path != STDIN and not Path(path).is_file():
            raise NotFoundError(f"{path} is no file; expected records of `vecstore bench --out`")
        name = "stdin" if path == STDIN else path
        count = used = 0
        with nullcontext(sys.stdin.buffer) if path == STDIN else open(path, "rb") as source:
            for count, line in enumerate(_lines(source), 1):
                if line is not None and not line.strip():
                    continue
                record = _parsed(line)
                key, trouble = (None, record) if isinstance(record, str) else taken(record)
                if key is None or isinstance(record, str):
                    found.trouble(f"{name}, line {count}", trouble)
                    continue
                found.records[key] = record
                used += 1
        found.sources.append((name, count, used))
    if not found.records:
        first = f"; {found.troubles[0].where}: {found.troubles[0].what}" if found.troubles else ""
        raise InputError(f"{', '.join(paths)}: no record of `vecstore bench` to report on{first}")
    return found


def _lines(source: BinaryIO) -> Iterator[bytes | None]:
    """Lines of a file; None for one that is too long to be read."""
    while line := source.readline(LONGEST):
        whole = line.endswith(b"\n") or len(line) < LONGEST
        yield line if whole else None
        while not whole:
            rest = source.readline(LONGEST)
            whole = not rest or rest.endswith(b"\n")


def _parsed(line: bytes | None) -> Record | str:
    """The record of a line, or what is wrong with it. NaN and infinities, which say nothing, become None."""
    if line is None:
        return f"longer than {LONGEST >> 20} MiB"
    try:
        found = json.loads(line, parse_constant=lambda name: None, parse_float=_finite)
    except UnicodeDecodeError as error:
        return f"not UTF-8: {error.reason} at byte {error.start}"
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at character {error.pos}"
    except (RecursionError, ValueError) as error:
        return f"not JSON that can be read: {str(error)[:_SHOWN]}"
    if not isinstance(found, dict):
        return f"a {type(found).__name__}; expected an object"
    return found


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None
