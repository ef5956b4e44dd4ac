"""What commands print: tables for people, JSON for programs, progress for those who wait."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vecstore.errors import NotFoundError

_Command = TypeVar("_Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
force_option = click.option("--force", is_flag=True, help="Replace OUTPUT if it exists.")
model_option = click.option("--model", metavar="NAME", help="What embedded the vectors, kept in the card.")
revision_option = click.option("--revision", metavar="NAME", help="Of the model, kept in the card.")
threads_option = click.option(
    "--threads", type=click.IntRange(0), default=0, metavar="N", help="Threads; 0: one for each processor."
)

_SPACE_OPTIONS = (
    click.option("--model", metavar="NAME", help="What embedded these; an error if the card names another."),
    click.option("--revision", metavar="NAME", help="Of the model; an error if the card names another."),
    click.option(
        "--check-space/--any-space", default=True, show_default=True,
        help="Refuse what lies as vectors of another embedding space do.",
    ),
)  # fmt: skip


def space_options(command: _Command) -> _Command:
    """What is said of the vectors' space: `model`, `revision`, `check_space`."""
    for option in reversed(_SPACE_OPTIONS):
        command = option(command)
    return command


def print_json(value: object) -> None:
    """One JSON object on one line of stdout; infinities and NaN, which JSON has not, become null."""
    click.echo(json.dumps(_clean(value)))


def _clean(value: object) -> object:
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def print_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """Names and values, one a line, aligned."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{name:<{width}}  {value}")


def print_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A table of text: the first column to the left, the others to the right."""
    widths = [max(len(line[at]) for line in (header, *lines)) for at in range(len(header))]
    for line in (header, *lines):
        cells = [
            f"{cell:<{width}}" if at == 0 else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def print_notes(notes: Sequence[str]) -> None:
    """Notes, each once, on stderr."""
    for note in dict.fromkeys(notes):
        click.echo(f"Note: {note}", err=True)


def size(count: float) -> str:
    """Bytes for people: 1,234 B, 12.3 kB, 4.56 MB."""
    if count < 10_000:
        return f"{count:,.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}" if count < 1000 else f"{count:,.0f} {unit}"
    raise AssertionError(count)


Report = Callable[[int, int | None], None]  # done, in all where known


@contextmanager
def progress() -> Iterator[Callable[[str, str], Report | None]]:
    """Gives what makes a bar (what is done, unit) on stderr, shown from its first report until the block ends
    or the next bar begins; None if stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda what, unit: None
        return
    columns: list[Any] = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
    ]
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:

        def begin(what: str, unit: str) -> Report:
            task = bar.add_task(what, total=None, visible=False, unit=unit)

            def report(done: int, total: int | None) -> None:
                for other in bar.task_ids:
                    bar.update(other, visible=other == task)
                bar.update(task, completed=done, total=total)

            return report

        yield begin


def parsed_ids(texts: Sequence[str], kind: pa.DataType, path: str) -> list[int] | list[str]:
    """Ids as a collection has them; NotFoundError for a text where ids are whole numbers."""
    if not pa.types.is_integer(kind):
        return list(texts)
    try:
        return [int(text) for text in texts]
    except ValueError as error:
        raise NotFoundError(
            f"{path} has whole numbers for ids; {str(error).split(': ')[-1]} is none"
        ) from None
