"""vecstore bench: measurements of codecs on data sets, ours and others'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vecstore.bench import codecs_task, pages, plots, scan_page, scan_task
from vecstore.cli.bench_store import store
from vecstore.cli.bench_tables import tables
from vecstore.cli.bench_vectors import limit, vectors
from vecstore.cli.benching import data_option, listed, measured, numbers, record_options


@click.group()
def bench() -> None:
    """Measures size, loss and speed, ours and others', on this machine."""


@bench.command()
@data_option
@click.option("--datasets", default="", metavar="A,B", help="Only these; `generated` needs no files.")
@click.option(
    "--methods",
    default="",
    metavar="P,Q",
    help="Only labels like these: 'pq*,faiss pq*'; 'pairs', 'quality', 'same'.",
)
@click.option("--threads", default="1", show_default=True, metavar="N,M", help="Each of these in turn.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is fitted.")
@click.option("--readme", type=click.Path(path_type=Path), metavar="FILE", help="Fill its block of figures.")
@record_options
def codecs(
    data: str | None,
    datasets: str,
    methods: str,
    threads: str,
    seed: int,
    quick: bool,
    out: Path | None,
    resume: bool,
    page: Path | None,
    readme: Path | None,
    as_json: bool,
) -> None:
    """Encode and decode speed, size, error and recall of every codec, and ratios to FAISS and others.

    Example: vecstore bench codecs --datasets generated --methods 'pq*,faiss pq*' --quick
    """
    plan = codecs_task.Plan(data, listed(datasets), listed(methods), numbers(threads), quick, seed)
    before = codecs_task.read(out) if out else []
    running = codecs_task.run(plan, before if resume else [], lambda line: click.echo(line, err=True))
    fresh = measured(running, out, as_json, pages.tables)
    everything = codecs_task.read(out) if out else fresh
    if page:
        page.write_text(pages.page(everything, _drawn(everything, page)))
    if readme:
        readme.write_text(pages.fill(readme.read_text(), pages.summary(everything)))


@bench.command()
@click.option(
    "--methods", default="", metavar="P,Q", help="Only pairs of which one is labelled so: 'pq*,faiss*'."
)
@click.option("--sizes", default="", metavar="N,M", help="Rows; by default 20000,1000000.")
@click.option("--threads", default="1", show_default=True, metavar="N,M", help="Each of these in turn.")
@record_options
def scan(
    methods: str,
    sizes: str,
    threads: str,
    quick: bool,
    out: Path | None,
    resume: bool,
    page: Path | None,
    as_json: bool,
) -> None:
    """Time of an exhaustive search, a row and query, ours against FAISS, usearch, turbovec and rabitqlib.

    Example: vecstore bench scan --methods 'sq*' --quick
    """
    plan = scan_task.Plan(
        listed(methods), numbers(threads), numbers(sizes, "--sizes") if sizes else (), quick
    )
    before = codecs_task.lines(out) if out else []
    running = scan_task.run(plan, before if resume else [], lambda line: click.echo(line, err=True))
    fresh = measured(running, out, as_json, scan_page.tables)
    if page:
        page.write_text(scan_page.page(scan_task.latest(codecs_task.lines(out) if out else fresh)))


def _drawn(records: list[Any], page: Path) -> list[plots.Picture]:
    """The plots beside the page; none where they cannot be drawn, which is said."""
    if package := plots.missing():
        click.echo(f"the page is without plots: {package} is not installed (vecstore[plots])", err=True)
        return []
    return plots.draw(records, page.parent, page.stem)


bench.add_command(store)
bench.add_command(tables)
bench.add_command(vectors)
bench.add_command(limit)
