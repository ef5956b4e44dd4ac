"""Tasks on compressed vectors: what they count is right, and a run survives all that contenders do."""

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

from vecstore.bench import capped, process
from vecstore.bench.vectors import filtered, hops, methods, neighbours, page, probe, sets, task, words, worker
from vecstore.bench.wordgraph import word_graph
from vecstore.cli.main import main
from vecstore.errors import InputError, NotFoundError, SpecError

GRAPH = word_graph(["aa bb cc dd ee ff aa bb"], least=1, window=1)
CASE = {
    "task": "vectors", "dataset": "generated_16", "data": None, "quick": True, "seed": 0, "memory": None,
    "tasks": [], "budgets": [], "input": None, "queries": None, "metric": "cosine", "empty_bytes": 0,
}  # fmt: skip


def test_ndcg_is_one_for_a_perfect_order_and_less_for_a_late_hit():
    assert neighbours.ndcg(np.array([3, 1, 2, 9]), frozenset({1, 3})) == 1
    late = neighbours.ndcg(np.array([5, 3]), frozenset({3}))
    assert late == pytest.approx(1 / np.log2(3))
    assert neighbours.ndcg(np.arange(20), frozenset(range(20))) == 1
    assert neighbours.ndcg(np.arange(20), frozenset({15})) == 0


def test_average_precision_is_the_textbook_s():
    assert hops.average_precision(np.array([True, False, True, False])) == pytest.approx((1 + 2 / 3) / 2)
    assert hops.average_precision(np.zeros(3, bool)) == 0


def test_rings_are_nodes_at_exactly_so_many_edges():
    at = {name: number for number, name in enumerate(GRAPH.names)}
    first, second, third = hops.rings(GRAPH, at["cc"], 3)
    assert np.flatnonzero(first).tolist() == sorted([at["bb"], at["dd"]])
    assert np.flatnonzero(second).tolist() == sorted([at["aa"], at["ee"]])
    assert np.flatnonzero(third).tolist() == [at["ff"]]


def test_logistic_regression_is_at_the_least_of_its_loss():
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.standard_normal((300, 4)), np.ones(300)])
    labels = rows @ [1, -2, 0, 0.5, 0.3] + rng.standard_normal(300) > 0
    weights = probe.logistic(rows, labels, 3.0)

    def loss(w):
        return np.logaddexp(0, np.where(labels, -1, 1) * (rows @ w)).sum() + 3 * w @ w / 2

    for step in 1e-3 * np.vstack([np.eye(5), -np.eye(5)]):
        assert loss(weights) < loss(weights + step)


def test_groups_that_rows_show_are_named_and_others_are_not():
    rng = np.random.default_rng(0)
    groups = np.zeros((600, 3), bool)
    groups[np.arange(600), rng.integers(3, size=600)] = True
    rows = (groups @ rng.standard_normal((3, 8)) * 4 + rng.standard_normal((600, 8))).astype(np.float32)
    assert min(probe.scores(rows, groups, 0)) > 0.95
    assert max(probe.scores(rng.standard_normal((600, 8), dtype=np.float32), groups, 0)) < 0.5


def test_filters_match_as_many_rows_as_they_say():
    rows = np.random.default_rng(0).standard_normal((20_000, 4), dtype=np.float32)
    for make in filtered._kinds(rows, np.random.default_rng(1)).values():
        for share in filtered.SELECTIVITIES:
            found = [make(share).mean() for _ in range(20)]
            assert np.mean(found) == pytest.approx(share, rel=0.5 if share < 0.001 else 0.1)
    assert make(0.5).sum() != make(0.5).sum() or not np.array_equal(make(0.5), make(0.5))


def test_analogies_are_asked_of_known_words_and_answered_by_the_sum():
    known = "king queen man woman apple".split()
    asked = words.questions(known)
    assert {tuple(known[at] for at in line) for line in asked} == {
        ("man", "woman", "king", "queen"), ("king", "queen", "man", "woman"),
    }  # fmt: skip
    rows = np.array([[1, 1, 0], [1, -1, 0], [0, 1, 0.2], [0, -1, 0.2], [0, 0, 1]], np.float32)
    assert (words.answers(rows, asked) == asked[:, 3]).all()
    assert all(len(set(pair.split())) == 2 for text in words.KINDS.values() for pair in text.split(", "))


def test_similarity_is_one_for_the_same_rows_and_nothing_for_others():
    rng = np.random.default_rng(0)
    rows = words._unit(rng.standard_normal((500, 16), dtype=np.float32))
    assert words.similarity(rows, rows) == pytest.approx(1)
    assert abs(words.similarity(rows, rows[rng.permutation(500)])) < 0.1


def test_a_record_holds_sizes_costs_and_every_task_that_applies():
    record = worker.run(CASE | {"method": "sq:bits=8"})
    assert record["bytes_per_row"] == 16 and record["ledger"]["total"] > 16 * record["rows"]
    assert 0.9 < record["recall_at_10"] <= 1 and 0 < record["relative_mse"] < 1e-3
    assert set(record["filtered_recall_at_10"]) == {"equality", "range", "membership"}
    assert record["encode_us"] > 0 and "errors" not in record and "map_hop_1" not in record
    only = worker.run(CASE | {"method": "sq:bits=8", "tasks": ["reconstruction"]})
    assert "recall_at_10" not in only and only["relative_mse"] == record["relative_mse"]


@pytest.mark.parametrize("method", ["f32", "pq:bytes=8"])
def test_words_of_the_manual_have_a_graph(method):
    record = worker.run(CASE | {"dataset": "manual", "method": method, "tasks": ["graph", "words"]})
    assert 0.1 < record["map_hop_1"] < 1 and 0.5 < record["map_hop_2"] < 1
    assert record["similarity_rank"] > (0.999 if method == "f32" else 0.5)


def test_free_vectors_lose_sets_to_few_bits():
    full, sign = (worker.run(CASE | {"dataset": "limit_free_16", "method": m}) for m in ("f32", "sign"))
    assert full["limit_sets"] == full["limit_sets_float32"] == 1000 > sign["limit_sets"]
    assert "relative_mse" not in full


def test_every_default_method_of_every_kind_of_set_can_be_made():
    for name in ("generated_16", "limit_free_12"):
        data = sets.load(name, None, quick=True)
        found = list(methods.labels(data, (), ()))
        assert len(found) == len(set(found)) > 8
        for label in found:
            assert methods.contender(label, data, ()).label == label
    assert list(methods.labels(data, (), ("sq*", "pq:m=3"))) == ["sq:bits=8", "sq:bits=4", "pq:m=3"]
    with pytest.raises(SpecError, match="unknown method of 12 dimensions"):
        methods.contender("faiss pq:m=5", data, ())


def test_a_contender_that_is_missing_fails_or_dies_leaves_the_rest(tmp_path, monkeypatch):
    plan = task.Plan(None, ("generated_16",), ("f32", "nonsense", "sign"), tasks=("neighbours",), quick=True)
    records = list(task.run(plan))
    assert [record["method"] for record in records] == ["f32", "sign", "nonsense"]
    assert "unknown codec" in records[2]["error"] and records[1]["recall_at_10_drop"] > 0
    assert records[0]["peak_bytes"] > 0 and "cpu" in records[0]["machine"]
    assert list(task.run(plan, records)) == []
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nexit 9\n")
    dying.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(dying))
    process.empty_interpreter.cache_clear()
    assert "ended with 9" in next(task.run(plan))["error"]
    process.empty_interpreter.cache_clear()
    shown = list(page.tables(records))
    assert "unknown codec" in str(shown[0]) and "recall@10" in shown[0][1]


@pytest.mark.skipif(bool(capped.refusal()), reason="memory cannot be capped here")
def test_a_contender_that_needs_more_memory_than_the_cap_is_said_to_have_died():
    plan = task.Plan(None, ("generated_128",), ("f32",), tasks=("reconstruction",), quick=True)
    tight = next(task.run(task.Plan(**{**vars(plan), "memory": 1 << 20})))
    assert "ended with -9" in tight["error"] or "MemoryError" in tight["error"]
    assert "error" not in next(task.run(task.Plan(**{**vars(plan), "memory": 1 << 30})))
    groups = os.listdir("/sys/fs/cgroup/memory")
    assert not [name for name in groups if name.startswith(f"vecstore-bench-{os.getpid()}")]


def test_a_budget_that_no_code_can_keep_is_said_and_others_are_kept():
    plan = task.Plan(
        datasets=("generated_16",), methods=("sign", "--budget*"), budgets=("0.5B/row", "2B/row"),
        tasks=("reconstruction",), quick=True,
    )  # fmt: skip
    found = {each["method"]: each for each in task.run(plan)}
    assert found["--budget 2B/row"]["bytes_per_row"] <= 2 == found["sign"]["bytes_per_row"]
    assert "less than a byte a row" in found["--budget 0.5B/row"]["infeasible"]
    assert "less than a byte a row" in page.page(list(found.values()))
    judged = CASE | {"method": "f32", "budgets": ["0.5B/row"], "tasks": ["reconstruction"]}
    assert worker.run(judged)["relative_mse"] == 0


def test_judgments_that_are_all_of_others_leave_recall(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("rows", 300), ("asked", 5)):
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((count, 8), dtype=np.float32))
    (tmp_path / "judged.tsv").write_text("query\trow\tscore\nnobody\t5\t1\n")
    files = {"input": str(tmp_path / "rows.npy"), "queries": str(tmp_path / "asked.npy")}
    record = worker.run(CASE | files | {"method": "f32", "judgments": str(tmp_path / "judged.tsv")})
    assert record["recall_at_10"] == 1 and "ndcg_at_10" not in record
    assert record["errors"] == {"judgments": "1 judgments name a query or a row that is not there"}


def test_wrong_names_are_refused_and_sets_without_files_left_out():
    with pytest.raises(SpecError, match="unknown data set"):
        list(task.cases(task.Plan(datasets=("sift",))))
    with pytest.raises(SpecError, match="unknown task"):
        list(task.cases(task.Plan(tasks=("search",))))
    with pytest.raises(NotFoundError, match="--data DIR"):
        list(task.cases(task.Plan(datasets=("blogcatalog",))))
    said = []
    found = {case["dataset"] for case in task.cases(task.Plan(methods=("f32",), quick=True), said.append)}
    assert found == {"generated", "manual"} and len(said) == len(sets.FILES)


def test_the_command_measures_a_user_s_own_file(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "rows.npy", rng.standard_normal((1500, 8), dtype=np.float32))
    np.save(tmp_path / "asked.npy", rng.standard_normal((20, 8), dtype=np.float32))
    np.save(tmp_path / "other.npy", rng.standard_normal((20, 9), dtype=np.float32))
    out, shown = tmp_path / "out.jsonl", tmp_path / "page.md"
    arguments = ["bench", "vectors", str(tmp_path / "rows.npy"), "--queries", str(tmp_path / "asked.npy"),
                 "--methods", "f32;sq:bits=4", "--out", str(out), "--page", str(shown)]  # fmt: skip
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["dataset"] for record in records] == ["rows.npy"] * 2
    assert records[0]["recall_at_10"] == 1 > records[1]["recall_at_10"] > 0.5
    assert "| sq:bits=4 | 4.0 |" in shown.read_text()
    wrong = [*arguments[:4], str(tmp_path / "other.npy"), *arguments[5:], "--json"]
    done = CliRunner().invoke(main, wrong)
    full, few = map(json.loads, done.stdout.splitlines())
    assert "has 9 dimensions" in full["errors"]["queries"] and "recall_at_10" not in full
    assert few["relative_mse"] > 0 and "has 9 dimensions" in done.stderr
    assert "queries: " in shown.read_text().split("Failed in part")[1]
    again = CliRunner().invoke(main, ["bench", "limit", "--dims", "8", "--methods", "f32", "--json"])
    assert json.loads(again.stdout)["limit_sets"] > 500


def test_bad_input_is_said_in_record_and_page_and_the_rest_goes_on(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "rows.npy", rng.standard_normal((400, 8), dtype=np.float32))
    np.save(tmp_path / "asked.npy", rng.standard_normal((3, 8), dtype=np.float32))
    (tmp_path / "judged.tsv").write_text("query\trow\tscore\n0\t5\t1\n1\t7\t1\n2\tno such row\t1\n9\t7\t1\n")
    plan = task.Plan(
        methods=("f32", "pq:m=9", "--budget 1B/row"), budgets=("1B/row",), tasks=("neighbours",),
        source=str(tmp_path / "rows.npy"), queries=str(tmp_path / "asked.npy"),
        judgments=str(tmp_path / "judged.tsv"),
    )  # fmt: skip
    full, least, wrong = task.run(plan)
    assert full["ndcg_at_10"] >= 0 and "2 judgments name" in full["errors"]["judgments"]
    assert "the least is" in least.get("error", "the least is") and "error" in wrong
    assert "2 judgments name" in page.page([full, least, wrong]) and wrong["error"] in page.page(
        [full, wrong]
    )
    few = tmp_path / "few.npy"
    np.save(few, rng.standard_normal((3, 8), dtype=np.float32))
    found = list(task.run(task.Plan(methods=("f32", "tcq:bits=2", "faiss pq:m=4"), source=str(few))))
    assert len(found) == 3 and "error" not in found[0]
    none, wordy = tmp_path / "none.npy", tmp_path / "wordy.tsv"
    np.save(none, np.empty((0, 8), np.float32))
    with pytest.raises(InputError, match="no rows"):
        sets.own(str(none), None, "ip")
    wordy.write_text("query\trow\tscore\n0\t5\tgood\n")
    with pytest.raises(InputError, match=r"line 2 of .* expected query, row, score"):
        sets.judged(wordy, ["0"], ["5"])
    with pytest.raises(NotFoundError, match=r"none.tsv does not exist"):
        sets.own(str(few), str(few), "ip", judgments=str(tmp_path / "none.tsv"))
    with pytest.raises(SpecError, match="judgments are of queries"):
        sets.own(str(few), None, "ip", judgments=str(tmp_path / "judged.tsv"))
