"""Models written for `torch.nn.EmbeddingBag` learn with another class in its place, nothing else changed."""

import functools
import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the modules are torch's")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from vecstore.train.torch import EmbeddingBag  # noqa: E402

FIELDS = (2000, 700, 90, 12)
ROWS, BATCH, DIM, DENSE = 12_000, 256, 8, 3
UNTRAINED, BAR = 0.58, 0.74


@functools.cache
def clicks():
    """Dense features (n, 3), ids of fields (n, 4), clicks (n,): effects of ids, and of pairs of fields."""
    rng = np.random.default_rng(0)
    ids = np.stack([np.minimum(rng.zipf(1.3, ROWS * 2) - 1, size - 1) for size in FIELDS], 1)
    dense = rng.standard_normal((ROWS * 2, DENSE))
    sides = [rng.standard_normal((size, 3)) for size in FIELDS]
    logit = 0.3 * dense.sum(1) + sum(side[ids[:, at], 0] for at, side in enumerate(sides))
    logit += (sides[0][ids[:, 0], 1:] * sides[2][ids[:, 2], 1:]).sum(1)
    clicked = rng.random(ROWS * 2) < 1 / (1 + np.exp(-logit))
    return torch.tensor(dense).float(), torch.tensor(ids), torch.tensor(clicked).float()


def mlp(*widths):
    layers = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Dlrm(nn.Module):
    """Rows of bags, given as 1-D ids and offsets, and dense features, all by all."""

    def __init__(self, Bag):
        super().__init__()
        self.emb_l = nn.ModuleList(Bag(size, DIM, mode="sum", sparse=False) for size in FIELDS)
        self.bot_l = mlp(DENSE, 16, DIM)
        self.top_l = mlp(DIM + 10, 32, 1)

    def forward(self, dense, ids):
        x = self.bot_l(dense)
        offsets = torch.arange(len(ids))
        rows = [bag(ids[:, at], offsets) for at, bag in enumerate(self.emb_l)]
        every = torch.stack([x, *rows], 1)
        below = torch.tril_indices(5, 5, -1)
        pairs = (every @ every.transpose(1, 2))[:, below[0], below[1]]
        return self.top_l(torch.cat([x, pairs], 1))[:, 0]


class DeepFm(nn.Module):
    """First-order weights, factorization machine and layers, over bags of one, given as 2-D ids."""

    def __init__(self, Bag):
        super().__init__()
        self.first = nn.ModuleList(Bag(size, 1, mode="sum") for size in FIELDS)
        self.second = nn.ModuleList(Bag(size, DIM, mode="mean") for size in FIELDS)
        self.deep = mlp(DIM * len(FIELDS) + DENSE, 32, 1)
        self.dense = nn.Linear(DENSE, 1)

    def forward(self, dense, ids):
        rows = torch.stack([bag(ids[:, at : at + 1]) for at, bag in enumerate(self.second)], 1)
        machine = 0.5 * (rows.sum(1) ** 2 - (rows**2).sum(1)).sum(1)
        first = sum(bag(ids[:, at : at + 1]) for at, bag in enumerate(self.first))
        deep = self.deep(torch.cat([rows.flatten(1), dense], 1))
        return (first + deep + self.dense(dense))[:, 0] + machine


class Dcn(nn.Module):
    """Cross layers beside deep ones, over bags with the weights of their ids."""

    def __init__(self, Bag):
        super().__init__()
        self.bags = nn.ModuleList(Bag(size, DIM, mode="sum", padding_idx=0) for size in FIELDS)
        width = DIM * len(FIELDS) + DENSE
        self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.deep, self.top = mlp(width, 32, 16), nn.Linear(width + 16, 1)
        for bag in self.bags:
            nn.init.uniform_(bag.weight, -0.1, 0.1)

    def forward(self, dense, ids):
        ones = torch.ones(len(ids), 1)
        rows = [bag(ids[:, at : at + 1], None, ones) for at, bag in enumerate(self.bags)]
        x = start = torch.cat([*rows, dense], 1)
        for layer in self.cross:
            x = start * layer(x) + x
        return self.top(torch.cat([x, self.deep(start)], 1))[:, 0]


def auc(model):
    """On rows that nothing has learned from: how often a click scores above none."""
    dense, ids, clicked = (part[ROWS:] for part in clicks())
    with torch.no_grad():
        scores = model(dense, ids).numpy()
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores, kind="stable")] = np.arange(1, len(scores) + 1)
    ones = clicked.numpy() > 0
    return (ranks[ones].sum() - ones.sum() * (ones.sum() + 1) / 2) / (ones.sum() * (~ones).sum())


def trained(model, epochs=2):
    dense, ids, clicked = (part[:ROWS] for part in clicks())
    steps = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for start in range(0, ROWS, BATCH):
            part = slice(start, start + BATCH)
            steps.zero_grad()
            functional.binary_cross_entropy_with_logits(
                model(dense[part], ids[part]), clicked[part]
            ).backward()
            steps.step()
    return model


def test_the_models_learn_with_torchs_own_class():
    torch.manual_seed(0)
    assert auc(trained(Dcn(nn.EmbeddingBag))) > BAR


@pytest.mark.parametrize(
    ("model", "method", "optimizer"),
    [
        (Dlrm, "plain", None), (Dlrm, "unified", "adagrad"), (Dlrm, "int8", "adagrad"), (Dlrm, "dhe", None),
        (DeepFm, "unified", None), (DeepFm, "cafe", "adagrad"), (DeepFm, "prune", "adagrad"),
        (DeepFm, "hash", "adam"), (Dcn, "lowrank", None), (Dcn, "plain", "rowwise_adagrad"),
        (Dcn, "robe", None),
    ],
)  # fmt: skip
def test_a_model_learns_with_the_class_name_changed_alone(model, method, optimizer):
    def Bag(count, dim, **how):
        kind = method if dim > 1 and count > 100 else "plain"
        if kind in ("unified", "hash", "cafe", "robe"):
            how["budget"] = "60%"
        return EmbeddingBag(count, dim, **how, method=kind, optimizer=optimizer, lr=0.02)

    torch.manual_seed(0)
    made = model(Bag)
    before = auc(made)
    after = auc(trained(made))
    assert before < UNTRAINED and after > BAR
