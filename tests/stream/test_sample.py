import numpy as np
import pyarrow as pa
import pytest

from vecstore.stream.memory import ArraySource, ReaderSource
from vecstore.stream.sample import SAMPLE_ROWS, Sample, draw, no_sample


class Pass(ArraySource):
    """Without random access, so that only a pass can sample it."""

    def take(self, numbers):
        return None


class Pipe(Pass):
    rereadable = False
    rows = None

    def __init__(self, rows):
        super().__init__(rows)
        self.rows = None


def rows_of(n, dim=2):
    return np.repeat(np.arange(n, dtype=np.float32)[:, None], dim, axis=1)


@pytest.mark.parametrize("kind", [ArraySource, Pass, Pipe])
@pytest.mark.parametrize(
    "n", [0, 1, 19, 20, 1000, SAMPLE_ROWS, SAMPLE_ROWS + 1, 3 * SAMPLE_ROWS, 5 * SAMPLE_ROWS + 3]
)
def test_a_sample_is_rows_of_the_source_without_repeats_and_leaves_rows_to_measure(kind, n):
    sample = draw(kind(rows_of(n)), seed=0)
    assert np.array_equal(sample.rows[:, 0], sample.numbers)
    assert (np.diff(sample.numbers) > 0).all()
    assert len(sample.numbers) <= SAMPLE_ROWS + 8192
    everything = np.concatenate([batch.rows for batch in sample.batches] or [rows_of(0)])
    assert np.array_equal(everything, rows_of(n))
    held = sample.held_out(0, n)
    if n >= 20:
        assert len(held) >= min(n // 10, 1000) and not set(held.tolist()) & set(sample.numbers.tolist())
    else:
        assert len(held) == n


def test_held_out_rows_do_not_depend_on_the_batches():
    sample = Sample(rows_of(0), np.array([3, 40, 41]), 50_000, iter(()))
    whole = sample.held_out(0, 50_000)
    parts = [sample.held_out(at, min(at + 777, 50_000)) for at in range(0, 50_000, 777)]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("kind", [ArraySource, Pass])
def test_every_row_is_as_likely_as_any_other(kind):
    n, counts = 4 * SAMPLE_ROWS, np.zeros(16)
    for seed in range(3):
        sample = draw(kind(rows_of(n, 1)), seed=seed)
        counts += np.bincount(sample.numbers * 16 // n, minlength=16)
    expected = counts.sum() / 16
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected) * np.sqrt(8)


def test_a_pass_gives_the_same_sample_for_any_batch_size():
    class Small(Pass):
        def batches(self, batch_rows):
            return super().batches(777)

    source = rows_of(2 * SAMPLE_ROWS)
    assert np.array_equal(draw(Pass(source), 1).numbers, draw(Small(source), 1).numbers)


def test_a_fitted_codec_needs_no_sample():
    sample = no_sample(ArraySource(rows_of(100)))
    assert len(sample.held_out(0, 100)) == 100


def test_an_arrow_reader_is_read_once_and_a_table_often():
    table = pa.table({"id": ["a", "b", "c"], "vector": [[1.0, 2], [3, 4], [5, 6]], "x": [7, 8, 9]})
    for source in (ReaderSource(table, None, None), ReaderSource(table.to_reader(), None, None)):
        batches = list(source.batches(2))
        assert np.concatenate([batch.rows for batch in batches]).tolist() == [[1, 2], [3, 4], [5, 6]]
        assert pa.concat_arrays([batch.ids for batch in batches]).to_pylist() == ["a", "b", "c"]
        assert source.dim == 2 and source.columns.names == ["x"]
