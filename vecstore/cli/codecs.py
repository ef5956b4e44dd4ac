"""vecstore codecs: the names that a spec can be made of."""

from __future__ import annotations

import inspect
import sys

import click

from vecstore import registry
from vecstore.cli.output import json_option, print_json, print_pairs
from vecstore.codecs.tables.presets import PRESETS


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@json_option
def codecs(name: str | None, as_json: bool) -> None:
    """Lists codecs, transforms and methods of tables, or tells all about NAME.

    Example: vecstore codecs pq
    """
    if name is None:
        found = registry.list_codecs()
        if as_json:
            print_json(found)
        else:
            print_pairs(list(found.items()))
        return
    if name in PRESETS:
        _tell_method(name, as_json)
        return
    part = registry.find(name)
    sheet = inspect.getdoc(sys.modules[part.__module__]) or ""
    options = part.option_names()
    if as_json:
        print_json({"name": name, "options": options, "sheet": sheet})
        return
    click.echo(sheet)
    click.echo(f"\noptions: {', '.join(f'{option}=' for option in options) or 'none'}")
    click.echo(f"{inspect.getdoc(part.fit)}")  # type: ignore[attr-defined]


def _tell_method(name: str, as_json: bool) -> None:
    """What a method of tables is, and its options with their defaults."""
    preset = PRESETS[name]
    if as_json:
        print_json({"name": name, "options": list(preset.options), "sheet": preset.about})
        return
    click.echo(f"vs.table({name!r}, ..): {preset.about}; docs/tables.md has its bytes and source\n")
    print_pairs([(f"{option}=", "" if value is None else value) for option, value in preset.options.items()])
