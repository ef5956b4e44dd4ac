"""The command line: one group, its commands, and the one place where errors become a line."""

from __future__ import annotations

import os
import signal
import sys

import click

from vecstore.cli.bench import bench
from vecstore.cli.cat import cat
from vecstore.cli.check import check
from vecstore.cli.codecs import codecs
from vecstore.cli.completion import completion
from vecstore.cli.compress import compress
from vecstore.cli.decompress import decompress
from vecstore.cli.demo import demo
from vecstore.cli.get import get
from vecstore.cli.info import info
from vecstore.errors import VecstoreError

INTERRUPTED = 130


class FriendlyGroup(click.Group):
    """Shows a VecstoreError as one line with its exit code; any other exception keeps its traceback."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except VecstoreError as error:
            click.echo(f"Error: {' '.join(str(error).split())}", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            # The reader of our output has gone, as `head` does: not an error, and nothing more to say.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except KeyboardInterrupt:
            click.echo("Error: interrupted; nothing was left behind", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=FriendlyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vecstore", prog_name="vecstore")
def main() -> None:
    """Compresses embeddings, keeps them, gives them back, and counts every byte."""
    # A supervisor ends a program with SIGTERM; it should leave as little behind as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


for command in (demo, compress, decompress, info, check, get, cat, codecs, bench, completion):
    main.add_command(command)
