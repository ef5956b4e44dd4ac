"""A table as a torch module: rows that are parameters or step in the backward pass, state, copies."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vecstore.codecs.tables.making import Wish, make, table_of
from vecstore.codecs.tables.state import TableState
from vecstore.codecs.tables.table import Table
from vecstore.errors import FormatError, InputError, ShapeError, SpecError, VecstoreError
from vecstore.kernels import rowformats as formats
from vecstore.kernels.finite import largest
from vecstore.ledger import TableLedger
from vecstore.train.fused import Learner
from vecstore.train.inputs import Asked
from vecstore.train.lookups import Pooling, look, pooled

_EXTRA = "_extra_state"
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Learning:
    """How rows learn: by an optimizer of the core, in the backward pass, or None, as torch's parameters."""

    optimizer: str | None = None
    lr: float = 0.01
    device: Any = None
    dtype: Any = None


def uncompiled(function: _F) -> _F:
    """Keeps torch.compile out of the core, which it cannot read; what stands around it is compiled."""

    @functools.wraps(function)
    def run(*given: Any, **named: Any) -> Any:
        # Its import takes seconds, and those who compile have it.
        dynamo = sys.modules.get("torch._dynamo")
        return (function if dynamo is None else dynamo.disable(function))(*given, **named)

    return cast(_F, run)


class TableModule(nn.Module):
    """What all modules here are: a table, and its rows under the names `weight`, `weight_1`, ...

    With optimizer=None these are parameters, for autograd and torch.optim. With the name of an optimizer rows
    take their step when gradients reach them, in training mode, at the rate `lr`; torch.optim is not told.
    """

    table: Table

    def __init__(self, wish: Wish, learning: Learning) -> None:
        nn.Module.__init__(self)  # torch's own modules, where they stand behind this one, made no rows
        self.fused = learning.optimizer is not None
        if self.fused and not _on_cpu(learning):
            raise SpecError(
                f"optimizer={learning.optimizer!r} keeps float32 rows on the CPU; for device="
                f"{learning.device}, dtype={learning.dtype} train by torch.optim, with optimizer=None"
            )
        wish.optimizer = learning.optimizer or "sgd"
        self._hold(make(wish), learning.lr)
        if self.fused:
            # Optimizers and data parallelism ask for parameters; this one has no values.
            self._anchor = nn.Parameter(torch.zeros(0))
        else:
            self.to(device=learning.device, dtype=learning.dtype)

    def _hold(self, table: Table, lr: float) -> None:
        """Takes a table as its own; parameters are its arrays, not copies."""
        self.table = table
        self._names = ["weight" if at == 0 else f"weight_{at}" for at in range(len(table.stores))]
        self._learner = Learner(table, lr)
        for name, store in zip(self._names, table.stores, strict=True):
            if self.fused:
                continue
            if store.plan.kind != formats.F32:
                raise SpecError(
                    f"rows of this {table.setup.method!r} table are no float32, so torch.optim cannot train "
                    "them; give optimizer='rowwise_adagrad' (or adagrad, adam, sgd)"
                )
            if name not in self._parameters:
                self.register_parameter(name, nn.Parameter(_tensor(store.values)))
        if not self.fused:
            self._settle()

    def __getattr__(self, name: str) -> Any:
        names = self.__dict__.get("_names", ())
        if name in names and self.fused:
            return _tensor(self.table.stores[names.index(name)].arrays()["rows"])
        return super().__getattr__(name)

    @property
    def lr(self) -> float:
        """The learning rate of steps in the backward pass; it can be set."""
        return self._learner.lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._learner.lr = value

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """For schedulers: an optimizer whose group has `lr`, and whose step is taken already."""
        if not self.fused:
            raise SpecError(
                "this module has parameters for torch.optim; only optimizer='...' has steps of its own"
            )
        return self._learner.handle(self._anchor)

    def synchronize(self, group: Any = None) -> None:
        """Steps go together with those of all processes of a group (None: of all), which call this, too.

        All take the same step, by the mean of their gradients, so that equal tables stay equal.
        """
        self._learner.group = torch.distributed.group.WORLD if group is None else group

    def ledger(self) -> TableLedger:
        """The bytes of everything that is kept."""
        return self.table.ledger()

    @property
    def device(self) -> torch.device:
        """Where rows are, and ids have to be."""
        return torch.device("cpu") if self.fused else next(self.parameters()).device

    def settled(self) -> Table:
        """The table, as trained so far: for lookups, ledgers and files without torch."""
        if not self.fused:
            self._settle()
        return self.table

    def _settle(self) -> None:
        """The table's rows are those of the parameters, wherever torch has put these."""
        for name, store in zip(self._names, self.table.stores, strict=True):
            values = self._parameters[name]
            assert values is not None
            if tuple(values.shape) != (store.plan.count, store.plan.width):
                raise ShapeError(
                    f"{name} is {tuple(values.shape)}; a {self.table.setup.method!r} table of this size has "
                    f"{(store.plan.count, store.plan.width)}"
                )
            store.data = values.detach().to("cpu", torch.float32).contiguous().numpy().view(np.uint8)

    # -- lookups

    def look(self, asked: Mapping[str, Asked], pooling: Mapping[str, Pooling]) -> dict[str, Tensor]:
        """{field: (bags, dim)}; what is asked of all fields is one step of the optimizer."""
        if self.fused:
            return self._look_fused(asked, pooling)
        stores = [self._parameters[name] for name in self._names]
        found = {}
        for field, each in asked.items():
            rows = look(self.table.branch(field), stores, each, pooling[field])  # type: ignore[arg-type]
            if rows.requires_grad and rows.device.type == "cpu":
                rows.register_hook(_finite(field))
            found[field] = rows
        return found

    def _look_fused(self, asked: Mapping[str, Asked], pooling: Mapping[str, Pooling]) -> dict[str, Tensor]:
        # The core has sums; maxima, and gradients of weights, need the row of each id.
        each = {
            field
            for field, given in asked.items()
            if pooling[field].mode == "max" or (given.weights is not None and given.weights.requires_grad)
        }
        batches = {field: given.each if field in each else given.batch for field, given in asked.items()}
        anchor = self._anchor if self.training else self._anchor.detach()
        found = self._learner.look(anchor, batches)
        for field, given in asked.items():
            if field in each:
                found[field] = pooled(found[field], given, pooling[field].mode)
            elif pooling[field].mode == "mean" and len(given.batch.offsets):
                found[field] = found[field] / torch.from_numpy(given.counts)
        return found

    # -- state

    def get_extra_state(self) -> dict[str, Any]:
        """All but rows: what the table is, counters, maps, seeds, and what the optimizer keeps."""
        state = self.table.state()
        rows = set(self._row_keys())
        kept = {name: _tensor(array) for name, array in state.arrays().items() if name not in rows}
        return {"config": state.config(), "arrays": kept, "lr": self.lr}

    def set_extra_state(self, state: Any) -> None:
        """Takes over what `get_extra_state` gave; FormatError for that of another table."""
        found = self._state_of(state, {})
        self._settle()
        self.table.restore(found)
        self.lr = state["lr"]

    def _row_keys(self) -> dict[str, str]:
        """The names of rows in the core's arrays, and here."""
        stores = self.table.stores
        return {f"{store.plan.role}.{at}": self._names[at] for at, store in enumerate(stores)}

    def _state_of(self, extra: Any, rows: Mapping[str, Tensor]) -> TableState:
        """The state of the whole table, of what `get_extra_state` gave, and of rows by their names here.

        Rows that are not given stand as they are. FormatError unless it fits.
        """
        try:
            config, arrays = extra["config"], extra["arrays"]
            found = TableState.from_parts(config, {})
        except (KeyError, TypeError, IndexError) as error:
            raise FormatError(f"the state has no table in it that this vecstore knows: {error!r}") from error
        live = self.table.arrays()
        given = {name: _array(tensor, live.get(name)) for name, tensor in arrays.items()}
        for key, name in self._row_keys().items():
            given[key] = _array(rows[name], live[key]) if name in rows else live[key]
        state = TableState(found.setup, found.updates, given)
        state.fits(self.table.setup, live)
        return state

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.fused:
            del destination[f"{prefix}_anchor"]
            for name in self._names:
                destination[prefix + name] = getattr(self, name)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """As torch has it, but that nothing is taken over where anything does not fit."""
        _, _, missing, unexpected, errors = rest
        rows = {name: state_dict[prefix + name] for name in self._names if prefix + name in state_dict}
        own = {*(prefix + name for name in self._names), prefix + _EXTRA}
        unexpected += [key for key in state_dict if key.startswith(prefix) and key not in own]
        missing += [prefix + name for name in self._names if name not in rows]
        if len(rows) < len(self._names):
            return
        try:
            state = self._checked(state_dict.get(prefix + _EXTRA), rows)
        except VecstoreError as error:
            errors.append(str(error))
            return
        if self.fused:
            self.table.restore(state)
        else:
            skipped: list[str] = []
            super()._load_from_state_dict(state_dict, prefix, rest[0], False, skipped, [], errors)
            self._settle()
        if prefix + _EXTRA in state_dict:
            self.lr = state_dict[prefix + _EXTRA]["lr"]

    def _checked(self, extra: Any, rows: dict[str, Tensor]) -> TableState:
        for name, store in zip(self._names, self.table.stores, strict=True):
            wanted = store.arrays()["rows"].shape
            if tuple(rows[name].shape) != wanted:
                raise ShapeError(f"size mismatch for {name}: {tuple(rows[name].shape)}, here {wanted}")
        if extra is not None:
            return self._state_of(extra, rows if self.fused else {})
        if self._maps():
            raise FormatError(
                f"the state is of another module: a {self.table.setup.method!r} table needs its maps and "
                "seeds, which `state_dict` of this class has"
            )
        return self._state_of(self.get_extra_state(), rows if self.fused else {})

    def _maps(self) -> bool:
        """Whether there is more to rows than their numbers."""
        own = {*self._row_keys(), *(name for name in self.table.arrays() if name.startswith("optimizer."))}
        return set(self.table.arrays()) != own or len(self._names) > 1

    # -- copies: the table goes along as its state, and is made again

    def __getstate__(self) -> dict[str, Any]:
        kept = dict(self.__dict__)
        for name in ("table", "_learner"):
            del kept[name]
        keys = self._row_keys()
        arrays = {
            name: array for name, array in self.table.arrays().items() if self.fused or name not in keys
        }
        return {**kept, "_packed": (self.table.state().config(), arrays, keys, self.lr)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        config, arrays, keys, lr = state.pop("_packed")
        super().__setstate__(state)
        if not self.fused:
            rows = {key: self._parameters[name] for key, name in keys.items()}
            arrays |= {
                key: values.detach().to("cpu", torch.float32).numpy()
                for key, values in rows.items()
                if values is not None
            }
        self._hold(table_of(TableState.from_parts(config, arrays)), lr)


def _on_cpu(learning: Learning) -> bool:
    device = torch.device("cpu" if learning.device is None else learning.device)
    return device.type == "cpu" and learning.dtype in (None, torch.float32)


def _finite(field: str) -> Callable[[Tensor | None], None]:
    """Refuses gradients that are no numbers, before anything learns of them."""

    def check(gradient: Tensor | None) -> None:
        if gradient is None:
            return
        if gradient.dtype == torch.float32 and np.isfinite(largest(gradient.contiguous().numpy())):
            return
        bad = (~torch.isfinite(gradient)).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            raise InputError(
                f"the gradient of field {field!r} is {float(gradient[row, column])} at row {row}, value "
                f"{column}; nothing was changed"
            )

    return check


def _tensor(array: NDArray[Any]) -> Tensor:
    """The array as a tensor, without a copy; unsigned numbers as signed ones, which torch knows better."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.view(array.dtype.str.replace("u", "i"))
    return torch.from_numpy(array)


def _array(tensor: Tensor, like: NDArray[Any] | None) -> NDArray[Any]:
    """The array that `_tensor` gave the tensor of."""
    found: NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    return found if like is None or found.dtype.itemsize != like.dtype.itemsize else found.view(like.dtype)
