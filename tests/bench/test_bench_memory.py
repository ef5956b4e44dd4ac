import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_memory.py"

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("bench_memory", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_formats_and_both_commands_are_watched_and_nothing_is_left(script, monkeypatch, tmp_path):
    out, page, work = tmp_path / "memory.jsonl", tmp_path / "memory.md", tmp_path / "work"
    work.mkdir()
    words = [
        "x",
        str(work),
        "--gb",
        "0.002",
        "--dim",
        "64",
        "--specs",
        "f32",
        "--out",
        str(out),
        "--page",
        str(page),
    ]
    monkeypatch.setattr(sys, "argv", words)
    script.main()
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(r["format"], r["what"]) for r in records] == [
        ("npy", "compress"), ("npy", "decompress"), ("parquet", "compress"), ("parquet", "decompress"),
    ]  # fmt: skip
    for record in records:
        assert record["anonymous_bytes"] > 1e6
        assert record["peak_bytes"] >= record["anonymous_bytes"] * 0.9
        assert record["share_of_in_memory"] > 0
    assert "| parquet | decompress | f32 |" in page.read_text()
    assert list(work.iterdir()) == []
    first = out.read_text().splitlines(keepends=True)[:2]
    out.write_text("".join(first))  # as if the run had ended between the files
    monkeypatch.setattr(sys, "argv", [*words, "--resume"])
    script.main()
    after = out.read_text().splitlines(keepends=True)
    assert after[:2] == first
    assert [json.loads(line)["format"] for line in after[2:]] == ["parquet", "parquet"]
    before = page.read_text()
    script.main()
    assert out.read_text() == "".join(after) and page.read_text() == before


def test_a_command_that_fails_is_an_error_with_its_words(script, tmp_path):
    with pytest.raises(RuntimeError, match="ended with"):
        script.watch(["info", str(tmp_path / "nothing.arrow")])
