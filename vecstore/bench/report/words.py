"""What the pages of a report say alike: verdicts, the table of targets, and passages of other pages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from vecstore.bench.line import Line
from vecstore.bench.report.model import NOTHING, Machine, Section, Table

VERDICTS = {True: "kept", False: "missed", None: "not measured"}
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_OF_OURS = "Targets that are missed"  # opens a passage on the records that the docs are made of


def summary_of(lines: Sequence[Line]) -> tuple[int, int, int]:
    """How many targets are kept, missed, and not measured."""
    kept, missed = (sum(line.kept is verdict for line in lines) for verdict in (True, False))
    return kept, missed, len(lines) - kept - missed


def targets_table(title: str, lines: Sequence[tuple[Section, Line]]) -> Table:
    """Targets with what was found, and what makes each figure."""
    found = [
        [line.what, VERDICTS[line.kept], line.found, f"{section.command} {line.command}".strip()]
        for section, line in lines
    ]
    return Table(title, ["target", "verdict", "found", "made by"], found)


def machines_table(machines: Sequence[Machine]) -> Table:
    """What records were measured on, a column for each."""
    names = dict.fromkeys(key for machine in machines for key, _ in machine.facts)
    told = [dict(machine.facts) for machine in machines]
    header = ["what", *(f"machine {number}" for number in range(1, len(machines) + 1))]
    lines = [
        ["records", *(str(machine.records) for machine in machines)],
        ["tasks", *(", ".join(machine.tasks) for machine in machines)],
        *([name, *(facts.get(name, NOTHING) for facts in told)] for name in names),
    ]
    return Table("Machines and versions", header, lines)


def passages(text: str) -> Iterator[str]:
    """Passages of a Markdown text that hold for any records, without marks and links."""
    for passage in text.split("\n\n"):
        if not passage.startswith(_OF_OURS):
            yield _LINK.sub(r"\1", passage).replace("`", "").replace("\n", " ")
