"""Modules that take more ids than they were made for."""

import copy

import numpy as np
import pytest
import torch

import vecstore as vs
from vecstore.train.torch import Embedding, EmbeddingBag, EmbeddingBagCollection, EmbeddingBagConfig


@pytest.mark.parametrize("optimizer", [None, "adam"])
@pytest.mark.parametrize("method", ["plain", "unified", "lowrank"])
def test_an_embedding_bag_looks_up_and_learns_new_ids(method, optimizer):
    bag = EmbeddingBag(100, 8, mode="sum", method=method, budget="100%", optimizer=optimizer, lr=0.1)
    before = bag(torch.arange(100)[:, None]).detach()
    with pytest.raises(vs.InputError, match="150"):
        bag(torch.tensor([[150]]))
    assert bag.grow(200) == bag.ledger() and bag.num_embeddings == 200
    assert torch.equal(bag(torch.arange(100)[:, None]), before)
    steps = torch.optim.SGD(bag.parameters(), lr=0.1)
    found = bag(torch.tensor([[150]]))
    found.sum().backward()
    steps.step()
    assert not torch.equal(bag(torch.tensor([[150]])), found)
    other = copy.deepcopy(bag)
    assert torch.equal(other(torch.tensor([[150, 3]])), bag(torch.tensor([[150, 3]])))


@pytest.mark.parametrize("optimizer", [None, "adagrad"])
def test_state_of_a_grown_module_goes_into_one_that_has_grown_likewise(optimizer):
    one, other = (Embedding(10, 4, optimizer=optimizer, seed=1) for _ in range(2))
    one.grow(15)
    with pytest.raises(RuntimeError, match=r"size mismatch for weight: \(15, 4\)"):
        other.load_state_dict(one.state_dict())
    other.grow(15)
    with torch.no_grad():
        one.weight[14] = 7
    other.load_state_dict(one.state_dict())
    assert torch.equal(other(torch.tensor([14, 2])), one(torch.tensor([14, 2])))


def test_rows_stay_frozen_and_in_their_dtype():
    rows = Embedding.from_pretrained(torch.rand(10, 4), dtype=torch.bfloat16)
    rows.grow(12)
    assert rows.weight.shape == (12, 4) and rows.weight.dtype == torch.bfloat16
    assert not rows.weight.requires_grad


def test_a_collection_grows_by_table():
    config = EmbeddingBagConfig(10, 8, "item", ["seen", "bought"])
    bags = EmbeddingBagCollection(
        [config, EmbeddingBagConfig(4, 8, "user", ["user"])], method="prune", optimizer="adam"
    )
    bags.grow({"item": 20})
    assert [each.num_embeddings for each in bags.embedding_bag_configs()] == [20, 4]
    assert config.num_embeddings == 10
    found = bags({"seen": torch.tensor([19]), "bought": torch.tensor([3]), "user": torch.tensor([3])})
    rows = bags.settled().lookup({"item": np.array([19])})["item"]
    assert np.array_equal(found["seen"].detach().numpy(), rows)
