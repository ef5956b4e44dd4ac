"""Damages archives at random and counts what is noticed: one JSON line per codec for docs/reliability.

    python scripts/corrupt_archive.py [--flips 2000] [--cuts 200] [--forged 2000] [SPEC ...]

Each trial flips one random bit of an archive, or cuts the file at a random byte. It counts as reported when
the full check finds something; what get, scan and batches give out must be an error or the true rows, and
nothing but a VecstoreError may be raised. A forged trial changes bytes of Arrow's own structures and makes
all checksums fit again, which no accident does: whatever it gives, it must neither crash nor raise anything
else. Each codec runs in a process of its own, so that a crash is seen.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from vecstore.archive import Archive, ArchiveWriter, seal
from vecstore.errors import VecstoreError
from vecstore.formats.base import Batch
from vecstore.registry import fit

SPECS = ["f32", "f16", "sq:bits=8", "sq:bits=4", "pq:m=8", "lossless", "normalize+sq:bits=8"]
SPECS += ["sq:bits=8 in tiers of 16,32"]
ROWS, DIM, SEED = 3000, 64, 0


def make_archive(path: str, spec: str) -> dict[str, Any]:
    """Writes an archive of ROWS rows with string ids and two carried columns; what reading it must give."""
    rng = np.random.default_rng(SEED)
    rows = rng.standard_normal((ROWS, DIM)).astype(np.float32)
    ids = pa.array([f"item-{number}" for number in rng.permutation(ROWS)])
    columns = pa.record_batch(
        {
            "lang": pa.array([["de", "en", None][i % 3] for i in range(ROWS)]),
            "year": pa.array(np.arange(ROWS)),
        }
    )
    name, _, tiers = spec.partition(" in tiers of ")
    codec, card = fit(name, rows), {"tiers": [int(part) for part in tiers.split(",")]} if tiers else {}
    with ArchiveWriter(path, codec, card=card, id_type=ids.type, columns=columns.schema) as writer:
        writer.write(Batch(rows, ids, columns, "random", 0))
    return {"rows": read_scan(path), "ids": ids.to_pylist(), "columns": columns.to_pydict()}


def read_scan(path: str) -> np.ndarray:
    """All rows, by scan."""
    with Archive(path) as archive:
        return np.concatenate([rows for _, rows in archive.scan(batch_rows=700)])


def wrong_data(path: str, truth: dict[str, Any]) -> int:
    """How many of the ways to read give other values than the true ones; an error is not a wrong value."""

    def get() -> bool:
        with Archive(path) as archive:
            return np.array_equal(archive.get(truth["ids"]), truth["rows"])

    def scan() -> bool:
        with Archive(path) as archive:
            at = 0
            for ids, rows in archive.scan(batch_rows=700):  # piece by piece: nothing wrong before the error
                stop = at + len(rows)
                if ids.tolist() != truth["ids"][at:stop] or not np.array_equal(rows, truth["rows"][at:stop]):
                    return False
                at = stop
            return at == ROWS

    def batches() -> bool:
        with Archive(path) as archive:
            at = 0
            for batch in archive.batches():
                stop = at + len(batch)
                good = batch.ids.to_pylist() == truth["ids"][at:stop]
                good &= np.array_equal(batch.rows, truth["rows"][at:stop])
                good &= all(
                    batch.columns.column(name).to_pylist() == values[at:stop]
                    for name, values in truth["columns"].items()
                )
                if not good:
                    return False
                at = stop
            return at == ROWS

    return sum(not _right_or_refused(way) for way in (get, scan, batches))


def _right_or_refused(read: Callable[[], bool]) -> bool:
    try:
        return read()
    except VecstoreError:
        return True


def read_anything(path: str, ids: list[str]) -> None:
    """Reads a forged archive in every way, whole and at a tier; lets through what is no VecstoreError."""
    for tier in (None, 16):
        with contextlib.suppress(VecstoreError), Archive(path, tier) as archive:
            for read in (
                lambda: archive.get(ids),
                archive.scan,
                archive.batches,
                archive.code_batches,
                lambda: archive.search(np.ones((1, archive.dim)), where="year > 5"),
            ):
                with contextlib.suppress(VecstoreError):
                    list(read())


def reported(path: str) -> bool:
    """Whether the full check says that something is wrong."""
    try:
        return Archive.examine(path) != []
    except VecstoreError:
        return True


def structure(path: str) -> tuple[seal.Seal, list[int], bytes]:
    """The seal, the places of all bytes that are not page sums or values of columns, and the page sums."""
    with Archive(path) as archive, open(path, "rb") as file:
        contents, whole = archive._contents, file.read()
        places = [*range(8, contents.seal.head_end), *range(contents.seal.tail_start, len(whole))]
        for start in contents.offsets[:-1].tolist():
            described = int.from_bytes(whole[start + 4 : start + 8], "little")
            places += range(start, start + 8 + described)
            # Offsets of strings stand among the values.
            places += range(start + 8 + described, start + 8 + described + 4096, 7)
        return contents.seal, places, contents.pages.sums.astype("<u8").tobytes()


def forge(whole: bytes, made: tuple[seal.Seal, list[int], bytes], rng: np.random.Generator) -> bytes:
    """The archive with one to three bytes of its structure changed and all checksums made to fit."""
    old, places, old_sums = made
    data = bytearray(whole)
    for place in rng.choice(places, rng.integers(1, 4)):
        data[place] ^= int(rng.choice([1 << rng.integers(8), 0xFF]))
    body, tail = data[: old.tail_start], data[old.tail_start :]
    pages = seal.PageSums()
    pages.update(bytes(body))
    if (at := tail.find(old_sums)) >= 0:
        tail[at : at + len(old_sums)] = pages.sums().astype("<u8").tobytes()
    new = seal.Seal(old.tail_start, old.head_end, seal.hash128(bytes(body[: old.head_end])))
    for match in seal.seals_in(bytes(tail)):
        tail[match.start() : match.end()] = new.text()
        seal.set_seal(tail, new)
    return bytes(body + tail)


def run(spec: str, flips: int, cuts: int, forged: int) -> dict[str, Any]:
    """Trials with one codec: how many were reported, and how many gave wrong data."""
    rng = np.random.default_rng(SEED)
    counts = dict.fromkeys(["flips", "flips_reported", "cuts", "cuts_reported", "wrong_data", "forged"], 0)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "archive.arrow")
        truth = make_archive(path, spec)
        size = os.path.getsize(path)
        with open(path, "r+b", buffering=0) as file:
            whole = file.read(size)
            for bit in rng.choice(size * 8, flips, replace=False):
                byte, mask = int(bit) // 8, 1 << (int(bit) % 8)
                os.pwrite(file.fileno(), bytes([whole[byte] ^ mask]), byte)
                counts["flips"] += 1
                counts["flips_reported"] += reported(path)
                counts["wrong_data"] += wrong_data(path, truth)
                os.pwrite(file.fileno(), whole[byte : byte + 1], byte)
            for cut in rng.choice(size, cuts, replace=False):
                os.truncate(path, int(cut))
                counts["cuts"] += 1
                counts["cuts_reported"] += reported(path)
                counts["wrong_data"] += wrong_data(path, truth)
                os.pwrite(file.fileno(), whole[cut:], int(cut))
        sound = Archive.examine(path) == []
        made = structure(path)
        for _ in range(forged):
            with open(path, "wb") as file:
                file.write(forge(whole, made, rng))
            reported(path)
            read_anything(path, truth["ids"])
            counts["forged"] += 1
    return {"task": "corruption", "method": spec, "bytes": size, **counts, "sound_when_restored": sound}


def main() -> None:
    """Runs each spec in a process of its own and prints its line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("specs", nargs="*", default=SPECS, metavar="SPEC")
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--forged", type=int, default=2000)
    parser.add_argument("--here", action="store_true", help="in this process")
    options = parser.parse_args()
    for spec in options.specs:
        if options.here:
            print(json.dumps(run(spec, options.flips, options.cuts, options.forged)), flush=True)
            continue
        numbers = [f"--{name}={getattr(options, name)}" for name in ("flips", "cuts", "forged")]
        command = [sys.executable, __file__, "--here", spec, *numbers]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(json.dumps({"task": "corruption", "method": spec, "crashed": done.returncode}), flush=True)
        else:
            print(done.stdout, end="", flush=True)


if __name__ == "__main__":
    main()
