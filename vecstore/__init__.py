"""vecstore: embedding compression and storage, counted to the byte."""

__version__ = "0.1.0"
