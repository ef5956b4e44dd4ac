"""vecstore decompress: an archive back into vectors of any format."""

from __future__ import annotations

import click

from vecstore import api
from vecstore.cli.output import (
    force_option,
    json_option,
    print_json,
    print_notes,
    print_pairs,
    progress,
    size,
    threads_option,
)


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="OUTPUT")
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True)
@threads_option
@force_option
@json_option
def decompress(source: str, target: str, dtype: str, threads: int, force: bool, as_json: bool) -> None:
    """Restores the vectors of the archive INPUT into OUTPUT, whose ending says the format.

    Ids and carried columns come along where the format can hold them. INPUT - is an archive on stdin,
    OUTPUT - an Arrow stream on stdout. Every byte is checked before it is used.

    Example: vecstore decompress items.arrow items.npy
    """
    with progress() as bar:
        report = bar("decompress", "rows")
        restored = api.decompress(source, target, dtype=dtype, threads=threads, force=force, progress=report)
    print_notes(restored.notes)
    if target == "-":
        return
    if as_json:
        print_json(restored.as_dict())
        return
    print_pairs(
        [
            ("rows", f"{restored.rows:,} of {restored.dim} dimensions"),
            ("codec", restored.spec),
            ("bytes", size(restored.bytes)),
            ("seconds", f"{restored.seconds:.2f}"),
        ]
    )
