"""vecstore bench store: rows of stores by id and in order, loads, commits, opening."""

from __future__ import annotations

from pathlib import Path

import click

from vecstore.bench import codecs_task, store_page, store_task
from vecstore.cli.benching import listed, measured, record_options


@click.command()
@click.option("--topics", default="", metavar="P,Q", help="Only these: get,memory,load,commits,open,scan.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Where stores are made; by default the temporary folder.",
)
@record_options
def store(
    topics: str,
    folder: Path | None,
    quick: bool,
    out: Path | None,
    resume: bool,
    page: Path | None,
    as_json: bool,
) -> None:
    """Rows by id, scans, loads, commits and opening of stores, against Lance, LMDB, SQLite and np.take.

    Example: vecstore bench store --topics get,scan --quick
    """
    plan = store_task.Plan(listed(topics), None if folder is None else str(folder), quick)
    before = codecs_task.lines(out) if out else []
    running = store_task.run(plan, before if resume else [], lambda line: click.echo(line, err=True))
    fresh = measured(running, out, as_json, store_page.tables)
    if page:
        page.write_text(store_page.page(store_task.latest(codecs_task.lines(out) if out else fresh)))
