"""A report as one page of HTML that needs nothing beside it: no network, no other file.

All text of records goes through `escape`, or as JSON with `<` written as \\u003c. A content security policy
lets only the two scripts of the page run, named by their hashes, and forbids every request.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from html import escape
from importlib import util
from pathlib import Path

from vecstore.bench.report.model import Chart, Report, Section, Table
from vecstore.bench.report.words import VERDICTS, machines_table, passages, summary_of, targets_table
from vecstore.errors import NotFoundError

PACKAGE = "vl-convert-python"
_MODULE = "vl_convert"
_HERE = Path(__file__).parent
_FEW = 6  # lines that need no filter
_SHORT = 12  # lines of a table that is shown open
_MARKS = {VERDICTS[True]: "yes", VERDICTS[False]: "no", VERDICTS[None]: "open"}  # classes of page.css
_BREAKS = re.compile(r"([,:+_])(?=\w)")  # a label may be broken behind these


def missing() -> str | None:
    """The package that the page's charts need, where it is not installed."""
    return None if util.find_spec(_MODULE) else PACKAGE


def page(report: Report) -> str:
    """The page. Raises NotFoundError where the library that draws is not installed."""
    if package := missing():
        raise NotFoundError(
            f"a page needs {package}, which is not installed: pip install 'vecstore[report]'; "
            "--md FILE needs nothing"
        )
    import vl_convert

    library = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    scripts = [script.replace("</script", "<\\/script") for script in (library, _read("page.js"))]
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src {' '.join(_hash(script) for script in scripts)}"
    )
    charts = {f"chart-{at}": chart.spec for at, chart in enumerate(_charts(report))}
    return "\n".join([
        "<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">', "<title>vecstore: report of measurements</title>",
        f"<style>\n{_read('page.css')}</style>", "</head>", "<body>",
        *_Body(report).lines(),
        f'<script type="application/json" id="charts">{_json(charts)}</script>',
        *(f"<script>{script}</script>" for script in scripts),
        "</body>", "</html>", "",
    ])  # fmt: skip


def _read(name: str) -> str:
    return (_HERE / name).read_text("utf-8")


def _charts(report: Report) -> Iterator[Chart]:
    for section in report.sections:
        yield from section.charts


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _json(value: object) -> str:
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


class _Body:
    """The body's lines; numbers tables and charts as they come."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self._tables, self._chart = itertools.count(), itertools.count()

    def lines(self) -> Iterator[str]:
        sections = self.report.sections
        yield '<a class="skip" href="#main">Skip to the conclusions</a>'
        yield '<header><div class="top"><h1>Report of measurements</h1>'
        yield '<button id="theme" type="button" hidden>Dark theme</button></div>'
        yield '<nav aria-label="Sections"><ul>'
        places = [("conclusions", "Conclusions")] + [(_id(s), s.title) for s in sections]
        for place, name in [*places, ("machines", "Machines and sources"), ("troubles", "Not measured")]:
            yield f'<li><a href="#{place}">{escape(name.partition(":")[0])}</a></li>'
        yield "</ul></nav></header>"
        yield '<div id="status" class="hidden" role="status"></div>'
        yield '<main id="main" tabindex="-1">'
        yield "<noscript><p>Charts, sorting and filtering need JavaScript; all figures are in tables."
        yield "</p></noscript>"
        yield from self._conclusions()
        for section in sections:
            yield from self._section(section)
        yield from self._machines()
        yield from self._troubles()
        yield "</main><footer><details><summary>Licence of what draws the charts</summary>"
        yield f"<pre>{escape(_read('vega-license.txt'))}</pre></details></footer>"

    def _conclusions(self) -> Iterator[str]:
        yield '<section aria-labelledby="conclusions"><h2 id="conclusions">Conclusions</h2>'
        yield from (f'<p class="note">{escape(note)}</p>' for note in self.report.notes)
        yield '<ul class="tiles">'
        for section in self.report.sections:
            if section.targets:
                kept, missed, unknown = summary_of(section.targets)
                rest = f", {unknown} not measured" if unknown else ""
                yield f"<li>{escape(section.title.partition(':')[0])}: targets kept "
                yield f"<strong>{kept} of {kept + missed}</strong>"
                yield f'<span class="faint">{missed} missed{rest}</span></li>'
        yield "</ul>"
        missed_lines = [
            (section, line)
            for section in self.report.sections
            for line in section.targets
            if line.kept is False
        ]
        if missed_lines:
            yield "<h3>Targets that are missed</h3>"
            yield from self._table(targets_table("Targets that are missed", missed_lines), opened=True)
        for section in self.report.sections:
            if section.best:
                yield f"<h3>{escape(section.title.partition(':')[0])}: which method at which budget</h3>"
                for table in section.best:
                    yield from self._table(table, opened=True)
        yield "</section>"

    def _section(self, section: Section) -> Iterator[str]:
        name = _id(section)
        yield f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(section.title)}</h2>'
        if section.charts:
            yield '<div class="charts">'
            for chart in section.charts:
                yield from self._figure(chart)
            yield "</div>"
        if section.targets:
            both = [
                (section, line) for line in sorted(section.targets, key=lambda line: line.kept is not False)
            ]
            yield from self._table(targets_table("All targets", both))
        for table in section.tables:
            yield from self._table(table)
        if section.not_shown:
            yield "<h3>What this does not show</h3>"
            yield from (f"<p>{escape(passage)}</p>" for passage in passages(section.not_shown))
        yield "</section>"

    def _figure(self, chart: Chart) -> Iterator[str]:
        name = f"chart-{next(self._chart)}"
        yield f"<figure><figcaption>{escape(chart.title)}</figcaption>"
        yield f'<ul class="legend" data-chart="{name}" aria-label="Legend">'
        for mark in chart.marks:
            text = f'<span class="swatch {mark.shape}" aria-hidden="true"></span>{escape(mark.name)}'
            if mark.family:
                family = f'data-family="{escape(mark.family)}"'
                text = f'<button type="button" aria-pressed="false" {family}>{text}</button>'
            yield f"<li>{text}</li>"
        yield f'</ul><div class="chart" id="{name}" role="img" aria-label="{escape(chart.alt)}"></div>'
        if chart.note:
            yield f'<p class="faint">{escape(chart.note)}</p>'
        yield from self._table(chart.figures, opened=False)
        yield "</figure>"

    def _table(self, table: Table, opened: bool | None = None) -> Iterator[str]:
        name = f"table-{next(self._tables)}"
        shown = len(table.lines) <= _SHORT if opened is None else opened
        count = f"{len(table.lines)} row{'s' * (len(table.lines) != 1)}"
        yield f'<details class="box"{" open" * shown}><summary>{escape(table.title)} ({count})</summary>'
        if len(table.lines) > _FEW:
            yield f'<div class="tools" hidden><label for="{name}-filter">Filter rows</label>'
            yield f'<input id="{name}-filter" type="search" data-table="{name}" autocomplete="off">'
            yield f'<output for="{name}-filter" class="faint">{count}</output></div>'
        title = escape(table.title)
        yield f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        yield f'<table class="sorts" id="{name}">'
        yield f'<caption class="hidden">{title}</caption><thead><tr>'
        kinds = ["n" if numeric else "t" for numeric in table.numeric]
        for heading, kind in zip(table.header, kinds, strict=True):
            yield f'<th scope="col" class="{kind}"><button type="button">{escape(heading)}</button></th>'
        yield "</tr></thead><tbody>"
        for line in table.lines:
            yield f"<tr>{''.join(_cell(cell, kind) for cell, kind in zip(line, kinds, strict=True))}</tr>"
        yield "</tbody></table></div>"
        if table.command:
            yield f'<p class="faint">Made by <code>{escape(table.command)}</code></p>'
        yield "</details>"

    def _machines(self) -> Iterator[str]:
        yield '<section aria-labelledby="machines"><h2 id="machines">Machines and sources</h2>'
        header = ["file", "lines", "records taken"]
        lines = [[name, f"{count:,}", f"{used:,}"] for name, count, used in self.report.sources]
        yield from self._table(
            Table("Sources", header, lines, "vecstore report FILES -o report.html"), opened=True
        )
        yield from self._table(machines_table(self.report.machines), opened=True)
        yield "</section>"

    def _troubles(self) -> Iterator[str]:
        yield '<section aria-labelledby="troubles"><h2 id="troubles">Failed, missing, or not readable</h2>'
        if not self.report.troubles:
            yield "<p>Nothing: every line was read, and every record is shown.</p>"
        else:
            lines = [[trouble.where, trouble.what] for trouble in self.report.troubles]
            yield from self._table(Table("What is not shown, and why", ["where", "what"], lines), opened=True)
        if self.report.unlisted:
            yield f"<p>{self.report.unlisted:,} more are not listed.</p>"
        yield "</section>"


def _id(section: Section) -> str:
    return f"task-{hashlib.sha256(section.name.encode()).hexdigest()[:8]}"


def _cell(cell: str, kind: str) -> str:
    mark = f" {_MARKS[cell]}" if cell in _MARKS else ""
    text = _BREAKS.sub(r"\1<wbr>", escape(cell)) if kind == "t" else escape(cell)
    return f'<td class="{kind}{mark}">{text}</td>'
