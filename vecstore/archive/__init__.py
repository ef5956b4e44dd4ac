"""One Arrow file that holds a compressed collection."""

from vecstore.archive.places import is_archive
from vecstore.archive.reader import Archive, CodeBatch
from vecstore.archive.writer import ArchiveWriter

__all__ = ["Archive", "ArchiveWriter", "CodeBatch", "is_archive"]
