"""The vecs family, the Big-ANN family, safetensors and HDF5: real files, other libraries, lying headers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from vecstore.errors import InputError, NotFoundError

DATA = Path(os.environ.get("VECSTORE_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("base.bvecs", (25000, 128), "u1"),
        ("query.fvecs", (1000, 128), "f4"),
        ("groundtruth.ivecs", (1000, 100), "i4"),
    ],
)
def test_the_files_of_texmex_are_read(name, shape, dtype, read):
    path = DATA / "vectors" / "sift_sceaux" / name
    if not path.exists():
        pytest.skip(f"{path} is not there; set VECSTORE_DATA")
    back, _, _ = read(path, batch_rows=1000)
    assert back.shape == shape
    raw = np.fromfile(path, np.uint8).reshape(shape[0], -1)
    assert np.array_equal(np.ascontiguousarray(raw[:, 4:]).view(dtype), back)


def test_a_row_of_another_dimension_is_named(tmp_path, rows, write, read):
    write(tmp_path / "x.fvecs", rows)
    data = bytearray((tmp_path / "x.fvecs").read_bytes())
    data[41 * 28 : 41 * 28 + 4] = (7).to_bytes(4, "little")
    (tmp_path / "x.fvecs").write_bytes(data)
    with pytest.raises(InputError, match=r"row 41 \(counted from 0\) says it has 7 dimensions"):
        read(tmp_path / "x.fvecs")


@pytest.mark.parametrize("dim", [-1, 0, 2**31 - 1])
def test_impossible_dimensions_are_refused(dim, tmp_path, read):
    (tmp_path / "x.fvecs").write_bytes(dim.to_bytes(4, "little", signed=True) * 8)
    (tmp_path / "x.fbin").write_bytes((1).to_bytes(4, "little") + dim.to_bytes(4, "little", signed=True) * 8)
    for name in ("x.fvecs", "x.fbin"):
        with pytest.raises(InputError, match="dimensions"):
            read(tmp_path / name)


def test_a_big_ann_header_must_fit_the_size(tmp_path, rows, read):
    for count in (99, 101, 2**32 - 1):
        head = np.array([count, 6], "<u4").tobytes()
        (tmp_path / "x.fbin").write_bytes(head + rows.tobytes())
        with pytest.raises(InputError, match=f"its header says {count} rows"):
            read(tmp_path / "x.fbin")


@pytest.mark.parametrize("suffix", [".bvecs", ".u8bin", ".i8bin", ".ivecs"])
def test_integer_targets_round_to_nearest_and_refuse_what_does_not_fit(suffix, tmp_path, write, read):
    near = np.array([[0.4, 1.5, 2.5], [3.49, 99.51, 126.6]], np.float32)
    write(tmp_path / f"x{suffix}", near)
    assert read(tmp_path / f"x{suffix}")[0].tolist() == [[0, 2, 2], [3, 100, 127]]
    for wrong in (np.nan, np.inf, 3e9, -3e9):
        bad = near.copy()
        bad[1, 2] = wrong
        with pytest.raises(InputError, match=r"row 1 \(counted from 0\) holds .* in dimension 2"):
            write(tmp_path / f"y{suffix}", bad)
    assert not (tmp_path / f"y{suffix}").exists()


def test_values_beyond_float16_are_refused(tmp_path, write):
    with pytest.raises(InputError, match=r"row 0 \(counted from 0\) holds 70000.0 in dimension 1"):
        write(tmp_path / "x.f16bin", np.array([[1, 70000]], np.float32))


def test_safetensors_agree_with_the_library(tmp_path, rows, write, read):
    library = pytest.importorskip("safetensors.numpy")
    write(tmp_path / "a.safetensors", rows, counted=False)
    assert np.array_equal(library.load_file(tmp_path / "a.safetensors")["vector"], rows)
    tensors = {"emb.weight": rows, "other": rows.astype(np.float16), "bias": np.ones(3, np.float32)}
    library.save_file(tensors, tmp_path / "b.safetensors", metadata={"a": "b"})
    for name in ("emb.weight", "other"):
        back, _, _ = read(f"{tmp_path}/b.safetensors::{name}")
        assert back.dtype == tensors[name].dtype
        assert np.array_equal(back, tensors[name])
    with pytest.raises(InputError, match=r"2 tensors that could be rows: emb.weight, other; name one"):
        read(tmp_path / "b.safetensors")
    with pytest.raises(InputError, match=r"'bias' is F32 \[3\]"):
        read(f"{tmp_path}/b.safetensors::bias")
    with pytest.raises(NotFoundError, match="no tensor 'x'"):
        read(f"{tmp_path}/b.safetensors::x")


def test_a_long_tensor_name_fits_the_header(tmp_path, rows, write, read):
    name = "größe.🙂" * 40
    write(f"{tmp_path}/x.safetensors::{name}", rows, counted=False)
    assert np.array_equal(read(f"{tmp_path}/x.safetensors::{name}")[0], rows)


def entry(begin, end, shape=(2, 2), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(0, 16, (4, 2))},
        {"a": entry(0, 16), "b": entry(8, 24)},
        {"a": entry(0, 16), "b": entry(20, 36)},
        {"a": entry(4, 20)},
        {"a": entry(16, 0)},
        {"a": entry(0, 1 << 60, (1 << 30, 1 << 28))},
        {"a": entry(0, 16, (-2, -2))},
        {"a": entry(0, 16, (2.0, 2))},
        {"a": {"dtype": "F32"}},
        {"a": 3},
        [],
        {"a": entry(0, 16, dtype="F8_E4M3")},
    ],
)
def test_lying_safetensors_headers_are_refused(header, tmp_path, read):
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    with pytest.raises(InputError):
        read(tmp_path / "x.safetensors")


@pytest.mark.parametrize("text", [b'{"a":' * 30000, b"{", b"\xff", b'{"a":{},"a":{}}', b"1" * 5000])
def test_headers_that_are_no_json_are_refused(text, tmp_path, read):
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(InputError):
        read(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes((1 << 63).to_bytes(8, "little") + text)
    with pytest.raises(InputError, match="its header says it has 9223372036854775808 bytes"):
        read(tmp_path / "x.safetensors")


def test_hdf5_data_sets_are_named(tmp_path, rows, read, write):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["train"], file["test"], file["group/deep"] = rows, rows + 1, rows + 2
        file["flat"], file["text"] = np.arange(3), "words"
        file.create_dataset("packed", data=rows, chunks=(10, 6), compression="gzip")
        file.create_dataset("nothing", shape=(10**12, 6), chunks=(10, 6), dtype="f4")
        file.create_dataset("complex", data=rows.astype(complex))
    path = f"{tmp_path}/x.hdf5"
    for name, offset in (("train", 0), ("test", 1), ("group/deep", 2), ("packed", 0)):
        assert np.array_equal(read(f"{path}::{name}")[0], rows + offset)
    with pytest.raises(InputError, match="two-dimensional data sets: complex, group/deep"):
        read(path)
    with pytest.raises(NotFoundError, match="no data set 'trian'"):
        read(f"{path}::trian")
    with pytest.raises(InputError, match="shape"):
        read(f"{path}::flat")
    with pytest.raises(InputError, match="none was written"):
        read(f"{path}::nothing")
    with pytest.raises(InputError, match="expected real numbers"):
        read(f"{path}::complex")
    write(f"{tmp_path}/y.h5::train", rows)
    with h5py.File(tmp_path / "y.h5") as file:
        assert np.array_equal(file["train"][:], rows)
        assert file["train"].fletcher32


def test_hdf5_without_h5py_names_the_extra(tmp_path, rows, monkeypatch, read):
    import sys

    from vecstore.errors import FormatError

    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "x.h5").write_bytes(b"x")
    with pytest.raises(FormatError, match=r"pip install 'vecstore\[hdf5\]'"):
        read(tmp_path / "x.h5")
