"""A damaged file is refused with an error of ours; it never crashes, and never comes up short in silence."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecstore.errors import InputError, NotFoundError, VecstoreError
from vecstore.formats import open_source
from vecstore.formats.registry import WRITERS

OPTIONAL = {".pt": "torch", ".pth": "torch", ".h5": "h5py", ".hdf5": "h5py", ".hdf": "h5py"}
# A cut at the end of a row leaves a shorter file of the same format; nothing in it says what is missing.
ROW_BY_ROW = {".fvecs", ".bvecs", ".ivecs", ".glove", ".csv"}


def written(suffix, tmp_path, rows, write):
    if suffix in OPTIONAL:
        pytest.importorskip(OPTIONAL[suffix])
    path = tmp_path / f"x{suffix}"
    write(path, rows, ids=pa.array([f"w{i}" for i in range(len(rows))]))
    return path


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_a_file_cut_at_every_sixteenth_is_refused(suffix, tmp_path, rows, write, read):
    path = written(suffix, tmp_path, rows, write)
    whole = path.read_bytes()
    for part in range(16):
        path.write_bytes(whole[: len(whole) * part // 16])
        try:
            back, _, _ = read(path)
        except InputError as error:
            assert str(path) in str(error)
            continue
        assert suffix in ROW_BY_ROW, f"{part}/16 of a {suffix} file gave {len(back)} rows"
        assert np.array_equal(back[:-1].astype(np.float32), rows[: len(back) - 1])
        assert part == 0 or len(back) <= 100 * part // 16 + 1


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_an_empty_file_is_refused(suffix, tmp_path, read):
    if suffix in OPTIONAL:
        pytest.importorskip(OPTIONAL[suffix])
    (tmp_path / f"x{suffix}").write_bytes(b"")
    with pytest.raises(InputError, match="x\\" + suffix):
        read(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_a_missing_file_is_not_found(suffix, tmp_path, read):
    if suffix in OPTIONAL:
        pytest.importorskip(OPTIONAL[suffix])
    with pytest.raises(NotFoundError, match="does not exist"):
        read(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_bytes_behind_the_end_are_noticed(suffix, tmp_path, rows, write, read):
    path = written(suffix, tmp_path, rows, write)
    path.write_bytes(path.read_bytes() + b"\x07\x07\x07")
    if suffix in {".h5", ".hdf5", ".hdf", ".arrows", ".npz", ".pt", ".pth"}:
        pytest.skip("the format says where it ends, and what follows is not its own")
    with pytest.raises(InputError):
        read(path)


def test_flipped_bits_under_a_checksum_are_noticed(tmp_path, rows, write, read):
    rng = np.random.default_rng(0)
    for suffix in (".parquet", ".npz", ".h5"):
        path = written(suffix, tmp_path, rows, write)
        whole = path.read_bytes()
        wrong = 0
        for _ in range(60):
            data = bytearray(whole)
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
            path.write_bytes(data)
            try:
                wrong += not np.array_equal(read(path)[0], rows)
            except VecstoreError:
                continue
        assert wrong == 0, f"{wrong} of 60 flips in a {suffix} file gave other rows in silence"


@pytest.mark.parametrize("suffix", sorted(set(WRITERS) - set(OPTIONAL)))
def test_mutated_bytes_are_read_or_refused(suffix, tmp_path, rows, write):
    path = written(suffix, tmp_path, rows[:20], write)
    whole = path.read_bytes()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.integers(0, len(whole)), st.integers(0, 16), st.binary(max_size=16))
    def mutate(at, gone, put):
        path.write_bytes(whole[:at] + put + whole[at + gone :])
        try:
            with open_source(str(path)) as source:
                for batch in source.batches(7):
                    assert batch.rows.shape[1] == source.dim
        except VecstoreError:
            pass

    mutate()
