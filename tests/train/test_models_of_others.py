"""Models that other people have written, with our class under the name of torch's or TorchRec's."""

import importlib
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the modules are torch's")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import vecstore as vs  # noqa: E402
from vecstore.train.torch import Embedding, EmbeddingBagCollection, EmbeddingBagConfig  # noqa: E402

FIELDS, DIM, ROWS, BATCH = (200, 90, 12), 8, 2048, 256
HOW = [
    ("plain", None),
    ("unified", None),
    ("lowrank", None),
    ("cafe", "adagrad"),
    ("int8", "rowwise_adagrad"),
]


def theirs(name):
    """Their package, whatever it warns of, where it is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason="no such models here", exc_type=ImportError)


def clicks():
    """Ids (n, 3) and clicks (n,): each id has an effect."""
    rng = np.random.default_rng(0)
    ids = np.stack([rng.integers(0, size, ROWS) for size in FIELDS], 1)
    effects = [3 * rng.standard_normal(size) for size in FIELDS]
    logit = sum(effect[ids[:, at]] for at, effect in enumerate(effects))
    return torch.from_numpy(ids), torch.from_numpy((rng.random(ROWS) < 1 / (1 + np.exp(-logit))).astype("f4"))


def losses(model, forward, parameters=None):
    """The mean loss of each epoch."""
    ids, clicked = clicks()
    steps = torch.optim.Adam(model.parameters() if parameters is None else parameters, lr=0.01)
    found = []
    for _ in range(6):
        total = 0.0
        for start in range(0, ROWS, BATCH):
            part = slice(start, start + BATCH)
            steps.zero_grad()
            loss = functional.binary_cross_entropy(forward(ids[part]).reshape(-1), clicked[part])
            loss.backward()
            steps.step()
            total += float(loss.detach())
        found.append(total * BATCH / ROWS)
    return found


def learns(model, forward):
    found = losses(model, forward)
    assert found[-1] < 0.8 * found[0], found


def ours(method, optimizer):
    """Torch's class by its arguments, ours by what it does."""

    def make(count, dim, *given, **named):
        how = {"optimizer": optimizer, "lr": 0.02, **named}
        if optimizer:
            how.pop("sparse", None)
        try:
            return Embedding(count, dim, *given, method=method, budget="60%", **how)
        except vs.BudgetError:
            return Embedding(count, dim, *given, **how)

    return make


@pytest.mark.parametrize(("method", "optimizer"), HOW)
@pytest.mark.parametrize("name", ["DeepFM", "DCN"])
def test_models_of_deepctr_learn(name, method, optimizer, monkeypatch):
    inputs = theirs("deepctr_torch.inputs")
    models = importlib.import_module("deepctr_torch.models")
    monkeypatch.setattr(nn, "Embedding", ours(method, optimizer))
    columns = [inputs.SparseFeat(f"f{at}", size, DIM) for at, size in enumerate(FIELDS)]
    model = getattr(models, name)(columns, columns, device="cpu")
    assert type(model.embedding_dict["f0"]) is Embedding
    learns(model, lambda ids: model(ids.float()))


@pytest.mark.parametrize(("method", "optimizer"), HOW)
@pytest.mark.parametrize("name", ["DeepFM", "DCN"])
def test_models_of_rechub_learn(name, method, optimizer, monkeypatch):
    features = theirs("torch_rechub.basic.features")
    ranking = importlib.import_module("torch_rechub.models.ranking")
    monkeypatch.setattr(nn, "Embedding", ours(method, optimizer))
    columns = [features.SparseFeature(f"f{at}", size, DIM) for at, size in enumerate(FIELDS)]
    layers = {"dims": [32], "dropout": 0.0}
    model = ranking.DeepFM(columns, columns, layers) if name == "DeepFM" else ranking.DCN(columns, 2, layers)
    assert any(type(module) is Embedding for module in model.modules())
    learns(model, lambda ids: model({f"f{at}": ids[:, at] for at in range(len(FIELDS))}))


@pytest.mark.parametrize(("method", "optimizer"), HOW)
@pytest.mark.parametrize("name", ["dfm.DeepFactorizationMachineModel", "dcn.DeepCrossNetworkModel"])
def test_models_of_torchfm_learn(name, method, optimizer, monkeypatch):
    theirs("torchfm")
    module, kind = name.split(".")
    monkeypatch.setattr(nn, "Embedding", ours(method, optimizer))
    more = {"num_layers": 2} if module == "dcn" else {}
    made = getattr(importlib.import_module(f"torchfm.model.{module}"), kind)
    model = made(list(FIELDS), embed_dim=DIM, mlp_dims=(32,), dropout=0.0, **more)
    assert any(type(part) is Embedding for part in model.modules())
    learns(model, model)


@pytest.mark.parametrize(("method", "optimizer"), HOW)
def test_dlrm_of_torchrec_learns(method, optimizer):
    dlrm = theirs("torchrec.models.dlrm")
    sparse = importlib.import_module("torchrec.sparse.jagged_tensor")
    names = [f"f{at}" for at in range(len(FIELDS))]
    configs = [EmbeddingBagConfig(size, DIM, f"t{at}", [names[at]]) for at, size in enumerate(FIELDS)]
    bags = EmbeddingBagCollection(configs, method=method, optimizer=optimizer, lr=0.02)
    model = dlrm.DLRM(
        bags, dense_in_features=2, dense_arch_layer_sizes=[16, DIM], over_arch_layer_sizes=[16, 1]
    )

    def forward(ids):
        lengths = torch.ones(ids.numel(), dtype=torch.int64)
        keyed = sparse.KeyedJaggedTensor(names, ids.T.reshape(-1), lengths=lengths)
        return torch.sigmoid(model(torch.zeros(len(ids), 2), keyed))

    learns(model, forward)
