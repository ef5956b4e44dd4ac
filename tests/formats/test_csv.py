"""CSV: which columns are the row, ids as they stand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from vecstore.errors import InputError, NotFoundError


@pytest.fixture
def put(tmp_path):
    def put(text):
        (tmp_path / "x.csv").write_text(text)
        return tmp_path / "x.csv"

    return put


def test_all_numeric_columns_but_the_id_are_the_row(put, read):
    rows, ids, columns = read(put("id,a,name,b\n1,0.5,x,2\n2,1.5,,3\n"))
    assert rows.tolist() == [[0.5, 2], [1.5, 3]]
    assert ids == [1, 2]
    assert columns == {"name": ["x", None]}


def test_columns_can_be_named_in_any_order(put, read):
    rows, ids, columns = read(put("k,a,b,c\nu,1,2,3\nv,4,5,6\n"), vectors="c, a", ids="k")
    assert rows.tolist() == [[3, 1], [6, 4]]
    assert ids == ["u", "v"]
    assert columns == {"b": [2, 5]}


def test_ids_with_leading_zeros_stay_text(put, read):
    assert read(put("id,a\n007,1\n7,2\n"))[1] == ["007", "7"]
    assert read(put("id,a\n7,1\n-8,2\n"))[1] == [7, -8]


def test_an_id_that_is_no_number_after_a_block_of_numbers_is_refused(put, read, monkeypatch):
    monkeypatch.setattr("vecstore.formats.delimited._BLOCK_BYTES", 64)
    lines = "".join(f"{i},1\n" for i in range(40))
    with pytest.raises(InputError, match=r"row 40 \(counted from 0\) has id '007'"):
        read(put(f"id,a\n{lines}007,2\n"))


def test_whole_numbers_first_and_fractions_later_are_read(put, read, monkeypatch):
    monkeypatch.setattr("vecstore.formats.delimited._BLOCK_BYTES", 64)
    lines = "".join(f"{i},,1\n" for i in range(40))
    rows, _, columns = read(put(f"id,note,a\n{lines}40,late,0.25\n"))
    assert rows[-1].tolist() == [0.25]
    assert columns["note"][-1] == "late"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,a\n1,2\n2,\n", r"row 1 \(counted from 0\) has no value in column 'a'"),
        ("id,a\n1,2\n,3\n", r"row 1 \(counted from 0\) has no id"),
        ("id,a\n1,2\n2,3,4\n", r"row 1 \(counted from 0\): Expected 2 columns, got 3"),
        ("id,name\n1,x\n", "no numeric columns"),
        ("a,a\n1,2\n", "several columns 'a'"),
        ("\n", "x.csv"),
    ],
)
def test_rows_that_do_not_fit_are_refused(text, reason, put, read):
    with pytest.raises(InputError, match=reason):
        read(put(text))


def test_wrong_choices_are_refused(put, read):
    path = put("id,a,name\n1,2,x\n")
    with pytest.raises(NotFoundError, match="no column 'z'"):
        read(path, vectors="a,z")
    with pytest.raises(NotFoundError, match="no column 'z'"):
        read(path, ids="z")
    with pytest.raises(InputError, match="named twice, or is the id"):
        read(path, vectors="a,a")
    with pytest.raises(InputError, match="column 'name' does not start with numbers"):
        read(path, vectors="name")


def test_a_file_of_many_blocks_is_read_whole(put, read, monkeypatch):
    monkeypatch.setattr("vecstore.formats.delimited._BLOCK_BYTES", 4096)
    values = np.arange(9000).reshape(3000, 3)
    rows, ids, _ = read(
        put("id,a,b,c\n" + "".join(f"r{i},{a},{b},{c}\n" for i, (a, b, c) in enumerate(values)))
    )
    assert np.array_equal(rows, values)
    assert ids[-1] == "r2999"


def test_a_last_row_that_is_neither_whole_nor_text_is_refused(put, read):
    path = put("")
    path.write_bytes(b"id,a,b\n1,2,3\n2,\x84\x84")
    with pytest.raises(InputError, match="row 1"):
        read(path)
