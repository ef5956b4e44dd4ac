import io
import json
import sys

import numpy as np
import pytest

from vecstore.bench import codecs_task, machine, process, worker
from vecstore.bench.contenders import catalog
from vecstore.bench.contenders.lossless import Zstd
from vecstore.bench.contenders.own import Own
from vecstore.errors import NotFoundError, SpecError
from vecstore.kernels.threads import set_threads
from vecstore.registry import CODECS

TINY = "generated_16"


class Broken(Own):
    """A contender that cannot."""

    def encode(self, rows):
        raise MemoryError("no room for codes")


class Lying(Zstd):
    """Says it is lossless and is not."""

    def decode(self, coded, out):
        return [np.zeros_like(out)]


@pytest.fixture
def case(monkeypatch):
    monkeypatch.setattr(machine, "pin", lambda threads: None)
    monkeypatch.setattr(worker, "_RUN_S", {True: 1e-4})
    monkeypatch.setattr(worker, "_ROW_BYTES", {True: 1 << 14})
    yield {
        "task": "codecs",
        "kind": "method",
        "dataset": TINY,
        "data": None,
        "quick": True,
        "threads": 1,
        "seed": 0,
        "runs": 1,
        "empty_bytes": 0,
    }
    set_threads(0)


def through_main(case, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(case)))
    worker.main()
    return json.loads(capsys.readouterr().out)


def test_a_record_of_a_codec_holds_size_loss_and_speed(case):
    record = worker.run(case | {"method": "sq:bits=8"})
    assert record["bytes_per_row"] == 16
    assert record["budget"] == "16B/row"
    assert record["ledger"]["total"] == sum(record["ledger"][part] for part in ("codes", "side", "shared"))
    assert 0 < record["relative_mse"] < 1e-3
    assert record["recall_at_10"] > 0.9
    assert record["rows"] == 4096
    assert record["fit_rows"] == 2048
    for key in ("encode_mb_s", "decode_mb_s", "encode_rows_s", "decode_rows_s", "memcpy_mb_s", "fit_s"):
        assert record[key] > 0
    assert record["encode_mb_s_min"] <= record["encode_mb_s"] <= record["encode_mb_s_max"]


def test_a_lossless_record_counts_all_rows_of_the_set(case):
    record = worker.run(case | {"method": "zstd:level=3"})
    assert record["rows"] == 2048 + 4096
    assert record["relative_mse"] == 0


def test_a_pair_is_measured_in_one_process_and_gives_ratios(case):
    pair = {"topic": "lossless", "setting": "plain", "ours": "lossless:mode=plain", "peer": "zstd:level=3"}
    record = worker.run(case | {"kind": "pair", "method": pair["ours"], "peer": pair["peer"], "pair": pair})
    for what in ("encode", "decode", "batch"):
        assert record[f"{what}_ratio_min"] <= record[f"{what}_ratio"] <= record[f"{what}_ratio_max"]
    assert record["bytes_ours"] < record["bytes_peer"]


def test_a_product_pair_agrees_with_faiss_on_its_centroids_and_compares_distortions(case, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(worker, "_FIT_RUNS", 1)
    pair = {"topic": "pq", "setting": "8", "ours": "pq:m=2", "peer": "faiss pq:m=2", "fits": True}
    record = worker.run(case | {"kind": "pair", "method": pair["ours"], "peer": pair["peer"], "pair": pair})
    assert record["equal_codes"] > 0.99
    assert record["fit_mse_ours"] == pytest.approx(record["fit_mse_peer"], rel=0.1)
    assert record["fit_ratio"] > 0


def test_a_failing_contender_is_a_record_with_its_error(case, monkeypatch, capsys):
    broken = Broken("sq:bits=8")
    monkeypatch.setattr(worker, "contenders", lambda dim: {"sq:bits=8": broken})
    record = through_main(case | {"method": "sq:bits=8"}, monkeypatch, capsys)
    assert record == {"error": "MemoryError: no room for codes"}


def test_a_contender_that_loses_bits_it_promised_to_keep_fails(case, monkeypatch, capsys):
    monkeypatch.setattr(worker, "contenders", lambda dim: {"lying": Lying(1)})
    record = through_main(case | {"method": "lying"}, monkeypatch, capsys)
    assert "bit for bit" in record["error"]


def test_a_missing_package_is_said(case, monkeypatch):
    absent = Zstd(1)
    absent.needs = ("no_such_package",)
    monkeypatch.setattr(worker, "contenders", lambda dim: {"absent": absent})
    assert worker.run(case | {"method": "absent"}) == {"missing": "no_such_package"}


def test_a_process_that_dies_is_a_record_with_its_last_words(monkeypatch, tmp_path):
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho out of memory >&2\nexit 9\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    process.empty_interpreter.cache_clear()
    record = next(codecs_task.run(codecs_task.Plan(datasets=(TINY,), methods=("f32",), quick=True)))
    process.empty_interpreter.cache_clear()
    assert record["error"] == "the process ended with 9: out of memory"
    assert record["method"] == "f32"
    assert "cpu" in record["machine"]


def test_a_run_makes_one_record_a_case_and_resumes_after_those_done():
    plan = codecs_task.Plan(datasets=(TINY,), methods=("f32",), quick=True)
    records = list(codecs_task.run(plan))
    assert [record["method"] for record in records] == ["f32"]
    assert "error" not in records[0]
    assert records[0]["peak_bytes"] > 0
    assert list(codecs_task.run(plan, records)) == []


def test_every_codec_of_the_registry_is_measured():
    for dim in (1, 3, 16, 128, 300):
        named = {spec.rpartition("+")[2].partition(":")[0] for spec in catalog.specs(dim)}
        assert named == set(CODECS)


def test_pairs_name_contenders_that_there_are():
    for dim in (16, 128, 300, 384):
        known = catalog.contenders(dim)
        for pair in catalog.pairs(dim):
            assert {pair.ours, pair.peer} <= set(known)


def test_wrong_names_are_refused():
    with pytest.raises(SpecError, match="unknown data set"):
        list(codecs_task.cases(codecs_task.Plan(datasets=("sift",))))
    with pytest.raises(SpecError, match="no method is named like"):
        list(codecs_task.cases(codecs_task.Plan(datasets=(TINY,), methods=("zip*",))))
    with pytest.raises(NotFoundError, match="--data DIR"):
        list(codecs_task.cases(codecs_task.Plan(datasets=("classic3_minilm",))))


def test_labels_that_are_not_measured_as_a_rule_are_tried_and_the_rest_goes_on():
    said = []
    plan = codecs_task.Plan(datasets=(TINY,), methods=("f32", "pq:m=7", "nonsense", "zip*"), quick=True)
    found = {each["method"]: each for each in codecs_task.run(plan, say=said.append)}
    assert found["f32"]["bytes_per_row"] == 64 and found["pq:m=7"]["bytes_per_row"] == 7
    assert "unknown codec" in found["nonsense"]["error"] and len(found) == 3
    assert "left out: no method is named like zip*" in said


def test_sets_without_files_are_left_out_and_said():
    said = []
    found = list(codecs_task.cases(codecs_task.Plan(methods=("f32",), quick=True), said.append))
    assert {case["dataset"] for case in found} == {"generated"}
    assert len(said) == 5
