"""Readers and writers of the formats that vectors come in."""

from vecstore.formats.base import Batch, RowLayout, Sink, Source
from vecstore.formats.registry import open_sink, open_source

__all__ = ["Batch", "RowLayout", "Sink", "Source", "open_sink", "open_source"]
