"""vecstore plan: codecs, or tables, that a budget holds, measured, best first."""

from __future__ import annotations

from typing import Any

import click

from vecstore import api
from vecstore.cli.output import json_option, print_json, print_table, progress, size, threads_option
from vecstore.codecs.tables.making import LEAGUES
from vecstore.errors import SpecError
from vecstore.planner.plan import Candidate, Plan
from vecstore.planner.tables import TablePlan, TableTerms, plan_tables
from vecstore.search import METRICS

_OF_VECTORS = ("min_recall", "max_scan_ns", "ids", "vectors", "rows")


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
@click.option(
    "--label", metavar="COLUMN", help="Plan tables: INPUT is rows of ids, this column their labels."
)
@click.option("--dim", type=click.IntRange(1), default=16, show_default=True, help="Of a table's rows.")
@click.option("--league", type=click.Choice(LEAGUES), default="serve", show_default=True, help="Of tables.")
@threads_option
@json_option
def plan(source: str, as_json: bool, label: str | None, dim: int, league: str, **options: Any) -> None:
    """Shows which codecs a budget holds, measured on rows of INPUT that they were not fitted on, best first.

    INPUT is as that of compress, which takes the first with the same --budget, --metric and --seed. Those
    marked = cannot be told from the first: other queries might rank them before it.

    With --label, INPUT is a CSV, Parquet or Arrow file of rows of ids, and trainable tables are planned, each
    by a short training. A JSON file of {"fields": {name: number of ids}} will do, too: rows are drawn then.

    Example: vecstore plan items.parquet --budget 5% --metric cosine
    """
    if label is not None or source.endswith(".json"):
        given = [name for name in _OF_VECTORS if options[name] is not None]
        if given:
            raise SpecError(
                f"--{given[0].replace('_', '-')} is for vectors; leave it out when planning tables"
            )
        _tables(source, label, as_json, (dim, league), options)
        return
    with progress() as bar:
        found = api.plan(source, progress=bar("measure", "codecs"), **options)
    if as_json:
        print_json(found.as_dict())
        return
    print_table(
        ("codec", "", "bytes/row", "total", "recall@10", "95 %", "rel. MSE", "95 %", "encode us", "decode us",
         "scan ns"),
        [_line(candidate) for candidate in found],
    )  # fmt: skip
    click.echo(
        f"\nfitted on {found.fit_rows:,} rows; {found.queries:,} others are searched for among "
        f"{found.test_rows:,} rows; times are of one thread\n"
    )
    _print_left(found)


def _tables(
    source: str, label: str | None, as_json: bool, shape: tuple[int, str], options: dict[str, Any]
) -> None:
    with progress() as bar:
        terms = TableTerms(
            options["budget"], *shape, options["seed"], options["seconds"], bar("train", "methods"),
            options["resume"],
        )  # fmt: skip
        found = plan_tables(source, terms, label=label)
    if as_json:
        print_json(found.as_dict())
        return
    print_table(
        ("method", "", "total", "of plain", "AUC", "95 %", "logloss", "train s"),
        [
            [one.spec, "=" if one.tied else "", size(one.total_bytes), f"{one.share:.2%}", f"{one.auc:.4f}",
             "{:.4f}-{:.4f}".format(*one.auc_interval), f"{one.logloss:.4f}", f"{one.train_s:.2f}"]
            for one in found.candidates
        ],
    )  # fmt: skip
    of = "drawn rows with labels of a random model" if found.drawn else "rows"
    click.echo(f"\ntrained on {found.train_rows:,} {of}, measured on {found.test_rows:,} others\n")
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


def _print_left(found: Plan | TablePlan) -> None:
    """Why others are not there."""
    for spec, reason in found.left_out.items():
        click.echo(f"left out: {spec}: {reason}")
