# ruff: noqa: E501
import json

import pytest
from click.testing import CliRunner

from vecstore.bench import codecs_task, pages, targets
from vecstore.cli.bench import bench
from vecstore.errors import FormatError


def spread(key, value):
    return {key: value, f"{key}_min": value * 0.9, f"{key}_max": value * 1.1}


COMMON = {
    "task": "codecs",
    "quick": False,
    "seed": 0,
    "load_before": 0.2,
    "machine": {"cpu": "Some CPU", "cores": 2},
}


def method(name, codes, threads=1, **more):
    return {
        **COMMON, "kind": "method", "dataset": "classic3_minilm", "method": name, "threads": threads, "dim": 384,
        "ledger": {"codes": codes, "side": 0, "shared": 2000, "total": codes + 2000}, "bytes_per_row": 48.0,
        "share_of_float32": 0.03125, "relative_mse": 0.25, "recall_at_10": 0.706, "gap_db": None, "fit_s": 1.5,
        **spread("encode_mb_s", 700.0), **spread("decode_mb_s", 9000.0), "encode_rows_s": 4e5, "decode_rows_s": 6e6,
        **spread("decode_to_memcpy_ratio", 0.8), "peak_bytes": 200_000_000, **more,
    }  # fmt: skip


def pair(encode, threads=1, **more):
    return {
        **COMMON, "kind": "pair", "dataset": "classic3_minilm", "method": "pq:m=48", "peer": "faiss pq:m=48",
        "threads": threads, "topic": "pq", "setting": "8 dimensions a byte", **spread("encode_ratio", encode),
        **spread("decode_ratio", 2.5), **spread("decode_to_memcpy_ratio", 0.8), **spread("fit_ratio", 2.2),
        "fit_mse_ours": 0.2, "fit_mse_peer": 0.21, "fit_s_ours": 1.0, "fit_s_peer": 2.2,
        "encode_ours_mb_s": 700.0, "encode_peer_mb_s": 200.0, "decode_ours_mb_s": 9e3, "decode_peer_mb_s": 4e3,
        "bytes_ours": 1, "bytes_peer": 1, "dim": 384, "equal_codes": 1.0, **more,
    }  # fmt: skip


@pytest.fixture
def records():
    return [
        method("pq:m=48", 480),
        method("pq:m=48", 480, threads=2, encode_mb_s=1300.0),
        method("lossless:mode=best", 800, relative_mse=0.0),
        method("pcodec:level=8", 820, relative_mse=0.0),
        pair(3.0),
        {**COMMON, "kind": "method", "dataset": "classic3_minilm", "method": "faiss pq:m=48", "threads": 1,
         "error": "RuntimeError: too few | rows"},
        {**COMMON, "kind": "method", "dataset": "classic3_minilm", "method": "blosc2:shuffle+zstd", "threads": 1,
         "missing": "blosc2"},
    ]  # fmt: skip


def verdicts(records):
    return {line.what: line.kept for line in targets.judge(records)}


def test_the_page_shows_medians_with_their_spread_and_two_threads(records):
    text = pages.page(records)
    assert (
        "| pq:m=48 | 48.0 | 3.1% | 2.0 | 0.25 | 0.706 | 1.500 | 700 (630-770) | 9,000 (8,100-9,900)" in text
    )
    assert "1,300, 9,000" in text
    assert "Some CPU" in text
    assert "## What this does not show" in text
    assert "vecstore bench codecs" in text


def test_a_failed_and_a_missing_contender_are_shown(records):
    text = pages.page(records)
    assert "failed: RuntimeError: too few \\| rows" in text
    assert "blosc2 is not installed" in text


def test_targets_are_judged_by_the_pairs(records):
    found = verdicts(records)
    assert found["PQ encode, ratio to FAISS: each >= 2"] is True
    assert found["lossless best, smallest peer's bytes to ours: each set >= 1"] is True
    found = verdicts([*records, pair(1.9)])
    assert found["PQ encode, ratio to FAISS: each >= 2"] is False
    assert verdicts([pair(1.9, threads=2)])["PQ encode, ratio to FAISS: each >= 2"] is None


def test_the_readme_block_is_filled_and_all_else_is_kept(records):
    text = f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n"
    once = pages.fill(text, pages.summary(records))
    assert once.startswith("before\n") and once.endswith("\nafter\n")
    assert "old" not in once
    assert pages.fill(once, pages.summary(records)) == once
    with pytest.raises(FormatError, match="expected one block"):
        pages.fill("nothing", "block")


def test_the_command_writes_records_page_and_readme_and_resumes(monkeypatch, tmp_path, records):
    monkeypatch.setattr(codecs_task, "run", lambda plan, done, say: iter([] if done else records))
    out, page, readme = tmp_path / "r.jsonl", tmp_path / "p.md", tmp_path / "README.md"
    readme.write_text(f"{pages.BEGIN}{pages.END}")
    command = [
        "codecs",
        "--out",
        str(out),
        "--resume",
        "--page",
        str(page),
        "--readme",
        str(readme),
        "--json",
    ]
    shown = CliRunner().invoke(bench, command)
    assert shown.exit_code == 0, shown.output
    assert [json.loads(line) for line in shown.stdout.splitlines()] == records
    assert CliRunner().invoke(bench, command).stdout == ""
    assert len(out.read_text().splitlines()) == len(records)
    assert page.read_text() == pages.page(records)
    assert "PQ encode" in readme.read_text()


def test_people_get_tables(monkeypatch, records):
    monkeypatch.setattr(codecs_task, "run", lambda plan, done, say: iter(records))
    shown = CliRunner().invoke(bench, ["codecs"])
    assert "Pairs: ours against a peer" in shown.stdout
    assert "classic3_minilm: 384 dimensions, 1 thread" in shown.stdout
