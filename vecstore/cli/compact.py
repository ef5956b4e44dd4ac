"""vecstore compact: a store's rows written anew, close together."""

from __future__ import annotations

import click

from vecstore import api


@click.command()
@click.argument("store", metavar="STORE")
@click.option(
    "--thinned", type=click.FloatRange(0, 1), default=0.0, show_default=True, metavar="SHARE",
    help="Share of a segment's rows that may be deleted before it is written anew.",
)  # fmt: skip
@click.option(
    "--keep", metavar="SPEC",
    help="Finer codes to keep of all rows from now on; `none`: drop them. Gone from the disk after gc.",
)  # fmt: skip
def compact(store: str, thinned: float, keep: str | None) -> None:
    """Joins small segments of STORE, leaves deleted rows out, encodes rows of older codecs by the newest.

    Example: vecstore compact items.store
    """
    with api.Store.open(store) as opened:
        opened.compact(thinned, **({} if keep is None else {"keep": None if keep == "none" else keep}))
