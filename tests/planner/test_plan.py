"""A plan is measured, ordered and honest, goes on where it was cut short, and is what compress takes."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import vecstore as vs
from vecstore.cli.main import main
from vecstore.planner import candidates as fitting
from vecstore.planner import plan as planning
from vecstore.planner.drawing import Drawn, Draws
from vecstore.planner.families import FAMILIES
from vecstore.planner.speeds import Speeds
from vecstore.planner.trial import Kept

RNG = np.random.default_rng(0)
MIXING = RNG.standard_normal((32, 32)) / np.arange(1, 33)[:, None]
ROWS = (RNG.standard_normal((6000, 32)) @ MIXING).astype(np.float32)
COSTS = ("encode_us", "decode_us", "scan_ns")
NUMBERS = ("bytes_per_row", "total_bytes", "recall_at_10", "relative_mse", *COSTS)


@pytest.fixture(scope="module")
def twelve():
    return vs.plan(ROWS, budget="12B/row", metric="cosine")


def test_candidates_are_measured_best_first_and_inside_the_budget(twelve):
    assert len(twelve) > 1 and twelve[0] is twelve.candidates[0]
    recalls = [one.recall_at_10 for one in twelve]
    assert recalls == sorted(recalls, reverse=True) and not twelve[0].tied
    for one in twelve:
        assert all(getattr(one, name) > 0 for name in NUMBERS)
        assert one.bytes_per_row <= 12 and one.total_bytes > 6000 * one.bytes_per_row
        assert one.recall_at_10_interval[0] <= one.recall_at_10 <= one.recall_at_10_interval[1]
        assert one.relative_mse_interval[0] <= one.relative_mse <= one.relative_mse_interval[1]
    assert twelve.fit_rows < twelve.test_rows <= 6000


@pytest.mark.parametrize("budget", ["6B/row", "12B/row", "20%", "150kB", "100%"])
def test_compress_takes_the_first(tmp_path, budget):
    first = vs.plan(ROWS, budget=budget)[0]
    summary = vs.compress(ROWS, tmp_path / "a.arrow", budget=budget)
    assert summary.spec == first.spec
    if first.spec.startswith("lossless"):
        assert summary.bytes == pytest.approx(first.total_bytes, rel=0.02)
    else:
        assert summary.bytes == first.total_bytes


def test_what_is_shown_is_what_is_found(twelve):
    codec = vs.fit(twelve[0].spec, ROWS[:4096])
    rest = ROWS[4096:]
    lost = np.square(rest - codec.decode(codec.encode(rest))).sum()
    assert lost / np.square(rest - rest.mean(axis=0)).sum() == pytest.approx(twelve[0].relative_mse, rel=0.3)


def test_a_plan_that_is_cut_short_goes_on_where_it_was(tmp_path, monkeypatch):
    path = tmp_path / "record.jsonl"
    cut = vs.plan(ROWS, budget="8B/row", seconds=0, resume=path)
    assert len(cut) == 1 and any("within 0 seconds" in why for why in cut.left_out.values())
    path.write_text(path.read_text() + '{"spec": "torn')
    whole = vs.plan(ROWS, budget="8B/row", resume=path)
    assert len(whole) > 1 and not any("seconds" in why for why in whole.left_out.values())

    def never(self, spec, codec):
        raise AssertionError("measured twice")

    monkeypatch.setattr(planning.Search, "measured", never)
    assert vs.plan(ROWS, budget="8B/row", resume=path).as_dict() == whole.as_dict()


def test_what_was_measured_is_never_measured_again(tmp_path):
    path, few = tmp_path / "record.jsonl", ROWS[:600]
    whole = vs.plan(few, budget="12kB", resume=path)  # many are measured, some of which are not shown
    specs = [json.loads(line)["spec"] for line in path.read_text().splitlines()[1:]]
    before = path.read_text()
    assert len(whole) < len(set(specs)) and len(specs) == len(set(specs)) + len(whole)
    assert vs.plan(few, budget="12kB", resume=path).as_dict() == whole.as_dict()
    assert path.read_text() == before


def test_a_record_that_ends_before_costs_are_measured_goes_on_with_these(tmp_path):
    path, few = tmp_path / "record.jsonl", ROWS[:600]
    whole = vs.plan(few, budget="12kB", resume=path)
    header, *lines = path.read_text().splitlines()
    lines = [line for line in lines if json.loads(line)["speeds"] is None]
    path.write_text("\n".join([header, *lines]) + "\n")
    again = vs.plan(few, budget="12kB", resume=path)
    assert [one.spec for one in again] == [one.spec for one in whole] and again.left_out == whole.left_out
    assert len(path.read_text().splitlines()) == 1 + len(lines) + len(whole)


def test_a_record_of_another_budget_changes_nothing(tmp_path):
    path, few = tmp_path / "record.jsonl", ROWS[:40]
    vs.plan(few, budget="90B/row", resume=path)
    again, fresh = vs.plan(few, budget="100B/row", resume=path), vs.plan(few, budget="100B/row")
    assert [one.spec for one in again] == [one.spec for one in fresh] and again.left_out == fresh.left_out


@pytest.mark.parametrize(("n", "budget", "what"), [(40, "90B/row", "error"), (600, "12kB", "recall@10")])
def test_what_is_not_shown_is_worse_by_what_counts(n, budget, what):
    reasons = vs.plan(ROWS[:n], budget=budget).left_out.values()
    others = [text for text in reasons if "the best of these has" in text]
    assert others and all(what in text and "is 0," not in text for text in others)


def test_what_is_shown_is_not_left_out(monkeypatch):
    # What is too small beside others in one room is measured in a smaller one.
    monkeypatch.setattr(fitting, "FAMILIES", [one for one in FAMILIES if one.spec.startswith(("f16", "sq"))])
    found = vs.plan(ROWS, budget="64B/row", min_recall=0.1)
    assert "sq:bits=8" in [one.spec for one in found]
    assert not {one.spec for one in found} & set(found.left_out)


def test_when_time_is_over_no_smaller_budget_is_begun(monkeypatch):
    fits, real = [], fitting.fit

    def fit(spec, rows, **more):
        fits.append(spec)
        return real(spec, rows, **more)

    monkeypatch.setattr(fitting, "fit", fit)
    found = vs.plan(ROWS, budget="16B/row", min_recall=0.1, seconds=0)
    assert len(found) == 1 and len(fits) == 3  # at each look, and at last


def test_what_needs_more_than_was_estimated_takes_nothing_from_others():
    few = np.random.default_rng(1).standard_normal((2500, 3)).astype(np.float32)
    found = vs.plan((few * 40).astype(np.int8), budget="1.63B/row", metric="cosine")
    assert len(found)


def test_a_record_of_something_else_is_refused(tmp_path):
    path = tmp_path / "record.jsonl"
    vs.plan(ROWS, budget="3B/row", seconds=0, resume=path)
    for other in ({"seed": 1}, {"metric": "l2"}):
        with pytest.raises(vs.ConflictError, match=r"is of another plan: its (seed|metric)"):
            vs.plan(ROWS, budget="3B/row", resume=path, **other)
    with pytest.raises(vs.ConflictError, match="its rows differ"):
        vs.plan(ROWS + 1, budget="3B/row", resume=path)
    lines = path.read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), "plan": "0.0"})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(vs.ConflictError, match="its version differ"):
        vs.plan(ROWS, budget="3B/row", resume=path)
    for text in ("not json\n", "[1]\n", "{}\n"):
        path.write_text(text)
        with pytest.raises(vs.InputError, match="is no record of a plan"):
            vs.plan(ROWS, budget="3B/row", resume=path)
        assert path.read_text() == text


def test_of_what_is_good_enough_the_smallest_comes_first():
    floor = vs.plan(ROWS, budget="64B/row", min_recall=0.8)
    sizes = [one.bytes_per_row for one in floor]
    assert sizes == sorted(sizes) and sizes[0] <= 16
    assert min(one.recall_at_10 for one in floor) >= 0.8
    assert any("less than 0.8" in why for why in floor.left_out.values())
    with pytest.raises(vs.BudgetError, match=r"no codec as good and fast as asked.*recall@10 is 0\.\d+"):
        vs.plan(ROWS, budget="2B/row", min_recall=0.999)


def test_a_scan_that_is_too_slow_is_left_out(twelve):
    ceiling = np.median([one.scan_ns for one in twelve])
    try:
        fast = vs.plan(ROWS, budget="12B/row", metric="cosine", max_scan_ns=ceiling)
    except vs.BudgetError:  # the machine was slower this time
        return
    assert all(one.scan_ns <= ceiling for one in fast)
    with pytest.raises(vs.BudgetError, match="a scan takes"):
        vs.plan(ROWS, budget="12B/row", metric="cosine", max_scan_ns=1e-6)


@pytest.mark.parametrize("n", [900, 6000])  # without a look, and with one
def test_what_is_fast_enough_is_found_behind_better_codecs_that_are_not(monkeypatch, n):
    def timed(codec, rows):
        slow = str(codec.spec).startswith(("tcq", "klt", "pq", "rotate", "opq", "pca", "hadamard"))
        return Speeds(1.0, 1.0, 50.0 if slow else 5.0)

    monkeypatch.setattr(planning, "timed", timed)
    found = vs.plan(ROWS[:n], budget="12B/row", max_scan_ns=10)
    assert len(found) and all(one.scan_ns == 5 for one in found)
    assert any("scan takes" in why for why in found.left_out.values())


def test_a_budget_that_holds_nothing_says_the_least():
    with pytest.raises(vs.BudgetError, match="the least is"):
        vs.plan(ROWS, budget="0.01B/row")


@pytest.mark.parametrize("n", [1, 5, 20, 300])
def test_few_rows_are_enough(n):
    found = vs.plan(ROWS[:n], budget="60B/row" if n >= 300 else "9000B/row")
    assert len(found) and (n >= 300 or found[0].spec == "f32")


def test_a_candidate_that_cannot_be_fitted_is_named_and_the_rest_goes_on(monkeypatch):
    def refusing(spec, rows, *, seed):
        if spec.startswith("pq"):
            raise vs.InputError("pq needs more rows")
        return vs.fit(spec, rows, seed=seed)

    monkeypatch.setattr(fitting, "fit", refusing)
    found = vs.plan(ROWS[:3000], budget="12B/row")
    assert "pq needs more rows" in found.left_out.values()
    assert len(found) and not any(one.spec.startswith("pq") for one in found)


def test_what_loses_nothing_comes_first():
    found = vs.plan(ROWS, budget="110%")
    assert found[0].spec == "f32" and (found[0].recall_at_10, found[0].relative_mse) == (1, 0)
    integers = np.random.default_rng(0).poisson(3, (5000, 64)).astype(np.uint8)
    assert vs.plan(integers, budget="20%")[0].spec.startswith("lossless")


def test_rows_that_cannot_be_taken_are_not_planned_with():
    rows = ROWS[:1000].copy()
    rows[::3] = np.nan
    assert vs.plan(rows, budget="8B/row").fit_rows < 700
    with pytest.raises(vs.InputError, match="nothing to plan"):
        vs.plan(rows[::3], budget="8B/row")
    with pytest.raises(vs.SpecError, match="metric is"):
        vs.plan(ROWS, budget="8B/row", metric="dot")


def kept(hits, errors):
    """Whose hits and order say the same."""
    shares = np.float32(np.array(hits) / 10)
    return Kept(shares, shares, np.array(errors, float), 1.0)


@pytest.mark.parametrize("by_recall", [False, True])
def test_candidates_are_tied_if_other_queries_might_rank_them_otherwise(by_recall):
    rng = np.random.default_rng(0)
    hard = rng.integers(1, 9, 500)  # how hard a query is, for all candidates alike
    draws = Draws(Drawn(np.arange(500), np.ones(50)), 0, by_recall)
    first = kept(hard, np.ones(50))
    assert draws.tied(first, kept(hard + rng.integers(-1, 2, 500), np.ones(50)))
    assert not draws.tied(first, kept(hard - (rng.random(500) < 0.1), np.ones(50)))
    few = Draws(Drawn(np.arange(0), np.ones(50)), 0, by_recall)
    assert few.recall(kept([], np.ones(50))) is None
    assert few.tied(kept([], np.ones(50)), kept([], 1 + rng.normal(0, 0.1, 50)))
    assert not few.tied(kept([], np.ones(50)), kept([], np.full(50, 1.1)))


def test_the_command_prints_a_table_or_json(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS[:2000])
    arguments = ["plan", str(tmp_path / "rows.npy"), "--budget", "10B/row", "--metric", "l2"]
    table = CliRunner().invoke(main, arguments)
    assert (
        table.exit_code == 0
        and "recall@10" in table.output
        and "others are searched for among" in table.output
    )
    found = CliRunner().invoke(main, [*arguments, "--json"])
    first = json.loads(found.stdout)["candidates"][0]
    assert {"spec", *NUMBERS} <= set(first)
    done = CliRunner().invoke(main, ["plan", str(tmp_path / "rows.npy"), "--budget", "1B"])
    assert done.exit_code == 2 and "the least is" in done.output


@pytest.mark.parametrize("dies", ["fit", "measure"])
def test_a_candidate_that_fails_in_any_way_leaves_the_others(monkeypatch, dies):
    first = vs.plan(ROWS[:900], budget="8B/row")[0].spec
    name = first.partition(":")[0]
    real = fitting.fit if dies == "fit" else planning.Trial.measure

    def fit(spec, *rest, **more):
        if spec.startswith(name):
            raise MemoryError("no room")
        return real(spec, *rest, **more)

    def measure(self, codec):
        if str(codec.spec).startswith(name):
            raise MemoryError("no room")
        return real(self, codec)

    owner, method = (fitting, fit) if dies == "fit" else (planning.Trial, measure)
    monkeypatch.setattr(owner, dies, method)
    found = vs.plan(ROWS[:900], budget="8B/row")
    assert len(found) > 1 and not any(one.spec.startswith(name) for one in found)
    assert "MemoryError: no room" in found.left_out.values()


def test_where_no_candidate_can_be_fitted_the_reason_is_said(monkeypatch):
    real = fitting.fit

    def fit(spec, *rest, **more):
        if spec == "lossless":
            return real(spec, *rest, **more)
        raise np.linalg.LinAlgError("no axes")

    monkeypatch.setattr(fitting, "fit", fit)
    with pytest.raises(vs.BudgetError, match=r"can be fitted; .*LinAlgError: no axes"):
        vs.plan(ROWS[:900], budget="8B/row")
