"""A table as a torch module: rows that are parameters or step in the backward pass, state, copies."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vecstore.codecs.tables.making import Wish, make, table_of
from vecstore.codecs.tables.rows import RowStore
from vecstore.codecs.tables.state import TableState
from vecstore.codecs.tables.table import Table
from vecstore.errors import FormatError, InputError, ShapeError, SpecError, VecstoreError
from vecstore.kernels.finite import largest
from vecstore.ledger import TableLedger
from vecstore.train.export import dump, export
from vecstore.train.fused import Learner, check_equal
from vecstore.train.inputs import Asked
from vecstore.train.lookups import Pooling, look, pooled
from vecstore.train.weights import Lent, array_of, by_torch, plain_rows, tensor_of

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

    made: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def run(*given: Any, **named: Any) -> Any:
        # Its import takes seconds, and those who compile have it.
        dynamo = sys.modules.get("torch._dynamo")
        if dynamo is None:
            return function(*given, **named)
        if not made:
            made.append(dynamo.disable(function))
        return made[0](*given, **named)

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
        if wish.options.get("second"):
            raise SpecError(
                "second=True needs two lookups for each step, which `vs.table` has and modules do not"
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
        self.table, self._lent = table, Lent()
        self._learner = Learner(table, lr)
        if self.fused:
            return
        if not by_torch(table):
            raise SpecError(
                f"this {table.setup.method!r} table is not float32 rows alone, as torch.optim needs it; "
                "give optimizer='rowwise_adagrad' (or adagrad, adam, sgd)"
            )
        for name, rows in self._rows().items():
            if name not in self._parameters:
                self.register_parameter(name, nn.Parameter(tensor_of(rows)))
        self._settle()

    def _rows(self) -> dict[str, NDArray[Any]]:
        """Rows of stores by their names here, as they lie; of a store that has none, nothing."""
        arrays = self.table.arrays()
        return {name: arrays[key] for key, name in self._keys().items()}

    def _keys(self) -> dict[str, str]:
        """The names of rows in the core's arrays, and here."""
        found = {}
        for at, store in enumerate(self.table.stores):
            rows = plain_rows(store)
            if rows is not None:
                found[f"{rows.plan.role}.{at}"] = "weight" if at == 0 else f"weight_{at}"
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("weight") and self.__dict__.get("fused") and "table" in self.__dict__:
            rows = self._rows()
            if name in rows and rows[name].dtype == np.float32:
                return tensor_of(rows[name])
            if name in rows:
                _, _, number = name.partition("_")
                store = plain_rows(self.table.stores[int(number or 0)])
                assert store is not None
                return self._lent.copy(name, store)
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

        All take the same step, by the mean of their gradients, so that equal tables stay equal. InputError if
        they are not equal now: other seeds, or a state that not all of them have loaded.
        """
        group = torch.distributed.group.WORLD if group is None else group
        if group is not None:
            check_equal(self.table, group)
        self._learner.group = group

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
        self._lent.take_back(self.table.setup.seed)
        return self.table

    def _settle(self) -> None:
        """The table's rows are those of the parameters, wherever torch has put these."""
        for name, store in zip(self._keys().values(), self.table.stores, strict=True):
            values = self._parameters[name]
            assert values is not None and isinstance(store, RowStore)
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
        stores = [self._parameters[name] for name in self._keys().values()]
        found = {}
        for field, each in asked.items():
            rows = look(self.table.branch(field), stores, each, pooling[field])  # type: ignore[arg-type]
            found[field] = self._guarded(field, rows)
        return found

    def _look_fused(self, asked: Mapping[str, Asked], pooling: Mapping[str, Pooling]) -> dict[str, Tensor]:
        # The core has sums; maxima, and gradients of weights, need the row of each id.
        each = {
            field
            for field, given in asked.items()
            if pooling[field].mode == "max" or (given.weights is not None and given.weights.requires_grad)
        }
        batches = {field: given.each if field in each else given.batch for field, given in asked.items()}
        self.settled()
        anchor = self._anchor if self.training and not self.table.finished else self._anchor.detach()
        found = self._learner.look(anchor, batches)
        for field, given in asked.items():
            if field in each:
                found[field] = self._guarded(field, pooled(found[field], given, pooling[field].mode))
            elif pooling[field].mode == "mean" and len(given.batch.offsets):
                found[field] = found[field] / torch.from_numpy(given.counts)
        return found

    def _guarded(self, name: str, rows: Tensor) -> Tensor:
        """The rows, whose gradients are refused where they are no numbers, before anything learns of them.

        Not where processes go together: these find out when they have all gradients, and none waits in vain.
        """
        if rows.requires_grad and rows.device.type == "cpu" and self._learner.group is None:
            rows.register_hook(_finite(name))
        return rows

    def export(self, path: str | os.PathLike[str], field: str | None = None, **how: Any) -> None:
        """Rows for `vs.open`, at the table's quality or a codec's: `vecstore.train.export.export`."""
        export(self.settled(), path, field, **how)

    def dump(self, path: str | os.PathLike[str], field: str | None = None, **how: Any) -> int:
        """Ids and vectors as Parquet, Arrow, ..., in batches: `vecstore.train.export.dump`."""
        return dump(self.settled(), path, field, **how)

    def grow(self, fields: Mapping[str, int], *, first: str = "mean") -> TableLedger:
        """More ids of fields {name: number of ids}, as `Table.grow`.

        Rows that are parameters are new ones then, and optimizers have to be made again.
        """
        found = self.settled().grow(fields, first=first)
        for name, rows in () if self.fused else self._rows().items():
            old = self._parameters[name]
            if old is not None and old.shape != rows.shape:
                self._parameters[name] = nn.Parameter(tensor_of(rows).to(old), old.requires_grad)
        return found

    def finish(self) -> None:
        """Training is over: methods that prune do so now, and what only training needs is let go."""
        self.settled().finish()
        self.requires_grad_(False)

    # -- state

    def get_extra_state(self) -> dict[str, Any]:
        """All but rows: what the table is, counters, maps, seeds, and what the optimizer keeps."""
        arrays, rows = self.settled().arrays(), self._keys()
        return {
            "config": self.table.state().config(),
            "arrays": {name: tensor_of(array) for name, array in arrays.items() if name not in rows},
            "dtypes": {name: array.dtype.str for name, array in arrays.items()},
            "rows": rows,
            "lr": self.lr,
        }

    def set_extra_state(self, state: Any) -> None:
        """Takes over what `get_extra_state` gave; FormatError for that of another table."""
        rows = {name: tensor_of(array) for name, array in self._rows().items()}
        self.settled().restore(self._state_of(state, rows))

    def _state_of(self, extra: Any, rows: Mapping[str, Tensor]) -> TableState:
        """The state of the whole table, of what `get_extra_state` gave, and of rows by their names here.

        FormatError unless it is that of a table as this one.
        """
        try:
            given = dict(extra["arrays"])
            for key, name in extra["rows"].items():
                given[key] = rows[name].float() if rows[name].is_floating_point() else rows[name]
            arrays = {name: array_of(tensor, extra["dtypes"][name]) for name, tensor in given.items()}
            found = TableState.from_parts(extra["config"], arrays)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            if isinstance(error, VecstoreError):
                raise
            raise FormatError(f"the state has no table in it that this vecstore knows: {error!r}") from error
        found.fits(self.table.setup, arrays)
        return found

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.fused:
            del destination[f"{prefix}_anchor"]
            destination |= {prefix + name: tensor_of(rows) for name, rows in self._rows().items()}

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """As torch has it, but that nothing is taken over where anything does not fit."""
        _, _, missing, unexpected, errors = rest
        given = {key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)}
        extra = given.pop(_EXTRA, None)
        # What a finished table has become may be something else than rows.
        rows = extra["rows"] if isinstance(extra, dict) and "rows" in extra else self._keys()
        wanted = set(rows.values())
        unexpected += [prefix + name for name in given if name not in wanted]
        missing += [prefix + name for name in sorted(wanted - set(given))]
        if wanted <= set(given):
            try:
                self._check(extra, given)
                self._take(extra, given)
            except VecstoreError as error:
                errors.append(str(error))
                return
            if not self.fused:
                # Torch's own, since it knows about `assign`; what it would miss was looked for above.
                super()._load_from_state_dict(state_dict, prefix, rest[0], False, [], [], errors)
                self._settle()

    def _check(self, extra: Any, given: Mapping[str, Tensor]) -> None:
        for name, rows in self._rows().items():
            if name in given and tuple(given[name].shape) != rows.shape and not self.table.grows:
                raise ShapeError(f"size mismatch for {name}: {tuple(given[name].shape)}, here {rows.shape}")
        others = [name for name in self.table.arrays() if name not in self._keys()]
        if extra is None and not all(name.startswith("optimizer.") for name in others):
            raise FormatError(
                f"the state is of another module: a {self.table.setup.method!r} table needs its maps and "
                "seeds, which `state_dict` of this class has"
            )

    def _take(self, extra: Any, given: Mapping[str, Tensor]) -> None:
        self.settled()
        state = self._state_of(extra or self.get_extra_state(), given)
        lr = self.lr if extra is None else extra["lr"]
        if self.fused and state.finished != self.table.finished:
            self._hold(table_of(state), lr)
        else:
            self.table.restore(state)
            self.lr = lr

    # -- copies: the table goes along as its state, and is made again

    def __getstate__(self) -> dict[str, Any]:
        self.settled()
        kept = dict(self.__dict__)
        for name in ("table", "_learner", "_lent"):
            del kept[name]
        keys = self._keys()
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
