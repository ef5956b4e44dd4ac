"""vecstore gc: files of a store that no version needs."""

from __future__ import annotations

import click

from vecstore import api


@click.command()
@click.argument("store", metavar="STORE")
@click.option(
    "--keep",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Newest versions to keep.",
)
def gc(store: str, keep: int) -> None:
    """Removes older versions of STORE and every file that none of the others needs; says which.

    Example: vecstore gc items.store --keep 5
    """
    with api.Store.open(store) as opened:
        for path in opened.gc(keep):
            click.echo(path)
