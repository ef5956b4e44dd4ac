"""`EmbeddingBag` and `Embedding` in the place of torch's: the same rows, gradients, and refusals."""

import itertools

import numpy as np
import pytest

import vecstore as vs
from vecstore.codecs.tables.presets import PRESETS

torch = pytest.importorskip("torch", reason="the modules are torch's")

from vecstore.train.torch import Embedding, EmbeddingBag  # noqa: E402

IDS = torch.tensor([3, 0, 7, 7, 39, 12, 5, 5, 30, 1, 2, 3])
OFFSETS = torch.tensor([0, 3, 3, 7])
SQUARE = IDS.reshape(3, 4)


def made(kind=EmbeddingBag, method="plain", **how):
    """A module of 40 ids, with the budget that makes a method share rows."""
    try:
        return kind(40, 6, method=method, budget="50%", **how)
    except vs.BudgetError:
        return kind(40, 6, method=method, **how)


def by_torch(name):
    """Whether torch.optim can train tables of this method."""
    try:
        return bool(made(method=name))
    except vs.SpecError:
        return False


FLOATS = [name for name in PRESETS if by_torch(name)]


def pair(**how):
    """Torch's module and ours, with the same rows."""
    theirs = torch.nn.EmbeddingBag(40, 6, **how)
    ours = EmbeddingBag(40, 6, **how)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize(
    "given", [(IDS, OFFSETS), (SQUARE,), (IDS[:0], OFFSETS[:0]), (IDS.int(), OFFSETS.int())], ids=str
)
def test_plain_is_torchs_own_in_rows_and_gradients(mode, given):
    for how in ({}, {"padding_idx": 7}, {"include_last_offset": len(given) == 2 and len(given[0]) > 0}):
        if how.get("include_last_offset"):
            given = (given[0], torch.cat([given[1], given[1].new_tensor([len(given[0])])]))
        theirs, ours = pair(mode=mode, **how)
        found = [module(*given) for module in (theirs, ours)]
        assert torch.equal(*found)
        for rows in found:
            (rows * torch.arange(6.0)).sum().backward()
        assert torch.allclose(theirs.weight.grad, ours.weight.grad)


def test_weights_of_ids_count_and_have_gradients():
    weights = torch.linspace(-1, 1, 12)
    theirs, ours = pair(mode="sum", padding_idx=5)
    fused = EmbeddingBag(40, 6, mode="sum", padding_idx=5, optimizer="sgd", lr=0.1)
    fused.load_state_dict(theirs.state_dict())
    slopes, rows = [], []
    for module in (theirs, ours, fused):
        mine = weights.clone().requires_grad_()
        rows.append(module(IDS, OFFSETS, mine))
        (rows[-1] ** 2).sum().backward()
        slopes.append(mine.grad)
    for other in (1, 2):
        assert torch.allclose(rows[0], rows[other], atol=1e-6)
        assert torch.allclose(slopes[0], slopes[other], atol=1e-6)
    assert torch.allclose(fused.weight, theirs.weight - 0.1 * theirs.weight.grad, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("ids", [torch.int64, torch.int32])
def test_all_that_torchs_own_can_be_asked_for_gives_its_rows_and_gradients(ids, dtype):
    near = {"atol": 1e-6} if dtype != torch.bfloat16 else {"atol": 0.02, "rtol": 0.02}
    begun, ends = torch.tensor([0, 3, 3, 7]).to(ids), torch.tensor([0, 3, 3, 7, 12]).to(ids)
    none = IDS[:0].to(ids)
    for mode, padding, last, sparse, norm, weighted in itertools.product(
        ("sum", "mean", "max"), (None, 7, -1), (False, True), (False, True), (None, 0.5), (False, True)
    ):
        if (weighted and mode != "sum") or (sparse and mode == "max"):
            continue
        how = {"mode": mode, "padding_idx": padding, "sparse": sparse, "max_norm": norm, "dtype": dtype}
        how["include_last_offset"] = last
        for given in ((IDS.to(ids), ends if last else begun), (SQUARE.to(ids), None), (none, begun[:1])):
            theirs, ours = pair(**how)
            found = []
            for module in (theirs, ours):
                mine = torch.linspace(-1, 1, given[0].numel(), dtype=dtype).reshape(given[0].shape)
                mine = mine.requires_grad_() if weighted else None
                rows = module(*given, mine)
                (rows * torch.arange(6.0).to(dtype)).sum().backward()
                slopes = [module.weight.grad.to_dense(), *([mine.grad] if weighted else [])]
                found.append([rows, module.weight, *slopes])
                assert module.weight.grad.is_sparse == sparse
            for one, other in zip(*found, strict=True):
                assert one.shape == other.shape and torch.allclose(one.float(), other.float(), **near), how


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_torchs_optimizers_train_plain_rows_as_they_train_its_own(kind):
    theirs, ours = pair(mode="sum", sparse=kind == "sparse")
    optimizer = torch.optim.SparseAdam if kind == "sparse" else torch.optim.Adagrad
    for module in (theirs, ours):
        steps = optimizer(module.parameters(), lr=0.1)
        for _ in range(3):
            steps.zero_grad()
            (module(IDS, OFFSETS) ** 2).sum().backward()
            steps.step()
    assert ours.weight.grad.is_sparse == (kind == "sparse")
    assert torch.allclose(theirs.weight, ours.weight, atol=1e-6)
    assert np.shares_memory(ours.weight.detach().numpy(), ours.settled().arrays()["parameters.0"])


@pytest.mark.parametrize("method", FLOATS)
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_autograd_and_the_core_have_the_same_rows_and_take_the_same_step(method, mode):
    free, fused = (made(method=method, mode=mode, optimizer=name, lr=0.1, init=0.5) for name in (None, "sgd"))
    slopes = torch.linspace(-1, 1, 24).reshape(4, 6)
    rows = [module(IDS, OFFSETS) for module in (free, fused)]
    assert torch.allclose(*rows, atol=1e-6)
    steps = torch.optim.SGD(free.parameters(), lr=0.1)
    for each in rows:
        (each * slopes).sum().backward()
    steps.step()
    assert not torch.allclose(fused(IDS, OFFSETS), rows[1], atol=1e-3)
    assert torch.allclose(free(IDS, OFFSETS), fused(IDS, OFFSETS), atol=1e-5)
    single = free.settled().trace({"ids": IDS.numpy()})["ids"].rows
    assert np.allclose(free(IDS[:, None]).detach(), single, atol=1e-6)


@pytest.mark.parametrize("method", FLOATS)
def test_gradients_are_those_of_finite_differences(method):
    module = made(method=method, mode="sum").double()
    if module.table.branch("ids").combiner is not None:
        with torch.no_grad():  # far from where products of rows are all zeros
            module.weight.add_(0.5)
    weights = torch.linspace(0.5, 1, 12, dtype=torch.float64, requires_grad=True)
    names, values = zip(*module.named_parameters(), strict=True)

    def run(weights, *values):
        return torch.func.functional_call(
            module, dict(zip(names, values, strict=True)), (IDS, OFFSETS, weights)
        )

    assert torch.autograd.gradcheck(run, (weights, *values))


@pytest.mark.parametrize("method", PRESETS)
@pytest.mark.parametrize("optimizer", ["rowwise_adagrad", "adam"])
def test_every_method_learns_in_the_backward_pass(method, optimizer):
    module = made(method=method, mode="mean", optimizer=optimizer, lr=0.02)
    wanted = torch.linspace(-0.05, 0.05, 24).reshape(4, 6)
    losses = []
    for _ in range(60):
        loss = ((module(IDS, OFFSETS) - wanted)[[0, 2, 3]] ** 2).sum()
        losses.append(float(loss.detach()))
        loss.backward()
    assert losses[-1] < 0.5 * losses[0]
    assert [values.numel() for values in module.parameters()] == [0]


@pytest.mark.parametrize("optimizer", [None, "adam"])
@pytest.mark.parametrize("method", ["plain", "unified", "lowrank"])
def test_embedding_takes_ids_of_any_shape_and_pads_with_zeros(method, optimizer):
    module = made(Embedding, method, padding_idx=-1, optimizer=optimizer)
    ids = torch.tensor([[[1, 39], [2, 3]]])
    rows = module(ids)
    assert rows.shape == (1, 2, 2, 6) and not rows[0, 0, 1].any() and rows[0, 0, 0].any()
    assert torch.equal(module(torch.tensor(2)), rows[0, 1, 0])
    for _ in range(2):
        module(ids).sum().backward()
    assert not module(ids)[0, 0, 1].any()


def test_options_of_torch_that_need_rows_of_single_ids():
    theirs, ours = pair(mode="sum", max_norm=0.5, scale_grad_by_freq=True)
    for module in (theirs, ours):
        module(IDS, OFFSETS).sum().backward()
    assert torch.equal(theirs.weight, ours.weight) and torch.equal(theirs.weight.grad, ours.weight.grad)
    for how in ({"method": "unified", "budget": "50%"}, {"optimizer": "sgd"}):
        for option in ({"max_norm": 1.0}, {"scale_grad_by_freq": True}):
            with pytest.raises(vs.SpecError, match=f"{next(iter(option))}.*method='plain'"):
                EmbeddingBag(40, 6, **option, **how)


def test_pretrained_rows_are_taken_where_ids_have_their_own():
    rows = torch.randn(40, 6)
    frozen = EmbeddingBag.from_pretrained(rows, mode="sum", padding_idx=3)
    assert torch.equal(frozen.weight, rows) and not frozen(IDS, OFFSETS).requires_grad
    fused = EmbeddingBag.from_pretrained(rows, method="int8", optimizer="sgd", freeze=False)
    assert torch.allclose(fused(IDS[:, None]), rows[IDS], atol=0.05) and fused(SQUARE).requires_grad
    still = EmbeddingBag.from_pretrained(rows, optimizer="sgd")
    assert not still(SQUARE).requires_grad
    assert torch.equal(Embedding.from_pretrained(rows)(IDS), rows[IDS])
    with pytest.raises(vs.SpecError, match="ids share rows"):
        EmbeddingBag.from_pretrained(rows, method="unified", budget="50%")
    with pytest.raises(vs.ShapeError, match=r"\(3, 6\)"):
        EmbeddingBag(40, 6, _weight=rows[:3])


def test_a_table_rests_in_eval_and_without_gradients():
    module = made(method="unified", optimizer="adagrad")
    before = module.weight.clone()
    rows = module.eval()(IDS, OFFSETS)
    assert not rows.requires_grad
    with torch.no_grad():
        assert torch.equal(module.train()(IDS, OFFSETS), rows)
    assert torch.equal(module.weight, before) and module.settled().updates == 0


def test_the_learning_rate_can_be_set_and_scheduled():
    module = made(method="plain", optimizer="sgd", lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(module.optimizer, step_size=1, gamma=0.5)
    for rate in (1.0, 0.5, 0.25):
        assert module.lr == rate
        before = module.weight[3].clone()
        module(torch.tensor([[3]])).sum().backward()
        assert torch.allclose(before - module.weight[3], torch.full((6,), rate))
        module.optimizer.step()
        scheduler.step()
    module.lr = 7.0
    assert module.optimizer.param_groups[0]["lr"] == 7.0
    with pytest.raises(vs.SpecError, match=r"torch\.optim"):
        _ = made().optimizer


META = torch.tensor([1, 2], device="meta")
BAD = {
    "an id too large": ((torch.tensor([1, 40]), OFFSETS[:1]), vs.InputError, "'ids': id 40 at position 1"),
    "a negative id": ((torch.tensor([[1, -1]]),), vs.InputError, "'ids': id -1 at position 1"),
    "float ids": ((IDS.float(), OFFSETS), vs.ShapeError, "'ids'.*float32"),
    "float offsets": ((IDS, OFFSETS.float()), vs.ShapeError, "offsets.*float32"),
    "ids of another kind": (([1, 2], OFFSETS), vs.ShapeError, "list"),
    "ids of three dimensions": ((SQUARE[None],), vs.ShapeError, "1-D or 2-D"),
    "offsets that decrease": ((IDS, torch.tensor([0, 5, 3])), vs.InputError, "'ids': offset 2 is 3"),
    "offsets that begin late": ((IDS, torch.tensor([1, 5])), vs.InputError, "'ids': offset 0 is 1"),
    "offsets beyond the ids": ((IDS, torch.tensor([0, 13])), vs.InputError, "'ids': offset 1 is 13"),
    "no bags": ((IDS, OFFSETS[:0]), vs.InputError, "no bag"),
    "no offsets": ((IDS,), vs.ShapeError, "offsets has to be"),
    "offsets of a 2-D input": ((SQUARE, OFFSETS), vs.ShapeError, "2-D"),
    "weights of another shape": ((IDS, OFFSETS, torch.ones(3)), vs.ShapeError, "per_sample_weights"),
    "whole weights": ((IDS, OFFSETS, torch.ones(12).long()), vs.ShapeError, "weights.*int64"),
    "weights that are no numbers": ((IDS, OFFSETS, torch.full((12,), torch.nan)), vs.InputError, "weight 0"),
    "ids on another device": ((META, OFFSETS[:1]), vs.InputError, r"'ids'.*on meta.*\.to\('cpu'\)"),
}


@pytest.mark.parametrize("optimizer", [None, "adagrad"])
@pytest.mark.parametrize("method", ["plain", "unified"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_field_and_position(case, method, optimizer):
    given, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        made(method=method, mode="sum", optimizer=optimizer)(*given)


def test_offsets_that_end_early_are_refused():
    module = EmbeddingBag(40, 6, include_last_offset=True)
    with pytest.raises(vs.InputError, match="'ids': the last offset, 2, is 7"):
        module(IDS, torch.tensor([0, 3, 7]))
    with pytest.raises(vs.SpecError, match="mode='sum'"):
        EmbeddingBag(40, 6)(IDS, OFFSETS, torch.ones(12))


@pytest.mark.parametrize("optimizer", [None, "adagrad"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_gradients_that_are_no_numbers_change_nothing(optimizer, bad):
    module = made(method="unified", mode="sum", optimizer=optimizer)
    before = module.weight.detach().clone()
    slopes = torch.ones(4, 6)
    slopes[2, 4] = bad
    rows = module(IDS, OFFSETS)
    with pytest.raises(vs.InputError, match=r"'ids' is (nan|inf) at row 2, value 4"):
        (rows * slopes).sum().backward()
    assert torch.equal(module.weight, before) and module.weight.grad is None


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"method": "int8"}, "optimizer='rowwise_adagrad'"),
        ({"method": "unifed"}, "did you mean unified"),
        ({"mode": "avg"}, "sum, mean, max"),
        ({"padding_idx": 40}, "below 40"),
        ({"optimizer": "adam", "device": "cuda"}, "optimizer=None"),
        ({"optimizer": "adam", "dtype": torch.float64}, "optimizer=None"),
        ({"optimizer": "lion"}, "rowwise_adagrad"),
        ({"optimizer": "adam", "sparse": True}, "sparse"),
        ({"mode": "max", "sparse": True}, "sparse"),
        ({"chunk": 3}, "no option 'chunk'"),
    ],
)
def test_what_cannot_be_made_says_what_to_do(how, message):
    with pytest.raises(vs.SpecError, match=message):
        EmbeddingBag(40, 6, **how)
