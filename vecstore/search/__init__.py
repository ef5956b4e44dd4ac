"""Search over codes: the best rows for a query by inner product, cosine or distance."""

from vecstore.search.searcher import METRICS, Searcher

__all__ = ["METRICS", "Searcher"]
