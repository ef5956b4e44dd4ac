"""vecstore demo: a first look, with no file, no server and no download."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console

from vecstore import api
from vecstore.bench import demo as show
from vecstore.cli.output import force_option, json_option, print_json, print_table, size


@click.command()
@click.option("--save", metavar="FILE", help="Keep the vectors: .parquet, .npy, .txt, any OUTPUT format.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the vectors and the codecs.")
@force_option
@json_option
def demo(save: str | None, seed: int, force: bool, as_json: bool) -> None:
    """Learns word vectors from Python's manual, compresses them several ways, shows size and loss.

    Example: vecstore demo
    """
    started = time.perf_counter()
    with _status() as report:
        report("word vectors from Python's manual")
        words = show.learn(seed)
        trips = list(show.trips(words, api.compress, report, seed=seed))
    if save:
        _save(words, save, force)
    if as_json:
        print_json(_summary(words, trips, time.perf_counter() - started))
    else:
        _print_all(words, trips, save)


def _save(words: show.Words, target: str, force: bool) -> None:
    """The vectors in any format, by way of an archive that keeps every bit."""
    with show.folder() as path:
        archive = path / "words.arrow"
        api.compress(words.rows, archive, "f32", ids=words.names, metric="cosine")
        api.decompress(archive, target, force=force)


def _summary(words: show.Words, trips: list[show.Trip], seconds: float) -> dict[str, object]:
    return {
        "rows": len(words.names),
        "dim": words.rows.shape[1],
        "raw_bytes": words.raw_bytes,
        "codecs": [
            {
                **{key: value for key, value in vars(trip).items() if key != "rows"},
                "share": trip.bytes / words.raw_bytes,
            }
            for trip in trips
        ],
        "neighbours": {
            word: {
                "before": show.neighbours(words, words.rows, word),
                **{trip.spec: show.neighbours(words, trip.rows, word) for trip in trips},
            }
            for word in show.WORDS
            if word in words.names
        },
        "python": platform.python_version(),
        "seconds": seconds,
    }


def _print_all(words: show.Words, trips: list[show.Trip], save: str | None) -> None:
    version = ".".join(platform.python_version_tuple()[:2])
    click.echo(
        f"{len(words.names):,} words of the manual of Python {version}, each a vector of {show.DIM} float32\n"
        f"values, learned from its text here and now: {size(words.raw_bytes)}. The same vectors in\n"
        "archives of vecstore, written, checked, and read back:\n"
    )
    lines = [
        [
            trip.spec,
            f"{trip.row_bytes:.0f} B",
            size(trip.bytes),
            f"{trip.bytes / words.raw_bytes:.1%}",
            f"{trip.relative_mse:.4f}" if trip.relative_mse else "0",
            f"{trip.recall_at_10:.3f}",
        ]
        for trip in trips
    ]
    print_table(["codec", "a row", "file", "share", "error", "recall@10"], lines)
    click.echo(
        "\nfile: all of it, with words, checksums and what the codec learned (the codebooks\n"
        "      of pq:m=16 are the same for a million rows); share: of the float32 values.\n"
        "error: squared, relative to the variance of the vectors.\n"
        "recall@10: how many of the ten nearest words are still among the ten nearest.\n\n"
        "The nearest words, before and after, by bytes a row (new ones in brackets):\n"
    )
    for word in show.WORDS:
        if word in words.names:
            _print_neighbours(words, trips, word)
    _print_next(save)


def _print_neighbours(words: show.Words, trips: list[show.Trip], word: str) -> None:
    before = show.neighbours(words, words.rows, word)
    click.echo(f"{word:<11} {words.rows.shape[1] * 4:>3}  {' '.join(before)}")
    for trip in trips:
        if trip.spec in show.SHOWN:
            found = show.neighbours(words, trip.rows, word)
            marked = [other if other in before else f"({other})" for other in found]
            click.echo(f"{'':<11} {trip.row_bytes:>3.0f}  {' '.join(marked)}")


def _print_next(save: str | None) -> None:
    program = "vecstore" if shutil.which("vecstore") else "python -m vecstore"
    click.echo("\nNext, with vectors of your own (.npy, Parquet, GloVe text, HDF5 and more):\n")
    if save is None:
        click.echo(f"  {program} demo --save words.parquet      # or with these")
    source = save or "words.parquet"
    for line in (f"compress {source} words.arrow --budget 10%", "info words.arrow", "get words.arrow loop"):
        click.echo(f"  {program} {line}")


@contextmanager
def _status() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done, if stderr is a terminal."""
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield lambda what: None
        return
    with console.status("") as status:
        yield lambda what: status.update(what)
