"""README's figures, made from the records of all tasks and from nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from vecstore.bench import codecs_task, pages, scan_page, scan_task, store_page, store_task
from vecstore.bench.line import Line
from vecstore.bench.process import Record, trouble
from vecstore.bench.tables import targets as tables_targets
from vecstore.bench.tables import task as tables_task
from vecstore.bench.vectors import task as vectors_task
from vecstore.errors import FormatError

# (data set, title, figure) that a codec should leave as float32 has them.
_KEPT = (
    ("classic3_minilm", "nDCG@10 of texts", "ndcg_at_10"),
    ("sift_sceaux", "recall@10 of SIFT", "recall_at_10"),
    ("word2vec_googlenews_8k", "analogies", "analogies"),
    ("blogcatalog", "groups of people, micro F1", "micro_f1"),
    ("blogcatalog", "who follows whom, hop 1 mAP", "map_hop_1"),
)  # fmt: skip
_METHODS = ("f32", "tcq:bytes=32", "pq:bytes=32", "faiss pq:m=32", "hadamard:bits=2", "sign")
_ALIKE = {"faiss pq:m=30": "faiss pq:m=32"}  # where 32 does not divide the dimensions


def filled(text: str, folder: Path) -> str:
    """README's text with each block made anew from the records in folder; FormatError for a lost block."""
    known = {
        name: codecs_task.lines(folder / f"{name}.jsonl") for name in ("scan", "store", "tables", "vectors")
    }
    blocks = {
        "codecs": pages.summary(codecs_task.read(folder / "codecs.jsonl")),
        "targets": _targets(known),
        "vectors": _vectors(vectors_task.latest(known["vectors"])),
    }
    for name, block in blocks.items():
        begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        found = pattern.findall(text)
        if len(found) != 1:
            raise FormatError(f"expected one block {begin} ... {end} to fill, found {len(found)}")
        text = text.replace(found[0], f"{begin}\n{block}\n{end}")
    return text


def _targets(known: dict[str, list[Record]]) -> str:
    """Of each task how many targets are kept, and those that are not."""
    stored = [r for r in store_task.latest(known["store"]) if not trouble(r)]
    judged: dict[str, Iterable[Line]] = {
        "scan": scan_page.judge(scan_task.latest(known["scan"])),
        "store": store_page.judge(stored),
        "tables": tables_targets.judge(tables_task.latest(known["tables"])),
    }
    lines = []
    for name, found in judged.items():
        told = [line for line in found if line.kept is not None]
        missed = "<br>".join(f"{line.what}: {line.found}" for line in told if not line.kept)
        kept = f"{sum(line.kept is True for line in told)} of {len(told)}"
        lines.append([f"[{name}](docs/benchmarks/{name}.md)", kept, missed])
    return pages.markdown(("", ["benchmark", "targets kept", "missed: found"], lines))


def _vectors(records: list[Record]) -> str:
    """What some codecs leave of what vectors are for."""
    found = {(r["dataset"], _ALIKE.get(r["method"], r["method"])): r for r in records}
    lines = []
    for dataset, title, key in _KEPT:
        values = [found.get((dataset, method), {}).get(key) for method in _METHODS]
        lines.append([title, *("" if value is None else f"{value:.3f}" for value in values)])
    return pages.markdown(("", ["", *(f"`{method}`" for method in _METHODS)], lines))
