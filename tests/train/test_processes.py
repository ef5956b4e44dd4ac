"""Modules in several processes, with data parallelism and without."""

import os
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the modules are torch's")

if not torch.distributed.is_available():
    pytest.skip("this torch has no processes to distribute to", allow_module_level=True)

from torch import distributed, multiprocessing, nn  # noqa: E402

from vecstore.codecs.tables.presets import PRESETS  # noqa: E402
from vecstore.errors import BudgetError, InputError  # noqa: E402
from vecstore.train.torch import EmbeddingBag, EmbeddingBagCollection, EmbeddingBagConfig  # noqa: E402

WORLD = 2
CASES = [
    ("plain", None, False),
    ("plain", None, True),
    ("lowrank", None, False),
    ("unified", "adagrad", False),
]
# Options with which clusters, sketches and maps change within a few steps.
SOON = {
    "cce": {"every": 2}, "adaembed": {"every": 2}, "cafe": {"threshold": 2.0}, "prune": {"every": 2},
    "dynamic": {"start": 8, "admit": 2}, "pep": {"every": 2},
}  # fmt: skip


class Model(nn.Module):
    def __init__(self, method, optimizer, sparse):
        super().__init__()
        torch.manual_seed(0)
        self.bag = EmbeddingBag(50, 8, mode="sum", method=method, optimizer=optimizer, sparse=sparse, lr=0.1)
        self.top = nn.Linear(8, 1)

    def forward(self, ids):
        return self.top(self.bag(ids))


class Several(nn.Module):
    """Two tables, three features; of the last one, means."""

    def __init__(self, method, seed=0):
        super().__init__()
        torch.manual_seed(0)
        configs = [
            EmbeddingBagConfig(50, 8, "user", ["user"]),
            EmbeddingBagConfig(90, 8, "item", ["seen", "got"], pooling="mean"),
        ]
        how = {"method": method, "optimizer": "rowwise_adagrad", "lr": 0.1, "seed": seed}
        how |= SOON.get(method, {})
        try:
            self.bags = EmbeddingBagCollection(configs, budget="50%", **how)
        except BudgetError:
            self.bags = EmbeddingBagCollection(configs, **how)
        self.top = nn.Linear(24, 1)

    def forward(self, ids):
        features = {"user": ids[:, 0], "seen": ids[:, 1:], "got": (ids[:, 2], torch.arange(len(ids) + 1))}
        return self.top(self.bags(features).values())


def steps(model, part, count=3):
    """A few steps on the part of each batch that a process has."""
    torch_steps = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(count):
        ids = torch.from_numpy(np.random.default_rng(step).integers(0, 50, (8, 3)))[part]
        torch_steps.zero_grad()
        (model(ids) ** 2).mean().backward()
        torch_steps.step()


def learned(model):
    """Rows and the top layer."""
    table = model.bag.settled()
    found = [array.copy() for name, array in table.arrays().items() if name.startswith("parameters")]
    return [*found, model.top.weight.detach().numpy().copy()]


def work(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    part = slice(4 * rank, 4 * rank + 4)
    np.savez(f"{folder}/{rank}.npz", **single_tables(part), **all_methods(part))
    refusals(rank)
    distributed.destroy_process_group()


def single_tables(part):
    """Rows of tables, by case, after steps on the part of each batch that a process has."""
    found = {}
    for at, case in enumerate(CASES):
        model = Model(*case)
        if case[1]:
            with pytest.raises(InputError, match="synchronize"):
                model(torch.tensor([[1]])).sum().backward()
            model.bag.synchronize()
        steps(nn.parallel.DistributedDataParallel(model), part)
        for place, array in enumerate(learned(model)):
            found[f"{at}.{place}"] = array
    return found


def all_methods(part):
    """Each method's table after steps on other data in each process: all of it, counters and sketches too."""
    found = {}
    for method in PRESETS:
        model = Several(method)
        model.bags.synchronize()
        steps(nn.parallel.DistributedDataParallel(model), part, 6)
        table = model.bags.settled()
        found |= {f"{method} {name}": array for name, array in table.arrays().items()}
        found[f"{method} updates"] = np.array(table.updates)
        found[f"{method} top"] = model.top.weight.detach().numpy()
    return found


def refusals(rank):
    """Tables that are not equal, and gradients that are no number in one process."""
    other = Several("cafe", seed=rank)
    with pytest.raises(InputError, match="process 1 is another than that of process 0"):
        other.bags.synchronize()
    spoilt = Several("cafe")
    spoilt.bags.synchronize()
    before = spoilt.bags.settled().state().identity
    loss = spoilt(torch.tensor([[1, 2, 3]])).sum() * (torch.nan if rank else 1)
    with pytest.raises(InputError, match="is nan"):  # in all of them, so that none waits for the others
        loss.backward()
    assert spoilt.bags.settled().state().identity == before


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What two processes have saved."""
    folder = tmp_path_factory.mktemp("processes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
        multiprocessing.spawn(work, (str(folder),), nprocs=WORLD)
    return [np.load(folder / f"{rank}.npz") for rank in range(WORLD)]


def test_two_processes_learn_what_one_learns_of_all(both):
    first, second = both
    for at, case in enumerate(CASES):
        model = Model(*case)
        steps(model, slice(None))
        for part, array in enumerate(learned(model)):
            assert np.array_equal(first[f"{at}.{part}"], second[f"{at}.{part}"]), case
            assert np.allclose(first[f"{at}.{part}"], array, atol=1e-6), case


def test_tables_of_all_methods_stay_equal_in_all_their_parts(both):
    first, second = both
    assert set(first) == set(second)
    for name in first:
        assert first[name].tobytes() == second[name].tobytes(), name
    for method in PRESETS:
        start = Several(method).bags.settled().arrays()
        names = [name for name in start if not np.array_equal(start[name], first[f"{method} {name}"])]
        assert any(name.startswith(("parameters", "training")) for name in names), method
        assert first[f"{method} updates"] == 6
    for name in ("cafe sketches.learner0.scores", "adaembed maps.learner0", "dynamic maps.learner0.ids"):
        assert first[name].any()
    assert first["cce seeds.learner0"] == 3
