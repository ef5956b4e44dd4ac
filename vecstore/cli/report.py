"""vecstore report: one page of charts and tables, made from the records of benchmarks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from vecstore.atomic import AtomicFile
from vecstore.bench.plots import Picture
from vecstore.bench.report import build, html, markdown, pictures
from vecstore.bench.report.model import Report
from vecstore.bench.report.words import summary_of
from vecstore.cli.output import force_option, json_option, print_json
from vecstore.errors import SpecError

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("results", metavar="RESULTS...", nargs=-1, required=True)
@click.option("-o", "--out", type=_FILE, metavar="FILE", help="The page: HTML that needs nothing beside it.")
@click.option("--md", type=_FILE, metavar="FILE", help="The same as Markdown, without charts.")
@click.option("--png", type=_FILE, metavar="DIR", help="Charts as pictures; --md then shows them.")
@force_option
@json_option
def report(
    results: tuple[str, ...], out: Path | None, md: Path | None, png: Path | None, force: bool, as_json: bool
) -> None:
    """Shows RESULTS, files that `vecstore bench --out` wrote (- is stdin): what to take and what was missed,
    quality by bytes with the bound, speeds, and every figure with the command that makes it.

    Lines that cannot be read, and records that failed or are not known, are named in it. Exit 3 if there is
    no record at all.

    Example: vecstore report docs/benchmarks/codecs.jsonl docs/benchmarks/scan.jsonl -o report.html
    """
    if out is None and md is None and png is None:
        raise SpecError("nothing to write; give one or more of -o FILE, --md FILE, --png DIR")
    found, records = build.report(list(results))
    if out is not None:
        _write(out, html.page(found).encode(), force)
    drawn = [] if png is None else _drawn(found, records, png, force)
    if md is not None:
        _write(md, markdown.page(found, drawn, md.parent).encode(), force)
    kept, missed, unknown = summary_of([line for section in found.sections for line in section.targets])
    if as_json:
        print_json({
            "records": sum(used for _, _, used in found.sources),
            "sections": [section.name for section in found.sections],
            "targets_kept": kept, "targets_missed": missed, "targets_not_measured": unknown,
            "troubles": [vars(trouble) for trouble in found.troubles], "unlisted": found.unlisted,
        })  # fmt: skip
        return
    click.echo(f"targets: {kept} kept, {missed} missed, {unknown} not measured", err=True)
    if count := len(found.troubles) + found.unlisted:
        click.echo(f"Note: {count} lines or records have no figures; the report says which and why", err=True)


def _write(path: Path, data: bytes, force: bool) -> None:
    with AtomicFile(path, force=force) as sink:
        sink.write(data)


def _drawn(found: Report, records: build.Records, folder: Path, force: bool) -> list[Picture]:
    """Pictures, each of which appears whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        drawn = pictures.draw(found, records, Path(name))
        for picture in drawn:
            _write(folder / picture.path.name, picture.path.read_bytes(), force)
    return [Picture(picture.dataset, folder / picture.path.name, picture.alt) for picture in drawn]
