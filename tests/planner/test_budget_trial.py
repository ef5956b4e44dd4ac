"""A budget is kept by the file and by the memory of a process that reads it: a few of the script's cases."""

import importlib.util
import json
import platform
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "budget_trial.py"

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="reads /proc, and has malloc trim")


def test_budgets_of_any_unit_are_kept_by_files_and_by_memory(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("budget_trial", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "budget_trial", script)
    spec.loader.exec_module(script)
    out = tmp_path / "out.jsonl"
    words = ["x", "--datasets", "generated", "--seed", "1", "--resume", "--out", str(out), "--cases"]
    for count in ("2", "5"):  # the second time it goes on with the third case
        monkeypatch.setattr(sys, "argv", [*words, count])
        script.main()
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["number"] for record in records] == list(range(5)) and all(
        record["kept"] for record in records
    )
    for record in records:
        assert record["grown_bytes"] <= max(record["budget_bytes"], record["file_bytes"]) + script.BUFFERS
    assert "in 5" in script.table(records)
