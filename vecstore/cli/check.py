"""vecstore check: whether every byte of an archive or a store is what was written."""

from __future__ import annotations

import click

from vecstore import api
from vecstore.cli.output import json_option, print_json
from vecstore.errors import CorruptError


@click.command()
@click.argument("path", metavar="PATH")
@json_option
@click.pass_context
def check(ctx: click.Context, path: str, as_json: bool) -> None:
    """Reads all of PATH, compares every checksum, decodes every block. Exit code 4 if anything is wrong.

    Example: vecstore check items.arrow
    """
    findings = api.check(path)
    if as_json:
        print_json({"ok": not findings, "findings": findings})
    elif findings:
        for finding in findings:
            click.echo(finding)
    else:
        click.echo("sound")
    if findings:
        click.echo(f"Error: {path} is damaged: {len(findings)} findings; restore it from a copy", err=True)
        ctx.exit(CorruptError.exit_code)
