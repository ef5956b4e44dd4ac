"""A directory that takes writes, searches and deletes, and keeps every version until it is told not to."""

from vecstore.store.opening import Collection, check, is_collection, open_collection
from vecstore.store.store import Store

__all__ = ["Collection", "Store", "check", "is_collection", "open_collection"]
