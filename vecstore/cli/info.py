"""vecstore info: what an archive or a store holds and what each part of it costs."""

from __future__ import annotations

import click

from vecstore import api
from vecstore.bench.certificate import certify
from vecstore.cli.accounts import lines as lines_of
from vecstore.cli.accounts import read_all, table_facts
from vecstore.cli.certifying import print_certificate
from vecstore.cli.output import json_option, print_json, print_pairs
from vecstore.errors import InputError
from vecstore.space.card import NAMES


@click.command()
@click.argument("path", metavar="PATH")
@click.option(
    "--certificate", is_flag=True,
    help="What it lost and how far that is from the least: measured where finer rows are kept.",
)  # fmt: skip
@click.option("--searched", is_flag=True, help="Memory as it is once all rows have been read and searched.")
@json_option
def info(path: str, certificate: bool, searched: bool, as_json: bool) -> None:
    """Shows rows, codec and the account of bytes of PATH, an archive, a store or a table.

    `bytes` lie on disk; `memory` is held by a process that has opened PATH, beside pages of files, which the
    system may drop. Example: vecstore info items.arrow
    """
    try:
        archive = api.open(path)
    except InputError as error:
        found, lines = table_facts(path, error)
        print_json(found) if as_json else print_pairs(lines)
        return
    with archive:
        if certificate:
            figures = certify(archive)
            print_json(figures) if as_json else print_certificate(figures)
            return
        ledger, codec = archive.ledger(), archive.codec
        if searched:
            read_all(archive)
        memory = archive.memory_ledger()
        found = {
            "rows": len(archive),
            "dim": archive.dim,
            "spec": str(archive.spec),
            "metric": archive.metric,
            "format_version": archive.format_version,
            "generations": archive.generations,
            "tiers": archive.tiers,
            "codec_identity": None if codec is None else codec.identity,
            "columns": {field.name: str(field.type) for field in archive.columns},
            "id_type": str(archive.id_type),
            "card": archive.card,
            "ledger": ledger.as_dict(),
            "memory": memory.as_dict(),
        }
        if isinstance(archive, api.Store):
            found |= {
                "version": archive.version,
                "versions": archive.versions(),
                "tags": archive.tags(),
                "keep": archive.keep,
                "note": archive.view.manifest.note,
            }
    if as_json:
        print_json(found)
        return
    apart = ("ledger", "memory", "columns", "card", "tiers", "versions", "tags")
    shown = {key: value for key, value in found.items() if key not in apart}
    tiers = ", ".join(f"{name} ({size} bytes)" for name, size in found["tiers"].items()) or "none"
    columns = ", ".join(f"{name} ({kind})" for name, kind in found["columns"].items()) or "none"
    lines = [*shown.items(), ("tiers", tiers), ("carried columns", columns)]
    lines += [(name, found["card"][name]) for name in NAMES if name in found["card"]]
    if "versions" in found:
        tags = ", ".join(f"{name} ({version})" for name, version in found["tags"].items()) or "none"
        lines += [("versions", _ranges(found["versions"])), ("tags", tags)]
    lines += lines_of("bytes", ledger, found["rows"]) + lines_of("memory", memory, found["rows"])
    print_pairs(lines)


def _ranges(numbers: list[int]) -> str:
    """Ascending numbers as in '1, 4 to 6'."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in found)
