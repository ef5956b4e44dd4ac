"""The error and the recall that ours is meant to reach at each size, and whether records say that it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vecstore.bench.contenders.own import BUDGET
from vecstore.bench.line import Line
from vecstore.registry import CODECS

Record = dict[str, Any]
COMMAND = "--methods quality"
_RESTORED = ("tcq", "klt")  # give decoded rows of length one their length back, unless told not to
_AS_THEY_ARE = "renormalize=false"
_FEW_QUERIES = ("classic3_minilm",)
_LEAST_B = 16  # from here on a library's best is to be passed
_NEAR = 0.01  # recall that a budget may fall short of the best codec


@dataclass(frozen=True)
class Goal:
    """What some codec of at most so many bytes a row is to reach, fitted on other rows."""

    dataset: str
    size: int  # bytes a row, side data inside
    error: float | None  # relative MSE
    recall: float  # at 10


# The better of a research prototype and the best library, error and recall not always of the same codec.
GOALS = (
    Goal("classic3_minilm", 8, 0.404, 0.484),
    Goal("classic3_minilm", 16, 0.319, 0.594),
    Goal("classic3_minilm", 32, 0.188, 0.738),
    Goal("classic3_minilm", 48, 0.116, 0.808),
    Goal("classic3_minilm", 96, 0.032, 0.906),
    Goal("classic3_minilm", 192, None, 0.971),
    Goal("classic3_minilm", 384, None, 0.994),
    Goal("word2vec_googlenews_8k", 15, 0.543, 0.599),
    Goal("word2vec_googlenews_8k", 30, 0.336, 0.730),
    Goal("word2vec_googlenews_8k", 75, 0.078, 0.894),
    Goal("sift_sceaux", 8, 0.164, 0.665),
    Goal("sift_sceaux", 16, 0.077, 0.793),
    Goal("sift_sceaux", 32, 0.025, 0.889),
    Goal("sift_sceaux", 64, 0.0026, 0.964),
    Goal("sift_sceaux", 96, 0.0003, 0.982),
)


def goal_sizes(dataset: str) -> list[int]:
    """Bytes a row that a set's goals are at."""
    return [goal.size for goal in GOALS if goal.dataset == dataset]


def judge(records: Sequence[Record]) -> Iterator[Line]:
    """A line for each figure of each goal whose set was measured."""
    measured = [
        r for r in records if r["kind"] in ("method", "quality") and r.get("recall_at_10") is not None
    ]
    for goal in GOALS:
        here = [r for r in measured if r["dataset"] == goal.dataset and r["bytes_per_row"] <= goal.size]
        if here:
            yield from _of_goal(goal, here)


def _of_goal(goal: Goal, here: list[Record]) -> Iterator[Line]:
    what = f"{goal.dataset}, {goal.size} B"
    ours = [r for r in here if is_ours(r)]
    plain = [r for r in ours if _is_plain(r)]
    if goal.error is not None:
        yield _error(f"{what}: relative MSE <= {goal.error:g}", goal.error, plain)
    yield _recall(f"{what}: recall@10 >= {goal.recall:g}", goal.recall, plain)
    if goal.size >= _LEAST_B and (peers := [r for r in here if _of_library(r)]):
        sampled = goal.dataset in _FEW_QUERIES
        above = "by a standard error " if sampled else ""
        yield _against(f"{what}: recall@10 {above}above FAISS's best", _best(peers), plain, sampled)
    chosen = [r for r in ours if r["method"] == f"{BUDGET}{goal.size}B/row"]
    named = [r for r in ours if not str(r["method"]).startswith(BUDGET)]
    if chosen and named and goal.error is not None:
        yield _chosen(
            f"{what}: the budget's choice, recall@10 within {_NEAR:g} of our best", chosen[0], named
        )


def _of_library(record: Record) -> bool:
    return str(record["method"]).startswith("faiss")


def is_ours(record: Record) -> bool:
    """Whether a codec of the registry made it, alone or by a budget; what loses nothing is another matter."""
    method = str(record["method"])
    return method.startswith(BUDGET) or (_name(method) in CODECS and record["relative_mse"] != 0)


def _name(method: str) -> str:
    """The codec at the end of a chain."""
    return method.rpartition("+")[2].partition(":")[0]


def _is_plain(record: Record) -> bool:
    """Whether decoded rows are what the code says, their length not restored."""
    method = str(record["method"])
    if method.startswith(BUDGET):
        return False
    return _AS_THEY_ARE in method or _name(method) not in _RESTORED


def _best(records: list[Record]) -> Record:
    return max(records, key=lambda r: float(r["recall_at_10"]))


def _error(what: str, most: float, ours: list[Record]) -> Line:
    known = [r for r in ours if r["relative_mse"] is not None]
    if not known:
        return Line(what, "-", None, COMMAND)
    least = min(known, key=lambda r: float(r["relative_mse"]))
    found = float(least["relative_mse"])
    return Line(what, f"{found:.3g} ({least['method']})", found <= most, COMMAND)


def _recall(what: str, least: float, ours: list[Record]) -> Line:
    if not ours:
        return Line(what, "-", None, COMMAND)
    best = _best(ours)
    return Line(what, _shown(best), round(best["recall_at_10"], 3) >= least, COMMAND)


def _against(what: str, peer: Record, ours: list[Record], sampled: bool) -> Line:
    """sampled: by more than the standard error of ours; queries are the same."""
    if not ours:
        return Line(what, "-", None, COMMAND)
    best = _best(ours)
    found = f"{_shown(best)} against {_shown(peer)}"
    least = float(peer["recall_at_10"]) + (best.get("recall_at_10_error") or 0.0 if sampled else 0.0)
    return Line(what, found, best["recall_at_10"] > least, COMMAND)


def _chosen(what: str, chosen: Record, named: list[Record]) -> Line:
    best = _best(named)
    found = f"{_shown(chosen)} against {_shown(best)}"
    return Line(what, found, chosen["recall_at_10"] >= best["recall_at_10"] - _NEAR, COMMAND)


def _shown(record: Record) -> str:
    """The recall, its standard error over queries, and who."""
    error = record.get("recall_at_10_error")
    spread = "" if error is None else f" +- {error:.3f}"
    return f"{record['recall_at_10']:.3f}{spread} ({record['method']})"
