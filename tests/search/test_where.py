"""The language of --where: what it finds in a table, and what it says of texts that it cannot read."""

import datetime

import pyarrow as pa
import pytest

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
