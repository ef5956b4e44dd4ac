import json

import numpy as np
import pytest
from click.testing import CliRunner

import vecstore as vs
from vecstore.bench import limit_bits
from vecstore.bench.certificate import MEASURED, NOT_GIVEN, certify
from vecstore.cli.main import main

DIM, ROWS = 16, 9000


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((ROWS, DIM)) * np.linspace(2, 0.3, DIM) + 1).astype(np.float32)


@pytest.fixture(scope="module")
def stored(tmp_path_factory, rows):
    """Certificates of stores, made once."""
    found = {}

    def get(codec, keep="f16", **more):
        key = codec, keep, *more.items()
        if key not in found:
            path = tmp_path_factory.mktemp("store") / "items.store"
            with vs.Store.create(path, dim=DIM, codec=codec, keep=keep, metric="ip") as store:
                store.put(np.arange(ROWS), rows, **more)
                found[key] = certify(store)
        return found[key]

    return get


def test_a_store_that_keeps_rows_has_every_figure(stored, rows):
    found = stored("sq:bits=4", model="some")
    assert found["probe"]["true_rows"] == "kept rows (f16)"
    assert [key for key in MEASURED if NOT_GIVEN in found[key]] == []
    assert found["coded_by"] == ("sq:bits=4",) and found["bytes"]["row_bytes"] == DIM / 2
    codec = vs.fit("sq:bits=4", rows)
    back = codec.decode(codec.encode(rows))
    error = np.square(back - rows).sum() / np.square(rows - rows.mean(axis=0)).sum()
    assert found["error"]["relative_mse"] == pytest.approx(error, rel=0.05)
    assert found["limit"]["relative_mse"] > found["limit"]["least_relative_mse"]
    assert found["limit"]["gap_db"] == pytest.approx(
        10 * np.log10(found["limit"]["relative_mse"] / found["limit"]["least_relative_mse"])
    )
    depths = list(found["recall"]["recall_at_10_rescored"].values())
    assert 0.5 < found["recall"]["recall_at_10"] < depths[-1] == 1.0
    assert found["drift"]["fingerprint"]["nearness_of_last"] > found["drift"]["fingerprint"]["foreign_below"]


def test_what_only_codes_are_kept_of_is_not_invented(tmp_path, rows):
    vs.compress(rows, tmp_path / "a.arrow", "sq:bits=4", metric="l2")
    with vs.open(tmp_path / "a.arrow") as archive:
        found = certify(archive)
    assert [key for key in MEASURED if NOT_GIVEN in found[key]] == ["error", "limit", "recall"]
    assert all("only codes are kept" in found[key][NOT_GIVEN] for key in ("error", "limit", "recall"))
    assert found["limit_bits"]["shaped_by"] == found["spectrum"]["of"] == "decoded rows"
    assert "relative_mse_first" not in found["drift"] and "largest_distance_inside" not in found["bound"]
    assert "--model" in found["drift"]["fingerprint"][NOT_GIVEN]


def test_a_store_without_finer_rows_says_so_too(stored):
    found = stored("sq:bits=4", keep=None)
    assert "keep=f16" in found["error"][NOT_GIVEN] and found["probe"]["true_rows"] is None


@pytest.mark.parametrize("spec", ["f32", "lossless"])
def test_nothing_is_lost_where_nothing_is_lost(tmp_path, rows, spec):
    vs.compress(rows, tmp_path / "a.arrow", spec, metric="l2")
    with vs.open(tmp_path / "a.arrow") as archive:
        found = certify(archive)
    assert found["error"]["row_error_max"] == found["error"]["relative_mse"] == 0
    assert found["bound"]["proven"] and found["recall"]["recall_at_10"] == 1
    assert found["limit_bits"]["kept"] == found["limit_bits"]["exact"]


def test_the_grid_bounds_every_row_inside_it(stored):
    bound = stored("sq:bits=4", model="some")["bound"]
    assert bound["proven"] and 0 < bound["share_inside"] < 1
    rounding = 0.01  # of the kept rows
    assert 0 < bound["largest_distance_inside"] <= bound["distance_inside_grid"] + rounding


def test_the_bounds_of_rabitq_hold_as_often_as_they_say(stored):
    bound = stored("rabitq:bits=2")["bound"]
    assert bound["proven"] and bound["deviations"] == 3
    assert bound["share_within"] > 0.98 and 0 < bound["inner_product_p50"] <= bound["inner_product_max"]


def test_a_codec_without_a_bound_quotes_its_data_sheet(stored):
    bound = stored("tcq:bits=2,stages=0")["bound"]
    assert not bound["proven"] and bound["says"].startswith("not bounded")
    assert "chain" in stored("pca:dim=8+sq:bits=8")["bound"]["says"]


def test_fewer_bits_keep_fewer_sets(rows):
    kept = []
    for spec in ("sq:bits=8", "sq:bits=4", "sign"):
        found = limit_bits.survived(rows, "ip", vs.fit(spec, rows))
        assert found.exact > 950 and found.documents == 46 and found.queries == 1000
        kept.append(found.kept)
    assert kept == sorted(kept, reverse=True) and kept[0] > 900 > kept[2]
    exact = limit_bits.survived(rows, "ip", None)
    assert exact.kept == exact.exact > 950


@pytest.mark.parametrize("unit", [False, True])
def test_free_vectors_have_the_shape_of_the_collection(rows, unit):
    shape = limit_bits.Shape(rows, unit=unit)
    inner = np.random.default_rng(1).standard_normal((20_000, DIM)).astype(np.float32)
    found = shape.rows_of(inner / np.linalg.norm(inner, axis=1, keepdims=True))
    if unit:
        assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    else:
        assert found.mean(axis=0) == pytest.approx(rows.mean(axis=0), abs=0.06)
        assert np.cov(found, rowvar=False) == pytest.approx(np.cov(rows, rowvar=False), abs=0.15)


@pytest.mark.parametrize("unit", [False, True])
def test_slopes_of_places_are_those_of_differences(rows, unit):
    shape, rng = limit_bits.Shape(rows, unit=unit), np.random.default_rng(2)
    inner, wanted = (rng.standard_normal((46, DIM)).astype(np.float32) for _ in range(2))
    places, back = shape.placed(inner)
    there = shape.rows_of(inner)
    scale = np.linalg.norm(places[0] - places[1]) / np.linalg.norm(there[0] - there[1])
    slopes = back(wanted)
    for row, dim in ((0, 0), (5, 3), (45, 15)):
        step = np.zeros_like(inner)
        step[row, dim] = 1e-2
        moved = shape.rows_of(inner + step) - shape.rows_of(inner - step)
        assert slopes[row, dim] == pytest.approx(
            scale * float((wanted * moved).sum()) / 2e-2, rel=0.05, abs=0.02
        )


def test_rows_that_move_are_seen(tmp_path, rows):
    with vs.Store.create(tmp_path / "s", dim=DIM, codec="pq:m=4", keep="f16") as store:
        store.put(np.arange(ROWS), rows, model="some")
        store.put(np.arange(ROWS, 2 * ROWS), rows[:, ::-1] - 3, check_space=False)
        drift = certify(store)["drift"]
    assert drift["mean_moved"] > 0.5 and drift["relative_mse_last"] > 2 * drift["relative_mse_first"]


def test_rows_that_are_deleted_or_of_two_generations_are_no_fault(tmp_path, rows):
    with vs.Store.create(tmp_path / "s", dim=DIM, codec="sq:bits=8", keep="f16") as store:
        store.put(np.arange(ROWS), rows)
        store.delete(np.arange(0, ROWS, 2))
        store.refit("sq:bits=4")
        store.put(np.arange(ROWS, 2 * ROWS), rows)
        found = certify(store)
    assert found["coded_by"] == ("sq:bits=4", "sq:bits=8") and found["generations"] == 2
    assert (
        "several codecs" in found["limit"][NOT_GIVEN] and "several codecs" in found["limit_bits"][NOT_GIVEN]
    )
    assert found["error"]["relative_mse"] > 0 and found["recall"]["recall_at_10"] > 0.5


@pytest.mark.parametrize("few", [0, 1, 2, 15, 100])
def test_few_rows_give_reasons_and_no_figures(tmp_path, rows, few):
    with vs.Store.create(tmp_path / "s", dim=DIM, codec="sq:bits=8", keep="f16") as store:
        if few:
            store.put(np.arange(few), rows[:few])
        found = certify(store)
    assert set(MEASURED) <= set(found) and json.dumps(found)
    if not few:
        assert all(found[key] == {NOT_GIVEN: "there are no rows"} for key in MEASURED)


def test_rows_that_are_all_alike_give_reasons(tmp_path):
    vs.compress(np.ones((200, DIM), np.float32), tmp_path / "a.arrow", "f32")
    with vs.open(tmp_path / "a.arrow") as archive:
        found = certify(archive)
    assert found["error"]["relative_mse"] is None and NOT_GIVEN in found["limit"]
    assert found["spectrum"] == {NOT_GIVEN: "all rows are alike"}


def test_the_command_prints_a_page_or_an_object(tmp_path, rows):
    vs.compress(rows, tmp_path / "a.arrow", "sq:bits=4", metric="cosine")
    page = CliRunner().invoke(main, ["info", "--certificate", str(tmp_path / "a.arrow")])
    assert page.exit_code == 0 and "not given: only codes are kept" in page.output
    assert "LIMIT-bits" in page.output and max(map(len, page.output.splitlines()[1:])) <= 100
    done = CliRunner().invoke(main, ["info", "--certificate", "--json", str(tmp_path / "a.arrow")])
    found = json.loads(done.output)
    assert found["rows"] == ROWS and found["bytes"]["total"] == (tmp_path / "a.arrow").stat().st_size
