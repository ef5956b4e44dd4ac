"""Which column is the vector, which the id, and what is refused in them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vecstore.errors import InputError, NotFoundError
from vecstore.formats import open_source


@pytest.fixture(params=["parquet", "arrow", "arrows"])
def put(request, tmp_path):
    """put(table) -> path of a file of one of the three kinds."""

    def put(table, name="x"):
        table = table if isinstance(table, pa.Table) else pa.table(table)
        path = str(tmp_path / f"{name}.{request.param}")
        if request.param == "parquet":
            pq.write_table(table, path, row_group_size=40)
        else:
            kind = pa.ipc.new_file if request.param == "arrow" else pa.ipc.new_stream
            with kind(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=40)
        return path

    return put


VECTORS = pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32(), 2))
ROWS = np.array([[1, 2], [3, 4], [5, 6]], np.float32)


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float16(), 2), pa.list_(pa.uint8(), 2)],
)
def test_every_kind_of_list_is_a_vector(kind, put, read):
    values = [[1, 2], [3, 4], [5, 6]]
    if pa.types.is_float16(kind.value_type):
        values = [[np.float16(v) for v in row] for row in values]
    back, ids, columns = read(put({"v": pa.array(values, kind)}))
    assert np.array_equal(back, ROWS)
    assert back.dtype == kind.value_type.to_pandas_dtype()
    assert ids is None
    assert columns == {}


def test_a_tensor_column_is_a_vector(put, read):
    kind = pa.fixed_shape_tensor(pa.float32(), (2,))
    tensors = pa.ExtensionArray.from_storage(kind, VECTORS)
    assert np.array_equal(read(put({"v": tensors}))[0], ROWS)


def test_fixed_size_binary_is_a_vector_only_if_named(put, read):
    data = pa.array([row.tobytes() for row in ROWS], pa.binary(8))
    with pytest.raises(InputError, match="no column of vectors"):
        read(put({"v": data}))
    assert np.array_equal(read(put({"v": data}), vectors="v")[0], ROWS)


def test_two_vector_columns_must_be_told_apart(put, read):
    path = put({"a": VECTORS, "b": VECTORS})
    with pytest.raises(InputError, match="several vector columns: 'a', 'b'"):
        read(path)
    back, _, columns = read(path, vectors="b")
    assert np.array_equal(back, ROWS)
    assert columns == {"a": ROWS.tolist()}


def test_wrong_names_are_not_found(put, read):
    path = put({"id": [1, 2, 3], "v": VECTORS})
    for choice in ({"vectors": "w"}, {"ids": "w"}):
        with pytest.raises(NotFoundError, match="no column 'w'; it has 'id', 'v'"):
            read(path, **choice)
    with pytest.raises(InputError, match="expected a list of real numbers"):
        read(path, vectors="id")
    with pytest.raises(InputError, match="ids are integers or strings"):
        read(path, ids="v")


@pytest.mark.parametrize("name", ["id", "_id"])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([7, 8, 9], pa.uint16()), pa.int64()),
        (pa.array([7, 8, 9], pa.uint64()), pa.int64()),
        (pa.array(["a", "b", "c"], pa.large_string()), pa.string()),
        (pa.array(["a", "b", "a"]).dictionary_encode(), pa.string()),
    ],
)
def test_an_id_column_is_found_and_cast(name, values, kind, put, read):
    path = put({name: values, "v": VECTORS})
    with open_source(path) as source:
        assert source.id_type == kind
    assert read(path)[1] == values.to_pylist()


def test_an_id_that_is_no_key_is_carried(put, read):
    _, ids, columns = read(put({"id": [0.5, 1.5, 2.5], "v": VECTORS}))
    assert ids is None
    assert columns == {"id": [0.5, 1.5, 2.5]}


def test_ids_beyond_int64_are_refused_with_their_row(put, read):
    path = put({"id": pa.array([1, 2, 2**63], pa.uint64()), "v": VECTORS})
    with pytest.raises(InputError, match=r"x\..*: row 2 \(counted from 0\) has id 9223372036854775808"):
        read(path)


def test_nulls_are_refused_with_their_row(put, read):
    filled = [[1.0, 2.0]] * 90
    # In the second row group or batch, so that the number is the file's.
    vectors = pa.array([*filled, None, [1.0, 2.0]], pa.list_(pa.float32()))
    with pytest.raises(InputError, match=r"row 90 \(counted from 0\) has no vector"):
        read(put({"v": vectors}, "a"))
    values = pa.array([*filled, [1.0, None], [1.0, 2.0]], pa.list_(pa.float32()))
    with pytest.raises(InputError, match=r"row 90 \(counted from 0\) has no value"):
        read(put({"v": values}, "b"))
    ids = pa.array([*range(90), None, 91])
    with pytest.raises(InputError, match=r"row 90 \(counted from 0\) has no id"):
        read(put({"id": ids, "v": pa.array([[1.0, 2.0]] * 92, pa.list_(pa.float32(), 2))}, "c"))


def test_ragged_rows_are_refused_with_their_row(put, read):
    vectors = pa.array([[1.0, 2.0]] * 50 + [[1.0, 2.0, 3.0]], pa.list_(pa.float32()))
    with pytest.raises(InputError, match=r"row 50 \(counted from 0\) has 3 dimensions; .* 2"):
        read(put({"v": vectors}))


def test_names_that_stand_twice_are_refused(put, read):
    table = pa.Table.from_arrays([VECTORS, pa.array([1, 2, 3]), pa.array([1, 2, 3])], ["v", "n", "n"])
    with pytest.raises(InputError, match="several columns 'n'"):
        read(put(table))


def test_lists_of_text_and_bools_are_no_vectors(put, read):
    path = put({"a": [["x"], ["y"], ["z"]], "b": [[True], [False], [True]], "v": VECTORS})
    assert np.array_equal(read(path)[0], ROWS)


def test_formats_without_columns_refuse_a_choice(tmp_path, read):
    np.save(tmp_path / "x.npy", ROWS)
    with pytest.raises(InputError, match="has no columns"):
        read(tmp_path / "x.npy", vectors="v")
