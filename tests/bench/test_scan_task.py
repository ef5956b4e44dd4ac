"""`bench scan` measures pairs, survives what fails, and makes its page of records."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from vecstore.bench import scan_page, scan_task, scan_worker
from vecstore.bench.contenders.searchers import Ours, searching
from vecstore.cli.main import main
from vecstore.errors import SpecError


def record(ratio=3.0, queries=1, **more):
    """A record as the task makes it."""
    values = {
        "task": "scan", "method": "pq:m=48", "peer": "faiss PQ48x8", "dim": 384, "rows": 20_000, "threads": 1,
        "quick": False, "queries": queries, "runs": 5, "read_gb_s": 20.0, "read_share": 0.5,
        "scan_ratio": ratio, "scan_ratio_min": ratio / 2, "scan_ratio_max": 2 * ratio,
        "machine": {"cpu": "a processor", "isa": "avx2"},
    }  # fmt: skip
    for who, size in (("ours", 48), ("peer", 52)):
        values |= {f"{who}_ns_row": 1.25, f"{who}_row_bytes": size}
    return values | more


def test_a_pair_is_timed_in_a_process_of_its_own():
    plan = scan_task.Plan(methods=("sq:bits=8",), quick=True)
    found = list(scan_task.run(plan))
    assert {r["peer"] for r in found} == {"faiss SQ8", "usearch i8"}
    for r in found:
        assert "machine" in r
        assert "missing" in r or (r["ours_ns_row"] > 0 and r["peer_ns_row"] > 0 and r["queries"] in (1, 32))
    assert any("scan_ratio" in r for r in found)
    assert all(0.9 < r[f"{who}_recall"] <= 1 for r in found if "scan_ratio" in r for who in ("ours", "peer"))
    done = scan_task.latest(found)
    assert list(scan_task.run(plan, done)) == []


@pytest.mark.parametrize(
    "label", ["sq:bits=8", "faiss SQ8", "usearch i8", "turbovec 4 bit", "rabitqlib 4 bit"]
)
def test_the_recall_of_a_scan_is_the_share_of_the_best_rows(label):
    contender = searching(label)
    if contender.missing():
        pytest.skip(label)
    rows, queries = scan_worker._rows(40_000, 64, 0), scan_worker._rows(20, 64, 1)
    contender.use_threads(1)
    contender.build(rows)
    true = np.argsort(-queries @ rows.T, axis=1)[:, :10]
    share = np.mean([np.isin(a, b).mean() for a, b in zip(true, contender.found(queries, 10), strict=True)])
    least = scan_worker._tenth(rows, queries)
    assert share > 0.5 and abs(scan_worker._recall(contender, rows, queries, least) - share) < 0.02


def test_the_page_has_the_recall_beside_the_ratio():
    text = scan_page.page([record(3.5, ours_recall=0.75, peer_recall=0.5)])
    assert "3.50 (20,000 rows, recall@10 0.750 against 0.500)" in text and "| 0.750 | 0.500 |" in text


def test_a_contender_that_fails_is_a_record(monkeypatch):
    def fail(*_):
        raise RuntimeError("no\nmemory")

    monkeypatch.setattr(Ours, "build", fail)
    case = {
        "method": "sq:bits=4", "peer": "faiss SQ4", "threads": 1, "rows": 50, "dim": 8,
        "queries": [1], "runs": 1,
    }  # fmt: skip
    assert scan_worker.run(case) == [{"error": "RuntimeError: no memory"}]


def test_a_label_that_no_pair_has_is_a_record_and_the_rest_goes_on():
    said = []
    plan = scan_task.Plan(methods=("pq:m=96", "nonsense", "zip*"), sizes=(500,), quick=True)
    found = list(scan_task.run(plan, say=said.append))
    assert {"nonsense"} == {each["method"] for each in found if "no pair is named" in each.get("error", "")}
    assert any("scan_ratio" in each or "missing" in each for each in found)
    assert "left out: no pair is named like zip*" in said
    assert "no pair is named" in scan_page.page(found)


def test_plans_that_cannot_be_are_refused():
    for plan, message in (
        (scan_task.Plan(methods=("nothing",)), "no pair"),
        (scan_task.Plan(threads=(999,)), "999 threads"),
    ):
        with pytest.raises(SpecError, match=message):
            list(scan_task.run(plan))


def test_every_label_of_a_pair_names_a_contender():
    for pair in scan_task.PAIRS:
        assert searching(pair.ours).label == pair.ours and searching(pair.peer).label == pair.peer


def test_the_page_says_which_targets_are_kept():
    missing = {
        "missing": "usearch",
        "method": "sq:bits=8",
        "peer": "usearch i8",
        "rows": 20_000,
        "threads": 1,
    }
    records = [record(), record(1.5, 32), record(9.0, rows=1_000_000), missing]
    text = scan_page.page(records)
    wanted = "| pq:m=48, ratio to faiss PQ48x8 >= 2 | 3.00 (20,000 rows); 9.00 (1,000,000 rows) | yes |"
    assert wanted in text
    assert "| pq:m=96, ratio to faiss PQ96x8 >= 2 | - | not measured |" in text
    assert "3.00 (1.50-6.00)" in text and "usearch is not installed" in text and "a processor" in text
    assert "## 20,000 rows of 384 dimensions, one thread" in text
    records = [record(), record(1.5, rows=1_000_000)]
    assert "1.50 (1,000,000 rows) | no |" in scan_page.page(records)


def test_goals_of_large_sets_are_not_asked_of_small_ones():
    case = {"method": "tcq:bits=2,states=64,stages=0", "peer": "faiss PQ192x4fs"}
    text = scan_page.page([record(0.1, **case), record(0.8, rows=1_000_000, **case)])
    assert "0.80 (1,000,000 rows) | yes |" in text


@pytest.mark.parametrize(
    "share, together, verdict", [(0.2, 0.5, "| yes |"), (0.2, 1.0, "| no |"), (0.9, 1.0, "")]
)
def test_queries_at_once_are_compared_with_one_where_memory_is_not_the_limit(share, together, verdict):
    text = scan_page.page([record(read_share=share), record(queries=32, ours_ns_row=together)])
    line = next((line for line in text.splitlines() if "32 queries at once" in line), "")
    assert verdict in line and bool(line) == bool(verdict)


def test_the_later_record_of_a_case_counts():
    assert [r["scan_ratio"] for r in scan_task.latest([record(1.0), record(2.0), record(3.0, 32)])] == [2, 3]


def test_the_command_writes_records_and_the_page(tmp_path):
    out, page = tmp_path / "scan.jsonl", tmp_path / "scan.md"
    out.write_text(json.dumps(record()) + "\n")
    arguments = ["bench", "scan", "--methods", "pq:m=48", "--quick", "--out", str(out), "--page", str(page)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert len(out.read_text().splitlines()) >= 2
    assert "4,000 rows" in page.read_text() and "20,000 rows" in page.read_text()
