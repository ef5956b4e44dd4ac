"""What the modules refuse: errors name field and position, and the table is as it was, bit for bit."""

import copy

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.tables.presets import PRESETS

torch = pytest.importorskip("torch", reason="the modules are torch's")

from vecstore.train.torch import (  # noqa: E402
    Embedding,
    EmbeddingBag,
    EmbeddingBagCollection,
    EmbeddingBagConfig,
    JaggedTensor,
)

INPUT, SHAPE, SPEC = vs.InputError, vs.ShapeError, vs.SpecError
IDS, OFFSETS = torch.tensor([3, 0, 7, 7, 39, 12]), torch.tensor([0, 3, 3])
META = torch.tensor([1, 2], device="meta")
ones = torch.ones(6)


def within(make):
    """What is made with a budget that shares rows, or with none if that is too small."""
    try:
        return make(budget="40%")
    except vs.BudgetError:
        return make()


def bag(method, optimizer, mode="sum", kind=EmbeddingBag, **how):
    more = {"mode": mode} if kind is EmbeddingBag else {}
    return within(lambda **budget: kind(60, 8, method=method, optimizer=optimizer, **more, **budget, **how))


def collection(method, optimizer, weighted=False):
    configs = [
        EmbeddingBagConfig(60, 8, "user", ["user"]),
        EmbeddingBagConfig(50, 8, "item", ["seen", "got"]),
    ]
    return within(
        lambda **budget: EmbeddingBagCollection(
            configs, is_weighted=weighted, method=method, optimizer=optimizer, **budget
        )
    )


def by_torch(name):
    """Whether torch.optim can train tables of this method."""
    try:
        return bool(bag(name, None))
    except SPEC:
        return False


CASES = [(name, "adam") for name in PRESETS] + [(name, None) for name in PRESETS if by_torch(name)]


def bits(module):
    """All that a module has learned, also what learners keep besides, and gradients that wait."""
    table = module.settled()
    hidden = [
        (learner.moves, b"".join(ids.tobytes() for ids in getattr(learner, "gone", [])))
        for learner in table.layout.learners
    ]
    slopes = [
        None if p.grad is None or not p.numel() else p.grad.numpy().tobytes() for p in module.parameters()
    ]
    arrays = {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in table.arrays().items()}
    return arrays, table.updates, table.finished, hidden, slopes


BAGS = {
    "too large": ((torch.tensor([1, 60]), OFFSETS[:1]), INPUT, "'ids': id 60 at position 1"),
    "negative": ((torch.tensor([[1, -1]]),), INPUT, "'ids': id -1 at position 1"),
    "the least of all": ((torch.tensor([[1, -(2**63)]]),), INPUT, "'ids': id .* at position 1"),
    "beyond 63 bits": ((torch.tensor([1, 2**63 + 5], dtype=torch.uint64), OFFSETS[:1]), INPUT, "position 1"),
    "floats": ((IDS.float(), OFFSETS), SHAPE, "'ids'.*float32"),
    "bools": ((IDS > 3, OFFSETS), SHAPE, "'ids'.*bool"),
    "complex": ((IDS.to(torch.complex64), OFFSETS), SHAPE, "'ids'.*complex64"),
    "a list": (([1, 2], OFFSETS), SHAPE, "list"),
    "an array": ((np.array([1]), OFFSETS), SHAPE, "ndarray"),
    "nothing": ((None,), SHAPE, "NoneType"),
    "a sparse tensor": ((IDS.to_sparse(), OFFSETS), SHAPE, "'ids'.*sparse_coo"),
    "three dimensions": ((IDS.reshape(1, 2, 3),), SHAPE, r"\(1, 2, 3\)"),
    "no dimension": ((IDS[0], OFFSETS), SHAPE, r"\(\)"),
    "elsewhere": ((META, OFFSETS[:1]), INPUT, "'ids'.*on meta"),
    "offsets elsewhere": ((IDS, META), INPUT, "offsets are on meta"),
    "offsets that decrease": ((IDS, torch.tensor([0, 5, 3])), INPUT, "'ids': offset 2 is 3"),
    "offsets that begin late": ((IDS, torch.tensor([1, 5])), INPUT, "'ids': offset 0 is 1"),
    "offsets that are negative": ((IDS, torch.tensor([0, -1, 3])), INPUT, "'ids': offset 1 is -1"),
    "offsets beyond the ids": ((IDS, torch.tensor([0, 13])), INPUT, "'ids': offset 1 is 13"),
    "no bags": ((IDS, OFFSETS[:0]), INPUT, "no bag"),
    "no offsets": ((IDS,), SHAPE, "offsets has to be"),
    "offsets of a square": ((IDS.reshape(2, 3), OFFSETS), SHAPE, "2-D"),
    "float offsets": ((IDS, OFFSETS.float()), SHAPE, "offsets.*float32"),
    "bool offsets": ((IDS, OFFSETS > 0), SHAPE, "offsets.*bool"),
    "square offsets": ((IDS, OFFSETS[None]), SHAPE, "offsets has to be"),
    "a list of offsets": ((IDS, [0, 1]), SHAPE, "offsets has to be"),
    "too few weights": ((IDS, OFFSETS, ones[:3]), SHAPE, r"per_sample_weights are \(3,\)"),
    "too many weights": ((IDS, OFFSETS, torch.ones(7)), SHAPE, r"per_sample_weights are \(7,\)"),
    "square weights": ((IDS, OFFSETS, ones[None]), SHAPE, r"per_sample_weights are \(1, 6\)"),
    "a list of weights": ((IDS, OFFSETS, [1.0] * 6), SHAPE, "per_sample_weights are a list"),
    "whole weights": ((IDS, OFFSETS, ones.long()), SHAPE, "weights.*int64"),
    "complex weights": ((IDS, OFFSETS, ones * 1j), SHAPE, "weights.*complex64"),
    "weights that are no numbers": ((IDS, OFFSETS, ones * torch.nan), INPUT, "'ids': weight 0 is nan"),
    "infinite weights": ((IDS, OFFSETS, ones * -torch.inf), INPUT, "'ids': weight 0 is -inf"),
}


@pytest.mark.parametrize(("method", "optimizer"), CASES)
def test_bad_bags_name_field_and_position_and_change_nothing(method, optimizer):
    module = bag(method, optimizer)
    module(IDS, OFFSETS).sum().backward()
    before = bits(module)
    for name, (given, kind, message) in BAGS.items():
        with pytest.raises(kind, match=message):
            module(*given)
        assert bits(module) == before, name


@pytest.mark.parametrize(("method", "optimizer"), CASES)
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bad_gradients_name_the_bag_and_change_nothing(method, optimizer, mode):
    module = bag(method, optimizer, mode)
    before = bits(module)
    for bad in (torch.nan, torch.inf, -torch.inf):
        rows = module(IDS, OFFSETS)
        slopes = torch.ones_like(rows)
        slopes[2, 4] = bad
        with pytest.raises(INPUT, match=f"'ids' is {bad} at row 2, value 4"):
            (rows * slopes).sum().backward()
        assert bits(module) == before


@pytest.mark.parametrize(("method", "optimizer"), CASES)
def test_a_gradient_comes_once_and_not_after_the_end(method, optimizer):
    module = bag(method, optimizer)
    loss = module(IDS, OFFSETS).sum()
    loss.backward()
    before = bits(module)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    assert bits(module) == before
    loss = module(IDS, OFFSETS).sum()
    module.finish()
    before = bits(module)
    if optimizer:
        with pytest.raises(INPUT, match="finished"):
            loss.backward()
        assert bits(module) == before


@pytest.mark.parametrize(("method", "optimizer"), CASES)
def test_empty_batches_and_bags_are_zeros_as_torchs(method, optimizer):
    none = IDS[:0]
    for mode in ("sum", "mean", "max"):
        module = bag(method, optimizer, mode)
        theirs = torch.nn.EmbeddingBag(60, 8, mode=mode)
        for given in ((none, none), (none, torch.zeros(3).long()), (torch.zeros(0, 4).long(),)):
            rows = module(*given)
            assert torch.equal(rows, theirs(*given))
            if rows.requires_grad:
                rows.sum().backward()
        assert module(torch.zeros(3, 0).long()).shape == (3, 8)
    module = bag(method, optimizer, kind=Embedding)
    assert module(none).shape == (0, 8) and module(torch.zeros(2, 0, 3).long()).shape == (2, 0, 3, 8)


GOOD = {
    "user": torch.tensor([1, 2, 3]),
    "seen": (IDS, torch.tensor([0, 3, 3, 6])),
    "got": torch.tensor([[1, 2], [3, 4], [5, 6]]),
}
ENDS = torch.tensor([0, 3, 3, 6])
FEATURES = {
    "too large": ("seen", (torch.tensor([0, 1, 50]), torch.arange(4)), INPUT, "id 50 at position 2"),
    "negative": ("user", torch.tensor([1, -2, 3]), INPUT, "id -2 at position 1"),
    "offsets that decrease": ("seen", (IDS, torch.tensor([0, 4, 3, 6])), INPUT, "offset 2 is 3"),
    "offsets that end early": ("seen", (IDS, torch.tensor([0, 3, 3, 5])), INPUT, "the last offset, 3, is 5"),
    "offsets that end late": ("seen", (IDS, torch.tensor([0, 3, 3, 9])), INPUT, "the last offset, 3, is 9"),
    "offsets that begin late": ("seen", (IDS, torch.tensor([1, 3, 3, 6])), INPUT, "offset 0 is 1"),
    "lengths too long": ("seen", JaggedTensor(IDS, lengths=torch.tensor([3, 0, 9])), INPUT, "is 12"),
    "lengths below zero": ("seen", JaggedTensor(IDS, lengths=torch.tensor([3, -1, 4])), INPUT, "offset 2"),
    "float lengths": ("seen", JaggedTensor(IDS, lengths=torch.tensor([3.0, 0, 3])), SHAPE, "float32"),
    "floats": ("user", torch.tensor([1.0, 2, 3]), SHAPE, "float32"),
    "bools": ("user", torch.tensor([True, False, True]), SHAPE, "bool"),
    "a list": ("user", [1, 2, 3], SHAPE, "a list"),
    "an array": ("user", np.array([1, 2, 3]), SHAPE, "a ndarray"),
    "nothing": ("user", None, SHAPE, "a NoneType"),
    "no dimension": ("user", torch.tensor(1), SHAPE, r"ids \(\)"),
    "three dimensions": ("user", torch.zeros(3, 1, 1).long(), SHAPE, r"ids \(3, 1, 1\)"),
    "float offsets": ("seen", (IDS, ENDS.float()), SHAPE, "offsets are torch.float32"),
    "no offsets": ("seen", (IDS, None), SHAPE, "offsets that are None"),
    "no offset": ("seen", (IDS, ENDS[:0]), SHAPE, r"offsets \(0,\)"),
    "square offsets": ("seen", (IDS, ENDS[None]), SHAPE, r"offsets \(1, 4\)"),
    "one tensor": ("seen", (IDS,), SHAPE, "given 1 tensors"),
    "four tensors": ("seen", (IDS, IDS, IDS, IDS), SHAPE, "given 4 tensors"),
    "fewer bags": ("user", torch.tensor([1]), SHAPE, "different numbers of bags"),
    "weights": ("seen", (IDS, ENDS, ones), SPEC, "is_weighted=True"),
}
WEIGHTS = {
    "too few": (ones[:5], SHAPE, r"weights \(5,\)"),
    "square": (ones[:, None], SHAPE, r"weights \(6, 1\)"),
    "whole": (ones.long(), SHAPE, "int64"),
    "a list": ([1.0] * 6, SHAPE, "a list"),
    "no numbers": (ones * torch.nan, INPUT, "weight 0 is nan"),
}


@pytest.mark.parametrize(("method", "optimizer"), CASES)
def test_bad_features_are_named_with_their_position_and_change_nothing(method, optimizer):
    module, weighted = collection(method, optimizer), collection(method, optimizer, True)
    before = bits(module)
    for name, (feature, given, kind, message) in FEATURES.items():
        with pytest.raises(kind, match=message) as caught:
            module({**GOOD, feature: given})
        assert f"'{feature}'" in str(caught.value), name
        assert bits(module) == before, name
    for features, kind in (({"user": IDS}, SPEC), ([1, 2], SHAPE), (None, SHAPE)):
        with pytest.raises(kind):
            module(features)
    every = {
        "user": (IDS[:3], torch.arange(4), ones[:3]),
        "seen": (IDS, ENDS, ones),
        "got": (IDS, torch.tensor([0, 2, 4, 6]), ones),
    }
    before = bits(weighted)
    for name, (given, kind, message) in WEIGHTS.items():
        with pytest.raises(kind, match=f"'seen'.*{message}"):
            weighted({**every, "seen": (IDS, ENDS, given)})
        assert bits(weighted) == before, name


@pytest.mark.parametrize(("method", "optimizer"), CASES)
def test_a_bad_gradient_is_named_by_its_feature_and_changes_no_table(method, optimizer):
    module = collection(method, optimizer)
    before = bits(module)
    rows = module(GOOD).values()
    slopes = torch.ones_like(rows)
    slopes[1, 20] = torch.nan
    with pytest.raises(INPUT, match="'got' is nan at row 1, value 4"):
        (rows * slopes).sum().backward()
    assert bits(module)[:4] == before[:4]
    empty = {"user": IDS[:0], "seen": (IDS[:0], OFFSETS[:1]), "got": torch.zeros(0, 2).long()}
    assert module(empty).values().shape == (0, 24)


@pytest.mark.parametrize("optimizer", [None, "adam"])
def test_a_state_that_is_none_is_refused_and_changes_nothing(optimizer):
    module = bag("unified", optimizer)
    module(IDS, OFFSETS).sum().backward()
    before = bits(module)
    good = module.state_dict()
    for spoil in (
        {"arrays": 3}, {"arrays": {"seeds": 5}}, {"config": {}}, {"rows": {"weight": "none"}},
        {"dtypes": {}}, {"dtypes": {name: "<f8" for name in good["_extra_state"]["dtypes"]}},
    ):  # fmt: skip
        state = copy.deepcopy(good)
        state["_extra_state"].update(spoil)
        with pytest.raises(RuntimeError):
            module.load_state_dict(state)
        assert bits(module) == before, spoil


def test_steps_that_need_two_lookups_are_for_tables_alone():
    with pytest.raises(SPEC, match="second=True needs two lookups"):
        EmbeddingBag(60, 8, method="alpt", optimizer="sgd", second=True)


@pytest.mark.parametrize("kind", [EmbeddingBag, Embedding])
@pytest.mark.parametrize("padding", [60, -61, 1.5, "a"])
def test_a_padding_id_that_is_none_is_refused(kind, padding):
    with pytest.raises(SPEC, match="padding_idx"):
        kind(60, 8, padding_idx=padding)
    with pytest.raises(SHAPE, match="list"):
        kind(60, 8, _weight=[1])
