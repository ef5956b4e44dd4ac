"""A directory that takes writes, searches and deletes, and keeps every version until it is told not to."""

from vecstore.store.store import Store

__all__ = ["Store"]
