"""The page of `bench scan`, made from its records and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vecstore.bench.codecs_task import Record
from vecstore.bench.pages import Table, markdown
from vecstore.bench.scan_task import PAIRS

COMMAND = "vecstore bench scan --out docs/benchmarks/scan.jsonl --resume --page docs/benchmarks/scan.md"
HEADER = [
    "ours", "peer", "queries", "ns a row: ours", "peer", "ratio", "bytes a row: ours", "peer",
    "share of memory's speed", "GB/s read",
]  # fmt: skip
NOT_SHOWN = """\
Quality: what each code finds is in [codecs.md](codecs.md). Sets larger than 20,000 rows repeat them,
which does not change what has to be read and added. All searches are exhaustive, by inner product, and
give ten rows a query. Ours scores the best 36 rows once more with decoded rows, in float64, and gives
these scores; fast scan indexes of FAISS give those of their rounded tables. With 20,000 rows and one
query, what a call costs in Python and that rescoring are a good part of it. GB/s is of reading as many
bytes as ours has codes, in the same run; a share near one means that a scan waits for memory. Speeds vary
between runs and machines by more than ratios do: read the ratios first; they are of runs taken in turn in
one process, and their range is shown.

Targets that are missed: with 20,000 rows, a fast scan of FAISS answers one query in the time that a call
of ours takes before and after its kernel, for checks, tables and 36 rows that are decoded. Where decoding
turns rows back (tcq, pca), these 36 rows cost more than the scan of 20,000. With 32 queries turbovec
takes less than half our time; our kernel multiplies every nibble by a weight, as fast as the processor's
instruction for it goes."""


def page(records: Sequence[Record]) -> str:
    """docs/benchmarks/scan.md."""
    machine: Record = next((record["machine"] for record in reversed(records) if "machine" in record), {})
    parts = [
        "# Exhaustive scans: ours and others'",
        "<!-- Made by `vecstore bench scan --page`; edit vecstore/bench/scan_page.py instead. -->",
        f"Measured on {machine.get('cpu', 'an unknown processor')} ({machine.get('isa')}), by\n\n"
        f"```\n{COMMAND}\n```",
        "## Targets",
        markdown(("", *_target_table(records))),
    ]
    for title, header, lines in tables(records):
        parts += [f"## {title}", markdown((title, header, lines))]
    return "\n\n".join([*parts, "## What this does not show", NOT_SHOWN]) + "\n"


def tables(records: Sequence[Record]) -> Iterator[Table]:
    """A table for each number of rows and threads, one of what could not be measured."""
    good = [record for record in records if "scan_ratio" in record]
    for rows, threads in sorted({(record["rows"], record["threads"]) for record in good}):
        found = [r for r in good if (r["rows"], r["threads"]) == (rows, threads)]
        order = [(pair.ours, pair.peer) for pair in PAIRS]
        found.sort(key=lambda r: (r["queries"], order.index((r["method"], r["peer"]))))
        threads_text = "one thread" if threads == 1 else f"{threads} threads"
        yield (
            f"{rows:,} rows of {found[0]['dim']} dimensions, {threads_text}",
            HEADER,
            list(map(_line, found)),
        )
    if bad := [record for record in records if "scan_ratio" not in record]:
        header = ["ours", "peer", "rows", "threads", "what happened"]
        lines = [[r["method"], r["peer"], f"{r['rows']:,}", str(r["threads"]), _trouble(r)] for r in bad]
        yield "Failed or missing", header, lines


def _line(record: Record) -> list[str]:
    return [
        record["method"],
        record["peer"],
        str(record["queries"]),
        f"{record['ours_ns_row']:.2f}",
        f"{record['peer_ns_row']:.2f}",
        f"{record['scan_ratio']:.2f} ({record['scan_ratio_min']:.2f}-{record['scan_ratio_max']:.2f})",
        f"{record['ours_row_bytes']:.0f}",
        f"{record['peer_row_bytes']:.0f}",
        f"{record['read_share']:.0%}" if record["queries"] == 1 else "-",
        f"{record['read_gb_s']:.1f}",
    ]


def _trouble(record: Record) -> str:
    return f"{record['missing']} is not installed" if "missing" in record else str(record["error"])


def _target_table(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Each goal against the ratios of the largest set, one thread."""
    good = [r for r in records if "scan_ratio" in r and r["threads"] == 1]
    lines = []
    for pair in PAIRS:
        own = [r for r in good if (r["method"], r["peer"]) == (pair.ours, pair.peer)]
        if pair.goal is None or not own:
            continue
        cells = []
        for rows, queries in sorted({(r["rows"], r["queries"]) for r in own}):
            ratio = next(r["scan_ratio"] for r in own if (r["rows"], r["queries"]) == (rows, queries))
            cells.append((f"{ratio:.2f} ({rows:,} rows, {queries})", ratio >= pair.goal))
        kept = sum(good for _, good in cells)
        lines.append(
            [
                f"{pair.ours}, ratio to {pair.peer} >= {pair.goal:g}",
                "; ".join(text for text, _ in cells),
                "yes" if kept == len(cells) else f"{kept} of {len(cells)}",
            ]
        )
    return ["target", "found (rows, queries)", "kept"], lines
