"""The page of `bench scan`, made from its records and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vecstore.bench.codecs_task import Record
from vecstore.bench.line import Line
from vecstore.bench.pages import Table, markdown
from vecstore.bench.process import trouble
from vecstore.bench.scan_task import PAIRS

COMMAND = """\
vecstore bench scan --threads 1,2 --out docs/benchmarks/scan.jsonl --resume --page docs/benchmarks/scan.md"""
_AT_ONCE = 1.5  # times the throughput of one query
_BOUND_BY_MEMORY = 0.6  # share of memory's speed from which on a scan waits for it
HEADER = [
    "ours", "peer", "queries", "ns a row: ours", "peer", "ratio", "bytes a row: ours", "peer",
    "share of memory's speed", "GB/s read", "recall@10: ours", "peer",
]  # fmt: skip
NOT_SHOWN = """\
Quality on real rows: what each code finds there is in [codecs.md](codecs.md). Rows here are generated, of a
spectrum that falls as those of real embeddings do, and all differ; codecs learn from 20,000 of them; queries
are others, each call's not those of the one before. All searches are exhaustive, by inner product, and give
ten rows a query. Ours scores the best 36 rows once more without rounding the query (hadamard and rabitq: all
rows that a bound from one bit a dimension lets in), and gives these scores; fast scan indexes of FAISS give
those of their rounded tables. Symmetric searches give what codes tell of codes. With 20,000 rows and one
query, what a call costs in Python and that rescoring are a good part of it. GB/s is of reading as many bytes
as ours has codes, in the same run; a share near one means that a scan waits for memory. Speeds vary between
runs and machines by more than ratios do: read the ratios first; they are of runs taken in turn in one
process, and their range is shown.

Targets that are missed, and why. With 20,000 rows and one query, FAISS, rabitqlib and turbovec answer in 40
to 80 us. Of the 39 us of a call of ours with `pq:m=96,bits=4`, 20 are sums of entries, 4 the heap, 5 tables,
2 rows that are scored again, 2 a look at the query, and the rest Python. The sums take 18 cycles for 64 rows
and 8 tables, in 28 instructions of 512 bits, of which the machine begins two a cycle; with half of the
additions or without the lookups they take as long. A symmetric scan of signs waits for memory at a million
rows, and reads 48 bytes a row at that speed.

Several queries at once gain less than half where they have little to share. Tables of 256 share nothing but
the codes: of the 78 us of each of 32 queries of `pq:m=96` 55 are sums, as many as of a query alone, of which
a call takes 91. Of klt's 90 us a query, heads are 24 in place of 50, but tails and heaps 40 as before. What a
call costs beside the scan is shared, too, and has become less for one query.

Scans of tcq and klt look up the words with the largest axes of all rows, and the other words of those rows
alone that a bound (Cauchy, Schwarz) does not rule out: of these rows 26 of 48 groups of klt with four bits,
and the others of one row in a hundred, or of 20,000 rows five. Results are those of all words. To look at a
bound once more behind half of the other words took longer than it saved. With 20,000 rows and one query, of
the 120 us of `klt:bits=4` 50 are heads, 35 bounds, tails and the heap, 16 what is made of the query (of which
9 are its turning), 12 rows that are scored again, and the rest Python.

With 256 states, 64 values take six instructions where 64 states take two or three, two of them for the halves
of a table and two to choose between these: 30 cycles for eight registers. `tcq:bits=1`, in the form that a
budget chooses, has stages and scales besides. Centroids are added to heads before the bounds are, and help to
rule rows out: of its 5 ns a row 3.2 are 20 of the 46 groups of its cells, half of one is centroids and
scales, and the other groups are read of one row in two hundred; FastScan takes 2.0 to 2.5 ns for all.
Registers of a block are read in the order in which they lie: in the order that the compiler would choose, the
machine did not read ahead, and a scan of klt took 10 ns a row instead of 6 before it had bounds. At a million
rows a scan of `sq:bits=4` takes as long as reading its codes. turbovec reads 196 bytes in about the time that
the plain read beside it takes for 192.

With two threads, times are by the clock on the wall. 20,000 rows and one query are not worth a second thread
to ours. Many queries are shared out to threads, so that each query has one heap to fill; to wake a thread
takes some 50 us of the millisecond that such a call does, where FAISS's and turbovec's threads wait awake."""


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
        order = {(pair.ours, pair.peer): place for place, pair in enumerate(PAIRS)}
        found.sort(key=lambda r: (r["queries"], order.get((r["method"], r["peer"]), len(PAIRS))))
        threads_text = "one thread" if threads == 1 else f"{threads} threads"
        yield (
            f"{rows:,} rows of {found[0]['dim']} dimensions, {threads_text}",
            HEADER,
            list(map(_line, found)),
        )
    if bad := [record for record in records if "scan_ratio" not in record]:
        header = ["ours", "peer", "rows", "threads", "what happened"]
        lines = [[r["method"], r["peer"], f"{r['rows']:,}", str(r["threads"]), trouble(r)] for r in bad]
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
        *(_recall(record, who) for who in ("ours", "peer")),
    ]


def _recall(record: Record, who: str) -> str:
    found = record.get(f"{who}_recall")
    return "-" if found is None else f"{found:.3f}"


def _target_table(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    header = ["target", "found", "kept", "made by bench scan with"]
    return header, [[line.what, line.found, line.verdict, f"`{line.command}`"] for line in judge(records)]


def judge(records: Sequence[Record]) -> list[Line]:
    """Each goal against what one thread reached."""
    good = [r for r in records if "scan_ratio" in r and r["threads"] == 1]
    return [*_peers(good), *_many_queries(good)]


def _chosen(label: str) -> str:
    """The option that chooses a pair; a comma would part two patterns."""
    return f"--methods '{label.replace(',', '?')}'"


def _peers(good: Sequence[Record]) -> Iterator[Line]:
    """One query, ours against the peer."""
    large = max((r["rows"] for r in good), default=0)
    for pair in PAIRS:
        if pair.goal is None:
            continue
        own = [
            r
            for r in good
            if (r["method"], r["peer"], r["queries"]) == (pair.ours, pair.peer, 1)
            and (pair.in_cache or r["rows"] == large)
        ]
        found = "; ".join(map(_ratio, own)) or "-"
        kept = all(r["scan_ratio"] >= pair.goal for r in own) if own else None
        what = f"{pair.ours}, ratio to {pair.peer} >= {pair.goal:g}"
        yield Line(what, found, kept, _chosen(pair.ours))


def _ratio(record: Record) -> str:
    ours, peer = (_recall(record, who) for who in ("ours", "peer"))
    recall = "" if ours == peer == "-" else f", recall@10 {ours} against {peer}"
    return f"{record['scan_ratio']:.2f} ({record['rows']:,} rows{recall})"


def _many_queries(good: Sequence[Record]) -> Iterator[Line]:
    """Several queries at once against one, where one is not held up by memory."""
    ours = {(r["method"], r["rows"], r["queries"]): r for r in good}
    for method, rows, queries in sorted(ours):
        one = ours.get((method, rows, 1))
        if queries == 1 or one is None or one["read_share"] >= _BOUND_BY_MEMORY:
            continue
        times = one["ours_ns_row"] / ours[method, rows, queries]["ours_ns_row"]
        what = f"{method}, {rows:,} rows: {queries} queries at once, throughput of one x {_AT_ONCE:g}"
        yield Line(what, f"{times:.2f}", times >= _AT_ONCE, _chosen(method))
