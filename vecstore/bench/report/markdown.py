"""A report as Markdown: conclusions and tables, with pictures where they were drawn."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from vecstore.bench import pages
from vecstore.bench.plots import Picture
from vecstore.bench.report.model import Report, Table
from vecstore.bench.report.words import VERDICTS, machines_table, summary_of, targets_table

_MARKUP = re.compile(r"([\\`*\[\]<])")
_COMMAND = "vecstore report FILES --md FILE"


def page(report: Report, pictures: Sequence[Picture] = (), beside: Path | None = None) -> str:
    """The page. pictures are shown by their paths from the folder `beside`."""
    return "\n\n".join(_parts(report, pictures, beside)) + "\n"


def _parts(report: Report, pictures: Sequence[Picture], beside: Path | None) -> Iterator[str]:
    yield "# Report of measurements"
    yield f"<!-- Made by `{_COMMAND}`. -->"
    yield from (f"**{_plain(note)}**" for note in report.notes)
    yield "## Conclusions"
    for section in report.sections:
        if section.targets:
            kept, missed, unknown = summary_of(section.targets)
            yield (
                f"- {_plain(section.title)}: {kept} of {kept + missed} targets kept, {missed} missed, "
                f"{unknown} {VERDICTS[None]}"
            )
    missed_lines = [(s, line) for s in report.sections for line in s.targets if line.kept is False]
    if missed_lines:
        yield from _table(targets_table("Targets that are missed", missed_lines))
    for section in report.sections:
        for table in section.best:
            yield from _table(table)
    for picture in pictures:
        path = Path(os.path.relpath(picture.path, beside)) if beside else picture.path
        yield f"![{_plain(picture.alt)}]({path.as_posix()})"
    for section in report.sections:
        yield f"## {_plain(section.title)}"
        for table in section.tables:
            yield from _table(table)
    yield "## Machines and sources"
    yield from _table(machines_table(report.machines))
    yield from (
        f"- {_plain(name)}: {lines} lines, {used} records taken" for name, lines, used in report.sources
    )
    yield "## Failed, missing, or not readable"
    yield from (f"- {_plain(trouble.where)}: {_plain(trouble.what)}" for trouble in report.troubles)
    yield f"{report.unlisted} more are not listed." if report.unlisted else "These are all."


def _table(table: Table) -> Iterator[str]:
    yield f"### {_plain(table.title)}"
    lines = [[_plain(cell) for cell in line] for line in table.lines]
    yield pages.markdown(("", [_plain(cell) for cell in table.header], lines))
    if table.command:
        yield f"Made by {_plain(table.command)}"


def _plain(text: str) -> str:
    """A text of records without what Markdown or HTML would make of it."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
