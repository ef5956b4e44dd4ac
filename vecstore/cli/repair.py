"""vecstore repair: a damaged store made sound again."""

from __future__ import annotations

import dataclasses

import click

from vecstore import api
from vecstore.cli.output import json_option, print_json
from vecstore.errors import CorruptError


@click.command()
@click.argument("store", metavar="STORE")
@click.option("--to-version", metavar="N", help="Make this version, or tag, the newest again.")
@click.option("--salvage", is_flag=True, help="Keep those rows of the newest version that can be read.")
@click.option("--yes", is_flag=True, help="Do what gives something up, too.")
@json_option
@click.pass_context
def repair(
    ctx: click.Context, store: str, to_version: str | None, salvage: bool, yes: bool, as_json: bool
) -> None:
    """Says what is damaged in STORE, mends what can be mended without loss, and says what else could be done.

    What is lost is never given up silently: --to-version and --salvage need --yes, and make a new version.
    Exit code 4 if the store is damaged still.

    Example: vecstore repair items.store
    """
    version = int(to_version) if to_version is not None and to_version.isdigit() else to_version
    found = api.repair(store, to_version=version, salvage=salvage, yes=yes)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        lists = (("damaged", found.damage), ("lost", found.lost), ("done", found.done))
        for what, lines in (*lists, ("possible", found.possible)):
            for line in lines:
                click.echo(f"{what}: {line}")
        click.echo("sound" if found.sound else "damaged still")
    if not found.sound:
        ctx.exit(CorruptError.exit_code)
