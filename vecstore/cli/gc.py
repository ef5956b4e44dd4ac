"""vecstore gc: files of a store that no version needs."""

from __future__ import annotations

import re

import click

from vecstore import api
from vecstore.cli.output import print_notes
from vecstore.errors import SpecError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


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
@click.option("--older-than", metavar="AGE", help="Keep, too, what was the newest since: 30m, 12h or 7d ago.")
@click.option("--purge", is_flag=True, help="Write files with deleted rows anew first, without these.")
def gc(store: str, keep: int, older_than: str | None, purge: bool) -> None:
    """Removes older versions of STORE and every file that none of the others, and no tag, needs; says which.

    Example: vecstore gc items.store --keep 5 --older-than 7d
    """
    age = None if older_than is None else _seconds(older_than)
    with api.Store.open(store) as opened:
        for path in opened.gc(keep, age, purge=purge):
            click.echo(path)
        if held := sum(part.segment.rows for part in opened.view.parts) - len(opened):
            print_notes(
                [f"{held:,} deleted rows are still in its files, until `gc --purge` writes these anew"]
            )


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if not found:
        raise SpecError(f"--older-than is {text!r}; expected a number and s, m, h or d, as in 7d")
    return int(found[1]) * _SECONDS[found[2]]
