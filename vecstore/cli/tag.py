"""vecstore tag: names of versions."""

from __future__ import annotations

import click

from vecstore import api
from vecstore.cli.output import json_option, print_json, print_pairs
from vecstore.errors import SpecError


@click.command()
@click.argument("store", metavar="STORE")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--version", type=click.IntRange(0), metavar="N", help="By default the newest.")
@click.option("--delete", is_flag=True, help="Take the name away.")
@json_option
def tag(store: str, name: str | None, version: int | None, delete: bool, as_json: bool) -> None:
    """Names a version of STORE, which gc then keeps; without NAME lists the names.

    Example: vecstore tag items.store before-import
    """
    if delete and (name is None or version is not None):
        raise SpecError("--delete takes a name and nothing else")
    if version is not None and name is None:
        raise SpecError("a version is named by NAME; give one")
    with api.Store.open(store) as opened:
        if name is not None and delete:
            opened.untag(name)
        elif name is not None:
            opened.tag(name, version)
        tags = opened.tags()
    if as_json:
        print_json(tags)
    elif name is None and tags:
        print_pairs(list(tags.items()))
