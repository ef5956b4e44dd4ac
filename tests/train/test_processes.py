"""Modules in several processes, with data parallelism and without."""

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the modules are torch's")

if not torch.distributed.is_available():
    pytest.skip("this torch has no processes to distribute to", allow_module_level=True)

from torch import distributed, multiprocessing, nn  # noqa: E402

from vecstore.errors import InputError  # noqa: E402
from vecstore.train.torch import EmbeddingBag  # noqa: E402

WORLD = 2
CASES = [
    ("plain", None, False),
    ("plain", None, True),
    ("lowrank", None, False),
    ("unified", "adagrad", False),
]


class Model(nn.Module):
    def __init__(self, method, optimizer, sparse):
        super().__init__()
        torch.manual_seed(0)
        self.bag = EmbeddingBag(50, 8, mode="sum", method=method, optimizer=optimizer, sparse=sparse, lr=0.1)
        self.top = nn.Linear(8, 1)

    def forward(self, ids):
        return self.top(self.bag(ids))


def steps(model, part):
    """A few steps on the part of each batch that a process has; rows and the top layer after them."""
    inner = model.module if hasattr(model, "module") else model
    torch_steps = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        ids = torch.from_numpy(np.random.default_rng(step).integers(0, 50, (8, 3)))[part]
        torch_steps.zero_grad()
        (model(ids) ** 2).mean().backward()
        torch_steps.step()
    table = inner.bag.settled()
    found = [array.copy() for name, array in table.arrays().items() if name.startswith("parameters")]
    return [*found, inner.top.weight.detach().numpy().copy()]


def work(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    found = {}
    for at, case in enumerate(CASES):
        model = Model(*case)
        if case[1]:
            with pytest.raises(InputError, match="synchronize"):
                model(torch.tensor([[1]])).sum().backward()
            model.bag.synchronize()
        model = nn.parallel.DistributedDataParallel(model)
        for part, array in enumerate(steps(model, slice(4 * rank, 4 * rank + 4))):
            found[f"{at}.{part}"] = array
    np.savez(f"{folder}/{rank}.npz", **found)
    distributed.destroy_process_group()


def test_two_processes_learn_what_one_learns_of_all(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in __import__("sys").path if p))
    multiprocessing.spawn(work, (str(tmp_path),), nprocs=WORLD)
    both = [np.load(tmp_path / f"{rank}.npz") for rank in range(WORLD)]
    for at, case in enumerate(CASES):
        for part, array in enumerate(steps(Model(*case), slice(None))):
            first, second = (found[f"{at}.{part}"] for found in both)
            assert np.array_equal(first, second), case
            assert np.allclose(first, array, atol=1e-6), case
