import numpy as np
import pytest

from vecstore.kernels.sparse import csr_times_rows


def plain_csr_times_rows(starts, columns, weights, rows):
    """The definition: a dense matrix, filled entry by entry, times the rows."""
    dense = np.zeros((len(starts) - 1, len(rows)))
    for i in range(len(starts) - 1):
        for t in range(starts[i], starts[i + 1]):
            dense[i, columns[t]] += weights[t]
    return dense @ rows


@pytest.mark.parametrize(("n", "c", "d"), [(1, 1, 1), (5, 3, 2), (40, 17, 33)])
def test_a_sparse_product_is_the_dense_one(n, c, d):
    rng = np.random.default_rng(n)
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 6, n))]).astype(np.int64)
    columns = rng.integers(0, c, starts[-1])
    weights = rng.standard_normal(starts[-1]).astype(np.float32)
    rows = rng.standard_normal((c, d)).astype(np.float32)
    out = np.full((n, d), np.nan, np.float32)
    csr_times_rows(starts, columns, weights, rows, out)
    assert np.allclose(out, plain_csr_times_rows(starts, columns, weights, rows), atol=1e-5)


def test_a_row_without_entries_is_zero():
    out = np.full((2, 3), np.nan, np.float32)
    nothing = np.zeros(0, np.int64)
    csr_times_rows(
        np.zeros(3, np.int64), nothing, nothing.astype(np.float32), np.ones((1, 3), np.float32), out
    )
    assert not out.any()
