"""A plan of tables: trained, exact in bytes, ranked on rows that were not learned from."""

import json

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

import vecstore as vs
from vecstore.cli.main import main
from vecstore.planner import tables

RNG = np.random.default_rng(0)
USER, ITEM = RNG.integers(40, size=4000), RNG.integers(30, size=4000)
LIKED = (np.random.default_rng(1).random((40, 30)) < 0.5)[USER, ITEM]
LOG = pa.table({"user": USER, "item": [f"item {number}" for number in ITEM], "liked": LIKED.astype(int)})


@pytest.fixture(autouse=True)
def few(monkeypatch):
    chosen = {name: tables.PRESETS[name] for name in ("plain", "hash", "int8", "lowrank")}
    monkeypatch.setattr(tables, "PRESETS", chosen)


def test_candidates_are_inside_the_budget_and_best_first():
    found = vs.plan_tables(LOG, vs.TableTerms("30%", dim=8), label="liked")
    assert [one.auc for one in found.candidates] == sorted(
        (one.auc for one in found.candidates), reverse=True
    )
    for one in found.candidates:
        made = vs.table(one.spec, {"user": 40, "item": 30}, dim=8, budget="30%", optimizer="adam")
        assert one.total_bytes == made.ledger().serve <= 0.3 * 4 * 8 * 70 and one.share <= 0.3
        assert one.auc_interval[0] <= one.auc <= one.auc_interval[1]
    assert "the least budget for it is" in found.left_out["plain"]
    assert (found.train_rows, found.test_rows, found.drawn) == (3200, 800, False)


def test_what_can_be_learned_is_learned():
    rows = pa.table({"user": USER, "item": ITEM, "liked": ((USER % 2) == (ITEM % 2)).astype(int)})
    found = vs.plan_tables(rows, vs.TableTerms("100%", dim=8), label="liked").candidates
    assert {one.spec for one in found} >= {"plain", "int8"} and found[0].auc > 0.8


def test_fields_alone_are_enough_and_what_is_drawn_is_said():
    known = {"fields": {"user": 50, "item": 20}, "frequencies": {"item": [1] * 20}}
    once, again = (vs.plan_tables(known, vs.TableTerms("50%", seconds=0)) for _ in range(2))
    assert once.drawn and len(once.candidates) == 1
    assert sum("not trained within 0 seconds" in why for why in once.left_out.values()) >= 1
    assert [one.auc for one in once.candidates] == [one.auc for one in again.candidates]


@pytest.mark.parametrize(
    ("source", "label", "message"),
    [
        (LOG, "clicked", "no column 'clicked' of labels"),
        (LOG.slice(0, 5), "liked", "too few to learn from"),
        (LOG.set_column(2, "liked", [[1] * 4000]), "liked", "one kind of label"),
        (LOG.append_column("price", [[0.5] * 4000]), "liked", "column 'price' is double"),
        (LOG.select(["liked"]), "liked", "no column beside 'liked'"),
        ({"fields": {}}, None, "there are no fields"),
        ({"fields": {"user": 0}}, None, "field 'user' has 0 ids"),
        ({"fields": {"user": 2}, "frequencies": {"user": [1]}}, None, "expected 2 positive numbers"),
    ],
)
def test_what_cannot_be_planned_with_is_said(source, label, message):
    with pytest.raises(vs.InputError, match=message):
        vs.plan_tables(source, vs.TableTerms("50%"), label=label)


def test_an_infeasible_budget_and_a_missing_file_are_errors(tmp_path):
    with pytest.raises(vs.BudgetError, match="holds no table"):
        vs.plan_tables(LOG, vs.TableTerms("1B"), label="liked")
    with pytest.raises(vs.NotFoundError, match="is not there"):
        vs.plan_tables(tmp_path / "none.csv", vs.TableTerms("50%"), label="liked")


def test_the_command_plans_tables_from_a_file(tmp_path):
    lines = ["user,item,liked", *(f"{u},{i},{int(k)}" for u, i, k in zip(USER, ITEM, LIKED, strict=True))]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    arguments = ["plan", str(tmp_path / "log.csv"), "--budget", "50%", "--label", "liked", "--dim", "4"]
    table = CliRunner().invoke(main, arguments)
    assert table.exit_code == 0 and "AUC" in table.output and "trained on 3,200 rows" in table.output
    found = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert found["candidates"][0]["total_bytes"] > 0
    wrong = CliRunner().invoke(main, [*arguments, "--min-recall", "0.9"])
    assert wrong.exit_code == 2 and "--min-recall is for vectors" in wrong.output
    (tmp_path / "fields.json").write_text('{"fields": {"user": 20, "item": 9}}')
    drawn = CliRunner().invoke(main, ["plan", str(tmp_path / "fields.json"), "--budget", "50%"])
    assert drawn.exit_code == 0 and "drawn rows" in drawn.output


def test_a_plan_that_was_cut_short_goes_on_and_trains_nothing_twice(tmp_path, monkeypatch):
    path, small = tmp_path / "record.jsonl", LOG.slice(0, 600)
    terms = vs.TableTerms("60%", dim=4, seconds=0, resume=str(path))
    assert len(vs.plan_tables(small, terms, label="liked").candidates) == 1
    terms = vs.TableTerms("60%", dim=4, resume=str(path))
    whole = vs.plan_tables(small, terms, label="liked")
    assert len(whole.candidates) > 1
    monkeypatch.setattr(tables, "_trained", None)
    again = vs.plan_tables(small, terms, label="liked")
    assert again.candidates == whole.candidates
    with pytest.raises(vs.ConflictError, match="its rows differ"):
        vs.plan_tables(LOG.slice(600, 600), terms, label="liked")
    with pytest.raises(vs.ConflictError, match="its dim differ"):
        vs.plan_tables(small, vs.TableTerms("60%", dim=8, resume=str(path)), label="liked")


def test_a_method_that_fails_in_any_way_leaves_the_others(monkeypatch):
    real = tables.make

    def make(wish):
        if wish.method in ("hash", "lowrank"):
            raise {"hash": MemoryError, "lowrank": vs.SpecError}[wish.method]("no room")
        return real(wish)

    monkeypatch.setattr(tables, "make", make)
    found = vs.plan_tables(LOG.slice(0, 400), vs.TableTerms("90%", dim=8), label="liked")
    assert found.candidates
    assert (found.left_out["hash"], found.left_out["lowrank"]) == ("MemoryError: no room", "no room")
