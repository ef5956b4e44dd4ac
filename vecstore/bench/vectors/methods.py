"""Which contenders a set of vectors meets: ours and others' at each budget, and a few that have one size."""

from __future__ import annotations

from vecstore.bench.chosen import chosen, strangers
from vecstore.bench.contenders import catalog, ladder
from vecstore.bench.contenders.base import Contender
from vecstore.bench.contenders.own import BUDGET, Own
from vecstore.bench.vectors.sets import VectorSet
from vecstore.errors import BudgetError
from vecstore.ledger import parse_budget
from vecstore.spec import unknown

BUDGETS = ("8B/row", "32B/row")
_FREE = ("1bit/dim", "2bit/dim", "4bit/dim")
FULL = "f32"
_FIXED = (FULL, "f16", "sq:bits=8", "sq:bits=4", "hadamard:bits=2", "rabitq:bits=1", "sign")
_SIZED = ("tcq:bytes={size}", "klt:bytes={size}", "pq:bytes={size}", "pca:dim={size}+sq:bits=8")
_FAISS = ("faiss pq:m=*", "faiss opq*", "faiss sq:4bit", "faiss rabitq*")


def sizes(data: VectorSet, budgets: tuple[str, ...]) -> list[int]:
    """Bytes a row of these budgets, at most those of float32's, but for budgets that no code can keep; by
    default two, of free vectors three."""
    usual = BUDGETS if data.pairs is None else _FREE
    known = [text for text in budgets or usual if text not in _impossible(data, budgets)]
    found = [int(parse_budget(text).row_bytes(data.dim, len(data.base))) for text in known]
    return sorted({min(max(size, 1), 4 * data.dim) for size in found})


def _impossible(data: VectorSet, budgets: tuple[str, ...]) -> list[str]:
    """Budgets of less than a byte a row, which no code has."""
    return [text for text in budgets if parse_budget(text).row_bytes(data.dim, len(data.base)) < 1]


def labels(data: VectorSet, budgets: tuple[str, ...], patterns: tuple[str, ...]) -> list[str]:
    """Labels that a pattern names, of the default ones where there is none; specs that are none of these."""
    wanted = sizes(data, budgets)
    usual = list(_FIXED)
    for size in wanted:
        usual += [f"{BUDGET}{size}B/row"] if data.pairs is None else []
        usual += [text.format(size=size) for text in _SIZED if size <= data.dim]
    others = list(ladder.of_faiss(data.dim, wanted))
    peers = [label for label in others if len(strangers(_FAISS, (label,))) < len(_FAISS)]
    # Others of FAISS's are there for those who ask.
    found = chosen(patterns, dict.fromkeys([*usual, *peers, *(others if patterns else ())]))
    return found + [f"{BUDGET}{text}" for text in _impossible(data, budgets)]


def contender(label: str, data: VectorSet, budgets: tuple[str, ...]) -> Contender:
    """The contender of a label; SpecError for what is no spec, BudgetError for a budget of nothing."""
    if (text := label.removeprefix(BUDGET)) in _impossible(data, budgets):
        raise BudgetError(f"budget {text!r} is less than a byte a row, the least that a code has")
    wanted = sizes(data, budgets)
    if label.startswith("faiss ") and label not in (peers := ladder.of_faiss(data.dim, wanted)):
        raise unknown(f"method of {data.dim} dimensions at these budgets", label, list(peers))
    if label.startswith((BUDGET, "faiss ", "symmetric ")):
        return ladder.contender(label, data.dim, wanted, data.metric)
    known = catalog.contenders(data.dim)
    return known[label] if label in known else Own(label)
