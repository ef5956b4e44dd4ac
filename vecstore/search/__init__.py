"""Search over codes: the best rows for a query by inner product, cosine or distance."""

from vecstore.search.checks import METRICS
from vecstore.search.searcher import Searcher

__all__ = ["METRICS", "Searcher"]
