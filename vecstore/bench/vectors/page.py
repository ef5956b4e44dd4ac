"""The page of `bench vectors`, made from its records and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vecstore.bench.pages import Table, markdown
from vecstore.bench.process import Record, trouble
from vecstore.bench.vectors.filtered import SELECTIVITIES

COMMAND = """\
vecstore bench vectors --data DIR --out docs/benchmarks/vectors.jsonl --resume \\
    --page docs/benchmarks/vectors.md
vecstore bench limit --out docs/benchmarks/vectors.jsonl --resume --page docs/benchmarks/vectors.md"""
_COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("recall@10", "recall_at_10", 3), ("nDCG@10", "ndcg_at_10", 4), ("analogies", "analogies", 3),
    ("similarity", "similarity_rank", 4), ("micro F1", "micro_f1", 4), ("macro F1", "macro_f1", 4),
    ("hop 1 mAP", "map_hop_1", 4), ("drop", "map_hop_1_drop", 4), ("hop 2 mAP", "map_hop_2", 4),
    ("drop", "map_hop_2_drop", 4), ("sets kept", "limit_sets", 0), ("of", "limit_sets_float32", 0),
    ("recall@2", "recall_at_2", 3),
)  # fmt: skip
NOT_SHOWN = """\
Collections of a few thousand rows are easy: of a million, more rows are near a query, and recall is lower.
Codecs are fitted on half of the rows that are kept (on SIFT's own learning set), and errors are of the other
half. Recall is of what float32 finds, nDCG of what people judged. Attributes of filters are drawn, not real
ones. Rows of the graphs are FastRP's, which are not trained; another embedding has other figures, and the
drop is what a codec adds. Free vectors have no structure that a codec could learn: they show what so many
bits can tell apart at the worst. Seconds are of one process in the company of others: for speeds see
[codecs.md](codecs.md) and [scan.md](scan.md)."""


def page(records: Sequence[Record]) -> str:
    """Markdown: a table for each collection, then those of filtered search."""
    parts = [
        "# What compressed vectors are still good for", "Made by", f"```console\n$ {_commands()}\n```",
        "`f32` is what float32 reaches; a drop is how far below it a figure is.", NOT_SHOWN,
    ]  # fmt: skip
    for table in tables(records):
        parts += [f"## {table[0]}", markdown(table)]
    if partly := [r for r in records if r.get("errors")]:
        told = [
            f"- {r['dataset']}, {r['method']}: {what}: {why}"
            for r in partly
            for what, why in r["errors"].items()
        ]
        parts += ["## Failed in part", "\n".join(told)]
    return "\n\n".join(parts) + "\n"


def _commands() -> str:
    return COMMAND.replace("\nvec", "\n$ vec")


def tables(records: Sequence[Record]) -> Iterator[Table]:
    """One for each collection, and one for each that filters were tried on."""
    names = dict.fromkeys(record["dataset"] for record in records)
    for name in names:
        here = [record for record in records if record["dataset"] == name]
        yield _figures(name, here)
    for name in names:
        here = [r for r in records if r["dataset"] == name and r.get("filtered_recall_at_10")]
        if here:
            yield _filters(name, here)


def _figures(name: str, here: list[Record]) -> Table:
    """Only columns that somebody has a figure in; the largest codes first."""
    columns = [each for each in _COLUMNS if any(record.get(each[1]) is not None for record in here)]
    loss = any(record.get("relative_mse") is not None for record in here)
    header = [
        "method",
        "bytes/row",
        *(["relative MSE", "gap dB"] if loss else []),
        *(each[0] for each in columns),
    ]
    header += ["fit s", "peak MB"]
    lines = []
    for record in sorted(here, key=lambda r: (-r.get("bytes_per_row", 0), str(r["method"]))):
        if why := trouble(record):
            lines.append([record["method"], why, *[""] * (len(header) - 2)])
            continue
        line = [record["method"], _number(record["bytes_per_row"], 1)]
        if loss:
            line += [_short(record.get("relative_mse")), _number(record.get("gap_codes_db"), 2)]
        line += [_number(record.get(key), digits) for _, key, digits in columns]
        peak = record.get("peak_bytes")
        lines.append([*line, _number(record["fit_s"], 1), _number(None if peak is None else peak / 1e6, 0)])
    first = next((record for record in here if "rows" in record), None)
    size = f": {first['rows']:,} rows of {first['dim']} dimensions" if first else ""
    return f"{name}{size}", header, lines


def _filters(name: str, here: list[Record]) -> Table:
    kinds = list(here[0]["filtered_recall_at_10"])
    shares = [f"{share:g}" for share in SELECTIVITIES]
    header = [
        "method",
        "bytes/row",
        *(f"{kind} {100 * float(share):g} %" for kind in kinds for share in shares),
    ]
    lines = [
        [record["method"], _number(record["bytes_per_row"], 1)]
        + [_number(record["filtered_recall_at_10"][kind].get(share), 3) for kind in kinds for share in shares]
        for record in sorted(here, key=lambda r: (-r["bytes_per_row"], str(r["method"])))
    ]
    return f"{name}: recall@10 of filtered search", header, lines


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
