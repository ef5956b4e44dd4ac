"""vecstore get: single rows of an archive or a store by their ids."""

from __future__ import annotations

import click

from vecstore import api
from vecstore.cli.output import json_option, parsed_ids, print_json


@click.command()
@click.argument("path", metavar="PATH")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@json_option
def get(path: str, ids: tuple[str, ...], as_json: bool) -> None:
    """Prints the rows of PATH with these ids, each as its id, a tab, and the values.

    Example: vecstore get items.arrow 17 42
    """
    with api.open(path) as archive:
        wanted = parsed_ids(ids, archive.id_type, path)
        rows = archive.get(wanted)
    if as_json:
        print_json({"ids": wanted, "vectors": rows.tolist()})
        return
    for name, row in zip(wanted, rows, strict=True):
        click.echo(f"{name}\t{' '.join(f'{value:.9g}' for value in row)}")
