"""vecstore compress: vectors in any format into one archive."""

from __future__ import annotations

import click

from vecstore import api
from vecstore.cli.output import (
    force_option,
    json_option,
    model_option,
    print_json,
    print_notes,
    print_pairs,
    progress,
    revision_option,
    size,
    threads_option,
)
from vecstore.errors import SpecError
from vecstore.search import METRICS
from vecstore.stream.compress import Summary


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="OUTPUT")
@click.option(
    "--codec", metavar="SPEC", help="As in 'pq:m=16' or 'pca:dim=64+sq:bits=8'; see `vecstore codecs`."
)
@click.option("--budget", metavar="B", help="As in 5%, 64MiB, 48B/row or 1.5bit/dim: the best codec within.")
@click.option(
    "--metric", type=click.Choice(METRICS), default="ip", show_default=True, help="Kept for search."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Same input and seed, same file.")
@click.option("--ids", metavar="COLUMN", help="The column of ids; by default `id` if there is one.")
@click.option("--vectors", metavar="COLUMN", help="The column of vectors, where there are several.")
@click.option("--rows", type=click.IntRange(1), metavar="N", help="How many rows a pipe will bring.")
@click.option("--on-error", type=click.Choice(["fail", "skip"]), default="fail", help="What bad rows do.")
@model_option
@revision_option
@click.option("--tiers", metavar="T,...", help="Stored apart, to be read alone: as in 64,128 or 16B,32B.")
@click.option("--append", is_flag=True, help="Add to OUTPUT, with its own codec.")
@threads_option
@force_option
@json_option
def compress(source: str, target: str, as_json: bool, codec: str | None, budget: str | None, append: bool,
             tiers: str | None, **options: object) -> None:  # fmt: skip
    """Compresses the vectors of INPUT into the archive OUTPUT.

    INPUT is a .npy, .npz, Parquet, Arrow, .fvecs, .bvecs, .fbin, safetensors, torch, HDF5, word2vec, GloVe or
    CSV file (`file::name` for one of several), a glob, a folder of Parquet files, a URI, or - for an Arrow
    stream on stdin. OUTPUT - is an Arrow stream on stdout.

    Example: vecstore compress items.parquet items.arrow --budget 5%
    """
    if not (codec or budget or append):
        raise SpecError("say --codec SPEC (see `vecstore codecs`) or --budget B, as in --budget 5%")
    with progress() as bar:
        summary = api.compress(
            source,
            target,
            codec,
            budget=budget,
            append=append,
            tiers=tiers.split(",") if tiers else (),
            progress=bar("compress", "rows"),
            choosing=bar("choose", "codecs"),
            **options,  # type: ignore[arg-type]
        )
    print_notes([*summary.notes, *_skipped(summary)])
    if target == "-":
        return
    if as_json:
        print_json(summary.as_dict())
    else:
        print_pairs(_lines(summary))


def _in_all(summary: Summary) -> str:
    return f"; {summary.total_rows:,} in all" if summary.total_rows > summary.rows else ""


def _skipped(summary: Summary) -> list[str]:
    return [f"{summary.skipped} rows were left out"] if summary.skipped else []


def _saturated(summary: Summary) -> str:
    far = ", far outside of what the codec was fitted on" if summary.saturated else ""
    return f"{summary.saturated:,} rows{far}"


def _lines(summary: Summary) -> list[tuple[str, object]]:
    ledger = summary.ledger
    parts = [f"{name} {size(count)}" for name, count in ledger.as_dict().items() if count and name != "total"]
    share = summary.bytes / summary.raw_bytes if summary.raw_bytes else 0.0
    where = "rows not fitted on" if summary.held_out else "rows, all of them fitted on"
    return [
        ("rows", f"{summary.rows:,} of {summary.dim} dimensions{_in_all(summary)}"),
        ("codec", summary.spec),
        ("bytes", f"{size(summary.bytes)}, {share:.2%} of float32 ({', '.join(parts)})"),
        ("relative_mse", f"{summary.relative_mse:.4g} on {summary.measured_rows:,} {where}"),
        ("saturated", _saturated(summary)),
        ("seconds", f"{summary.seconds:.2f}"),
    ]
