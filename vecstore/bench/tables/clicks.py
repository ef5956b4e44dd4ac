"""Click logs for tables to learn from: ids of fields, numbers and labels in three parts, and the recipe."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecstore.bench.datasets import from_files
from vecstore.spec import unknown

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
PARTS = ("train", "valid", "test")
_SPLIT_SEED = 12345
_QUICK_ROWS = {"train": 3000, "valid": 1000, "test": 1000}


@dataclass(frozen=True)
class Recipe:
    """How a set is learned, the same for every method."""

    dim: int
    network: str  # dcn | deepfm | gmf
    hidden: tuple[int, ...]
    batch: int
    lr: float
    epochs: int  # at most
    evaluations: int  # in an epoch
    patience: int  # evaluations without a better one


@dataclass(frozen=True)
class Part:
    """Rows of one part of a set."""

    ids: I64  # (n, fields)
    numbers: F32  # (n, numbers)
    labels: F32  # (n,), 0 or 1

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Clicks:
    """One set."""

    name: str
    fields: Mapping[str, int]
    parts: Mapping[str, Part]
    recipe: Recipe

    @property
    def rows(self) -> int:
        """Ids of all fields."""
        return sum(self.fields.values())

    def counts(self) -> dict[str, I64]:
        """How often each id of each field is in the training part."""
        ids = self.parts["train"].ids
        return {
            field: np.bincount(ids[:, at], minlength=count)
            for at, (field, count) in enumerate(self.fields.items())
        }


def names() -> list[str]:
    """The sets that a full run measures."""
    return [*LOADERS, *GENERATED]


def load(name: str, folder: str | Path | None, *, quick: bool = False) -> Clicks:
    """The set of this name; quick: few rows of it and two epochs at most.

    Raises SpecError for a name that is not there, NotFoundError if the set's files are not under folder.
    """
    if name in GENERATED:
        found = GENERATED[name](quick)
    elif name not in LOADERS:
        raise unknown("data set", name, names())
    else:
        found = from_files(LOADERS[name], name, folder)
    if not quick:
        return found
    parts = {
        name: Part(part.ids[:count], part.numbers[:count], part.labels[:count])
        for (name, part), count in zip(found.parts.items(), _QUICK_ROWS.values(), strict=True)
    }
    return replace(found, parts=parts, recipe=replace(found.recipe, epochs=2, batch=256))


def _cut(whole: Part, rows: Sequence[I64]) -> dict[str, Part]:
    return {
        name: Part(whole.ids[at], whole.numbers[at], whole.labels[at])
        for name, at in zip(PARTS, rows, strict=True)
    }


def at_random(count: int, shares: tuple[float, float]) -> list[I64]:
    """Rows of the three parts, drawn with a fixed seed, ascending; shares: of training and validation."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(count)
    ends = (int(shares[0] * count), int((shares[0] + shares[1]) * count))
    return [np.sort(rows) for rows in np.split(order, ends)]


def _movielens(folder: Path) -> Clicks:
    at = folder / "ratings" / "ml-1m"
    text = gzip.decompress((at / "ratings.dat.gz").read_bytes()).replace(b"::", b" ").decode()
    table = np.fromstring(text, np.int64, sep=" ").reshape(-1, 4)
    table = table[table[:, 2] != 3]
    lines = [line.split("::") for line in (at / "users.dat").read_text("latin-1").splitlines()]
    users = {int(line[0]): place for place, line in enumerate(lines)}
    traits = np.stack([np.unique([line[at] for line in lines], return_inverse=True)[1] for at in range(1, 5)])
    user = np.array([users[key] for key in table[:, 0]])
    items, item = np.unique(table[:, 1], return_inverse=True)
    ids = np.column_stack([user, item, traits.T[user]]).astype(np.int64)
    counts = [len(lines), len(items), *(traits.max(1) + 1)]
    names = ("user", "item", "gender", "age", "occupation", "zip")
    whole = Part(ids, np.empty((len(ids), 0), np.float32), (table[:, 2] > 3).astype(np.float32))
    return Clicks(
        "ml-1m", dict(zip(names, map(int, counts), strict=True)),
        _cut(whole, at_random(len(ids), (0.8, 0.1))), Recipe(30, "dcn", (192,), 1024, 2e-3, 12, 2, 4),
    )  # fmt: skip


_CRITEO_ENDS = (54_000, 60_000)  # of training and validation


def _criteo(folder: Path) -> Clicks:
    ends = _CRITEO_ENDS
    known = ends[1]  # tokens of rows before it are the vocabulary
    text = gzip.decompress((folder / "ctr" / "criteo" / "criteo_80k.tsv.gz").read_bytes()).decode()
    cells = np.array([line.split("\t") for line in text.splitlines()])
    whole_numbers = np.array([[int(cell or 0) for cell in row] for row in cells[:, 1:14]], np.float64)
    numbers = np.log1p(np.maximum(whole_numbers, 0))
    spread = numbers[:known].std(0)
    numbers = (numbers - numbers[:known].mean(0)) / np.where(spread > 0, spread, 1)
    fields, columns = {}, []
    for at in range(26):
        tokens = np.array([int(cell, 16) if cell else -1 for cell in cells[:, 14 + at]])
        vocabulary = np.unique(tokens[:known])
        place = np.minimum(np.searchsorted(vocabulary, tokens), len(vocabulary) - 1)
        columns.append(np.where(vocabulary[place] == tokens, place, len(vocabulary)))
        fields[f"C{at + 1}"] = len(vocabulary) + 1
    whole = Part(
        np.column_stack(columns).astype(np.int64), numbers.astype(np.float32), cells[:, 0].astype(np.float32)
    )
    rows = np.split(np.arange(len(cells)), ends)
    return Clicks("criteo-80k", fields, _cut(whole, rows), Recipe(16, "dcn", (128, 64), 512, 1e-3, 8, 4, 4))


_FRAPPE = {
    "user": 957, "item": 4082, "daytime": 7, "weekday": 7, "weekend": 2, "homework": 3, "cost": 2,
    "weather": 9, "country": 80, "city": 233,
}  # fmt: skip


def _frappe(folder: Path) -> Clicks:
    firsts = np.cumsum([0, *_FRAPPE.values()])[:-1]

    def read(what: str) -> Part:
        packed = (folder / "ctr" / "frappe" / f"frappe.{what}.libfm.gz").read_bytes()
        text = gzip.decompress(packed).replace(b":1", b"").decode()
        table = np.fromstring(text, np.int64, sep=" ").reshape(-1, 1 + len(firsts))
        labels = (table[:, 0] > 0).astype(np.float32)
        return Part(table[:, 1:] - firsts, np.empty((len(table), 0), np.float32), labels)

    first, test = read("validation"), read("test")
    parts = _cut(first, at_random(len(first), (0.9, 0.1))) | {"test": test}
    return Clicks("frappe", _FRAPPE, parts, Recipe(16, "deepfm", (64, 64), 512, 2e-3, 25, 1, 3))


def gmf(quick: bool = False) -> Clicks:
    """Users and items, N(0, I_8) each; a user meets items by softmax(u i / sqrt 8), likes by sigmoid(u i).

    The set of thomasahle/cce, `make_synthetic`: 6,000 a side and a million pairs; two items of each user are
    kept from training, of which one is to validate and one to test on.
    """
    side, each = (200, 24) if quick else (6000, 166)
    rng = np.random.default_rng(7)
    users, items = rng.standard_normal((2, side, 8))
    match = users @ items.T
    drawn = match / np.sqrt(8) + rng.gumbel(size=match.shape)  # the largest are draws without replacement
    item = np.argpartition(-drawn, each, axis=1)[:, :each]
    item = rng.permuted(item, axis=1)
    user = np.repeat(np.arange(side), each).reshape(side, each)
    liked = rng.random(item.shape) < 1 / (1 + np.exp(-match[user, item]))

    def part(columns: slice) -> Part:
        ids = np.stack([user[:, columns].ravel(), item[:, columns].ravel()], axis=1)
        return Part(ids, np.empty((len(ids), 0), np.float32), liked[:, columns].ravel().astype(np.float32))

    parts = {"train": part(slice(2, None)), "valid": part(slice(1)), "test": part(slice(1, 2))}
    return Clicks("gmf", {"user": side, "item": side}, parts, Recipe(32, "gmf", (), 1024, 2e-3, 12, 1, 3))


# Different ids of C1 to C26 in 80,000 rows of the Criteo Kaggle set.
_CRITEO_FIELDS = (
    485, 497, 35104, 20825, 136, 11, 7221, 235, 3, 9833, 3674, 33189, 2732, 26, 4804, 27920, 9, 2375, 1221, 3,
    31262, 10, 14, 10558, 48, 8144,
)  # fmt: skip


def zipf(quick: bool = False) -> Clicks:
    """Fields as large as Criteo's, ids by Zipf's law (1.05); a label is a draw of sigmoid(effects + matches).

    Each id has an effect and four hidden values; matches are those of all pairs of fields, as in a
    factorization machine. Effects and matches have variance 1.5 and 1 over rows.
    """
    counts = [max(2, size // 100) for size in _CRITEO_FIELDS] if quick else list(_CRITEO_FIELDS)
    rows = 5000 if quick else 300_000
    rng = np.random.default_rng(8)
    columns, effects, hidden = [], np.zeros(rows), np.zeros((2, rows, 4))
    for count in counts:
        weights = np.arange(1, count + 1) ** -1.05
        ids = rng.permutation(count)[rng.choice(count, rows, p=weights / weights.sum())]
        columns.append(ids)
        effects += rng.standard_normal(count)[ids]
        values = rng.standard_normal((count, 4))[ids]
        hidden += np.stack([values, values**2])
    matches = (hidden[0] ** 2 - hidden[1]).sum(1)
    logits = np.sqrt(1.5) * _standard(effects) + _standard(matches)
    labels = rng.random(rows) < 1 / (1 + np.exp(-logits))
    whole = Part(np.column_stack(columns), np.empty((rows, 0), np.float32), labels.astype(np.float32))
    fields = {f"C{at + 1}": count for at, count in enumerate(counts)}
    parts = _cut(whole, at_random(rows, (0.8, 0.1)))
    return Clicks("zipf", fields, parts, Recipe(16, "deepfm", (64, 64), 1024, 2e-3, 8, 2, 4))


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = (values - values.mean()) / values.std()
    return out


LOADERS: dict[str, Callable[[Path], Clicks]] = {
    "ml-1m": _movielens, "frappe": _frappe, "criteo-80k": _criteo,
}  # fmt: skip
GENERATED: dict[str, Callable[[bool], Clicks]] = {"gmf": gmf, "zipf": zipf}
