"""A measurement in a process of its own: whatever the process prints or dies of, there is a record."""

import pytest

from vecstore.bench.process import failure, record_of, records_of, trouble
from vecstore.errors import BudgetError, SpecError


def measured(tmp_path, monkeypatch, program, **variables):
    (tmp_path / "measures.py").write_text("import os, sys\n" + program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return records_of("measures", {"task": "any"}, 20, **variables)


def test_what_libraries_print_is_no_record(tmp_path, monkeypatch):
    program = """print("loaded {"); print('{"a": 1}'); print("\\nwarning\\n{}"); print('{"a": 2}')"""
    assert measured(tmp_path, monkeypatch, program) == [{"a": 1}, {"a": 2}]
    assert record_of("measures", {}, 20) == {"a": 2}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("sys.exit(0)", "ended with 0: no message"),
        ("print('{\"a\": 1}', flush=True); os.abort()", "ended with -6"),
        ("sys.stderr.buffer.write(b'\\xff\\xfe'); os._exit(3)", "ended with 3"),
        ("raise MemoryError('all of it')", "MemoryError: all of it"),
        ("import time; time.sleep(60)", "longer than 1 s"),
    ],
)
def test_a_process_that_ends_in_any_way_leaves_an_error(tmp_path, monkeypatch, program, words):
    if "sleep" in program:
        monkeypatch.setattr("vecstore.bench.process.subprocess.run", _impatient)
    assert words in measured(tmp_path, monkeypatch, program)[-1]["error"].replace("20 s", "1 s")


def _impatient(*_, timeout, **__):
    import subprocess

    raise subprocess.TimeoutExpired("python", timeout)


def test_variables_are_set_for_it(tmp_path, monkeypatch):
    program = """print('{"a": "%s"}' % os.environ["OMP_NUM_THREADS"])"""
    assert measured(tmp_path, monkeypatch, program, OMP_NUM_THREADS="1") == [{"a": "1"}]


def test_a_budget_that_is_too_small_is_no_failure():
    assert failure(BudgetError("least\n8 B")) == {"infeasible": "least 8 B"}
    assert failure(SpecError("no codec")) == {"error": "no codec"}
    assert failure(RuntimeError("x" * 400))["error"].startswith("RuntimeError: xxx")
    assert trouble(failure(BudgetError("least"))) == "infeasible: least"
    assert trouble({"missing": "usearch"}) == "usearch is not installed"
    assert trouble({"missing": ["fbgemm-gpu-cpu"], "times": {}}) == trouble({"recall_at_10": 1.0}) == ""
