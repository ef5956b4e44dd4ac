"""vecstore bench tables: how well networks learn behind compressed tables, and how fast these are."""

from __future__ import annotations

from pathlib import Path

import click

from vecstore.bench import codecs_task
from vecstore.bench.tables import page as pages
from vecstore.bench.tables import task
from vecstore.cli.benching import data_option, listed, measured, numbers, record_options
from vecstore.errors import SpecError
from vecstore.ledger import parse_budget


@click.command()
@data_option
@click.option("--datasets", default="", metavar="A,B", help="Only these; `gmf` and `zipf` need no files.")
@click.option(
    "--methods", default="", metavar="P;Q", help="Only labels like these: 'unified*;lowrank:rows=int8'."
)
@click.option("--budgets", default="", metavar="S,T", help="Of the plain table; by default 50% to 0.1%.")
@click.option("--seeds", default="", metavar="N,M", help="By default 0,1,2; with --quick 0.")
@click.option(
    "--rates",
    default="1",
    show_default=True,
    metavar="X,Y",
    help="Of the learning rate of tables; the best by validation counts.",
)
@click.option("--speed", is_flag=True, help="Time of large tables beside torch and FBGEMM instead.")
@click.option("--threads", default="1", show_default=True, metavar="N,M", help="Of --speed, in turn.")
@record_options
def tables(
    data: str | None,
    datasets: str,
    methods: str,
    budgets: str,
    seeds: str,
    rates: str,
    speed: bool,
    threads: str,
    quick: bool,
    out: Path | None,
    resume: bool,
    page: Path | None,
    as_json: bool,
) -> None:
    """AUC, bytes and speed of trainable tables inside budgets: every method, the same network and data.

    Example: vecstore bench tables --datasets zipf --methods 'hash;unified' --budgets 10% --quick
    """
    plan = task.Plan(
        data, listed(datasets), tuple(part.strip() for part in methods.split(";") if part.strip()),
        tuple(map(_share, listed(budgets))), tuple(map(_seed, listed(seeds))),
        tuple(map(_rate, listed(rates))), quick,
    )  # fmt: skip
    before = codecs_task.lines(out) if out else []
    done = before if resume else []

    def say(line: str) -> None:
        click.echo(line, err=True)

    running = task.speeds(plan, numbers(threads), done, say) if speed else task.run(plan, done, say)
    fresh = measured(running, out, as_json, pages.tables)
    if page:
        page.write_text(pages.page(task.latest(codecs_task.lines(out) if out else fresh), page))


def _share(text: str) -> float:
    budget = parse_budget(text)
    if budget.unit != "share":
        raise SpecError(f"--budgets has {text!r}; expected shares of the plain table, as 10%")
    return budget.amount


def _seed(text: str) -> int:
    if not text.isdigit():
        raise SpecError(f"--seeds has {text!r}; expected numbers like 0,1,2")
    return int(text)


def _rate(text: str) -> float:
    try:
        if 0 < (found := float(text)) < float("inf"):
            return found
    except ValueError:
        pass
    raise SpecError(f"--rates has {text!r}; expected positive numbers like 0.5,1,2")
