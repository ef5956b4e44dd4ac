import numpy as np
import pytest

from vecstore.kernels.popcount import hamming, pack


def plain_scores(codes, queries, dim):
    """dim - 2 Hamming distance of the first dim bits."""
    rows = np.unpackbits(codes, axis=1, count=dim, bitorder="little")
    wanted = np.unpackbits(queries, axis=1, count=dim, bitorder="little")
    return dim - 2 * (wanted[:, None] != rows[None]).sum(2)


@pytest.mark.parametrize("skip", [0, 2])
@pytest.mark.parametrize(
    "dim", [1, 7, 8, 63, 64, 100, 128, 130, 256, 384, 509, 512, 640, 768, 1024, 1536, 4097]
)
def test_scores_are_those_of_single_bits(dim, skip):
    rng = np.random.default_rng(dim)
    width = (dim + 7) // 8
    queries = rng.integers(0, 256, (3, width), dtype=np.uint8)
    packed = pack(queries, dim, skip)
    for n in (1, 2, 7, 8, 9, 16, 77):
        codes = rng.integers(0, 256, (n, skip + width), dtype=np.uint8)
        wanted = plain_scores(codes[:, skip:], queries, dim)
        for start, stop in ((0, n), (n // 2, n), (0, n // 2), (n // 3, n // 2)):
            out = np.full((3, stop - start), np.nan, np.float32)
            hamming(codes, packed, start, out)
            assert np.array_equal(out, wanted[:, start:stop])
