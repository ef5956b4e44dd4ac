"""vecstore get: single rows of an archive by their ids."""

from __future__ import annotations

import click
import pyarrow as pa

from vecstore import api
from vecstore.cli.output import json_option, print_json
from vecstore.errors import NotFoundError


@click.command()
@click.argument("path", metavar="PATH")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@json_option
def get(path: str, ids: tuple[str, ...], as_json: bool) -> None:
    """Prints the rows of PATH with these ids, each as its id, a tab, and the values.

    Example: vecstore get items.arrow 17 42
    """
    with api.open(path) as archive:
        wanted: list[int] | list[str] = list(ids)
        if pa.types.is_integer(archive.id_type):
            wanted = [_integer(text, path) for text in ids]
        rows = archive.get(wanted)
    if as_json:
        print_json({"ids": wanted, "vectors": rows.tolist()})
        return
    for name, row in zip(wanted, rows, strict=True):
        click.echo(f"{name}\t{' '.join(f'{value:.9g}' for value in row)}")


def _integer(text: str, path: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise NotFoundError(f"{path} has whole numbers for ids; {text!r} is none") from None
