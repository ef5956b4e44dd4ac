import numpy as np
import pytest

from vecstore.kernels.pooling import pool_means, pool_sums


def gray(number):
    return number ^ (number >> 1)


def plain_pool(tokens, buckets, starts, cells, *, mean, fill=False):
    """The definition, row by row, repetition by repetition, bucket by bucket."""
    n, reps, d = len(starts) - 1, buckets.shape[1], tokens.shape[2]
    out = np.zeros((n, reps, cells, d), np.float32)
    for i in range(n):
        own = range(starts[i], starts[i + 1])
        for r in range(reps):
            seen = tokens[:, r if tokens.shape[1] == reps else 0]
            for b in range(cells):
                inside = [t for t in own if buckets[t, r] == b]
                for t in inside:
                    out[i, r, b] += seen[t]
                if mean and inside:
                    out[i, r, b] /= np.float32(len(inside))
                elif fill and not inside and len(own):
                    distances = [int(gray(b) ^ gray(int(buckets[t, r]))).bit_count() for t in own]
                    out[i, r, b] = seen[own[int(np.argmin(distances))]]
    return out


@pytest.fixture(params=[(1, 1, 1, 1), (6, 3, 4, 5), (9, 2, 8, 17)])
def case(request):
    n, reps, cells, d = request.param
    rng = np.random.default_rng(n)
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 12, n))]).astype(np.int64)
    tokens = rng.standard_normal((starts[-1], reps, d)).astype(np.float32)
    buckets = rng.integers(0, cells, (starts[-1], reps))
    return tokens, buckets, starts, np.full((n, reps, cells, d), np.nan, np.float32)


@pytest.mark.parametrize("shared", [False, True])
def test_sums_are_those_of_the_definition(case, shared):
    tokens, buckets, starts, out = case
    tokens = np.ascontiguousarray(tokens[:, :1]) if shared else tokens
    pool_sums(tokens, buckets, starts, out)
    assert np.array_equal(out, plain_pool(tokens, buckets, starts, out.shape[2], mean=False))


@pytest.mark.parametrize("fill", [False, True])
def test_means_are_those_of_the_definition(case, fill):
    tokens, buckets, starts, out = case
    pool_means(tokens, buckets, starts, fill, np.empty(out.shape[2], np.int64), out)
    assert np.array_equal(out, plain_pool(tokens, buckets, starts, out.shape[2], mean=True, fill=fill))
