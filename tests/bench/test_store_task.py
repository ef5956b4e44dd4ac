"""`bench store` measures stores beside others, survives what fails, and makes its page of records."""

import json

import pytest
from click.testing import CliRunner

from vecstore.bench import capped, store_page, store_task, store_worker
from vecstore.bench.contenders.rowstores import PEERS, ids_of, make_store
from vecstore.cli.main import main
from vecstore.errors import SpecError
from vecstore.store import Store


def record(topic="get", peer="np.take", rows=200_000, **more):
    """A record as the task makes it."""
    return {
        "task": "store", "topic": topic, "rows": rows, "segments": 4, "quick": False, "runs": 5, "peer": peer,
        "machine": {"cpu": "a processor", "isa": "avx2"}, **more,
    }  # fmt: skip


def pair(what, ratio):
    return {
        f"{what}_ours_us": 400.0, f"{what}_peer_us": 400.0 * ratio, f"{what}_ratio": ratio,
        f"{what}_ratio_min": ratio / 2, f"{what}_ratio_max": 2 * ratio,
    }  # fmt: skip


def test_rows_are_found_in_ours_and_in_all_peers(tmp_path):
    case = {"topic": "get", "rows": 3000, "segments": 3, "runs": 1}
    found = list(store_worker.run(case, str(tmp_path)))
    assert [r["peer"] for r in found] == [
        *(kind.label for kind in PEERS),
        "steps",
        "decoding alone",
        "one row",
    ]
    assert all("missing" in r or r.get("codes_ratio", 1) > 0 for r in found)
    assert found[0]["codes_ours_us"] > 0 and found[-1]["rows_p50_us"] > 0
    with Store.open(tmp_path / "x.store") as store:
        assert len(store) == 3000 and len(store.view.parts) == 3 and store.check() == []
        assert store.view.ids.known.file is not None


@pytest.mark.parametrize("topic", ["load", "commits", "open", "scan"])
def test_every_topic_gives_its_figures(tmp_path, topic):
    case = {"topic": topic, "rows": 2000, "segments": 2, "runs": 1}
    (found,) = store_worker.run(case, str(tmp_path))
    key = {"load": "load_ratio", "commits": "commits_s", "open": "first_row_s", "scan": "check_gb_s"}[topic]
    assert found[key] > 0


def test_a_cap_is_tried_or_said_to_be_impossible(tmp_path):
    plan = store_task.Plan(topics=("memory",), folder=str(tmp_path), quick=True)
    (found,) = store_task.run(plan)
    assert found["missing"] == capped.refusal() if capped.refusal() else found["memory_rows_s"] > 0


def test_what_fails_is_a_record(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no\nspace")

    monkeypatch.setattr(store_worker, "make_store", fail)
    case = {"topic": "scan", "rows": 10, "segments": 1, "runs": 1}
    assert list(store_worker.run(case, str(tmp_path))) == [{"error": "RuntimeError: no space"}]


def test_a_peer_that_fails_leaves_the_others(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no space")

    monkeypatch.setattr(PEERS[1], "build", fail)
    case = {"topic": "get", "rows": 500, "segments": 1, "runs": 1}
    found = {r["peer"]: r for r in store_worker.run(case, str(tmp_path))}
    failed = found.pop(PEERS[1].label)
    assert failed.get("missing") or failed["error"] == "RuntimeError: no space"
    assert found[PEERS[0].label]["codes_ratio"] > 0 and "one row" in found
    assert "no space" in store_page.page([record(**failed)]) or "missing" in failed


def test_topics_that_are_none_are_said():
    said = []
    next(store_task.run(store_task.Plan(topics=("commits", "nothing"), quick=True), say=said.append))
    assert "left out: no topic is named like nothing" in said


def test_ids_come_once_and_in_no_order():
    ids = ids_of(1000)
    assert len(set(ids.tolist())) == 1000 and (ids[1:] < ids[:-1]).any()


def test_plans_that_cannot_be_are_refused():
    with pytest.raises(SpecError, match="no topic is named like nothing"):
        list(store_task.run(store_task.Plan(topics=("nothing",))))
    quick = list(store_task.cases(store_task.Plan(quick=True)))
    assert {case["topic"] for case in quick} == set(store_worker.TOPICS)
    assert max(case["rows"] for case in quick) <= 20_000


def test_the_page_says_which_targets_are_kept():
    records = [
        record(**pair("codes", 0.5)),
        record(rows=2_000_000, **pair("codes", 0.3)),
        record(peer="LMDB", **pair("codes", 25.0)),
        record(peer="Lance", missing="lance"),
        record("open", "itself", 10_000_000, open_s=0.1, first_row_s=0.2, peak_mb=None),
        record("memory", "disk", missing="the right to make control groups"),
    ]
    text = store_page.page(records)
    wanted = (
        "share of np.take's speed >= 0.4 | 0.50 (200,000 rows); 0.30 (2,000,000 rows) | no | `--topics get` |"
    )
    assert wanted in text
    assert "times as fast as LMDB >= 20 | 25.0 (200,000 rows) | yes |" in text
    assert "times as fast as Lance >= 20 | - | not measured |" in text
    assert (
        "needs the right to make control groups" in text and "needs lance" in text and "a processor" in text
    )
    assert "0.50 (0.25-1.00)" in text and "| 10,000,000 in 4 |" not in text  # no figure for memory


def test_the_later_record_of_a_case_and_peer_counts():
    records = [record(peer="LMDB", x=1), record(peer="LMDB", x=2), record(x=3)]
    assert [r["x"] for r in store_task.latest(records)] == [2, 3]


def test_the_command_writes_records_and_the_page(tmp_path):
    out, page = tmp_path / "store.jsonl", tmp_path / "store.md"
    out.write_text(json.dumps(record(**pair("codes", 0.5))) + "\n")
    arguments = ["bench", "store", "--topics", "scan", "--quick", "--out", str(out), "--page", str(page)]
    result = CliRunner().invoke(main, [*arguments, "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert len(out.read_text().splitlines()) == 3
    assert "20,000 in 4" in page.read_text() and "200,000 in 4" in page.read_text()
    assert CliRunner().invoke(main, [*arguments, "--resume"]).exit_code == 0
    assert len(out.read_text().splitlines()) == 3


def test_a_store_of_the_bench_is_one_as_others(tmp_path):
    make_store(str(tmp_path / "y.store"), 1000, 1, index=False)
    with Store.open(tmp_path / "y.store") as store:
        assert store.get(ids_of(1000)[:2]).shape == (2, 384)
