"""What a module is, saved, copied, and in company: of other processes, of autocast, of compilers."""

import copy
import io
import pickle

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.tables.presets import PRESETS

torch = pytest.importorskip("torch", reason="the modules are torch's")

from vecstore.train.torch import EmbeddingBag  # noqa: E402


def made(method, optimizer=None, **how):
    how = {"mode": "sum", "optimizer": optimizer, "lr": 0.1, **how}
    how["frequencies"] = np.arange(60) + 1
    try:
        return EmbeddingBag(60, 8, method=method, budget="50%", **how)
    except vs.BudgetError:
        return EmbeddingBag(60, 8, method=method, **how)


def by_torch(name):
    """Whether torch.optim can train tables of this method."""
    try:
        return bool(made(name))
    except vs.SpecError:
        return False


FLOATS = [name for name in PRESETS if by_torch(name)]
CASES = [(name, "adagrad") for name in PRESETS] + [(name, None) for name in FLOATS]


def train(module, steps, first=0):
    """Some steps on batches that follow from their numbers."""
    torch_steps = torch.optim.SGD(module.parameters(), lr=0.1)
    for step in range(first, first + steps):
        ids = torch.from_numpy(np.random.default_rng(step).integers(0, 60, (10, 3)))
        torch_steps.zero_grad()
        ((module(ids) - 0.1) ** 2).sum().backward()
        torch_steps.step()
    return module


def through_file(state):
    """As it comes back from a file, of which nothing is run."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def bits(module):
    return {name: array.tobytes() for name, array in module.settled().arrays().items()}


@pytest.mark.parametrize(("method", "optimizer"), CASES)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(method, optimizer):
    whole = train(made(method, optimizer), 5)
    state = through_file(train(made(method, optimizer), 3).state_dict())
    half = train(made(method, optimizer), 1, first=9)
    half.lr = 0.7
    half.load_state_dict(state)
    assert half.lr == 0.1
    assert bits(train(half, 2, first=3)) == bits(whole)
    assert whole.settled().updates == half.settled().updates == (5 if optimizer else 0)


@pytest.mark.parametrize(("method", "optimizer"), CASES)
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "file"])
def test_copies_are_equal_and_apart(how, method, optimizer):
    module = train(made(method, optimizer), 2)
    if how == "file":
        file = io.BytesIO()
        torch.save(module, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    else:
        other = copy.deepcopy(module) if how == "deepcopy" else pickle.loads(pickle.dumps(module))
    before = bits(module)
    assert bits(other) == before and str(other) == str(module)
    train(other, 1, first=7)
    assert bits(module) == before != bits(other)
    assert bits(train(module, 1, first=7)) == bits(other)
    if not optimizer:
        assert np.shares_memory(other.weight.detach().numpy(), other.settled().arrays()["parameters.0"])


def test_a_state_dict_of_torchs_own_module_is_taken_by_plain_rows():
    theirs = torch.nn.EmbeddingBag(60, 8)
    for optimizer in (None, "adam"):
        module = made("plain", optimizer)
        module.load_state_dict(theirs.state_dict())
        assert torch.equal(module.weight, theirs.weight)
    with pytest.raises(RuntimeError, match="maps and seeds"):
        adapt = made("adapt")
        adapt.load_state_dict({"weight": adapt.weight})
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        made("plain").load_state_dict(torch.nn.EmbeddingBag(61, 8).state_dict())
    with pytest.raises(RuntimeError, match=r"Unexpected key.*bias"):
        made("plain").load_state_dict({**theirs.state_dict(), "bias": torch.ones(1)})
    with pytest.raises(RuntimeError, match=r"Missing key.*weight"):
        made("plain", "adam").load_state_dict({})


@pytest.mark.parametrize("optimizer", [None, "adagrad"])
def test_the_state_of_another_table_is_refused_and_nothing_changed(optimizer):
    module = train(made("unified", optimizer), 1)
    before = bits(module)
    later = module.state_dict()
    later["_extra_state"] = copy.deepcopy(later["_extra_state"])
    later["_extra_state"]["config"]["version"] = 99
    cases = [
        (made("hash", optimizer).state_dict(), r"method 'hash'|size mismatch"),
        (made("unified", optimizer, seed=1).state_dict(), "seed 1"),
        (later, "version 99"),
        ({**module.state_dict(), "_extra_state": {"step": 3}}, "no table in it"),
    ]
    if optimizer:
        cases.append((made("unified", "adam").state_dict(), "optimizer 'adam'"))
    for state, message in cases:
        with pytest.raises(RuntimeError, match=message):
            module.load_state_dict(state)
        assert bits(module) == before


@pytest.mark.parametrize("method", ["prune", "optembed", "int8", "unified"])
def test_a_finished_table_serves_and_takes_the_state_of_one_that_learns_and_back(method):
    module = train(made(method, "adagrad"), 2)
    learning = through_file(module.state_dict())
    before = bits(module)
    module.finish()
    assert module.ledger().training == module.ledger().optimizer == 0
    ids = torch.arange(60)[:, None]
    assert not module(ids).requires_grad
    other = made(method, "adagrad")
    other.load_state_dict(through_file(module.state_dict()))
    assert torch.equal(other(ids), module(ids)) and not other(ids).requires_grad
    assert torch.equal(copy.deepcopy(module)(ids), module(ids))
    other.load_state_dict(learning)
    assert bits(other) == before


def test_rows_may_be_moved_cast_and_replaced():
    module = made("unified").double()
    assert module(torch.tensor([[1, 2]])).dtype == torch.float64
    assert module.settled().arrays()["parameters.0"].dtype == np.float32
    module.load_state_dict(through_file(module.state_dict()))
    module = module.float()
    state = {name: copy.deepcopy(value) for name, value in made("unified").state_dict().items()}
    state["weight"] += 1
    module.load_state_dict(state, assign=True)
    assert np.array_equal(module.settled().arrays()["parameters.0"], state["weight"].numpy())
    module.weight.data = torch.zeros(3, 4)
    with pytest.raises(vs.ShapeError, match=r"weight is \(3, 4\)"):
        module.settled()


@pytest.mark.parametrize(("method", "optimizer"), CASES)
def test_autocast_leaves_rows_in_float32(method, optimizer):
    found = []
    for on in (False, True):
        module = made(method, optimizer)
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            rows = module(torch.tensor([[1, 2, 3], [4, 5, 6]]))
            assert rows.dtype == torch.float32
            loss = (rows @ torch.eye(8)).float().sum()
        loss.backward()
        found.append(bits(module) if optimizer else module.weight.grad.clone())
    assert found[0] == found[1] if optimizer else torch.equal(*found)


@pytest.mark.parametrize("optimizer", [None, "adagrad"])
def test_a_compiled_model_has_the_same_results(optimizer):
    found = []
    for compiled in (False, True):
        module = made("unified", optimizer)
        model = torch.nn.Sequential(module, torch.nn.ReLU())
        run = torch.compile(model, backend="eager") if compiled else model
        ids = torch.tensor([[1, 2, 3], [4, 5, 59]])
        for _ in range(2):
            rows = run(ids)
            rows.sum().backward()
        found.append((rows.detach().numpy().tobytes(), bits(module)))
        with pytest.raises(vs.InputError, match="60"):
            run(ids + 1)
    assert found[0] == found[1]


def test_a_table_that_has_grown_is_loaded_and_copied():
    how = {"mode": "sum", "method": "dynamic", "budget": "100kB", "optimizer": "adagrad", "start": 16}
    ids = torch.randint(0, 1 << 39, (300, 3), generator=torch.Generator().manual_seed(0))

    def learn(bag, first):
        bag(ids[first : first + 50]).sum().backward()

    bag = EmbeddingBag(1 << 40, 8, **how)
    small = bag.state_dict()["weight"].shape
    learn(bag, 0)
    learn(bag, 50)
    assert bag.state_dict()["weight"].shape > small
    loaded = EmbeddingBag(1 << 40, 8, **how)
    loaded.load_state_dict(bag.state_dict())
    others = [loaded, copy.deepcopy(bag), pickle.loads(pickle.dumps(bag))]
    for each in (bag, *others):
        learn(each, 250)
    assert all(torch.equal(each(ids), bag(ids)) for each in others)


@pytest.mark.parametrize("method", ["int8", "int4", "alpt", "mpe"])
def test_initializers_may_write_to_rows_of_few_bits(method):
    module, ids = made(method, "sgd"), torch.arange(60)[:, None]
    before = bits(module)
    assert module.weight.shape[1] == 8 and torch.equal(module.weight, module.weight)
    assert bits(module) == before
    for place, write in enumerate((torch.nn.init.normal_, lambda w: torch.nn.init.uniform_(w.data, -1, 1))):
        write(module.weight)
        written = module.weight.clone()
        twins = [copy.deepcopy(module), made(method, "sgd")]
        twins[1].load_state_dict(module.state_dict())
        if place and method != "mpe":
            assert torch.allclose(module(ids), written, atol=0.2)
        assert all(torch.equal(module(ids), twin(ids)) for twin in twins)
        assert torch.allclose(module.weight, written, atol=0.5) and not torch.equal(module.weight, written)
    rows = module.weight
    module.load_state_dict(made(method, "sgd").state_dict())
    assert bits(module) == before and not torch.equal(module.weight, rows)
