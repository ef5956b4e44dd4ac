"""The command line: one group, its commands, and the one place where errors become a line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn

import click

import vecstore
from vecstore.cli.adapter import adapter
from vecstore.cli.bench import bench
from vecstore.cli.cat import cat
from vecstore.cli.check import check
from vecstore.cli.codecs import codecs
from vecstore.cli.compact import compact
from vecstore.cli.completion import completion
from vecstore.cli.compress import compress
from vecstore.cli.create import create
from vecstore.cli.decompress import decompress
from vecstore.cli.delete import delete
from vecstore.cli.demo import demo
from vecstore.cli.gc import gc
from vecstore.cli.get import get
from vecstore.cli.info import info
from vecstore.cli.ingest import ingest
from vecstore.cli.plan import plan
from vecstore.cli.put import put
from vecstore.cli.repair import repair
from vecstore.cli.report import report
from vecstore.cli.search import search
from vecstore.cli.tag import tag
from vecstore.cli.tune import tune
from vecstore.errors import StorageError, VecstoreError

INTERRUPTED = 130


class FriendlyGroup(click.Group):
    """Shows a VecstoreError as one line with its exit code; any other exception keeps its traceback."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
            return result
        except VecstoreError as error:
            _end(ctx, error.exit_code, " ".join(str(error).split()))
        except BrokenPipeError:
            # The reader of our output has gone, as `head` does: not an error, and nothing more to say.
            _forget_stdout()
            ctx.exit(0)
        except KeyboardInterrupt as error:
            _end(ctx, INTERRUPTED, str(error) or "interrupted; nothing was left behind")
        except OSError as error:
            _forget_stdout()
            _end(ctx, StorageError.exit_code, f"{error.strerror or error}; the output may be incomplete")


def _end(ctx: click.Context, code: int, message: str) -> NoReturn:
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            _forget_stdout()
    if sys.stderr is not None:
        click.echo(f"Error: {message}", err=True)
    ctx.exit(code)


def _forget_stdout() -> None:
    """Sends what is still buffered nowhere: the interpreter would fail on it once more at its end."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=FriendlyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(vecstore.__version__, prog_name="vecstore")
def main() -> None:
    """Compresses embeddings, keeps them, gives them back, and counts every byte."""
    # A supervisor ends a program with SIGTERM; it should leave as little behind as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


for command in (
    demo, plan, compress, decompress, info, check, get, cat, search, create, put, ingest, delete,
    compact, gc, tag, repair, adapter, tune, codecs, bench, report, completion,
):  # fmt: skip
    main.add_command(command)
