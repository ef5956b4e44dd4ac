"""Bags of many features in one table, as dicts and as what looks like TorchRec's tensors."""

import copy
from enum import Enum

import numpy as np
import pytest

import vecstore as vs

torch = pytest.importorskip("torch", reason="the modules are torch's")

from vecstore.train.torch import (  # noqa: E402
    EmbeddingBagCollection,
    EmbeddingBagConfig,
    JaggedTensor,
)


class Pooling(Enum):
    SUM = "SUM"
    MEAN = "MEAN"


CONFIGS = [
    EmbeddingBagConfig(30, 4, "user", ["user"]),
    EmbeddingBagConfig(50, 8, "item", ["seen", "bought"], pooling=Pooling.MEAN),
]
IDS = {
    "user": ([3, 29, 3], [0, 1, 2, 3]),
    "seen": ([0, 1, 2, 49], [0, 0, 3, 4]),
    "bought": ([7, 0], [0, 1, 1, 2]),
}
WEIGHTS = {name: np.linspace(1, 2, len(ids), dtype=np.float32) for name, (ids, _) in IDS.items()}


class KeyedJagged:
    """What TorchRec's KeyedJaggedTensor has of methods; keys in another order, and one more."""

    def __init__(self, weighted=False):
        self.names = ["bought", "other", "user", "seen"]
        given = {**IDS, "other": ([1], [0, 0, 0, 1])}
        self.flat = torch.tensor([x for name in self.names for x in given[name][0]])
        lengths = np.concatenate([np.diff(given[name][1]) for name in self.names])
        self.ends = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))
        weights = {**WEIGHTS, "other": np.ones(1, np.float32)}
        self.weights = torch.from_numpy(np.concatenate([weights[name] for name in self.names]))
        self.weighted = weighted

    def keys(self):
        return self.names

    def values(self):
        return self.flat

    def offsets(self):
        return self.ends

    def lengths(self):
        return self.ends.diff()

    def weights_or_none(self):
        return self.weights if self.weighted else None


def tensors(weighted=False):
    return {
        name: (torch.tensor(ids), torch.tensor(ends), *([torch.from_numpy(WEIGHTS[name])] * weighted))
        for name, (ids, ends) in IDS.items()
    }


def made(method="unified", **how):
    configs = CONFIGS
    if how.get("is_weighted"):
        configs = [copy.copy(config) for config in CONFIGS]
        configs[1].pooling = "sum"
    budget = None if method == "plain" else "60%"
    return EmbeddingBagCollection(configs, method=method, budget=budget, **how)


@pytest.mark.parametrize("optimizer", [None, "adam"])
@pytest.mark.parametrize("weighted", [False, True])
def test_keyed_jagged_tensors_and_dicts_give_the_same_vectors(weighted, optimizer):
    module = made(is_weighted=weighted, optimizer=optimizer)
    jagged = {
        name: JaggedTensor(torch.tensor(ids), torch.from_numpy(WEIGHTS[name]), torch.tensor(ends).diff())
        for name, (ids, ends) in IDS.items()
    }
    found = [module(given) for given in (tensors(weighted), KeyedJagged(weighted), jagged)]
    assert all(torch.equal(found[0].values(), other.values()) for other in found[1:])
    rows = found[0]
    assert rows.keys() == ["user", "seen", "bought"] and rows.length_per_key() == [4, 8, 8]
    assert rows.offset_per_key() == [0, 4, 12, 20] and rows.values().shape == (3, 20)
    assert torch.equal(rows.to_dict()["seen"], rows["seen"])
    assert not rows["seen"][0].any() and not rows["bought"][1].any()
    each = module.settled().lookup({"item": [0, 1, 2, 7], "user": [3]})
    mixed = WEIGHTS["seen"][:3] @ each["item"][:3] if weighted else each["item"][:3].mean(0)
    assert np.allclose(rows["seen"][1].detach(), mixed, atol=1e-6)
    assert np.allclose(rows["user"][0].detach(), each["user"][0], atol=1e-6)


@pytest.mark.parametrize("method", ["unified", "plain", "hash"])
def test_features_of_all_fields_make_one_step(method):
    free, fused = made(method), made(method, optimizer="sgd", lr=0.1)
    for module in (free, fused):
        rows = module(tensors())
        assert len(rows.values()) == 3
        (rows.values() * torch.arange(20)).sum().backward()
    with torch.no_grad():
        for values in free.parameters():
            values -= 0.1 * values.grad
    assert fused.settled().updates == 1
    assert torch.allclose(free(tensors()).values(), fused(tensors()).values(), atol=1e-5)


def test_fixed_bags_and_bags_of_one_need_no_offsets():
    module = EmbeddingBagCollection(
        [EmbeddingBagConfig(9, 4, "a", ["a"]), EmbeddingBagConfig(5, 4, "b", ["b"])],
        budget="90%",
        method="hash",
    )
    rows = module({"a": torch.tensor([1, 8]), "b": torch.tensor([[1, 2, 3], [0, 0, 4]])})
    assert rows.values().shape == (2, 8)


def test_a_collection_is_saved_and_copied_whole():
    module = made(optimizer="adagrad")
    module(tensors()).values().sum().backward()
    other = made(optimizer="adagrad")
    other.load_state_dict(module.state_dict())
    for twin in (other, copy.deepcopy(module)):
        assert torch.equal(twin(tensors()).values(), module(tensors()).values())


def test_bad_features_are_named_with_their_position():
    module = made()
    long = {**tensors(), "seen": (torch.tensor([0, 1, 50]), torch.tensor([0, 1, 2, 3]))}
    fall = {**tensors(), "bought": (torch.tensor([0, 1]), torch.tensor([0, 2, 1, 2]))}
    few = {**tensors(), "user": torch.tensor([1, 2])}
    for features, kind, message in (
        (long, vs.InputError, "'seen': id 50 at position 2"),
        (fall, vs.InputError, "'bought': offset 2 is 1"),
        (few, vs.ShapeError, "different numbers of bags.*'user': 2"),
        ({"user": torch.tensor([1])}, vs.SpecError, "'seen' of table 'item' is not there"),
        ({**tensors(), "user": (torch.tensor([1]),)}, vs.ShapeError, "'user' is given 1"),
    ):
        with pytest.raises(kind, match=message):
            module(features)
    for weighted in (True, False):
        with pytest.raises(vs.SpecError, match="is_weighted=True"):
            made(is_weighted=weighted)(tensors(weighted=not weighted))
    for configs, message in (
        ([CONFIGS[0], CONFIGS[0]], "'user' is given twice"),
        ([EmbeddingBagConfig(3, 4, "a", ["a"], pooling="max")], "sum or mean"),
        ([], "needs a field"),
    ):
        with pytest.raises(vs.SpecError, match=message):
            EmbeddingBagCollection(configs)
