"""vecstore tune: how many rows a search should score again."""

from __future__ import annotations

import click

from vecstore import api
from vecstore.cli.output import json_option, print_json, print_pairs


@click.command()
@click.argument("store", metavar="STORE")
@click.argument("queries", metavar="[QUERIES]", required=False)
@click.option("-k", "k", type=click.IntRange(1), default=10, show_default=True, help="Rows for each query.")
@click.option("--metric", type=click.Choice(["ip", "cosine", "l2"]), help="In place of the store's own.")
@click.option(
    "--recall", type=click.FloatRange(0, 1, min_open=True), default=0.99, show_default=True,
    help="Share of the K nearest rows that is to be found.",
)  # fmt: skip
@click.option("--vectors", metavar="COLUMN", help="The column of QUERIES that holds the vectors.")
@json_option
def tune(
    store: str,
    queries: str | None,
    k: int,
    metric: str | None,
    recall: float,
    vectors: str | None,
    as_json: bool,
) -> None:
    """Measures what `search --rerank N --mix W` finds in STORE, and chooses the least N that finds enough.

    QUERIES is a file of any format; without, rows of STORE look for others. True are the nearest by the finer
    rows that STORE keeps.

    Example: vecstore tune items.store queries.npy --recall 0.995
    """
    found = api.tune(store, queries, k=k, metric=metric, recall=recall, vectors=vectors).as_dict()
    if as_json:
        print_json(found)
        return
    print_pairs([(key, value) for key, value in found.items() if key != "tried"])
    for tried in found["tried"]:
        if not tried["mix"]:
            print_pairs([(f"rerank {tried['rerank']}", f"{tried['recall']:.4f}")])
