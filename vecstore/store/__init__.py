"""A directory that takes writes, searches and deletes, and keeps every version until it is told not to."""

from vecstore.store.opening import Collection, check, is_collection, open_collection
from vecstore.store.repair import Repaired, repair
from vecstore.store.store import Store

__all__ = ["Collection", "Repaired", "Store", "check", "is_collection", "open_collection", "repair"]
