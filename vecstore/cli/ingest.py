"""vecstore ingest: a stream into a store, as it comes."""

from __future__ import annotations

import dataclasses

import click

from vecstore import api
from vecstore.cli.output import json_option, print_json, print_pairs, progress, space_options, threads_option


@click.command()
@click.argument("store", metavar="STORE")
@click.argument("stream", metavar="SOURCE")
@click.option("--source", "name", metavar="NAME", help="Name of the stream: rows taken in are not again.")
@click.option(
    "--offset", type=click.IntRange(0), default=0, metavar="N", help="Number of the first row that comes."
)
@click.option(
    "--every-rows",
    type=click.IntRange(1),
    default=1 << 16,
    show_default=True,
    metavar="N",
    help="Rows a commit.",
)
@click.option(
    "--every-seconds",
    "every_s",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="S",
    help="Longest wait of a row for its commit.",
)
@click.option("--ids", metavar="COLUMN", help="The column of ids; by default `id` if there is one.")
@click.option("--vectors", metavar="COLUMN", help="The column of vectors, where there are several.")
@space_options
@threads_option
@json_option
def ingest(store: str, stream: str, as_json: bool, **options: object) -> None:
    """Takes the rows of SOURCE into STORE as they come, and commits them every so many rows or seconds.

    SOURCE is - for an Arrow stream on stdin, or anything that put takes. With --source the store keeps how
    far the stream came: sent again after an interruption, rows that are there are left out. A stream that
    ends without its end marker is an error; what was committed before stays.

    Example: vecstore ingest items.store - --source clicks
    """
    with progress() as bar:
        found = api.ingest(store, stream, progress=bar("ingest", "rows"), **options)  # type: ignore[arg-type]
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        print_pairs(list(dataclasses.asdict(found).items()))
