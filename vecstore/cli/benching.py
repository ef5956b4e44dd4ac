"""What the commands of `vecstore bench` share: options of records, lists in options, and writing records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import click

from vecstore.bench.codecs_task import Record
from vecstore.bench.pages import Table
from vecstore.cli.output import print_table
from vecstore.errors import SpecError

Command = TypeVar("Command", bound=Callable[..., Any])
Tables = Callable[[list[Record]], Iterable[Table]]
_FILE = click.Path(path_type=Path)

data_option = click.option(
    "--data", envvar="VECSTORE_DATA", metavar="DIR", help="Folder of data sets [env: VECSTORE_DATA]."
)


def record_options(command: Command) -> Command:
    """--quick, --out, --resume, --page and --json."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout."),
        click.option("--page", type=_FILE, metavar="FILE", help="Write the page of all records."),
        click.option("--resume", is_flag=True, help="Leave out what --out holds already."),
        click.option("--out", type=_FILE, metavar="FILE", help="Append records here."),
        click.option("--quick", is_flag=True, help="Few rows and runs: shows that all works, no figures."),
    ):
        command = option(command)
    return command


def _kept(running: Iterable[Record], out: Path | None, as_json: bool) -> Iterator[Record]:
    """Records as they come, each written before the next is begun."""
    with out.open("a") if out else nullcontext() as sink:
        for record in running:
            line = json.dumps(record)
            if sink:
                print(line, file=sink, flush=True)
            if as_json:
                click.echo(line)
            yield record


def measured(running: Iterable[Record], out: Path | None, as_json: bool, tables: Tables) -> list[Record]:
    """All records, kept as they come, and shown as tables in the end unless as JSON."""
    fresh = list(_kept(running, out, as_json))
    if not as_json:
        for title, header, lines in tables(fresh):
            click.echo(f"\n{title}\n")
            print_table(header, lines)
    return fresh


def numbers(text: str, option: str = "--threads") -> tuple[int, ...]:
    """Whole numbers of an option like `1,2`."""
    found = listed(text)
    if not found or not all(number.isdigit() and int(number) for number in found):
        raise SpecError(f"{option} is {text!r}; expected numbers like 1,2")
    return tuple(map(int, found))


def listed(text: str) -> tuple[str, ...]:
    """The parts of an option that are separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
