"""vecstore search: the rows of an archive or a store that are best for each of many queries."""

from __future__ import annotations

from typing import Any

import click

from vecstore import api
from vecstore.cli.output import json_option, print_json, space_options, threads_option


@click.command()
@click.argument("path", metavar="PATH")
@click.argument("queries", metavar="QUERIES")
@click.option("-k", "k", type=click.IntRange(1), default=10, show_default=True, help="Rows for each query.")
@click.option(
    "--metric",
    type=click.Choice(["ip", "cosine", "l2"]),
    help="In place of the collection's own; l2 is squared.",
)
@click.option("--where", metavar="EXPR", help="Only rows whose carried columns are such; see below.")
@click.option(
    "--rerank", type=click.IntRange(0), default=0, metavar="N",
    help="Score the best N once more, decoded, in float64; 0: as many as the codec needs.",
)  # fmt: skip
@click.option(
    "--mix", type=click.FloatRange(0), default=0.0, metavar="W",
    help="Add W times the code's own score to that of the finer row, where there is one.",
)  # fmt: skip
@click.option(
    "--symmetric", is_flag=True,
    help="Compare codes with codes: faster, coarser; for itq, rbe, sign. Scores are the codec's own.",
)  # fmt: skip
@click.option(
    "--tier", metavar="T",
    help="By the first dimensions of codes, as in 64, or bytes, as in 16B; --rerank takes the best whole.",
)  # fmt: skip
@click.option("--adapter", metavar="FILE", help="Made by `vecstore adapter`: QUERIES are of a new model.")
@click.option("--vectors", metavar="COLUMN", help="The column of QUERIES that holds the vectors.")
@space_options
@threads_option
@json_option
def search(
    path: str,
    queries: str,
    k: int,
    metric: str | None,
    where: str | None,
    rerank: int,
    mix: float,
    symmetric: bool,
    tier: str | None,
    adapter: str | None,
    vectors: str | None,
    threads: int,
    as_json: bool,
    **space: Any,
) -> None:
    """Prints the K best rows of PATH for each row of QUERIES, a file of any format.

    Each line is the query's number, an id and a score, best first: similarity falls, l2 rises.

    EXPR compares columns with values: lang = 'en' and (year >= 2020 or not draft), also with in, between,
    like, is null.

    Example: vecstore search items.arrow queries.npy -k 5 --metric cosine
    """
    ids, scores = api.search(
        path, queries, k, metric=metric, where=where, rerank=rerank, symmetric=symmetric, vectors=vectors,
        threads=threads, tier=tier, mix=mix, adapter=adapter, **space,
    )  # fmt: skip
    if as_json:
        print_json({"ids": ids.tolist(), "scores": scores.tolist()})
        return
    for query, (names, values) in enumerate(zip(ids.tolist(), scores.tolist(), strict=True)):
        for name, value in zip(names, values, strict=True):
            click.echo(f"{query}\t{name}\t{value:.6g}")
