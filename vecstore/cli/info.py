"""vecstore info: what an archive or a store holds and what each part of it costs."""

from __future__ import annotations

from typing import Any

import click

from vecstore import api
from vecstore.bench.certificate import certify
from vecstore.cli.certifying import print_certificate
from vecstore.cli.output import json_option, print_json, print_pairs, size
from vecstore.space.card import NAMES


@click.command()
@click.argument("path", metavar="PATH")
@click.option(
    "--certificate", is_flag=True,
    help="What it lost and how far that is from the least: measured where finer rows are kept.",
)  # fmt: skip
@json_option
def info(path: str, certificate: bool, as_json: bool) -> None:
    """Shows rows, codec and the byte account of PATH, an archive or a store.

    Example: vecstore info items.arrow
    """
    with api.open(path) as archive:
        if certificate:
            figures = certify(archive)
            print_json(figures) if as_json else print_certificate(figures)
            return
        ledger, codec = archive.ledger(), archive.codec
        found: dict[str, Any] = {
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
    apart = ("ledger", "columns", "card", "tiers", "versions", "tags")
    shown = {key: value for key, value in found.items() if key not in apart}
    tiers = ", ".join(f"{name} ({size} bytes)" for name, size in found["tiers"].items()) or "none"
    columns = ", ".join(f"{name} ({kind})" for name, kind in found["columns"].items()) or "none"
    lines: list[tuple[str, object]] = [*shown.items(), ("tiers", tiers), ("carried columns", columns)]
    lines += [(name, found["card"][name]) for name in NAMES if name in found["card"]]
    if "versions" in found:
        tags = ", ".join(f"{name} ({version})" for name, version in found["tags"].items()) or "none"
        lines += [("versions", _ranges(found["versions"])), ("tags", tags)]
    rows = max(found["rows"], 1)
    for name, count in ledger.as_dict().items():
        if count:
            lines.append((f"bytes {name}", f"{size(count)} ({count / rows:.2f} a row)"))
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
