"""The page and the README block of `bench codecs`, made from its records and from nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vecstore.bench import fidelity, papers, sameness, targets
from vecstore.bench.line import Line
from vecstore.bench.plots import Picture
from vecstore.bench.process import trouble
from vecstore.errors import FormatError

Record = dict[str, Any]
Table = tuple[str, list[str], list[list[str]]]  # title, header, lines

BEGIN, END = "<!-- bench:codecs -->", "<!-- /bench:codecs -->"
COMMAND = """\
vecstore bench codecs --data DIR --threads 1,2 --out docs/benchmarks/codecs.jsonl --resume \\
    --page docs/benchmarks/codecs.md --readme README.md"""

_METHOD_COLUMNS: list[tuple[str, Callable[[Record], str]]] = [
    ("method", lambda r: str(r["method"])),
    ("bytes/row", lambda r: _number(r.get("bytes_per_row"), 1)),
    ("of float32", lambda r: _number(r.get("share_of_float32"), 1, 100, "%")),
    ("shared kB", lambda r: _number(r["ledger"]["shared"], 1, 1e-3)),
    ("relative MSE", lambda r: _short(r.get("relative_mse"))),
    ("recall@10", lambda r: _number(r.get("recall_at_10"), 3)),
    ("fit s", lambda r: _number(r.get("fit_s"), 3)),
    ("encode MB/s", lambda r: _range(r, "encode_mb_s")),
    ("decode MB/s", lambda r: _range(r, "decode_mb_s")),
    ("encode krows/s", lambda r: _number(r.get("encode_rows_s"), 0, 1e-3)),
    ("decode krows/s", lambda r: _number(r.get("decode_rows_s"), 0, 1e-3)),
    ("decode/memcpy", lambda r: _number(r.get("decode_to_memcpy_ratio"), 2)),
    ("2 threads: encode, decode MB/s", lambda r: _two(r)),
    ("peak MB", lambda r: _number(r.get("peak_bytes"), 0, 1e-6)),
]
_QUALITY_COLUMNS: list[tuple[str, Callable[[Record], str]]] = [
    ("method", lambda r: str(r["method"])),
    ("bytes/row", lambda r: _number(r.get("bytes_per_row"), 1)),
    ("shared/row", lambda r: _number(r["ledger"]["shared"] / r["rows"] if r.get("rows") else None, 1)),
    ("relative MSE", lambda r: _short(r.get("relative_mse"))),
    ("gap dB", lambda r: _number(r.get("gap_codes_db"), 2)),
    ("gap dB, shared too", lambda r: _number(r.get("gap_db"), 2)),
    ("IP error", lambda r: _short(r.get("ip_error"))),
    ("IP slope", lambda r: _number(r.get("ip_slope"), 3)),
    ("recall@1", lambda r: _number(r.get("recall_at_1"), 3)),
    ("@10", lambda r: _number(r.get("recall_at_10"), 3)),
    ("@100", lambda r: _number(r.get("recall_at_100"), 3)),
    ("fit s", lambda r: _number(r.get("fit_s"), 2)),
    ("encode us/row", lambda r: _number(_per_row_us(r), 1)),
]
_SHOWN_SET = "classic3_minilm"
_SHOWN = (
    "f16", "lossless:mode=best", "pcodec:level=8", "parquet:byte_stream_split+zstd",
    "sq:bits=8", "sq:bits=4", "faiss sq:8bit", "faiss sq:4bit",
    "klt", "tcq", "pq:m=96", "pq:m=48", "pq:m=24", "lsq:m=8",
    "pca:dim=384+pq:m=48", "faiss pq:m=96", "faiss pq:m=48", "faiss pq:m=24",
)  # fmt: skip
_SHOWN_COLUMNS = ("method", "bytes/row", "relative MSE", "recall@10", "encode MB/s", "decode MB/s")
_PAIR_COLUMNS: list[tuple[str, Callable[[Record], str]]] = [
    ("ours", lambda r: str(r["method"])),
    ("peer", lambda r: str(r["peer"])),
    ("data set", lambda r: str(r["dataset"])),
    ("setting", lambda r: str(r["setting"])),
    ("threads", lambda r: str(r["threads"])),
    ("encode ratio", lambda r: _range(r, "encode_ratio", 2)),
    ("decode ratio", lambda r: _range(r, "decode_ratio", 2)),
    ("decode/memcpy", lambda r: _range(r, "decode_to_memcpy_ratio", 2)),
    ("decode ratio, 0.5 MB batches", lambda r: _range(r, "batch_ratio", 2)),
    ("encode MB/s", lambda r: _versus(r, "encode_ours_mb_s", "encode_peer_mb_s", 0)),
    ("decode MB/s", lambda r: _versus(r, "decode_ours_mb_s", "decode_peer_mb_s", 0)),
    ("fit ratio", lambda r: _range(r, "fit_ratio", 2)),
    ("fit s", lambda r: _versus(r, "fit_s_ours", "fit_s_peer", 2)),
    ("fit MSE", lambda r: _versus(r, "fit_mse_ours", "fit_mse_peer", 5)),
    ("bytes", lambda r: _versus(r, "bytes_ours", "bytes_peer", 0)),
    ("equal codes", lambda r: _number(r.get("equal_codes"), 4)),
]
NOT_SHOWN = """\
Search or scan speed; larger sets than these (codebooks stay in cache here at any size, rows do not); other
processors (every record says which one it is from); quality on your data, which `vecstore compress` measures
while it runs. Rows are in memory: reading and writing files is in [memory.md](memory.md). The recall is of an
exact scan over decoded rows, so that codecs are compared and not indexes. FAISS is called through its Python
package with arrays given for the results, and encodes PQ in blocks of 512 rows, which is faster than its own
262,144 where a subspace has 16 dimensions or more; other peers run with their defaults. Small sets are
repeated to get rows enough to time, but never for those that could find a repetition. k-means is timed on
at least 32,000 rows, by repetition: on fewer FAISS is several times slower. Speeds vary between runs and
machines by more than ratios do: read the ratios first; they are of runs taken in turn in one process. What
is the same on every instruction set of the kernels was fitted with one machine's LAPACK: on another processor
axes of a fit (pca, whiten, opq, itq, klt, tcq) may differ in their last digits. A fitted codec makes the same
codes on both.

Targets that are missed: PQ decode copies centroids, and both sides reach the speed of memory where the result
does not fit the cache, so that twice FAISS is out of reach when it is given its array. Word vectors that were
normalised hold few different values a row, which zstd at level 19 finds (at 3 MB/s); of the vectors as they
are stored, `word2vec_as_stored`, lossless is the smallest. tcq turns every decoded row back by a matrix: 384
by 384 take 2.6 us at nine tenths of what one thread can multiply and add, where 1 GB/s leaves 1.5 us. The
rest of a row, its cells, centroids and length, takes 0.8 us."""


COLUMNS = """\
Every cell with brackets is `median (least-most)` of 5 runs after a warm-up; MB/s are 10^6 bytes of float32
rows. One thread is timed by its processor time, two by the wall. `peak MB` is the most memory that the
process held up to encoding and decoding the whole set once, above an empty interpreter: libraries and data
set are inside.

Codecs are fitted on rows other than those measured. `gap dB` is the distance of the error to the
rate-distortion bound of a Gaussian source with the rows' covariance, at the bytes of codes and side data,
which is what a large collection comes to; then with the shared bytes (codebooks, rotations) divided among
the rows measured. Below zero there is structure beyond the covariance. `IP error` is dim E[(<q,x> -
<q,x'>)^2 / (|q|^2 |x|^2)] and `IP slope` that of <q,x'> against <q,x>: below one it shrinks. `recall@k` is
the share of the true k nearest that are among the k found; FAISS's ITQ ranks by Hamming distance, its
RaBitQ by its own estimator.

What is the same everywhere is held against each other bit by bit: the fitted codec, codes and decoded rows,
and ids and scores of the best rows by every metric, 10 different ones, of 1,200 rows that are repeated to
40,000. Codes of lossless are blocks, one a batch, so that of it only decoded rows are compared over
batches."""
HOW_TO_READ = """\
Each panel has one family of codecs in front and all others in grey; names stand beside the last point. A line
is one codec over its sizes, the best of its settings at each. Down is better for the error, up for the
recall."""


def page(records: Sequence[Record], pictures: Sequence[Picture] = ()) -> str:
    """docs/benchmarks/codecs.md; the pictures lie beside it."""
    parts = [
        "# Codecs: speed, size and loss",
        "<!-- Made by `vecstore bench codecs --page`; edit vecstore/bench/pages.py instead. -->",
        _introduction(records),
        "## Targets",
        markdown(("", *_target_table(targets.judge(records)))),
    ]
    if pictures:
        parts += ["## Error and recall by bytes a row", HOW_TO_READ]
        parts += [f"![{picture.alt}]({picture.path.name})" for picture in pictures]
    for title, header, lines in tables(records):
        parts += [f"## {title}", markdown((title, header, lines))]
    parts += [f"## {papers.TITLE}", papers.ABOUT, markdown(papers.table())]
    return "\n\n".join([*parts, "## What this does not show", NOT_SHOWN]) + "\n"


def summary(records: Sequence[Record]) -> str:
    """The README block without its markers: targets, and one data set's most telling rows."""
    lines = targets.judge(records)
    loss = [line for line in lines if line.command == fidelity.COMMAND]
    parts = [markdown(("", *_target_table([line for line in lines if line not in loss])))]
    if loss:
        kept = sum(line.kept is True for line in loss)
        parts.append(f"Of {len(loss)} targets of error and recall at given bytes, {kept} are kept.")
    shown = [
        record
        for record in records
        if (record["dataset"], record["kind"], record["threads"]) == (_SHOWN_SET, "method", 1)
        and "ledger" in record
        and record["method"] in _SHOWN
    ]
    if shown:
        shown.sort(key=lambda record: -record["bytes_per_row"])
        columns = [column for column in _METHOD_COLUMNS if column[0] in _SHOWN_COLUMNS]
        parts += [f"On {_SHOWN_SET} ({shown[0]['dim']} dimensions):", markdown(("", *_table(shown, columns)))]
    machine = _machine(records)
    parts.append(
        f"One thread of {machine.get('cpu', 'an unknown processor')}; ratios are medians of runs taken in "
        "turn in one process. All figures, and what they do not show: "
        "[docs/benchmarks/codecs.md](docs/benchmarks/codecs.md)."
    )
    return "\n\n".join(parts)


def fill(text: str, block: str) -> str:
    """text with what stands between the markers replaced; FormatError where they are not both there."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise FormatError(f"expected one block {BEGIN} ... {END} to fill, found {len(pattern.findall(text))}")
    return pattern.sub(lambda found: f"{BEGIN}\n{block}\n{END}", text)


def tables(records: Sequence[Record]) -> Iterator[Table]:
    """Two tables for each data set, speed and quality; one each of the pairs, of what is the same everywhere,
    and of what was not measured."""
    good = [record for record in records if not trouble(record)]
    methods = [record for record in good if record["kind"] == "method"]
    both = {_case(record): record for record in methods if record["threads"] == 2}
    for name in dict.fromkeys(record["dataset"] for record in methods):
        rows = [record for record in methods if record["dataset"] == name and record["threads"] == 1]
        rows = rows or [record for record in methods if record["dataset"] == name]
        merged = [record | {"two": both.get(_case(record))} for record in rows]
        yield (_title(name, merged), *_table(merged, _METHOD_COLUMNS))
    yield from _quality_tables(good)
    if pairs := [record for record in good if record["kind"] == "pair"]:
        order = ("pq", "pq4", "additive", "sq", "rotated", "lossless")
        pairs.sort(key=lambda record: (record["threads"], order.index(record["topic"])))
        yield ("Pairs: ours against a peer, runs taken in turn", *_table(pairs, _PAIR_COLUMNS))
    if same := sameness.table(good):
        yield same
    bad = [record for record in records if trouble(record)]
    if bad:
        header = ["method", "against", "data set", "threads", "what happened"]
        lines = [
            [
                record["method"],
                record.get("peer", "-"),
                record["dataset"],
                str(record["threads"]),
                trouble(record),
            ]
            for record in bad
        ]
        yield ("Failed or missing", header, lines)


def _quality_tables(good: Sequence[Record]) -> Iterator[Table]:
    """Of each set all codecs at all sizes, by falling size, and the best recall first."""
    measured = [r for r in good if r["kind"] in ("method", "quality") and r.get("relative_mse") != 0]
    for name in dict.fromkeys(r["dataset"] for r in measured if r["kind"] == "quality"):
        unlike = {r["method"]: r for r in measured if r["dataset"] == name}  # threads change no error
        rows = sorted(unlike.values(), key=lambda r: (-r["bytes_per_row"], -(r.get("recall_at_10") or 0)))
        yield (f"{name}: quality at all sizes", *_table(rows, _QUALITY_COLUMNS))


def markdown(table: Table) -> str:
    """A table as Markdown: first column to the left, others to the right."""
    _, header, lines = table
    rule = ["---", *["---:"] * (len(header) - 1)]
    safe = [[cell.replace("|", "\\|") for cell in line] for line in (header, rule, *lines)]
    return "\n".join("| " + " | ".join(line) + " |" for line in safe)


def _introduction(records: Sequence[Record]) -> str:
    machine = _machine(records)
    versions = ", ".join(
        f"{key} {value}" for key, value in machine.items() if key not in ("cpu", "cores", "isa")
    )
    busy = sum((record.get("load_before") or 0) > record["threads"] for record in records)
    quick = sum(bool(record.get("quick")) for record in records)
    lines = [
        f"Made by\n\n```\n{COMMAND}\n```\n",
        f"on {machine.get('cpu')}, {machine.get('cores')} cores, {machine.get('isa')}; {versions}.",
        COLUMNS,
    ]
    if busy:
        lines.append(
            f"{busy} of {len(records)} records were taken while other processes ran (see `load_before`)."
        )
    if quick:
        lines.append(f"**{quick} records are from `--quick` and are no figures.**")
    return "\n".join(lines)


def _target_table(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    header = ["target", "found", "kept", "made by bench codecs with"]
    return header, [
        [line.what, line.found, line.verdict, f"`{line.command}`" if line.command else "all"]
        for line in lines
    ]


def _machine(records: Sequence[Record]) -> Record:
    return next((record["machine"] for record in reversed(records) if "machine" in record), {})


def _case(record: Record) -> tuple[str, str]:
    return record["dataset"], record["method"]


def _title(name: str, rows: list[Record]) -> str:
    one = rows[0]
    return f"{name}: {one['dim']} dimensions, {one['threads']} thread{'s' if one['threads'] > 1 else ''}"


def _table(
    rows: list[Record], columns: list[tuple[str, Callable[[Record], str]]]
) -> tuple[list[str], list[list[str]]]:
    return [name for name, _ in columns], [[cell(row) for _, cell in columns] for row in rows]


def _number(value: float | None, digits: int, scale: float = 1.0, unit: str = "") -> str:
    return "-" if value is None else f"{value * scale:,.{digits}f}{unit}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _per_row_us(record: Record) -> float | None:
    once = record.get("encode_once_s")
    return None if once is None else 1e6 * float(once) / float(record["rows"])


def _range(record: Record, key: str, digits: int = 0) -> str:
    if key not in record:
        return "-"
    low, high = record[f"{key}_min"], record[f"{key}_max"]
    return f"{record[key]:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def _versus(record: Record, ours: str, peer: str, digits: int) -> str:
    if ours not in record:
        return "-"
    return f"{_number(record[ours], digits)} : {_number(record[peer], digits)}"


def _two(record: Record) -> str:
    two = record.get("two")
    return f"{two['encode_mb_s']:,.0f}, {two['decode_mb_s']:,.0f}" if two else "-"
