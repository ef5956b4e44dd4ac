"""Word vectors: analogies, and how alike two words are.

An analogy a : b = c : d is right if of all words but a, b and c the one nearest to b - a + c is d (3CosAdd,
Mikolov et al. 2013, arXiv:1301.3781, section 4). The pairs stand below; each two of one kind are a question.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from vecstore.bench.process import Record
from vecstore.bench.vectors.sets import VectorSet
from vecstore.bench.vectors.stored import Stored
from vecstore.codecs.base import Rows

_PAIRS = 20_000
_LEAST = 20  # questions, or there is no figure

# kind: pairs that stand in the same relation
KINDS = {
    "plural": (
        "car cars, house houses, book books, child children, man men, woman women, city cities, dog dogs, "
        "game games, school schools, player players, team teams, company companies, country countries, "
        "week weeks, year years, student students, family families, job jobs, bank banks"
    ),
    "past": (
        "go went, take took, make made, say said, play played, win won, lose lost, begin began, run ran, "
        "find found, think thought, know knew, come came, give gave, buy bought, tell told, leave left, "
        "write wrote, grow grew, spend spent"
    ),
    "comparative": (
        "big bigger, high higher, low lower, strong stronger, fast faster, large larger, small smaller, "
        "long longer, good better, bad worse, old older, young younger, hard harder, easy easier"
    ),
    "gerund": (
        "play playing, work working, run running, take taking, make making, go going, win winning, "
        "move moving, build building, look looking, read reading, fight fighting, drive driving, sell selling"
    ),
    "gender": (
        "he she, man woman, boy girl, father mother, son daughter, brother sister, husband wife, king queen, "
        "uncle aunt, his her, men women, boys girls, himself herself"
    ),
    "people": (
        "America American, France French, Germany German, China Chinese, Japan Japanese, Russia Russian, "
        "Italy Italian, Spain Spanish, Canada Canadian, Australia Australian, India Indian, Iraq Iraqi, "
        "Israel Israeli, England English, Britain British, Mexico Mexican"
    ),
    "capital": (
        "France Paris, Germany Berlin, England London, Japan Tokyo, China Beijing, Russia Moscow, "
        "Italy Rome, Spain Madrid, Iraq Baghdad, Iran Tehran, Afghanistan Kabul, Egypt Cairo, Greece Athens"
    ),
    "person": (
        "win winner, play player, lead leader, own owner, teach teacher, drive driver, work worker, "
        "write writer, farm farmer, invest investor, report reporter, manage manager, coach coaches"
    ),
}


def applies(data: VectorSet) -> bool:
    """Where rows are of words."""
    return data.words is not None


def measure(stored: Stored) -> Record:
    """analogies: share that are right, of analogy_questions; similarity_rank: correlation with float32's."""
    assert stored.data.words is not None
    rows = _unit(stored.rows)
    asked = questions(stored.data.words)
    found: Record = {
        "similarity_rank": similarity(_unit(stored.data.base), rows),
        "analogy_questions": len(asked),
    }
    if len(asked) >= _LEAST:
        found["analogies"] = float(np.mean(answers(rows, asked) == asked[:, 3]))
    return found


def questions(words: list[str]) -> np.ndarray:
    """(q, 4) numbers of the words a, b, c, d, of pairs whose words are all known."""
    number = {word: at for at, word in enumerate(words)}
    found = []
    for text in KINDS.values():
        pairs = [pair.split() for pair in text.split(", ")]
        known = [(number[a], number[b]) for a, b in pairs if a in number and b in number]
        found += [(*first, *second) for first, second in permutations(known, 2)]
    return np.array(found, np.int64).reshape(-1, 4)


def answers(rows: Rows, asked: np.ndarray) -> np.ndarray:
    """(q,) the words nearest to b - a + c; rows are of length one."""
    a, b, c = asked[:, 0], asked[:, 1], asked[:, 2]
    scores = (rows[b] - rows[a] + rows[c]) @ rows.T
    for given in (a, b, c):
        scores[np.arange(len(asked)), given] = -np.inf
    return np.asarray(scores.argmax(axis=1))


def similarity(true: Rows, rows: Rows) -> float:
    """Spearman's correlation between cosines of the same pairs, half of them of words that are near."""
    rng = np.random.default_rng(0)
    left = rng.integers(len(true), size=_PAIRS)
    right = rng.integers(len(true), size=_PAIRS)
    half = _PAIRS // 2
    for start in range(0, half, 500):
        part = slice(start, start + 500)
        near = np.argpartition(-(true[left[part]] @ true.T), 10, axis=1)[:, :10]
        right[part] = near[np.arange(len(near)), rng.integers(10, size=len(near))]
    different = left != right
    cosines = [(each[left] * each[right]).sum(axis=1)[different] for each in (true, rows)]
    ranks = [np.argsort(np.argsort(each, kind="stable"), kind="stable") for each in cosines]
    first, second = (each - each.mean() for each in ranks)
    return float((first * second).sum() / np.sqrt(np.square(first).sum() * np.square(second).sum()))


def _unit(rows: Rows) -> Rows:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-30), np.float32)
