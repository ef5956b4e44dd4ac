"""Reconstruction: squared error of rows that were not fitted on, and how far it is from the least."""

from __future__ import annotations

from vecstore.bench import limit
from vecstore.bench.process import Record
from vecstore.bench.quality import inner_products, relative_mse
from vecstore.bench.vectors.sets import VectorSet
from vecstore.bench.vectors.stored import Stored

_QUERIES = 100


def applies(data: VectorSet) -> bool:
    """To all but free vectors, of which there are few."""
    return data.pairs is None


def measure(stored: Stored) -> Record:
    """relative_mse, ip_error, ip_slope, gap_codes_db."""
    data, coded = stored.data, stored.contender.ledger(stored.coded, len(stored.data.base))
    rows, back = data.base[data.held], stored.rows[data.held]
    loss = relative_mse(rows, back)
    error, slope = inner_products(rows, back, data.queries[:_QUERIES])
    bits = 8 * (coded["codes"] + coded["side"]) / len(data.base)
    return {
        "relative_mse": loss, "ip_error": error, "ip_slope": slope,
        "gap_codes_db": limit.gap_db(limit.spectrum(data.base), loss, bits),
    }  # fmt: skip
