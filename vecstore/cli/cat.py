"""vecstore cat: the rows of an archive or a store as text, JSON lines or an Arrow stream."""

from __future__ import annotations

import click

from vecstore import api
from vecstore.cli.output import print_json


@click.command()
@click.argument("path", metavar="PATH")
@click.option("--limit", type=click.IntRange(0), metavar="N", help="Stop after N rows.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: id and vector.")
def cat(path: str, limit: int | None, as_json: bool) -> None:
    """Prints the rows of PATH in order, each as its id, a tab, and the values.

    For an Arrow stream with all columns: vecstore decompress PATH -

    Example: vecstore cat items.arrow --limit 3
    """
    left = limit
    with api.open(path) as archive:
        for ids, rows in archive.scan(batch_rows=1024):
            names = ids.tolist()
            for name, row in zip(names, rows, strict=True):
                if left == 0:
                    return
                left = None if left is None else left - 1
                if as_json:
                    print_json({"id": name, "vector": row.tolist()})
                else:
                    click.echo(f"{name}\t{' '.join(f'{value:.9g}' for value in row)}")
