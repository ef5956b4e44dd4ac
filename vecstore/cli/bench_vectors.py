"""vecstore bench vectors, limit: what a compressed collection is still good for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vecstore.bench import codecs_task
from vecstore.bench.vectors import page as pages
from vecstore.bench.vectors import task
from vecstore.bench.vectors.worker import TASKS
from vecstore.cli.benching import data_option, listed, measured, numbers, record_options
from vecstore.errors import SpecError
from vecstore.ledger import parse_budget
from vecstore.search import METRICS


@click.command()
@click.argument("source", required=False, metavar="[INPUT]")
@click.option("--queries", metavar="Q", help="Of INPUT, any format; by default some of its rows, left out.")
@click.option("--judgments", metavar="TSV", help="Of queries: query, row, score; ids, or numbers from 0.")
@click.option("--metric", type=click.Choice(METRICS), default="cosine", show_default=True, help="Of INPUT.")
@data_option
@click.option(
    "--datasets", default="", metavar="A,B", help="Only these; `generated`, `manual` need no files."
)
@click.option("--methods", default="", metavar="P;Q", help="Labels like these, or specs: 'tcq*;faiss pq*'.")
@click.option("--budgets", default="", metavar="B,C", help="As 8B/row,5%; of codes and side data of a row.")
@click.option("--tasks", default="", metavar="T,U", help=f"Only these: {', '.join(TASKS)}.")
@click.option("--memory", metavar="CAP", help="As 256MiB: more a contender may not use (control groups).")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is fitted and drawn.")
@record_options
def vectors(
    source: str | None,
    queries: str | None,
    judgments: str | None,
    metric: str,
    data: str | None,
    datasets: str,
    methods: str,
    budgets: str,
    tasks: str,
    memory: str | None,
    seed: int,
    **records: Any,
) -> None:
    """Search, filters, words, graphs and groups on vectors that codecs kept: INPUT's, or the known sets.

    Example: vecstore bench vectors items.npy --queries asked.npy --budgets 5%
    """
    plan = task.Plan(
        data, listed(datasets), _methods(methods), listed(budgets), listed(tasks), records["quick"], seed,
        None if memory is None else _bytes(memory), source, queries, metric, judgments,
    )  # fmt: skip
    _run(plan, **records)


@click.command()
@click.option("--dims", default="", metavar="N,M", help="Of the vectors; by default 8,12,16,32,64.")
@click.option("--methods", default="", metavar="P;Q", help="Labels like these, or specs: 'tcq*;faiss pq*'.")
@record_options
def limit(dims: str, methods: str, **records: Any) -> None:
    """How many sets of two documents queries can still tell apart, of the 1,000 of LIMIT-small.

    Example: vecstore bench limit --dims 16 --methods 'sq*'
    """
    chosen = numbers(dims, "--dims") if dims else task.DIMS
    _run(task.Plan(None, task.free(chosen), _methods(methods), quick=records["quick"]), **records)


def _methods(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())


def _bytes(text: str) -> int:
    budget = parse_budget(text)
    if budget.unit != "total":
        raise SpecError(f"--memory is {text!r}; expected bytes, as 256MiB")
    return int(budget.amount)


def _run(
    plan: task.Plan, quick: bool, out: Path | None, resume: bool, page: Path | None, as_json: bool
) -> None:
    before = codecs_task.lines(out) if out else []
    running = task.run(plan, before if resume else [], lambda line: click.echo(line, err=True))
    fresh = measured(running, out, as_json, pages.tables)
    if page:
        page.write_text(pages.page(task.latest(codecs_task.lines(out) if out else fresh)))
