"""A report of records: which sections they make, and what is left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vecstore.bench import codecs_task, plan_page, scan_task, store_task
from vecstore.bench.report import codecs_section, other_sections, plan_section, vectors_section
from vecstore.bench.report.model import Machine, Record, Report, Section, Trouble
from vecstore.bench.report.reading import Key, gather
from vecstore.bench.tables import speed
from vecstore.bench.tables import task as tables_task
from vecstore.bench.vectors import task as vectors_task

# What a record of a strange shape makes of the code that shows it.
_STRANGE = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError)
_TEXTS = ("task", "kind", "dataset", "method", "peer", "topic", "setting")
_COUNTS = ("threads", "rows", "dim", "queries", "segments")
_UNKNOWN = 2000  # records of a task that is not known


Records = dict[str, list[Record]]


@dataclass(frozen=True)
class Task:
    """name: of its section. key: the case of a record, of which the last is taken."""

    name: str
    key: Callable[[Record], Key]
    section: Callable[[Sequence[Record]], Section]


def _memory_case(record: Record) -> Key:
    return tuple(record.get(name) for name in ("format", "what", "method", "rows", "dim"))


_TABLES = Task("tables", tables_task.case_key, other_sections.tables)
TASKS = {
    codecs_task.TASK: Task("codecs", codecs_task.case_key, codecs_section.section),
    scan_task.TASK: Task(
        "scan", lambda record: (*scan_task.case_key(record), record.get("queries")), other_sections.scan
    ),
    store_task.TASK: Task(
        "store", lambda record: (*store_task.case_key(record), record.get("peer")), other_sections.store
    ),
    vectors_task.TASK: Task("vectors", vectors_task.key, vectors_section.section),
    plan_page.TASK: Task("plan", plan_page.key, plan_section.section),
    "memory": Task("memory", _memory_case, other_sections.memory),
    tables_task.TASK: _TABLES,
    speed.TASK: _TABLES,
}
_TROUBLES = {
    "error": "failed",
    "errors": "failed in part",
    "missing": "not installed",
    "infeasible": "infeasible",
}


def report(paths: list[str]) -> tuple[Report, Records]:
    """The report of files of JSON lines, and the records by the section that they are in.

    Raises NotFoundError and InputError, as `gather`.
    """
    found = gather(paths, _Door().taken)
    made = Report(found.sources, troubles=found.troubles, unlisted=found.unlisted)
    records = list(found.records.values())
    made.machines = _machines(records)
    groups: Records = {}
    for record in records:
        groups.setdefault(_group(record), []).append(record)
    known = dict.fromkeys(task.name for task in TASKS.values())
    for name in [
        *(name for name in known if name in groups),
        *(name for name in groups if name not in known),
    ]:
        try:
            made.sections.append(_section(groups[name]))
        except _STRANGE as error:  # Sound one by one, these records do not go together.
            made.troubles.append(Trouble(f"all of {name}", f"cannot be shown together: {_said(error)}"))
        made.troubles += _failed(groups[name])
    made.notes = _notes(records, made.machines)
    return made, groups


def _group(record: Record) -> str:
    task = str(record["task"])
    return TASKS[task].name if task in TASKS else task


def _section(records: Sequence[Record]) -> Section:
    task = TASKS.get(str(records[0]["task"]))
    return other_sections.unknown(records) if task is None else task.section(records)


class _Door:
    """Takes records one by one, those only that a section can be made of."""

    def __init__(self) -> None:
        self._verdicts: dict[object, str] = {}
        self._unknown = 0

    def taken(self, record: Record) -> tuple[Key | None, str]:
        """The record's case, or None and why it has none."""
        if trouble := _mistyped(record):
            return None, trouble
        shape = _shape(record)
        if shape not in self._verdicts:  # All of one shape share a verdict.
            self._verdicts[shape] = _trial(record)
        if trouble := self._verdicts[shape]:
            return None, trouble
        task = TASKS.get(record["task"])
        if task is not None:
            return task.key(record), ""
        self._unknown += 1
        if self._unknown > _UNKNOWN:
            return None, f"task {record['task']!r} is not known, and {_UNKNOWN} such records are enough"
        return (record["task"], self._unknown), ""


def _mistyped(record: Record) -> str:
    """What is wrong with the names and counts of a record."""
    if not isinstance(record.get("task"), str):
        return "no task; expected a record of `vecstore bench --out`"
    for key in _TEXTS:
        if key in record and not isinstance(record[key], str):
            return f"{key} is a {type(record[key]).__name__}; expected text"
    for key in _COUNTS:
        if type(record.get(key, 0)) is not int or not 0 <= record.get(key, 0) < 1 << 63:
            return f"{key} is {str(record[key])[:40]}; expected a whole number"
    return ""


def _trial(record: Record) -> str:
    """What is wrong with a record that no section can be made of."""
    try:
        _section([record])
    except _STRANGE as error:
        return f"task {record['task']!r}, a record of unknown shape: {_said(error)}"
    return ""


def _said(error: Exception) -> str:
    kind = "it lacks" if isinstance(error, KeyError) else f"{type(error).__name__}:"
    return f"{kind} {' '.join(str(error).split())}"[:200]


def _shape(value: object, key: str = "") -> object:
    """Equal for records that are shown, or fail to be, in the same way."""
    if isinstance(value, dict):
        return frozenset((name, _shape(part, name)) for name, part in value.items() if name != "machine")
    if isinstance(value, list):
        return tuple({_shape(part): None for part in value})
    if key in ("task", "kind", "topic", "peer", "method", "budget"):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return type(value)
    return type(value), (value > 0) - (value < 0)


def _machines(records: Sequence[Record]) -> list[Machine]:
    """What records were measured on, the most records first."""
    counts: Counter[tuple[tuple[str, str], ...]] = Counter()
    tasks: dict[tuple[tuple[str, str], ...], dict[str, None]] = {}
    for record in records:
        told = record.get("machine")
        facts = tuple((str(k), str(v)) for k, v in told.items()) if isinstance(told, dict) else ()
        counts[facts] += 1
        tasks.setdefault(facts, {})[_group(record)] = None
    return [Machine(facts, count, tuple(tasks[facts])) for facts, count in counts.most_common()]


def _failed(records: Sequence[Record]) -> list[Trouble]:
    """What a task could not measure."""
    found = []
    for record in records:
        for key, what in _TROUBLES.items():
            if record.get(key):
                names = [
                    str(record[name])
                    for name in ("task", "dataset", "topic", "method", "peer", "spec")
                    if name in record
                ]
                if record.get("budget") is not None:
                    names.append(f"budget {record['budget']}")
                found.append(Trouble(", ".join(names), f"{what}: {_listed(record[key])}"))
    return found


def _listed(told: object) -> str:
    """What a record says of what went wrong: words, names, or words by name."""
    if isinstance(told, dict):
        return "; ".join(f"{name}: {why}" for name, why in told.items())
    return ", ".join(map(str, told)) if isinstance(told, list) else str(told)


def _notes(records: Sequence[Record], machines: Sequence[Machine]) -> list[str]:
    """What a reader should know before any figure."""
    found = []
    if quick := sum(bool(r.get("quick")) for r in records):
        found.append(
            f"{quick} of {len(records)} records are from --quick: they show that all works, no figures."
        )
    busy = sum(_busy(r) for r in records)
    if busy:
        found.append(f"{busy} of {len(records)} records were taken while other processes ran (load_before).")
    places = {tuple(v for k, v in m.facts if k in ("cpu", "isa", "cores")) for m in machines}
    if len(places) > 1:
        found.append(f"Records of {len(places)} different machines are mixed: compare ratios, not times.")
    return found


def _busy(record: Record) -> bool:
    load, threads = record.get("load_before"), record.get("threads", 1)
    return isinstance(load, int | float) and load > threads
