"""vecstore put: rows of any format into a store."""

from __future__ import annotations

from typing import Any

import click

from vecstore import api
from vecstore.cli.output import (
    json_option,
    print_json,
    print_pairs,
    progress,
    space_options,
    threads_option,
)


@click.command()
@click.argument("store", metavar="STORE")
@click.argument("source", metavar="INPUT")
@click.option("--ids", metavar="COLUMN", help="The column of ids; by default `id` if there is one.")
@click.option("--vectors", metavar="COLUMN", help="The column of vectors, where there are several.")
@space_options
@threads_option
@json_option
def put(
    store: str, source: str, ids: str | None, vectors: str | None, threads: int, as_json: bool, **space: Any
) -> None:
    """Adds the rows of INPUT to STORE, in place of those that their ids had; without ids, by row numbers.

    Rows are committed as they come, some ten thousand at a time: of an interrupted put the first are there,
    and it can be done again.

    Example: vecstore put items.store items.parquet
    """
    with progress() as bar:
        rows, version = api.put(
            store,
            source,
            ids=ids,
            vectors=vectors,
            threads=threads,
            progress=bar("put", "rows"),
            **space,
        )
    found = {"rows": rows, "version": version}
    if as_json:
        print_json(found)
    else:
        print_pairs(list(found.items()))
