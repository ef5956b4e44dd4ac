"""The language of --where: what it finds in a table, and what it says of texts that it cannot read."""

import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

import vecstore as vs
from vecstore.errors import SpecError
from vecstore.search.where import parse

DAYS = [datetime.date(2020, 1, day) for day in (1, 2, 3, 4)]
TABLE = pa.table(
    {
        "row": [0, 1, 2, 3],
        "lang": ["en", "de", None, "it's"],
        "year": pa.array([2019, 2020, 2021, None], pa.int32()),
        "ok": [True, False, None, True],
        "day": pa.array(DAYS),
        "time": pa.array([datetime.datetime(2020, 1, 1, hour) for hour in range(4)]),
        'an "odd" name': [1.5, 2, 3, 4],
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("lang = 'en'", [0]),
        ("lang == 'en' and year >= 2020", []),
        ("lang='en' or year>=2020", [0, 1, 2]),
        ("row = 0 or row = 1 and row = 2", [0]),
        ("(row = 0 or row = 1) and row != 1", [0]),
        ("LANG = 'en' OR lang = 'de'".replace("LANG", "lang"), [0, 1]),
        ("lang in ('en', 'de')", [0, 1]),
        ("lang not in ('en')", [1, 3]),
        ("not lang in ('en')", [1, 3]),
        ("not not lang = 'en'", [0]),
        ("year between 2019 and 2020 and ok", [0]),
        ("year not between 2019 and 2020", [2]),
        ("2020 <= year", [1, 2]),
        ("year <> 2020", [0, 2]),
        ("year > -1.5e3", [0, 1, 2]),
        ("lang like '%e%' and lang not like 'd%'", [0]),
        ("lang is null", [2]),
        ("lang is not null", [0, 1, 3]),
        ("not lang is null", [0, 1, 3]),
        ("ok", [0, 3]),
        ("not ok", [1]),
        ("ok = true", [0, 3]),
        ("lang = 'it''s'", [3]),
        ('"an ""odd"" name" > 2', [2, 3]),
        ("day >= date '2020-01-03'", [2, 3]),
        ("time < timestamp '2020-01-01 02:00:00'", [0, 1]),
        ("year = null", []),
    ],
)
def test_a_text_finds_what_it_says(text, rows):
    assert TABLE.filter(parse(text)).column("row").to_pylist() == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the end at character 1; expected a column or a value"),
        ("lang =", "the end at character 7"),
        ("lang = 'en", '"\'" at character 8'),
        ("lang = 'en'; drop", "';' at character 12"),
        ("and", "'and' at character 1"),
        ("(ok", "the end at character 4; expected '\\)'"),
        ("ok)", "'\\)' at character 3; expected 'and', 'or' or the end"),
        ("year > > 3", "'>' at character 8"),
        ("year 2020", "expected a comparison"),
        ("year not > 3", "expected a comparison"),
        ("lang like 3", "expected a text"),
        ("year in ()", "expected a column or a value"),
        ("year in (lang)", "expected a value"),
        ("1", "expected a comparison"),
        ("day = date '2020-13-01'", "expected a date"),
        ("year = 99999999999999999999", "no column can hold"),
        ("(" * 300 + "ok" + ")" * 300, "nests more than 100"),
        (" or ".join(["ok"] * 5000), "at most"),
    ],
)
def test_a_text_that_cannot_be_read_says_where(text, message):
    with pytest.raises(SpecError, match=message):
        parse(text)


def test_the_longest_text_is_not_too_deep_for_arrow():
    found = parse(" or ".join(["row=1"] * 1600))
    assert TABLE.filter(found).column("row").to_pylist() == [1]


NOON = [datetime.datetime(2024, 5, day, 12) for day in (1, 2, 3)]
TYPED = pa.table(
    {
        "row": [0, 1, 2, 3],
        "day": pa.array([*(noon.date() for noon in NOON), None], pa.date32()),
        "day64": pa.array([*(noon.date() for noon in NOON), None], pa.date64()),
        "time": pa.array([*NOON, None], pa.timestamp("s")),
        "zoned": pa.array([*NOON, None], pa.timestamp("ns", "Europe/Berlin")),
        "clock": pa.array([*(datetime.time(hour, 30) for hour in (1, 2, 3)), None], pa.time32("s")),
        "price": pa.array([*map(Decimal, ("1.25", "2.50", "3.00")), None], pa.decimal128(10, 2)),
        "name": ["2024-05-01", "b", None, "c"],
        "key": pa.array([5, 2**63 + 5, None, 2**64 - 1], pa.uint64()),
        "half": pa.array(np.array([0.5, 1, 2, np.nan], np.float16)),
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("day >= '2024-05-02'", [1, 2]),
        ("'2024-05-02' <= day", [1, 2]),
        ("not day > '2024-05-02'", [0, 1]),
        ("day64 = '2024-05-02'", [1]),
        ("day between '2024-05-01' and '2024-05-02'", [0, 1]),
        ("day in ('2024-05-03', '2024-05-01')", [0, 2]),
        ("day in (null, '2024-05-01')", [0]),
        ("day not in ('2024-05-03')", [0, 1]),
        ("day = date '2024-05-02' or day = null", [1]),
        ("time > '2024-05-02'", [1, 2]),
        ("time > '2024-05-02T12:00:00.5'", [2]),
        ("time in ('2024-05-02 12:00:00', '2024-05-02 12:00:00.5')", [1]),
        ("zoned > '2024-05-02 12:00:00'", [2]),  # UTC
        ("zoned = '2024-05-02T14:00:00+02:00'", [1]),
        ("zoned in ('2024-05-02T12:00:00Z')", [1]),
        ("clock >= '02:30'", [1, 2]),
        ("clock in ('01:30:00', '02:30:00.5')", [0]),
        ("price >= '2.5'", [1, 2]),
        ("price >= 2", [1, 2]),
        ("price > 1.255", [1, 2]),
        ("price in (1.25, '3', 7.777)", [0, 2]),
        ("price in (7.777)", []),
        ("name = '2024-05-01'", [0]),
        ("key = 5", [0]),
        ("key > 5.5 and key < 1e19", [1]),
        ("key > -1", [0, 1, 3]),
        ("key in (5, -1, 5.5, 9223372036854775813)", [0, 1]),
        ("key between 9223372036854775809 and 18446744073709551615", [1, 3]),
        ("row < 9223372036854775813", [0, 1, 2, 3]),
        ("row in (1, 9223372036854775813)", [1]),
        ("half >= 1", [1, 2]),
        ("half in (0.5, 2)", [0, 2]),
    ],
)
def test_a_text_is_taken_as_the_column_is(text, rows):
    assert TYPED.filter(parse(text, TYPED.schema)).column("row").to_pylist() == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("day > 'soon'", "column 'day', which is date32.*, with 'soon', .* such as '2020-01-31'"),
        ("day in ('2024-05-01', '2024-05-01 12:00')", "with '2024-05-01 12:00'"),
        ("day > 3", "with '3'"),
        ("time > '2024-13-01'", "such as '2020-01-31 12:30:00'"),
        ("time > '2024-05-02T12:00:00Z'", "which is timestamp"),  # without a zone
        ("clock = 'noon'", "such as '12:30:00'"),
        ("price > 'much'", "which is decimal.* such as 1.25"),
        ("price > 1e400", "with '1e400'"),
        ("price between 1 and 'nan'", "with 'nan'"),
        ("key = 'x'", "which is uint64, with 'x', .* such as 125"),
    ],
)
def test_a_text_that_is_none_of_the_columns_values_is_refused(text, message):
    with pytest.raises(SpecError, match=message):
        parse(text, TYPED.schema)


def test_a_search_takes_texts_as_dates(tmp_path):
    rows = np.eye(4, 8, dtype=np.float32)
    with vs.Store.create(tmp_path / "x.store", dim=8, codec="f32") as store:
        store.put([1, 2, 3, 4], rows, {"day": TYPED["day"], "price": TYPED["price"]})
        for where, ids in (("day >= '2024-05-02'", {2, 3}), ("price < '2.75' and day > '2024-05-01'", {2})):
            found, _ = store.search(rows[:1], k=len(ids), where=where)
            assert set(found.ravel().tolist()) == ids
        with pytest.raises(SpecError, match="'May'"):
            store.search(rows[:1], where="day > 'May'")
