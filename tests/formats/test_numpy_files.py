"""npy and npz, against numpy itself."""

from __future__ import annotations

import zipfile

import ml_dtypes
import numpy as np
import pytest

from vecstore.errors import InputError, NotFoundError
from vecstore.formats import open_source


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", ">f8", "u1", "i1", "<u2", ">i4", "<i8"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_of_numpy_are_read(suffix, dtype, order, tmp_path, rows, read):
    array = np.asarray(rows.astype(dtype), order=order)
    save = np.save if suffix == "npy" else np.savez_compressed
    save(tmp_path / f"x.{suffix}", array)
    back, _, _ = read(tmp_path / f"x.{suffix}")
    assert back.dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(back, array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_all_versions_of_the_header_are_read(version, tmp_path, rows, read):
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, rows, version=version)
    assert np.array_equal(read(tmp_path / "x.npy")[0], rows)


def test_numpy_reads_what_is_written(tmp_path, rows, write):
    write(tmp_path / "x.npy", rows, counted=False)
    write(tmp_path / "x.npz", rows, counted=False)
    assert np.array_equal(np.load(tmp_path / "x.npy", mmap_mode="r"), rows)
    with np.load(tmp_path / "x.npz") as arrays:
        assert np.array_equal(arrays["vector"], rows)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([[{}]], dtype=object), "never unpickled"),
        (np.ones((3, 2), complex), "expected real numbers"),
        (np.array([["a", "b"]]), "expected real numbers"),
        (np.ones((3, 2), bool), "expected real numbers"),
        (np.ones((3, 2), "M8[s]"), "expected real numbers"),
        (np.ones((3, 2), [("a", "f4"), ("b", "f4")]), "records"),
        (np.ones((3, 2), ml_dtypes.bfloat16), "bfloat16 saved by numpy loses its type"),
        (np.ones(3), r"shape \(3,\)"),
        (np.ones((3, 2, 2)), r"shape \(3, 2, 2\)"),
        (np.ones((3, 0)), "0 dimensions"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_that_are_no_rows_are_refused(suffix, array, reason, tmp_path, read):
    (np.save if suffix == "npy" else np.savez)(tmp_path / f"x.{suffix}", array)
    with pytest.raises(InputError, match=reason):
        read(tmp_path / f"x.{suffix}")


def header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 1000000)}",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (1000000000000, 1000000)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 99999999999999999999)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 4)}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': 'zz', 'fortran_order': False, 'shape': (1, 4)}",
        "{'descr': '<f4', 'fortran_order': 7, 'shape': (1, 4)}",
        "__import__('os').system('true')",
        "(" * 5000,
        "[" * 9000,
        "",
    ],
)
def test_lying_headers_are_refused(text, tmp_path, read):
    (tmp_path / "x.npy").write_bytes(header(text) + bytes(16))
    with pytest.raises(InputError):
        read(tmp_path / "x.npy")


def test_an_npz_of_several_arrays_wants_a_name(tmp_path, rows, read):
    np.savez(tmp_path / "x.npz", a=rows, b=rows + 1)
    with pytest.raises(InputError, match=r"2 arrays \(a, b\); name one"):
        read(tmp_path / "x.npz")
    assert np.array_equal(read(f"{tmp_path}/x.npz::b")[0], rows + 1)
    with pytest.raises(NotFoundError, match="no array 'c'; it has a, b"):
        read(f"{tmp_path}/x.npz::c")


def test_an_npz_is_written_under_the_name_asked_for(tmp_path, rows, write, read):
    write(f"{tmp_path}/x.npz::corpus", rows)
    assert np.array_equal(np.load(tmp_path / "x.npz")["corpus"], rows)
    assert np.array_equal(read(f"{tmp_path}/x.npz::corpus")[0], rows)


def test_an_npz_member_of_another_size_than_its_header_is_refused(tmp_path, rows, read):
    np.save(tmp_path / "a.npy", rows)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", (tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(InputError, match="its header says"):
        read(tmp_path / "x.npz")


def test_rows_of_one_dimension_and_single_rows_are_read(tmp_path, read):
    for shape in ((5, 1), (1, 5), (1, 1)):
        array = np.asfortranarray(np.arange(5, dtype=np.float32)[: shape[0] * shape[1]].reshape(shape))
        np.save(tmp_path / "x.npy", array)
        assert np.array_equal(read(tmp_path / "x.npy")[0], array)


def test_taking_rows_that_are_not_there_is_refused(tmp_path, rows):
    np.save(tmp_path / "x.npy", rows)
    with open_source(str(tmp_path / "x.npy")) as source, pytest.raises(InputError, match="rows 0 to 99"):
        source.take(np.array([3, 100]))


def test_threads_may_share_a_source(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    rows = np.arange(40_000, dtype=np.float32).reshape(10_000, 4)
    np.save(tmp_path / "x.npy", rows)
    with open_source(str(tmp_path / "x.npy")) as source:

        def take(seed):
            numbers = np.sort(np.random.default_rng(seed).choice(10_000, 200, replace=False))
            return np.array_equal(source.take(numbers), rows[numbers])

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(take, range(50)))
