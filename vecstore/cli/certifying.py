"""The certificate of a collection as one page of text."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import Any

import click

from vecstore.bench.certificate import NOT_GIVEN
from vecstore.cli.output import print_pairs, size

Figures = dict[str, Any]
Pairs = Iterator[tuple[str, object]]
_WIDTH = 100
_NAMES = {
    "relative_mse": "relative MSE",
    "least_relative_mse": "least relative MSE",
    "gap_db": "gap to the bound, dB",
    "bits_per_dim": "bits a dimension",
    "row_error_max": "error of a row, most",
    "recall_at_10": "recall@10 of codes alone",
    "mean_moved": "mean moved, in standard distances",
    "effective_dims": "effective dimensions",
    "relative_mse_first": "relative MSE of the first",
    "relative_mse_last": "relative MSE of the last",
    "exact": "sets that float32 finds",
    "kept": "of these found by codes",
    "recall_at_2": "recall@2",
    "k": "nearest rows that are looked for",
    "recall_at_10_rescored": "recall@10, best rescored:",
    "shares": "axes",
}
_TITLES = {
    "error": "Error, of decoded rows",
    "bound": "What is proven of the error",
    "limit": "Distance to the rate-distortion bound",
    "recall": "Recall, of rows that look for others",
    "limit_bits": "LIMIT-bits: top-2 sets of LIMIT-small",
    "spectrum": "Spectrum: shares of the variance on the leading axes",
    "drift": "Drift: from the first third of the rows to the last",
}


def print_certificate(found: Figures) -> None:
    """Prints it: what it is, its bytes, then each figure or why it cannot be given."""
    click.echo(f"Certificate of {found['path']}\n")
    truth = found["probe"]["true_rows"]
    told = f"{found['probe']['rows']:,} of {found['rows']:,}, held against {truth or 'nothing'}"
    pairs = [(name, found[name]) for name in ("rows", "dim", "spec", "metric", "generations", "keep")]
    pairs.append(("coded by", " and ".join(found["coded_by"]) or "nothing yet"))
    print_pairs([*pairs, ("rows looked at", told)])
    rows = max(found["rows"], 1)
    click.echo("\nBytes, and bytes a row")
    for name, count in found["bytes"].items():
        if name != "row_bytes" and count:
            click.echo(f"  {name:<34}{size(count):>12}{count / rows:>12.2f}")
    if found["bytes"]["row_bytes"] is not None:
        click.echo(f"  {'code and side data of a row':<46}{found['bytes']['row_bytes']:>12.2f}")
    for key, title in _TITLES.items():
        click.echo(f"\n{title}")
        for name, value in _lines(found[key]):
            text = f"not given: {value}" if name == NOT_GIVEN else f"{name:<34}{value}"
            click.echo(fill(text, _WIDTH, initial_indent="  ", subsequent_indent="      "))


def _lines(part: Figures, before: str = "") -> Pairs:
    for key, value in part.items():
        name = _NAMES.get(key, key.replace("row_error_p", "error of a row, percentile ").replace("_", " "))
        if isinstance(value, dict) and NOT_GIVEN in value and len(value) == 1:
            yield f"{before}{name}", f"not given: {value[NOT_GIVEN]}"
        elif isinstance(value, dict):
            yield from _lines(value, f"{before}{name} ")
        elif key == NOT_GIVEN:
            yield NOT_GIVEN, value
        elif value is not None:
            yield f"{before}{name}", f"{value:.4g}" if isinstance(value, float) else value
