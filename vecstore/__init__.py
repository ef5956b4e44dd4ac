"""vecstore: embedding compression and storage, counted to the byte."""

from vecstore.api import (
    Store,
    Table,
    check,
    compress,
    decompress,
    fit,
    fit_compatible,
    ingest,
    open,
    plan,
    repair,
    table,
    table_open,
    tier,
)
from vecstore.archive import Archive
from vecstore.codecs.base import BlockCodec, Codec, Transform
from vecstore.errors import (
    BudgetError,
    ConflictError,
    CorruptError,
    FormatError,
    InputError,
    NotFoundError,
    ShapeError,
    SpaceMismatchError,
    SpecError,
    StorageError,
    VecstoreError,
    WidthError,
)
from vecstore.kernels.threads import get_threads, set_threads
from vecstore.ledger import Ledger, TableLedger
from vecstore.memory import Memory
from vecstore.planner.tables import TableTerms, plan_tables
from vecstore.registry import dumps, list_codecs, loads, register
from vecstore.space.adapter import Adapter

__version__ = "0.1.0"

__all__ = [
    "Adapter",
    "Archive",
    "BlockCodec",
    "BudgetError",
    "Codec",
    "ConflictError",
    "CorruptError",
    "FormatError",
    "InputError",
    "Ledger",
    "Memory",
    "NotFoundError",
    "ShapeError",
    "SpaceMismatchError",
    "SpecError",
    "StorageError",
    "Store",
    "Table",
    "TableLedger",
    "TableTerms",
    "Transform",
    "VecstoreError",
    "WidthError",
    "check",
    "compress",
    "decompress",
    "dumps",
    "fit",
    "fit_compatible",
    "get_threads",
    "ingest",
    "list_codecs",
    "loads",
    "open",
    "plan",
    "plan_tables",
    "register",
    "repair",
    "set_threads",
    "table",
    "table_open",
    "tier",
]
