"""vecstore search as a user types it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import vecstore as vs
from vecstore.cli.main import main

N, DIM = 300, 16


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def rows():
    return np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("queries.npy", rows()[:4])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows().ravel()), DIM)
    lang = pa.array([("en", "de")[i % 2] for i in range(N)])
    table = pa.table({"id": [f"n{i}" for i in range(N)], "vector": vectors, "lang": lang})
    pq.write_table(table, "rows.parquet")
    vs.compress("rows.parquet", "a.arrow", "sq:bits=8", metric="cosine")
    return tmp_path


def test_search_gives_programs_ids_and_scores(folder):
    found = json.loads(run("search", "a.arrow", "queries.npy", "-k", 3, "--json").stdout)
    assert set(found) == {"ids", "scores"}
    assert [names[0] for names in found["ids"]] == ["n0", "n1", "n2", "n3"]
    assert all(len(values) == 3 and values == sorted(values, reverse=True) for values in found["scores"])
    with vs.open("a.arrow") as archive:
        ids, scores = archive.search(rows()[:4], k=3)
    assert ids.tolist() == found["ids"] and np.allclose(scores, found["scores"])


def test_search_gives_people_a_line_for_each(folder):
    lines = run("search", "a.arrow", "queries.npy", "-k", 2, "--metric", "l2").stdout.splitlines()
    fields = [line.split("\t") for line in lines]
    assert [field[0] for field in fields] == ["0", "0", "1", "1", "2", "2", "3", "3"]
    assert fields[0][1] == "n0" and float(fields[0][2]) < float(fields[1][2])


def test_search_keeps_to_where(folder):
    found = json.loads(run("search", "a.arrow", "queries.npy", "--where", "lang = 'de'", "--json").stdout)
    assert all(int(name[1:]) % 2 for names in found["ids"] for name in names)
    more = json.loads(
        run("search", "a.arrow", "queries.npy", "--where", "id in ('n7')", "--rerank", 5, "--json").stdout
    )
    assert more["ids"] == [["n7"]] * 4


def test_search_takes_queries_of_any_format(folder):
    whole = json.loads(run("search", "a.arrow", "rows.parquet", "-k", 1, "--json").stdout)
    assert whole["ids"] == [[f"n{i}"] for i in range(N)]
    again = run("search", "a.arrow", "a.arrow", "-k", 1, "--json", "--threads", 2)
    assert json.loads(again.stdout)["ids"] == whole["ids"]


def test_search_compares_codes_with_codes(folder):
    vs.compress("rows.parquet", "bits.arrow", "sign", metric="cosine")
    found = json.loads(run("search", "bits.arrow", "queries.npy", "--symmetric", "-k", 2, "--json").stdout)
    assert [names[0] for names in found["ids"]] == ["n0", "n1", "n2", "n3"]
    assert [values[0] for values in found["scores"]] == [DIM] * 4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("gone.arrow", "queries.npy"), 3, "gone.arrow"),
        (("a.arrow", "gone.npy"), 3, "gone.npy"),
        (("a.arrow", "wide.npy"), 3, "has 5 dimensions; a.arrow has 16"),
        (("a.arrow", "nan.npy"), 3, "nan"),
        (("a.arrow", "queries.npy", "--where", "lang ="), 2, "the end at character 7"),
        (("a.arrow", "queries.npy", "--where", "land = 'x'"), 2, "which are id (string), lang (string)"),
        (("a.arrow", "queries.npy", "-k", "0"), 2, "-k"),
        (("a.arrow", "queries.npy", "--symmetric"), 2, "itq, rbe have"),
    ],
)
def test_what_cannot_be_searched_is_one_line(folder, arguments, code, message):
    np.save("wide.npy", np.zeros((2, 5), np.float32))
    np.save("nan.npy", np.full((2, DIM), np.nan, np.float32))
    result = run("search", *arguments, code=code)
    assert message in result.stderr and not result.stdout
