"""The page of `bench store`, made from its records and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vecstore.bench.codecs_task import Record
from vecstore.bench.line import Line
from vecstore.bench.pages import Table, markdown
from vecstore.bench.process import trouble

COMMAND = "vecstore bench store --out docs/benchmarks/store.jsonl --resume --page docs/benchmarks/store.md"
NOT_SHOWN = """\
np.take is given row numbers and checks nothing; ours is given ids, looks each up in a hash table that is
checked page by page, and takes codes whose pages have been verified, from as many segments as the table says.
Finding an id touches one line of the cache or two, its code two; the table of steps has what each takes when
it is done alone. Taking rows that were found before, which is what np.take does, takes about as long as
np.take; of the 2,000,000 rows both steps together take longer than their sum, since less of what each needs
is still in the cache. Lance is given row numbers too. LMDB and SQLite are given ids; SQLite joins them as
JSON. Times are of the processor, so that others on the machine do not count, though they share its cache and
memory; but for puts, commits, opening, the disk, and two threads.

Decoding alone decodes codes that were gathered before; both make a new array of the rows each time, and write
past the cache, which would not hold it.

Under the cap, which counts the page cache, the codes are four times as large as memory, and the file of ids
takes about a quarter of that again. A row of ours needs two pages of 4 kB from the disk, one of each; what
the disk gives is one page a row of a plain file, asked for side by side in the same way. `plain` is a store
opened without `memory=`, of which single pages are waited for one by one. All pages have been verified
before; the first time that a page is used, all 64 kB of it are read.

Targets that are missed: decoded rows of 10,000 ids among 2,000,000 take as long as decoding and about twice
the time of their codes alone. Ids and codes of so many rows are several times as large as the cache, which
other processes have used when the next call comes, so that nearly every line is waited for from memory: a
pause as long as decoding, in place of it, has the same effect.

A check reads every byte once and compares its checksum; the table says how fast that alone is. The file of
ids is read in order: the sum of a hash of each slot, by a secret that is new each time, is compared with that
of the rows, and slots next to each other tell whether each is found and no id comes twice. What is left is
this hash, and Arrow's own look at each batch.

A put writes a quarter more bytes than the Arrow file has, the file of ids, and more than one file, each of
which is made durable, so that bytes in as many files and nothing else are slower than the Arrow file, too.
Ours has the disk begin with what is written while it hashes ids, part by part in the cache; on two threads it
does that beside. These are seconds of the clock, which others on the machine lengthen: most of a put is work
of the processor, most of an Arrow file the disk's. What was written before is removed before the next run of
a put and of its peer. A commit waits for the disk four times."""


def page(records: Sequence[Record]) -> str:
    """docs/benchmarks/store.md."""
    machine: Record = next((record["machine"] for record in reversed(records) if "machine" in record), {})
    parts = [
        "# Stores: rows found, read and written",
        "<!-- Made by `vecstore bench store --page`; edit vecstore/bench/store_page.py instead. -->",
        f"Measured on {machine.get('cpu', 'an unknown processor')} ({machine.get('isa')}), one thread "
        "or, where said, two, by\n\n"
        f"```\n{COMMAND}\n```",
        "## Targets",
        markdown(("", *_target_table(records))),
    ]
    for title, header, lines in tables(records):
        parts += [f"## {title}", markdown((title, header, lines))]
    return "\n\n".join([*parts, "## What this does not show", NOT_SHOWN]) + "\n"


def tables(records: Sequence[Record]) -> Iterator[Table]:
    """A table for each topic, one of what could not be measured."""
    good = [record for record in records if not trouble(record)]
    pairs = [
        [
            f"{r['rows']:,} in {r['segments']:,}",
            r["peer"],
            f"{r[f'{what}_ours_us']:,.0f}",
            f"{r[f'{what}_peer_us']:,.0f}",
            f"{r[f'{what}_ratio']:.2f} ({r[f'{what}_ratio_min']:.2f}-{r[f'{what}_ratio_max']:.2f})",
        ]
        for r in good
        for what in ("codes", "rows")
        if f"{what}_ratio" in r
    ]
    if pairs:
        header = ["rows in segments", "peer", "us: ours", "peer", "times as fast"]
        yield "10,000 rows by id, in memory", header, pairs
    for title, keys in _FACTS.items():
        lines = [
            [_name(r), *(f"{r[key]:{form}}" for key, (_, form) in keys.items())]
            for r in good
            if all(r.get(key) is not None for key in keys)
        ]
        if lines:
            yield title, ["rows in segments", *(name for name, _ in keys.values())], lines
    if bad := [record for record in records if record not in good]:
        header = ["topic", "rows", "peer", "what happened"]
        yield (
            "Failed or missing",
            header,
            [[r["topic"], f"{r['rows']:,}", r.get("peer", "-"), _trouble(r)] for r in bad],
        )


_THREADS = (1, ""), (2, ", two threads")

# By the title of their table, the facts of a record, their names, and how they are written.
_FACTS: dict[str, dict[str, tuple[str, str]]] = {
    "10,000 rows by id, step by step": {
        "find_us": ("us to find the ids", ",.0f"),
        "take_us": ("to take the codes of rows that were found before", ",.0f"),
    },
    "One row by id": {"codes_p50_us": ("median us: code", ".1f"), "rows_p50_us": ("decoded row", ".1f")},
    "From the disk, under a cap of a quarter of the codes": {
        "memory_rows_s": ("rows/s with memory=", ",.0f"),
        "plain_rows_s": ("plain", ",.0f"),
        "disk_rows_s": ("what the disk gives", ",.0f"),
        "cap_mb": ("cap, MB", ".0f"),
    },
    "Loading and committing": {
        "load_ratio": ("speed of a put, share of an Arrow file's", ".2f"),
        "bare_ratio": ("of its bytes in as many files, and nothing else", ".2f"),
        "mb": ("MB", ".0f"),
    },
    "Commits of 100 rows": {
        "commits_s": ("commits/s", ".0f"),
        "commit_peer_us": ("us of 4 fsyncs alone", ",.0f"),
        "commit_ours_us": ("us of a commit", ",.0f"),
    },
    "Opening": {
        "open_s": ("s to open", ".3f"),
        "first_row_s": ("s to the first row", ".3f"),
        "peak_mb": ("MB of memory to open", ".1f"),
    },
    "In order": {
        "scan_gb_s": ("GB/s of codes as Arrow", ".1f"),
        "check_gb_s": ("GB/s of a full check", ".2f"),
        "read_gb_s": ("of reading and summing alone, on one thread", ".2f"),
    },
}


def _name(record: Record) -> str:
    threads = record.get("threads", 1)
    return f"{record['rows']:,} in {record['segments']:,}" + (f", {threads} threads" if threads > 1 else "")


def _trouble(record: Record) -> str:
    return f"needs {record['missing']}" if "missing" in record else trouble(record)


def _target_table(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Each goal against what was reached."""
    good = [record for record in records if not trouble(record)]
    rows = [
        [line.what, line.found, line.verdict, f"`{line.command}`" if line.command else "all of it"]
        for line in judge(good)
    ]
    return ["target", "found", "kept", "made by bench store with"], rows


def judge(good: Sequence[Record]) -> Iterator[Line]:
    """All targets."""
    for peer, key, least, what in (
        ("np.take", "codes_ratio", 0.4, "codes of 10,000 ids, share of np.take's speed >= 0.4"),
        ("Lance", "codes_ratio", 20, "codes of 10,000 ids, times as fast as Lance >= 20"),
        ("LMDB", "codes_ratio", 20, "codes of 10,000 ids, times as fast as LMDB >= 20"),
        ("sqlite", "codes_ratio", 20, "codes of 10,000 ids, times as fast as sqlite >= 20"),
        ("decoding alone", "rows_ratio", 0.6, "decoded rows of 10,000 ids, share of decoding alone >= 0.6"),
    ):
        yield _least(what, [r for r in good if r.get("peer") == peer and r["topic"] == "get"], key, least)
    gets = [r for r in good if r["topic"] == "get"]
    yield _most("one row by id, its code, us <= 10", gets, "codes_p50_us", 10)
    yield _most("one row by id, decoded, us <= 10", gets, "rows_p50_us", 10)
    yield _least("rows/s from the disk, memory a quarter of codes >= 40,000", good, "memory_rows_s", 40_000)
    for threads, on in _THREADS:
        own = [r for r in good if r.get("threads", 1) == threads]
        yield _least(f"a large put, share of an Arrow file's speed{on} >= 0.6", own, "load_ratio", 0.6)
    yield _least("durable commits of 100 rows a second >= 300", good, "commits_s", 300)
    opened = [r for r in good if r["topic"] == "open"]
    yield _most("seconds to open 1,000 segments <= 1", opened, "open_s", 1)
    yield _most("seconds to their first row <= 1", opened, "first_row_s", 1)
    for threads, on in _THREADS:
        own = [r for r in good if r.get("threads", 1) == threads]
        yield _least(f"scan to Arrow, GB/s of codes{on} >= 2", own, "scan_gb_s", 2)
        yield _least(f"check of everything, GB/s{on} >= 5", own, "check_gb_s", 5)


def _least(what: str, records: Sequence[Record], key: str, bound: float) -> Line:
    return _line(what, records, key, lambda value: value >= bound)


def _most(what: str, records: Sequence[Record], key: str, bound: float) -> Line:
    return _line(what, records, key, lambda value: value <= bound)


def _line(what: str, records: Sequence[Record], key: str, kept: Callable[[float], bool]) -> Line:
    """A target is kept if it is by all records that have the figure."""
    found = [r for r in records if r.get(key) is not None]
    if not found:
        return Line(what, "-", None, "")
    text = "; ".join(f"{r[key]:,.{_digits(r[key])}f} ({r['rows']:,} rows)" for r in found)
    topics = ",".join(dict.fromkeys(r["topic"] for r in found))
    return Line(what, text, all(kept(r[key]) for r in found), f"--topics {topics}")


def _digits(value: float) -> int:
    return 0 if value >= 100 else 1 if value >= 10 else 3 if value < 0.1 else 2
