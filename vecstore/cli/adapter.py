"""vecstore adapter: queries of a new embedding model for a store's old rows."""

from __future__ import annotations

import click

from vecstore import api
from vecstore.cli.output import (
    force_option,
    json_option,
    model_option,
    print_json,
    print_pairs,
    revision_option,
)


@click.command()
@click.argument("store", metavar="STORE")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.argument("output", metavar="OUTPUT")
@click.option("--vectors", metavar="COLUMN", help="The column of vectors, where there are several.")
@model_option
@revision_option
@force_option
@json_option
def adapter(
    store: str, old: str, new: str, output: str, vectors: str | None, model: str | None, revision: str | None,
    force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Fits what turns queries of a new model into the space of STORE, and says what recall to expect.

    OLD and NEW are files of any format: the same items in the same order, by the store's model and by the new
    one. Two for each dimension are needed, five or more are better.

    Example: vecstore adapter items.store old.npy new.npy items.adapter --model new-model
    """
    found = api.fit_adapter(store, old, new, vectors=vectors, model=model, revision=revision)
    found.save(output, force=force)
    (print_json if as_json else lambda facts: print_pairs(list(facts.items())))(found.report())
