"""One Arrow file that holds a compressed collection."""

from vecstore.archive.reader import Archive, CodeBatch, is_archive
from vecstore.archive.writer import ArchiveWriter

__all__ = ["Archive", "ArchiveWriter", "CodeBatch", "is_archive"]
