"""Word vectors: headers or none, words with blanks, and what is refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from vecstore.errors import InputError
from vecstore.formats import open_source


def put(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_glove_lines_may_start_with_words_of_several_fields(tmp_path, read):
    text = "the 0.5 1 -2\n. . . 1 2 3\nat name@domain.com 4 5 6\n\u00a0 7 8 9\n 1e-3 .5 -0\n12 1 1 1\n"
    rows, ids, _ = read(put(tmp_path / "x.txt", text))
    assert ids == ["the", ". . .", "at name@domain.com", "\u00a0", "", "12"]
    assert np.array_equal(rows[:3], np.array([[0.5, 1, -2], [1, 2, 3], [4, 5, 6]], np.float32))
    assert rows.shape == (6, 3)


def test_a_header_may_stand_first(tmp_path, read):
    for text in ("2 3\na 1 2 3\nb 4 5 6\n", "2 3\r\na 1 2 3\r\nb 4 5 6\r\n", "2 3\na 1 2 3 \nb\t4\t5\t6\n"):
        rows, ids, _ = read(put(tmp_path / "x.vec", text))
        assert ids == ["a", "b"]
        assert rows.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_number_as_first_word_is_no_header(tmp_path, read):
    rows, ids, _ = read(put(tmp_path / "x.txt", "5 3\n7 9\n"))
    assert ids == ["5", "7"]
    assert rows.tolist() == [[3], [9]]


def test_glove_text_of_one_dimension_has_no_header(tmp_path, write, read):
    write(tmp_path / "x.glove", np.ones((3, 1), np.float32), ids=pa.array(["2", "3", "4"]))
    assert read(tmp_path / "x.glove")[1] == ["2", "3", "4"]


def test_a_header_of_another_count_is_refused(tmp_path, read):
    for count in (1, 3):
        with pytest.raises(InputError, match=f"has 2 rows; its header says {count}"):
            read(put(tmp_path / "x.vec", f"{count} 2\na 1 2\nb 3 4\n"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a 1 2\nb 3 x\n", "line 1 .* does not end in numbers"),
        ("2 2\na 1 2\nb 3\n", r"row 1 \(counted from 0\) has 1 values"),
        ("2 2\na 1 2\nb 3 0x4\n", r"row 1 \(counted from 0\) has b'0x4' where a number should be"),
        ("2 2\na 1 2\n\nb 3 4\n", r"row 1 \(counted from 0\) has 0 values"),
        (b"2 2\na 1 2\n\xff 3 4\n", r"row 1 \(counted from 0\) has a word that is not UTF-8"),
        ("a 1 2\nb 3 4", "ends within a line"),
        ("words only\n", "does not end in numbers"),
        (b"\0" * 100, "ends within a line"),
    ],
)
def test_lines_that_are_no_rows_are_refused(text, reason, tmp_path, read):
    with pytest.raises(InputError, match=reason):
        read(put(tmp_path / "x.txt", text))


def test_words_that_a_format_cannot_hold_are_refused(tmp_path, write):
    rows = np.ones((2, 3), np.float32)
    for suffix, word in (
        (".txt", "a\nb"),
        (".txt", "a "),
        (".glove", "step 2"),
        (".bin", "a b"),
        (".bin", "\na"),
    ):
        with pytest.raises(InputError, match=r"row 1 \(counted from 0\) has the id"):
            write(tmp_path / f"x{suffix}", rows, ids=pa.array(["a", word]))


def test_words_with_blanks_and_numbers_survive_a_header(tmp_path, write, read):
    words = ["New York 2", "", " a", "3", "ä\u0085ö\u2028", "1 2 3"]
    rows = np.arange(18, dtype=np.float32).reshape(6, 3)
    write(tmp_path / "x.txt", rows, ids=pa.array(words))
    back, ids, _ = read(tmp_path / "x.txt")
    assert ids == words
    assert np.array_equal(back, rows)


def test_word2vec_binaries_of_both_styles_are_read(tmp_path, read):
    rows = np.arange(6, dtype="<f4").reshape(2, 3)
    for end in (b"\n", b""):
        body = b"".join(
            word + b" " + row.tobytes() + end for word, row in zip((b"a", b"b"), rows, strict=True)
        )
        back, ids, _ = read(put(tmp_path / "x.bin", b"2 3\n" + body))
        assert ids == ["a", "b"]
        assert np.array_equal(back, rows)


@pytest.mark.parametrize(
    "text",
    [b"999999999999 300\n", b"1 2000000\n" + bytes(100), b"-1 3\n", b"1 3", b"x y\n", b"1 2\n" + b"w" * 100],
)
def test_lying_word2vec_headers_are_refused(text, tmp_path, read):
    with pytest.raises(InputError):
        read(put(tmp_path / "x.bin", text))


def test_ids_that_become_words_are_noted(tmp_path, rows, write):
    for suffix in (".txt", ".bin"):
        assert "row numbers" in write(tmp_path / f"a{suffix}", rows)[0]
        assert "read back as strings" in write(tmp_path / f"b{suffix}", rows, ids=pa.array(range(100)))[0]


@pytest.mark.parametrize("at", [0, 1, 2, 699, 999])
@pytest.mark.parametrize("ending", [".glove", ".txt"])
def test_a_line_that_lacks_a_number_is_named_and_spoils_no_other(tmp_path, at, ending):
    lines = [f"w{i} {i}.5 {i}.25 {i}.75 1 2" for i in range(1000)]
    lines[at] = lines[at].rpartition(" ")[0]
    path = tmp_path / f"short{ending}"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=f"row {at} "), open_source(str(path)) as source:
        assert source.dim == 5
        list(source.batches(100))
