"""Whether codecs make the same bytes everywhere: what is compared, and what is said of a difference."""

import io
import json

import pytest
from report_records import CODECS, COMMON, write

from vecstore import registry
from vecstore.bench import codecs_task, datasets, pages, same_worker, sameness, targets
from vecstore.bench.codecs_task import Plan
from vecstore.bench.report.build import report
from vecstore.kernels.isa import available
from vecstore.kernels.threads import get_threads, set_threads
from vecstore.search import Searcher

TINY = "generated_16"


def of_a_set(differs=(), **digests):
    made = {"codec": "a", "codes": "b", "rows": "c", "scores by ip": "d", **digests}
    return {
        "dim": 16, "rows": 10, "fit_rows": 10, "queries": 2, "thread_counts": [1, 2], "batches": [997, 1],
        "digests": made, "differs": list(differs),
    }  # fmt: skip


def record(method="same sq", **more):
    found = sameness.compared({"avx2": of_a_set(), "scalar": of_a_set()})
    return {
        **COMMON, "task": "codecs", "kind": "same", "dataset": "some", "method": method, "threads": 1,
        **found, **more,
    }  # fmt: skip


@pytest.fixture
def case(monkeypatch):
    monkeypatch.setattr(same_worker, "_SCANNED", 2000)
    yield {"dataset": TINY, "data": None, "quick": True, "seed": 0}
    set_threads(0)


def test_what_is_made_alike_is_the_same_and_scores_may_differ_between_sets():
    found = sameness.compared({"avx2": of_a_set(), "scalar": of_a_set(**{"scores by ip": "x"})})
    assert found["same_over_sets"] and found["same_over_threads_and_batches"] and found["same_scores"]
    assert found["differs"] == [] and found["sets"] == ["avx2", "scalar"]


def test_what_differs_is_said():
    apart = sameness.compared({"avx2": of_a_set(), "scalar": of_a_set(codes="x")})
    assert apart["differs"] == ["scalar and avx2: codes"]
    assert not apart["same_over_sets"] and apart["same_over_threads_and_batches"] and apart["same_scores"]
    inside = sameness.compared({"avx2": of_a_set(["codes, 2 threads"])})
    assert inside["differs"] == ["avx2: codes, 2 threads"]
    assert inside["same_over_sets"] and not inside["same_over_threads_and_batches"] and inside["same_scores"]
    scores = sameness.compared({"avx2": of_a_set(["scores by ip, 2 threads"])})
    assert scores["same_over_threads_and_batches"] and scores["same_scores"] is False


def test_codes_alone_tell_machines_apart():
    one, two = (sameness.compared({"avx2": of_a_set(**{"scores by ip": text})}) for text in "xy")
    assert one["digest"] == two["digest"]
    assert one["digest"] != sameness.compared({"avx2": of_a_set(codes="x")})["digest"]


@pytest.mark.parametrize(
    "spec", ["pq:m=4", "sign", "lossless:mode=plain", "groupcenter:by=group+sq", "fde:reps=2,bits=1,dim=2+sq"]
)
def test_a_codec_of_any_kind_is_compared_with_itself(case, spec):
    found = same_worker.run(case | {"method": f"same {spec}"})
    assert found["differs"] == []
    block = spec.startswith("lossless")
    assert any(what.startswith("scores") for what in found["digests"]) != block
    assert ("scores of codes" in found["digests"]) == (spec == "sign")


def test_codes_that_depend_on_threads_or_batches_are_found(case, monkeypatch):
    def shaky(codec, rows):
        codes = codec.encode(rows)
        codes[0, 0] ^= len(rows) == 997 or (get_threads() == 2 and len(rows) == 1)
        return codes

    monkeypatch.setattr(same_worker, "_encoded", shaky)
    found = same_worker.run(case | {"method": "same sq"})["differs"]
    assert "codes, 1 threads, batches of 997" in found
    assert "codes of 64 rows, 2 threads, batches of 1" in found
    assert "codes of 64 rows, 1 threads, batches of 1" not in found


def test_a_fit_and_scores_that_depend_on_threads_are_found(case, monkeypatch):
    plain = registry.fit
    monkeypatch.setattr(
        registry, "fit", lambda spec, rows, **more: plain(spec, rows[get_threads() :], **more)
    )
    found = same_worker.run(case | {"method": "same sq"})["differs"]
    assert "codec, 2 threads" in found and "scores by l2, 2 threads, all queries at once" in found


def test_scores_of_other_rows_than_the_best_are_compared(case, monkeypatch):
    plain = Searcher.search

    def shaky(self, *asked, **more):
        found, values = plain(self, *asked, **more)
        values[values != values[:, :1]] += get_threads() == 2
        return found, values

    monkeypatch.setattr(Searcher, "search", shaky)
    found = same_worker.run(case | {"method": "same sq"})["differs"]
    assert "scores by ip, 2 threads, all queries at once" in found


def test_a_codec_that_fails_is_said(case, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(case | {"method": "same pq:m=99"})))
    same_worker.main()
    assert "error" in json.loads(capsys.readouterr().out)


def test_every_codec_and_transform_is_compared():
    for dim in (3, 16, 128, 300):
        specs = [registry.parse(label.removeprefix(sameness.LABEL)) for label in sameness.labels(dim)]
        named = {step.name for spec in specs for step in spec.steps}
        assert named >= {*registry.CODECS, *registry.TRANSFORMS, *registry.FIRST}


def test_cases_come_once_for_any_threads_and_by_their_labels(monkeypatch):
    monkeypatch.setattr("vecstore.bench.machine.cores", lambda: 2)
    found = list(codecs_task.cases(Plan(datasets=(TINY,), methods=("same",), threads=(1, 2), quick=True)))
    assert [case["method"] for case in found] == sameness.labels(16)
    assert {case["kind"] for case in found} == {"same"} and {case["threads"] for case in found} == {1}
    one = list(codecs_task.cases(Plan(datasets=(TINY,), methods=("same rq*",), quick=True)))
    assert {case["method"] for case in one} == {"same rq:m=8", "same rq:m=4,beam=1"}
    few = [c for c in codecs_task.cases(Plan(datasets=(TINY,), quick=True)) if c["kind"] == "same"]
    assert 3 <= len(few) < 8  # each takes seconds
    other = codecs_task.cases(Plan(datasets=(TINY,), methods=("rq*",), quick=True))
    assert "same" not in {case["kind"] for case in other}


def test_a_set_whose_rows_are_for_lossless_alone_is_left_out(monkeypatch):
    made = datasets.load(TINY, None, quick=True)
    only = datasets.Dataset(TINY, "ip", made.fit, made.base, made.queries, lossless_only=True)
    monkeypatch.setattr(datasets, "load", lambda *args, **more: only)
    assert "same" not in {case["kind"] for case in codecs_task.cases(Plan(datasets=(TINY,)))}


def test_a_case_is_run_on_every_instruction_set():
    plan = Plan(datasets=(TINY,), methods=("same f16",), quick=True)
    records = list(codecs_task.run(plan))
    assert len(records) == 1 and records[0]["sets"] == list(available())
    assert records[0]["differs"] == [] and records[0]["same_over_sets"]
    assert records[0]["load_before"] is None  # nothing is timed, so that other processes do no harm
    assert list(codecs_task.run(plan, records)) == []


def test_a_process_that_fails_fails_the_case(monkeypatch):
    made = {"avx2": of_a_set(), "scalar": {"error": "MemoryError: no"}}
    monkeypatch.setattr(sameness, "available", lambda: tuple(made))
    monkeypatch.setattr(sameness, "record_of", lambda module, case, limit, VECSTORE_ISA: made[VECSTORE_ISA])
    assert sameness.record({}, 1) == {"error": "scalar: failed: MemoryError: no"}


def test_targets_count_codecs_that_are_the_same():
    lines = sameness.judge([record(), record("same lossless:mode=best", same_scores=None)])
    assert [line.kept for line in lines] == [True, True]
    assert lines[0].found == "2 of 2 codecs fitted on 1 data sets (avx2, scalar)"
    assert lines[1].found.startswith("1 of 1") and "1 and 2 threads, batches of 997 and 1" in lines[0].what
    common = {**COMMON, "task": "codecs", "kind": "same", "dataset": "some", "threads": 1}
    failed = {**common, "method": "same pq", "error": "x"}
    for bad in (record("same pq", same_over_sets=False), failed):
        assert sameness.judge([record(), bad])[0].kept is False
    assert [line.kept for line in sameness.judge([record("same pq", same_scores=False)])] == [True, False]
    assert [line.kept for line in sameness.judge([])] == [None, None]


def test_pages_and_reports_show_them_and_nothing_else_changes(tmp_path):
    plain = pages.page(CODECS)
    bad = record("same pq", same_over_sets=False, differs=["scalar and avx2: codes"])
    text = pages.page([*CODECS, record(), bad])
    assert "| sq | some | avx2, scalar | yes | yes | yes | - |" in text
    assert "| pq | some | avx2, scalar | no | yes | yes | scalar and avx2: codes |" in text
    kept = [line for line in plain.splitlines() if "same c" not in line and "same s" not in line]
    assert [line for line in kept if line not in text] == []
    made, groups = report([write(tmp_path / "r.jsonl", *CODECS, record(), bad)])
    assert not made.troubles and len(groups["codecs"]) == len(CODECS) + 2
    section = made.sections[0]
    assert [line.kept for line in section.targets if line.what.startswith("same")] == [False, True]
    assert "Same bytes everywhere" in [table.title for table in section.tables]
    without, _ = report([write(tmp_path / "s.jsonl", *CODECS)])
    assert section.charts == without.sections[0].charts and section.best == without.sections[0].best


def test_targets_of_the_page_have_both_lines():
    assert [line.kept for line in targets.judge([record()]) if line.command == sameness.COMMAND] == [
        True,
        True,
    ]
