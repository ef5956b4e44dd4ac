"""vecstore plan: codecs that a budget holds, measured, best first."""

from __future__ import annotations

import click

from vecstore import api
from vecstore.cli.output import json_option, print_json, print_table, progress, size, threads_option
from vecstore.planner.plan import Candidate, Plan
from vecstore.stream.compress import METRICS


@click.command()
@click.argument("source", metavar="INPUT")
@click.option("--budget", required=True, metavar="B", help="As in 5%, 64MiB, 48B/row or 1.5bit/dim.")
@click.option("--metric", type=click.Choice(METRICS), default="ip", show_default=True, help="Of the search.")
@click.option("--min-recall", type=click.FloatRange(0, 1), metavar="R", help="At 10; the fewest bytes first.")
@click.option("--max-scan-ns", type=click.FloatRange(0), metavar="NS", help="A row and query, at most.")
@click.option("--seconds", type=click.FloatRange(0), metavar="S", help="Begin no measurement later.")
@click.option("--resume", type=click.Path(dir_okay=False), metavar="FILE", help="Kept there, gone on from.")
@click.option("--seed", type=int, default=0, show_default=True, help="As that of compress.")
@click.option("--ids", metavar="COLUMN", help="The column of ids; by default `id` if there is one.")
@click.option("--vectors", metavar="COLUMN", help="The column of vectors, where there are several.")
@click.option("--rows", type=click.IntRange(1), metavar="N", help="How many rows a pipe will bring.")
@threads_option
@json_option
def plan(source: str, as_json: bool, **options: object) -> None:
    """Shows which codecs a budget holds, measured on rows of INPUT that they were not fitted on, best first.

    INPUT is as that of compress, which takes the first with the same --budget, --metric and --seed. Those
    marked = cannot be told from the first: other queries might rank them before it.

    Example: vecstore plan items.parquet --budget 5% --metric cosine
    """
    with progress() as bar:
        found = api.plan(source, progress=bar("measure", "codecs"), **options)  # type: ignore[arg-type]
    if as_json:
        print_json(found.as_dict())
        return
    print_table(
        ("codec", "", "bytes/row", "total", "recall@10", "95 %", "rel. MSE", "95 %", "encode us", "decode us",
         "scan ns"),
        [_line(candidate) for candidate in found],
    )  # fmt: skip
    click.echo(
        f"\nfitted on {found.fit_rows:,} rows, measured on {found.test_rows:,} others, "
        f"{found.queries:,} of them queries; times are of one thread\n"
    )
    _print_left(found)


def _line(one: Candidate) -> list[str]:
    recall = "-" if one.recall_at_10 is None else f"{one.recall_at_10:.3f}"
    spread = "-" if one.recall_at_10_interval is None else "{:.3f}-{:.3f}".format(*one.recall_at_10_interval)
    return [
        one.spec, "=" if one.tied else "", f"{one.bytes_per_row:g}",
        "-" if one.total_bytes is None else size(one.total_bytes), recall, spread, f"{one.relative_mse:.3g}",
        "{:.3g}-{:.3g}".format(*one.relative_mse_interval), f"{one.encode_us:.3g}", f"{one.decode_us:.3g}",
        "-" if one.scan_ns is None else f"{one.scan_ns:.3g}",
    ]  # fmt: skip


def _print_left(found: Plan) -> None:
    """Why others are not there, those of one reason together."""
    for spec, reason in found.left_out.items():
        click.echo(f"left out: {spec}: {reason}")
