"""The networks behind tables, in torch: rows of fields and numbers in, a logit out."""

from __future__ import annotations

from importlib import util
from typing import Any

from vecstore.bench.tables.clicks import Recipe
from vecstore.errors import FormatError

PACKAGE = "torch"


def need() -> None:
    """FormatError where torch is not installed."""
    if util.find_spec(PACKAGE) is None:
        raise FormatError(f"networks of bench tables need {PACKAGE}: pip install 'vecstore[torch]'")


def network(recipe: Recipe, fields: int, numbers: int, dim: int) -> Any:
    """A module of vectors (n, fields * dim) and numbers (n, numbers) to logits (n,).

    dcn: one cross layer, then ReLU layers (Wang et al. 2021, DCN V2, stacked). deepfm: value 0 of a vector is
    its linear term, the others are a factorization machine's, all of them go through ReLU layers. gmf: a
    weighted sum of the products of two fields' values.
    """
    import torch
    from torch import nn

    class Dcn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = fields * dim + numbers
            self.cross = nn.Linear(width, width)
            self.deep = _deep(width, recipe.hidden)

        def forward(self, vectors: Any, given: Any) -> Any:
            first = torch.cat([vectors, given], 1)
            return self.deep(first * self.cross(first) + first)[:, 0]

    class DeepFm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.deep = _deep(fields * dim + numbers, recipe.hidden)

        def forward(self, vectors: Any, given: Any) -> Any:
            each = vectors.view(-1, fields, dim)
            linear, rest = each[:, :, 0].sum(1), each[:, :, 1:]
            pairs = (rest.sum(1) ** 2 - (rest**2).sum(1)).sum(1) / 2
            return linear + pairs + self.deep(torch.cat([vectors, given], 1))[:, 0]

    class Gmf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(dim, 1)
            nn.init.ones_(self.last.weight)  # a product of small values times small ones would hardly begin

        def forward(self, vectors: Any, given: Any) -> Any:
            each = vectors.view(-1, fields, dim)
            return self.last(each.prod(1))[:, 0]

    return {"dcn": Dcn, "deepfm": DeepFm, "gmf": Gmf}[recipe.network]()


def _deep(width: int, hidden: tuple[int, ...]) -> Any:
    """ReLU layers and a last one of one output."""
    from torch import nn

    layers: list[Any] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, 1))
