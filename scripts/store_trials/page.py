"""The page of the trials of stores, made from their records."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Record = dict[str, Any]

HEAD = """# What stores were tried with

Made by `python scripts/trials_store.py --out docs/reliability/store.jsonl --page
docs/reliability/store.md`; nothing is typed by hand. The tests run the same trials, with smaller counts.
*Wrong* is any row, tag, offset or version that is not what was committed, any crash or hang, and any error
that is not a `VecstoreError`.

| trial | counts | wrong |
|---|---|---|
"""
FAULTS = """## Faults of the system

A life of a store (create, put, upsert, tag, delete, stream, compact, gc, reindex, refit, untag) is lived
once for each call that could fail, which then does, by one thread and once more by two: the call returns an
error, the store is as before it (and can be opened so), the next call works, in the end everything is there
and no file is left over. Files of ids are written for three rows and more in it; since they are derived, a
commit stands without one. After a failed fsync none is tried again on the same descriptor, and what was not
acknowledged is taken back. The full disk is tried once with a single refusal, once with all that follow
refused too, and on a real file system of a few KiB (as root).

"""
CUTS = """## Power cuts

The same life is recorded, call by call. After each call states are built that a disk may be in after a
power cut: what was not made durable is there, lost, cut short or zeros; a name that was not may be there or
not. Each must open at a version that was acknowledged, or at the one that was under way, with all its rows,
tags and offsets, and a check must find nothing; nothing that was removed may be back. Then each fsync is left
out in turn, and states looked for that are wrong: if there is none, the fsync is not needed. Those are left
that make a codec durable which is there already, or whose folder is made durable once more in the same
commit, and those of the names of files of ids, which may be missing.

"""
RACES = """## Several at once, and kills

Two writers put rows at the same time, in two processes, in two threads, and in two threads with one store:
one of them gets a `ConflictError` and tries again. Readers, each a process, read while one writer commits,
compacts and collects: rows, gets and searches must be those of the version that they say. Writers are
killed with SIGKILL at random while others read: what they had said to be done is done, and at most one
thing more. Stream writers go on at their last offset: in the end every row is there once. Writers that make
one store after the other, of one put each with a file of ids beside, are killed too (bulk kills): of each
store all rows are there or none.

"""
DAMAGE = """## Damage

A store with two generations of codecs, finer rows, carried columns, deleted rows, tags and a stream is
damaged in one file at a time, in child processes. `check` must say so, or rows, gets, searches, filters,
tags and offsets must be right. *Harmless* are bytes that say nothing, such as padding in Arrow's framing of
codecs{index}.

| damage | trials | detected | harmless | wrong |
|---|---|---|---|---|
"""
VERSIONS = """## Many versions

| versions | commit, ms | refresh, ms | open, ms |
|---|---|---|---|
"""
END = """## What is not shown

A missing file of the newest version's manifest, or of a tag, cannot be noticed: what is left is what was
there before. A device that says that bytes are durable and loses them, damaged memory, and file systems
other than the one of the trials (ext4 or overlay, tmpfs) were not tried.
"""


def page(records: list[Record]) -> str:
    """The page, in Markdown."""
    text = HEAD
    for record in records:
        if record["task"] != "versions":
            text += f"| {_name(record)} | {_counts(record)} | {_wrong(record)} |\n"
    damages = [record for record in records if record["task"] == "damage"]
    lines = "".join(_damage(record) for record in damages)
    index = ", and what is derived and made anew" if any(record.get("index") for record in damages) else ""
    versions = "".join(
        f"| {r['versions']:,} | {r['commit_ms']} | {r['refresh_ms']} | {r['open_ms']} |\n"
        for r in records
        if r["task"] == "versions"
    )
    body = [FAULTS, CUTS, RACES, DAMAGE.replace("{index}", index) + lines + "\n"]
    return text + "\n" + "".join(body) + VERSIONS + versions + "\n" + END


def _name(record: Record) -> str:
    return ", ".join(str(record[key]) for key in ("task", "fault", "damage") if key in record)


def _wrong(record: Record) -> int:
    return len(record["wrong"])


def _counts(record: Record) -> str:
    words: dict[str, Callable[[Any], str]] = {
        "trials": lambda n: f"{n:,} trials",
        "fsyncs": lambda n: f"{n} fsyncs left out in turn",
        "fsyncs_not_missed": lambda found: f"{len(found)} of them not missed",
        "readers": lambda n: f"{n} readers",
        "commits": lambda n: f"{n:,} commits",
        "reads": lambda n: f"{n:,} reads",
        "versions_seen": lambda n: f"of {n:,} versions",
        "kills": lambda n: f"{n} kills",
        "acknowledged": lambda n: f"{n:,} acknowledged changes",
        "rows": lambda n: f"of {n:,} rows each",
        "stores": lambda n: f"{n:,} stores",
        "files_of_ids": lambda n: f"{n:,} of them with a file of ids",
    }
    found = [words[key](value) for key, value in record.items() if key in words]
    return ", ".join(found + [f"{n:,} {key}" for key, n in record.items() if key.startswith("conflicts")])


def _damage(record: Record) -> str:
    outcomes = record["outcomes"]
    numbers = f"{record['trials']:,} | {outcomes.get('detected', 0):,} | {outcomes.get('harmless', 0):,}"
    return f"| {record['damage']} | {numbers} | {_wrong(record)} |\n"


def merged(path: str, record: Record) -> list[Record]:
    """The records of a file, with this one in place of one of the same name; written back."""
    try:
        with open(path, encoding="utf-8") as file:
            known = [json.loads(line) for line in file]
    except FileNotFoundError:
        known = []
    names = [(_name(other), other.get("versions")) for other in known]
    name = _name(record), record.get("versions")
    if name in names:
        known[names.index(name)] = record
    else:
        known.append(record)
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in known)
    return known
