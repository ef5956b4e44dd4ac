"""vecstore delete: rows out of a store, by their ids."""

from __future__ import annotations

import click

from vecstore import api
from vecstore.cli.output import parsed_ids


@click.command()
@click.argument("store", metavar="STORE")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def delete(store: str, ids: tuple[str, ...]) -> None:
    """Deletes the rows of STORE with these ids, all or none.

    Their bytes are gone once `vecstore gc --purge` has run.

    Example: vecstore delete items.store 17 42
    """
    with api.Store.open(store) as opened:
        opened.delete(parsed_ids(ids, opened.id_type, store))
