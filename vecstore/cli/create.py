"""vecstore create: a new store, which takes writes."""

from __future__ import annotations

import click

from vecstore import api
from vecstore.cli.output import model_option, revision_option
from vecstore.search import METRICS


@click.command()
@click.argument("store", metavar="STORE")
@click.option("--dim", type=click.IntRange(1), required=True, metavar="D", help="Dimensions of a row.")
@click.option("--codec", metavar="SPEC", required=True, help="As in 'pq:m=16'; see `vecstore codecs`.")
@click.option(
    "--metric", type=click.Choice(METRICS), default="ip", show_default=True, help="Kept for search."
)
@click.option(
    "--keep", default="f16", show_default=True, metavar="SPEC",
    help="Finer codes that are kept beside, to score the best rows by; `none`: none.",
)  # fmt: skip
@model_option
@revision_option
def create(
    store: str, dim: int, codec: str, metric: str, keep: str, model: str | None, revision: str | None
) -> None:
    """Makes an empty store, a folder. Its codec is fitted on the first rows that are put.

    Example: vecstore create items.store --dim 384 --codec pq:m=96 --metric cosine
    """
    kept = None if keep == "none" else keep
    api.Store.create(
        store, dim=dim, codec=codec, metric=metric, keep=kept, model=model, revision=revision
    ).close()
